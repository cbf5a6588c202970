"""np.einsum: diagonals as views, sums over labels that one operand has alone, then pairs as matrix products."""
from __future__ import annotations

import math
from collections.abc import Container, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from .. import variable
from ..variable import Variable
from .registry import answers, lifted

if TYPE_CHECKING:
    from .._typing import Shape, Value

#: An operand and its labels.
Term: TypeAlias = "tuple[Value, str]"

__all__ = []

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
NAME = "numpy.einsum"


# ---- reading the subscripts ----------------------------------------------------------------------------------
def as_text(operands: tuple[Any, ...]) -> tuple[str, list[Any]]:
    """Subscripts as a string and the list of operands, whichever way einsum was called."""
    if isinstance(operands[0], str):
        return operands[0].replace(" ", ""), list(operands[1:])
    items, lists = list(operands[0::2]), list(operands[1::2])
    out = items.pop() if len(items) > len(lists) else None
    text = ",".join(["".join(["..." if s is Ellipsis else LETTERS[s] for s in labels]) for labels in lists])
    if out is not None:
        text += "->" + "".join(["..." if s is Ellipsis else LETTERS[s] for s in out])
    return text, items


@lru_cache(256)
def parse(text: str, shapes: tuple[Shape, ...]) -> tuple[list[str], str]:
    """Labels of each operand and of the result; the axes behind an ellipsis get labels that occur nowhere else."""
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes):
        raise ValueError(f"{NAME}: {text!r} names {len(terms)} operands, {len(shapes)} were given")
    spare = [c for c in LETTERS if c not in text]
    hidden = [len(shape) - len(term.replace("...", "")) for term, shape in zip(terms, shapes, strict=True)]
    dots = "".join(spare[:max([n for n, term in zip(hidden, terms, strict=True) if "..." in term], default=0)])
    for k, (term, shape) in enumerate(zip(terms, shapes, strict=True)):
        if hidden[k] < 0 or (hidden[k] and "..." not in term):
            raise ValueError(f"{NAME}: the subscripts {term!r} do not fit operand {k} of shape {shape}")
        terms[k] = term.replace("...", dots[len(dots) - hidden[k]:])
    if not arrow:
        letters = "".join(terms)
        right = dots + "".join(sorted([c for c in set(letters) - set(dots) if letters.count(c) == 1]))
    right = right.replace("...", dots)
    check_labels(text, terms, right)
    return terms, right


def check_labels(text: str, terms: list[str], right: str) -> None:
    """Labels are letters; those of the result are distinct and known."""
    letters = "".join(terms)
    if not all(c in LETTERS for c in letters + right):
        raise ValueError(f"{NAME}: {text!r} contains something else than letters, ',', '...' and '->'")
    if len(set(right)) != len(right) or not set(right) <= set(letters):
        raise ValueError(f"{NAME}: in {text!r} the labels of the result repeat, or no operand has them")


def lengths_of(text: str, terms: list[str], items: list[Any]) -> dict[str, int]:
    """The length of each label's axis; an axis of length 1 goes with any other."""
    lengths: dict[str, int] = {}
    for term, x in zip(terms, items, strict=True):
        for label, n in zip(term, x.shape, strict=True):
            if lengths.setdefault(label, n) == 1:
                lengths[label] = n
            elif n not in (1, lengths[label]):
                raise ValueError(f"{NAME}: in {text!r} the label {label!r} stands for axes of length {lengths[label]} "
                                 f"and {n} (operands of shapes {', '.join([str(tuple(z.shape)) for z in items])})")
    return lengths


# ---- one operand ---------------------------------------------------------------------------------------------
def diagonal(x: Value, term: str) -> Term:
    """Axes with one label become one: a view whose stride is the sum of theirs."""
    if len(set(term)) == len(term):
        return x, term
    labels = "".join(dict.fromkeys(term))
    where = [[d for d, c in enumerate(term) if c == label] for label in labels]
    for axes in where:
        if len({x.shape[d] for d in axes}) > 1:
            raise ValueError(f"{NAME}: the label {term[axes[0]]!r} repeats on axes of different length, the shape is "
                             f"{tuple(x.shape)}")
    shape = tuple([x.shape[axes[0]] for axes in where])
    if isinstance(x, Variable):
        strides = tuple([sum([x.strides_in_elements[d] for d in axes]) for axes in where])
        return variable.view(x, 0, shape, strides), labels
    strides = tuple([sum([x.strides[d] for d in axes]) for axes in where])
    return np.lib.stride_tricks.as_strided(x, shape, strides), labels


