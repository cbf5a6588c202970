# Building blocks for the NumPy functions (part of variable.pyx, used by fastad.numpy_api).

def view(Variable x, Py_ssize_t offset, tuple shape, tuple strides):
    """A view of a recorded Variable, without a record: `offset` and `strides` count elements from x's first one.

    Raises
    ------
    ValueError
        When the view reaches outside of what x spans.
    """
    cdef Py_ssize_t dims[64]
    cdef Py_ssize_t steps[64]
    cdef Py_ssize_t d, n = len(shape)
    cdef Layout layout
    cdef Tape tape
    if n > 64:
        raise ValueError(f"view: an array has at most 64 dimensions, not {n}")
    if len(strides) != n:
        raise ValueError(f"view: shape {shape} and strides {strides} do not belong together")
    for d in range(n):
        dims[d], steps[d] = shape[d], strides[d]
    layout = make_layout(n, dims, steps) if n else SCALAR
    if layout.size and (offset + layout.low < x.layout.low or offset + layout.high > x.layout.high):
        raise ValueError(f"view: elements {offset + layout.low} to {offset + layout.high} are outside of the Variable")
    return view_as(x, offset, layout)


cdef object view_as(Variable x, Py_ssize_t offset, Layout layout):
    """A view with a layout known to fit."""
    cdef Tape tape
    if not flows((x,), "view"):
        if x.state == NODE:
            return with_data(read_view(&x.tape.value[0] + x.offset + offset, layout), CONSTANT)
        data = np.asarray(x.extra.data)
        base = np.lib.stride_tricks.as_strided(data.reshape(-1)[offset:] if data.flags.c_contiguous else data,
                                               layout.shape, tuple([8 * k for k in layout.strides]))
        return with_data(np.array(base), CONSTANT)
    tape = settle((x,), 0, 1, 0, "view")
    return finished(new_node(tape, slot_of(x) + offset, rec_of(x), layout), (x,), None)


def reshaped_view(Variable x, tuple shape):
    """x in another shape of its size, a view; None when its elements do not lie in C order without gaps."""
    cdef Layout layout
    if not x.layout.contiguous:
        return None
    layout = layout_of(shape)
    if layout.size != x.layout.size:
        raise ValueError(f"reshape: a Variable of shape {x.layout.shape} does not fit shape {shape}")
    return view_as(x, 0, layout)


def dense_view(x):
    """x itself when its elements lie in C order without gaps, else a recorded copy that does."""
    cdef Variable v = x
    if v.layout.contiguous or not recorded(v):
        return v
    return record_copy(v)


cdef bint all_within(const int64_t[::1] positions, int64_t first, int64_t end) noexcept nogil:
    """Whether first <= position < end for all of them."""
    cdef Py_ssize_t k
    for k in range(positions.shape[0]):
        if positions[k] < first or positions[k] >= end:
            return False
    return True


def gather(x, positions, double fill=0.0):
    """Elements of x by their position in C order; one ROUTE record.

    Parameters
    ----------
    x : Variable
        Any recorded Variable.
    positions : ndarray of int64
        Positions in ``x.ravel()``; -1 gives the constant `fill`. The result has the shape of `positions`.
    """
    cdef Variable v = dense_view(x)
    cdef const int64_t[::1] index = np.ascontiguousarray(positions, np.int64).reshape(-1)
    cdef Layout out = layout_of(positions.shape)
    cdef Tape tape
    cdef Py_ssize_t k, n = index.shape[0]
    cdef Wide *w
    if not all_within(index, -1, v.layout.size):
        raise IndexError(f"gather: positions outside of a Variable of {v.layout.size} elements")
    if not flows((v,), "gather"):
        data = np.append(np.asarray(values_of(v)).reshape(-1), fill)
        return with_data(data[positions], CONSTANT)
    tape = settle((v,), n, 2, n, "gather")
    w = tape.push(ROUTE, n)
    w.n = n
    w.a = slot_of(v)
    w.layout = tape.n_pool
    for k in range(n):
        tape.pool[w.layout + k] = index[k]
        tape.value[w.out + k] = fill
    tape.n_pool += n
    run(tape, w)
    return finished(new_node(tape, w.out, tape.n_records - 1, out), (v,), None)


