"""fastad._instructions, and the steps of _passes: tables, what instructions read and write, where slots go."""
from contextlib import suppress

import numpy as np
import pytest
from comparing import program, rng
from hypothesis import given, settings
from hypothesis import strategies as st

import fastad as fa
from fastad import _instructions, _passes
from fastad._blocks import Block, Cells, Moves, View
from fastad._instructions import INSTRUCTION, KINDS, LISTED, READING, SHARING, STRIP, WRITING, Tables, uses_of
from fastad._program import Code


def net(x, w):
    y = np.tanh(x @ w + x[:, :1]) / (1.0 + np.sum(x * x, axis=0))
    return np.sum(y ** 2) + np.sum(np.cumsum(y, axis=1)[[0, 2, 2]]) + np.max(x)


def loops(x):
    s = 0.0
    for k in range(len(x) - 1):
        s = s + (x[k + 1] - x[k] * x[k]) ** 2
    return s + x[0] / x[1]


def shifted(x):
    y = np.sin(x) * 2.0
    return np.sum((y[1:] - y[:-1]) ** 2) + np.sum(np.exp(y) - y[0]) + np.sum(x[[5, 1, 1, 0]] * 3.0)


def codes():
    """Programs that have instructions of every kind."""
    for f, args in [(net, (rng.normal(size=(40, 6)), rng.normal(size=(6, 6)))), (loops, (rng.normal(size=40),)),
                    (shifted, (rng.normal(size=3 * STRIP),)),
                    (lambda x: np.sum(np.cross(x, x[::-1])), (rng.normal(size=3),))]:
        for passes in (True, False):
            c = fa.compile(f, tuple(range(len(args))), passes=passes)
            c.value_and_grad(*args)
            yield program(c).evaluator.code


def slots_of(code, row):
    """Slots that an instruction reads and writes, one by one, and those of strips: told from its fields once more."""
    pool, n, first = code.pool, int(row["n"]), int(row["first"])
    kind = KINDS[row["kind"]]

    def view(which, slot):
        nd = pool[first]
        shape, strides = pool[first + 1:][:nd], pool[first + 1 + (which + 1) * nd:][:nd]
        return View(int(slot), tuple(shape.tolist()), tuple(strides.tolist())).slots()

    def matrix(which, slot):
        batch, m, k, inner = pool[first:first + 4].tolist()
        shape = [(batch, m, k), (batch, m, inner), (batch, inner, k)][which]
        return View(int(slot), shape, tuple(pool[first + 4 + 3 * which:][:3].tolist())).slots()

    def row_of(slot, count):
        return np.arange(int(slot), int(slot) + count)

    reads, writes, strips = [], [], []
    if kind in ("line", "sum"):
        for which, name in enumerate("ab"):
            if row["i" + name] >= 0:
                reads.append(pool[row["i" + name]:][:n])
            elif row[name] >= 0 and row["a" + name] == 0:
                strips.append(row_of(row[name], min(STRIP, n + row["count"])))
            elif row[name] >= 0 and row["a" + name] == 2:
                width, _, count = pool[first + 3 * which:][:3]
                reads.append(row_of(row[name], width * count))
            elif row[name] >= 0 and row["a" + name] == 1:
                reads.append(row_of(row[name], n))
        if kind == "sum" or row["av"] > 0:
            writes.append(row_of(row["v"], 1 if kind == "sum" else n))
        elif row["av"] == 0:
            strips.append(row_of(row["v"], min(STRIP, n + row["count"])))
    elif kind in ("map", "add"):
        reads += [view(which, row[name]) for which, name in ((1, "a"), (2, "b")) if row[name] >= 0]
        writes.append(view(0, row["v"]))
        reads += writes if kind == "add" else []
    elif kind == "matmul":
        reads += [matrix(1, row["a"]), matrix(2, row["b"])]
        writes.append(matrix(0, row["v"]))
    elif kind == "gather":
        reads.append(pool[row["ia"]:][:n])
        writes.append(row_of(row["v"], n))
    elif kind == "chain":
        count = n * int(row["count"])
        reads += [row_of(row["a"], n if row["aa"] else 1),
                  pool[row["ib"]:][:count] if row["ib"] >= 0 else row_of(row["b"], count)]
        writes.append(row_of(row["v"], n))
    elif kind in ("fill", "copy"):
        reads.append(row_of(row["a"], n if kind == "copy" else 1))
        writes.append(row_of(row["v"], n))
    elif kind == "call":
        for found in (reads, writes):
            for _ in range(int(pool[first])):
                found.append(row_of(pool[first + 1], int(pool[first + 2])))
                first += 2
            first += 1
    return [set(np.concatenate([np.empty(0, np.int64), *those]).tolist()) for those in (reads, writes, strips)]


