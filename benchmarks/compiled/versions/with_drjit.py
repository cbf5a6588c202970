"""Dr.Jit: its LLVM backend on one thread, functions frozen so that they are not traced in each call."""

from __future__ import annotations

import drjit as dr
import numpy as np
from drjit.llvm.ad import Float64, UInt32

from ..measure import Run

dr.set_thread_count(1)


def rosenbrock(x):
    n = dr.width(x)
    left = dr.gather(Float64, x, dr.arange(UInt32, n - 1))
    right = dr.gather(Float64, x, dr.arange(UInt32, 1, n))
    return dr.sum(100.0 * dr.square(right - left * left) + dr.square(1.0 - left))


def lennard_jones(x, i, j):
    s = 0.0
    for axis in range(3):
        d = dr.gather(Float64, x, 3 * i + axis) - dr.gather(Float64, x, 3 * j + axis)
        s = s + d * d
    s3 = 1.0 / (s * s * s)
    return dr.sum(4.0 * (s3 * s3 - s3))


def prepared(f, x, indices=()):
    """Value and gradient with respect to x."""
    @dr.freeze
    def both(x, *indices):
        x = dr.detach(x)                # a new leaf: gradients of the caller's would add up
        dr.enable_grad(x)
        value = f(x, *indices)
        dr.backward(value)
        return dr.detach(value), dr.grad(x)

    def call(*args):
        value, g = both(*args)
        dr.eval(value, g)
        dr.sync_thread()
        return value, g

    return Run(call, (Float64(np.ravel(x)), *[UInt32(k) for k in indices]), lambda parts: list(map(np.array, parts)))


def arrays(workload):
    """A function of one vector."""
    return prepared(rosenbrock, *workload.data())


def pairs(workload):
    """All pairs of atoms."""
    x = workload.data()[0]
    return prepared(lennard_jones, x, np.tril_indices(len(x), -1))


def version(workload):
    """Parallel maps and sums; long chains are not for it."""
    return {"rosenbrock_arrays": arrays, "lennard_jones_loop": pairs, "lennard_jones_arrays": pairs}.get(workload.base)
