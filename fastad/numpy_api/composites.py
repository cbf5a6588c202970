"""Functions composed of others: differences, averages, quantiles, interpolation, polynomials, convolution."""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from .. import variable
from ..variable import Variable, value_of
from .moving import moved
from .reductions import axes_of, count
from .registry import answers, facts, lifted, reveal

if TYPE_CHECKING:
    from .._typing import Array, Axis, Function, Overlap, Value

__all__ = []


def slices(x: Value, axis: int, part: slice) -> Value:
    """Part of x along an axis, a view."""
    return x[(*(slice(None),) * axis, part)]


# ---- differences and integrals -------------------------------------------------------------------------------
@answers(np.diff)
def diff(a: Value, n: int = 1, axis: int = -1, prepend: Value = np._NoValue, append: Value = np._NoValue) -> Value:
    """Differences of neighbours, n times."""
    axis = normalize_axis_index(axis, a.ndim)
    ends: list[list[Value]] = []
    for end in (prepend, append):
        if end is np._NoValue:
            ends.append([])
            continue
        end = lifted(end, "numpy.diff")
        shape = tuple([1 if d == axis else m for d, m in enumerate(a.shape)])
        ends.append([np.broadcast_to(end, shape) if end.ndim == 0 else end])
    if ends != [[], []]:
        a = np.concatenate([*ends[0], a, *ends[1]], axis)
    for _ in range(n):
        a = slices(a, axis, slice(1, None)) - slices(a, axis, slice(None, -1))
    return a


@answers(np.ediff1d)
def ediff1d(ary: Value, to_end: Value = None, to_begin: Value = None) -> Value:
    """Differences of neighbours of the flattened array."""
    out = np.diff(np.ravel(ary))
    parts = [np.ravel(lifted(x, "numpy.ediff1d")) for x in (to_begin, out, to_end) if x is not None]
    return out if len(parts) == 1 else np.concatenate(parts)


@answers(np.trapezoid)
def trapezoid(y: Value, x: Value = None, dx: float = 1.0, axis: int = -1) -> Value:
    """Integral by the trapezoidal rule."""
    y = lifted(y, "numpy.trapezoid")
    axis = normalize_axis_index(axis, y.ndim)
    if x is None:
        width: Value = dx
    else:
        x = lifted(x, "numpy.trapezoid")
        width = np.diff(x, axis=0 if x.ndim == 1 else axis)
        if x.ndim == 1:
            width = np.reshape(width, (-1, *(1,) * (y.ndim - axis - 1)))
    return np.sum(width * (slices(y, axis, slice(1, None)) + slices(y, axis, slice(None, -1))) * 0.5, axis=axis)


def steps_of(h: Value, f: Value, axis: int) -> Array:
    """Distances between the points along an axis, from one spacing or from the coordinates."""
    n = f.shape[axis]
    if np.ndim(h) == 0:
        return np.full(n - 1, float(h))
    if len(h) != n:
        raise ValueError(f"numpy.gradient: {len(h)} coordinates do not fit axis {axis} of shape {f.shape}")
    return np.diff(np.asarray(variable.freeze(h), np.float64))


def edge(near: Value, next_: Value, far: Value, a: Value, b: Value) -> Value:
    """Second-order slope at a point from its neighbours at distances a and a + b."""
    return -(2 * a + b) / (a * (a + b)) * near + (a + b) / (a * b) * next_ - a / (b * (a + b)) * far


def gradient_along(f: Value, h: Value, axis: int, edge_order: int) -> Value:
    """np.gradient along one axis; h is one spacing, or the coordinates."""
    n = f.shape[axis]
    if n < edge_order + 1:
        raise ValueError(f"numpy.gradient: axis {axis} of shape {f.shape} needs at least {edge_order + 1} points")
    steps = steps_of(h, f, axis)

    def at(start: int, stop: int) -> Value:
        return slices(f, axis, slice(start, stop))

    if edge_order == 1:
        first, last = (at(1, 2) - at(0, 1)) / steps[0], (at(n - 1, n) - at(n - 2, n - 1)) / steps[-1]
    else:
        first = edge(at(0, 1), at(1, 2), at(2, 3), steps[0], steps[1])
        last = edge(at(n - 1, n), at(n - 2, n - 1), at(n - 3, n - 2), -steps[-1], -steps[-2])
    if np.all(steps == steps[0]):
        inside = (at(2, n) - at(0, n - 2)) / (2.0 * steps[0])
    else:
        a, b = [s.reshape(-1, *(1,) * (f.ndim - axis - 1)) for s in (steps[:-1], steps[1:])]
        inside = -b / (a * (a + b)) * at(0, n - 2) + (b - a) / (a * b) * at(1, n - 1) + a / (b * (a + b)) * at(2, n)
    return np.concatenate([first, inside, last], axis)


