"""The descent: steps of a rule, accepted by a search, until something says stop.

It works on a vector and a function that gives value and gradient there; it knows no tape and no containers.
"""
from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .rules import Rule
from .search import EPS, Point, Search

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["Descent", "Outcome"]

ValueAndGrad = Callable[["Array"], tuple[float, "Array"]]
#: A rise of this much above the scale of the first and the best value counts as divergence.
RISE = 1e10


class Outcome(NamedTuple):
    """Why a descent ended."""

    success: bool
    status: int
    message: str


class Descent:
    """The state of a descent.

    Parameters
    ----------
    fun : callable
        Vector -> (value, gradient); to be minimised.
    x0 : ndarray
        Start.
    rule : Rule
        Proposes steps.
    search : callable
        Accepts them, see ``search``.
    downhill : bool
        Whether the search needs a step that goes down; a rule that proposes another one is reset.
    """

    def __init__(self, fun: ValueAndGrad, x0: Array, rule: Rule, search: Search, downhill: bool) -> None:
        self.fun, self.rule, self.search, self.downhill = fun, rule, search, downhill
        self.nit = self.nfev = 0
        self.point = Point(x0, np.nan, np.full(x0.shape, np.nan))
        self.best: Point | None = None
        self.x0 = x0
        self.fresh = True                             # the rule remembers nothing
        self.history: dict[str, list[float]] = {"fun": [], "grad_norm": [], "step": [], "time": []}

    def evaluate(self, x: Array) -> Point:
        """Value and gradient at x; the best point is remembered."""
        self.nfev += 1
        value, gradient = self.fun(x)
        p = Point(x, float(value), gradient)
        if p.finite and (self.best is None or p.f < self.best.f
                         or (p.f == self.best.f and np.linalg.norm(p.g) <= np.linalg.norm(self.best.g))):
            self.best = p
        return p

    def note(self, p: Point, length: float) -> None:
        """Write down where the descent stands."""
        entries = (p.f, float(np.linalg.norm(p.g)), length, time.perf_counter() - self.began)
        for column, entry in zip(self.history.values(), entries, strict=True):
            column.append(entry)

    def run(self, max_iter: int, tol: float, watch: Callable[[Descent], Any]) -> Outcome:
        """Descend until converged, stopped or exhausted; ``watch(self)`` is called after each iteration, True stops."""
        self.began = time.perf_counter()
        try:
            with np.errstate(all="ignore"):
                return self.loop(max_iter, tol, watch)
        except KeyboardInterrupt:
            return Outcome(False, 6, f"interrupted in iteration {self.nit + 1}; the best point so far is returned")

    def loop(self, max_iter: int, tol: float, watch: Callable[[Descent], Any]) -> Outcome:
        """The iterations."""
        self.point = p = self.evaluate(self.x0)
        self.note(p, 0.0)
        if not p.finite:
            return self.not_finite(p, "at the starting point")
        while True:
            if self.history["grad_norm"][-1] <= tol:
                return Outcome(True, 0, f"converged: the norm of the gradient is at most tol={tol:g}")
            if self.nit >= max_iter:
                return Outcome(False, 1, f"max_iter={max_iter} iterations are done, the norm of the gradient is "
                                         f"{self.history['grad_norm'][-1]:.3g}")
            step = self.propose(p)
            q = self.search(self.evaluate, p, step)
            self.nit += 1
            stop = self.examine(p, q, step)
            if q is not None:
                self.note(q, float(np.linalg.norm(q.x - p.x)))
                self.point = p = q
            else:
                self.note(p, 0.0)
                self.rule.reset()
            self.fresh = q is None
            asked = watch(self)
            if stop is not None:
                return stop
            if asked is True:
                return Outcome(False, 5, "stopped by the callback")

    def propose(self, p: Point) -> Array:
        """The rule's step; steepest descent where a search could do nothing with it."""
        step = self.rule.step(p.g, p.x)
        if self.downhill and not float(p.g @ step) < 0:
            self.rule.reset()
            step = self.rule.step(p.g, p.x)
            if not float(p.g @ step) < 0:
                step = -p.g / max(1.0, float(np.linalg.norm(p.g)))
        return step

    def examine(self, p: Point, q: Point | None, step: Array) -> Outcome | None:
        """A reason to stop after a step from p to q (None: no step was accepted)."""
        if q is None:
            if self.downhill and -float(p.g @ step) <= 1e3 * EPS * abs(p.f):
                return Outcome(True, 0, "converged: the value cannot fall any further within floating-point precision")
            if self.fresh:
                return Outcome(False, 2, "stalled: no step was accepted; a smaller lr, or accept='armijo', may go on")
        elif not q.finite:
            return self.not_finite(q, f"after iteration {self.nit}")
        elif q.f - self.best.f > RISE * max(1.0, abs(self.history["fun"][0]), abs(self.best.f)):  # type: ignore[union-attr]  # p was finite
            return Outcome(False, 4, f"diverged: the value is {q.f:.3g} after iteration {self.nit}; a smaller lr, or "
                                     "accept='decrease' or 'armijo', may help")
        return None

    def not_finite(self, p: Point, when: str) -> Outcome:
        """The end of a descent that has left the function's domain."""
        what = f"value is {p.f}" if not np.isfinite(p.f) else "gradient has entries that are nan or inf"
        return Outcome(False, 3, f"not finite: the {what} {when}")
