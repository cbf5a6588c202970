"""fastad.compiled.passes.join and shifted reads within runs: arrays of a few pieces cost no pass over memory."""
import numpy as np
import pytest
from comparing import agree, close, program, rng, same_bits

import fastad as fa

STRIP = 512
SIZES = (70, STRIP - 1, STRIP, STRIP + 1, STRIP + 2, 2 * STRIP + 1, 3 * STRIP + 7, 5000)


def rosenbrock(x):
    a, b = x[1:] - x[:-1] * x[:-1], 1.0 - x[:-1]
    return np.sum(100.0 * (a * a) + b * b)


def differences(x):
    y = np.tanh(x)
    return np.sum((y[1:] - y[:-1]) / y[1:]) + np.sum(y[2:] * y[:-2]) + np.sum(y * y)


def far(x):
    y = np.sin(x)
    k = len(x) // 3
    return np.sum(y[k:] * y[:-k]) + np.sum(y[2 * k:] / (2.0 + y[:len(x) - 2 * k]))


def back_and_forth(x):
    for k in (1, 3, 17, 1):
        y = x * x
        x = y[k:] * 0.5 - x[:-k]
    return np.sum(x * x)


def put_together(x):
    y = np.concatenate([x[:3] * 2.0, np.cos(x), x[-2:] + 1.0])
    z = np.concatenate([y[1:], y[:1]])
    return np.sum(y * z) + np.sum(y[4:] * y[4:])


def summed_late(x):
    y = np.exp(-x)
    z = y[40:] - y[:-40]
    return np.sum(z) * np.sum(z[7:] * y[:-47]) + np.sum(y)


def with_numbers(x):
    a, b = x[3] * 1.5, x[5] + 2.0
    z = x * a - b
    w = z[1:] * a - z[:-1] / b
    return np.sum(w[2:] * a - w[:-2] * w[1:-1]) + np.sum(z * b)


ALL = (with_numbers, rosenbrock, differences, far, back_and_forth, put_together, summed_late)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("f", ALL)
def test_shifted_reads(f, n):
    agree(f, *[rng.uniform(0.2, 1.2, n) for _ in range(2)], tol=1e-10, bits=True)


@pytest.mark.parametrize("f", ALL)
def test_shifted_reads_side_by_side(f):
    c = fa.compile(f)
    for rows in (1, 3, 20, 64):
        x = rng.uniform(0.2, 1.2, (rows, 1100))
        values, gradients = c.batch.value_and_grad(x)
        for k in range(rows):
            close((values[k], gradients[k]), fa.value_and_grad(f)(x[k]), 1e-10)


def test_a_shifted_sum_is_one_pass_over_memory():
    c = fa.compile(rosenbrock)
    c.grad(rng.normal(size=20_000))
    code = program(c).evaluator.code
    names = [fa._program.KINDS[k] for k in code.instructions["kind"]]
    assert names.count("run") == 1 and set(names) == {"run", "line", "sum"}
    lines = code.instructions[code.instructions["kind"] == 2]
    assert (lines["n"][lines["av"] > 0] <= 20_000).all()
    assert lines["n"][lines["av"] > 0].sum() == 20_000                    # the gradient, and nothing beside it


def test_results_are_written_where_they_are_wanted():
    x = rng.normal(size=5000)
    c = fa.compile(rosenbrock)
    want = fa.grad(rosenbrock)(x)
    assert (program_of(c, x).evaluator.code.instructions["av"] >= 2).any()
    out = np.empty(5000)
    close(c.grad(x, out=out), want)
    same_bits(out, c.grad(x))
    y = x.copy()
    close(c.grad(y, out=y), want)                     # over the argument
    z = np.concatenate([x, np.zeros(10)])
    close(c.grad(z[:5000], out=z[10:]), want)         # and partly so
    kept = c.grad(x)
    c.grad(x + 1.0)
    close(kept, want)
    bound = c.bind(x)
    bound(x)
    first = bound.gradient.copy()
    bound(bound.gradient)
    close(first, want)
    close(bound.gradient, fa.grad(rosenbrock)(first), 1e-10)


def program_of(c, x):
    c.grad(x)
    return program(c)


def test_one_result_twice():
    def f(x):
        y = np.sin(x) * x
        return y, y, y[1:], x

    x = rng.normal(size=4000)
    for c in (fa.compile(f), fa.compile(f, passes=False)):
        for _ in range(2):
            close(c(x), f(x))


def test_a_branch_that_does_not_hold_leaves_buffers_as_they_should_be():
    def f(x):
        y = x * x
        return np.sum(y[1:] * x[:-1]) * (1.0 if x[0] > 0 else -1.0)

    c = fa.compile(f)
    out = np.empty(4000)
    for _ in range(3):
        x = rng.normal(size=4000)
        close(c.grad(x, out=out), fa.grad(f)(x), 1e-10)
        close(c.grad(-x, out=out), fa.grad(f)(-x), 1e-10)


def test_large_programs_in_files(tmp_path):
    x = rng.normal(size=6000)
    c = fa.compile(rosenbrock)
    want = c.value_and_grad(x), c.value_and_grad(x + 1.0)
    c.save(tmp_path / "f.fad")
    loaded = fa.load(tmp_path / "f.fad")
    same_bits((loaded.value_and_grad(x), loaded.value_and_grad(x + 1.0)), want)
