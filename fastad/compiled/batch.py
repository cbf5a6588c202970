"""Batches: one program over many inputs, side by side in memory, split over threads."""
from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from ..transforms import like, plain, value_and_grad
from ..tree import flatten

if TYPE_CHECKING:
    from .._program import Evaluator
    from .._typing import Array
    from .function import Compiled

__all__ = ["Batch", "stacked_rows"]

#: A workspace of more numbers than this leaves the second-level cache.
CACHE = 1 << 16


def lanes_for(n_slots: int, rows: int) -> int:
    """How many rows go side by side: as many as keep the workspace in cache, at least 8, at most 64."""
    return max(1, min(rows, max(8, min(64, CACHE // max(n_slots, 1)))))


def stacked_rows(evaluator: Evaluator, shared: Sequence[Any], stacked: Sequence[Array]) -> list[Any]:
    """The results, with a leading axis, for shared first inputs and rows of the others."""
    rows = len(stacked[0])
    arrays = [np.ascontiguousarray(x, np.float64) for x in [*shared, *stacked]]
    out = [np.empty((rows, *shape)) for shape, _ in evaluator.results]
    holds = np.ones(rows, np.uint8)
    flags = [False] * len(shared) + [True] * len(stacked)
    complete(evaluator.batch(arrays, flags, 0, rows, out, holds, lanes_for(evaluator.code.n_slots, rows), np.zeros(1, np.uint8)))
    return out


def complete(done: bool) -> None:
    """Raise when a batch did not come to its end."""
    if not done:
        raise RuntimeError("batch: an array from outside, which the function uses, was changed meanwhile")


class Batch:
    """A compiled function over many inputs: ``c.batch(X)``, ``c.batch.value_and_grad(X, threads=2)``.

    Each array has a leading axis of rows; ``in_axes`` says which arguments have one.
    """

    def __init__(self, function: Compiled) -> None:
        self.function = function

    def __call__(self, *args: Any, in_axes: Any = 0, threads: int = 1) -> Any:
        """The values of all rows."""
        _, results, rebuilt = self.rows("value", args, in_axes, threads)
        return rebuilt(results)

    def value_and_grad(self, *args: Any, in_axes: Any = 0, threads: int = 1) -> tuple[Any, Any]:
        """The values and gradients of all rows.

        Parameters
        ----------
        *args
            As for the function, with a leading axis of rows each.
        in_axes : int, None or sequence of them
            For each argument the axis of its rows, None for one that all rows share; one for all.
        threads : int
            Among how many threads the rows are split; the results do not depend on it.

        Returns
        -------
        value : ndarray
            One for each row.
        gradient : ndarray, or in the form of the differentiated arguments
            One for each row, also with respect to shared arguments.
        """
        leaves, results, _ = self.rows("grad", args, in_axes, threads)
        return results[0], self.shaped(leaves, results[1:])

    def grad(self, *args: Any, in_axes: Any = 0, threads: int = 1) -> Any:
        """The gradients of all rows; parameters as for `value_and_grad`."""
        return self.value_and_grad(*args, in_axes=in_axes, threads=threads)[1]

    def shaped(self, arguments: Any, gradients: Sequence[Any]) -> Any:
        """Gradients, row by row, in the form of the arguments."""
        f = self.function
        by_leaf = dict(zip(sorted(arguments.differentiated), gradients, strict=True))
        made = []
        for k in arguments.numbers:
            rebuild, first, last = arguments.trees[k]
            parts = [like(np.asarray(arguments.leaves[j])[None], by_leaf[j]) for j in range(first, last)]
            made.append(parts[0] if rebuild is None else rebuild(parts))
        return made[0] if f.single else tuple(made)

    def rows(self, kind: str, args: Sequence[Any], in_axes: Any, threads: int) -> tuple[Any, list[Any], Any]:
        """Arguments of the first row, results with a leading axis, and what puts them in their containers."""
        f = self.function
        axes = list(in_axes) if isinstance(in_axes, (tuple, list)) else [in_axes] * len(args)
        if len(axes) != len(args):
            raise ValueError(f"batch: in_axes has {len(axes)} entries for {len(args)} arguments")
        if not isinstance(threads, int) or threads < 1:
            raise ValueError(f"batch: threads={threads!r}: a positive number is needed")
        moved = [arg if axis is None else tree_moved(arg, axis) for arg, axis in zip(args, axes, strict=True)]
        counts = {len(leaf) for arg, axis in zip(moved, axes, strict=True) if axis is not None
                  for leaf in flatten(arg)[0]}
        if len(counts) != 1:
            raise ValueError(f"batch: the arguments have different numbers of rows: {sorted(counts)}; in_axes says "
                             "which have any")
        n = counts.pop()
        if n == 0:
            raise ValueError("batch: no rows; their results' shapes cannot be known")
        one = [arg if axis is None else row_of(arg, 0) for arg, axis in zip(moved, axes, strict=True)]
        first, everything = f.read(one, {}), f.read(moved, {})
        flags = [axis is not None for tree, axis in zip(everything.trees, axes, strict=True) if tree for _ in range(*tree[1:])]
        arrays = [np.asarray(leaf, np.float64, order="C") for leaf in everything.leaves]
        found = f.find(kind, first, first.leaves) if kind != "grad" or f.scalar_paths(first) else None
        if found is not None:
            return first, self.evaluated(kind, found[1], first, arrays, flags, n, threads), found[1].rebuilt
        results, rebuilt = self.in_python(kind, first)
        out = [np.empty((n, *np.shape(part))) for part in results]
        self.rest(kind, first, arrays, flags, np.arange(n), out)
        return first, out, rebuilt

    def in_python(self, kind: str, arguments: Any) -> tuple[list[Any], Any]:
        """The results of one row without a program, and what puts them in their containers."""
        f = self.function
        args, kwargs = arguments.rebuild(arguments.leaves)
        if kind == "value":
            return flatten(plain(f.f(*args, **kwargs)))
        value, gradient = value_and_grad(f.f, arguments.numbers)(*args, **kwargs)
        return [value, *arguments.by_leaf(flatten(gradient)[0])], None

    def rest(self, kind: str, arguments: Any, arrays: list[Array], stacked: list[bool], left: Any, out: list[Array]) -> None:
        """The rows for which there is no program."""
        for k in left:
            row = [x[k] if s else x for x, s in zip(arrays, stacked, strict=True)]
            for target, part in zip(out, self.in_python(kind, arguments_of(arguments, row))[0], strict=True):
                target[k] = part

    def evaluated(self, kind: str, path: Any, arguments: Any, arrays: list[Array], stacked: list[bool], n: int,
                  threads: int) -> list[Any]:
        """The results of n rows: those that take another branch go to its program."""
        evaluator = path.program(kind).evaluator
        lanes = lanes_for(evaluator.code.n_slots, n)
        out = [np.empty((n, *shape)) for shape, _ in evaluator.results]
        holds, ended = np.ones(n, np.uint8), np.zeros(1, np.uint8)
        groups = -(-n // lanes)                           # whole ones: the same bits for any number of threads
        step = -(-groups // threads) * lanes
        parts = [(first, min(first + step, n)) for first in range(0, n, step)]

        def work(part: tuple[int, int]) -> Any:
            return evaluator.batch(arrays, stacked, *part, out, holds, lanes, ended)

        if len(parts) == 1:
            complete(work(parts[0]))
        else:
            with ThreadPoolExecutor(len(parts)) as pool:
                try:
                    for done in pool.map(work, parts):
                        complete(done)
                finally:
                    ended[0] = 1                      # after an exception, Ctrl-C for one, nobody waits for the others
        left = np.flatnonzero(holds == 0)
        if len(left):
            self.others(kind, arguments, arrays, stacked, left, out, threads)
        return out

    def others(self, kind: str, arguments: Any, arrays: list[Array], stacked: list[bool], left: Any, out: list[Array],
               threads: int) -> None:
        """Rows that take another branch than the first: those of one branch together."""
        f = self.function
        row = [x[left[0]] if s else x for x, s in zip(arrays, stacked, strict=True)]
        found = f.find(kind, arguments_of(arguments, row), row)
        if found is None:
            self.rest(kind, arguments, arrays, stacked, left, out)
            return
        rows = [x[left] if s else x for x, s in zip(arrays, stacked, strict=True)]
        results = self.evaluated(kind, found[1], arguments, rows, stacked, len(left), threads)
        for target, part in zip(out, results, strict=True):
            target[left] = part


def arguments_of(arguments: Any, leaves: Sequence[Any]) -> Any:
    """Arguments like others, with other values."""
    from dataclasses import replace
    values = [x.astype(np.asarray(old).dtype)[()] if np.ndim(old) == 0 and not isinstance(old, np.ndarray)
              else x.astype(np.asarray(old).dtype)
              for x, old in zip(map(np.asarray, leaves), arguments.leaves, strict=True)]
    return replace(arguments, leaves=values)


def tree_moved(arg: Any, axis: int) -> Any:
    """An argument with the axis of its rows in front."""
    leaves, rebuild = flatten(arg)
    return rebuild([np.moveaxis(np.asarray(leaf), axis, 0) for leaf in leaves])


def row_of(arg: Any, k: int) -> Any:
    """One row of an argument."""
    leaves, rebuild = flatten(arg)
    return rebuild([leaf[k] for leaf in leaves])
