# Many independent fits side by side, one in each lane of a compiled function's workspace (part of _descent.pyx).

cdef struct Lane:
    Fit fit
    Py_ssize_t row
    bint on                           # whether there is a fit in it


cdef struct Input:
    const double *data                # an argument; NULL: part of the vector
    Py_ssize_t slot, size, step       # elements of one row, and how far apart the rows are; 0: all share one


cdef struct Found:
    double *x                         # of each fit: n numbers
    double *jac
    double *fun                       # one
    int64_t *nit
    int64_t *nfev
    int64_t *reason


cdef void put(double *w, Py_ssize_t lanes, Py_ssize_t l, Py_ssize_t slot, Py_ssize_t size,
              const double *x) noexcept nogil:
    """Write numbers into one lane."""
    cdef Py_ssize_t i
    for i in range(size):
        w[(slot + i) * lanes + l] = x[i]


cdef void enter(Lane *lane, Py_ssize_t l, Py_ssize_t row, const double *start, Workspace space, const Input *inputs,
                Py_ssize_t n_inputs) noexcept nogil:
    """Begin the fit of a row in a lane."""
    cdef Py_ssize_t k
    lane.row, lane.on = row, True
    memcpy(lane.fit.y, start, lane.fit.n * sizeof(double))
    fit_begin(&lane.fit)
    for k in range(n_inputs):
        if inputs[k].data is not NULL:
            put(space.w, space.lanes, l, inputs[k].slot, inputs[k].size, inputs[k].data + row * inputs[k].step)


cdef void place_vector(Port port, Workspace space, Py_ssize_t l, const double *x) noexcept nogil:
    """Write the vector into one lane."""
    cdef Py_ssize_t k
    for k in range(port.parts):
        put(space.w, space.lanes, l, port.spans[k, 0], port.spans[k, 1], x)
        x += port.spans[k, 1]


cdef void take_gradient(Port port, Workspace space, Py_ssize_t l, double *g) noexcept nogil:
    """Read the gradient from one lane."""
    cdef Py_ssize_t i
    for i in range(port.n):
        g[i] = space.w[port.slots[1 + i] * space.lanes + l]