def without(x: Value, term: str, keep: Container[str]) -> Term:
    """Sum over the labels that are not kept."""
    axes = tuple([d for d, c in enumerate(term) if c not in keep])
    return (np.sum(x, axis=axes), "".join([c for c in term if c in keep])) if axes else (x, term)


def narrowed(x: Value, term: str, lengths: dict[str, int]) -> Term:
    """Axes of length 1 that are broadcast against longer ones are left out."""
    axes = tuple([d for d, c in enumerate(term) if x.shape[d] == 1 and lengths[c] != 1])
    return (np.squeeze(x, axis=axes), "".join([c for d, c in enumerate(term) if d not in axes])) if axes else (x, term)


def arranged(x: Value, term: str, groups: Sequence[str]) -> Value:
    """Axes in the order of the groups of labels, each group as one axis; nothing is done where nothing is to do."""
    order = tuple([term.index(c) for group in groups for c in group])
    if order != tuple(range(len(order))):
        x = np.transpose(x, order)
    if all(len(group) == 1 for group in groups):
        return x
    sizes = iter(x.shape)
    return np.reshape(x, tuple([math.prod([next(sizes) for _ in group]) for group in groups]))


# ---- two operands --------------------------------------------------------------------------------------------
def contract(x: Value, s: str, y: Value, t: str, keep: set[str]) -> Term:
    """Two operands become one: the labels that only they have, and that are not kept, are summed over."""
    x, s = without(x, s, set(keep) | set(t))
    y, t = without(y, t, set(keep) | set(s))
    batch = "".join([c for c in s if c in t and c in keep])
    summed = "".join([c for c in s if c in t and c not in keep])
    ours, theirs = "".join([c for c in s if c not in t]), "".join([c for c in t if c not in s])
    out = batch + ours + theirs
    if not summed:
        a = arranged(x, s, batch + ours)
        b = arranged(y, t, batch + theirs)
        spread = (slice(None),) * len(batch) + (None,) * len(ours)
        return a[(..., *(None,) * len(theirs))] * b[(*spread, ...)], out
    lead = (batch,) if batch else ()
    left = arranged(x, s, (*lead, *((ours,) if ours or batch else ()), summed))
    right = arranged(y, t, (*lead, summed, *((theirs,) if theirs or batch else ())))
    sizes = dict(zip(s + t, tuple(x.shape) + tuple(y.shape), strict=True))
    product = variable.matmul(left, right)
    shape = tuple([sizes[c] for c in out])
    return (product if product.shape == shape else np.reshape(product, shape)), out


def path_of(terms: list[str], right: str, items: list[Any]) -> list[tuple[int, ...]]:
    """Which operands to contract in which step: NumPy's path for more than two."""
    if len(items) <= 2:
        return [tuple(range(len(items)))]
    dummies = [np.broadcast_to(0.0, x.shape) for x in items]
    return np.einsum_path(",".join(terms) + "->" + right, *dummies, optimize="greedy")[0][1:]


@answers(np.einsum)
def einsum(*operands: Any, optimize: Any = True) -> Value:
    """Sums of products by Einstein's convention, for any number of operands.

    Raises
    ------
    ValueError
        When subscripts and shapes do not go together.
    """
    text, given = as_text(operands)
    items = [lifted(x, NAME) for x in given]
    terms, right = parse(text, tuple([tuple(x.shape) for x in items]))
    ready = [diagonal(x, term) for x, term in zip(items, terms, strict=True)]
    lengths = lengths_of(text, [term for _, term in ready], [x for x, _ in ready])
    if len(ready) > 1:
        ready = [narrowed(x, term, lengths) for x, term in ready]
    for step in path_of([term for _, term in ready], right, [x for x, _ in ready]):
        taken = [ready[k] for k in step]
        ready = [pair for k, pair in enumerate(ready) if k not in step]
        while len(taken) > 1:
            keep = set(right).union(*[term for _, term in ready + taken[2:]])
            taken[:2] = [contract(*taken[0], *taken[1], keep)]
        ready += taken
    x, term = without(*ready[0], right)
    return x if term == right else arranged(x, term, right)
