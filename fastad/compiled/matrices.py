"""Jacobians and Hessians of compiled functions: a program of their own where few directions tell them, else lanes."""
from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._program import scattered
from ..errors import AuditError
from .arguments import FLOAT, Arguments
from .batch import stacked_rows
from .sparsity import Compressed, Pattern, one_program

if TYPE_CHECKING:
    from .._typing import Array, Options
    from .function import Compiled

__all__ = ["as_sparse", "matrix"]


def matrix(f: Compiled, kind: str, args: Sequence[Any], kwargs: Options, sparse: bool) -> Any:
    """The Jacobian or Hessian of a call without Variables; None when the function has to run in Python."""
    arguments = f.read(args, kwargs)
    dims = [leaf.dims for leaf in arguments.kinds if leaf.active]
    if kind == "hessian" and (not f.single or len(dims) != 1):
        raise TypeError(f"hessian: {f.name} has several differentiated arguments; use hvp, or join them in one array")
    if sparse and len(dims) != 1:
        raise TypeError(f"{kind}: {f.name} has several differentiated arguments; sparse=True needs them in one array")
    path, fresh = f.first_path(arguments)
    if kind == "hessian" and path is not None:
        f.check_scalar(path)
    if path is None or not fresh:                     # a replay tells which path the arguments take
        found = f.find(kind if path is not None and of_matrix_alone(path) else "value", arguments, arguments.leaves)
        if found is None:
            return None
        path = found[1]
    if len(path.outputs) != 1:
        raise TypeError(f"{kind}: {f.name} returns {len(path.outputs)} arrays; one is needed")
    outer = path.output_shapes[0] if kind == "jacobian" else dims[0]
    data, pattern = elements(path, kind, arguments.leaves, outer, dims)
    sizes = sizes_of(dims)
    shape = sizes_of([outer])[0], sum(sizes)
    if kind in path.programs:
        if f.saved:
            f.show(path.programs[kind], arguments.leaves, [data])
        shorten(f, kind, path.programs[kind], arguments, outer)
    if sparse:
        return as_sparse(data, pattern, shape)
    dense = data.reshape(shape) if pattern is None else scattered(data, pattern.places, shape)
    ends = np.cumsum(sizes)
    return f.shaped(arguments, [np.ascontiguousarray(dense[:, end - k:end]).reshape(outer + d)
                                for k, end, d in zip(sizes, ends, dims, strict=True)])


def of_matrix_alone(path: Any) -> bool:
    """Whether a path came from a file, to which it was saved when its value had never been asked for."""
    return not hasattr(path, "structure") and "value" not in path.programs


def sizes_of(dims: Sequence[tuple[int, ...]]) -> list[int]:
    """How many elements arrays of these shapes have."""
    return [int(np.prod(d, dtype=np.int64)) for d in dims]


def elements(path: Any, kind: str, leaves: Sequence[Any], outer: tuple[int, ...],
             dims: Sequence[tuple[int, ...]]) -> tuple[Array, Pattern | None]:
    """The elements of the matrix that can be other than zero, and which they are; None: all, in C order."""
    sizes = sizes_of(dims)
    m, n = sizes_of([outer])[0], sum(sizes)
    if not m * n:
        return np.empty(0), None
    if one_program(path, kind, min(m, n)):
        program = path.program(kind)
        found = program.evaluator(leaves)
        if not isinstance(found, list):
            raise AuditError(f"{kind}: the function takes another way through its branches in each call with the same "
                             "arguments; it depends on something that is no argument (random numbers, a counter)")
        return found[0], program.pattern
    structure: Compressed | None = path.structure(kind) if hasattr(path, "structure") else None
    by_columns = structure.by_columns if structure else m > n
    seeds = structure.seeds if structure else (lambda other: np.where(np.eye(min(m, n)) > 0.0, 1.0, other))
    if by_columns:
        tangents = split(seeds(0.0), sizes, dims)
        sums = stacked_rows(path.program("jvp").evaluator, leaves, tangents)[1]
    elif kind == "hessian":
        sums = stacked_rows(path.program("hvp").evaluator, leaves, [seeds(0.0).reshape(-1, *outer)])[0]
    else:                                             # the other outputs are not differentiated: nothing, not zero
        given = seeds(-0.0)
        rows = stacked_rows(path.program("vjp").evaluator, leaves, [given.reshape(-1, *outer)])[1:]
        sums = np.concatenate([row.reshape(len(given), -1) for row in rows], axis=1)
    if structure:
        return sums.reshape(-1)[structure.index], structure.pattern
    return (np.ascontiguousarray(sums.reshape(n, m).T) if by_columns else sums).reshape(-1), None


def split(directions: Array, sizes: Sequence[int], dims: Sequence[tuple[int, ...]]) -> list[Array]:
    """Directions of all arguments in a row as arrays of their shapes."""
    ends = np.cumsum(sizes)
    return [directions[:, end - k:end].reshape(-1, *d) for k, end, d in zip(sizes, ends, dims, strict=True)]


def shorten(f: Compiled, kind: str, program: Any, arguments: Arguments, outer: tuple[int, ...]) -> None:
    """Let the next call try this program first."""
    active = [leaf for leaf, kind_ in zip(arguments.leaves, arguments.kinds, strict=True) if kind_.active]
    if f.single and arguments.simple and len(active) == 1 and isinstance(active[0], np.ndarray) \
            and active[0].dtype == np.float64 and all(leaf.kind == FLOAT for leaf in arguments.kinds):
        f.quick_matrices[kind] = program.evaluator, program.pattern, outer + active[0].shape


def as_sparse(data: Array, pattern: Pattern | None, shape: tuple[int, int]) -> Any:
    """The elements as a SciPy array in rows."""
    if pattern is not None:
        return pattern.filled(data)
    from scipy.sparse import csr_array
    return csr_array(data.reshape(shape))
