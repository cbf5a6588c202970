"""Reductions and cumulative functions."""
from __future__ import annotations

import math
from collections.abc import Callable
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
    from .._typing import Array, Axis, Function, Shape, Value

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
def products_before(x: Value) -> Value:
    """The product of all elements before each one along the last axis; no division, so that zeros do no harm."""
    ones = np.ones((*x.shape[:-1], 1))
    return np.cumprod(np.concatenate([ones, x[..., :-1]], axis=-1), axis=-1)


def nothing(g: Array) -> Any:
    """Where an adjoint is the structural zero -0.0."""
    return (g == 0.0) & np.signbit(g)


def flow(partial: Value, g: Value) -> Value:
    """A partial times an adjoint that may be nothing."""
    return variable.call_row("flow", partial, g)


class Product:
    """The derivative of a product: for each element the product of all others, prefix times suffix."""

    exact = True                                      # keeps what is nothing in the upstream nothing

    def __init__(self, x: Array, axes: Shape) -> None:
        self.x, self.axes = np.array(x), axes         # a leaf's values may change before the sweep

    def forward(self, inputs: list[Array]) -> list[Array]:
        """The product of other factors."""
        self.x = np.reshape(inputs[0], self.x.shape).copy()
        return [np.ravel(np.prod(self.x, axis=self.axes))]

    def gradient(self, x: Value, g: Value, before: Function) -> Value:
        """The gradient for factors x, arrays or Variables; `before` gives the products of those before each one."""
        last = tuple(range(-len(self.axes), 0))
        moved = np.moveaxis(x, self.axes, last)
        rows = moved.reshape(*moved.shape[:moved.ndim - len(self.axes)], -1)
        others = before(rows) * before(rows[..., ::-1])[..., ::-1]
        return flow(np.moveaxis(others.reshape(moved.shape), last, self.axes), unreduced(g, self.x.shape, self.axes))

    def pull(self, upstream: list[Array]) -> list[Array]:
        """Gradient of the factors."""
        return [self.gradient(self.x, upstream[0], products_before).reshape(-1)]

    def recorded_pull(self, operands: list[Value], results: list[Value], upstream: list[Value]) -> list[Value]:
        """The same with Variables."""
        return [np.ravel(self.gradient(np.reshape(operands[0], self.x.shape), upstream[0], products_before))]


@answers(np.prod, method="prod")
def prod(a: Value, axis: Axis = None, *, keepdims: bool = False) -> Value:
    """Product over axes; exact where factors are 0."""
    axes = axes_of(axis, a.ndim)
    if not axes or not a.size:
        return a.copy() if not axes else np.sum(a, axes, keepdims=keepdims) + 1.0
    if variable.is_tracing():
        return traced.prod(a, axes, keepdims)
    values = np.asarray(value_of(a))
    return variable.call(Product(values, axes), [a], [np.prod(values, axis=axes, keepdims=keepdims)], "prod")[0]


# ---- cumulative functions ------------------------------------------------------------------------------------
class CumulativeSum:
    """The derivative of cumsum along an axis: a cumsum from the other end."""

    exact = True                                      # -0.0 is the identity of addition

    def __init__(self, shape: Shape, axis: int) -> None:
        self.shape, self.axis = shape, axis

    def forward(self, inputs: list[Array]) -> list[Array]:
        """The sums of other terms."""
        return [np.ravel(np.cumsum(np.reshape(inputs[0], self.shape), self.axis))]

    def pull(self, upstream: list[Array]) -> list[Array]:
        """Gradient of the terms."""
        g = np.flip(np.reshape(upstream[0], self.shape), self.axis)
        return [np.ravel(np.flip(np.cumsum(g, self.axis), self.axis))]

    def recorded_pull(self, operands: list[Value], results: list[Value], upstream: list[Value]) -> list[Value]:
        """The same with Variables."""
        return self.pull(upstream)


