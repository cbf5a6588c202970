"""Arguments, checked: each error names the function that was called (`who`), the argument, and what is allowed."""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .form import Form
from .wiring import wired_bounds

if TYPE_CHECKING:
    from .._typing import Array

__all__ = ["checked_bounds", "checked_callback", "checked_count", "checked_limit"]


def checked_count(who: str, name: str, value: Any, low: int = 0) -> int:
    """A whole number.

    Examples
    --------
    >>> checked_count("minimize", "max_iter", -1)
    Traceback (most recent call last):
    ValueError: minimize: max_iter=-1, a whole number from 0 up is needed
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < low:
        raise ValueError(f"{who}: {name}={value!r}, a whole number from {low} up is needed")
    return int(value)


def checked_limit(who: str, name: str, value: Any, none: float) -> float:
    """A number from 0 up; None stands for `none`."""
    if value is None:
        return none
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)) or not value >= 0:
        raise ValueError(f"{who}: {name}={value!r}, a number from 0 up is needed")
    return float(value)


def checked_callback(who: str, callback: Any) -> None:
    """A function or None."""
    if callback is not None and not callable(callback):
        raise ValueError(f"{who}: callback={callback!r}, a function is needed")


def checked_bounds(bounds: Any, form: Form) -> tuple[Array, Array] | None:
    """Lowest and highest value of each entry.

    Examples
    --------
    >>> checked_bounds([(0, None), (None, 2)], Form(np.ones(2)))
    (array([  0., -inf]), array([inf,  2.]))
    """
    if bounds is None:
        return None
    made: Any = wired_bounds(bounds, form)
    n = form.start.size
    try:
        if not hasattr(made, "lb"):
            low, high = np.array([[-np.inf if a is None else a, np.inf if b is None else b] for a, b in made],
                                 np.float64).reshape(-1, 2).T
            if len(low) != n:
                raise ValueError(f"{len(low)} pairs for {n} entries")
        else:
            low, high = np.broadcast_to(made.lb, n), np.broadcast_to(made.ub, n)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{form.name}: bounds={bounds!r}; a pair (low, high) for each entry of a vector, for each "
                         f"number or array of a container, or scipy.optimize.Bounds is needed: {error}") from None
    if not np.all(low <= high):
        raise ValueError(f"{form.name}: bounds={bounds!r}; the low ones must not be above the high ones, nor nan")
    return np.array(low, np.float64), np.array(high, np.float64)
