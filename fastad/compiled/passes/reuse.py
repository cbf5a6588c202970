"""Reuse: large results share memory where their lives do not overlap: what a program works on stays in cache.

A life lasts from the instruction that writes a result first to the last one that reads it; the lines of a run count as
one instruction. Inputs, constants, results and guards keep their places.
"""
from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..._program import KINDS, STRIP

__all__ = ["reuse"]

#: Slots of a result that is worth moving, and of a workspace that is worth the search.
LARGE, WORTHWHILE = 1 << 10, 1 << 15
#: Slots of a cache line.
LINE = 8
#: More results than these are left where they are.
MOST = 4000


def view_bounds(pool: Any, first: int, which: int, slot: int) -> tuple[int, int]:
    """First and last slot of the result (0) or an operand (1, 2) of a layout."""
    nd = int(pool[first])
    shape = pool[first + 1:first + 1 + nd]
    reach = pool[first + 1 + (which + 1) * nd:first + 1 + (which + 2) * nd] * (shape - 1)
    return slot + int(np.minimum(reach, 0).sum()), slot + int(np.maximum(reach, 0).sum())


def matrix_bounds(pool: Any, first: int, which: int, slot: int) -> tuple[int, int]:
    """The same of a matrix product."""
    batch, m, n, k = pool[first:first + 4].tolist()
    shape = np.array(((batch, m, n), (batch, m, k), (batch, k, n))[which])
    reach = pool[first + 4 + 3 * which:first + 7 + 3 * which] * (shape - 1)
    return slot + int(np.minimum(reach, 0).sum()), slot + int(np.maximum(reach, 0).sum())


def operands(row: Any, pool: Any) -> Iterator[tuple[bool | None, Any]]:
    """What an instruction reads, then what it writes: (writes, (first slot, last slot) or array of slots).

    Of a strip, which lines of a run share, `writes` is None; what is handed on has no slots.
    """
    kind, n, v, a, b = KINDS[row["kind"]], int(row["n"]), int(row["v"]), int(row["a"]), int(row["b"])
    first = int(row["first"])
    if kind in ("line", "sum"):
        strip = min(n + int(row["count"]), STRIP)
        for which, (slot, on, index) in enumerate(((a, row["aa"], row["ia"]), (b, row["ab"], row["ib"]))):
            if index >= 0:
                yield False, pool[index:index + n]
            elif slot >= 0 and on >= 0:               # else it comes from the line before, in a register
                width, _, count = pool[first + 3 * which:first + 3 * which + 3].tolist() if on == 2 else (n, 0, 1)
                yield False if on else None, (slot, slot + (width * count if on else strip) - 1)
        if kind == "sum":
            yield True, (v, v)
        elif row["av"] > 0:
            yield True, (v, v + n - 1)
        elif row["av"] == 0:
            yield None, (v - int(row["history"]), v + (STRIP if row["history"] else strip) - 1)
    elif kind in ("map", "add"):
        yield False, view_bounds(pool, first, 1, a)
        if b >= 0:
            yield False, view_bounds(pool, first, 2, b)
        yield kind == "map", view_bounds(pool, first, 0, v)
    elif kind == "matmul":
        yield False, matrix_bounds(pool, first, 1, a)
        yield False, matrix_bounds(pool, first, 2, b)
        yield True, matrix_bounds(pool, first, 0, v)
    elif kind == "gather":
        yield False, pool[row["ia"]:row["ia"] + n]
        yield True, (v, v + n - 1)
    elif kind == "chain":
        terms = n * int(row["count"])
        yield False, (a, a + (n if row["aa"] else 1) - 1)
        if row["ib"] >= 0:
            yield False, pool[row["ib"]:row["ib"] + terms]
        elif terms:
            yield False, (b, b + terms - 1)
        yield True, (v, v + n - 1)
    elif kind in ("fill", "copy"):
        yield False, (a, a + (n if kind == "copy" else 1) - 1)
        yield True, (v, v + n - 1)
    elif kind == "call":
        for writes in (False, True):
            count = int(pool[first])
            for slot, size in pool[first + 1:first + 1 + 2 * count].reshape(-1, 2).tolist():
                if size:
                    yield writes, (slot, slot + size - 1)
            first += 1 + 2 * count


