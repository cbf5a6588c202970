"""fastad.compiled.parts: what is executed part by part gives the bits that it gives otherwise."""

import numpy as np
import pytest
from comparing import close, delay_of_an_interrupt, program, rng, same_bits

import fastad as fa
from fastad._program import Code
from fastad.compiled.parts import Spans, windows


def mixture(means, scales, lower, x):
    centred = x - means[:, None, :]
    y = np.exp(scales)[:, None, :] * centred + centred @ np.swapaxes(lower, 1, 2)
    return np.sum(fa.logsumexp(-0.5 * np.sum(y * y, axis=2) + np.sum(scales, axis=1)[:, None], axis=0))


def attention(q, k, v):
    scores = q @ np.swapaxes(k, 1, 2) / np.sqrt(q.shape[2])
    weights = np.exp(scores - np.max(scores, axis=2)[:, :, None])
    return np.sum((weights / np.sum(weights, axis=2)[:, :, None]) @ v * v)


def normalised(x, w):
    centred = x - np.mean(x, axis=1)[:, None]
    y = centred / np.sqrt(np.mean(centred * centred, axis=1)[:, None] + 1e-5) * w
    return np.sum(np.tanh(y) * x)


def layers(x, a, b, steps):
    for _ in range(steps):
        x = np.tanh(x @ a) * b[:, None, :] + np.sum(x * x, axis=2)[:, :, None]
    return np.sum(x)


def branching(x, a):
    y = np.sin(x) @ a
    if np.sum(y[0]) > 0.0:
        y = y * y
    return np.sum(np.sum(y * np.exp(-x), axis=2) ** 2)


def numbers(*shape):
    return rng.normal(size=shape)


CASES = {
    "mixture": (mixture, lambda: (numbers(12, 6), numbers(12, 6), numbers(12, 6, 6), numbers(700, 6)), (0, 1, 2)),
    "few components": (mixture, lambda: (numbers(2, 40), numbers(2, 40), numbers(2, 40, 40), numbers(900, 40)), (0, 3)),
    "attention": (attention, lambda: (numbers(9, 80, 16), numbers(9, 80, 16), numbers(9, 80, 16)), (0, 1, 2)),
    "normalised": (normalised, lambda: (numbers(7000, 12), numbers(12)), (0, 1)),
    "layers": (lambda x, a, b: layers(x, a, b, 3), lambda: (numbers(8, 500, 10), numbers(8, 10, 10), numbers(8, 10)),
               (0, 1)),
    "one factor for all": (lambda x, a, b: layers(x, a, b, 2),
                           lambda: (numbers(8, 500, 10), numbers(10, 10), numbers(8, 10)), (0, 1)),
    "branching": (branching, lambda: (numbers(10, 400, 11), numbers(11, 11)), 0),
}


@pytest.fixture(params=CASES, ids=str)
def case(request):
    return CASES[request.param]


@pytest.mark.parametrize("kind", ["value", "grad", "hvp"])
def test_the_bits_stay(case, kind):
    f, data, argnums = case
    calls = [data() for _ in range(3)]
    first = argnums[0] if kind == "hvp" and isinstance(argnums, tuple) else argnums
    c = fa.compile(f, first)
    run = {"value": c, "grad": c.value_and_grad, "hvp": lambda *args: c.hvp(*args, args[np.atleast_1d(first)[0]])}[kind]
    have = [run(*args) for args in calls]
    assert kind == "value" or any(p.evaluator.windows for p in c.programs if p.kind == kind)
    for p in c.programs:
        p.evaluator.in_parts([])
    same_bits(have, [run(*args) for args in calls])
    if kind == "grad":
        close(have[0], fa.value_and_grad(f, argnums)(*calls[0]), 1e-9)


def test_parts_stay_within_the_workspace(case):
    f, data, argnums = case
    c = fa.compile(f, argnums)
    c.grad(*data())
    evaluator = program(c).evaluator
    code = evaluator.code
    for window in evaluator.windows:
        assert window.parts > 1 and 0 <= window.first < window.last <= len(code.instructions)
        for part in (0, window.parts - 1):            # between them slots go on evenly
            rows = window.within.copy()
            for k, name in enumerate("vab"):
                rows[name] += part * window.steps[:, k]
            for some in (window.before, rows, window.after):
                Code(some, code.scalars, window.pool, code.image, code.calls, code.n_slots, code.regions)