def test_what_instructions_read_and_write():
    seen = set()
    for code in codes():
        row, mode, low, high = uses_of(code.instructions, code.pool)
        for k, instruction in enumerate(code.instructions):
            reads, writes, strips = slots_of(code, instruction)
            seen.add(KINDS[instruction["kind"]])
            for wanted, modes in ((reads, (READING, LISTED)), (writes, (WRITING,)), (strips, (SHARING,))):
                chosen = (row == k) & np.isin(mode, modes)
                told = {s for a, b in zip(low[chosen], high[chosen], strict=True) for s in range(a, b + 1)}
                assert wanted <= told
                assert {*low[chosen].tolist(), *high[chosen].tolist()} <= (wanted if modes != (SHARING,) else told)
    assert seen == set(KINDS)


def test_damaged_tables_are_refused_or_stay_within():
    r = np.random.default_rng(4)
    extremes = np.array([-(1 << 62), -(1 << 40), -2, -1, 0, 1, 2, 1 << 31, 1 << 40, 1 << 52, (1 << 62) + 1])
    refused = 0
    for code in codes():
        for _ in range(60):
            rows, pool = code.instructions.copy(), code.pool.copy()
            for _ in range(r.integers(1, 3)):
                name = r.choice(INSTRUCTION.names)
                k = r.integers(len(rows))
                other = int(rows[name][k]) + int(r.integers(-3, 4)) if r.random() < 0.5 else int(r.choice(extremes))
                with suppress(OverflowError):
                    rows[name][k] = other
                if len(pool) and r.random() < 0.5:
                    pool[r.integers(len(pool))] = r.choice(extremes)
            try:
                made = Code(rows, code.scalars, pool, code.image, code.calls, code.n_slots, code.regions)
            except ValueError as error:
                if not str(error).startswith("program: "):
                    raise
                refused += 1
                continue
            _, _, low, high = uses_of(made.instructions, made.pool)
            assert low.min(initial=0) >= 0 and high.max(initial=0) < made.n_slots
    assert refused > 100


def test_tables_are_written():
    tables = Tables(100)
    for k in range(80):                               # more than they begin with
        tables.source = k
        tables.instruction("copy", n=2, v=10 + k, a=50, first=tables.to_pool(np.arange(k)))
    assert tables.rows["v"].tolist() == list(range(10, 90)) and tables.sources.tolist() == list(range(80))
    assert tables.pool[tables.rows["first"][7]:][:7].tolist() == list(range(7)) and (tables.rows["ia"] == -1).all()
    there = tables.repeated(3, 20)
    assert there == 104 and tables.n_slots == 124 and tables.repeated(3, 20) == there
    assert tables.repeated(3, 5000) == 128 and tables.n_slots == 128 + STRIP and tables.repeated(3, STRIP) == 128
    assert [KINDS[kind] for kind in tables.rows["kind"][80:]] == ["fill", "fill"]
    assert tables.sources[80:].tolist() == [-1, -1]
    with pytest.raises(ValueError, match="not in tuple"):
        tables.instruction("nothing")