@answers(np.gradient)
def gradient(f: Value, *varargs: Value, axis: int | tuple[int, ...] | None = None, edge_order: int = 1) -> Value:
    """Central differences inside, one-sided ones at the ends."""
    axes = axes_of(axis, f.ndim) if axis is None or isinstance(axis, tuple) else (normalize_axis_index(axis, f.ndim),)
    spacings = list(varargs) or [1.0]
    if any(isinstance(h, Variable) for h in spacings):
        raise TypeError("numpy.gradient: spacings must be plain numbers")
    if len(spacings) == 1:
        spacings *= len(axes)
    if len(spacings) != len(axes):
        raise TypeError(f"numpy.gradient: {len(spacings)} spacings for {len(axes)} axes")
    out = [gradient_along(f, h, d, edge_order) for d, h in zip(axes, spacings, strict=True)]
    return out[0] if len(out) == 1 else tuple(out)


# ---- averages ------------------------------------------------------------------------------------------------
@answers(np.ptp)
def ptp(a: Value, axis: Axis = None, *, keepdims: bool = False) -> Value:
    """Largest minus smallest element."""
    return np.max(a, axis=axis, keepdims=keepdims) - np.min(a, axis=axis, keepdims=keepdims)


@answers(np.average)
def average(a: Value, axis: Axis = None, weights: Value = None, returned: bool = False, *,
            keepdims: bool = False) -> Value:
    """Weighted mean."""
    a = lifted(a, "numpy.average")
    axes = axes_of(axis, a.ndim)
    if weights is None:
        out, scale = np.mean(a, axis=axes, keepdims=keepdims), np.float64(count(a.shape, axes))
    else:
        w = lifted(weights, "numpy.average")
        if w.shape != a.shape:
            if w.shape != tuple([a.shape[d] for d in axes]):
                raise ValueError(f"numpy.average: weights of shape {tuple(w.shape)} do not fit axis {axis} "
                                 f"of shape {tuple(a.shape)}")
            w = np.reshape(w, tuple([n if d in axes else 1 for d, n in enumerate(a.shape)]))
        scale = np.sum(np.broadcast_to(w, a.shape), axis=axes, keepdims=keepdims)
        if np.any(facts(scale) == 0.0):
            raise ZeroDivisionError("numpy.average: weights sum to zero")
        out = np.sum(a * w, axis=axes, keepdims=keepdims) / scale
    return (out, np.broadcast_to(scale, out.shape)) if returned else out


def without_nan(a: Value, fill: Value) -> Value:
    """Elements, a number in the place of nan; these carry no gradient."""
    return np.where(np.isnan(a), fill, a)


@answers(np.nansum)
def nansum(a: Value, axis: Axis = None, *, keepdims: bool = False) -> Value:
    """Sum of what is a number."""
    return np.sum(without_nan(a, 0.0), axis=axis, keepdims=keepdims)


@answers(np.nanprod)
def nanprod(a: Value, axis: Axis = None, *, keepdims: bool = False) -> Value:
    """Product of what is a number."""
    return np.prod(without_nan(a, 1.0), axis=axis, keepdims=keepdims)


@answers(np.nanmean)
def nanmean(a: Value, axis: Axis = None, *, keepdims: bool = False) -> Value:
    """Mean of what is a number."""
    n = np.sum(~np.isnan(a), axis=axis, keepdims=keepdims)
    return np.nansum(a, axis=axis, keepdims=keepdims) / n


