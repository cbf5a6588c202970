"""The loops of the passes over scalar records: what Python would take microseconds a record for takes nanoseconds here.

A stretch of code is four parallel arrays in the order of the program: opcode, slot of the result, slots of the operands
(of a function of one argument the second is slot 0). Slots are numbered as on the tape, constants behind them.
"""
cimport cython
from libc.stdint cimport INT32_MAX, int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcpy, memset

from fastad._scalar cimport (
    OP_COUNT, OP_add, OP_divide, OP_drop, OP_float_power, OP_keep, OP_logical_and, OP_multiply, OP_negative,
    OP_positive, OP_power, OP_reciprocal, OP_square, OP_subtract, boxed_distance, fa_loops, fa_rows, scalar_eval,
)
from fastad._blocks cimport Block, Cells, View, alike, map_block, one_axis
from fastad._instructions cimport CACHE_LINE, aligned
from fastad._tape cimport FAR, Flag, Kind, Tape, Wide, ensure_loops, is_wide, loop_table

import numpy as np

from . import _tape

(&fa_loops)[0] = loop_table()

cdef inline uint64_t bits_of(double x) noexcept nogil:
    cdef uint64_t bits
    memcpy(&bits, &x, sizeof(bits))
    return bits


cdef inline uint64_t mixed(uint64_t a, uint64_t b) noexcept nogil:
    """A hash of two words."""
    a ^= b * <uint64_t>0x9e3779b97f4a7c15
    a = (a ^ (a >> 32)) * <uint64_t>0xbf58476d1ce4e5b9          # small numbers differ in their highest bits alone
    return a ^ (a >> 29)


def columns(Tape tape):
    """Copies of a tape's columns: dict of arrays."""
    n, r = tape.n_slots, tape.n_records
    return {"value": np.array(tape.value[:n]), "link": np.array(tape.link[:r]), "dx": np.array(tape.dx[:r]),
            "dy": np.array(tape.dy[:r]), "wide": _tape.wide_records(tape),
            "pool": np.array(tape.pool[:tape.n_pool])}


cdef View in_place(Py_ssize_t base, Py_ssize_t n, Py_ssize_t step, const uint8_t[::1] moved,
                   const int64_t[::1] pieces, const Wide *wide, list made):
    """The view of an operand along one axis; None unless it is one slot or within one record, and was not renamed."""
    cdef Py_ssize_t first = 0, last = pieces.shape[0], middle, k
    cdef Py_ssize_t low = min(base, base + step * (n - 1)), high = max(base, base + step * (n - 1))
    cdef View view
    if memchr(&moved[low], 1, high - low + 1) is not NULL:
        return None
    while first < last:                               # the last piece that begins at the view or before it
        middle = (first + last) // 2
        if pieces[middle] <= low:
            first = middle + 1
        else:
            last = middle
    k = first - 1
    if low < high and not (k >= 0 and high < pieces[k] + wide[k].size):
        return None
    view = <View>made[k] if k >= 0 else None
    if view is not None and view.base == base and view.size == n and view.step == step:
        return view
    return one_axis(base, n, step)


