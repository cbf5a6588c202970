"""A 4-5-2-1 net, relu, relu, sigmoid: the chain rule written out by hand beside the engine, entry by entry.

The derivative with respect to one weight is the sum, over all ways from that weight to the loss, of the product of the
local derivatives on the way. Then a gradient check of the same net: it passes, and it fails when somebody forgets the
derivative of an activation.
"""
import numpy as np

import fastad as fa
from fastad.testing import gradient_report

rng = np.random.default_rng(20)
PARAMETERS = {
    "W1": rng.normal(size=(5, 4)), "b1": rng.normal(size=5),
    "W2": rng.normal(size=(2, 5)), "b2": np.array([0.5, 0.5]),
    "W3": rng.normal(size=(1, 2)), "b3": np.array([0.1]),
}
x = np.array([0.5, -1.0, 2.0, 0.3])
target = 1.0


def loss(p, activation=fa.sigmoid):
    """The squared error of the net."""
    h1 = fa.relu(p["W1"] @ x + p["b1"])
    h2 = fa.relu(p["W2"] @ h1 + p["b2"])
    return np.sum((activation(p["W3"] @ h2 + p["b3"]) - target) ** 2)


def by_hand(p):
    """The gradient of all weights and biases, from products of local derivatives."""
    z1 = p["W1"] @ x + p["b1"]
    h1 = np.maximum(z1, 0.0)
    z2 = p["W2"] @ h1 + p["b2"]
    h2 = np.maximum(z2, 0.0)
    o = 1 / (1 + np.exp(-(p["W3"] @ h2 + p["b3"])[0]))
    d_loss = 2 * (o - target)                      # of the squared error
    d_sigmoid = o * (1 - o)
    d_relu1, d_relu2 = (z1 > 0) * 1.0, (z2 > 0) * 1.0
    g = {name: np.zeros_like(value) for name, value in p.items()}
    g["b3"][0] = d_loss * d_sigmoid
    for k in range(2):
        g["W3"][0, k] = d_loss * d_sigmoid * h2[k]
        g["b2"][k] = d_loss * d_sigmoid * p["W3"][0, k] * d_relu2[k]
        for i in range(5):
            g["W2"][k, i] = d_loss * d_sigmoid * p["W3"][0, k] * d_relu2[k] * h1[i]
    for i in range(5):
        for k in range(2):                         # two ways lead on from each hidden unit
            way = d_loss * d_sigmoid * p["W3"][0, k] * d_relu2[k] * p["W2"][k, i] * d_relu1[i]
            g["b1"][i] += way
            for j in range(4):
                g["W1"][i, j] += way * x[j]
    return g


def by_engine(p):
    """The same gradient from the tape."""
    return fa.grad(loss)(p)


@fa.custom_vjp
def forgetful_sigmoid(z):
    """A sigmoid whose author forgot its derivative."""
    return fa.sigmoid(z)


forgetful_sigmoid.defvjp(lambda z: (fa.sigmoid(z), None), lambda residuals, g: (g,))


def checks():
    """Reports of the gradient check: of the net, and of the net with the forgotten derivative."""
    return (gradient_report(loss, PARAMETERS),
            gradient_report(lambda p: loss(p, forgetful_sigmoid), PARAMETERS))


def main():
    """Print it."""
    hand, engine = by_hand(PARAMETERS), by_engine(PARAMETERS)
    print("entry          by hand       engine")
    for name in PARAMETERS:
        for index in np.ndindex(hand[name].shape):
            print(f"{name}{list(index)!s:8} {hand[name][index]:12.8f} {engine[name][index]:12.8f}")
    for report in checks():
        print()
        print(report)


if __name__ == "__main__":
    main()
