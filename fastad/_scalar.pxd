"""Contents of `_scalar.h`: the rows of the op table, their opcodes, and the loops over scalars stamped from them."""
from libc.stdint cimport int64_t

cdef extern from "_scalar.h":
    ctypedef struct fa_row:
        const char *name
        unsigned char arity, differentiable, selective, needs_scipy
    const fa_row fa_rows[]
    void *fa_loops                    # loops of NumPy and SciPy, each module has to be told where: `loop_table()`
    bint is_nothing(double g) noexcept nogil
    double box_distance(int64_t distance) noexcept nogil
    int64_t boxed_distance(double d) noexcept nogil
    bint FA_LIKELY(bint c) noexcept nogil
    bint FA_UNLIKELY(bint c) noexcept nogil
    void scalar_inline(int op, double x, double y, double *v, double *dx, double *dy) noexcept nogil
    void scalar_eval(int op, double x, double y, double *v, double *dx, double *dy) noexcept nogil
    cdef enum:
        OP_WIDE, OP_COUNT, OP_add, OP_subtract, OP_multiply, OP_divide, OP_power, OP_float_power, OP_remainder
        OP_floor_divide, OP_negative, OP_positive, OP_absolute, OP_reciprocal, OP_square, OP_trunc, OP_floor, OP_ceil
        OP_rint, OP_less, OP_less_equal, OP_greater, OP_greater_equal, OP_equal, OP_not_equal, OP_logical_and
        OP_logical_or, OP_logical_not, OP_keep, OP_drop, OP_stop, OP_absent, OP_flow