def pack(items, str name):
    """One Variable from an object array of numbers and scalar Variables."""
    cdef Layout out = layout_of(items.shape)
    cdef Py_ssize_t k, n = out.size
    cdef list flat = items.reshape(-1).tolist() if items.ndim else [items.item()]
    cdef list found = []
    cdef Handle h
    cdef Tape tape
    cdef Wide *w
    for k in range(n):
        item = flat[k]
        if isinstance(item, Handle):
            h = <Handle>item
            if h.layout.size != 1 or h.layout.ndim:
                raise TypeError(f"{name}: an array of Variables has to hold scalars; np.stack or np.concatenate join "
                                "arrays")
            if h.state == CONSTANT:
                flat[k] = h.extra.data
            elif not recorded(h):
                refuse_freed(h, "array")
            else:
                found.append(h)
        elif isinstance(item, (complex, np.complexfloating)):
            raise TypeError(f"{name}: complex numbers are not supported; split them into real and imaginary parts")
        elif not isinstance(item, (int, float, np.number, np.bool_, np.ndarray)):
            raise TypeError(f"{name}: cannot compute with {type(item).__name__}; numbers and arrays of them are needed")
    if not flows(found, "array"):
        try:
            data = np.array([value_or_array(item) for item in flat], np.float64).reshape(items.shape)
        except OverflowError:
            raise OverflowError(f"{name}: an integer is too large for float64") from None
        return with_data(data, CONSTANT) if found else data
    tape = settle(found, n, 1, n, "array")
    w = tape.push(ROUTE, n)
    w.n = n
    w.a = 0
    w.flags = ANYWHERE
    w.layout = tape.n_pool
    for k in range(n):
        if isinstance(flat[k], Handle):
            tape.pool[w.layout + k] = slot_of(<Handle>flat[k])
        else:
            tape.pool[w.layout + k] = -1
            tape.value[w.out + k] = flat[k]
    tape.n_pool += n
    run(tape, w)
    node = new_node(tape, w.out, tape.n_records - 1, out)
    return finished(node, found, common_kind(flat)) if tracing else node


def total(x, axes, bint keepdims=False):
    """Sum over a tuple of axes (non-negative, sorted, without repetition): a map with += and stride 0."""
    cdef Variable v = x
    cdef Py_ssize_t dims[64]
    cdef Py_ssize_t kept[64]
    cdef Py_ssize_t steps[64]
    cdef Py_ssize_t d, n = 0, step = 1
    cdef Layout full, out
    cdef Tape tape
    cdef Wide *w
    if not flows((v,), "sum"):
        return unrecorded(np.sum(values_of(v), axis=axes, keepdims=keepdims))
    for d in range(v.layout.ndim - 1, -1, -1):
        if d in axes:
            steps[d] = 0
        else:
            steps[d] = step
            step *= v.layout.dims[d]
    for d in range(v.layout.ndim):
        if d not in axes or keepdims:
            dims[n] = 1 if d in axes else v.layout.dims[d]
            n += 1
    out = dense(n, dims)
    full = make_layout(v.layout.ndim, v.layout.dims, steps)
    tape = settle((v,), out.size, 2, 4 * v.layout.ndim + 5, "sum")
    w = tape.push(MAP, out.size)
    w.op = OP_positive
    w.flags = ACCUMULATE
    w.a = slot_of(v)
    for d in range(out.size):
        tape.value[w.out + d] = -0.0 if v.layout.size else 0.0
    tape.push_layout(v.layout, full, v.layout, None, w)
    run(tape, w)
    return finished(new_node(tape, w.out, tape.n_records - 1, out), (v,), INT if kind_of(v) == BOOL else None)


