# The reverse sweep (part of _tape.pyx): the loop over scalar records, the adjoints of wide ones, and where the sweep
# meets Python.

cdef const int64_t *axes(Tape t, const Wide *w, int64_t *one) noexcept nogil:
    """The layout of a record as the map drivers read it."""
    if w.layout >= 0:
        return &t.pool[w.layout]
    one[0], one[1], one[2], one[3], one[4] = 1, w.n, w.sv, w.sx, w.sy
    return one


cdef void write_in_place(Tape t, Wide *w) noexcept nogil:
    """Carry out an ASSIGN record: keep the old values in its block, write the new ones."""
    cdef int64_t one[5]
    cdef double *values = &t.value[0]
    cdef Py_ssize_t k
    if w.n == 0:
        return
    if w.flags & INDEXED:
        for k in range(w.n):
            values[w.out + k] = values[w.dst + t.pool[w.layout + k]]
            values[w.dst + t.pool[w.layout + k]] = values[w.a + k * w.sx]
    else:
        overwrite_view(axes(t, w, one), values + w.dst, values + w.out, values + w.a)


# ---- the loops of the reverse sweep --------------------------------------------------------------------------
cdef void rewind(Tape t, Cursor *c, Py_ssize_t start) noexcept:
    """Bring the cursor from the top of the tape down to record `start`."""
    while c.rec > start:
        c.rec -= 1
        c.slot -= t.wide[t.link[c.rec] >> 8].size if is_wide(t.link[c.rec]) else 1


cdef Status reverse(Tape t, Cursor *c, Py_ssize_t stop, Py_ssize_t base) noexcept nogil:
    """Sweep down to `stop`, or to a record that needs Python."""
    cdef Status status
    cdef Wide *w
    while True:
        if base > 1:
            reverse_scalars(t.link, t.dx, t.dy, t.adjoint, c, stop, base, True, t.guarded, &t.outside)
        else:
            reverse_scalars(t.link, t.dx, t.dy, t.adjoint, c, stop, 1, False, 0, &t.outside)
        if c.rec <= stop:
            return REACHED
        if t.link[c.rec - 1] == FREED_SCALAR:
            if not is_nothing(t.adjoint[c.slot - 1]):
                return AT_FREED
            c.rec -= 1
            c.slot -= 1
            continue
        w = &t.wide[t.link[c.rec - 1] >> 8]
        if w.kind == CALL:
            return AT_CALL
        status = reverse_wide(t, w, base)
        if status != REACHED:
            return status
        c.rec -= 1
        c.slot -= w.size


cdef inline void reverse_scalars(const uint64_t[::1] link, const double[::1] dx, const double[::1] dy,
                                 double[::1] adjoints,
                                 Cursor *c, Py_ssize_t stop, Py_ssize_t base, bint partly,
                                 Py_ssize_t guarded, bint *outside) noexcept nogil:
    """Sweep scalar records down to `stop` or the next wide or freed record.

    An adjoint that the next record reads goes on in a register, and where nothing else has contributed to it as the
    bare product: a chain of dependent operations runs from adjoint to adjoint, and one multiplication is the shortest.
    0.0, which makes a sum a number that cannot be mistaken for nothing, is added off that chain, and off the one that
    runs through the adjoint of an operand that many records share.
    """
    cdef Py_ssize_t rec = c.rec, slot = c.slot - 1, x, y
    cdef uint64_t k
    cdef double g
    while rec > stop:
        k = link[rec - 1]
        if FA_UNLIKELY(k & 255 == OP_WIDE):
            break
        rec -= 1
        g = adjoints[slot]
        if is_nothing(g):
            slot -= 1
            continue
        while True:                           # g is the adjoint of the scalar record `rec`
            x, y = <Py_ssize_t>(k >> 8) & (FAR - 1), <Py_ssize_t>(k >> 36)
            if partly:
                outside[0] |= (slot - base < x <= slot - guarded) or (slot - base < y <= slot - guarded)
                x = x if <size_t>(x - 1) < <size_t>(slot - base) else 0
                y = y if <size_t>(y - 1) < <size_t>(slot - base) else 0
            if y:
                adjoints[slot - y] += dy[rec] * g + 0.0
            slot -= 1
            if FA_UNLIKELY(x != 1):
                if x:
                    adjoints[slot + 1 - x] += dx[rec] * g + 0.0
                break
            g *= dx[rec]
            if FA_UNLIKELY(not is_nothing(adjoints[slot])):
                g += adjoints[slot]
            adjoints[slot] = g + 0.0
            if rec <= stop:
                break
            k = link[rec - 1]
            if FA_UNLIKELY(k & 255 == OP_WIDE):
                break
            rec -= 1
    c.rec, c.slot = rec, slot + 1


