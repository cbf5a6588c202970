"""What the arguments that `minimize` and `minimize_many` share ask for: rule, step lengths, acceptance, limits."""
from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .._descent import Descent
from .checks import checked_bounds, checked_count, checked_limit
from .form import Form
from .methods import ACCEPT, METHODS, number, options_of
from .schedules import lengths_of, schedule_options

if TYPE_CHECKING:
    from .._typing import Array

__all__ = ["Plan", "limits_of"]


def limits_of(who: str, max_iter: Any, tol: Any, ftol: Any, xtol: Any, max_time: Any, maximize: Any) -> dict[str, Any]:
    """When to stop, checked, and the sign of what goes down."""
    return {"max_iter": checked_count(who, "max_iter", max_iter), "tol": checked_limit(who, "tol", tol, 0.0),
            "ftol": checked_limit(who, "ftol", ftol, -1.0), "xtol": checked_limit(who, "xtol", xtol, -1.0),
            "max_time": checked_limit(who, "max_time", max_time, np.inf), "sign": -1.0 if maximize else 1.0}


class Plan:
    """A descent of this method with these options, checked, from whatever start.

    Parameters
    ----------
    form : Form
        Of the parameters.
    limits : dict
        See `limits_of`.
    options : dict
        Those of the method and the schedule.
    """

    def __init__(self, form: Form, limits: dict[str, Any], method: Any, options: dict[str, Any], *, lr: Any,
                 schedule: Any, accept: Any, bounds: Any, clip_norm: Any, clip_value: Any) -> None:
        who = self.who = form.name
        self.limits, self.schedule = limits, schedule
        self.rule, self.schedule_options = options_of(who, method, options, schedule_options(who, schedule))
        self.bounds, self.method = checked_bounds(bounds, form), METHODS[method]
        self.accept = self.search_of(accept)
        self.lr = self.method.lr if lr is None else lr if callable(lr) else number(who, "lr", lr)
        self.rule.update({name: number(who, name, value) for name, value in
                          (("clip_norm", clip_norm), ("clip_value", clip_value)) if value is not None},
                         lr=1.0 if callable(self.lr) else self.lr)
        self.cg_iter = self.rule.pop("cg_iter", None)
        spectral = method == "gd" and lr is None and schedule is None and self.accept in ("armijo", "wolfe")
        self.kind = "spectral" if spectral else self.method.kind

    def search_of(self, accept: Any) -> str | None:
        """How steps are accepted."""
        if accept is not None and (not isinstance(accept, str) or accept not in ACCEPT):
            raise ValueError(f"{self.who}: accept={accept!r} is not known; allowed are {', '.join(map(repr, ACCEPT))}")
        if accept == "wolfe" and self.bounds is not None:
            raise ValueError(f"{self.who}: accept='wolfe' knows no bounds; with bounds accept='armijo' searches along "
                             "the projected step")
        needed = self.method.accept
        if needed is not None and accept in (None, "decrease"):
            return needed if self.bounds is None else "armijo"
        return accept

    def lengths_for(self, steps: int) -> Callable[[int, int], Array] | None:
        """What gives the step lengths, of so many steps in all."""
        return lengths_of(self.who, self.lr, self.schedule, self.schedule_options, steps)

    def descent(self, x: Array, path: bool = False) -> Descent:
        """A descent from x; `path`: its history has the places."""
        return Descent(x, self.kind, self.rule, accept=ACCEPT[self.accept], bounds=self.bounds, path=path,
                       lengths=self.lengths_for(self.limits["max_iter"]), **self.limits)
