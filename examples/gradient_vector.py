"""The gradient of a function of two variables, and steps along and against it.

The function is x² + y² + xy. Its gradient at (1, 3) is the vector of both partial derivatives,
(2x + y, 2y + x) = (5, 7); its length √74 is the steepest slope there.
"""
import numpy as np

import fastad as fa

START = np.array([1.0, 3.0])


def f(p):
    """The function of p = (x, y)."""
    return p[0] ** 2 + p[1] ** 2 + p[0] * p[1]


def gradient():
    """The gradient at the start, and its length."""
    g = fa.grad(f)(START)
    return g, np.linalg.norm(g)


def walk(direction, steps=5, lr=0.1):
    """Points and values of a few steps, downhill with direction -1, uphill with +1."""
    p, rows = START, []
    for _ in range(steps):
        value, g = fa.value_and_grad(f)(p)
        rows.append((p, value))
        p = p + direction * lr * g
    return [*rows, (p, f(p))]


def descent():
    """All the way down, with the driver."""
    return fa.minimize(f, START, lr=0.1, tol=1e-8)


def main():
    """Print it."""
    g, length = gradient()
    print(f"gradient at (1, 3): {g}, length {length:.4f} = sqrt(74)")
    for name, direction in (("descent", -1), ("ascent", +1)):
        print(name)
        for (x, y), value in walk(direction):
            print(f"  f({x:8.4f}, {y:8.4f}) = {value:9.4f}")
    result = descent()
    print(f"the minimum: f = {result.fun:.1e} at {result.x.round(6) + 0.0}, {result.nit} steps")


if __name__ == "__main__":
    main()
