"""Gradient descent: `minimize`, `minimize_many`, update rules and its ways to accept a step.

==============  ================================================================
``methods``     the methods and their options; rules, searches and iterations are in
                C (``fastad/_rules.pxi``, ``_iterations.pxi``, ``_descent.pyx``)
``schedules``   step lengths by iteration
``newton``      the steps of newton-cg
``plan``        what the arguments of both ask for
``objective``   the function as the iterations take it; compiled ones without Python
``driver``      the iterations as Python drives them, and why they end
``batches``     minibatches
``many``        `minimize_many`
``bridge``      SciPy's methods by name
``result``      SciPy's result with ``plot``
``progress``    a bar, or a line now and then
``checks``      arguments, checked
``form``        structured parameters as one vector
``wiring``      what SciPy asks for: derivatives, bounds and constraints on vectors
==============  ================================================================
"""
from .many import minimize_many
from .minimize import minimize

__all__ = ["minimize", "minimize_many"]
