"""Which instructions of a program are executed part by part, so that what goes from one to the next stays in cache.

Batched matrix products, sums over inner axes and maps work on one item of the outermost axis after the other. Where
such instructions follow each other, it is better to take the first item through all of them, then the second: what only
they read needs room for one item then. Other instructions in between are executed before or afterwards. Every number is
computed as otherwise, from the same operands in the same order.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .._blocks import Slots, distinct
from .._instructions import INSTRUCTION, KIND, KINDS, LISTED, NATIVE, SHARING, STRIP, WRITING, uses_of
from .._program import Code, Evaluator, Window

__all__ = ["in_parts"]

#: Results of fewer numbers stay in cache in any case.
LARGE = 1 << 15
#: As many instructions are looked at around one window, and as many may be in its parts (see `Window`).
MOST_AROUND, MOST_ROWS = 40, 60
#: So many times in a row a window is looked for in vain, and so many instructions behind it for what reads its results.
MOST_TRIES, MOST_LATER = 50, 1000
#: So many slots anywhere are told apart.
MOST_POINTS = 1 << 10
NONE = np.zeros(0, np.int64)
EXTREMA = (NATIVE.index("maximum"), NATIVE.index("minimum"))      # the calls that always succeed


@dataclass(frozen=True)
class Access:
    """What an instruction reads or writes: `size` slots from `low` on, in parts of `part` slots `step` slots apart.

    ``row`` and ``column`` are the instruction, counted within its unit, and which of v, a, b it is.
    """

    low: int
    size: int
    step: int
    part: int
    row: int
    column: int
    adds: bool = False

    @property
    def high(self) -> int:
        """Behind the last slot."""
        return self.low + self.size

    @property
    def is_exact(self) -> bool:
        """Whether the parts are one behind the other and have all the slots between them."""
        return self.step == self.part

    def meets(self, other: Access) -> bool:
        """Whether there is a slot that both have."""
        return self.low < other.high and other.low < self.high

    def same(self, other: Access) -> bool:
        """Whether each part of one is the same part of the other."""
        return (self.low, self.size, self.step, self.part) == (other.low, other.size, other.step, other.part)


@dataclass
class Cut:
    """A unit as it works on one part: instructions, further numbers for the pool, what it reads and writes.

    ``strips`` are results that have room for a strip alone, for which no other unit looks.
    """

    rows: Any
    pool: list[int] = field(default_factory=list)
    reads: list[Access] = field(default_factory=list)
    writes: list[Access] = field(default_factory=list)
    strips: list[Access] = field(default_factory=list)


class Unit:
    """A run with its lines, or another instruction: instructions [first, last), and the slots they read and write."""

    def __init__(self, code: Code, first: int, last: int) -> None:
        self.first, self.last = first, last
        self.rows = code.instructions[first:last]
        self.kind = KINDS[self.rows["kind"][0]]
        self.n = int(self.rows["n"][0])
        _, mode, low, high = uses_of(self.rows, code.pool)
        listed, written, shared = mode == LISTED, mode == WRITING, mode == SHARING
        points = [low[listed], NONE]
        if self.kind == "scalars":
            at = int(self.rows["first"][0])
            s = code.scalars[at:at + self.n]
            points = [np.concatenate([s["a"], s["b"]]), s["v"]]
        read, written = ~listed & ~written, written | shared
        self.reads = Spans(low[read], high[read] + 1, points[0])
        self.writes = Spans(low[written], high[written] + 1, points[1])

    @property
    def is_fixed(self) -> bool:
        """Whether it cannot be moved: a call that may need Python."""
        return self.kind == "call" and self.rows["op"][0] not in EXTREMA


class Spans:
    """Slots that an instruction reads or writes: from ``low`` on to before ``high``, and `points`, which rise.

    Of very many points it knows where they begin and end, and takes all between them for its own.
    """

    def __init__(self, low: Any, high: Any, points: Any) -> None:
        self.whole = len(low)
        self.low, self.high = low.tolist(), high.tolist()
        self.points = distinct(points) if len(points) <= MOST_POINTS else NONE
        if len(points) > MOST_POINTS:
            self.low.append(int(points.min()))
            self.high.append(int(points.max()) + 1)

    def has_any(self, low: int, high: int) -> bool:
        """Whether any of the slots [low, high) is among them."""
        if any(a < high and low < b for a, b in zip(self.low, self.high, strict=True)):
            return True
        return len(self.points) > 0 and bool(np.searchsorted(self.points, low) < np.searchsorted(self.points, high))

    def has_all(self, low: int, high: int) -> bool:
        """Whether one of the spans has all slots [low, high)."""
        spans = zip(self.low[:self.whole], self.high, strict=False)
        return any(a <= low and high <= b for a, b in spans)

    def meet(self, other: Spans) -> bool:
        """Whether there is a slot that both have."""
        if any(other.has_any(a, b) for a, b in zip(self.low, self.high, strict=True)):
            return True
        return len(self.points) > 0 and (any(self.has_any(a, b) for a, b in zip(other.low, other.high, strict=True))
                                         or bool(np.isin(self.points, other.points).any()))


def reach(pool: Any, q: Any, which: int, on: int) -> int:
    """How many slots an operand of a line has."""
    if on == 2:
        width, _, count = pool[q["first"] + 3 * which:][:3].tolist()
        return int(width * count)
    return int(q["n"]) if on else STRIP


def views(pool: Any, p: Any, kind: str, parts: int) -> Iterator[tuple[int, int, int, int]]:
    """Of result and operands of a map or a matrix product: lowest slot, size, and the same of a part: step, size."""
    first = int(p["first"])
    if kind == "matmul":
        q, m, n, k = pool[first:first + 4].tolist()
        shapes = [(q, m, n), (q, m, k), (q, k, n)]
        strides = pool[first + 4:first + 13].reshape(3, 3).tolist()
    else:
        nd = int(pool[first])
        shapes = [tuple(pool[first + 1:first + 1 + nd].tolist())] * 3
        strides = pool[first + 1 + nd:first + 1 + 4 * nd].reshape(3, nd).tolist()
    for name, shape, stride in zip("vab", shapes, strides, strict=True):
        if p[name] < 0:
            continue
        low = int(p[name]) + sum(min(s, 0) * (n - 1) for n, s in zip(shape, stride, strict=True))
        size = 1 + sum(abs(s) * (n - 1) for n, s in zip(shape, stride, strict=True))
        some = shape[0] // parts
        yield low, size, stride[0] * some, size - abs(stride[0]) * (shape[0] - some)


# ---- one part of an instruction ---------------------------------------------------------------------------------
def cut(code: Code, unit: Unit, parts: int) -> Cut | None:
    """A unit as it works on the first of some parts; None where it does not fall into them."""
    if unit.kind == "run":
        return cut_run(code, unit, parts)
    p, pool = unit.rows[0], code.pool
    rows = unit.rows.copy()
    first = int(p["first"])
    if unit.kind in ("map", "add"):
        nd = int(pool[first])
        layout = pool[first + 1:first + 1 + 4 * nd].reshape(4, nd).copy()
        length = int(layout[0, 0])
        if length % parts or layout[1, 0] == 0 or (nd == 1 and unit.kind == "add"):
            return None
        layout[0, 0] = length // parts
        if layout[0, 0] == 1 and nd > 1:
            layout = layout[:, 1:]
        more = [layout.shape[1], *layout.ravel().tolist()]
    elif unit.kind == "matmul":
        more = pool[first:first + 13].tolist()
        if more[0] % parts or more[4] == 0:
            return None
        more[0] //= parts
    else:
        return None
    rows["n"] //= parts
    rows["first"] = 0
    spans = [Access(*span, 0, column) for column, span in enumerate(views(pool, p, unit.kind, parts))]
    if any(access.step < 0 for access in spans):
        return None
    return Cut(rows, more, spans[1:], [replace(spans[0], adds=unit.kind == "add")])


def cut_run(code: Code, unit: Unit, parts: int) -> Cut | None:
    """A run as it works on the first of some parts."""
    lines = unit.rows[1:]
    if unit.n % parts or (lines["n"] != unit.n).any() or lines["count"].any() or lines["history"].any() \
            or (lines["kind"] == KIND["sum"]).any() or (lines["ia"] >= 0).any() or (lines["ib"] >= 0).any():
        return None
    some = unit.n // parts
    made = Cut(unit.rows.copy())
    made.rows["n"] = some
    for k, q in enumerate(lines, 1):
        made.rows["first"][k] = len(made.pool)
        if (q["aa"] == 2) or (q["ab"] == 2):
            made.pool += code.pool[q["first"]:q["first"] + 6].tolist()
        for which, (slot, on) in enumerate((("a", "aa"), ("b", "ab"))):
            low, way = int(q[slot]), int(q[on])
            if low < 0 or way < 0:
                continue
            size = reach(code.pool, q, which, way)
            if way == 0:
                made.strips.append(Access(low, size, 0, size, k, 1 + which))
            elif way == 1:
                made.reads.append(Access(low, size, some, some, k, 1 + which))
            else:
                at = int(made.rows["first"][k]) + 3 * which
                width, span, count = made.pool[at:at + 3]
                if count == 1 and some % width == 0 and span % width == 0:
                    made.pool[at + 1] = some
                    made.reads.append(Access(low, size, 0, size, k, 1 + which))
                elif some % (span * count) == 0:
                    made.reads.append(Access(low, size, 0, size, k, 1 + which))
                elif some % span == 0 and count == parts * (some // span):
                    made.pool[at + 2] = some // span
                    made.reads.append(Access(low, size, size // parts, size // parts, k, 1 + which))
                else:
                    return None
        low = int(q["v"])
        if q["av"] == 0:
            made.strips.append(Access(low, STRIP, 0, STRIP, k, 0))
        elif q["av"] > 0:
            made.writes.append(Access(low, unit.n, some, some, k, 0))
    return made


# ---- windows ----------------------------------------------------------------------------------------------------
@dataclass(eq=False)
class Version:
    """What an instruction in parts writes, until something else is written there; `places`: all accesses, by unit."""

    write: Access
    places: list[tuple[int, Access]]
    is_new: bool                                      # nothing was added to what stood there before the window
    spot: int | None = None                           # where one part has room, if the window alone needs it

    @property
    def first(self) -> int:
        """The unit that writes it."""
        return self.places[0][0]

    @property
    def last(self) -> int:
        """The last unit that reads it."""
        return self.places[-1][0]


class Around:
    """The instructions from a large one on: those that are executed in parts, and the others before or afterwards."""

    def __init__(self, code: Code, units: Sequence[Unit], parts: int) -> None:
        self.code, self.parts = code, parts
        self.before: list[tuple[int, Unit]] = []
        self.within: list[tuple[int, Unit, Cut]] = []
        self.after: list[tuple[int, Unit]] = []
        self.versions: list[Version] = []
        rows = 0
        for k, unit in enumerate(units):
            if unit.is_fixed or rows + len(unit.rows) > MOST_ROWS:
                break
            late = any(conflict(unit, other) for _, other in self.after)
            made = None if late else cut(code, unit, parts)
            if made is not None and not self.fits(made):
                made = None
            early = not late and not any(conflict(unit, other) for _, other, _ in self.within)
            if made is not None and (unit.n * 8 >= LARGE or not early):
                self.enter(made)
                self.within.append((k, unit, made))
                rows += len(unit.rows)
            elif early and self.within:
                self.before.append((k, unit))
            elif self.within:
                self.after.append((k, unit))
            else:
                break

    def latest(self, access: Access) -> Version | None:
        """The version that an access finds."""
        return next((version for version in reversed(self.versions) if version.write.meets(access)), None)

    def fits(self, made: Cut) -> bool:
        """Whether each part of what a unit reads was written by the same part."""
        own: list[Access] = []
        for access in sorted([*made.reads, *made.writes], key=lambda access: (access.row, access.column == 0)):
            if access in made.writes and not access.adds:
                own.append(access)
                continue
            found = next((write for write in reversed(own) if write.meets(access)), None)
            if found is None:
                version = self.latest(access)
                found = version.write if version else None
            if found is not None and not (found.same(access) and access.is_exact):
                return False
        return True

    def enter(self, made: Cut) -> None:
        """Note what a unit reads and writes."""
        k = len(self.within)
        for access in sorted([*made.reads, *made.writes], key=lambda access: (access.row, access.column == 0)):
            found = self.latest(access)
            if access.column == 0 and (found is None or not access.adds):
                self.versions.append(Version(access, [(k, access)], not access.adds))
            elif found is not None:
                found.places.append((k, access))

    def shorten(self, count: int) -> None:
        """Keep the first units of the parts, and nothing behind them."""
        self.within = self.within[:count]
        last = self.within[-1][0] if self.within else -1
        self.before = [pair for pair in self.before if pair[0] < last]
        self.after = [pair for pair in self.after if pair[0] < last]
        kept, self.within, self.versions = self.within, [], []
        for k, unit, made in kept:
            self.enter(made)
            self.within.append((k, unit, made))

    @property
    def size(self) -> int:
        """How many units the window takes the place of."""
        return self.within[-1][0] + 1 if self.within else 0

    def settle(self, later: Any, wanted: Any) -> int:
        """Give versions that only the window needs room for a part; returns how many numbers they take otherwise."""
        while self.within:
            self.shorten(len(self.within))
            self.place(later, wanted)
            wrong = self.clash()
            if wrong is None:
                return sum(version.write.size for version in self.versions if version.spot is not None)
            self.shorten(wrong)
        return 0

    def place(self, later: Any, wanted: Any) -> None:
        """Find the versions that nobody else reads, and room for a part of each."""
        own = [version for version in self.versions if self.is_own(version, later, wanted)]
        fixed = [access for _, _, made in self.within for access in made.strips]
        fixed += [access for _, _, made in self.within for access in made.reads if self.is_outer(access)]
        while own:
            others = fixed + [access for version in self.versions if version not in own for _, access in version.places]
            rooms = merged([version.write for version in own if not any(map(version.write.meets, others))])
            taken: list[tuple[int, int, int]] = []    # (first slot, behind the last, last unit)
            for version in own:
                taken = [z for z in taken if z[2] >= version.first]
                version.spot = free_spot(version.write.part, rooms, taken)
                if version.spot is not None:
                    taken.append((version.spot, version.spot + version.write.part, version.last))
            if all(version.spot is not None for version in own):
                return
            own = [version for version in own if version.spot is not None]    # what stays in its place is in the way
            for version in own:
                version.spot = None

    def is_outer(self, access: Access) -> bool:
        """Whether a read finds what was there before the window."""
        return not any(access is place for version in self.versions for _, place in version.places)

    def is_own(self, version: Version, later: Any, wanted: Any) -> bool:
        """Whether nobody but the parts reads a version."""
        low, high = version.write.low, version.write.high
        if not version.is_new or not version.write.is_exact:
            return False
        if any(unit.reads.has_any(low, high) for _, unit in self.after):
            return False
        behind = self.versions[self.versions.index(version) + 1:]
        if any(other.is_new and other.write.low <= low and high <= other.write.high for other in behind):
            return True
        for unit in later(self.size):
            if unit is None or unit.reads.has_any(low, high):
                return False
            if unit.writes.has_all(low, high):
                return True
        return not wanted.has_any(low, high)

    def clash(self) -> int | None:
        """The first unit that would meet, in another part, what one before it reads or writes; or None."""
        moved = {id(access) for version in self.versions if version.spot is not None for _, access in version.places}
        seen: list[tuple[Access, bool]] = []
        for k, (_, _, made) in enumerate(self.within):
            own = [(x, False) for x in [*made.reads, *made.writes] if id(x) not in moved]
            own += [(x, True) for x in made.strips]
            for x, strip in own:
                for y, other_strip in [*seen, *own]:
                    if y is x or not x.meets(y) or (strip and other_strip):
                        continue
                    if strip or other_strip or (0 in (x.column, y.column) and not (x.same(y) and x.is_exact)):
                        return k
            seen += own
        return None

    def window(self, first: int, last: int) -> Window:
        """The window, for the instructions from `first` on up to `last`."""
        pool = [self.code.pool]
        at, rows, steps = len(self.code.pool), [], []
        spots = {id(access): version for version in self.versions if version.spot is not None
                 for _, access in version.places}
        for _, _, made in self.within:
            mine = made.rows.copy()
            mine["first"] += at
            at += len(made.pool)
            pool.append(np.array(made.pool, np.int64))
            step = np.zeros((len(mine), 3), np.int64)
            for access in [*made.reads, *made.writes]:
                name, version = "vab"[access.column], spots.get(id(access))
                if version is None:
                    step[access.row, access.column] = access.step
                else:
                    assert version.spot is not None
                    mine[name][access.row] += version.spot - access.low
            rows.append(mine)
            steps.append(step)
        before, after = [np.concatenate([np.zeros(0, INSTRUCTION), *[unit.rows for _, unit in units]])
                         for units in (self.before, self.after)]
        return Window(first, last, before, np.concatenate(rows), after, self.parts, np.concatenate(steps),
                      np.concatenate(pool))


def merged(spans: Sequence[Access]) -> list[tuple[int, int]]:
    """First slots and ends of what spans have together."""
    made: list[tuple[int, int]] = []
    for low, high in sorted((access.low, access.high) for access in spans):
        if made and low <= made[-1][1]:
            made[-1] = made[-1][0], max(made[-1][1], high)
        else:
            made.append((low, high))
    return made


def free_spot(size: int, rooms: Sequence[tuple[int, int]], taken: Sequence[tuple[int, int, int]]) -> int | None:
    """The first slot of so many in rooms that are not taken, at the begin of a cache line; None if there are none."""
    for low, high in rooms:
        at = -(-low // 8) * 8
        for start, end, _ in sorted(taken):
            if start - at >= size:
                break
            at = max(at, -(-end // 8) * 8)
        if at + size <= high:
            return at
    return None


def conflict(x: Unit, y: Unit) -> bool:
    """Whether two units cannot change places."""
    return x.reads.meet(y.writes) or x.writes.meet(y.reads) or x.writes.meet(y.writes)


def natural(code: Code) -> list[int]:
    """Into how many parts each instruction falls by its nature; 0 for those that do not say."""
    ins = code.instructions
    is_product, is_sum = ins["kind"] == KIND["matmul"], ins["kind"] == KIND["add"]
    known = (is_product | is_sum) & (ins["n"] >= LARGE)
    if not known.any():
        return [0] * len(ins)
    made: list[int] = np.where(known, code.pool[np.where(known, ins["first"] + is_sum, 0)], 0).tolist()
    return made


def divided(length: int, n: int) -> int:
    """The smallest divisor of a length that makes parts of n numbers fit into cache; the length, if there is none."""
    return next((d for d in range(2, min(length, 1 << 12)) if length % d == 0 and n <= d * LARGE // 2), length)


def wanted_slots(evaluator: Evaluator) -> tuple[Any, Any, Any]:
    """What results and guards read, as `Spans` takes it."""
    low, high, others = [], [], [NONE, evaluator.guards]
    for _, slots in evaluator.placed:
        if isinstance(slots, Slots):
            low.append(slots.first[0])
            high.append(slots.first[0] + len(slots))
        elif len(slots) and slots.max() - slots.min() < len(slots):
            low.append(slots.min())
            high.append(slots.max() + 1)
        else:
            others.append(slots)
    return np.array(low, np.int64), np.array(high, np.int64), np.concatenate(others)


def windows(evaluator: Evaluator) -> list[Window]:
    """The windows of a program."""
    code, kinds = evaluator.code, evaluator.code.instructions["kind"]
    heads = np.flatnonzero((kinds != KIND["line"]) & (kinds != KIND["sum"])).tolist()
    ends = [*heads[1:], len(kinds)]
    is_large, lengths = (code.instructions["n"] >= LARGE).tolist(), natural(code)
    made: dict[int, Unit] = {}

    def unit(k: int) -> Unit:
        if k not in made:
            made[k] = Unit(code, heads[k], ends[k])
        return made[k]

    def behind(first: int) -> Iterator[Unit | None]:
        """The instructions from one on; None where they are too many to look at."""
        last = min(len(heads), first + MOST_LATER)
        yield from map(unit, range(first, last))
        if last < len(heads):
            yield None

    wanted = Spans(*wanted_slots(evaluator))
    found: list[Window] = []
    k = 0
    tries = MOST_TRIES
    while k < len(heads) and tries > 0:
        best, gain = None, LARGE - 1
        near = heads[k:k + MOST_AROUND]
        if is_large[heads[k]] and any(lengths[j] > 1 for j in near):
            units = [unit(j) for j in range(k, k + len(near))]
            n = max(one.n for one in units)
            for parts in sorted({divided(lengths[j], n) for j in near if lengths[j] > 1}):
                around = Around(code, units, parts)
                saved = around.settle(lambda size: behind(k + size), wanted)      # noqa: B023
                tries -= 1
                if saved > gain:
                    best, gain = around, saved
        if best is None:
            k += 1
            continue
        tries = MOST_TRIES
        found.append(best.window(heads[k], ends[k + best.size - 1]))
        k += best.size
    return found


def in_parts(evaluator: Evaluator) -> None:
    """Let a program execute part by part what is better done so."""
    if (evaluator.code.instructions["n"] >= LARGE).any():
        evaluator.in_parts(windows(evaluator))
