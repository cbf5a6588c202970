"""Constant folding, exact identities and common subexpressions of operations on arrays."""
from __future__ import annotations

from typing import Any

import numpy as np

from ... import _passes
from ..listing import Listing

__all__ = ["Straddled", "simplify_blocks"]


class Straddled:
    """Knows between which slots a view of some block looks across."""

    def __init__(self, low: Any, high: Any) -> None:
        self.lows, self.highs = np.sort(low), np.sort(high)

    def __call__(self, slots: Any) -> Any:
        """Whether a view begins before the slot and ends there or behind it; of one slot, or of each of an array."""
        return np.searchsorted(self.lows, slots) > np.searchsorted(self.highs, slots)


def separate(code: Listing) -> Any:
    """By block: whether its result is written once, and no view of a block reaches across an end of it."""
    low, high, base, size, written = _passes.bounds_of(code.blocks)
    straddled, written = Straddled(low, high), np.sort(written)
    times = np.searchsorted(written, base, side="right") - np.searchsorted(written, base)
    return ~(straddled(base) | straddled(base + size)) & (times == 1)


def simplify_blocks(code: Listing) -> dict[str, int]:
    """Simplify the maps among the blocks; returns how many are gone."""
    code.blocks, identities, shared = _passes.simplify_maps(
        code.cells, code.blocks, code.value, code.known, code.alias, separate(code).astype(np.uint8))
    code.a, code.b = code.now(code.a), code.now(code.b)
    return {"identities": identities, "shared": shared}
