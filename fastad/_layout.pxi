# Layouts: shape and strides of a view (part of _tape.pyx).

@cython.final
cdef class Layout:
    def __dealloc__(self):
        PyMem_Free(self.dims)

    @property
    def shape(self):
        """Shape as a tuple."""
        cdef Py_ssize_t d
        if self._shape is None:
            self._shape = tuple([self.dims[d] for d in range(self.ndim)])
        return self._shape

    @property
    def strides(self):
        """Strides in elements as a tuple."""
        cdef Py_ssize_t d
        return tuple([self.dims[self.ndim + d] for d in range(self.ndim)])


cdef Layout make_layout(Py_ssize_t ndim, const Py_ssize_t *shape, const Py_ssize_t *strides):
    """A layout; `shape` and `strides` (in elements) must hold `ndim` numbers."""
    cdef Layout self = Layout.__new__(Layout)
    cdef Py_ssize_t d, expected = 1
    if ndim > MOST_DIMS:
        raise ValueError(f"fastad: arrays have at most {MOST_DIMS} dimensions, not {ndim}")
    self.dims = <Py_ssize_t *>PyMem_Malloc((2 * ndim + 1) * sizeof(Py_ssize_t))
    if self.dims is NULL:
        raise MemoryError()
    self.ndim = ndim
    self.size = 1
    self.contiguous = True
    for d in range(ndim - 1, -1, -1):
        self.dims[d] = shape[d]
        self.dims[ndim + d] = strides[d]
        self.size *= shape[d]
        if shape[d] > 1:
            if strides[d] != expected:
                self.contiguous = False
            if strides[d] < 0:
                self.low += strides[d] * (shape[d] - 1)
            else:
                self.high += strides[d] * (shape[d] - 1)
        expected *= shape[d]
    if self.size == 0:
        self.low, self.high, self.contiguous = 0, -1, True
    return self


cdef Layout dense(Py_ssize_t ndim, const Py_ssize_t *shape):
    """The C-contiguous layout of a shape."""
    cdef Py_ssize_t strides[MOST_DIMS]
    cdef Py_ssize_t d, step = 1
    if ndim == 0:
        return SCALAR
    if ndim > MOST_DIMS:
        raise ValueError(f"fastad: arrays have at most {MOST_DIMS} dimensions, not {ndim}")
    for d in range(ndim - 1, -1, -1):
        strides[d] = step
        if shape[d] and step > (<Py_ssize_t>1 << 59) // shape[d]:
            raise MemoryError("fastad: the array is larger than memory can address")
        step *= shape[d]
    return make_layout(ndim, shape, strides)


cdef Layout layout_of(tuple shape):
    """The C-contiguous layout of a shape given as a tuple."""
    cdef Py_ssize_t dims[MOST_DIMS]
    cdef Py_ssize_t d, n = len(shape)
    if n > MOST_DIMS:
        raise ValueError(f"fastad: arrays have at most {MOST_DIMS} dimensions, not {n}")
    for d in range(n):
        dims[d] = shape[d]
    return dense(n, dims)


SCALAR = make_layout(0, NULL, NULL)
