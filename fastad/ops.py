"""The table: one row per scalar function. Everything else about a function follows from its row.

A row states the mathematics of one function of one or two scalars: its value and its partial derivatives as
expressions, the NumPy or SciPy function it answers to, where it is defined, and what holds at its special points.
The build stamps the kernels from these rows; the recording operator, the NumPy dispatch, the documented function
``fastad.<name>``, the stubs, the documentation page and the tests are made from the same rows.

The expression language is the common ground of Python and C:

``x y``
    the operands; ``v`` the value of the function there (so that a partial can reuse it).
``+ - * /``, unary ``-``, comparisons, ``and or not``, numbers
    numbers are float64, so ``1/2`` is 0.5.
``where(c, a, b)``
    ``a`` if ``c`` holds, else ``b``.
``nothing``
    the structural zero of a partial: this operand was not selected, whatever the upstream adjoint is.
``pi inf nan ln2 ln10``
    constants.
``name(...)``
    any function of this table. A row whose value is a call of itself (``exp``: ``exp(x)``) is external: libm,
    NumPy's or SciPy's own loop computes it.

This module imports nothing of the package: the build loads it by path.
"""
from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from math import factorial, inf, nan, pi
from typing import Any, NoReturn

__all__ = ["BY_NAME", "CONSTANTS", "INTERNAL", "OPS", "Op", "shown", "special_names", "validate"]

ln2 = 0.6931471805599453
nothing = -0.0

#: Named constants of the expression language. ``nothing`` is -0.0, the identity of addition (see docs/design.md).
CONSTANTS = {"pi": pi, "inf": inf, "nan": nan, "ln2": ln2, "ln10": 2.302585092994046, "nothing": nothing}

#: Rows for the engine's own use; all others are functions of the package.
INTERNAL = frozenset({"keep", "drop", "stop", "absent", "flow", "tanh_slope"})


@dataclass(frozen=True, kw_only=True)
class Op:
    """One scalar function: its mathematics, its names and its edge points.

    Parameters
    ----------
    name : str
        The name under ``fastad``; a Python and C identifier.
    value, dx, dy : str or None
        Expressions for the value and the partial derivatives. ``dx is None`` marks a function that carries no gradient
        (floor, comparisons); ``dy is None`` a function of one argument, unless ``dx`` is None too.
    numpy : str or None
        The function that this row answers to: ``"exp"`` in NumPy, ``"special.erf"`` in SciPy.
    libm : str or None
        Name in C's ``<math.h>`` when a scalar call goes there (external rows only).
    symbol : str or None
        The Python operator, for operator rows.
    domain : tuple of (float, float)
        For each argument the open interval the tests sample.
    points : tuple of (tuple of float, float, tuple of float or None)
        Special points: arguments, value, partials; nan means "is nan"; None as partials: not checked.
    kinks : tuple of float
        For functions of one argument: places in the domain where the derivative jumps; the tests stay away from them.
    ulp : int
        Allowed distance from the NumPy or SciPy function, in units in the last place.
    summary : str
        One line for the documentation.
    convention : str
        The convention at edge points, for the documentation; empty when there is nothing to say.
    """

    name: str
    value: str
    dx: str | None = None
    dy: str | None = None
    arity: int = 1
    numpy: str | None = None
    libm: str | None = None
    symbol: str | None = None
    domain: tuple[tuple[float, float], ...] = ((-3.0, 3.0),)
    points: tuple[tuple[tuple[float, ...], float, tuple[float, ...] | None], ...] = ()
    kinks: tuple[float, ...] = ()
    ulp: int = 2
    summary: str = ""
    convention: str = ""

    @property
    def external(self) -> bool:
        """Whether the value is computed by libm, NumPy or SciPy rather than by an expression."""
        tree = ast.parse(self.value, mode="eval").body
        return isinstance(tree, ast.Call) and getattr(tree.func, "id", None) == self.name

    @property
    def differentiable(self) -> bool:
        """Whether the function carries a gradient."""
        return self.dx is not None

    @property
    def selective(self) -> bool:
        """Whether a partial can be ``nothing``."""
        return any("nothing" in e for e in (self.dx, self.dy) if e is not None)


def _points(arity: int, rows: Iterable[tuple[float, ...]]) -> tuple[Any, ...]:
    """Points as they are written in the rows below, (x, [y,] value[, dx[, dy]]), in the form of the schema."""
    return tuple((row[:arity], row[arity], row[arity + 1:] or None) for row in rows)


def unary(name: str, value: str, dx: str | None = None, *, points: Sequence[tuple[float, ...]] = (),
          **fields: Any) -> Op:
    """A row for a function of one argument; its points are written (x, value, dx)."""
    return Op(name=name, value=value, dx=dx, points=_points(1, points), **fields)


def binary(name: str, value: str, dx: str | None = None, dy: str | None = None, *,
           points: Sequence[tuple[float, ...]] = (), **fields: Any) -> Op:
    """A row for a function of two arguments; its points are written (x, y, value, dx, dy)."""
    fields.setdefault("domain", ((-3.0, 3.0), (-3.0, 3.0)))
    return Op(name=name, value=value, dx=dx, dy=dy, arity=2, points=_points(2, points), **fields)


def external(name: str, dx: str | None = None, dy: str | None = None, *, arity: int = 1, **fields: Any) -> Op:
    """A row whose value libm, NumPy or SciPy computes; its NumPy name is its own unless given."""
    fields.setdefault("numpy", name)
    if arity == 1:
        return unary(name, f"{name}(x)", dx, **fields)
    return binary(name, f"{name}(x, y)", dx, dy, **fields)


def special(name: str, dx: str, dy: str | None = None, *, numpy: str | None = None, **fields: Any) -> Op:
    """An external row that SciPy computes; a ``dy`` makes it a function of two arguments."""
    return external(name, dx, dy, arity=1 if dy is None else 2, numpy=f"special.{numpy or name}", **fields)