def test_what_is_in_parts_needs_room_for_one():
    f, data, argnums = CASES["mixture"]
    c = fa.compile(f, argnums)
    c.grad(*data())
    still = [(window.steps[:, 0] == 0) & (window.within["av"] == 1) for window in program(c).evaluator.windows]
    assert max(map(np.sum, still)) > 3
    assert "matmul" in str(program(c))                # the listing shows the instructions as they are


def test_results_into_arrays_of_the_caller():
    f, data, argnums = CASES["layers"]
    c, args = fa.compile(f, argnums), data()
    _, want = c.value_and_grad(*args)
    out = tuple(np.empty_like(part) for part in want)
    c.value_and_grad(*args, out=out)
    same_bits(out, want)
    bound = c.bind(*args)
    bound(*args)
    same_bits(bound.gradient, want)


def test_small_programs_have_no_parts():
    f, _, argnums = CASES["mixture"]
    c = fa.compile(f, argnums)
    c.grad(numbers(12, 6), numbers(12, 6), numbers(12, 6, 6), numbers(20, 6))
    assert program(c).evaluator.windows == []


def test_saved_programs_are_executed_in_parts(tmp_path):
    f, data, argnums = CASES["attention"]
    c, args = fa.compile(f, argnums), data()
    want = c.value_and_grad(*args)
    c.save(tmp_path / "f.fad")
    loaded = fa.load(tmp_path / "f.fad")
    same_bits(loaded.value_and_grad(*args), want)
    assert [repr(w) for p in loaded.programs for w in p.evaluator.windows] == \
        [repr(w) for p in c.programs for w in p.evaluator.windows]


def test_calls_that_need_python_are_between_windows():
    x, a, i = numbers(9, 600, 8), numbers(9, 8, 8), np.arange(8)[::-1].copy()
    f = lambda x, a, i: np.sum(np.tanh(np.sin(x) @ a) * np.sort(x[:, :, i], axis=1))       # noqa: E731
    c = fa.compile(f)
    close(c.value_and_grad(x, a, i), fa.value_and_grad(f)(x, a, i), 1e-10)
    with pytest.raises(IndexError):
        c.grad(x, a, np.full(8, 8))


def test_an_interrupt_ends_parts():
    f, _, argnums = CASES["mixture"]
    c = fa.compile(f, argnums)
    args = (numbers(20, 8), numbers(20, 8), numbers(20, 8, 8), numbers(10_000, 8))
    c.grad(*args)
    assert program(c).evaluator.windows

    def work():
        while True:
            c.grad(*args)

    assert delay_of_an_interrupt(work) < 1.0


def spans(*pairs, points=()):
    low, high = np.array(pairs, np.int64).reshape(-1, 2).T
    return Spans(low, high, np.array(points, np.int64))


def test_spans():
    a, b = spans((10, 15), points=[40, 30, 30]), spans((15, 35))
    assert a.meet(b) and b.meet(a) and not a.meet(spans((15, 30), (31, 40)))
    assert a.meet(spans(points=[7, 14])) and a.meet(spans(points=[40]))
    assert not a.meet(spans(points=[9, 15, 39])) and not spans().meet(a)
    assert a.has_all(11, 14) and not a.has_all(11, 16) and a.has_any(14, 20) and not a.has_any(31, 40)
    many = spans(points=np.arange(0, 10_000, 2))
    assert many.has_any(1, 2) and not many.has_any(9_999, 10_000) and not many.has_all(0, 1)


def test_windows_are_found_again():
    f, data, argnums = CASES["attention"]
    c = fa.compile(f, argnums)
    c.grad(*data())
    evaluator = program(c).evaluator
    assert [repr(w) for w in windows(evaluator)] == [repr(w) for w in evaluator.windows]
