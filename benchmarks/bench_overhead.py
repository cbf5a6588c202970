"""Recorded array operations beside plain NumPy without gradients and other packages, from 0-d to large."""

import operator

import numpy as np

import fastad as fa

from . import packages
from .workloads import SIZES


class Product:
    """A product: NumPy's; recorded, by operator and by ufunc, of two variables and with a constant array; by peers."""

    params = (SIZES, ("NumPy", "NumPy ufunc", "fastad", "fastad constant", "fastad ufunc", "fastad ufunc constant",
                      *packages.PEERS))
    param_names = ("n", "by")

    def setup(self, n, by):
        rng = np.random.default_rng(0)
        a, b = np.asarray(rng.uniform(0.5, 1.5, n)), np.asarray(rng.uniform(0.5, 1.5, n))
        self.multiply = np.multiply if "ufunc" in by else operator.mul
        if by.startswith("NumPy"):
            self.u, self.v = a, b
        elif by.startswith("fastad"):
            self.u, self.v = fa.Variable(a), b if "constant" in by else fa.Variable(b)
        else:
            found = packages.installed({by})
            if not found or found[by].array is None:
                raise NotImplementedError(f"{by} is not installed, or has no arrays")       # asv skips it
            self.u, self.v = map(found[by].array, (a, b))
            self.multiply = found[by].product

    def time_product(self, n, by):
        self.multiply(self.u, self.v)


class Functions:
    """A function of one argument, a sum, a view."""

    params = (SIZES,)
    param_names = ("n",)

    def setup(self, n):
        self.a = np.asarray(np.random.default_rng(0).uniform(0.5, 1.5, n))
        self.x = fa.Variable(self.a)

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