def new_block(tuple shape, pieces, fill=0.0):
    """A block assembled from pieces, one copying record each.

    Parameters
    ----------
    shape : tuple of int
        Shape of the result.
    pieces : sequence of (offset, strides, array-like)
        Where each piece goes: first element and strides in elements; Variables or arrays.
    fill : float or ndarray
        What stands in the places that no piece covers.
    """
    cdef Layout out = layout_of(shape), layout
    cdef Py_ssize_t dims[64]
    cdef Py_ssize_t steps[64]
    cdef Py_ssize_t d, offset, rec
    cdef Tape tape
    cdef Wide *w
    cdef Variable node
    cdef list ready = [(offset, strides, operand(piece, "concatenate")) for offset, strides, piece in pieces]
    handles = [piece for _, _, piece in ready if isinstance(piece, Handle)]
    if not flows(handles, "concatenate") and (handles or (current_tape().paused and not is_tracing())):
        data = np.full(shape, fill, np.float64)
        for offset, strides, piece in ready:
            value = asarray(value_or_array(piece))
            np.lib.stride_tricks.as_strided(data.reshape(-1)[offset:], value.shape,
                                            tuple([8 * k for k in strides]))[...] = value
        return with_data(data, CONSTANT)
    tape = settle(handles, out.size, 1 + len(ready), 300 * (1 + len(ready)), "concatenate")
    rec = tape.n_records
    w = tape.push(SPAN, out.size)
    w.n = out.size
    node = new_node(tape, w.out, rec, out)
    image = np.full(shape, fill, np.float64)
    for offset, strides, piece in ready:
        if not isinstance(piece, Handle) and piece.size:
            np.lib.stride_tricks.as_strided(image.reshape(-1)[offset:], piece.shape,
                                            tuple([8 * k for k in strides]))[...] = piece
    copy_in(tape, node.offset, image)
    for offset, strides, piece in ready:
        if isinstance(piece, Handle) and (<Handle>piece).layout.size:
            layout = (<Handle>piece).layout
            for d in range(layout.ndim):
                dims[d], steps[d] = layout.dims[d], strides[d]
            w = tape.push(MAP, 0)
            w.op = OP_positive
            w.dst = node.offset + offset
            w.a = slot_of(<Handle>piece)
            tape.push_layout(layout, make_layout(layout.ndim, dims, steps), layout, None, w)
            run(tape, w)
            node.rec, node.born = tape.n_records - 1, tape.n_records
    tape.open = False
    return finished(node, handles, common_kind(handles) if handles else FLOAT) if tracing else node


def choose(condition, x, y):
    """``np.where``: two masked maps into one block, so that what is not selected has no adjoint at all."""
    cdef Layout out, lc, la, lb
    cdef Tape tape
    cdef Wide *w
    cdef Py_ssize_t slot, rec, mask
    cdef object a, b, c
    if tracing and any([meets_trace(z, None) for z in (condition, x, y)]):
        a, b, c = operand(x, "where"), operand(y, "where"), operand(condition, "where")
    else:
        a, b = operand(x, "where"), operand(y, "where")
        if isinstance(condition, Handle):
            condition = asarray(values_of(condition)) != 0
        condition = asarray(condition)
        if not flows((a, b), "where"):
            plain = np.where(condition, value_or_array(a), value_or_array(b))
            return unrecorded(plain) if isinstance(x, Handle) or isinstance(y, Handle) else result(plain)
        c = condition.astype(np.float64)
    lc, la, lb = layout_for(c), layout_for(a), layout_for(b)
    out = broadcast(broadcast(lc, la, "where"), lb, "where")
    tape = settle((a, b, c), out.size, 3, 2 * (4 * out.ndim + 5), "where")
    rec = tape.n_records
    w = tape.push(MAP, out.size + (0 if isinstance(c, Handle) else lc.size) + (0 if isinstance(a, Handle) else la.size))
    w.op = OP_keep
    w.flags = (0 if isinstance(c, Handle) else CONSTANT_B) | (0 if isinstance(a, Handle) else CONSTANT_A)
    slot = w.out + out.size
    w.a = place(tape, a, &slot)
    w.b = place(tape, c, &slot)
    mask = w.b
    tape.push_layout(out, out, la, lc, w)
    run(tape, w)
    slot = w.out
    w = tape.push(MAP, 0 if isinstance(b, Handle) else lb.size)
    w.op = OP_drop
    w.flags = ACCUMULATE | (0 if isinstance(c, Handle) else CONSTANT_B) | (0 if isinstance(b, Handle) else CONSTANT_A)
    w.dst = slot
    slot = w.out
    w.a = place(tape, b, &slot)
    w.b = mask
    tape.push_layout(out, out, lb, lc, w)
    run(tape, w)
    node = new_node(tape, w.dst, tape.n_records - 1, out)
    if not tracing:
        return node
    kind = common_kind((a if isinstance(a, Handle) else x, b if isinstance(b, Handle) else y))
    return finished(node, (a, b) if isinstance(a, Handle) or isinstance(b, Handle) else (c,), kind)


