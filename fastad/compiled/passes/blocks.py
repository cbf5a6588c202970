"""Constant folding, exact identities and common subexpressions of operations on arrays."""
from __future__ import annotations

from ... import _passes
from ..listing import Listing

__all__ = ["simplify_blocks"]


def simplify_blocks(code: Listing) -> dict[str, int]:
    """Simplify the maps among the blocks; returns how many are gone."""
    code.blocks, identities, shared = _passes.simplify_maps(code.cells, code.blocks, code.value, code.known, code.alias)
    code.a, code.b = code.now(code.a), code.now(code.b)
    return {"identities": identities, "shared": shared}
