"""Arrays that are put together from a few pieces: what computes a piece puts it there, and what is left is moved.

A shifted sum (``g[1:] += b``) leaves arrays whose first or last elements come from somewhere else than all others. To
collect them is a copy of the whole; here the large pieces are made in their places instead.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import _passes
from ..._blocks import Moves
from ..listing import MOST_PIECES, OPCODE, SHORTEST, Block, Listing, Slots, line

__all__ = ["join_pieces"]


def pieces_of(slots: Slots) -> list[tuple[int, int, int]]:
    """Stretches of slots: (where in the array, first slot, length); none for short arrays or many of them."""
    if len(slots) < SHORTEST or slots.n > MOST_PIECES:
        return []
    sizes = slots.count
    return list(zip((np.cumsum(sizes) - sizes).tolist(), slots.first.tolist(), sizes.tolist(), strict=True))


def join_pieces(code: Listing, wanted: Sequence[Slots],
                guards: Slots) -> tuple[dict[int, tuple[int, int]], list[Slots]]:
    """Make pieces of arrays where they belong.

    Parameters
    ----------
    code : Listing
    wanted : sequence of Slots
        The slots of results.
    guards : Slots
        Those of guards, which are no arrays: they stay where they are made.

    Returns
    -------
    moved : dict
        By first slot of a piece: where it is made now, and its length.
    wanted : list of Slots
        Where the same values stand now, at the end those of guards.
    """
    moved: dict[int, tuple[int, int]] = {}
    parts = [pieces_of(slots) for slots in wanted]
    gathering, copying = _passes.put_together(code.blocks, SHORTEST)
    gathers = {id(block): found for block in gathering if (found := pieces_of(Slots.of(block.index)))}
    copies = {id(block) for block in copying}
    if not gathers and not copies and all(len(pieces) < 2 for pieces in parts):
        return moved, [*wanted, guards]
    makers = makers_of(code)
    across, cell = _passes.looked_across(code.cells, code.blocks), code.cells.cell
    blocks: list[Block] = []
    made: list[Any] = []

    def moves(first: int, n: int, out: int) -> bool:
        """Let what makes a piece, and nothing else, make it in the slots from `out` on, if that can be."""
        maker = makers.get(first)
        if (maker is None or maker.writes[0].size != n or first in moved
                or across[cell(first - 1)] or across[cell(first + n - 1)]):
            return False
        moved[first] = out, n
        return True

    def joined(pieces: list[tuple[int, int, int]], out: int, time: int) -> None:
        """Make pieces in the slots from `out` on."""
        left = list(pieces)
        while left:
            at, first, n = left.pop()
            maker = makers.get(first)
            made = maker.writes[0].size if maker is not None else n
            if made < n:                              # what one map has made begins behind what another has
                left.append((at + made, first + made, n - made))
                n = made
            if not moves(first, n, out + at):
                blocks.append(Block("map", time, [line(first, n)], [line(out + at, n)], op=OPCODE["positive"]))

    for block in code.blocks:
        if id(block) in gathers:
            joined(gathers[id(block)], block.writes[0].base, block.time)
        elif id(block) not in copies or not moves(block.reads[0].base, block.reads[0].size, block.writes[0].base):
            blocks.append(block)
    for slots, pieces in zip(wanted, parts, strict=True):
        if len(pieces) > 1 and any(n > len(slots) // 2 and first in makers and first not in moved
                                   for _, first, n in pieces):
            out = code.allocate(len(slots))
            code.whole.append(line(out, len(slots)))
            joined(pieces, out, code.n_records)
            slots = Slots.row(out, len(slots))
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
    return moved, [move.slots(slots) for slots in [*made, guards]]


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
