"""Recorded sweeps over large arrays, whose adjoints are runs of references: cut, added to, put together, spilled."""
import numpy as np
import pytest

import fastad as fa

rng = np.random.default_rng(7)


def shifted(x):
    return np.sum(x[1:] * x[:-1] ** 2) + np.sum(x[:-1] * 3.0) + np.sum(np.exp(x[2:] - x[:-2]) * x[1:-1])


def far(x):
    return np.sum(x[90:] * x[:-90] ** 2) + np.sum(x[100:180] ** 3) + np.sum(x[10:20] * x[30:40]) + np.sum(x * x)


def backwards(x):
    return np.sum(x[::-1] * np.sin(x)) + np.sum(x[:-1][::-1] ** 2 * x[1:])


def strided(x):
    return np.sum(x[::2] ** 2 * x[1::2]) + np.sum(x * x)


def transposed(x):
    m = np.reshape(x, (20, -1))
    return np.sum(m.T * np.cos(m.T)) + np.sum(m[3] * m[:, 5:6]) + np.sum((m * m)[:, ::3]) + np.sum(m[2:7, 1:4] ** 2)


def broadcast(x):
    m = np.reshape(x, (20, -1))
    y = np.tanh(m)
    rows = np.sum(y * y, axis=1)
    return np.sum(rows[:, None] * y) + np.sum(np.reshape(np.exp(y), (-1,)) ** 2) + np.sum(np.mean(y, axis=0) ** 3)


def single(x):
    y = x * x
    s = y[3] * y[70] + np.sum(y)
    for k in range(60, 80):
        s = s + y[k] * x[k + 1]
    return s * np.sum(y[64:128])


def joined(x):
    y = np.concatenate([np.sin(x[:100]), x[100:200] ** 2, np.exp(-x[200:])])
    return np.sum(y[1:] * y[:-1]) + np.sum(np.stack([y, y * y]) ** 2)


def moved(x):
    y = np.exp(x)
    return np.sum(y[np.arange(len(x))[::-1] // 2] * y) + np.sum(np.roll(y, 5) * y)


def written(x):
    y = x * 2.0
    y[5:100] = y[100:195] ** 2
    y[::7] = 1.5
    return np.sum(y * y) + np.sum(y[50:])


def selected(x):
    y = np.where(x > 0.5, np.sqrt(np.abs(x)), x * x)
    return np.sum(np.maximum(y, 0.3)[1:] * y[:-1]) + np.sum(np.where(x < 0.2, y, 0.0))


def unread(x):
    return np.sum(x[70:140] ** 2) + 0.0 * np.sum(x[:3])


def numbers(x):
    return np.sum(x) + 2.0 * np.sum(x[64:]) + np.sum(x[:100] - x[100:200])


ALL = (shifted, far, backwards, strided, transposed, broadcast, single, joined, moved, written, selected, unread,
       numbers)


def recorded(f, x):
    """The gradient by a recorded sweep."""
    y = fa.Variable(x)
    f(y).backward(create_graph=True)
    return y.grad.value if isinstance(y.grad, fa.Variable) else y.grad


@pytest.mark.parametrize("n", [300, 1000])
@pytest.mark.parametrize("f", ALL)
def test_recorded_gradients_are_those_of_the_numeric_sweep(f, n):
    x = rng.uniform(0.1, 1.2, n)
    want = fa.grad(f)(x)
    np.testing.assert_allclose(recorded(f, x), want, rtol=1e-12, atol=1e-12)
    c = fa.compile(f)
    for _ in range(2):
        np.testing.assert_allclose(c.grad(x), want, rtol=1e-12, atol=1e-12)
    z = rng.uniform(0.1, 1.2, n)
    np.testing.assert_allclose(c.grad(z), fa.grad(f)(z), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("f", ALL)
def test_products_with_second_derivatives(f):
    x, v = rng.uniform(0.1, 1.2, 300), rng.normal(size=300)
    h = 1e-5
    want = (fa.grad(f)(x + h * v) - fa.grad(f)(x - h * v)) / (2 * h)
    if f is selected:                                 # kinks may lie within h
        want = fa.compile(f).hvp(x, v)
    got = fa.hvp(f, x, v)
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6 * np.abs(want).max())
    np.testing.assert_allclose(fa.compile(f).hvp(x, v), got, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("f", ALL)
def test_pulls_that_keep_nothing_apart(f):
    """Called with Variables a compiled function pulls exactly: what nothing flows to is nothing."""
    x = rng.uniform(0.1, 1.2, 300)
    y = fa.Variable(x)
    (2.0 * fa.compile(f)(y)).backward()
    np.testing.assert_allclose(y.grad, 2.0 * fa.grad(f)(x), rtol=1e-12, atol=1e-12)


def test_a_long_vector_leaves_few_records_and_no_index_lists():
    """Shifted slices take a handful of copies where their adjoints meet, whatever the length."""
    counts = []
    for n in (200, 20_000):
        c = fa.compile(shifted)
        c.grad(rng.uniform(0.1, 1.2, n))
        trace = c.programs[0].path.trace
        assert not [record for record in trace.decoded() if record["kind"] in ("route", "spread")]
        assert len(trace.columns()["pool"]) < 500
        counts.append(len(trace.tape))
    assert counts[0] == counts[1]


def test_nothing_stays_nothing_where_runs_meet():
    def f(x):
        y = np.where(x > 0.0, np.sqrt(x), 0.0)
        return np.sum(y[1:]) + np.sum(y[:-1])

    x = np.zeros(200)
    x[100:] = 4.0
    want = np.where(x > 0.0, 0.5, 0.0)
    want[-1] = 0.25
    np.testing.assert_array_equal(recorded(f, x), want)
    np.testing.assert_array_equal(fa.compile(f).grad(x), want)
