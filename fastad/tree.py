"""Nested containers: dicts, lists, tuples, namedtuples and dataclasses of values."""
from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["flatten", "flatten_like", "leaf_names", "tree_map", "unpack"]


def unpack(tree: Any) -> tuple[list[Any], Callable[[list[Any]], Any]] | None:
    """The items of a container and what makes a container of the same form from others; None for a leaf."""
    if type(tree) in (np.ndarray, float, int):        # soon said of the usual leaves
        return None
    if isinstance(tree, dict):
        keys = list(tree)
        kind: Callable[..., Any] = type(tree)
        if hasattr(tree, "default_factory"):
            factory = tree.default_factory
            return list(tree.values()), lambda values: kind(factory, zip(keys, values, strict=True))
        return list(tree.values()), lambda values: kind(zip(keys, values, strict=True))
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        form = type(tree)
        return list(tree), lambda values: form(*values)
    if isinstance(tree, (list, tuple)):
        return list(tree), type(tree)
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        names, make = [f.name for f in dataclasses.fields(tree) if f.init], type(tree)
        return [getattr(tree, name) for name in names], lambda values: make(**dict(zip(names, values, strict=True)))
    if tree is None:
        return [], lambda values: None
    return None


def flatten_like(form: Any, tree: Any, what: str) -> list[Any]:
    """The leaves of `tree` in the order of the container `form`, whose form it must have.

    Parameters
    ----------
    form, tree : object
        Containers. Where `tree` has None, each leaf of `form` gets None; the keys of a dict may come in any order, a
        list may stand for a tuple.
    what : str
        What `tree` is, for the message.

    Raises
    ------
    ValueError
        Names what differs.

    Examples
    --------
    >>> flatten_like({"a": 0, "b": [0, 0]}, {"b": None, "a": 5.0}, "gradient")
    [5.0, None, None]
    """
    opened = unpack(form)
    if opened is None:
        return [tree]
    children = opened[0]
    if tree is None:
        return [None] * len(flatten(form)[0])
    if isinstance(form, dict):
        if not isinstance(tree, dict) or set(tree) != set(form):
            raise ValueError(f"{what}: a dict with the keys {list(form)} is needed, not "
                             f"{list(tree) if isinstance(tree, dict) else type(tree).__name__}")
        others = [tree[key] for key in form]
    else:
        others = (unpack(tree) or ([], None))[0]
        if isinstance(tree, dict) or len(others) != len(children):
            raise ValueError(f"{what}: a {type(form).__name__} of {len(children)} items is needed, not "
                             f"{type(tree).__name__}" + (f" of {len(others)}" if others else ""))
    return [leaf for child, other in zip(children, others, strict=True) for leaf in flatten_like(child, other, what)]


def leaf_names(tree: Any) -> list[str]:
    """How each leaf of a container is reached from it, in the order of `flatten`.

    Examples
    --------
    >>> leaf_names({"a": 1.0, "b": (2.0, [3.0])})
    ["['a']", "['b'][0]", "['b'][1][0]"]
    """
    opened = unpack(tree)
    if opened is None:
        return [""]
    if isinstance(tree, dict):
        steps = [f"[{key!r}]" for key in tree]
    elif isinstance(tree, tuple) and hasattr(tree, "_fields"):
        steps = [f".{field}" for field in tree._fields]
    elif isinstance(tree, (list, tuple)):
        steps = [f"[{k}]" for k in range(len(tree))]
    else:
        steps = [f".{f.name}" for f in dataclasses.fields(tree) if f.init] if tree is not None else []
    return [step + rest for step, child in zip(steps, opened[0], strict=True) for rest in leaf_names(child)]


def flatten(tree: Any) -> tuple[list[Any], Callable[[Any], Any]]:
    """Split a nested container into its leaves and what puts them back.

    Parameters
    ----------
    tree : object
        Dicts, lists, tuples, namedtuples and dataclass instances of anything; None is a container without leaves.

    Returns
    -------
    leaves : list
        In the order of the container; dicts in their own order.
    rebuild : callable
        ``rebuild(leaves)`` gives a container of the same form.

    Examples
    --------
    >>> leaves, rebuild = flatten({"a": 1.0, "b": (2.0, [3.0])})
    >>> leaves
    [1.0, 2.0, 3.0]
    >>> rebuild([10.0, 20.0, 30.0])
    {'a': 10.0, 'b': (20.0, [30.0])}
    """
    opened = unpack(tree)
    if opened is None:
        return [tree], lambda values: next(iter(values))
    children, make = opened
    leaves, parts = [], []
    for child in children:
        below, put = flatten(child)
        leaves += below
        parts.append((len(below), put))

    def rebuild(values: Any) -> Any:                  # keeps none of the leaves alive
        values = iter(values)
        return make([put([next(values) for _ in range(n)]) for n, put in parts])

    return leaves, rebuild


def tree_map(function: Callable[[Any], Any], tree: Any) -> Any:
    """Apply a function to every leaf of a nested container.

    Examples
    --------
    >>> tree_map(lambda x: 2 * x, [1, (2, 3)])
    [2, (4, 6)]
    """
    leaves, rebuild = flatten(tree)
    return rebuild([function(leaf) for leaf in leaves])
