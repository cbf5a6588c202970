"""Calls that programs carry out without Python: rows by traced positions, sums at positions, extrema."""
import numpy as np
import pytest
from comparing import agree, close, program, rng

import fastad as fa
from fastad._instructions import KINDS, NATIVE
from fastad._program import Code

POSITIONS = [np.array([0, 2, 2, -1, 1, -4]), np.array([[3], [0]]), np.array([], np.int64)]


def native(c, kind="value"):
    """The calls of a program: the names of those that need no Python, "" for one that does."""
    rows = program(c, kind).evaluator.code.instructions
    return [NATIVE[row["op"]] for row in rows if KINDS[row["kind"]] == "call"]


@pytest.mark.parametrize("positions", POSITIONS, ids=str)
@pytest.mark.parametrize("shape", [(4,), (4, 3), (4, 2, 5), (4, 1)])
def test_rows(shape, positions):
    x = rng.normal(size=shape)
    c = agree(lambda x, i: np.sum(np.exp(x[i]) * 2.0) + x.ravel()[0], (x, positions), (x + 1.0, positions[::-1].copy()))
    assert native(c, "grad") == (["take", "put_add"] if positions.size else [])


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 9])
def test_many_rows_of_each_width(width):
    x, weights = rng.normal(size=(40, width)), rng.normal(size=(1300, width))
    f = lambda x, i: np.sum(np.sin(x[i]) * weights)   # noqa: E731
    positions = [rng.integers(-40, 40, 1300), np.repeat(np.arange(26), 50), np.sort(rng.integers(0, 40, 1300))]
    agree(f, *[(x, i) for i in positions])
    gradient = fa.compile(f)
    for i in positions:                               # added up in the order of the positions
        want = np.full((40, width), -0.0)
        np.add.at(want, i, np.cos(x)[i] * weights)
        np.testing.assert_array_equal(gradient.grad(x, i), want)
    positions[0][1000] = 40
    with pytest.raises(IndexError, match="out of bounds"):
        gradient.grad(x, positions[0])


@pytest.mark.parametrize("n", [1, 511, 512, 700, 2000])
@pytest.mark.parametrize("width", [2, 3, 4, 5, 7, 100])
def test_short_rows_and_what_they_share(n, width):
    x, y = rng.normal(size=(n, width)), rng.normal(size=n)
    f = lambda x, y: np.sum(np.sum(x * x, axis=1) * (x * y[:, None]).sum(axis=1) + y)      # noqa: E731
    agree(f, (x, y), (x + 1.0, -y))


def test_position_of_one_row():
    agree(lambda x, y: np.sum(x[np.argmax(y)] ** 2), *[(rng.normal(size=(5, 3)), rng.normal(size=5)) for _ in range(3)])


def test_second_derivatives():
    x, v, i = rng.normal(size=(4, 3)), rng.normal(size=(4, 3)), np.array([1, 1, 3])
    f = lambda x, i: np.sum(x[i] ** 3)                # noqa: E731
    np.testing.assert_array_equal(fa.compile(f).hvp(x, i, v), fa.hvp(lambda x: f(x, i), x, v))


@pytest.mark.parametrize("wrong", [4, -5])
def test_a_position_outside_is_an_error(wrong):
    c = fa.compile(lambda x, i: np.sum(x[i] ** 2))
    x = rng.normal(size=(4, 2))
    c.grad(x, np.array([0, 3]))
    with pytest.raises(IndexError, match="out of bounds"):
        c.grad(x, np.array([0, wrong]))
    np.testing.assert_array_equal(c.grad(x, np.array([1, 1]))[1], 4.0 * x[1])


@pytest.mark.parametrize("nan", [False, True])
@pytest.mark.parametrize("axis", [None, 0, 1, 2, (0, 1), (1, 2), (0, 2), -1])
@pytest.mark.parametrize("reduce", [np.max, np.min])
def test_extrema(reduce, axis, nan):
    calls = [(rng.normal(size=(4, 3, 7)),) for _ in range(2)]
    for x, in calls:
        x[1, 2, 3] = np.nan if nan else x[0, 0, 0]
        x[0, 0, 5] = -np.inf

    def f(x):
        y = np.clip(reduce(x, axis=axis), -9.0, 9.0)  # finite, and no function whose last bit differs in libm
        return np.sum(y * y * 0.5)

    c = fa.compile(f)
    for x, in calls:
        np.testing.assert_array_equal(c(x), f(x))
        np.testing.assert_array_equal(c.grad(x), fa.grad(f)(x))
    neighbours = axis != (0, 2)
    assert native(c) == ([reduce.__name__ + "imum"] if neighbours else [""])


def test_extrema_without_gradient():
    f = lambda x: np.sum(fa.log_softmax(x, axis=1)[:, 0]) + fa.logsumexp(x)          # noqa: E731
    c = agree(f, *[(rng.normal(size=(6, 5)),) for _ in range(2)])
    assert "" not in native(c, "grad")


def test_batches():
    c = fa.compile(lambda x, i: np.sum(x[i] ** 2) * np.max(x))
    X, positions = rng.normal(size=(70, 4, 3)), rng.integers(-4, 4, (70, 5))
    values, gradients = c.batch.value_and_grad(X, positions)
    for k in (0, 1, 63, 64, 69):
        value, gradient = c.value_and_grad(X[k], positions[k])
        close((values[k], gradients[k]), (value, gradient))
    positions[68, 2] = 4
    with pytest.raises(IndexError):
        c.batch.value_and_grad(X, positions)


def test_whole_numbers_take_the_short_way():
    c = fa.compile(lambda x, i, n: np.sum(x[i] * n))
    x, i = rng.normal(size=4), np.array([1, 3])
    for n in (2, 5, -3):
        assert c(x, i, n) == np.sum(x[i] * n)
        np.testing.assert_array_equal(c.grad(x, i, n), np.bincount(i, minlength=4) * float(n))
    assert c.quick_value is not None and c.quick_value.whole == [False, True, True]
    assert c(x, i, 2.5) == np.sum(x[i] * 2.5)         # of another kind: a program of its own
    assert c(x, i, True) == np.sum(x[i])
    with pytest.raises(ValueError, match=r"2\*\*53"):
        c(x, np.array([1, 2**60]), 2)


@pytest.mark.parametrize("change", ["op", "width", "size", "operands"])
def test_wrong_forms_are_refused(change):
    c = fa.compile(lambda x, i: np.sum(x[i] ** 2))
    c(rng.normal(size=(4, 3)), np.array([0, 1]))
    code = program(c, "value").evaluator.code
    rows, pool = code.instructions.copy(), code.pool.copy()
    k = int(np.flatnonzero(rows["kind"] == KINDS.index("call"))[0])
    first = int(rows["first"][k])
    if change == "op":
        rows["op"][k] = len(NATIVE)
    elif change == "width":
        pool[first + 8] = 5
    elif change == "size":
        pool[first + 4] -= 1
    else:
        rows["op"][k] = NATIVE.index("maximum")
    with pytest.raises(ValueError, match="reaches outside of its table"):
        Code(rows, code.scalars, pool, code.image, code.calls, code.n_slots, code.regions)
