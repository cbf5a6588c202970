"""fastad.compiled.path: what a trace becomes, whatever the values were that it was made with."""
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
