"""Reductions and cumulative functions."""
from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from .. import variable
from ..math import sqrt0
from ..variable import value_of
from . import traced
from .moving import moved, positions_of
from .registry import answers, facts

if TYPE_CHECKING:
    from .._typing import Axis, Function, Shape, Value

__all__ = ["axes_of", "count", "extremum", "kept_shape", "unreduced"]


# ---- axes ----------------------------------------------------------------------------------------------------
def axes_of(axis: Axis, ndim: int) -> Shape:
    """The axes meant by None, an integer or a tuple: sorted, not negative."""
    if axis is None or (ndim == 0 and axis in (0, -1)):      # NumPy lets scalars be reduced over axis 0
        return tuple(range(ndim))
    return tuple(sorted(normalize_axis_tuple(axis, ndim)))


def count(shape: Shape, axes: Shape) -> int:
    """How many elements are reduced to one."""
    return math.prod([shape[d] for d in axes])


def kept_shape(shape: Shape, axes: Shape, keepdims: bool) -> Shape:
    """The shape of a reduction's result."""
    return tuple([1 if d in axes else n for d, n in enumerate(shape) if keepdims or d not in axes])


def unreduced(g: Value, shape: Shape, axes: Shape) -> Value:
    """A reduction's result, given flat, in a shape that broadcasts against the operand."""
    return np.reshape(g, kept_shape(shape, axes, True))


# ---- sums ----------------------------------------------------------------------------------------------------
@answers(np.sum, method="sum")
def sum_(a: Value, axis: Axis = None, *, keepdims: bool = False) -> Value:
    """Sum over axes."""
    return variable.total(a, axes_of(axis, a.ndim), keepdims)


@answers(np.mean, method="mean")
def mean(a: Value, axis: Axis = None, *, keepdims: bool = False) -> Value:
    """Mean over axes."""
    axes = axes_of(axis, a.ndim)
    return variable.total(a, axes, keepdims) / float(count(a.shape, axes))


@answers(np.var, method="var")
def var(a: Value, axis: Axis = None, *, ddof: float = 0, keepdims: bool = False,
        correction: float | None = None) -> Value:
    """Mean square distance from the mean."""
    axes = axes_of(axis, a.ndim)
    d = a - mean_of(a, axes)
    n = count(a.shape, axes) - (ddof if correction is None else correction)
    return variable.total(d * d, axes, keepdims) / float(max(n, 0))


def mean_of(a: Value, axes: Shape) -> Value:
    """The mean, ready to be broadcast."""
    return variable.total(a, axes, True) / float(count(a.shape, axes))


@answers(np.std, method="std")
def std(a: Value, axis: Axis = None, *, ddof: float = 0, keepdims: bool = False,
        correction: float | None = None) -> Value:
    """Root of the variance; the slope is 0 where all elements are equal, as for a norm."""
    return sqrt0(np.var(a, axis, ddof=ddof if correction is None else correction, keepdims=keepdims))


# ---- extrema -------------------------------------------------------------------------------------------------
def extremum(a: Value, ufunc: np.ufunc, axis: Axis, keepdims: bool) -> Value:
    """A largest or smallest element; elements that tie share the gradient equally, and nan is taken by nan."""
    axes = axes_of(axis, a.ndim)
    if variable.is_tracing():
        return traced.extremum(a, ufunc, axes, keepdims)
    values = np.asarray(value_of(a))
    if len(axes) == a.ndim:                           # the short way to one element, unless it ties
        best = (values == ufunc.reduce(values, axis=None)).reshape(-1).nonzero()[0]
        if best.size == 1:
            return variable.gather(a, best.reshape(kept_shape(a.shape, axes, keepdims)))
    found = np.asarray(ufunc.reduce(values, axis=axes, keepdims=True))
    chosen = (values == found) | (np.isnan(values) & np.isnan(found))
    shares = np.add.reduce(chosen, axis=axes, keepdims=True)
    shape = kept_shape(a.shape, axes, keepdims)
    sources = np.flatnonzero(chosen)
    targets = np.broadcast_to(positions_of(found), values.shape)[chosen]
    if sources.size == found.size:                    # no ties
        positions = np.empty(found.size, np.int64)
        positions[targets] = sources
        return variable.gather(a, positions.reshape(shape))
    weights = np.broadcast_to(1.0 / shares, values.shape)[chosen]
    return variable.spread(a, sources, targets, weights, found.reshape(shape))


