"""What `scipy.optimize` asks for, of functions of structured parameters: derivatives, bounds, constraints, on vectors.

`Wired` gives a function and its derivatives on the vector of all parameters; `wired_bounds`, `wired_constraints` and
`wired_callback` do the same for the rest of a problem; `solve` calls ``scipy.optimize.minimize`` with what the method
can use.
"""
from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..tree import flatten, flatten_like
from .form import Form

if TYPE_CHECKING:
    from scipy.optimize import Bounds, OptimizeResult

    from .._typing import Array, Function, Value

__all__ = ["GRADIENT_FREE", "HESSIAN", "HESSIAN_PRODUCT", "Wired", "given_pair", "solve", "wired_bounds",
           "wired_callback", "wired_constraints"]

#: SciPy's methods that take no gradient, those that take products with the Hessian, and those that take it as a matrix.
GRADIENT_FREE = frozenset(["nelder-mead", "powell", "cobyla", "cobyqa"])
HESSIAN_PRODUCT = frozenset(["newton-cg", "trust-ncg", "trust-krylov", "trust-constr"])
HESSIAN = frozenset(["dogleg", "trust-exact"])


class Wired:
    """A function of structured parameters, and its derivatives, as functions of a vector.

    Parameters
    ----------
    f : callable
        ``f(parameters, *args)``; what has a ``value_and_grad`` of its own, such as a function of `fastad.compile`, is
        asked for its derivatives.
    form : Form
        The form of the parameters.
    args : tuple
        More arguments for `f`.
    compile : bool
        Whether to compile `f`; one that cannot be traced runs in Python.
    row : bool
        Whether `f` gives several numbers, in an array or a container: they are wanted in one row.
    sparse : bool
        Whether Jacobian and Hessian are SciPy's sparse arrays; `f` is compiled for that.

    Examples
    --------
    >>> import numpy as np
    >>> form = Form({"a": np.zeros(2), "b": 1.0})
    >>> f = Wired(lambda p, c: c * np.sum(p["a"] ** 2) * p["b"], form, (3.0,))
    >>> f.value_and_grad(np.array([1.0, 2.0, 4.0]))
    (60.0, array([24., 48., 15.]))
    >>> f.hess(np.array([1.0, 2.0, 4.0]))
    array([[24.,  0.,  6.],
           [ 0., 24., 12.],
           [ 6., 12.,  0.]])
    """

    def __init__(self, f: Function, form: Form, args: Sequence[Any] = (), compile: bool = False,
                 row: bool = False, sparse: bool = False) -> None:
        if not callable(f):
            raise ValueError(f"{form.name}: fun={f!r}, a function is needed")
        if not isinstance(args, (tuple, list)):
            raise ValueError(f"{form.name}: args={args!r}, a tuple is needed")
        self.form, self.args, self.sparse = form, tuple(args), sparse
        self.weighted: Any = None

        def flat(x: Any) -> Any:
            found = f(x if form.is_vector else form.split(x), *args)
            return joined(found) if row else found

        #: The function of the vector, for eager derivatives.
        self.flat = flat
        #: What has derivatives of its own: takes `form` and `args`.
        self.ready: Any = None
        if hasattr(f, "value_and_grad") and (form.is_vector or not sparse):
            self.ready = f
            argnums = getattr(f, "argnums", [0])
            if argnums != [0]:
                raise ValueError(f"{form.name}: the function is compiled with argnums={argnums}; the parameters are "
                                 "argument 0")
        elif compile or sparse:
            from ..compiled import compile as compiled

            self.ready, self.form, self.args = compiled(flat), Form(form.start, form.name), ()
        #: What was recorded last, and of which kind and at which point.
        self.graph: tuple[Any, Any] | None = None

    def tree_of(self, x: Array) -> Any:
        """What `ready` takes."""
        return x if self.form.is_vector else self.form.tree_of(x)

    def vector_of(self, tree: Any, what: str) -> Array:
        """What it gives for the parameters, as a vector."""
        return self.form.vector_of(tree, what)

    def value(self, x: Array) -> Any:
        """The value alone."""
        return self.flat(x) if self.ready is None else self.ready(self.tree_of(x), *self.args)

    def value_and_grad(self, x: Array) -> tuple[float, Array]:
        """The value and the gradient."""
        if self.ready is None:
            from ..transforms import value_and_grad  # only here: what knows a tape

            value, gradient = value_and_grad(self.flat)(x)
            return float(value), gradient
        value, gradient = self.ready.value_and_grad(self.tree_of(x), *self.args)
        return float(value), self.vector_of(gradient, "the gradient")

    def hvp(self, x: Array, p: Array) -> Array:
        """The product of the Hessian with a vector; the eager gradient is recorded once for all products at a point."""
        if self.ready is not None:
            return self.vector_of(self.ready.hvp(self.tree_of(x), *self.args, self.tree_of(p)), "the Hessian product")
        from ..transforms import RecordedGradient

        product: Array = self.recorded(RecordedGradient, x).product(p)
        return product

    def recorded(self, how: Callable[[Function, Array], Any], x: Array) -> Any:
        """What `how` makes of the function and a point, as long as it is asked for the same point."""
        key = how, x.tobytes()
        if self.graph is None or self.graph[0] != key:
            self.forget()                             # its records go before the new ones come
            self.graph = key, how(self.flat, x)
        return self.graph[1]

    def forget(self) -> None:
        """Drop what was recorded: SciPy's objects may live on."""
        self.graph = None

    def hess(self, x: Array) -> Any:
        """The Hessian as a matrix."""
        if self.sparse:
            return self.ready.hessian(x, *self.args, sparse=True)
        if self.ready is None:
            from ..transforms import hessian

            return np.asarray(hessian(self.flat)(x))
        if self.form.is_vector:
            return np.asarray(self.ready.hessian(x, *self.args))
        return np.stack([self.hvp(x, p) for p in np.eye(x.size)])

    def residuals(self, x: Array) -> Array:
        """The values of a function of several numbers, in one row."""
        row: Array = joined(self.value(x))
        return row

    def residuals_ahead(self, x: Array) -> Array:
        """The same for a solver that asks for the Jacobian next, at most points: both come from one recording."""
        if self.ready is not None:
            return self.residuals(x)
        from ..transforms import RecordedOutput

        row: Array = self.recorded(RecordedOutput, x).value
        return row

    def jacobian(self, x: Array) -> Any:
        """Their derivatives: a row for each output, a column for each parameter."""
        if self.sparse:
            return self.ready.jacobian(x, *self.args, sparse=True)
        if self.ready is None:
            from ..transforms import RecordedOutput

            matrix = np.asarray(self.recorded(RecordedOutput, x).jacobian())
            self.forget()
            return matrix
        return self.form.matrix_of(self.ready.jacobian(self.tree_of(x), *self.args), "the Jacobian")

    def weighted_hess(self, x: Array, weights: Array) -> Any:
        """The Hessian of the weighted sum of several outputs: a sparse array, or SciPy's LinearOperator."""
        if self.sparse:
            if self.weighted is None:
                from ..compiled import compile as compiled

                self.weighted = compiled(lambda v, weights: np.sum(weights * self.flat(v)))
            return self.weighted.hessian(x, np.asarray(weights, np.float64), sparse=True)
        from scipy.sparse.linalg import LinearOperator

        from ..transforms import RecordedGradient

        gradient = RecordedGradient(lambda v: np.sum(weights * self.flat(v)), x)
        return LinearOperator((x.size, x.size), matvec=lambda p: gradient.product(p.ravel()), dtype=np.float64)


