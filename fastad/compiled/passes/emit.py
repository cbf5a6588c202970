"""From steps to tables: slots are numbered anew, maps over one iteration space become runs, then it is written."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ..._program import INSTRUCTION, KINDS, NATIVE, SCALAR, STRIP, Code
from ..listing import Listing, View
from .fuse import Plan, aligned
from .regroup import Step
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
        By slot of the listing: the slot of the program, -1 for none.
    origins : list of arrays
        By instruction: the slots of the listing that it computes, none where it only brings operands together.
    """

    def __init__(self, code: Listing, steps: list[Step], wanted: Any, results: Sequence[Any] = ()) -> None:
        self.code, self.steps, self.wanted = code, steps, np.asarray(wanted, np.int64)
        self.results = results                        # of the slots wanted those that are to be arrays
        self.place = np.full(len(code.value), -1, np.int64)
        self.place[0] = 0
        self.image: list[Any] = [np.zeros(1)]
        self.n_slots = 1
        self.repeated: dict[int, int] = {}            # bits of a constant -> where it stands STRIP times
        self.pool: list[Any] = []
        self.n_pool = 0
        self.rows: list[tuple[Any, ...]] = []
        self.scalars: list[Any] = []
        self.calls: list[Any] = []
        self.origins: list[Any] = []
        self.origin: Any = ()
        self._place()

    # ---- slots ----
    def constants(self, values: Any) -> int:
        """Slots that hold constants; only while no other slots are placed."""
        first = self.n_slots
        self.image.append(np.asarray(values, np.float64))
        self.n_slots += len(values)
        return first

    def units(self) -> list[tuple[int, int]]:
        """Stretches of slots that keep together, since somebody looks at them as an array."""
        spans = [(view.base, view.base + view.size) for view in self.code.inputs if view.size]
        for step in self.steps:
            if step.block is not None:
                for view in [*step.block.reads, *step.block.writes]:
                    if view.size and view.bounds[0] < view.bounds[1]:
                        spans.append((view.bounds[0], view.bounds[1] + 1))
        merged: list[tuple[int, int]] = []
        for first, last in sorted(spans):
            if merged and first < merged[-1][1]:
                merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
            else:
                merged.append((first, last))
        return merged

    def _place(self) -> None:
        """Give every slot that is read or written its place: constants first, then arrays, then results in order."""
        code = self.code
        known = code.known.astype(bool)
        for view in code.inputs:
            known[view.slots()] = False
        units = self.units()
        inside = np.zeros(len(known), bool)
        for first, last in units:
            inside[first:last] = True
        self.known = known
        for first, last in sorted(units, key=lambda unit: not known[unit[0]:unit[1]].any()):
            if known[first:last].any():
                self.place[first:last] = np.arange(self.n_slots, self.n_slots + last - first)
                self.constants(np.where(known[first:last], code.value[first:last], 0.0))
        self.lines: dict[int, list[tuple[str, Any]]] = {}
        for k, step in enumerate(self.steps):
            if step.kind == "line" and step.block is None:
                self.lines[k] = [self._constant_line(slots) for slots in step.operands]
            elif step.in_run:
                self.lines[k] = [self._constant_line(slots) if slots is not None and len(set(slots[[0, -1]])) == 1
                                 else ("", None) for slots in step.operands]
        needed = [self.wanted]
        for k, step in enumerate(self.steps):
            if step.kind in ("line", "sum", "scalars", "chain"):
                given = self.lines.get(k) or [("", None)] * len(step.operands)
                needed += [slots for slots, (how, _) in zip(step.operands, given, strict=True)
                           if slots is not None and not how]
            elif step.block is not None and step.block.index is not None:
                needed.append(step.block.index)
            if step.kind == "fill":
                needed.append(step.operands[0])
            if step.block is not None:
                needed += [np.array([view.base]) for view in step.block.reads
                           if view.size and view.bounds[0] == view.bounds[1]]
        marks = np.zeros(len(known), bool)
        for slots in needed:
            marks[slots] = True
        single = np.flatnonzero(marks & known & (self.place < 0))
        self.place[single] = np.arange(self.n_slots, self.n_slots + len(single))
        self.constants(code.value[single])
        self.n_image = self.n_slots
        for first, last in units:
            if self.place[first] < 0:
                if last - first >= LINE:
                    self.n_slots += -self.n_slots % LINE
                self.place[first:last] = np.arange(self.n_slots, self.n_slots + last - first)
                self.n_slots += last - first
        for step in self.steps:
            free = step.out[self.place[step.out] < 0]
            self.place[free] = np.arange(self.n_slots, self.n_slots + len(free))
            self.n_slots += len(free)

    def _constant_line(self, slots: Any) -> tuple[str, Any]:
        """An operand that is all constants: ("repeat", slot) or ("line", slot); ("", None) when it is not."""
        if slots is None or not self.known[slots].all():
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
        if step.extra.get("blocks") and step.extra["blocks"][which]:
            return Operand(int(self.place[slots[0]]), 2, -1, step.extra["blocks"][which])
        new = self.place[slots]
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
            self.origin = step.computed()
            if not step.in_run:
                self._single(step)
                at += 1
                continue
            end = at
            while end < len(order) and self._together(step, self.steps[order[end]]):
                end += 1
            run = [self.steps[k] for k in order[at:end]]
            self.origin = ()
            self.instruction("run", n=max(line.lag + line.n for line in run), count=len(run))
            for k in order[at:end]:
                self.origin = self.steps[k].computed()
                self._line(k, read, plan)
            at = end
        instructions = np.array(self.rows, INSTRUCTION)
        scalars = np.concatenate(self.scalars) if self.scalars else np.empty(0, SCALAR)
        pool = np.concatenate(self.pool) if self.pool else np.empty(0, np.int64)
        given = [self.place[view.slots()] for view in self.code.inputs]
        moved = reuse(instructions, scalars, pool, [*given, self.place[self.wanted]], self.n_image, self.n_slots)
        if moved is not None:
            self.n_slots = int(moved[-1])
            self.place = np.where(self.place >= 0, moved[np.maximum(self.place, 0)], self.place)
        regions = self._regions(instructions, scalars, pool)
        return Code(instructions, scalars, pool, np.concatenate(self.image), self.calls, self.n_slots, regions)

    def _regions(self, instructions: Any, scalars: Any, pool: Any) -> list[tuple[int, int]]:
        """Large inputs and results that only array operations read: they stay where the caller has them."""
        found: list[tuple[int, int]] = []
        inputs = {(int(self.place[view.base]), view.size) for view in self.code.inputs
                  if view.size >= LARGE and self.place[view.base] >= 0}
        results = {(first, len(slots)) for slots in self.results
                   if len(slots) >= LARGE
                   and self._written_by_lines(first := int(self.place[slots[0]]), slots, instructions)}
        if not inputs and not results:
            return found
        singly = np.zeros(self.n_slots + 1, bool)
        wanted = np.bincount(self.place[self.wanted], minlength=self.n_slots + 1)
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
        if not (np.diff(self.place[slots]) == 1).all():
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
                    operand = Operand(0, 1, self.to_pool(self.place[step.operands[which]]))
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
            cuts: list[int] = []
            if step.kind == "line" and step.block is None and step.n >= 16 * MOST_PARTS and given is not None:
                for slots, (how, _) in zip(step.operands, given, strict=True):
                    if slots is not None and not how:
                        jumps = np.diff(self.place[slots])
                        if jumps.any():
                            cuts += (np.flatnonzero(jumps != 1) + 1)[:MOST_PARTS + 1].tolist()
            ends = sorted(set(cuts))
            if not 0 < len(ends) <= MOST_PARTS:
                ends = []
            if step.kind in ("line", "chain"):
                ends = sorted({*ends, *(np.flatnonzero(np.diff(self.place[step.out]) != 1) + 1).tolist()})
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
        return int(step.out[0] if step.extra.get("placed") else self.place[step.out[0]])

    def _view(self, view: View) -> int:
        return int(self.place[view.base]) if view.size else 0

    def _single(self, step: Step) -> None:
        """Write an instruction that is no line."""
        block, place = step.block, self.place
        if step.kind == "scalars":
            table = np.empty(len(step.out), SCALAR)
            table["op"], table["v"] = step.op, place[step.out]
            table["a"], table["b"] = place[step.operands[0]], place[step.operands[1]]
            first = sum(map(len, self.scalars))
            for at in range(0, len(table), STRETCH):
                self.instruction("scalars", n=min(STRETCH, len(table) - at), first=first + at)
            self.scalars.append(table)
        elif step.kind == "chain":
            starts, terms = place[step.operands[0]], place[step.operands[1]]
            n = len(step.out)
            go_on = int(n > 1 and bool((np.diff(starts) == 1).all()))
            if n > 1 and not go_on and not (starts == starts[0]).all():
                self.instruction("gather", n=n, v=self.out_of(step), ia=self.to_pool(starts))
                starts, go_on = place[step.out], 1
            row = bool((np.diff(terms) == 1).all())
            self.instruction("chain", n=n, v=self.out_of(step), a=int(starts[0]), aa=go_on, count=step.op,
                             b=int(terms[0]) if row else 0, ib=-1 if row else self.to_pool(terms))
        elif step.kind == "fill":
            source = int(step.operands[0][0])
            self.instruction("fill", n=len(step.out), v=self.out_of(step),
                             a=source if step.extra.get("placed") else int(place[source]))
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
        self._emit_map(replace(block, writes=views[:1], reads=views[1:]))

    def _emit_matmul(self, block: Any) -> None:
        out, (x, y) = block.writes[0], block.reads
        batch, m, n = out.shape
        k = x.shape[2]
        first = self.to_pool([batch, m, n, k, *out.strides, *x.strides, *y.strides])
        self.instruction("matmul", n=batch * m * n, count=k, v=self._view(out), a=self._view(x), b=self._view(y),
                         first=first)

    def _emit_gather(self, block: Any) -> None:
        out = block.writes[0]
        slots = self.place[block.index]
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