def matmul(x, y):
    """``np.matmul`` with Variables: one record, BLAS through NumPy's own loop."""
    cdef object a = operand(x, "matmul"), b = operand(y, "matmul")
    cdef Layout la = layout_for(a), lb = layout_for(b)
    cdef Py_ssize_t dims[64]
    cdef Py_ssize_t steps[64]
    cdef Py_ssize_t M, N, K, d, n, slot, rec, batch = 1
    cdef Py_ssize_t am, ak, bk, bn, ab = 0, bb = 0
    cdef bint same = True
    cdef Tape tape
    cdef Wide *w
    cdef Layout out
    if la.ndim == 0 or lb.ndim == 0:
        raise ValueError(f"matmul: operands of shapes {la.shape} and {lb.shape}: a scalar has no matrix product; use *")
    K = la.dims[la.ndim - 1]
    if K != lb.dims[lb.ndim - 2 if lb.ndim > 1 else 0]:
        raise ValueError(f"matmul: operands of shapes {la.shape} and {lb.shape} do not fit: {K} columns meet "
                         f"{lb.dims[lb.ndim - 2 if lb.ndim > 1 else 0]} rows")
    if tracing and kind_of(a) == BOOL and kind_of(b) == BOOL:
        return functions["primitive"](np.matmul, (a, b), {})
    if not flows((a, b), "matmul"):
        return unrecorded(np.matmul(value_or_array(a), value_or_array(b)))
    M = la.dims[la.ndim - 2] if la.ndim > 1 else 1
    N = lb.dims[lb.ndim - 1] if lb.ndim > 1 else 1
    if la.ndim > 2 or lb.ndim > 2:
        shape = np.broadcast_shapes(batch_shape(la), batch_shape(lb))
        if len(shape) == 1 or (la.ndim == lb.ndim and la.contiguous and lb.contiguous and la.ndim > 2
                               and batch_shape(la) == batch_shape(lb)) \
                or (lb.ndim <= 2 and la.contiguous) or (la.ndim <= 2 and lb.contiguous):
            for d in shape:
                batch *= d
            ab = batch_stride(la, batch)
            bb = batch_stride(lb, batch)
        else:                                         # several axes that broadcast: make them equal, then one axis
            return matmul(broadcast_array(a, shape + matrix_shape(la)), broadcast_array(b, shape + matrix_shape(lb)))
    else:
        shape = ()
    n = 0
    for d in shape:
        dims[n] = d
        n += 1
    if la.ndim > 1:
        dims[n] = M
        n += 1
    if lb.ndim > 1:
        dims[n] = N
        n += 1
    out = dense(n, dims)
    am, ak = (la.dims[2 * la.ndim - 2] if la.ndim > 1 else 0), la.dims[2 * la.ndim - 1]
    bk, bn = lb.dims[lb.ndim], 0
    if lb.ndim > 1:
        bk, bn = lb.dims[2 * lb.ndim - 2], lb.dims[2 * lb.ndim - 1]
    tape = settle((a, b), out.size, 2, 13, "matmul")
    rec = tape.n_records
    w = tape.push(MATMUL,
                  out.size + (0 if isinstance(a, Handle) else la.size) + (0 if isinstance(b, Handle) else lb.size))
    w.flags = (0 if isinstance(a, Handle) else CONSTANT_A) | (0 if isinstance(b, Handle) else CONSTANT_B)
    w.n = out.size
    slot = w.out + out.size
    w.a = place(tape, a, &slot)
    w.b = place(tape, b, &slot)
    w.layout = tape.n_pool
    for d, value in enumerate((batch, M, N, K, M * N, N, 1, ab, am, ak, bb, bk, bn)):
        tape.pool[tape.n_pool + d] = value
    tape.n_pool += 13
    run(tape, w)
    node = new_node(tape, w.out, rec, out)
    return finished(node, (a, b), common_kind((a, b))) if tracing else node


