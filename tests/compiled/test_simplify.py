"""fastad.compiled.passes.simplify: scalar records that are known, done already, or the identity; and dead ones."""
import math

import numpy as np
import pytest
from comparing import agree, program, rng

import fastad as fa

POINTS = [2.0, -3.0, 0.0, -0.0, math.inf, -math.inf, math.nan, 1e308, 5e-324, 0.1]

#: Exact for every number, zeros with signs, infinities and nan: records that may go.
IDENTITIES = {
    "x * 1": lambda x: x * 1.0, "1 * x": lambda x: 1.0 * x, "x / 1": lambda x: x / 1.0, "x ** 1": lambda x: x ** 1.0,
    "x - 0": lambda x: x - 0.0, "x + -0": lambda x: x + (-0.0), "-0 + x": lambda x: -0.0 + x,
    "- -x": lambda x: -fa.negative(x), "+x": lambda x: +x,
}
#: And not exact, or not fewer: these stay.
OTHERS = {
    "x + 0": lambda x: x + 0.0, "0 + x": lambda x: 0.0 + x, "x - -0": lambda x: x - (-0.0), "x * 0": lambda x: x * 0.0,
    "x - x": lambda x: x - x, "x / x": lambda x: x / x, "0 - x": lambda x: 0.0 - x, "0 / x": lambda x: 0.0 / x,
    "x ** 0": lambda x: x ** 0.0,
    "x * -1": lambda x: x * -1.0, "x / 2": lambda x: x / 2.0, "x / 3": lambda x: x / 3.0, "x + x": lambda x: x + x,
    "x + -y": lambda x: 0.5 + (-x), "y + -x": lambda x: -x + 0.5, "x - -y": lambda x: x - (-x),
    "-x - y": lambda x: -x - 1.5,
    "x ** -1": lambda x: x ** -1.0, "x ** 2": lambda x: x ** 2.0, "x ** 3": lambda x: x ** 3.0,
    "abs(abs)": lambda x: abs(abs(x)),
    "(x * y) / y": lambda x: x * 0.3 / 0.3, "sqrt(x) ** 2": lambda x: fa.sqrt(x) ** 2.0,
    "max(x, x)": lambda x: fa.maximum(x, x),
    "x ** 0.5": lambda x: x ** 0.5, "1 / (1 / x)": lambda x: 1.0 / (1.0 / x), "square": lambda x: fa.square(x),
    "where": lambda x: fa.where(x > 0, x, -0.0), "keep what is chosen": lambda x: fa.where(True, x, 1.0),
}


@pytest.mark.parametrize("f", [*IDENTITIES.values(), *OTHERS.values()], ids=[*IDENTITIES, *OTHERS])
def test_bits(f):
    """Values and gradients without a trace of the pass, zeros shown with their signs."""
    agree(lambda x: f(x), *POINTS, bits=True)
    agree(lambda x: fa.copysign(1.0, f(x)) * x + 1.0 / f(x * 0.5), *POINTS[::-1], bits=True)


@pytest.mark.parametrize("f", IDENTITIES.values(), ids=IDENTITIES)
def test_identities_are_gone(f):
    c = agree(lambda x: fa.sin(f(x * 3.0)), *POINTS)
    p = program(c, "value")
    assert p.n_instructions == 2 and p.statistics["simplify"]["identities"] >= 1


@pytest.mark.parametrize("name", ["x + 0", "x * 0", "x - x", "x / x", "0 / x", "x - -0", "x * -1", "x / 3",
                                  "(x * y) / y"])
def test_nothing_else_is_gone(name):
    c = fa.compile(lambda x: fa.sin(OTHERS[name](x)))
    c(0.5)
    assert program(c, "value").statistics["simplify"]["identities"] == 0


def test_constants_are_folded_once_for_all():
    def f(x):
        k = x * 0.0 + 2.0
        two = fa.Variable(2.0).detach() if False else 2.0
        return x * (two * 3.0) + fa.sin(x) * k

    agree(f, *POINTS)


def test_nan_constants_are_shared_and_kept():
    agree(lambda x: x * math.nan + x * math.nan + x * math.inf + x * -math.inf, *POINTS, bits=True)
    agree(lambda x: (x + 0.0) * (x + -0.0) + (x * 0.0) + (x * -0.0), *POINTS, bits=True)


def test_the_same_twice():
    c = agree(lambda x, y: (x * y + y * x) * (x - y) * (x - y) + (y - x) + fa.sin(x) * fa.sin(x) / fa.sin(y),
              (2.0, 3.0), (0.5, -1.0),
              argnums=(0, 1))
    assert program(c, "value").statistics["simplify"]["shared"] >= 3


def test_order_matters_where_it_does():
    agree(lambda x, y: (x - y) / (y - x) + x ** y + y ** x + fa.arctan2(x, y) + fa.arctan2(y, x), (2.0, 3.0),
          (0.5, 1.5), argnums=(0, 1))


def test_what_nobody_needs_is_gone():
    def f(x):
        unused = fa.exp(x) * 3.0
        unused = unused * np.sum(np.ones(3) * unused)
        y = [fa.sin(x * k) for k in range(30)]
        return y[7] * 2.0

    c = agree(f, *POINTS[:4])
    assert program(c, "value").n_instructions <= 3 and program(c, "value").statistics["dead"] > 20


def test_what_a_guard_needs_stays():
    def f(x):
        k = fa.exp(x) * 2.0
        return x * 3.0 if k > 1.0 else x * 4.0

    c = agree(f, 1.0, -1.0, 0.5, -3.0)
    assert len([p for p in c.programs if p.kind == "value"]) == 2


def test_in_place_writes_of_what_is_gone():
    def f(x):
        y = x * 2.0
        y[0] = 5.0
        y[1:3] = y[2:4] * 1.0
        y[:] = x * 3.0
        z = np.zeros(len(x))
        w = z * x
        w[1] = x[0]
        return np.sum(y) + np.sum(w * w)

    agree(f, *[rng.normal(size=5) for _ in range(3)])


def test_constant_arrays_before_and_after_they_are_written_to():
    def f(x):
        z = np.full_like(x, 2.0)
        before = np.sum(z * x)
        z[1] = 7.0
        between = np.sum(z * x)
        z[1:3] = x[:2]
        z[1] = -1.0
        z[[0, 0, 3]] = fa.array([x[0], x[1], 4.0])
        return before + between * 10.0 + np.sum(z * x) * 100.0

    agree(f, *[rng.normal(size=5) for _ in range(3)])
