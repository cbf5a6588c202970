"""PyTorch: recorded anew in each call, one thread."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch

from ..measure import Run, flat

torch.set_num_threads(1)


def rosenbrock(x):
    return torch.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def small_net(W1, b1, W2, b2, x, y):
    hidden = torch.sigmoid(W1 @ x + b1)
    return torch.sum((torch.sigmoid(W2 @ hidden + b2) - y) ** 2)


def lennard_jones(x, i, j):
    d = x[i] - x[j]
    s3 = 1.0 / torch.sum(d * d, dim=1) ** 3
    return torch.sum(4.0 * (s3 * s3 - s3))


def logistic(w, b, X, y):
    return torch.nn.functional.binary_cross_entropy_with_logits(X @ w + b, y)


def softmax_net(W1, b1, W2, b2, X, Y):
    return torch.nn.functional.cross_entropy(torch.tanh(X @ W1 + b1) @ W2 + b2, Y)


def mixture(alphas, means, logs, lower, X):
    n = len(X)
    L = torch.tril(lower, -1)
    centred = X - means[:, None, :]
    y = torch.exp(logs)[:, None, :] * centred + centred @ L.mT
    inner = (alphas + torch.sum(logs, dim=1))[:, None] - 0.5 * torch.sum(y * y, dim=2)
    prior = 0.5 * (torch.sum(torch.exp(logs) ** 2) + torch.sum(L ** 2))
    return torch.sum(torch.logsumexp(inner, dim=0)) - n * torch.logsumexp(alphas, dim=0) - prior


def asian_paths(p, Z):
    price, volatility, rate = p
    h = 1.0 / len(Z)
    s, total = price, 0.0
    for z in Z:
        s = s * torch.exp((rate - 0.5 * volatility * volatility) * h + volatility * math.sqrt(h) * z)
        total = total + s
    return torch.exp(-rate) * torch.mean(torch.clamp(total / len(Z) - 100.0, min=0.0))


def reprojection(q, seen):
    rotation, centre, focal, principal, radial, point, weight = q[:3], q[3:6], q[6], q[7:9], q[9:11], q[11:14], q[14]
    moved = point - centre
    angle = torch.sqrt(torch.sum(rotation * rotation))
    axis = rotation / angle
    turned = (moved * torch.cos(angle) + torch.linalg.cross(axis, moved) * torch.sin(angle)
              + axis * (torch.sum(axis * moved) * (1.0 - torch.cos(angle))))
    image = turned[:2] / turned[2]
    r2 = torch.sum(image * image)
    return weight * (principal + focal * (1.0 + radial[0] * r2 + radial[1] * r2 * r2) * image - seen)


def lstm(main, extra, state, text):
    layers = len(main)
    hidden, cell = [state[k, 0] for k in range(layers)], [state[k, 1] for k in range(layers)]
    total = 0.0
    for t in range(len(text) - 1):
        x = text[t] * extra[0]
        for k in range(layers):
            (wf, wi, wo, wc), (bf, bi, bo, bc) = main[k]
            forget, inward = torch.sigmoid(x * wf + bf), torch.sigmoid(hidden[k] * wi + bi)
            outward, change = torch.sigmoid(x * wo + bo), torch.tanh(hidden[k] * wc + bc)
            cell[k] = cell[k] * forget + inward * change
            hidden[k] = x = outward * torch.tanh(cell[k])
        z = x * extra[1] + extra[2]
        total = total + torch.sum(text[t + 1] * (z - torch.log(2.0 + torch.sum(torch.exp(z)))))
    return -total / (len(text) - 1)


FUNCTIONS = {"rosenbrock2": rosenbrock, "rosenbrock_arrays": rosenbrock, "lennard_jones_arrays": lennard_jones,
             "rosenbrock_hessian": rosenbrock, "bundle": reprojection}
FUNCTIONS |= {f.__name__: f for f in (small_net, logistic, softmax_net, mixture, asian_paths, lstm)}


def prepared(f, workload):
    """Leaves that require gradients, then `f` and its backward pass in each call."""
    data = [torch.as_tensor(np.asarray(x)) for x in workload.data()]
    if workload.kind == "jacobians":
        blocks = torch.func.vmap(torch.func.jacrev(f))
        return Run(blocks, tuple(data), lambda J: [J])
    if workload.kind == "hessian":
        return Run(torch.func.hessian(f), tuple(data), lambda H: [H])
    leaves = [data[k].requires_grad_() for k in workload.argnums]

    def call(*args):
        value = f(*args)
        return value.detach(), torch.autograd.grad(value, leaves)

    return Run(call, tuple(data), flat)


def version(workload):
    """Arrays, and what has to be a loop."""
    f = FUNCTIONS.get(workload.base)
    return f and functools.partial(prepared, f)
