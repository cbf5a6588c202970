"""Sums that a loop makes term by term become one instruction, which adds in the same order."""
from __future__ import annotations

from operator import attrgetter
from typing import Any

import numpy as np

from ... import _passes
from ..listing import OPCODE, Block, Listing, View, line

__all__ = ["join_chains"]

#: Shorter sums stay scalar records.
SHORTEST = 8


def join_chains(code: Listing, wanted: Any) -> int:
    """Turn chains of additions and subtractions into blocks; returns how many records were joined."""
    if np.count_nonzero((code.op == OPCODE["add"]) | (code.op == OPCODE["subtract"])) < SHORTEST:
        return 0
    uses = np.zeros(code.cells.count, np.int32)
    _passes.count_uses(code.cells, code.blocks, code.cells.among(wanted), uses)
    last, start, first, count, terms, member = _passes.find_chains(code.cells, code.op, code.v, code.a, code.b, uses,
                                                                   SHORTEST)
    if not len(last):
        return 0
    sums = code.v[last]
    negated = np.flatnonzero(member == 2)             # s - t is s + (-t) to the last bit
    if len(negated):
        first_new = code.allocate(len(negated))
        terms = np.where(terms < 0, first_new + np.searchsorted(negated, -1 - terms), terms)
        code.op[negated], code.a[negated], code.b[negated] = OPCODE["negative"], code.b[negated], 0
        code.v[negated] = first_new + np.arange(len(negated))
        code.refine()
    made = [Block("chain", int(code.time[k]), [View(int(s), (1,), (0,))], [line(int(v), 1)],
                  index=terms[f:f + n]) for k, v, s, f, n in zip(last, sums, start, first, count, strict=True)]
    code.select((member != 1).astype(np.uint8))
    code.blocks = sorted([*code.blocks, *made], key=attrgetter("time"))
    return int(np.count_nonzero(member))
