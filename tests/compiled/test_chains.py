"""fastad.compiled.passes.chains: sums of a loop, in the order of the loop."""
import numpy as np
import pytest
from comparing import agree, program, rng

import fastad as fa

SIZES = (1, 2, 7, 8, 9, 12, 20, 40)


def plain(x):
    s = 0.0
    for i in range(len(x)):
        s = s + x[i] * x[i]
    return s


def turned(x):
    s = 1.5
    for i in range(len(x)):
        s = x[i] + s
    return s * s


def goes_on(x):
    s = 0.0
    for i in range(len(x)):
        s = s + x[i] * x[i]
    t = s
    for i in range(len(x)):
        t = t + x[i]
    return t * s


def prefixes(x):
    s, out = x[0], []
    for i in range(1, len(x)):
        s = s + x[i]
        out.append(s)
    return np.sum(fa.array(out) ** 2) if out else s


def doubled(x):
    s = x[0]
    for _ in range(len(x)):
        s = s + s
    return s


def of_chains(x):
    total = 0.0
    for i in range(len(x)):
        s = x[i]
        for j in range(len(x)):
            s = s + x[i] * x[j]
        total = total + s
    return total


def guarded(x):
    s = 0.0
    for i in range(len(x)):
        s = s + x[i]
        if s > 3.0:
            s = s * 0.5
    return s


def shared_term(x):
    s = t = 0.0
    for i in range(len(x)):
        y = x[i] * x[0]
        s, t = s + y, t + y
    return s * t


def among_arrays(x):
    s = np.sum(x)
    for i in range(len(x)):
        s = s + x[i]
    y = x * s
    for i in range(len(x)):
        s = s + y[i]
    return np.sum(y * s)


def taken_away(x):
    s = x[0]
    for i in range(len(x)):
        s = s - x[i] * x[i]
    return s


def both(x):
    s = t = 0.0
    for i in range(len(x)):
        y = np.sin(x[i])
        s = s - y if i % 3 else s + (-y)
        t = y - t                                     # a sum no more: what was there before is negated each time
        s = s + y * y
        s = s - 0.25
    return s * t


ALL = (taken_away, both, plain, turned, goes_on, prefixes, doubled, of_chains, guarded, shared_term, among_arrays)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("f", ALL)
def test_results(f, n):
    agree(f, *[rng.normal(size=n) for _ in range(3)], rng.uniform(0.5, 1, n), tol=1e-11)


@pytest.mark.parametrize("f", [plain, turned, prefixes, guarded, taken_away, both])
def test_bits(f):
    """The additions are those of the loop, in its order: what is lost to rounding is the same."""
    x = rng.normal(size=30) * 10.0 ** rng.integers(-15, 15, 30)
    agree(f, x, -x, x[::-1].copy(), np.zeros(30), np.full(30, -0.0), np.full(30, np.inf), bits=True)


def test_one_instruction():
    c = fa.compile(plain)
    c(rng.normal(size=100))
    p = program(c, "value")
    assert p.statistics["chained"] == 100 and p.n_instructions < 6


def test_differences_too():
    c = fa.compile(taken_away)
    for n in (50, 500):
        c(rng.normal(size=n))
    assert [p.statistics["chained"] for p in c.programs] == [50, 500]
    assert all(p.n_instructions < 10 for p in c.programs)


def test_a_sum_that_starts_at_a_negative_zero():
    def f(x):
        s = -0.0
        for i in range(len(x)):
            s = s + x[i]
        return np.copysign(1.0, s) + np.sum(x)
    agree(f, np.full(10, -0.0), np.zeros(10), bits=True)


def test_a_chain_waits_for_the_last_term_that_it_subtracts():
    def late(x):
        s = 0.0
        for k in range(12):
            s = s + x[k]
        return s - fa.sin(fa.sin(fa.sin(x[0])))

    def twice(x):
        s, t = 0.0, fa.exp(fa.tanh(x[1]))
        for k in range(12):
            s = s - x[k] * t
        s = s - fa.cos(fa.sin(s * x[3]))
        for k in range(10):
            t = t - x[k]
        return s * t - fa.sin(fa.sin(t))

    for f in (late, twice):
        agree(f, np.arange(12.0) * 0.1, np.ones(12), bits=True)
