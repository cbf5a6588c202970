"""The front of the driver: functions of numbers, arrays and containers in, an OptimizeResult out."""
from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..tree import flatten_like
from .driver import Descent, ValueAndGrad
from .form import Form
from .progress import progress_display
from .rules import RULES, Rule, SpectralDescent
from .search import ACCEPT, Point

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.optimize import OptimizeResult

    Array = NDArray[np.float64]

__all__ = ["minimize"]


def minimize(f: Callable[..., Any], x0: Any, args: tuple[Any, ...] = (), method: str = "gd", *, lr: float | None = None,
             accept: str | None = None, max_iter: int = 1000, tol: float = 1e-6, maximize: bool = False,
             jac: bool = False, callback: Callable[[OptimizeResult], Any] | None = None, progress: bool = False,
             **options: Any) -> OptimizeResult:
    """Minimise a function of numbers, arrays or nested containers by gradient descent.

    Parameters
    ----------
    f : callable
        ``f(x, *args)`` returns a scalar; its gradient comes from ``fa.value_and_grad``, or from ``f.value_and_grad`` if
        it has that.
    x0 : number, array_like or nested container
        Start.
    args : tuple
        More arguments for `f`.
    method : str
        ``"gd"``, ``"momentum"``, ``"nesterov"``, ``"adagrad"``, ``"rmsprop"``, ``"adam"``, ``"adamw"`` or ``"lbfgs"``.
    lr : float, optional
        Step length. Default: the method's own. With ``accept="armijo"`` it is where the search of each step begins;
        without it ``"gd"`` chooses the length itself (Barzilai-Borwein).
    accept : {None, "decrease", "armijo", "wolfe"}
        Which steps are taken: every one; only those that lower the value; shortened until they lower it enough; with
        the strong Wolfe conditions. ``"lbfgs"`` always searches (default: ``"wolfe"``).
    max_iter : int
        Most iterations; a rejected step counts as one.
    tol : float
        Stop when the Euclidean norm of the gradient is at most `tol`.
    maximize : bool
        Go up instead.
    jac : bool
        Whether `f` returns ``(value, gradient)`` itself, as SciPy has it.
    callback : callable, optional
        Called after each iteration with an OptimizeResult (x, fun, jac, nit, nfev, grad_norm, step); returning True
        stops.
    progress : bool
        Show a progress bar (tqdm, if installed; else a line on stderr now and then).
    **options
        Options of the method: ``beta`` (momentum, nesterov), ``rho`` (rmsprop), ``beta1``, ``beta2`` (adam, adamw),
        ``weight_decay`` (adamw), ``eps``, ``memory`` (lbfgs).

    Returns
    -------
    scipy.optimize.OptimizeResult
        The best point seen, in the form of `x0`: ``x, fun, jac``; ``nit, nfev, success, status, message``; ``history``,
        a dict of arrays ``fun``, ``grad_norm``, ``step`` (its length) and ``time`` (seconds) with ``nit + 1`` entries.
        Ctrl-C, a value that is not finite and divergence end the descent with a message.

    Raises
    ------
    ValueError
        When an argument makes no sense; names it and what is allowed.

    Examples
    --------
    >>> import numpy as np
    >>> import fastad as fa
    >>> result = fa.minimize(lambda x: (x[0] - 1) ** 2 + 10 * (x[1] + 2) ** 2, np.zeros(2), method="lbfgs")
    >>> result.success, result.x.round(5)
    (True, array([ 1., -2.]))
    """
    rule = make_rule(method, lr, accept, options)
    accept = (accept if accept not in (None, "decrease") else rule.accept) if rule.accept else accept
    max_iter, tol = checked(max_iter, tol, callback)
    form, sign = Form(x0), -1.0 if maximize else 1.0
    descent = Descent(objective(f, args, form, sign, jac), form.start, rule, ACCEPT[accept],
                      downhill=accept in ("armijo", "wolfe"))
    show, close = progress_display(max_iter, sign) if progress else (None, None)

    def described(p: Point, **more: Any) -> OptimizeResult:
        x, f, g = p
        return result_type()(x=form.tree_of(x, True), fun=np.float64(sign * f), jac=form.tree_of(sign * g, True),
                             nit=descent.nit, nfev=descent.nfev, **more)

    def watch(descent: Descent) -> bool:
        if show is not None:
            show(descent)
        if callback is None:
            return False
        try:
            return callback(described(descent.point, grad_norm=descent.history["grad_norm"][-1],
                                      step=descent.history["step"][-1])) is True
        except StopIteration:
            return True

    try:
        outcome = descent.run(max_iter, tol, watch)
    finally:
        if close is not None:
            close()
    history = {name: np.array(column) for name, column in descent.history.items()}
    history["fun"] *= sign
    return described(descent.best or descent.point, success=outcome.success, status=outcome.status,
                     message=outcome.message, history=history)


def result_type() -> type[OptimizeResult]:
    """SciPy's class for results, imported when it is needed."""
    from scipy.optimize import OptimizeResult

    kind: type[OptimizeResult] = OptimizeResult
    return kind


def make_rule(method: str, lr: float | None, accept: str | None, options: dict[str, Any]) -> Rule:
    """The update rule, its options checked."""
    if not isinstance(method, str) or method not in RULES:
        raise ValueError(f"minimize: method={method!r} is not known; allowed are {', '.join(map(repr, RULES))}")
    if accept is not None and accept not in ACCEPT:
        raise ValueError(f"minimize: accept={accept!r} is not known; allowed are {', '.join(map(repr, ACCEPT))}")
    kind: type[Rule] = RULES[method]
    for name in options:
        if name not in kind.options():
            raise ValueError(f"minimize: method {method!r} has no option {name}={options[name]!r}; allowed are "
                             f"{', '.join(kind.options())}")
    if method == "gd" and lr is None and accept in ("armijo", "wolfe"):
        kind = SpectralDescent
    return kind(**options) if lr is None else kind(lr=lr, **options)


def checked(max_iter: Any, tol: Any, callback: Any) -> tuple[int, float]:
    """The stopping rules, as numbers."""
    if isinstance(max_iter, bool) or not isinstance(max_iter, (int, np.integer)) or max_iter < 0:
        raise ValueError(f"minimize: max_iter={max_iter!r}, a whole number from 0 up is needed")
    if isinstance(tol, bool) or not isinstance(tol, (int, float, np.integer, np.floating)) or not tol >= 0:
        raise ValueError(f"minimize: tol={tol!r}, a number from 0 up is needed")
    if callback is not None and not callable(callback):
        raise ValueError(f"minimize: callback={callback!r}, a function is needed")
    return int(max_iter), float(tol)


def objective(f: Callable[..., Any], args: Any, form: Form, sign: float, jac: bool) -> ValueAndGrad:
    """The function as the driver takes it: from a vector to the value and the gradient, to be minimised."""
    if not callable(f):
        raise ValueError(f"minimize: f={f!r}, a function is needed")
    if not isinstance(args, (tuple, list)):
        raise ValueError(f"minimize: args={args!r}, a tuple is needed")
    if jac:
        both = f
    elif hasattr(f, "value_and_grad"):
        both = f.value_and_grad
    else:
        from ..transforms import value_and_grad  # only here: the driver itself knows no tape

        both = value_and_grad(f)

    def value_and_gradient(x: Array) -> tuple[float, Array]:
        value, gradient = both(form.tree_of(x), *args)
        g = form.vector(flatten_like(form.tree, gradient, "minimize: the gradient"))
        return sign * float(value), sign * g if sign != 1.0 else g

    return value_and_gradient
