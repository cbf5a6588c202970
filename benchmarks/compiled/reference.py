"""The hand-written C versions: compiled when they are first wanted, called through ctypes."""

from __future__ import annotations

import atexit
import ctypes
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from .measure import Run

FLAGS = ("-O3", "-march=native", "-shared", "-fPIC")
COMPILER = shutil.which("cc")


@functools.cache
def library():
    """The C functions."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder)
    path = Path(folder, "reference.so")
    subprocess.run([COMPILER, *FLAGS, "-o", path, Path(__file__).with_name("reference.c"), "-lm"], check=True)
    return ctypes.CDLL(path)


def run(name, inputs, outputs, *counts, value=True):
    """A call of a C function: pointers to inputs and outputs, then counts."""
    function = getattr(library(), name)
    function.restype = ctypes.c_double if value else None
    arrays = [np.ascontiguousarray(x, float) if isinstance(x, np.ndarray) else x for x in [*inputs, *outputs]]
    args = [ctypes.c_void_p(x.ctypes.data) if isinstance(x, np.ndarray) else ctypes.c_double(x) for x in arrays]
    args += [ctypes.c_long(n) for n in counts]
    filled = arrays[len(inputs):]
    return Run(function, tuple(args), lambda result: [result, *filled] if value else filled, keep=arrays)


def rosenbrock(workload):
    """Any size."""
    (x,) = workload.data()
    return run("rosenbrock", [x], [np.empty_like(x)], len(x))


def rosenbrock_hessian(workload):
    """The dense matrix."""
    (x,) = workload.data()
    return run("rosenbrock_hessian", [x], [np.empty((len(x), len(x)))], len(x), value=False)


def small_net(workload):
    """Four gradients."""
    data = workload.data()
    return run("small_net", data, [np.empty_like(x) for x in data[:4]])


def chain(workload):
    """A turn for eight operations."""
    (p,) = workload.data()
    return run("chain", [p], [np.empty(2)], 125)


def lennard_jones(workload):
    """Pair by pair."""
    x = workload.data()[0]
    return run("lennard_jones", [x], [np.empty_like(x)], len(x))


def lotka_volterra(workload):
    """Stages of all steps are kept."""
    p, steps = workload.data()
    return run("lotka_volterra", [p], [np.empty(6)], steps)


def logistic(workload):
    """Point by point."""
    w, b, X, y = workload.data()
    return run("logistic", [w, b, X, y], [np.empty_like(w), np.empty(())], *X.shape)


def asian_paths(workload):
    """Path by path."""
    p, Z = workload.data()
    return run("asian_paths", [p, Z], [np.empty(3)], *Z.shape)


def asian_batch(workload):
    """Path by path."""
    p, Z = workload.data()
    return run("asian_batch", [p, Z], [np.empty(len(Z)), np.empty((len(Z), 3))], *Z.shape, value=False)


def softmax_net(workload):
    """Picture by picture."""
    data = workload.data()
    return run("softmax_net", data, [np.empty_like(x) for x in data[:4]], len(data[4]), *data[0].shape, len(data[3]))


def lstm(workload):
    """What the reverse pass needs is kept."""
    main, extra, state, text = workload.data()
    return run("lstm", [main, extra, state, text], [np.empty_like(main), np.empty_like(extra)], len(text), len(main),
               text.shape[1])


VERSIONS = {"rosenbrock2": rosenbrock, "rosenbrock_loop": rosenbrock, "rosenbrock_arrays": rosenbrock,
            "lennard_jones_loop": lennard_jones, "lennard_jones_arrays": lennard_jones}
VERSIONS |= {f.__name__: f for f in (rosenbrock_hessian, small_net, chain, lotka_volterra, logistic, asian_paths,
                                     asian_batch, softmax_net, lstm)}