def plain_maps(const uint8_t[::1] wide, const int64_t[::1] times, const int64_t[::1] pieces, Py_ssize_t first,
               uint8_t[::1] constant, const uint8_t[::1] moved, list made, list blocks):
    """Read wide records from one on as long as they are maps over one axis whose operands stand where they were made.

    Parameters
    ----------
    wide, times, pieces
        The bytes of the records (a structured array takes longer to look at than one of them to read), when they were
        made, and the first slot of each.
    first : int
        Where to begin.
    constant, moved
        By slot: whether it is constant (results are not), and whether it was renamed.
    made : list of View
        By wide record: the view of its results; None where that was not made here.
    blocks : list of Block
        Is appended to.

    Returns
    -------
    int
        The first record that is none.
    """
    cdef const Wide *rows = <const Wide *>&wide[0] if wide.shape[0] else NULL
    cdef Py_ssize_t k = first, end
    cdef uint8_t *flags = &constant[0]
    cdef Wide w
    cdef View x, y, out
    if wide.shape[0] != pieces.shape[0] * <Py_ssize_t>sizeof(Wide):
        raise ValueError("plain_maps: the bytes and the slots of the records do not belong together")
    while k < pieces.shape[0]:
        w = rows[k]
        if (w.kind != Kind.MAP or w.layout >= 0 or w.n < 1 or w.flags & Flag.ACCUMULATE or w.op == OP_positive
                or w.sv != 1):
            break
        x = in_place(w.a, w.n, w.sx, moved, pieces, rows, made)
        if x is None:
            break
        reads = [x]
        if w.b >= 0:
            y = in_place(w.b, w.n, w.sy, moved, pieces, rows, made)
            if y is None:
                break
            reads.append(y)
        end = pieces[k] + w.size
        if pieces[k] <= w.dst <= end:                 # what stands in its block besides results; these are 0 already
            memset(flags + pieces[k], 1, w.dst - pieces[k])
            memset(flags + w.dst + w.n, 1, max(end - w.dst - w.n, 0))
        else:
            memset(flags + pieces[k], 1, w.size)
            memset(flags + w.dst, 0, w.n)
        made[k] = out = one_axis(w.dst, w.n, 1)
        blocks.append(map_block(times[k], reads, [out], w.op))
        k += 1
    return k


def evaluate(int op, double x, double y):
    """A function of the table on numbers."""
    cdef double v
    ensure_loops(op)
    scalar_eval(op, x, y, &v, NULL, NULL)
    return v


def rename_operands(Cells cells, list blocks, const int64_t[::1] alias, bint all=False):
    """Let blocks read where the values are: index lists, and views at a single slot, or `all` of them.

    Parameters
    ----------
    alias : array
        By cell: the slot that its first one is to be replaced with.
    """
    for block in blocks:
        rename_reads(cells, <Block>block, alias, all)


cdef int rename_reads(Cells cells, Block block, const int64_t[::1] alias, bint all) except -1:
    """The same of one block."""
    cdef View view
    cdef Py_ssize_t j, k, there
    if block.index is not None:
        block.index = cells.moved(block.index, alias)
    for j in range(len(block.reads)):
        view = <View>block.reads[j]
        if view.size == 0 or not (all or view.low == view.high):
            continue
        k = cells.at(view.base)
        there = alias[k] + view.base - cells.firsts[k]
        if there != view.base:
            block.reads[j] = view.at(there)
    return 0


cdef bint any_set(Cells cells, View view, const uint8_t[::1] flags) except -1:
    """Whether a flag of one of the cells that a view touches is set."""
    cdef Py_ssize_t k
    cdef const int64_t[::1] slots
    if view.size == 0:
        return False
    if view.covers:
        for k in range(cells.at(view.low), cells.at(view.high) + 1):
            if flags[k]:
                return True
        return False
    slots = view.slots()
    for k in range(slots.shape[0]):
        if flags[cells.at(slots[k])]:
            return True
    return False


cdef int set_flags(Cells cells, View view, uint8_t[::1] flags) except -1:
    """Set the flags of the cells that a view touches."""
    cdef Py_ssize_t k
    cdef const int64_t[::1] slots
    if view.size == 0:
        return 0
    if view.covers:
        for k in range(cells.at(view.low), cells.at(view.high) + 1):
            flags[k] = 1
        return 0
    slots = view.slots()
    for k in range(slots.shape[0]):
        flags[cells.at(slots[k])] = 1
    return 0


def find_live(Cells cells, list blocks, const int64_t[::1] time, const int64_t[::1] v, const int64_t[::1] a,
              const int64_t[::1] b, uint8_t[::1] live, uint8_t[::1] keep):
    """Dead code, read backwards: what has a live result is kept, and then its operands are live.

    Parameters
    ----------
    blocks : list of Block
        `live` is set.
    time, v, a, b
        The scalar records.
    live, keep
        By cell, and by scalar record.
    """
    cdef Py_ssize_t i = v.shape[0] - 1, k, j
    cdef Block block
    cdef const int64_t[::1] index
    for k in range(len(blocks) - 1, -2, -1):
        block = <Block>blocks[k] if k >= 0 else None
        while i >= 0 and (block is None or time[i] >= block.time):
            if live[cells.at(v[i])]:
                live[cells.at(a[i])] = live[cells.at(b[i])] = 1
            else:
                keep[i] = 0
            i -= 1
        if block is None:
            break
        block.live = False
        for view in block.writes:
            if any_set(cells, <View>view, live):
                block.live = True
                break
        if not block.live:
            continue
        for view in block.reads:
            set_flags(cells, <View>view, live)
        if block.index is not None:
            index = block.index
            for j in range(index.shape[0]):
                live[cells.at(index[j])] = 1


