# Values in and out of the tape: views as arrays and back (part of _tape.pyx).

cdef double *data_of(Storage s) noexcept:
    return <double *>PyArray_DATA(<ndarray>s.data)


cdef extern from *:
    Py_ssize_t Py_REFCNT(object) noexcept


cdef bint shared(object data) noexcept:
    """Whether somebody besides the Storage holds the array (one reference is this argument's)."""
    return Py_REFCNT(data) > 1


cdef bint all_nothing_view(Tape t, Py_ssize_t offset, Layout layout) noexcept:
    """Whether no element that the view spans has an adjoint."""
    return layout.size == 0 or all_nothing(&t.adjoint[offset + layout.low], layout.high - layout.low + 1)


cdef Py_ssize_t flat_layout(Layout l, int64_t *p, bint write) noexcept:
    """A layout as the map drivers read it: between the view and a dense array."""
    cdef Py_ssize_t d, n = l.ndim if l.ndim else 1, step = 1
    p[0] = n
    if l.ndim == 0:
        p[1] = 1
        p[2] = p[3] = p[4] = 0
        return 1
    for d in range(n - 1, -1, -1):
        p[1 + d] = l.dims[d]
        p[1 + n + d] = l.dims[n + d] if write else step
        p[1 + 2 * n + d] = step if write else l.dims[n + d]
        p[1 + 3 * n + d] = 0
        step *= l.dims[d]
    return n


cdef object read_view(const double *first, Layout l):
    """A fresh array with what the view holds; -0.0 is kept."""
    cdef int64_t p[1 + 4 * MOST_DIMS]
    out = np.empty(l.shape)
    if l.size:
        if l.contiguous:
            memcpy(PyArray_DATA(<ndarray>out), first, l.size * sizeof(double))
        else:
            flat_layout(l, p, False)
            map_forward(OP_positive, False, p, first, NULL, <double *>PyArray_DATA(<ndarray>out))
    return out


cdef object read_gradient(Tape t, Py_ssize_t offset, Layout l):
    """The adjoint of a view as numbers: np.float64 or a fresh array; nothing reads as 0.0."""
    cdef Py_ssize_t k
    cdef ndarray out
    cdef double *p
    if l is SCALAR:
        return float64(t.adjoint[offset] + 0.0)
    out = read_view(&t.adjoint[0] + offset, l)
    p = <double *>PyArray_DATA(out)
    for k in range(l.size):
        p[k] += 0.0
    return out


cdef int write_view(double *first, Layout l, object source) except -1:
    """Write a float64 array of the view's shape into the view."""
    cdef int64_t p[1 + 4 * MOST_DIMS]
    source = np.ascontiguousarray(source, np.float64)
    if l.size:
        flat_layout(l, p, True)
        map_forward(OP_positive, False, p, <const double *>PyArray_DATA(<ndarray>source), NULL, first)
    return 0


cdef int add_to_view(double *first, Layout l, object source) except -1:
    """Add a float64 array of the view's shape to the view, element by element, also where it looks at a slot twice."""
    cdef Py_ssize_t k, d, n = l.ndim
    cdef const double[::1] flat = np.ascontiguousarray(source, np.float64).reshape(-1)
    cdef Py_ssize_t at, rest
    for k in range(l.size):
        at, rest = 0, k
        for d in range(n - 1, -1, -1):
            at += rest % l.dims[d] * l.dims[n + d]
            rest //= l.dims[d]
        first[at] += flat[k]
    return 0


cdef int copy_in(Tape t, Py_ssize_t slot, object array) except -1:
    """Copy a float64 array into reserved slots, in C order."""
    cdef ndarray a = array
    if not PyArray_IS_C_CONTIGUOUS(a) or PyArray_TYPE(a) != NPY_DOUBLE:
        a = np.ascontiguousarray(array, np.float64)
    if a.size:
        memcpy(&t.value[slot], PyArray_DATA(a), a.size * sizeof(double))
    return 0


cdef object evaluate_plain(int op, object x, object y):
    """A function of the table on dense float64 arrays of one shape."""
    cdef int64_t one[5]
    cdef ndarray a = x, b = y, out = np.empty(x.shape)
    one[0], one[1], one[2], one[3], one[4] = 1, a.size, 1, 1, 1
    if a.size:
        map_forward(op, False, one, <const double *>PyArray_DATA(a),
                    <const double *>NULL if b is None else <const double *>PyArray_DATA(b),
                    <double *>PyArray_DATA(out))
    return out
