"""Random programs of scalar and array operations with in-place writes, for tests that compare two readings of one."""
import numpy as np
from hypothesis import strategies as st

import fastad as fa

N = 4
small = st.integers(0, 7)
numbers = st.floats(-2.0, 2.0)

#: A program is a list of (step, i, j, c): which step, its operands among what was computed last, a constant.
programs = st.lists(st.tuples(st.integers(0, 15), small, small, numbers), min_size=1, max_size=14)
points = st.lists(numbers, min_size=2 * N + 1, max_size=2 * N + 1)


def written(u, v, s, i, c):
    """A vector written to in place: by number, constant, slice, and index list with an element twice."""
    w = u.copy()
    w[i] = s
    w[(i + 1) % N] = c
    w[::2] = v[1::2]
    w[[0, 3, 0]] = np.stack([s, s * c, c + s])
    return w


def assembled(u, v, s, i, c):
    """A constant block, read before and after something is written into it."""
    z = np.full_like(u, c)
    before = z * u
    z[i] = s
    after = z * v
    z[1:3] = c + 1.0
    return before + after + z


STEPS = [
    lambda u, v, s, i, c: u + v * s,
    lambda u, v, s, i, c: np.tanh(u * v - c),
    lambda u, v, s, i, c: np.maximum(u, v),
    lambda u, v, s, i, c: np.maximum(u, c) / (2.0 + v * v),
    lambda u, v, s, i, c: np.where(np.arange(N) < i, u, v),
    lambda u, v, s, i, c: np.where(np.arange(N) < i, u, c) - np.where([[True], [False]], u, 2.0 * v)[1],
    lambda u, v, s, i, c: np.outer(u, v) @ v + np.stack([u, v]).T @ np.stack([s, c * s]),
    lambda u, v, s, i, c: np.concatenate([u[:2], v[2:]])[::-1],
    written,
    assembled,
    lambda u, v, s, i, c: fa.array([s, c, u[i], s * v[i]]),
    lambda u, v, s, i, c: np.take(u, [3, 0, 0, 1]) + np.tile(v[:2], 2),
    lambda u, v, s, i, c: np.sum(u * v) * s,
    lambda u, v, s, i, c: fa.sin(u[i] * s) - np.maximum(v[i], s) * c,
    lambda u, v, s, i, c: np.sum(np.outer(u, v) + s, axis=0)[i] / (3.0 + fa.maximum(u[i], c) ** 2),
    lambda u, v, s, i, c: c - s * np.minimum(c, s) + np.sum(np.broadcast_to(u, (3, N))[:, i]),
]


def inputs(point):
    """The arguments of a program: two vectors and a number."""
    return np.array(point[:N]), np.array(point[N:-1]), point[-1]


def run(program, u, v, s):
    """All vectors and numbers that a program computes, without its arguments."""
    vectors, scalars, out = [u, v], [s], []
    for step, i, j, c in program:
        result = STEPS[step](vectors[-1 - i % len(vectors)], vectors[-1 - j % len(vectors)],
                             scalars[-1 - j % len(scalars)], i % N, c)
        (vectors if np.ndim(result) else scalars).append(result)
        out.append(result)
    return out


def total(results):
    """One bounded number that depends on all results."""
    return sum(np.sum(np.tanh(r)) for r in results)
