"""Ufuncs: the table's by opcode, the others and the methods ``reduce``, ``accumulate`` and ``outer`` here."""
from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import math as rows
from .. import ops, variable
from ..variable import is_tracing, value_of
from . import traced
from .reductions import axes_of
from .registry import (
    ANSWERS,
    METHODS,
    any_recorded,
    constant,
    explained,
    facts,
    is_plain_default,
    lifted,
    plain,
    refusal,
    reveal,
)

if TYPE_CHECKING:
    from .._typing import Answer, Axis, Function, Options, Shape, Ufunc, Value
    from ..variable import Variable

__all__ = ["missing", "opcodes", "slow"]

#: Ufuncs that are a row of the table under another name.
ALIASES = {np.degrees: "rad2deg", np.radians: "deg2rad"}

#: The same in scipy.special.
SCIPY_ALIASES = {"exp2": "exp2", "expm1": "expm1", "log1p": "log1p", "cbrt": "cbrt", "psi": "digamma"}


def opcodes(table: Sequence[ops.Op]) -> dict[Ufunc, int]:
    """The opcode of each NumPy ufunc that is a row of the table."""
    found = {}
    for code, row in enumerate(table, 1):
        function = getattr(np, row.numpy, None) if row.numpy and "." not in row.numpy else None
        if isinstance(function, np.ufunc):
            found[function] = code
    by_name = {row.name: code for code, row in enumerate(table, 1)}
    return found | {ufunc: by_name[name] for ufunc, name in ALIASES.items()}


def row_of(ufunc: Ufunc) -> str | None:
    """The row that answers a ufunc, None if none does; SciPy's are looked up when they first turn up."""
    name = ROWS.get(ufunc)
    if name is None and (special := sys.modules.get("scipy.special")) is not None:
        for code, row in enumerate(ops.OPS, 1):
            named = row.numpy.removeprefix("special.") if row.numpy and row.numpy.startswith("special.") else None
            if named and getattr(special, named, None) is ufunc:
                name = row.name
                variable.register({ufunc: code}, {}, {})      # next time it takes the short way
        for theirs, ours in SCIPY_ALIASES.items():
            if getattr(special, theirs, None) is ufunc:
                name = ours
        if name is not None:
            ROWS[ufunc] = name
    return name


ROWS = {ufunc: ops.OPS[code - 1].name for ufunc, code in opcodes(ops.OPS).items()}


# ---- calls ---------------------------------------------------------------------------------------------------
def slow(ufunc: Ufunc, method: str, inputs: tuple[Any, ...], kwargs: Options) -> Value:
    """``Variable.__array_ufunc__`` for everything but a plain call of a function of the table."""
    name = f"numpy.{ufunc.__name__}" if isinstance(getattr(np, ufunc.__name__, None), np.ufunc) else ufunc.__name__
    if method != "__call__":
        name = f"{name}.{method}"
    answered = method in ("__call__", "outer") or (method == "reduce" and ufunc in (*REDUCTIONS, *PLAIN_REDUCTIONS))
    if is_tracing() and traced.free(inputs) and (kwargs or not answered):
        return traced.evaluate(getattr(ufunc, method), inputs, kwargs)
    kwargs = checked(name, kwargs, KNOWN.get(method, ()) or KNOWN.get(ufunc, ()))
    try:
        if method == "__call__":
            return called(ufunc, name, inputs, kwargs)
        answers: dict[str, Answer] = {"reduce": reduce, "accumulate": accumulate, "outer": outer}
        answer = answers.get(method)
        if answer is None:
            raise TypeError(f"{name} is not supported with Variables; a[index] += b adds at distinct indices, "
                            "np.bincount(index, weights=b) sums by group")
        if not any_recorded(inputs):
            return plain(getattr(ufunc, method), inputs, kwargs)
        return answer(ufunc, name, *inputs, **kwargs)
    except ValueError as error:
        raise explained(error, name, inputs) from None


def checked(name: str, kwargs: Options, taken: Sequence[str]) -> dict[str, Any]:
    """Keyword arguments of a ufunc: those that say nothing are dropped, others than `taken` refused."""
    left = {}
    for key, value in kwargs.items():
        if key in taken:
            left[key] = value
        elif key == "out" and any(isinstance(x, np.ndarray) for x in value):
            raise TypeError(f"{name}: out= (or an in-place operator like a += x on a plain array) cannot hold a "
                            "gradient; write a = a + x, or fill np.zeros_like(a Variable) in place: y[...] = ...")
        elif not is_plain_default(key, value):
            raise refusal(name, key)
    return left


#: Keyword arguments that mean something, by method or ufunc.
KNOWN: dict[Any, tuple[str, ...]] = {"reduce": ("axis", "keepdims"), "accumulate": ("axis",)}


