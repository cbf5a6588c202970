"""`scipy.optimize` with derivatives by themselves and parameters in any form: `minimize`, `least_squares`, `root`.

Functions have SciPy's names, arguments and results. What they add: parameters are numbers, arrays or nested containers
of them; gradients, Jacobians, Hessians and products with these come from fastad, for constraints, too.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .optimize.form import Form
from .optimize.wiring import Wired, given_pair, on_trees, solve, wired_bounds, wired_callback, wired_constraints

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

    from ._typing import Array, Function

__all__ = ["least_squares", "minimize", "root"]


def minimize(fun: Function, x0: Any, args: tuple[Any, ...] = (), method: str | Callable[..., Any] | None = None, *,
             jac: Any = None, hess: Any = None, hessp: Any = None, bounds: Any = None, constraints: Any = (),
             tol: float | None = None, callback: Function | None = None, options: Mapping[str, Any] | None = None,
             compile: bool = False, sparse: bool = False) -> OptimizeResult:
    """``scipy.optimize.minimize`` with gradient, Hessian products or Hessian supplied, as the method uses them.

    Parameters
    ----------
    fun : callable
        ``fun(x, *args)`` returns a scalar. A function of `fastad.compile` is replayed.
    x0 : number, array or nested container
        Start. A list is a container, too; for a vector give an array.
    args : tuple
        More arguments for `fun`.
    method : str or callable, optional
        SciPy's. Newton-CG, trust-ncg, trust-krylov and trust-constr get products with the Hessian, dogleg and
        trust-exact the Hessian, those without derivatives nothing, all others the gradient.
    jac, hess, hessp : optional
        Instead of fastad's: functions ``jac(x, *args)``, ``hess(x, *args)`` and ``hessp(x, p, *args)`` of parameters in
        the form of `x0` (``jac=True``: `fun` returns value and gradient), or SciPy's words and strategies.
    bounds : optional
        A pair (low, high) for each number or array, in the form of `x0`; low and high are numbers, arrays of its shape
        or None. Or what SciPy takes: a list of pairs for a vector, or ``Bounds`` for all entries in their order.
    constraints : optional
        SciPy's, with functions of parameters in the form of `x0`. Jacobians and Hessians are supplied, except where
        they are given (``hess=BFGS()`` is SciPy's default and counts as not given).
    tol, options : optional
        SciPy's.
    callback : callable, optional
        SciPy's, with parameters in the form of `x0`.
    compile : bool
        Whether to compile `fun`, and the functions of constraints, for this call: worth it when it takes many
        evaluations of Python loops. What cannot be traced runs in Python, with a warning.
    sparse : bool
        For trust-constr: Hessians, and Jacobians and Hessians of ``NonlinearConstraint``, as sparse arrays of the
        elements that can be other than zero. Functions are compiled for that.

    Returns
    -------
    scipy.optimize.OptimizeResult
        SciPy's; ``x`` and the gradient, ``jac`` (of trust-constr ``grad``), have the form of `x0`, other arrays those
        of the vector of all entries.

    Raises
    ------
    ValueError
        When an argument makes no sense; names it and what is allowed.

    Examples
    --------
    >>> import numpy as np
    >>> import fastad as fa
    >>> def f(p):
    ...     return np.sum((p["a"] - 1.0) ** 2) + (p["b"] - p["a"][0]) ** 4
    >>> result = fa.scipy.minimize(f, {"a": np.zeros(2), "b": 3.0}, method="trust-ncg", bounds=None)
    >>> result.x["a"].round(6)
    array([1., 1.])
    >>> result = fa.scipy.minimize(f, {"a": np.zeros(2), "b": 3.0}, bounds={"a": (None, 0.5), "b": (2.0, None)})
    >>> result.x
    {'a': array([0.5, 0.5]), 'b': np.float64(2.0)}
    """
    form = Form(x0, "fa.scipy.minimize").not_empty("SciPy")
    if sparse and (method != "trust-constr" or hess is not None or hessp is not None):
        raise ValueError(f"{form.name}: sparse=True is for method='trust-constr' with fastad's own Hessian, not for "
                         f"method={method!r}, hess={hess!r}, hessp={hessp!r}")
    more = {"bounds": wired_bounds(bounds, form), "tol": tol, "callback": wired_callback(callback, form),
            "constraints": wired_constraints(constraints, form, method, compile, sparse),
            "options": checked_options(options, form)}
    own = jac is None or isinstance(jac, str)
    problem = Wired(fun, form, args, compile, sparse=sparse) if own else Given(fun, form, args, jac, sparse)
    result = solve(problem, form.start, method, jac=jac if isinstance(jac, str) else None,
                   hess=on_trees(hess, form, args, matrix=False), hessp=product_on_trees(hessp, form, args), **more)
    result.x = form.tree_of(result.x, own_dtype=True)
    for name in ("jac", "grad"):                      # of trust-constr `jac` is the list of the constraints' Jacobians
        if isinstance(result.get(name), np.ndarray):
            result[name] = form.tree_of(result[name], own_dtype=True)
    return result


class Given:
    """A function whose gradient is the caller's; second derivatives are fastad's."""

    def __init__(self, fun: Function, form: Form, args: tuple[Any, ...], jac: Any, sparse: bool) -> None:
        if jac is not True and not callable(jac):
            raise ValueError(f"{form.name}: jac={jac!r}; a function, True, a word of SciPy's or None is needed")
        wired = Wired((lambda *args: fun(*args)[0]) if jac is True else fun, form, args, sparse=sparse)
        self.value, self.hvp, self.hess, self.sparse = wired.value, wired.hvp, wired.hess, sparse
        self.fun, self.form, self.args, self.jac = fun, form, args, jac

    def value_and_grad(self, x: Array) -> tuple[Any, Array]:
        """The value and the gradient."""
        tree = self.form.tree_of(x)
        found = self.fun(tree, *self.args)
        if self.jac is True:
            return given_pair(found, self.form)
        return found, self.form.vector_of(self.jac(tree, *self.args), "the gradient")


def checked_options(options: Any, form: Form) -> dict[str, Any] | None:
    """SciPy's options of the method."""
    if options is not None and not isinstance(options, Mapping):
        raise ValueError(f"{form.name}: options={options!r}; a dict is needed")
    return None if options is None else dict(options)


def product_on_trees(hessp: Any, form: Form, args: tuple[Any, ...]) -> Any:
    """The caller's own product with the Hessian, on vectors."""
    if hessp is None:
        return None
    if not callable(hessp):
        raise ValueError(f"{form.name}: hessp={hessp!r}; a function is needed")
    return lambda x, p: form.vector_of(hessp(form.tree_of(x), form.tree_of(p), *args), "the Hessian product")


def least_squares(fun: Function, x0: Any, args: tuple[Any, ...] = (), bounds: Any = (-np.inf, np.inf),
                  method: str = "trf", *, jac: Any = None, x_scale: Any = None, callback: Function | None = None,
                  compile: bool = False, sparse: bool = False, **options: Any) -> OptimizeResult:
    """``scipy.optimize.least_squares`` with the Jacobian supplied.

    Parameters
    ----------
    fun : callable
        ``fun(x, *args)`` returns the residuals: an array of any shape, or a container of them. A function of
        `fastad.compile` is replayed.
    x0 : number, array or nested container
        Start.
    args : tuple
        More arguments for `fun`.
    bounds : tuple or Bounds
        SciPy's (low, high): each a number for all, or numbers and arrays in the form of `x0`.
    method : str
        SciPy's: ``"trf"``, ``"dogbox"`` or ``"lm"``.
    jac : optional
        Instead of fastad's: a function ``jac(x, *args)`` of parameters in the form of `x0`, or one of SciPy's words.
    x_scale : optional
        SciPy's; or numbers and arrays in the form of `x0`.
    callback : callable, optional
        SciPy's, with parameters in the form of `x0`.
    compile : bool
        Whether to compile `fun` for this call; see `minimize`.
    sparse : bool
        Hand SciPy the Jacobian as a sparse array of the elements that can be other than zero (``"trf"`` and
        ``"dogbox"``): for many parameters each of which few residuals depend on. `fun` is compiled for that.
    **options
        SciPy's: ``ftol``, ``xtol``, ``gtol``, ``loss``, ``f_scale``, ``max_nfev``, ``tr_solver``, ``verbose``, ...

    Returns
    -------
    scipy.optimize.OptimizeResult
        SciPy's; ``x`` and ``grad`` have the form of `x0`, ``jac``, too, with an axis for the residuals in front of each
        array, unless it is sparse. ``fun`` is the vector of all residuals.

    Examples
    --------
    >>> import numpy as np
    >>> import fastad as fa
    >>> t = np.linspace(0.0, 4.0, 9)
    >>> y = 3.0 * np.exp(-0.5 * t)
    >>> def misfit(p):
    ...     return p["height"] * np.exp(-p["rate"] * t) - y
    >>> result = fa.scipy.least_squares(misfit, {"height": 1.0, "rate": 1.0})
    >>> result.x
    {'height': np.float64(3.0), 'rate': np.float64(0.5)}
    """
    from scipy import optimize

    form = Form(x0, "fa.scipy.least_squares").not_empty("SciPy")
    if sparse and jac is not None:
        raise ValueError(f"{form.name}: sparse=True is about fastad's own Jacobian, but there is jac={jac!r}")
    problem = Wired(fun, form, args, compile, row=True, sparse=sparse)
    if x_scale is not None:
        options["x_scale"] = x_scale if isinstance(x_scale, str) else form.vector_like(x_scale, 1.0, "x_scale")
    if callback is not None:
        options["callback"] = wired_callback(callback, form)
    if not isinstance(bounds, optimize.Bounds):
        if not isinstance(bounds, (tuple, list)) or len(bounds) != 2:
            raise ValueError(f"{form.name}: bounds={bounds!r}; a pair (low, high) is needed, or Bounds")
        bounds = form.vector_like(bounds[0], -np.inf, "bounds"), form.vector_like(bounds[1], np.inf, "bounds")
    derivative = problem.jacobian if jac is None else on_trees(jac, form, args)
    residuals = problem.residuals_ahead if jac is None else problem.residuals
    try:
        result = optimize.least_squares(residuals, form.start, derivative, bounds, method, **options)
    finally:
        problem.forget()
    result.x = form.tree_of(result.x, own_dtype=True)
    if not form.is_vector:
        result.grad = form.tree_of(result.grad)
        if isinstance(result.jac, np.ndarray):
            result.jac = form.tree_of_rows(result.jac)
    return result


def root(fun: Function, x0: Any, args: tuple[Any, ...] = (), method: str = "hybr", *, jac: Any = None,
         tol: float | None = None, callback: Function | None = None, options: Mapping[str, Any] | None = None,
         compile: bool = False, sparse: bool = False) -> OptimizeResult:
    """``scipy.optimize.root`` with the Jacobian supplied to the methods that use one, hybr and lm.

    Parameters
    ----------
    fun : callable
        ``fun(x, *args)`` returns as many numbers as `x0` has: an array or a container of them. A function of
        `fastad.compile` is replayed.
    x0 : number, array or nested container
        Start.
    args : tuple
        More arguments for `fun`.
    method : str
        SciPy's.
    jac : optional
        Instead of fastad's: a function ``jac(x, *args)`` of parameters in the form of `x0`; False: SciPy's differences.
    tol, options : optional
        SciPy's.
    callback : callable, optional
        SciPy's, with parameters in the form of `x0`; hybr and lm have none.
    compile : bool
        Whether to compile `fun` for this call; see `minimize`.
    sparse : bool
        Refused: none of SciPy's methods takes a sparse Jacobian. hybr and lm factorise a dense one, krylov and its kin
        take none; for many equations with few unknowns each `least_squares` has use for one.

    Returns
    -------
    scipy.optimize.OptimizeResult
        SciPy's; ``x`` has the form of `x0`, ``fun`` is the vector of all values.

    Raises
    ------
    ValueError
        When an argument makes no sense; names it and what is allowed.

    Examples
    --------
    >>> import numpy as np
    >>> import fastad as fa
    >>> def f(p):
    ...     return p["x"] ** 2 + p["y"] - 3.0, np.exp(p["x"] - 1.0) - p["y"] + 1.0
    >>> result = fa.scipy.root(f, {"x": 2.0, "y": 2.0})
    >>> result.success, result.x
    (True, {'x': np.float64(1.0), 'y': np.float64(2.0)})
    """
    from scipy import optimize

    form = Form(x0, "fa.scipy.root").not_empty("SciPy")
    if sparse:
        raise ValueError(f"{form.name}: sparse={sparse!r}; SciPy's methods for roots take no sparse Jacobian, those of "
                         "fa.scipy.least_squares do: sparse=True there finds roots, too, where the cost is 0")
    problem = Wired(fun, form, args, compile, row=True)
    if jac is not None and jac is not False and not callable(jac):
        raise ValueError(f"{form.name}: jac={jac!r}; a function, False or None is needed")
    if jac is not None:
        derivative = on_trees(jac, form, args)
    else:
        derivative = problem.jacobian if isinstance(method, str) and method.lower() in ("hybr", "lm") else None
    result = optimize.root(problem.residuals, form.start, method=method, jac=derivative, tol=tol,
                           callback=wired_callback(callback, form), options=checked_options(options, form))
    result.x = form.tree_of(np.asarray(result.x, np.float64), own_dtype=True)
    return result
