"""Compiled random programs: derivatives and batches are those of the function, also off the traced branches."""
import numpy as np
import pytest
from comparing import close, unwritten
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import inputs, points, programs, run, total

import fastad as fa

QUIET = settings(max_examples=15, deadline=None)


@QUIET
@given(programs, st.lists(points, min_size=2, max_size=3))
def test_arrays_with_writes(program, places):
    def f(u, v, s):
        return total(run(program, u, v, s))

    compiled = [fa.compile(f, (0, 1, 2), passes=passes) for passes in (True, False)]
    directions = inputs(places[-1])
    with np.errstate(all="ignore"):
        for place in [*places, places[0]]:
            x = inputs(place)
            want = (fa.value_and_grad(f, (0, 1, 2))(*x), fa.jvp(f, x, directions),
                    fa.hvp(lambda a: f(*a), tuple(x), tuple(directions)))
            for c in compiled:
                close((c.value_and_grad(*x), c.jvp(x, directions), c.hvp(*x, directions)), want, 1e-9)
                close(c(*x), want[0][0], 1e-9)
                assert not any(unwritten(p.evaluator) for p in c.programs)


# ---- programs with loops and branches ------------------------------------------------------------------------------
def horner(u, v, a, b, c):
    t = a
    for q in range(len(u)):
        t = t * 0.5 + u[q] * v[-1 - q]
    return t


def chosen(u, v, a, b, c):
    t = 0.0
    for q in range(len(u)):
        t = t + u[q] ** 2 if u[q] > c else t - v[q]
    return t


def grown(u, v, a, b, c):
    t, count = abs(a) + 1, 0
    while t < 10:
        t, count = t * 2 + abs(b) * 0.1, count + 1
    return t * count * 0.1


def written(u, v, a, b, c):
    w = u.copy()
    w[0] = a
    w[1::2] = v[1::2] * c
    z = np.zeros_like(u)
    z[-1] = b
    z[[0, len(u) - 1]] += u[[1, 0]]
    return w * 0.5 + z


STEPS = [
    horner, chosen, grown, written,
    lambda u, v, a, b, c: u * v + c,
    lambda u, v, a, b, c: np.sum(u * v),
    lambda u, v, a, b, c: a * b + c,
    lambda u, v, a, b, c: a - (-b) * 1.0,
    lambda u, v, a, b, c: np.where(u > v, u, c),
    lambda u, v, a, b, c: np.maximum(u, v)[::-1],
    lambda u, v, a, b, c: np.concatenate([u[1:], v[:1]]),
    lambda u, v, a, b, c: u[np.argsort(v)],
    lambda u, v, a, b, c: np.sort(u) * c + np.cumsum(v) * 0.1,
    lambda u, v, a, b, c: np.max(u) - np.min(v),
    lambda u, v, a, b, c: u[int(abs(np.floor(a * 2))) % len(u)],
    lambda u, v, a, b, c: fa.array([u[q] * v[(q + 1) % len(v)] for q in range(len(u))]),
    lambda u, v, a, b, c: np.stack([u, v, u * 1.0, v * u])[(1 if c > 0 else 3)],
    lambda u, v, a, b, c: np.sum(u[u > c]),
    lambda u, v, a, b, c: np.outer(u, v) @ v * 0.1,
    lambda u, v, a, b, c: fa.maximum(a, b) * c + fa.where(a > b, fa.tanh(a), b),
    lambda u, v, a, b, c: np.exp(-u * u) / (1.5 + np.sin(v)) + (u - u),
    lambda u, v, a, b, c: (u[:, None] * v[None, :] + a).sum(axis=0) * 0.2,
]
looping = st.lists(st.tuples(st.integers(0, len(STEPS) - 1), *[st.integers(0, 7)] * 4, st.floats(-1.5, 1.5)),
                   min_size=1, max_size=10)


