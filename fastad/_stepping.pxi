# Programs one instruction after the other: how long each takes, and what it computes (part of _program.pyx).

def timed(Evaluator e not None, leaves, Py_ssize_t repeat, list stacked=None, Py_ssize_t lanes=1):
    """How long each instruction of a program takes, in nanoseconds: the least of so many executions.

    What takes less than the clock can see is executed many times in a row, with the same operands. The lines of a run
    count with it. None when the arguments are not those of this program. On several lanes the arguments are those of a
    batch, see `Evaluator.batch`, of which the first rows count.
    """
    cdef Workspace space = e.code.workspace(lanes)
    cdef Code code = e.code
    cdef Py_ssize_t k, i, j, last, m, n = PyArray_DIM(<ndarray>code.instructions, 0)
    cdef object before, kinds = code.instructions["kind"].tolist(), counts = code.instructions["count"].tolist()
    cdef object calls = ((code.instructions["kind"] == 9) & (code.instructions["op"] == 0)).tolist()
    cdef double[::1] best = np.full(n, np.inf)
    cdef double elapsed, idle = np.inf
    for i in range(1000):
        before = clock()
        idle = min(idle, <double>(clock() - before))
    for i in range(repeat):
        if (load_lanes(e, space, leaves, stacked) if lanes > 1 else
                e.load(space, leaves) == -2 or e.load_captures(space) == -2):
            return None
        k = 0
        while k < n:
            last = k + 1 + (counts[k] if kinds[k] == 1 else 0)
            m = 1 if calls[k] or i == 0 else <Py_ssize_t>min(max(CLOCKED / max(best[k], 1.0), 1.0), 1000.0)
            before = clock()
            for j in range(m):
                if calls[k]:
                    code.call(k, space, e, 0)
                elif advance(code, k, last, space) < 0:
                    PyErr_CheckSignals()
            elapsed = <double>(clock() - before)
            best[k] = min(best[k], max(elapsed - idle, 0.0) / m)
            k = last
    code.give_back(space)
    out = np.asarray(best)
    out[~np.isfinite(out)] = 0.0                  # lines, whose run has the time
    return out


cdef bint load_lanes(Evaluator e, Workspace space, list arrays, list stacked) except -1:
    """The first rows of a batch, a lane each; whether what is captured is not that of this program."""
    cdef Rows rows
    cdef Py_ssize_t k
    if len(arrays) != e.n_inputs or len(stacked) != e.n_inputs:
        raise ValueError(f"timed: {len(arrays)} arguments for a program of {e.n_inputs}")
    for k in range(e.n_inputs):
        check_rows(arrays[k], e.dims[k], len(arrays[k]) if stacked[k] else -1)
        if stacked[k] and len(arrays[k]) < space.lanes:
            raise ValueError(f"timed: {len(arrays[k])} rows for {space.lanes} lanes")
        rows.data, rows.slot, rows.size = <double *>PyArray_DATA(<ndarray>arrays[k]), e.where[2 * k], e.where[2 * k + 1]
        rows.slots = NULL
        rows.step = rows.size if stacked[k] else 0
        load_rows(&rows, space.w, space.lanes, 0, space.lanes)
    return e.load_captures_of_rows(space) == -2


def stepped(Evaluator e not None, leaves, look):
    """Execute a program and look at its numbers on the way; a run and its lines are one instruction.

    Parameters
    ----------
    e : Evaluator
        Without regions; whoever calls it has it alone.
    leaves : sequence
        The arguments; nothing happens when they are not those of this program.
    look : callable
        ``look(k, numbers)`` is called after the k-th instruction with the numbers of all slots, 0.0 where nothing was
        written yet.
    """
    cdef Code code = e.code
    cdef Workspace space = code.workspace(1)
    cdef Py_ssize_t k = 0, last, n = len(code.instructions), known = len(code.image)
    cdef list kinds = code.instructions["kind"].tolist()
    cdef list counts = code.instructions["count"].tolist()
    if code.regions:
        raise ValueError("program: a program with regions cannot be looked at step by step")
    memory = np.zeros(code.n_slots + 2 * RUN_STRIP)   # outlives the workspace, if somebody keeps it
    memory[:known] = code.image
    space.w = <double *>PyArray_DATA(<ndarray>memory)
    space.work = space.w + code.n_slots
    if e.load(space, leaves) == -2 or e.load_captures(space) == -2:
        return
    numbers = memory[:code.n_slots]
    while k < n:
        last = k + 1 + (<Py_ssize_t>counts[k] if kinds[k] == K_RUN else 0)
        if advance(code, k, last, space) < last:      # a call that needs Python, or a signal
            PyErr_CheckSignals()
            code.call(k, space, e, 0)
        if space.failing:
            raise space.errors[0]
        look(last - 1, numbers)
        k = last
