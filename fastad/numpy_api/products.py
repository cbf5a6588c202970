"""The derivatives of products and cumulative functions, without a division: of arrays, of Variables, and in traces.

Every function here takes arrays or Variables. An adjoint that is nothing stays nothing.
"""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import variable
from ..variable import value_of

if TYPE_CHECKING:
    from .._typing import Array, Shape, Value

__all__ = ["cumprod_gradient", "cumsum_gradient", "flow", "prod_gradient"]


def flow(partial: Value, g: Value) -> Value:
    """A partial times an adjoint that may be nothing."""
    return variable.call_row("flow", partial, g)


def products_before(x: Value) -> Value:
    """The product of all elements before each one along the last axis; no division, so that zeros do no harm."""
    ones = np.ones((*x.shape[:-1], 1))
    return np.cumprod(np.concatenate([ones, x[..., :-1]], axis=-1), axis=-1)


def prod_gradient(x: Value, g: Value, axes: Shape) -> Value:
    """For each factor the product of all others, those before times those behind; g has any shape of that size."""
    last = tuple(range(-len(axes), 0))
    moved = np.moveaxis(x, axes, last)
    rows = np.reshape(moved, (*moved.shape[:moved.ndim - len(axes)], -1))
    others = products_before(rows) * products_before(rows[..., ::-1])[..., ::-1]
    return flow(np.moveaxis(np.reshape(others, moved.shape), last, axes),
                np.reshape(g, [1 if d in axes else n for d, n in enumerate(x.shape)]))


def cumsum_gradient(g: Value, axis: int) -> Value:
    """A cumsum from the other end."""
    return np.flip(np.cumsum(np.flip(g, axis), axis), axis)


def cumprod_gradient(x: Value, products: Value, g: Value, axis: int) -> Value:
    """The product of everything before an element, times what follows and is still to be multiplied."""
    x, products, g = [np.moveaxis(z, axis, -1) for z in (x, products, g)]
    before = np.concatenate([np.ones((*x.shape[:-1], 1)), products[..., :-1]], axis=-1)
    return np.moveaxis(flow(before, from_the_end(x, g)), -1, axis)


def from_the_end(x: Value, g: Value) -> Value:
    """``s[k] = g[k] + x[k + 1] s[k + 1]`` along the last axis."""
    x = np.concatenate([x[..., 1:], np.zeros((*x.shape[:-1], 1))], axis=-1)[..., ::-1]
    g = g[..., ::-1]
    if variable.is_tracing() or not (isinstance(x, variable.Variable) or isinstance(g, variable.Variable)):
        return solve(x, g)[..., ::-1]
    plain = solve(np.asarray(value_of(x)), np.asarray(value_of(g)))
    return variable.call(Recurrence(plain, value_of(x)), [x, g], [plain], "cumprod")[0][..., ::-1]


def solve(x: Value, g: Value) -> Value:
    """``s[k] = g[k] + x[k] s[k - 1]`` along the last axis, s[-1] being nothing."""
    s = [g[..., 0]]
    for k in range(1, g.shape[-1]):
        s.append(g[..., k] + flow(x[..., k], s[-1]))
    return np.stack(s, axis=-1)


class Recurrence:
    """The derivative of `solve`, of Variables: the same recurrence from the end."""

    exact = True                                      # keeps what is nothing in the upstream nothing

    def __init__(self, s: Array, x: Array) -> None:
        self.s, self.x = s, x

    def forward(self, inputs: list[Array]) -> list[Array]:
        """The solution for other coefficients."""
        self.x = np.reshape(inputs[0], self.x.shape).copy()
        self.s = solve(self.x, np.reshape(inputs[1], self.x.shape))
        return [self.s.reshape(-1)]

    def gradient(self, x: Value, s: Value, upstream: Value) -> list[Any]:
        """The gradients of x and g."""
        t = from_the_end(x, np.reshape(upstream, self.x.shape))
        first = np.full((*self.x.shape[:-1], 1), -0.0)
        return [np.ravel(np.concatenate([first, flow(s[..., :-1], t[..., 1:])], axis=-1)), np.ravel(t)]

    def pull(self, upstream: list[Array]) -> list[Array]:
        """Gradients of coefficients and right-hand sides."""
        return self.gradient(self.x, self.s, upstream[0])

    def recorded_pull(self, operands: list[Value], results: list[Value], upstream: list[Value]) -> list[Value]:
        """The same with Variables."""
        return self.gradient(np.reshape(operands[0], self.x.shape), np.reshape(results[0], self.x.shape), upstream[0])
