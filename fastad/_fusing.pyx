"""Fusion: maps over one iteration space are executed together, strip by strip, and what they hand on stays in cache.

The level of an instruction is the earliest round in which it can run. A line may share the run of those whose results
it reads in a row, also from other elements on (``y[1:] - y[:-1]``): a run has a clock, element j of a line is computed
at the time j + lag, and the lag of a reader is such that what it reads is there. Everything else waits for the next
round.
"""
cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t
from numpy cimport PyArray_DATA, import_array, ndarray

from fastad._blocks cimport Cells, Slots
from fastad._instructions cimport (
    HANDED_ON, K_CALL, K_LINE, K_RUN, K_SCALARS, K_SUM, READS, RUN_STRIP, WRITES, Instruction, Scalar, Use, Uses,
    operand_reach,
)
from fastad._scalar cimport OP_add, OP_divide, OP_negative

import numpy as np

from ._instructions import INSTRUCTION, SCALAR, aligned

import_array()

cdef enum:
    MOST_PIECES = 8                   # an operand that more lines have written in parts is not looked at piece by piece


cdef inline bint in_run(const Instruction *q) noexcept nogil:
    """Whether an instruction can share a run with others."""
    return q.kind == K_LINE or q.kind == K_SUM


cdef inline bint arithmetic(int op) noexcept nogil:
    """Whether one loop does this and another of these, or a negation."""
    return OP_add <= op <= OP_divide


cdef inline Py_ssize_t root(int64_t[::1] parent, Py_ssize_t k) noexcept nogil:
    """The representative of a set."""
    while parent[k] != k:
        parent[k] = parent[parent[k]]
        k = parent[k]
    return k


