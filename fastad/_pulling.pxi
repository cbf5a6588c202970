# What the function transforms need of the tape (part of variable.pyx).

def input_variable(value):
    """A Variable on this thread's tape that stands for an argument: not a leaf, so that it may be written to in place.

    That of a recorded Variable is a copy, which is differentiated with respect to apart from the Variable itself.
    """
    return apply(OP_positive, value, None) if isinstance(value, Handle) else new_span(current_tape(), value)


cdef Variable new_span(Tape tape, object value):
    """A number or an array on a tape."""
    cdef object data = None
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


def within_transform():
    """Whether an outer function transform runs in this thread and differentiates."""
    cdef Tape tape = current_tape()
    return any([inputs is not None for inputs in tape.transforms])


def carries(x, str name):
    """Whether an operation on x would be recorded."""
    return isinstance(x, Handle) and recorded(<Handle>x) and flows((x,), name)


def pull_back(list outputs, list seeds, list inputs):
    """Gradients of outputs with respect to input Variables made before them, as arrays; nothing is deposited or freed.

    Eager Variables are constants here. Where something depends on what an outer transform differentiates, the gradients
    would have to be recorded: None.
    """
    cdef Tape tape = (<Handle?>inputs[0]).tape if inputs else None
    cdef Py_ssize_t base, stop, start = 0
    cdef list roots = []
    cdef Variable y
    for y, seed in zip(outputs, seeds):
        check_alive(y, "grad")
        if y.state == NODE and y.tape is tape and all([(<Handle?>x).tape is tape for x in inputs]):
            roots.append((y, seed))
            start = max(start, y.rec + 1)
    if not roots:
        return [np.zeros((<Handle>x).layout.shape)[()] for x in inputs]
    base, stop = first_slot(inputs), tape.n_records
    for x in inputs:
        stop = min(stop, (<Handle>x).rec)
    tape.guarded = base
    for outer in tape.transforms:
        if outer is not None:
            tape.guarded = min(base, first_slot(outer))
            break
    tape.prepare_adjoints(base)
    tape.outside = False
    for y, seed in roots:
        if y.offset >= base:
            add_to_view(&tape.adjoint[0] + y.offset, y.layout, seed)
        elif y.offset >= tape.guarded:
            tape.outside = True
    tape.sweep(start, stop, base)
    gradients = None if tape.outside else [read_gradient(tape, (<Handle>x).offset, (<Handle>x).layout) for x in inputs]
    tape.swept = base                                     # what this sweep has left above is nobody's gradient
    return gradients


cdef inline bint has_tangent(object y, Tape tape, Py_ssize_t base) noexcept:
    """Whether y is a Variable among slots from `base` up."""
    return (isinstance(y, Variable) and (<Variable>y).state == NODE and (<Variable>y).tape is tape
            and (<Variable>y).offset >= base and (<Variable>y).layout.size > 0)


cdef Push pushed(list inputs, list outputs):
    """The tangents since these inputs; None where no output can have one."""
    cdef Handle x
    for x in inputs:
        check_alive(x, "jvp")
    for y in outputs:
        check_alive(y, "jvp")
    if not inputs or not any([isinstance(y, Variable) and (<Variable>y).state == NODE
                              and (<Variable>y).tape is (<Handle?>inputs[0]).tape for y in outputs]):
        return None
    return Push(inputs)


cdef bint leads_outside(Push push, list outputs) except -1:
    """Whether outputs depend on what an outer transform differentiates: the tangents would have to be recorded."""
    cdef Tape tape = push.tape
    tape.guarded = push.d.base
    if tape.transforms and tape.transforms[0] is not None:
        tape.guarded = first_slot(tape.transforms[0])
    return push.outside([y for y in outputs if isinstance(y, Variable) and (<Variable>y).state == NODE
                         and (<Variable>y).tape is tape])


def push_forward(list inputs, list tangents, list outputs):
    """Tangents of outputs, given those of input Variables made before them; None where there is none for sure.

    Nothing is left behind and no adjoint is lost. Where outputs depend on what an outer transform differentiates, the
    tangents would have to be recorded: None for all.
    """
    cdef Push push = pushed(inputs, outputs)
    cdef list found = []
    if push is None:
        return [None] * len(outputs)
    for x, x_dot in zip(inputs, tangents):
        push.move(x, x_dot)
    push.run()
    if leads_outside(push, outputs):
        return None
    for y in outputs:
        y_dot = None
        if has_tangent(y, push.tape, push.d.base):
            y_dot = np.empty((<Variable>y).layout.shape)
            push.read(y, <double *>PyArray_DATA(<ndarray>y_dot))
        found.append(y_dot)
    return found