def many(Descent like, Port port, list stacked, const double[:, ::1] starts, dict out, Py_ssize_t begin, Py_ssize_t end,
         Py_ssize_t lanes, unsigned char[::1] cancel, watch):
    """Fits [begin, end), `lanes` of them side by side, without the GIL; where one ends, the next begins.

    Parameters
    ----------
    like : Descent
        What all fits are like: rule, acceptance, limits, and the step lengths of all iterations.
    port : Port
        The function; of its other arguments those that are `stacked` have a leading axis of rows. All are float64
        arrays in C order.
    starts : array
        The vectors to start at, a row each.
    out : dict
        Arrays to be filled, with a row for each fit that began: x, fun, jac, nit, nfev, reason (-1: it has not ended);
        left: 1 where a fit would go on on another branch of the function, and has to be done otherwise.
    cancel : array of one uint8
        Whoever sets it ends this call early; how far the fits have come is written down.
    watch : callable
        Called with `cancel` now and then.

    Returns
    -------
    bool
        False when captured or frozen arrays are not those of this program.
    """
    cdef double[:, ::1] x = out["x"], jac = out["jac"]
    cdef double[::1] fun = out["fun"]
    cdef int64_t[::1] nit = out["nit"], nfev = out["nfev"], reason = out["reason"]
    cdef unsigned char[::1] left = out["left"]
    cdef Found found
    cdef Py_ssize_t rows = starts.shape[0], n = like.fit.n, l, k, next_row, active = 0, size, done = 0
    cdef Evaluator evaluator = port.evaluator
    cdef Code code = evaluator.code
    cdef Workspace space
    cdef double *memory = NULL
    cdef Lane *lane = NULL
    cdef Input *inputs = NULL
    cdef Fit *s
    if n == 0 or starts.shape[1] != n or port.n != n or not 0 <= begin < end <= rows or lanes < 2 \
            or cancel.shape[0] < 1 \
            or like.fit.scheduled and (like.fit.max_iter >= like.fit.end_length or like.fit.first_length) \
            or like.fit.rule.kind == OUTSIDE:
        raise ValueError("many: starts, step lengths and rows do not fit")
    for name, array in out.items():
        if len(array) != rows or array.ndim > 1 and array.shape[1] != n:
            raise ValueError(f"many: the array for {name} has another shape")
    found.x, found.jac, found.fun = &x[0, 0], &jac[0, 0], &fun[0]
    found.nit, found.nfev, found.reason = &nit[0], &nfev[0], &reason[0]
    space = code.workspace(lanes)
    if evaluator.load_captures_of_rows(space) == -2:
        return False
    size = fit_size(&like.fit)
    try:
        memory = <double *>PyMem_RawCalloc(lanes * size + 1, sizeof(double))
        lane = <Lane *>PyMem_RawCalloc(lanes, sizeof(Lane))
        inputs = <Input *>PyMem_RawCalloc(evaluator.n_inputs, sizeof(Input))
        if memory is NULL or lane is NULL or inputs is NULL:
            raise MemoryError()
        for k in range(evaluator.n_inputs):
            if port.first <= k < port.first + port.parts:
                continue
            array, shape = port.leaves[k], tuple(evaluator.dims[k])
            if np.shape(array) != ((rows,) + shape if stacked[k] else shape) or array.dtype != np.float64 \
                    or not array.flags.c_contiguous:
                raise ValueError(f"many: argument {k} has to be a float64 array in C order of shape {shape}, for each "
                                 "row if stacked")
            inputs[k].data = <const double *>PyArray_DATA(<ndarray>array)
            inputs[k].slot, inputs[k].size = evaluator.where[2 * k], evaluator.where[2 * k + 1]
            inputs[k].step = inputs[k].size if stacked[k] else 0
        with nogil:
            for l in range(lanes):
                lane[l].fit = like.fit
                lane[l].fit.log[0] = lane[l].fit.places = NULL
                fit_place(&lane[l].fit, memory + l * size)
                k = min(begin + l, end - 1)
                enter(&lane[l], l, k, &starts[k, 0], space, inputs, evaluator.n_inputs)
                lane[l].on = begin + l < end          # a lane too many computes with what another has
                place_vector(port, space, l, lane[l].fit.y)
                active += lane[l].on
            next_row = min(begin + lanes, end)
            while active and not code.run(space, evaluator, &cancel[0]):
                for l in range(lanes):
                    if not lane[l].on:
                        continue
                    s = &lane[l].fit
                    if evaluator.failed(space, l) >= 0 or (space.failing and has_failed(space, l)):
                        left[lane[l].row] = 1
                        s.phase = DONE
                    else:
                        take_gradient(port, space, l, s.gy)
                        tell(s, space.w[port.slots[0] * lanes + l])
                    if s.phase == DONE:
                        store(&lane[l], &found)
                        if next_row == end:
                            lane[l].on = False
                            active -= 1
                            continue
                        enter(&lane[l], l, next_row, &starts[next_row, 0], space, inputs, evaluator.n_inputs)
                        next_row += 1
                    place_vector(port, space, l, lane[l].fit.y)
                done += (code.work + 16 * n) * lanes
                if done > POLL:
                    done = 0
                    if cancel[0]:
                        break
                    with gil:
                        PyErr_CheckSignals()
                        watch(cancel.base)
    finally:
        if lane is not NULL:
            for l in range(lanes):
                if lane[l].on:
                    store(&lane[l], &found)
        PyMem_RawFree(memory)
        PyMem_RawFree(lane)
        PyMem_RawFree(inputs)
    code.give_back(space)
    return True


cdef bint has_failed(Workspace space, Py_ssize_t l) noexcept with gil:
    """Whether a Python function has raised in a lane."""
    return l in space.errors


cdef void store(const Lane *lane, const Found *found) noexcept nogil:
    """Write down the best point of a fit, if there is one, and how far it has come."""
    cdef const Fit *s = &lane.fit
    cdef Py_ssize_t row = lane.row
    if s.nfev == 0:
        return
    memcpy(found.x + row * s.n, s.x if s.best_here else s.best_x, s.n * sizeof(double))
    memcpy(found.jac + row * s.n, s.g if s.best_here else s.best_g, s.n * sizeof(double))
    found.fun[row] = s.f if s.best_here else s.best_f
    found.nit[row], found.nfev[row], found.reason[row] = s.nit, s.nfev, <int64_t>s.reason
