"""Programs one operation at a time, for those who want to see where a number comes from and have no Python code."""
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .._instructions import INSTRUCTION, KIND
from .._program import Code, Evaluator

__all__ = ["Unfused", "unfused"]

HANDED_ON = NOWHERE = -1


class Unfused(NamedTuple):
    """A program whose instructions are single operations, and which instruction each of them was."""

    evaluator: Evaluator
    sources: list[int]


class Strip(NamedTuple):
    """Where a run has memory for a strip, with so many numbers before it; and where the whole is now, by time.

    Element j of a line has its turn at the time j + lag, so that several lines may write parts of one whole.
    """

    slot: int
    history: int
    whole: int


def unfused(evaluator: Evaluator) -> Unfused:
    """The same program, the same numbers, without runs and stretches of scalars; no argument stays with the caller.

    Examples
    --------
    >>> import numpy as np
    >>> import fastad as fa
    >>> f = fa.compile(lambda x: np.sum(np.exp(x) * np.sin(x)))
    >>> float(f(np.zeros(3)))
    0.0
    >>> evaluator = f.programs[0].evaluator
    >>> kinds = [fa._instructions.KINDS[k] for k in unfused(evaluator).evaluator.code.instructions["kind"]]
    >>> kinds.count("run"), kinds.count("line")
    (4, 3)
    """
    code = evaluator.code
    made = _Maker(code)
    k = 0
    while k < len(code.instructions):
        k = made.take(k)
    rows = np.array(made.rows, INSTRUCTION)
    again = Code(rows, code.scalars, np.append(code.pool, np.array(made.pool, np.int64)), code.image, code.calls,
                 made.n_slots)
    return Unfused(Evaluator(again, evaluator.inputs, evaluator.captures, evaluator.frozen, evaluator.guards,
                             evaluator.expected, evaluator.results), made.sources)


class _Maker:
    """Writes the instructions."""

    def __init__(self, code: Code) -> None:
        self.code, self.n_slots = code, code.n_slots
        self.rows: list[Any] = []
        self.sources: list[int] = []
        self.pool: list[int] = []                     # what comes behind the program's own

    def add(self, source: int, row: Any, **changes: int) -> None:
        """Another instruction: a row with changes."""
        new = row.copy()
        for name, value in changes.items():
            new[name] = value
        self.rows.append(tuple(new.tolist()))
        self.sources.append(source)

    def take(self, k: int) -> int:
        """Write what stands for the k-th instruction, and the lines that go with it; which comes next."""
        row = self.code.instructions[k]
        if row["kind"] == KIND["scalars"]:
            for j in range(int(row["n"])):
                self.add(k, row, first=row["first"] + j, n=1)
            return k + 1
        if row["kind"] != KIND["run"]:
            self.add(k, row, ra=-1, rb=-1)
            return k + 1
        last = k + 1 + int(row["count"])
        lines = self.code.instructions[k + 1:last]
        times = int((lines["n"] + lines["count"]).max(initial=0))
        strips: list[Strip] = []
        for j, line in enumerate(lines, k + 1):
            changes = {"count": 0, "history": 0, "ra": -1, "rb": -1, "first": len(self.code.pool) + len(self.pool)}
            self.pool += [1, int(line["n"]), 1] * 2
            for which, name in enumerate("ab"):
                if line["i" + name] < 0 and line[name] >= 0:
                    changes[name], changes["a" + name] = self.operand(line, which, strips)
            if line["kind"] == KIND["line"]:
                changes["av"] = 1
                if line["av"] <= 0:
                    changes["v"] = self.strip(line, times, strips) + int(line["count"])
            self.add(j, row, n=line["n"], count=1)
            self.add(j, line, **changes)
        return last

    def strip(self, line: Any, times: int, strips: list[Strip]) -> int:
        """Where the whole is that a line writes to, strip by strip; it comes last from now on."""
        slot = int(line["v"]) if line["av"] == 0 else NOWHERE
        known = [strip for strip in strips if strip.slot == slot != NOWHERE]
        whole = known[0].whole if known else self.n_slots
        if known:
            strips.remove(known[0])
        else:
            self.n_slots += times
        strips.append(Strip(slot, int(line["history"]), whole))
        return whole

    def operand(self, line: Any, which: int, strips: list[Strip]) -> tuple[int, int]:
        """Where an operand of a line is now, and whether it goes on from strip to strip."""
        slot, on, lag = int(line["ab"[which]]), int(line[("aa", "ab")[which]]), int(line["count"])
        if on == HANDED_ON:
            return strips[-1].whole + lag, 1
        if on == 2:
            first, end = int(line["first"]) + 3 * which, len(self.pool) + 3 * which - 6
            self.pool[end:end + 3] = self.code.pool[first:first + 3].tolist()
        if on:
            return slot, on
        for strip in reversed(strips):
            if strip.slot - strip.history <= slot <= strip.slot:
                return strip.whole + slot - strip.slot + lag, 1
        return slot, 2                                # one number, repeated beforehand
