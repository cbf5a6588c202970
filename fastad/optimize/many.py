"""Thousands of small independent fits side by side."""
from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .._descent import Port, many
from .._threads import in_threads
from ..compiled import Compiled, compile
from ..compiled.batch import lanes_for
from ..tree import flatten
from .checks import checked_callback, checked_count
from .driver import CALLBACK, ENDS, Outcome, descend, interrupted, timed_out
from .form import Form, as_array
from .objective import Replayed, objective_of
from .plan import Plan, limits_of
from .progress import Show, progress_display, stops

if TYPE_CHECKING:
    from .._typing import Array
    from .result import Result

__all__ = ["minimize_many"]


def minimize_many(f: Callable[..., Any], X0: Any, args: tuple[Any, ...] = (), method: str = "lbfgs", *,
                  in_axes: Any = 0, threads: int = 1, lr: float | Callable[[int], float] | None = None,
                  schedule: str | Callable[[int], float] | None = None, accept: str | None = None, bounds: Any = None,
                  clip_norm: float | None = None, clip_value: float | None = None, max_iter: int = 1000,
                  tol: float = 1e-6, ftol: float | None = None, xtol: float | None = None,
                  max_time: float | None = None, maximize: bool = False,
                  callback: Callable[[Result], Any] | None = None, progress: bool = False, **options: Any) -> Result:
    """Minimise a function from many starts, or with many data sets: a fit for each row, all independent.

    The fits run side by side without Python, each until it stops by itself; one that ends makes room for the next.
    Results do not depend on the number of threads, unless something stops them all: the time, the callback, Ctrl-C.

    Parameters
    ----------
    f : callable
        ``f(x, *args)`` returns a scalar. One that is not compiled is compiled for this call.
    X0 : array or nested container of arrays
        Starts, with a leading axis of rows.
    args : tuple
        More arguments for `f`: numbers and arrays.
    method : str
        As for `minimize`, except newton-cg and SciPy's.
    in_axes : int, None or sequence of them
        For each of `args` the axis of its rows, None for one that all fits share; one for all.
    threads : int
        Among how many threads the rows are split.
    lr, schedule, accept, bounds, clip_norm, clip_value, max_iter, tol, ftol, xtol, maximize, **options
        As for `minimize`; `bounds` are those of one row, the same for all.
    max_time : float, optional
        Stop all fits after so many seconds.
    callback : callable, optional
        Called about ten times a second, and at the end, with an OptimizeResult: ``done`` fits of ``total`` have ended;
        ``success`` and ``fun`` have an entry for each row, False and nan for one that has not ended. Returning True, or
        raising StopIteration, stops all fits.
    progress : bool
        Show a progress bar (tqdm, if installed; else a line on stderr now and then).

    Returns
    -------
    scipy.optimize.OptimizeResult
        Of each fit the best point seen: ``x`` and ``jac`` in the form of `X0`, ``fun``, ``nit``, ``nfev``, ``success``
        and ``status`` (as of `minimize`) as arrays with an entry for each row; ``message``. A fit that had not begun
        when all were stopped has its start, and nan for value and gradient.

    Raises
    ------
    ValueError
        When an argument makes no sense; names it and what is allowed.
    TypeError
        When a start or an argument is no number and no array, or is masked.

    Examples
    --------
    >>> import numpy as np
    >>> import fastad as fa
    >>> t = np.linspace(0.0, 1.0, 20)
    >>> def misfit(p, y):
    ...     return np.sum((p[0] * np.exp(-p[1] * t) - y) ** 2)
    >>> Y = np.array([[1.0], [2.0], [3.0]]) * np.exp(-0.5 * t)
    >>> result = fa.minimize_many(misfit, np.ones((3, 2)), (Y,), threads=2)
    >>> result.x.round(3)
    array([[1. , 0.5],
           [2. , 0.5],
           [3. , 0.5]])
    >>> result.success.all(), result.nit.shape
    (np.True_, (3,))
    """
    fits = Fits(f, X0, args, in_axes)
    who = fits.form.name
    threads = checked_count(who, "threads", threads, 1)
    checked_callback(who, callback)
    limits = limits_of(who, max_iter, tol, ftol, xtol, max_time, maximize)
    seconds, limits["max_time"] = limits["max_time"], np.inf                # of all fits together
    if isinstance(method, str) and (method == "newton-cg" or method.startswith("scipy:")):
        raise ValueError(f"{who}: method={method!r} is not for many fits; first-order methods and 'lbfgs' are")
    plan = Plan(fits.form, limits, method, options, lr=lr, schedule=schedule, accept=accept, bounds=bounds,
                clip_norm=clip_norm, clip_value=clip_value)
    watch = Watch(who, fits.rows, callback, progress, seconds, limits["sign"])
    return fits.result(fits.run(plan, threads, watch), limits["sign"], watch.stopped)