@cython.final
cdef class Fusion:
    """What is executed when, and what stays in cache.

    Parameters
    ----------
    instructions, scalars, pool : arrays
        The tables, in an order in which operands are made before they are used. Lags of lines are entered.
    n_image, n_slots : int
        How many slots there are that hold constants, and in all.
    wanted : Slots
        Slots that are read when the program is done.

    Notes
    -----
    What is known of slots is known by atom: a stretch of slots that no instruction writes in parts.
    """
    cdef Instruction *rows
    cdef const Scalar *scalars
    cdef const int64_t *pool
    cdef Py_ssize_t n, n_image, n_slots
    cdef object tables                                # keeps the memory
    cdef Uses uses
    cdef Cells atoms
    cdef int32_t[::1] level_of                        # by atom
    cdef uint8_t[::1] outside         # by atom: whether others read it than lines that read it in a row
    cdef int32_t[::1] level           # by instruction, and so the following
    cdef int64_t[::1] run             # the set it is in
    cdef int64_t[::1] length          # of a run: when its last element is computed
    cdef int64_t[::1] writers, outs   # the lines in the order of their results, and where these begin
    cdef int64_t[::1] piece           # by operand: its first writer, as index of `writers`, and how many there are:
    cdef int32_t[::1] pieces          # 0 when it is not read in a row
    cdef int64_t[::1] group           # the lines that have a room together
    # Of a room: when slot 0 would be computed, how long before that a reader looks back, how many slots, where its
    # strip is (-1: not given).
    cdef int64_t[::1] time, history, extent, start
    cdef uint8_t[::1] unfit, is_read
    cdef int64_t[::1] handed          # by line: the next one, which takes its result from a register; -1

    def __init__(self, instructions, scalars, pool, Py_ssize_t n_image, Py_ssize_t n_slots, wanted):
        cdef Slots slots = wanted
        cdef Py_ssize_t k, j
        if instructions.dtype != INSTRUCTION or not instructions.flags.c_contiguous or not instructions.flags.writeable:
            raise TypeError("fusion: a table of instructions that can be written to is needed")
        self.tables = instructions, np.ascontiguousarray(scalars, SCALAR), np.ascontiguousarray(pool, np.int64)
        self.rows = <Instruction *>PyArray_DATA(<ndarray>instructions)
        self.scalars = <const Scalar *>PyArray_DATA(<ndarray>self.tables[1])
        self.pool = <const int64_t *>PyArray_DATA(<ndarray>self.tables[2])
        self.n, self.n_image, self.n_slots = len(instructions), n_image, n_slots
        self.uses = Uses()
        self._cut()
        self.level = np.zeros(self.n, np.int32)
        self.run, self.length = np.arange(self.n), np.zeros(self.n, np.int64)
        self.piece, self.pieces = np.zeros(2 * self.n, np.int64), np.zeros(2 * self.n, np.int32)
        lines = np.flatnonzero(instructions["kind"] == K_LINE)
        lines = lines[np.argsort(instructions["v"][lines], kind="stable")]
        self.writers, self.outs = lines, instructions["v"][lines]
        self.handed = np.full(self.n, -1)
        apart = {}                                    # the run of the lines of a level and length that read no other's
        for k in range(self.n):
            if in_run(self.rows + k):
                self._line(k, apart)
            else:
                self._single(k)
        for k in range(slots.n):
            for j in range(self.atoms.at(slots.firsts[k]), self.atoms.at(slots.firsts[k] + slots.counts[k] - 1) + 1):
                self.outside[j] = 1

    # ---- slots ----
    cdef int _cut(self) except -1:
        """Divide the slots into atoms."""
        cdef Py_ssize_t k, j
        cdef const Instruction *q
        cdef Use *use
        atoms = self.atoms = Cells(self.n_slots)
        for k in range(self.n):
            q = self.rows + k
            if q.kind == K_SCALARS:
                for j in range(q.first, q.first + q.n):
                    atoms.cut(self.scalars[j].v, self.scalars[j].v + 1)
                continue
            self.uses.find(q, self.pool)
            for j in range(self.uses.n):
                use = self.uses.items + j
                if use.mode == WRITES:
                    atoms.cut(use.low, use.high + 1)
        atoms.close()
        self.level_of, self.outside = np.zeros(atoms.count, np.int32), np.zeros(atoms.count, np.uint8)
        return 0

    cdef int32_t deepest(self, int64_t low, int64_t high) noexcept nogil:
        """The largest level among some slots."""
        cdef int32_t most = 0
        cdef Py_ssize_t k
        for k in range(self.atoms.at(low), self.atoms.at(high) + 1):
            if self.level_of[k] > most:
                most = self.level_of[k]
        return most

    cdef int32_t deepest_of(self, const int64_t *slots, int64_t n) noexcept nogil:
        """The same of an index list."""
        cdef int32_t most = 0
        cdef Py_ssize_t k
        for k in range(n):
            most = max(most, self.level_of[self.atoms.at(slots[k])])
        return most

    cdef void set_level(self, int64_t low, int64_t high, int32_t level) noexcept nogil:
        cdef Py_ssize_t k
        for k in range(self.atoms.at(low), self.atoms.at(high) + 1):
            self.level_of[k] = level

    cdef void note(self, int64_t low, int64_t high) noexcept nogil:
        """Somebody reads these slots otherwise than in a row."""
        cdef Py_ssize_t k
        for k in range(self.atoms.at(low), self.atoms.at(high) + 1):
            self.outside[k] = 1

    # ---- rounds ----
    cdef int _single(self, Py_ssize_t k) except -1:
        """An instruction of its own comes after whatever it reads, and after others that have written there before."""
        cdef const Instruction *q = self.rows + k
        cdef const Scalar *s
        cdef Use *use
        cdef int32_t at = 0
        cdef Py_ssize_t j, i
        if q.kind == K_SCALARS:
            for j in range(q.first, q.first + q.n):
                s = self.scalars + j
                at = max(at, self.level_of[self.atoms.at(s.a)] + 1, self.level_of[self.atoms.at(s.b)] + 1)
                self.outside[self.atoms.at(s.a)] = self.outside[self.atoms.at(s.b)] = 1
            for j in range(q.first, q.first + q.n):
                self.level_of[self.atoms.at(self.scalars[j].v)] = at
            self.level[k] = at
            return 0
        self.uses.find(q, self.pool)
        for j in range(self.uses.n):
            use = self.uses.items + j
            if use.slots is not NULL:
                at = max(at, self.deepest_of(use.slots, use.count) + 1)
                for i in range(use.count):
                    self.outside[self.atoms.at(use.slots[i])] = 1
            elif use.mode == READS:
                at = max(at, self.deepest(use.low, use.high) + 1)
                self.note(use.low, use.high)
            else:
                at = max(at, self.deepest(use.low, use.high))
        if q.kind == K_CALL and not q.op:             # what was before has guards that are looked at first
            for j in range(k):
                at = max(at, self.level[j] + 1)
        for j in range(self.uses.n):
            use = self.uses.items + j
            if use.mode == WRITES:
                self.set_level(use.low, use.high, at)
        self.level[k] = at
        return 0

    cdef Py_ssize_t first_from(self, int64_t slot) noexcept nogil:
        """How many lines have results that begin before a slot."""
        cdef Py_ssize_t low = 0, high = self.outs.shape[0], middle
        while low < high:
            middle = (low + high) // 2
            if self.outs[middle] < slot:
                low = middle + 1
            else:
                high = middle
        return low

    cdef int _line(self, Py_ssize_t k, dict apart) except -1:
        """A line shares the run of those whose results it reads, if it reads them in a row."""
        cdef Instruction *q = self.rows + k
        cdef int32_t floor = 0, top = -1
        cdef int64_t linked[2 * MOST_PIECES]          # writers, and which of their elements are read first
        cdef int64_t shifts[2 * MOST_PIECES]
        cdef int64_t base, end, at, first
        cdef Py_ssize_t n_linked = 0, i, p, begin, stop
        cdef int which, on
        cdef bint short = False, together
        for which in range(2):
            if (q.ib if which else q.ia) >= 0:
                at = q.ib if which else q.ia
                floor = max(floor, self.deepest_of(self.pool + at, q.n) + 1)
                for i in range(q.n):
                    self.outside[self.atoms.at(self.pool[at + i])] = 1
                continue
            base, on = (q.b, q.ab) if which else (q.a, q.aa)
            if base < 0:
                continue
            short |= on == 0 and base >= self.n_image and q.n < RUN_STRIP
            end = base + (1 if on == 0 else operand_reach(q, which, self.pool))
            begin = stop = 0
            if on == 1:
                begin, stop = self.first_from(base), self.first_from(end)
                if begin and self.outs[begin - 1] + self.rows[self.writers[begin - 1]].n > base:
                    begin -= 1
            together = 0 < stop - begin <= MOST_PIECES
            for i in range(begin, stop if together else begin):
                p = self.writers[i]                   # nobody has added to its result
                if self.deepest(self.rows[p].v, self.rows[p].v + self.rows[p].n - 1) > self.level[p]:
                    together = False
                    break
            if not together:
                floor = max(floor, self.deepest(base, end - 1) + 1)
                self.note(base, end - 1)
                continue
            self.piece[2 * k + which], self.pieces[2 * k + which] = begin, <int32_t>(stop - begin)
            at = base
            for i in range(begin, stop):
                p = self.writers[i]
                first = self.rows[p].v
                if first > at:
                    floor = max(floor, self.deepest(at, first - 1) + 1)
                at = first + self.rows[p].n
                linked[n_linked], shifts[n_linked] = p, base - first
                n_linked += 1
                top = max(top, self.level[p])
            if at < end:
                floor = max(floor, self.deepest(at, end - 1) + 1)
        self.level[k] = max(floor, top)
        if floor > top or not self._join(k, linked, shifts, n_linked, top, short):
            self.level[k] = max(floor, top + 1)
            q.count = 0
            key = (self.level[k], q.n)                # with the others of its level and length
            p = root(self.run, apart.setdefault(key, k))
            self.run[k] = p
            self.length[p] = max(self.length[p], q.n)
        self.set_level(q.v, q.v + (q.n if q.kind == K_LINE else 1) - 1, self.level[k])
        return 0

    cdef bint _join(self, Py_ssize_t k, const int64_t *linked, const int64_t *shifts, Py_ssize_t n_linked, int32_t top,
                    bint short):
        """Put a line into the run of those whose results it reads, unless that run gets longer by more than a strip.

        With a `short` operand, repeated for as many elements as it has, a line cannot begin within a strip.
        """
        cdef Instruction *q = self.rows + k
        cdef int64_t lag = 0, length = 0
        cdef Py_ssize_t i, r, run = -1
        for i in range(n_linked):
            if self.level[linked[i]] == top:
                lag = max(lag, self.rows[linked[i]].count + shifts[i])
                r = root(self.run, linked[i])
                length = max(length, self.length[r])
                run = r if run < 0 else min(run, r)
        if q.kind == K_SUM and lag + q.n > RUN_STRIP: # it adds up the same strips, whatever the lag
            lag = (lag + RUN_STRIP - 1) // RUN_STRIP * RUN_STRIP
        if lag + q.n > length + RUN_STRIP or (short and lag):
            return False
        for i in range(n_linked):
            if self.level[linked[i]] == top:
                self.run[root(self.run, linked[i])] = run
        self.run[k], q.count = run, lag
        self.length[run] = max(length, lag + q.n)
        return True

    # ---- rooms: what lines of one run write side by side, and only lines of that run read, has the room of a strip
    cdef int _find_rooms(self) except -1:
        cdef Py_ssize_t k, i, at, p
        cdef int which
        cdef const Instruction *q
        cdef int64_t base, back, end
        cdef bint covered
        self.group = np.arange(self.n)
        self.time, self.history, self.extent = np.zeros((3, self.n), np.int64)
        self.start = np.full(self.n, -1)
        self.unfit, self.is_read = np.zeros((2, self.n), np.uint8)
        for k in range(2 * self.n):
            for i in range(1, self.pieces[k]):
                p = root(self.group, self.writers[self.piece[k] + i])
                self.group[p] = root(self.group, self.writers[self.piece[k]])
        for k in range(self.n):
            q = self.rows + k
            if q.kind != K_LINE:
                continue
            at = root(self.group, k)
            if self.extent[at] == 0:
                self.time[at] = q.count - q.v
            self.extent[at] += q.n
            if self.time[at] != q.count - q.v or root(self.run, at) != root(self.run, k):
                self.unfit[at] = 1
            for i in range(self.atoms.at(q.v), self.atoms.at(q.v + q.n - 1) + 1):
                self.unfit[at] |= self.outside[i]
        for k in range(self.n):
            q = self.rows + k
            for which in range(2):
                if self.pieces[2 * k + which] == 0:
                    continue
                base, p = q.b if which else q.a, self.piece[2 * k + which]
                at = root(self.group, self.writers[p])
                self.is_read[at] = 1
                back = q.count - base - self.time[at]
                self.history[at] = max(self.history[at], back)
                covered, end = True, self.outs[p]
                for i in range(p, p + self.pieces[2 * k + which]):
                    covered = covered and self.outs[i] == end
                    end = self.outs[i] + self.rows[self.writers[i]].n
                if root(self.run, k) != root(self.run, at) or not covered or self.outs[p] > base or end < base + q.n \
                        or back > RUN_STRIP:
                    self.unfit[at] = 1
        return 0

    cdef Py_ssize_t room(self, Py_ssize_t k) noexcept:
        """The room that a line writes into; -1: it needs none of that kind."""
        cdef Py_ssize_t at = root(self.group, k)
        return at if self.is_read[at] and not self.unfit[at] and self.extent[at] > RUN_STRIP else -1

    cdef int _pair_up(self) except -1:
        """Find lines whose result one other reads, element by element, where one loop can do both."""
        readers, last = np.zeros(self.n, np.int32), np.full(self.n, -1)
        cdef int32_t[::1] readers_ = readers
        cdef int64_t[::1] last_ = last
        cdef uint8_t[::1] taken = np.zeros(self.n, np.uint8)
        cdef Py_ssize_t k, i, p
        cdef int which
        cdef const Instruction *q
        cdef bint fine
        for k in range(self.n):
            for which in range(2):
                for i in range(self.pieces[2 * k + which]):
                    p = self.writers[self.piece[2 * k + which] + i]
                    if last_[p] != k:
                        readers_[p] += 1
                        last_[p] = k
        for p in range(self.n):
            if (self.rows[p].kind != K_LINE or readers_[p] != 1 or taken[p] or not arithmetic(self.rows[p].op)
                    or self.room(p) < 0):
                continue
            k = last_[p]
            q = self.rows + k
            fine = (q.kind == K_LINE and not taken[k] and self.handed[k] < 0 and q.ia < 0 and q.ib < 0 and q.aa != 2
                    and (q.b < 0 or q.ab != 2) and (arithmetic(q.op) or q.op == OP_negative) and q.n == self.rows[p].n
                    and q.count == self.rows[p].count)
            for which in range(2):
                for i in range(self.pieces[2 * k + which]):
                    if self.writers[self.piece[2 * k + which] + i] == p:
                        fine = fine and (q.b if which else q.a) == self.rows[p].v
            if fine:
                self.handed[p] = k
                taken[k] = 1
        return 0

    cdef int _give_rooms(self, list order) except -1:
        """Give the rooms their slots; those without history are used again."""
        cdef Py_ssize_t at, k, room
        cdef int which
        last, free, ends = {}, [], {}                 # the last reader in the run gives the room back
        for at, k in enumerate(order):
            for which in range(2):
                if self.pieces[2 * k + which]:
                    room = self.room(self.writers[self.piece[2 * k + which]])
                    if room >= 0:
                        last[room] = at + (self.handed[k] >= 0)
        for at, k in enumerate(order):
            room = self.room(k) if self.rows[k].kind == K_LINE else -1
            if room >= 0 and self.start[room] < 0 and self.handed[k] < 0:
                if self.history[room]:                # has to last from strip to strip
                    self.start[room] = aligned(self.n_slots + self.history[room])
                    self.n_slots = self.start[room] + RUN_STRIP
                else:
                    if free:
                        self.start[room] = free.pop()
                    else:
                        self.start[room] = aligned(self.n_slots)
                        self.n_slots = self.start[room] + RUN_STRIP
                    ends.setdefault(last[room], []).append(self.start[room])
            free += ends.pop(at, ())
        return 0

    # ---- the result ----
    def planned(self):
        """What is to be executed.

        Returns
        -------
        instructions : array of INSTRUCTION
            With the headers of runs.
        order : array of int64
            Which of those given each is; -1: a header.
        n_slots : int
            With the strips.
        """
        cdef Py_ssize_t k, at, end, run, room, total = 0
        cdef int which
        cdef Instruction *q
        cdef bint rooms = False
        kinds = self.tables[0]["kind"]
        together = (kinds == K_LINE) | (kinds == K_SUM)
        runs = np.array([root(self.run, k) for k in range(self.n)], np.int64)
        order = np.lexsort((np.arange(self.n), runs, together, self.level)).tolist()
        for k in range(self.n):
            rooms |= self.rows[k].kind == K_LINE and self.rows[k].n > RUN_STRIP
        if rooms:
            self._find_rooms()
            self._pair_up()
            before = {self.handed[k]: k for k in range(self.n) if self.handed[k] >= 0}
            if before:
                order = [j for k in order if self.handed[k] < 0 for j in ([before[k], k] if k in before else [k])]
            self._give_rooms(order)
        out, sources = np.empty(2 * self.n, INSTRUCTION), np.full(2 * self.n, -1)
        cdef Instruction *p = <Instruction *>PyArray_DATA(<ndarray>out)
        cdef int64_t[::1] sources_ = sources
        at = 0
        while at < self.n:
            k = order[at]
            if not in_run(self.rows + k):
                p[total], sources_[total] = self.rows[k], k
                total += 1
                at += 1
                continue
            run, end = root(self.run, k), at
            p[total] = self.rows[k]
            q = p + total
            q.kind, q.n, q.v, q.a, q.first, q.op = K_RUN, 0, 0, 0, 0, 0
            q.b = q.ia = q.ib = -1
            q.av = q.aa = q.ab = 1
            total += 1
            while end < self.n and in_run(self.rows + <Py_ssize_t>order[end]) and root(self.run, order[end]) == run:
                k = order[end]
                q.n = max(q.n, self.rows[k].count + self.rows[k].n)
                p[total], sources_[total] = self.rows[k], k
                if rooms:
                    self._place_line(k, p + total)
                total += 1
                end += 1
            q.count = end - at
            at = end
        return out[:total], sources[:total], self.n_slots

    cdef int _place_line(self, Py_ssize_t k, Instruction *p) except -1:
        """Let a line read and write strips where it can."""
        cdef Py_ssize_t room, writer
        cdef int64_t slot
        cdef int which, on
        room = self.room(k) if p.kind == K_LINE else -1
        if self.handed[k] >= 0:
            p.v, p.av = 0, HANDED_ON
        elif room >= 0:
            p.v, p.av, p.history = self.start[room], 0, <int32_t>self.history[room]
            self.history[room] = 0                    # the first line that writes there moves it
        for which in range(2):
            if self.pieces[2 * k + which] == 0:
                continue
            writer = self.writers[self.piece[2 * k + which]]
            room = self.room(writer)
            if room < 0:
                continue
            slot, on = self.start[room] - (p.count - (p.b if which else p.a) - self.time[room]), 0
            if self.handed[writer] == k:
                slot, on = 0, HANDED_ON
            if which:
                p.b, p.ab = slot, on
            else:
                p.a, p.aa = slot, on
        return 0