def count_uses(Cells cells, list blocks, const int64_t[::1] wanted, int32_t[::1] uses):
    """By cell: how often it is read by blocks, and stands among the cells that are wanted."""
    cdef Py_ssize_t i, k
    cdef View view
    cdef const int64_t[::1] slots
    for i in range(wanted.shape[0]):
        uses[wanted[i]] += 1
    for block in blocks:
        those = (<Block>block).reads
        if (<Block>block).kind == "add":
            those = [*those, *(<Block>block).writes]
        for z in those:
            view = <View>z
            if view.size == 0:
                continue
            if view.covers:
                for k in range(cells.at(view.low), cells.at(view.high) + 1):
                    uses[k] += 1
                continue
            slots = view.slots()
            for i in range(slots.shape[0]):
                uses[cells.at(slots[i])] += 1
        if (<Block>block).index is not None:
            slots = (<Block>block).index
            for i in range(slots.shape[0]):
                uses[cells.at(slots[i])] += 1


def find_chains(Cells cells, const int64_t[::1] op, const int64_t[::1] v, const int64_t[::1] a, const int64_t[::1] b,
                int32_t[::1] uses, Py_ssize_t shortest):
    """Sums of many terms, made one by one: s = s + t or s - t again and again, nobody else reading the s between.

    `uses` says how often each cell is read otherwise; the reads of the records are added.

    Returns
    -------
    tuple of arrays
        ``last`` (record that ends each chain), ``start`` (slot it starts from), ``first`` and ``count`` (its part of
        `terms`), ``terms`` (slots in order; of a subtraction -1 - its record), and ``member`` (by record: 1, a chain
        has taken it over; 2, it was a subtraction).
    """
    cdef Py_ssize_t n = op.shape[0], i, j, k, x, y, length, total = 0, chains = 0
    before = np.full(n, -1, np.int64)                 # the record of the same chain that makes the sum so far
    term = np.zeros(n, np.int64)
    lengths = np.ones(n, np.int64)
    ends = np.ones(n, np.uint8)
    producer = np.full(uses.shape[0], -1, np.int64)
    cdef int64_t[::1] before_ = before, term_ = term, lengths_ = lengths, producer_ = producer
    cdef uint8_t[::1] ends_ = ends
    for i in range(n):
        uses[cells.at(a[i])] += 1
        uses[cells.at(b[i])] += 1
    for i in range(n):
        if op[i] != OP_add and op[i] != OP_subtract:
            continue
        x, y = cells.at(a[i]), cells.at(b[i])
        j, k = producer_[x], producer_[y] if op[i] == OP_add else -1
        if j >= 0 and uses[x] != 1:
            j = -1
        if k >= 0 and uses[y] != 1:
            k = -1
        if k >= 0 and (j < 0 or lengths_[k] > lengths_[j]):
            before_[i], term_[i], lengths_[i] = k, a[i], lengths_[k] + 1
            ends_[k] = 0
        elif j >= 0:
            before_[i], term_[i], lengths_[i] = j, b[i] if op[i] == OP_add else -1 - i, lengths_[j] + 1
            ends_[j] = 0
        producer_[cells.at(v[i])] = i
    for i in range(n):
        if producer_[cells.at(v[i])] == i and ends_[i] and lengths_[i] >= shortest:
            chains += 1
            total += lengths_[i]
    last, start, first, count = [np.empty(chains, np.int64) for _ in range(4)]
    terms, member = np.empty(total, np.int64), np.zeros(n, np.uint8)
    cdef int64_t[::1] last_ = last, start_ = start, first_ = first, count_ = count, terms_ = terms
    cdef uint8_t[::1] member_ = member
    chains = total = 0
    for i in range(n):
        if producer_[cells.at(v[i])] != i or not ends_[i] or lengths_[i] < shortest:
            continue
        length = lengths_[i]
        last_[chains], first_[chains], count_[chains] = i, total, length
        j = i
        for k in range(total + length - 1, total, -1):
            terms_[k] = term_[j]
            member_[j] = 1 if op[j] == OP_add else 2
            j = before_[j]
        member_[j] = 1 if op[j] == OP_add else 2
        start_[chains], terms_[total] = a[j], b[j] if op[j] == OP_add else -1 - j
        total += length
        chains += 1
    return last, start, first, count, terms, member


