"""Scalar operations of one depth and one form become one operation on arrays.

A Python loop over 10,000 elements leaves 10,000 copies of its body on the tape. Copies of one line of it have
expressions of the same form and stand at the same depth: together they are one map over 10,000 elements, whose operands
mostly lie in a row again, because they are such groups themselves.
"""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ... import _passes
from ..listing import OPCODE, Block, Listing, View

__all__ = ["Step", "regroup"]

#: Smaller groups are faster as scalar instructions.
SMALLEST = 12


@dataclass
class Step:
    """Something to be executed: a line (map over slots in a row), a stretch of scalar records, or a block.

    ``operands`` are views of a block, otherwise arrays of slots, None for a missing one; ``out`` the slots of the
    results, or views. ``level``, ``run`` and ``lag`` say when it is executed, see fuse.py.
    """

    kind: str
    out: Any
    operands: list[Any]
    op: Any = 0
    block: Block | None = None
    depth: int = 0
    level: int = 0
    run: int = 0
    lag: int = 0
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """How many elements the step works on."""
        return int(self.operands[0].size) if self.kind == "sum" else len(self.out)

    def computed(self) -> Any:
        """The slots of the listing that are computed here."""
        if self.extra.get("placed"):
            return ()
        if isinstance(self.out, list):
            return np.concatenate([view.slots() for view in self.out])
        return np.asarray(self.out)

    @property
    def in_run(self) -> bool:
        """Whether it can share a run with others."""
        return self.kind in ("line", "sum")


def depths(code: Listing) -> tuple[Any, Any]:
    """By cell: how deep its value is, and a hash of the form of the expression that makes it."""
    cells = code.cells
    depth = np.zeros(cells.count, np.int32)
    shape = np.zeros(cells.count, np.uint64)
    for k, view in enumerate(code.inputs):
        if view.size:
            first, last = cells.cell(view.low), cells.cell(view.high)
            shape[first:last + 1] = 1000 + k
    _passes.levels_of(cells, code.blocks, code.time, code.op, cells.of(code.v), cells.of(code.a), cells.of(code.b),
                      depth, shape)
    return depth, shape


def runs_of(*keys: Any) -> tuple[Any, Any]:
    """An order in which equal keys stand together (the first key counts most), and where each run of them begins."""
    order = np.lexsort(keys[::-1])
    different = np.zeros(len(order), bool)
    if len(order):
        different[0] = True
    for key in keys:
        ordered = key[order]
        different[1:] |= ordered[1:] != ordered[:-1]
    return order, np.flatnonzero(different)


def regroup(code: Listing, smallest: int = SMALLEST) -> list[Step]:
    """The steps of the program in an order in which operands are made before they are used."""
    depth, shape = depths(code)
    made = code.cells.of(code.v)
    d, shape = depth[made], shape[made]
    steps: list[Step] = []
    rest = np.arange(len(code.op))
    for keys in ((d, shape), (d, code.op.astype(np.uint64))):
        if len(rest) < smallest:
            break
        order, begins = runs_of(*[key[rest] for key in keys])
        counts = np.diff([*begins, len(order)])
        left = np.ones(len(rest), bool)
        for first, n in zip(begins[counts >= smallest].tolist(), counts[counts >= smallest].tolist(), strict=True):
            members = np.sort(rest[order[first:first + n]])
            left[order[first:first + n]] = False
            op = int(code.op[members[0]])
            binary = bool(code.b[members].any())
            steps.append(Step("line", code.v[members], [code.a[members], code.b[members] if binary else None], op=op,
                              depth=int(d[members[0]])))
        rest = rest[left]
    steps += blocks(code)
    steps.sort(key=lambda step: step.depth)
    put_in_order(code, steps)
    return with_scalars(code, steps, rest[np.argsort(d[rest], kind="stable")], d)


def put_in_order(code: Listing, steps: list[Step]) -> None:
    """Order the elements of each group as those of its operands are ordered, so that operands are read in a row."""
    if all(step.block is not None for step in steps if step.kind == "line"):
        return
    cells, first = code.cells, code.cells.first
    rank = first[:-1].copy()                          # of the first slot of a cell, the others follow
    for step in steps:
        if step.kind != "line":
            continue
        if step.block is not None:
            k, last = cells.cell(step.out[0]), cells.cell(step.out[-1])
            rank[k:last + 1] = first[k:last + 1] - step.out[0]
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