def polynomial(z: str, coefficients: Iterable[float]) -> str:
    """``c0 + c1 z + c2 z**2 + ...`` in Horner's form.

    Partials that cancel or divide 0 by 0 at a point switch to their series around it: a polynomial stays right
    when it is differentiated again, to any order.
    """
    *rest, text = [f"({c!r})" for c in coefficients]
    for c in reversed(rest):
        text = f"({c} + {z} * {text})"
    return text


def bessel_slope(sign: int) -> str:
    """The slope of the Bessel functions j1 (sign -1) and i1 (sign +1) for abs(x) < 1."""
    return polynomial("(x * x)", [sign**k * (2*k + 1) / (2 * 4**k * factorial(k) * factorial(k + 1))
                                  for k in range(10)])


def scaled_bessel_slope(order: int) -> str:
    """Minus the slope of exp(-x) I_order(x), x = abs(argument) > 50, times x sqrt(2 pi x) (DLMF 10.40.1)."""
    coefficients, a = [], 1.0
    for k in range(14):
        coefficients.append(a * (k + 0.5))
        a *= -(4 * order**2 - (2*k + 1)**2) / (8 * (k + 1))
    return polynomial("(1 / fabs(x))", coefficients)


def digamma_drop(x: str, y: str) -> str:
    """digamma(x) - digamma(x + y); where both arguments are positive, without cancellation, at any order.

    Twelve steps of the recurrence and then the asymptotic series (DLMF 5.5.2, 5.11.2), each difference with its
    factor y taken out; h and d are the series and its divided difference in Horner's form.
    """
    z, far = f"({x} + 12)", f"({x} + {y} + 12)"
    h = d = "0"
    for c in (1 / 12, -691 / 32760, 1 / 132, -1 / 240, 1 / 252, -1 / 120, 1 / 12):
        d = f"({h} + {d} / ({far} * {far}))"
        h = f"({c!r} + {h} / ({z} * {z}))"
    d = f"({h} + {d} / ({far} * {far}))"
    terms = [f"log1p({y} / {z})", f"{y} / (2 * {z} * {far})",
             f"{y} * ({z} + {far}) / ({z} * {z}) / ({far} * {far}) * {d}",
             *(f"{y} / ({x} + {y} + {k}) / ({x} + {k})" for k in range(12))]
    return f"where({x} > 0 and {x} + {y} > 0, -({' + '.join(terms)}), digamma({x}) - digamma({x} + {y}))"


#: d/dx sin(pi x) / (pi x) for abs(x) < 0.3, divided by x.
SINC_SLOPE = polynomial("(x * x)", [(-1)**k * 2*k * pi**(2*k) / factorial(2*k + 1) for k in range(1, 12)])

#: x**2 times the slope of exp(x**2) erfc(x) for x > 12, without the factor -1 / sqrt(pi) (DLMF 7.12.1, differentiated).
ERFCX_SLOPE = polynomial("(1 / (x * x))", [1.0, -1.5, 3.75, -13.125, 59.0625, -324.84375, 2111.484375,
                                           -15836.1328125, 134607.12890625, -1278767.724609375])

TIES = "Ties share: 1/2 each; the operand not selected gets nothing; a nan operand gets 1."
OUTSIDE = "Infinite at the ends of the domain; outside it the value is nan."

#: power and float_power: the partial in y is kept from 0 * log(0), that in x from 0 * inf where x**0 meets 0.
POWER: dict[str, Any] = {"dx": "where(y == 0 and fabs(x) < 1e-100, 0, y * power(x, y - 1))",
         "dy": "where(x == 0 and y > 0, 0, v * log(x))",
         "domain": ((0.01, 10.0), (-5.0, 5.0)),
         "points": ((0.0, 0.0, 1.0, 0.0, -inf), (0.0, 1.0, 0.0, 1.0, 0.0), (0.0, 2.0, 0.0, 0.0, 0.0),
                    (0.0, 0.5, 0.0, inf, 0.0), (0.0, -1.0, inf, -inf, -inf), (2.0, 0.0, 1.0, 0.0, ln2),
                    (-2.0, 3.0, -8.0, 12.0, nan), (-2.0, -1.0, -0.5, -0.25, nan), (-2.0, 0.0, 1.0, 0.0, nan),
                    (-8.0, 0.5, nan, nan, nan), (nan, 0.0, 1.0), (1.0, nan, 1.0, nan, 0.0)),
         "convention": "x**n is right for negative x and integer n; x**0 has slope 0; the slope in y is 0 at 0**y "
                       "for y > 0, -inf at 0**0, and nan for x < 0, where no neighbouring power exists."}

#: absolute and fabs.
ABSOLUTE: dict[str, Any] = {"kinks": (0.0,), "summary": "Absolute value.", "convention": "The slope at 0 is 0.",
            "points": ((0.0, 0.0, 0.0), (-0.0, 0.0, 0.0), (-inf, inf, -1.0), (nan, nan, nan))}