cdef tuple batch_shape(Layout l):
    """The axes in front of the matrices."""
    return l.shape[:l.ndim - 2] if l.ndim > 2 else ()


cdef tuple matrix_shape(Layout l):
    """The last two axes."""
    return l.shape[l.ndim - 2:] if l.ndim > 1 else l.shape


cdef Py_ssize_t batch_stride(Layout l, Py_ssize_t batch) noexcept:
    """Stride between the matrices of a stack whose batch axes run through like one."""
    cdef Py_ssize_t d, matrices = 1
    for d in range(l.ndim - 2):
        matrices *= l.dims[d]
    if matrices == 1:
        return 0
    return l.dims[l.ndim - 2] * l.dims[l.ndim - 1] if l.contiguous else l.dims[2 * l.ndim - 3]


cdef object broadcast_array(object x, tuple shape):
    """A dense operand of a larger shape."""
    cdef Variable v
    if not isinstance(x, Handle):
        return np.ascontiguousarray(np.broadcast_to(x, shape))
    v = x
    strides = (0,) * (len(shape) - v.layout.ndim) + tuple(
        [0 if a == 1 and b != 1 else s
         for a, b, s in zip(v.layout.shape, shape[len(shape) - v.layout.ndim:], v.layout.strides)])
    return dense_view(view(v, 0, shape, strides))


def spread(x, sources, targets, weights, values):
    """Results that are weighted sums of elements of x: ``out[targets] += weights * x.ravel()[sources]``.

    `values` holds the results, already known to the caller; one SPREAD record carries the gradient.
    """
    cdef Variable v = dense_view(x)
    cdef const int64_t[::1] s = np.ascontiguousarray(sources, np.int64)
    cdef const int64_t[::1] t = np.ascontiguousarray(targets, np.int64)
    cdef Py_ssize_t k, n = s.shape[0]
    cdef Layout out = layout_of(values.shape)
    cdef Tape tape
    cdef Wide *w
    if not flows((v,), "spread"):
        return unrecorded(values)
    if t.shape[0] != n or len(weights) != n or not all_within(s, 0, v.layout.size) or not all_within(t, 0, out.size):
        raise IndexError("spread: positions outside of the operand or the result")
    tape = settle((v,), out.size + n, 2, 2 * n, "spread")
    w = tape.push(SPREAD, out.size + n)
    w.n = n
    w.a, w.b = slot_of(v), w.out + out.size
    w.layout = tape.n_pool
    for k in range(n):
        tape.pool[w.layout + k] = s[k]
        tape.pool[w.layout + n + k] = t[k]
    tape.n_pool += 2 * n
    copy_in(tape, w.out, asarray(values))
    copy_in(tape, w.b, asarray(weights, np.float64))
    computed(tape)
    return finished(new_node(tape, w.out, tape.n_records - 1, out), (v,), FLOAT)


