"""Numba: value and gradient by hand, as for C, in loops that it compiles."""

from __future__ import annotations

import numba
import numpy as np

from ..measure import Run


@numba.njit
def rosenbrock(x):
    total, g = 0.0, np.zeros_like(x)
    for i in range(len(x) - 1):
        t, u = x[i + 1] - x[i] * x[i], 1.0 - x[i]
        total += 100.0 * t * t + u * u
        g[i] += -400.0 * x[i] * t - 2.0 * u
        g[i + 1] = 200.0 * t
    return total, g


@numba.njit
def lennard_jones(x):
    energy, g = 0.0, np.zeros_like(x)
    for i in range(len(x)):
        for j in range(i):
            dx, dy, dz = x[i, 0] - x[j, 0], x[i, 1] - x[j, 1], x[i, 2] - x[j, 2]
            s = 1.0 / (dx * dx + dy * dy + dz * dz)
            s3 = s * s * s
            energy += 4.0 * (s3 * s3 - s3)
            force = -24.0 * s * (2.0 * s3 * s3 - s3)
            for k, d in enumerate((dx, dy, dz)):
                g[i, k] += force * d
                g[j, k] -= force * d
    return energy, g


@numba.njit
def lotka_volterra(p, steps):
    """Stages are kept on the way forward and read backwards."""
    a, b, c, d, u, v = p
    h = 10.0 / steps
    us, vs = np.empty((steps, 4)), np.empty((steps, 4))
    reach, weight = np.array([0.0, 0.5 * h, 0.5 * h, h]), np.array([h / 6.0, h / 3.0, h / 3.0, h / 6.0])
    for n in range(steps):
        ku, kv, du, dv = 0.0, 0.0, 0.0, 0.0
        for s in range(4):
            x, y = u + reach[s] * ku, v + reach[s] * kv
            us[n, s], vs[n, s] = x, y
            ku, kv = a * x - b * x * y, d * x * y - c * y
            du += weight[s] * ku
            dv += weight[s] * kv
        u, v = u + du, v + dv
    g = np.zeros(6)
    gu, gv = 2.0 * (u - 1.0), 2.0 * (v - 2.0)
    for n in range(steps - 1, -1, -1):
        ru, rv, ku_bar, kv_bar = gu, gv, 0.0, 0.0       # the step's start; the slope that the stage after has used
        for s in range(3, -1, -1):
            x, y = us[n, s], vs[n, s]
            gku, gkv = weight[s] * gu + ku_bar, weight[s] * gv + kv_bar
            g[0] += gku * x
            g[1] -= gku * x * y
            g[2] -= gkv * y
            g[3] += gkv * x * y
            x_bar, y_bar = gku * (a - b * y) + gkv * d * y, gkv * (d * x - c) - gku * b * x
            ru += x_bar
            rv += y_bar
            ku_bar, kv_bar = reach[s] * x_bar, reach[s] * y_bar
        gu, gv = ru, rv
    g[4], g[5] = gu, gv
    return (u - 1.0) ** 2 + (v - 2.0) ** 2, g


VERSIONS = {"rosenbrock2": rosenbrock, "rosenbrock_loop": rosenbrock, "rosenbrock_arrays": rosenbrock,
            "lennard_jones_loop": lennard_jones, "lennard_jones_arrays": lennard_jones,
            "lotka_volterra": lotka_volterra}


def version(workload):
    """A few loops; of the atoms it takes the positions only."""
    f = VERSIONS.get(workload.base)
    if f is None:
        return None
    return lambda workload: Run(f, workload.data()[:1] if f is lennard_jones else workload.data())