OPS = (
    # ---- arithmetic --------------------------------------------------------------------------------------
    binary("add", "x + y", "1", "1", numpy="add", symbol="+", summary="Sum."),
    binary("subtract", "x - y", "1", "-1", numpy="subtract", symbol="-", summary="Difference."),
    binary("multiply", "x * y", "y", "x", numpy="multiply", symbol="*", summary="Product.",
           points=((0.0, inf, nan, inf, 0.0),)),
    binary("divide", "x / y", "1 / y", "-v / y", numpy="divide", symbol="/", domain=((-100.0, 100.0), (0.01, 100.0)),
           summary="Quotient.",
           points=((1.0, 0.0, inf, inf, -inf), (1.0, -0.0, -inf, -inf, -inf), (0.0, 0.0, nan, inf, nan),
                   (1.0, inf, 0.0, 0.0, 0.0), (1e-200, 1e-200, 1.0, 1e200, -1e200))),
    external("power", arity=2, libm="pow", symbol="**", summary="x to the power y.", **POWER),
    external("float_power", arity=2, libm="pow", summary="x to the power y.", **POWER),
    external("floor_divide", arity=2, symbol="//", domain=((-20.0, 20.0), (0.3, 5.0)),
             summary="Largest integer not above the quotient; no gradient."),
    external("remainder", "1", "-floor_divide(x, y)", arity=2, symbol="%", domain=((-20.0, 20.0), (0.3, 5.0)),
             summary="Remainder with the sign of the divisor, as Python's %.",
             points=((-5.5, 2.0, 0.5, 1.0, 3.0), (5.5, -2.0, -0.5, 1.0, 3.0), (1.0, 0.0, nan),
                     (1.0, 0.1, 0.09999999999999995, 1.0, -9.0), (-1.0, inf, inf, 1.0, 1.0)),
             convention="At its jumps the slopes are those of the piece that has the value."),
    external("fmod", "1", "rint((v - x) / y)", arity=2, libm="fmod", domain=((-20.0, 20.0), (0.3, 5.0)),
             summary="Remainder with the sign of the dividend, as C's fmod.",
             points=((-5.5, 2.0, -1.5, 1.0, 2.0), (5.5, -2.0, 1.5, 1.0, 2.0), (1.0, 0.0, nan),
                     (1.0, 0.1, 0.09999999999999995, 1.0, -9.0), (1.0, inf, 1.0, 1.0, 0.0)),
             convention="At its jumps the slopes are those of the piece that has the value."),
    unary("negative", "-x", "-1", numpy="negative", symbol="-", summary="Negation."),
    unary("positive", "x", "1", numpy="positive", symbol="+", summary="The operand itself."),
    unary("reciprocal", "1 / x", "-v * v", numpy="reciprocal", domain=((0.01, 100.0),), summary="Reciprocal.",
          points=((0.0, inf, -inf), (-0.0, -inf, -inf), (inf, 0.0, 0.0), (-4.0, -0.25, -0.0625))),
    unary("square", "x * x", "2 * x", numpy="square", summary="Square.", points=((0.0, 0.0, 0.0),)),
    # ---- roots -------------------------------------------------------------------------------------------
    # v + 0: sqrt(-0.0) is -0.0, whose reciprocal would be -inf.
    external("sqrt", "0.5 / (v + 0)", libm="sqrt", domain=((0.01, 100.0),), summary="Square root.",
             points=((0.0, 0.0, inf), (-0.0, -0.0, inf), (inf, inf, 0.0), (-1.0, nan, nan))),
    unary("sqrt0", "sqrt(x)", "where(x == 0, 0, 0.5 / v)", domain=((0.01, 100.0),),
          summary="Square root with slope 0 at 0, for norms.", points=((0.0, 0.0, 0.0), (-0.0, -0.0, 0.0)),
          convention="The slope at 0 is 0: a norm has the gradient 0 at the origin."),
    external("cbrt", "1 / (3 * v * v)", domain=((0.01, 100.0),), summary="Cube root.",
             points=((0.0, 0.0, inf), (-0.0, -0.0, inf), (-8.0, -2.0, 1 / 12))),
    # ---- absolute value and sign -------------------------------------------------------------------------
    external("copysign", "sign(x) * copysign(1, y)", "0", arity=2, libm="copysign",
             summary="Magnitude of x with the sign of y.",
             points=((3.0, -0.0, -3.0, -1.0, 0.0), (-3.0, -2.0, -3.0, 1.0, 0.0), (0.0, -2.0, -0.0, 0.0, 0.0)),
             convention="The slope in x is 0 at x = 0."),
    unary("sign", "where(x > 0, 1, where(x < 0, -1, where(x == 0, 0, x)))", numpy="sign",
          summary="-1, 0 or 1; no gradient.", points=((-0.0, 0.0), (nan, nan))),
    unary("absolute", "copysign(x, 1)", "sign(x)", numpy="absolute", **ABSOLUTE),
    unary("fabs", "copysign(x, 1)", "sign(x)", numpy="fabs", **ABSOLUTE),
    unary("signbit", "copysign(1, x) < 0", numpy="signbit", summary="Whether the sign bit is set (-0.0 has it).",
          points=((-0.0, 1.0), (0.0, 0.0))),
    # ---- rounding (no gradient) --------------------------------------------------------------------------
    external("floor", libm="floor", summary="Largest integer not above; no gradient.", points=((-0.5, -1.0),)),
    external("ceil", libm="ceil", summary="Smallest integer not below; no gradient.", points=((-0.5, -0.0),)),
    external("trunc", libm="trunc", summary="Nearest integer towards 0; no gradient.", points=((-1.5, -1.0),)),
    external("rint", libm="rint", summary="Nearest integer, halves to even; no gradient.",
             points=((0.5, 0.0), (1.5, 2.0), (-0.5, -0.0))),
    binary("heaviside", "where(x != x, x, where(x == 0, y, where(x < 0, 0, 1)))", numpy="heaviside",
           summary="Step from 0 to 1 at x = 0, with the value y there; no gradient.",
           points=((-0.0, 0.5, 0.5), (nan, 0.5, nan))),
    # ---- exponentials and logarithms ---------------------------------------------------------------------
    external("exp", "v", libm="exp", domain=((-40.0, 40.0),), summary="Exponential.",
             points=((-inf, 0.0, 0.0), (inf, inf, inf), (0.0, 1.0, 1.0))),
    external("exp2", "v * ln2", libm="exp2", domain=((-50.0, 50.0),), summary="2 to the power x.",
             points=((-inf, 0.0, 0.0), (3.0, 8.0, 8 * ln2))),
    external("expm1", "exp(x)", libm="expm1", domain=((-40.0, 40.0),), summary="exp(x) - 1, accurate near 0.",
             points=((-0.0, -0.0, 1.0), (-inf, -1.0, 0.0), (-40.0, -1.0, 4.248354255291589e-18))),
    external("log", "1 / x", libm="log", domain=((0.01, 100.0),), summary="Natural logarithm.",
             points=((0.0, -inf, inf), (inf, inf, 0.0), (-1.0, nan))),
    external("log2", "1 / ln2 / x", libm="log2", domain=((0.01, 100.0),), summary="Logarithm to base 2.",
             points=((0.0, -inf, inf), (inf, inf, 0.0), (8.0, 3.0))),
    external("log10", "1 / ln10 / x", libm="log10", domain=((0.01, 100.0),), summary="Logarithm to base 10.",
             points=((0.0, -inf, inf), (inf, inf, 0.0), (1000.0, 3.0))),
    external("log1p", "1 / (1 + x)", libm="log1p", domain=((-0.99, 100.0),), summary="log(1 + x), accurate near 0.",
             points=((-1.0, -inf, inf), (-0.0, -0.0, 1.0), (inf, inf, 0.0))),
    # ---- trigonometry ------------------------------------------------------------------------------------
    external("sin", "cos(x)", libm="sin", domain=((-20.0, 20.0),), summary="Sine.",
             points=((-0.0, -0.0, 1.0), (inf, nan, nan))),
    external("cos", "-sin(x)", libm="cos", domain=((-20.0, 20.0),), summary="Cosine.",
             points=((0.0, 1.0, 0.0), (inf, nan, nan))),
    external("tan", "1 + v * v", libm="tan", domain=((-1.56, 1.56),), summary="Tangent.",
             points=((-0.0, -0.0, 1.0), (inf, nan, nan))),
    external("arcsin", "1 / sqrt((1 - x) * (1 + x))", libm="asin", domain=((-0.99, 0.99),), summary="Inverse sine.",
             points=((1.0, pi / 2, inf), (-1.0, -pi / 2, inf), (-0.0, -0.0, 1.0),
                     (2.0, nan, nan)), convention=OUTSIDE),
    external("arccos", "-1 / sqrt((1 - x) * (1 + x))", libm="acos", domain=((-0.99, 0.99),), summary="Inverse cosine.",
             points=((1.0, 0.0, -inf), (-1.0, pi, -inf), (2.0, nan, nan)), convention=OUTSIDE),
    external("arctan", "1 / (1 + x * x)", libm="atan", domain=((-100.0, 100.0),), summary="Inverse tangent.",
             points=((-0.0, -0.0, 1.0), (inf, pi / 2, 0.0))),
    external("hypot", "where(v == 0, 0, x / v)", "where(v == 0, 0, y / v)", arity=2, libm="hypot",
             summary="Length of the vector (x, y), without overflow.",
             points=((0.0, 0.0, 0.0, 0.0, 0.0), (3e200, -4e200, 5e200, 0.6, -0.8), (3e-200, 0.0, 3e-200, 1.0, 0.0),
                     (-0.0, 0.0, 0.0, 0.0, 0.0)),
             convention="Both slopes are 0 at the origin."),
    # Divided twice: x * x + y * y would overflow or underflow.
    external("arctan2", "y / hypot(x, y) / hypot(x, y)", "-x / hypot(x, y) / hypot(x, y)", arity=2, libm="atan2",
             summary="Angle of the point with ordinate x and abscissa y.",
             points=((0.0, 0.0, 0.0, nan, nan), (0.0, 2.0, 0.0, 0.5, 0.0), (1e200, 1e200, pi / 4, 5e-201, -5e-201),
                     (1.0, 0.0, pi / 2, 0.0, -1.0), (-0.0, -1.0, -pi, -1.0, 0.0),
                     (0.0, -1.0, pi, -1.0, 0.0)),
             convention="The slopes are nan at the origin and for infinite operands; the cut does not show."),
    unary("deg2rad", "x * (pi / 180)", "pi / 180", numpy="deg2rad", domain=((-360.0, 360.0),),
          summary="Degrees to radians."),
    unary("rad2deg", "x * (180 / pi)", "180 / pi", numpy="rad2deg", domain=((-7.0, 7.0),),
          summary="Radians to degrees."),
    unary("sinc", "where(x == 0, 1, sin(pi * x) / (pi * x))",
          f"where(fabs(x) < 0.3, x * {SINC_SLOPE}, (cos(pi * x) - v) / x)", numpy="sinc", domain=((-5.0, 5.0),),
          summary="sin(pi x) / (pi x).", points=((0.0, 1.0, 0.0), (-0.0, 1.0, 0.0), (inf, nan, nan),
                                                 (1e-10, 1.0, -pi**2 / 3 * 1e-10))),
    # ---- hyperbolic functions ----------------------------------------------------------------------------
    external("sinh", "cosh(x)", libm="sinh", domain=((-20.0, 20.0),), summary="Hyperbolic sine.",
             points=((-0.0, -0.0, 1.0), (-inf, -inf, inf))),
    external("cosh", "sinh(x)", libm="cosh", domain=((-20.0, 20.0),), summary="Hyperbolic cosine.",
             points=((0.0, 1.0, 0.0), (-inf, inf, -inf))),
    external("tanh", "tanh_slope(x)", libm="tanh", domain=((-40.0, 40.0),), summary="Hyperbolic tangent.",
             points=((-0.0, -0.0, 1.0), (inf, 1.0, 0.0), (40.0, 1.0, 7.21940555138166e-35),
                     (-800.0, -1.0, 0.0), (nan, nan, nan))),
    # 1 - tanh(x)**2 has no digits left far out. The row's own slope keeps the kink of fabs out of higher orders.
    unary("tanh_slope", "4 * exp(-2 * fabs(x)) / square(1 + exp(-2 * fabs(x)))", "-2 * tanh(x) * v",
          domain=((-40.0, 40.0),), ulp=4, summary="The slope of tanh.",
          points=((0.0, 1.0, 0.0), (inf, 0.0, 0.0), (40.0, 7.21940555138166e-35, -1.443881110276332e-34),
                  (nan, nan, nan))),
    external("arcsinh", "1 / hypot(1, x)", libm="asinh", domain=((-100.0, 100.0),), summary="Inverse hyperbolic sine.",
             points=((-0.0, -0.0, 1.0), (inf, inf, 0.0), (-1e200, -461.2101657793691, 1e-200))),
    external("arccosh", "1 / (sqrt(x - 1) * sqrt(x + 1))", libm="acosh", domain=((1.01, 100.0),),
             summary="Inverse hyperbolic cosine.", convention=OUTSIDE,
             points=((1.0, 0.0, inf), (inf, inf, 0.0), (0.0, nan, nan), (1e200, 461.2101657793691, 1e-200))),
    external("arctanh", "1 / ((1 - x) * (1 + x))", libm="atanh", domain=((-0.99, 0.99),), convention=OUTSIDE,
             summary="Inverse hyperbolic tangent.",
             points=((1.0, inf, inf), (-1.0, -inf, inf), (-0.0, -0.0, 1.0), (2.0, nan))),
    # ---- comparisons and predicates (no gradient; 1 where they hold, else 0) -------------------------------
    binary("less", "x < y", numpy="less", symbol="<", summary="Whether x < y."),
    binary("less_equal", "x <= y", numpy="less_equal", symbol="<=", summary="Whether x <= y."),
    binary("greater", "x > y", numpy="greater", symbol=">", summary="Whether x > y."),
    binary("greater_equal", "x >= y", numpy="greater_equal", symbol=">=", summary="Whether x >= y."),
    binary("equal", "x == y", numpy="equal", symbol="==", summary="Whether x = y."),
    binary("not_equal", "x != y", numpy="not_equal", symbol="!=", summary="Whether x differs from y (nan differs)."),
    unary("isnan", "x != x", numpy="isnan", summary="Whether x is nan.", points=((nan, 1.0),)),
    unary("isinf", "fabs(x) == inf", numpy="isinf", summary="Whether x is infinite.", points=((-inf, 1.0),)),
    unary("isfinite", "fabs(x) < inf", numpy="isfinite", summary="Whether x is a finite number.",
          points=((nan, 0.0), (inf, 0.0))),
    binary("logical_and", "x != 0 and y != 0", numpy="logical_and", summary="Whether both are not 0."),
    binary("logical_or", "x != 0 or y != 0", numpy="logical_or", summary="Whether one is not 0."),
    unary("logical_not", "x == 0", numpy="logical_not", summary="Whether x is 0."),
    # ---- selections --------------------------------------------------------------------------------------
    binary("maximum", "where(x > y or x != x, x, y)",
           "where(x > y or x != x, 1, where(x == y, 0.5, nothing))",
           "where(y > x or y != y, 1, where(x == y, 0.5, nothing))",
           numpy="maximum", summary="Larger of two numbers; nan if one is nan.", convention=TIES,
           points=((1.0, 1.0, 1.0, 0.5, 0.5), (2.0, 1.0, 2.0, 1.0, nothing), (nan, 1.0, nan, 1.0, nothing),
                   (1.0, nan, nan, nothing, 1.0), (inf, inf, inf, 0.5, 0.5))),
    binary("minimum", "where(x < y or x != x, x, y)",
           "where(x < y or x != x, 1, where(x == y, 0.5, nothing))",
           "where(y < x or y != y, 1, where(x == y, 0.5, nothing))",
           numpy="minimum", summary="Smaller of two numbers; nan if one is nan.", convention=TIES,
           points=((1.0, 1.0, 1.0, 0.5, 0.5), (2.0, 1.0, 1.0, nothing, 1.0), (nan, 1.0, nan, 1.0, nothing),
                   (1.0, nan, nan, nothing, 1.0), (-inf, -inf, -inf, 0.5, 0.5))),
    binary("fmax", "where(x >= y or y != y, x, y)",
           "where(x > y or y != y, 1, where(x == y, 0.5, nothing))",
           "where(y > x or x != x, 1, where(x == y, 0.5, nothing))",
           numpy="fmax", summary="Larger of two numbers, nan ignored.",
           convention="Ties share: 1/2 each; the operand not selected gets nothing; two nan get 1 each.",
           points=((1.0, 1.0, 1.0, 0.5, 0.5), (nan, 1.0, 1.0, nothing, 1.0), (1.0, nan, 1.0, 1.0, nothing),
                   (nan, nan, nan, 1.0, 1.0))),
    binary("fmin", "where(x <= y or y != y, x, y)",
           "where(x < y or y != y, 1, where(x == y, 0.5, nothing))",
           "where(y < x or x != x, 1, where(x == y, 0.5, nothing))",
           numpy="fmin", summary="Smaller of two numbers, nan ignored.",
           convention="Ties share: 1/2 each; the operand not selected gets nothing; two nan get 1 each.",
           points=((1.0, 1.0, 1.0, 0.5, 0.5), (nan, 1.0, 1.0, nothing, 1.0), (1.0, nan, 1.0, 1.0, nothing),
                   (nan, nan, nan, 1.0, 1.0))),
    binary("keep", "where(y != 0, x, nothing)", "where(y != 0, 1, nothing)", "nothing",
           summary="x where the mask y holds, else nothing.",
           points=((2.0, 1.0, 2.0, 1.0, nothing), (2.0, 0.0, nothing, nothing, nothing),
                   (nan, 0.0, nothing, nothing, nothing))),
    binary("drop", "where(y != 0, nothing, x)", "where(y != 0, nothing, 1)", "nothing",
           summary="x where the mask y does not hold, else nothing.",
           points=((2.0, 0.0, 2.0, 1.0, nothing), (2.0, 1.0, nothing, nothing, nothing),
                   (nan, 1.0, nothing, nothing, nothing))),
    unary("stop", "x", summary="x as a value that carries no gradient."),
    # ---- adjoints as values (see _recorded_sweep.pxi) ---------------------------------------------------
    unary("absent", "x == 0 and copysign(1, x) < 0", summary="Whether x is nothing.",
          points=((-0.0, 1.0), (0.0, 0.0), (nan, 0.0), (-1.0, 0.0))),
    binary("flow", "where(absent(y) != 0, nothing, x * y + 0)", "where(absent(y) != 0, nothing, y + 0)",
           "where(absent(y) != 0, nothing, x + 0)", summary="A partial x times an adjoint y, which may be nothing.",
           points=((inf, nothing, nothing, nothing, nothing), (inf, 0.0, nan, 0.0, inf), (-0.0, 2.0, 0.0, 2.0, 0.0),
                   (-1.0, 0.0, 0.0, 0.0, -1.0))),
    # ---- activations -------------------------------------------------------------------------------------
    unary("sigmoid", "1 / (1 + exp(-x))", "v * sigmoid(-x)", numpy="special.expit", domain=((-40.0, 40.0),), ulp=4,
          summary="Logistic function.", points=((0.0, 0.5, 0.25), (-inf, 0.0, 0.0), (inf, 1.0, 0.0),
                                                (40.0, 1.0, 4.248354255291589e-18))),
    special("logit", "1 / (x * (1 - x))", domain=((0.01, 0.99),),
            summary="log(x / (1 - x)), the inverse of the sigmoid.",
            points=((0.0, -inf, inf), (1.0, inf, inf), (0.5, 0.0, 4.0))),
    unary("log_sigmoid", "where(x < 0, x - log1p(exp(-fabs(x))), -log1p(exp(-fabs(x))))", "sigmoid(-x)",
          numpy="special.log_expit",
          domain=((-40.0, 40.0),), summary="Logarithm of the sigmoid.",
          points=((-1000.0, -1000.0, 1.0), (inf, -0.0, 0.0), (-inf, -inf, 1.0), (0.0, -ln2, 0.5))),
    unary("softplus", "maximum(x, 0) + log1p(exp(-fabs(x)))", "sigmoid(x)", domain=((-40.0, 40.0),),
          summary="log(1 + exp(x)).",
          points=((1000.0, 1000.0, 1.0), (-inf, 0.0, 0.0), (inf, inf, 1.0), (0.0, ln2, 0.5))),
    external("logaddexp", "where(x == y and fabs(x) == inf, 0.5, sigmoid(x - y))",
             "where(x == y and fabs(x) == inf, 0.5, sigmoid(y - x))", arity=2, domain=((-20.0, 20.0), (-20.0, 20.0)),
             summary="log(exp(x) + exp(y)).", convention="Two equal infinities share: 1/2 each.",
             points=((inf, inf, inf, 0.5, 0.5), (-inf, -inf, -inf, 0.5, 0.5), (-inf, 1.0, 1.0, 0.0, 1.0),
                     (inf, -inf, inf, 1.0, 0.0), (1000.0, 1000.0, 1000.6931471805599, 0.5, 0.5))),
    external("logaddexp2", "where(x == y and fabs(x) == inf, 0.5, sigmoid((x - y) * ln2))",
             "where(x == y and fabs(x) == inf, 0.5, sigmoid((y - x) * ln2))", arity=2,
             domain=((-20.0, 20.0), (-20.0, 20.0)),
             summary="log2(2**x + 2**y).", convention="Two equal infinities share: 1/2 each.",
             points=((inf, inf, inf, 0.5, 0.5), (-inf, -inf, -inf, 0.5, 0.5), (-inf, 1.0, 1.0, 0.0, 1.0),
                     (1000.0, 1000.0, 1001.0, 0.5, 0.5))),
    unary("relu", "where(x <= 0, 0, x)", "where(x <= 0, nothing, 1)", kinks=(0.0,), summary="Positive part.",
          points=((0.0, 0.0, nothing), (-0.0, 0.0, nothing), (2.0, 2.0, 1.0), (-2.0, 0.0, nothing),
                  (nan, nan, 1.0)), convention="At 0 and below the operand is not selected: it gets nothing."),
    # "+ 0" in this row and in elu: a slope that is -0.0 would mean nothing.
    binary("leaky_relu", "where(x > 0, x, y * x)", "where(x > 0, 1, y + 0)", "where(x > 0, nothing, x + 0)",
           summary="x if positive, else y times x.",
           points=((0.0, 0.1, 0.0, 0.1, 0.0), (-0.0, 0.1, -0.0, 0.1, 0.0), (2.0, 0.1, 2.0, 1.0, nothing),
                   (-2.0, 0.5, -1.0, 0.5, -2.0), (nan, 0.1, nan, 0.1, nan)), convention="The slope at 0 is y."),
    binary("elu", "where(x > 0, x, y * expm1(x))", "where(x > 0, 1, y * exp(x) + 0)",
           "where(x > 0, nothing, expm1(x) + 0)",
           summary="x if positive, else y times exp(x) - 1.",
           points=((0.0, 2.0, 0.0, 2.0, 0.0), (800.0, 2.0, 800.0, 1.0, nothing), (-inf, 2.0, -2.0, 0.0, -1.0)),
           convention="The slope at 0 is y."),
    unary("silu", "x / (1 + exp(-x))", "sigmoid(x) * (1 + x * sigmoid(-x))", domain=((-40.0, 40.0),),
          summary="x times its sigmoid.", points=((0.0, 0.0, 0.5), (-800.0, -0.0, 0.0), (800.0, 800.0, 1.0))),
    # ---- error function and normal distribution ----------------------------------------------------------
    special("erf", "2 / sqrt(pi) * exp(-x * x)", domain=((-6.0, 6.0),), summary="Error function.",
            points=((inf, 1.0, 0.0), (-0.0, -0.0, 1.1283791670955126))),
    special("erfc", "-2 / sqrt(pi) * exp(-x * x)", domain=((-6.0, 6.0),), summary="1 - erf(x), accurate for large x.",
            points=((inf, 0.0, 0.0), (-inf, 2.0, 0.0))),
    special("erfcx", f"where(x < 12, 2 * x * v - 2 / sqrt(pi), -1 / sqrt(pi) * {ERFCX_SLOPE} / (x * x))",
            domain=((-5.0, 100.0),), summary="exp(x**2) erfc(x).",
            points=((0.0, 1.0, -1.1283791670955126), (inf, 0.0, 0.0), (-inf, inf, -inf))),
    special("erfinv", "sqrt(pi) / 2 * exp(v * v)", domain=((-0.99, 0.99),), summary="Inverse of erf.",
            convention=OUTSIDE, points=((1.0, inf, inf), (-1.0, -inf, inf), (2.0, nan, nan))),
    special("erfcinv", "-sqrt(pi) / 2 * exp(v * v)", domain=((0.01, 1.99),), summary="Inverse of erfc.",
            convention=OUTSIDE, points=((0.0, inf, -inf), (2.0, -inf, -inf), (3.0, nan, nan))),
    special("ndtr", "exp(-x * x / 2) / sqrt(2 * pi)", domain=((-9.0, 9.0),), summary="Normal distribution function.",
            points=((-inf, 0.0, 0.0), (inf, 1.0, 0.0), (0.0, 0.5, 0.3989422804014327))),
    # The density over v, without the cancellation of exp(-x * x / 2 - v) far out on the left.
    special("log_ndtr", "sqrt(2 / pi) / erfcx(-x / sqrt(2))", domain=((-100.0, 9.0),),
            summary="Logarithm of the normal distribution function.",
            points=((inf, -0.0, 0.0), (-inf, -inf, inf), (-1e10, -5e19, 1e10))),
    special("ndtri", "sqrt(2 * pi) * exp(v * v / 2)", domain=((0.01, 0.99),), summary="Inverse of ndtr.",
            points=((0.0, -inf, inf), (1.0, inf, inf), (2.0, nan, nan)), convention=OUTSIDE),
    unary("gelu", "x * ndtr(x)", "ndtr(x) + x * exp(-x * x / 2) / sqrt(2 * pi)", domain=((-9.0, 9.0),),
          summary="x times its normal distribution function (the exact form).", points=((0.0, 0.0, 0.5),)),
    # ---- gamma and zeta ----------------------------------------------------------------------------------
    special("gamma", "v * digamma(x)", domain=((0.05, 30.0),), ulp=4, summary="Gamma function.",
            points=((5.0, 24.0), (inf, inf, inf), (-0.5, -3.5449077018110318))),
    special("gammaln", "digamma(x)", domain=((0.05, 100.0),), ulp=4, summary="log(abs(gamma(x))).",
            points=((0.0, inf, -inf), (inf, inf, inf), (1.0, 0.0, -0.5772156649015329))),
    special("digamma", "zeta(2, x)", domain=((0.05, 100.0),), ulp=4, summary="Derivative of gammaln.",
            points=((inf, inf, 0.0), (1.0, -0.5772156649015329, pi**2 / 6))),
    special("zeta", "nan", "-x * zeta(x + 1, y)", numpy="_ufuncs._zeta", domain=((1.1, 10.0), (0.1, 20.0)), ulp=4,
            summary="Hurwitz zeta function, the sum of (k + y)**-x over k >= 0.",
            points=((2.0, 1.0, pi**2 / 6, nan, -2.404113806319188), (2.0, inf, 0.0, nan, 0.0)),
            convention="The derivative in x is not implemented: nan."),
    binary("polygamma", "where(x == 0, digamma(y), -power(-1, x) * gamma(x + 1) * zeta(x + 1, y))", "nan",
           "polygamma(x + 1, y)", domain=((0.0, 5.0), (0.1, 20.0)), ulp=4,
           summary="Derivative of order x (an integer) of digamma at y.",
           points=((0.0, 1.0, -0.5772156649015329, nan, pi**2 / 6),
                   (1.0, 1.0, pi**2 / 6, nan, -2.404113806319188)),
           convention="The order x is an integer: nan otherwise, and as the derivative in x."),
    special("beta", f"v * {digamma_drop('x', 'y')}", f"v * {digamma_drop('y', 'x')}", ulp=4,
            domain=((0.1, 10.0), (0.1, 10.0)), summary="Beta function.", points=((2.0, 3.0, 1 / 12),)),
    special("betaln", digamma_drop("x", "y"), digamma_drop("y", "x"), ulp=4,
            domain=((0.1, 10.0), (0.1, 10.0)), summary="Logarithm of the absolute value of the beta function.",
            points=((1.0, 1.0, 0.0, -1.0, -1.0),)),
    # ---- entropies ---------------------------------------------------------------------------------------
    special("xlogy", "log(y)", "where(x == 0 and y == 0, 0, x / y)", domain=((-3.0, 3.0), (0.01, 10.0)),
            summary="x log(y), 0 where x is 0.", convention="At (0, 0) the slope in y is 0; in x it is -inf.",
            points=((0.0, 0.0, 0.0, -inf, 0.0), (0.0, 2.0, 0.0, ln2, 0.0), (1.0, 0.0, -inf, -inf, inf),
                    (0.0, nan, nan, nan, nan))),
    special("xlog1py", "log1p(y)", "where(x == 0 and y == -1, 0, x / (1 + y))", domain=((-3.0, 3.0), (-0.99, 10.0)),
            summary="x log1p(y), 0 where x is 0.", convention="At (0, -1) the slope in y is 0; in x it is -inf.",
            points=((0.0, -1.0, 0.0, -inf, 0.0), (0.0, 1.0, 0.0, ln2, 0.0), (1.0, -1.0, -inf, -inf, inf))),
    special("entr", "-1 - log(x)", domain=((0.01, 10.0),), summary="-x log(x), 0 at 0.",
            points=((0.0, 0.0, inf), (1.0, -0.0, -1.0), (-1.0, -inf, nan))),
    special("rel_entr", "log(x / y) + 1", "where(x == 0 and y == 0, 0, -x / y)", domain=((0.01, 10.0), (0.01, 10.0)),
            summary="x log(x / y), 0 where x is 0.", convention="At (0, 0) the slope in y is 0; in x it is nan.",
            points=((0.0, 0.0, 0.0, nan, 0.0), (0.0, 2.0, 0.0, -inf, 0.0), (2.0, 0.0, inf, inf, -inf),
                    (-1.0, 1.0, inf))),
    # ---- Bessel functions --------------------------------------------------------------------------------
    special("j0", "-j1(x)", domain=((-20.0, 20.0),), summary="Bessel function of order 0.", points=((0.0, 1.0, 0.0),)),
    special("j1", f"where(fabs(x) < 1, {bessel_slope(-1)}, j0(x) - v / x)", domain=((-20.0, 20.0),),
            summary="Bessel function of order 1.", points=((0.0, 0.0, 0.5),)),
    special("i0", "i1(x)", domain=((-20.0, 20.0),), summary="Modified Bessel function of order 0.",
            points=((0.0, 1.0, 0.0),)),
    special("i1", f"where(fabs(x) < 1, {bessel_slope(1)}, i0(x) - v / x)", domain=((-20.0, 20.0),),
            summary="Modified Bessel function of order 1.", points=((0.0, 0.0, 0.5),)),
    special("i0e", f"where(fabs(x) < 50, i1e(x) - sign(x) * v, -sign(x) * {scaled_bessel_slope(0)}"
                   " / (fabs(x) * sqrt(2 * pi * fabs(x))))",
            domain=((-100.0, 100.0),), kinks=(0.0,), summary="exp(-abs(x)) i0(x).", convention="The slope at 0 is 0.",
            points=((0.0, 1.0, 0.0), (inf, 0.0, 0.0))),
    special("i1e", f"where(fabs(x) < 1, exp(-fabs(x)) * {bessel_slope(1)} - sign(x) * v,"
                   f" where(fabs(x) < 50, i0e(x) - v / x - sign(x) * v, -{scaled_bessel_slope(1)}"
                   " / (fabs(x) * sqrt(2 * pi * fabs(x)))))",
            domain=((-100.0, 100.0),), kinks=(0.0,), summary="exp(-abs(x)) i1(x).",
            points=((0.0, 0.0, 0.5), (inf, 0.0, 0.0))),
)