cdef Status reverse_wide(Tape t, Wide *w, Py_ssize_t base) noexcept nogil:
    """The adjoint of one wide record."""
    cdef double *values = &t.value[0]
    cdef double *adj = &t.adjoint[0]
    cdef double *gx = adj + w.a if w.a >= base and not w.flags & CONSTANT_A else NULL
    cdef double *gy = adj + w.b if w.b >= base and not w.flags & CONSTANT_B else NULL
    cdef const double *y = values + w.b if w.b >= 0 else NULL
    cdef int64_t one[5]
    cdef Py_ssize_t k
    cdef double g
    cdef const int64_t *p
    if w.n == 0 or w.kind == SPAN:
        return REACHED
    if w.kind == ASSIGN:
        if w.dst < base:                  # into something that is constant here: its adjoint is not of this sweep
            exchange(t, w, False)
        else:
            undo(t, w, gx)
        return REACHED
    if w.size and all_nothing(adj + w.out, w.size):
        return REACHED
    if w.flags & FREED:
        return AT_FREED
    if ((t.guarded <= w.a < base and not w.flags & (CONSTANT_A | ANYWHERE))
            or (t.guarded <= w.b < base and not w.flags & CONSTANT_B)):
        t.outside = True
    if gx is NULL and gy is NULL and not w.flags & ANYWHERE:
        return REACHED
    if w.kind == MAP:
        if not fa_rows[w.op].differentiable:      # a recorded comparison
            return REACHED
        map_adjoint(w.op, axes(t, w, one), values + w.a, y, values + w.dst, adj + w.dst, gx, gy)
    elif w.kind == MATMUL:
        if matmul_adjoint(&t.pool[w.layout], values + w.a, y, adj + w.dst, gx, gy) < 0:
            return NO_MEMORY
    elif w.kind == ROUTE:
        p = &t.pool[w.layout]
        for k in range(w.n):
            g = adj[w.dst + k]
            if p[k] < 0 or is_nothing(g):
                continue
            if w.a + p[k] >= base:
                adj[w.a + p[k]] += g
            elif w.a + p[k] >= t.guarded:
                t.outside = True
    elif w.kind == SPREAD:                # n triples: source, target, weight in the own block behind the results
        p = &t.pool[w.layout]
        for k in range(w.n):
            g = adj[w.dst + p[w.n + k]]
            if not is_nothing(g):
                adj[w.a + p[k]] += values[w.b + k] * g + 0.0
    return REACHED


cdef void undo(Tape t, Wide *w, double *gx) noexcept nogil:
    """The adjoint of an in-place write: old values come back, the adjoint goes to what was written.

    A recorded sweep reads the old values where they are kept; what they got there is theirs again.
    """
    cdef double *values = &t.value[0]
    cdef double *adj = &t.adjoint[0]
    cdef int64_t one[5]
    cdef Py_ssize_t k
    cdef const int64_t *p
    cdef double *view = adj + w.dst
    if w.flags & INDEXED:
        p = &t.pool[w.layout]
        for k in range(w.n - 1, -1, -1):
            values[w.dst + p[k]], values[w.out + k] = values[w.out + k], values[w.dst + p[k]]
            if gx is not NULL and not is_nothing(view[p[k]]):
                gx[k * w.sx] += view[p[k]]
            view[p[k]], adj[w.out + k] = adj[w.out + k], NOTHING
        return
    p = axes(t, w, one)
    swap_view(p, values + w.dst, values + w.out)
    if gx is not NULL:
        map_adjoint(OP_positive, p, values + w.a, NULL, values + w.dst, view, gx, NULL)
    swap_view(p, view, adj + w.out)
    fill(w.n, NOTHING, adj + w.out)


