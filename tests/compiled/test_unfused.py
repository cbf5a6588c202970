"""Programs one operation at a time: the same bits as the programs they were made of."""
import numpy as np
import pytest

import fastad as fa
from fastad._instructions import KIND
from fastad._program import stepped, timed
from fastad.compiled.unfused import unfused


def loop(x):
    s = 0.0
    for i in range(len(x) - 1):
        s = s + 100.0 * (x[i + 1] - x[i] * x[i]) ** 2 + (1.0 - x[i]) ** 2
    return s


def slices(x):
    """In its gradient parts of one strip are written by several lines, at several times."""
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def neighbours(x):
    for _ in range(3):
        x = x[1:] * 0.5 + np.sin(x[:-1])
    return np.sum(x * np.cumsum(x))


def rows(x):
    A = np.reshape(x, (-1, 10))
    return np.sum(np.log(np.sum(np.exp(A - np.max(A, axis=1, keepdims=True)), axis=1)) / (1.0 + A[:, 0] ** 2))


def products(x):
    y = np.exp(-x)[:, None] * np.sin(x)[None, :]
    return np.sum(np.tanh(y @ y.T) / (1.0 + y * y))


@pytest.mark.parametrize("size", [10, 60, 600, 3000])
@pytest.mark.parametrize("f", [loop, slices, neighbours, rows, products])
def test_the_same_bits(f, size):
    x = np.random.default_rng(size).normal(size=min(size, 100) if f is products else size)
    c = fa.compile(f)
    c(x)
    c.grad(x)
    c.hvp(x, x)
    for program in c.programs:
        leaves = [x, x] if program.kind == "hvp" else [x]
        again = unfused(program.evaluator)
        for have, want in zip(again.evaluator(leaves), program.evaluator(leaves), strict=True):
            np.testing.assert_array_equal(have, want)
        code = again.evaluator.code
        scalars, runs = [code.instructions[code.instructions["kind"] == KIND[name]] for name in ("scalars", "run")]
        assert (scalars["n"] == 1).all() and (runs["count"] == 1).all()
        assert len(again.sources) == len(code.instructions) and not code.regions
        assert again.sources == sorted(again.sources)


def test_steps_see_every_number():
    c = fa.compile(lambda x: fa.exp(x) * fa.sin(x))
    c(1.0)
    (program,) = c.programs
    evaluator, seen = unfused(program.evaluator).evaluator, []
    stepped(evaluator, [2.0], lambda k, numbers: seen.append(numbers[evaluator.code.scalars["v"][k]]))
    np.testing.assert_allclose(sorted(seen), sorted([np.exp(2.0), np.sin(2.0), np.exp(2.0) * np.sin(2.0)]))
    stepped(evaluator, [np.ones(2)], lambda k, numbers: 1 / 0)         # another kind of argument: nothing happens


def test_exceptions_of_who_looks_come_through():
    c = fa.compile(fa.exp)
    c(1.0)
    with pytest.raises(ZeroDivisionError):
        stepped(unfused(c.programs[0].evaluator).evaluator, [2.0], lambda k, numbers: 1 / 0)


def test_programs_with_regions_are_not_for_steps():
    c, x = fa.compile(lambda x: np.sum(np.exp(x))), np.ones(100_000)
    c.grad(x)
    assert c.programs[0].evaluator.code.regions
    with pytest.raises(ValueError, match="regions"):
        stepped(c.programs[0].evaluator, [x], print)


def test_times_of_lanes_need_their_rows():
    c = fa.compile(lambda x: np.sum(np.exp(x)))
    c(np.ones(3))
    evaluator = c.programs[0].evaluator
    assert timed(evaluator, [np.ones((8, 3))], 1, [True], 8).shape == evaluator.code.instructions.shape
    for arrays, stacked in (([np.ones((7, 3))], [True]), ([], []), ([np.ones((8, 4))], [True]), ([np.ones(3)], [True])):
        with pytest.raises(ValueError, match=r"timed|batch"):
            timed(evaluator, arrays, 1, stacked, 8)
