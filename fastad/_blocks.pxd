"""Contents of _blocks.pyx: what the passes over array operations know of slots."""
cimport cython
from libc.stdint cimport int64_t, uint64_t


cdef inline Py_ssize_t ones(uint64_t x) noexcept nogil:
    """How many bits are set."""
    x = x - ((x >> 1) & <uint64_t>0x5555555555555555)
    x = (x & <uint64_t>0x3333333333333333) + ((x >> 2) & <uint64_t>0x3333333333333333)
    x = (x + (x >> 4)) & <uint64_t>0x0f0f0f0f0f0f0f0f
    return <Py_ssize_t>((x * <uint64_t>0x0101010101010101) >> 56)


@cython.final
cdef class Cells:
    cdef readonly Py_ssize_t n, count                 # slots and cells
    cdef uint64_t *bits                               # by slot: whether a cell begins there
    cdef int64_t *before                              # by 64 slots: how many cells begin before them
    cdef readonly object first                        # by cell: its first slot; the end of all behind
    cdef int64_t *firsts

    cdef int cut_view(self, View view) except -1
    cdef inline Py_ssize_t at(self, Py_ssize_t slot) noexcept nogil:
        """The cell that a slot is in."""
        return self.before[slot >> 6] + ones(self.bits[slot >> 6] & ((<uint64_t>2 << (slot & 63)) - 1)) - 1

    cdef inline void begin(self, Py_ssize_t slot) noexcept nogil:
        self.bits[slot >> 6] |= <uint64_t>1 << (slot & 63)


@cython.final
cdef class Moves:
    cdef readonly object first, shift                 # slots from first[k] on move by shift[k], up to the next of these
    cdef const int64_t[::1] firsts, shifts

    cdef inline Py_ssize_t at(self, int64_t slot) noexcept nogil:
        """The stretch that a slot is in."""
        cdef Py_ssize_t low = 0, high = self.firsts.shape[0], middle
        while high - low > 1:                         # the last stretch that begins at the slot or before it
            middle = (low + high) // 2
            if self.firsts[middle] <= slot:
                low = middle
            else:
                high = middle
        return low

    cdef inline int64_t of(self, int64_t slot) noexcept nogil:
        """Where a slot goes."""
        return slot + self.shifts[self.at(slot)]


@cython.final
cdef class Slots:
    cdef int64_t[::1] firsts, counts                  # of each stretch the first slot, and how many there are
    cdef readonly Py_ssize_t n, size                  # stretches and slots

    cdef int make_room(self, Py_ssize_t n) except -1

    cdef inline void put(self, int64_t first, int64_t count) noexcept:
        """Some slots more; there is room."""
        if self.n and self.firsts[self.n - 1] + self.counts[self.n - 1] == first:
            self.counts[self.n - 1] += count
        else:
            self.firsts[self.n], self.counts[self.n] = first, count
            self.n += 1
        self.size += count


@cython.final
@cython.no_gc
cdef class View:
    cdef readonly Py_ssize_t base, size, low, high    # low and high: the first and the last slot that are touched
    cdef readonly bint row                            # the elements lie in a row
    cdef readonly bint covers                         # no slot between low and high is left out
    cdef readonly int ndim
    cdef Py_ssize_t step                              # of a view with one axis
    cdef tuple dims, steps                            # of one with several or none
    cdef object listed

    cdef View at(self, Py_ssize_t base)


@cython.final
cdef class Block:
    cdef public str kind
    cdef public Py_ssize_t time, op, depth
    cdef public list reads, writes
    cdef public object index, rule
    cdef public bint live


cdef View one_axis(Py_ssize_t base, Py_ssize_t n, Py_ssize_t step)
cdef Block map_block(Py_ssize_t time, list reads, list writes, Py_ssize_t op)


cdef inline bint alike(View x, View y) except -1:
    """Whether two views have one shape and the same strides."""
    if x.ndim != y.ndim or x.size != y.size:
        return False
    return x.step == y.step if x.ndim == 1 else x.dims == y.dims and x.steps == y.steps
