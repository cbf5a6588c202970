"""The delta rule for one sigmoid layer: the change of the weights by its formula and by the tape.

The error is E = 1/2 sum (t - o)², the outputs are o = sigmoid(W x + b). The rule changes the weights by
lr * (t - o) o (1 - o) xᵀ, which is a step against the gradient of E.
"""
import numpy as np

import fastad as fa

X = np.array([0.2, -0.4, 0.7])
T = np.array([1.0, 0.0])
W0 = np.array([[0.1, -0.2, 0.3], [0.4, 0.5, -0.6]])
B0 = np.array([0.05, -0.05])


def error(W, b):
    """E = 1/2 sum (t - o)²."""
    return 0.5 * np.sum((T - fa.sigmoid(W @ X + b)) ** 2)


def by_formula(W, b):
    """The delta rule's direction for W and b."""
    o = fa.sigmoid(W @ X + b)
    delta = (T - o) * o * (1 - o)
    return np.outer(delta, X), delta


def by_tape(W, b):
    """The negative gradient of E."""
    gW, gb = fa.grad(error, argnums=(0, 1))(W, b)
    return -gW, -gb


def train(rule, steps=200, lr=2.0):
    """The error before each step and after the last one."""
    W, b, errors = W0, B0, []
    for _ in range(steps):
        errors.append(float(error(W, b)))
        dW, db = rule(W, b)
        W, b = W + lr * dW, b + lr * db
    return [*errors, float(error(W, b))]


def main():
    """Print it."""
    for name, rule in (("formula", by_formula), ("tape", by_tape)):
        dW, db = rule(W0, B0)
        print(f"by the {name}: dW =\n{dW}\ndb = {db}")
        errors = train(rule)
        print("error: " + ", ".join(f"{errors[k]:.6f}" for k in (0, 1, 10, 100, 200)))


if __name__ == "__main__":
    main()
