"""The functions of the workloads, as a user of fastad writes them: plain Python and NumPy, nothing prepared.

Packages whose functions have NumPy's names take the same text, with their own module under the name ``np``
(`peers.written_with`).
"""

from __future__ import annotations

import math

import numpy as np

import fastad as fa


def rosenbrock_loop(x):
    """The chained Rosenbrock function, element by element."""
    total = 0.0
    for i in range(len(x) - 1):
        total = total + 100.0 * (x[i + 1] - x[i] ** 2) ** 2 + (1.0 - x[i]) ** 2
    return total


def rosenbrock_arrays(x):
    """The chained Rosenbrock function on slices."""
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def small_net(W1, b1, W2, b2, x, y):
    """The squared error of a net with one hidden layer."""
    hidden = fa.sigmoid(W1 @ x + b1)
    return np.sum((fa.sigmoid(W2 @ hidden + b2) - y) ** 2)


def lennard_jones_loop(x):
    """The energy of atoms, pair by pair."""
    energy = 0.0
    for i in range(len(x)):
        for j in range(i):
            dx, dy, dz = x[i, 0] - x[j, 0], x[i, 1] - x[j, 1], x[i, 2] - x[j, 2]
            s = 1.0 / (dx * dx + dy * dy + dz * dz)
            s3 = s * s * s
            energy = energy + 4.0 * (s3 * s3 - s3)
    return energy


def lennard_jones_arrays(x, i, j):
    """The energy of atoms; `i` and `j` are the indices of all pairs."""
    d = x[i] - x[j]
    s3 = 1.0 / np.sum(d * d, axis=1) ** 3
    return np.sum(4.0 * (s3 * s3 - s3))


def runge_kutta_step(rates, h, u, v):
    """One step through the predator-prey equations."""
    a, b, c, d = rates

    def slope(u, v):
        return a * u - b * u * v, d * u * v - c * v

    ku1, kv1 = slope(u, v)
    ku2, kv2 = slope(u + 0.5 * h * ku1, v + 0.5 * h * kv1)
    ku3, kv3 = slope(u + 0.5 * h * ku2, v + 0.5 * h * kv2)
    ku4, kv4 = slope(u + h * ku3, v + h * kv3)
    return u + h / 6.0 * (ku1 + 2.0 * ku2 + 2.0 * ku3 + ku4), v + h / 6.0 * (kv1 + 2.0 * kv2 + 2.0 * kv3 + kv4)


def lotka_volterra(p, steps):
    """Distance from a target after Runge-Kutta steps through the predator-prey equations; p holds rates and start."""
    *rates, u, v = p
    for _ in range(steps):
        u, v = runge_kutta_step(rates, 10.0 / steps, u, v)
    return (u - 1.0) ** 2 + (v - 2.0) ** 2


def logistic(w, b, X, y):
    """The mean negative log-likelihood of labels 0 and 1."""
    z = X @ w + b
    return np.mean(np.logaddexp(0.0, z) - y * z)


def softmax_net(W1, b1, W2, b2, X, Y):
    """The mean cross entropy of a net with one hidden layer; Y holds one-hot labels."""
    z = np.tanh(X @ W1 + b1) @ W2 + b2
    return -np.mean(np.sum(Y * fa.log_softmax(z, axis=1), axis=1))


def mixture(alphas, means, logs, lower, X):
    """The log-likelihood of a mixture of Gaussians.

    The inverse Cholesky factor of each covariance is exp(logs) on the diagonal and `lower` below it.
    """
    n, d = X.shape
    below = np.tril(np.ones((d, d)), -1)
    centred = X - means[:, None, :]                                  # k, n, d
    y = np.exp(logs)[:, None, :] * centred + centred @ np.swapaxes(lower * below, 1, 2)
    inner = (alphas + np.sum(logs, axis=1))[:, None] - 0.5 * np.sum(y * y, axis=2)
    prior = 0.5 * (np.sum(np.exp(logs) ** 2) + np.sum((lower * below) ** 2))
    return np.sum(fa.logsumexp(inner, axis=0)) - n * fa.logsumexp(alphas) - prior


def asian_paths(p, Z):
    """The discounted mean payoff of an Asian option; p: price, volatility, rate; Z: steps x paths of normal numbers."""
    price, volatility, rate = p
    h = 1.0 / len(Z)
    s, total = price, 0.0
    for z in Z:
        s = s * np.exp((rate - 0.5 * volatility * volatility) * h + volatility * math.sqrt(h) * z)
        total = total + s
    return np.exp(-rate) * np.mean(np.maximum(total / len(Z) - 100.0, 0.0))


def asian_path(p, z):
    """The discounted payoff of one path of numbers."""
    price, volatility, rate = p
    h = 1.0 / len(z)
    s, total = price, 0.0
    for k in range(len(z)):
        s = s * np.exp((rate - 0.5 * volatility * volatility) * h + volatility * math.sqrt(h) * z[k])
        total = total + s
    return np.exp(-rate) * np.maximum(total / len(z) - 100.0, 0.0)


def reprojection(q, seen):
    """The two residuals of one observation of bundle adjustment.

    q holds rotation vector, centre, focal length, principal point, radial distortion, the point, and the weight.
    """
    rotation, centre, focal, principal, radial, point, weight = q[:3], q[3:6], q[6], q[7:9], q[9:11], q[11:14], q[14]
    moved = point - centre
    angle = np.sqrt(np.sum(rotation * rotation))
    axis = rotation / angle
    turned = (moved * np.cos(angle) + np.cross(axis, moved) * np.sin(angle)
              + axis * (np.sum(axis * moved) * (1.0 - np.cos(angle))))
    flat = turned[:2] / turned[2]
    r2 = np.sum(flat * flat)
    return weight * (principal + focal * (1.0 + radial[0] * r2 + radial[1] * r2 * r2) * flat - seen)


def lstm_cell(weights, x, hidden, cell):
    """One layer's step, the one of ADBench: its new hidden and cell state."""
    (wf, wi, wo, wc), (bf, bi, bo, bc) = weights
    forget, inward = fa.sigmoid(x * wf + bf), fa.sigmoid(hidden * wi + bi)
    outward, change = fa.sigmoid(x * wo + bo), np.tanh(hidden * wc + bc)
    cell = cell * forget + inward * change
    return outward * np.tanh(cell), cell


def lstm_fit(extra, x, after):
    """How well the next character is predicted: its log-likelihood."""
    z = x * extra[1] + extra[2]
    return np.sum(after * (z - np.log(2.0 + np.sum(np.exp(z)))))


def lstm(main, extra, state, text):
    """The negative log-likelihood of a text under a recurrent net.

    `main` is layers x 2 x 4 x b: weights and biases of the four gates; `extra` is 3 x b: weights before and after the
    layers and a bias; `state` is layers x 2 x b; `text` holds b bits for each character.
    """
    layers = len(main)
    hidden = [state[k, 0] for k in range(layers)]
    cell = [state[k, 1] for k in range(layers)]
    total = 0.0
    for t in range(len(text) - 1):
        x = text[t] * extra[0]
        for k in range(layers):
            x, cell[k] = lstm_cell(main[k], x, hidden[k], cell[k])
            hidden[k] = x
        total = total + lstm_fit(extra, x, text[t + 1])
    return -total / (len(text) - 1)
