"""Arguments of compiled functions: what keys the cache, what is an input, and how gradients are given back."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import variable
from ..errors import refuse_masked
from ..tree import flatten, unpack

if TYPE_CHECKING:
    from .._typing import Options

__all__ = ["Arguments", "Leaf", "read_arguments"]

#: Kinds of inputs: numbers that can be differentiated with respect to, integers, truth values.
FLOAT, INT, BOOL = "float", "int", "bool"


@dataclass(frozen=True)
class Leaf:
    """What the key knows of one argument, or one item of a container: its kind and shape; None as shape is a number."""

    kind: str
    shape: tuple[int, ...] | None
    active: bool

    @property
    def dims(self) -> tuple[int, ...]:
        """The shape, of a number ()."""
        return self.shape or ()


@dataclass
class Arguments:
    """One call's arguments, taken apart.

    ``key`` finds the programs that were made for such arguments; ``leaves`` are the inputs, described by ``kinds``;
    ``rebuild`` puts others in their places and gives ``(args, kwargs)``; ``numbers`` are the differentiated arguments,
    in the order of argnums, not negative.
    """

    key: Any
    leaves: list[Any]
    kinds: list[Leaf]
    rebuild: Any
    trees: list[Any]
    numbers: list[int] = field(default_factory=list)

    @property
    def differentiated(self) -> list[int]:
        """The leaves that are differentiated with respect to, in the order of argnums."""
        return [j for k in self.numbers for j in range(*self.trees[k][1:])]

    def by_leaf(self, parts: Sequence[Any]) -> list[Any]:
        """What is in the order of argnums in the order of the leaves, in which programs have it."""
        return [part for _, part in sorted(zip(self.differentiated, parts, strict=True), key=lambda pair: pair[0])]

    @property
    def simple(self) -> bool:
        """Whether the arguments are the leaves: no containers, nothing static, no names."""
        return (not self.key[1] and len(self.trees) == len(self.leaves)
                and all(tree and tree[0] is None for tree in self.trees))


#: Integers up to here are float64 numbers.
EXACT = 1 << 53


class Static:
    """An argument that is part of the key."""

    def __init__(self, value: Any, name: str) -> None:
        self.value = value
        self.key = exact(value)
        try:
            hash(value)
        except TypeError:
            raise TypeError(f"compile: the static argument {name} of type {type(value).__name__} is not hashable; "
                            "static arguments are part of the key") from None


def exact(value: Any) -> Any:
    """What tells a value from others that are equal to it: 1, 1.0 and True, 0.0 and -0.0; nan is equal to itself."""
    if isinstance(value, tuple):
        return type(value), tuple([exact(item) for item in value])
    return type(value), repr(value) if isinstance(value, float) else value


def beyond_float(value: Any) -> bool:
    """Whether there are whole numbers in a value that float64 may have to round."""
    if isinstance(value, np.ndarray):
        return bool(value.dtype.kind in "iu" and value.dtype.itemsize == 8 and value.size
                    and (value.max() > EXACT or value.min() < -EXACT))
    return isinstance(value, (int, np.integer)) and abs(int(value)) > EXACT


def kind_of(value: Any, active: bool, name: str) -> Leaf | None:
    """The leaf that a value is; None when it is none that float64 could stand for, hence static."""
    if isinstance(value, (float, np.floating)):
        return Leaf(FLOAT, None, active)
    if isinstance(value, bool) and not active:
        return None                                   # True + True is 2 in Python, not in NumPy
    if isinstance(value, (bool, np.bool_)):
        return Leaf(FLOAT if active else BOOL, None, active)
    if isinstance(value, (int, np.integer)):
        if not active and beyond_float(value):
            return None
        return Leaf(FLOAT if active else INT, None, active)
    if isinstance(value, (complex, np.complexfloating)) or (isinstance(value, np.ndarray) and value.dtype.kind == "c"):
        raise TypeError(f"compile: {name} is complex; pass real and imaginary part")
    if isinstance(value, np.ndarray) and type(value) is not np.ndarray:
        refuse_masked(value, f"compile: {name}")
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        if not active and beyond_float(value):
            raise ValueError(f"compile: {name} has integers beyond 2**53, which are no float64 numbers")
        kind = FLOAT if active or value.dtype.kind == "f" else BOOL if value.dtype.kind == "b" else INT
        return Leaf(kind, value.shape, active)
    if active:
        what = f"an array of dtype {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
        raise TypeError(f"compile: {name} is {what}, not a number or an array of numbers; argnums says which "
                        "arguments to differentiate with respect to, static_argnums which are fixed")
    return None


def plain(value: Any) -> Any:
    """A value without Variables around it."""
    if isinstance(value, np.ndarray) and value.dtype == object:
        value = variable.array(value)
    return variable.value_of(value)


def read_arguments(args: Sequence[Any], kwargs: Options, numbers: list[int], static: set[int]) -> Arguments:
    """Take the arguments of a call apart.

    Parameters
    ----------
    numbers, static
        Positions of the arguments that are differentiated with respect to, and of the static ones; not negative.
    """
    argnums = set(numbers)
    leaves: list[Any] = []
    kinds: list[Leaf] = []
    key: list[Any] = []
    makers: list[Any] = []
    trees: list[Any] = []
    named = [(k, value, str(k)) for k, value in enumerate(args)] + [(-1, kwargs[name], name) for name in sorted(kwargs)]
    for k, value, name in named:
        if k in static:
            fixed = Static(value, name)
            key.append(fixed.key)
            makers.append((value, None))
            trees.append(None)
            continue
        value = plain(value)
        active = k in argnums
        first = len(leaves)
        if unpack(value) is None:
            parts, rebuild, form = [value], None, None
        else:
            parts, rebuild = flatten(value)
            form = form_of(value)
        fixed_parts: list[Static | None] = []
        for part in parts:
            part = plain(part)
            leaf = kind_of(part, active, f"argument {name}")
            if leaf is None:
                fixed_parts.append(Static(part, name))
                continue
            fixed_parts.append(None)
            leaves.append(np.asarray(part, np.float64) if active and beyond_float(part) else part)
            kinds.append(leaf)
        key.append((form, tuple([z and z.key for z in fixed_parts]), tuple(kinds[first:])))
        makers.append((rebuild, fixed_parts))
        trees.append((rebuild, first, len(leaves)))
    names, n = sorted(kwargs), len(args)              # `put` lives on, and the arguments need not

    def put(values: Sequence[Any]) -> tuple[list[Any], dict[str, Any]]:
        items = iter(values)
        made = []
        for rebuild, fixed_parts in makers:
            if fixed_parts is None:
                made.append(rebuild)
                continue
            parts = [next(items) if z is None else z.value for z in fixed_parts]
            made.append(parts[0] if rebuild is None else rebuild(parts))
        return made[:n], dict(zip(names, made[n:], strict=True))

    return Arguments((tuple(key), tuple(names)), leaves, kinds, put, trees, numbers)


def form_of(tree: Any) -> Any:
    """The form of a container, to be compared: types, keys and lengths."""
    opened = unpack(tree)
    if opened is None:
        return None
    keys = tuple(tree) if isinstance(tree, dict) else len(opened[0])
    return type(tree), keys, tuple([form_of(child) for child in opened[0]])
