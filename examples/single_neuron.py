"""A single neuron w x with squared error: the gradient by hand beside the tape's.

At w = 1, x = 1, y = 2 the loss is 1 and the gradient 2 (w x - y) x = -2. Then y = 2 x is learnt from x = 1..4, starting
from w = 0 with step 0.01. The gradient of the mean squared error is 2 mean(x²) (w - 2) = 15 (w - 2), so that each step
takes 15 % off the distance to 2: after ten steps w = 2 - 2 * 0.85^10.
"""
import numpy as np

import fastad as fa

X = np.array([1.0, 2.0, 3.0, 4.0])
Y = 2.0 * X


def one_point():
    """Loss and gradient at w = 1, x = 1, y = 2."""
    w = fa.Variable(1.0, name="w")
    loss = (w * 1.0 - 2.0) ** 2
    loss.backward()
    return loss.item(), w.grad


def training(steps=10, lr=0.01):
    """Rows of (w, gradient by hand, gradient by the tape), and the last w."""
    w, rows = fa.Variable(0.0, name="w"), []
    for _ in range(steps):
        loss = np.mean((w * X - Y) ** 2)
        loss.backward()
        by_hand = np.mean(2.0 * (w.value * X - Y) * X)
        rows.append((float(w.value), float(by_hand), float(w.grad)))
        w.value -= lr * w.grad
        w.zero_grad()
    return rows, w.item()


def main():
    """Print it."""
    loss, gradient = one_point()
    print(f"w = 1, x = 1, y = 2: loss {loss:g}, gradient {gradient:g}")
    rows, w = training()
    print("       w   by hand      tape")
    for row in rows:
        print("{:8.5f} {:9.5f} {:9.5f}".format(*row))
    print(f"{w:8.5f}   (2 - 2 * 0.85^10 = {2 - 2 * 0.85 ** 10:.5f})")


if __name__ == "__main__":
    main()
