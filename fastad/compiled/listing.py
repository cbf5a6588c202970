"""What a trace has recorded, as the passes read it: scalar records in arrays, everything else as blocks.

Here every slot is written once. In-place writes and everything that only moves elements (routes, small copies) are no
operations: they rename, so that whoever reads a slot later reads the slot where its value was made.
"""
from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from .. import _passes
from .._blocks import Block, Cells, Slots, View, distinct
from .._tape import KINDS
from ..ops import OPS

__all__ = ["Block", "Listing", "Slots", "View"]

OPCODE: dict[str, int] = {row.name: code for code, row in enumerate(OPS, 1)}
ACCUMULATE, INDEXED, ANYWHERE, CONSTANT_SOURCE = 1, 8, 16, -1
#: Copies up to so many elements only rename.
SMALL = 16
#: Except into arrays of at least so many elements that are put together from at most so many pieces.
SHORTEST, MOST_PIECES = 64, 8
#: A view that is looked for in a list of slots has at most so many axes.
MOST_AXES = 4


def line(base: int, n: int) -> View:
    """Slots in a row."""
    return View(base, (n,), (1,))


def regular(slots: Any) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Shape and strides of a view whose elements, in C order, are these slots; None where there is none of few axes."""
    axes: list[tuple[int, int]] = []
    while len(slots) > 1:
        step = slots[1] - slots[0]
        breaks = np.flatnonzero(np.diff(slots) != step)
        n = int(breaks[0]) + 1 if len(breaks) else len(slots)
        if len(slots) % n or len(axes) == MOST_AXES:
            return None
        lines = slots.reshape(-1, n)
        if not (lines == lines[:, :1] + step * np.arange(n)).all():
            return None
        axes.insert(0, (n, int(step)))
        slots = lines[:, 0]
    return tuple(n for n, _ in axes), tuple(s for _, s in axes)


def alike(views: list[View]) -> list[View]:
    """Views of as many elements with axes that are divided alike; those given where that cannot be."""
    if all(view.shape == views[0].shape for view in views):
        return views
    ends: set[int] = set()                            # how many elements are within an axis and those behind it
    for view in views:
        size = 1
        for n in reversed(view.shape):
            size *= n
            ends.add(size)
    sizes = sorted(ends - {1})
    shape = [n // m for n, m in zip(sizes, [1, *sizes], strict=False)]
    if math.prod(shape) != views[0].size or any(n % m for n, m in zip(sizes, [1, *sizes], strict=False)):
        return []
    made = []
    for view in views:
        strides: list[int] = []
        size = inner = 1                              # inner: elements within the axes of the view behind this one
        axes = list(zip(view.shape, view.strides, strict=True))
        for n in shape:
            while axes and inner * axes[-1][0] <= size:
                inner *= axes.pop()[0]
            strides.insert(0, axes[-1][1] * (size // inner) if axes and n > 1 else 0)
            size *= n
        made.append(View(view.base, tuple(reversed(shape)), tuple(strides)))
    return made


class Listing:
    """The code of one trace.

    Parameters
    ----------
    columns : dict of arrays
        The tape's columns: value, link, dx, dy, wide, pool.
    rules : sequence
        The rules of its CALL records.
    inputs : sequence of (slot, size)
        Spans that are given anew in each call: arguments and captured arrays.
    guards : dict of arrays, optional
        What Python has seen: ``record`` (how many records there were then), ``slot`` (the first one), ``size``.

    Attributes
    ----------
    op, v, a, b, time : arrays of int64
        The scalar records.
    blocks : list of Block
        In the order of time.
    value : array
        By slot: the value of a constant.
    cells : Cells
        Made by `divide`, when nothing more is allocated.
    known, alias : arrays
        By cell: whether it is constant, and the slot where its values are.
    """

    def __init__(self, columns: dict[str, Any], rules: Sequence[Any], inputs: Sequence[tuple[int, int]],
                 guards: dict[str, Any] | None = None) -> None:
        wide, self.pool = columns["wide"], columns["pool"]
        self.wide = wide
        scalar = _passes.scalar_records(columns["link"], columns["dx"], columns["dy"],
                                        np.ascontiguousarray(wide["size"]))
        self.op, self.v, self.a, self.b, self.time = [scalar[name] for name in ("op", "v", "a", "b", "time")]
        n = self.n_tape = scalar["n_slots"]
        self.n_records = len(columns["link"])
        total = n + len(scalar["constants"])
        room = 2 * total + 64
        #: By slot: value, whether it is constant, whether it was renamed; and how far away its value is, once one was.
        #: Memory that nobody writes to costs nothing.
        self._store: list[Any] = [np.zeros(room), np.zeros(room, np.uint8), np.zeros(room, np.uint8)]
        self.shift: Any = None
        self._look(total)
        self.tape_value = columns["value"]
        self.value[n:] = scalar["constants"]
        self.constant[0] = 1
        self.constant[n:] = 1
        self.renamed: list[Any] = []                  # slots
        self.overwritten: list[Any] = []              # slots, and what they held before
        self.inputs = [line(slot, size) for slot, size in inputs]
        self.whole: list[View] = []                   # what lies in one piece, whoever makes it
        #: First slot and end of what keeps together: the blocks of wide records, allocations.
        self.pieces = scalar["wide_slot"].tolist()
        self.ends = (scalar["wide_slot"] + wide["size"]).tolist()
        self.blocks: list[Block] = []
        self.rules = list(rules)
        self.gathered: dict[bytes, View] = {}
        self.nothing: int | None = None               # the slot of -0.0
        self.guards: list[Any] = []                   # where the values of the guards' slots stand
        #: How many of them were known when Python was called last, and a slot that it wrote then.
        self.called: tuple[int, Any] = 0, np.empty(0, np.int64)
        self.seen = guards
        self.seen_at = [] if guards is None else guards["record"].tolist()
        self.n_seen = 0                               # of these some are among the guards already
        self._read(wide, scalar["wide_time"], scalar["wide_slot"])

    # ---- slots ----
    def constants(self, values: Any) -> int:
        """New slots for numbers that are known; the first of them."""
        values = np.asarray(values, np.float64).reshape(-1)
        first = self.allocate(len(values))
        self.value[first:], self.constant[first:] = values, 1
        return first

    def allocate(self, count: int) -> int:
        """New slots; the first of them."""
        first, n = len(self.value), len(self.value) + count
        if n > len(self._store[0]):                   # twice as much, so that many small ones cost little
            for k, column in enumerate(self._store):
                self._store[k] = np.concatenate([column, np.zeros(max(n, len(column)), column.dtype)])
        self._look(n)
        self.pieces.append(first)
        self.ends.append(n)
        return first

    def _look(self, n: int) -> None:
        """Let the columns by slot be the first n entries of their memory."""
        self.value, self.constant, self.moved = [column[:n] for column in self._store[:3]]
        self.shift = self._store[3][:n] if len(self._store) > 3 else None

    def rename(self, slots: Any, sources: Any) -> None:
        """From here on the values of `slots` are where `sources` are now."""
        if self.shift is None:
            self._store.append(np.zeros(len(self._store[0]), np.int64))
            self._look(len(self.value))
        self.shift[slots] = self.where(sources) - slots
        self.moved[slots] = 1
        self.renamed.append(slots)

    def where(self, slots: Any) -> Any:
        """Where the values of slots are now."""
        return slots if self.shift is None else slots + self.shift[slots]

    def placed(self, slots: Slots) -> Slots:
        """The same of results."""
        if self.shift is None or not any(self.moved[first:first + n].any()
                                         for first, n in zip(slots.first.tolist(), slots.count.tolist(), strict=True)):
            return slots
        return Slots.of(self.where(slots.listed()))

    def still(self, view: View) -> bool:
        """Whether the values of a view that is not empty are where its slots are, in one piece."""
        return self.one_piece(view) and (self.shift is None or not self.moved[view.around].any())

    def divide(self) -> None:
        """Divide the slots into cells."""
        cells = self.cells = Cells(len(self.value))
        cells.cut_stretches(np.array(self.pieces, np.int64), np.array(self.ends, np.int64))
        cells.cut_views(self.inputs)
        for slots in self.renamed:
            cells.cut_runs(slots)
        cells.cut_writes(self.blocks, singly=True)
        for slots in (self.v, self.a, self.b):
            cells.cut_each(slots)
        cells.close()
        first = cells.first[:-1]
        self.known = self.constant[first]
        self.alias = first.copy()
        _passes.copy_known(cells, self.known, self.tape_value, self.value)
        for slots, values in self.overwritten:
            self.value[slots] = values
        self.value[0] = 0.0

    def refine(self) -> None:
        """Divide the cells further where blocks write now, and in what was allocated since."""
        before, known = self.cells, self.known
        cells = self.cells = Cells(len(self.value))
        cells.cut_stretches(before.first[:-1], before.first[1:])
        cells.cut_writes(self.blocks)
        cells.cut_each(self.v)
        cells.close()
        first = cells.first[:-1]
        old = first < before.n
        self.known, self.alias = self.constant[first], first.copy()
        self.known[old] = known[before.of(first[old])]

    def select(self, keep: Any) -> None:
        """Keep only some of the scalar records: those with a flag that is not 0."""
        self.limit(_passes.kept(keep, self.op, self.v, self.a, self.b, self.time))

    def limit(self, n: int) -> None:
        """Keep the first n scalar records."""
        self.op, self.v, self.a, self.b, self.time = [z[:n] for z in (self.op, self.v, self.a, self.b, self.time)]

    def now(self, slots: Any) -> Any:
        """Where the values of slots are, after all renamings and what the passes have found to be alike."""
        return (self.cells.moved_slots if isinstance(slots, Slots) else self.cells.moved)(slots, self.alias)

    def one_piece(self, view: View) -> bool:
        """Whether a view looks at the results of one record: those of several do not keep together."""
        low, high = view.bounds
        if low == high:
            return True
        k = bisect_right(self.pieces, low) - 1
        return k >= 0 and high < self.ends[k]

    def scattered(self, view: View) -> bool:
        """Whether the values of a view are not where its slots are, nor all shifted alike."""
        if not view.size or self.still(view):
            return False
        if self.shift is None:
            return not self.one_piece(view)
        shift = self.shift[view.slots()]
        return bool((shift != shift[0]).any())

    def operand(self, view: View, time: int, row: bool = False, divided: bool = False) -> View:
        """An operand as a view on slots where its values are; collected first where scattered, or in no row.

        `divided`: its axes may be other ones than those of the view, over the same elements in C order.
        """
        if view.size == 0 or self.still(view):
            return view
        slots = view.slots()
        now = self.where(slots)
        shift = now - slots
        if (shift == shift[0]).all():
            there = View(view.base + int(shift[0]), view.shape, view.strides)
            if self.one_piece(there):
                return there
        if not row and (now == now[0]).all():
            return View(int(now[0]), view.shape, (0,) * len(view.shape))
        if divided and (found := regular(now)) is not None:
            there = View(int(now[0]), *found)
            if self.one_piece(there):
                return there
        key = now.tobytes()
        if key not in self.gathered:
            first = self.allocate(len(now))
            self.gathered[key] = line(first, len(now))
            self.blocks.append(Block("gather", time, [], [self.gathered[key]], index=now))
        strides, step = [], 1
        for n in reversed(view.shape):
            strides.append(step)
            step *= n
        return View(self.gathered[key].base, view.shape, tuple(reversed(strides)))

    # ---- records ----
    def _read(self, wide: Any, times: Any, slots: Any) -> None:
        """Turn the wide records into blocks and renamings."""
        start = 0
        spans = {view.base for view in self.inputs}
        names = wide.dtype.names
        at = 0
        made: list[View | None] = [None] * len(wide)
        rows = wide.view(np.uint8)
        while (at := _passes.plain_maps(rows, times, slots, at, self.constant, self.moved, made,
                                        self.blocks)) < len(wide):
            time, slot = int(times[at]), int(slots[at])
            w = dict(zip(names, wide[at].tolist(), strict=True))
            at += 1
            self._note_guards(bisect_right(self.seen_at, time))
            kind = KINDS[w["kind"]]
            if kind != "span" or slot not in spans:
                self.constant[slot:slot + w["size"]] = 1     # what stands in its block besides results is constant
            if self.shift is not None and start < len(self.op) and self.time[start] < time:
                stop = int(np.searchsorted(self.time, time))      # scalar records up to here read what stands there now
                self._rename_scalars(start, stop)
                start = stop
            if kind != "span" and w["n"]:
                getattr(self, "_read_" + kind)(w, time)
        if self.shift is not None:
            self._rename_scalars(start, len(self.op))
        self._note_guards(len(self.seen_at))

    def _note_guards(self, stop: int) -> None:
        """Note where the values stand now that Python has seen up to here."""
        if self.seen is None or stop == self.n_seen:
            return
        slot, size = [self.seen[name][self.n_seen:stop] for name in ("slot", "size")]
        behind = np.cumsum(size)
        self.guards.append(self.where(np.repeat(slot - (behind - size), size) + np.arange(behind[-1])))
        self.n_seen = stop

    def _rename_scalars(self, start: int, stop: int) -> None:
        for operand in (self.a, self.b):
            operand[start:stop] += self.shift[operand[start:stop]]

    def _axes(self, w: Any) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
        """Shape of a map, and the strides of result and operands."""
        if w["layout"] < 0:
            return (int(w["n"]),), [(int(w[name]),) for name in ("sv", "sx", "sy")]
        p = self.pool[int(w["layout"]):]
        n = int(p[0])
        rows = [tuple(p[1 + j * n:1 + (j + 1) * n].tolist()) for j in range(4)]
        return rows[0], rows[1:]

    @cached_property
    def _pieces_in(self) -> Any:
        """By wide record: how many maps of others write into its block."""
        others = (self.wide["kind"] == KINDS.index("map")) & (self.wide["dst"] < self.wide["out"])
        holders = np.searchsorted(self.wide["out"], self.wide["dst"][others], side="right") - 1
        return np.bincount(holders, minlength=len(self.wide))

    def _is_piece(self, w: Any) -> bool:
        """Whether a copy goes into a long array that is put together from a few of them."""
        if w["dst"] >= w["out"]:
            return False
        k = int(np.searchsorted(self.wide["out"], w["dst"], side="right")) - 1
        return bool(self.wide["size"][k] >= SHORTEST and self._pieces_in[k] <= MOST_PIECES)

    def _read_map(self, w: Any, time: int) -> None:
        shape, strides = self._axes(w)
        out = View(int(w["dst"]), shape, strides[0])
        adds = bool(w["flags"] & ACCUMULATE)
        x = View(int(w["a"]), shape, strides[1])
        if int(w["op"]) == OPCODE["positive"] and not adds and (
                (out.size <= SMALL and not self._is_piece(w)) or self.scattered(x)):
            self.constant[out.touched] = 0
            self.rename(out.slots(), x.slots())
            return
        given = [x, View(int(w["b"]), shape, strides[2])][:1 + (w["b"] >= 0)]
        views = alike([out, *[self.operand(view, time, divided=True) for view in given]])
        out, *reads = views or [out, *[self.operand(view, time) for view in given]]
        if adds and self.constant[out.around].any():
            fresh = np.arange(out.low, out.high + 1) if out.covers else distinct(out.slots())
            fresh = fresh[self.constant[fresh] == 1]  # nothing was written there yet
            if len(fresh):
                self._fill(fresh, time)
        self.constant[out.touched] = 0
        self.blocks.append(Block("add" if adds else "map", time, reads, [out], op=int(w["op"])))

    def _fill(self, slots: Any, time: int) -> None:
        """Slots that are going to be added to start each call from what they started from in the trace.

        The trace holds their sums now; what they started from is nothing, or 0.0 where nothing is added.
        """
        if slots[-1] - slots[0] != len(slots) - 1:
            raise NotImplementedError("a sum into scattered slots")
        if self.nothing is None:
            self.nothing = self.constants([-0.0])
        self.blocks.append(Block("fill", time, [View(self.nothing, (1,), (0,))], [line(int(slots[0]), len(slots))]))

    def _read_matmul(self, w: Any, time: int) -> None:
        p = [int(z) for z in self.pool[int(w["layout"]):int(w["layout"]) + 13]]
        out = View(int(w["dst"]), (p[0], p[1], p[2]), (p[4], p[5], p[6]))
        if p[3] == 0:                                 # sums of nothing
            self.constant[out.slots()] = 0
            self.rename(out.slots(), np.full(out.size, self.constants([0.0])))
            return
        x = self.operand(View(int(w["a"]), (p[0], p[1], p[3]), (p[7], p[8], p[9])), time)
        y = self.operand(View(int(w["b"]), (p[0], p[3], p[2]), (p[10], p[11], p[12])), time)
        self.constant[out.touched] = 0
        self.blocks.append(Block("matmul", time, [x, y], [out]))

    def _read_route(self, w: Any, time: int) -> None:
        n, first = int(w["n"]), int(w["layout"])
        index = self.pool[first:first + n]
        slots = np.arange(int(w["dst"]), int(w["dst"]) + n)
        moved = index >= 0
        self.constant[slots[moved]] = 0
        self.rename(slots[moved], int(w["a"]) + index[moved])

    def _read_spread(self, w: Any, time: int) -> None:
        n, first, out = int(w["n"]), int(w["layout"]), int(w["out"])
        sources, targets = self.pool[first:first + n], self.pool[first + n:first + 2 * n]
        products = self.allocate(n)
        taken = self.where(int(w["a"]) + sources)
        gathered = self.allocate(n)
        self.blocks.append(Block("gather", time, [], [line(gathered, n)], index=taken))
        self.blocks.append(Block("map", time, [line(gathered, n), line(int(w["b"]), n)], [line(products, n)],
                                 op=OPCODE["multiply"]))
        zero = self.constants([0.0])
        order = np.argsort(targets, kind="stable")
        unique, begins, counts = np.unique(targets[order], return_index=True, return_counts=True)
        for count in distinct(counts):
            chosen = np.flatnonzero(counts == count)
            terms = products + order[begins[chosen][None, :] + np.arange(count)[:, None]]
            sums = self.allocate(len(chosen))
            self.blocks.append(Block("chain", time, [View(zero, (len(chosen),), (0,))], [line(sums, len(chosen))],
                                     index=terms.reshape(-1)))
            self.constant[out + unique[chosen]] = 0
            self.rename(out + unique[chosen], np.arange(sums, sums + len(chosen)))
        missing = np.setdiff1d(np.arange(int(w["size"]) - n), unique, assume_unique=True)
        if len(missing):
            self.rename(out + missing, np.full(len(missing), zero))

    def _read_assign(self, w: Any, time: int) -> None:
        n = int(w["n"])
        if w["flags"] & INDEXED:
            first = int(w["layout"])
            slots = int(w["dst"]) + self.pool[first:first + n]
            sources = (int(w["a"]) if w["a"] >= 0 else int(w["out"]) + n) + int(w["sx"]) * np.arange(n)
        else:
            shape, strides = self._axes(w)
            slots = View(int(w["dst"]), shape, strides[0]).slots()
            sources = View(int(w["a"]) if w["a"] >= 0 else int(w["out"]) + n, shape, strides[1]).slots()
        saved = int(w["out"]) + np.arange(n)
        fresh = np.flatnonzero(self.where(slots) == slots)[::-1]
        self.overwritten.append((slots[fresh], self.tape_value[saved[fresh]]))    # the tape shows what came last
        self.constant[saved] = 0
        self.rename(saved, slots)
        self.rename(slots, sources)

    def _read_call(self, w: Any, time: int) -> None:
        p = self.pool[int(w["layout"]):]
        n_in = int(p[0])
        n_out = int(p[1 + 2 * n_in])
        reads = [self.operand(line(int(p[1 + 2 * j]), int(p[2 + 2 * j])), time, row=True) for j in range(n_in)]
        outs = p[2 + 2 * n_in:]
        writes = [line(int(outs[2 * j]), int(outs[2 * j + 1])) for j in range(n_out)]
        for view in writes:
            self.constant[view.touched] = 0
        rule = self.rules[int(w["extra"])]
        block = Block("call", time, reads, writes, rule=rule)
        self.blocks.append(block)
        if self.guards and not hasattr(rule, "native"):
            # What is known before Python is called: the guards since it was called last, which knew those before it.
            seen, last = self.called
            block.index = np.concatenate([*self.guards[seen:], last])
            written = [view.base for view in writes if view.size]
            if written:
                self.called = len(self.guards), np.array(written[:1], np.int64)
