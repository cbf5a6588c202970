"""Fusion: maps over one iteration space are executed together, strip by strip, and what they hand on stays in cache.

The level of a step is the earliest round in which it can run. A map may share the run of those whose results it reads
in a row, also from other elements on (``y[1:] - y[:-1]``): a run has a clock, element j of a line is computed at the
time j + lag, and the lag of a reader is such that what it reads is there. Everything else waits for the next round.
"""
from __future__ import annotations

from bisect import bisect_left
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._program import STRIP
from ..listing import OPCODE

if TYPE_CHECKING:
    from .emit import Emitter, Operand
    from .regroup import Step

__all__ = ["Plan", "aligned"]

#: An operand that so many lines have written in parts is not looked at piece by piece.
MOST_PIECES = 8
#: One loop does one of these and another, or a negation.
ARITHMETIC = {OPCODE[name] for name in ("add", "subtract", "multiply", "divide")}
#: Slots of a cache line.
CACHE_LINE = 8


class Rounds:
    """Sets level, run and lag of each step.

    Attributes
    ----------
    pieces : dict
        For each line the operands that lie in a row: first slot, and the lines that write there.
    """

    def __init__(self, program: Emitter, read: dict[int, list[Operand]]) -> None:
        self.program, self.steps = program, program.steps
        written = sorted((program.out_of(step), k) for k, step in enumerate(self.steps) if step.kind == "line")
        self.firsts, self.writers = [first for first, _ in written], [k for _, k in written]
        self.level = np.zeros(program.n_slots, np.int32)
        self.pieces: dict[int, list[tuple[int, list[int]]]] = {}
        self.run_of: list[int] = []                   # by step: a run, or what it has become part of
        self.parent: dict[int, int] = {}
        self.length: dict[int, int] = {}              # of a run: when its last element is computed
        self.apart: dict[tuple[int, int], int] = {}   # the run of the lines of a level and length that read no other's
        for k, step in enumerate(self.steps):
            self.run_of.append(k)
            if step.in_run:
                self._line(k, step, read[k])
            else:
                self._single(step)
        for k, step in enumerate(self.steps):
            step.run = self.run(k)

    def run(self, k: int) -> int:
        """The run that a step is in."""
        at = self.run_of[k]
        while self.parent.get(at, at) != at:
            at = self.parent[at]
        self.run_of[k] = at
        return at

    def writers_of(self, first: int, last: int) -> list[int]:
        """The lines that write some of the slots [first, last), in their order there."""
        at = bisect_left(self.firsts, first)
        if at and self.firsts[at - 1] + self.steps[self.writers[at - 1]].n > first:
            at -= 1
        return self.writers[at:bisect_left(self.firsts, last)]

    def _single(self, step: Step) -> None:
        """A step of its own comes after whatever it reads, and after others that have written there before."""
        at = 0
        for slots in self.program.reads(step):
            at = max(at, int(self.level[slots].max()) + 1)
        written = self.program.writes(step)
        for slots in written:
            at = max(at, int(self.level[slots].max()))
        for slots in written:
            self.level[slots] = at
        step.level = at

    def _line(self, k: int, step: Step, operands: list[Operand]) -> None:
        """A line shares the run of those whose results it reads, if it reads them in a row."""
        n, program = step.n, self.program
        floor, linked = 0, []                         # linked: a writer, and which of its elements is read first
        rows = self.pieces[k] = []
        for operand in operands:
            base, on, index, _ = operand
            if index >= 0:
                floor = max(floor, int(self.level[pool_of(program, index, n)].max()) + 1)
                continue
            if base == -1:
                continue
            end = base + operand.reach(n)
            pieces = self.writers_of(base, end) if on == 1 else []
            if not 0 < len(pieces) <= MOST_PIECES or any(self._written_later(p) for p in pieces):
                floor = max(floor, int(self.level[base:end].max()) + 1)
                continue
            rows.append((base, pieces))
            at = base
            for p in pieces:
                first = program.out_of(self.steps[p])
                if first > at:
                    floor = max(floor, int(self.level[at:first].max()) + 1)
                at = first + self.steps[p].n
                linked.append((p, base - first))
            if at < end:
                floor = max(floor, int(self.level[at:end].max()) + 1)
        top = max([self.steps[p].level for p, _ in linked], default=-1)
        step.level = max(floor, top)
        short = any(on == 0 and base >= program.n_image for base, on, _, _ in operands) and n < STRIP
        if floor > top or not self._join(k, step, [(p, d) for p, d in linked if self.steps[p].level == top], short):
            step.level = max(floor, top + 1)
            self._begin(k, step)
        out = program.out_of(step)
        self.level[out:out + len(step.out)] = step.level

    def _written_later(self, p: int) -> bool:
        """Whether others have added to the result of a line."""
        out, n = self.program.out_of(self.steps[p]), self.steps[p].n
        return int(self.level[out:out + n].max()) > self.steps[p].level

    def _join(self, k: int, step: Step, linked: list[tuple[int, int]], short: bool) -> bool:
        """Put a line into the run of those whose results it reads, unless that run gets longer by more than a strip.

        With a `short` operand, repeated for as many elements as it has, a line cannot begin within a strip.
        """
        step.lag = max([0, *[self.steps[p].lag + d for p, d in linked]])
        if step.kind == "sum" and step.lag + step.n > STRIP:    # it adds up the same strips, whatever the lag
            step.lag = -(-step.lag // STRIP) * STRIP
        runs = sorted({self.run(p) for p, _ in linked})
        length = max(self.length[run] for run in runs)
        if step.lag + step.n > length + STRIP or (short and step.lag):
            step.lag = 0
            return False
        for run in runs:
            self.parent[run] = runs[0]
        self.run_of[k] = runs[0]
        self.length[runs[0]] = max(length, step.lag + step.n)
        return True

    def _begin(self, k: int, step: Step) -> None:
        """Put a line with the others of its level and length."""
        first = self.apart.setdefault((step.level, step.n), k)
        run = self.run_of[k] = self.run(first)
        self.length[run] = max(self.length.get(run, 0), step.n)


def pool_of(program: Emitter, first: int, n: int) -> Any:
    """An index list of the pool under construction."""
    at = 0
    for part in program.pool:
        if at == first:
            return part
        at += len(part)
    raise AssertionError("an index list is one part of the pool")


class Room:
    """What lines of one run write side by side, and only lines of that run read: it has the room of a strip."""

    def __init__(self, time: int) -> None:
        self.time = time                              # when slot 0 would be computed
        self.history = 0                              # how long before that a reader looks back
        self.start = -1                               # first slot of the strip; -1: not yet given

    def slot(self, slot: int, lag: int) -> int:
        """Where a line that lags so much finds, in a strip, what would begin at that slot."""
        return self.start - (lag - slot - self.time)


def rooms_of(program: Emitter, read: dict[int, list[Operand]], pieces: dict[int, list[tuple[int, list[int]]]],
             outside: Any) -> dict[int, Room]:
    """By line: the room of its result, for those that nobody else reads."""
    steps = program.steps
    joined = {k: k for k in read if steps[k].kind == "line"}

    def root(k: int) -> int:
        while joined[k] != k:
            k = joined[k]
        return k

    for rows in pieces.values():
        for _, those in rows:
            for p in those[1:]:
                joined[root(p)] = root(those[0])
    rooms: dict[int, Room] = {}
    extent: dict[int, int] = {}
    unfit, is_read = set(), set()
    for k in joined:
        out, at = program.out_of(steps[k]), root(k)
        time = steps[k].lag - out
        room = rooms.setdefault(at, Room(time))
        extent[at] = extent.get(at, 0) + steps[k].n
        if room.time != time or steps[at].run != steps[k].run or outside[out:out + steps[k].n].any():
            unfit.add(at)
    for k, rows in pieces.items():
        for base, those in rows:
            at = root(those[0])
            room = rooms[at]
            is_read.add(at)
            back = steps[k].lag - base - room.time
            room.history = max(room.history, back)
            first = program.out_of(steps[those[0]])
            covered = all(program.out_of(steps[p]) + steps[p].n == program.out_of(steps[q])
                          for p, q in pairwise(those))
            last = program.out_of(steps[those[-1]]) + steps[those[-1]].n
            if steps[k].run != steps[at].run or not covered or first > base or last < base + steps[k].n or back > STRIP:
                unfit.add(at)
    return {k: rooms[at] for k in joined if (at := root(k)) in is_read and at not in unfit and extent[at] > STRIP}


def aligned(slot: int) -> int:
    """The next slot that begins a cache line: a vector that lies across two is read twice."""
    return slot + -slot % CACHE_LINE


def outside_of_runs(program: Emitter, read: dict[int, list[Operand]],
                    pieces: dict[int, list[tuple[int, list[int]]]]) -> Any:
    """By slot: whether somebody else reads it than lines that read it in a row."""
    steps = program.steps
    outside = np.zeros(program.n_slots + 1, bool)
    outside[program.spots(program.wanted)] = True
    for k, step in enumerate(steps):
        if step.in_run:
            rows = {base for base, _ in pieces[k]}
            for operand in read[k]:
                base, on, index, _ = operand
                if index >= 0:
                    outside[pool_of(program, index, step.n)] = True
                elif base >= 0 and (on != 1 or base not in rows):
                    outside[base:base + operand.reach(step.n)] = True
        else:
            for slots in program.reads(step):
                outside[slots] = True
    return outside


def pair_up(program: Emitter, rooms: dict[int, Room], read: dict[int, list[Operand]],
            pieces: dict[int, list[tuple[int, list[int]]]]) -> dict[int, int]:
    """By line: the one other that reads its result, where it reads element by element and one loop can do both."""
    steps = program.steps
    readers: dict[int, set[int]] = {}
    for k, rows in pieces.items():
        for _, those in rows:
            for p in those:
                readers.setdefault(p, set()).add(k)
    handed: dict[int, int] = {}
    taken: set[int] = set()
    for p in rooms:
        if len(readers[p]) > 1 or p in taken or steps[p].op not in ARITHMETIC:
            continue
        (k,) = readers[p]
        step, out = steps[k], program.out_of(steps[p])
        simple = all(index < 0 and on != 2 for base, on, index, _ in read[k])
        if (k not in taken and k not in handed and step.kind == "line" and simple
                and (step.op in ARITHMETIC or step.op == OPCODE["negative"]) and step.n == steps[p].n
                and step.lag == steps[p].lag and all(base == out for base, those in pieces[k] if p in those)):
            handed[p] = k
            taken.add(k)
    return handed


def give_rooms(program: Emitter, order: list[int], rooms: dict[int, Room], handed: dict[int, int],
               pieces: dict[int, list[tuple[int, list[int]]]]) -> None:
    """Give the rooms their slots; those without history are used again."""
    last: dict[Room, int] = {}                        # the last reader in the run gives the room back
    for at, k in enumerate(order):
        for _, those in pieces.get(k, []):
            if those[0] in rooms:
                last[rooms[those[0]]] = at + (k in handed)
    free: list[int] = []
    ends: dict[int, list[int]] = {}
    for at, k in enumerate(order):
        room = rooms.get(k)
        if room is not None and room.start < 0 and k not in handed:
            if room.history:                          # has to last from strip to strip
                room.start = aligned(program.n_slots + room.history)
                program.n_slots = room.start + STRIP
            else:
                if not free:
                    free.append(aligned(program.n_slots))
                    program.n_slots = free[-1] + STRIP
                room.start = free.pop()
                ends.setdefault(last[room], []).append(room.start)
        free += ends.pop(at, [])


class Plan:
    """What is executed when, and what stays in cache.

    Attributes
    ----------
    order : list of int
        The steps in the order of execution.
    pieces : dict
        See `Rounds`.
    rooms : dict
        By line: where its result has its room, of those that only lines of their run read.
    handed : dict
        By line: the next one, which takes its result from a register.
    """

    def __init__(self, program: Emitter, read: dict[int, list[Operand]]) -> None:
        steps = program.steps
        self.pieces = Rounds(program, read).pieces
        self.order = sorted(range(len(steps)), key=lambda k: (steps[k].level, steps[k].in_run, steps[k].run, k))
        self.rooms: dict[int, Room] = {}
        self.handed: dict[int, int] = {}
        if any(steps[k].kind == "line" and steps[k].n > STRIP for k in read):
            self.rooms = rooms_of(program, read, self.pieces, outside_of_runs(program, read, self.pieces))
            self.handed = pair_up(program, self.rooms, read, self.pieces)
            before = {k: p for p, k in self.handed.items()}
            self.order = [j for k in self.order if k not in self.handed
                          for j in ([before[k], k] if k in before else [k])]
            give_rooms(program, self.order, self.rooms, self.handed, self.pieces)
