"""Shape functions: views wherever NumPy gives views, blocks where it joins arrays."""
from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from .. import variable
from ..variable import Variable
from .moving import c_strides, moved, permuted, positions_of, reshaped, viewed
from .registry import ANSWERS, METHODS, answers, lifted

if TYPE_CHECKING:
    from .._typing import Axis, Function, Order, Value

F = TypeVar("F", bound="Function")


# ---- views ---------------------------------------------------------------------------------------------------
@answers(np.transpose)
def transpose(a: Value, axes: Axis = None) -> Value:
    """Axes in another order."""
    if axes is None:
        return a.T
    if type(axes) is tuple and sorted(axes) == list(range(a.ndim)):
        return permuted(a, axes)
    return viewed(a, np.transpose, axes)


@answers(np.reshape)
def reshape(a: Value, shape: Any, order: Order = "C", *, copy: bool | None = None) -> Value:
    """The elements in C order in another shape."""
    out = reshaped(a, shape, order)
    return out.copy() if copy else out


@answers(np.ravel, method="ravel")
def ravel(a: Value, order: Order = "C") -> Value:
    """One axis."""
    return reshaped(a, (-1,) if a.size else (0,), "F" if order == "F" else "C")


@answers(np.swapaxes, method="swapaxes")
def swapaxes(a: Value, axis1: int, axis2: int) -> Value:
    """Two axes exchanged."""
    first, second = normalize_axis_index(axis1, a.ndim, "axis1"), normalize_axis_index(axis2, a.ndim, "axis2")
    axes = list(range(a.ndim))
    axes[first], axes[second] = second, first
    return permuted(a, axes)


@answers(np.squeeze, method="squeeze")
def squeeze(a: Value, axis: Axis = None) -> Value:
    """Axes of length 1 removed."""
    return viewed(a, np.squeeze, axis)


def view_answer(function: Function) -> None:
    """Declare a function whose result is a view that follows from shape and strides alone."""
    @answers(function)
    def view_of(a: Value, *args: Any, **kwargs: Any) -> Value:
        return viewed(a, function, *args, **kwargs)


for _name in ("moveaxis", "rollaxis", "expand_dims", "flip", "flipud", "fliplr", "rot90", "matrix_transpose", "split",
              "array_split", "hsplit", "vsplit", "dsplit", "unstack"):
    if hasattr(np, _name):
        view_answer(getattr(np, _name))


