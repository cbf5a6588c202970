"""Constant folding, exact identities and common subexpressions of scalar records."""
from __future__ import annotations

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
    cells = code.cells
    first_constant = int(np.searchsorted(cells.first[:-1], code.n_tape))
    left, folded, identities, shared = _passes.simplify(cells, code.op, code.v, code.a, code.b, code.time, code.value,
                                                        code.known, code.alias, first_constant, fold, common)
    code.limit(left)
    _passes.rename_operands(cells, code.blocks, code.alias)
    return {"folded": folded, "identities": identities, "shared": shared}
