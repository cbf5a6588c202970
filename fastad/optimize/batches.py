"""Minibatches: a step for each batch of rows, a look at all data after each epoch."""
from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from .._descent import Update
from .checks import checked_count
from .driver import CALLBACK, RISE, Outcome, ending, interrupted
from .form import Form
from .objective import Objective, Replayed, objective_of
from .plan import Plan

if TYPE_CHECKING:
    from .._typing import Array
    from .result import Result

__all__ = ["descend_batches"]


class Data:
    """Arrays with a leading axis of rows.

    Examples
    --------
    >>> data = Data([np.arange(5), np.arange(10.0).reshape(5, 2)], 2, None)
    >>> [len(batch[0]) for batch in data.epoch()]
    [2, 2, 1]
    """

    def __init__(self, data: Any, batch_size: Any, shuffle: Any, who: str = "minimize") -> None:
        arrays = [data] if isinstance(data, np.ndarray) else data
        if not isinstance(arrays, (list, tuple)) or not arrays:
            raise ValueError(f"{who}: data={type(data).__name__}; an array or a sequence of arrays is needed")
        self.arrays = tuple([np.asarray(array, order="C") for array in arrays])
        rows = {len(array) if array.ndim else 0 for array in self.arrays}
        if len(rows) != 1 or 0 in rows:
            shapes = ", ".join([str(np.shape(array)) for array in arrays])
            raise ValueError(f"{who}: data has arrays of shapes {shapes}; they need one number of rows, at least 1")
        self.rows = rows.pop()
        self.size = min(self.rows, checked_count(who, "batch_size", 32 if batch_size is None else batch_size, 1))
        self.steps = -(-self.rows // self.size)
        self.order: np.random.Generator | None = None
        if shuffle is True:
            self.order = np.random.default_rng()
        elif isinstance(shuffle, np.random.Generator):
            self.order = shuffle
        elif shuffle is not None and shuffle is not False:
            self.order = np.random.default_rng(checked_count(who, "shuffle", shuffle))

    def epoch(self) -> Iterator[tuple[Array, ...]]:
        """All batches."""
        arrays = self.arrays
        if self.order is not None:
            order = self.order.permutation(self.rows)
            arrays = tuple([array[order] for array in arrays])
        for first in range(0, self.rows, self.size):
            yield tuple([array[first:first + self.size] for array in arrays])


class Batches:
    """A function of x and a batch; of a compiled one each number of rows has a program that is fed the rows."""

    def __init__(self, f: Any, form: Form, args: tuple[Any, ...]) -> None:
        self.f, self.form, self.args = f, form, args
        self.objectives: dict[int, Objective] = {}

    def __call__(self, x: Array, batch: tuple[Array, ...]) -> tuple[float, Array]:
        """Value and gradient."""
        rows = len(batch[0])
        objective = self.objectives.get(rows)
        if not isinstance(objective, Replayed):       # a function in Python: the arguments are given anew
            objective = self.objectives[rows] = objective_of(self.f, self.form, (*batch, *self.args), False)
            return objective(x)
        objective.args = (*batch, *self.args)
        if objective.port is not None:
            objective.port.place(batch, len(objective.form.leaves))
            found = objective.port(x)
            if found is not None:
                return found
        return objective(x)


class Walk:
    """Where the descent stands, for whoever watches."""

    def __init__(self) -> None:
        self.nit = self.nfev = 0
        self.norm = self.f = math.nan
        self.length = 0.0
        self.best: tuple[Array, float, Array] | None = None
        self.rows: list[tuple[float, ...]] = []
        self.places: list[Array] = []
        self.steps: list[tuple[float, float]] = []
        self.began = time.perf_counter()

    def look(self, point: tuple[Array, float, Array], bounds: Any) -> None:
        """A point with value and gradient of all data."""
        before = self.places[-1] if self.places else point[0]
        self.x, self.f, self.g = point
        self.norm = float(np.linalg.norm(self.g if bounds is None else self.x - np.clip(self.x - self.g, *bounds)))
        self.length = float(np.linalg.norm(self.x - before))
        if np.isfinite(self.f) and np.isfinite(self.norm) and (self.best is None or self.f < self.best[1]):
            self.best = point
        self.rows.append((self.f, self.norm, self.length, time.perf_counter() - self.began))
        self.places.append(self.x)


def descend_batches(f: Any, form: Form, args: Any, data: Any, plan: Plan, report: Any, accept: Any, batch_size: Any,
                    epochs: Any, shuffle: Any) -> Result:
    """Descend by minibatches; the arguments are those of `minimize`."""
    limits, bounds = plan.limits, plan.bounds
    if plan.method.accept is not None or accept is not None:
        raise ValueError(f"{form.name}: minibatches take every step, since values of different batches say nothing of "
                         "each other: a first-order method and accept=None are needed")
    rows = Data(data, batch_size, shuffle, form.name)
    epochs = checked_count(form.name, "epochs", 10 if epochs is None else epochs)
    lengths = plan.lengths_for(rows.steps * epochs)
    update, sign = Update(plan.kind, form.start.size, **plan.rule), limits["sign"]
    function, walk = Batches(f, form, tuple(args)), Walk()
    start: Array = form.start if bounds is None else np.clip(form.start, *bounds)

    def run(x: Array) -> Outcome:
        for epoch in range(epochs + 1):
            value, g = function(x, rows.arrays)
            walk.nfev += 1
            walk.look((x, sign * value, sign * g), bounds)
            asked = epoch > 0 and report.watch(walk)
            reason = stop(walk, limits)
            if reason is not None or asked or epoch == epochs:
                break
            for batch in rows.epoch():
                value, g = function(x, batch)
                walk.nfev += 1
                walk.steps.append((value, float(np.linalg.norm(g))))
                if lengths is not None:
                    update.lr = lengths(walk.nit, walk.nit + 1)[0]
                x = x + update.step(sign * g, x)
                if bounds is not None:
                    x = np.clip(x, *bounds)
                walk.nit += 1
        if reason is None and asked:
            return CALLBACK
        if reason is None:
            return Outcome(False, 1, f"epochs={epochs} are done, the norm of the gradient is {walk.norm:.3g}")
        return ending(reason, sign * walk.f, walk.norm, walk.nit, limits)

    with report.shown(rows.steps * epochs, "step"):
        try:
            with np.errstate(all="ignore"):
                outcome = run(start)
        except KeyboardInterrupt:
            outcome = interrupted(f"iteration {walk.nit + 1}")
    columns = np.array(walk.rows).reshape(-1, 4)
    history = dict(zip(("fun", "grad_norm", "step", "time"), columns.T.copy(), strict=True))
    history.update(zip(("batch_fun", "batch_grad_norm"), np.array(walk.steps).reshape(-1, 2).T.copy(), strict=True))
    best = walk.best or (start, math.nan, np.full(start.shape, math.nan))
    report.objective = objective_of(f, form, (*rows.arrays, *args), False)
    made: Result = report.result(best, walk, outcome, history, np.array(walk.places).reshape(-1, start.size))
    return made


def stop(walk: Walk, limits: dict[str, Any]) -> int | None:
    """A reason to stop after an epoch: number of `ENDS`."""
    if not (np.isfinite(walk.f) and np.isfinite(walk.norm)):
        return 7
    values = [row[0] for row in walk.rows]
    if walk.f - min(values) > RISE * max(1.0, abs(values[0]), abs(min(values))):
        return 8
    if walk.norm <= limits["tol"]:
        return 0
    if len(values) > 1 and abs(values[-1] - values[-2]) <= limits["ftol"] * max(1.0, abs(values[-1]), abs(values[-2])):
        return 2
    if len(values) > 1 and walk.length <= limits["xtol"] * max(1.0, float(np.linalg.norm(walk.x))):
        return 3
    if walk.rows[-1][3] > limits["max_time"]:
        return 5
    return None
