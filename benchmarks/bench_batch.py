"""Batches of compiled functions: many rows in one call, beside a loop of calls, on one thread and on two."""

import numpy as np

import fastad as fa

from .compiled.functions import asian_path, rosenbrock_arrays

ROWS = (10, 1_000)


class Batch:
    """Value and gradient of Rosenbrock's function of 10 variables for many rows."""

    params = (ROWS, ("loop", "1 thread", "2 threads"))
    param_names = ("rows", "by")

    def setup(self, rows, by):
        self.f = fa.compile(rosenbrock_arrays)
        self.X = np.random.default_rng(0).uniform(0.5, 1.5, (rows, 10))
        self.f.batch.value_and_grad(self.X)
        self.f.value_and_grad(self.X[0])

    def time_value_and_grad(self, rows, by):
        if by == "loop":
            for x in self.X:
                self.f.value_and_grad(x)
        else:
            self.f.batch.value_and_grad(self.X, threads=int(by[0]))

    def time_jacobian(self, rows, by):
        if by == "loop":
            for x in self.X:
                self.f.jacobian(x)
        else:
            self.f.batch.jacobian(self.X, threads=int(by[0]))


class Branches:
    """Rows that take different ways: payoffs of paths, half of them branch the other way."""

    params = (("np.maximum", "if"),)
    param_names = ("written",)

    @staticmethod
    def branching(p, z):
        value = asian_path(p, z)
        return value * 2.0 if value > 1.0 else value

    def setup(self, written):
        self.f = fa.compile(asian_path if written == "np.maximum" else self.branching)
        self.p = np.array([100.0, 0.2, 0.05])
        self.Z = np.random.default_rng(0).normal(size=(500, 12))
        self.time_value_and_grad(written)

    def time_value_and_grad(self, written):
        self.f.batch.value_and_grad(self.p, self.Z, in_axes=(None, 0))
