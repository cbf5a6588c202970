# Columns of a tape: memory that realloc lets grow where it stands (part of _tape.pyx).
#
# The kernel moves pages instead of bytes when a large block grows, and memory that was not touched costs nothing.

cdef struct Room:
    void *first
    Py_ssize_t n

cdef extern from *:
    """
    /* Sends the view of a column to where the column stands now: to take a new view could fail. */
    #define fa_follow(column, room) \
        ((column).memview->view.buf = (column).data = (char *)(room).first, (column).shape[0] = (room).n)
    """
    void fa_follow(...) noexcept


cdef enum:
    SPARE = 1 << 26                   # bytes; malloc keeps no block of that size when it is freed

#: FASTAD_TIGHT=1 in the environment: columns begin tiny and never grow further than they must, so that the tape is
#: collected at nearly every operation. For tests.
cdef bint TIGHT = os.environ.get("FASTAD_TIGHT", "0") not in ("", "0")
cdef Py_ssize_t FIRST_SLOTS = 1 << (4 if TIGHT else 15)
cdef Py_ssize_t FIRST_RECORDS = 1 << (3 if TIGHT else 14)
cdef Py_ssize_t FIRST_WIDE = 1 << (1 if TIGHT else 8)
cdef Py_ssize_t FIRST_POOL = 1 << (4 if TIGHT else 12)

WIDE_TYPE = np.dtype([(name, np.int64) for name in ("out", "size", "dst", "a", "b", "n", "sv", "sx", "sy", "layout")]
                     + [("extra", np.int32)] + [(name, np.uint8) for name in ("kind", "op", "flags", "unused")])


def wide_records(Tape tape not None):
    """A copy of the wide records of a tape; to read their type off the buffer would take 0.25 ms."""
    return np.frombuffer(tape.wide, WIDE_TYPE)[:tape.n_wide].copy()


@cython.final
cdef class Column:
    """The memory of a column, which moves; the tape's view follows. Others that look at it keep it from moving."""
    cdef Room room
    cdef Py_ssize_t itemsize, exports
    cdef bytes format

    def __dealloc__(self):
        PyMem_RawFree(self.room.first)

    cdef int resize(self, Py_ssize_t n) except -1:
        """Change the capacity and keep the entries, which may move; an exception leaves all as it was."""
        cdef void *moved
        if self.exports > 1:
            raise BufferError("fastad: a column of the tape cannot be resized while it is looked at")
        if n > PY_SSIZE_T_MAX // self.itemsize:
            raise MemoryError("fastad: the tape is larger than memory can address")
        moved = PyMem_RawRealloc(self.room.first, n * self.itemsize)
        if moved is NULL:
            raise MemoryError(f"fastad: no memory for a column of {n * self.itemsize} bytes")
        self.room.first, self.room.n = moved, n
        return 0

    def __getbuffer__(self, Py_buffer *b, int flags):
        b.format, b.internal = self.format, NULL
        b.buf, b.obj = self.room.first, self
        b.len, b.itemsize, b.readonly = self.room.n * self.itemsize, self.itemsize, False
        b.ndim, b.shape, b.strides, b.suboffsets = 1, &self.room.n, &self.itemsize, NULL
        self.exports += 1

    def __releasebuffer__(self, Py_buffer *b):
        self.exports -= 1


cdef Column new_column(dtype, Py_ssize_t n):
    """A column of n undefined entries."""
    cdef Column self = Column.__new__(Column)
    self.itemsize = dtype.itemsize
    self.format = memoryview(np.empty(0, dtype)).format.encode()
    self.resize(n)
    return self


cdef Py_ssize_t larger(Py_ssize_t have, Py_ssize_t need) noexcept:
    """The capacity to grow to: half as much again for large columns, twice for small ones."""
    cdef Py_ssize_t grown = have * 2 if have < (1 << 24) else have + have // 2
    return grown if grown > need and not TIGHT else need


cdef int grow(Column column, Py_ssize_t n) except -1:
    """Make a column larger, if that leaves as much again: for the adjoints, and for who handles a MemoryError."""
    cdef Py_ssize_t twice = 2 * n - column.room.n
    cdef void *spare
    if n * column.itemsize >= SPARE:
        spare = PyMem_RawMalloc(twice * column.itemsize)
        if spare is NULL:
            raise MemoryError(f"fastad: no memory for a column of {n * column.itemsize} bytes and its mirror")
        PyMem_RawFree(spare)
    column.resize(n)
    return 0


cdef Room resized(Column column, Py_ssize_t n) except *:
    """Change the capacity of a column; its view has to follow."""
    column.resize(n)
    return column.room


cdef Room grown(Column column, Py_ssize_t need, Py_ssize_t share) except *:
    """Make a column larger when `need` entries fill more than one part in `share` of it; its view has to follow.

    Where memory is short, just as large as needed.
    """
    cdef Py_ssize_t have = column.room.n
    if need > have or (need * share > have and not TIGHT):
        try:
            grow(column, larger(have, need))
        except MemoryError:
            if need > have:
                grow(column, need)
    return column.room
