"""Reuse: large results share memory where their lives do not overlap: what a program works on stays in cache.

A life lasts from the instruction that writes a result first to the last one that reads it; the lines of a run count as
one instruction. Inputs, constants, results and guards keep their places.
"""
from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..._blocks import Moves
from ..._instructions import KIND, LINE, LISTED, SHARING, WRITING, move_slots

__all__ = ["reuse"]

#: Slots of a result that is worth moving, and of a workspace that is worth the search.
LARGE, WORTHWHILE = 1 << 10, 1 << 15
#: More results than these are left where they are.
MOST = 4000
#: Lines of a run count as one instruction.
IN_RUNS = (KIND["line"], KIND["sum"])


class Lives:
    """The stretches of slots that are used as a whole, and when.

    Attributes
    ----------
    first, last : arrays of int64
        Slots of the stretches.
    born, dies : arrays of int64
        Positions of the first and the last use: -1 where there is none, -2 where a stretch stays, since it was read
        before it was written or is a strip.
    """

    def __init__(self, instructions: Any, scalars: Any, uses: Sequence[Any]) -> None:
        row, mode, low, high = uses
        spans = mode != LISTED
        self.first, self.last = joined(low[spans], high[spans])
        self.born, self.dies = np.full((2, len(self.first)), -1)
        kinds = instructions["kind"]
        at = np.maximum.accumulate(np.where(np.isin(kinds, IN_RUNS), 0, np.arange(len(kinds))))[row]
        stretches = np.flatnonzero(kinds == KIND["scalars"])
        if len(stretches):
            table = [scalars[instructions["first"][k]:][:instructions["n"][k]] for k in stretches.tolist()]
            slots = [part[name].astype(np.int64) for part in table for name in ("a", "b", "v")]
            when = np.repeat(stretches, 3 * instructions["n"][stretches])
            order = np.argsort(np.append(at, when), kind="stable")
            at, low, mode = [np.concatenate(both)[order] for both in (
                (at, when), (low, *slots), (mode, np.full(len(when), LISTED)))]
        which = self.around(low)
        known = which >= 0
        which, at, mode = which[known], at[known], mode[known]
        begins, index = np.unique(which, return_index=True)
        self.born[begins] = np.where(mode[index] == WRITING, at[index], -2)
        self.born[which[mode == SHARING]] = -2
        np.maximum.at(self.dies, which, at)

    def around(self, slots: Any) -> Any:
        """The stretch that each slot is in, -1 for none."""
        if not len(self.first):
            return np.full(len(slots), -1)
        found = np.searchsorted(self.first, slots, side="right") - 1
        return np.where((found >= 0) & (slots <= self.last[found]), found, -1)

    def pin(self, low: Any, high: Any) -> None:
        """Let what stretches of slots touch stay where it is."""
        begins = np.searchsorted(self.last, low)
        ends = np.searchsorted(self.first, high, side="right")
        inside = np.zeros(len(self.first) + 1, np.int64)
        np.add.at(inside, begins[begins < ends], 1)
        np.add.at(inside, ends[begins < ends], -1)
        self.born[np.cumsum(inside[:-1]) > 0] = -2


def joined(low: Any, high: Any) -> tuple[Any, Any]:
    """Stretches that overlap as one: first and last slots."""
    order = np.argsort(low, kind="stable")
    low, high = low[order], np.maximum.accumulate(high[order])
    begins = np.flatnonzero(np.append(True, low[1:] > high[:-1])[:len(low)])
    return low[begins], high[np.append(begins[1:], len(low))[:len(begins)] - 1]


class Room:
    """Free stretches of memory, first come, smallest that fits."""

    def __init__(self) -> None:
        self.free: list[tuple[int, int]] = []         # (first slot, how many)
        self.end = 0

    def take(self, n: int) -> int:
        """The first of n slots."""
        fitting = [(size, first) for first, size in self.free if size >= n]
        if not fitting:
            self.end += n
            return self.end - n
        size, first = min(fitting)
        self.free.remove((first, size))
        if size > n:
            insort(self.free, (first + n, size - n))
        return first

    def give(self, first: int, n: int) -> None:
        """Slots that nobody needs any more."""
        insort(self.free, (first, n))
        joined: list[tuple[int, int]] = []
        for start, size in self.free:
            if joined and sum(joined[-1]) == start:
                joined[-1] = (joined[-1][0], joined[-1][1] + size)
            else:
                joined.append((start, size))
        self.free = joined


def reuse(instructions: Any, scalars: Any, pool: Any, uses: Sequence[Any], pinned: Sequence[Any],
          n_image: int, n_slots: int) -> tuple[Moves, int] | None:
    """Give large results new places; the tables are rewritten.

    Parameters
    ----------
    instructions, scalars, pool : arrays
        The tables of the program.
    uses
        What the instructions read and write, see `uses_of`.
    pinned : sequence of (first slots, last slots)
        Stretches that have to stay: inputs, results, guards.
    n_image, n_slots : int
        How many slots there are that hold constants, and in all.

    Returns
    -------
    Moves and int, or None
        Where slots go, and how many there are then; None when nothing moves.
    """
    _, _, first, last = uses
    if n_slots - n_image < WORTHWHILE or not (last - first >= LARGE).any():
        return None
    lives = Lives(instructions, scalars, uses)
    for low, high in pinned:
        lives.pin(low, high)
    moving = np.flatnonzero((lives.born >= 0) & (lives.last - lives.first >= LARGE) & (lives.first >= n_image))
    if not 2 <= len(moving) <= MOST:
        return None
    first, size = lives.first[moving], lives.last[moving] + 1 - lives.first[moving]
    gone = size - size % LINE                         # strips behind it still begin a cache line
    total = n_slots - int(gone.sum())
    base = total + -total % LINE
    room = Room()
    dying: list[tuple[int, int, int]] = []            # (last use, first slot, how many)
    there = np.zeros(len(moving), np.int64)
    for k in np.argsort(lives.born[moving], kind="stable").tolist():
        born = lives.born[moving[k]]
        done = bisect_left(dying, (born, 0, 0))
        for _, at, n in dying[:done]:
            room.give(at, n)
        del dying[:done]
        n = int(size[k] + -size[k] % LINE)
        there[k] = base + room.take(n)
        insort(dying, (int(lives.dies[moving[k]]), int(there[k]) - base, n))
    starts = np.stack([first, first + size], axis=1).reshape(-1)      # what is moved, and what moves up behind it
    shift = np.stack([there - first, -np.cumsum(gone)], axis=1).reshape(-1)
    moves = Moves(starts, shift)
    for name in ("v", "a", "b"):
        scalars[name] = moves(scalars[name].astype(np.int64))
    move_slots(instructions, pool, moves)
    return moves, base + room.end
