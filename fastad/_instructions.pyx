"""The instructions of programs: how they are written, and what each reads and writes.

This is the one place that knows where an instruction keeps its slots; validation, fusion and reuse of memory ask here.
"""
cimport cython
from libc.stdint cimport int8_t, int32_t, int64_t
from libc.stdlib cimport free, realloc
from numpy cimport PyArray_DATA, import_array, ndarray

from fastad._blocks cimport Block, Cells, Moves, View

import numpy as np

import_array()

KINDS = ("scalars", "run", "line", "map", "add", "fill", "chain", "matmul", "gather", "call", "copy", "sum")
KIND = {name: k for k, name in enumerate(KINDS)}
INSTRUCTION = np.dtype([(name, np.int64) for name in ("n", "v", "a", "b", "ia", "ib", "first", "count")]
                       + [(name, np.int32) for name in ("kind", "op", "av", "aa", "ab", "ra", "rb", "history")])
SCALAR = np.dtype([(name, np.int32) for name in ("op", "v", "a", "b")])
#: Calls that need no Python, by their opcodes.
NATIVE = ("", "take", "put_add", "maximum", "minimum")
STRIP = RUN_STRIP
LINE = CACHE_LINE
assert INSTRUCTION.itemsize == sizeof(Instruction) and SCALAR.itemsize == sizeof(Scalar) and len(KINDS) == K_SUM + 1

cpdef Py_ssize_t aligned(Py_ssize_t slot) noexcept:
    """The next slot that begins a cache line: a vector that lies across two is read twice."""
    return (slot + CACHE_LINE - 1) // CACHE_LINE * CACHE_LINE


# ---- what an instruction reads and writes --------------------------------------------------------------------------
cdef void view_bounds(const int64_t *layout, int which, int64_t slot, int64_t *low, int64_t *high) noexcept nogil:
    """First and last slot of the result (0) or an operand (1, 2) of a layout in the pool."""
    cdef int64_t nd = layout[0], d, reach
    low[0] = high[0] = slot
    for d in range(nd):
        reach = times(layout[1 + d] - 1, layout[1 + (which + 1) * nd + d])
        if reach < 0:
            low[0] += reach
        else:
            high[0] += reach


cdef void matrix_bounds(const int64_t *layout, int which, int64_t slot, int64_t *low, int64_t *high) noexcept nogil:
    """The same of a matrix product: batch, rows, columns, what is summed over, then three strides of each matrix."""
    cdef int64_t sizes[3]
    cdef int64_t d, reach
    sizes[0], sizes[1] = layout[0], layout[3 if which == 2 else 1]
    sizes[2] = layout[3 if which == 1 else 2]
    low[0] = high[0] = slot
    for d in range(3):
        reach = times(sizes[d] - 1, layout[4 + 3 * which + d])
        if reach < 0:
            low[0] += reach
        else:
            high[0] += reach


cdef int64_t operand_reach(const Instruction *q, int which, const int64_t *pool) noexcept nogil:
    """How many slots an operand of a line takes that is no index list."""
    cdef int32_t on = q.ab if which else q.aa
    if on == HANDED_ON:
        return 0
    if on == 0:
        return min(q.n + q.count, <int64_t>RUN_STRIP)
    if on == 1:
        return q.n
    return times(pool[q.first + 3 * which], pool[q.first + 3 * which + 2])


