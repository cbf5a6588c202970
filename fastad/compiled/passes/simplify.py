"""Constant folding, exact identities and common subexpressions of scalar records."""
from __future__ import annotations

from typing import Any

import numpy as np

from ... import _passes
from ..listing import Listing

__all__ = ["simplify"]


def simplify(code: Listing, fold: bool = True, common: bool = True) -> dict[str, int]:
    """Simplify the scalar records; results are unchanged to the last bit (``x ** 2`` becomes ``x * x``).

    Afterwards ``code.alias`` says where the value of each slot is.

    Returns
    -------
    dict
        How many records constant folding, identities and common subexpressions have taken away.
    """
    cells, first = code.cells, code.cells.first[:-1]
    single = np.diff(code.cells.first) == 1           # scalar records read and write no others
    value, known = code.value[first], code.known * single
    op, v, a, b = code.op, cells.of(code.v), cells.of(code.a), cells.of(code.b)
    alias, keep = np.arange(cells.count), np.ones(len(op), np.uint8)
    folded, identities, shared = _passes.simplify(op, v, a, b, value, known, alias, keep,
                                                  int(np.searchsorted(first, code.n_tape)), fold, common)
    made = np.flatnonzero(known > code.known)
    code.value[first[made]] = value[made]
    code.known[made] = 1
    code.a, code.b, code.alias = first[a], first[b], first[alias]
    select(code, keep)
    _passes.rename_operands(cells, code.blocks, code.alias)
    return {"folded": folded, "identities": identities, "shared": shared}


def select(code: Listing, keep: Any) -> None:
    """Keep only some of the scalar records."""
    chosen = keep.astype(bool)
    code.op, code.v, code.a, code.b, code.time = [z[chosen] for z in (code.op, code.v, code.a, code.b, code.time)]
