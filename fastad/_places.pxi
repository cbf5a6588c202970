# Where cells go in a program (part of _passes.pyx).

cdef void touch(Cells cells, View view, uint8_t[::1] flags, uint8_t[::1] glued) noexcept:
    """Mark the cells of a view, which have to stay beside one another."""
    cdef Py_ssize_t k, last = cells.at(view.high)
    for k in range(cells.at(view.low), last + 1):
        flags[k] = 1
        if k < last:
            glued[k] = 1


cdef int touch_all(Cells cells, inputs, list blocks, uint8_t[::1] flags, uint8_t[::1] glued,
                   uint8_t[::1] single) except -1:
    """Mark what inputs and blocks look at as arrays, and the cells of which blocks read or collect a slot alone."""
    cdef View view
    cdef Py_ssize_t i
    cdef const int64_t[::1] index
    for view in inputs:
        if view.size:
            touch(cells, view, flags, glued)
    for block in blocks:
        for z in (<Block>block).reads:
            view = <View>z
            if view.low < view.high:
                touch(cells, view, flags, glued)
            elif view.size:
                single[cells.at(view.low)] = 1
        for z in (<Block>block).writes:
            view = <View>z
            if view.low < view.high:
                touch(cells, view, flags, glued)
        if (<Block>block).index is not None:
            index = (<Block>block).index
            for i in range(index.shape[0]):
                single[cells.at(index[i])] = 1
    return 0


def units(Cells cells, inputs, list blocks, const uint8_t[::1] known, uint8_t[::1] single):
    """What has to keep together, since an input is there or a block looks at it as an array.

    Parameters
    ----------
    inputs : iterable of View
    known
        By cell: whether it is constant.
    single
        By cell: is set where blocks read a single slot, or collect it.

    Returns
    -------
    constants, others : pairs of arrays of int64
        First cells and ends of those with constants in them, and of the rest.
    """
    cdef uint8_t[::1] flags = np.zeros(cells.count, np.uint8), glued = np.zeros(cells.count, np.uint8)
    cdef Py_ssize_t k = 0, first, n = 0, m = 0
    cdef bint constant
    found = np.empty((4, cells.count), np.int64)
    cdef int64_t[:, ::1] found_ = found
    touch_all(cells, inputs, blocks, flags, glued, single)
    while k < cells.count:
        if not flags[k]:
            k += 1
            continue
        first, constant = k, known[k]
        while glued[k]:
            k += 1
            constant |= known[k]
        k += 1
        if constant:
            found_[0, n], found_[1, n] = first, k
            n += 1
        else:
            found_[2, m], found_[3, m] = first, k
            m += 1
    return (found[0, :n], found[1, :n]), (found[2, :m], found[3, :m])


def put(Cells cells, const int64_t[::1] begins, const int64_t[::1] ends, int64_t[::1] place, Py_ssize_t n_slots,
        bint lines=False):
    """Place stretches of cells one behind the other.

    Parameters
    ----------
    begins, ends
        The first cells of the stretches, and those behind them.
    place
        By cell: gets the slot of the program where its first one goes.
    n_slots : int
        The first free slot.
    lines : bool
        Whether stretches of a cache line and more begin one.

    Returns
    -------
    int
        The first slot that is free then.
    """
    cdef Py_ssize_t i, k, size, first
    for i in range(begins.shape[0]):
        first = cells.firsts[begins[i]]
        size = cells.firsts[ends[i]] - first
        if lines and size >= CACHE_LINE:
            n_slots = aligned(n_slots)
        for k in range(begins[i], ends[i]):
            place[k] = n_slots + cells.firsts[k] - first
        n_slots += size
    return n_slots


def copy_known(Cells cells, const uint8_t[::1] known, const double[::1] source, double[::1] value):
    """Copy the values of constant cells, as far as `source` has them; `known` is by cell, the others are by slot."""
    cdef Py_ssize_t k, j, n = source.shape[0]
    for k in range(cells.count):
        if known[k]:
            for j in range(cells.firsts[k], min(cells.firsts[k + 1], n)):
                value[j] = source[j]


def constants_in(Cells cells, const int64_t[::1] begins, const int64_t[::1] ends, const uint8_t[::1] known,
                 const double[::1] value):
    """The constants that stand in stretches of cells, one behind the other; 0.0 in what is none.

    `known` is by cell, `value` by slot.
    """
    cdef Py_ssize_t i, k, j, size = 0
    for i in range(begins.shape[0]):
        size += cells.firsts[ends[i]] - cells.firsts[begins[i]]
    out = np.zeros(size)
    cdef double[::1] out_ = out
    size = 0
    for i in range(begins.shape[0]):
        for k in range(begins[i], ends[i]):
            if known[k]:
                for j in range(cells.firsts[k], cells.firsts[k + 1]):
                    out_[size + j - cells.firsts[k]] = value[j]
            size += cells.firsts[k + 1] - cells.firsts[k]
    return out