BY_NAME = {op.name: op for op in OPS}


def _check_expression(text: str, names: AbstractSet[str], functions: Mapping[str, int],
                      fail: Callable[[str], NoReturn]) -> None:
    """Walk one expression; ``functions`` gives the arity of each function it may call, ``fail`` raises."""
    def walk(node: ast.expr, condition: bool) -> None:
        parts: Sequence[ast.expr]
        conditions: Sequence[ast.expr]
        match node:
            case ast.Compare(left=left, comparators=[right], ops=[ast.Lt() | ast.LtE() | ast.Gt() | ast.GtE() | ast.Eq()
                                                                  | ast.NotEq()]) if condition:
                parts, conditions = (left, right), ()
            case ast.BoolOp(values=conditions) if condition:
                parts = ()
            case ast.UnaryOp(op=ast.Not(), operand=operand) if condition:
                parts, conditions = (), (operand,)
            case _ if condition:
                fail(f"{ast.unparse(node)!r} must be a single comparison, or and/or/not of such")
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                return
            case ast.Name(id=name) if name in names or name in CONSTANTS:
                return
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                parts, conditions = (operand,), ()
            case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div(), right=right):
                parts, conditions = (left, right), ()
            case ast.Call(func=ast.Name(id="where"), args=[choice, left, right], keywords=[]):
                parts, conditions = (left, right), (choice,)
            case ast.Call(func=ast.Name(id=name), args=parts, keywords=[]) if functions.get(name) == len(parts):
                conditions = ()
            case _:
                fail(f"{ast.unparse(node)!r} is not in the language, not known here, or has the wrong arity")
        for part in parts:
            walk(part, False)
        for part in conditions:
            walk(part, True)

    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        fail(f"{text!r} does not parse: {error}")
    walk(tree, isinstance(tree, ast.Compare | ast.BoolOp) or isinstance(getattr(tree, "op", None), ast.Not))