def plain_sums(code: Listing) -> set[int]:
    """Slots into which one vector is summed, from nothing: that can be done on the way."""
    writers: dict[int, list[Block]] = {}
    for block in code.blocks:
        for view in block.writes:
            if view.size:
                writers.setdefault(view.base, []).append(block)
    found = set()
    for base, those in writers.items():
        if [block.kind for block in those] == ["fill", "add"]:
            fill, add = those
            x, out = add.reads[0], add.writes[0]
            if (fill.writes[0].size == 1 and add.op == OPCODE["positive"] and len(x.shape) == 1 and x.strides == (1,)
                    and out.strides == (0,) and x.size > 1):
                found.add(base)
    return found


def as_line(block: Block) -> list[View] | None:
    """Result and operands of a map in the order in which the results lie in a row; None when that is no line."""
    out = block.writes[0]
    if len(out.shape) == 1 and out.strides == (1,) and all(view.row or view.low == view.high for view in block.reads):
        return [out, *block.reads]
    axes = sorted((d for d, n in enumerate(out.shape) if n != 1), key=lambda d: -out.strides[d])
    views = [View(view.base, tuple(view.shape[d] for d in axes), tuple(view.strides[d] for d in axes))
             for view in [out, *block.reads]]
    return views if views[0].row and all(repeats(view) is not None for view in views[1:]) else None


def repeats(view: View) -> tuple[int, ...] | None:
    """How an operand of a line repeats: blocks of `width` slots, each until it has filled `span`, `count` of them.

    Empty where it does not: all elements are one slot, or lie in a row. None when its slots are in another order.
    """
    axes: list[tuple[int, int]] = []                  # (length, stride), those that go on like one are merged
    for n, s in zip(view.shape, view.strides, strict=True):
        if axes and axes[-1][1] == n * s:
            n *= axes.pop()[0]
        axes.append((n, s))
    if not axes or (len(axes) == 1 and axes[0][1] in (0, 1)):
        return ()
    width = axes.pop()[0] if axes[-1][1] == 1 else 1
    if axes[-1][1] != 0:
        return None
    span = width * axes.pop()[0]
    count = axes.pop()[0] if axes and axes[-1][1] == width else 1
    return (width, span, count) if not axes or (len(axes) == 1 and axes[0][1] == 0) else None


def blocks(code: Listing) -> list[Step]:
    """The blocks as steps; chains of one depth and length go side by side."""
    steps: list[Step] = []
    alike: dict[tuple[int, int, int], list[Block]] = {}
    sums = plain_sums(code)
    for block in code.blocks:
        at = block.depth
        if block.writes[0].size and block.writes[0].base in sums:
            if block.kind == "add":
                out = block.writes[0]
                steps.append(Step("sum", range(out.base, out.base + 1), [block.reads[0], None], depth=at, block=block))
            continue
        if block.kind == "chain":
            n = block.writes[0].size
            alike.setdefault((at, len(block.index) // max(n, 1), n if n > 1 else 0), []).append(block)
            continue
        line = as_line(block) if block.kind == "map" else None
        if line is not None:
            out, *reads = line
            steps.append(Step("line", range(out.base, out.base + out.size), [*reads, None][:2], op=block.op, depth=at,
                              block=block))
        else:
            steps.append(Step(block.kind, block.writes, operands_of(block), op=block.op, block=block, depth=at))
    for (at, count, _), members in alike.items():
        starts = np.concatenate([block.reads[0].slots() for block in members])
        terms = np.concatenate([block.index.reshape(count, -1) for block in members], axis=1)
        steps.append(Step("chain", np.concatenate([block.writes[0].slots() for block in members]),
                          [starts, terms.reshape(-1)], op=count, depth=at))
    return steps


def operands_of(block: Block) -> list[Any]:
    """What a block reads: views, the slots that it collects, and what it adds to."""
    return [*block.reads, *([] if block.index is None else [block.index]),
            *(block.writes if block.kind == "add" else [])]


def with_scalars(code: Listing, steps: list[Step], rest: Any, d: Any) -> list[Step]:
    """Put what is left of the scalar records between the steps, as late as their depth allows them to wait."""
    out: list[Step] = []
    done = 0
    at = d[rest]
    for step in [*steps, None]:
        stop = len(rest) if step is None else int(np.searchsorted(at, step.depth, side="left"))
        if stop > done:
            members = rest[done:stop]
            out.append(Step("scalars", code.v[members], [code.a[members], code.b[members]], op=code.op[members],
                            depth=int(d[members[-1]])))
            done = stop
        if step is not None:
            out.append(step)
    return out
