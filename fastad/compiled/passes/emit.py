"""From steps to tables: slots are numbered anew, maps over one iteration space become runs, then it is written."""
from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ... import _passes
from ..._fusing import Fusion
from ..._instructions import (
    KIND,
    LISTED,
    NATIVE,
    READING,
    SCALAR,
    STRIP,
    Tables,
    aligned,
    uses_of,
)
from ..._program import Code
from ..listing import Block, Listing, Slots, View
from .regroup import Step, Steps
from .reuse import reuse

__all__ = ["Emitter"]

#: Lines are split into at most so many parts more where an operand goes on elsewhere.
MOST_PARTS = 4
#: Smaller inputs are copied in, and such results out.
LARGE = 2048
#: Scalar instructions that go together: between them the executor can look at guards and signals.
STRETCH = 4096


def merged(views: list[View]) -> list[View]:
    """Views over one shape with axes that go on like one another as one."""
    shape: list[int] = []
    strides: list[list[int]] = [[] for _ in views]
    for d, n in enumerate(views[0].shape):
        if shape and all(row[-1] == n * view.strides[d] for row, view in zip(strides, views, strict=True)):
            shape[-1] *= n
            for row, view in zip(strides, views, strict=True):
                row[-1] = view.strides[d]
            continue
        shape.append(n)
        for row, view in zip(strides, views, strict=True):
            row.append(view.strides[d])
    return [View(view.base, tuple(shape), tuple(row)) for view, row in zip(views, strides, strict=True)]


def how_often(slots: Slots, first: int, last: int) -> int:
    """How often one of the slots from one up to another is among some at most."""
    begins, ends = np.maximum(slots.first, first), np.minimum(slots.first + slots.count, last)
    inside = begins < ends
    steps = np.concatenate([ends[inside], begins[inside]])        # at one slot first what ends there
    changes = np.repeat([-1, 1], int(inside.sum()))
    return int(np.cumsum(changes[np.argsort(steps, kind="stable")]).max(initial=0))


