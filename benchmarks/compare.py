"""fastad beside plain Python, NumPy and other packages, in one run: ``python benchmarks/compare.py [--peers]``.

All numbers of a table come from the same work in the same process. ``min`` is the best of the repeats, which says what
the code can do; ratios are taken between medians, which say what a user gets. ``--peers`` adds those of torch,
autograd, xad, jax and casadi that are installed.

``--compiled`` shows compiled functions instead: value and gradient, and the first call, of each workload beside C by
hand and, with ``--peers``, other packages. ``--only NAME`` takes the workloads whose names contain it.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import math
import os
import statistics
import subprocess
import sys
import time
import timeit
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# Started as a script, this file is outside its package. An installed fastad still comes before the one of the checkout.
sys.path.append(str(Path(__file__).parents[1]))

import fastad as fa
from benchmarks.bench_import import import_milliseconds
from benchmarks.workloads import SIZES, bytes_per_operation, scalar_chain

PEERS = {}


def peer(cls):
    """Register a package to compare with under its own name."""
    PEERS[cls.__name__.lower()] = cls
    return cls


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


class Package:
    """A package that records what its numbers go through; the defaults are PyTorch's manners."""

    #: Length of the scalar chain.
    operations = 100_000
    #: A product of two arrays, finished when the statement is.
    product = "u * v"

    def record(self):
        """Record the scalar chain; whatever :meth:`backward` needs comes back."""
        return scalar_chain(self.array(0.7), self.array(0.3), self.operations, self.sin)

    def backward(self, output):
        """Compute the gradient of what was recorded."""
        output.backward()


class Fastad(Package):
    """Variables, recorded and swept."""

    def __init__(self):
        self.sin, self.array = fa.sin, fa.Variable


@peer
class Torch(Package):
    """Tensors with ``requires_grad``, one thread."""

    def __init__(self):
        import torch

        torch.set_num_threads(1)
        self.torch, self.sin = torch, torch.sin

    def array(self, values):
        """A float64 tensor that requires a gradient."""
        return self.torch.tensor(values, dtype=self.torch.float64, requires_grad=True)


@peer
class Autograd(Package):
    """HIPS autograd: boxes around NumPy values."""

    operations = 10_000
    array = None        # its boxes live inside a trace only

    def __init__(self):
        import autograd
        import autograd.numpy

        self.make_vjp, self.sin = autograd.make_vjp, autograd.numpy.sin

    def record(self):
        """The chain inside a trace."""
        pull, _ = self.make_vjp(lambda p: scalar_chain(p[0], p[1], self.operations, self.sin))((0.7, 0.3))
        return pull

    def backward(self, pull):
        """Pull the seed back."""
        pull(1.0)


@peer
class Xad(Package):
    """XAD's Python module: active reals on a tape."""

    array = None        # scalars only

    def __init__(self):
        import xad.adj_1st
        import xad.math

        self.xad, self.sin = xad.adj_1st, xad.math.sin

    def record(self):
        """The chain on active reals."""
        tape = self.xad.Tape()
        tape.activate()
        x, y = self.xad.Real(0.7), self.xad.Real(0.3)
        tape.registerInput(x)
        tape.registerInput(y)
        tape.newRecording()
        return tape, (x, y), scalar_chain(x, y, self.operations, self.sin)

    def backward(self, recorded):
        """Seed the output and compute the adjoints."""
        tape, _, output = recorded
        tape.registerOutput(output)
        output.setAdjoint(1.0)
        tape.computeAdjoints()
        tape.deactivate()


@peer
class Jax(Package):
    """``jax.vjp`` without jit, in float64."""

    operations = 800    # tens of microseconds each
    product = "(u * v).block_until_ready()"

    def __init__(self):
        import jax

        jax.config.update("jax_enable_x64", True)
        self.jax, self.sin = jax, jax.numpy.sin

    def record(self):
        """Linearise the chain."""
        return self.jax.vjp(lambda x, y: scalar_chain(x, y, self.operations, self.sin), 0.7, 0.3)[1]

    def backward(self, pull):
        """Pull the seed back and wait for the result."""
        self.jax.block_until_ready(pull(1.0))

    def array(self, values):
        """A JAX array; outside of a transform nothing is recorded, so the figure is a lower bound."""
        return self.jax.numpy.asarray(values)


@peer
class Casadi(Package):
    """SX expressions: "record" builds the expression and the function of its gradient, "backward" calls it."""

    operations = 10_000
    array = None        # symbols, nothing is computed when they are combined

    def __init__(self):
        import casadi

        self.casadi, self.sin = casadi, casadi.sin

    def record(self):
        """Build the expression and a function for value and gradient."""
        p = self.casadi.SX.sym("p", 2)
        value = scalar_chain(p[0], p[1], self.operations, self.sin)
        return self.casadi.Function("f", [p], [value, self.casadi.gradient(value, p)])

    def backward(self, function):
        """Evaluate value and gradient."""
        function([0.7, 0.3])


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