@answers(np.nanvar)
def nanvar(a: Value, axis: Axis = None, *, ddof: float = 0, keepdims: bool = False) -> Value:
    """Variance of what is a number."""
    n = np.sum(~np.isnan(a), axis=axis, keepdims=keepdims)
    d = without_nan(a - np.nanmean(a, axis=axis, keepdims=True), 0.0)
    return np.sum(d * d, axis=axis, keepdims=keepdims) / np.where(n > ddof, n - ddof, np.nan)


@answers(np.nanstd)
def nanstd(a: Value, axis: Axis = None, *, ddof: float = 0, keepdims: bool = False) -> Value:
    """Standard deviation of what is a number."""
    return np.sqrt(np.nanvar(a, axis=axis, ddof=ddof, keepdims=keepdims))


@answers(np.cov)
def cov(m: Value, y: Value = None, rowvar: bool = True, bias: bool = False, ddof: int | None = None) -> Value:
    """Covariance matrix of variables in rows."""
    parts = [np.atleast_2d(lifted(z, "numpy.cov")) for z in (m, y) if z is not None]
    parts = [z if rowvar or z.shape[0] == 1 else z.T for z in parts]
    x = np.concatenate(parts, axis=0) if len(parts) > 1 else parts[0]
    x = x - np.mean(x, axis=1, keepdims=True)
    n = x.shape[1] - (ddof if ddof is not None else 0 if bias else 1)
    return np.squeeze(x @ x.T / float(max(n, 0)))


@answers(np.corrcoef)
def corrcoef(x: Value, y: Value = None, rowvar: bool = True) -> Value:
    """Correlation matrix of variables in rows."""
    c = np.cov(x, y, rowvar)
    if c.ndim == 0:
        return c / c
    s = np.sqrt(np.diagonal(c))
    return c / s[:, None] / s[None, :]


# ---- quantiles -----------------------------------------------------------------------------------------------
def quantile_of(name: str, a: Value, q: Value, axis: Axis, keepdims: bool, method: str) -> Value:
    """Quantiles by linear interpolation between sorted elements, as NumPy's default method."""
    if method != "linear":
        raise TypeError(f"{name}: method={method!r} is not supported with Variables; 'linear' is")
    q = np.asarray(value_of(q), np.float64)
    if np.any(q < 0) or np.any(q > 1):
        raise ValueError(f"{name}: quantiles must be between 0 and 1 (percentiles between 0 and 100)")
    axes = axes_of(axis, a.ndim)
    if count(a.shape, axes) == 0:                           # nan, as the mean of nothing
        out = np.mean(a, axis=axes, keepdims=keepdims)
        return np.broadcast_to(out, (*q.shape, *out.shape))
    rows = np.moveaxis(a, axes, tuple(range(-len(axes), 0)))
    rows = np.sort(np.reshape(rows, (*rows.shape[:a.ndim - len(axes)], count(a.shape, axes))), axis=-1)
    n = rows.shape[-1]
    place = q.reshape(-1) * (n - 1)
    low = np.clip(np.floor(place).astype(np.int64), 0, max(n - 2, 0))
    weight = place - low
    high = np.minimum(low + 1, n - 1)
    picked = moved(rows, lambda p: p[..., low]) * (1.0 - weight) + moved(rows, lambda p: p[..., high]) * weight
    last = rows[..., -1:]
    if variable.is_tracing() or np.isnan(np.asarray(value_of(last))).any():      # nan in, nan out
        picked = np.where(np.isnan(last), last, picked)
    out = np.moveaxis(picked, -1, 0)
    if keepdims:
        out = np.reshape(out, (place.size, *[1 if d in axes else m for d, m in enumerate(a.shape)]))
    return np.reshape(out, (*q.shape, *out.shape[1:]))


@answers(np.quantile)
def quantile(a: Value, q: Value, axis: Axis = None, *, method: str = "linear", keepdims: bool = False) -> Value:
    """Quantiles."""
    return quantile_of("numpy.quantile", a, q, axis, keepdims, method)


@answers(np.percentile)
def percentile(a: Value, q: Value, axis: Axis = None, *, method: str = "linear", keepdims: bool = False) -> Value:
    """Percentiles."""
    return quantile_of("numpy.percentile", a, np.asarray(value_of(q)) / 100.0, axis, keepdims, method)


