# How the rows of a batch come into the lanes of a workspace, and out of them (part of _program.pyx).

cdef int check_rows(object array, tuple shape, Py_ssize_t rows) except -1:
    """Check an array of a batch: float64, `rows` rows (-1: none of its own), each of a shape and in C order."""
    if type(array) is not ndarray or PyArray_TYPE(<ndarray>array) != NPY_DOUBLE or not PyArray_ISBEHAVED_RO(<ndarray>array) \
            or array.shape != (shape if rows < 0 else (rows, *shape)):
        raise ValueError(f"batch: a float64 array of {rows} rows of shape {shape} is needed, not {np.shape(array)}")
    one = array if rows < 0 else array[0]
    if not one.flags.c_contiguous or (rows >= 0 and array.strides[0] % sizeof(double)):
        raise ValueError("batch: the rows have to be in C order")
    return 0


# Both go through tiles of 8 elements by all lanes, so that neither side leaves a cache line half used.
cdef void load_rows(const Rows *p, double *w, Py_ssize_t lanes, Py_ssize_t row, Py_ssize_t m) noexcept nogil:
    """Rows from `row` on into the lanes; lanes beyond the m-th get the last one."""
    cdef Py_ssize_t i, l, start, stop
    cdef const double *x
    w += p.slot * lanes
    start = 0
    while start < p.size:
        stop = min(start + 8, p.size)
        for l in range(lanes):
            x = p.data + (row + min(l, m - 1)) * p.step
            for i in range(start, stop):
                w[i * lanes + l] = x[i]
        start = stop


cdef void store_rows(const Rows *p, const double *w, Py_ssize_t lanes, Py_ssize_t row, Py_ssize_t m) noexcept nogil:
    """The first m lanes to the rows from `row` on."""
    cdef Py_ssize_t i, l, start = 0, stop
    cdef double *y
    while start < p.size:
        stop = min(start + 8, p.size)
        for l in range(m):
            y = p.data + (row + l) * p.step
            for i in range(start, stop):
                y[i] = w[(p.slot + i if p.slots is NULL else p.slots[i]) * lanes + l]
        start = stop


def scattered(const double[::1] data, const int64_t[::1] places, tuple shape):
    """An array of zeros with numbers at some places, counted in C order."""
    cdef npy_intp dims[64]
    cdef Py_ssize_t k, size = 1, n = places.shape[0]
    if len(shape) > 64 or data.shape[0] != n:
        raise ValueError(f"scattered: {data.shape[0]} numbers for {n} places in shape {shape}")
    for k in range(len(shape)):
        dims[k] = shape[k]
        size *= dims[k]
    out = PyArray_ZEROS(<int>len(shape), dims, NPY_DOUBLE, 0)
    cdef double *to = <double *>PyArray_DATA(<ndarray>out)
    for k in range(n):
        if not 0 <= places[k] < size:
            raise IndexError(f"scattered: place {places[k]} of {size}")
        to[places[k]] = data[k]
    return out
