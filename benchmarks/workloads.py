"""The work that suites and ``compare.py`` share, written so that every package can run it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

#: Operations in one turn of :func:`scalar_chain`.
CHAIN_TURN = 8
#: Sizes of array operands; () is a 0-d array.
SIZES = ((), 10, 1_000, 100_000)


def scalar_chain(x, y, n, sin):
    """`n` mixed scalar operations in a Python loop: sums, products, a quotient, a sine.

    The value creeps towards a zero of the sine, so that neither it nor its derivatives overflow or fade to denormal
    numbers, which would be slow, however long the chain is.
    """
    s = x
    for _ in range(n // CHAIN_TURN):
        a = s * x
        b = a + y
        c = b - 0.5
        d = sin(c)
        e = d / 1024.0
        f = s + e
        g = f * 0.5
        s = g + g
    return s


def peak_bytes():
    """The largest memory this process has had in RAM so far."""
    status = Path("/proc/self/status")
    if status.exists():     # what getrusage says on Linux includes the parent before it started this program
        return 1024 * int(re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(), re.M)[1])
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def bytes_per_operation(n=4_000_000):
    """How much the process grows for one scalar operation: record, value, adjoint and the sweep over it."""
    import fastad as fa

    x, y = fa.Variable(0.7), fa.Variable(0.3)
    scalar_chain(x, y, 1000, fa.sin).backward()
    before = peak_bytes()
    scalar_chain(x, y, n, fa.sin).backward()
    return (peak_bytes() - before) / n