def rows_of(X0: Any) -> Any:
    """Starts; a list of nothing but numbers, or of lists of them, is an array, as for NumPy."""
    if type(X0) is list and all(isinstance(x, (int, float, np.number)) for x in flatten(X0)[0]):
        try:
            return np.array(X0)
        except ValueError:
            raise ValueError("minimize_many: X0 is a list of rows of different lengths") from None
    return X0


def rows_first(arg: Any, axis: Any, what: str) -> Any:
    """An argument with the axis of its rows in front, None: it has none."""
    array = as_array(arg, what)
    if axis is None:
        return array
    if isinstance(axis, bool) or not isinstance(axis, (int, np.integer)):
        raise ValueError(f"minimize_many: in_axes has {axis!r}; for each argument an integer is needed, or None")
    if not -array.ndim <= axis < array.ndim:
        raise ValueError(f"{what} of shape {array.shape} has no axis {axis} of rows; in_axes says which arguments have "
                         "any")
    return np.moveaxis(array, axis, 0)


class Watch:
    """What the caller sees of the fits while they run, about ten times a second, and whether to stop them all.

    It is called from any thread with the flag that ends the work of each; the thread that made it does the showing.
    """

    INTERVAL = 0.1

    def __init__(self, who: str, total: int, callback: Any, progress: bool, seconds: float, sign: float) -> None:
        self.total, self.callback, self.seconds, self.sign = total, callback, seconds, sign
        self.show: Show | None = None
        self.close: Callable[[], None] = lambda: None
        if progress:
            self.show, self.close = progress_display(who, total, "fit")
        self.thread, self.began = threading.get_ident(), time.perf_counter()
        self.due = self.began + self.INTERVAL
        #: Why all were stopped.
        self.stopped: Outcome | None = None
        #: What has been found of each fit, and of some in arrays of their own: which, and these.
        self.out: dict[str, Any] = {}
        self.some: tuple[Any, dict[str, Any]] = slice(0), {}

    def __call__(self, cancel: Any) -> bool:
        """Whether to stop; sets the flag if so."""
        now = time.perf_counter()
        if self.stopped is None and now - self.began > self.seconds:
            self.stopped = timed_out(self.seconds)
        if self.stopped is None and now >= self.due and threading.get_ident() == self.thread:
            self.look()
            self.due = time.perf_counter() + self.INTERVAL
        if self.stopped is not None:
            cancel[0] = 1
        return bool(cancel[0])

    def look(self) -> None:
        """Show how far it is, and ask the callback."""
        if self.show is None and self.callback is None:
            return
        fun, reason = self.out["fun"].copy(), self.out["reason"].copy()
        rows, found = self.some
        if found:
            fun[rows], reason[rows] = found["fun"], found["reason"]
        ended, success = reason >= 0, succeeded(reason)
        done = int(ended.sum())
        if self.show is not None:
            self.show(done, f"{int(success.sum())} converged")
        if self.callback is not None:
            from .result import Result  # with SciPy, which need not be loaded before

            if stops(self.callback, Result({"done": done, "total": self.total, "success": success,
                                            "fun": np.where(ended, self.sign * fun, np.nan)})):
                self.stopped = CALLBACK


