"""Which step is taken: from a point and a proposed step to the next point."""
from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["ACCEPT", "Point", "Search"]

EPS = float(np.finfo(np.float64).eps)
DECREASE, CURVATURE = 1e-4, 0.9       # c1 and c2 of the Wolfe conditions


class Point(NamedTuple):
    """A place with the function's value and gradient there."""

    x: Array
    f: float
    g: Array

    @property
    def finite(self) -> bool:
        """Whether value and gradient are finite."""
        return bool(np.isfinite(self.f) and np.all(np.isfinite(self.g)))


Evaluate = Callable[["Array"], Point]
#: ``search(evaluate, point, step)`` gives the next point, or None when no step is acceptable.
Search = Callable[[Evaluate, Point, "Array"], Point | None]


def whatever(evaluate: Evaluate, p: Point, step: Array) -> Point | None:
    """Take the step as it is."""
    return evaluate(p.x + step)


def decrease(evaluate: Evaluate, p: Point, step: Array) -> Point | None:
    """Take the step if the value falls."""
    q = evaluate(p.x + step)
    return q if q.finite and q.f < p.f else None


def lowers(p: Point, q: Point, t: float, slope: float, step: Array) -> bool:
    """Whether the value falls enough, or, when rounding hides that, whether the slope says so.

    The second condition is the approximate one of Hager and Zhang (SIAM J. Optim. 16, 2005), here without any rise.
    """
    if q.f <= p.f + DECREASE * t * slope:
        return True
    return q.f <= p.f and -t * slope <= 1e4 * EPS * abs(p.f) and float(q.g @ step) <= (2 * DECREASE - 1) * slope


def armijo(evaluate: Evaluate, p: Point, step: Array) -> Point | None:
    """Shorten the step until the value falls by a share of what the slope promises."""
    slope, t = float(p.g @ step), 1.0
    for _ in range(60):
        q = evaluate(p.x + t * step)
        if q.finite and lowers(p, q, t, slope, step):
            return q
        t *= 0.5
    return None


def wolfe(evaluate: Evaluate, p: Point, step: Array) -> Point | None:
    """A step with the strong Wolfe conditions (Nocedal, Wright: Numerical Optimization, algorithms 3.5 and 3.6)."""
    slope = float(p.g @ step)
    low: tuple[float, Point, float] = (0.0, p, slope)
    high: tuple[float, Point, float] | None = None
    t = 1.0
    for _ in range(40):
        q = evaluate(p.x + t * step)
        d = float(q.g @ step) if q.finite else np.nan
        if not q.finite or not lowers(p, q, t, slope, step) or q.f > low[1].f:
            high = (t, q, d)
        elif abs(d) <= -CURVATURE * slope:
            return q
        else:
            if d * ((high[0] if high else np.inf) - low[0]) >= 0:
                high = low
            low = (t, q, d)
        if high is None:
            t *= 4.0
        elif abs(high[0] - low[0]) * float(np.max(np.abs(step))) <= EPS * float(np.max(np.abs(p.x))):
            break
        else:
            t = between(low, high)
    return low[1] if low[0] > 0.0 else None


def between(low: tuple[float, Point, float], high: tuple[float, Point, float]) -> float:
    """The minimum of the cubic through two values and slopes, kept off the ends of the interval."""
    (a, p, da), (b, q, db) = low, high
    t = np.nan
    if np.isfinite(db):
        d = da + db - 3 * (p.f - q.f) / (a - b)
        root = d * d - da * db
        if root >= 0:
            root = float(np.copysign(np.sqrt(root), b - a))
            t = b - (b - a) * (db + root - d) / (db - da + 2 * root) if db - da + 2 * root else np.nan
    nearest, farthest = a + 0.1 * (b - a), a + 0.9 * (b - a)
    if not np.isfinite(t) or not min(nearest, farthest) <= t <= max(nearest, farthest):
        return a + (0.5 if np.isfinite(db) else 0.1) * (b - a)
    return float(t)


#: Names of the ways to accept a step.
ACCEPT: dict[str | None, Search] = {None: whatever, "decrease": decrease, "armijo": armijo, "wolfe": wolfe}
