"""Products of vectors and matrices, and norms. All of them come down to `variable.matmul` and views."""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from .. import variable
from ..math import sqrt0
from .registry import answers, constant, facts, lifted

if TYPE_CHECKING:
    from .._typing import Axis, Function, Value

__all__ = []


def both(x: Value, y: Value, name: str) -> tuple[Value, Value]:
    """Two operands."""
    return lifted(x, name), lifted(y, name)


def unfit(name: str, x: Value, y: Value, why: str) -> ValueError:
    """The error for shapes that do not go together."""
    return ValueError(f"{name}: operands of shapes {tuple(x.shape)} and {tuple(y.shape)} do not fit: {why}")


# ---- products ------------------------------------------------------------------------------------------------
@answers(np.dot, method="dot")
def dot(a: Value, b: Value) -> Value:
    """Inner product, matrix product, or product with a number; sums over a's last and b's last but one axis."""
    x, y = both(a, b, "numpy.dot")
    if x.ndim == 0 or y.ndim == 0:
        return x * y
    if x.shape[-1] != y.shape[-2 if y.ndim > 1 else 0]:
        raise unfit("numpy.dot", x, y, f"{x.shape[-1]} meets {y.shape[-2 if y.ndim > 1 else 0]}")
    if x.ndim <= 2 and y.ndim <= 2:
        return variable.matmul(x, y)
    return np.tensordot(x, y, axes=(-1, -2 if y.ndim > 1 else 0))


@answers(np.inner)
def inner(a: Value, b: Value, /) -> Value:
    """Sum over the last axes."""
    x, y = both(a, b, "numpy.inner")
    if x.ndim == 0 or y.ndim == 0:
        return x * y
    if x.shape[-1] != y.shape[-1]:
        raise unfit("numpy.inner", x, y, f"{x.shape[-1]} meets {y.shape[-1]}")
    return np.tensordot(x, y, axes=(-1, -1))


@answers(np.outer)
def outer(a: Value, b: Value) -> Value:
    """All products of two vectors."""
    x, y = both(a, b, "numpy.outer")
    return np.ravel(x)[:, None] * np.ravel(y)[None, :]


@answers(np.vdot)
def vdot(a: Value, b: Value, /) -> Value:
    """Inner product of all elements."""
    x, y = both(a, b, "numpy.vdot")
    if x.size != y.size:
        raise unfit("numpy.vdot", x, y, f"{x.size} elements meet {y.size}")
    return variable.matmul(np.ravel(x), np.ravel(y))


@answers(np.tensordot)
def tensordot(a: Value, b: Value, axes: Any = 2) -> Value:
    """Sum over pairs of axes: one matrix product of reshaped operands."""
    name = "numpy.tensordot"
    x, y = both(a, b, name)
    if isinstance(axes, (int, np.integer)):
        axes = (range(x.ndim - axes, x.ndim), range(axes))
    ours, theirs = [normalize_axis_tuple(ax, z.ndim) for ax, z in zip(axes, (x, y), strict=True)]
    lengths = [x.shape[d] for d in ours]
    if lengths != [y.shape[d] for d in theirs]:
        raise unfit(name, x, y, f"axes {tuple(ours)} meet axes {tuple(theirs)}")
    free = [d for d in range(x.ndim) if d not in ours]
    others = [d for d in range(y.ndim) if d not in theirs]
    shape = tuple([x.shape[d] for d in free] + [y.shape[d] for d in others])
    if not ours:
        return np.outer(x, y).reshape(shape)
    k = math.prod(lengths)
    left = np.reshape(np.transpose(x, (*free, *ours)), (math.prod([x.shape[d] for d in free]), k))
    right = np.reshape(np.transpose(y, (*theirs, *others)), (k, math.prod([y.shape[d] for d in others])))
    return np.reshape(variable.matmul(left, right), shape)


@answers(np.kron)
def kron(a: Value, b: Value) -> Value:
    """Kronecker product."""
    x, y = both(a, b, "numpy.kron")
    n = max(x.ndim, y.ndim)
    x, y = [np.reshape(z, (1,) * (n - z.ndim) + tuple(z.shape)) for z in (x, y)]
    apart = x[tuple([slice(None), None] * n)] * y[tuple([None, slice(None)] * n)]
    return np.reshape(apart, tuple([p * q for p, q in zip(x.shape, y.shape, strict=True)]))


