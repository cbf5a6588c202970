"""NumPy, gradients by hand."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from ..measure import Run


def rosenbrock_arrays(x):
    left = x[:-1]
    t, u = x[1:] - left * left, 1.0 - left
    g = np.zeros_like(x)
    g[:-1] = -400.0 * left * t - 2.0 * u
    g[1:] += 200.0 * t
    return 100.0 * np.dot(t, t) + np.dot(u, u), g


def lennard_jones_arrays(x, i, j):
    d = x[i] - x[j]
    s = 1.0 / np.einsum("ij,ij->i", d, d)
    s3 = s * s * s
    force = (-24.0 * s * (2.0 * s3 * s3 - s3))[:, None] * d
    g = np.stack([np.bincount(i, f, len(x)) - np.bincount(j, f, len(x)) for f in force.T], axis=1)
    return np.sum(4.0 * (s3 * s3 - s3)), g


def logistic(w, b, X, y):
    z = X @ w + b
    r = (expit(z) - y) / len(y)
    return np.mean(np.logaddexp(0.0, z) - y * z), r @ X, np.sum(r)


def softmax_net(W1, b1, W2, b2, X, Y):
    h = np.tanh(X @ W1 + b1)
    z = h @ W2 + b2
    z -= z.max(axis=1, keepdims=True)
    e = np.exp(z)
    total = e.sum(axis=1, keepdims=True)
    loss = (np.sum(np.log(total)) - np.sum(Y * z)) / len(X)     # each row of Y has a single one
    gz = (e / total - Y) / len(X)
    gh = gz @ W2.T * (1.0 - h * h)
    return loss, X.T @ gh, gh.sum(axis=0), h.T @ gz, gz.sum(axis=0)


def mixture(alphas, means, logs, lower, X):
    n, d = X.shape
    below = np.tril(np.ones((d, d)), -1)
    L, diagonal = lower * below, np.exp(logs)
    centred = X - means[:, None, :]
    y = diagonal[:, None, :] * centred + centred @ np.swapaxes(L, 1, 2)
    inner = (alphas + np.sum(logs, axis=1))[:, None] - 0.5 * np.sum(y * y, axis=2)
    top = inner.max(axis=0)
    p = np.exp(inner - top)
    total = p.sum(axis=0)
    p /= total
    weights = np.exp(alphas - alphas.max())
    value = (np.sum(np.log(total) + top) - n * (np.log(weights.sum()) + alphas.max())
             - 0.5 * (np.sum(diagonal ** 2) + np.sum(L ** 2)))
    share = p.sum(axis=1)
    gy = -p[:, :, None] * y
    g_centred = diagonal[:, None, :] * gy + gy @ L
    g_lower = np.swapaxes(gy, 1, 2) @ centred * below - L
    g_logs = share[:, None] + diagonal * np.sum(gy * centred, axis=1) - diagonal ** 2
    return value, share - n * weights / weights.sum(), -g_centred.sum(axis=1), g_logs, g_lower


def asian_paths(p, Z):
    price, volatility, rate = p
    steps = len(Z)
    h = 1.0 / steps
    brownian = np.cumsum(Z, axis=0)
    brownian *= np.sqrt(h)
    times = h * np.arange(1.0, steps + 1.0)[:, None]
    s = price * np.exp((rate - 0.5 * volatility ** 2) * times + volatility * brownian)
    excess = np.mean(s, axis=0) - 100.0
    inside, discount = excess > 0.0, np.exp(-rate)
    s *= inside
    scale = discount / (steps * Z.shape[1])
    value = discount * np.mean(np.maximum(excess, 0.0))
    by_time = np.sum(s, axis=1)
    drift = scale * by_time @ times[:, 0]
    return value, np.array([scale * np.sum(by_time) / price,
                            scale * np.vdot(s, brownian) - volatility * drift,
                            drift - value])


VERSIONS = {f.__name__: f for f in (rosenbrock_arrays, lennard_jones_arrays, logistic, softmax_net, mixture,
                                    asian_paths)}


def version(workload):
    """What is written on arrays."""
    f = VERSIONS.get(workload.base)
    return f and (lambda workload: Run(f, workload.data()))
