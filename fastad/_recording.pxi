# Handles, operands and records of the table's functions (part of variable.pyx).
#
# Scalars go the short way, arrays without gaps the next one, everything else the general way through `apply`.

# ---- making handles --------------------------------------------------------------------------------------------
cdef Variable new_node(Tape tape, Py_ssize_t offset, Py_ssize_t rec, Layout layout):
    """A handle on a view of the tape."""
    global n_free_handles
    cdef Variable h
    if n_free_handles:
        n_free_handles -= 1
        h = <Variable>fa_revive(free_handles[n_free_handles], <PyTypeObject *>Variable)
    else:
        h = new_handle()
    if layout is not SCALAR:
        h.layout = layout
    h.offset = offset
    h.rec = rec
    h.state = NODE
    adopt(tape, h)
    return h


cdef Variable with_data(object data, State state):
    """A Variable with data of its own: a leaf or a constant. `data` is a float64 array nobody else writes to."""
    cdef Variable h = Variable.__new__(Variable) if state == LEAF else new_handle()
    if not data.flags.c_contiguous:
        data = np.array(data, order="C")
    h.layout = layout_of(data.shape)
    h.extra = Storage.__new__(Storage)
    h.extra.data = data
    h.state = state
    return h


cdef object result(object data):
    """A 0-d array as np.float64, others as they are."""
    return data[()] if data.ndim == 0 else data


cdef object values_of(Handle h):
    """The values as np.float64 or as an array that belongs to the caller or is not to be written to.

    Whoever asks may decide by them, so that in a traced function they are guarded.
    """
    return seen_values(h) if tracing else peek(h)


cdef object peek(Handle h):
    """The values, for those who decide nothing by them."""
    if h.state == NODE:
        if h.layout is SCALAR:
            out = float64(h.tape.value[h.offset])
        else:
            out = read_view(&h.tape.value[0] + h.offset, h.layout)
        return out if type(h) is not Discrete else out.astype((<Discrete>h).kind)
    if h.state == UNSET:
        raise RuntimeError(UNINITIALISED)
    return result(h.extra.data)


cdef inline bint recorded(Handle h) noexcept:
    """Whether a gradient can flow through."""
    return h.state == NODE or h.state == LEAF


cdef int refuse_freed(Handle h, str name) except -1:
    raise FreedGraphError(f"{name}: this Variable belongs to a graph that backward() has freed; pass retain_graph=True "
                          "to backward() to go on computing with it, or use .item() or .detach() for its value")


# ---- scalar records: the short way ---------------------------------------------------------------------------------
cdef inline Py_ssize_t put_scalar(Tape tape, int op, Py_ssize_t x, Py_ssize_t y, double v, double dx,
                                  double dy) noexcept:
    """Append a scalar record, return its slot; x and y are slots, 0 for none. There is room, and the distances fit."""
    cdef Py_ssize_t slot = tape.n_slots, rec = tape.n_records
    store_scalar(tape, rec, slot, op, x, y, v, dx, dy)
    tape.n_slots = slot + 1
    tape.n_records = rec + 1
    return slot


cdef inline Variable push_scalar(Tape tape, int op, Py_ssize_t x, Py_ssize_t y, double v, double dx, double dy):
    """The same, with a handle."""
    cdef Py_ssize_t slot = put_scalar(tape, op, x, y, v, dx, dy)
    return new_node(tape, slot, tape.n_records - 1, SCALAR)


cdef inline Py_ssize_t ready(Handle h, Tape tape) noexcept:
    """The slot of a scalar that can stand in a scalar record of the tape right now, else 0."""
    cdef Binding b
    cdef Py_ssize_t slot
    if h.layout is not SCALAR:
        return 0
    if h.state == NODE:
        if h.tape is not tape:
            return 0
        slot = h.offset
    elif h.state == LEAF:
        b = h.extra.current
        if b is None or b.tape is not tape or b.offset < 0 or b.version != h.extra.version:
            return 0
        slot = b.offset
    else:
        return 0
    return slot if tape.n_slots - slot < FAR else 0


cdef inline bint roomy(Tape tape) noexcept:
    """Whether one more scalar record fits, and recording is on."""
    return tape.n_slots < tape.slot_limit and tape.n_records < tape.record_limit


