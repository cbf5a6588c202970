"""Batches: one program over many inputs, side by side in memory, split over threads."""
from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from ..transforms import like
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
    evaluator.batch(arrays, [False] * len(shared) + [True] * len(stacked), 0, rows, out, holds,
                    lanes_for(evaluator.code.n_slots, rows))
    return out


class Batch:
    """A compiled function over many inputs: ``c.batch(X)``, ``c.batch.value_and_grad(X, threads=2)``.

    Each array has a leading axis of rows; ``in_axes`` says which arguments have one.

    Examples
    --------
    >>> import numpy as np
    >>> import fastad as fa
    >>> f = fa.compile(lambda x, k: k * x[0] * x[1])
    >>> X = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    >>> f.batch(X, 10.0, in_axes=(0, None))
    array([ 20., 120., 300.])
    """

    def __init__(self, function: Compiled) -> None:
        self.function = function

    def __call__(self, *args: Any, in_axes: Any = 0, threads: int = 1) -> Any:
        """The values of all rows."""
        _, results, path = self.rows("value", args, in_axes, threads)
        return path.rebuild_outputs(results)

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

        Examples
        --------
        >>> import numpy as np
        >>> import fastad as fa
        >>> f = fa.compile(lambda x: np.sum(x ** 2) if x[0] > 0 else np.sum(x))
        >>> values, gradients = f.batch.value_and_grad(np.array([[1.0, 2.0], [-3.0, 4.0]]), threads=2)
        >>> values, gradients
        (array([5., 1.]), array([[2., 4.],
               [1., 1.]]))
        """
        leaves, results, _ = self.rows("grad", args, in_axes, threads)
        return results[0], self.shaped(leaves, results[1:])

    def grad(self, *args: Any, in_axes: Any = 0, threads: int = 1) -> Any:
        """The gradients of all rows; parameters as for `value_and_grad`.

        Examples
        --------
        >>> import numpy as np
        >>> import fastad as fa
        >>> fa.compile(lambda x: x ** 3).batch.grad(np.array([1.0, 2.0, 3.0]))
        array([ 3., 12., 27.])
        """
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
        """Arguments of the first row, results with a leading axis, and a path that a row took."""
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
        first = f.read(one, {})
        if kind == "grad" and not f.scalar_paths(first):
            raise TypeError(f"batch: {f.name} cannot be compiled for these arguments")
        found = f.find(kind, first, first.leaves)
        if found is None:
            raise TypeError(f"batch: {f.name} cannot be compiled for these arguments")
        path = found[1]
        everything = f.read(moved, {})
        flags = [axis is not None for arg, axis in zip(moved, axes, strict=True) for _ in flatten(arg)[0]]
        arrays = [np.asarray(leaf, np.float64, order="C") for leaf in everything.leaves]
        return first, self.evaluated(kind, path, first, arrays, flags, n, threads), path

    def evaluated(self, kind: str, path: Any, arguments: Any, arrays: list[Array], stacked: list[bool], n: int,
                  threads: int) -> list[Any]:
        """The results of n rows: those that take another branch go to its program."""
        evaluator = path.program(kind).evaluator
        lanes = lanes_for(evaluator.code.n_slots, n)
        out = [np.empty((n, *shape)) for shape, _ in evaluator.results]
        holds = np.ones(n, np.uint8)
        groups = -(-n // lanes)                           # whole ones: the same bits for any number of threads
        step = -(-groups // threads) * lanes
        parts = [(first, min(first + step, n)) for first in range(0, n, step)]

        def work(part: tuple[int, int]) -> Any:
            return evaluator.batch(arrays, stacked, *part, out, holds, lanes)

        if len(parts) == 1:
            work(parts[0])
        else:
            with ThreadPoolExecutor(len(parts)) as pool:
                list(pool.map(work, parts))
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
            raise TypeError(f"batch: {f.name} cannot be compiled for all rows")
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