@cython.final
cdef class Uses:
    def __dealloc__(self):
        free(self.items)

    cdef int add(self, int mode, int64_t low, int64_t count) except -1:
        """Slots in a row."""
        cdef Use *items
        if count <= 0:
            return 0
        if self.n == self.room:
            self.room = 2 * self.room + 8
            items = <Use *>realloc(self.items, self.room * sizeof(Use))
            if items is NULL:
                raise MemoryError()
            self.items = items
        self.items[self.n].low, self.items[self.n].high = low, low + count - 1
        self.items[self.n].slots, self.items[self.n].count, self.items[self.n].mode = NULL, 0, mode
        self.n += 1
        return 0

    cdef int listed(self, const int64_t *slots, int64_t count) except -1:
        """What an index list reads."""
        if count > 0:
            self.add(READS, 0, 1)
            self.items[self.n - 1].slots, self.items[self.n - 1].count = slots, count
        return 0

    cdef int find(self, const Instruction *p, const int64_t *pool) except -1:
        """Let these be the uses of an instruction: what it reads, then what it writes.

        Scalar instructions have none here. A view counts as all slots between its first and its last one.
        """
        cdef int64_t low, high, first, j, k, count, strip
        cdef int which
        self.n = 0
        if p.kind == K_LINE or p.kind == K_SUM:
            for which in range(2):
                first = p.ib if which else p.ia
                low = p.b if which else p.a
                if first >= 0:
                    self.listed(pool + first, p.n)
                elif low >= 0:                        # handed on, it takes no slots
                    self.add(READS if (p.ab if which else p.aa) else SHARES, low, operand_reach(p, which, pool))
            if p.kind == K_SUM:
                self.add(WRITES, p.v, 1)
            elif p.av > 0:
                self.add(WRITES, p.v, p.n)
            elif p.av == 0:
                strip = RUN_STRIP if p.history else min(p.n + p.count, <int64_t>RUN_STRIP)
                self.add(SHARES, p.v - p.history, p.history + strip)
        elif p.kind == K_MAP or p.kind == K_ADD:
            for which in range(1, 3):
                if (p.b if which == 2 else p.a) >= 0:
                    view_bounds(pool + p.first, which, p.b if which == 2 else p.a, &low, &high)
                    self.add(READS, low, high - low + 1)
            view_bounds(pool + p.first, 0, p.v, &low, &high)
            if p.kind == K_ADD:
                self.add(READS, low, high - low + 1)
            self.add(WRITES, low, high - low + 1)
        elif p.kind == K_MATMUL:
            matrix_bounds(pool + p.first, 1, p.a, &low, &high)
            self.add(READS, low, high - low + 1)
            matrix_bounds(pool + p.first, 2, p.b, &low, &high)
            self.add(READS, low, high - low + 1)
            matrix_bounds(pool + p.first, 0, p.v, &low, &high)
            self.add(WRITES, low, high - low + 1)
        elif p.kind == K_GATHER:
            self.listed(pool + p.ia, p.n)
            self.add(WRITES, p.v, p.n)
        elif p.kind == K_CHAIN:
            self.add(READS, p.a, p.n if p.aa else 1)
            if p.ib >= 0:
                self.listed(pool + p.ib, p.n * p.count)
            else:
                self.add(READS, p.b, p.n * p.count)
            self.add(WRITES, p.v, p.n)
        elif p.kind == K_FILL or p.kind == K_COPY:
            self.add(READS, p.a, p.n if p.kind == K_COPY else 1)
            self.add(WRITES, p.v, p.n)
        elif p.kind == K_CALL:
            first = p.first
            for k in range(2):
                count = pool[first]
                for j in range(count):
                    self.add(WRITES if k else READS, pool[first + 1 + 2 * j], pool[first + 2 + 2 * j])
                first += 1 + 2 * count
        return 0


def uses_of(instructions, const int64_t[::1] pool):
    """What validated instructions read and write, those of scalar records excepted.

    Parameters
    ----------
    instructions : array of INSTRUCTION
    pool : array of int64

    Returns
    -------
    row, mode, low, high : arrays
        In the order of the instructions, reads before writes: which it is, `Mode`, first and last slot. Of an index
        list, one by one, the slots that it names; their mode is ``LISTED``.
    """
    cdef Uses uses = Uses()
    cdef ndarray rows = np.ascontiguousarray(instructions, INSTRUCTION)
    cdef const Instruction *p = <const Instruction *>PyArray_DATA(rows)
    cdef Py_ssize_t n = len(rows), total = 0, k, j, i
    for k in range(n):
        uses.find(p + k, &pool[0] if pool.shape[0] else NULL)
        for j in range(uses.n):
            total += uses.items[j].count if uses.items[j].slots is not NULL else 1
    row, low, high = np.empty((3, total), np.int64)
    mode = np.empty(total, np.int8)
    cdef int64_t[::1] row_ = row, low_ = low, high_ = high
    cdef int8_t[::1] mode_ = mode
    total = 0
    for k in range(n):
        uses.find(p + k, &pool[0] if pool.shape[0] else NULL)
        for j in range(uses.n):
            for i in range(uses.items[j].count if uses.items[j].slots is not NULL else 1):
                row_[total] = k
                if uses.items[j].slots is not NULL:
                    low_[total] = high_[total] = uses.items[j].slots[i]
                    mode_[total] = LISTED_
                else:
                    low_[total], high_[total], mode_[total] = uses.items[j].low, uses.items[j].high, uses.items[j].mode
                total += 1
    return row, mode, low, high