def push_columns(list inputs, Variable y):
    """The tangents of an output for each element of the inputs alone: of each input an array (size, *shape of y).

    None where they would have to be recorded. The inputs lie in a row each.
    """
    cdef Push push = pushed(inputs, [y])
    cdef list found = [np.zeros(((<Handle?>x).layout.size, *y.layout.shape)) for x in inputs]
    cdef Handle x
    cdef Py_ssize_t j
    cdef double *out
    if push is None or not has_tangent(y, push.tape, push.d.base):
        return found
    for x, block in zip(inputs, found):
        out = <double *>PyArray_DATA(<ndarray>block)
        for j in range(x.layout.size):
            push.move_one(x.offset + j)
            push.run()
            push.read(y, out + j * y.layout.size)
            push.clear()
    return None if leads_outside(push, [y]) else found


# ---- backward() ------------------------------------------------------------------------------------------------------
cdef object seed_of(Variable y, object seed, bint create_graph):
    """The upstream gradient of backward(): an array, or a recorded Variable where the sweep is recorded."""
    if seed is None:
        if y.layout.size != 1:
            raise ValueError(f"backward: a Variable of shape {y.layout.shape} needs a seed of that shape, e.g. "
                             f"y.backward(np.ones({y.layout.shape})); or reduce it to a scalar first")
        return np.ones(y.layout.shape)[()]
    if isinstance(seed, Handle):
        if not create_graph or not recorded(<Handle>seed):
            seed = values_of(<Handle>seed)
    if not isinstance(seed, Handle):
        seed = constant_array(seed, "backward: the seed")
    if seed.shape != y.layout.shape:
        raise ValueError(f"backward: the seed has shape {seed.shape}, the Variable {y.layout.shape}")
    return seed


cdef int sweep_from(Variable y, object seed, bint retain_graph) except -1:
    """The sweep of backward(): leaves get their gradients, the graph is freed unless it is retained."""
    cdef Tape tape = y.tape
    cdef Handle h
    cdef void *p = tape.oldest
    while p is not NULL and tape.swept:                   # keep what earlier sweeps have left
        h = <Handle>p
        harvest(tape, h)                                  # may collect garbage: the next one is looked up after it
        p = h.newer
    tape.prepare_adjoints(1)
    try:
        if y.layout.size == 1:
            tape.adjoint[y.offset] = <double>seed.item() + 0.0
        else:
            add_to_view(&tape.adjoint[0] + y.offset, y.layout, seed + 0.0)
        tape.sweep(y.rec + 1, 0, 1)
        tape.deposit(y)
    except BaseException:
        tape.swept = 1                                    # half-finished adjoints are nobody's gradient
        raise
    if not retain_graph:
        tape.release()
    return 0


cdef int recorded_sweep_from(Variable y, object seed) except -1:
    """The sweep of backward(create_graph=True): leaves and living intermediates get recorded gradients."""
    cdef Tape tape = y.tape
    cdef Handle h
    cdef Binding b
    cdef void *p
    cdef int paused
    cdef _Recorder r
    cdef Py_ssize_t above
    cdef list bindings = [], held = [], found = []
    if isinstance(seed, Handle):
        settle([y, seed], 0, 1, 0, "backward")
    paused, tape.paused = tape.paused, 0
    tape.pinned += 1
    tape.limit()
    try:
        above = tape.n_slots
        for b in tape.leaves:
            if b.leaf is not NULL and b.offset >= 0:
                bindings.append((<Handle>b.leaf, b.offset))
        p = tape.oldest
        while p is not NULL:
            h = <Handle>p
            if h.state == NODE and h.layout.size:
                held.append(h)
            p = h.newer
        if bindings:
            spans = [(offset, (<Handle>leaf).layout) for leaf, offset in bindings]
            r = recorded_sweep(tape, [y], [seed], spans, False, False)
            for leaf, offset in bindings:                 # a leaf may stand on the tape several times
                found.append((leaf, r.gradient(offset, (<Handle>leaf).layout, False)))
            for h in held:
                if h.offset >= r.base and h.offset + h.layout.high < above:
                    found.append((h, r.gradient(h.offset, h.layout, False)))
        totals = {}
        for owner, g in found:
            if g is not None:
                totals[id(owner)] = (owner, totals[id(owner)][1] + g if id(owner) in totals else g)
        for owner, g in totals.values():
            if (<Handle>owner).state == LEAF:
                for function in list(((<Handle>owner).extra.hooks or {}).values()):
                    g = hooked(function, g, (<Handle>owner).extra.name)
            add_gradient(owner, g)
    finally:
        tape.pinned -= 1
        tape.paused = paused
        tape.open = False
        tape.limit()
    return 0


cdef int add_gradient(Handle h, object g) except -1:
    """Add a gradient that is a Variable to that of a leaf or an intermediate."""
    if h.extra is None:
        h.extra = Storage.__new__(Storage)
    h.extra.grad = g if h.extra.grad is None else h.extra.grad + g
    return 0