class CumulativeProduct:
    """The derivative of cumprod along an axis, by a recurrence from the end that divides by nothing."""

    exact = True

    def __init__(self, x: Array, axis: int) -> None:
        self.x, self.axis = np.array(x), axis         # a leaf's values may change before the sweep

    def forward(self, inputs: list[Array]) -> list[Array]:
        """The products of other factors."""
        self.x = np.reshape(inputs[0], self.x.shape).copy()
        return [np.ravel(np.cumprod(self.x, self.axis))]

    def rows(self, flat: Value) -> Value:
        """What came flat with the axis at the end."""
        return np.moveaxis(np.reshape(flat, self.x.shape), self.axis, -1)

    def pull(self, upstream: list[Array]) -> list[Array]:
        """Gradient of the factors: everything before, times what follows and is still to be multiplied."""
        x = self.rows(self.x)
        gradient = flow(products_before(x), from_the_end(solve, x, self.rows(upstream[0])))
        return [np.moveaxis(gradient, -1, self.axis).reshape(-1)]

    def recorded_pull(self, operands: list[Value], results: list[Value], upstream: list[Value]) -> list[Value]:
        """The same with Variables; the products are there already."""
        done = self.rows(results[0])
        before = np.concatenate([np.ones((*done.shape[:-1], 1)), done[..., :-1]], axis=-1)
        gradient = flow(before, from_the_end(recurrence, self.rows(operands[0]), self.rows(upstream[0])))
        return [np.ravel(np.moveaxis(gradient, -1, self.axis))]


def solve(x: Array, g: Array) -> Array:
    """``s[k] = g[k] + x[k] s[k - 1]`` along the last axis, s[-1] being nothing."""
    out = np.empty(g.shape)
    s = out[..., 0] = g[..., 0]
    for k in range(1, g.shape[-1]):
        s = out[..., k] = np.where(nothing(s), g[..., k], g[..., k] + (x[..., k] * s + 0.0))
    return out


def from_the_end(function: Function, x: Value, g: Value) -> Value:
    """``s[k] = g[k] + x[k + 1] s[k + 1]`` by a function like `solve`."""
    shifted = np.concatenate([x[..., 1:], np.zeros((*x.shape[:-1], 1))], axis=-1)
    return function(shifted[..., ::-1], g[..., ::-1])[..., ::-1]


def recurrence(x: Value, g: Value) -> Value:
    """`solve` with Variables."""
    plain = solve(np.asarray(value_of(x)), np.asarray(value_of(g)))
    return variable.call(Recurrence(plain, value_of(x)), [x, g], [plain], "cumprod")[0]


class Recurrence:
    """The derivative of `solve`: the same recurrence from the end."""

    exact = True

    def __init__(self, s: Array, x: Array) -> None:
        self.s, self.x = s, x

    def forward(self, inputs: list[Array]) -> list[Array]:
        """The solution for other coefficients."""
        self.x = np.reshape(inputs[0], self.x.shape).copy()
        self.s = solve(self.x, np.reshape(inputs[1], self.x.shape))
        return [self.s.reshape(-1)]

    def gradient(self, x: Value, s: Value, t: Value) -> list[Value]:
        """The gradients of x and g; t is the adjoint of g."""
        first = np.full((*self.x.shape[:-1], 1), -0.0)
        return [np.ravel(np.concatenate([first, flow(s[..., :-1], t[..., 1:])], axis=-1)), np.ravel(t)]

    def pull(self, upstream: list[Array]) -> list[Array]:
        """Gradients of coefficients and right-hand sides."""
        return self.gradient(self.x, self.s, from_the_end(solve, self.x, np.reshape(upstream[0], self.x.shape)))

    def recorded_pull(self, operands: list[Value], results: list[Value], upstream: list[Value]) -> list[Value]:
        """The same with Variables."""
        x, s, u = [np.reshape(flat, self.x.shape) for flat in (operands[0], results[0], upstream[0])]
        return self.gradient(x, s, from_the_end(recurrence, x, u))


def cumulative(a: Value, axis: int | None, function: Function, make: Callable[[Array, int], Any]) -> Value:
    """A cumulative function; None as axis means the flattened array."""
    if axis is None:
        a, axis = np.ravel(a), 0
    if a.ndim == 0 and axis in (0, -1):
        a = np.ravel(a)
    axis = normalize_axis_index(axis, a.ndim)
    if not a.size:
        return a.copy()
    if variable.is_tracing():
        return traced.cumulative(a, function, axis)
    values = np.asarray(value_of(a))
    return variable.call(make(values, axis), [a], [function(values, axis=axis)], function.__name__)[0]


@answers(np.cumsum, method="cumsum")
def cumsum(a: Value, axis: int | None = None) -> Value:
    """Sums of the first 1, 2, 3, ... elements."""
    return cumulative(a, axis, np.cumsum, lambda values, axis: CumulativeSum(values.shape, axis))


@answers(np.cumprod, method="cumprod")
def cumprod(a: Value, axis: int | None = None) -> Value:
    """Products of the first 1, 2, 3, ... elements; exact where factors are 0."""
    return cumulative(a, axis, np.cumprod, CumulativeProduct)


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