@answers(np.median)
def median(a: Value, axis: Axis = None, *, keepdims: bool = False) -> Value:
    """Middle element, or the mean of the two in the middle."""
    return quantile_of("numpy.median", a, 0.5, axis, keepdims, "linear")


# ---- convolution, polynomials, interpolation -----------------------------------------------------------------
@answers(np.convolve)
def convolve(a: Value, v: Value, mode: Overlap = "full") -> Value:
    """Convolution of two vectors."""
    x, y = [np.atleast_1d(lifted(z, "numpy.convolve")) for z in (a, v)]
    if x.ndim != 1 or y.ndim != 1 or not x.size or not y.size:
        raise ValueError(f"numpy.convolve: vectors that are not empty are needed, not shapes {x.shape} and {y.shape}")
    if y.size > x.size:
        x, y = y, x
    n, m = x.size, y.size
    padded = np.pad(x, m - 1)
    # Each row of this view is a window of x, backwards.
    rows = windows(padded, m)[:, ::-1]
    full = rows @ y
    if mode == "full":
        return full
    if mode == "same":
        return full[(m - 1) // 2:(m - 1) // 2 + n]
    if mode == "valid":
        return full[m - 1:n]
    raise ValueError(f"numpy.convolve: mode={mode!r} is none of 'full', 'same', 'valid'")


def windows(x: Value, m: int) -> Value:
    """All windows of m neighbours of a vector: a view."""
    return np.lib.stride_tricks.sliding_window_view(x, m)


@answers(np.lib.stride_tricks.sliding_window_view)
def sliding_window_view(x: Value, window_shape: Any, axis: Axis = None) -> Value:
    """Windows as a view."""
    shape = (window_shape,) if isinstance(window_shape, (int, np.integer)) else tuple(window_shape)
    axes = tuple(range(x.ndim)) if axis is None else normalize_axis_tuple(axis, x.ndim, allow_duplicate=True)
    if len(axes) != len(shape):
        raise ValueError(f"numpy.sliding_window_view: {len(shape)} lengths for {len(axes)} axes of shape {x.shape}")
    lengths = list(x.shape)
    for d, m in zip(axes, shape, strict=True):
        lengths[d] -= m - 1
    if any(m < 0 or m > x.shape[d] or lengths[d] < 1 for d, m in zip(axes, shape, strict=True)):
        raise ValueError(f"numpy.sliding_window_view: windows of shape {shape} do not fit into shape {x.shape}")
    strides = x.strides_in_elements
    return variable.view(x, 0, (*lengths, *shape), (*strides, *[strides[d] for d in axes]))


@answers(np.correlate)
def correlate(a: Value, v: Value, mode: Overlap = "valid") -> Value:
    """Correlation of two vectors."""
    x, y = [np.atleast_1d(lifted(z, "numpy.correlate")) for z in (a, v)]
    out = np.convolve(x, y[::-1], mode)
    if mode == "same" and y.size > x.size and x.size % 2 == 0:      # NumPy swaps operands, and turns the result round
        full = np.convolve(x, y[::-1], "full")
        start = x.size // 2
        return full[start:start + y.size]
    return out


@answers(np.polyval)
def polyval(p: Value, x: Value) -> Value:
    """A polynomial, highest power first."""
    p, x = lifted(p, "numpy.polyval"), lifted(x, "numpy.polyval")
    if p.ndim == 0:
        raise ValueError("numpy.polyval: the coefficients must be a vector, not a scalar")
    y: Value = np.zeros(x.shape)
    for k in range(p.shape[0]):
        y = y * x + p[k]
    return y


@answers(np.vander)
def vander(x: Value, N: int | None = None, increasing: bool = False) -> Value:
    """Powers of a vector as columns."""
    x = lifted(x, "numpy.vander")
    if x.ndim != 1:
        raise ValueError(f"numpy.vander: a vector is needed, not shape {tuple(x.shape)}")
    n = x.shape[0] if N is None else N
    powers = np.arange(n) if increasing else np.arange(n)[::-1]
    return x[:, None] ** powers


@answers(np.interp)
def interp(x: Value, xp: Value, fp: Value, left: Value = None, right: Value = None,
           period: float | None = None) -> Value:
    """Piecewise linear interpolation; slopes at a node are those of the piece that NumPy takes there."""
    if period is not None:
        raise TypeError("numpy.interp: period= is not supported with Variables; fold x with np.remainder")
    x, xp, fp = [lifted(z, "numpy.interp") for z in (x, xp, fp)]
    if xp.shape != fp.shape or len(xp.shape) != 1 or not xp.shape[0]:
        raise ValueError(f"numpy.interp: xp and fp must be two vectors of one length, not of shapes {tuple(xp.shape)} "
                         f"and {tuple(fp.shape)}")
    nodes, at = facts(xp), facts(x)
    if nodes.size == 1:
        out = np.broadcast_to(fp[0], at.shape) + 0.0 * at
    else:
        k = np.clip(np.searchsorted(nodes, at, side="right") - 1, 0, nodes.size - 2)
        x0, y0 = np.take(xp, k), np.take(fp, k)
        out = y0 + (x - x0) * ((np.take(fp, k + 1) - y0) / (np.take(xp, k + 1) - x0))
    out = np.where(at < nodes[0], fp[0] if left is None else left, out)
    return np.where(at > nodes[-1], fp[-1] if right is None else right, out)


# ---- others --------------------------------------------------------------------------------------------------
@answers(np.meshgrid)
def meshgrid(*xi: Value, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> tuple[Value, ...]:
    """Coordinates of a grid."""
    n = len(xi)
    out = []
    for k, z in enumerate(xi):
        out.append(np.reshape(lifted(z, "numpy.meshgrid"), (*(1,) * k, -1, *(1,) * (n - k - 1))))
    if indexing == "xy" and n > 1:
        out = [np.swapaxes(z, 0, 1) for z in out]
    if not sparse:
        out = list(np.broadcast_arrays(*out))
    return tuple([z.copy() for z in out] if copy else out)


@answers(np.linspace)
def linspace(start: Value, stop: Value, num: int = 50, endpoint: bool = True, retstep: bool = False, *,
             axis: int = 0) -> Value:
    """Evenly spaced numbers between recorded ends."""
    name = "numpy.linspace"
    start, stop = lifted(start, name), lifted(stop, name)
    parts = num - 1 if endpoint else num
    step = (stop - start) / float(parts) if parts > 0 else (stop - start) * np.nan
    weights = (np.arange(num) / max(parts, 1)).reshape(num, *(1,) * np.ndim(step))
    out = np.moveaxis(start * (1.0 - weights) + stop * weights, 0, axis)      # the last is `stop` to the last digit
    return (out, step) if retstep else out


@answers(np.apply_along_axis)
def apply_along_axis(func1d: Function, axis: int, arr: Value, *args: Any, **kwargs: Any) -> Value:
    """A function of vectors applied along an axis."""
    axis = normalize_axis_index(axis, arr.ndim)
    rows = np.moveaxis(arr, axis, -1)
    lead = rows.shape[:-1]
    made = [variable.array(func1d(rows[index], *args, **kwargs), copy=False) for index in np.ndindex(lead)]
    if not made:
        raise ValueError(f"numpy.apply_along_axis: no vectors in an array of shape {arr.shape} along axis {axis}")
    out = np.reshape(np.stack(made), (*lead, *made[0].shape))
    extra = made[0].ndim
    return np.moveaxis(out, tuple(range(len(lead), len(lead) + extra)), tuple(range(axis, axis + extra)))


@answers(np.insert)
def insert(arr: Value, obj: Value, values: Value, axis: int | None = None) -> Value:
    """Values inserted in front of elements."""
    x, y, obj = lifted(arr, "numpy.insert"), lifted(values, "numpy.insert"), reveal(obj)
    if axis is None:
        x, axis = np.ravel(x), 0
    marks = np.insert(np.zeros(x.shape, bool), obj, np.broadcast_to(True, np.shape(y)) if y.ndim else True, axis)
    places = np.insert(np.arange(x.size).reshape(x.shape), obj, -1 - np.arange(y.size).reshape(y.shape), axis)
    both = np.concatenate([np.ravel(x), np.ravel(y)])
    positions = np.where(marks, x.size - 1 - places, places)
    return moved(both, lambda _: positions) if isinstance(both, Variable) else both[positions]
