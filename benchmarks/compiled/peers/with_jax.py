"""JAX: jit, float64; loops as scans."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import logsumexp

from ..measure import Run, flat

jax.config.update("jax_enable_x64", True)


def rosenbrock_scan(x):
    def step(last, now):
        return now, 100.0 * (now - last ** 2) ** 2 + (1.0 - last) ** 2

    return jnp.sum(lax.scan(step, x[0], x[1:])[1])


def rosenbrock(x):
    return jnp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def small_net(W1, b1, W2, b2, x, y):
    hidden = jax.nn.sigmoid(W1 @ x + b1)
    return jnp.sum((jax.nn.sigmoid(W2 @ hidden + b2) - y) ** 2)


def chain(p):
    x, y = p

    def turn(s, _):
        return 2.0 * ((s + jnp.sin(s * x + y - 0.5) / 1024.0) * 0.5), None

    return lax.scan(turn, x, length=125)[0]


def lennard_jones(x, i, j):
    d = x[i] - x[j]
    s3 = 1.0 / jnp.sum(d * d, axis=1) ** 3
    return jnp.sum(4.0 * (s3 * s3 - s3))


def lennard_jones_pairs(x):
    return lennard_jones(x, *jnp.tril_indices(len(x), -1))


def lotka_volterra(p, steps):
    a, b, c, d, u, v = p
    h = 10.0 / steps

    def slope(u, v):
        return a * u - b * u * v, d * u * v - c * v

    def step(at, _):
        u, v = at
        ku1, kv1 = slope(u, v)
        ku2, kv2 = slope(u + 0.5 * h * ku1, v + 0.5 * h * kv1)
        ku3, kv3 = slope(u + 0.5 * h * ku2, v + 0.5 * h * kv2)
        ku4, kv4 = slope(u + h * ku3, v + h * kv3)
        u = u + h / 6.0 * (ku1 + 2.0 * ku2 + 2.0 * ku3 + ku4)
        v = v + h / 6.0 * (kv1 + 2.0 * kv2 + 2.0 * kv3 + kv4)
        return (u, v), None

    u, v = lax.scan(step, (u, v), length=steps)[0]
    return (u - 1.0) ** 2 + (v - 2.0) ** 2


def logistic(w, b, X, y):
    z = X @ w + b
    return jnp.mean(jnp.logaddexp(0.0, z) - y * z)


def softmax_net(W1, b1, W2, b2, X, Y):
    z = jnp.tanh(X @ W1 + b1) @ W2 + b2
    return -jnp.mean(jnp.sum(Y * jax.nn.log_softmax(z, axis=1), axis=1))


def mixture(alphas, means, logs, lower, X):
    n, d = X.shape
    below = jnp.tril(jnp.ones((d, d)), -1)
    centred = X - means[:, None, :]
    y = jnp.exp(logs)[:, None, :] * centred + centred @ jnp.swapaxes(lower * below, 1, 2)
    inner = (alphas + jnp.sum(logs, axis=1))[:, None] - 0.5 * jnp.sum(y * y, axis=2)
    prior = 0.5 * (jnp.sum(jnp.exp(logs) ** 2) + jnp.sum((lower * below) ** 2))
    return jnp.sum(logsumexp(inner, axis=0)) - n * logsumexp(alphas) - prior


def asian_paths(p, Z):
    price, volatility, rate = p
    h = 1.0 / len(Z)

    def step(carry, z):
        s, total = carry
        s = s * jnp.exp((rate - 0.5 * volatility * volatility) * h + volatility * jnp.sqrt(h) * z)
        return (s, total + s), None

    shape = Z.shape[1:]
    _, total = lax.scan(step, (jnp.full(shape, price), jnp.zeros(shape)), Z)[0]
    return jnp.exp(-rate) * jnp.mean(jnp.maximum(total / len(Z) - 100.0, 0.0))


def reprojection(q, seen):
    rotation, centre, focal, principal, radial, point, weight = q[:3], q[3:6], q[6], q[7:9], q[9:11], q[11:14], q[14]
    moved = point - centre
    angle = jnp.sqrt(jnp.sum(rotation * rotation))
    axis = rotation / angle
    turned = (moved * jnp.cos(angle) + jnp.cross(axis, moved) * jnp.sin(angle)
              + axis * (jnp.sum(axis * moved) * (1.0 - jnp.cos(angle))))
    image = turned[:2] / turned[2]
    r2 = jnp.sum(image * image)
    return weight * (principal + focal * (1.0 + radial[0] * r2 + radial[1] * r2 * r2) * image - seen)


def lstm(main, extra, state, text):
    def step(carry, pair):
        before, after = pair
        hidden, cell = [], []
        x = before * extra[0]
        for k in range(len(main)):
            (wf, wi, wo, wc), (bf, bi, bo, bc) = main[k]
            forget, inward = jax.nn.sigmoid(x * wf + bf), jax.nn.sigmoid(carry[k, 0] * wi + bi)
            outward, change = jax.nn.sigmoid(x * wo + bo), jnp.tanh(carry[k, 0] * wc + bc)
            cell.append(carry[k, 1] * forget + inward * change)
            hidden.append(outward * jnp.tanh(cell[k]))
            x = hidden[k]
        z = x * extra[1] + extra[2]
        loss = jnp.sum(after * (z - jnp.log(2.0 + jnp.sum(jnp.exp(z)))))
        return jnp.stack([jnp.stack(hidden), jnp.stack(cell)], axis=1), loss

    return -jnp.sum(lax.scan(step, state, (text[:-1], text[1:]))[1]) / (len(text) - 1)


FUNCTIONS = {"rosenbrock2": rosenbrock, "rosenbrock_loop": rosenbrock_scan, "rosenbrock_arrays": rosenbrock,
             "lennard_jones_loop": lennard_jones_pairs, "lennard_jones_arrays": lennard_jones,
             "asian_batch": asian_paths, "bundle": reprojection, "rosenbrock_hessian": rosenbrock}
FUNCTIONS |= {f.__name__: f for f in (small_net, chain, lotka_volterra, logistic, softmax_net, mixture, asian_paths,
                                      lstm)}


def version(workload):
    """Any kind, by JAX's transforms; results are waited for."""
    f = FUNCTIONS.get(workload.base)
    if f is None:
        return None

    def prepare(workload):
        data, wanted = workload.data(), f
        if workload.base == "lotka_volterra":
            p, steps = data
            data, wanted = (p,), lambda p: lotka_volterra(p, steps)
        with_gradient = jax.value_and_grad(wanted, workload.argnums)
        made = {"batch": lambda: jax.vmap(with_gradient, (None, 0)), "jacobians": lambda: jax.vmap(jax.jacrev(f)),
                "hessian": lambda: jax.hessian(f)}.get(workload.kind, lambda: with_gradient)()
        compiled, wait = jax.jit(made), jax.block_until_ready
        return Run(lambda *args: wait(compiled(*args)), tuple([jnp.asarray(x) for x in data]), flat)

    return prepare
