"""Explicit graphs: write the nodes down first, feed numbers later.

First a layer of three nodes, Matmul, Add and Sigmoid, with two variables and a placeholder. Then a chain of five
functions: its derivative is the product of the five local derivatives, which we look at node by node.
"""
import math
from collections.abc import Callable
from typing import Any

import numpy as np

import fastad as fa

CHAIN: list[Callable[[Any], Any]] = [lambda x: 2.0 * x, np.sin, np.exp, np.square, np.log]


def layer():
    """The graph of sigmoid(W x + b), the node of its output, and that of the sum of the outputs."""
    g = fa.Graph()
    x = g.placeholder("x", shape=(2,))
    W = g.variable("W", [[0.1, 0.2], [0.3, 0.4]])
    b = g.variable("b", [0.5, 0.6])
    y = fa.sigmoid(W @ x + b)
    return g, y, np.sum(y)


def evaluate(feed):
    """Outputs, gradients and the operations in the order in which they are evaluated."""
    g, y, total = layer()
    g.forward(total, x=feed)
    return g.value(y), g.backward(total), [node.operation for node in g.nodes], str(g)


def chain(x0=0.4):
    """Rows of (operation, value, local derivative, derivative of the output), and the derivative of the chain."""
    g = fa.Graph()
    x = node = g.placeholder("x", shape=())
    nodes = [x] + [node := f(node) for f in CHAIN]
    g.forward(node, x=x0)
    g.backward(node)
    local = [fa.grad(f)(g.value(before)) for f, before in zip(CHAIN, nodes, strict=False)]
    rows = [(n.operation, float(g.value(n)), float(d), float(g.grad(n))) for n, d in zip(nodes[1:], local, strict=True)]
    return rows, float(g.grad(x))


def main():
    """Print it."""
    for feed in ([1.0, 2.0], [3.0, -1.0]):
        value, gradients, _, table = evaluate(feed)
        print(f"x = {feed}: outputs {value.round(4)}, gradient of b {gradients['b'].round(4)}, "
              f"of W {gradients['W'].round(4).tolist()}")
    print(table)
    rows, derivative = chain()
    print("\nnode      value     local derivative   derivative of the output with respect to it")
    for operation, value, local, upstream in rows:
        print(f"{operation:9s} {value:9.5f} {local:12.5f} {upstream:12.5f}")
    print(f"product of the local derivatives {math.prod(row[2] for row in rows):.8f}, dy/dx {derivative:.8f}")


if __name__ == "__main__":
    main()
