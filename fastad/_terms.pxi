# What a recorded sweep computes with: terms, and the layouts of views (part of variable.pyx; see _recorded_sweep.pxi).

cdef enum AdjointState:
    ACTIVE = 1                        # depends on the inputs
    REACHED = 2                       # an output depends on it
    PENDING = 4
    HELD = 8                          # its adjoint is part of a run

cdef struct Term:
    Py_ssize_t slot                   # first slot; 0: a number; -1: nothing at all
    double value                      # of a number or scalar
    void *layout                      # of an array, over the iteration shape; NULL: a number or scalar
    bint constant                     # no gradient flows into it
    bint maybe                        # may be nothing, in places
    bint reduced                      # summed already over the axes that the operand is broadcast along


cdef struct Grid:
    Py_ssize_t start[64]              # of each axis of a view: the first element
    Py_ssize_t step[64]               # every so many
    Py_ssize_t count[64]


cdef inline Py_ssize_t divisor(Py_ssize_t m, Py_ssize_t n) noexcept:
    """The greatest common divisor."""
    while n:
        m, n = n, m % n
    return m


cdef Layout on_grid(const Grid *grid, Layout l, Py_ssize_t *first):
    """The part of a view that is on a grid; `first` is moved there."""
    cdef Py_ssize_t steps[64]
    cdef Py_ssize_t d
    for d in range(l.ndim):
        first[0] += grid.start[d] * l.dims[l.ndim + d]
        steps[d] = max(grid.step[d], 1) * l.dims[l.ndim + d]
    return make_layout(l.ndim, grid.count, steps)


cdef inline Term number(double c) noexcept:
    cdef Term t
    t.slot, t.value, t.layout, t.constant, t.maybe, t.reduced = 0, c, NULL, True, False, False
    return t


cdef inline Term no_term() noexcept:
    """Nothing at all."""
    cdef Term t = number(0.0)
    t.slot = -1
    return t


cdef inline Term standing_at(Py_ssize_t slot, void *layout, double value) noexcept:
    cdef Term t
    t.slot, t.value, t.layout, t.constant, t.maybe, t.reduced = slot, value, layout, False, False, False
    return t


cdef inline bint moves(Term t, Py_ssize_t d) noexcept:
    """Whether an operand differs along an axis of the iteration."""
    cdef Layout l
    if t.slot <= 0 or t.layout is NULL:
        return False
    l = <Layout>t.layout
    return l.dims[d] > 1 and l.dims[l.ndim + d] != 0


cdef int slots_into(Py_ssize_t first, Layout l, int64_t *out) noexcept:
    """The slots of a view in C order."""
    cdef Py_ssize_t index[64]
    cdef Py_ssize_t d, k, n = l.ndim, at = first, inner
    if n == 0:
        out[0] = first
        return 0
    for d in range(n):
        index[d] = 0
    k = 0
    inner = l.dims[2 * n - 1]
    while k < l.size:
        for d in range(l.dims[n - 1]):
            out[k + d] = at + d * inner
        k += l.dims[n - 1]
        d = n - 2
        while d >= 0:
            at += l.dims[n + d]
            index[d] += 1
            if index[d] < l.dims[d]:
                break
            at -= l.dims[n + d] * l.dims[d]
            index[d] = 0
            d -= 1
    return 0


cdef int written_span(Tape t, Wide *w, Py_ssize_t *low, Py_ssize_t *high) noexcept:
    """First and last slot that an in-place write writes to."""
    cdef Py_ssize_t k
    if w.flags & INDEXED and w.n:
        low[0] = high[0] = w.dst + t.pool[w.layout]
        for k in range(w.n):
            low[0], high[0] = min(low[0], w.dst + t.pool[w.layout + k]), max(high[0], w.dst + t.pool[w.layout + k])
    else:
        span(t, w, 0, low, high)
    return 0


cdef Layout layout_or_scalar(Term c):
    return SCALAR if c.layout is NULL else <Layout>c.layout


