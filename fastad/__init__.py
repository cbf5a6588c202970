"""Reverse-mode automatic differentiation of plain Python and NumPy code, at the speed of C.

The map of the package:

==================  ====================================================================================
``ops``             the table: one row per scalar function
``_tape``           arena, records, the sweeps
``variable``        `Variable`: a view on the tape with NumPy's operators and protocols
``math``            `sin` and its kin, made from the table
``numpy_api``       what answers NumPy functions
``transforms``      `grad`, `value_and_grad`, `jacobian`, `hessian`, `vjp`, `jvp`, `hvp`
``custom``          `Gate`, `custom_vjp`: functions with a derivative rule of the user's own
``testing``         `gradcheck`
``compiled``        `compile`, `load`: replay at the speed of C; its loops are in ``_passes`` and ``_program``
``graph``           `Graph`: explicit graphs with placeholders
``optimize``        `minimize`, `minimize_many`; the loops are in ``_descent``
``optim``           stepwise optimisers, as in torch.optim, and schedules of their learning rates
``scipy``           `scipy.optimize` with derivatives by themselves and parameters in any form
``special``         SciPy's special functions under SciPy's names; `logsumexp`, `softmax`
``pictures``        `to_dot`: what was computed, as Graphviz DOT text
``selftest``        what ``python -m fastad selftest`` runs
``explaining``      `explain`: backpropagation as a table
``debugging``       `debug_nan`: where a nan came from
``profiling``       `profile`: what a compiled function spends its time on
``observing``       what sees every record come and go
``context``         `no_grad`
``tree``            nested containers
==================  ====================================================================================
"""
from . import numpy_api, optim, special
from ._tape import build_info, tape
from ._version import __version__
from .compiled import compile, load
from .context import no_grad
from .custom import Gate, custom_vjp
from .debugging import debug_nan
from .errors import (
    AuditError,
    FormatError,
    FreedGraphError,
    GradientLostError,
    NoGradientError,
    NonFiniteError,
    PathError,
    TraceError,
)
from .explaining import explain
from .graph import Graph
from .math import *  # noqa: F403  (the functions of the table, which __all__ lists)
from .math import __all__ as _functions
from .optimize import minimize, minimize_many
from .pictures import to_dot
from .profiling import profile
from .special import log_softmax, logsumexp, softmax
from .testing import gradcheck
from .transforms import grad, hessian, hvp, jacobian, jvp, value_and_grad, vjp
from .variable import Variable, array, stop_gradient

__all__ = ["AuditError", "FormatError", "FreedGraphError", "Gate", "GradientLostError", "Graph", "NoGradientError",
           "NonFiniteError", "PathError", "TraceError", "Variable", "array", "build_info", "compile", "custom_vjp",
           "debug_nan", "explain", "grad", "gradcheck", "hessian", "hvp", "jacobian", "jvp", "load", "log_softmax",
           "logsumexp", "minimize", "minimize_many", "no_grad", "numpy_api", "optim", "profile", "softmax", "special",
           "stop_gradient", "tape", "to_dot", "value_and_grad", "vjp", "__version__", *_functions]


def __getattr__(name: str) -> object:
    """The module of SciPy's optimisers when it is first asked for, so that SciPy's own is imported no sooner."""
    if name == "scipy":
        from importlib import import_module

        return import_module(".scipy", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
