"""Recorded array operations beside plain NumPy without gradients, from 0-d to large."""

import numpy as np

import fastad as fa

from .workloads import SIZES


class _Operands:
    params = (SIZES,)
    param_names = ("n",)

    def setup(self, n):
        rng = np.random.default_rng(0)
        self.a, self.b = np.asarray(rng.uniform(0.5, 1.5, n)), np.asarray(rng.uniform(0.5, 1.5, n))
        self.x, self.y = fa.Variable(self.a), fa.Variable(self.b)


class Multiply(_Operands):
    """A product, by operator and by ufunc, of two variables and with a constant array."""

    def time_numpy_operator(self, n):
        self.a * self.b

    def time_numpy_ufunc(self, n):
        np.multiply(self.a, self.b)

    def time_numpy_copy(self, n):
        self.b.copy()

    def time_fastad_operator(self, n):
        self.x * self.y

    def time_fastad_ufunc(self, n):
        np.multiply(self.x, self.y)

    def time_fastad_operator_constant(self, n):
        self.x * self.b

    def time_fastad_ufunc_constant(self, n):
        np.multiply(self.x, self.b)


class Functions(_Operands):
    """A function of one argument, a sum, a view."""

    def time_numpy_exp(self, n):
        np.exp(self.a)

    def time_fastad_exp(self, n):
        fa.exp(self.x)

    def time_fastad_exp_ufunc(self, n):
        np.exp(self.x)

    def time_numpy_sum(self, n):
        np.sum(self.a)

    def time_fastad_sum(self, n):
        np.sum(self.x)

    def time_numpy_view(self, n):
        self.a[...]

    def time_fastad_view(self, n):
        self.x[...]
