"""Selections, and the functions whose results are plain numbers."""
from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import variable
from ..variable import Variable, value_of
from .moving import moved
from .registry import METHODS, answers, constant, lifted, plain_answers, reveal

if TYPE_CHECKING:
    from .._typing import Function, Mode, Value


# ---- selections ----------------------------------------------------------------------------------------------
@answers(np.where)
def where(condition: Value, x: Value = None, y: Value = None) -> Value:
    """Elements of x where the condition holds, else of y; what is not selected gets nothing. Alone: plain indices."""
    if x is None and y is None:
        return np.nonzero(np.asarray(value_of(condition)))
    if x is None or y is None:
        raise ValueError("numpy.where: give both x and y, or neither")
    if isinstance(condition, np.ndarray) and condition.dtype.kind == "O":
        condition = reveal(condition)
    return variable.choose(condition, *[z if np.isscalar(z) else lifted(z, "numpy.where") for z in (x, y)])


@answers(np.clip)
def clip(a: Value, a_min: Value = None, a_max: Value = None, *, min: Value = None, max: Value = None) -> Value:
    """Elements kept between bounds; outside of them the gradient goes to the bound, on a bound both share."""
    low, high = min if a_min is None else a_min, max if a_max is None else a_max
    out = a if low is None else np.maximum(a, low)
    out = out if high is None else np.minimum(out, high)
    return out.copy() if out is a else out


def clip_method(self: Variable, min: Value = None, max: Value = None) -> Value:
    """Elements kept between bounds."""
    return np.clip(self, min, max)


METHODS["clip"] = clip_method


def whole(indices: Value) -> Value:
    """Indices as plain integers; a constant Variable may hold them."""
    if isinstance(indices, Variable):
        if isinstance(indices, variable.Discrete):
            return indices if indices.dtype.kind in "iu" else indices.astype(np.int64)
        values = np.asarray(value_of(indices))
        if variable.is_recorded(indices) or not np.all(values == np.trunc(values)):
            raise IndexError("numpy.take: a recorded Variable is no index; int(x) or np.floor(x) say what is meant")
        return values.astype(np.int64)
    return indices


@answers(np.take, method="take")
def take(a: Value, indices: Value, axis: int | None = None, *, mode: Mode = "raise") -> Value:
    """Elements by index along an axis."""
    return moved(a, np.take, whole(indices), axis, mode=mode)


@answers(np.take_along_axis)
def take_along_axis(arr: Value, indices: Value, axis: int | None = -1) -> Value:
    """Elements by an array of indices, as argsort gives them."""
    return moved(arr, np.take_along_axis, whole(indices), axis)


@answers(np.compress, method=None)
def compress(condition: Value, a: Value, axis: int | None = None) -> Value:
    """Slices where a condition holds."""
    mask = np.asarray(reveal(condition))
    return moved(a, lambda positions: np.compress(mask, positions, axis))


@answers(np.extract)
def extract(condition: Value, arr: Value) -> Value:
    """Elements where a condition holds."""
    mask = np.asarray(reveal(condition))
    return moved(arr, lambda positions: np.extract(mask, positions))


@answers(np.select)
def select(condlist: Value, choicelist: Value, default: Value = 0) -> Value:
    """Elements by the first condition that holds."""
    if len(condlist) != len(choicelist):
        raise ValueError(f"numpy.select: {len(condlist)} conditions and {len(choicelist)} choices do not go together")
    out = default
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        out = np.where(condition, choice, out)
    return out


@answers(np.choose)
def choose(a: Value, choices: Value, *, mode: Mode = "raise") -> Value:
    """Elements by the number of the array they come from."""
    items = np.broadcast_arrays(*[lifted(c, "numpy.choose") for c in choices])
    which = np.asarray(reveal(a)).astype(np.int64)
    shape = np.broadcast_shapes(which.shape, items[0].shape)
    stacked: Value = np.stack([np.broadcast_to(x, shape) for x in items])
    positions = np.arange(stacked.size).reshape(stacked.shape)
    return variable.gather(stacked, np.choose(which, list(positions), mode=mode))