cdef inline Tape tape_for(Handle h):
    return h.tape if h.state == NODE else current_tape()


cdef inline object binary(int op, object a, object b):
    """An operator of two arguments, `op` known to the C compiler: scalars the short way."""
    cdef Tape tape
    cdef Py_ssize_t x = 0, y = 0
    cdef double v, dx = 0.0, dy = 0.0
    if type(a) is Variable:
        tape = tape_for(<Variable>(b if (<Variable>a).state == LEAF and type(b) is Variable else a))
        x = ready(<Variable>a, tape)
        if x and roomy(tape):
            if PyFloat_CheckExact(b):
                dy = PyFloat_AS_DOUBLE(b)
                scalar_inline(op, tape.value[x], dy, &v, &dx, NULL)
                return push_scalar(tape, op, x, 0, v, dx, dy)
            if type(b) is Variable:
                y = ready(<Variable>b, tape)
                if y:
                    scalar_inline(op, tape.value[x], tape.value[y], &v, &dx, &dy)
                    return push_scalar(tape, op, x, y, v, dx, dy)
            elif PyLong_CheckExact(b):
                dy = b
                scalar_inline(op, tape.value[x], dy, &v, &dx, NULL)
                return push_scalar(tape, op, x, 0, v, dx, dy)
    elif PyFloat_CheckExact(a) and type(b) is Variable:
        tape = tape_for(<Variable>b)
        y = ready(<Variable>b, tape)
        if y and roomy(tape):
            dx = PyFloat_AS_DOUBLE(a)
            scalar_inline(op, dx, tape.value[y], &v, NULL, &dy)
            return push_scalar(tape, op, 0, y, v, dx, dy)
    return apply(op, a, b)


cdef inline int heard(int op) except -1:
    """Raise what scipy.special.errstate(all="raise") has made SciPy's loop set at a singular point."""
    return -1 if fa_rows[op].needs_scipy and PyErr_Occurred() is not NULL else 0


cdef object unary(int op, object a):
    """A function of one argument."""
    cdef Tape tape
    cdef Py_ssize_t x
    cdef double v, dx = 0.0
    cdef object out
    if type(a) is Variable and fa_rows[op].differentiable:
        tape = tape_for(<Variable>a)
        x = ready(<Variable>a, tape)
        if x and roomy(tape):
            ensure_loops(op)
            scalar_eval(op, tape.value[x], 0.0, &v, &dx, NULL)
            heard(op)
            return push_scalar(tape, op, x, 0, v, dx, 0.0)
        if plain_array(a):
            out = line(op, a, None, 0.0, (<Variable>a).layout)
            if out is not None:
                return out
    elif PyFloat_CheckExact(a) and fa_rows[op].differentiable:
        ensure_loops(op)
        scalar_eval(op, PyFloat_AS_DOUBLE(a), 0.0, &v, NULL, NULL)
        heard(op)
        return v
    return apply(op, a, None)


# ---- operands --------------------------------------------------------------------------------------------------------
cdef object constant_array(object x, str name):
    """An operand that is no Variable as a float64 array; an object array of Variables as one Variable."""
    a = asarray(x)
    kind = a.dtype.kind
    if isinstance(x, np.ndarray) and type(x) is not np.ndarray:
        refuse_masked(x, name)
    if kind == "f" or kind == "i" or kind == "u" or kind == "b":
        return asarray(a, np.float64, order="C")
    if kind == "O":
        return pack(a, name)
    if kind == "c":
        raise TypeError(f"{name}: complex numbers are not supported; split them into real and imaginary parts")
    raise TypeError(f"{name}: cannot compute with {type(x).__name__} of dtype {a.dtype}")


cdef object operand(object x, str name):
    """An argument as what a record can use: a recorded Variable, or the float64 array of a constant."""
    cdef Handle h
    if tracing and not isinstance(x, Handle):
        x = captured(x, name)
    if not isinstance(x, Handle):
        x = constant_array(x, name)
        if not isinstance(x, Handle):
            return x
    h = <Handle>x
    if h.state == GONE:
        refuse_freed(h, name)
    if h.state == CONSTANT:
        return captured(h.extra.data, name) if tracing else h.extra.data
    return h


