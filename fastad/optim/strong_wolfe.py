"""A line search for the strong Wolfe conditions, step for step that of ``torch.optim.LBFGS`` (Schmidt's minFunc)."""
from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .._typing import Array

__all__ = ["strong_wolfe"]

DECREASE, CURVATURE, LEAST_CHANGE = 1e-4, 0.9, 1e-9


class Trial(NamedTuple):
    """A length with value, gradient and slope there."""

    t: float
    f: float
    g: Array
    slope: float


def strong_wolfe(along: Callable[[float], tuple[float, Array]], t: float, d: Array, f: float, g: Array, slope: float,
                 most: int) -> tuple[float, Array, float, int]:
    """The value, gradient and length of an acceptable step along `d`, and how many evaluations it took.

    Parameters
    ----------
    along : callable
        Length -> value and gradient.
    t : float
        The first length to try.
    d : ndarray
        The direction.
    f, g, slope : float, ndarray, float
        Value, gradient and slope at the beginning.
    most : int
        The greatest number of trials after the first one.
    """
    def tried(t: float) -> Trial:
        f, g = along(t)
        return Trial(t, f, g, float(g @ d))

    start = last = Trial(0.0, f, g, slope)
    now, trials, bracket = tried(t), 0, None
    while trials < most and bracket is None:
        if now.f > f + DECREASE * now.t * slope or (trials > 1 and now.f >= last.f):
            bracket = [last, now]
        elif abs(now.slope) <= -CURVATURE * slope:
            return now.f, now.g, now.t, trials + 1
        elif now.slope >= 0:
            bracket = [last, now]
        else:
            t = cubic(last, now, now.t + 0.01 * (now.t - last.t), now.t * 10)
            last, now = now, tried(t)
            trials += 1
    low, high = sorted(bracket or [start, now], key=lambda trial: trial.f)
    near_end = False
    while trials < most and abs(high.t - low.t) * float(np.abs(d).max()) >= LEAST_CHANGE:
        first, end = sorted([low.t, high.t])
        t = cubic(low, high, first, end)
        if min(end - t, t - first) < 0.1 * (end - first):
            if near_end or t >= end or t <= first:    # twice at an end: well into the interval
                t = end - 0.1 * (end - first) if abs(t - end) < abs(t - first) else first + 0.1 * (end - first)
                near_end = False
            else:
                near_end = True
        else:
            near_end = False
        now = tried(t)
        trials += 1
        if now.f > f + DECREASE * now.t * slope or now.f >= low.f:
            low, high = sorted([low, now], key=lambda trial: trial.f)
        else:
            done = abs(now.slope) <= -CURVATURE * slope
            if not done and now.slope * (high.t - low.t) >= 0:
                high = low
            low = now
            if done:
                break
    return low.f, low.g, low.t, trials + 1


def cubic(p: Trial, q: Trial, least: float, most: float) -> float:
    """The minimum of the cubic through two trials, within limits; their middle where it has none."""
    if p.t > q.t:
        p, q = q, p
    a = p.slope + q.slope - 3 * (p.f - q.f) / (p.t - q.t)
    square = a * a - p.slope * q.slope
    if not square >= 0:
        return (least + most) / 2
    b = math.sqrt(square)
    bottom = q.slope - p.slope + 2 * b
    return min(max(q.t - (q.t - p.t) * ((q.slope + b - a) / bottom), least), most) if bottom else (least + most) / 2
