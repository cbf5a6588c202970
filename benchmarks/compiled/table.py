"""The table of compiled functions: fastad, hand-written C and peers on each workload, with the targets.

Ratios are between the shortest times of calls: medians of versions that take seconds together with those that take
microseconds tell more about what else the machine did.
"""

from __future__ import annotations

import functools
import gc
import os

from . import reference
from .measure import fastad_run, measure
from .workloads import WORKLOADS

#: Microseconds that a first call may take for each recorded operation, where there are so many that little else counts.
FIRST_US, MANY_RECORDS = 0.6, 2000
#: The largest ratio of a first call to jax's.
FIRST_JAX = 0.3
#: How much faster two threads have to be than one.
TWO_THREADS = 1.7


def versions(workload, peers):
    """The versions of a workload that are installed here: name -> function that prepares it."""
    found = {"fastad": fastad_run}
    if reference.COMPILER and workload.base in reference.VERSIONS:
        found["C"] = reference.VERSIONS[workload.base]
    for name, module in peers.items():
        prepare = module.version(workload)
        if prepare is not None:
            found[name] = prepare
    return found


def verdict(ratio, target):
    """A ratio beside its target, in words."""
    return f"{'met' if ratio <= target else 'MISSED'} ({target:g}x)"


def print_workload(workload, done, failed):
    """The lines of one workload."""
    print(f"\n{workload.name}\n{'':16s}{'first ms':>11s}{'min us':>12s}{'median us':>12s}{'fastad is':>11s}  target")
    own = done.get("fastad")
    for name, made in done.items():
        times = f"{name:16s}{1e3 * made.first:11.1f}{1e6 * made.best:12.2f}{1e6 * made.median:12.2f}"
        if own is None or made is own:
            ratio, word = "", ""
            if made is own and "us" in workload.targets:
                limit = workload.targets["us"]
                word = f"{'met' if 1e6 * own.best <= limit else 'MISSED'} ({limit:g} us)"
        else:
            x = own.best / made.best
            ratio = f"{x:.3g}x"
            word = verdict(x, workload.targets[name]) if name in workload.targets else ""
        print(f"{times}{ratio:>11s}  {word}".rstrip())
    for name, why in failed.items():
        print(f"{name:16s} FAILED: {why}")
    if own is not None:
        print_first(own, done.get("jax"))


def print_first(own, jax):
    """The line of fastad's first call."""
    records = sum(program.n_records for program in own.run.compiled.programs)
    each = 1e6 * own.first / records
    words = [f"{each:.2f} us for each of {records} records"]
    if records >= MANY_RECORDS:
        words.append(f"{'met' if each <= FIRST_US else 'MISSED'} ({FIRST_US} us)")
    if jax is not None:
        words += [f"{own.first / jax.first:.2g}x jax", verdict(own.first / jax.first, FIRST_JAX)]
    print(f"first call: {', '.join(words)}")


def print_threads(workload, repeat):
    """The line of two threads beside one."""
    done, _ = measure(workload, {"one": fastad_run, "two": functools.partial(fastad_run, threads=2)}, repeat)
    gain = done["one"].best / done["two"].best
    print(f"two threads: {1e6 * done['two'].best:.2f} us, {gain:.2f} times as fast as one, "
          f"{'met' if gain >= TWO_THREADS else 'MISSED'} ({TWO_THREADS})")


def compare_compiled(peers, repeat, only=None):
    """Measure and print all workloads, or those whose names contain `only`.

    Yields
    ------
    name : str
        Of the workload that was measured.
    figures : dict
        As they are stored, by version: shortest and median time of a call, and time of the first one, in seconds.
    """
    gc.collect()
    gc.freeze()         # the objects of all these packages would make every collection slow, for those that trace
    for name, workload in WORKLOADS.items():
        if only is None or only in name:
            done, failed = measure(workload, versions(workload, peers), repeat)
            print_workload(workload, done, failed)
            if workload.kind == "batch" and len(os.sched_getaffinity(0)) > 1:
                print_threads(workload, repeat)
            yield name, {version: made.stored() for version, made in done.items()}