cdef inline Layout layout_for(object x):
    """The layout of an operand; None for None."""
    return None if x is None else (<Handle>x).layout if isinstance(x, Handle) else layout_of(x.shape)


cdef inline Py_ssize_t slot_of(Handle h) noexcept:
    """First slot of a recorded Variable that `settle` has prepared."""
    return h.offset if h.state == NODE else h.extra.current.offset


cdef inline Py_ssize_t rec_of(Handle h) noexcept:
    return h.rec if h.state == NODE else h.extra.current.rec


cdef Tape settle(object operands, Py_ssize_t slots, Py_ssize_t records, Py_ssize_t pool, str name):
    """The tape for an operation on some operands, with room for so much more and all leaves bound to it."""
    cdef Tape tape = None
    cdef Handle h
    for x in operands:
        if isinstance(x, Handle):
            h = <Handle>x
            if h.state == NODE:
                if tape is not None and h.tape is not tape:
                    if h.tape.trace is not None or tape.trace is not None:
                        raise TraceError(f"{name}: {OUTSIDE}")
                    raise RuntimeError(f"{name}: the operands were recorded by different threads; compute with the "
                                       "value of one of them (.detach())")
                tape = h.tape
    if tape is None:
        tape = current_tape()
    catch_up(tape)
    for x in operands:
        if isinstance(x, Handle):
            if (<Handle>x).state == LEAF:
                tape.bind_size(<Handle>x, &slots)
                records += 1
        elif x is not None:
            slots += (<ndarray>x).size
    tape.reserve(slots, records, pool)
    for x in operands:
        if isinstance(x, Handle) and (<Handle>x).state == LEAF:
            tape.bind(<Handle>x)
    if tape.observer is not None:
        tape.observer.operands = operands
    return tape


cdef Py_ssize_t place(Tape tape, object x, Py_ssize_t *slot) except -1:
    """The slot of an operand; a constant is copied behind what the record's block already holds."""
    cdef Py_ssize_t where = slot[0]
    if isinstance(x, Handle):
        return slot_of(<Handle>x)
    copy_in(tape, where, x)
    slot[0] += (<ndarray>x).size
    return where


cdef object value_or_array(object x):
    return values_of(<Handle>x) if isinstance(x, Handle) else x


cdef object unrecorded(object out):
    """A result without gradient: truth values and integers as NumPy gives them, numbers as a constant Variable."""
    return with_data(np.array(out), CONSTANT) if out.dtype == float64 else out


cdef bint flows(object operands, str name) except -1:
    """Whether an operation on these operands is to be recorded: a gradient flows through one, and no_grad() is off."""
    cdef Tape tape = None
    cdef bint found = False
    for x in operands:
        if isinstance(x, Handle):
            if (<Handle>x).state == GONE:
                refuse_freed(<Handle>x, name)
            if (<Handle>x).state == NODE:
                tape = (<Handle>x).tape
            found = found or recorded(<Handle>x)
    if not found:
        return False
    if tape is None or tape.busy:                     # in a hook no_grad() holds for the tape set aside
        tape = current_tape()
    return tape.paused == 0 or tape.trace is not None


cdef Layout broadcast(Layout x, Layout y, str name):
    """The layout of the result of an elementwise operation: dense, of the broadcast shape."""
    cdef Py_ssize_t dims[64]
    cdef Py_ssize_t d, n, a, b
    if y is None or x is y:
        return x if x.contiguous else dense(x.ndim, x.dims)
    n = x.ndim if x.ndim > y.ndim else y.ndim
    for d in range(n):
        a = x.dims[d - (n - x.ndim)] if d >= n - x.ndim else 1
        b = y.dims[d - (n - y.ndim)] if d >= n - y.ndim else 1
        if a != b and a != 1 and b != 1:
            raise ValueError(f"{name}: operands of shapes {x.shape} and {y.shape} cannot be broadcast together")
        dims[d] = b if a == 1 else a
    if n == x.ndim and x.contiguous and same_dims(x, dims):
        return x
    if n == y.ndim and y.contiguous and same_dims(y, dims):
        return y
    return dense(n, dims)


