"""The front of the driver: functions of numbers, arrays and containers in, an OptimizeResult out."""
from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .batches import descend_batches
from .bridge import scipy_descent
from .checks import checked_bounds, checked_callback, checked_count
from .driver import descend
from .form import Form
from .objective import Objective, objective_of
from .plan import Plan, limits_of
from .progress import Show, progress_display, stops

if TYPE_CHECKING:
    from .._typing import Array
    from .result import Result

__all__ = ["minimize"]


def minimize(f: Callable[..., Any], x0: Any, args: tuple[Any, ...] = (), method: str = "gd", *,
             lr: float | Callable[[int], float] | None = None, schedule: str | Callable[[int], float] | None = None,
             accept: str | None = None, bounds: Any = None, constraints: Any = (), clip_norm: float | None = None,
             clip_value: float | None = None, max_iter: int = 1000, tol: float = 1e-6, ftol: float | None = None,
             xtol: float | None = None, max_time: float | None = None, maximize: bool = False, jac: bool = False,
             callback: Callable[[Result], Any] | None = None, callback_every: int = 1, progress: bool = False,
             record_x: bool = False, data: Any = None, batch_size: int | None = None, epochs: int | None = None,
             shuffle: Any = None, **options: Any) -> Result:
    """Minimise a function of numbers, arrays or nested containers by gradient descent.

    With a function of `fastad.compile` the iterations run without Python and without the GIL, except for newton-cg and
    SciPy's methods.

    Parameters
    ----------
    f : callable
        ``f(x, *args)`` returns a scalar; its gradient comes from ``fa.value_and_grad``, or from ``f.value_and_grad`` if
        it has that.
    x0 : number, array_like or nested container
        Start. A list of nothing but numbers is a vector.
    args : tuple
        More arguments for `f`.
    method : str
        ``"gd"``, ``"momentum"``, ``"nesterov"``, ``"adagrad"``, ``"rmsprop"``, ``"adam"``, ``"adamw"``, ``"lbfgs"``,
        ``"newton-cg"``; or one of ``scipy.optimize.minimize``: ``"scipy:L-BFGS-B"``, ``"scipy:trust-constr"``, ...,
        with its options as `options`.
    lr : float or callable, optional
        Step length, or what gives it for iteration 0, 1, ... (it may be asked ahead). Default: the method's own. With
        ``accept="armijo"`` it is where the search of each step begins; without it ``"gd"`` chooses the length itself
        (Barzilai-Borwein).
    schedule : str or callable, optional
        Factor of `lr` by iteration: ``"cosine"`` (options ``T_max``: max_iter, ``eta_min``: 0), ``"exponential"``
        (``gamma``: 0.999), ``"step"`` (``step_size``: 100, ``gamma``: 0.1), or a function.
    accept : {None, "decrease", "armijo", "wolfe"}
        Which steps are taken: every one; only those that lower the value; shortened until they lower it enough; with
        the strong Wolfe conditions. ``"lbfgs"`` and ``"newton-cg"`` always search (default: ``"wolfe"`` and
        ``"armijo"``; with bounds ``"armijo"``).
    bounds : optional
        A pair (low, high) for each entry of a vector, for each number or array of a container; None: no bound; or
        ``scipy.optimize.Bounds``. Steps are projected; the gradient's norm is then that of
        ``x - project(x - gradient)``.
    constraints : optional
        SciPy's, for its methods that take them; derivatives of their functions are supplied.
    clip_norm, clip_value : float, optional
        The gradient that a rule is shown is shortened to this norm, its entries to this size.
    max_iter : int
        Most iterations; a rejected step counts as one.
    tol : float
        Stop when the Euclidean norm of the gradient is at most `tol`.
    ftol, xtol : float, optional
        Stop when the value changes by at most ``ftol * max(1, |f|)``, or x by ``xtol * max(1, |x|)``, in a step.
    max_time : float, optional
        Stop after so many seconds, at the end of an iteration.
    maximize : bool
        Go up instead.
    jac : bool
        Whether `f` returns ``(value, gradient)`` itself, as SciPy has it.
    callback : callable, optional
        Called after each iteration, or each `callback_every`, with an OptimizeResult (x, fun, jac, nit, nfev,
        grad_norm, step); returning True, or raising StopIteration, stops.
    progress : bool
        Show a progress bar (tqdm, if installed; else a line on stderr now and then).
    record_x : bool
        Whether the history has the places, too.
    data : array or sequence of arrays, optional
        Minibatches: `f` is then called as ``f(x, *batch, *args)`` with `batch_size` rows (default 32; the last batch of
        an epoch may be shorter) of each array, `epochs` times (default 10) through the data, in an order drawn anew by
        `shuffle` for each epoch (a seed, a NumPy Generator, True; None: as they stand). One step for each batch;
        `max_iter` does not count.
    **options
        Options of the method: ``beta`` (momentum, nesterov), ``dampening`` (momentum), ``lr_decay`` (adagrad), ``rho``,
        ``centered``, ``momentum`` (rmsprop), ``beta1``, ``beta2``, ``amsgrad`` (adam, adamw), ``weight_decay`` (adamw),
        ``eps``, ``memory`` (lbfgs), ``cg_iter`` (newton-cg); and of the schedule.

    Returns
    -------
    scipy.optimize.OptimizeResult
        The best point seen, in the form of `x0`: ``x, fun, jac``; ``nit, nfev, success, status, message``; ``history``,
        a dict of arrays ``fun``, ``grad_norm``, ``step`` (its length), ``time`` (seconds) and, with `record_x`, ``x``,
        with an entry for the start and each iteration; ``plot()``. With minibatches these are those of the whole data
        at the start and after each epoch, and ``batch_fun``, ``batch_grad_norm`` have an entry for each step.
        Ctrl-C, a value that is not finite and divergence end the descent with a message; status is 0 for success, 1
        max_iter, 2 no step accepted, 3 not finite, 4 diverged, 5 callback, 6 Ctrl-C, 7 max_time.

    Raises
    ------
    ValueError
        When an argument makes no sense; names it and what is allowed.

    Examples
    --------
    >>> import numpy as np
    >>> import fastad as fa
    >>> def f(x):
    ...     return (x[0] - 1) ** 2 + 10 * (x[1] + 2) ** 2
    >>> result = fa.minimize(f, np.zeros(2), method="lbfgs")
    >>> result.success, result.x.round(5)
    (True, array([ 1., -2.]))
    >>> fa.minimize(fa.compile(f), np.zeros(2), lr=0.05, bounds=[(None, 0.5), (None, None)]).x.round(5)
    array([ 0.5, -2. ])
    """
    form = Form(x0)
    objective = objective_of(f, form, args, jac)
    limits = limits_of(form.name, max_iter, tol, ftol, xtol, max_time, maximize)
    checked_callback(form.name, callback)
    every = checked_count(form.name, "callback_every", callback_every, 1) if callback is not None else None
    report = Report(form, limits["sign"], objective, callback, progress, record_x)
    if isinstance(method, str) and method.startswith("scipy:"):
        refuse(method, lr=lr, schedule=schedule, accept=accept, clip_norm=clip_norm, clip_value=clip_value, data=data)
        return scipy_descent(method.removeprefix("scipy:"), objective, form, limits, None if tol == 1e-6 else tol,
                             checked_bounds(bounds, form), constraints, report, options)
    if constraints not in ((), [], None):
        raise ValueError(f"minimize: constraints={constraints!r}; method={method!r} takes none, 'scipy:trust-constr' "
                         "and 'scipy:SLSQP' do")
    plan = Plan(form, limits, method, options, lr=lr, schedule=schedule, accept=accept, bounds=bounds,
                clip_norm=clip_norm, clip_value=clip_value)
    if data is not None:
        return descend_batches(f, form, args, data, plan, report, accept, batch_size, epochs, shuffle)
    refuse(method, "data", batch_size=batch_size, epochs=epochs, shuffle=shuffle)
    descent = plan.descent(form.start, record_x or form.start.size == 2)
    with report.shown(limits["max_iter"]):
        outcome = descend(descent, objective, limits, report.watch if report.watches else None, every, plan.bounds,
                          plan.cg_iter)
    columns = descent.history
    history = dict(zip(("fun", "grad_norm", "step", "time"), columns, strict=False))
    return report.result(descent.best, descent, outcome, history, columns[4] if len(columns) > 4 else None)


