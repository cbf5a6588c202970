"""How recorded operations are timed: of the scalar chain by any package, and of statements."""

from __future__ import annotations

import gc
import statistics
import time
import timeit
from dataclasses import dataclass


@dataclass
class Timing:
    """Times of the repeats of one measurement, in seconds, each for `count` operations."""

    times: list
    count: int

    @property
    def best(self):
        """Nanoseconds for one operation, best repeat."""
        return 1e9 * min(self.times) / self.count

    @property
    def median(self):
        """Nanoseconds for one operation, median repeat."""
        return 1e9 * statistics.median(self.times) / self.count

    def stored(self):
        """The figures that are kept, in nanoseconds."""
        return {"min": self.best, "median": self.median}


def measure_pair(package, repeat):
    """Timings of recording the scalar chain and of its sweep."""
    records, sweeps = [], []
    package.backward(package.record())
    gc.collect()                # before the repeats, not between them: it would empty the caches
    gc.disable()
    for _ in range(repeat):
        start = time.perf_counter()
        recorded = package.record()
        middle = time.perf_counter()
        package.backward(recorded)
        sweeps.append(time.perf_counter() - middle)
        records.append(middle - start)
        del recorded
    gc.enable()
    return Timing(records, package.operations), Timing(sweeps, package.operations)


def measure_statement(statement, repeat, **names):
    """The timing of a statement that uses `names`; a string, because calling a function would cost as much."""
    timer = timeit.Timer(statement, globals=names)
    number = 1
    while timer.timeit(number) < 0.01:      # seconds: long beside the ticks of the clock
        number *= 4
    return Timing(timer.repeat(repeat, number), number)
