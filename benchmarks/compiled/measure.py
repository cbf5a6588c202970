"""How a workload is run and timed: by fastad, and by anything else that says how to call it."""

from __future__ import annotations

import statistics
import time
import timeit
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import fastad as fa


@dataclass
class Run:
    """What is timed: ``call(*args)``. `read` makes a list of arrays of what it returned, the value first."""

    call: Callable
    args: tuple
    read: Callable = None
    #: A compiled function, if it is fastad's.
    compiled: fa.compiled.Compiled | None = None
    #: What has to live as long.
    keep: Any = None

    def results(self):
        """The results, as arrays of float64."""
        returned = self.call(*self.args)
        return [np.asarray(part, float) for part in (self.read(returned) if self.read else flat(returned))]


def flat(tree):
    """The leaves of nested tuples and lists."""
    return [leaf for part in tree for leaf in flat(part)] if isinstance(tree, (tuple, list)) else [tree]


def fastad_run(workload, threads=1):
    """The version of fastad: the function, compiled."""
    argnums = workload.argnums[0] if len(workload.argnums) == 1 else workload.argnums
    f, data = fa.compile(workload.function, argnums), workload.data()
    if workload.kind == "bound":
        bound = f.bind(*data)
        return Run(bound, data, lambda value: [value, *flat(bound.gradient)], f)
    if workload.kind == "batch":
        return Run(lambda *args: f.batch.value_and_grad(*args, in_axes=(None, 0), threads=threads), data, None, f)
    if workload.kind == "jacobians":
        return Run(lambda *args: f.batch.jacobian(*args, threads=threads), data, lambda J: [J], f)
    if workload.kind == "hessian":
        return Run(f.hessian, data, lambda H: [H], f)
    return Run(f.value_and_grad, data, None, f)


@dataclass
class Measured:
    """Times of one version of a workload, in seconds."""

    first: float
    run: Run
    times: list = field(default_factory=list)
    timer: Any = None
    number: int = 1

    @classmethod
    def start(cls, prepare, workload):
        """Prepare a version and call it for the first time."""
        begin = time.perf_counter()
        run = prepare(workload)
        run.call(*run.args)
        return cls(time.perf_counter() - begin, run)

    def calibrate(self, least=0.02):
        """Find how many calls take long beside the ticks of the clock; `least` is in seconds."""
        names = {f"a{k}": x for k, x in enumerate(self.run.args)}     # spelt out: unpacking a tuple takes its time
        self.timer = timeit.Timer(f"f({', '.join(names)})", globals={"f": self.run.call, **names})
        while self.timer.timeit(self.number) < least:
            self.number *= 3

    def sample(self):
        """Time once."""
        self.times.append(self.timer.timeit(self.number) / self.number)

    @property
    def best(self):
        """The shortest time of a call."""
        return min(self.times)

    @property
    def median(self):
        """The median time of a call."""
        return statistics.median(self.times)

    def stored(self):
        """The figures that are kept."""
        return {"first": self.first, "min": self.best, "median": self.median}


def disagreement(results, reference):
    """The largest difference of two lists of results, relative to the largest number of each; inf: other shapes."""
    worst = 0.0
    if len(results) != len(reference):
        return np.inf
    for have, want in zip(results, reference, strict=True):
        if have.size != want.size:
            return np.inf
        worst = max(worst, np.max(np.abs(have.ravel() - want.ravel()), initial=0.0)
                    / max(1e-300, np.max(np.abs(want), initial=0.0)))
    return worst


def measure(workload, versions, repeat):
    """Times of each version; the repeats take turns, so that a busy moment of the machine meets all of them.

    Returns
    -------
    dict of Measured, and dict of reasons for versions that failed or gave other results.
    """
    done, failed = {}, {}
    for name, prepare in versions.items():
        try:
            made = Measured.start(prepare, workload)
            results = made.run.results()
        except Exception as error:
            failed[name] = f"{type(error).__name__}: {error}"
            continue
        if done and (off := disagreement(results, next(iter(done.values())).run.results())) > 1e-8:
            failed[name] = f"disagrees by {off:.1e}"
            continue
        made.calibrate()
        done[name] = made
    for _ in range(repeat):
        for made in done.values():
            made.sample()
    return done, failed
