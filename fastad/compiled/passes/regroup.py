"""Scalar operations of one depth and one form become one operation on arrays.

A Python loop over 10,000 elements leaves 10,000 copies of its body on the tape. Copies of one line of it have
expressions of the same form and stand at the same depth: together they are one map over 10,000 elements, whose operands
mostly lie in a row again, because they are such groups themselves.
"""
from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from ... import _passes
from ..listing import Block, Listing

__all__ = ["Step", "regroup"]

#: Smaller groups are faster as scalar instructions.
SMALLEST = 12


@dataclass
class Step:
    """Scalar records that are executed together: a line (map over slots in a row), chains, or a stretch of them.

    Other steps of a program are blocks: lines, sums, and what they are otherwise.

    Attributes
    ----------
    kind : str
    out : array of int64
        The slots of the results.
    operands : list
        Arrays of slots, None for a missing one.
    op
        The opcode of a line, those of a stretch, of chains how many terms they have.
    depth : int
    """

    kind: str
    out: Any
    operands: list[Any]
    op: Any
    depth: int

    def part(self, first: int, last: int) -> Step:
        """Some elements of it."""
        n = len(self.out)
        return replace(self, out=self.out[first:last], operands=[
            z if z is None else z.reshape(-1, n)[:, first:last].reshape(-1) for z in self.operands])


Steps: TypeAlias = list[Step | Block]


def regroup(code: Listing, smallest: int = SMALLEST) -> Steps:
    """The steps of the program in an order in which operands are made before they are used."""
    depth, form = _passes.levels_of(code.cells, code.inputs, code.blocks, code.time, code.op, code.v, code.a, code.b)
    steps: Steps = []
    rest = np.arange(len(code.op))
    for alike in (form, code.op.astype(np.uint64)) if len(rest) >= smallest else ():
        order, ends, rest = _passes.grouped(rest, depth, alike, smallest)
        for members in np.split(order, ends[:-1]) if len(ends) else ():
            op = int(code.op[members[0]])
            binary = bool(code.b[members].any())
            steps.append(Step("line", code.v[members], [code.a[members], code.b[members] if binary else None], op,
                              int(depth[members[0]])))
    lines = len(steps)
    steps += blocks(code)
    depths = _passes.depths_of(steps)
    order = np.argsort(depths, kind="stable")
    steps = [steps[k] for k in order.tolist()]
    if lines:
        put_in_order(code, steps)
    return with_scalars(code, steps, depths[order], rest[np.argsort(depth[rest], kind="stable")], depth)


def put_in_order(code: Listing, steps: Steps) -> None:
    """Order the elements of each group as those of its operands are ordered, so that operands are read in a row."""
    cells, first = code.cells, code.cells.first
    rank = first[:-1].copy()                          # of the first slot of a cell, the others follow
    for step in steps:
        if step.kind != "line":
            continue
        if isinstance(step, Block):
            out = step.writes[0]
            k, last = cells.cell(out.low), cells.cell(out.high)
            rank[k:last + 1] = first[k:last + 1] - out.base
            continue
        for slots in step.operands:
            if slots is None:
                continue
            turns = cells.moved(slots, rank)
            if (turns != turns[0]).any():
                order = np.argsort(turns, kind="stable")
                step.out = step.out[order]
                step.operands = [z if z is None else z[order] for z in step.operands]
                break
        rank[cells.of(step.out)] = np.arange(len(step.out))


def blocks(code: Listing) -> Steps:
    """The blocks as steps, `code.blocks` are those that are one; chains of one depth and length go side by side."""
    code.blocks, chains = _passes.as_steps(code.blocks)
    steps: Steps = [*code.blocks]
    alike: dict[tuple[int, int, int], list[Block]] = {}
    for block in chains:
        n = block.writes[0].size
        alike.setdefault((block.depth, len(block.index) // max(n, 1), n if n > 1 else 0), []).append(block)
    for (at, count, _), members in alike.items():
        starts = np.concatenate([block.reads[0].slots() for block in members])
        terms = np.concatenate([block.index.reshape(count, -1) for block in members], axis=1)
        steps.append(Step("chain", np.concatenate([block.writes[0].slots() for block in members]),
                          [starts, terms.reshape(-1)], count, at))
    return steps


def with_scalars(code: Listing, steps: Steps, depths: Any, rest: Any, depth: Any) -> Steps:
    """Put what is left of the scalar records between the steps, as late as their depth allows them to wait."""
    if not len(rest):
        return steps
    at, done = depth[rest], 0
    out: Steps = []
    stops = np.concatenate([at.searchsorted(depths), [len(rest)]])
    begins = np.flatnonzero(stops[1:] != stops[:-1]) + 1     # the steps before which some are due, the first one apart
    for first, last in pairwise([0, *begins.tolist(), len(steps)]):
        stop = int(stops[first])
        if stop > done:
            members = rest[done:stop]
            out.append(Step("scalars", code.v[members], [code.a[members], code.b[members]], code.op[members],
                            int(depth[members[-1]])))
            done = stop
        out += steps[first:last]
    return out
