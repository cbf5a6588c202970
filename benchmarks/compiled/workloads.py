"""The workloads: functions, their data, what is asked of them, and the targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

import fastad as fa

from .. import workloads
from . import functions


@dataclass(frozen=True)
class Workload:
    """A function and one set of data for it.

    `kind` says what is computed: "grad" (value and gradient), "bound" (the same into buffers of the caller's), "batch"
    (values and gradients of many rows), "jacobians" (of many rows), "hessian". `data` gives the arguments, `argnums`
    says which are differentiated. `targets` maps a peer to the largest ratio to its time, "us" to microseconds.
    """

    name: str
    function: Callable
    data: Callable
    argnums: tuple = (0,)
    kind: str = "grad"
    targets: dict = field(default_factory=dict)

    @property
    def base(self):
        """The name under which peers have this workload: sizes do not matter to them."""
        return self.name.split(" ")[0]


WORKLOADS: dict[str, Workload] = {}


def workload(name, function, data, argnums=(0,), kind="grad", **targets):
    """Enter a workload."""
    WORKLOADS[name] = Workload(name, function, data, argnums, kind, targets)


def random(seed=0):
    """Reproducible random numbers."""
    return np.random.default_rng(seed)


def start(n):
    """A starting point of the Rosenbrock function."""
    return (random().uniform(0.5, 1.5, n),)


def small_net_data():
    """Weights, biases, one input and one target."""
    rng = random()
    return rng.normal(size=(2, 2)), rng.normal(size=2), rng.normal(size=(2, 2)), rng.normal(size=2), \
        np.array([0.05, 0.10]), np.array([0.01, 0.99])


def atoms():
    """64 atoms on a disturbed lattice, and the indices of all pairs."""
    lattice = np.stack(np.meshgrid(*[np.arange(4.0)] * 3), -1).reshape(-1, 3)
    x = 1.2 * lattice + random().uniform(-0.1, 0.1, lattice.shape)
    return x, *np.tril_indices(len(x), -1)


def logistic_data(n, d=20):
    """Weights, bias, points and labels."""
    rng = random()
    X = rng.normal(size=(n, d))
    return rng.normal(size=d), 0.1, X, (X @ rng.normal(size=d) > 0).astype(float)


def softmax_net_data(n):
    """Weights and biases of a 64-32-10 net, pictures, one-hot labels."""
    rng = random()
    return (0.1 * rng.normal(size=(64, 32)), 0.1 * rng.normal(size=32), 0.1 * rng.normal(size=(32, 10)),
            0.1 * rng.normal(size=10), rng.uniform(size=(n, 64)), np.eye(10)[rng.integers(0, 10, n)])


def mixture_data(d, k, n=1000):
    """Parameters of a mixture and points."""
    rng = random()
    return (rng.normal(size=k), rng.normal(size=(k, d)), 0.1 * rng.normal(size=(k, d)),
            0.1 * rng.normal(size=(k, d, d)), rng.normal(size=(n, d)))


OPTION = np.array([100.0, 0.2, 0.05])


def observations(n=500):
    """Cameras and points, one observation each."""
    rng = random()
    q = np.concatenate([rng.uniform(0.1, 0.5, (n, 3)), rng.uniform(-0.5, 0.5, (n, 3)), rng.uniform(0.9, 1.1, (n, 1)),
                        rng.uniform(-0.1, 0.1, (n, 4)), rng.uniform(-1.0, 1.0, (n, 2)), rng.uniform(4.0, 6.0, (n, 1)),
                        rng.uniform(0.5, 1.0, (n, 1))], axis=1)
    return q, rng.uniform(-0.2, 0.2, (n, 2))


def lstm_data(n=1024, layers=2, b=14):
    """Weights, state, and a text as bits."""
    rng = random()
    return (rng.uniform(-1, 1, (layers, 2, 4, b)), rng.uniform(-1, 1, (3, b)), rng.uniform(-1, 1, (layers, 2, b)),
            rng.integers(0, 2, (n, b)).astype(float))


def chain(p):
    """1,000 dependent scalar operations."""
    return workloads.scalar_chain(p[0], p[1], 1000, fa.sin)


workload("rosenbrock2", functions.rosenbrock_loop, lambda: (np.array([-1.2, 1.0]),), us=1.0)
workload("rosenbrock2 bound", functions.rosenbrock_loop, lambda: (np.array([-1.2, 1.0]),), kind="bound", us=0.3,
         casadi=1.0)
workload("small_net", functions.small_net, small_net_data, (0, 1, 2, 3), us=3.0, pytensor=1.0, jax=1.0, torch=1.0)
workload("chain", chain, lambda: (np.array([0.7, 0.3]),), casadi=1.0)
workload("rosenbrock_loop", functions.rosenbrock_loop, lambda: start(10_000), C=3.0, jax=0.3)
for n in (10_000, 1_000_000):
    workload(f"rosenbrock_arrays {n}", functions.rosenbrock_arrays, lambda n=n: start(n), pytensor=1.0,
             **{"torch.compile": 1.0})
workload("lennard_jones_loop", functions.lennard_jones_loop, lambda: atoms()[:1], C=4.0, casadi=1.0, drjit=1.0)
workload("lennard_jones_arrays", functions.lennard_jones_arrays, atoms, C=4.0, casadi=1.0, drjit=1.0)
workload("lotka_volterra", functions.lotka_volterra, lambda: (np.array([1.5, 1.0, 3.0, 1.0, 1.0, 1.0]), 1000), C=4.0,
         casadi=1.0)
workload("logistic 1000", functions.logistic, lambda: logistic_data(1_000), (0, 1), numpy=1.1)
workload("logistic 100000", functions.logistic, lambda: logistic_data(100_000), (0, 1), jax=1.0)
for n in (32, 1797):
    workload(f"softmax_net {n}", functions.softmax_net, lambda n=n: softmax_net_data(n), (0, 1, 2, 3), numpy=1.0,
             pytensor=1.0, jax=1.0, torch=1.0)
for d, k in ((2, 5), (10, 25), (20, 50)):
    workload(f"mixture {d},{k}", functions.mixture, lambda d=d, k=k: mixture_data(d, k), (0, 1, 2, 3), jax=1.0)
workload("asian_paths", functions.asian_paths, lambda: (OPTION, random().normal(size=(252, 10_000))), jax=1.0)
workload("asian_batch", functions.asian_path, lambda: (OPTION, random().normal(size=(10_000, 252))), kind="batch",
         jax=1.0)
workload("bundle", functions.reprojection, observations, kind="jacobians", casadi=1.0, torch=1.0, jax=1.0)
workload("lstm", functions.lstm, lstm_data, (0, 1), jax=1.2)
workload("rosenbrock_hessian", functions.rosenbrock_arrays, lambda: start(100), kind="hessian", casadi=2.0)