def succeeded(reason: Any) -> Any:
    """Which fits have converged; a negative reason: one has not ended."""
    return (reason >= 0) & np.array([end.success for end in ENDS])[reason]


class Fits:
    """The rows: starts and arguments, and what becomes of them."""

    def __init__(self, f: Any, X0: Any, args: Any, in_axes: Any) -> None:
        if not callable(f):
            raise ValueError(f"minimize_many: f={f!r}, a function is needed")
        if not isinstance(args, (tuple, list)):
            raise ValueError(f"minimize_many: args={args!r}, a tuple is needed")
        self.f = f if isinstance(f, Compiled) else compile(f)
        leaves, rebuild = flatten(rows_of(X0))
        arrays = [as_array(leaf, "minimize_many: X0") for leaf in leaves]
        counts = {a.shape[0] if a.ndim else 0 for a in arrays}
        if len(counts) != 1 or 0 in counts:
            shapes = ", ".join([str(a.shape) for a in arrays])
            raise ValueError(f"minimize_many: X0 has {f'arrays of shapes {shapes}' if arrays else 'no numbers'}; each "
                             "array needs a leading axis of rows, as many in all, at least one")
        self.rows = counts.pop()
        self.rebuild, self.arrays = rebuild, arrays
        self.form = Form(rebuild([a[0] for a in arrays]), "minimize_many", "X0")
        self.starts = np.ascontiguousarray(np.concatenate(
            [np.asarray(a, np.float64).reshape(self.rows, -1) for a in arrays], axis=1))
        axes = list(in_axes) if isinstance(in_axes, (tuple, list)) else [in_axes] * len(args)
        if len(axes) != len(args):
            raise ValueError(f"minimize_many: in_axes has {len(axes)} entries for {len(args)} arguments")
        self.stacked = [axis is not None for axis in axes]
        self.args = [rows_first(arg, axis, f"minimize_many: args[{k}]")
                     for k, (arg, axis) in enumerate(zip(args, axes, strict=True))]
        for k, (arg, stacked) in enumerate(zip(self.args, self.stacked, strict=True)):
            if arg.dtype.kind not in "fiub":
                raise ValueError(f"minimize_many: args[{k}] of dtype {arg.dtype}; numbers and arrays are needed")
            if stacked and (arg.ndim == 0 or len(arg) != self.rows):
                raise ValueError(f"minimize_many: args[{k}] of shape {arg.shape} has not the {self.rows} rows of X0; "
                                 "in_axes says which arguments have any")

    def args_of(self, row: int) -> tuple[Any, ...]:
        """The other arguments of one fit."""
        return tuple([arg[row] if stacked else arg[()] for arg, stacked in zip(self.args, self.stacked, strict=True)])

    def run(self, plan: Plan, threads: int, watch: Watch) -> dict[str, Any]:
        """All fits, as far as they came; status and message of those that were stopped are the watch's."""
        rows, n = self.starts.shape
        start = self.starts if plan.bounds is None else np.clip(self.starts, *plan.bounds)
        out = watch.out = {"x": start.copy(), "jac": np.full((rows, n), np.nan), "fun": np.full(rows, np.nan),
                           "nit": np.zeros(rows, np.int64), "nfev": np.zeros(rows, np.int64),
                           "reason": np.full(rows, -1), "left": np.ones(rows, np.uint8)}
        try:
            self.fit(plan, threads, watch)
            if watch.stopped is None:
                watch.look()
        except KeyboardInterrupt:
            watch.stopped = interrupted("the fits that have not ended")
        finally:
            watch.close()
        return out

    def fit(self, plan: Plan, threads: int, watch: Watch) -> None:
        """Side by side those that begin on one branch; those that leave it on the way each by itself."""
        out, todo, alone = watch.out, np.arange(self.rows), [np.empty(0, np.int64)]
        while len(todo) and watch.stopped is None:
            first = objective_of(self.f, self.form, self.args_of(todo[0]), False)
            first(plan.descent(self.starts[todo[0]]).trial)
            if first.port is None or not isinstance(first, Replayed):
                break
            self.side_by_side(plan, first.port, threads, watch, todo)
            left = todo[out["left"][todo] > 0]
            gone = (out["nfev"][left] > 0) | (left == todo[0])
            alone.append(left[gone])
            todo = left[~gone]                        # those that begin on another branch
        rest = np.concatenate([*alone, todo])
        if watch.stopped is None:
            in_threads(lambda part, cancel: self.one_by_one(plan, rest[slice(*part)], watch, cancel), len(rest), 1,
                       threads, watch)

    def side_by_side(self, plan: Plan, port: Port, threads: int, watch: Watch, rows: Any) -> None:
        """The fits of some rows, as far as they stay on the branch of a port."""
        like = plan.descent(self.starts[0])
        like.ask_all()
        evaluator = port.evaluator
        parts, n = len(self.form.leaves), len(evaluator.dims)
        others = [np.ascontiguousarray(arg[rows] if stacked else arg, np.float64)
                  for arg, stacked in zip(self.args, self.stacked, strict=True)]
        starts, found = self.starts[rows], {name: array[rows] for name, array in watch.out.items()}
        leaves: list[Any] = [*[np.empty(0)] * parts, *others]
        stacked = [False] * parts + self.stacked
        if len(leaves) != n:
            raise TypeError("minimize_many: args need to be numbers and arrays")
        # what happens to a row depends on its group, and groups on nothing but the number of rows
        lanes = lanes_for(evaluator.code, 64)
        size = max(lanes, min(16 * lanes, -(-len(rows) // 16 // lanes) * lanes))
        found["left"][:] = 0
        watch.some = rows, found

        def work(part: tuple[int, int], cancel: Any) -> None:
            for begin in range(*part, size):
                if watch(cancel):
                    return
                fed = Port(evaluator, leaves, 0, parts)
                if not many(like, fed, stacked, starts, found, begin, min(begin + size, part[1]), lanes, cancel,
                            watch):
                    found["left"][begin:part[1]] = 1      # an array from outside has changed

        try:
            in_threads(work, len(rows), size, threads, watch)
        finally:
            watch.some = slice(0), {}
            for name, array in found.items():
                watch.out[name][rows] = array

    def one_by_one(self, plan: Plan, rows: Any, watch: Watch, cancel: Any) -> None:
        """Those that change branches."""
        out = watch.out
        for row in rows:
            if watch(cancel):
                return
            descent = plan.descent(self.starts[row])
            objective = objective_of(self.f, self.form, self.args_of(row), False)
            outcome = descend(descent, objective, plan.limits, lambda _: watch(cancel))
            if descent.reason >= 0 or not out["fun"][row] <= descent.best[1]:     # stopped, it may have come less far
                out["x"][row], out["fun"][row], out["jac"][row] = descent.best
                out["nit"][row], out["nfev"][row], out["reason"][row] = descent.nit, descent.nfev, descent.reason
            if outcome.status == 6:
                raise KeyboardInterrupt

    def result(self, out: dict[str, Any], sign: float, stopped: Outcome | None) -> Result:
        """The arrays, in the form of X0."""
        from .result import Result  # with SciPy, which need not be loaded before

        ends = np.cumsum(self.form.sizes)
        success, status = succeeded(out["reason"]), np.array([end.status for end in ENDS])[out["reason"]]
        message = f"{int(success.sum())} of {self.rows} fits converged"
        if stopped is not None and not np.all(out["reason"] >= 0):
            status[out["reason"] < 0] = stopped.status
            message += f"; {stopped.message}"

        def shaped(matrix: Array) -> Any:
            return self.rebuild([matrix[:, end - size:end].reshape(a.shape).astype(dtype) for a, size, end, dtype in
                                 zip(self.arrays, self.form.sizes, ends, self.form.dtypes, strict=True)])

        return Result({"x": shaped(out["x"]), "fun": sign * out["fun"], "jac": shaped(sign * out["jac"]),
                       "nit": out["nit"], "nfev": out["nfev"], "success": success,
                       "status": status, "message": message})