def called(ufunc: Ufunc, name: str, inputs: tuple[Any, ...], kwargs: Options) -> Value:
    """A call."""
    row = row_of(ufunc)
    if row is not None:
        return getattr(rows, row)(*inputs)
    answer = OTHERS.get(ufunc)
    if answer is None and is_tracing() and traced.free(inputs):
        return traced.evaluate(ufunc, inputs, kwargs)
    if answer is None:
        raise TypeError(f"{name} is not supported with Variables: it has no derivative here; "
                        "x.value or x.detach() gives the numbers without gradient")
    if not any_recorded(inputs):
        return plain(ufunc, inputs, kwargs)
    return answer(*inputs, **kwargs)


def divmod_(x: Value, y: Value) -> tuple[Value, Value]:
    """Quotient and remainder."""
    return np.floor_divide(x, y), np.remainder(x, y)


def modf(x: Value) -> tuple[Value, Value]:
    """Fractional and integral part; the fractional part carries the gradient."""
    whole = np.trunc(facts(x))
    return x - whole, constant(whole)


def frexp(x: Value) -> tuple[Value, Value]:
    """Mantissa and exponent; the mantissa carries the gradient."""
    _, exponent = traced.evaluate(np.frexp, (x,), {}) if is_tracing() else np.frexp(np.asarray(value_of(x)))
    return x * np.ldexp(1.0, -exponent), exponent


def ldexp(x: Value, n: Value) -> Value:
    """Product with a power of 2."""
    if is_tracing():
        return x * (traced.evaluate(np.ldexp, (1.0, n), {}) if isinstance(n, variable.Variable) else 2.0 ** n)
    return x * np.ldexp(1.0, reveal(n))


def vecdot(x1: Value, x2: Value, axis: int = -1) -> Value:
    """Inner products of vectors along an axis."""
    x1, x2 = [lifted(x, "numpy.vecdot") for x in (x1, x2)]
    if axis != -1:
        x1, x2 = np.moveaxis(x1, axis, -1), np.moveaxis(x2, axis, -1)
    check_core("vecdot", x1, x2, x1.shape[-1:], x2.shape[-1:])
    return np.sum(x1 * x2, axis=-1)


def matvec(x1: Value, x2: Value) -> Value:
    """Matrices times vectors."""
    x1, x2 = [lifted(x, "numpy.matvec") for x in (x1, x2)]
    check_core("matvec", x1, x2, x1.shape[-1:] if len(x1.shape) > 1 else (), x2.shape[-1:])
    return variable.matmul(x1, x2[..., None])[..., 0]


def vecmat(x1: Value, x2: Value) -> Value:
    """Vectors times matrices."""
    x1, x2 = [lifted(x, "numpy.vecmat") for x in (x1, x2)]
    check_core("vecmat", x1, x2, x1.shape[-1:], x2.shape[-2:-1] if len(x2.shape) > 1 else ())
    return variable.matmul(x1[..., None, :], x2)[..., 0, :]


def check_core(name: str, x1: Value, x2: Value, n: Shape, m: Shape) -> None:
    """Core dimensions must be there and agree."""
    if not n or n != m:
        raise ValueError(f"numpy.{name}: operands of shapes {x1.shape} and {x2.shape} do not fit")


def clip(x: Value, low: Value, high: Value) -> Value:
    """The ufunc behind np.clip."""
    return np.clip(x, low, high)


def logical_xor(x: Value, y: Value) -> Value:
    """Truth values."""
    if is_tracing():
        return traced.evaluate(np.logical_xor, (x, y), {})
    return np.logical_xor(reveal(x), reveal(y))


def through(ufunc: Ufunc) -> Answer:
    """A ufunc whose result carries no gradient."""
    def values_only(*inputs: Value) -> Value:
        if is_tracing():
            return traced.evaluate(ufunc, inputs, {})
        return plain(ufunc, inputs, {}, check=False)
    return values_only


#: Ufuncs beside the table.
OTHERS: dict[Ufunc, Answer] = {
    np.matmul: variable.matmul, np.divmod: divmod_, np.modf: modf, np.frexp: frexp, np.ldexp: ldexp,
    np.conjugate: lambda x: +x, np.logical_xor: logical_xor, np.spacing: through(np.spacing),
    np._core.umath.clip: clip,  # type: ignore[attr-defined]  # it has no public name
}
OTHERS |= {getattr(np, f.__name__): f for f in (vecdot, matvec, vecmat) if hasattr(np, f.__name__)}
KNOWN |= {getattr(np, "vecdot", None): ("axis",)}