def call(rule, inputs, outputs, str name):
    """A function with a derivative rule of its own; one CALL record.

    Parameters
    ----------
    rule : object
        ``rule.pull(upstream)`` gets a list with the adjoint of each output (flat float64 arrays) and returns a list
        with the gradient of each input: an array of as many elements, or None. It may also have ``forward(inputs)``,
        which gives the outputs for other inputs (flat arrays both) and lets `pull` be that of these inputs from then
        on, and ``tangent(tangents)``, from the tangents of the inputs (None: nothing) to those of the outputs.
    inputs : sequence of Variable
    outputs : sequence of array-like
        The values of the results.

    Returns
    -------
    list of Variable
        One for each output.
    """
    cdef list ins = [dense_view(x) for x in inputs], outs = [asarray(v, np.float64) for v in outputs], made = []
    cdef Py_ssize_t slots = 0, n_in = len(ins), n_out = len(outs), k, p, rec
    cdef Tape tape
    cdef Wide *w
    if not flows(ins, name):
        return [with_data(np.array(v), CONSTANT) for v in outs]
    ins = [x if recorded(x) else input_variable(values_of(x)) for x in ins]      # a constant has no slots yet
    for v in outs:
        slots += v.size
    tape = settle(ins, slots, 1, 2 + 2 * (n_in + n_out), name)
    rec = tape.n_records
    w = tape.push(CALL, slots)
    w.n = slots
    w.layout = p = tape.n_pool
    w.extra = <int32_t>len(tape.objects)
    tape.objects.append(rule)
    tape.pool[p] = n_in
    for k in range(n_in):
        tape.pool[p + 1 + 2 * k] = slot_of(<Handle>ins[k])
        tape.pool[p + 2 + 2 * k] = (<Handle>ins[k]).layout.size
    p += 1 + 2 * n_in
    tape.pool[p] = n_out
    slots = w.out
    for k in range(n_out):
        tape.pool[p + 1 + 2 * k] = slots
        tape.pool[p + 2 + 2 * k] = outs[k].size
        copy_in(tape, slots, outs[k])
        made.append((slots, layout_of(outs[k].shape)))
        slots += outs[k].size
    tape.n_pool = p + 1 + 2 * n_out
    computed(tape)
    return [finished(new_node(tape, place_, rec, layout), ins, FLOAT) for place_, layout in made]


cdef str READ_ONLY = ("in-place write: the Variable looks at some elements several times (broadcast_to) and is "
                      "read-only; write to a copy of it")


cdef inline bint number_within(Handle h, Handle target, Py_ssize_t low, Py_ssize_t high) noexcept:
    """Whether h is a number that stands among elements low … high of the target."""
    return h.layout is SCALAR and h is not target and target.offset + low <= h.offset <= target.offset + high


cdef int keep_numbers(Variable target, Py_ssize_t low, Py_ssize_t high) except -1:
    """Move the numbers that were taken from elements low … high, which are going to be overwritten, elsewhere.

    An element of a NumPy array is a number of its own once it is taken: ``y[0], y[1] = y[1], y[0]`` is a swap.
    """
    cdef Tape tape = target.tape
    cdef void *p = tape.oldest
    cdef Handle h
    cdef Wide *w
    cdef Py_ssize_t n = 0
    while p is not NULL:
        h = <Handle>p
        n += number_within(h, target, low, high)
        p = h.newer
    if n == 0:
        return 0
    tape.reserve(n, n, 0)
    p = tape.oldest
    n = 0
    while p is not NULL:
        h = <Handle>p
        if number_within(h, target, low, high):
            w = tape.push(MAP, 1)
            w.op, w.n, w.a = OP_positive, 1, h.offset
            tape.value[w.out] = tape.value[h.offset]
            h.offset, h.rec = w.out, tape.n_records - 1
            n = tape.n_records
        if h.born < n:                                # younger ones must not let the tape be cut before it
            h.born = n
        p = h.newer
    tape.open = False
    return 0


cdef int check_fits(Layout target, Layout value) except -1:
    """The value of an in-place write has to broadcast to the target."""
    if broadcast(target, value, "in-place write").shape != target.shape:
        raise ValueError(f"in-place write: a value of shape {value.shape} does not fit a target of shape "
                         f"{target.shape}")
    return 0


cdef int assign(Variable target, Py_ssize_t offset, Layout layout, object value) except -1:
    """Record target[view] = value in place; what was there is kept for the way back."""
    cdef object a = operand(value, "in-place write")
    cdef Layout la = layout_for(a)
    cdef Py_ssize_t slot, rec
    cdef Tape tape
    cdef Wide *w
    check_writable(target)
    if overlapping(target.layout):
        raise ValueError(READ_ONLY)
    check_fits(layout, la)
    if isinstance(a, Handle):                         # a copy, in case it overlaps with the target
        a = record_map(OP_positive, a, None, la, None, "in-place write")
        la = (<Handle>a).layout
    keep_numbers(target, offset + layout.low, offset + layout.high)
    tape = settle((target, a), layout.size, 2, 4 * layout.ndim + 5, "in-place write")
    w = tape.push(ASSIGN, layout.size + (0 if isinstance(a, Handle) else la.size))
    slot = w.out + layout.size
    w.a = place(tape, a, &slot)
    w.dst = target.offset + offset
    tape.push_layout(layout, layout, la, None, w)
    write_in_place(tape, w)
    if not isinstance(a, Handle):
        w.a = -1
    tape.n_assign += 1
    tape.open = False
    return 0


