# How the rows of a batch come into the lanes of a workspace, and out of them (part of _program.pyx).

cdef int check_rows(object array, tuple shape, Py_ssize_t rows) except -1:
    """Check an array of a batch: float64, `rows` rows (-1: none of its own), each of a shape and in C order."""
    cdef Py_ssize_t d, first = 0 if rows < 0 else 1, n = len(shape), step = sizeof(double)
    cdef bint fits = type(array) is ndarray and PyArray_TYPE(<ndarray>array) == NPY_DOUBLE \
        and PyArray_ISBEHAVED_RO(<ndarray>array) and PyArray_NDIM(<ndarray>array) == n + first
    if fits and first:
        fits = PyArray_DIM(<ndarray>array, 0) == rows
    for d in range(n if fits else 0):
        fits = fits and PyArray_DIM(<ndarray>array, <int>(d + first)) == <Py_ssize_t>shape[d]
    if not fits:
        raise ValueError(f"batch: a float64 array of {rows} rows of shape {shape} is needed, not {np.shape(array)}")
    if PyArray_SIZE(<ndarray>array) == 0:
        return 0
    for d in range(n - 1, -1, -1):
        fits = fits and (PyArray_STRIDE(<ndarray>array, <int>(d + first)) == step or <Py_ssize_t>shape[d] == 1)
        step *= <Py_ssize_t>shape[d]
    if not fits or (first and PyArray_STRIDE(<ndarray>array, 0) % <Py_ssize_t>sizeof(double)):
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
