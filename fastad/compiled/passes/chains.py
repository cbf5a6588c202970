"""Sums that a loop makes term by term become one instruction, which adds in the same order."""
from __future__ import annotations

from typing import Any

import numpy as np

from ... import _passes
from ..listing import OPCODE, Block, Listing, View, line
from .simplify import select

__all__ = ["join_chains"]

#: Shorter sums stay scalar records.
SHORTEST = 8


def join_chains(code: Listing, wanted: Any) -> int:
    """Turn chains of additions into blocks; returns how many records that takes away."""
    if np.count_nonzero(code.op == OPCODE["add"]) < SHORTEST:
        return 0
    uses = np.zeros(len(code.value), np.int32)
    for index in (code.a, code.b, wanted, *[index for block in code.blocks for index in block.read_index()]):
        if isinstance(index, slice):
            uses[index] += 1
        else:
            _passes.count_uses(np.ascontiguousarray(index), uses)
    last, start, first, count, terms, member = _passes.find_chains(code.op, code.v, code.a, code.b, uses, SHORTEST)
    if not len(last):
        return 0
    made = [Block("chain", int(code.time[k]), [View(int(s), (1,), (0,))], [line(int(code.v[k]), 1)],
                  index=terms[f:f + n]) for k, s, f, n in zip(last, start, first, count, strict=True)]
    select(code, 1 - member)
    code.blocks = sorted([*code.blocks, *made], key=lambda block: block.time)
    return int(member.sum())
