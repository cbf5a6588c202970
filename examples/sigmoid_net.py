"""A 2-2-2 sigmoid net with hooks: what goes into every layer, and what flows back into every one of its inputs.

Each layer calls its forward hooks with its inputs and its output, and its backward hooks with the gradient of the
output and of *every* input, weights and biases included. The sweep starts with the seed (1, 1).
"""
import numpy as np

import fastad as fa


class Layer:
    """A function of named inputs, with hooks."""

    def __init__(self, name, function, **weights):
        self.name, self.function = name, function
        self.weights = {key: fa.Variable(value, name=key) for key, value in weights.items()}
        self.forward_hooks, self.backward_hooks = [], []

    def __call__(self, x):
        """Compute the output, call the forward hooks and place the backward hooks."""
        inputs = {"x": x, **self.weights}
        out = self.function(**inputs)
        for hook in self.forward_hooks:
            hook(self, {key: value.value for key, value in inputs.items()}, out.value)
        for key, value in {**inputs, "out": out}.items():
            value.register_hook(lambda g, key=key: [hook(self, key, g) for hook in self.backward_hooks] and None)
        return out


def make_net():
    """Two layers of weights, each with a sigmoid behind it; the biases have shape (1,) and broadcast."""
    def weighted_sum(x, W, b):
        return W @ x + b

    return [
        Layer("sum 1", weighted_sum, W=[[0.15, 0.20], [0.25, 0.30]], b=[0.35]),
        Layer("sigmoid 1", lambda x: fa.sigmoid(x)),
        Layer("sum 2", weighted_sum, W=[[0.40, 0.45], [0.50, 0.55]], b=[0.60]),
        Layer("sigmoid 2", lambda x: fa.sigmoid(x)),
    ]


def run():
    """Outputs of the layers by name, and gradients by (layer, input), as the hooks saw them."""
    outputs, gradients, net = {}, {}, make_net()
    for layer in net:
        layer.forward_hooks.append(lambda layer, inputs, out: outputs.update({layer.name: out}))
        layer.backward_hooks.append(lambda layer, key, g: gradients.update({(layer.name, key): np.array(g)}))
    value = x = fa.Variable([0.05, 0.1], name="input")
    for layer in net:
        value = layer(value)
    value.backward(np.array([1.0, 1.0]))
    assert np.array_equal(x.grad, gradients["sum 1", "x"])       # what the hook saw is what is left in .grad
    return outputs, gradients


def main():
    """Print it."""
    outputs, gradients = run()
    print("forward")
    for name, out in outputs.items():
        print(f"  {name:10s} -> {out.round(4)}")
    print("backward")
    for (name, key), g in gradients.items():
        print(f"  {name:10s} {key:4s} {np.array2string(g.round(4), separator=' ').replace(chr(10), '')}")


if __name__ == "__main__":
    main()
