"""From steps to tables: slots are numbered anew, maps over one iteration space become runs, then it is written."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ... import _passes
from ..._program import INSTRUCTION, KINDS, NATIVE, SCALAR, STRIP, Code
from ..listing import Block, Listing, View
from .fuse import Plan, aligned
from .regroup import Step, repeats
from .reuse import reuse

__all__ = ["Emitter"]

#: Lines are split into at most so many parts more where an operand goes on elsewhere.
MOST_PARTS = 4
#: The result of a line that is taken from a register, and such an operand (as in _execute.h).
HANDED_ON = -1
#: Smaller inputs are copied in, and such results out.
LARGE = 2048
#: Slots of a cache line; longer arrays begin at one.
LINE = 8
#: Scalar instructions that go together: between them the executor can look at guards and signals.
STRETCH = 4096
KIND = {name: k for k, name in enumerate(KINDS)}
FIELDS = INSTRUCTION.names or ()


class Operand(NamedTuple):
    """An operand of a line: its slots lie in a row, are one, repeat, or stand in the pool."""

    base: int                                         # the first slot; -1: there is no operand
    on: int = 0                                       # 1: the next element is in the next slot, 2: see `blocks`
    listed: int = -1                                  # where the pool holds the slots
    blocks: tuple[int, ...] = ()                      # width, span and count, see `repeats`

    def reach(self, n: int) -> int:
        """How many slots it takes, in a line of n elements."""
        return self.blocks[0] * self.blocks[2] if self.blocks else n if self.on else 1


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


class Emitter:
    """Writes one program.

    Attributes
    ----------
    place : array of int64
        By cell of the listing: the slot of the program that its first one goes to, -1 for none.
    origins : list of Step
        By instruction: the step that it computes, None where it only brings operands together.
    """

    def __init__(self, code: Listing, steps: list[Step], wanted: Any, results: Sequence[Any] = ()) -> None:
        self.code, self.steps, self.wanted = code, steps, np.asarray(wanted, np.int64)
        self.results = results                        # of the slots wanted those that are to be arrays
        self.place = np.full(code.cells.count, -1, np.int64)
        self.place[0] = 0
        self.image: list[Any] = [np.zeros(1)]
        self.n_slots = 1
        self.repeated: dict[int, int] = {}            # bits of a constant -> where it stands STRIP times
        self.pool: list[Any] = []
        self.n_pool = 0
        self.rows: list[tuple[Any, ...]] = []
        self.scalars: list[Any] = []
        self.calls: list[Any] = []
        self.origins: list[Step | None] = []
        self.origin: Step | None = None
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

    def spot(self, slot: int) -> int:
        """Where a slot goes."""
        return int(self.code.cells.moved_slot(slot, self.place))

    def places(self, step: Step, operands: Sequence[Any]) -> list[Any]:
        """What selects, in an array by slot of the program, those that operands or results of a step stand for."""
        found: list[Any] = []
        for those in operands:
            if those is None or not len(those):
                continue
            if step.extra.get("placed"):
                found.append(those)
            elif not isinstance(those, View):
                found.append(self.spots(those))
            elif those.covers:
                found.append(slice(self.spot(those.low), self.spot(those.low) + those.high - those.low + 1))
            else:
                found.append(self.spots(those.slots()))
        return found

    def reads(self, step: Step) -> list[Any]:
        """The same for what a single step reads."""
        return self.places(step, step.operands)

    def writes(self, step: Step) -> list[Any]:
        """The same for what a single step writes."""
        return self.places(step, step.out if isinstance(step.out, list) else [step.out])

    def _units(self) -> tuple[Any, Any, Any]:
        """First cells and ends of what keeps together, since somebody looks at it as an array; what is read singly."""
        cells = self.code.cells
        flags, glued, single = [np.zeros(cells.count, np.uint8) for _ in range(3)]
        blocks = [step.block for step in self.steps if step.block is not None]
        _passes.touched(cells, self.code.inputs, blocks, flags, glued, single)
        begins = flags.astype(bool)
        ends = begins & (glued == 0)
        begins[1:] &= glued[:-1] == 0
        return np.flatnonzero(begins), np.flatnonzero(ends) + 1, single

    def _put(self, begins: Any, ends: Any, line: int = 1) -> None:
        """Place stretches of cells one behind the other; those of so many slots begin at a multiple of them."""
        first = self.code.cells.first
        sizes = first[ends] - first[begins]
        if line == 1:
            starts = self.n_slots + np.cumsum(sizes) - sizes
            self.n_slots += int(sizes.sum())
        else:
            starts = np.empty(len(sizes), np.int64)
            for k, size in enumerate(sizes.tolist()):
                starts[k] = self.n_slots + (-self.n_slots % line if size >= line else 0)
                self.n_slots = int(starts[k]) + size
        counts = ends - begins
        which = np.repeat(begins - (np.cumsum(counts) - counts), counts) + np.arange(int(counts.sum()))
        self.place[which] = first[which] + np.repeat(starts - first[begins], counts)

    def _put_constants(self, begins: Any, ends: Any) -> None:
        """The same for what has constants in it."""
        first, value = self.code.cells.first, self.code.value
        self._put(begins, ends)
        for k, end in zip(begins.tolist(), ends.tolist(), strict=True):
            known = np.repeat(self.known[k:end], np.diff(first[k:end + 1]))
            self.image.append(np.where(known, value[first[k]:first[end]], 0.0))

    def _place(self) -> None:
        """Give every slot that is read or written its place: constants first, then arrays, then results in order."""
        code, cells = self.code, self.code.cells
        known = self.known = code.known.astype(bool)
        begins, ends, marks = self._units()
        so_far = np.concatenate([[0], np.cumsum(known)])
        constant = so_far[ends] > so_far[begins]
        self._put_constants(begins[constant], ends[constant])
        self.lines: dict[int, list[tuple[str, Any]]] = {}
        for k, step in enumerate(self.steps):
            if step.in_run:
                self.lines[k] = [self._constant_line(operand) for operand in step.operands]
        marks[cells.of(self.wanted)] = 1
        for k, step in enumerate(self.steps):
            if step.block is not None:
                continue
            given = self.lines.get(k) or [("", None)] * len(step.operands)
            for slots, (how, _) in zip(step.operands, given, strict=True):
                if slots is not None and not how:
                    marks[cells.of(slots)] = 1
        single = np.flatnonzero(marks & known & (self.place < 0))
        self._put(single, single + 1)
        self.image += [code.value[np.repeat(cells.first[single], sizes := np.diff(cells.first)[single])
                                  + np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)]]
        self.n_image = self.n_slots
        self._put(begins[~constant], ends[~constant], LINE)
        made: list[Any] = [np.empty(0, np.int64)]
        for step in self.steps:
            if step.block is None:
                made.append(step.out)
            elif any(view.low == view.high for view in step.block.writes):    # the others are units
                made.append(np.array([view.base for view in step.block.writes if view.size], np.int64))
        results = cells.of(np.concatenate(made))
        results = results[np.sort(np.unique(results, return_index=True)[1])]
        free = results[self.place[results] < 0]
        self._put(free, free + 1)

    def _constant_line(self, operand: Any) -> tuple[str, Any]:
        """An operand that is all constants: ("repeat", slot) or ("line", slot); ("", None) when it is not."""
        if operand is None or (isinstance(operand, View) and (
                operand.low < operand.high or not self.known[self.code.cells.cell(operand.low)])):
            return "", None
        slots = np.array([operand.base]) if isinstance(operand, View) else operand
        if not self.known[self.code.cells.of(slots)].all():
            return "", None
        values = self.code.value[slots]
        bits = values.view(np.int64)
        if (bits == bits[0]).all():
            key = int(bits[0])
            if key not in self.repeated:
                self.constants(np.zeros(aligned(self.n_slots) - self.n_slots))
                self.repeated[key] = self.constants(np.full(STRIP, values[0]))
            return "repeat", self.repeated[key]
        return "line", self.constants(values)

    # ---- tables ----
    def to_pool(self, numbers: Any) -> int:
        """Append to the pool; returns where."""
        first = self.n_pool
        self.pool.append(np.asarray(numbers, np.int64))
        self.n_pool += len(numbers)
        return first

    def instruction(self, kind: str, **fields: Any) -> None:
        """Write one instruction."""
        row = {"n": 0, "v": 0, "a": 0, "b": -1, "ia": -1, "ib": -1, "first": 0, "count": 0, "op": 0, "av": 1, "aa": 1,
               "ab": 1, "ra": -1, "rb": -1, "history": 0, **fields, "kind": KIND[kind]}
        self.rows.append(tuple(row[name] for name in FIELDS))
        self.origins.append(self.origin)

    def operand(self, k: int, which: int) -> Operand:
        """An operand of a line; base -2 or listed -3 ask for more to be done, see `_with_repeats`."""
        step = self.steps[k]
        slots = step.operands[which] if which < len(step.operands) else None
        if slots is None:
            return Operand(-1)
        how, where = self.lines[k][which]
        if how:
            return Operand(where, int(how == "line"))
        if isinstance(slots, View):
            there = self.spot(slots.base)
            if slots.row:
                return Operand(there, 1)
            return Operand(-2, 0, there) if slots.low == slots.high else Operand(there, 2, -1, repeats(slots) or ())
        new = self.spots(slots)
        if len(new) == 1 or (np.diff(new) == 1).all():
            return Operand(int(new[0]), 1)
        if (new == new[0]).all():
            return Operand(-2, 0, int(new[0]))        # to be repeated at run time
        return Operand(0, 1, -3)

    def emit(self) -> Code:
        """The program of the steps."""
        read = self._with_repeats()
        plan = Plan(self, read)
        order = plan.order
        at = 0
        while at < len(order):
            step = self.steps[order[at]]
            self.origin = step
            if not step.in_run:
                self._single(step)
                at += 1
                continue
            end = at
            while end < len(order) and self._together(step, self.steps[order[end]]):
                end += 1
            run = [self.steps[k] for k in order[at:end]]
            self.origin = None
            self.instruction("run", n=max(line.lag + line.n for line in run), count=len(run))
            for k in order[at:end]:
                self.origin = self.steps[k]
                self._line(k, read, plan)
            at = end
        instructions = np.array(self.rows, INSTRUCTION)
        scalars = np.concatenate(self.scalars) if self.scalars else np.empty(0, SCALAR)
        pool = np.concatenate(self.pool) if self.pool else np.empty(0, np.int64)
        given = [self.spots(view.slots()) for view in self.code.inputs]
        moved = reuse(instructions, scalars, pool, [*given, self.spots(self.wanted)], self.n_image, self.n_slots)
        if moved is not None:
            self.n_slots = int(moved[-1])
            self.place = np.where(self.place >= 0, moved[np.maximum(self.place, 0)], self.place)
        regions = self._regions(instructions, scalars, pool)
        return Code(instructions, scalars, pool, np.concatenate(self.image), self.calls, self.n_slots, regions)

    def _regions(self, instructions: Any, scalars: Any, pool: Any) -> list[tuple[int, int]]:
        """Large inputs and results that only array operations read: they stay where the caller has them."""
        found: list[tuple[int, int]] = []
        inputs = {(self.spot(view.base), view.size) for view in self.code.inputs if view.size >= LARGE}
        results = {(first, len(slots)) for slots in self.results
                   if len(slots) >= LARGE
                   and self._written_by_lines(first := self.spot(int(slots[0])), slots, instructions)}
        if not inputs and not results:
            return found
        singly = np.zeros(self.n_slots + 1, bool)
        wanted = np.bincount(self.spots(self.wanted), minlength=self.n_slots + 1)
        singly[scalars["a"]] = singly[scalars["b"]] = True
        kinds = instructions["kind"]
        for row in instructions[~np.isin(kinds, [KIND[name] for name in ("line", "sum", "map", "add", "matmul")])]:
            kind, first, n = KINDS[row["kind"]], int(row["first"]), int(row["n"])
            if kind in ("copy", "fill"):
                singly[row["a"]:row["a"] + (n if kind == "copy" else 1)] = True
            elif kind == "gather":
                singly[pool[row["ia"]:row["ia"] + n]] = True
            elif kind == "chain":
                singly[row["a"]:row["a"] + (n if row["aa"] else 1)] = True
                terms = n * int(row["count"])
                singly[pool[row["ib"]:row["ib"] + terms] if row["ib"] >= 0
                       else np.arange(row["b"], row["b"] + terms)] = True
            elif kind == "call":
                for j in range(int(pool[first])):
                    singly[pool[first + 1 + 2 * j]:pool[first + 1 + 2 * j] + pool[first + 2 + 2 * j]] = True
        for row in instructions[np.isin(kinds, [KIND["line"], KIND["sum"]])]:
            for index in (row["ia"], row["ib"]):
                if index >= 0:
                    singly[pool[index:index + row["n"]]] = True
        spans = spans_of(instructions, pool)
        for first, size in sorted(inputs | results):
            last = first + size
            most = int((first, size) in results)      # how often it is wanted
            across = any(((start < last) & (end > first) & ((start < first) | (end > last))).any()
                         for start, end in spans)
            if not across and not singly[first:last].any() and (wanted[first:last] <= most).all():
                if most:
                    written = (kinds == KIND["line"]) & (instructions["v"] >= first) & (instructions["v"] < last)
                    instructions["av"][written] = 2 + len(found)
                for operand, region in (("a", "ra"), ("b", "rb")):
                    inside = (instructions[operand] >= first) & (instructions[operand] < last) \
                        & np.isin(kinds, [KIND[name] for name in ("line", "sum", "map", "add", "matmul")])
                    instructions[region][inside] = len(found)
                found.append((first, size))
        return found

    def _written_by_lines(self, first: int, slots: Any, instructions: Any) -> bool:
        """Whether a result lies in a row, and each number in it is written once, by a line."""
        if not (np.diff(self.spots(slots)) == 1).all():
            return False
        v, kinds = instructions["v"], instructions["kind"]
        inside = (v >= first) & (v < first + len(slots)) & (kinds != KIND["run"])
        return bool((kinds[inside] == KIND["line"]).all()
                    and instructions["n"][inside].sum() == len(slots))

    def _together(self, step: Step, other: Step) -> bool:
        return other.in_run and other.run == step.run

    def _with_repeats(self) -> dict[int, list[Operand]]:
        """The operands of all lines; a slot that all elements read is repeated beforehand, one step for each."""
        read, steps = {}, []
        made: dict[tuple[int, int], int] = {}
        self._split()
        for k, step in enumerate(self.steps):
            if not step.in_run:
                steps.append((k, step))
                continue
            operands = []
            for which in range(2):
                operand = self.operand(k, which)
                if operand.base == -2:
                    key = operand.listed, min(step.n, STRIP)
                    if key not in made:
                        self.n_slots = aligned(self.n_slots)
                        made[key] = self.n_slots
                        self.n_slots += key[1]
                        fill = Step("fill", np.arange(made[key], self.n_slots), [np.array([operand.listed])],
                                    extra={"placed": True})
                        steps.append((-1, fill))
                    operand = Operand(made[key])
                elif operand.listed == -3:
                    operand = Operand(0, 1, self.to_pool(self.spots(step.operands[which])))
                operands.append(operand)
            read[k] = operands
            steps.append((k, step))
        self.steps = [step for _, step in steps]
        self.lines = {}
        return {new: read[old] for new, (old, step) in enumerate(steps) if step.in_run}

    def _split(self) -> None:
        """Split what writes in a row where its results do not stand so, and lines whose operand goes on elsewhere."""
        steps: list[Step] = []
        lines: dict[int, list[tuple[str, Any]]] = {}
        for k, step in enumerate(self.steps):
            given = self.lines.get(k)
            if step.block is not None:                # its arrays are in one piece
                lines[len(steps)] = given or []
                steps.append(step)
                continue
            cuts: list[int] = []
            if step.kind == "line" and step.n >= 16 * MOST_PARTS and given is not None:
                for slots, (how, _) in zip(step.operands, given, strict=True):
                    if slots is not None and not how:
                        jumps = np.diff(self.spots(slots))
                        if jumps.any():
                            cuts += (np.flatnonzero(jumps != 1) + 1)[:MOST_PARTS + 1].tolist()
            ends = sorted(set(cuts))
            if not 0 < len(ends) <= MOST_PARTS:
                ends = []
            if step.kind in ("line", "chain"):
                ends = sorted({*ends, *(np.flatnonzero(np.diff(self.spots(step.out)) != 1) + 1).tolist()})
            for first, last in zip([0, *ends], [*ends, step.n], strict=True):
                if given is not None:
                    lines[len(steps)] = [(how, where + first if how == "line" else where) for how, where in given]
                if not ends:
                    steps.append(step)
                    break
                steps.append(replace(step, out=step.out[first:last],
                                     operands=[z if z is None else z.reshape(-1, step.n)[:, first:last].reshape(-1)
                                               for z in step.operands]))
        self.steps, self.lines = steps, lines

    def _line(self, k: int, read: Any, plan: Plan) -> None:
        step = self.steps[k]
        (a, aa, ia, blocks_a), (b, ab, ib, blocks_b) = read[k]
        out = self.out_of(step)
        fields = {"n": step.n, "v": out, "av": 1, "a": a, "aa": aa, "ia": ia, "b": b, "ab": ab, "ib": ib, "op": step.op,
                  "count": step.lag}
        room = plan.rooms.get(k)
        if k in plan.handed:
            fields.update(v=0, av=HANDED_ON)
        elif room is not None:
            fields.update(v=room.start, av=0, history=room.history)
            room.history = 0                          # the first line that writes there moves it
        if blocks_a or blocks_b:
            fields["first"] = self.to_pool([*(blocks_a or (0, 0, 0)), *(blocks_b or (0, 0, 0))])
        for base, those in plan.pieces[k]:
            there = plan.rooms.get(those[0])
            if there is not None:
                on, slot = (HANDED_ON, 0) if plan.handed.get(those[0]) == k else (0, there.slot(base, step.lag))
                if ia < 0 and aa == 1 and a == base:
                    fields.update(a=slot, aa=on)
                if ib < 0 and ab == 1 and b == base:
                    fields.update(b=slot, ab=on)
        self.instruction(step.kind, **fields)

    def out_of(self, step: Step) -> int:
        """First slot of a step's result."""
        first = step.out[0]
        return int(first if step.extra.get("placed") else self.spot(first.base if isinstance(first, View) else first))

    def _view(self, view: View) -> int:
        return self.spot(view.base) if view.size else 0

    def _single(self, step: Step) -> None:
        """Write an instruction that is no line."""
        block, spots = step.block, self.spots
        if step.kind == "scalars":
            table = np.empty(len(step.out), SCALAR)
            table["op"], table["v"] = step.op, spots(step.out)
            table["a"], table["b"] = spots(step.operands[0]), spots(step.operands[1])
            first = sum(map(len, self.scalars))
            for at in range(0, len(table), STRETCH):
                self.instruction("scalars", n=min(STRETCH, len(table) - at), first=first + at)
            self.scalars.append(table)
        elif step.kind == "chain":
            starts, terms = spots(step.operands[0]), spots(step.operands[1])
            n = len(step.out)
            go_on = int(n > 1 and bool((np.diff(starts) == 1).all()))
            if n > 1 and not go_on and not (starts == starts[0]).all():
                self.instruction("gather", n=n, v=self.out_of(step), ia=self.to_pool(starts))
                starts, go_on = spots(step.out), 1
            row = bool((np.diff(terms) == 1).all())
            self.instruction("chain", n=n, v=self.out_of(step), a=int(starts[0]), aa=go_on, count=step.op,
                             b=int(terms[0]) if row else 0, ib=-1 if row else self.to_pool(terms))
        elif step.kind == "fill":
            there = step.out[0] if step.block is not None else step.out
            source = self._view(step.operands[0]) if step.block is not None else int(step.operands[0][0])
            self.instruction("fill", n=len(there), v=self.out_of(step), a=source)
        else:
            assert block is not None
            getattr(self, "_emit_" + step.kind)(block)

    def _emit_map(self, block: Any) -> None:
        out, reads = block.writes[0], block.reads
        if not out.size:
            return
        zero = (0,) * len(out.shape)
        rows = [out.shape, out.strides, reads[0].strides, reads[1].strides if len(reads) > 1 else zero]
        first = self.to_pool([len(out.shape), *[z for row in rows for z in row]])
        self.instruction(block.kind, n=out.size, v=self._view(out), a=self._view(reads[0]),
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
        first = self.to_pool([batch, m, n, k, *out.strides, *x.strides, *y.strides])
        self.instruction("matmul", n=batch * m * n, count=k, v=self._view(out), a=self._view(x), b=self._view(y),
                         first=first)

    def _emit_gather(self, block: Any) -> None:
        out = block.writes[0]
        slots = self.spots(block.index)
        starts = np.concatenate([[0], np.flatnonzero(np.diff(slots) != 1) + 1])
        if len(starts) * 16 > len(slots):
            self.instruction("gather", n=out.size, v=self._view(out), ia=self.to_pool(slots))
            return
        for first, last in zip(starts.tolist(), [*starts[1:].tolist(), len(slots)], strict=True):
            self.instruction("copy", n=last - first, v=self._view(out) + first, a=int(slots[first]))

    def _emit_call(self, block: Any) -> None:
        numbers = [len(block.reads)]
        for view in block.reads:
            numbers += [self._view(view), view.size]
        numbers.append(len(block.writes))
        for view in block.writes:
            numbers += [self._view(view), view.size]
        native = getattr(block.rule, "native", None)
        name, more = native() or ("", ()) if native else ("", ())
        self.instruction("call", n=1, first=self.to_pool([*numbers, *more]), count=len(self.calls),
                         op=NATIVE.index(name))
        self.calls.append(block.rule)


def spans_of(instructions: Any, pool: Any) -> list[tuple[Any, Any]]:
    """First slots and ends of what lines read in a row."""
    rows = instructions[np.isin(instructions["kind"], [KIND["line"], KIND["sum"]])]
    found = []
    for which, (slot, on, index) in enumerate((("a", "aa", "ia"), ("b", "ab", "ib"))):
        size = np.where(rows[on] == 1, rows["n"], 1)
        for k in np.flatnonzero(rows[on] == 2):
            width, _, count = pool[rows["first"][k] + 3 * which:][:3]
            size[k] = width * count
        used = (rows[index] < 0) & (rows[slot] >= 0)
        found.append((rows[slot][used], (rows[slot] + size)[used]))
    return found
