"""PyTensor: a graph of symbols, compiled by its default mode."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import numpy as np
import pytensor
import pytensor.tensor as pt

from ..measure import Run, flat
from ..peers import written_with

numpy_like = written_with(pt, SimpleNamespace(sigmoid=pt.sigmoid, log_softmax=pt.special.log_softmax,
                                              logsumexp=pt.logsumexp))

FUNCTIONS = {"rosenbrock2": numpy_like.rosenbrock_arrays}
FUNCTIONS |= {name: getattr(numpy_like, name) for name in ("rosenbrock_arrays", "small_net", "lennard_jones_arrays",
                                                           "logistic", "softmax_net", "mixture")}


def prepared(f, workload):
    """The function of value and gradients, of symbols with the shapes of the data."""
    data = [np.asarray(x) for x in workload.data()]
    symbols = [pt.TensorType(str(x.dtype), shape=x.shape)() for x in data]
    value = f(*symbols)
    compiled = pytensor.function(symbols, [value, *pt.grad(value, [symbols[k] for k in workload.argnums])])
    compiled.trust_input = True             # skips checks of the arguments' types
    return Run(compiled, tuple(data), flat)


def version(workload):
    """What is written on arrays."""
    f = FUNCTIONS.get(workload.base)
    return f and functools.partial(prepared, f)
