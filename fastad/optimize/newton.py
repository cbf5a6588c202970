"""Newton's steps from Hessian products: truncated conjugate gradients."""
from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .._typing import Array

__all__ = ["newton_step"]


def newton_step(product: Callable[[Array], Array], g: Array, free: NDArray[np.bool_], most: int | None = None) -> Array:
    """A step down: the Newton equation, solved as well as the gradient's size deserves.

    Line search Newton-CG (Nocedal, Wright: Numerical Optimization, algorithm 7.1): ends at a direction of negative
    curvature, which goes down, too.

    Parameters
    ----------
    product : callable
        The Hessian times a vector.
    g : ndarray
        The gradient.
    free : ndarray of bool
        Which entries may change: not those that a bound holds.
    most : int, optional
        Most products; default: twice the number of entries, at least 20.

    Examples
    --------
    >>> H = np.array([[4.0, 1.0], [1.0, 3.0]])
    >>> newton_step(lambda p: H @ p, H @ np.array([1e-9, 2e-9]), np.array([True, True]))
    array([-1.e-09, -2.e-09])
    """
    r = np.where(free, g, 0.0)
    step, p = np.zeros_like(g), -r
    rr = float(r @ r)
    enough = rr * min(0.25, np.sqrt(rr))              # of the squared residual: min(1/2, sqrt|g|) |g|
    for k in range(most or max(20, 2 * g.size)):
        Hp = np.where(free, product(p), 0.0)
        curvature = float(p @ Hp)
        if not curvature > 0.0:                       # nan, too
            return step if k else p
        length = rr / curvature
        step = step + length * p
        r = r + length * Hp
        before, rr = rr, float(r @ r)
        if not rr > enough:
            break
        p = -r + (rr / before) * p
    return step
