"""Every row of the op table: what it costs to record, and what its reverse sweep costs.

The rows are taken from the table, so a new function is measured as soon as it exists; a row that cannot be called makes
this module refuse to import.
"""

import numpy as np

import fastad as fa
from fastad.math import INTERNAL
from fastad.ops import OPS

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


class _PerOp:
    params = tuple(FUNCTIONS)
    param_names = ("op",)

    def setup(self, name):
        op = BY_NAME[name]
        self.function = FUNCTIONS[name]
        self.arguments = self.make_arguments(op)
        if op.differentiable:
            with np.errstate(all="ignore"):
                self.output = self.make_output()
            self.seed = np.ones(self.output.shape)

    def time_sweep(self, name):
        if not BY_NAME[name].differentiable:
            raise NotImplementedError(f"{name} carries no gradient")
        self.output.backward(self.seed, retain_graph=True)


class Scalar(_PerOp):
    """1000 operations on scalars; the sweep passes 1000 additions beside them."""

    def make_arguments(self, op):
        return [fa.Variable(float(points[0])) for points in inner_points(op, N)]

    def make_output(self):
        total = 0.0
        for _ in range(N):
            total = total + self.function(*self.arguments)
        return total

    def time_record(self, name):
        function, arguments = self.function, self.arguments
        for _ in range(N):
            function(*arguments)


class Array(_PerOp):
    """One operation on arrays of 1000 elements."""

    def make_arguments(self, op):
        return [fa.Variable(points) for points in inner_points(op, N)]

    def make_output(self):
        return self.function(*self.arguments)

    def time_record(self, name):
        self.function(*self.arguments)
