"""Gates: how each operation passes the gradient on.

A sum distributes it, a product switches the factors, a maximum routes it to the larger argument.
"""
import numpy as np

import fastad as fa


class Multiply(fa.Gate):
    """A gate of our own: it keeps its inputs on the way forward and uses them on the way back."""

    def forward(self, x, y):
        """The product."""
        self.x, self.y = x, y
        return x * y

    def backward(self, upstream):
        """Each factor gets the other one."""
        return [self.y * upstream, self.x * upstream]


def gradients_of(function, *values):
    """The value of a function of scalars and its partial derivatives."""
    variables = [fa.Variable(v) for v in values]
    out = function(*variables)
    out.backward()
    return out.item(), [0.0 if v.grad is None else float(v.grad) for v in variables]


def sum_times(x, y, z):
    """(x + y) z."""
    return (x + y) * z


def product_and_maximum(x, y, z, w):
    """(x y + max(z, w)) 2."""
    return (x * y + np.maximum(z, w)) * 2


def neuron(w0, x0, w1, x1, w2):
    """A sigmoid neuron with two inputs and a bias."""
    return 1.0 / (1.0 + np.exp(-(w0 * x0 + w1 * x1 + w2)))


def own_gate(x, y, z):
    """(x + y) z with our own gate."""
    return Multiply()(x + y, z)


def squared_norm():
    """|W x|² with its gradients for W and x."""
    W, x = np.array([[0.1, 0.5], [-0.3, 0.8]]), np.array([0.2, 0.4])
    value, (gW, gx) = fa.value_and_grad(lambda W, x: np.sum((W @ x) ** 2), argnums=(0, 1))(W, x)
    return value, gW, gx


def vectors():
    """The Jacobian of a gate between vectors: a relu has a diagonal one, a linear map its own matrix."""
    x = np.array([1.0, -2.0, 3.0])
    A = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    return fa.jacobian(fa.relu)(x), fa.jacobian(lambda x: A @ x)(x)


def main():
    """Print it."""
    for name, function, values in (("(x + y) z", sum_times, (-2.0, 5.0, -4.0)),
                                   ("(x y + max(z, w)) 2", product_and_maximum, (3.0, -4.0, 2.0, -1.0)),
                                   ("sigmoid neuron", neuron, (2.0, -1.0, -3.0, -2.0, -3.0)),
                                   ("(x + y) z, own gate", own_gate, (-2.0, 5.0, -4.0))):
        value, gradients = gradients_of(function, *values)
        print(f"{name:20s} at {values}: {value:.4f}, gradients {[round(g, 4) for g in gradients]}")
    value, gW, gx = squared_norm()
    print(f"|W x|^2 = {value:.3f}, gradient of W {gW.round(3).tolist()}, of x {gx.round(3).tolist()}")
    relu, linear = vectors()
    print(f"Jacobian of a relu:\n{relu}\nof a linear map:\n{linear}")


if __name__ == "__main__":
    main()