def print_table(title, rows):
    """Print `rows` of (label, timing, base timing or None, target)."""
    print(f"\n{title}\n{'':38s}{'min ns':>11s}{'median ns':>11s}{'ratio':>9s}  target")
    for label, timing, base, target in rows:
        ratio = f"{timing.median / base.median:8.2f}x" if base else ""
        print(f"{label:38s}{timing.best:11.1f}{timing.median:11.1f}{ratio:>9s}  {target}")


def compare_chain(packages, repeat):
    """The table of the scalar chain."""
    n = Package.operations
    floats = Timing(timeit.repeat(lambda: scalar_chain(0.7, 0.3, n, math.sin), number=1, repeat=repeat), n)
    own_record, own_sweep = measure_pair(Fastad(), repeat)
    rows = [("Python floats", floats, None, ""), ("fastad, record", own_record, floats, "<= 2.5x floats"),
            ("fastad, backward", own_sweep, None, "<= 2.5 ns + libm")]
    targets = {"xad": ">= 5x", "torch": ">= 20x"}
    for name, package in packages.items():
        record, sweep = measure_pair(package, min(repeat, 5))
        rows += [(f"{name}, record (ratio: to fastad)", record, own_record, targets.get(name, "")),
                 (f"{name}, backward (ratio: to fastad)", sweep, own_sweep, "")]
    print_table(f"Scalar chain, one of {n:,} mixed operations in a Python loop", rows)


def compare_arrays(packages, repeat):
    """The tables of array operators at each size."""
    rng = np.random.default_rng(0)
    targets = {10: "<= 0.25x", 1_000: "<= 0.80x", 100_000: "<= 1.00x"}
    for n in SIZES:
        a, b = np.asarray(rng.uniform(0.5, 1.5, n)), np.asarray(rng.uniform(0.5, 1.5, n))
        x, y = fa.Variable(a), fa.Variable(b)
        names = {"np": np, "fa": fa, "a": a, "b": b, "x": x, "y": y}

        def measure(statement, names=names):
            return measure_statement(statement, repeat, **names)

        product, exponential = measure("a * b"), measure("np.exp(a)")
        rows = [
            ("NumPy a * b", product, None, ""),
            ("fastad x * y", measure("x * y"), product, targets.get(n, "")),
            ("fastad x * constant array", measure("x * b"), product, ""),
            ("NumPy multiply(a, b)", base := measure("np.multiply(a, b)"), None, ""),
            ("fastad np.multiply(x, y)", measure("np.multiply(x, y)"), base, "<= 1.50x" if n == 10 else ""),
            ("fastad np.multiply(x, constant array)", measure("np.multiply(x, b)"), base, ""),
            ("NumPy exp(a)", exponential, None, ""),
            ("fastad fa.exp(x)", measure("fa.exp(x)"), exponential, ""),
            ("fastad np.exp(x)", measure("np.exp(x)"), exponential, ""),
        ]
        for name, package in packages.items():
            if package.array is not None:
                u, v = package.array(a), package.array(b)
                work = measure_statement(package.product, repeat, u=u, v=v)
                rows.append((f"{name} u * v", work, product, ""))
        print_table(f"Array operators, {'0-d' if n == () else f'n = {n:,}'} (ratio: to NumPy without gradients)", rows)


def compare_size():
    """Memory of a scalar operation, and the time of the import."""
    child = [sys.executable, __file__, "--memory"]
    memory = float(subprocess.run(child, check=True, capture_output=True, text=True).stdout)
    print(f"\nMemory for one scalar operation     {memory:8.1f} bytes   target <= 40")
    print(f"import fastad beyond NumPy          {import_milliseconds():8.1f} ms      target <= 50")


#: What libraries read when they are imported, so that each uses one thread and compiles anew.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",
}


def compare_compiled(options):
    """The tables of compiled functions, in a process where each library has one thread."""
    if any(os.environ.get(name) != value for name, value in ENVIRONMENT.items()):
        sys.exit(subprocess.run([sys.executable, *sys.argv], env={**os.environ, **ENVIRONMENT}).returncode)
    from benchmarks.compiled import peers, table

    table.compare_compiled(peers.installed() if options.peers else {}, options.repeat, options.only)


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peers", action="store_true", help="also measure the other packages that are installed")
    parser.add_argument("--repeat", type=int, default=9, help="repeats of each measurement (default: 9)")
    parser.add_argument("--memory", action="store_true", help="print bytes per scalar operation, nothing else")
    parser.add_argument("--compiled", action="store_true", help="compiled functions instead of recorded ones")
    parser.add_argument("--only", metavar="NAME", help="with --compiled: workloads whose names contain NAME")
    options = parser.parse_args()
    if options.compiled:
        compare_compiled(options)
        return
    if options.memory:
        print(bytes_per_operation())
        return
    packages = {}
    if options.peers:
        packages = {name: cls() for name, cls in PEERS.items() if importlib.util.find_spec(name) is not None}
        print(f"peers: {', '.join(packages) or 'none installed'}")
    compare_chain(packages, options.repeat)
    compare_arrays(packages, options.repeat)
    compare_size()


if __name__ == "__main__":
    main()
