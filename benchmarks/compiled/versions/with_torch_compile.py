"""PyTorch with torch.compile; its unrolled loops would take minutes, they are left out."""

from __future__ import annotations

import torch

from .with_torch import FUNCTIONS, prepared

NAMES = {"rosenbrock_arrays", "small_net", "lennard_jones_arrays", "logistic", "softmax_net", "mixture"}


def version(workload):
    """Functions on arrays."""
    if workload.base not in NAMES:
        return None
    return lambda workload: prepared(torch.compile(FUNCTIONS[workload.base], dynamic=False), workload)
