"""Contents of _instructions.pyx: the instructions of programs, and what each reads and writes."""
cimport cython
from libc.stdint cimport int32_t, int64_t

cdef extern from "_instruction.h" nogil:
    ctypedef struct Instruction "fa_instruction":
        int64_t n, v, a, b, ia, ib, first, count
        int32_t kind, op, av, aa, ab, ra, rb, history
    cdef enum:
        K_SCALARS, K_RUN, K_LINE, K_MAP, K_ADD, K_FILL, K_CHAIN, K_MATMUL, K_GATHER, K_CALL, K_COPY, K_SUM
        HANDED_ON, RUN_STRIP
    const int64_t MOST "FA_MOST"
    const int64_t BEYOND "FA_BEYOND"

ctypedef struct Scalar:
    int32_t op, v, a, b

cdef enum:
    CACHE_LINE = 8                    # slots

cdef enum Mode:
    READS
    WRITES
    SHARES                            # a strip, which lines of a run share


ctypedef struct Use:
    int64_t low, high                 # the first and the last slot
    const int64_t *slots              # or those that an index list names; NULL
    int64_t count                     # how many it names
    int mode


cdef inline int64_t times(int64_t x, int64_t y) noexcept nogil:
    """The product of numbers from a table, or one that is beyond all slots."""
    cdef double z = <double>x * <double>y
    return x * y if -BEYOND < z < BEYOND else (BEYOND if z > 0 else -BEYOND)


cpdef Py_ssize_t aligned(Py_ssize_t slot) noexcept
cdef void view_bounds(const int64_t *layout, int which, int64_t slot, int64_t *low, int64_t *high) noexcept nogil
cdef void matrix_bounds(const int64_t *layout, int which, int64_t slot, int64_t *low, int64_t *high) noexcept nogil
cdef int64_t operand_reach(const Instruction *q, int which, const int64_t *pool) noexcept nogil


@cython.final
cdef class Uses:
    """What one instruction reads and writes."""
    cdef Use *items
    cdef Py_ssize_t n, room

    cdef int add(self, int mode, int64_t low, int64_t count) except -1
    cdef int listed(self, const int64_t *slots, int64_t count) except -1
    cdef int find(self, const Instruction *p, const int64_t *pool) except -1


@cython.final
cdef class Tables:
    """The tables of a program while it is written."""
    cdef object _rows, _sources, _pool
    cdef Instruction *rows_
    cdef int64_t *pool_
    cdef int64_t *sources_
    cdef readonly Py_ssize_t n_rows, n_pool
    cdef public Py_ssize_t n_slots    # of the program, up to now
    cdef public Py_ssize_t source     # what the next instructions compute, a number of the caller's; -1: nothing of its
    cdef dict filled                  # (slot, length) -> where a fill repeats it

    cdef void rows_at(self)
    cdef Instruction *row(self, int kind) except NULL
    cdef int64_t *entries(self, Py_ssize_t n) except NULL
    cpdef Py_ssize_t repeated(self, Py_ssize_t slot, Py_ssize_t n) except -1