cdef Layout axis_layout(const int64_t *p, int which):
    """The layout of an operand (1: the destination, 2, 3) of a strided map."""
    return make_layout(p[0], <const Py_ssize_t *>(p + 1), <const Py_ssize_t *>(p + 1 + which * p[0]))


cdef Layout cube(Py_ssize_t a, Py_ssize_t b, Py_ssize_t c, Py_ssize_t p, Py_ssize_t q, Py_ssize_t r):
    """A layout of three axes: lengths, strides."""
    cdef Py_ssize_t dims[3]
    cdef Py_ssize_t steps[3]
    dims[0], dims[1], dims[2] = a, b, c
    steps[0], steps[1], steps[2] = p, q, r
    return make_layout(3, dims, steps)


cdef Layout hypercube(Py_ssize_t a, Py_ssize_t b, Py_ssize_t c, Py_ssize_t d, int summed):
    """A layout of four axes, broadcast along one."""
    cdef Py_ssize_t dims[4]
    cdef Py_ssize_t steps[4]
    cdef int k
    dims[0], dims[1], dims[2], dims[3] = a, b, c, d
    for k in range(4):
        steps[k] = k != summed
    return make_layout(4, dims, steps)


cdef inline bint repeats(Layout l, Py_ssize_t d) noexcept:
    """Whether a view shows the same along an axis."""
    return l.dims[d] > 1 and l.dims[l.ndim + d] == 0


cdef Layout without_repeats(Layout l):
    """The view without the axes along which it shows the same; itself where there are none."""
    cdef Py_ssize_t dims[64]
    cdef Py_ssize_t steps[64]
    cdef Py_ssize_t d, n = 0
    for d in range(l.ndim):
        if not repeats(l, d):
            dims[n], steps[n] = l.dims[d], l.dims[l.ndim + d]
            n += 1
    return l if n == l.ndim else make_layout(n, dims, steps) if n else SCALAR


cdef Layout repeated(Layout once, Layout l):
    """A view over the axes of `without_repeats(l)` as one over those of `l`."""
    cdef Py_ssize_t steps[64]
    cdef Py_ssize_t d, j = 0
    for d in range(l.ndim):
        steps[d] = 0
        if not repeats(l, d):
            steps[d] = once.dims[once.ndim + j]
            j += 1
    return make_layout(l.ndim, l.dims, steps)


cdef Layout divided(Layout l, Py_ssize_t n, const Py_ssize_t *dims):
    """A view over shorter axes, into which its own can be divided."""
    cdef Py_ssize_t steps[64]
    cdef Py_ssize_t d, axis = l.ndim, left = 1, step = 0
    for d in range(n - 1, -1, -1):
        while left == 1:
            axis -= 1
            left, step = l.dims[axis], l.dims[l.ndim + axis]
        steps[d] = step
        left, step = left // dims[d], step * dims[d]
    return make_layout(n, dims, steps)


cdef void by_steps(Py_ssize_t n, Py_ssize_t *dims, Py_ssize_t *steps, Py_ssize_t *own) noexcept:
    """Put axes in the order of their steps, the largest first, together with other steps along them."""
    cdef Py_ssize_t d, k
    for d in range(1, n):
        for k in range(d, 0, -1):
            if abs(steps[k - 1]) >= abs(steps[k]):
                break
            dims[k - 1], dims[k] = dims[k], dims[k - 1]
            steps[k - 1], steps[k] = steps[k], steps[k - 1]
            own[k - 1], own[k] = own[k], own[k - 1]


cdef bint without_gaps(Py_ssize_t n, const Py_ssize_t *dims, const Py_ssize_t *steps) noexcept:
    """Whether a view of axes longer than 1 touches each slot between its first and its last once."""
    cdef Py_ssize_t d, j, reach = 1
    for j in range(n):
        for d in range(n):
            if abs(steps[d]) == reach:
                reach *= dims[d]
                break
        else:
            return False
    return True
