"""A chain of 100,000 mixed scalar operations in a Python loop: recorded, on plain floats, and the sweep over it."""

import math

import fastad as fa

from .workloads import scalar_chain

N = 100_000


class Chain:
    """Times are for the whole chain of 100,000 operations."""

    def setup(self):
        self.x, self.y = fa.Variable(0.7), fa.Variable(0.3)
        self.output = scalar_chain(self.x, self.y, N, fa.sin)

    def time_floats(self):
        scalar_chain(0.7, 0.3, N, math.sin)

    def time_record(self):
        scalar_chain(self.x, self.y, N, fa.sin)

    def time_backward(self):
        self.output.backward(retain_graph=True)

    def time_record_and_backward(self):
        scalar_chain(self.x, self.y, N, fa.sin).backward()
