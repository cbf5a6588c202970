"""Functions with a derivative rule of the user's own: `Gate` in the textbook's form, `custom_vjp` in JAX's."""
from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from . import variable
from .errors import GradientLostError
from .tree import flatten, flatten_like, leaf_names

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Gate", "custom_vjp"]

class Call(Protocol):
    """One call of the user's function: what it needs to go backwards, and to be run again on other inputs."""

    def forward(self, inputs: list[Any]) -> list[Any]:
        """The outputs for other recorded inputs; `backward` belongs to these then."""

    def backward(self, seeds: list[Any]) -> list[Any]:
        """The gradients of the recorded inputs, as the user's function gives them."""

    def again(self) -> Call:
        """The same call, to be run on Variables with a state of its own."""


class Rule:
    """What the tape calls in the sweep: from the upstream gradients to checked gradients of the recorded inputs."""

    def __init__(self, name: str, call: Call, shapes: list[tuple[int, ...]], labels: list[str]) -> None:
        self.name, self.call, self.shapes, self.labels = name, call, shapes, labels
        self.outputs: list[tuple[int, ...]] = []
        self.dtypes: list[Any] = []
        self.traced = False

    def forward(self, inputs: list[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
        """The outputs for other inputs, flat; in a compiled function, for many threads, with a state of its own."""
        call = self.call.again() if self.traced else self.call
        values = call.forward([v.reshape(shape).astype(dtype)[()]
                               for v, shape, dtype in zip(inputs, self.shapes, self.dtypes, strict=True)])
        found = [self.output(v) for v in values]
        if [v.shape for v in found] != self.outputs:
            raise ValueError(f"{self.name}: gave outputs of shapes {[v.shape for v in found]}, before {self.outputs}")
        return [v.reshape(-1) for v in found]

    def pull(self, upstream: list[NDArray[np.float64]]) -> list[NDArray[np.float64] | None]:
        seeds = [g.reshape(shape)[()] for g, shape in zip(upstream, self.outputs, strict=True)]
        return [self.checked(g, shape, label)
                for g, shape, label in zip(self.call.backward(seeds), self.shapes, self.labels, strict=True)]

    def recorded_pull(self, operands: list[Any], results: list[Any], upstream: list[Any]) -> list[Any]:
        """The rule run on Variables, forwards and backwards, so that it is differentiated itself."""
        call = self.call.again()
        try:
            call.forward([np.reshape(x, shape) for x, shape in zip(operands, self.shapes, strict=True)])
            found = call.backward([np.zeros(shape)[()] if g is None else np.reshape(g, shape)
                                   for g, shape in zip(upstream, self.outputs, strict=True)])
        except Exception as error:
            raise NotImplementedError(
                f"{self.name}: second derivatives go through its rule, whose functions have to work with Variables "
                f"then; there {type(error).__name__} was raised: {error}") from error
        gradients = [joined(g) for g in found]
        for g, shape, label in zip(gradients, self.shapes, self.labels, strict=True):
            if not variable.is_recorded(g):
                self.checked(g, shape, label)
            elif g.shape != shape:
                raise ValueError(f"{self.name}: the gradient of {label} has shape {g.shape}, "
                                 f"but {label} has shape {shape}")
        return gradients

    def checked(self, gradient: Any, shape: tuple[int, ...], label: str) -> NDArray[np.float64] | None:
        """A gradient as a flat array, if it is one of this input."""
        if gradient is None:
            return None
        g = np.asarray(without_variable(gradient, f"{self.name}: the gradient of {label}"))
        if g.dtype.kind not in "fiub":
            raise TypeError(f"{self.name}: the gradient of {label} is {type(gradient).__name__} of dtype {g.dtype}, "
                            "a real number or array is needed, or None for no gradient")
        if g.shape != shape:
            raise ValueError(f"{self.name}: the gradient of {label} has shape {g.shape}, but {label} has shape {shape}")
        return g.astype(np.float64).reshape(-1)

    def record(self, inputs: list[Any], values: list[Any]) -> list[Any]:
        """Variables for the outputs, with this rule as their derivative."""
        arrays = [self.output(v) for v in values]
        self.outputs = [a.shape for a in arrays]
        self.traced = variable.is_tracing()
        self.dtypes = [x.dtype if isinstance(x, variable.Discrete) else np.float64 for x in inputs]
        recorded: list[Any] = variable.call(self, inputs, arrays, self.name)
        return recorded

    def output(self, value: Any) -> NDArray[np.float64]:
        a = np.asarray(without_variable(value, f"{self.name}: an output"))
        if a.dtype.kind not in "fiub":
            raise TypeError(f"{self.name}: an output is {type(value).__name__} of dtype {a.dtype}, a real number or "
                            "array is needed")
        return a.astype(np.float64)


def without_variable(value: Any, what: str) -> Any:
    """A plain value; a recorded Variable would lose its gradient here."""
    if variable.is_recorded(value):
        raise GradientLostError(f"{what} is a recorded Variable: the rule's functions work on plain values, and what "
                                "they depend on has to be an argument, not a Variable from outside")
    return variable.value_of(value)


def plain(value: Any) -> Any:
    """An argument as the rule's functions get it: plain, and nobody can change it before the sweep."""
    if isinstance(value, variable.Variable):          # a traced rule runs anew in each replay: no guard
        value = variable.unguarded(value) if variable.is_recorded(value) else variable.value_of(value)
    else:
        variable.freeze(value)
    return value.copy() if isinstance(value, np.ndarray) else value


def joined(value: Any) -> Any:
    """``np.array`` of scalar Variables as one Variable; anything else as it is."""
    return variable.array(value) if isinstance(value, np.ndarray) and value.dtype == object else value


def refuse_recorded(tree: Any, what: str, remedy: str) -> None:
    """Raise if a Variable with a gradient stands where none can be given."""
    if any(variable.is_recorded(leaf) for leaf in flatten(tree)[0]):
        raise GradientLostError(f"{what} is or contains a recorded Variable, whose gradient would be lost: {remedy}")


class Gate:
    """An operation with a forward and a backward of its own.

    A subclass defines ``forward(self, x, y, ...)`` on plain numbers and arrays and ``backward(self, upstream)``, which
    gives the gradient for each argument of ``forward``. What ``backward`` needs, ``forward`` keeps as attributes.
    Calling an instance with Variables records the operation; each call works on a shallow copy of the instance, so that
    one instance can be used any number of times.

    Notes
    -----
    ``forward`` returns a number or an array, or a tuple of them for several outputs; then ``backward`` gets one
    upstream gradient per output. ``backward`` returns a sequence with one gradient per positional argument, each of the
    argument's shape, or None where there is none; for a single argument the gradient alone will do. Keyword arguments
    are passed on to ``forward`` and are not differentiated.

    Raises
    ------
    ValueError
        In the sweep, when ``backward`` returns a wrong number of gradients or one of a wrong shape.

    Examples
    --------
    >>> import fastad as fa
    >>> class Multiply(fa.Gate):
    ...     def forward(self, x, y):
    ...         self.x, self.y = x, y
    ...         return x * y
    ...
    ...     def backward(self, upstream):
    ...         return [self.y * upstream, self.x * upstream]
    >>> x, y = fa.Variable(3.0), fa.Variable(-4.0)
    >>> Multiply()(x, y).backward()
    >>> float(x.grad), float(y.grad)
    (-4.0, 3.0)
    """

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """The value of the gate; a subclass defines it."""
        raise NotImplementedError(f"{type(self).__name__}: a Gate needs a method forward(self, x, ...)")

    def backward(self, *upstream: Any) -> Any:
        """The gradients for the inputs; a subclass defines it."""
        raise NotImplementedError(f"{type(self).__name__}: a Gate needs a method backward(self, upstream)")

    def __repr__(self) -> str:
        return f"<gate {type(self).__name__}>"

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Run the gate, and record it when an input is a recorded Variable."""
        name = type(self).__name__
        call = copy.copy(self)
        operands = [joined(x) for x in inputs]
        for k, x in enumerate(operands):
            if not isinstance(x, variable.Variable):
                refuse_recorded(x, f"{name}: argument {k}",
                                "pass Variables as arguments of their own, or use fa.custom_vjp")
        refuse_recorded(options, f"{name}: a keyword argument", "pass it by position")
        for leaf in flatten(options)[0]:
            variable.freeze(leaf)
        out = call.forward(*[plain(x) for x in operands], **options)
        where = [k for k, x in enumerate(operands) if variable.is_recorded(x)]
        if not where:
            return out

        inputs_of_call = [None if k in where else plain(x) for k, x in enumerate(operands)]
        rule = Rule(name, GateCall(self, call, inputs_of_call, where, options),
                    [operands[k].shape for k in where], [f"argument {k}" for k in where])
        recorded = rule.record([operands[k] for k in where], list(out) if isinstance(out, tuple) else [out])
        return tuple(recorded) if isinstance(out, tuple) else recorded[0]


class GateCall:
    """One call of a gate."""

    def __init__(self, gate: Gate, used: Gate, inputs: list[Any], where: list[int], options: dict[str, Any]) -> None:
        self.gate, self.used = copy.copy(gate), used
        self.inputs, self.where, self.options = inputs, where, options

    def forward(self, inputs: list[Any]) -> list[Any]:
        self.used = copy.copy(self.gate)
        everything = list(self.inputs)
        for k, x in zip(self.where, inputs, strict=True):
            everything[k] = x
        out = self.used.forward(*everything, **self.options)
        return list(out) if isinstance(out, tuple) else [out]

    def backward(self, seeds: list[Any]) -> list[Any]:
        found = gradients(type(self.gate).__name__, self.used.backward(*seeds), len(self.inputs))
        return [found[k] for k in self.where]

    def again(self) -> GateCall:
        return GateCall(self.gate, self.used, self.inputs, self.where, self.options)


def gradients(name: str, found: Any, count: int) -> Sequence[Any]:
    """What ``backward`` returned, as one gradient per input."""
    if not isinstance(found, (tuple, list)):
        if count == 1:
            return [found]
        shape = f"an array of shape {np.shape(found)}" if found is not None else "None"
        raise ValueError(f"{name}.backward: returned {shape}; the gate has {count} inputs, return a list of {count} "
                         "gradients")
    if len(found) != count:
        shapes = ", ".join("None" if g is None else str(np.shape(g)) for g in found)
        raise ValueError(f"{name}.backward: returned {len(found)} gradients (shapes {shapes}) for {count} "
                         f"input{'s' if count != 1 else ''}")
    return found


class custom_vjp:  # noqa: N801  a decorator, under JAX's name
    """A function with a derivative rule of its own, in JAX's form.

    Parameters
    ----------
    fun : callable
        The function. It runs as it is when no argument is a recorded Variable.
    nondiff_argnums : sequence of int
        Positions of arguments that are not differentiated: any objects. ``bwd`` gets them first.

    Notes
    -----
    ``f.defvjp(fwd, bwd)`` sets the rule. ``fwd`` takes the arguments of `fun`, with plain values instead of Variables,
    and returns ``(output, residuals)``. ``bwd(*nondiff_args, residuals, g)`` gets the upstream gradient `g` in the form
    of the output and returns a tuple with the gradient for each differentiated argument, in the form of the argument;
    None stands for no gradient. Arguments and output may be nested containers. Keyword arguments are put in their
    places by the signature of `fun`; keyword-only ones are passed on and not differentiated.

    Raises
    ------
    AttributeError
        When a gradient is wanted and ``defvjp`` was not called.
    ValueError
        In the sweep, when ``bwd`` returns gradients of a wrong number or shape.

    Examples
    --------
    >>> import numpy as np
    >>> import fastad as fa
    >>> @fa.custom_vjp
    ... def clipped(x):
    ...     return x * x
    >>> clipped.defvjp(lambda x: (x * x, x), lambda x, g: (np.clip(2 * x * g, -1, 1),))
    >>> float(fa.grad(clipped)(0.1)), float(fa.grad(clipped)(5.0))
    (0.2, 1.0)
    """

    __name__: str

    def __init__(self, fun: Callable[..., Any], nondiff_argnums: Sequence[int] = ()) -> None:
        if not callable(fun):
            raise TypeError(f"custom_vjp: a function is needed, not {type(fun).__name__}")
        functools.update_wrapper(self, fun)
        self.fun = fun
        self.nondiff_argnums = (nondiff_argnums,) if isinstance(nondiff_argnums, int) else tuple(nondiff_argnums)
        self.name = getattr(fun, "__name__", type(fun).__name__)
        self.fwd: Callable[..., Any] | None = None
        self.bwd: Callable[..., Any] | None = None
        try:
            self.signature: inspect.Signature | None = inspect.signature(fun)
        except (TypeError, ValueError):               # some functions written in C have none
            self.signature = None

    def __repr__(self) -> str:
        return f"<custom_vjp {self.name}{'' if self.fwd is not None else ', without a rule'}>"

    def defvjp(self, fwd: Callable[..., Any], bwd: Callable[..., Any]) -> None:
        """Set the rule: ``fwd(*args) -> (output, residuals)`` and ``bwd(*nondiff_args, residuals, g) -> gradients``."""
        for function in (fwd, bwd):
            if not callable(function):
                raise TypeError(f"{self.name}.defvjp: functions fwd and bwd are needed, not {type(function).__name__}")
        self.fwd, self.bwd = fwd, bwd

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The value of the function, recorded with its rule when an argument is or contains a recorded Variable."""
        everything = [joined(leaf) for leaf in flatten((args, kwargs))[0]]
        if not any(variable.is_recorded(leaf) for leaf in everything):
            return self.fun(*args, **kwargs)
        if self.fwd is None:
            raise AttributeError(f"{self.name}: a custom_vjp function needs its rule before it can be differentiated: "
                                 f"call {self.name}.defvjp(fwd, bwd)")
        if kwargs and self.signature is not None:
            bound = self.signature.bind(*args, **kwargs)
            bound.apply_defaults()
            args, kwargs = bound.args, bound.kwargs
        refuse_recorded(kwargs, f"{self.name}: a keyword argument", "pass it by position")
        for k in self.nondiff_argnums:
            if not -len(args) <= k < len(args):
                raise ValueError(f"{self.name}: nondiff_argnums has {k}, but {len(args)} arguments were given")
        nondiff = {k % len(args) for k in self.nondiff_argnums}
        for k in sorted(nondiff):
            refuse_recorded(args[k], f"{self.name}: argument {k}", "take it out of nondiff_argnums")
        return self.record(args, kwargs, nondiff)

    def record(self, args: Sequence[Any], kwargs: dict[str, Any], nondiff: set[int]) -> Any:
        """Run ``fwd`` on plain values and record its output with the rule."""
        leaves, operands, values, labels = {}, [], list(args), []
        for k, arg in enumerate(args):
            if k in nondiff:
                continue
            parts, rebuild = flatten(arg)
            leaves[k] = [joined(leaf) for leaf in parts]
            values[k] = rebuild([plain(leaf) for leaf in leaves[k]])
            operands += [leaf for leaf in leaves[k] if variable.is_recorded(leaf)]
            labels += [f"argument {k}{name}" for name, leaf in zip(leaf_names(arg), leaves[k], strict=True)
                       if variable.is_recorded(leaf)]
        call = VjpCall(self, values, kwargs, nondiff,
                       {k: [variable.is_recorded(leaf) for leaf in own] for k, own in leaves.items()})
        outputs = call.run(values)
        rule = Rule(self.name, call, [x.shape for x in operands], labels)
        return call.rebuild_output(rule.record(operands, outputs))


class VjpCall:
    """One call of a function with fwd and bwd; `recorded` says of each leaf of an argument whether it is an input."""

    def __init__(self, function: custom_vjp, values: list[Any], kwargs: dict[str, Any], nondiff: set[int],
                 recorded: dict[int, list[bool]]) -> None:
        assert function.fwd is not None and function.bwd is not None
        self.function, self.fwd, self.bwd = function, function.fwd, function.bwd
        self.values, self.kwargs, self.nondiff, self.recorded = values, kwargs, nondiff, recorded
        self.residuals: Any = None
        self.rebuild_output: Callable[[list[Any]], Any] = list

    def run(self, values: list[Any]) -> list[Any]:
        """The outputs of ``fwd``; keeps its residuals."""
        pair = self.fwd(*values, **self.kwargs)
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise TypeError(f"{self.function.name}: fwd has to return (output, residuals), not {type(pair).__name__}")
        out, self.residuals = pair
        parts, self.rebuild_output = flatten(out)
        return parts

    def forward(self, inputs: list[Any]) -> list[Any]:
        values, following = list(self.values), iter(inputs)
        for k, recorded in self.recorded.items():
            parts, rebuild = flatten(values[k])
            values[k] = rebuild([next(following) if is_input else leaf
                                 for is_input, leaf in zip(recorded, parts, strict=True)])
        return self.run(values)

    def backward(self, seeds: list[Any]) -> list[Any]:
        name = self.function.name
        found = self.bwd(*[self.values[k] for k in sorted(self.nondiff)], self.residuals, self.rebuild_output(seeds))
        count = len(self.recorded)
        if not isinstance(found, (tuple, list)) or len(found) != count:
            what = f"{len(found)} gradients" if isinstance(found, (tuple, list)) else type(found).__name__
            raise ValueError(f"{name}: bwd has to return a tuple with {count} gradient{'s' if count != 1 else ''}, "
                             f"one for each differentiated argument, not {what}")
        selected = []
        for (k, recorded), gradient in zip(self.recorded.items(), found, strict=True):
            each = flatten_like(self.values[k], gradient, f"{name}: the gradient of argument {k}")
            selected += [g for is_input, g in zip(recorded, each, strict=True) if is_input]
        return selected

    def again(self) -> VjpCall:
        return VjpCall(self.function, self.values, self.kwargs, self.nondiff, self.recorded)
