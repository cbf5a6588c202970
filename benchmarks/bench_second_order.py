"""The recorded sweep: what a record of it costs, and Hessian-vector products beside gradients."""
import numpy as np

import fastad as fa
from fastad import variable

N = 100_000


class RecordedSweep:
    """The sweep over a chain of N scalar operations, recorded."""

    def setup(self):
        self.x = fa.Variable(0.3)
        self.y = self.x
        for _ in range(N // 8):
            self.y = fa.sin(self.y) * self.x + fa.exp(-self.y) / 3.0
            self.y = self.y - fa.tanh(self.y) * 0.1

    def time_recorded_sweep(self):
        variable.recorded_pull([self.y], [1.0], [self.x])


class HessianVector:
    """hvp and grad of the Rosenbrock function in slices."""

    params = ((10, 1_000, 100_000),)
    param_names = ("n",)

    def setup(self, n):
        self.x, self.v = np.linspace(0.5, 1.5, n), np.ones(n)

    @staticmethod
    def rosenbrock(x):
        return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)

    def time_grad(self, n):
        fa.grad(self.rosenbrock)(self.x)

    def time_hvp(self, n):
        fa.hvp(self.rosenbrock, self.x, self.v)