cdef bint same_dims(Layout layout, const Py_ssize_t *dims) noexcept:
    cdef Py_ssize_t d
    for d in range(layout.ndim):
        if layout.dims[d] != dims[d]:
            return False
    return True


# ---- the general way -------------------------------------------------------------------------------------------------
cdef object apply(int op, object x, object y):
    """Record, or compute, a function of the table on any operands; y is None for a function of one argument."""
    cdef str name = fa_rows[op].name.decode()
    cdef object a, b = None
    for a in (x, y):                                  # a symbolic operand takes the operation as its own
        if not isinstance(a, Handle) and hasattr(type(a), "__fastad_node__"):
            return a.__fastad_node__(name, (x,) if fa_rows[op].arity == 1 else (x, y))
    a = operand(x, name)
    if fa_rows[op].arity == 2:
        b = operand(y, name)
    if tracing and (meets_trace(a, b) or meets_trace(b, None)):
        return apply_traced(op, x, y, a, b, name)
    if not (isinstance(a, Handle) or isinstance(b, Handle)):
        out = evaluate(op, a, b)
        return unrecorded(out) if isinstance(x, Handle) or isinstance(y, Handle) else out
    ensure_loops(op)
    if not fa_rows[op].differentiable or not flows((a, b), name):
        return unrecorded(evaluate(op, value_or_array(a), None if b is None else value_or_array(b)))
    return record_map(op, a, b, layout_for(a), layout_for(b), name)


cdef Variable record_map(int op, object a, object b, Layout la, Layout lb, str name):
    """Record out = op(a, b) over the broadcast shape of a and b (b may be None)."""
    cdef Layout out = broadcast(la, lb, name)
    cdef Tape tape = settle((a, b), out.size, 2, 4 * out.ndim + 5, name)
    cdef Py_ssize_t slot = tape.n_slots, rec, x = 0, y = 0
    cdef bint ca = not isinstance(a, Handle), cb = not isinstance(b, Handle)
    cdef Variable node
    cdef Wide *w
    cdef double v, dx = 0.0, dy = 0.0
    if out is SCALAR:
        if not ca:
            x = slot_of(<Handle>a)
        if not cb:
            y = slot_of(<Handle>b)
        if (ca or slot - x < FAR) and (cb or slot - y < FAR):
            if ca:
                dx = a
            if b is not None and cb:
                dy = b
            scalar_eval(op, dx if ca else tape.value[x], dy if cb else tape.value[y], &v, NULL if ca else &dx,
                        NULL if cb else &dy)
            heard(op)
            node = push_scalar(tape, op, x, y, v, dx, dy)
            computed(tape)
            return node
    rec = tape.n_records
    w = tape.push(MAP, out.size + (la.size if ca else 0) + (lb.size if lb is not None and cb else 0))
    w.op = <uint8_t>op
    w.flags = (CONSTANT_A if ca else 0) | (CONSTANT_B if cb else 0)
    slot = w.out + out.size
    w.a = place(tape, a, &slot)
    if b is not None:
        w.b = place(tape, b, &slot)
    tape.push_layout(out, out, la, lb, w)
    run(tape, w)
    return new_node(tape, w.out, rec, out)


cdef int run(Tape tape, Wide *w) except -1:
    """Compute a record's values, letting other threads work meanwhile when it is long; not where that is for later."""
    if tape.late:
        return 0
    if w.n > 50_000:
        tape.busy = True
        with nogil:
            tape.run_forward(w)
        tape.busy = False
    else:
        tape.run_forward(w)
    computed(tape)
    return heard(w.op)


cdef inline int computed(Tape tape) except -1:
    """Show what the last record has computed to whoever watches."""
    if FA_UNLIKELY(tape.observer is not None):
        tape.observer.computed(tape, tape.n_records - 1, tape.n_slots - tape.size_of(tape.n_records - 1))
    return 0


cdef bint same_shape(Layout x, Layout y) noexcept:
    return x is y or (x.ndim == y.ndim and same_dims(x, y.dims))


cdef object NUMBER = object()         # marks an operand of `line` that is a number


