"""fastad and other packages that record what their numbers go through, each on the same work."""

from __future__ import annotations

import importlib.util
import operator

import fastad as fa

from .workloads import scalar_chain

PEERS = {}


def peer(cls):
    """Register a package to compare with under its own name."""
    PEERS[cls.__name__.lower()] = cls
    return cls


class Package:
    """A package that records what its numbers go through; the defaults are PyTorch's manners."""

    #: Length of the scalar chain.
    operations = 100_000
    #: A product of two arrays, finished when it returns.
    product = operator.mul

    def record(self):
        """Record the scalar chain; whatever :meth:`backward` needs comes back."""
        return scalar_chain(self.array(0.7), self.array(0.3), self.operations, self.sin)

    def backward(self, output):
        """Compute the gradient of what was recorded."""
        output.backward()


class Fastad(Package):
    """Variables, recorded and swept."""

    def __init__(self):
        self.sin, self.array = fa.sin, fa.Variable


@peer
class Torch(Package):
    """Tensors with ``requires_grad``, one thread."""

    def __init__(self):
        import torch

        torch.set_num_threads(1)
        self.torch, self.sin = torch, torch.sin

    def array(self, values):
        """A float64 tensor that requires a gradient."""
        return self.torch.tensor(values, dtype=self.torch.float64, requires_grad=True)


@peer
class Autograd(Package):
    """HIPS autograd: boxes around NumPy values."""

    operations = 10_000
    array = None        # its boxes live inside a trace only

    def __init__(self):
        import autograd
        import autograd.numpy

        self.make_vjp, self.sin = autograd.make_vjp, autograd.numpy.sin

    def record(self):
        """The chain inside a trace."""
        pull, _ = self.make_vjp(lambda p: scalar_chain(p[0], p[1], self.operations, self.sin))((0.7, 0.3))
        return pull

    def backward(self, pull):
        """Pull the seed back."""
        pull(1.0)


@peer
class Xad(Package):
    """XAD's Python module: active reals on a tape."""

    array = None        # scalars only

    def __init__(self):
        import xad.adj_1st
        import xad.math

        self.xad, self.sin = xad.adj_1st, xad.math.sin

    def record(self):
        """The chain on active reals."""
        tape = self.xad.Tape()
        tape.activate()
        x, y = self.xad.Real(0.7), self.xad.Real(0.3)
        tape.registerInput(x)
        tape.registerInput(y)
        tape.newRecording()
        return tape, (x, y), scalar_chain(x, y, self.operations, self.sin)

    def backward(self, recorded):
        """Seed the output and compute the adjoints."""
        tape, _, output = recorded
        tape.registerOutput(output)
        output.setAdjoint(1.0)
        tape.computeAdjoints()
        tape.deactivate()


@peer
class Jax(Package):
    """``jax.vjp`` without jit, in float64."""

    operations = 800    # tens of microseconds each

    def __init__(self):
        import jax

        jax.config.update("jax_enable_x64", True)
        self.jax, self.sin = jax, jax.numpy.sin

    def record(self):
        """Linearise the chain."""
        return self.jax.vjp(lambda x, y: scalar_chain(x, y, self.operations, self.sin), 0.7, 0.3)[1]

    def backward(self, pull):
        """Pull the seed back and wait for the result."""
        self.jax.block_until_ready(pull(1.0))

    @staticmethod
    def product(u, v):
        """JAX returns before it has computed."""
        return (u * v).block_until_ready()

    def array(self, values):
        """A JAX array; outside of a transform nothing is recorded, so the figure is a lower bound."""
        return self.jax.numpy.asarray(values)


@peer
class Casadi(Package):
    """SX expressions: "record" builds the expression and the function of its gradient, "backward" calls it."""

    operations = 10_000
    array = None        # symbols, nothing is computed when they are combined

    def __init__(self):
        import casadi

        self.casadi, self.sin = casadi, casadi.sin

    def record(self):
        """Build the expression and a function for value and gradient."""
        p = self.casadi.SX.sym("p", 2)
        value = scalar_chain(p[0], p[1], self.operations, self.sin)
        return self.casadi.Function("f", [p], [value, self.casadi.gradient(value, p)])

    def backward(self, function):
        """Evaluate value and gradient."""
        function([0.7, 0.3])


@peer
class Mygrad(Package):
    """Tensors that are NumPy arrays within."""

    operations = 10_000

    def __init__(self):
        import mygrad

        self.sin, self.array = mygrad.sin, mygrad.tensor


def installed(names=None):
    """The packages that can be imported here, or those of them in `names`, by name."""
    found = {"fastad": Fastad} | PEERS
    return {name: cls() for name, cls in found.items()
            if (names is None or name in names) and importlib.util.find_spec(name) is not None}