@answers(np.bincount)
def bincount(x: Value, /, weights: Value = None, minlength: int = 0) -> Value:
    """Sums of weights by bin; without weights plain numbers."""
    bins = np.asarray(reveal(x))
    if weights is None or not variable.is_recorded(weights):
        return constant(np.bincount(bins, reveal(weights), minlength))
    values: Value = np.bincount(bins, np.asarray(value_of(weights)), minlength)
    return variable.spread(weights, np.arange(weights.size), bins, np.ones(weights.size), values)


# ---- in place ------------------------------------------------------------------------------------------------
@answers(np.copyto)
def copyto(dst: Value, src: Value) -> None:
    """Write into a Variable in place."""
    if not isinstance(dst, Variable):
        raise TypeError("numpy.copyto: a plain array cannot hold a gradient; write into np.zeros_like(a Variable)")
    dst[...] = src


@answers(np.fill_diagonal)
def fill_diagonal(a: Value, val: Value) -> None:
    """Write a diagonal in place."""
    if not isinstance(a, Variable):
        raise TypeError("numpy.fill_diagonal: a plain array cannot hold a gradient; np.where(np.eye(n), val, a) can")
    if a.ndim != 2:
        raise ValueError(f"numpy.fill_diagonal: a matrix is needed, not shape {a.shape}")
    np.diagonal(a)[...] = val


@answers(np.put)
def put(a: Value, ind: Value, v: Value, mode: Mode = "raise") -> None:
    """Write elements by position in place."""
    if not isinstance(a, Variable):
        raise TypeError("numpy.put: a plain array cannot hold a gradient; write into np.zeros_like(a Variable)")
    places = np.asarray(ind)
    a[np.unravel_index(places, a.shape)] = np.resize(lifted(v, "numpy.put"), places.shape)


def sort_in_place(self: Variable, axis: int = -1) -> None:
    """Sort a Variable in place."""
    self[...] = np.sort(self, axis)


METHODS["sort"] = sort_in_place

# ---- results that carry no gradient --------------------------------------------------------------------------
plain_answers(
    np.argmax, np.argmin, np.argsort, np.argpartition, np.nonzero, np.any, np.all, np.round, np.searchsorted,
    methods=("argmax", "argmin", "argsort", "argpartition", "nonzero", "any", "all", "round", "searchsorted"))
plain_answers(
    np.nanargmax, np.nanargmin, np.argwhere, np.flatnonzero, np.count_nonzero, np.digitize, np.isclose, np.allclose,
    np.array_equal, np.array_equiv, np.isin, np.isneginf, np.isposinf, np.isreal, np.isrealobj, np.iscomplex,
    np.iscomplexobj, np.around, np.fix, np.result_type, np.can_cast, np.min_scalar_type, np.common_type,
    np.array2string, np.array_repr, np.array_str, np.einsum_path, np.diag_indices_from, np.tril_indices_from,
    np.triu_indices_from)


def shape_answer(function: Function, attribute: str) -> None:
    """Declare np.shape and its kin, which are attributes."""
    @answers(function)
    def of(a: Value) -> Value:
        return getattr(a, attribute)


shape_answer(np.shape, "shape")
shape_answer(np.ndim, "ndim")


@answers(np.size)
def size(a: Value, axis: int | None = None) -> Value:
    """Number of elements, or the length of an axis."""
    return a.size if axis is None else np.size(np.broadcast_to(0.0, a.shape), axis)


@answers(np.real)
def real(val: Value) -> Value:
    """The Variable itself."""
    return val


@answers(np.imag)
def imag(val: Value) -> Value:
    """Zeros."""
    return constant(np.zeros(val.shape))


@answers(np.real_if_close)
def real_if_close(a: Value, tol: float = 100) -> Value:
    """The Variable itself."""
    return a


@answers(np.nan_to_num)
def nan_to_num(x: Value, copy: bool = True, nan: float = 0.0, posinf: float | None = None,
               neginf: float | None = None) -> Value:
    """Numbers in place of nan and infinities; these carry no gradient."""
    low, high = np.finfo(np.float64).min, np.finfo(np.float64).max
    out = np.where(x == np.inf, high if posinf is None else posinf, np.where(np.isnan(x), nan, x))
    return np.where(x == -np.inf, low if neginf is None else neginf, out)


def conjugate(self: Variable) -> Value:
    """The Variable itself: it is real."""
    return self


METHODS["conj"] = METHODS["conjugate"] = conjugate
