"""Batches: one program over many inputs, side by side in memory, split over threads."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from .._threads import in_threads
from ..transforms import jacobian, like, plain, value_and_grad
from ..tree import flatten
from .sparsity import one_program

if TYPE_CHECKING:
    from .._program import Code, Evaluator
    from .._typing import Array
    from .arguments import Arguments
    from .function import Compiled, Paths
    from .path import Path

__all__ = ["Batch", "stacked_rows"]

#: A workspace of more numbers than this leaves the second-level cache.
CACHE = 1 << 17
#: So many forms of arguments are known again.
MOST_FORMS = 64
FLOAT64 = np.dtype(np.float64)


@dataclass(frozen=True)
class Form:
    """What is known of rows before their numbers: arguments like one row, which leaves are `stacked`, how many rows.

    `order` is where the gradient of each differentiated argument stands among those of the leaves, if all of them are
    arrays of float64 or floats, so that nothing has to be put in containers or other dtypes.
    """

    arguments: Arguments
    stacked: list[bool]
    n: int
    paths: Paths
    order: list[int] | None = None


def lanes_for(code: Code, rows: int) -> int:
    """How many rows go side by side: as many as keep what is computed in cache, at least 8, at most 64."""
    most = max(8, min(64, CACHE // max(code.n_slots - code.image.size, 1)) // 8 * 8)
    if rows <= most:
        return rows
    groups = -(-rows // most)
    return -(-rows // (8 * groups)) * 8               # whole vectors, and no group that has few


def in_order(x: Any) -> Array:
    """A float64 array that C can read row by row."""
    if type(x) is np.ndarray and x.dtype == FLOAT64 and x.flags.c_contiguous and x.flags.aligned:
        return x
    return np.require(x, np.float64, ["C", "A", "E"])


def stacked_rows(evaluator: Evaluator, shared: Sequence[Any], stacked: Sequence[Array]) -> list[Any]:
    """The results, with a leading axis, for shared first inputs and rows of the others."""
    rows = len(stacked[0])
    arrays = [in_order(x) for x in [*shared, *stacked]]
    out = [np.empty((rows, *shape)) for shape, _ in evaluator.placed]
    holds = np.ones(rows, np.uint8)
    if not evaluator.batch(arrays, [False] * len(shared) + [True] * len(stacked), 0, rows, out, holds,
                           lanes_for(evaluator.code, rows)):
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
        self.forms: dict[Any, Form] = {}

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
        form, results, _ = self.rows("grad", args, in_axes, threads)
        return results[0], self.shaped(form, results[1:])

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

    def shaped(self, form: Form, gradients: Sequence[Any]) -> Any:
        """Gradients, row by row, in the form of the arguments."""
        f, arguments = self.function, form.arguments
        if form.order is not None:
            made = [gradients[k] for k in form.order]
            return made[0] if f.single else tuple(made)
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
        if f.is_observed:
            form, parts, _ = self.rows("jacobian", args, in_axes, threads)
            return self.shaped(form, parts)
        form, arrays = self.taken_apart(args, in_axes, threads)
        path = self.path("value", form, arrays)
        if path is None:
            raise TypeError(f"batch: {f.name} cannot be compiled for these arguments")
        if len(path.output_shapes) != 1:
            raise TypeError(f"jacobian: {f.name} returns {len(path.output_shapes)} arrays; one is needed")
        shape, n = path.output_shapes[0], form.n
        dims = [leaf.dims for leaf in path.kinds if leaf.active]
        sizes = [prod(d) for d in dims]
        m, width, ends = prod(shape), sum(sizes), list(accumulate(sizes))
        if not m * width:
            matrices = np.empty((n, m, width))
        elif one_program(path, "jacobian", min(m, width)):
            (matrices,) = self.evaluated("jacobian", path, form, arrays, threads)
        elif m <= width:
            seeds = [[seed.reshape(shape)] for seed in np.where(np.eye(m) > 0.0, 1.0, -0.0)]
            parts = self.evaluated("vjp", path, form, arrays, threads, seeds)[1:]
            matrices = np.concatenate([part.reshape(n, m, -1) for part in parts], axis=2)
        else:
            tangents = [[unit[end - k:end].reshape(d) for k, end, d in zip(sizes, ends, dims, strict=True)]
                        for unit in np.eye(width)]
            columns = self.evaluated("jvp", path, form, arrays, threads, tangents)[1]
            matrices = np.moveaxis(columns, 1, -1)
        matrices = matrices.reshape(n, m, width)
        parts = [np.ascontiguousarray(matrices[..., end - k:end]).reshape((n, *shape, *d))
                 for k, end, d in zip(sizes, ends, dims, strict=True)]
        return self.shaped(form, parts)

    def rows(self, kind: str, args: Sequence[Any], in_axes: Any, threads: int) -> tuple[Form, list[Any], Any]:
        """What is known of the rows, results with a leading axis, and what puts them in their containers."""
        f = self.function
        form, arrays = self.taken_apart(args, in_axes, threads)
        path = None
        if not f.is_observed and (kind != "grad" or self.has_gradient(form, arrays)):
            path = self.path(kind, form, arrays)
        if path is not None:
            return form, self.evaluated(kind, path, form, arrays, threads), path.rebuilt
        results, rebuilt = self.in_python(kind, row_arguments(form, arrays, 0))
        out = [np.empty((form.n, *np.shape(part))) for part in results]
        self.rest(kind, form, arrays, np.arange(form.n), out)
        return form, out, rebuilt

    def has_gradient(self, form: Form, arrays: list[Array]) -> bool:
        """Whether there are programs of a scalar; see `Compiled.scalar_paths`."""
        root = form.paths.root
        return (root is not None and root.is_scalar) or self.function.scalar_paths(row_arguments(form, arrays, 0))

    def path(self, kind: str, form: Form, arrays: list[Array]) -> Path | None:
        """The path that rows are tried on first: that of the first one, which is run if there are several."""
        f, last = self.function, form.paths.last
        if last is not None and any(not len(program.evaluator.guards) for program in [*last.programs.values()]):
            return last
        arguments = row_arguments(form, arrays, 0)
        found = f.find(kind, arguments, arguments.leaves)
        return None if found is None else found[1]

    def in_python(self, kind: str, arguments: Any) -> tuple[list[Any], Any]:
        """The results of one row without a program, and what puts them in their containers."""
        f = self.function
        args, kwargs = arguments.rebuild(arguments.leaves)
        if kind == "value":
            return flatten(f.observed(args, kwargs) if f.is_observed else plain(f.f(*args, **kwargs)))
        if kind == "jacobian":
            return arguments.by_leaf(flatten(jacobian(f.f, arguments.numbers)(*args, **kwargs))[0]), None
        value, gradient = value_and_grad(f.f, arguments.numbers)(*args, **kwargs)
        return [value, *arguments.by_leaf(flatten(gradient)[0])], None

    def rest(self, kind: str, form: Form, arrays: list[Array], left: Any, out: list[Array]) -> None:
        """The rows for which there is no program."""
        for k in left:
            one = row_arguments(form, arrays, k)
            for target, part in zip(out, self.in_python(kind, one)[0], strict=True):
                target[k] = part

    def taken_apart(self, args: Sequence[Any], in_axes: Any, threads: int) -> tuple[Form, list[Array]]:
        """What is known of the rows, and their leaves."""
        f = self.function
        if not isinstance(threads, int) or threads < 1:
            raise ValueError(f"batch: threads={threads!r}: a positive number is needed")
        key = key_of(args, in_axes)
        form = None if key is None else self.forms.get(key)
        if form is not None:
            return form, [in_order(x) for x in args]
        axes = list(in_axes) if isinstance(in_axes, (tuple, list)) else [in_axes] * len(args)
        if len(axes) != len(args):
            raise ValueError(f"batch: in_axes has {len(axes)} entries for {len(args)} arguments")
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
        form = Form(first, flags, n, f.paths_for(first))
        if key is not None and first.simple:
            rank = sorted(first.numbers)
            leaves = [np.empty(0) if type(x) is np.ndarray else x for x in first.leaves]      # none of the caller's
            form = replace(form, order=[rank.index(k) for k in first.numbers], arguments=replace(first, leaves=leaves))
            if len(self.forms) >= MOST_FORMS:
                self.forms = {}
            self.forms[key] = form
        return form, [in_order(leaf) for leaf in everything.leaves]

    def evaluated(self, kind: str, path: Path, form: Form, arrays: list[Array], threads: int,
                  directions: Sequence[list[Array]] | None = None) -> list[Any]:
        """The results of all rows: those that take another branch go to its program.

        With `directions`, further inputs that all rows share, for each of them: results have a second axis.
        """
        program, n, stacked = path.program(kind), form.n, form.stacked
        evaluator = program.evaluator
        lanes = lanes_for(evaluator.code, n)
        several = () if directions is None else (len(directions),)
        out = [np.empty((n, *several, *shape)) for shape, _ in evaluator.placed]
        calls = [(arrays, stacked, out)]
        if directions is not None:
            calls = [([*arrays, *extra], stacked + [False] * len(extra), [array[:, k] for array in out])
                     for k, extra in enumerate(directions)]
        holds = bytearray(b"\1") * n                  # 0: this row takes another branch

        def work(part: tuple[int, int], cancel: Any) -> None:
            for inputs, which, results in calls:
                if not evaluator.batch(inputs, which, *part, results, holds, lanes, cancel):
                    holds[slice(*part)] = bytes(part[1] - part[0])    # an array from outside is not what it was

        in_threads(work, n, lanes, threads)
        if self.function.saved and self.function.is_watched:
            for k in np.flatnonzero(np.frombuffer(holds, np.uint8)):
                for inputs, which, results in calls:
                    self.function.show(program, [x[k] if s else x for x, s in zip(inputs, which, strict=True)],
                                       [array[k] for array in results])
        if program.pattern is not None:               # a matrix of which the program gives some elements
            dense = np.zeros((n, prod(program.pattern.shape)))
            dense[:, program.pattern.places] = out[0]
            out = [dense]
        if 0 in holds:
            left = np.flatnonzero(np.frombuffer(holds, np.uint8) == 0)
            self.others(kind, form, arrays, left, out, threads, directions)
        return out

    def others(self, kind: str, form: Form, arrays: list[Array], left: Any, out: list[Array], threads: int,
               directions: Sequence[list[Array]] | None) -> None:
        """Rows that take another branch than the first: those of one branch together."""
        f = self.function
        one = row_arguments(form, arrays, left[0])
        further = directions[0] if directions else []
        found = f.find(kind, one, [*one.leaves, *further])
        if found is None and kind in ("value", "grad"):
            self.rest(kind, form, arrays, left, out)
            return
        if found is None:
            raise TypeError(f"batch: {f.name} cannot be compiled for all rows")
        rows = [x[left] if s else x for x, s in zip(arrays, form.stacked, strict=True)]
        results = self.evaluated(kind, found[1], replace(form, n=len(left)), rows, threads, directions)
        for target, part in zip(out, results, strict=True):
            if part.shape[1:] != target.shape[1:]:
                raise ValueError(f"batch: the results of {f.name} have shape {target.shape[1:]} in one row, "
                                 f"{part.shape[1:]} in another")
            target[left] = part


def key_of(args: Sequence[Any], in_axes: Any) -> Any:
    """What tells arguments apart that are float64 arrays, with their rows in front, and floats; None for others."""
    for axis in in_axes if isinstance(in_axes, tuple) else (in_axes,):
        if axis is not None and (type(axis) is not int or axis):
            return None
    shapes = [x.shape if type(x) is np.ndarray and x.dtype == FLOAT64 else float if type(x) is float else None
              for x in args]
    return None if None in shapes else (in_axes, *shapes)


def row_arguments(form: Form, arrays: Sequence[Array], k: int) -> Arguments:
    """The arguments of one row."""
    values = []
    for x, stacked, old in zip(arrays, form.stacked, form.arguments.leaves, strict=True):
        value = np.asarray(x[k] if stacked else x).astype(np.asarray(old).dtype)
        values.append(value[()] if np.ndim(old) == 0 and not isinstance(old, np.ndarray) else value)
    return replace(form.arguments, leaves=values)


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
