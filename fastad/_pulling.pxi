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
