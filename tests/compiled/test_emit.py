"""fastad.compiled.passes.emit and fusion: slots, runs, strips, index lists, and what is shown of them."""
import numpy as np
import pytest
from comparing import agree, close, program, rng, same_bits

import fastad as fa

STRIP = 512
SIZES = (1, 2, 11, STRIP - 1, STRIP, STRIP + 1, 2 * STRIP, 3 * STRIP + 7, 5000)


def fused(x):
    y = np.sin(x) * 0.5
    z = y * y + x
    return np.sum(z * y - x / (2.0 + y))


def shifted(x):
    y = np.tanh(x)
    return np.sum((y[1:] - y[:-1]) ** 2) + np.sum(y[::2][: len(x) // 2] * y[1::2])


def summed_between(x):
    y = x - np.mean(x)
    z = y / np.sqrt(np.sum(y * y) + 1.0)
    return np.sum(z ** 3) * np.sum(x)


def broadcast(x):
    y = np.outer(x[:20], x[:30]) + x[:30]
    return np.sum(np.exp(-y * y) * x[0]) + np.sum(y.T * x[:20])


def scalars_and_arrays(x):
    s = x[0] * x[-1]
    y = x * s
    t = y[0] + y[-1]
    return np.sum((y - t) ** 2) * s


def reversed_and_repeated(x):
    y = x[::-1] * 2.0
    return np.sum(np.repeat(y, 3)[: len(x)] * x) + np.sum(np.tile(x[:3], 4) ** 2) + np.sum(np.roll(y, 1) * x)


def stacked(x):
    a = np.stack([x, np.cos(x), x * x])
    return np.sum(np.cumsum(a, axis=0) * a[::-1]) + np.sum(a.reshape(-1)[:: len(x)])


def used_outside_of_its_run(x):
    y = np.sin(x)
    z = np.cos(y)
    return np.sum(z) + y[len(x) // 2] * z[0] + z[-1]


ALL = (fused, shifted, summed_between, broadcast, scalars_and_arrays, reversed_and_repeated, stacked,
       used_outside_of_its_run)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("f", ALL)
def test_results_at_the_ends_of_strips(f, n):
    agree(f, *[rng.uniform(0.1, 1.0, n) for _ in range(2)], tol=1e-10)


@pytest.mark.parametrize("n", [1, STRIP, STRIP + 1, 2000])
def test_bits_of_what_is_elementwise(n):
    def f(x):
        y = x * 3.0 + 1.0
        return y * y - x / y

    x = rng.normal(size=n)
    results = [fa.compile(f, passes=passes)(x) for passes in (True, False)]
    assert all(np.array_equal(r, f(x)) for r in results)


def test_maps_of_one_length_are_one_run():
    c = fa.compile(lambda x: np.sum(np.sin(x) * x + x * x - np.cos(x) / (x + 2.0)))
    c(rng.uniform(size=3000))
    instructions = program(c, "value").evaluator.code.instructions
    names = [fa._program.KINDS[k] for k in instructions["kind"]]
    assert names.count("run") == 1 and "line" in names


def test_what_only_its_run_reads_has_no_room_of_its_own():
    def f(x):
        for _ in range(20):
            x = np.sin(x) * 1.5
        return np.sum(x)

    c = fa.compile(f)
    c(rng.normal(size=100_000))
    lines = program(c, "value").evaluator.code.instructions
    assert (lines["av"][lines["kind"] == 2] == 0).all()


def test_large_arguments_are_read_where_they_are():
    x, y = rng.normal(size=20_000), rng.normal(size=20_000)
    c = fa.compile(lambda x: np.sum((x - y) ** 2 * x))
    for _ in range(3):
        close(c.value_and_grad(x), fa.value_and_grad(c.f)(x), 1e-10)
        close(c.value_and_grad(x[::-1]), fa.value_and_grad(c.f)(x[::-1]), 1e-10)
        close(c.value_and_grad(x.astype(np.float32)), fa.value_and_grad(c.f)(x.astype(np.float32)), 1e-4)
        y[::7] += 1.0
    same = fa.compile(lambda a, b: np.sum(a * b), (0, 1))
    close(same.grad(x, x), (x, x))
    out = np.empty_like(x), np.empty_like(x)
    same.value_and_grad(x, y, out=out)
    close(out, (y, x))


def test_programs_show_what_they_do():
    data = np.arange(20.0)

    def f(x):
        s = 0.0
        for i in range(20):
            s = s + x[i] * data[i]
        y = np.outer(x, data) @ x
        return s + np.sum(y * data) + np.max(x) + (x[0] if s > 0 else 0.0) + np.sum(np.cumsum(x[[0, 3, 3]]))

    c = fa.compile(f)
    c.grad(np.ones(20))
    p = program(c)
    text = str(p)
    for word in ("input", "captured", "guard", "result", "run", "native   extremum", "call     cumsum", "matmul"):
        assert word in text
    assert repr(p).startswith("<fastad program (grad)") and repr(c) == "<compiled f: programs grad>"


def test_empty_arrays_everywhere():
    def f(x, y):
        z = np.concatenate([x[:0], y])
        products = np.sum(np.outer(x, y)) + np.sum(x[:0] @ np.zeros((0, 3)))
        return np.sum(x) + np.sum(z * z) + products + np.sum(y[np.zeros(0, int)])

    agree(f, (np.zeros(0), np.ones(2)), (np.ones(2), np.zeros(0)), (np.zeros(0), np.zeros(0)), argnums=(0, 1))


FIRSTS = (lambda x, y: x + y, lambda x, y: x - y, lambda x, y: x * y, lambda x, y: x / y)
SECONDS = (*FIRSTS, *[lambda p, z, f=f: f(z, p) for f in FIRSTS], *[lambda p, z, f=f: f(p, p) for f in FIRSTS],
           lambda p, z: -p)


@pytest.mark.parametrize("n", [STRIP + 1, 3 * STRIP])
@pytest.mark.parametrize("second", range(len(SECONDS)))
def test_two_operations_in_one_loop(second, n):
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e308, 5e-324]
    x, y, z = rng.normal(size=(3, n))
    x[:49], y[:49], z[:7] = np.repeat(special, 7), np.tile(special, 7), special
    for first in FIRSTS:
        c = fa.compile(lambda x, y, z, f=first: SECONDS[second](f(x, y), z))
        with np.errstate(all="ignore"):
            want = SECONDS[second](first(x, y), z)
            got = c(x, y, z)
        same_bits(got, want)
        close(c.batch(np.stack([x, z]), np.stack([y, y]), np.stack([z, x]))[0], want)


def test_what_two_lines_read_goes_through_memory():
    def f(x):
        y = x * x
        z = y - x
        return np.sum(z * 3.0 + y), np.sum(-(x + 2.0) / (x * 4.0))

    c = fa.compile(f)
    x = rng.uniform(1.0, 2.0, 2000)
    close(c(x), f(x))
    lines = program(c, "value").evaluator.code.instructions
    handed = lines["av"] == -1
    assert 0 < handed.sum() < (lines["kind"] == 2).sum() // 2 + 1
    assert ((lines["aa"][1:] == -1) | (lines["ab"][1:] == -1))[handed[:-1]].all()
    assert "it = " in str(program(c, "value")) and "(it" in str(program(c, "value"))


@pytest.mark.parametrize(("field", "value"), [("aa", 0), ("n", 700), ("count", 1), ("av", -1), ("op", 27), ("kind", 11),
                                          ("ab", 2), ("ib", 0)])
def test_damaged_runs_are_refused(field, value):
    code = code_of(lambda x: np.sum((x * 2.0 + x) * x))
    at = int(np.flatnonzero(code.instructions["aa"] == -1)[0])
    damaged = code.instructions.copy()
    damaged[field][at] = value
    with pytest.raises(ValueError, match="program: "):
        fa._program.Code(damaged, code.scalars, code.pool, code.image, [], code.n_slots, code.regions)


@pytest.mark.parametrize(("field", "value"), [("av", 9), ("v", 0), ("count", -1), ("count", 5), ("n", -1), ("ra", 7)])
def test_damaged_places_are_refused(field, value):
    code = code_of(lambda x: x * 2.0 + np.exp(x))
    at = int(np.flatnonzero(code.instructions["av"] >= 2)[0])
    damaged = code.instructions.copy()
    damaged[field][at] = value
    with pytest.raises(ValueError, match="program: "):
        fa._program.Code(damaged, code.scalars, code.pool, code.image, [], code.n_slots, code.regions)
    with pytest.raises(ValueError, match="region"):
        fa._program.Code(code.instructions, code.scalars, code.pool, code.image, [], code.n_slots, [(0, 1 << 50)])


def code_of(f):
    c = fa.compile(f)
    c(rng.normal(size=3000))
    return program(c, "value").evaluator.code


def test_a_long_listing_is_shortened_when_it_is_printed():
    @fa.compile
    def f(x):
        for _ in range(500):
            x = fa.sin(x) * x
        return x

    f(1.0)
    made = f.programs[0]
    every = list(made.lines())
    assert len(every) == made.n_instructions + 3          # what it is, an input, a result
    shown = str(made).splitlines()
    assert shown[-2] == f"  ... and {made.n_instructions - 200} instructions more"
    assert shown[:-2] == every[:202] and shown[-1] == every[-1]
