# What arguments are: shapes, kinds, arrays that have not changed (part of _program.pyx).

cdef inline bint same_shape(ndarray x, tuple dims) noexcept:
    """Whether an array has a shape."""
    cdef Py_ssize_t d
    if PyArray_NDIM(x) != len(dims):
        return False
    for d in range(len(dims)):
        if PyArray_DIM(x, <int>d) != <Py_ssize_t>dims[d]:
            return False
    return True


cdef bint unchanged(array, copy) except -1:
    """Whether a frozen array is what it was."""
    return np.array_equal(array, copy, equal_nan=copy.dtype.kind == "f")


cdef inline bint plain_numbers(tuple args, list whole) noexcept:
    """Whether all arguments are floats and float64 arrays, or (where `whole` says so) int and int64 arrays.

    Then they are of the kind that was traced, if their shapes are.
    """
    cdef Py_ssize_t k = 0
    for x in args:
        if whole is not None and k < len(whole) and whole[k]:
            if not PyLong_CheckExact(x) and (type(x) is not ndarray or PyArray_TYPE(<ndarray>x) != NPY_INT64):
                return False
        elif not PyFloat_Check(x) and (type(x) is not ndarray or PyArray_TYPE(<ndarray>x) != NPY_DOUBLE):
            return False
        k += 1
    return True
