"""Memory that results share: never while somebody still needs what stands there."""
import numpy as np
import pytest
from comparing import agree, program, rng

import fastad as fa
from fastad._instructions import KINDS, STRIP, uses_of
from fastad.compiled.passes.reuse import LARGE, WORTHWHILE, Lives, Room


def layered(x, y):
    for k in range(6):
        x = np.tanh(x @ y + k) * np.cumsum(x, axis=0)
    return np.sum(x * x)


def test_values_do_not_change():
    calls = [(rng.normal(size=(200, 24)), rng.normal(size=(24, 24))) for _ in range(3)]
    c = agree(layered, *calls, argnums=(0, 1), tol=1e-9)
    code = program(c).evaluator.code
    rows = code.instructions
    large = rows["n"][np.isin(rows["kind"], [KINDS.index(kind) for kind in ("line", "matmul", "map")])]
    assert code.n_slots < large.sum()                 # less memory than results


@pytest.mark.parametrize("n", [LARGE - 1, LARGE, WORTHWHILE, WORTHWHILE + 5])
def test_results_and_inputs_keep_their_places(n):
    def f(x, y):
        a = np.exp(np.cumsum(x))
        b = np.cumsum(a * y)
        return np.cumsum(np.sin(b) + a), b, np.cumsum(b / a)

    c = fa.compile(f)
    for _ in range(3):
        x, y = rng.normal(size=n) / n, rng.normal(size=n)
        for got, want in zip(c(x, y), f(x, y), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)


def test_in_batches_inputs_that_all_rows_share_stay():
    w = rng.normal(size=(60, 60))
    c = fa.compile(lambda x, w: np.sum(np.tanh(np.tanh(np.tanh(x @ w) @ w) @ w) * w))
    X = rng.normal(size=(40, 60, 60))
    values, gradients = c.batch.value_and_grad(X, w, in_axes=(0, None))
    for k in (0, 39):
        value, gradient = c.value_and_grad(X[k], w)
        np.testing.assert_allclose(values[k], value, rtol=1e-10)
        np.testing.assert_allclose(gradients[k], gradient, rtol=1e-10, atol=1e-10)


def test_room_is_joined_and_taken_where_it_fits_best():
    room = Room()
    a, b, c = room.take(10), room.take(20), room.take(30)
    assert (a, b, c, room.end) == (0, 10, 30, 60)
    room.give(b, 20)
    room.give(a, 10)
    assert room.free == [(0, 30)]
    assert room.take(25) == 0
    assert room.take(6) == 60
    assert room.take(5) == 25
    assert room.free == []


def test_lives():
    c = fa.compile(lambda x: np.cumsum(np.sin(np.cumsum(np.exp(x)))), passes=False)
    x = rng.normal(size=2 * STRIP)
    c(x)
    code = program(c, "value").evaluator.code
    lives = Lives(code.instructions, code.scalars, uses_of(code.instructions, code.pool))
    for born, dies, first in zip(lives.born, lives.dies, lives.first, strict=True):
        assert born <= dies
        assert born >= 0 or first <= code.n_slots - 4 * len(x)           # only the input is read before it is written


def test_what_stays_in_a_register_holds_no_memory_and_strips_begin_cache_lines():
    def f(x):
        y = x
        for _ in range(6):
            y = np.cumsum((y * 0.5 - x) / (y + 3.0)) / 7001.0
        return np.sum(np.sin(y) * y + np.cos(y))

    x = rng.uniform(size=7001)
    c = agree(f, x, tol=1e-9)
    code = program(c).evaluator.code
    rows = code.instructions
    lines = rows[rows["kind"] == KINDS.index("line")]
    assert (lines["av"] == -1).any()
    assert (lines["v"][lines["av"] == 0] % 8 == 0).all()
    lives = Lives(rows, code.scalars, uses_of(rows, code.pool))
    assert (lives.around(np.array([0])) < 0).all()
