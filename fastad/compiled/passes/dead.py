"""Dead code: what no output and no guard needs."""
from __future__ import annotations

from typing import Any

import numpy as np

from ... import _passes
from ..listing import Listing

__all__ = ["drop_dead", "stretches"]


def stretches(code: Listing) -> list[tuple[int, int]]:
    """For each block the scalar records before it and after the one before it; the last pair is what follows all."""
    cuts = np.searchsorted(code.time, [block.time for block in code.blocks]).tolist()
    return list(zip([0, *cuts], [*cuts, len(code.op)], strict=True))


def drop_dead(code: Listing, wanted: Any) -> int:
    """Keep what the slots `wanted` depend on; returns how many records and blocks are gone."""
    cells = code.cells
    live = np.zeros(cells.count, np.uint8)
    live[cells.among(wanted)] = 1
    keep = np.ones(len(code.op), np.uint8)
    _passes.find_live(cells, code.blocks, code.time, code.v, code.a, code.b, live, keep)
    before = len(code.op) + len(code.blocks)
    code.select(keep)
    code.blocks = [block for block in code.blocks if block.live]
    return before - len(code.op) - len(code.blocks)
