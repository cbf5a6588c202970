"""Batches: one program over many inputs, side by side in memory, split over threads."""
from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._threads import in_threads
from ..transforms import like, plain, value_and_grad
from ..tree import flatten
from .sparsity import one_program

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


def in_order(x: Any) -> Array:
    """A float64 array that C can read row by row."""
    return np.require(x, np.float64, ["C", "A", "E"])


def stacked_rows(evaluator: Evaluator, shared: Sequence[Any], stacked: Sequence[Array]) -> list[Any]:
    """The results, with a leading axis, for shared first inputs and rows of the others."""
    rows = len(stacked[0])
    arrays = [in_order(x) for x in [*shared, *stacked]]
    out = [np.empty((rows, *shape)) for shape, _ in evaluator.results]
    holds = np.ones(rows, np.uint8)
    if not evaluator.batch(arrays, [False] * len(shared) + [True] * len(stacked), 0, rows, out, holds,
                           lanes_for(evaluator.code.n_slots, rows)):
        raise RuntimeError("batch: an array from outside, which the function uses, was changed meanwhile")
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

    def __repr__(self) -> str:
        return f"<batch of {self.function!r}>"

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

    def jacobian(self, *args: Any, in_axes: Any = 0, threads: int = 1) -> Any:
        """The derivatives of an array output for all rows; parameters as for `value_and_grad`.

        Returns
        -------
        ndarray, or in the form of the differentiated arguments
            Of shape ``(rows, *output.shape, *argument.shape)``, also with respect to shared arguments.

        Examples
        --------
        >>> import numpy as np
        >>> import fastad as fa
        >>> f = fa.compile(lambda x: np.stack([x[0] * x[1], np.sin(x[0])]))
        >>> f.batch.jacobian(np.array([[0.0, 2.0], [0.0, 5.0]]))
        array([[[2., 0.],
                [1., 0.]],
        <BLANKLINE>
               [[5., 0.],
                [1., 0.]]])
        """
        f = self.function
        first, arrays, stacked, n = self.taken_apart(args, in_axes, threads)
        found = f.find("value", first, first.leaves)
        if found is None:
            raise TypeError(f"batch: {f.name} cannot be compiled for these arguments")
        path = found[1]
        if len(path.outputs) != 1:
            raise TypeError(f"jacobian: {f.name} returns {len(path.outputs)} arrays; one is needed")
        shape = np.shape(found[0][0])
        dims = [leaf.dims for leaf in path.kinds if leaf.active]
        sizes = [int(np.prod(d, dtype=np.int64)) for d in dims]
        m, ends = int(np.prod(shape, dtype=np.int64)), np.cumsum(sizes)
        if not m * sum(sizes):
            matrices = np.empty((n, m, sum(sizes)))
        elif one_program(path, "jacobian", min(m, sum(sizes))):
            (matrices,) = self.evaluated("jacobian", path, first, arrays, stacked, n, threads)
        elif m <= sum(sizes):
            seeds = [[seed.reshape(shape)] for seed in np.where(np.eye(m) > 0.0, 1.0, -0.0)]
            parts = self.evaluated("vjp", path, first, arrays, stacked, n, threads, seeds)[1:]
            matrices = np.concatenate([part.reshape(n, m, -1) for part in parts], axis=2)
        else:
            tangents = [[unit[end - k:end].reshape(d) for k, end, d in zip(sizes, ends, dims, strict=True)]
                        for unit in np.eye(sum(sizes))]
            columns = self.evaluated("jvp", path, first, arrays, stacked, n, threads, tangents)[1]
            matrices = np.moveaxis(columns, 1, -1)
        matrices = matrices.reshape(n, m, sum(sizes))
        parts = [np.ascontiguousarray(matrices[..., end - k:end]).reshape((n, *shape, *d))
                 for k, end, d in zip(sizes, ends, dims, strict=True)]
        return self.shaped(first, parts)

    def rows(self, kind: str, args: Sequence[Any], in_axes: Any, threads: int) -> tuple[Any, list[Any], Any]:
        """Arguments of the first row, results with a leading axis, and what puts them in their containers."""
        f = self.function
        first, arrays, stacked, n = self.taken_apart(args, in_axes, threads)
        found = None
        if not f.is_observed and (kind != "grad" or f.scalar_paths(first)):
            found = f.find(kind, first, first.leaves)
        if found is not None:
            return first, self.evaluated(kind, found[1], first, arrays, stacked, n, threads), found[1].rebuilt
        results, rebuilt = self.in_python(kind, first)
        out = [np.empty((n, *np.shape(part))) for part in results]
        self.rest(kind, first, arrays, stacked, np.arange(n), out)
        return first, out, rebuilt

    def in_python(self, kind: str, arguments: Any) -> tuple[list[Any], Any]:
        """The results of one row without a program, and what puts them in their containers."""
        f = self.function
        args, kwargs = arguments.rebuild(arguments.leaves)
        if kind == "value":
            return flatten(f.observed(args, kwargs) if f.is_observed else plain(f.f(*args, **kwargs)))
        value, gradient = value_and_grad(f.f, arguments.numbers)(*args, **kwargs)
        return [value, *arguments.by_leaf(flatten(gradient)[0])], None

    def rest(self, kind: str, arguments: Any, arrays: list[Array], stacked: list[bool], left: Any,
             out: list[Array]) -> None:
        """The rows for which there is no program."""
        for k in left:
            row = [x[k] if s else x for x, s in zip(arrays, stacked, strict=True)]
            for target, part in zip(out, self.in_python(kind, arguments_of(arguments, row))[0], strict=True):
                target[k] = part

    def taken_apart(self, args: Sequence[Any], in_axes: Any, threads: int) -> tuple[Any, list[Array], list[bool], int]:
        """Arguments of the first row; the leaves of all, which of them have rows, and how many."""
        f = self.function
        axes = list(in_axes) if isinstance(in_axes, (tuple, list)) else [in_axes] * len(args)
        if len(axes) != len(args):
            raise ValueError(f"batch: in_axes has {len(axes)} entries for {len(args)} arguments")
        if not isinstance(threads, int) or threads < 1:
            raise ValueError(f"batch: threads={threads!r}: a positive number is needed")
        moved = [arg if axis is None else tree_moved(arg, axis) for arg, axis in zip(args, axes, strict=True)]
        counts = {len(leaf) for arg, axis in zip(moved, axes, strict=True) if axis is not None
                  for leaf in flatten(arg)[0]}
        if not counts:
            raise ValueError("batch: no argument has rows; in_axes says which have any")
        if len(counts) != 1:
            raise ValueError(f"batch: the arguments have different numbers of rows: {sorted(counts)}; in_axes says "
                             "which have any")
        n = counts.pop()
        if n == 0:
            raise ValueError("batch: no rows; their results' shapes cannot be known")
        one = [arg if axis is None else row_of(arg, 0) for arg, axis in zip(moved, axes, strict=True)]
        first, everything = f.read(one, {}), f.read(moved, {})
        flags = [axis is not None for tree, axis in zip(everything.trees, axes, strict=True)
                 if tree for _ in range(*tree[1:])]
        return first, [in_order(leaf) for leaf in everything.leaves], flags, n

    def evaluated(self, kind: str, path: Any, arguments: Any, arrays: list[Array], stacked: list[bool], n: int,
                  threads: int, directions: Sequence[list[Array]] | None = None) -> list[Any]:
        """The results of n rows: those that take another branch go to its program.

        With `directions`, further inputs that all rows share, for each of them: results have a second axis.
        """
        evaluator = path.program(kind).evaluator
        lanes = lanes_for(evaluator.code.n_slots, n)
        several = () if directions is None else (len(directions),)
        out = [np.empty((n, *several, *shape)) for shape, _ in evaluator.results]
        calls = [(arrays, stacked, out)]
        if directions is not None:
            calls = [([*arrays, *extra], stacked + [False] * len(extra), [array[:, k] for array in out])
                     for k, extra in enumerate(directions)]
        holds = np.ones(n, np.uint8)

        def work(part: tuple[int, int], cancel: Any) -> None:
            for inputs, which, results in calls:
                if not evaluator.batch(inputs, which, *part, results, holds, lanes, cancel):
                    holds[slice(*part)] = 0               # an array from outside has changed since the path was found

        in_threads(work, n, lanes, threads)
        pattern = path.program(kind).pattern
        if pattern is not None:                       # a matrix of which the program gives some elements
            dense = np.zeros((n, pattern.shape[0] * pattern.shape[1]))
            dense[:, pattern.places] = out[0]
            out = [dense]
        left = np.flatnonzero(holds == 0)
        if len(left):
            self.others(kind, arguments, arrays, stacked, left, out, threads, directions)
        return out

    def others(self, kind: str, arguments: Any, arrays: list[Array], stacked: list[bool], left: Any, out: list[Array],
               threads: int, directions: Sequence[list[Array]] | None) -> None:
        """Rows that take another branch than the first: those of one branch together."""
        f = self.function
        row = [x[left[0]] if s else x for x, s in zip(arrays, stacked, strict=True)]
        found = f.find(kind, arguments_of(arguments, row), [*row, *(directions[0] if directions else [])])
        if found is None and kind in ("value", "grad"):
            self.rest(kind, arguments, arrays, stacked, left, out)
            return
        if found is None:
            raise TypeError(f"batch: {f.name} cannot be compiled for all rows")
        rows = [x[left] if s else x for x, s in zip(arrays, stacked, strict=True)]
        results = self.evaluated(kind, found[1], arguments, rows, stacked, len(left), threads, directions)
        for target, part in zip(out, results, strict=True):
            if part.shape[1:] != target.shape[1:]:
                raise ValueError(f"batch: the results of {f.name} have shape {target.shape[1:]} in one row, "
                                 f"{part.shape[1:]} in another")
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
    return rebuild([leaf if axis == 0 and type(leaf) is np.ndarray and leaf.ndim     # short: the usual one costs 5 µs
                    else rows_in_front(np.asarray(leaf), axis) for leaf in leaves])


def rows_in_front(array: Array, axis: Any) -> Array:
    """An array with the axis of its rows in front."""
    if not isinstance(axis, (int, np.integer)):
        raise TypeError(f"batch: in_axes has {axis!r}; for each argument an integer is needed, or None")
    if not -array.ndim <= axis < array.ndim:
        raise ValueError(f"batch: an array of shape {array.shape} has no axis {axis} of rows; in_axes says which axis "
                         "has them, and None that all rows share the argument")
    return np.moveaxis(array, axis, 0)


def row_of(arg: Any, k: int) -> Any:
    """One row of an argument."""
    leaves, rebuild = flatten(arg)
    return rebuild([leaf[k] for leaf in leaves])
