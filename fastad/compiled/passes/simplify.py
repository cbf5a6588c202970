"""Constant folding, exact identities and common subexpressions of scalar records."""
from __future__ import annotations

from typing import Any

import numpy as np

from ... import _passes
from ..listing import Listing, View

__all__ = ["simplify"]


def simplify(code: Listing, fold: bool = True, common: bool = True) -> dict[str, int]:
    """Simplify the scalar records; results are unchanged to the last bit (``x ** 2`` becomes ``x * x``).

    Afterwards ``code.current`` says where the value of each slot is.

    Returns
    -------
    dict
        How many records constant folding, identities and common subexpressions have taken away.
    """
    alias = np.arange(len(code.value))
    keep = np.ones(len(code.op), np.uint8)
    folded, identities, shared = _passes.simplify(code.op, code.v, code.a, code.b, code.value, code.known, alias, keep,
                                                  code.n_tape, fold, common)
    select(code, keep)
    for block in code.blocks:
        if block.index is not None:
            block.index = alias[block.index]
        block.reads = [renamed(view, alias) for view in block.reads]
    code.current = alias
    return {"folded": folded, "identities": identities, "shared": shared}


def renamed(view: View, alias: Any) -> View:
    """A view that looks at a single slot, where that slot's value is now; results of blocks keep their places."""
    if view.size and all(n == 1 or s == 0 for n, s in zip(view.shape, view.strides, strict=True)):
        return View(int(alias[view.base]), view.shape, view.strides)
    return view


def select(code: Listing, keep: Any) -> None:
    """Keep only some of the scalar records."""
    chosen = keep.astype(bool)
    code.op, code.v, code.a, code.b, code.time = [z[chosen] for z in (code.op, code.v, code.a, code.b, code.time)]