def given_pair(found: Any, form: Form) -> tuple[float, Array]:
    """The value and the gradient that a function with jac=True has returned."""
    if not isinstance(found, (tuple, list)) or len(found) != 2:
        raise TypeError(f"{form.name}: jac=True; the function has to return (value, gradient), not "
                        f"{type(found).__name__}")
    return float(found[0]), form.vector_of(found[1], "the gradient")


def joined(outputs: Any) -> Value:
    """All entries of an array or a container, plain or Variables, in one row."""
    if type(outputs) is np.ndarray and outputs.ndim == 1 and outputs.dtype != object:
        return outputs
    leaves = [np.ravel(leaf) for leaf in flatten(outputs)[0]]
    if not leaves:
        raise TypeError(f"the function returned {type(outputs).__name__} without a number in it; a number, an array or "
                        "a container of them is needed")
    row: Value = leaves[0] if len(leaves) == 1 else np.concatenate(leaves)
    return row


def solve(fun: Any, start: Array, method: Any = None, *, jac: Any = None, hess: Any = None, hessp: Any = None,
          **more: Any) -> OptimizeResult:
    """``scipy.optimize.minimize`` on a vector, with the derivatives that the method can use.

    Parameters
    ----------
    fun : Wired
        Or anything with its ``value``, ``value_and_grad``, ``hvp`` and ``hess``.
    start : ndarray
        Where to begin.
    method : str, callable or None
        SciPy's; None as SciPy has it.
    jac, hess, hessp
        What SciPy is to use instead of the function's own derivatives, functions of the vector.
    **more
        Bounds, constraints, callback, tol and options for SciPy.

    Examples
    --------
    >>> import numpy as np
    >>> form = Form(np.zeros(2))
    >>> fun = Wired(lambda x: (x[0] - 1.0) ** 2 + (x[1] + 2.0) ** 4, form)
    >>> solve(fun, form.start, "trust-exact", options={"gtol": 1e-9}).x.round(2)
    array([ 1., -2.])
    """
    from scipy import optimize

    name = method.lower() if isinstance(method, str) else ""
    function = fun.value
    if jac is None and name not in GRADIENT_FREE:
        function, jac = fun.value_and_grad, True
    if hess is None and hessp is None:
        if name in HESSIAN_PRODUCT or callable(method):
            hessp = fun.hvp
        elif name in HESSIAN:
            hess = fun.hess
        if getattr(fun, "sparse", False):
            hess, hessp = fun.hess, None
    return optimize.minimize(function, start, method=method, jac=jac, hess=hess, hessp=hessp, **more)


