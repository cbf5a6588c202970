"""Dead code: what no output and no guard needs."""
from __future__ import annotations

from typing import Any

import numpy as np

from ... import _passes
from ..listing import Listing
from .simplify import select

__all__ = ["drop_dead", "stretches"]


def stretches(code: Listing) -> list[tuple[int, int]]:
    """For each block the scalar records before it and after the one before it; the last pair is what follows all."""
    cuts = np.searchsorted(code.time, [block.time for block in code.blocks]).tolist()
    return list(zip([0, *cuts], [*cuts, len(code.op)], strict=True))


def drop_dead(code: Listing, wanted: Any) -> int:
    """Keep what the slots `wanted` depend on; returns how many records and blocks are gone."""
    live = np.zeros(len(code.value), np.uint8)
    live[wanted] = 1
    keep = np.ones(len(code.op), np.uint8)
    parts = stretches(code)
    for k in range(len(parts) - 1, -1, -1):
        if k < len(code.blocks):
            block = code.blocks[k]
            block.live = any(live[view.index].any() for view in block.writes if view.size)
            if block.live:
                for index in block.read_index():
                    live[index] = 1
        first, last = parts[k]
        _passes.mark_live(code.v[first:last], code.a[first:last], code.b[first:last], live, keep[first:last])
    before = len(code.op) + len(code.blocks)
    select(code, keep)
    code.blocks = [block for block in code.blocks if block.live]
    return before - len(code.op) - len(code.blocks)
