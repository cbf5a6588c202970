"""PyTensor: a graph of symbols, compiled by its default mode."""

from __future__ import annotations

import functools

import numpy as np
import pytensor
import pytensor.tensor as pt

from ..measure import Run, flat


def rosenbrock(x):
    return pt.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def small_net(W1, b1, W2, b2, x, y):
    hidden = pt.sigmoid(W1 @ x + b1)
    return pt.sum((pt.sigmoid(W2 @ hidden + b2) - y) ** 2)


def lennard_jones(x, i, j):
    d = x[i] - x[j]
    s3 = 1.0 / pt.sum(d * d, axis=1) ** 3
    return pt.sum(4.0 * (s3 * s3 - s3))


def logistic(w, b, X, y):
    z = X @ w + b
    return pt.mean(pt.softplus(z) - y * z)


def softmax_net(W1, b1, W2, b2, X, Y):
    z = pt.tanh(X @ W1 + b1) @ W2 + b2
    return -pt.mean(pt.sum(Y * pt.special.log_softmax(z, axis=1), axis=1))


def mixture(alphas, means, logs, lower, X):
    n, d = X.shape
    L = lower * pt.tril(pt.ones((d, d)), -1)
    centred = X - means[:, None, :]
    y = pt.exp(logs)[:, None, :] * centred + centred @ pt.swapaxes(L, 1, 2)
    inner = (alphas + pt.sum(logs, axis=1))[:, None] - 0.5 * pt.sum(y * y, axis=2)
    prior = 0.5 * (pt.sum(pt.exp(logs) ** 2) + pt.sum(L ** 2))
    return pt.sum(pt.logsumexp(inner, axis=0)) - n * pt.logsumexp(alphas) - prior


FUNCTIONS = {"rosenbrock2": rosenbrock, "rosenbrock_arrays": rosenbrock, "lennard_jones_arrays": lennard_jones}
FUNCTIONS |= {f.__name__: f for f in (small_net, logistic, softmax_net, mixture)}


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
