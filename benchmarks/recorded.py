"""The tables of recorded operations: the scalar chain, array operators, memory and import.

Ratios are between medians, which say what a user gets; the shortest time says what the code can do.
"""

from __future__ import annotations

import math
import operator
import subprocess
import sys
import timeit
from pathlib import Path

import numpy as np

import fastad as fa

from .bench_import import import_milliseconds
from .packages import Package
from .timing import Timing, measure_pair, measure_statement
from .workloads import SIZES, scalar_chain

ROOT = Path(__file__).parents[1]

#: What a record of the chain may cost beside the loop on Python floats; how much dearer a package's is at least.
RECORD, DEARER = 2.5, {"xad": 5, "torch": 20}
#: Nanoseconds that the reverse sweep may take for an operation.
SWEEP = 2.5
#: What ``x * y`` may cost beside NumPy without gradients, by size; and ``np.multiply(x, y)`` at n = 10.
PRODUCT, UFUNC = {10: 0.25, 1_000: 0.8, 100_000: 1.0}, 1.5
#: Bytes for one scalar operation; milliseconds for the import.
BYTES, IMPORT = 40, 50

#: Statements on arrays a, b, on Variables x, y, and what each is compared with.
STATEMENTS = {
    "NumPy a * b": ("a * b", None), "fastad x * y": ("x * y", "NumPy a * b"),
    "fastad x * constant array": ("x * b", "NumPy a * b"),
    "NumPy multiply(a, b)": ("np.multiply(a, b)", None),
    "fastad np.multiply(x, y)": ("np.multiply(x, y)", "NumPy multiply(a, b)"),
    "fastad np.multiply(x, constant array)": ("np.multiply(x, b)", "NumPy multiply(a, b)"),
    "NumPy exp(a)": ("np.exp(a)", None), "fastad fa.exp(x)": ("fa.exp(x)", "NumPy exp(a)"),
    "fastad np.exp(x)": ("np.exp(x)", "NumPy exp(a)"),
}


def measure_chain(packages, repeat):
    """Timings of the scalar chain: name -> (record, backward); that of plain floats has no sweep."""
    n = Package.operations
    floats = Timing(timeit.repeat(lambda: scalar_chain(0.7, 0.3, n, math.sin), number=1, repeat=repeat), n)
    return {"Python floats": (floats, None)} | {
        name: measure_pair(package, repeat if name == "fastad" else min(repeat, 5))
        for name, package in packages.items()}


def measure_arrays(packages, repeat):
    """Timings of array operators: size -> name -> timing; 0 stands for a 0-d array."""
    rng = np.random.default_rng(0)
    found = {}
    for n in SIZES:
        a, b = np.asarray(rng.uniform(0.5, 1.5, n)), np.asarray(rng.uniform(0.5, 1.5, n))
        names = {"np": np, "fa": fa, "a": a, "b": b, "x": fa.Variable(a), "y": fa.Variable(b)}
        done = {label: measure_statement(text, repeat, **names) for label, (text, _) in STATEMENTS.items()}
        for name, package in packages.items():
            if package.array is not None and name != "fastad":
                u, v = package.array(a), package.array(b)
                statement = "u * v" if package.product is operator.mul else "product(u, v)"
                done[f"{name} u * v"] = measure_statement(statement, repeat, u=u, v=v, product=package.product)
        found[n or 0] = done
    return found


def measure_size():
    """Bytes for one scalar operation, and milliseconds of the import, in processes of their own."""
    program = f"import sys\nsys.path.append({str(ROOT)!r})\nfrom benchmarks import workloads\n"
    program += "print(workloads.bytes_per_operation())"
    memory = float(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout)
    return {"bytes": memory, "import": import_milliseconds()}


def print_table(title, rows):
    """Print `rows` of (label, timing, base timing or None, target)."""
    print(f"\n{title}\n{'':38s}{'min ns':>11s}{'median ns':>11s}{'ratio':>9s}  target")
    for label, timing, base, target in rows:
        ratio = f"{timing.median / base.median:8.2f}x" if base else ""
        print(f"{label:38s}{timing.best:11.1f}{timing.median:11.1f}{ratio:>9s}  {target}")


def print_chain(chain):
    """The table of :func:`measure_chain`."""
    rows = []
    for name, (record, sweep) in chain.items():
        if sweep is None:
            rows.append((name, record, None, ""))
        elif name == "fastad":
            rows += [("fastad, record", record, chain["Python floats"][0], f"<= {RECORD}x floats"),
                     ("fastad, backward", sweep, None, f"<= {SWEEP} ns + libm")]
        else:
            target = f">= {DEARER[name]}x" if name in DEARER else ""
            rows += [(f"{name}, record (ratio: to fastad)", record, chain["fastad"][0], target),
                     (f"{name}, backward (ratio: to fastad)", sweep, chain["fastad"][1], "")]
    print_table(f"Scalar chain, one of {Package.operations:,} mixed operations in a Python loop", rows)


def print_arrays(arrays):
    """The tables of :func:`measure_arrays`."""
    for n, done in arrays.items():
        rows = []
        for label, timing in done.items():
            base = STATEMENTS.get(label, (None, "NumPy a * b"))[1]
            limit = PRODUCT.get(n) if label == "fastad x * y" else \
                UFUNC if label == "fastad np.multiply(x, y)" and n == 10 else None
            rows.append((label, timing, base and done[base], f"<= {limit:.2f}x" if limit else ""))
        print_table(f"Array operators, {f'n = {n:,}' if n else '0-d'} (ratio: to NumPy without gradients)", rows)


def print_size(size):
    """The lines of :func:`measure_size`."""
    print(f"\nMemory for one scalar operation     {size['bytes']:8.1f} bytes   target <= {BYTES}")
    print(f"import fastad beyond NumPy          {size['import']:8.1f} ms      target <= {IMPORT}")