cdef enum:
    LISTED_ = 3

#: What an instruction does with slots.
READING, WRITING, SHARING, LISTED = READS, WRITES, SHARES, LISTED_


def move_slots(instructions, int64_t[::1] pool, Moves moves):
    """Let instructions use other slots.

    Parameters
    ----------
    instructions, pool : arrays
        The tables; rewritten.
    """
    cdef Instruction *p
    cdef Py_ssize_t k, n = len(instructions), j, at, count
    cdef int which
    if not (instructions.dtype == INSTRUCTION and instructions.flags.c_contiguous and instructions.flags.writeable):
        raise TypeError("move_slots: a table of instructions that can be written to is needed")
    done = np.zeros(pool.shape[0] + 1, np.uint8)      # an index list may serve several lines
    cdef unsigned char[::1] done_ = done
    p = <Instruction *>PyArray_DATA(<ndarray>instructions)
    for k in range(n):
        for which in range(2):
            j, count = -1, 0
            if p.kind == K_LINE or p.kind == K_SUM or (p.kind == K_GATHER and which == 0):
                j, count = (p.ib if which else p.ia), p.n
            elif p.kind == K_CHAIN and which:
                j, count = p.ib, p.n * p.count
            if j >= 0 and count and not done_[j]:
                for at in range(j, j + count):
                    pool[at] = moves.of(pool[at])
                done_[j] = 1
        if p.kind == K_CALL:
            j = p.first
            for which in range(2):
                count = pool[j]
                for at in range(count):
                    pool[j + 1 + 2 * at] = moves.of(pool[j + 1 + 2 * at])
                j += 1 + 2 * count
        p.v = moves.of(p.v)
        if p.a >= 0:
            p.a = moves.of(p.a)
        if p.b >= 0:
            p.b = moves.of(p.b)
        p += 1


cdef enum:
    FIRST_ROWS = 64                   # of a table that is being written