def refuse(method: str, needs: str | None = None, **arguments: Any) -> None:
    """Arguments that say nothing here."""
    for name, value in arguments.items():
        if value is not None:
            raise ValueError(f"minimize: {name}={value!r} is for minibatches; data is needed, too" if needs
                             else f"minimize: {name}={value!r} is not for SciPy's methods (method={method!r})")


class Report:
    """What the caller sees: of the function that goes up or down as he gave it, in the form of x0."""

    def __init__(self, form: Form, sign: float, objective: Objective, callback: Any, progress: bool,
                 record_x: bool) -> None:
        self.form, self.sign, self.objective, self.callback, self.progress = form, sign, objective, callback, progress
        self.record_x = record_x
        self.show: Show | None = None
        self.close: Callable[[], None] = lambda: None

    @property
    def watches(self) -> bool:
        """Whether there is anything to do between iterations."""
        return self.show is not None or self.callback is not None

    def shown(self, total: int, unit: str = "iteration") -> Report:
        """Itself, with a bar for so many iterations if that is wanted."""
        if self.progress:
            self.show, self.close = progress_display(self.form.name, total, unit)
        return self

    def __enter__(self) -> Report:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def watch(self, descent: Any) -> bool:
        """Show how far it is; True: the callback wants to stop. Takes a Descent or what has its attributes."""
        if self.show is not None:
            self.show(descent.nit, f"fun={self.sign * descent.f:.6g}, |grad|={descent.norm:.2g}")
        if self.callback is None:
            return False
        point = self.described((descent.x, descent.f, descent.g), descent)
        point.update(grad_norm=descent.norm, step=descent.length)
        return stops(self.callback, point)

    def described(self, point: tuple[Array, float, Array], descent: Any, path: Array | None = None) -> Result:
        """A point as a result."""
        from .result import Result  # with SciPy, which need not be loaded before

        x, f, g = point
        form = self.form
        return Result({"x": form.tree_of(x, True), "fun": np.float64(self.sign * f),
                       "jac": form.tree_of(self.sign * g, True), "nit": descent.nit, "nfev": descent.nfev}, path,
                      lambda x: self.objective(x)[0])

    def result(self, point: tuple[Array, float, Array], descent: Any, outcome: Any, history: dict[str, Array],
               path: Array | None) -> Result:
        """The result; `path` has the places of the history, if somebody wants them."""
        if self.sign < 0.0:
            np.negative(history["fun"], out=history["fun"])
        if self.record_x and path is not None:
            history["x"] = path
        made = self.described(point, descent, path if path is not None and path.shape[1] == 2 else None)
        made.update(success=outcome.success, status=outcome.status, message=outcome.message, history=history)
        return made
