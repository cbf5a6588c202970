"""Every row of the op table: what it costs to record, and what its reverse sweep costs.

The rows are taken from the table, so a new function is measured as soon as it exists; a row that cannot be called makes
this module refuse to import.
"""

import numpy as np

import fastad as fa
from fastad.ops import INTERNAL, OPS

#: Calls in one timing of a scalar benchmark, and elements in one timing of an array benchmark.
N = 1000

FUNCTIONS = {op.name: getattr(fa, op.name, None) for op in OPS if op.name not in INTERNAL}
missing = [name for name, function in FUNCTIONS.items() if function is None]
if missing:
    raise NotImplementedError(f"rows of the op table without a benchmark, for want of such a function: {missing}")
BY_NAME = {op.name: op for op in OPS}


def inner_points(op, n):
    """For each argument `n` numbers from the inner part of its domain."""
    spread = np.linspace(0.2, 0.6, n)
    return [low + (spread if k == 0 else spread[::-1]) * (high - low) for k, (low, high) in enumerate(op.domain)]


class _Record:
    params = (tuple(FUNCTIONS),)
    param_names = ("op",)


class _Sweep:
    params = (tuple(name for name in FUNCTIONS if BY_NAME[name].differentiable),)
    param_names = ("op",)

    def time_sweep(self, name):
        self.output.backward(self.seed, retain_graph=True)


class ScalarRecord(_Record):
    """1000 operations on scalars."""

    def setup(self, name):
        self.function = FUNCTIONS[name]
        self.arguments = [fa.Variable(float(points[0])) for points in inner_points(BY_NAME[name], N)]
        self.function(*self.arguments)                # the first use of a function of SciPy's imports it

    def time_record(self, name):
        function, arguments = self.function, self.arguments
        for _ in range(N):
            function(*arguments)


class ScalarSweep(_Sweep):
    """1000 operations on scalars, and the 1000 additions that join them."""

    def setup(self, name):
        arguments = [fa.Variable(float(points[0])) for points in inner_points(BY_NAME[name], N)]
        self.output, self.seed = sum(FUNCTIONS[name](*arguments) for _ in range(N)), 1.0


class ArrayRecord(_Record):
    """One operation on arrays of 1000 elements."""

    def setup(self, name):
        self.function = FUNCTIONS[name]
        self.arguments = [fa.Variable(points) for points in inner_points(BY_NAME[name], N)]
        self.function(*self.arguments)                # the first use of a function of SciPy's imports it

    def time_record(self, name):
        self.function(*self.arguments)


class ArraySweep(_Sweep):
    """One operation on arrays of 1000 elements."""

    def setup(self, name):
        arguments = [fa.Variable(points) for points in inner_points(BY_NAME[name], N)]
        self.output, self.seed = FUNCTIONS[name](*arguments), np.ones(N)
