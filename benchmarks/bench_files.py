"""Saving compiled functions, loading them, and the first call of a loaded one."""

import os
import tempfile

import numpy as np

import fastad as fa

from .compiled.functions import rosenbrock_loop

SIZES = (10, 1_000)


class Files:
    """Value and gradient of the Rosenbrock function of n variables, written as a Python loop."""

    params = (SIZES,)
    param_names = ("n",)

    def setup(self, n):
        self.f, self.x = fa.compile(rosenbrock_loop), np.linspace(0.5, 1.5, n)
        self.f.value_and_grad(self.x)
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "rosenbrock.fad")
        self.f.save(self.path)

    def teardown(self, n):
        self.folder.cleanup()

    def time_save(self, n):
        self.f.save(self.path)

    def time_load(self, n):
        fa.load(self.path)

    def time_load_and_call(self, n):
        fa.load(self.path).value_and_grad(self.x)

    def track_size(self, n):
        return os.path.getsize(self.path)

    track_size.unit = "bytes"