class Emitter:
    """Writes one program.

    Attributes
    ----------
    place : array of int64
        By cell of the listing: the slot of the program that its first one goes to, -1 for none.
    origins : list of arrays
        By instruction: the slots of the listing that it computes, none where it only brings operands together.
    """

    def __init__(self, code: Listing, steps: Steps, wanted: Slots, results: Sequence[Slots] = ()) -> None:
        self.code, self.steps, self.wanted = code, steps, wanted
        self.results = results                        # of the slots wanted those that are to be arrays
        self.place = np.full(code.cells.count, -1, np.int64)
        self.place[0] = 0
        self.image: list[Any] = [np.zeros(1)]
        self.n_slots = 1
        self.scalars: list[Any] = []
        self.n_scalars = 0
        self.calls: list[Any] = []
        #: The steps that are no blocks, with their numbers.
        self.own = [(k, step) for k, step in enumerate(steps) if isinstance(step, Step)]
        self._place()

    # ---- slots ----
    def constants(self, values: Any) -> int:
        """Slots that hold constants; only while no other slots are placed."""
        first = self.n_slots
        self.image.append(np.asarray(values, np.float64))
        self.n_slots += len(values)
        return first

    def spots(self, slots: Any) -> Any:
        """Where slots go."""
        return self.code.cells.moved(slots, self.place)

    def spots_of(self, slots: Slots) -> Slots:
        """The same of stretches."""
        return self.code.cells.moved_slots(slots, self.place)

    def spot(self, slot: int) -> int:
        """Where a slot goes."""
        return self.code.cells.moved_slot(slot, self.place)

    def _put_constants(self, begins: Any, ends: Any) -> None:
        """Place stretches of cells with constants in them one behind the other."""
        code = self.code
        self.n_slots = _passes.put(code.cells, begins, ends, self.place, self.n_slots)
        self.image.append(_passes.constants_in(code.cells, begins, ends, code.known, code.value))

    def _place(self) -> None:
        """Give every slot that is read or written its place: constants first, then arrays, then results in order."""
        code, cells = self.code, self.code.cells
        known, marks = code.known.astype(bool), np.zeros(cells.count, np.uint8)
        self.known = known
        constant, others = _passes.units(cells, [*code.inputs, *code.whole], code.blocks, code.known, marks)
        self._put_constants(*constant)
        self._place_constants_of_lines()
        marks[cells.among(self.wanted)] = 1
        for k, step in self.own:
            given = self.given.get(k) or [("", -1)] * len(step.operands)
            for slots, (how, _) in zip(step.operands, given, strict=True):
                if slots is not None and not how:
                    marks[cells.of(slots)] = 1
        single = np.flatnonzero(marks & known & (self.place < 0))
        self._put_constants(single, single + 1)
        self.n_image = self.n_slots
        self.n_slots = _passes.put(cells, *others, self.place, self.n_slots, lines=True)
        self.n_slots = _passes.place_results(cells, self.steps, self.place, self.n_slots)

    def _place_constants_of_lines(self) -> None:
        """Let constants that lines read stand beside one another, as many as they read within a strip."""
        repeated: dict[int, int] = {}                 # bits of a constant -> where it stands STRIP times

        def repeat(value: Any) -> int:
            """Where a value stands STRIP times."""
            key = int(value.view(np.int64))
            if key not in repeated:
                self.constants(np.zeros(aligned(self.n_slots) - self.n_slots))
                repeated[key] = self.constants(np.full(STRIP, value))
            return repeated[key]

        code, cells = self.code, self.code.cells
        #: By cell: where its constant stands STRIP times, or -1.
        self.repeats = np.full(cells.count, -1, np.int64)
        for cell in _passes.constants_of_lines(cells, code.blocks, code.known).tolist():
            self.repeats[cell] = repeat(code.value[cells.first[cell]])
        #: By number of a step, a line of scalar records: of each operand that is all constants ("repeat" or "line",
        #: where), of others ("", -1).
        self.given: dict[int, list[tuple[str, int]]] = {}
        for k, step in self.own:
            if step.kind != "line":
                continue
            self.given[k] = []
            for slots in step.operands:
                if slots is None or not self.known[cells.of(slots)].all():
                    self.given[k].append(("", -1))
                    continue
                values = code.value[slots]
                alike = bool((values.view(np.int64) == values[:1].view(np.int64)).all())
                self.given[k].append(("repeat", repeat(values[0])) if alike else ("line", self.constants(values)))

    # ---- tables ----
    def emit(self) -> Code:
        """The program of the steps."""
        tables = self.tables = Tables(self.n_slots)
        self.parts: list[Step | Block] = list(self.steps)
        at = 0
        while (at := tables.lines(self.steps, at, self.code.cells, self.place, self.repeats)) < len(self.steps):
            tables.source = at
            self._step(at, self.steps[at])
            at += 1
        scalars = np.empty(sum(map(len, self.scalars)), SCALAR)
        np.concatenate([np.empty(0, np.int32), *[table.view(np.int32) for table in self.scalars]],
                       out=scalars.view(np.int32))    # as numbers: to compare fields takes longer
        pool, n_image = tables.pool, self.n_image
        wanted = self.spots_of(self.wanted)
        fusion = Fusion(tables.rows, scalars, pool, n_image, tables.n_slots, wanted)
        instructions, self.order, self.n_slots = fusion.planned()
        regions: list[tuple[int, int]] = []
        if self.n_slots - n_image >= LARGE:           # else nothing is large
            self._reuse(instructions, scalars, pool, wanted)
            regions = self._regions(instructions, scalars, uses_of(instructions, pool))
        return Code(instructions, scalars, pool, np.concatenate(self.image), self.calls, self.n_slots, regions)

    def _reuse(self, instructions: Any, scalars: Any, pool: Any, wanted: Slots) -> None:
        """Let large results share memory."""
        inputs = [view for view in self.code.inputs if view.size]
        firsts = np.array([self.spot(view.base) for view in inputs], np.int64)
        sizes = np.array([view.size for view in inputs], np.int64)
        pinned = [(firsts, firsts + sizes - 1), (wanted.first, wanted.first + wanted.count - 1)]
        moved = reuse(instructions, scalars, pool, uses_of(instructions, pool), pinned, self.n_image, self.n_slots)
        if moved is not None:
            moves, self.n_slots = moved
            self.place = np.where(self.place >= 0, moves(np.maximum(self.place, 0)), self.place)

    @property
    def origins(self) -> list[Any]:
        """By instruction: the slots of the listing that it computes."""
        sources = np.where(self.order >= 0, self.tables.sources[self.order], -1).tolist()
        return [computed(self.parts[k]) if k >= 0 else () for k in sources]

    def _regions(self, instructions: Any, scalars: Any, uses: Sequence[Any]) -> list[tuple[int, int]]:
        """Large inputs and results that only array operations read: they stay where the caller has them."""
        found: list[tuple[int, int]] = []
        inputs = {(self.spot(view.base), view.size) for view in self.code.inputs if view.size >= LARGE}
        results = {(first, len(slots)) for slots in self.results
                   if len(slots) >= LARGE
                   and self._written_by_lines(first := self.spot(int(slots.first[0])), slots, instructions)}
        if not inputs and not results:
            return found
        kinds = instructions["kind"]
        apart = np.isin(kinds, [KIND[name] for name in ("line", "sum", "map", "add", "matmul")])
        row, mode, low, high = uses
        singly = (mode == LISTED) | ((mode == READING) & ~apart[row])
        spans = (mode == READING) & np.isin(kinds, [KIND["line"], KIND["sum"]])[row]
        wanted = self.spots_of(self.wanted)
        for first, size in sorted(inputs | results):
            last = first + size
            most = int((first, size) in results)      # how often it is wanted
            across = (low < last) & (high >= first) & ((low < first) | (high >= last)) & spans
            alone = singly & (low < last) & (high >= first)
            read = [(scalars[name] >= first) & (scalars[name] < last) for name in ("a", "b")]
            if not (across.any() or alone.any() or read[0].any() or read[1].any()
                    or how_often(wanted, first, last) > most):
                if most:
                    written = (kinds == KIND["line"]) & (instructions["v"] >= first) & (instructions["v"] < last)
                    instructions["av"][written] = 2 + len(found)
                for operand, region in (("a", "ra"), ("b", "rb")):
                    inside = (instructions[operand] >= first) & (instructions[operand] < last) & apart
                    instructions[region][inside] = len(found)
                found.append((first, size))
        return found

    def _written_by_lines(self, first: int, slots: Slots, instructions: Any) -> bool:
        """Whether a result lies in a row, and each number in it is written once, by a line."""
        if self.spots_of(slots).n != 1:
            return False
        v, kinds = instructions["v"], instructions["kind"]
        inside = (v >= first) & (v < first + len(slots)) & (kinds != KIND["run"])
        return bool((kinds[inside] == KIND["line"]).all()
                    and instructions["n"][inside].sum() == len(slots))

    def _step(self, k: int, step: Step | Block) -> None:
        """Write the instructions of a step that is not a line of a block."""
        if isinstance(step, Block):
            getattr(self, "_emit_" + step.kind)(step)
            return
        if step.kind == "scalars":
            self._scalars(step)
            return
        cuts = self._cuts(k, step)
        for first, last in pairwise([0, *cuts, len(step.out)]):
            part = step
            if cuts:                                  # its results are in no row, or an operand goes on elsewhere
                part = step.part(first, last)
                self.tables.source = len(self.parts)
                self.parts.append(part)
            if step.kind == "chain":
                self._chain(part)
            else:
                self._line(part, [(how, where + first if how == "line" else where) for how, where in self.given[k]])

    def _cuts(self, k: int, step: Step) -> list[int]:
        """Where to split a line or chains."""
        cuts: list[int] = []
        if step.kind == "line" and len(step.out) >= 16 * MOST_PARTS:
            for slots, (how, _) in zip(step.operands, self.given[k], strict=True):
                if slots is not None and not how:
                    jumps = np.diff(self.spots(slots))
                    if jumps.any():
                        cuts += (np.flatnonzero(jumps != 1) + 1)[:MOST_PARTS + 1].tolist()
        wishes = set(cuts) if len(set(cuts)) <= MOST_PARTS else set()
        return sorted({*wishes, *(np.flatnonzero(np.diff(self.spots(step.out)) != 1) + 1).tolist()})

    def _line(self, step: Step, given: list[tuple[str, int]]) -> None:
        """Write a line; a slot that all elements read is repeated beforehand."""
        fields: dict[str, int] = {"n": len(step.out), "v": self.spot(int(step.out[0])), "op": step.op, "ab": 0}
        for name, slots, (how, where) in zip("ab", step.operands, given, strict=True):
            if slots is None:
                continue
            if how:
                fields[name], fields["a" + name] = where, int(how == "line")
                continue
            there = self.spots(slots)
            fields[name], fields["a" + name] = int(there[0]), 1
            if (np.diff(there) == 1).all():
                continue
            if (there == there[0]).all():
                fields[name], fields["a" + name] = self.tables.repeated(int(there[0]), len(there)), 0
            else:
                fields[name], fields["i" + name] = 0, self.tables.to_pool(there)
        self.tables.instruction("line", **fields)

    def _chain(self, step: Step) -> None:
        starts, terms, n = self.spots(step.operands[0]), self.spots(step.operands[1]), len(step.out)
        out, write = self.spot(int(step.out[0])), self.tables.instruction
        go_on = int(n > 1 and bool((np.diff(starts) == 1).all()))
        if n > 1 and not go_on and not (starts == starts[0]).all():
            write("gather", n=n, v=out, ia=self.tables.to_pool(starts))
            starts, go_on = self.spots(step.out), 1
        row = bool((np.diff(terms) == 1).all())
        write("chain", n=n, v=out, a=int(starts[0]), aa=go_on, count=step.op, b=int(terms[0]) if row else 0,
              ib=-1 if row else self.tables.to_pool(terms))

    def _scalars(self, step: Step) -> None:
        table = np.empty(len(step.out), SCALAR)
        table["op"], table["v"] = step.op, self.spots(step.out)
        table["a"], table["b"] = self.spots(step.operands[0]), self.spots(step.operands[1])
        first, self.n_scalars = self.n_scalars, self.n_scalars + len(table)
        for at in range(0, len(table), STRETCH):
            self.tables.instruction("scalars", n=min(STRETCH, len(table) - at), first=first + at)
        self.scalars.append(table)

    def _view(self, view: View) -> int:
        return self.spot(view.base) if view.size else 0

    def _emit_fill(self, block: Block) -> None:
        out = block.writes[0]
        self.tables.instruction("fill", n=out.size, v=self._view(out), a=self._view(block.reads[0]))

    def _emit_map(self, block: Any) -> None:
        out, reads = block.writes[0], block.reads
        if not out.size:
            return
        zero = (0,) * len(out.shape)
        rows = [out.shape, out.strides, reads[0].strides, reads[1].strides if len(reads) > 1 else zero]
        first = self.tables.to_pool([len(out.shape), *[z for row in rows for z in row]])
        self.tables.instruction(block.kind, n=out.size, v=self._view(out), a=self._view(reads[0]),
                         b=self._view(reads[1]) if len(reads) > 1 else -1, first=first, op=block.op)

    def _emit_add(self, block: Any) -> None:
        """Axes in the order in which the operand that has all of them has them in memory."""
        views = [block.writes[0], *block.reads]
        whole = [view for view in block.reads
                 if all(s or n == 1 for n, s in zip(view.shape, view.strides, strict=True))]
        axes = [d for d, n in enumerate(block.writes[0].shape) if n != 1]
        if whole and axes:
            axes.sort(key=lambda d: -abs(whole[0].strides[d]))
            views = [View(view.base, tuple(view.shape[d] for d in axes), tuple(view.strides[d] for d in axes))
                     for view in views]
            views = merged(views)
        self._emit_map(Block("add", block.time, views[1:], views[:1], op=block.op))

    def _emit_matmul(self, block: Any) -> None:
        out, (x, y) = block.writes[0], block.reads
        batch, m, n = out.shape
        k = x.shape[2]
        first = self.tables.to_pool([batch, m, n, k, *out.strides, *x.strides, *y.strides])
        self.tables.instruction("matmul", n=batch * m * n, count=k, v=self._view(out), a=self._view(x), b=self._view(y),
                         first=first)

    def _emit_gather(self, block: Any) -> None:
        out = block.writes[0]
        slots = self.spots(block.index)
        starts = np.concatenate([[0], np.flatnonzero(np.diff(slots) != 1) + 1])
        if len(starts) * 16 > len(slots):
            self.tables.instruction("gather", n=out.size, v=self._view(out), ia=self.tables.to_pool(slots))
            return
        for first, last in zip(starts.tolist(), [*starts[1:].tolist(), len(slots)], strict=True):
            self.tables.instruction("copy", n=last - first, v=self._view(out) + first, a=int(slots[first]))

    def _emit_call(self, block: Any) -> None:
        numbers = [len(block.reads)]
        for view in block.reads:
            numbers += [self._view(view), view.size]
        numbers.append(len(block.writes))
        for view in block.writes:
            numbers += [self._view(view), view.size]
        native = getattr(block.rule, "native", None)
        name, more = native() or ("", ()) if native else ("", ())
        self.tables.instruction("call", n=1, first=self.tables.to_pool([*numbers, *more]), count=len(self.calls),
                         op=NATIVE.index(name))
        self.calls.append(block.rule)


def computed(step: Step | Block) -> Any:
    """The slots of the listing that a step computes."""
    return np.concatenate([view.slots() for view in step.writes]) if isinstance(step, Block) else step.out
