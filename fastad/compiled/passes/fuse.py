"""Fusion: maps over one iteration space are executed together, strip by strip, and what they hand on stays in cache.

The level of a step is the earliest round in which it can run. A map may share the round of a map whose result it reads
element by element; everything else waits for the next one. Maps of one length in one round are one run.
"""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..._program import STRIP

if TYPE_CHECKING:
    from .emit import Emitter, Operand

__all__ = ["assign_levels", "scratch_outputs"]


def assign_levels(program: Emitter, read: dict[int, list[Operand]]) -> None:
    """Set the level of each step."""
    level = np.zeros(program.n_slots, np.int32)
    length = np.zeros(program.n_slots, np.int64)      # at the first slot of a line's result: how long it is
    for k, step in enumerate(program.steps):
        at = 0
        if step.in_run:
            n = step.n
            for operand in read[k]:
                base, on, index, _ = operand
                if base == -1:
                    continue
                if index >= 0:
                    at = max(at, int(level[pool_of(program, index, n)].max()) + 1)
                elif on == 1 and length[base] == n:
                    at = max(at, int(level[base]))
                else:
                    at = max(at, int(level[base:base + operand.reach(n)].max()) + 1)
            out = program.out_of(step)
            level[out:out + len(step.out)] = at
            if step.kind == "line":
                length[out] = n
        else:
            placed = step.extra.get("placed")
            for slots in step.operands:
                if slots is not None and len(slots):
                    at = max(at, int(level[slots if placed else program.place[slots]].max()) + 1)
            out = step.out if placed else program.place[step.out]
            if len(out):
                at = max(at, int(level[out].max()))   # others have written there before
                level[out] = at
        step.level = at


def pool_of(program: Emitter, first: int, n: int) -> Any:
    """An index list of the pool under construction."""
    at = 0
    for part in program.pool:
        if at == first:
            return part
        at += len(part)
    raise AssertionError("an index list is one part of the pool")


def scratch_outputs(program: Emitter, order: list[int], read: dict[int, list[Operand]]) -> dict[int, int]:
    """Results that only their own run reads need only the room of a strip: first slot of the result -> of that room."""
    steps = program.steps
    owner = {program.out_of(steps[k]): k for k in read if steps[k].kind == "line" and steps[k].n > STRIP}
    if not owner:
        return {}
    outside = np.zeros(program.n_slots + 1, bool)
    outside[program.place[program.wanted]] = True
    for k, step in enumerate(steps):
        if step.in_run:
            for operand in read[k]:
                base, on, index, _ = operand
                if index >= 0:
                    outside[pool_of(program, index, step.n)] = True
                elif base >= 0:
                    made = owner.get(base)
                    if made is None or on != 1 or steps[made].n != step.n or steps[made].level != step.level:
                        outside[base:base + operand.reach(step.n)] = True
        else:
            for slots in step.operands:
                if slots is not None and len(slots):
                    outside[slots if step.extra.get("placed") else program.place[slots]] = True
    last: dict[int, int] = {}                         # the last reader in the run gives the room back
    position = {k: at for at, k in enumerate(order)}
    for k in read:
        for base, on, index, _ in read[k]:
            if index < 0 and on == 1 and base in owner:
                last[base] = max(last.get(base, -1), position[k])
    scratch: dict[int, int] = {}
    free: list[int] = []
    ends: dict[int, list[int]] = {}
    for at, k in enumerate(order):
        step = steps[k]
        if step.kind == "line":
            base = program.out_of(step)
            n = len(step.out)
            if owner.get(base) == k and not outside[base:base + n].any() and base in last:
                if not free:
                    free.append(program.n_slots)
                    program.n_slots += STRIP
                scratch[base] = free.pop()
                ends.setdefault(last[base], []).append(scratch[base])
        free += ends.pop(at, [])
    return scratch