cdef void redo(Tape t, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Redo the in-place writes among the records [first, last) that a sweep has undone."""
    cdef Py_ssize_t rec
    cdef Wide *w
    for rec in range(first, last):
        if not is_wide(t.link[rec]):
            continue
        w = &t.wide[t.link[rec] >> 8]
        if w.kind == ASSIGN:
            exchange(t, w, True)


cdef void exchange(Tape t, Wide *w, bint forward) noexcept nogil:
    """Exchange what an ASSIGN record has overwritten with what stands there now."""
    cdef double *values = &t.value[0]
    cdef int64_t one[5]
    cdef Py_ssize_t i, k
    cdef const int64_t *p
    if w.n == 0:
        return
    if w.flags & INDEXED:
        p = &t.pool[w.layout]
        for i in range(w.n):
            k = i if forward else w.n - 1 - i
            values[w.dst + p[k]], values[w.out + k] = values[w.out + k], values[w.dst + p[k]]
    else:
        swap_view(axes(t, w, one), values + w.dst, values + w.out)


cdef Binding binding_on(Tape t, Storage s):
    """Make the newest binding of a leaf on this tape its current one; None when there is none."""
    cdef Binding b = s.current
    if b is not None and b.tape is not t:
        for b in reversed(s.bindings):
            if b.tape is t and b.offset >= 0:
                s.current = b
                return b
    return b


# ---- where the sweep meets Python ------------------------------------------------------------------------------
cdef int heard() except -1:
    """Raise what scipy.special.errstate(all="raise") has made a loop of SciPy's set."""
    return -1 if PyErr_Occurred() is not NULL else 0


cdef int reverse_call(Tape t, Wide *w, Py_ssize_t base) except -1:
    """The adjoint of a CALL record: its rule turns the adjoints of the results into those of the operands.

    The pool holds the number of operands with (offset, size) of each, then the same for the results.
    """
    cdef const int64_t *p = &t.pool[w.layout]
    cdef Py_ssize_t n_in = p[0]
    cdef Py_ssize_t n_out = p[1 + 2 * n_in]
    cdef Py_ssize_t j, k, offset, size
    cdef const int64_t *ins = p + 1
    cdef const int64_t *outs = p + 2 + 2 * n_in
    cdef double *adj = &t.adjoint[0]
    cdef const double[::1] g
    cdef bint reached = False
    if all_nothing(adj + w.out, w.size):
        return 0
    if w.flags & FREED:
        raise FreedGraphError(
            "backward: a part of this graph was freed by an earlier backward(); call that one with retain_graph=True")
    rule = t.objects[w.extra]
    cdef bint exact = getattr(rule, "exact", False)             # gets nothing as -0.0, and answers with it
    upstream = []
    for j in range(n_out):
        g_j = np.array(<double[:outs[2 * j + 1]]>(adj + outs[2 * j])) if outs[2 * j + 1] else np.empty(0)
        upstream.append(g_j if exact else g_j + 0.0)
    gradients = rule.pull(upstream)
    for j in range(n_in):
        offset, size = ins[2 * j], ins[2 * j + 1]
        if gradients[j] is None or size == 0:
            continue
        if offset < base:
            if offset >= t.guarded:
                t.outside = True
            continue
        g = np.ascontiguousarray(gradients[j], np.float64).reshape(-1)
        for k in range(size):
            adj[offset + k] += g[k] if exact else g[k] + 0.0
    return 0


cdef class Hook:
    pass


cdef object add_hook(Handle h, object function):
    """Let a function see the gradient of an intermediate as soon as it is complete."""
    cdef Hook hook = Hook.__new__(Hook)
    hook.function = function
    hook.name = None if h.extra is None else h.extra.name
    hook.offset, hook.layout = h.offset, h.layout
    hook.home = h.tape.hooks.setdefault(h.rec, {})
    hook.home[hook] = hook
    return hook


cdef int run_hooks(Tape t, dict hooks, Py_ssize_t base) except -1:
    """Call the hooks of one record in the order of registration."""
    cdef Hook h
    for h in list(hooks):
        if h.offset < base or all_nothing_view(t, h.offset, h.layout):
            continue
        g = read_view(&t.adjoint[0] + h.offset, h.layout)
        write_view(&t.adjoint[0] + h.offset, h.layout, hook_result(h.function, g, h.name))
    return 0


def hook_result(function, g, name):
    """What a hook makes of a gradient: the gradient itself when it returns None."""
    before = np.array(g)
    new = function(g)
    if new is None:
        return g
    new = np.asarray(new)
    if new.dtype.kind not in "fiub" or new.shape != np.shape(g):
        raise ValueError(f"hook of {name or 'a variable'}: returned {new.dtype} of shape {new.shape} for a gradient of "
                         f"shape {np.shape(g)}")
    numbers = new.astype(np.float64) + 0.0
    # what was nothing and stays zero is still nothing
    return np.where((before == 0.0) & np.signbit(before) & (numbers == 0.0), -0.0, numbers)[()]


def call_hooks(hooks, g, name):
    """Send a leaf's gradient through its hooks."""
    for function in list(hooks.values()):
        g = hook_result(function, g, name)
    return g


cdef int accumulate(Storage s, object g) except -1:
    """Add to the gradient of a leaf or a retained intermediate; `g` belongs to nobody else."""
    old = s.grad
    if isinstance(old, Handle):                           # of a recorded sweep
        old = old.value
    s.grad = g if old is None else np.asarray(old, np.float64) + g
    return 0
