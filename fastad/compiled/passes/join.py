"""Arrays that are put together from a few pieces: what computes a piece puts it there, and what is left is moved.

A shifted sum (``g[1:] += b``) leaves arrays whose first or last elements come from somewhere else than all others. To
collect them is a copy of the whole; here the large pieces are made in their places instead.
"""
from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ... import _passes
from ..._blocks import Moves
from ..listing import OPCODE, Block, Listing, line

__all__ = ["join_pieces"]

#: Arrays of more pieces are gathered.
MOST_PIECES = 8
#: And so are shorter ones.
SHORTEST = 64


def pieces_of(slots: Any) -> list[tuple[int, int, int]]:
    """Stretches of slots in a row: (where in the array, first slot, length); none when they are too many."""
    breaks = np.flatnonzero(np.diff(slots) != 1) + 1
    if len(slots) < SHORTEST or len(breaks) >= MOST_PIECES:
        return []
    starts = [0, *breaks.tolist(), len(slots)]
    return [(at, int(slots[at]), end - at) for at, end in pairwise(starts)]


def join_pieces(code: Listing, wanted: Sequence[Any]) -> tuple[dict[int, tuple[int, int]], list[Any]]:
    """Make pieces of arrays where they belong.

    Parameters
    ----------
    code : Listing
    wanted : sequence of arrays
        The slots that are wanted.

    Returns
    -------
    moved : dict
        By first slot of a piece: where it is made now, and its length.
    wanted : list of arrays
        Where the same values stand now.
    """
    moved: dict[int, tuple[int, int]] = {}
    parts = [pieces_of(slots) for slots in wanted]
    gathers = {id(block) for block in code.blocks if block.kind == "gather" and pieces_of(block.index)}
    if not gathers and all(len(pieces) < 2 for pieces in parts):
        return moved, list(wanted)
    makers = makers_of(code)
    across, cell = _passes.looked_across(code.cells, code.blocks), code.cells.cell
    blocks: list[Block] = []
    made: list[Any] = []

    def joined(slots: Any, out: int, time: int) -> None:
        """Make the pieces in the slots from `out` on."""
        for at, first, n in pieces_of(slots):
            maker = makers.get(first)
            if (maker is not None and maker.writes[0].size == n and first not in moved
                    and not across[cell(first - 1)] and not across[cell(first + n - 1)]):
                moved[first] = out + at, n
            else:
                blocks.append(Block("map", time, [line(first, n)], [line(out + at, n)], op=OPCODE["positive"]))

    for block in code.blocks:
        if id(block) in gathers:
            joined(block.index, block.writes[0].base, block.time)
        else:
            blocks.append(block)
    for slots, pieces in zip(wanted, parts, strict=True):
        if len(pieces) > 1 and any(n > len(slots) // 2 and first in makers and first not in moved
                                   for _, first, n in pieces):
            out = code.allocate(np.zeros(len(slots)), known=False)
            joined(slots, out, code.n_records)
            slots = np.arange(out, out + len(slots))
        made.append(slots)
    firsts = np.array(sorted(moved), np.int64)
    there, sizes = [np.array([moved[first][j] for first in firsts.tolist()], np.int64) for j in range(2)]
    move = Moves(np.stack([firsts, firsts + sizes], axis=1).reshape(-1),
                 np.stack([there - firsts, 0 * firsts], axis=1).reshape(-1))
    for block in blocks:
        block.reads, block.writes = move.views(block.reads), move.views(block.writes)
        if block.index is not None:
            block.index = move(block.index)
    code.a, code.b = move(code.a), move(code.b)
    code.blocks = blocks
    code.refine()
    return moved, [move(slots) for slots in made]


def makers_of(code: Listing) -> dict[int, Block]:
    """The maps that write slots in a row where nobody else writes, by the first of them."""
    found: dict[int, Block] = {}
    several: set[int] = set()
    for block in code.blocks:
        for view in block.writes:
            if block.kind == "map" and view.row and view.base not in found:
                found[view.base] = block
            else:
                several.add(view.base)
    return {first: block for first, block in found.items() if first not in several}