cdef int32_t deepest(Cells cells, View view, const int32_t[::1] depth) except -1:
    """The largest depth among the cells that a view touches."""
    cdef Py_ssize_t k
    cdef int32_t d = 0
    cdef const int64_t[::1] slots
    if view.size == 0:
        return 0
    if view.covers:
        for k in range(cells.at(view.low), cells.at(view.high) + 1):
            d = max(d, depth[k])
        return d
    slots = view.slots()
    for k in range(slots.shape[0]):
        d = max(d, depth[cells.at(slots[k])])
    return d


cdef int enter(Cells cells, View view, int32_t[::1] depth, uint64_t[::1] shape, int32_t d, uint64_t form) except -1:
    """Enter depth and form of a result."""
    cdef Py_ssize_t k
    cdef const int64_t[::1] slots
    if view.size == 0:
        return 0
    if view.covers:
        for k in range(cells.at(view.low), cells.at(view.high) + 1):
            depth[k], shape[k] = d, form
        return 0
    slots = view.slots()
    for k in range(slots.shape[0]):
        depth[cells.at(slots[k])], shape[cells.at(slots[k])] = d, form
    return 0


def levels_of(Cells cells, inputs, list blocks, const int64_t[::1] time, const int64_t[::1] op,
              const int64_t[::1] v, const int64_t[::1] a, const int64_t[::1] b):
    """How deep results are, and a hash of the form of the expression that makes each; blocks get a depth.

    Of inputs each has a form of its own; of the results of blocks those of chains of as many terms are alike.

    Returns
    -------
    depth : array of int32
        By scalar record.
    form : array of uint64
    """
    cdef Py_ssize_t i = 0, k, j, n = v.shape[0], count = len(blocks), x, y, out
    cdef Block block
    cdef View view
    cdef int32_t d
    cdef uint64_t form
    cdef const int64_t[::1] index
    cdef int32_t[::1] depth = np.zeros(cells.count, np.int32)
    cdef uint64_t[::1] shape = np.zeros(cells.count, np.uint64)
    depths, forms = np.empty(n, np.int32), np.empty(n, np.uint64)
    cdef int32_t[::1] depths_ = depths
    cdef uint64_t[::1] forms_ = forms
    for k, view in enumerate(inputs):
        enter(cells, view, depth, shape, 0, 1000 + k)
    for k in range(count + 1):
        block = <Block>blocks[k] if k < count else None
        # Of the time of a chain there may be a record: the negative of the last term, which was taken away.
        while i < n and (block is None or time[i] <= block.time):
            x, y, out = cells.at(a[i]), cells.at(b[i]), cells.at(v[i])
            depths_[i] = depth[out] = max(depth[x], depth[y]) + 1
            forms_[i] = shape[out] = mixed(mixed(shape[x], shape[y]), <uint64_t>op[i])
            i += 1
        if block is None:
            break
        d = 0
        for z in block.reads:
            d = max(d, deepest(cells, <View>z, depth))
        for z in block.writes:
            d = max(d, deepest(cells, <View>z, depth))
        if block.index is not None:
            index = block.index
            for j in range(index.shape[0]):
                d = max(d, depth[cells.at(index[j])])
        block.depth = d + 1
        for j in range(len(block.writes)):
            form = <uint64_t>(k * 64 + j + 1) * <uint64_t>0x9e3779b97f4a7c15
            if block.kind == "chain":
                form = 7 + 31 * <uint64_t>len(block.index)
            enter(cells, <View>block.writes[j], depth, shape, d + 1, form)
    return depths, forms


include "_records.pxi"
include "_simplifying.pxi"
include "_steps.pxi"
include "_places.pxi"