class Lives:
    """The stretches of slots that are used as a whole, and when."""

    def __init__(self, instructions: Any, scalars: Any, pool: Any) -> None:
        uses: list[tuple[int, bool | None, Any]] = []        # position, whether it writes, what
        spans: list[tuple[int, int]] = []
        at = left = 0
        for k, row in enumerate(instructions):
            if left:
                left -= 1
            else:
                at = k
            kind = KINDS[row["kind"]]
            if kind == "run":
                left = int(row["count"])
            elif kind == "scalars":
                part = scalars[row["first"]:row["first"] + row["n"]]
                uses += [(at, False, part[name]) for name in ("a", "b", "v")]
            else:
                for writes, what in operands(row, pool):
                    uses.append((at, writes, what))
                    if isinstance(what, tuple):
                        spans.append(what)
        self.first: list[int] = []                    # slots of the stretches
        self.last: list[int] = []
        for low, high in sorted(spans):
            if self.last and low <= self.last[-1]:
                self.last[-1] = max(self.last[-1], high)
            else:
                self.first.append(low)
                self.last.append(high)
        self.born = [-1] * len(self.first)            # -1: not used yet, -2: it stays, was read before or is a strip
        self.dies = [-1] * len(self.first)
        self.starts, self.ends = np.array(self.first, np.int64), np.array(self.last, np.int64)
        for at, writes, what in uses:
            for k in [bisect_right(self.first, what[0]) - 1] if isinstance(what, tuple) else self.around(what):
                if self.born[k] == -1 or writes is None:
                    self.born[k] = at if writes else -2
                self.dies[k] = at

    def around(self, slots: Any) -> list[int]:
        """The stretches that slots are in."""
        if not len(self.starts):
            return []
        found = np.searchsorted(self.starts, slots, side="right") - 1
        return [int(k) for k in np.unique(found[(found >= 0) & (slots <= self.ends[found])])]

    def pin(self, slots: Any) -> None:
        """Let these slots stay where they are."""
        for k in self.around(slots):
            self.born[k] = -2


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


def reuse(instructions: Any, scalars: Any, pool: Any, pinned: Sequence[Any], n_image: int, n_slots: int) -> Any:
    """Give large results new places; the tables are rewritten.

    Parameters
    ----------
    instructions, scalars, pool : arrays
        The tables of the program.
    pinned : sequence of arrays
        Slots that have to stay: inputs, results, guards.
    n_image, n_slots : int
        How many slots there are that hold constants, and in all.

    Returns
    -------
    array of int64 or None
        By slot: its new place, and at the end how many there are now; None when nothing moves.
    """
    if n_slots - n_image < WORTHWHILE:
        return None
    lives = Lives(instructions, scalars, pool)
    for slots in pinned:
        lives.pin(slots)
    moving = [k for k, (low, high) in enumerate(zip(lives.first, lives.last, strict=True))
              if lives.born[k] >= 0 and high - low >= LARGE and low >= n_image]
    if len(moving) < 2 or len(moving) > MOST:
        return None
    stays = np.ones(n_slots, bool)
    for k in moving:
        size = lives.last[k] + 1 - lives.first[k]
        stays[lives.first[k]:lives.last[k] + 1 - size % LINE] = False    # strips behind it still begin a cache line
    place = np.cumsum(stays) - 1
    base = int(stays.sum())
    base += -base % LINE
    room = Room()
    dying: list[tuple[int, int, int]] = []            # (last use, first slot, how many)
    for k in sorted(moving, key=lambda k: lives.born[k]):
        while dying and dying[0][0] < lives.born[k]:
            room.give(*dying.pop(0)[1:])
        size = lives.last[k] + 1 - lives.first[k]
        size += -size % LINE
        at = room.take(size)
        insort(dying, (lives.dies[k], at, size))
        place[lives.first[k]:lives.last[k] + 1] = np.arange(lives.last[k] + 1 - lives.first[k]) + base + at
    move(instructions, scalars, pool, place)
    return np.append(place, base + room.end)


def move(instructions: Any, scalars: Any, pool: Any, place: Any) -> None:
    """Write the new places of slots into the tables."""
    for name in ("v", "a", "b"):
        scalars[name] = place[scalars[name]]
        slots = instructions[name]
        instructions[name] = np.where(slots >= 0, place[np.maximum(slots, 0)], slots)
    done = set()
    for row in instructions:
        kind, n, first = KINDS[row["kind"]], int(row["n"]), int(row["first"])
        lists = []
        if kind in ("line", "sum", "gather"):
            lists = [(int(row[name]), n) for name in ("ia", "ib") if row[name] >= 0]
        elif kind == "chain" and row["ib"] >= 0:
            lists = [(int(row["ib"]), n * int(row["count"]))]
        elif kind == "call":
            for _ in range(2):
                count = int(pool[first])
                lists += [(first + 1 + 2 * j, 1) for j in range(count)]
                first += 1 + 2 * count
        for start, count in lists:
            if start not in done:                     # an index list may serve several lines
                done.add(start)
                pool[start:start + count] = place[pool[start:start + count]]
