"""The function transforms, eager: what a whole call of each costs, on tiny and on larger arguments."""

import numpy as np

import fastad as fa

from .compiled.functions import rosenbrock_arrays


def small(p):
    """A function of a dictionary."""
    return np.sum(np.tanh(p["W"] @ p["x"] + p["b"]))


class Transforms:
    """The Rosenbrock function on slices."""

    params = ((2, 1_000),)
    param_names = ("n",)

    def setup(self, n):
        self.x, self.v = np.linspace(0.5, 1.5, n), np.ones(n)

    def time_value(self, n):
        rosenbrock_arrays(self.x)

    def time_grad(self, n):
        fa.grad(rosenbrock_arrays)(self.x)

    def time_value_and_grad(self, n):
        fa.value_and_grad(rosenbrock_arrays)(self.x)

    def time_vjp(self, n):
        _, pull = fa.vjp(rosenbrock_arrays, self.x)
        pull(1.0)

    def time_jvp(self, n):
        fa.jvp(rosenbrock_arrays, (self.x,), (self.v,))

    def time_hvp(self, n):
        fa.hvp(rosenbrock_arrays, self.x, self.v)


class Matrices:
    """Jacobian and Hessian of functions of 30 variables."""

    def setup(self):
        self.x = np.linspace(0.5, 1.5, 30)

    def time_jacobian(self):
        fa.jacobian(lambda x: np.sin(x) * np.sum(x))(self.x)

    def time_hessian(self):
        fa.hessian(rosenbrock_arrays)(self.x)


class Containers:
    """A dictionary of arrays, and scalars."""

    def setup(self):
        rng = np.random.default_rng(0)
        self.p = {"W": rng.normal(size=(3, 2)), "x": rng.normal(size=2), "b": rng.normal(size=3)}

    def time_grad_of_a_dictionary(self):
        fa.grad(small)(self.p)

    def time_grad_of_a_number(self):
        fa.grad(fa.sin)(0.5)

    def time_gradcheck(self):
        fa.gradcheck(small, self.p)


class Custom:
    """A function with a rule of its own, recorded and swept."""

    def setup(self):
        @fa.custom_vjp
        def cube(x):
            return x ** 3

        cube.defvjp(lambda x: (x ** 3, x), lambda x, g: (3.0 * x * x * g,))
        self.cube, self.x = cube, fa.Variable(np.linspace(0.0, 1.0, 100))

    def time_custom_vjp(self):
        np.sum(self.cube(self.x)).backward()