# ---- methods of ufuncs ---------------------------------------------------------------------------------------
#: Ufuncs whose reduction is a function of its own.
REDUCTIONS: dict[Ufunc, Function] = {
    np.add: np.sum, np.multiply: np.prod, np.maximum: np.max, np.minimum: np.min, np.fmax: np.nanmax,
    np.fmin: np.nanmin,
}
PLAIN_REDUCTIONS: set[Ufunc] = {np.logical_and, np.logical_or, np.logical_xor}
ACCUMULATIONS: dict[Ufunc, Function] = {np.add: np.cumsum, np.multiply: np.cumprod}


def binary(ufunc: Ufunc, name: str) -> None:
    """Refuse a ufunc that is no function of two arguments of the table."""
    if ufunc.nin != 2 or ufunc.nout != 1 or row_of(ufunc) is None:
        raise TypeError(f"{name} is not supported with Variables")


def reduce(ufunc: Ufunc, name: str, array: Value, axis: Axis = 0, keepdims: bool = False) -> Value:
    """``ufunc.reduce``: a known reduction, or the function applied slice by slice."""
    x = lifted(array, name)
    if ufunc in REDUCTIONS:
        return REDUCTIONS[ufunc](x, axis=axis, keepdims=keepdims)
    if ufunc in PLAIN_REDUCTIONS:
        if is_tracing() and ufunc is not np.logical_xor:
            return (np.all if ufunc is np.logical_and else np.any)(x, axis=axes_of(axis, x.ndim), keepdims=keepdims)
        return ufunc.reduce(reveal(x), axis=axis, keepdims=keepdims)
    binary(ufunc, name)
    axes = axes_of(axis, x.ndim)
    if len(axes) != 1 or x.shape[axes[0]] == 0:
        raise ValueError(f"{name}: one axis that is not empty is needed, not axis={axis} of shape {x.shape}")
    slices = np.moveaxis(x, axes[0], 0)
    out = slices[0]
    for k in range(1, slices.shape[0]):
        out = ufunc(out, slices[k])
    return np.expand_dims(out, axes[0]) if keepdims else out


def accumulate(ufunc: Ufunc, name: str, array: Value, axis: int = 0) -> Value:
    """``ufunc.accumulate``, slice by slice unless it is a cumulative sum or product."""
    x = lifted(array, name)
    if ufunc in ACCUMULATIONS:
        return ACCUMULATIONS[ufunc](x, axis=axis)
    binary(ufunc, name)
    if x.shape[axis] == 0:
        return x.copy()
    slices = np.moveaxis(x, axis, 0)
    found = [slices[0]]
    for k in range(1, slices.shape[0]):
        found.append(ufunc(found[-1], slices[k]))
    return np.stack(found, axis)


def outer(ufunc: Ufunc, name: str, x: Value, y: Value) -> Value:
    """``ufunc.outer``: the function of all pairs."""
    if ufunc not in OTHERS:
        binary(ufunc, name)
    a, b = lifted(x, name), lifted(y, name)
    return ufunc(a[(...,) + (None,) * b.ndim], b)


# ---- functions that are rows, scalar functions as methods ----------------------------------------------------
def missing(function: Function, args: Sequence[Any] = (), kwargs: Options | None = None) -> Value:
    """Refuse a NumPy function without an answer, unless no gradient is at stake."""
    kwargs = kwargs or {}
    name = f"{getattr(function, '__module__', 'numpy')}.{function.__name__}"
    if is_tracing() and traced.free([*args, *kwargs.values()]):
        return traced.evaluate(function, args, kwargs)
    raise TypeError(f"{name} is not supported with Variables; compute it from supported functions, wrap it with its "
                    "derivative (fa.custom_vjp), or take x.value or x.detach() for the numbers without gradient")


ANSWERS["ufunc"] = slow
ANSWERS["missing"] = missing


def method_of(function: Function) -> Answer:
    """A function of the table as a method: object arrays call x.sqrt() and its kin on their elements."""
    def method(self: Variable, *others: Value) -> Value:
        return function(self, *others)

    method.__name__ = method.__qualname__ = function.__name__
    method.__doc__ = function.__doc__
    return method


METHODS |= {name: method_of(getattr(rows, name)) for name in rows.__all__ if name not in METHODS}
METHODS |= {"degrees": METHODS["rad2deg"], "radians": METHODS["deg2rad"]}


def row_answer(function: Function, name: str) -> None:
    """Answer for a row whose NumPy function is no ufunc (np.sinc)."""
    def answered(x: Value) -> Value:
        return rows.ROWS[name](x)

    ANSWERS[function] = answered


for _row in ops.OPS:
    if _row.numpy and "." not in _row.numpy and not isinstance(getattr(np, _row.numpy, None), np.ufunc):
        row_answer(getattr(np, _row.numpy), _row.name)
ANSWERS[np.i0] = METHODS["i0"]