@answers(np.trace, method="trace")
def trace(a: Value, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Value:
    """Sum of a diagonal."""
    return np.sum(np.diagonal(a, offset, axis1, axis2), axis=-1)


@answers(np.linalg.multi_dot)
def multi_dot(arrays: Value) -> Value:
    """Matrix products in the cheapest order."""
    items = [lifted(x, "numpy.linalg.multi_dot") for x in arrays]
    labels = "abcdefghijklmnopqrstuvwxyz"
    first, last = items[0].ndim == 1, items[-1].ndim == 1
    terms = [labels[k:k + 2] for k in range(len(items))]
    if first:
        terms[0] = terms[0][1]
    if last:
        terms[-1] = terms[-1][0]
    out = ("" if first else terms[0][0]) + ("" if last else terms[-1][-1])
    return np.einsum(",".join(terms) + "->" + out, *items)


# ---- norms ---------------------------------------------------------------------------------------------------
def vector_norm(x: Value, order: Any, axes: Axis, keepdims: bool) -> Value:
    """The norm of vectors along axes; every norm has the slope 0 at 0."""
    if order is None or order == 2:
        return sqrt0(np.sum(x * x, axis=axes, keepdims=keepdims))
    if order in (np.inf, -np.inf):
        return (np.max if order > 0 else np.min)(np.abs(x), axis=axes, keepdims=keepdims)
    if order == 0:
        return constant(np.sum(facts(x) != 0, axis=axes, keepdims=keepdims).astype(np.float64))
    if order == 1:
        return np.sum(np.abs(x), axis=axes, keepdims=keepdims)
    powers = np.sum(np.abs(x) ** float(order), axis=axes, keepdims=keepdims)
    root = powers ** (1.0 / order)
    return np.where(facts(powers) == 0, facts(root), root)


def matrix_norm(name: str, x: Value, order: Any, axes: Sequence[int], keepdims: bool) -> Value:
    """The norm of matrices whose rows and columns are two axes."""
    row, column = axes
    if order in (None, "fro"):
        return vector_norm(x, 2, axes, keepdims)
    if order in (1, -1, np.inf, -np.inf):
        summed, other = (row, column) if order in (1, -1) else (column, row)
        sums = np.sum(np.abs(x), axis=summed, keepdims=True)
        out = (np.max if order > 0 else np.min)(sums, axis=other, keepdims=True)
        return out if keepdims else np.squeeze(out, axis=(row, column))
    if order in (2, -2, "nuc"):
        raise TypeError(f"{name}: ord={order!r} needs singular values, which are not supported with Variables yet; "
                        "'fro', 1 and inf are")
    raise ValueError(f"{name}: ord={order!r} is no norm of a matrix")


@answers(np.linalg.norm)
def norm(x: Value, ord: Any = None, axis: Axis = None, keepdims: bool = False) -> Value:
    """Norm of a vector, a matrix, or of those along axes."""
    name = "numpy.linalg.norm"
    if axis is None:
        if ord is None:
            return vector_norm(x, 2, None, keepdims)
        if x.ndim not in (1, 2):
            raise ValueError(f"{name}: ord={ord!r} with an array of shape {x.shape}: say by axis= what is meant")
        axis = tuple(range(x.ndim))
    axes = normalize_axis_tuple(axis, x.ndim)
    if len(axes) == 1:
        if isinstance(ord, str):
            raise ValueError(f"{name}: ord={ord!r} is no norm of a vector")
        return vector_norm(x, ord, axes, keepdims)
    if len(axes) == 2:
        return matrix_norm(name, x, ord, axes, keepdims)
    raise ValueError(f"{name}: axis={axis} must name one axis, for vectors, or two, for matrices")


if hasattr(np.linalg, "vector_norm"):
    @answers(np.linalg.vector_norm)
    def vector_norm_(x: Value, /, *, axis: Axis = None, keepdims: bool = False, ord: Any = 2) -> Value:
        """Norm of vectors along axes."""
        return vector_norm(x, ord, axis, keepdims)

    @answers(np.linalg.matrix_norm)
    def matrix_norm_(x: Value, /, *, keepdims: bool = False, ord: Any = "fro") -> Value:
        """Norm of the matrices in the last two axes."""
        return matrix_norm("numpy.linalg.matrix_norm", x, ord, (x.ndim - 2, x.ndim - 1), keepdims)


@answers(np.linalg.matrix_power)
def matrix_power(a: Value, n: int) -> Value:
    """Product of n equal matrices, by repeated squaring."""
    name = "numpy.linalg.matrix_power"
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise ValueError(f"{name}: square matrices are needed, not shape {a.shape}")
    if n < 0:
        raise TypeError(f"{name}: a negative power needs an inverse, which is not supported with Variables yet")
    if n == 0:
        return constant(np.broadcast_to(np.eye(a.shape[-1]), a.shape))
    out: Value = None
    square = a
    while n:
        if n & 1:
            out = square if out is None else out @ square
        n >>= 1
        if n:
            square = square @ square
    return out if out is not a else a.copy()


def cross_axis(x: Value, axis: int) -> Value:
    """An operand of the cross product with its vectors in the last axis."""
    return np.moveaxis(x, normalize_axis_index(axis, x.ndim), -1)


@answers(np.cross)
def cross(a: Value, b: Value, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Value:
    """Cross product of vectors with three components."""
    x, y = both(a, b, "numpy.cross")
    if axis is not None:
        axisa = axisb = axisc = axis
    x, y = cross_axis(x, axisa), cross_axis(y, axisb)
    if x.shape[-1] != 3 or y.shape[-1] != 3:
        raise unfit("numpy.cross", x, y, "vectors of three components are needed")
    rows = [x[..., i] * y[..., j] - x[..., j] * y[..., i] for i, j in ((1, 2), (2, 0), (0, 1))]
    return np.moveaxis(np.stack(rows, -1), -1, axisc)


def same_as(ours: Function, theirs: str, **last_axes: int) -> None:
    """np.linalg's own name for a function of NumPy; matrices are in the last axes there."""
    @answers(getattr(np.linalg, theirs))
    def same(*args: Any, **kwargs: Any) -> Value:
        return ours(*args, **last_axes, **kwargs)


for _name in ("matmul", "tensordot", "outer", "matrix_transpose", "cross", "vecdot"):
    same_as(getattr(np, _name), _name)
same_as(np.trace, "trace", axis1=-2, axis2=-1)
same_as(np.diagonal, "diagonal", axis1=-2, axis2=-1)