@given(st.lists(st.integers(1, 40), max_size=30), st.integers(1, 30))
def test_long_arrays_begin_cache_lines(sizes, first):
    cells = Cells(1 + sum(sizes))
    for slot in np.cumsum([1, *sizes[:-1]]).tolist():
        cells.cut(slot, slot)
    cells.close()
    k = np.arange(1, cells.count)
    place = np.full(cells.count, -1)
    end = _passes.put(cells, k, k + 1, place, first, lines=True)
    at = first
    for start, size in zip(place[1:].tolist(), sizes, strict=True):
        assert 0 <= start - at < 8 and (start % 8 == 0 if size >= 8 else start == at)
        at = start + size
    assert end == at and place[0] == -1
    assert _passes.put(cells, k[:1], k[-1:] + 1, place, first) == first + sum(sizes)
    assert (np.diff(place[1:]) == sizes[:-1]).all()


def test_what_is_looked_at_as_an_array_keeps_together():
    cells = Cells(20)
    cells.cut_each(np.arange(20))
    cells.close()
    known, single, value = np.zeros(20, np.uint8), np.zeros(20, np.uint8), np.arange(20.0)
    known[[6, 12]] = 1
    blocks = [Block("map", 0, [View(5, (3,), (1,))], [View(7, (2,), (2,))]),
              Block("gather", 1, [], [View(14, (2,), (1,))], index=np.array([11, 12]))]
    inputs = [View(2, (1,), (1,)), View(3, (2,), (1,))]
    (begins, ends), (others, behind) = _passes.units(cells, inputs, blocks, known, single)
    assert [begins.tolist(), ends.tolist()] == [[5], [10]]           # what overlaps is one
    assert [others.tolist(), behind.tolist()] == [[2, 3, 14], [3, 5, 16]]
    assert np.flatnonzero(single).tolist() == [11, 12]
    assert _passes.constants_in(cells, begins, ends, known, value).tolist() == [0.0, 6.0, 0.0, 0.0, 0.0]


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(-20, 20)), max_size=8), st.lists(st.integers(0, 80)))
def test_slots_move_by_stretches(stretches, slots):
    first = np.cumsum([n for n, _ in stretches], dtype=np.int64)
    shift = np.array([s for _, s in stretches], np.int64)
    moves = Moves(first, shift)
    want = [slot + ([0, *shift.tolist()][int(np.searchsorted(first, slot, side="right"))]) for slot in slots]
    assert moves(np.array(slots, np.int64)).tolist() == want
    views = [View(slot, (2, 1), (1, 1)) for slot in slots]
    moved = moves.views(views)
    assert [view.base for view in moved] == want
    assert [view.high - view.low for view in moved] == [1] * len(slots)
    assert [view.slots().tolist() for view in moved] == [[slot, slot + 1] for slot in want]


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=60), st.integers(1, 8))
def test_groups_of_one_depth_and_form(keys, least):
    depth, form = np.array([d for d, _ in keys], np.int32), np.array([f for _, f in keys], np.uint64)
    members = np.arange(len(keys))[::2].copy()
    alike = {}
    for k in members.tolist():
        alike.setdefault(keys[k], []).append(k)
    large = [group for group in alike.values() if len(group) >= least]
    order, ends, rest = _passes.grouped(members, depth, form << np.uint64(40), least)
    assert [group.tolist() for group in np.split(order, ends)[:-1]] == large
    assert rest.tolist() == [k for k in members.tolist() if len(alike[keys[k]]) < least]


def test_another_table_is_refused():
    nowhere = np.empty(0, np.int64)
    with pytest.raises(TypeError, match="table of instructions"):
        _instructions.move_slots(np.zeros(3), nowhere, Moves(nowhere, nowhere))
    with pytest.raises(ValueError, match="do not belong together"):
        Moves(np.zeros(2, np.int64), np.zeros(1, np.int64))
