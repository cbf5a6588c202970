"""The op table against independent oracles: mpmath for the mathematics, NumPy and SciPy for the numbers.

Everything enumerates the table. A row needs an entry in ORACLES (a high-precision definition of the function, written
without the table) and, if it answers to no NumPy or SciPy function, one in REFERENCES.
"""
from __future__ import annotations

import ast
import ctypes
import importlib.util
import math
import operator
import sys
import zlib
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import scipy.special
from mpmath import mp

inf, nan, pi = math.inf, math.nan, math.pi
EPS = np.finfo(float).eps


def load_table():
    """The table of the source tree, by path (needs no build); else that of the installed package."""
    path = Path(__file__).parents[1] / "fastad" / "ops.py"
    if not path.exists():
        return importlib.import_module("fastad.ops")
    spec = importlib.util.spec_from_file_location("fastad_ops_table", path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


table = load_table()
OPS, BY_NAME = table.OPS, table.BY_NAME
DIFFERENTIABLE = [op for op in OPS if op.differentiable]


@pytest.fixture(autouse=True)
def numerics():
    with mp.workdps(110), np.errstate(all="ignore"):
        yield


# ---- the expressions, evaluated in float64 -------------------------------------------------------------------

class Choose(ast.NodeTransformer):
    """``where`` becomes a conditional expression: the branch not taken does not count (the structural zero)."""

    def visit_Call(self, node):
        self.generic_visit(node)
        if node.func.id == "where":
            return ast.IfExp(*node.args)
        return node

    def visit_Constant(self, node):
        return ast.copy_location(ast.Call(ast.Name("float64", ast.Load()), [node], []), node)


@cache
def compiled(text):
    tree = ast.fix_missing_locations(Choose().visit(ast.parse(text, mode="eval")))
    return compile(tree, text, "eval")


@cache
def reference(op):
    """The NumPy or SciPy function of a row, of REFERENCES for a row without one."""
    if op.numpy is None:
        assert op.name in REFERENCES, f"row {op.name!r} names no NumPy function: add one made of such to REFERENCES"
        return REFERENCES[op.name]
    return operator.attrgetter(op.numpy)(scipy if op.numpy.startswith("special.") else np)


def evaluate(text, constants=table.CONSTANTS, **operands):
    """An expression of the table at float64 operands."""
    names = {k: np.float64(a) for k, a in (constants | operands).items()}
    return np.float64(eval(compiled(text), FUNCTIONS | names))


def function(op):
    if op.external:
        return reference(op)
    return lambda x, y=0.0: evaluate(op.value, x=x, y=y)


def value(op, args):
    return evaluate(op.value, **dict(zip("xy", args, strict=False)))


def partials(op, args, **constants):
    """The partials of a row as float64."""
    operands = dict(zip("xy", args, strict=False), v=value(op, args))
    return [evaluate(e, table.CONSTANTS | constants, **operands) for e in (op.dx, op.dy)[:op.arity]]


# ---- the oracles ---------------------------------------------------------------------------------------------

def smooth_max(x, y):
    return x if x > y else y


def smooth_min(x, y):
    return x if x < y else y


def xlogx(x, y):
    return x * mp.log(y) if x else mp.mpf(0)


def erfcinv(x):
    return mp.erfinv(1 - x)


def normal_log(x):
    return mp.log(mp.ncdf(x))


def sinc(x):
    return mp.sin(mp.pi * x) / (mp.pi * x) if x else mp.mpf(1)


def truncate(x):
    return mp.floor(x) if x >= 0 else mp.ceil(x)


ORACLES = {
    "add": operator.add, "subtract": operator.sub, "multiply": operator.mul, "divide": operator.truediv,
    "power": mp.power, "float_power": mp.power,
    "floor_divide": lambda x, y: mp.floor(x / y), "remainder": lambda x, y: x - y * mp.floor(x / y),
    "fmod": lambda x, y: x - y * truncate(x / y), "negative": operator.neg, "positive": lambda x: x,
    "reciprocal": lambda x: 1 / x, "square": lambda x: x * x, "sqrt": mp.sqrt, "sqrt0": mp.sqrt, "cbrt": mp.cbrt,
    "copysign": lambda x, y: abs(x) * mp.sign(y), "sign": mp.sign, "absolute": abs, "fabs": abs,
    "signbit": lambda x: x < 0, "floor": mp.floor, "ceil": mp.ceil, "trunc": truncate, "rint": mp.nint,
    "heaviside": lambda x, y: (1 + mp.sign(x)) / 2 if x else y,
    "exp": mp.exp, "exp2": lambda x: mp.power(2, x), "expm1": lambda x: mp.exp(x) - 1, "log": mp.log,
    "log2": lambda x: mp.log(x, 2), "log10": lambda x: mp.log(x) / mp.log(10), "log1p": lambda x: mp.log(1 + x),
    "sin": mp.sin, "cos": mp.cos, "tan": mp.tan, "arcsin": mp.asin, "arccos": mp.acos, "arctan": mp.atan,
    "hypot": lambda x, y: mp.sqrt(x * x + y * y), "arctan2": mp.atan2, "deg2rad": lambda x: x * mp.pi / 180,
    "rad2deg": lambda x: x * 180 / mp.pi, "sinc": sinc,
    "sinh": mp.sinh, "cosh": mp.cosh, "tanh": mp.tanh, "tanh_slope": lambda x: mp.sech(x) ** 2,
    "arcsinh": mp.asinh, "arccosh": mp.acosh, "arctanh": mp.atanh,
    "less": operator.lt, "less_equal": operator.le, "greater": operator.gt, "greater_equal": operator.ge,
    "equal": operator.eq, "not_equal": operator.ne, "isnan": mp.isnan, "isinf": mp.isinf, "isfinite": mp.isfinite,
    "logical_and": lambda x, y: bool(x) and bool(y), "logical_or": lambda x, y: bool(x) or bool(y),
    "logical_not": operator.not_,
    "maximum": smooth_max, "minimum": smooth_min, "fmax": smooth_max, "fmin": smooth_min,
    "keep": lambda x, y: x if y > 0.5 else mp.mpf(0), "drop": lambda x, y: mp.mpf(0) if y > 0.5 else x,
    "stop": lambda x: x,
    "absent": lambda x: False, "flow": operator.mul,
    "sigmoid": lambda x: 1 / (1 + mp.exp(-x)), "logit": lambda x: mp.log(x) - mp.log(1 - x),
    "log_sigmoid": lambda x: -mp.log(1 + mp.exp(-x)), "softplus": lambda x: mp.log(1 + mp.exp(x)),
    "logaddexp": lambda x, y: mp.log(mp.exp(x) + mp.exp(y)),
    "logaddexp2": lambda x, y: mp.log(mp.power(2, x) + mp.power(2, y)) / mp.log(2),
    "relu": lambda x: x if x > 0 else mp.mpf(0), "leaky_relu": lambda x, y: x if x > 0 else x * y,
    "elu": lambda x, y: x if x > 0 else y * (mp.exp(x) - 1), "silu": lambda x: x / (1 + mp.exp(-x)),
    "erf": mp.erf, "erfc": mp.erfc, "erfcx": lambda x: mp.exp(x * x) * mp.erfc(x), "erfinv": mp.erfinv,
    "erfcinv": erfcinv, "ndtr": mp.ncdf, "log_ndtr": normal_log, "ndtri": lambda x: -mp.sqrt(2) * erfcinv(2 * x),
    "gelu": lambda x: x * mp.ncdf(x),
    "gamma": mp.gamma, "gammaln": mp.loggamma, "digamma": mp.digamma, "zeta": mp.zeta,
    "polygamma": lambda n, x: mp.polygamma(int(mp.nint(n)), x), "beta": mp.beta,
    "betaln": lambda x, y: mp.loggamma(x) + mp.loggamma(y) - mp.loggamma(x + y),
    "xlogy": xlogx, "xlog1py": lambda x, y: xlogx(x, 1 + y), "entr": lambda x: -xlogx(x, x),
    "rel_entr": lambda x, y: xlogx(x, x / y),
    "j0": mp.j0, "j1": mp.j1, "i0": lambda x: mp.besseli(0, x), "i1": lambda x: mp.besseli(1, x),
    "i0e": lambda x: mp.exp(-abs(x)) * mp.besseli(0, x), "i1e": lambda x: mp.exp(-abs(x)) * mp.besseli(1, x),
}

REFERENCES = {
    "sqrt0": np.sqrt, "keep": lambda x, y: np.where(y != 0, x, -0.0), "drop": lambda x, y: np.where(y != 0, -0.0, x),
    "stop": np.positive,
    "softplus": lambda x: np.logaddexp(0.0, x), "relu": lambda x: np.maximum(x, 0.0) + 0.0,
    "leaky_relu": lambda x, y: np.where(x > 0, x, y * x), "elu": lambda x, y: np.where(x > 0, x, y * np.expm1(x)),
    "silu": lambda x: x * scipy.special.expit(x), "gelu": lambda x: x * scipy.special.ndtr(x),
    "polygamma": scipy.special.polygamma, "tanh_slope": lambda x: 1 / np.cosh(x) ** 2,
    "absent": lambda x: (x == 0) & np.signbit(x),
    "flow": lambda x, y: np.where((y == 0) & np.signbit(y), -0.0, x * y + 0.0),
}

for _op in OPS:
    assert _op.name in ORACLES, f"row {_op.name!r} has no oracle: add its definition in mpmath to ORACLES in {__file__}"
FUNCTIONS = {"float64": np.float64} | {op.name: function(op) for op in OPS}

#: How far float64 may be from the truth, in machine epsilons of the scale of the result (see `scale`): the value as
#: NumPy or SciPy has it, and a partial. Exceptions, with their reasons.
VALUE_EPS, PARTIAL_EPS = 4, 4
EXCEPTIONS = {
    "erfcx": (4, 32, "2 x v - 2 / sqrt(pi) cancels up to the switch to the series at x = 12"),
    "i0e": (4, 64, "i1e - i0e cancels up to the switch to the series at abs(x) = 50"),
    "i1e": (4, 128, "i0e - i1e cancels up to the switch to the series at abs(x) = 50"),
}


# ---- samples and exact derivatives ---------------------------------------------------------------------------

#: Where expressions change their form, and magnitudes near 0.
LANDMARKS = [s * a for a in (1e-12, 1e-8, 1e-4, 0.02, 0.2999, 0.3001, 0.999, 1.001, 11.99, 12.01, 49.9, 50.1)
             for s in (1, -1)]


@cache
def samples(name, count=24):
    """Points inside the domain of a row: random ones, the ends, the landmarks."""
    op = BY_NAME[name]
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    columns = []
    for low, high in op.domain:
        ends = [low + 1e-3 * (high - low), high - 1e-3 * (high - low)]
        columns.append([*rng.uniform(low, high, count), *ends, *(a for a in LANDMARKS if low < a < high)])
    length = max(map(len, columns))
    if op.arity == 2:
        columns = [rng.permutation(np.resize(c, length)) for c in columns]
    if name == "polygamma":
        columns[0] = np.floor(columns[0])
    if name in ("keep", "drop"):
        columns[1] = np.greater(columns[1], 0.0) * 1.0
    points = zip(*(np.asarray(c).tolist() for c in columns), strict=True)
    return [args for args in points if args[0] not in op.kinks and (op.arity == 1 or args[0] != args[1])]


@cache
def exact(name, args):
    """Value, gradient and Hessian of a row's oracle at one point, by central differences in 110 digits."""
    f, h = ORACLES[name], mp.mpf(10) ** -25
    at = [mp.mpf(a) for a in args]

    def shifted(*steps):
        return mp.re(f(*(a + h * s for a, s in zip(at, steps, strict=True))))

    n = len(args)
    unit = [[int(i == j) for j in range(n)] for i in range(n)]
    middle = shifted(*[0] * n)
    plus, minus = [shifted(*e) for e in unit], [shifted(*(-s for s in e)) for e in unit]
    gradient = [(p - m) / (2 * h) for p, m in zip(plus, minus, strict=True)]
    hessian = [[(p - 2 * middle + m) / h**2 if i == j else None for j in range(n)]
               for i, (p, m) in enumerate(zip(plus, minus, strict=True))]
    if n == 2:
        cross = (shifted(1, 1) - shifted(1, -1) - shifted(-1, 1) + shifted(-1, -1)) / (4 * h**2)
        hessian[0][1] = hessian[1][0] = cross
    return middle, gradient, hessian


def unknown(op, i):
    """Whether the i-th partial is declared as not implemented."""
    return (op.dx, op.dy)[i] == "nan"


def scale(want, slopes, args):
    """Size of a result whose last digit counts: itself, and what one rounding of the operands does to it."""
    return abs(want) + sum(abs(s * a) for s, a in zip(slopes, args, strict=True) if mp.isfinite(s))


def worst_partials(op):
    """The largest error of the partials over the samples, in machine epsilons of their scale, with its place."""
    worst = 0.0, None
    for args in samples(op.name):
        _, gradient, hessian = exact(op.name, args)
        for i, (got, want, slopes) in enumerate(zip(partials(op, args), gradient, hessian, strict=True)):
            if unknown(op, i):
                continue
            if not np.isfinite(got):
                return inf, (args, "xy"[i], got, mp.nstr(want, 17))
            error = abs(mp.mpf(float(got)) - want)
            if error > 1e-40:
                ratio = float(error / (EPS * scale(want, slopes, args)))
                worst = max(worst, (ratio, (args, "xy"[i], got, mp.nstr(want, 17))), key=lambda w: w[0])
    return worst


# ---- derivatives of any order, through the table -------------------------------------------------------------

def substituted(text, **operands):
    """An expression with its operands replaced by expressions."""
    class Replace(ast.NodeTransformer):
        def visit_Name(self, node):
            return ast.parse(f"({operands[node.id]})", mode="eval").body if node.id in operands else node

    return ast.unparse(Replace().visit(ast.parse(text, mode="eval")))


@cache
def derivative(op, text, wrt):
    """The derivative of an expression in x, y and v (the value of `op` there), as another such expression.

    None is the structural zero: what does not depend on `wrt` contributes nothing.
    """
    def total(terms):
        return " + ".join(f"({c}) * ({d})" for c, d in terms if d is not None) or None

    def of(node):
        text = ast.unparse(node)
        match node:
            case ast.Name(id=name):
                return "1" if name == wrt else {"x": op.dx, "y": op.dy}[wrt] if name == "v" else None
            case ast.UnaryOp(operand=a):
                return total([("-1", of(a))])
            case ast.BinOp(left=a, op=ast.Add(), right=b):
                return total([("1", of(a)), ("1", of(b))])
            case ast.BinOp(left=a, op=ast.Sub(), right=b):
                return total([("1", of(a)), ("-1", of(b))])
            case ast.BinOp(left=a, op=ast.Mult(), right=b):
                return total([(ast.unparse(b), of(a)), (ast.unparse(a), of(b))])
            case ast.BinOp(left=a, op=ast.Div(), right=b):
                return total([(f"1 / ({ast.unparse(b)})", of(a)), (f"-({text}) / ({ast.unparse(b)})", of(b))])
            case ast.Call(func=ast.Name(id="where"), args=[c, a, b]):
                a, b = of(a), of(b)
                return None if a is b is None else f"where({ast.unparse(c)}, {a or 0}, {b or 0})"
            case ast.Call(func=ast.Name(id=name), args=args):
                row, texts = BY_NAME[name], dict(zip("xy", map(ast.unparse, args), strict=False))
                rules = (row.dx, row.dy)[:row.arity] if row.differentiable else ()
                outer = [substituted(rule, **texts, v=text) for rule in rules]
                return total(zip(outer, map(of, args), strict=False))
        return None

    return of(ast.parse(text, mode="eval").body)


def higher(op, args, order):
    """A derivative of a row, ``order`` such as "xxy", at one point."""
    text = {"x": op.dx, "y": op.dy}[order[0]]
    for wrt in order[1:]:
        text = derivative(op, text, wrt) if text is not None else None
    if text is None:
        return 0.0
    return evaluate(text, **dict(zip("xy", args, strict=False)), v=value(op, args))


#: Derivatives at places where careless forms lose everything: row, order, place, derivative.
HIGHER = [
    ("sinc", "xx", (0.0,), -pi**2 / 3), ("sinc", "xxx", (0.0,), 0.0), ("sinc", "xxxx", (0.0,), pi**4 / 5),
    ("sinc", "xx", (1e-9,), -pi**2 / 3), ("tanh", "xx", (0.0,), 0.0), ("tanh", "xxx", (0.0,), -2.0),
    ("tanh", "xx", (800.0,), 0.0), ("tanh", "xxx", (-800.0,), 0.0), ("sigmoid", "xx", (800.0,), 0.0),
    ("sigmoid", "xx", (-800.0,), 0.0), ("sigmoid", "xxx", (0.0,), -0.125), ("softplus", "xx", (1000.0,), 0.0),
    ("softplus", "xx", (-1000.0,), 0.0), ("log_sigmoid", "xx", (0.0,), -0.25), ("silu", "xx", (0.0,), 0.5),
    ("gelu", "xx", (0.0,), math.sqrt(2 / pi)), ("logaddexp", "xx", (1.0, 1.0), 0.25),
    ("logaddexp", "xy", (1.0, 1.0), -0.25), ("expm1", "xx", (-40.0,), math.exp(-40)),
    ("power", "xx", (0.0, 2.0), 2.0), ("power", "xxx", (0.0, 3.0), 6.0), ("power", "xx", (0.0, 1.0), 0.0),
    ("power", "xx", (0.0, 0.0), 0.0), ("power", "xy", (2.0, 0.0), 0.5), ("power", "yx", (2.0, 0.0), 0.5),
    ("power", "xx", (-2.0, 3.0), -12.0), ("power", "xxx", (-2.0, 3.0), 6.0), ("sqrt0", "xx", (0.0,), 0.0),
    ("hypot", "xx", (0.0, 0.0), 0.0), ("hypot", "xy", (0.0, 0.0), 0.0), ("arctan2", "xx", (1.0, 0.0), 0.0),
    ("arctan2", "xy", (1.0, 0.0), 1.0), ("absolute", "xx", (0.0,), 0.0), ("arcsinh", "xx", (1e200,), 0.0),
    ("log_ndtr", "xx", (-1e8,), -1.0), ("erfcx", "xx", (0.0,), 2.0), ("erf", "xx", (0.0,), 0.0),
    ("xlogy", "xy", (0.0, 2.0), 0.5), ("xlogy", "yx", (0.0, 2.0), 0.5), ("xlog1py", "yx", (0.0, 1.0), 0.5),
    ("j1", "xx", (0.0,), 0.0), ("j1", "xxx", (0.0,), -0.375), ("i1", "xxx", (0.0,), 0.375),
    ("i1", "xx", (1e-9,), 0.375e-9),
]

#: Far out, where the textbook forms overflow, underflow or cancel.
TAILS = [
    ("tanh", (300.0,)), ("tanh", (-340.0,)), ("sigmoid", (700.0,)), ("sigmoid", (-700.0,)),
    ("log_sigmoid", (700.0,)), ("log_sigmoid", (-700.0,)), ("softplus", (700.0,)), ("softplus", (-700.0,)),
    ("silu", (-700.0,)), ("expm1", (-600.0,)), ("logaddexp", (-300.0, 300.0)), ("logaddexp", (1000.0, 1001.0)),
    ("logaddexp2", (-500.0, 500.0)), ("hypot", (1e200, -2e200)), ("hypot", (1e-200, 3e-200)),
    ("arctan2", (3e200, -1e200)), ("arctan2", (1e-200, 2e-200)), ("arctan2", (1e-12, 1e5)), ("arcsinh", (1e200,)),
    ("arcsinh", (-1e-200,)), ("arccosh", (1e200,)), ("arccosh", (1 + 2.0**-40,)), ("arcsin", (1 - 2.0**-40,)),
    ("arccos", (-1 + 2.0**-40,)), ("arctanh", (1 - 2.0**-50,)), ("arctan", (1e150,)), ("log1p", (-1 + 2.0**-50,)),
    ("log1p", (1e-300,)), ("logit", (1 - 2.0**-50,)), ("logit", (1e-300,)),
    ("erfc", (26.0,)), ("ndtr", (-37.0,)), ("reciprocal", (1e-150,)), ("cbrt", (1e-300,)), ("sqrt", (1e-300,)),
    ("power", (1e-150, 2.0)), ("power", (1e100, -2.0)), ("divide", (1e-200, 1e-150)), ("entr", (1e-300,)),
]


#: The same for functions that are too slow for the many digits of that test.
WIDE = [
    ("betaln", (1e6, 2.0)), ("betaln", (2.0, 1e-8)), ("betaln", (3.0, 1e5)), ("betaln", (-2.5, 0.7)),
    ("beta", (1e10, 1.0)), ("beta", (1e-3, 1e-3)), ("log_ndtr", (-1e4,)), ("erfcx", (1e6,)), ("i0e", (1e6,)),
    ("i1e", (-1e6,)), ("i0", (300.0,)), ("i1", (300.0,)), ("gammaln", (1e10,)), ("digamma", (1e-8,)),
    ("digamma", (-3.7,)), ("gamma", (-2.5,)), ("sinc", (1e-6,)),
]


def rows(ops=OPS):
    return pytest.mark.parametrize("op", ops, ids=lambda op: op.name)


def ulps(got, want):
    """Distance in units in the last place of `want`; infinite if only one is finite or zeros differ in sign."""
    got, want = np.float64(got), np.float64(want)
    if np.isnan(got) or np.isnan(want):
        return 0.0 if np.isnan(got) and np.isnan(want) else inf
    if got == want:
        return 0.0 if np.signbit(got) == np.signbit(want) else inf
    return abs(got - want) / np.spacing(abs(want))


def grid(op):
    """Every special operand with every other."""
    special = (0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 1e300, -1e-300, inf, -inf, nan)
    if op.name == "polygamma":
        return [(n, x) for n in (0.0, 1.0, 4.0) for x in (1.0, 0.5, 3.0, 1e10, inf, nan)]
    return [(a,) for a in special] if op.arity == 1 else [(a, b) for a in special for b in special]


# ---- the tests -----------------------------------------------------------------------------------------------

def test_table_is_valid():
    table.validate()


BROKEN = {
    "name": {"name": "pi"}, "unknown function": {"value": "sine(x)"}, "arity": {"value": "exp(x, x)"},
    "operand": {"value": "x + y"}, "result in the value": {"value": "x + v"}, "power operator": {"value": "x ** 2"},
    "chained comparison": {"value": "where(0 < x < 1, x, 0)"}, "number as condition": {"value": "where(x, 1, 0)"},
    "condition as number": {"value": "1 + (x > 0)"}, "attribute": {"value": "x.real"}, "text": {"value": "'x'"},
    "true": {"value": "True"}, "syntax": {"value": "x +"}, "keyword": {"value": "exp(x=x)"}, "dy": {"dy": "1"},
    "self call": {"value": "1 + probe(x)"}, "libm": {"libm": "exp"}, "partial": {"dx": "sine(x)"},
    "domain": {"domain": ((0.0, 1.0), (0.0, 1.0))}, "empty domain": {"domain": ((1.0, 1.0),)},
    "point": {"points": (((1.0, 2.0), 1.0, None),)}, "partials": {"points": (((1.0,), 1.0, (1.0, 1.0)),)},
    "summary": {"summary": ""},
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_validate_rejects(change):
    probe = table.unary("probe", "x", "1", summary="A probe.")
    table.validate((*OPS, probe))
    with pytest.raises(ValueError, match="op table, row"):
        table.validate((*OPS, replace(probe, **change)))


def test_validate_rejects_what_is_taken():
    with pytest.raises(ValueError, match="another row has this name"):
        table.validate((*OPS, BY_NAME["add"]))
    with pytest.raises(ValueError, match="another row has this operator"):
        table.validate((*OPS, replace(BY_NAME["add"], name="plus")))


def test_a_value_calls_only_rows_above():
    late = table.unary("late", "x", summary="A late row.")
    early = table.unary("early", "late(x)", summary="An early row.")
    table.validate((late, early))
    with pytest.raises(ValueError, match="early"):
        table.validate((early, late))


@rows()
def test_value_is_that_of_numpy(op):
    for args in [*samples(op.name), *grid(op)]:
        got, want = value(op, args), reference(op)(*map(np.float64, args))
        assert ulps(got, want) <= op.ulp, f"{op.name}{args} = {got!r}, but the NumPy or SciPy function gives {want!r}"


@rows([op for op in OPS if op.libm])
def test_libm_agrees_with_numpy(op):
    if not sys.platform.startswith("linux"):
        pytest.skip("looks into the C library of Linux")
    call = getattr(ctypes.CDLL("libm.so.6"), op.libm)
    call.restype, call.argtypes = ctypes.c_double, [ctypes.c_double] * op.arity
    for args in [*samples(op.name), *grid(op)]:
        if op.libm == "pow" and args[1] == 0.5:
            continue  # numpy.power, not float_power, takes the square root here: -0.0 and -inf differ from pow
        got, want = call(*args), value(op, args)
        assert ulps(got, want) <= op.ulp, f"{op.libm}{args} = {got!r}, but NumPy gives {want!r}"


@rows()
def test_value_is_true(op):
    tolerance = EXCEPTIONS.get(op.name, (VALUE_EPS,))[0]
    for args in samples(op.name):
        want, gradient, _ = exact(op.name, args)
        error = abs(mp.mpf(float(value(op, args))) - want)
        assert error <= tolerance * EPS * scale(want, gradient, args), f"{op.name}{args}: {value(op, args)!r}, {want}"


@rows(DIFFERENTIABLE)
def test_partials_are_true(op):
    error, place = worst_partials(op)
    assert error <= EXCEPTIONS.get(op.name, (0, PARTIAL_EPS))[1], f"{op.name}: {error} eps at {place}"


def broken(op):
    """The row with each of its partials in turn wrong by 0.1 %, where that changes anything."""
    for field, constant in (("dx", {"0", "nan", "nothing"}), ("dy", {None, "0", "nan", "nothing"})):
        if getattr(op, field) not in constant:
            yield replace(op, **{field: f"1.001 * ({getattr(op, field)})"})


@rows([b for op in DIFFERENTIABLE for b in broken(op)])
def test_the_checker_can_fail(op):
    assert worst_partials(op)[0] > 1e6, f"a wrong partial of {op.name} goes unnoticed"


@rows(DIFFERENTIABLE)
def test_second_derivatives_are_true(op):
    for args in samples(op.name):
        _, gradient, hessian = exact(op.name, args)
        known = [i for i in range(op.arity) if not unknown(op, i)]
        for i, j in product(known, known):
            got, want = higher(op, args, "xy"[i] + "xy"[j]), hessian[i][j]
            size = abs(want) + abs(gradient[i]) + abs(gradient[j])
            assert abs(mp.mpf(float(got)) - want) <= 1e-12 * size + 1e-30, f"{op.name}{args}: {got!r}, {want}"


@pytest.mark.parametrize(("name", "order", "args", "want"), HIGHER)
def test_higher_derivatives(name, order, args, want):
    assert higher(BY_NAME[name], args, order) == pytest.approx(want, rel=1e-14, abs=1e-20)


@pytest.mark.parametrize(("name", "args"), TAILS)
def test_partials_far_out(name, args):
    with mp.workdps(1200):
        at = [mp.mpf(a) for a in args]
        for i, got in enumerate(partials(BY_NAME[name], args)):
            h = abs(at[i]) * mp.mpf(10) ** -200
            up, down = ([a + h * s * (i == j) for j, a in enumerate(at)] for s in (1, -1))
            want = (ORACLES[name](*up) - ORACLES[name](*down)) / (2 * h)
            rounding = 1e-13 if name not in ("erfc", "ndtr") else 1e-12  # exp(-x * x) magnifies by x * x
            error = abs(mp.mpf(float(got)) - want)
            assert error <= rounding * abs(want) + 1e-320, f"{name}{args}: {got!r}, {mp.nstr(want, 20)}"


@pytest.mark.parametrize(("name", "args"), WIDE)
def test_partials_of_special_functions_far_out(name, args):
    for got, want in zip(partials(BY_NAME[name], args), exact(name, args)[1], strict=True):
        assert abs(mp.mpf(float(got)) - want) <= 1e-13 * abs(want), f"{name}{args}: {got!r}, {mp.nstr(want, 20)}"


@rows([op for op in OPS if op.points])
def test_special_points(op):
    for args, want, wants in op.points:
        got = value(op, args)
        assert ulps(got, want) <= 4, f"{op.name}{args} = {got!r}, should be {want!r}"
        if wants is None:
            continue
        for got, want in zip(partials(op, args), wants, strict=True):
            zeros = got == want == 0 and (not op.selective or np.signbit(got) == np.signbit(want))
            assert zeros or ulps(got, want) <= 4, f"partials of {op.name} at {args}: {got!r}, should be {want!r}"


@rows([op for op in DIFFERENTIABLE if op.selective])
def test_a_number_is_never_taken_for_nothing(op):
    for args in [*samples(op.name), *grid(op)]:
        for got, marked in zip(partials(op, args), partials(op, args, nothing=12345.0), strict=True):
            meant = marked == 12345.0
            assert meant == (got == 0 and np.signbit(got)), f"partial of {op.name} at {args}: {got!r}"


@rows([op for op in DIFFERENTIABLE if op.arity == 1])
def test_nan_in_gives_nan_out(op):
    assert np.isnan(value(op, (nan,)))
    linear = "x" not in op.dx and "v" not in op.dx
    assert linear or op.selective or np.isnan(partials(op, (nan,))[0])


def test_import_is_cheap():
    names = {alias.name for node in ast.walk(ast.parse(Path(table.__file__).read_text()))
             for alias in getattr(node, "names", ()) if isinstance(node, ast.Import)}
    assert names == {"ast"}, "the table imports nothing but ast, dataclasses and math: the build loads it by path"
