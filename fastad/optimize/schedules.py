"""Step lengths that change from iteration to iteration."""
from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .._typing import Array

__all__ = ["SCHEDULES", "lengths_of", "schedule_options"]


def cosine(k: int, T_max: int, eta_min: float) -> float:
    """Half a wave from 1 to `eta_min` in `T_max` iterations, constant from there (Loshchilov, Hutter 2017)."""
    return eta_min + (1.0 - eta_min) * 0.5 * (1.0 + math.cos(math.pi * min(k / T_max, 1.0)))


def exponential(k: int, gamma: float) -> float:
    """`gamma` to the power of the iteration."""
    return gamma ** k


def step(k: int, step_size: int, gamma: float) -> float:
    """Times `gamma` every `step_size` iterations."""
    return float(gamma ** (k // step_size))


#: The schedules by name: the factor of lr, and the options with their defaults (None: max_iter).
SCHEDULES: dict[str, tuple[Callable[..., float], dict[str, Any]]] = {
    "cosine": (cosine, {"T_max": None, "eta_min": 0.0}),
    "exponential": (exponential, {"gamma": 0.999}),
    "step": (step, {"step_size": 100, "gamma": 0.1}),
}


def schedule_options(who: str, schedule: Any) -> dict[str, Any]:
    """The options of a schedule and their defaults.

    Raises
    ------
    ValueError
        When there is no such schedule; names those that there are.
    """
    if schedule is None or callable(schedule):
        return {}
    if not isinstance(schedule, str) or schedule not in SCHEDULES:
        raise ValueError(f"{who}: schedule={schedule!r} is not known; allowed are "
                         f"{', '.join(map(repr, SCHEDULES))} and a function of the iteration")
    return SCHEDULES[schedule][1]


def lengths_of(who: str, lr: Any, schedule: Any, options: dict[str, Any],
               steps: int) -> Callable[[int, int], Array] | None:
    """What gives the step lengths of iterations [first, last); None when they are all the same.

    Examples
    --------
    >>> lengths_of("minimize", 0.5, "step", {"step_size": 2, "gamma": 0.1}, 100)(1, 5)
    array([0.5  , 0.05 , 0.05 , 0.005])
    >>> lengths_of("minimize", lambda k: 1 / (1 + k), None, {}, 100)(0, 3).round(3)
    array([1.   , 0.5  , 0.333])
    """
    if schedule is None and not callable(lr):
        return None
    if callable(lr):
        if schedule is not None:
            raise ValueError(f"{who}: lr is a function and schedule={schedule!r}; one of them says how lr changes")
        factor, lr, name = lr, 1.0, "lr"
    elif callable(schedule):
        factor, name = schedule, "schedule"
    else:
        function, defaults = SCHEDULES[schedule]
        chosen = {key: options.get(key, max(steps, 1) if value is None else value) for key, value in defaults.items()}
        factor, name = (lambda k: function(k, **chosen)), "schedule"

    def lengths(first: int, last: int) -> Array:
        made = np.empty(last - first)
        for k in range(first, last):
            value = factor(k)
            if not isinstance(value, (int, float, np.integer, np.floating)) or not 0.0 <= value < math.inf:
                raise ValueError(f"{who}: {name}({k}) gave {value!r}, a number from 0 up is needed")
            made[k - first] = lr * value
        return made

    return lengths