@answers(np.max, np.amax, method="max")
def max_(a: Value, axis: Axis = None, *, keepdims: bool = False) -> Value:
    """Largest element over axes."""
    return extremum(a, np.maximum, axis, keepdims)


@answers(np.min, np.amin, method="min")
def min_(a: Value, axis: Axis = None, *, keepdims: bool = False) -> Value:
    """Smallest element over axes."""
    return extremum(a, np.minimum, axis, keepdims)


@answers(np.nanmax)
def nanmax(a: Value, axis: Axis = None, *, keepdims: bool = False) -> Value:
    """Largest element that is a number."""
    return extremum(a, np.fmax, axis, keepdims)


@answers(np.nanmin)
def nanmin(a: Value, axis: Axis = None, *, keepdims: bool = False) -> Value:
    """Smallest element that is a number."""
    return extremum(a, np.fmin, axis, keepdims)


# ---- products ------------------------------------------------------------------------------------------------
@answers(np.prod, method="prod")
def prod(a: Value, axis: Axis = None, *, keepdims: bool = False) -> Value:
    """Product over axes; exact where factors are 0."""
    axes = axes_of(axis, a.ndim)
    if not axes or not a.size:
        return a.copy() if not axes else np.sum(a, axes, keepdims=keepdims) + 1.0
    return traced.folded("prod", a, axes=list(axes), keepdims=keepdims)


# ---- cumulative functions ------------------------------------------------------------------------------------
def cumulative(a: Value, axis: int | None, name: str) -> Value:
    """A cumulative function; None as axis means the flattened array."""
    if axis is None:
        a, axis = np.ravel(a), 0
    if a.ndim == 0 and axis in (0, -1):
        a = np.ravel(a)
    axis = normalize_axis_index(axis, a.ndim)
    if not a.size:
        return a.copy()
    return traced.folded(name, a, axis=axis)


@answers(np.cumsum, method="cumsum")
def cumsum(a: Value, axis: int | None = None) -> Value:
    """Sums of the first 1, 2, 3, ... elements."""
    return cumulative(a, axis, "cumsum")


@answers(np.cumprod, method="cumprod")
def cumprod(a: Value, axis: int | None = None) -> Value:
    """Products of the first 1, 2, 3, ... elements; exact where factors are 0."""
    return cumulative(a, axis, "cumprod")


def array_api(function: Function, ours: Function, start: float) -> None:
    """Declare np.cumulative_sum or np.cumulative_prod."""
    @answers(function)
    def cumulative_of(x: Value, /, *, axis: int | None = None, include_initial: bool = False) -> Value:
        if axis is None and x.ndim > 1:
            raise ValueError(f"numpy.{function.__name__}: say along which axis of an array of shape {x.shape}")
        out = ours(x, axis=axis)
        if not include_initial:
            return out
        axis = normalize_axis_index(axis or 0, out.ndim)
        shape = (*out.shape[:axis], 1, *out.shape[axis + 1:])
        return np.concatenate([np.full(shape, start), out], axis)


if hasattr(np, "cumulative_sum"):                     # NumPy 2.1
    array_api(np.cumulative_sum, np.cumsum, 0.0)
    array_api(np.cumulative_prod, np.cumprod, 1.0)


@answers(np.nancumsum)
def nancumsum(a: Value, axis: int | None = None) -> Value:
    """Cumulative sum of what is a number."""
    return np.cumsum(np.where(np.isnan(a), 0.0, a), axis)


@answers(np.nancumprod)
def nancumprod(a: Value, axis: int | None = None) -> Value:
    """Cumulative product of what is a number."""
    return np.cumprod(np.where(np.isnan(a), 1.0, a), axis)


# ---- order ---------------------------------------------------------------------------------------------------
@answers(np.sort)
def sort(a: Value, axis: int | None = -1, kind: str | None = None, *, stable: bool | None = None) -> Value:
    """Elements in ascending order, nan last; each takes its gradient along."""
    if axis is None:
        a, axis = np.ravel(a), 0
    order = np.argsort(facts(a), axis=axis, kind="stable")
    return moved(a, np.take_along_axis, order, axis)


@answers(np.partition)
def partition(a: Value, kth: Any, axis: int | None = -1, kind: str = "introselect") -> Value:
    """Elements with the k-th in its sorted place."""
    if axis is None:
        a, axis = np.ravel(a), 0
    order = np.argpartition(facts(a), kth, axis=axis)
    return moved(a, np.take_along_axis, order, axis)
