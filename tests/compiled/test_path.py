"""fastad.compiled.path: what a trace becomes, whatever the values were that it was made with."""
import subprocess
import sys

import numpy as np
import pytest
from comparing import agree, close, rng

import fastad as fa

A, B = np.array([1.0, 2.0, 3.0]), np.array([-1.0, 2.0, -0.5])
EDGES = [np.array(x) for x in ([1.0, np.inf, 3.0], [np.nan, 1.0, 0.0], [0.0, 0.0, -0.0], [2.0, 2.0, 2.0])]

SELECTIONS = {
    "where": lambda x: np.sum(np.where(x > 0, x ** 2, -x)),
    "where isfinite": lambda x: np.sum(np.where(np.isfinite(x), x * 1.5, 0.0) * 2.0),
    "where root": lambda x: np.sum(np.where(x > 0, np.sqrt(np.where(x > 0, x, 1.0)), 0.0)),
    "where bare root": lambda x: np.sum(np.where(x > 0, np.sqrt(x), 0.0)),
    "maximum": lambda x: np.sum(np.maximum(x, 0.5) * np.minimum(x, 1.5)),
    "max": lambda x: np.max(x) * np.min(x),
    "relu": lambda x: np.sum(fa.relu(x) * x),
    "abs": lambda x: np.sum(abs(x) ** 3),
    "sort": lambda x: np.sum(np.sort(x) * np.array([1.0, 10.0, 100.0])),
    "argmax": lambda x: x[np.argmax(x)] * 7.0 + np.max(x),
    "index": lambda x: x[np.argsort(x)[1]] ** 2,
    "mask": lambda x: np.sum(x[x > 0.5] ** 3),
    "clip": lambda x: np.sum(np.clip(x, 0.0, 1.5) * x),
    "prod": lambda x: np.prod(x),
    "cumprod": lambda x: np.sum(np.cumprod(x) * np.arange(3.0)),
    "matmul of a selection": lambda x: np.where(x > 0, np.sqrt(x), 0.0) @ np.arange(1.0, 4.0),
    "scalar maximum": lambda x: fa.maximum(x[0], x[1]) * fa.minimum(x[1], x[2]),
    "scalar where": lambda x: sum([fa.where(x[i] > 0, fa.sqrt(x[i]), 0.0) for i in range(3)]),
    "scalar abs": lambda x: sum([abs(x[i]) for i in range(3)]),
}


@pytest.mark.parametrize("name", SELECTIONS)
def test_selections_follow_the_arguments(name):
    by_order = name in ("sort", "index", "prod", "cumprod", "argmax")
    calls = [A, B, -A, A[::-1].copy()] if by_order else [A, B, -A, *EDGES, A]
    agree(SELECTIONS[name], *calls)
    agree(SELECTIONS[name], *calls[::-1])


def nested(x):
    g = fa.grad(lambda y: np.sum(np.where(y > 0, y ** 3, -y)))(x)
    return np.sum(g * g)


def nested_hvp(x):
    return np.sum(fa.hvp(lambda y: np.sum(np.maximum(y, 0.5) ** 3), x, x))


@pytest.mark.parametrize("f", [nested, nested_hvp])
def test_derivatives_within_the_function_follow_the_arguments(f):
    agree(f, A, B, -A)


@pytest.mark.parametrize("passes", [True, False])
@pytest.mark.parametrize("name", ["where", "where isfinite", "maximum", "relu", "abs", "clip", "prod",
                                  "matmul of a selection"])
def test_other_derivatives_follow_too(name, passes):
    f, v = SELECTIONS[name], rng.normal(size=3)
    c = fa.compile(f, passes=passes)
    for x in (A, B, -A, A):
        with np.errstate(all="ignore"):
            close(c.jvp((x,), (v,)), fa.jvp(f, (x,), (v,)))
            close(c.hvp(x, v), fa.hvp(f, x, v))
            close(c.hessian(x), fa.hessian(f)(x))
            close(c.jacobian(x), fa.grad(f)(x))


