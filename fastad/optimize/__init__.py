"""Gradient descent: `minimize`, its update rules and its ways to accept a step.

==============  ================================================================
``rules``       the methods: gradient descent, momentum, Adam, L-BFGS, ...
``search``      which step is taken: as it is, only if lower, Armijo, Wolfe
``form``        structured parameters as one vector
``wiring``      what SciPy asks for: derivatives, bounds and constraints on vectors
``driver``      the iterations, and why they end
``progress``    a bar, or a line now and then
==============  ================================================================
"""
from .minimize import minimize

__all__ = ["minimize"]
