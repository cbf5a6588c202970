"""The descent as Python drives it: iterations in C, evaluations wherever the function runs, and why it ends."""
from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import _descent
from .._descent import Descent
from .newton import newton_step
from .objective import Objective, free_entries

if TYPE_CHECKING:
    from .._typing import Array

__all__ = ["CALLBACK", "ENDS", "Outcome", "descend", "ending", "interrupted", "timed_out"]

#: So many seconds of iterations in C, then signals and the progress bar have their turn.
INTERVAL = 0.02


#: A rise of this much above the scale of the first and the best value is divergence.
RISE = _descent.DIVERGENCE


class Outcome(NamedTuple):
    """Why a descent ended."""

    success: bool
    status: int
    message: str


#: Success, status and message for each of the reasons in ``_iterations.pxi``, in their order.
ENDS = (
    Outcome(True, 0, "converged: the norm of the gradient is at most tol={tol:g}"),
    Outcome(True, 0, "converged: the value cannot fall any further within floating-point precision"),
    Outcome(True, 0, "converged: the relative change of the value is at most ftol={ftol:g}"),
    Outcome(True, 0, "converged: the relative change of x is at most xtol={xtol:g}"),
    Outcome(False, 1, "max_iter={max_iter} iterations are done, the norm of the gradient is {norm:.3g}"),
    Outcome(False, 7, "max_time={max_time:g} seconds have passed, the norm of the gradient is {norm:.3g}"),
    Outcome(False, 2, "stalled: no step was accepted; a smaller lr, or accept='armijo', may go on"),
    Outcome(False, 3, "not finite: the {what} {when}"),
    Outcome(False, 4, "diverged: the value is {value:.3g} after iteration {nit}; a smaller lr, or accept='decrease' or "
                      "'armijo', may help"),
)
CALLBACK = Outcome(False, 5, "stopped by the callback")


def ending(reason: int, f: float, norm: float, nit: int, limits: dict[str, Any]) -> Outcome:
    """The outcome of a descent that has ended for a reason, where it had this value and norm of the gradient."""
    end = ENDS[reason]
    what = f"value is {f}" if not np.isfinite(f) else "gradient has entries that are nan or inf"
    when = f"after iteration {nit}" if nit else "at the starting point"
    return end._replace(message=end.message.format(value=f, norm=norm, nit=nit, what=what, when=when, **limits))


def timed_out(seconds: float) -> Outcome:
    """The outcome where the time ends what others iterate."""
    return Outcome(False, 7, f"max_time={seconds:g} seconds have passed")


def interrupted(where: str) -> Outcome:
    """The outcome after Ctrl-C."""
    return Outcome(False, 6, f"interrupted in {where}; the best point so far is returned")


def descend(descent: Descent, objective: Objective, limits: dict[str, Any],
            watch: Callable[[Descent], Any] | None = None, every: int | None = None,
            bounds: tuple[Array, Array] | None = None, cg_iter: int | None = None) -> Outcome:
    """Go on until converged, stopped or exhausted.

    Parameters
    ----------
    descent : Descent
        At its start.
    objective : Objective
        To be minimised.
    limits : dict
        ``tol``, ``ftol``, ``xtol``, ``max_iter``, ``max_time``, for messages.
    watch : callable, optional
        Called after iterations; True stops.
    every : int, optional
        After how many; default: now and then.
    bounds, cg_iter
        For Newton's steps, see `newton_step`.
    """
    try:
        with np.errstate(all="ignore"):
            while descent.wants != "nothing":
                before = descent.nit
                if descent.wants == "step":
                    x, g = descent.x, descent.g
                    product = product_of(objective, x, limits["sign"])
                    descent.step(newton_step(product, g, free_entries(x, g, bounds), cg_iter))
                else:
                    several = limits["max_iter"] + 1 if every is None else every - before % every
                    if objective.port is None or not descent.advance(objective.port, several, INTERVAL):
                        descent.tell(*objective(descent.trial))
                due = every is None or descent.nit % every == 0 or descent.wants == "nothing"
                if watch is not None and descent.nit > before and due and watch(descent) is True \
                        and (descent.reason < 0 or ENDS[descent.reason].status < 2):
                    descent.give_up()
                    return CALLBACK
    except KeyboardInterrupt:
        return interrupted(f"iteration {descent.nit + 1}")
    value = limits["sign"] * descent.f
    return ending(descent.reason, value, descent.norm, descent.nit, limits)


def product_of(objective: Objective, x: Array, sign: float) -> Callable[[Array], Array]:
    """The Hessian at x times a vector, of what goes down."""
    return lambda p: sign * objective.hvp(x, p)
