"""Array operations as the passes see them: blocks, the views they read and write, and cells.

A *cell* is a stretch of slots that no operation writes in parts. What the passes know of slots (whether they are
constant, alive, how deep they are, where they go) they know by cell, so that their work grows with the operations, not
with elements.
"""
cimport cython
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free
from numpy cimport NPY_INT64, PyArray_DATA, PyArray_IS_C_CONTIGUOUS, PyArray_SIZE, PyArray_TYPE, import_array, ndarray

import numpy as np

import_array()


@cython.final
cdef class Cells:
    """The cells of a listing: cut where something begins or ends, then closed.

    Parameters
    ----------
    n : int
        How many slots there are; slot 0 is a cell.

    Attributes
    ----------
    first : array of int64
        By cell its first slot; the number of slots behind.

    Examples
    --------
    >>> import numpy as np
    >>> cells = Cells(10)
    >>> cells.cut(2, 5)
    >>> cells.cut_each(np.array([7]))
    >>> cells.close()
    >>> cells.first
    array([ 0,  1,  2,  5,  7,  8, 10])
    >>> cells.of(np.array([0, 4, 9]))
    array([0, 2, 5])
    """

    def __cinit__(self, Py_ssize_t n):
        self.n = n
        self.bits = <uint64_t *>calloc(n // 64 + 1, sizeof(uint64_t))
        self.before = <int64_t *>calloc(n // 64 + 1, sizeof(int64_t))
        if self.bits is NULL or self.before is NULL:
            raise MemoryError()
        self.begin(0)
        self.begin(min(1, n))

    def __dealloc__(self):
        free(self.bits)
        free(self.before)

    def cut(self, Py_ssize_t first, Py_ssize_t last):
        """Let cells begin at two slots."""
        if not 0 <= first <= last <= self.n:
            raise IndexError(f"cells: slots {first} to {last} of {self.n}")
        self.begin(first)
        self.begin(last)

    def cut_each(self, const int64_t[::1] slots):
        """Let each of the slots be a cell."""
        cdef Py_ssize_t i
        for i in range(slots.shape[0]):
            if not 0 <= slots[i] < self.n:
                raise IndexError(f"cells: slot {slots[i]} of {self.n}")
            self.begin(slots[i])
            self.begin(slots[i] + 1)

    def cut_stretches(self, const int64_t[::1] first, const int64_t[::1] last):
        """Let cells begin at the first slots of stretches and behind their last ones."""
        cdef Py_ssize_t i
        for i in range(first.shape[0]):
            self.cut(first[i], last[i])

    def cut_runs(self, const int64_t[::1] slots):
        """Let cells begin and end where those slots that follow one another do."""
        cdef Py_ssize_t i, n = slots.shape[0]
        for i in range(n):
            if not 0 <= slots[i] < self.n:
                raise IndexError(f"cells: slot {slots[i]} of {self.n}")
            if i == 0 or slots[i] != slots[i - 1] + 1:
                self.begin(slots[i])
            if i == n - 1 or slots[i + 1] != slots[i] + 1:
                self.begin(slots[i] + 1)

    cdef int cut_view(self, View view) except -1:
        if view.size == 0:
            return 0
        if view.low < 0 or view.high >= self.n:
            raise IndexError(f"cells: slots {view.low} to {view.high} of {self.n}")
        if view.covers:
            self.begin(view.low)
            self.begin(view.high + 1)
        else:
            self.cut_each(view.slots())
        return 0

    def cut_views(self, views):
        """Let cells begin and end where what these views touch does."""
        for z in views:
            self.cut_view(<View?>z)

    def cut_writes(self, list blocks, bint singly=False):
        """The same of the results of blocks; `singly`: and each slot that blocks read alone is a cell."""
        cdef View view
        for block in blocks:
            for z in (<Block?>block).writes:
                self.cut_view(<View?>z)
            if singly:
                for z in (<Block>block).reads:
                    view = <View?>z
                    if view.low == view.high:
                        self.cut_view(view)

    def close(self):
        """Count the cells; nothing is cut afterwards."""
        cdef Py_ssize_t w, k = 0
        cdef uint64_t left, lowest
        for w in range(self.n // 64 + 1):
            self.before[w] = k
            k += ones(self.bits[w])
        self.first = np.empty(k + 1, np.int64)
        self.firsts = <int64_t *>PyArray_DATA(<ndarray>self.first)
        k = 0
        for w in range(self.n // 64 + 1):
            left = self.bits[w]
            while left:
                lowest = left & (~left + 1)
                self.firsts[k] = 64 * w + ones(lowest - 1)
                k += 1
                left ^= lowest
        if self.firsts[k - 1] == self.n:              # the end was cut, too
            k -= 1
        self.firsts[k] = self.n
        self.count = k
        self.first = self.first[:k + 1]

    def of(self, const int64_t[::1] slots):
        """The cell of each slot."""
        out = np.empty(slots.shape[0], np.int64)
        cdef int64_t[::1] out_ = out
        cdef Py_ssize_t i
        for i in range(slots.shape[0]):
            out_[i] = self.at(slots[i])
        return out

    def cell(self, Py_ssize_t slot):
        """The cell of one slot."""
        return self.at(slot)

    def moved(self, const int64_t[::1] slots, const int64_t[::1] places):
        """Where slots go that keep their distance to the first of their cell, which goes to `places`."""
        out = np.empty(slots.shape[0], np.int64)
        cdef int64_t[::1] out_ = out
        cdef Py_ssize_t i, k
        for i in range(slots.shape[0]):
            k = self.at(slots[i])
            out_[i] = places[k] + slots[i] - self.firsts[k]
        return out

    def among(self, Slots slots):
        """The cells that slots are in, for each stretch of them those from its first to its last."""
        cdef Py_ssize_t i, k, n = 0
        for i in range(slots.n):
            n += self.at(slots.firsts[i] + slots.counts[i] - 1) - self.at(slots.firsts[i]) + 1
        out = np.empty(n, np.int64)
        cdef int64_t[::1] out_ = out
        n = 0
        for i in range(slots.n):
            for k in range(self.at(slots.firsts[i]), self.at(slots.firsts[i] + slots.counts[i] - 1) + 1):
                out_[n] = k
                n += 1
        return out

    def moved_slots(self, Slots slots, const int64_t[::1] places):
        """What `moved` says, of stretches."""
        cdef const int64_t[::1] cells = self.among(slots)
        cdef Slots out = Slots.__new__(Slots)
        cdef Py_ssize_t i, j = 0, slot, end, stop
        out.make_room(cells.shape[0])
        for i in range(slots.n):
            slot, end = slots.firsts[i], slots.firsts[i] + slots.counts[i]
            while slot < end:
                stop = min(end, self.firsts[cells[j] + 1])
                out.put(places[cells[j]] + slot - self.firsts[cells[j]], stop - slot)
                slot = stop
                j += 1
        return out

    def moved_slot(self, Py_ssize_t slot, ndarray places):
        """The same of one slot."""
        cdef Py_ssize_t k = self.at(slot)
        if (PyArray_TYPE(places) != NPY_INT64 or PyArray_SIZE(places) != self.count
                or not PyArray_IS_C_CONTIGUOUS(places)):
            raise TypeError("cells: an array of int64 with an entry for each cell is needed")
        return (<const int64_t *>PyArray_DATA(places))[k] + slot - self.firsts[k]


@cython.final
cdef class Moves:
    """Where slots go.

    Parameters
    ----------
    first, shift : arrays of int64
        Slots from ``first[k]`` on move by ``shift[k]``, up to the next of these stretches; what is before all stays.

    Examples
    --------
    >>> moves = Moves(np.array([4, 6]), np.array([10, 0]))
    >>> moves(np.arange(2, 8))
    array([ 2,  3, 14, 15,  6,  7])
    >>> moves.views([View(4, (2,), (1,))])[0].base
    14
    """

    def __init__(self, first, shift):
        self.first, self.shift = np.append(0, first), np.append(0, shift)
        if len(self.first) != len(self.shift):
            raise ValueError(f"moves: {len(first)} stretches and {len(shift)} shifts do not belong together")
        self.firsts, self.shifts = self.first, self.shift

    def __call__(self, const int64_t[::1] slots):
        """Where these slots go."""
        cdef Py_ssize_t k
        out = np.empty(slots.shape[0], np.int64)
        cdef int64_t[::1] out_ = out
        for k in range(slots.shape[0]):
            out_[k] = self.of(slots[k])
        return out

    def slots(self, Slots slots):
        """Where slots go, given and told by stretches."""
        cdef Slots out = Slots.__new__(Slots)
        cdef Py_ssize_t i, k, slot, end, stop, n = 0
        for i in range(slots.n):
            n += self.at(slots.firsts[i] + slots.counts[i] - 1) - self.at(slots.firsts[i]) + 1
        out.make_room(n)
        for i in range(slots.n):
            slot, end = slots.firsts[i], slots.firsts[i] + slots.counts[i]
            while slot < end:
                k = self.at(slot)
                stop = end if k + 1 == self.firsts.shape[0] else min(end, self.firsts[k + 1])
                out.put(slot + self.shifts[k], stop - slot)
                slot = stop
        return out

    def views(self, list views):
        """Views of what these look at, where it goes; each looks at slots that stay together."""
        cdef Py_ssize_t k, there
        cdef View view
        cdef list out = views
        for k in range(len(views)):
            view = <View>views[k]
            there = self.of(view.base) if view.size else view.base
            if there != view.base:
                if out is views:
                    out = list(views)
                out[k] = view.at(there)
        return out


@cython.final
cdef class Slots:
    """Slots in some order, as stretches of those that follow one another.

    Examples
    --------
    >>> slots = Slots.of(np.array([4, 5, 6, 2, 3]))
    >>> len(slots), slots.first, slots.count
    (5, array([4, 2]), array([3, 2]))
    >>> slots.listed(), Slots.row(7, 3).listed()
    (array([4, 5, 6, 2, 3]), array([7, 8, 9]))
    """

    @staticmethod
    def of(const int64_t[::1] slots):
        """These slots."""
        cdef Slots out = Slots.__new__(Slots)
        cdef Py_ssize_t k, n = slots.shape[0] > 0
        for k in range(1, slots.shape[0]):
            n += slots[k] != slots[k - 1] + 1
        out.make_room(n)
        for k in range(slots.shape[0]):
            out.put(slots[k], 1)
        return out

    @staticmethod
    def row(Py_ssize_t first, Py_ssize_t count):
        """Slots that follow one another."""
        cdef Slots out = Slots.__new__(Slots)
        out.make_room(1)
        if count:
            out.put(first, count)
        return out

    @staticmethod
    def chained(list those):
        """The slots of several, one behind the other."""
        cdef Slots out = Slots.__new__(Slots), slots
        cdef Py_ssize_t k, n = 0
        for z in those:
            n += (<Slots?>z).n
        out.make_room(n)
        for z in those:
            slots = <Slots>z
            for k in range(slots.n):
                out.put(slots.firsts[k], slots.counts[k])
        return out

    cdef int make_room(self, Py_ssize_t n) except -1:
        """Room for so many stretches."""
        self.firsts, self.counts = np.empty(n, np.int64), np.empty(n, np.int64)
        return 0

    @property
    def first(self):
        """The first slot of each stretch."""
        return np.asarray(self.firsts)[:self.n]

    @property
    def count(self):
        """How many slots each stretch has."""
        return np.asarray(self.counts)[:self.n]

    def __len__(self):
        return self.size

    def listed(self):
        """Each slot."""
        cdef Py_ssize_t k, i, n = 0
        if self.n == 1:
            return np.arange(self.firsts[0], self.firsts[0] + self.counts[0])
        out = np.empty(self.size, np.int64)
        cdef int64_t[::1] out_ = out
        for k in range(self.n):
            for i in range(self.counts[k]):
                out_[n] = self.firsts[k] + i
                n += 1
        return out


@cython.final
cdef class View:
    """Slots from `base` on, as an array of a shape with strides; immutable.

    Examples
    --------
    >>> view = View(10, (2, 3), (1, 2))
    >>> view.slots(), view.bounds, view.row, view.covers
    (array([10, 12, 14, 11, 13, 15]), (10, 15), False, True)
    """

    def __init__(self, Py_ssize_t base, tuple shape, tuple strides):
        cdef Py_ssize_t d, n, s, k, size = 1, nd = len(shape), low = base, high = base
        if len(strides) != nd:
            raise ValueError(f"view: {nd} axes, {len(strides)} strides")
        self.base, self.ndim = base, <int>nd
        self.row = True
        for d in range(nd - 1, -1, -1):
            n, s = shape[d], strides[d]
            if n != 1 and s != size:
                self.row = False
            size *= n
            if s > 0:
                high += s * (n - 1)
            else:
                low += s * (n - 1)
        self.size = size
        self.low, self.high = (low, high) if size else (base, base - 1)
        self.covers = self.row or size == 0 or low == high
        if nd == 1:
            self.step = strides[0]
            self.covers = self.covers or self.step == -1
            return
        self.dims, self.steps = shape, strides
        if self.covers:
            return
        axes = sorted([(abs(s), n) for n, s in zip(shape, strides) if n > 1])
        k = 0                                         # how far it reaches without a gap
        for s, n in axes:
            if s > k + 1:
                return
            k += s * (n - 1)
        self.covers = True

    cdef View at(self, Py_ssize_t base):
        """The same from another slot on."""
        cdef View view = View.__new__(View)
        view.base, view.size = base, self.size
        view.low, view.high = self.low + base - self.base, self.high + base - self.base
        view.row, view.covers, view.ndim, view.step = self.row, self.covers, self.ndim, self.step
        view.dims, view.steps = self.dims, self.steps
        return view

    @property
    def shape(self):
        """Lengths of the axes."""
        return (self.size,) if self.ndim == 1 else self.dims

    @property
    def strides(self):
        """How many slots it is from one element to the next along each axis."""
        return (self.step,) if self.ndim == 1 else self.steps

    def __len__(self):
        return self.size

    @property
    def bounds(self):
        """First and last slot that are touched; the view is not empty."""
        return self.low, self.high

    @property
    def around(self):
        """All slots between the first and the last."""
        return slice(self.low, self.high + 1)

    @property
    def touched(self):
        """What selects the slots that are touched in an array by slot, a slice where that will do."""
        return self.around if self.covers else self.slots()

    @cython.wraparound(True)
    def repeats(self):
        """How its elements, in C order, repeat: `count` blocks of `width` slots, each until it has filled `span`.

        Returns
        -------
        tuple of int or None
            (width, span, count); empty where nothing repeats: all elements are one slot, or lie in a row. None when
            its slots are in another order.

        Examples
        --------
        >>> View(10, (2, 3), (1, 0)).repeats(), View(10, (2, 3), (0, 1)).repeats(), View(10, (2, 3), (1, 2)).repeats()
        ((1, 3, 2), (3, 6, 1), None)
        """
        cdef Py_ssize_t width, span, count
        axes = []                                     # (length, stride), those that go on like one are merged
        for n, s in zip(self.shape, self.strides):
            if axes and axes[-1][1] == n * s:
                n *= axes.pop()[0]
            axes.append((n, s))
        if not axes or (len(axes) == 1 and axes[0][1] in (0, 1)):
            return ()
        width = axes.pop()[0] if axes[-1][1] == 1 else 1
        if axes[-1][1] != 0:
            return None
        span = width * <Py_ssize_t>axes.pop()[0]
        count = axes.pop()[0] if axes and axes[-1][1] == width else 1
        return (width, span, count) if not axes or (len(axes) == 1 and axes[0][1] == 0) else None

    def slots(self):
        """The slot of each element, in C order; not to be written to."""
        if self.listed is None:
            if self.row:
                self.listed = np.arange(self.base, self.base + self.size)
            else:
                out = np.full((1,) * len(self.shape), self.base, np.int64)
                for d, (n, s) in enumerate(zip(self.shape, self.strides)):
                    out = out + (np.arange(n, dtype=np.int64) * s).reshape((n,) + (1,) * (len(self.shape) - 1 - d))
                self.listed = np.ascontiguousarray(np.broadcast_to(out, self.shape).reshape(-1))
        return self.listed


@cython.final
cdef class Block:
    """An operation on arrays.

    ``kind`` is map, add (a map that adds to its result), fill, matmul, gather, chain or call, at the end also line or
    sum; ``reads`` are the operands, ``writes`` the results; ``index`` the slots that a gather collects, or the terms of
    a chain, term by term.
    """

    def __init__(self, str kind, Py_ssize_t time, list reads, list writes, Py_ssize_t op=0, index=None, rule=None):
        self.kind, self.time, self.reads, self.writes = kind, time, reads, writes
        self.op, self.index, self.rule = op, index, rule
        self.live = True


cdef View one_axis(Py_ssize_t base, Py_ssize_t n, Py_ssize_t step):
    """A view along one axis that is not empty."""
    cdef View view = View.__new__(View)
    view.base, view.size, view.ndim, view.step = base, n, 1, step
    view.low, view.high = min(base, base + step * (n - 1)), max(base, base + step * (n - 1))
    view.row = n == 1 or step == 1
    view.covers = view.row or step == 0 or step == -1
    return view


cdef Block map_block(Py_ssize_t time, list reads, list writes, Py_ssize_t op):
    """A map."""
    cdef Block block = Block.__new__(Block)
    block.kind, block.time, block.reads, block.writes, block.op = "map", time, reads, writes, op
    block.live = True
    return block


def distinct(numbers):
    """The different ones among integers, in order. (``np.unique`` would import ``numpy.ma`` for that, in 10 ms.)

    Examples
    --------
    >>> distinct(np.array([3, 1, 3, 2, 1]))
    array([1, 2, 3])
    """
    rising = np.sort(numbers)
    new = np.ones(len(rising), bool)
    new[1:] = np.diff(rising) != 0
    return rising[new]