@answers(np.diagonal, method="diagonal")
def diagonal(a: Value, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Value:
    """A diagonal, along the last axis of the result."""
    return viewed(a, np.diagonal, offset, axis1, axis2)


@answers(np.broadcast_to)
def broadcast_to(array: Value, shape: Any, *, subok: bool = False) -> Value:
    """Axes and lengths added with stride 0."""
    return viewed(array, np.broadcast_to, shape)


@answers(np.broadcast_arrays)
def broadcast_arrays(*args: Any, subok: bool = False) -> tuple[Value, ...]:
    """All operands in their common shape."""
    items = [lifted(x, "numpy.broadcast_arrays") for x in args]
    shape = np.broadcast_shapes(*[x.shape for x in items])
    return tuple(np.broadcast_to(x, shape) for x in items)


def at_least(name: str, n: int) -> None:
    """Declare np.atleast_1d and its kin."""
    function = getattr(np, name)

    @answers(function)
    def at_least_of(*arys: Value) -> Value:
        made = [viewed(x, function) if isinstance(x, Variable) else function(x)
                for x in (lifted(x, f"numpy.{name}") for x in arys)]
        return made[0] if len(made) == 1 else tuple(made)


for _n in (1, 2, 3):
    at_least(f"atleast_{_n}d", _n)


# ---- joining -------------------------------------------------------------------------------------------------
@answers(np.concatenate)
def concatenate(arrays: Value, axis: int | None = 0) -> Value:
    """Arrays one behind the other; one copy each."""
    name = "numpy.concatenate"
    items = [lifted(x, name) for x in arrays]
    if axis is None:
        items, axis = [np.ravel(x) for x in items], 0
    first = items[0].shape
    if not first:
        raise ValueError(f"{name}: scalars cannot be concatenated; use np.stack or fa.array")
    axis = normalize_axis_index(axis, len(first))
    for x in items:
        if len(x.shape) != len(first) or (*x.shape[:axis], *x.shape[axis + 1:]) != (*first[:axis], *first[axis + 1:]):
            raise ValueError(f"{name}: operands of shapes {first} and {x.shape} do not fit along axis {axis}")
    shape = (*first[:axis], sum([x.shape[axis] for x in items]), *first[axis + 1:])
    strides, pieces, start = c_strides(shape), [], 0
    for x in items:
        pieces.append((start * strides[axis], strides, x))
        start += x.shape[axis]
    return variable.new_block(shape, pieces)


@answers(np.stack)
def stack(arrays: Value, axis: int = 0) -> Value:
    """Arrays side by side along a new axis."""
    items = [lifted(x, "numpy.stack") for x in arrays]
    shape = items[0].shape
    for x in items:
        if x.shape != shape:
            raise ValueError(f"numpy.stack: operands of shapes {shape} and {x.shape} differ; all must have one shape")
    axis = normalize_axis_index(axis, len(shape) + 1)
    full = (*shape[:axis], len(items), *shape[axis:])
    strides = c_strides(full)
    rest = strides[:axis] + strides[axis + 1:]
    return variable.new_block(full, [(k * strides[axis], rest, x) for k, x in enumerate(items)])


def lifted_all(tup: Iterable[Any], name: str, least: Function | None = None) -> list[Any]:
    """Operands of a joining function, with at least so many axes."""
    items = [lifted(x, name) for x in tup]
    return items if least is None else [least(x) for x in items]


@answers(np.vstack)
def vstack(tup: Value) -> Value:
    """Rows below each other."""
    return np.concatenate(lifted_all(tup, "numpy.vstack", np.atleast_2d), 0)


@answers(np.hstack)
def hstack(tup: Value) -> Value:
    """Columns beside each other."""
    items = lifted_all(tup, "numpy.hstack", np.atleast_1d)
    return np.concatenate(items, 0 if items and items[0].ndim == 1 else 1)


@answers(np.dstack)
def dstack(tup: Value) -> Value:
    """Layers behind each other."""
    return np.concatenate(lifted_all(tup, "numpy.dstack", np.atleast_3d), 2)


@answers(np.column_stack)
def column_stack(tup: Value) -> Value:
    """Vectors as columns."""
    items = lifted_all(tup, "numpy.column_stack")
    return np.concatenate([np.reshape(x, (-1, 1)) if x.ndim < 2 else x for x in items], 1)


@answers(np.append)
def append(arr: Value, values: Value, axis: int | None = None) -> Value:
    """`values` behind `arr`."""
    items = lifted_all((arr, values), "numpy.append")
    return np.concatenate([np.ravel(x) for x in items] if axis is None else items, axis or 0)


def depth_of(arrays: Value) -> int:
    """How deep the lists of np.block are nested."""
    return 1 + max([depth_of(item) for item in arrays], default=0) if isinstance(arrays, list) else 0


@answers(np.block)
def block(arrays: Value) -> Value:
    """Blocks joined as nested lists show them."""
    depth = depth_of(arrays)

    def leaves(item: Value) -> list[int]:
        return [leaf for part in item for leaf in leaves(part)] if isinstance(item, list) else [np.ndim(item)]

    ndim = max([depth, *leaves(arrays)])

    def joined(item: Value, level: int) -> Value:
        if isinstance(item, list):
            return np.concatenate([joined(part, level + 1) for part in item], axis=level - depth)
        x = lifted(item, "numpy.block")
        return np.reshape(x, (1,) * (ndim - x.ndim) + tuple(x.shape))

    out = joined(arrays, 0)
    return out.copy() if isinstance(out, Variable) and depth == 0 else out


# ---- copies of elements --------------------------------------------------------------------------------------
@answers(np.repeat, method="repeat")
def repeat(a: Value, repeats: Value, axis: int | None = None) -> Value:
    """Each element several times."""
    return moved(a, np.repeat, repeats, axis)


def moving_answer(function: Function) -> None:
    """Declare a function that copies elements to other places."""
    @answers(function)
    def moved_by(a: Value, *args: Any, **kwargs: Any) -> Value:
        return moved(a, function, *args, **kwargs)


_function: Function
for _function in (np.tile, np.roll, np.delete, np.fft.fftshift, np.fft.ifftshift):
    moving_answer(_function)


def zeros_outside(function: Function) -> None:
    """Declare a function that puts zeros beside elements; the zeros carry no gradient."""
    @answers(function)
    def with_zeros(a: Value, k: int = 0) -> Value:
        return variable.gather(a, function(positions_of(a) + 1, k) - 1)


for _function in (np.tril, np.triu, np.diagflat):
    zeros_outside(_function)


@answers(np.resize)
def resize(a: Value, new_shape: Any) -> Value:
    """Elements in C order, repeated as often as needed; zeros where there are none."""
    return variable.gather(a, np.resize(positions_of(a) + 1, new_shape) - 1)


@answers(np.diag)
def diag(v: Value, k: int = 0) -> Value:
    """A diagonal matrix from a vector, or the diagonal (a view) of a matrix."""
    if v.ndim == 2:
        return viewed(v, np.diagonal, k)
    return variable.gather(v, np.diag(positions_of(v) + 1, k) - 1)


#: Modes of np.pad that repeat elements of the array.
PAD_BY_POSITION = ("edge", "reflect", "symmetric", "wrap")


@answers(np.pad)
def pad(array: Value, pad_width: Any, mode: str = "constant", *, constant_values: Value = 0,
        reflect_type: str = "even") -> Value:
    """Edges added around an array: constant ones, or elements of the array."""
    name = "numpy.pad"
    if mode in PAD_BY_POSITION:
        if reflect_type != "even":
            raise TypeError(f"{name}: reflect_type={reflect_type!r} is not supported with Variables; subtract the "
                            "reflected array from twice its edge")
        return moved(array, np.pad, pad_width, mode)
    if mode != "constant":
        raise TypeError(f"{name}: mode={mode!r} is not supported with Variables; 'constant' and {PAD_BY_POSITION} are")
    if any(isinstance(c, Variable) for c in np.ravel(np.asarray(constant_values, object))):
        raise TypeError(f"{name}: constant_values must be plain numbers; np.block places Variables at the edge")
    frame = np.pad(np.zeros(array.shape), pad_width, constant_values=constant_values)
    inside = np.pad(np.ones(array.shape, bool), pad_width)
    strides = c_strides(frame.shape)
    return variable.new_block(frame.shape, [(int(np.argmax(inside)), strides, array)], frame)


# ---- new arrays like an old one ------------------------------------------------------------------------------
def like_answer(function: Function, fill: float) -> None:
    """Declare np.zeros_like or one of its kin: a block that recorded values can be written into."""
    @answers(function)
    def like(a: Value, dtype: Any = None, *, shape: Any = None) -> Value:
        if dtype is not None and np.dtype(dtype) != np.float64:
            return function(np.empty(a.shape if shape is None else shape, np.int8), dtype=dtype)
        shape = a.shape if shape is None else (shape,) if isinstance(shape, int) else tuple(shape)
        out = variable.new_block(shape, [], fill)
        return variable.discrete(out, a.dtype) if isinstance(a, variable.Discrete) else out


like_answer(np.zeros_like, 0.0)
like_answer(np.ones_like, 1.0)
like_answer(np.empty_like, 0.0)


@answers(np.full_like)
def full_like(a: Value, fill_value: Value, dtype: Any = None, *, shape: Any = None) -> Value:
    """A block full of a number or a Variable."""
    if isinstance(a, variable.Discrete):
        return variable.converted(np.zeros_like(a, shape=shape) + lifted(fill_value, "numpy.full_like"),
                                  np.dtype(dtype or a.dtype))
    if dtype is not None and np.dtype(dtype) != np.float64:
        return np.full(a.shape if shape is None else shape, fill_value, dtype)
    shape = a.shape if shape is None else (shape,) if isinstance(shape, int) else tuple(shape)
    if isinstance(fill_value, (int, float)):
        return variable.new_block(shape, [], fill_value)
    value = lifted(fill_value, "numpy.full_like")
    if isinstance(value, variable.Discrete):
        return variable.new_block(shape, [], -0.0) + value
    return variable.new_block(shape, [(0, c_strides(shape), np.broadcast_to(value, shape))])


@answers(np.copy)
def copy(a: Value, order: Order = "K", *, subok: bool = False) -> Value:
    """A recorded copy."""
    return a.copy()


# ---- methods that differ from the function -------------------------------------------------------------------
def method(name: str) -> Callable[[F], F]:
    """Decorator: an ndarray method that takes other arguments than the function."""
    def install(function: F) -> F:
        METHODS[name] = function
        return function
    return install


@method("reshape")
def reshape_method(self: Variable, *shape: Any, order: Literal["C", "F"] = "C") -> Value:
    """``x.reshape(2, 3)`` and ``x.reshape((2, 3))``."""
    new: Any = shape[0] if len(shape) == 1 else shape
    return ANSWERS[np.reshape](self, new, order)


@method("transpose")
def transpose_method(self: Variable, *axes: Any) -> Value:
    """``x.transpose()``, ``x.transpose(1, 0)`` and ``x.transpose((1, 0))``."""
    return ANSWERS[np.transpose](self, axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes or None)


@method("flatten")
def flatten_method(self: Variable, order: Order = "C") -> Value:
    """One axis, always a copy."""
    return np.ravel(self, order="F" if order == "F" else "C").copy()


@method("astype")
def astype_method(self: Variable, dtype: Any, *, copy: bool = True) -> Value:
    """A copy in float64; whole numbers and truth values are plain arrays, for they carry no gradient."""
    kind = np.dtype(dtype)
    if kind == np.float64 and not isinstance(self, variable.Discrete):
        return self.copy() if copy else self
    if variable.is_tracing() and kind.kind in "iubf":
        return variable.converted(self, kind)
    if kind.kind in "iub":
        return np.asarray(variable.value_of(self)).astype(kind)
    if kind.kind == "O":
        out = np.empty(self.shape, object)
        for index in np.ndindex(self.shape):
            out[index] = self[index]
        return out
    raise TypeError(f"astype: Variables are float64, {kind} would lose digits or the gradient; .value.astype converts "
                    "the numbers alone")


if hasattr(np, "astype"):                             # NumPy 2.1
    @answers(np.astype)
    def astype(x: Value, dtype: Any, /, *, copy: bool = True) -> Value:
        """The method as a function."""
        return astype_method(x, dtype, copy=copy)


@method("fill")
def fill_method(self: Variable, value: Value) -> None:
    """Every element set in place."""
    self[...] = value