def walk(steps, d, s):
    vectors, numbers = [d["a"], d["b"][0]], [s, d["a"][0] * d["b"][0][1]]
    for op, i, j, k, m, c in steps:
        r = STEPS[op](vectors[i % len(vectors)], vectors[j % len(vectors)], numbers[k % len(numbers)],
                      numbers[m % len(numbers)], c)
        (vectors if np.ndim(r) else numbers).append(r)
    return sum([np.sum(np.tanh(r)) for r in vectors + numbers])


def data(r, n):
    return {"a": r.normal(size=n), "b": (r.normal(size=n),)}, float(r.normal())


@QUIET
@given(looping, st.integers(0, 1000), st.sampled_from([2, 3, 5, 13]))
def test_loops_and_branches(steps, seed, n):
    def f(d, s):
        return walk(steps, d, s)

    r = np.random.default_rng(seed)
    compiled = [fa.compile(f, (0, 1), passes=passes) for passes in (True, False)]
    directions = data(r, n)
    for _ in range(3):
        x = data(r, n)
        want = (fa.value_and_grad(f, (0, 1))(*x), fa.jvp(f, x, directions), fa.hvp(lambda z: f(*z), x, directions))
        for c in compiled:
            close((c.value_and_grad(*x), c.jvp(x, directions), c.hvp(*x, directions)), want, 1e-8)
            assert not any(unwritten(p.evaluator) for p in c.programs)
    rows = [data(r, n) for _ in range(20)]
    d = {"a": np.stack([row[0]["a"] for row in rows]), "b": (np.stack([row[0]["b"][0] for row in rows]),)}
    value, (gd, gs) = compiled[0].batch.value_and_grad(d, np.array([row[1] for row in rows]), threads=2)
    for k, row in enumerate(rows):
        want = fa.value_and_grad(f, (0, 1))(*row)
        close((value[k], ({"a": gd["a"][k], "b": (gd["b"][0][k],)}, gs[k])), want, 1e-8)


@pytest.mark.parametrize("seed", range(6))
def test_against_central_differences(seed):
    r = np.random.default_rng(seed)
    steps = [(int(r.integers(len(STEPS))), *r.integers(0, 8, 4).tolist(), float(r.normal())) for _ in range(8)]
    x, s = data(r, 5)
    c = fa.compile(lambda d, t: walk(steps, d, t))
    c.grad(*data(r, 5))
    h, g = 1e-6, c.grad(x, s)
    for k in range(5):
        e = h * np.eye(5)[k]
        moved = [walk(steps, {"a": x["a"] + sign * e, "b": x["b"]}, s) for sign in (1, -1)]
        assert abs((moved[0] - moved[1]) / (2 * h) - g["a"][k]) < 1e-5 * (1 + abs(g["a"][k]))


#: Steps that NumPy computes of complex numbers, too, without looking at more than their real parts.
ANALYTIC = [k for k, step in enumerate(STEPS) if k not in (2, 14, 15, 19)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(ANALYTIC), *[st.integers(0, 7)] * 4, st.floats(-1.5, 1.5)), min_size=1,
                max_size=10), st.integers(0, 1000), st.sampled_from([2, 3, 5]))
def test_against_complex_steps(steps, seed, n):
    """An oracle that shares nothing with fastad: Im f(x + ih) / h of the function as NumPy computes it."""
    def f(d, s):
        return walk(steps, d, s)

    r = np.random.default_rng(seed)
    c, h = fa.compile(f, (0, 1)), 1e-100
    for _ in range(3):
        d, s = data(r, n)
        value, (gd, gs) = c.value_and_grad(d, s)
        lanes = np.eye(2 * n + 1) * 1j * h
        moved = [walk(steps, {"a": d["a"] + e[:n], "b": (d["b"][0] + e[n:-1],)}, s + e[-1]) for e in lanes]
        close(value, np.real(walk(steps, d, s)), 1e-9)
        close(np.concatenate([gd["a"], gd["b"][0], [gs]]), np.imag(moved) / h, 1e-8)
