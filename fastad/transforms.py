"""Function transforms: from a Python function to the function that gives its derivatives.

Each runs the function once on Variables that stand for its arguments and reads the tape backwards, `jvp` with tangents.
(A `jvp` within another transform reads backwards twice: the transpose of the transpose.) Nothing is left on the tape
afterwards, and no gradient of an eager Variable is touched.

Transforms nest. Where an argument is a recorded Variable, or the function uses one that an outer transform
differentiates with respect to, the sweep is recorded and its results are Variables; otherwise they are plain arrays.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any

import numpy as np

from . import variable
from .errors import refuse_masked
from .tree import flatten, flatten_like, leaf_names

if TYPE_CHECKING:
    from ._typing import Argnums, Array, Function, Options

__all__ = ["grad", "hessian", "hvp", "jacobian", "jvp", "value_and_grad", "vjp"]


#: Types of arguments that are no containers, for sure.
NUMBERS_AND_ARRAYS = frozenset([float, int, np.float64, np.float32, np.ndarray])
ONE = np.ones(())


def only(values: Sequence[Any]) -> Any:
    """Rebuild a container that is none."""
    return values[0]


class Inputs:
    """The differentiated arguments of one call: Variables in their place, and what a gradient is given back as."""

    def __init__(self, name: str, argnums: Argnums, args: Sequence[Any]) -> None:
        self.single = not isinstance(argnums, (tuple, list))
        numbers = list(argnums) if isinstance(argnums, (tuple, list)) else [argnums]
        for k in numbers:
            if not isinstance(k, (int, np.integer)) or not -len(args) <= k < len(args):
                raise ValueError(f"{name}: argnums={argnums!r} does not name one of the {len(args)} positional "
                                 "arguments given")
        if len({k % len(args) for k in numbers}) < len(numbers):
            raise ValueError(f"{name}: argnums={argnums!r} names an argument twice")
        chosen = args[numbers[0]] if self.single else [args[k] for k in numbers]
        self.values: list[Any] = [chosen]
        self.rebuild: Callable[[list[Any]], Any] = only
        if type(chosen) not in NUMBERS_AND_ARRAYS:
            self.values, self.rebuild = flatten(chosen)
        ready = [checked(name, v) for v in self.values]
        self.nested = variable.is_tracing() or any(isinstance(v, variable.Variable) for v in ready)
        self.variables = [variable.input_variable(v) for v in ready]
        self.args = list(args)
        trees = self.rebuild(self.variables)
        for k, tree in zip(numbers, [trees] if self.single else trees, strict=True):
            self.args[k] = tree

    def call(self, function: Function, kwargs: Options) -> Any:
        """The function on the inputs, recorded also where the caller records nothing."""
        token = variable.enter_transform(self.variables)
        try:
            return function(*self.args, **kwargs)
        finally:
            variable.leave_transform(token)

    def shaped(self, gradients: Sequence[Any]) -> Any:
        """Gradients in the form, and the floating dtype, of the arguments."""
        trees = self.rebuild([like(v, g) for v, g in zip(self.values, gradients, strict=True)])
        return trees if self.single else tuple(trees)

    def pull(self, outputs: Sequence[Any], seeds: Sequence[Any]) -> list[Any]:
        """Gradients of outputs with these adjoints.

        Arrays; or Variables, and `nested` is true, where an outer transform, or an eager graph that arguments belong
        to, is to differentiate them.
        """
        pairs = [(y, seed) for y, seed in zip(outputs, seeds, strict=True) if isinstance(y, variable.Variable)]
        ys, given = [y for y, _ in pairs], [seed for _, seed in pairs]
        if not self.nested and not any(isinstance(seed, variable.Variable) for seed in given):
            found = variable.pull_back(ys, given, self.variables)
            if found is not None:
                return found
            self.nested = True
        recorded = variable.recorded_pull(ys, given, self.variables, live=variable.is_tracing())
        return [np.zeros(x.shape)[()] if g is None else plain_unless_recorded(g)
                for x, g in zip(self.variables, recorded, strict=True)]

    def push(self, outputs: Sequence[Any], directions: Sequence[Any]) -> list[Any]:
        """Tangents of outputs for these tangents of the inputs, as arrays or Variables like those of `pull`."""
        if not self.nested and not any(variable.is_recorded(d) for d in directions):
            found = variable.push_forward(self.variables, list(directions), list(outputs))
            if found is not None:
                return [np.zeros(np.shape(y)) if y_dot is None else y_dot
                        for y, y_dot in zip(outputs, found, strict=True)]
        self.nested = True
        return [plain_unless_recorded(y_dot) for y_dot in recorded_push(outputs, self.variables, directions)]

    def result(self, tree: Any) -> Any:
        """What a function returned beside: with the values of its Variables, unless these can matter outside."""
        if not self.nested and not variable.within_transform():
            return plain(tree)
        leaves, rebuild = flatten(tree)
        return rebuild([plain_unless_recorded(joined(leaf)) for leaf in leaves])


def flowing(xs: Sequence[Any], ys: Sequence[Any]) -> Any:
    """The inner product of two lists of arrays, in which an element of `ys` that is nothing adds nothing."""
    return sum([np.sum(variable.call_row("flow", x, y)) for x, y in zip(xs, ys, strict=True)], 0.0)


class Transposed:
    """What pulls adjoints of outputs back, as records that are linear in the adjoints: its transpose gives tangents.

    What is pulled back for adjoints u of the outputs is linear in u; so the pull of its inner product with the tangents
    of the inputs is the tangent of the outputs, whatever u is.
    """

    def __init__(self, outputs: Sequence[Any], inputs: list[Any]) -> None:
        self.outputs, self.live = outputs, variable.is_tracing()
        ys = [y for y in outputs if variable.is_recorded(y)]
        self.us = [variable.input_variable(np.ones(y.shape)) for y in ys]
        self.pulled = variable.recorded_pull(ys, self.us, inputs, live=self.live)

    def tangents(self, directions: Sequence[Any], exact: bool = False) -> list[Any]:
        """Tangents that can be differentiated again; zero where nothing moves, and nothing if `exact`."""
        pairs = [(g, d) for g, d in zip(self.pulled, directions, strict=True) if g is not None]
        total = flowing(*zip(*pairs, strict=True)) if pairs else 0.0
        return self.pushed([total], [ONE], exact)

    def columns(self, directions: Sequence[Any]) -> list[Any]:
        """The same for directions that are constants, most of them nothing: nothing is recorded for these."""
        return self.pushed(self.pulled, directions, False)

    def pushed(self, linear: Sequence[Any], seeds: Sequence[Any], exact: bool) -> list[Any]:
        """The pull of what is linear in u."""
        found = iter(variable.recorded_pull(list(linear), list(seeds), self.us, live=self.live, exact=exact))
        made = [next(found) if variable.is_recorded(y) else None for y in self.outputs]
        return [np.full(np.shape(y), -0.0 if exact else 0.0) if y_dot is None else y_dot
                for y, y_dot in zip(self.outputs, made, strict=True)]


def recorded_push(outputs: Sequence[Any], inputs: list[Any], directions: Sequence[Any],
                  exact: bool = False) -> list[Any]:
    """Tangents of outputs that can be differentiated again, for these tangents of the inputs."""
    return Transposed(outputs, inputs).tangents(directions, exact)


def check_function(name: str, f: Any) -> None:
    """Refuse what cannot be called, before it is wrapped."""
    if not callable(f):
        raise TypeError(f"{name}: a function is needed, not {type(f).__name__}")


def checked(name: str, value: Any) -> Any:
    """An argument that can be differentiated with respect to: float64, or a recorded Variable."""
    if isinstance(value, float):
        return value
    if type(value) is not np.ndarray:
        refuse_masked(value, name)
    value = joined(value)
    if isinstance(value, variable.Variable):
        if variable.carries(value, name):
            return value
        value = value.value
    a = np.asarray(value)
    if a.dtype.kind == "c":
        raise TypeError(f"{name}: complex arguments are not supported; pass real and imaginary part")
    if a.dtype.kind not in "fiub" and not isinstance(value, int):
        what = f"an array of dtype {a.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
        raise TypeError(f"{name}: an argument is {what}, not a number or an array of numbers; "
                        "argnums says which arguments to differentiate with respect to")
    return a.astype(np.float64, copy=False)


def like(value: Any, gradient: Array) -> Any:
    """A gradient as the argument came in: a float for a number, the floating dtype of an array."""
    if isinstance(gradient, variable.Variable):
        return gradient
    if isinstance(value, (float, int)) or (np.ndim(value) == 0 and not isinstance(value, np.ndarray)):
        return type(value)(gradient) if isinstance(value, np.floating) else np.float64(gradient)
    dtype = getattr(value, "dtype", None)
    return gradient.astype(dtype) if dtype is not None and dtype.kind == "f" and dtype != np.float64 else gradient


def joined(leaf: Any) -> Any:
    """An object array of scalar Variables as one Variable, anything else as it is."""
    return variable.array(leaf) if isinstance(leaf, np.ndarray) and leaf.dtype == object else leaf


def plain_unless_recorded(leaf: Any) -> Any:
    """A Variable without gradient as its values, anything else as it is."""
    return leaf if variable.is_recorded(leaf) else variable.value_of(leaf)


def check_scalar(name: str, out: Any) -> None:
    """Refuse an output that has no gradient."""
    check_output(name, out)
    if np.shape(out) != ():
        raise TypeError(f"{name}: the function returned shape {np.shape(out)}, a gradient needs a scalar; "
                        "reduce it (np.sum), or use fa.jacobian")


def check_output(name: str, out: Any) -> None:
    """Refuse what has no derivative, such as the None of a forgotten return."""
    if isinstance(out, variable.Variable):
        return
    if any(isinstance(leaf, variable.Variable) for leaf in flatten(out)[0]):
        raise TypeError(f"{name}: the function returned {type(out).__name__} of Variables; a number or an array is "
                        "needed; fa.array or np.stack join them")
    if np.asarray(out).dtype.kind not in "fiub":
        raise TypeError(f"{name}: the function returned {type(out).__name__}; a number or an array is needed")


def plain(tree: Any) -> Any:
    """A result with the values of its Variables."""
    leaves, rebuild = flatten(tree)
    return rebuild([variable.value_of(joined(leaf)) for leaf in leaves])


def run(name: str, function: Function, inputs: Inputs, kwargs: Options, has_aux: bool) -> tuple[Any, Any]:
    """The output and the auxiliary output of the function on the inputs."""
    out = inputs.call(function, kwargs)
    if not has_aux:
        return out, None
    if not isinstance(out, tuple) or len(out) != 2:
        raise TypeError(f"{name}: with has_aux=True the function has to return (output, auxiliary)")
    return out


def value_and_grad(f: Function, argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., tuple[Any, Any]]:
    """A function that gives the value of `f` and its gradient.

    Parameters
    ----------
    f : callable
        Returns a scalar; with `has_aux` a pair (scalar, anything).
    argnums : int or sequence of int
        Which positional arguments to differentiate with respect to: numbers, arrays, nested containers of them.
    has_aux : bool
        Whether `f` returns auxiliary data beside its value.

    Returns
    -------
    callable
        Gives ``(value, gradient)``, with `has_aux` ``((value, auxiliary), gradient)``. The gradient has the form of the
        argument, a tuple of them for a sequence of `argnums`.

    Raises
    ------
    TypeError
        When the output is not a scalar, or an argument is complex or not numeric.

    Examples
    --------
    >>> import numpy as np
    >>> import fastad as fa
    >>> value, gradient = fa.value_and_grad(lambda x: np.sum(x ** 2))(np.array([1.0, 2.0]))
    >>> float(value), gradient
    (5.0, array([2., 4.]))
    """
    return with_value("value_and_grad", f, argnums, has_aux)


def with_value(name: str, f: Function, argnums: Argnums, has_aux: bool) -> Callable[..., tuple[Any, Any]]:
    """`value_and_grad`, under the name that its errors are to have."""
    check_function(name, f)

    @wraps(f)
    def value_and_gradient(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        inputs = Inputs(name, argnums, args)
        out, aux = run(name, f, inputs, kwargs, has_aux)
        out = joined(out)
        check_scalar(name, out)
        gradients = inputs.pull([out], [ONE])
        value = out if inputs.nested and variable.is_recorded(out) else np.float64(variable.value_of(out))
        return ((value, inputs.result(aux)) if has_aux else value), inputs.shaped(gradients)

    return value_and_gradient


def grad(f: Function, argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that gives the gradient of `f`; parameters and errors as for `value_and_grad`.

    Returns
    -------
    callable
        Gives the gradient, with `has_aux` ``(gradient, auxiliary)``.

    Examples
    --------
    >>> import fastad as fa
    >>> float(fa.grad(lambda x: x ** 3)(2.0))
    12.0
    """
    both = with_value("grad", f, argnums, has_aux)

    @wraps(f)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, g = both(*args, **kwargs)
        return (g, value[1]) if has_aux else g

    return gradient


