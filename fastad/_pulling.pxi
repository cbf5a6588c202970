# What the function transforms need of the tape (part of variable.pyx).

def input_variable(value):
    """A Variable on this thread's tape that stands for an argument: not a leaf, so that it may be written to in place."""
    cdef object data = None
    cdef Tape tape = current_tape()
    cdef Layout layout = SCALAR
    cdef Wide *w
    if not PyFloat_Check(value):
        data = asarray(value, np.float64, order="C")
        layout = layout_of(data.shape)
    tape.reserve(layout.size, 1, 0)
    w = tape.push(SPAN, layout.size)
    w.n = layout.size
    if data is None:
        tape.value[w.out] = value
    else:
        copy_in(tape, w.out, data)
    return new_node(tape, w.out, tape.n_records - 1, layout)


def enter_transform(list inputs):
    """Begin a function transform in this thread: record, also under no_grad(). What it returns ends the transform."""
    cdef Tape tape = current_tape()
    cdef int paused = tape.paused
    tape.transforms.append(None if paused else inputs)
    tape.paused = 0
    tape.limit()
    return tape, paused


def leave_transform(token):
    """End a function transform."""
    cdef Tape tape = token[0]
    tape.transforms.pop()
    tape.paused = token[1]
    tape.limit()


cdef Py_ssize_t first_slot(list inputs) noexcept:
    """The lowest slot of input Variables."""
    cdef Py_ssize_t first = <Py_ssize_t>1 << 62
    for x in inputs:
        first = min(first, (<Handle>x).offset)
    return max(first, 1)


def pull_back(Variable y, seed, list inputs):
    """Gradients of y with respect to input Variables made before it; nothing is deposited or freed.

    Inside of another transform y may depend on nothing that the outer one differentiates: that would be lost. Eager
    Variables are constants here.
    """
    cdef Tape tape = y.tape
    cdef Py_ssize_t base, stop
    check_alive(y, "grad")
    if y.state != NODE or any([(<Handle?>x).tape is not tape for x in inputs]):
        return None
    base, stop = first_slot(inputs), tape.n_records
    for x in inputs:
        stop = min(stop, (<Handle>x).rec)
    tape.guarded = base
    if tape.transforms and tape.transforms[0] is not None:
        tape.guarded = first_slot(tape.transforms[0])
    tape.prepare_adjoints(base)
    tape.outside = tape.guarded <= y.offset < base
    if y.offset >= base:
        add_to_view(&tape.adjoint[y.offset], y.layout, seed)
        tape.sweep(y.rec + 1, stop, base)
    if tape.outside:
        raise NotImplementedError("the function uses a Variable that an outer transform differentiates with respect to, and "
                                  "derivatives of derivatives are not there yet; .detach() makes it a constant")
    gradients = [read_gradient(tape, (<Handle>x).offset, (<Handle>x).layout) for x in inputs]
    tape.swept = base                                     # what this sweep has left above is nobody's gradient
    return gradients


cdef inline bint has_tangent(object y, Tape tape, Py_ssize_t base) noexcept:
    """Whether y is a Variable among slots from `base` up."""
    return (isinstance(y, Variable) and (<Variable>y).state == NODE and (<Variable>y).tape is tape
            and (<Variable>y).offset >= base and (<Variable>y).layout.size > 0)


def push_forward(list inputs, list tangents, list outputs):
    """Tangents of outputs, given those of input Variables made before them; None where there is none for sure.

    They stand in a memory of their own while the tape is read, so nothing is left behind and no adjoint is lost.
    """
    cdef Tape tape = None
    cdef Handle x, y
    cdef Py_ssize_t base = first_slot(inputs), first = <Py_ssize_t>1 << 62
    cdef double[::1] dot
    for x in inputs:
        check_alive(x, "jvp")
        tape = x.tape
        first = min(first, x.rec)
    for y_ in outputs:
        check_alive(y_, "jvp")
    roots = [y_ for y_ in outputs if isinstance(y_, Variable) and (<Variable>y_).state == NODE and (<Variable>y_).tape is tape]
    if not inputs or not roots:
        return [None] * len(outputs)
    dot = np.full(tape.n_slots - base + 1, -0.0)
    for x, x_dot in zip(inputs, tangents):
        if x.layout.size:
            write_view(&dot[x.offset - base + 1], x.layout, x_dot)
    tape.guarded = base
    if tape.transforms and tape.transforms[0] is not None:
        tape.guarded = first_slot(tape.transforms[0])
    tape.tangent(first, base, dot, roots)
    return [read_view(&dot[(<Variable>y_).offset - base + 1], (<Variable>y_).layout) + 0.0 if has_tangent(y_, tape, base) else None
            for y_ in outputs]