def _check_row(op: Op, above: Mapping[str, int], every: Mapping[str, int]) -> None:
    """Check one row; ``above`` and ``every`` give the arities of the functions its value and its partials may call."""
    def fail(message: str) -> NoReturn:
        raise ValueError(f"op table, row {op.name!r}: {message}")

    def check(holds: bool, message: str) -> None:
        if not holds:
            fail(message)

    check(op.name.isidentifier() and op.name not in CONSTANTS and op.name not in ("x", "y", "v", "where"),
          "the name must be an identifier that is no word of the expression language")
    check(op.name not in above, "another row has this name")
    check(op.arity in (1, 2), "the arity must be 1 or 2")
    check(op.summary.endswith("."), "the summary must be a sentence")
    check(len(op.domain) == op.arity and all(low < high for low, high in op.domain),
          f"the domain must be {op.arity} intervals (low, high)")
    check((op.dy is not None) == (op.dx is not None and op.arity == 2),
          "dy belongs to every differentiable function of two arguments, and to no other")
    for args, _, partials in op.points:
        check(len(args) == op.arity, f"point {args} must have {op.arity} arguments")
        check(partials is None or (op.differentiable and len(partials) == op.arity),
              f"point {args} must have one partial for each argument of a differentiable function, or None")
    operands = {"x", "y"} if op.arity == 2 else {"x"}
    _check_expression(op.value, operands, {**above, op.name: op.arity}, fail)
    if not op.external:
        _check_expression(op.value, operands, above, fail)
    for partial in (op.dx, op.dy):
        if partial is not None:
            _check_expression(partial, operands | {"v"}, every, fail)
    check(op.libm is None or op.external, "libm belongs to rows whose value is a call of themselves")


