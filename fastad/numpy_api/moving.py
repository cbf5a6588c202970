"""Elements on the move: how functions that only rearrange are answered, with NumPy itself as the map.

A function that gives a view in NumPy gives one here: it is applied to a dummy array with the Variable's shape and
strides, and the view it returns tells offset, shape and strides. A function that copies elements is applied to the
positions of the elements; the result says which element goes where.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import variable
from ..variable import Variable
from . import traced

if TYPE_CHECKING:
    from .._typing import Function, Index, Order, Shape, Value

__all__ = ["c_strides", "dense", "moved", "permuted", "positions_of", "reshaped", "viewed"]

_BYTE = np.empty(1, np.int8)
_START = _BYTE.__array_interface__["data"][0]


class Dummy:
    """What np.asarray turns into an array of bytes with any shape and strides, over one byte of memory."""

    def __init__(self, shape: Shape, strides: Shape) -> None:
        self.__array_interface__ = {"version": 3, "typestr": "|i1", "data": (_START, False), "shape": shape,
                                    "strides": strides}


def c_strides(shape: Shape) -> Shape:
    """Strides in elements of a C-ordered array."""
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return tuple(reversed(strides))


def viewed(x: Value, function: Function, *args: Any, **kwargs: Any) -> Value:
    """The view(s) of x that a NumPy function makes; it must neither read nor copy elements."""
    if variable.is_tracing():
        args, kwargs = traced.plainly(args), {key: traced.plainly(a) for key, a in kwargs.items()}
    # One byte per element, so that strides in bytes are strides in elements. Nothing behind the first byte is touched.
    dummy = np.asarray(Dummy(x.shape, x.strides_in_elements))

    def same_view(made: Any) -> Value:
        if isinstance(made, (list, tuple)):
            return type(made)([same_view(item) for item in made])
        if not isinstance(made, np.ndarray):          # a 0-d array indexed is a scalar
            return variable.view(x, 0, (), ())
        offset = made.__array_interface__["data"][0] - _START if made.size else 0
        return variable.view(x, offset, made.shape, made.strides)

    return same_view(function(dummy, *args, **kwargs))


def positions_of(x: Value) -> Index:
    """The position of each element of x in C order."""
    return np.arange(x.size, dtype=np.int64).reshape(x.shape)


def moved(x: Value, function: Function, *args: Any, **kwargs: Any) -> Value:
    """What a NumPy function that copies elements makes of x."""
    if variable.is_tracing():
        if any(isinstance(a, Variable) for a in (*args, *kwargs.values())):
            positions = traced.evaluate(function, (positions_of(x), *args), kwargs)
            return (traced.take if isinstance(positions, Variable) else variable.gather)(x, positions)
        for a in (*args, *kwargs.values()):
            variable.freeze(a)
    return variable.gather(x, function(positions_of(x), *args, **kwargs))


def dense(x: Value, shape: Shape) -> Variable:
    """x, which lies in C order without gaps, in another shape of the same size."""
    return variable.view(x, 0, shape, c_strides(shape))


def permuted(x: Value, axes: Sequence[int]) -> Variable:
    """The axes of x in another order: a permutation of 0, 1, ..., x.ndim - 1."""
    shape, strides = x.shape, x.strides_in_elements
    return variable.view(x, 0, tuple([shape[d] for d in axes]), tuple([strides[d] for d in axes]))


def reshaped(x: Value, shape: Any, order: Order = "C") -> Value:
    """np.reshape: a view where strides allow it, else a view of a copy.

    Raises
    ------
    ValueError
        When the sizes differ, as NumPy's.
    """
    if order == "F":
        return reshaped(x.T, full_shape(x, shape)[::-1]).T
    if order not in ("C", "A", None):
        raise ValueError(f"numpy.reshape: order={order!r} is neither 'C' nor 'F'")
    new = full_shape(x, shape)
    out = variable.reshaped_view(x, new)              # the usual case
    if out is not None:
        return out
    try:
        return viewed(x, np.reshape, new, copy=False)
    except ValueError:                                # only a copy can have that shape
        return dense(variable.dense_view(x), new)


def full_shape(x: Value, shape: Any) -> Shape:
    """A new shape for x, with -1 filled in."""
    if isinstance(shape, (int, np.integer)):
        if shape in (-1, x.size):
            return (x.size,)
        shape = (shape,)
    shape, known = tuple(shape), 1
    for n in shape:
        if n != -1:
            known *= n
    if shape.count(-1) == 1 and known > 0 and x.size % known == 0:
        return tuple([x.size // known if n == -1 else int(n) for n in shape])
    if shape.count(-1) or known != x.size or min(shape, default=0) < 0:
        raise ValueError(f"numpy.reshape: an array of shape {x.shape} ({x.size} elements) does not fit shape {shape}")
    return tuple([int(n) for n in shape])