cdef inline bint plain_array(object a) noexcept:
    """Whether a is a recorded array whose elements lie in C order without gaps."""
    return (type(a) is Variable and (<Variable>a).layout.ndim > 0 and (<Variable>a).layout.contiguous
            and recorded(<Variable>a))


cdef inline bint plain_constant(object a, Layout layout) noexcept:
    """Whether a is a float64 array in C order, of the shape of a layout, that can be copied right away."""
    cdef Py_ssize_t d
    if tracing or type(a) is not ndarray \
            or PyArray_TYPE(<ndarray>a) != NPY_DOUBLE or PyArray_NDIM(<ndarray>a) != layout.ndim \
            or not PyArray_IS_C_CONTIGUOUS(<ndarray>a) or not PyArray_ISBEHAVED_RO(<ndarray>a):
        return False
    for d in range(layout.ndim):
        if PyArray_DIM(<ndarray>a, <int>d) != layout.dims[d]:
            return False
    return True


cdef object array_operator(int op, object a, object b):
    """A function of two arguments, arrays of one shape without gaps, or one and a number; None if it is neither."""
    cdef double c = 0.0
    if plain_array(a):
        if PyFloat_CheckExact(b) or PyLong_CheckExact(b):
            c, b = b, NUMBER
        elif type(b) is Variable:
            if not plain_array(b) or not same_shape((<Variable>a).layout, (<Variable>b).layout):
                return None
            ensure_loops(op)
            return pair(op, <Variable>a, <Variable>b)
        elif not plain_constant(b, (<Variable>a).layout):
            return None
        return line(op, a, b, c, (<Variable>a).layout)
    if not plain_array(b):
        return None
    if PyFloat_CheckExact(a) or PyLong_CheckExact(a):
        c, a = a, NUMBER
    elif not plain_constant(a, (<Variable>b).layout):
        return None
    return line(op, a, b, c, (<Variable>b).layout)


cdef inline Py_ssize_t bound(Handle h, Tape tape) noexcept:
    """The slot of a recorded array that stands on the tape, unchanged for sure; 0 when it has to be looked at."""
    cdef Binding b
    if h.state == NODE:
        return h.offset if h.tape is tape else 0
    b = h.extra.current
    if b is None or b.tape is not tape or b.offset < 0 or b.version != h.extra.version or h.extra.exposed:
        return 0
    return b.offset


cdef object pair(int op, Handle x, Handle y):
    """An operator on two recorded arrays of one shape without gaps, the usual case of `line`."""
    cdef Tape tape = x.tape if x.state == NODE else y.tape if y.state == NODE else current_tape()
    cdef Py_ssize_t a = bound(x, tape), b = bound(y, tape), n = x.layout.size
    cdef Wide *w
    if (a == 0 or b == 0 or tape.n_slots + n > tape.slot_limit or tape.n_records >= tape.record_limit
            or tape.n_wide >= tape.wide.shape[0]):
        return line(op, x, y, 0.0, x.layout)
    w = tape.push(MAP, n)
    w.op = <uint8_t>op
    w.a, w.b, w.n = a, b, n
    w.sv = w.sx = w.sy = 1
    run(tape, w)
    return new_node(tape, w.out, tape.n_records - 1, x.layout)


cdef object line(int op, object a, object b, double c, Layout layout):
    """Record a map over one axis. Operands: recorded arrays, constant ones, NUMBER for the number c, None for none."""
    cdef Tape tape = None
    cdef Py_ssize_t n = layout.size, slots = n, constants = 0, free
    cdef Wide *w
    if type(a) is Variable and (<Variable>a).state == NODE:
        tape = (<Variable>a).tape
    if type(b) is Variable and (<Variable>b).state == NODE:
        if tape is not None and (<Variable>b).tape is not tape:
            return None
        tape = (<Variable>b).tape
    if tape is None:
        tape = current_tape()
    if tape.paused or tape.observer is not None:
        return None
    if type(a) is Variable:
        if (<Variable>a).state == LEAF:
            tape.bind_size(<Variable>a, &slots)
    else:
        constants += 1 if a is NUMBER else n
    if type(b) is Variable:
        if (<Variable>b).state == LEAF:
            tape.bind_size(<Variable>b, &slots)
    elif b is not None:
        constants += 1 if b is NUMBER else n
    ensure_loops(op)
    tape.reserve(slots + constants, 3, 0)
    if type(a) is Variable and (<Variable>a).state == LEAF:
        tape.bind(<Variable>a)
    if type(b) is Variable and (<Variable>b).state == LEAF:
        tape.bind(<Variable>b)
    w = tape.push(MAP, n + constants)
    w.op = <uint8_t>op
    w.n = n
    w.sv = 1
    free = w.out + n
    w.a = place_on_line(tape, w, a, c, &free, CONSTANT_A)
    w.sx = a is not NUMBER
    if b is not None:
        w.b = place_on_line(tape, w, b, c, &free, CONSTANT_B)
        w.sy = b is not NUMBER
    run(tape, w)
    return new_node(tape, w.out, tape.n_records - 1, layout)


