"""Memory: bytes for one scalar operation, and the peak of typical graphs."""

import numpy as np

import fastad as fa

from .workloads import bytes_per_operation, scalar_chain


class Memory:
    """asv gives each of these a process of its own, so that growth of the peak is what the graph took."""

    def track_bytes_per_scalar_operation(self):
        return bytes_per_operation()

    track_bytes_per_scalar_operation.unit = "bytes"

    def peakmem_scalar_chain(self):
        """A million operations."""
        scalar_chain(fa.Variable(0.7), fa.Variable(0.3), 1_000_000, fa.sin).backward()

    def peakmem_arrays(self):
        """Fifty operations on a hundred thousand elements, 40 MB of values."""
        y = x = fa.Variable(np.linspace(0.0, 1.0, 100_000))
        for _ in range(25):
            y = np.sin(y * x)
        np.sum(y).backward()

    def peakmem_dropped_graphs(self):
        """A thousand graphs that are dropped without a sweep."""
        x = fa.Variable(np.linspace(0.0, 1.0, 10_000))
        for _ in range(1000):
            np.sum(np.tanh(x * 2.0))
