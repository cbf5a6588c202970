# What one needs to look at a tape record by record (part of variable.pyx, used by fastad.observing and its kin).

def observe(Tape tape not None, observer):
    """Let an object see every record of a tape come and go, see `fastad.observing.Observer`; None: nobody.

    What is observed takes the long ways, and is swept record by record. Returns the observer before.
    """
    global observers
    before = tape.observer
    observers += (observer is not None) - (before is not None)
    tape.observer = observer
    tape.limit()
    return before


def observer_of(Tape tape not None):
    """Who observes a tape; None."""
    return tape.observer


def in_python():
    """Whether compiled functions have to run in Python: this thread traces one, or is observed."""
    return current_tape().observer is not None or is_tracing()


cdef inline bint is_freed(Tape t, Py_ssize_t rec) noexcept:
    """Whether backward() has freed the graph of a record."""
    return t.link[rec] == FREED_SCALAR or (is_wide(t.link[rec]) and (t.wide[t.link[rec] >> 8].flags & FREED) != 0)


def record_at(Tape tape not None, Py_ssize_t rec, Py_ssize_t slot):
    """A record as `decoded_record` gives it; of a scalar one also ``partials``, None where an operand was not selected.

    Freed ones have kind "freed".
    """
    if not 0 <= rec < tape.n_records:
        raise IndexError(f"record {rec} of {tape.n_records}")
    if is_freed(tape, rec):
        return {"kind": "freed", "op": "freed", "out": slot, "size": tape.size_of(rec)}
    found = decoded_record(tape, rec, slot)
    if found["kind"] == "scalar":
        found["partials"] = [None if boxed_distance(d) else d for d in (tape.dx[rec], tape.dy[rec])]
    return found


def numbers_at(Tape tape not None, Py_ssize_t first, Py_ssize_t n, bint adjoint=False):
    """Copy of the values, or adjoints, of n slots in a row."""
    if n < 0 or not 0 <= first <= tape.n_slots - n:
        raise IndexError(f"slots {first} to {first + n} of {tape.n_slots}")
    return np.array((tape.adjoint if adjoint else tape.value)[first:first + n])


def set_adjoints(Tape tape not None, Py_ssize_t first, const double[::1] new):
    """Write adjoints, between two records of a sweep."""
    if not 0 <= first <= tape.n_slots - new.shape[0]:
        raise IndexError(f"slots {first} to {first + new.shape[0]} of {tape.n_slots}")
    tape.adjoint[first:first + new.shape[0]] = new


def result_at(Tape tape not None, Py_ssize_t rec, Py_ssize_t slot):
    """Copy of what a record has computed, flat, in the order of its slots."""
    cdef Py_ssize_t low, high
    cdef Wide *w
    if not 0 <= rec < tape.n_records:
        raise IndexError(f"record {rec} of {tape.n_records}")
    if is_wide(tape.link[rec]):
        w = &tape.wide[tape.link[rec] >> 8]
        if w.kind == MAP:
            span(tape, w, 0, &low, &high)
            return numbers_at(tape, low, high - low + 1) if w.n else np.empty(0)
    return numbers_at(tape, slot, result_size(tape, rec))


def partials_of(str name, x, y):
    """Both partial derivatives of a function of the table, element by element; y is ignored where there is none."""
    cdef int op = OPCODES[name]
    cdef const double[::1] a = np.ascontiguousarray(x, np.float64).reshape(-1)
    cdef const double[::1] b = np.ascontiguousarray(y, np.float64).reshape(-1)
    cdef Py_ssize_t k, n = min(a.shape[0], b.shape[0])
    cdef double[::1] dx = np.empty(n), dy = np.empty(n)
    cdef double v
    ensure_loops(op)
    for k in range(n):
        scalar_eval(op, a[k], b[k], &v, &dx[k], &dy[k])
    return np.asarray(dx), np.asarray(dy)


def observed_sweep(Variable y not None, seed, observer, Py_ssize_t stop=0):
    """A reverse sweep for an observer's eyes alone: no gradient and no hook knows of it. It ends with record `stop`."""
    before = observe(y.tape, observer)
    try:
        show_sweep(y.tape, [y], [seed_of(y, seed, False) + 0.0], 1, stop)
    finally:
        observe(y.tape, before)


cdef int show_sweep(Tape tape, list outputs, list seeds, Py_ssize_t base, Py_ssize_t stop=0) except -1:
    """Sweep in an adjoint memory of its own."""
    cdef double[::1] adjoint = tape.adjoint
    cdef dict hooks = tape.hooks
    cdef Py_ssize_t guarded = tape.guarded, start = 0
    cdef bint outside = tape.outside
    cdef Variable y
    if tape.trace is not None:
        return 0
    tape.adjoint = np.full(tape.n_slots, -0.0)
    tape.hooks, tape.guarded = {}, base
    try:
        for y, seed in zip(outputs, seeds):
            if seed is not None and y.layout.size and slot_of(y) >= base:
                add_to_view(&tape.adjoint[0] + slot_of(y), y.layout, value_or_array(seed))
                start = max(start, rec_of(y) + 1)
        tape.sweep(start, stop, base)
    finally:
        tape.adjoint, tape.hooks, tape.guarded, tape.outside = adjoint, hooks, guarded, outside
    return 0