cdef int assign_at(Variable target, object positions, object value) except -1:
    """Record target.ravel()[positions] = value; where a position comes twice the last write counts."""
    cdef object a = operand(value, "in-place write")
    cdef Layout la = layout_for(a)
    cdef const int64_t[::1] slots = slots_of(target)[positions.reshape(-1)]
    cdef Layout written = layout_of(positions.shape)
    cdef Py_ssize_t n = slots.shape[0], k, slot
    cdef Tape tape
    cdef Wide *w
    check_writable(target)
    if overlapping(target.layout):
        raise ValueError(READ_ONLY)
    check_fits(written, la)
    if not isinstance(a, Handle):
        a = np.array(np.broadcast_to(a, positions.shape))
    else:                                             # a copy, in case it overlaps with the target
        a = dense_view(broadcast_array(a, positions.shape))
        a = record_map(OP_positive, a, None, (<Handle>a).layout, None, "in-place write")
    if n:
        keep_numbers(target, target.layout.low + np.min(slots), target.layout.low + np.max(slots))
    tape = settle((target, a), n, 2, n, "in-place write")
    w = tape.push(ASSIGN, n + (0 if isinstance(a, Handle) else n))
    w.flags = INDEXED
    w.n = n
    w.dst = target.offset + target.layout.low
    slot = w.out + n
    w.a = place(tape, a, &slot)
    w.sx = 1
    w.layout = tape.n_pool
    for k in range(n):
        tape.pool[w.layout + k] = slots[k]
    tape.n_pool += n
    write_in_place(tape, w)
    if not isinstance(a, Handle):
        w.a = -1
    tape.n_assign += 1
    tape.open = False
    return 0


cdef object slots_of(Handle h):
    """The slots of a view in C order, relative to its lowest one."""
    out = np.zeros((1,) * h.layout.ndim, np.int64) - h.layout.low
    for d, (n, s) in enumerate(zip(h.layout.shape, h.layout.strides)):
        out = out + (np.arange(n, dtype=np.int64) * s).reshape((n,) + (1,) * (h.layout.ndim - 1 - d))
    return np.broadcast_to(out, h.layout.shape).reshape(-1)


cdef bint overlapping(Layout l) noexcept:
    """Whether a view may look at one element several times: axes by stride, each has to step over the ones before."""
    cdef Py_ssize_t d, best, reach = 0, done = 0, n = l.ndim
    cdef uint64_t used = 0
    if l.size < 2:
        return False
    for done in range(n):
        best = -1
        for d in range(n):
            if not (used >> d) & 1 and (best < 0 or abs(l.dims[n + d]) < abs(l.dims[n + best])):
                best = d
        used |= <uint64_t>1 << best
        if l.dims[best] > 1:
            if abs(l.dims[n + best]) <= reach:
                return True
            reach += abs(l.dims[n + best]) * (l.dims[best] - 1)
    return False


cdef int check_writable(Variable x) except -1:
    """In-place writes go to intermediates."""
    if x.state == LEAF:
        raise RuntimeError("in-place write to a leaf Variable: copy it first (y = x.copy()), or update it under "
                           "no_grad()")
    if x.state == GONE:
        refuse_freed(x, "in-place write")
    if x.state == UNSET:
        raise RuntimeError(UNINITIALISED)
    if is_wide(x.tape.link[x.rec]) and x.tape.wide[x.tape.link[x.rec] >> 8].flags & OF_LEAF:
        raise RuntimeError("in-place write to a view of a leaf Variable: copy it first (y = x.copy()), or update the "
                           "leaf under no_grad()")
    if x.tape.paused and not isinstance(x, Discrete):
        raise RuntimeError("in-place write to a recorded Variable under no_grad(): its graph would not know; use "
                           ".detach()")
    return 0
