"""JAX: jit, float64; loops as scans, arrays in the words of NumPy."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import logsumexp

from ..measure import Run, flat
from ..peers import written_with

jax.config.update("jax_enable_x64", True)

numpy_like = written_with(jnp, SimpleNamespace(sigmoid=jax.nn.sigmoid, log_softmax=jax.nn.log_softmax,
                                               logsumexp=logsumexp))


def rosenbrock_scan(x):
    def step(last, now):
        return now, 100.0 * (now - last ** 2) ** 2 + (1.0 - last) ** 2

    return jnp.sum(lax.scan(step, x[0], x[1:])[1])


def chain(p):
    x, y = p

    def turn(s, _):
        return 2.0 * ((s + jnp.sin(s * x + y - 0.5) / 1024.0) * 0.5), None

    return lax.scan(turn, x, length=125)[0]


def lennard_jones_pairs(x):
    return numpy_like.lennard_jones_arrays(x, *jnp.tril_indices(len(x), -1))


def lotka_volterra(p, steps):
    def step(at, _):
        return numpy_like.runge_kutta_step(p[:4], 10.0 / steps, *at), None

    u, v = lax.scan(step, (p[4], p[5]), length=steps)[0]
    return (u - 1.0) ** 2 + (v - 2.0) ** 2


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


def lstm(main, extra, state, text):
    def step(carry, pair):
        before, after = pair
        x, states = before * extra[0], []
        for k in range(len(main)):
            x, cell = numpy_like.lstm_cell(main[k], x, *carry[k])
            states.append(jnp.stack([x, cell]))
        return jnp.stack(states), numpy_like.lstm_fit(extra, x, after)

    return -jnp.sum(lax.scan(step, state, (text[:-1], text[1:]))[1]) / (len(text) - 1)


FUNCTIONS = {"rosenbrock2": numpy_like.rosenbrock_arrays, "rosenbrock_loop": rosenbrock_scan,
             "rosenbrock_hessian": numpy_like.rosenbrock_arrays, "lennard_jones_loop": lennard_jones_pairs,
             "asian_batch": asian_paths, "bundle": numpy_like.reprojection}
FUNCTIONS |= {f.__name__: f for f in (chain, lotka_volterra, asian_paths, lstm)}
FUNCTIONS |= {name: getattr(numpy_like, name) for name in ("rosenbrock_arrays", "small_net", "lennard_jones_arrays",
                                                           "logistic", "softmax_net", "mixture")}


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
