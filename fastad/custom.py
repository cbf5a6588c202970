"""Functions with a derivative rule of the user's own: `Gate` in the textbook's form, `custom_vjp` in JAX's."""
from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import variable
from .errors import GradientLostError
from .tree import flatten, flatten_like, leaf_names

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Gate", "custom_vjp"]

Backward = Callable[[list[Any]], list[Any]]


class Rule:
    """What the tape calls in the sweep: from the upstream gradients to checked gradients of the recorded inputs."""

    def __init__(self, name: str, backward: Backward, shapes: list[tuple[int, ...]], labels: list[str]) -> None:
        self.name, self.backward, self.shapes, self.labels = name, backward, shapes, labels
        self.outputs: list[tuple[int, ...]] = []
        self.run: Callable[[list[Any]], list[Any]] | None = None
        self.dtypes: list[Any] = []

    def forward(self, inputs: list[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
        """The outputs for other inputs, given flat: a compiled function runs the user's rule anew."""
        assert self.run is not None
        values = [x.reshape(shape).astype(dtype)[()]
                  for x, shape, dtype in zip(inputs, self.shapes, self.dtypes, strict=True)]
        return [self.output(v) for v in self.run(values)]

    def pull(self, upstream: list[NDArray[np.float64]]) -> list[NDArray[np.float64] | None]:
        seeds = [g.reshape(shape)[()] for g, shape in zip(upstream, self.outputs, strict=True)]
        return [self.checked(g, shape, label)
                for g, shape, label in zip(self.backward(seeds), self.shapes, self.labels, strict=True)]

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

        def backward(seeds: list[Any]) -> list[Any]:
            found = gradients(name, call.backward(*seeds), len(inputs))
            return [found[k] for k in where]

        rule = Rule(name, backward, [operands[k].shape for k in where], [f"argument {k}" for k in where])
        if variable.is_tracing():
            def run(values: list[Any]) -> list[Any]:
                given = iter(values)
                again = copy.copy(self).forward(*[next(given) if k in where else plain(x)
                                                  for k, x in enumerate(operands)], **options)
                return list(again) if isinstance(again, tuple) else [again]

            rule.run = run
        recorded = rule.record([operands[k] for k in where], list(out) if isinstance(out, tuple) else [out])
        return tuple(recorded) if isinstance(out, tuple) else recorded[0]


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
        leaves, operands, values = {}, [], list(args)
        labels = []
        for k, arg in enumerate(args):
            if k in nondiff:
                continue
            parts, rebuild = flatten(arg)
            leaves[k] = [joined(leaf) for leaf in parts]
            values[k] = rebuild([plain(leaf) for leaf in leaves[k]])
            operands += [leaf for leaf in leaves[k] if variable.is_recorded(leaf)]
            labels += [f"argument {k}{name}" for name, leaf in zip(leaf_names(arg), leaves[k], strict=True)
                       if variable.is_recorded(leaf)]
        assert self.fwd is not None and self.bwd is not None
        pair = self.fwd(*values, **kwargs)
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise TypeError(f"{self.name}: fwd has to return (output, residuals), not {type(pair).__name__}")
        out, residuals = pair
        parts, rebuild_output = flatten(out)
        bwd, first = self.bwd, [values[k] for k in sorted(nondiff)]

        def backward(seeds: list[Any]) -> list[Any]:
            found = bwd(*first, residuals, rebuild_output(seeds))
            if not isinstance(found, (tuple, list)) or len(found) != len(leaves):
                what = f"{len(found)} gradients" if isinstance(found, (tuple, list)) else type(found).__name__
                raise ValueError(f"{self.name}: bwd has to return a tuple with {len(leaves)} gradient"
                                 f"{'s' if len(leaves) != 1 else ''}, one for each differentiated argument, not {what}")
            selected = []
            for (k, own), gradient in zip(leaves.items(), found, strict=True):
                each = flatten_like(values[k], gradient, f"{self.name}: the gradient of argument {k}")
                selected += [g for leaf, g in zip(own, each, strict=True) if variable.is_recorded(leaf)]
            return selected

        rule = Rule(self.name, backward, [x.shape for x in operands], labels)
        if variable.is_tracing():
            fwd = self.fwd

            def run(given: list[Any]) -> list[Any]:
                new, left = list(values), iter(given)
                for k, own in leaves.items():
                    rebuild = flatten(args[k])[1]
                    new[k] = rebuild([next(left) if variable.is_recorded(leaf) else plain(leaf) for leaf in own])
                return flatten(fwd(*new, **kwargs)[0])[0]

            rule.run = run
        return rebuild_output(rule.record(operands, parts))
