"""Nested containers: dicts, lists, tuples, namedtuples and dataclasses of values."""
from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

__all__ = ["flatten", "tree_map"]


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
    children: list[Any]
    make: Callable[[list[Any]], Any]
    if isinstance(tree, dict):
        children, keys = list(tree.values()), list(tree)
        kind = type(tree)

        def make(values: list[Any]) -> Any:
            return kind(zip(keys, values)) if kind is dict or not hasattr(tree, "default_factory") \
                else kind(tree.default_factory, zip(keys, values))
    elif isinstance(tree, tuple) and hasattr(tree, "_fields"):
        children, make = list(tree), lambda values: type(tree)(*values)
    elif isinstance(tree, (list, tuple)):
        children, make = list(tree), type(tree)
    elif dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        names = [f.name for f in dataclasses.fields(tree) if f.init]
        children = [getattr(tree, name) for name in names]
        kind = type(tree)

        def make(values: list[Any]) -> Any:
            return kind(**dict(zip(names, values)))
    elif tree is None:
        return [], lambda values: None
    else:
        return [tree], lambda values: values[0]
    parts = [flatten(child) for child in children]
    counts = [len(leaves) for leaves, _ in parts]

    def rebuild(values: Any) -> Any:
        values = iter(values)
        return make([put([next(values) for _ in range(n)]) for n, (_, put) in zip(counts, parts)])

    return [leaf for leaves, _ in parts for leaf in leaves], rebuild


def tree_map(function: Callable[[Any], Any], tree: Any) -> Any:
    """Apply a function to every leaf of a nested container.

    Examples
    --------
    >>> tree_map(lambda x: 2 * x, [1, (2, 3)])
    [2, (4, 6)]
    """
    leaves, rebuild = flatten(tree)
    return rebuild([function(leaf) for leaf in leaves])