def wired_bounds(bounds: Any, form: Form) -> Bounds | None:
    """Bounds of the vector from a pair for each leaf of the parameters, or from what SciPy takes for a vector."""
    from scipy.optimize import Bounds

    if bounds is None or isinstance(bounds, Bounds):
        return bounds
    if form.is_vector:
        given = list(bounds) if isinstance(bounds, Iterable) else [bounds]
        if not all(np.shape(pair) == (2,) for pair in given):
            raise ValueError(f"{form.name}: bounds={bounds!r}; a pair (low, high) for each entry of the vector, or "
                             "scipy.optimize.Bounds, is needed")
        return given
    pairs = flatten_like(form.tree, bounds, f"{form.name}: bounds")
    for pair in pairs:
        if pair is not None and (not isinstance(pair, (tuple, list)) or len(pair) != 2):
            raise ValueError(f"{form.name}: bounds has {pair!r}; for each number or array in x0 a pair (low, high) is "
                             "needed, or None; numbers, arrays of its shape or None in the pair")
    low, high = zip(*[pair or (None, None) for pair in pairs], strict=True) if pairs else ((), ())
    return Bounds(form.limits(low, -np.inf, "bounds"), form.limits(high, np.inf, "bounds"))


def wired_constraints(constraints: Any, form: Form, method: Any = None, compile: bool = False,
                      sparse: bool = False) -> list[Any]:
    """Constraints on the vector, with derivatives where the method uses them and none are given.

    A ``LinearConstraint`` is on the vector already: its matrix has a column for each entry.
    """
    from scipy.optimize import BFGS, LinearConstraint, NonlinearConstraint

    name = method.lower() if isinstance(method, str) else ""
    curved = name == "trust-constr" or callable(method)
    single = isinstance(constraints, (dict, LinearConstraint, NonlinearConstraint))
    made: list[Any] = []
    for c in constraints if isinstance(constraints, Iterable) and not single else [constraints]:
        if isinstance(c, LinearConstraint):
            made.append(c)
        elif isinstance(c, NonlinearConstraint):
            fun = Wired(c.fun, form, (), compile, row=True, sparse=sparse)
            jac = c.jac if isinstance(c.jac, str) and c.jac != "2-point" else fun.jacobian
            hess = fun.weighted_hess if curved and isinstance(c.hess, BFGS) else on_trees(c.hess, form, matrix=False)
            made.append(NonlinearConstraint(
                fun.residuals, c.lb, c.ub, jac=on_trees(c.jac, form) if callable(c.jac) else jac, hess=hess,
                keep_feasible=c.keep_feasible, finite_diff_rel_step=c.finite_diff_rel_step,
                finite_diff_jac_sparsity=c.finite_diff_jac_sparsity))
        elif isinstance(c, dict) and callable(c.get("fun")):
            fun = Wired(c["fun"], form, c.get("args", ()), compile, row=True)
            given = c.get("jac")
            made.append({**c, "fun": fun.residuals, "args": ()})
            if name not in GRADIENT_FREE:
                made[-1]["jac"] = on_trees(given, form, c.get("args", ())) if callable(given) else given or fun.jacobian
        else:
            raise ValueError(f"{form.name}: constraints has {c!r}; LinearConstraint, NonlinearConstraint or a dict "
                             "with 'type' and 'fun' is needed")
    return made


def on_trees(function: Any, form: Form, args: Sequence[Any] = (), matrix: bool = True) -> Any:
    """The caller's own derivative, a function of the parameters, on the vector; anything else as it is."""
    if not callable(function):
        return function

    def derivative(x: Array, *more: Any) -> Any:
        found = function(form.tree_of(x), *more, *args)
        return form.matrix_of(found, "a derivative") if matrix else found

    return derivative


def wired_callback(callback: Any, form: Form) -> Any:
    """A callback that is shown the parameters; SciPy looks at the names of its arguments."""
    if callback is None:
        return None
    if not callable(callback):
        raise ValueError(f"{form.name}: callback={callback!r}, a function is needed")
    if list(inspect.signature(callback).parameters) == ["intermediate_result"]:
        def show(intermediate_result: OptimizeResult) -> Any:
            kind = type(intermediate_result)
            return callback(intermediate_result=kind({**intermediate_result, "x": form.tree_of(intermediate_result.x)}))

        return show
    return lambda x, *state: callback(form.tree_of(x), *state)
