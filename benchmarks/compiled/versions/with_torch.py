"""PyTorch: recorded anew in each call, one thread."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import numpy as np
import torch

from ..measure import Run, flat
from ..peers import written_with

torch.set_num_threads(1)


numpy_like = written_with(
    SimpleNamespace(**{name: getattr(torch, name) for name in ("sum", "exp", "log", "mean", "tril", "swapaxes", "tanh",
                                                               "sin", "cos", "sqrt")},
                    ones=functools.partial(torch.ones, dtype=torch.float64), cross=torch.linalg.cross,
                    maximum=lambda x, least: torch.clamp(x, min=least)),
    SimpleNamespace(sigmoid=torch.sigmoid, logsumexp=lambda x, axis=0: torch.logsumexp(x, axis)))


def logistic(w, b, X, y):
    return torch.nn.functional.binary_cross_entropy_with_logits(X @ w + b, y)


def softmax_net(W1, b1, W2, b2, X, Y):
    return torch.nn.functional.cross_entropy(torch.tanh(X @ W1 + b1) @ W2 + b2, Y)


FUNCTIONS = {"rosenbrock2": numpy_like.rosenbrock_arrays, "rosenbrock_hessian": numpy_like.rosenbrock_arrays,
             "bundle": numpy_like.reprojection, "logistic": logistic, "softmax_net": softmax_net}
FUNCTIONS |= {name: getattr(numpy_like, name) for name in ("rosenbrock_arrays", "small_net", "lennard_jones_arrays",
                                                           "mixture", "asian_paths", "lstm")}


def prepared(f, workload):
    """Leaves that require gradients, then `f` and its backward pass in each call."""
    data = [torch.as_tensor(np.asarray(x)) for x in workload.data()]
    if workload.kind == "jacobians":
        blocks = torch.func.vmap(torch.func.jacrev(f))
        return Run(blocks, tuple(data), lambda J: [J])
    if workload.kind == "hessian":
        return Run(torch.func.hessian(f), tuple(data), lambda H: [H])
    leaves = [data[k].requires_grad_() for k in workload.argnums]

    def call(*args):
        value = f(*args)
        return value.detach(), torch.autograd.grad(value, leaves)

    return Run(call, tuple(data), flat)


def version(workload):
    """Arrays, and what has to be a loop."""
    f = FUNCTIONS.get(workload.base)
    return f and functools.partial(prepared, f)