@pytest.mark.parametrize("f", [lambda x: 3.0, lambda x: x * 0.0 + 1.0, lambda x: fa.Variable(2.0).detach(),
                               lambda x: float(len(str(x.shape)))])
def test_results_that_depend_on_nothing(f):
    agree(f, 2.0, 3.0)


# ---- values of a recorded sweep wait until something is recorded behind them ----------------------------------------
def mixed(x, w):
    y = np.tanh(x @ w) + np.cumsum(x, axis=0)
    s = 0.0
    for k in range(4):
        s = s + y[k, 0] * np.exp(-x[k, 1]) / (1.0 + s * s)
    return np.sum(np.maximum(y, x) ** 2) + np.max(y) * s + np.prod(x[:, 2])


ASKED = {
    "value": lambda c, x, w: c(x, w),
    "grad": lambda c, x, w: c.value_and_grad(x, w),
    "hvp": lambda c, x, w: c.hvp(x, w, x[::-1]),
    "hessian": lambda c, x, w: c.hessian(x, w),
    "jvp": lambda c, x, w: c.jvp((x, w), (x[::-1],)),
    "vjp": lambda c, x, w: fa.vjp(c, x, w)[1](2.0),
}


@pytest.mark.parametrize("second", ASKED)
@pytest.mark.parametrize("passes", [True, False])
def test_gradients_first_and_anything_after(second, passes):
    x, w, other = rng.uniform(0.5, 1.5, (4, 3)), rng.normal(size=(3, 3)), rng.uniform(0.5, 1.5, (4, 3))
    alone, after = [fa.compile(mixed, passes=passes) for _ in range(2)]
    for kind in ("grad", second, "grad", "hessian", "value"):
        for point in (x, other):
            wanted = parts_of(ASKED[kind](mixed_of(kind), point, w))
            for got, want in zip(parts_of(ASKED[kind](after, point, w)), wanted, strict=True):
                np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-10)
    for got, want in zip(parts_of(ASKED[second](after, x, w)), parts_of(ASKED[second](alone, x, w)), strict=True):
        np.testing.assert_array_equal(got, want)


def parts_of(result):
    """What a call returned, flat."""
    return [np.asarray(part) for part in (result if isinstance(result, tuple) else (result,))]


class Eager:
    """The same calls without compiling."""

    def __call__(self, x, w):
        return mixed(x, w)

    def value_and_grad(self, x, w):
        return fa.value_and_grad(mixed)(x, w)

    def hvp(self, x, w, v):
        return fa.hvp(lambda x: mixed(x, w), x, v)

    def hessian(self, x, w):
        return fa.hessian(lambda x: mixed(x, w))(x)

    def jvp(self, primals, tangents):
        return fa.jvp(lambda x: mixed(x, primals[1]), primals[:1], tangents)


def mixed_of(kind):
    return mixed if kind == "vjp" else Eager()


def test_a_trace_that_is_resumed_has_its_values():
    c = fa.compile(mixed)
    x, w = rng.uniform(0.5, 1.5, (4, 3)), rng.normal(size=(3, 3))
    c.value_and_grad(x, w)
    trace = c.programs[0].path.trace
    first = trace.columns()["value"].copy()
    c.hvp(x, w, x)
    found = trace.columns()["value"]
    gradient = fa.grad(mixed)(x, w).reshape(-1)
    rows = np.lib.stride_tricks.sliding_window_view(found[:len(first)], gradient.size)
    assert np.isclose(rows, gradient, rtol=1e-12).all(axis=1).any()


def test_a_first_call_imports_no_part_of_numpy():
    """A part that NumPy loads when it is first used (numpy.ma, for np.unique) takes longer than most passes."""
    code = """if True:
        import sys
        import numpy as np
        import fastad as fa

        def f(x):
            return np.sum(np.where(x[1:] > 0.0, x[1:] * x[:-1], 0.0)) * (2.0 if x[0] > 0.0 else 3.0)

        x, before = np.linspace(-1.0, 1.0, 5000), set(sys.modules)
        fa.compile(f).value_and_grad(x)
        print(sorted({name for name in set(sys.modules) - before if name.startswith("numpy")}))
        """
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
