"""A compiled function among Variables: one record, whose rule replays programs."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import transforms, variable
from .._program import Evaluator
from ..errors import TraceError
from ..tree import flatten
from .arguments import Arguments, kind_of, plain, read_arguments
from .path import Path, joined

if TYPE_CHECKING:
    from .._typing import Array, Options
    from .function import Compiled

__all__ = ["Rule", "among_variables", "recorded_call"]


def among_variables(function: Compiled, args: Sequence[Any], kwargs: Options) -> tuple[Arguments, list[Any]]:
    """The arguments taken apart, and the recorded Variables among their leaves, in the order of the leaves.

    The programs for them are kept apart from those of calls with plain arguments.
    """
    n = len(args)
    fixed = {k % n for k in function.static if -n <= k < n}
    arguments = read_arguments(args, kwargs, [], fixed)
    given = [*[value for k, value in enumerate(args) if k not in fixed], *[kwargs[name] for name in sorted(kwargs)]]
    parts = [joined(part) for value in given for part in flatten(joined(value))[0]]
    leaves = [part for part in parts if kind_of(plain(part), False, "an argument") is not None]
    flags = [variable.is_recorded(leaf) for leaf in leaves]
    kinds = [replace(kind, active=flag) for kind, flag in zip(arguments.kinds, flags, strict=True)]
    own = [np.array(leaf) if isinstance(leaf, np.ndarray) else leaf for leaf in arguments.leaves]
    return (replace(arguments, key=(arguments.key, ("recorded", *flags)), kinds=kinds, leaves=own),
            [leaf for leaf, flag in zip(leaves, flags, strict=True) if flag])


def recorded_call(function: Compiled, args: Sequence[Any], kwargs: Options) -> Any:
    """The function on eager Variables; Python runs it where its programs could not tell all gradients."""
    arguments, operands = among_variables(function, args, kwargs)
    last = function.paths_for(arguments).last
    if last is not None and not complete(last):
        return function.f(*args, **kwargs)
    found = function.find("value", arguments, arguments.leaves)
    if found is None or not complete(found[1]):
        return function.f(*args, **kwargs)
    result, path = found
    plain_args, plain_kwargs = arguments.rebuild(arguments.leaves)
    function.check(result, path, plain_args, plain_kwargs, "value")
    made = path.typed(result)
    values = [result[k] for k in path.flowing]
    for k, y in zip(path.flowing, variable.call(Rule(function, arguments, path), operands, values, function.name),
                    strict=True):
        made[k] = y
    return path.rebuild_outputs(made)


def complete(path: Any) -> bool:
    """Whether all that a gradient can flow to is among the arguments: a leaf from outside is not."""
    return isinstance(path, Path) and not path.trace.has_leaves


class Rule:
    """The derivative of one call.

    Parameters
    ----------
    function : Compiled
    arguments : Arguments
        Those of the call; the active leaves are the operands of the record. Their arrays belong to the rule.
    path : Path
        The way that the call took. Its outputs that carry no gradient are no results of the record.
    """

    exact = selects = True                            # what is nothing stays nothing, and what was not selected is

    def __init__(self, function: Compiled, arguments: Arguments, path: Path) -> None:
        self.function, self.arguments, self.path = function, arguments, path
        self.name = function.name
        self.hold(path.program("value").evaluator)

    def hold(self, evaluator: Evaluator) -> None:
        """Keep what the arrays from outside hold now: somebody may write to them before the sweep."""
        self.captured = [np.array(array) for array, _ in evaluator.captures]
        self.watched = [(array, copy) for (array, _), copy in zip(evaluator.captures, self.captured, strict=True)]
        self.watched += evaluator.frozen

    def evaluated(self, kind: str, further: Sequence[Any]) -> list[Any]:
        """The results of a program of the path that was taken."""
        e = self.path.program(kind).evaluator
        if self.watched:
            captures = [(copy, slot) for copy, (_, slot) in zip(self.captured, e.captures, strict=True)]
            e = Evaluator(e.code, e.inputs, captures, [], e.guards, e.expected, e.placed)
        found = e([*self.arguments.leaves, *further])
        if not isinstance(found, list):
            raise TraceError(f"{self.name}: its derivative does not take the way that the call took")
        return found

    def by_output(self, parts: Sequence[Any]) -> list[Any]:
        """Parts for the results, each in its shape; nothing for the other outputs."""
        made = [np.full(shape, -0.0) for shape in self.path.output_shapes]
        for k, part in zip(self.path.flowing, parts, strict=True):
            made[k] = np.reshape(part, made[k].shape)
        return made

    @property
    def places(self) -> list[int]:
        """Which leaves are the operands."""
        return [k for k, leaf in enumerate(self.arguments.kinds) if leaf.active]

    def with_operands(self, operands: Sequence[Any]) -> list[Any]:
        """The leaves, with others in the place of the operands."""
        leaves = list(self.arguments.leaves)
        for k, x in zip(self.places, operands, strict=True):
            leaves[k] = np.reshape(x, self.arguments.kinds[k].dims)
        return leaves

    # ---- what the tape asks (see variable.call) ----
    def pull(self, upstream: list[Array]) -> list[Any]:
        """The gradients of the operands."""
        some = any(bool(((g == 0.0) & np.signbit(g)).any()) for g in upstream)
        return self.evaluated("pull_some" if some else "pull", self.by_output(upstream))

    def tangent(self, tangents: list[Array | None]) -> list[Any]:
        """The tangents of the results."""
        dims = [self.arguments.kinds[k].dims for k in self.places]
        given = [np.full(shape, -0.0) if t is None else t.reshape(shape)
                 for t, shape in zip(tangents, dims, strict=True)]
        found = self.evaluated("push", given)
        return [found[k] for k in self.path.flowing]

    def forward(self, inputs: list[Array]) -> list[Any]:
        """The results for other operands, also on another way through the branches; derivatives are of these then."""
        arguments = replace(self.arguments, leaves=self.with_operands(inputs))
        result, path = self.function.find("value", arguments, arguments.leaves) or ([], None)
        form = self.path.output_shapes, self.path.flowing
        if path is None or not complete(path) or (path.output_shapes, path.flowing) != form:
            raise TraceError(f"{self.name}: takes a way through its branches that does not fit this record; record it "
                             "anew")
        self.arguments, self.path = arguments, path
        self.hold(self.path.program("value").evaluator)
        return [result[k] for k in path.flowing]

    def recorded_pull(self, operands: list[Any], results: list[Any], upstream: list[Any]) -> list[Any]:
        """The function itself, on Variables, so that it is differentiated again."""
        for array, copy in self.watched:
            if not np.array_equal(array, copy, equal_nan=copy.dtype.kind == "f"):
                raise RuntimeError(f"{self.name}: an array from outside was written to after the call; second "
                                   "derivatives need what it held then")
        inputs = [variable.input_variable(np.reshape(x, self.arguments.kinds[k].dims))
                  for k, x in zip(self.places, operands, strict=True)]
        args, kwargs = self.arguments.rebuild(self.with_operands(inputs))
        token = variable.enter_transform(inputs)
        try:
            outputs = [joined(y) for y in flatten(self.function.f(*args, **kwargs))[0]]
        finally:
            variable.leave_transform(token)
        pairs = [(outputs[k], g) for k, g in zip(self.path.flowing, upstream, strict=True)
                 if g is not None and variable.is_recorded(outputs[k])]
        total = transforms.flowing([y for y, _ in pairs], [np.reshape(g, y.shape) for y, g in pairs])
        return list(variable.recorded_pull([total], [np.ones(())], inputs, exact=True))
