"""Nested containers."""
import weakref
from collections import OrderedDict, defaultdict, namedtuple
from dataclasses import dataclass, field

import numpy as np
import pytest

from fastad.tree import flatten, flatten_like, leaf_names, tree_map

Pair = namedtuple("Pair", "left right")


@dataclass
class Point:
    x: float
    y: list
    norm: float = field(init=False, default=0.0)


TREES = [
    (1.0, [1.0], [""]), (None, [], []), ([], [], []), ("text", ["text"], [""]),
    ([1, (2, 3)], [1, 2, 3], ["[0]", "[1][0]", "[1][1]"]),
    ({"b": 1, "a": {"c": [2]}}, [1, 2], ["['b']", "['a']['c'][0]"]),
    (Pair(1, Pair(2, None)), [1, 2], [".left", ".right.left"]),
    (Point(1, [2, 3]), [1, 2, 3], [".x", ".y[0]", ".y[1]"]),
    (OrderedDict(z=1, y=2), [1, 2], ["['z']", "['y']"]),
    (defaultdict(list, k=[5]), [5], ["['k'][0]"]),
]


@pytest.mark.parametrize(("tree", "leaves", "names"), TREES)
def test_there_and_back(tree, leaves, names):
    found, rebuild = flatten(tree)
    assert found == leaves and leaf_names(tree) == names
    same = rebuild(iter(leaves))
    assert same == tree and type(same) is type(tree)
    assert flatten_like(tree, tree, "test") == leaves


def test_other_leaves_in_the_same_form():
    p = flatten({"p": Point(1, [2])})[1]([10, 20])["p"]
    assert (p.x, p.y, p.norm) == (10, [20], 0.0)
    d = tree_map(lambda x: -x, defaultdict(int, a=1))
    assert d == {"a": -1} and d["new"] == 0
    a = np.ones(3)
    assert flatten([a])[0][0] is a                       # arrays are leaves


def test_flatten_like_matches_keys_and_fills_in_none():
    form = {"a": 1, "b": (2, [3, 4])}
    assert flatten_like(form, {"b": [20, [30, 40]], "a": 10}, "g") == [10, 20, 30, 40]
    assert flatten_like(form, {"b": None, "a": 10}, "g") == [10, None, None, None]
    assert flatten_like(form, None, "g") == [None] * 4
    assert flatten_like(None, None, "g") == []


@pytest.mark.parametrize(("form", "tree", "message"), [
    ({"a": 1}, {"b": 1}, r"g: a dict with the keys \['a'\].*\['b'\]"), ({"a": 1}, [1], "dict.*list"),
    ([1, 2], [1], "list of 2 items.*list of 1"), ((1, 2), {"a": 1, "b": 2}, "tuple of 2 items.*dict"),
    (Pair(1, 2), 5.0, "Pair of 2 items.*float"),
])
def test_flatten_like_says_what_differs(form, tree, message):
    with pytest.raises(ValueError, match=message):
        flatten_like(form, tree, "g")


def test_what_puts_leaves_back_keeps_none_of_them():
    class Leaf:
        pass

    leaf = Leaf()
    gone = weakref.ref(leaf)
    rebuild = flatten({"a": [leaf, (leaf,)], "b": Pair(leaf, leaf), "c": defaultdict(list, x=leaf)})[1]
    del leaf
    assert gone() is None and rebuild(range(5))["b"] == Pair(2, 3)
