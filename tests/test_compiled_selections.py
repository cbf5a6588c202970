"""What a function selects (maximum, where) is decided in each replay, not in the call that was traced."""
import numpy as np
import pytest

import fastad as fa

DERIVATIVES = {
    "grad": lambda f, x: f.grad(x),
    "bound": lambda f, x: (lambda b: (b(x), b.gradient)[1])(f.bind(x)),
    "jvp": lambda f, x: f.jvp((x,), (np.ones(np.shape(x)),))[1],
    "hvp": lambda f, x: f.hvp(x, np.ones(np.shape(x))),
    "hessian": lambda f, x: f.hessian(x),
}
FUNCTIONS = {
    "maximum": lambda x: np.sum(np.maximum(x, 0.0) + np.maximum(x, 0.0) ** 2),
    "minimum": lambda x: np.sum(np.minimum(0.0, x) * (1.0 + x)),
    "where": lambda x: np.sum(np.where(x > 0.0, 3.0 * x * x, x)),
    "clip": lambda x: np.sum(np.clip(x, -0.5, 0.5) ** 2),
    "scalars": lambda x: sum([np.maximum(x[k], 0.0) * (1.0 + x[k]) for k in range(len(x))]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("kind", DERIVATIVES)
def test_all_selected_at_first_then_none(kind, name):
    f, derivative = FUNCTIONS[name], DERIVATIVES[kind]
    points = [np.array([0.7, 1.1]), np.array([-0.2, -0.3]), np.array([0.3, -2.0])]
    for start in range(3):
        compiled = fa.compile(f)
        derivative(compiled, points[start])
        for x in points:
            np.testing.assert_allclose(derivative(compiled, x), derivative(fa.compile(f), x), rtol=1e-14)
            if kind in ("grad", "bound"):
                np.testing.assert_allclose(derivative(compiled, x), fa.grad(f)(x), rtol=1e-14)


@pytest.mark.parametrize("inner", [lambda f, x: fa.grad(f)(x), lambda f, x: fa.vjp(f, x)[1](1.0)[0],
                                   lambda f, x: fa.jacobian(f)(x), lambda f, x: fa.hvp(f, x, 1.0)])
def test_derivatives_within_a_compiled_function(inner):
    def f(x):
        return np.maximum(x, 0.0) + np.maximum(x, 0.0) ** 2

    compiled = fa.compile(lambda x: inner(f, x))
    for x in (1.0, -1.0, 2.0):
        assert compiled(x) == inner(f, x)


def test_rows_of_a_batch():
    def f(p, z):
        return np.exp(-p) * np.maximum(z * p, 0.0)

    z = np.linspace(-1.0, 1.0, 20)
    g = fa.compile(f).batch.grad(0.5, z, in_axes=(None, 0))
    np.testing.assert_allclose(g, [fa.grad(f)(0.5, each) for each in z], rtol=1e-14)