def vjp(f: Function, *args: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """The value of `f` and the function that pulls a cotangent back to its arguments.

    Parameters
    ----------
    f : callable
        Returns an array or a nested container of them.
    *args
        Arguments, all differentiated with respect to.
    has_aux : bool
        Whether `f` returns auxiliary data beside its value.

    Returns
    -------
    value : array or container
    pull : callable
        ``pull(cotangent)`` gives a tuple with the gradient for each argument; it can be called many times.

    Examples
    --------
    >>> import numpy as np
    >>> import fastad as fa
    >>> value, pull = fa.vjp(lambda x: x ** 2, np.array([1.0, 3.0]))
    >>> pull(np.array([1.0, 10.0]))
    (array([ 2., 60.]),)
    """
    check_function("vjp", f)
    inputs = Inputs("vjp", tuple(range(len(args))), args)
    out, aux = run("vjp", f, inputs, {}, has_aux)
    outputs, rebuild = flatten(out)
    outputs = [joined(y) for y in outputs]
    for y in outputs or [None]:
        check_output("vjp", y)

    def pull(cotangent: Any) -> Any:
        pairs = [(y, seed) for y, seed in zip(outputs, flatten_like(out, cotangent, "vjp: the cotangent"), strict=True)
                 if seed is not None]
        seeds = [seed_of(y, seed, "vjp: the cotangent") for y, seed in pairs]
        return inputs.shaped(inputs.pull([y for y, _ in pairs], seeds))

    value = inputs.result(rebuild(outputs))
    return (value, pull, inputs.result(aux)) if has_aux else (value, pull)


def seed_of(y: Any, seed: Any, what: str) -> Any:
    """What a sweep starts with: an array or a recorded Variable of the shape of y; its zeros are numbers."""
    if type(seed) is not np.ndarray:
        refuse_masked(seed, what)
    seed = joined(seed)
    if variable.carries(seed, what):
        numbers = seed
    else:
        numbers = np.asarray(variable.value_of(seed))
        if numbers.dtype.kind not in "fiub":
            raise TypeError(f"{what} is {type(seed).__name__} of dtype {numbers.dtype}; real numbers are needed")
        numbers = numbers.astype(np.float64) + 0.0
    if np.shape(seed) != np.shape(y):
        raise ValueError(f"{what} has to have shape {np.shape(y)}, not {np.shape(seed)}")
    return numbers


def jvp(f: Function, args: Sequence[Any], tangents: Sequence[Any], has_aux: bool = False) -> tuple[Any, ...]:
    """The value of `f` and its derivative along a direction: one recording, one sweep with tangents.

    Within another transform both are Variables, and cost two recorded sweeps.

    Parameters
    ----------
    f : callable
        Returns an array or a nested container of them.
    args : sequence
        The positional arguments of `f`: numbers, arrays, nested containers of them.
    tangents : sequence
        The direction: for each argument what has its form and its shapes. None, also in the place of a container, says
        that nothing moves there.
    has_aux : bool
        Whether `f` returns auxiliary data beside its value.

    Returns
    -------
    value, tangent
        Both of the form of what `f` returns; with `has_aux` the auxiliary data as a third.

    Raises
    ------
    ValueError
        When a tangent does not fit its argument.

    Examples
    --------
    >>> import numpy as np
    >>> import fastad as fa
    >>> value, tangent = fa.jvp(lambda x, c: c * x ** 2, (np.array([1.0, 3.0]), 2.0), (np.array([1.0, 10.0]), 0.0))
    >>> value, tangent
    (array([ 2., 18.]), array([  4., 120.]))
    """
    check_function("jvp", f)
    if not isinstance(args, (tuple, list)):
        raise TypeError(f"jvp: args is a tuple with the arguments of the function, not {type(args).__name__}; "
                        "for a single argument x write jvp(f, (x,), (x_dot,))")
    inputs = Inputs("jvp", tuple(range(len(args))), args)
    directions = flatten_like(list(args), tangents, "jvp: tangents")
    directions = [direction(v, t, name) for v, t, name
                  in zip(inputs.values, directions, leaf_names(list(args)), strict=True)]
    out, aux = run("jvp", f, inputs, {}, has_aux)
    outputs, rebuild = flatten(out)
    outputs = [joined(y) for y in outputs]
    for y in outputs or [None]:
        check_output("jvp", y)
    pushed = inputs.push(outputs, directions)
    tangent = rebuild([y_dot if variable.is_recorded(y_dot) else y_dot[()] for y_dot in pushed])
    value = rebuild([plain_unless_recorded(y) if inputs.nested else variable.value_of(y) for y in outputs])
    return (value, tangent, inputs.result(aux)) if has_aux else (value, tangent)


def direction(value: Any, tangent: Any, name: str) -> Any:
    """The tangent of one argument as float64; None is nothing, a number is a number also where it is -0.0."""
    if tangent is None:
        return np.full(np.shape(value), -0.0)
    tangent = joined(tangent)
    t = tangent if variable.carries(tangent, "jvp") else np.asarray(variable.value_of(tangent))
    if t.dtype.kind not in "fiub":
        raise TypeError(f"jvp: tangents{name} is {type(tangent).__name__}, not a number or an array")
    if t.shape != np.shape(value):
        raise ValueError(f"jvp: args{name} has shape {np.shape(value)}, tangents{name} {t.shape}")
    return t + 0.0 if variable.is_recorded(t) else t.astype(np.float64) + 0.0


def jacobian(f: Function, argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that gives the matrix of partial derivatives of `f`.

    It takes one sweep for each element of the output or of the arguments, whichever are fewer.

    Parameters
    ----------
    f : callable
        Returns an array.
    argnums, has_aux
        As for `value_and_grad`.

    Returns
    -------
    callable
        Gives an array of shape ``output.shape + argument.shape`` in the place of each argument array.

    Examples
    --------
    >>> import numpy as np
    >>> import fastad as fa
    >>> fa.jacobian(lambda x: np.stack([x[0] * x[1], x[0]]))(np.array([2.0, 3.0]))
    array([[3., 2.],
           [1., 0.]])
    """
    check_function("jacobian", f)

    @wraps(f)
    def matrix(*args: Any, **kwargs: Any) -> Any:
        inputs = Inputs("jacobian", argnums, args)
        out, aux = run("jacobian", f, inputs, kwargs, has_aux)
        out = joined(out)
        check_output("jacobian", out)
        rows = rows_of(inputs, out)
        result = inputs.shaped([part if inputs.nested else np.ascontiguousarray(part) for part in rows])
        return (result, inputs.result(aux)) if has_aux else result

    return matrix


def rows_of(inputs: Inputs, out: Any) -> list[Any]:
    """The Jacobian of one output for each input, a sweep for each element of the output or of the inputs."""
    shape = np.shape(out)
    if not inputs.nested and sum([x.size for x in inputs.variables]) < np.prod(shape, dtype=np.int64):
        columns = columns_of(inputs, out)
        if columns is not None:
            return columns
    rows = []
    for k in range(int(np.prod(shape, dtype=np.int64))):
        seed = np.full(shape, -0.0)                    # the other outputs are not differentiated: nothing, not zero
        seed[np.unravel_index(k, shape)] = 1.0
        rows.append(inputs.pull([out], [seed]))
    return [variable.array([row[k] for row in rows]).reshape(shape + np.shape(v)) for k, v in enumerate(inputs.values)]


def columns_of(inputs: Inputs, out: Any) -> list[Any] | None:
    """The Jacobian of one output for each input, by tangents; None where they would have to be recorded."""
    if not isinstance(out, variable.Variable):
        return [np.zeros(np.shape(out) + x.shape) for x in inputs.variables]
    found = variable.push_columns(inputs.variables, out)
    return found and [np.moveaxis(block, 0, -1).reshape(out.shape + x.shape)
                      for block, x in zip(found, inputs.variables, strict=True)]


class RecordedOutput:
    """The output of a function of one array, recorded: its value, and its Jacobian when it is asked for."""

    def __init__(self, f: Function, x: Array) -> None:
        self.inputs = Inputs("jacobian", 0, [x])
        self.out = joined(self.inputs.call(f, {}))
        check_output("jacobian", self.out)

    @property
    def value(self) -> Any:
        """The output as an array."""
        return np.asarray(variable.value_of(self.out), np.float64)

    def jacobian(self) -> Any:
        """The matrix, its axes in the order in which it was computed."""
        return self.inputs.shaped(rows_of(self.inputs, self.out))


# ---- second derivatives -------------------------------------------------------------------------------------------
def first_derivatives(name: str, f: Function, argnums: Argnums, args: Sequence[Any],
                      kwargs: Options) -> tuple[Inputs, list[Any]]:
    """The inputs of one call and the gradient with respect to them as Variables; None where there is none."""
    check_function(name, f)
    inputs = Inputs(name, argnums, args)
    out = joined(inputs.call(f, kwargs))
    check_scalar(name, out)
    return inputs, list(variable.recorded_pull([out], [ONE], inputs.variables, live=variable.is_tracing()))


class RecordedGradient:
    """The gradient of a function of one array, recorded: for many products with the Hessian at one point."""

    def __init__(self, f: Function, x: Array) -> None:
        self.inputs, self.gradient = first_derivatives("hvp", f, 0, [x], {})

    def product(self, vector: Array) -> Any:
        """The product of the Hessian with a vector: one sweep."""
        seed = seed_of(self.inputs.values[0], vector, "hvp: the vector")
        return self.inputs.shaped(self.inputs.pull(self.gradient, [seed]))


def hvp(f: Function, primals: Any, vector: Any) -> Any:
    """The product of the Hessian of `f` with a vector, without the Hessian: two sweeps.

    Parameters
    ----------
    f : callable
        Returns a scalar.
    primals : number, array or container of them
        Where: the argument of `f`.
    vector : of the form of `primals`

    Returns
    -------
    number, array or container
        In the form of `primals`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastad as fa
    >>> fa.hvp(lambda x: np.sum(x ** 3), np.array([1.0, 2.0]), np.array([1.0, 10.0]))
    array([  6., 120.])
    """
    inputs, gradient = first_derivatives("hvp", f, 0, [primals], {})
    seeds = [seed_of(x, v, "hvp: the vector")
             for x, v in zip(inputs.values, flatten_like(primals, vector, "hvp: the vector"), strict=True)]
    return inputs.shaped(inputs.pull(gradient, seeds))


def hessian(f: Function, argnums: Argnums = 0) -> Callable[..., Any]:
    """A function that gives the matrix of second derivatives of `f`, one sweep over the gradient's graph per row.

    Parameters
    ----------
    f : callable
        Returns a scalar.
    argnums : int or sequence of int
        As for `value_and_grad`.

    Returns
    -------
    callable
        Gives an array of shape ``argument.shape + argument.shape``; for containers the form of the argument, and in the
        place of each array again that form, with arrays of both shapes together.

    Examples
    --------
    >>> import numpy as np
    >>> import fastad as fa
    >>> fa.hessian(lambda x: x[0] ** 2 * x[1])(np.array([1.0, 2.0]))
    array([[4., 2.],
           [2., 0.]])
    """
    check_function("hessian", f)

    @wraps(f)
    def matrix(*args: Any, **kwargs: Any) -> Any:
        inputs, gradient = first_derivatives("hessian", f, argnums, args, kwargs)
        blocks = [inputs.shaped(rows_of(inputs, np.zeros(np.shape(v)) if g is None else g))
                  for v, g in zip(inputs.values, gradient, strict=True)]
        trees = inputs.rebuild(blocks)
        return trees if inputs.single else tuple(trees)

    return matrix
