"""A chain of mixed scalar operations in a Python loop: recorded, on plain floats, read each way; by peers."""

import math

import fastad as fa

from . import packages, timing
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

    def time_forward(self):
        fa.tape().forward()

    def time_jvp(self):
        fa.jvp(lambda x, y: scalar_chain(x, y, N, fa.sin), (0.7, 0.3), (1.0, 0.0))

    def time_record_and_backward(self):
        scalar_chain(self.x, self.y, N, fa.sin).backward()


class Packages:
    """Nanoseconds for one operation, by package; dearer packages get shorter chains."""

    params = (("fastad", *packages.PEERS),)
    param_names = ("by",)

    def setup(self, by):
        found = packages.installed({by})
        if not found:
            raise NotImplementedError(f"{by} is not installed")     # asv skips it
        self.package = found[by]

    def track_record(self, by):
        return timing.measure_pair(self.package, 3)[0].best

    def track_backward(self, by):
        return timing.measure_pair(self.package, 3)[1].best

    track_record.unit = track_backward.unit = "ns"