# ---- writing ---------------------------------------------------------------------------------------------------------
@cython.final
cdef class Tables:
    """The tables of a program while it is written.

    Attributes
    ----------
    n_slots : int
        Of the program; the caller and `lines` take more.
    source : int
        What the next instructions compute, a number of the caller's.

    Examples
    --------
    >>> tables = Tables(3)
    >>> tables.instruction("fill", n=4, v=tables.n_slots, a=1)
    >>> tables.to_pool([7, 8]), tables.pool
    (0, array([7, 8]))
    >>> tables.rows["n"], tables.sources
    (array([4]), array([-1]))
    """

    def __init__(self, Py_ssize_t n_slots):
        self.n_slots, self.source = n_slots, -1
        self.filled = {}
        self._rows = np.empty(FIRST_ROWS, INSTRUCTION)
        self._sources, self._pool = np.empty(FIRST_ROWS, np.int64), np.empty(8 * FIRST_ROWS, np.int64)
        self.rows_at()

    cdef void rows_at(self):
        self.rows_ = <Instruction *>PyArray_DATA(<ndarray>self._rows)
        self.pool_ = <int64_t *>PyArray_DATA(<ndarray>self._pool)
        self.sources_ = <int64_t *>PyArray_DATA(<ndarray>self._sources)

    @property
    def rows(self):
        """The instructions."""
        return self._rows[:self.n_rows]

    @property
    def sources(self):
        """By instruction: what it computes."""
        return self._sources[:self.n_rows]

    @property
    def pool(self):
        """Layouts and index lists."""
        return self._pool[:self.n_pool]

    cdef Instruction *row(self, int kind) except NULL:
        """A new instruction; valid until the next one."""
        cdef Instruction *p
        if self.n_rows == len(self._rows):
            rows, sources = self._rows, self._sources
            self._rows = np.empty(2 * self.n_rows, INSTRUCTION)      # joined, NumPy would compare the fields: 30 µs
            self._sources = np.empty(2 * self.n_rows, np.int64)
            self._rows[:self.n_rows], self._sources[:self.n_rows] = rows, sources
            self.rows_at()
        self.sources_[self.n_rows] = self.source
        p = self.rows_ + self.n_rows
        self.n_rows += 1
        p.n = p.v = p.a = p.first = p.count = p.op = p.history = 0
        p.b = p.ia = p.ib = p.ra = p.rb = -1
        p.av = p.aa = p.ab = 1
        p.kind = kind
        return p

    cdef int64_t *entries(self, Py_ssize_t n) except NULL:
        """Room for n numbers of the pool; valid until the next ones."""
        if self.n_pool + n > len(self._pool):
            self._pool = np.concatenate([self._pool, np.empty(max(n, len(self._pool)), np.int64)])
            self.rows_at()
        self.n_pool += n
        return self.pool_ + self.n_pool - n

    def instruction(self, str kind, *, int64_t n=0, int64_t v=0, int64_t a=0, int64_t b=-1, int64_t ia=-1,
                    int64_t ib=-1, int64_t first=0, int64_t count=0, int op=0, int aa=1, int ab=1):
        """Write one instruction; the fields are those of INSTRUCTION."""
        cdef Instruction *p = self.row(KINDS.index(kind))
        p.n, p.v, p.a, p.b, p.ia, p.ib = n, v, a, b, ia, ib
        p.first, p.count, p.op, p.aa, p.ab = first, count, op, aa, ab

    def to_pool(self, numbers):
        """Append to the pool; returns where."""
        cdef const int64_t[::1] given = np.ascontiguousarray(numbers, np.int64)
        cdef int64_t *there = self.entries(given.shape[0])
        cdef Py_ssize_t i
        for i in range(given.shape[0]):
            there[i] = given[i]
        return self.n_pool - given.shape[0]

    cpdef Py_ssize_t repeated(self, Py_ssize_t slot, Py_ssize_t n) except -1:
        """Where a slot stands as often as a line of n elements reads it within a strip: it is repeated beforehand."""
        cdef Py_ssize_t source = self.source, there
        cdef Instruction *p
        key = slot, min(n, <Py_ssize_t>RUN_STRIP)
        found = self.filled.get(key)
        if found is not None:
            return found
        there = aligned(self.n_slots)
        self.n_slots = there + min(n, <Py_ssize_t>RUN_STRIP)
        self.source = -1
        p = self.row(K_FILL)
        self.source = source
        p.n, p.v, p.a = min(n, <Py_ssize_t>RUN_STRIP), there, slot
        self.filled[key] = there
        return there

    def lines(self, list steps, Py_ssize_t first, Cells cells, const int64_t[::1] place, const int64_t[::1] constant):
        """Write lines and sums that blocks are, from one step on as long as there are any; `source` is its number.

        Parameters
        ----------
        steps : list
        first : int
            Where to begin.
        cells, place
            By cell of the listing: the slot of the program that its first one goes to.
        constant
            By cell: where its constant stands STRIP times, or -1.

        Returns
        -------
        int
            The first step that is none.
        """
        cdef Py_ssize_t k = first, n, cell, base
        cdef Block block
        cdef View view, out
        cdef Instruction *p
        cdef int64_t *blocks
        cdef int64_t slots[2]
        cdef int64_t at, in_blocks
        cdef int on[2]
        cdef int which, kind
        cdef tuple turns
        while k < len(steps) and isinstance(steps[k], Block):
            block = <Block>steps[k]
            if block.kind == "line":
                kind = K_LINE
            elif block.kind == "sum":
                kind = K_SUM
            else:
                break
            self.source = k
            out = <View>block.writes[0]
            view = <View>block.reads[0]
            n = out.size if kind == K_LINE else view.size
            slots[0] = slots[1] = -1
            on[0], on[1] = 1, 0
            in_blocks = -1
            for which in range(len(block.reads)):
                view = <View>block.reads[which]
                cell = cells.at(view.base)
                base = place[cell] + view.base - cells.firsts[cell]
                if view.low == view.high and constant[cell] >= 0:
                    slots[which], on[which] = constant[cell], 0
                elif view.row:
                    slots[which], on[which] = base, 1
                elif view.low == view.high:
                    slots[which], on[which] = self.repeated(base, n), 0
                else:
                    turns = view.repeats()
                    if in_blocks < 0:
                        in_blocks = self.n_pool
                        blocks = self.entries(6)
                        blocks[0] = blocks[1] = blocks[2] = blocks[3] = blocks[4] = blocks[5] = 0
                    for at in range(3):
                        self.pool_[in_blocks + 3 * which + at] = turns[at]
                    slots[which], on[which] = base, 2
            p = self.row(kind)
            cell = cells.at(out.base)
            p.n, p.v = n, place[cell] + out.base - cells.firsts[cell]
            p.op = <int>block.op if kind == K_LINE else 0
            p.a, p.b, p.aa, p.ab = slots[0], slots[1], on[0], on[1]
            p.first = max(in_blocks, 0)
            k += 1
        return k
