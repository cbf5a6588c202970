"""fastad.compiled.passes.regroup: loops over numbers become operations on arrays."""
import numpy as np
import pytest
from comparing import agree, program, rng

import fastad as fa


def stencil(x):
    s = 0.0
    for i in range(1, len(x) - 1):
        s = s + (x[i + 1] - 2 * x[i] + x[i - 1]) ** 2 * x[(i * 7) % len(x)]
    return s


def backwards(x):
    s = 0.0
    for i in range(len(x) - 1, -1, -1):
        s = s + (x[i] - x[0]) * (x[i] + 0.5)
    return s


def listed(x):
    return np.sum(fa.array([x[i] * x[-1 - i] - x[i // 2] for i in range(len(x))]) ** 3)


def stacked(x):
    rows = [np.stack([x[i] * x[j] + 1.0 for j in range(len(x))]) for i in range(0, len(x), 5)]
    return np.sum(np.stack(rows) ** 2)


def picked(x):
    """Single members of groups are operands of arrays."""
    y = [x[i] * x[i] + 1.0 for i in range(len(x))]
    return np.sum(x * y[3]) + np.sum(x[:4] * y[0]) * y[5] + np.sum(fa.array(y[2:9:3]) * y[7])


def equal_products(x):
    """Some records of a row are gone, being others of it."""
    parts = [x[0] * x[1], x[1] * x[0], x[2] * x[3], x[3] * x[2] * 1.0] * 6
    return np.sum(fa.array(parts) ** 3 * np.arange(24.0))


def recurrence(x):
    s = x[0]
    for i in range(1, len(x)):
        s = 0.5 * s * s + x[i] * 0.25
    return s


def gathered(x):
    """Two weighted scatters of one size at one depth."""
    first, second = np.take(x, [0, 3, 3, 1, 0, 5] * 3), np.take(x, [2, 2, 4, 1, 0, 3] * 3)
    return np.sum(first * second * np.arange(18.0)) + np.sum(second ** 2)


def matrix(x):
    a = [[x[(i * 3 + j) % len(x)] * (i + 1.0) for j in range(4)] for i in range(4)]
    s = 0.0
    for i in range(4):
        for j in range(4):
            for k in range(4):
                s = s + a[i][k] * a[k][j]
    return s


def with_arrays_between(x):
    y = np.sin(x)
    z = [y[i] * x[i] for i in range(len(x))]
    w = np.cumsum(fa.array(z) * y)
    return sum([w[i] * z[-1 - i] for i in range(len(x))])


ALL = (stencil, backwards, listed, stacked, picked, equal_products, recurrence, gathered, matrix, with_arrays_between)


@pytest.mark.parametrize("n", [10, 13, 24, 40])
@pytest.mark.parametrize("f", ALL)
def test_results(f, n):
    agree(f, *[rng.uniform(-1, 1, n) for _ in range(3)], tol=1e-11)


@pytest.mark.parametrize("f", [stencil, backwards, picked, equal_products, recurrence, matrix])
def test_bits(f):
    agree(f, rng.normal(size=30), rng.normal(size=30) * 1e-9, np.full(30, -0.0), np.full(30, np.nan), bits=True,
          tol=1e-11)


@pytest.mark.parametrize("n", [600, 1500, 5000])
def test_long_groups(n):
    """Longer than a strip: what only one run reads has no room of its own."""
    c = agree(stencil, *[rng.normal(size=n) for _ in range(2)], tol=1e-10)
    assert program(c).n_records > 10 * n and program(c).n_instructions < 100


def test_instructions_do_not_grow_with_the_loop():
    counts = []
    for n in (50, 500):
        c = fa.compile(stencil)
        c.grad(rng.normal(size=n))
        counts.append(program(c).n_instructions)
    assert counts[0] == counts[1] < 40


def test_small_groups_stay_scalar():
    c = fa.compile(lambda x: sum([x[i] * x[i + 1] for i in range(5)]))
    c(rng.normal(size=6))
    assert set(program(c, "value").evaluator.code.instructions["kind"]) == {0}
