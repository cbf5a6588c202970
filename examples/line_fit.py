"""One line m x + b through one point, (10, 21): why a fixed step stalls, and how backtracking goes on.

The prediction grows fastest along its gradient (x, 1). From m = 3, b = 2 the prediction is too high, so we step against
it, 0.01 long each time, and keep a step only when the squared error falls.
"""
import numpy as np

import fastad as fa

X, Y = 10.0, 21.0
START = np.array([3.0, 2.0])


def prediction(p):
    """The line at X."""
    return p[0] * X + p[1]


def squared_error(p):
    """How far the line is from the point, squared."""
    return (prediction(p) - Y) ** 2


def direction(p):
    """The way to go: along the gradient of the prediction when it is too low, else against it."""
    return -np.sign(prediction(p) - Y) * fa.grad(prediction)(p)


def fixed_step(tries=20, step=0.01):
    """Try steps of one length; returns m and b, and how many steps were kept."""
    p, kept = START, 0
    for _ in range(tries):
        new = p + step * direction(p)
        if squared_error(new) < squared_error(p):
            p, kept = new, kept + 1
    return p, kept


def backtracking(tries=20, step=0.01):
    """The same, but a step that does not help is halved until it does."""
    p = START
    for _ in range(tries):
        d, length = direction(p), step
        while length > 1e-12 and squared_error(p + length * d) >= squared_error(p):
            length /= 2
        if length > 1e-12:
            p = p + length * d
    return p


def with_the_driver():
    """Both as ``fa.minimize`` does it, along the gradient of the squared error."""
    return (fa.minimize(squared_error, START, lr=0.01, accept="decrease", max_iter=20),
            fa.minimize(squared_error, START, lr=0.01, accept="armijo", max_iter=20))


def main():
    """Print it."""
    (m, b), kept = fixed_step()
    print(f"fixed step:   m = {m:.4f}, b = {b:.4f} after {kept} kept steps of 20, prediction {prediction((m, b)):.4f}")
    m, b = backtracking()
    print(f"backtracking: m = {m:.4f}, b = {b:.4f}, prediction {prediction((m, b)):.10f}")
    for result in with_the_driver():
        print(f"fa.minimize:  m, b = {result.x.round(4)}, squared error {result.fun:.2e} - {result.message}")


if __name__ == "__main__":
    main()