def shown(expression: str) -> str:
    """An expression as pages and docstrings show it: what nobody would read, such as a series, stands here alone."""
    return expression if len(expression) <= 120 else "... (a long expression, see fastad/ops.py)"


def special_names() -> dict[str, str]:
    """What scipy.special calls rows of the table: its name -> the name of the row."""
    names = {op.numpy.rpartition(".")[2].removeprefix("_"): op.name for op in OPS
             if op.numpy and op.numpy.startswith("special.")}
    return names | {"polygamma": "polygamma", "psi": "digamma"}


def validate(ops: Sequence[Op] = OPS) -> None:
    """Check that a table keeps the rules of the language; the build and the tests call it (import stays cheap).

    A value may call only rows above it, so that the rows can be emitted in order, or be nothing but a call of its own
    name with its own operands; a partial may call any row.

    Raises
    ------
    ValueError
        Names the row and the rule.
    """
    above: dict[str, int] = {}
    every = {op.name: op.arity for op in ops}
    operators: set[tuple[str, int]] = set()
    for op in ops:
        _check_row(op, above, every)
        above[op.name] = op.arity
        if op.symbol is not None:
            if (op.symbol, op.arity) in operators:
                raise ValueError(f"op table, row {op.name!r}: another row has this operator")
            operators.add((op.symbol, op.arity))
