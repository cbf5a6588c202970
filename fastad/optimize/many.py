"""Thousands of small independent fits side by side."""
from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .._descent import Descent, Port, many
from .._threads import in_threads
from ..compiled import Compiled, compile
from ..compiled.batch import lanes_for
from ..tree import flatten
from .checks import checked_bounds, checked_count, checked_limit
from .driver import ENDS, descend
from .form import Form
from .methods import ACCEPT, METHODS, number, options_of
from .minimize import search_of
from .objective import Replayed, objective_of
from .schedules import lengths_of, schedule_options

if TYPE_CHECKING:
    from .._typing import Array
    from .result import Result

__all__ = ["minimize_many"]


def minimize_many(f: Callable[..., Any], X0: Any, args: tuple[Any, ...] = (), method: str = "lbfgs", *,
                  in_axes: Any = 0, threads: int = 1, lr: float | Callable[[int], float] | None = None,
                  schedule: str | Callable[[int], float] | None = None, accept: str | None = None, bounds: Any = None,
                  clip_norm: float | None = None, clip_value: float | None = None, max_iter: int = 1000,
                  tol: float = 1e-6, ftol: float | None = None, xtol: float | None = None, maximize: bool = False,
                  **options: Any) -> Result:
    """Minimise a function from many starts, or with many data sets: a fit for each row, all independent.

    The fits run side by side without Python, each until it stops by itself; one that ends makes room for the next.
    Results do not depend on the number of threads.

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

    Returns
    -------
    scipy.optimize.OptimizeResult
        Of each fit the best point seen: ``x`` and ``jac`` in the form of `X0`, ``fun``, ``nit``, ``nfev``, ``success``
        and ``status`` (as of `minimize`) as arrays with an entry for each row; ``message``.

    Raises
    ------
    ValueError
        When an argument makes no sense; names it and what is allowed.
    TypeError
        When `f` cannot be compiled.

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
    threads = checked_count("threads", threads, 1)
    limits: dict[str, Any] = {"max_iter": checked_count("max_iter", max_iter), "tol": checked_limit("tol", tol, 0.0),
                              "ftol": checked_limit("ftol", ftol, -1.0), "xtol": checked_limit("xtol", xtol, -1.0),
                              "max_time": np.inf, "sign": -1.0 if maximize else 1.0}
    rule, chosen = options_of(method, options, schedule_options(schedule))
    kind, sides = METHODS[method], checked_bounds(bounds, fits.form)
    if kind.kind == "outside":
        raise ValueError(f"minimize_many: method={method!r} is not for many fits; first-order methods and 'lbfgs' are")
    accept = search_of(method, accept, sides)
    base = kind.lr if lr is None else lr if callable(lr) else number("lr", lr)
    rule.update({name: number(name, value) for name, value in (("clip_norm", clip_norm), ("clip_value", clip_value))
                 if value is not None}, lr=1.0 if callable(base) else base)
    spectral = method == "gd" and lr is None and schedule is None and accept in ("armijo", "wolfe")
    lengths = lengths_of(base, schedule, chosen, limits["max_iter"])

    def start(x: Array) -> Descent:
        return Descent(x, "spectral" if spectral else kind.kind, rule, accept=ACCEPT[accept], bounds=sides,
                       lengths=lengths, **limits)

    out = fits.run(start, limits, threads)
    return fits.result(out, limits["sign"])


class Fits:
    """The rows: starts and arguments, and what becomes of them."""

    def __init__(self, f: Any, X0: Any, args: Any, in_axes: Any) -> None:
        if not callable(f):
            raise ValueError(f"minimize_many: f={f!r}, a function is needed")
        if not isinstance(args, (tuple, list)):
            raise ValueError(f"minimize_many: args={args!r}, a tuple is needed")
        self.f = f if isinstance(f, Compiled) else compile(f)
        leaves, rebuild = flatten(X0)
        arrays = [np.asarray(leaf) for leaf in leaves]
        counts = {a.shape[0] if a.ndim else 0 for a in arrays}
        if len(counts) != 1 or 0 in counts:
            raise ValueError("minimize_many: X0 has arrays of shapes " + ", ".join([str(a.shape) for a in arrays])
                             + "; each needs a leading axis of rows, as many in all, at least one")
        self.rows = counts.pop()
        self.rebuild, self.arrays = rebuild, arrays
        self.form = Form(rebuild([a[0] for a in arrays]))
        self.starts = np.ascontiguousarray(np.concatenate(
            [np.asarray(a, np.float64).reshape(self.rows, -1) for a in arrays], axis=1))
        axes = list(in_axes) if isinstance(in_axes, (tuple, list)) else [in_axes] * len(args)
        if len(axes) != len(args):
            raise ValueError(f"minimize_many: in_axes has {len(axes)} entries for {len(args)} arguments")
        self.stacked = [axis is not None for axis in axes]
        self.args = [np.asarray(arg) if axis is None else np.moveaxis(np.asarray(arg), axis, 0)
                     for arg, axis in zip(args, axes, strict=True)]
        for k, (arg, stacked) in enumerate(zip(self.args, self.stacked, strict=True)):
            if arg.dtype.kind not in "fiub":
                raise ValueError(f"minimize_many: args[{k}] of dtype {arg.dtype}; numbers and arrays are needed")
            if stacked and (arg.ndim == 0 or len(arg) != self.rows):
                raise ValueError(f"minimize_many: args[{k}] of shape {arg.shape} has not the {self.rows} rows of X0; "
                                 "in_axes says which arguments have any")

    def args_of(self, row: int) -> tuple[Any, ...]:
        """The other arguments of one fit."""
        return tuple([arg[row] if stacked else arg[()] for arg, stacked in zip(self.args, self.stacked, strict=True)])

    def run(self, start: Callable[[Array], Descent], limits: dict[str, Any], threads: int) -> dict[str, Any]:
        """All fits: side by side those that begin on one branch; those that leave it on the way each by itself."""
        n, rows = self.starts.shape[1], self.rows
        out = {"x": self.starts.copy(), "jac": np.full((rows, n), np.nan), "fun": np.full(rows, np.nan),
               "nit": np.zeros(rows, np.int64), "nfev": np.zeros(rows, np.int64), "reason": np.zeros(rows, np.int64),
               "left": np.ones(rows, np.uint8)}
        todo, alone = np.arange(rows), [np.empty(0, np.int64)]
        while len(todo):
            first = objective_of(self.f, self.form, self.args_of(todo[0]), False)
            first(start(self.starts[todo[0]]).trial)
            if first.port is None or not isinstance(first, Replayed):
                break
            self.side_by_side(start, first.port, out, threads, todo)
            left = todo[out["left"][todo] > 0]
            gone = (out["nfev"][left] > 0) | (left == todo[0])
            alone.append(left[gone])
            todo = left[~gone]                        # those that begin on another branch
        rest = np.concatenate([*alone, todo])
        in_threads(lambda part, cancel: self.one_by_one(start, limits, rest[slice(*part)], out, cancel),
                   len(rest), 1, threads)
        return out

    def side_by_side(self, start: Callable[[Array], Descent], port: Port, out: dict[str, Any], threads: int,
                     rows: Any) -> None:
        """The fits of some rows, as far as they stay on the branch of a port."""
        like = start(self.starts[0])
        like.ask_all()
        evaluator = port.evaluator
        parts, n = len(self.form.leaves), len(evaluator.dims)
        others = [np.ascontiguousarray(arg[rows] if stacked else arg, np.float64)
                  for arg, stacked in zip(self.args, self.stacked, strict=True)]
        starts, found = self.starts[rows], {name: array[rows] for name, array in out.items()}
        leaves: list[Any] = [*[np.empty(0)] * parts, *others]
        stacked = [False] * parts + self.stacked
        if len(leaves) != n:
            raise TypeError("minimize_many: args need to be numbers and arrays")
        # what happens to a row depends on its group, and groups on nothing but the number of rows
        lanes = lanes_for(evaluator.code, 64)
        size = max(lanes, min(16 * lanes, -(-len(rows) // 16 // lanes) * lanes))
        found["left"][:] = 0

        def work(part: tuple[int, int], cancel: Any) -> None:
            for begin in range(*part, size):
                fed = Port(evaluator, leaves, 0, parts)
                if not many(like, fed, stacked, starts, found, begin, min(begin + size, part[1]), lanes, cancel):
                    found["left"][begin:part[1]] = 1      # an array from outside has changed

        in_threads(work, len(rows), size, threads)
        for name, array in found.items():
            out[name][rows] = array

    def one_by_one(self, start: Callable[[Array], Descent], limits: dict[str, Any], rows: Any,
                   out: dict[str, Any], cancel: Any) -> None:
        """Those that change branches."""
        for row in rows:
            if cancel[0]:
                return
            descent = start(self.starts[row])
            outcome = descend(descent, objective_of(self.f, self.form, self.args_of(row), False), limits)
            if outcome.status == 6:
                raise KeyboardInterrupt
            out["x"][row], out["fun"][row], out["jac"][row] = descent.best
            out["nit"][row], out["nfev"][row], out["reason"][row] = descent.nit, descent.nfev, descent.reason

    def result(self, out: dict[str, Any], sign: float) -> Result:
        """The arrays, in the form of X0."""
        from .result import Result  # with SciPy, which need not be loaded before

        ends = np.cumsum(self.form.sizes)
        success = np.array([end.success for end in ENDS])[out["reason"]]

        def shaped(matrix: Array) -> Any:
            return self.rebuild([matrix[:, end - size:end].reshape(a.shape).astype(dtype) for a, size, end, dtype in
                                 zip(self.arrays, self.form.sizes, ends, self.form.dtypes, strict=True)])

        return Result({"x": shaped(out["x"]), "fun": sign * out["fun"], "jac": shaped(sign * out["jac"]),
                       "nit": out["nit"], "nfev": out["nfev"], "success": success,
                       "status": np.array([end.status for end in ENDS])[out["reason"]],
                       "message": f"{int(success.sum())} of {self.rows} fits converged"})
