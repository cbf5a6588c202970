"""SciPy's methods by name: gradient, Hessian products, bounds and constraints wired; what they see is written down."""
from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from .driver import CALLBACK, Outcome, interrupted, timed_out
from .form import Form
from .objective import Objective
from .wiring import solve, wired_constraints

if TYPE_CHECKING:
    from .._typing import Array
    from .result import Result

__all__ = ["scipy_descent"]

#: SciPy's methods that stop at a norm of the gradient, by the option ``gtol``.
GTOL = ("cg", "bfgs", "l-bfgs-b", "tnc", "trust-ncg", "trust-krylov", "trust-exact", "dogleg", "trust-constr")


class Stop(Exception):  # noqa: N818  (no error)
    """Ends SciPy's loop."""


class Watched:
    """The function as SciPy calls it: counts, remembers the best point, writes the history."""

    def __init__(self, objective: Objective, limits: dict[str, Any], report: Any, bounds: Any) -> None:
        self.objective, self.report, self.bounds = objective, report, bounds
        self.sign, self.max_time = limits["sign"], limits["max_time"]
        self.nit = self.nfev = 0
        self.best: tuple[Array, float, Array] | None = None
        self.last: tuple[Array, float, Array] | None = None
        self.length = 0.0
        self.rows: list[list[float]] = []
        self.places: list[Array] = []
        self.outcome: Outcome | None = None
        self.began = time.perf_counter()

    def value(self, x: Array) -> float:
        """The value."""
        return self.value_and_grad(x)[0]

    def value_and_grad(self, x: Array) -> tuple[float, Array]:
        """Value and gradient; the best point within the bounds is remembered."""
        if time.perf_counter() - self.began > self.max_time:
            self.outcome = timed_out(self.max_time)
            raise Stop
        port = self.objective.port
        found = None if port is None else port(x)
        f, g = found if found is not None else self.objective(x)
        self.nfev += 1
        f, g = self.sign * f, self.sign * np.asarray(g)
        self.last = np.array(x), f, g
        inside = self.bounds is None or bool(np.all((self.bounds[0] <= x) & (x <= self.bounds[1])))
        if inside and np.isfinite(f) and (self.best is None or f < self.best[1]):
            self.best = self.last
        if not self.rows:
            self.note(self.last)
        return f, g

    def hvp(self, x: Array, p: Array) -> Array:
        """The Hessian times a vector."""
        product: Array = self.sign * self.objective.hvp(x, p)
        return product

    def hess(self, x: Array) -> Array:
        """The Hessian."""
        return np.stack([self.hvp(x, unit) for unit in np.eye(x.size)])

    def note(self, point: tuple[Array, float, Array]) -> None:
        """A row of the history."""
        self.x, self.f, self.g = point
        self.norm = float(np.linalg.norm(self.g if self.bounds is None else
                                         self.x - np.clip(self.x - self.g, *self.bounds)))
        self.rows.append([self.f, self.norm, self.length, time.perf_counter() - self.began])
        self.places.append(self.x)

    def after_iteration(self, x: Array, *_: Any) -> None:
        """SciPy's callback."""
        point = self.last if self.last is not None and np.array_equal(self.last[0], x) else None
        if point is None and self.best is not None and np.array_equal(self.best[0], x):
            point = self.best
        if point is None:                             # a line search looked elsewhere last
            f, g = self.objective(np.array(x))
            point = np.array(x), self.sign * f, self.sign * np.asarray(g)
        self.nit += 1
        self.length = float(np.linalg.norm(point[0] - self.x))
        self.note(point)
        if self.report.watch(self):
            self.outcome = CALLBACK
            raise Stop


def scipy_descent(name: str, objective: Objective, form: Form, limits: dict[str, Any], tol: float | None, bounds: Any,
                  constraints: Any, report: Any, options: dict[str, Any]) -> Result:
    """Run one of ``scipy.optimize.minimize``'s methods.

    Parameters
    ----------
    name : str
        SciPy's.
    tol : float, optional
        Its option ``gtol`` where it has that, else its ``tol``; None: as SciPy has it.
    options : dict
        SciPy's of the method.
    """
    from scipy import optimize

    form.not_empty(f"method='scipy:{name}'")
    watched = Watched(objective, limits, report, bounds)
    most = "maxfun" if name.lower() == "tnc" else "maxiter"
    more: dict[str, Any] = {"options": {most: limits["max_iter"], **options}}
    if tol is not None and "gtol" not in options:
        if name.lower() in GTOL:
            more["options"]["gtol"] = tol
        else:
            more["tol"] = tol
    start = form.start
    if bounds is not None:
        more["bounds"] = optimize.Bounds(*bounds)
        start = np.clip(start, *bounds)
    made = wired_constraints(() if constraints is None else constraints, form, name)
    result = None
    with report.shown(limits["max_iter"]):
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.filterwarnings("error", "Unknown solver options", optimize.OptimizeWarning)
                warnings.filterwarnings("error", "Method .* cannot handle", RuntimeWarning)
                result = solve(watched, start, name, constraints=made, callback=watched.after_iteration, **more)
        except Stop:
            outcome = watched.outcome
        except KeyboardInterrupt:
            outcome = interrupted(f"iteration {watched.nit + 1}")
        except (optimize.OptimizeWarning, RuntimeWarning) as error:
            raise ValueError(f"{form.name}: method 'scipy:{name}': {error}; scipy.optimize.show_options('minimize', "
                             f"{name!r}) shows its options") from None
        except ValueError as error:
            if "Unknown solver" not in str(error):
                raise
            raise ValueError(f"{form.name}: method='scipy:{name}' is not one of scipy.optimize.minimize's") from None
    if result is not None:
        outcome = Outcome(bool(result.success), 0 if result.success else 1, f"scipy: {result.message}")
        watched.nit = int(result.get("nit", watched.nit))
    point = final(watched, result, bool(made), form)
    rows = np.array(watched.rows).reshape(-1, 4)
    history = dict(zip(("fun", "grad_norm", "step", "time"), rows.T.copy(), strict=True))
    made_of: Result = report.result(point, watched, outcome, history,
                                    np.array(watched.places).reshape(len(rows), form.start.size))
    return made_of


def final(watched: Watched, result: Any, constrained: bool, form: Form) -> tuple[Array, float, Array]:
    """The best point seen; with constraints SciPy's own, since the best one may be outside."""
    best = watched.best
    if result is None and constrained:
        best = (watched.x, watched.f, watched.g) if watched.rows else None
    if best is None or (result is not None and constrained):
        x = form.start if result is None else np.asarray(result.x, np.float64)
        f, g = watched.objective(x)
        best = x, watched.sign * f, watched.sign * np.asarray(g)
    return best