cdef inline Py_ssize_t place_on_line(Tape tape, Wide *w, object z, double c, Py_ssize_t *free,
                                     uint8_t constant) noexcept:
    """The slot of an operand of `line`; constants are copied behind the result."""
    cdef Py_ssize_t where = free[0]
    if type(z) is Variable:
        return slot_of(<Variable>z)
    w.flags |= constant
    if z is NUMBER:
        tape.value[where] = c
        free[0] += 1
    elif w.n:
        memcpy(&tape.value[where], PyArray_DATA(<ndarray>z), w.n * sizeof(double))
        free[0] += w.n
    return where


cdef inline object operator(int op, object a, object b):
    """A differentiable operator, the short ways first; one of the operands is a Variable."""
    cdef object out
    if plain_array(a) and plain_array(b) and same_shape((<Variable>a).layout, (<Variable>b).layout):
        out = pair(op, <Variable>a, <Variable>b)
        if out is not None:
            return out
    elif (type(a) is Variable and (<Variable>a).layout.ndim) or (type(b) is Variable and (<Variable>b).layout.ndim):
        out = array_operator(op, a, b)
        if out is not None:
            return out
    return binary(op, a, b)


cdef object operator_call(int op, object a, object b):
    """A function of two arguments with an opcode known at run time only."""
    cdef object out
    cdef Tape tape
    cdef Py_ssize_t x, y
    cdef double v, dx, dy
    if fa_rows[op].differentiable:
        if type(a) is Variable and type(b) is Variable and (<Variable>a).layout is SCALAR:
            tape = tape_for(<Variable>(b if (<Variable>a).state == LEAF else a))
            x, y = ready(<Variable>a, tape), ready(<Variable>b, tape)
            if x and y and roomy(tape):
                ensure_loops(op)
                scalar_eval(op, tape.value[x], tape.value[y], &v, &dx, &dy)
                heard(op)
                return push_scalar(tape, op, x, y, v, dx, dy)
        out = array_operator(op, a, b)
        if out is not None:
            return out
    return apply(op, a, b)


node_protocol = "__fastad_node__"     # method of symbolic operands, see `apply`
cdef list plain_functions = [None] * OP_COUNT


def plain_function(str name):
    """The NumPy or SciPy function of a row, None if there is none."""
    row = table.BY_NAME[name]
    if row.numpy is None:
        return None
    if row.numpy.startswith("special."):
        import scipy.special
        return attrgetter(row.numpy[8:])(scipy.special)
    return getattr(np, row.numpy)


cdef object evaluate(int op, object a, object b):
    """The function on plain arrays: NumPy's or SciPy's where it is theirs."""
    cdef object f = plain_functions[op]
    if f is None:
        f = plain_function(fa_rows[op].name.decode())
        plain_functions[op] = f or False
    if f:
        with np.errstate(all="ignore"):
            return f(a) if b is None else f(a, b)
    ensure_loops(op)
    if b is None:
        a = np.ascontiguousarray(a, np.float64) if a.ndim else asarray(a, np.float64)
    else:
        a, b = [np.ascontiguousarray(z, np.float64).reshape(z.shape) for z in np.broadcast_arrays(a, b)]
    out = evaluate_plain(op, a, b)
    heard(op)
    return result(out)
