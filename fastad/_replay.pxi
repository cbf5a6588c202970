# The tape read from the first record to the last (part of _tape.pyx): values anew, or tangents beside the values there
# are.
#
# Before either, all in-place writes are undone; each is done again when its record comes, so that every record finds
# the values of its time.

# ---- the loops -------------------------------------------------------------------------------------------------
cdef Status ahead(Tape t, Cursor *c, Py_ssize_t stop, Tangents *d) noexcept nogil:
    """Read up to record `stop`, or to one that needs Python: values when `d` is NULL, else tangents."""
    cdef Status status
    cdef Wide *w
    cdef Py_ssize_t slot
    while True:
        if d is NULL:
            replay_scalars(t, c, stop)
        else:
            slot = c.slot
            tangent_scalars(t, c, stop, d)
            bits_set(&d.moving, slot - d.shift, c.slot - 1 - d.shift)
        if c.rec >= stop:
            return REACHED
        if t.link[c.rec] == FREED_SCALAR:
            if d is NULL:
                return AT_FREED
            d.freed = True
            c.rec += 1
            c.slot += 1
            continue
        w = &t.wide[t.link[c.rec] >> 8]
        if w.flags & FREED:
            if d is NULL:
                return AT_FREED
            d.freed = True
        elif w.kind == CALL:
            return AT_CALL
        elif d is NULL:
            replay_wide(t, w)
        else:
            status = tangent_wide(t, w, d)
            if status != REACHED:
                return status
        c.rec += 1
        c.slot += w.size


cdef int read_ahead(Tape t, Cursor *c, Tangents *d) except -1:
    """Read from the cursor to the end of the tape; AT_FREED when it stopped before a freed record, else REACHED."""
    cdef Status status
    cdef Py_ssize_t boundary, top = t.n_records
    cdef Wide *w
    undo_writes(t, c.rec, top)
    t.busy = True
    t.limit()
    try:
        while c.rec < top:
            boundary = min(top, c.rec + (CHUNK >> 4))
            if t.n_slots - c.slot > RELEASE_GIL:
                with nogil:
                    status = ahead(t, c, boundary, d)
            else:
                status = ahead(t, c, boundary, d)
            if status == AT_CALL:
                w = &t.wide[t.link[c.rec] >> 8]
                if d is NULL:
                    replay_call(t, w)
                else:
                    tangent_call(t, w, d)
                c.rec += 1
                c.slot += w.size
            elif status == NO_MEMORY:
                raise MemoryError("fastad: no memory for the tangent of a matrix product")
            elif status == AT_FREED:
                return AT_FREED
            PyErr_CheckSignals()
    finally:
        if t.n_assign:
            redo(t, c.rec, top)
        t.busy = False
        t.limit()
    return REACHED


cdef void undo_writes(Tape t, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Undo the in-place writes among the records [first, last); their blocks then hold what was written."""
    cdef Py_ssize_t rec
    if t.n_assign == 0:
        return
    for rec in range(last - 1, first - 1, -1):
        if is_wide(t.link[rec]) and t.wide[t.link[rec] >> 8].kind == ASSIGN:
            exchange(t, &t.wide[t.link[rec] >> 8], False)


# ---- values ------------------------------------------------------------------------------------------------------
cdef int recompute(Tape t) except -1:
    """Compute all values on the tape from what the leaves hold now."""
    cdef Cursor c
    cdef int attempt
    if t.busy:
        raise RuntimeError("forward: this tape is being swept; it cannot be recomputed from a hook or gate on it")
    refresh_leaves(t)
    for attempt in range(2):
        c.rec, c.slot = 0, 1
        if read_ahead(t, &c, NULL) == REACHED:
            return 0
        t.collect()                       # nobody may need what was freed
    raise FreedGraphError("forward: a part of this tape was freed by backward(), and what lives depends on it; call "
                          "that one with retain_graph=True")


cdef int catch_up(Tape t) except -1:
    """Compute what a recorded sweep has left for later: the last records, none of them a CALL or ASSIGN."""
    cdef Cursor c
    cdef Wide *w
    if t.late == 0:
        return 0
    c.rec, c.slot = t.late - 1, t.late_slot
    t.late = 0
    t.busy = True
    with nogil:
        while True:
            replay_scalars(t, &c, t.n_records)
            if c.rec >= t.n_records:
                break
            w = &t.wide[t.link[c.rec] >> 8]
            t.run_forward(w)              # a block that a sum goes to holds nothing yet
            c.rec += 1
            c.slot += w.size
    t.busy = False
    return 0


cdef int refresh_leaves(Tape t) except -1:
    """Copy what each living leaf holds now into all its slots on the tape."""
    cdef Binding b
    cdef Storage s
    cdef Py_ssize_t size
    for b in t.leaves:
        if b.leaf is NULL or b.offset < 0:
            continue
        s = (<Handle>b.leaf).extra
        size = (<Handle>b.leaf).layout.size * sizeof(double)
        if size and memcmp(data_of(s), &t.value[0] + b.offset, size):
            if b.version == s.version:    # written to behind our back: what other tapes have is old
                s.version += 1
            memcpy(&t.value[0] + b.offset, data_of(s), size)
        b.version = s.version
    return 0


cdef void replay_scalars(Tape t, Cursor *c, Py_ssize_t stop) noexcept nogil:
    """Recompute scalar records up to `stop` or the next wide or freed record."""
    cdef Py_ssize_t rec = c.rec, slot = c.slot, x, y
    cdef int op
    cdef double v = 0.0, dx, dy
    while rec < stop:
        op = <int>(t.link[rec] & 255)
        if op == OP_WIDE:
            break
        x, y, dx, dy = distance_x(t, rec), distance_y(t, rec), t.dx[rec], t.dy[rec]
        scalar_eval(op, t.value[slot - x] if x else dx, t.value[slot - y] if y else dy, &v,
                    &dx if x else <double *>NULL, &dy if y else <double *>NULL)
        store_scalar(t, rec, slot, op, slot - x if x else 0, slot - y if y else 0, v, dx, dy)
        rec += 1
        slot += 1
    c.rec, c.slot = rec, slot


cdef void replay_wide(Tape t, Wide *w) noexcept nogil:
    """Recompute one wide record, in-place writes included; a block that a sum goes to begins as nothing."""
    if w.kind == ASSIGN:
        if w.a < 0:                       # of a constant, which waits where the overwritten values go
            exchange(t, w, True)
        else:
            write_in_place(t, w)
        return
    if w.flags & ACCUMULATE and w.dst == w.out and w.n:
        fill(w.size, NOTHING, &t.value[w.out])
    t.run_forward(w)


cdef int replay_call(Tape t, Wide *w) except -1:
    """Recompute a CALL record through its rule's `forward`, which gets and gives flat arrays."""
    cdef const int64_t *p = &t.pool[w.layout]
    cdef Py_ssize_t n_in = p[0]
    cdef const int64_t *outs = p + 2 + 2 * n_in
    cdef Py_ssize_t j, n_out = p[1 + 2 * n_in]
    rule = t.objects[w.extra]
    name = getattr(rule, "name", type(rule).__name__)
    if not hasattr(rule, "forward"):
        raise NotImplementedError(f"forward: {name} cannot be recomputed: its rule has no forward(inputs); record it "
                                  "anew")
    values = rule.forward([np.array(t.value[p[1 + 2 * j]:p[1 + 2 * j] + p[2 + 2 * j]]) for j in range(n_in)])
    values = [np.ascontiguousarray(v, np.float64).reshape(-1) for v in values]
    sizes, wanted = [v.size for v in values], [outs[2 * j + 1] for j in range(n_out)]
    if sizes != wanted:
        raise ValueError(f"forward: {name} gave results of {sizes} elements, {wanted} were recorded")
    for j in range(n_out):
        copy_in(t, outs[2 * j], values[j])
    return 0


# ---- tangents ----------------------------------------------------------------------------------------------------
cdef inline const double *tangent_of(Tangents *d, Py_ssize_t slot, bint constant) noexcept nogil:
    """Where the tangents of an operand stand; NULL when it has none."""
    return NULL if constant or slot < d.base else d.dot + (slot - d.shift)


cdef void tangent_scalars(Tape t, Cursor *c, Py_ssize_t stop, Tangents *d) noexcept nogil:
    """v_dot = dx x_dot + dy y_dot for scalar records up to `stop` or the next wide or freed one.

    A missing operand reads dot[0], which is nothing; what stands in the place of its partial is not looked at.
    """
    cdef Py_ssize_t rec = c.rec, slot = c.slot, x, y, reach
    cdef uint64_t k
    cdef double x_dot, y_dot, v_dot
    while rec < stop:
        k = t.link[rec]
        if k & 255 == OP_WIDE:
            break
        x, y, reach = <Py_ssize_t>(k >> 8) & (FAR - 1), <Py_ssize_t>(k >> 36), slot - d.base
        x_dot = d.dot[slot - x - d.shift if <size_t>(x - 1) < <size_t>reach else 0]
        y_dot = d.dot[slot - y - d.shift if <size_t>(y - 1) < <size_t>reach else 0]
        v_dot = NOTHING
        if not is_nothing(x_dot):
            v_dot = t.dx[rec] * x_dot + 0.0
        if not is_nothing(y_dot):
            v_dot += t.dy[rec] * y_dot + 0.0
        d.dot[slot - d.shift] = v_dot
        rec += 1
        slot += 1
    c.rec, c.slot = rec, slot


cdef inline bint moves(const double *dot, Py_ssize_t n, Py_ssize_t stride) noexcept nogil:
    """Whether an operand in a row has tangents."""
    return dot is not NULL and not (stride == 0 and is_nothing(dot[0])) and not (stride == 1 and all_nothing(dot, n))


cdef bint stirred(Tape t, const Wide *w, Tangents *d) noexcept nogil:
    """Whether a wide record, no in-place write, reads what may have tangents; its result may have some then."""
    cdef Py_ssize_t low = 0, high = -1
    cdef bint second
    for second in range(2):
        if (w.b if second else w.a) < 0 or w.flags & (CONSTANT_B if second else CONSTANT_A):
            continue
        if w.kind == MAP:
            span(t, w, 1 + second, &low, &high)
        elif w.kind == MATMUL:
            matrix_span(t, w, 1 + second, &low, &high)
        elif second:                                  # the weights of a SPREAD
            break
        else:
            indexed_span(t, w, &low, &high)
            low, high = low + w.a, high + w.a
        low = max(low, d.base)
        if bits_any(&d.moving, low - d.shift, high - d.shift):
            bits_set(&d.moving, w.out - d.shift, w.out + w.size - 1 - d.shift)
            if w.kind == MAP:
                span(t, w, 0, &low, &high)
                bits_set(&d.moving, low - d.shift, high - d.shift)
            return True
    return False


cdef Status tangent_wide(Tape t, Wide *w, Tangents *d) noexcept nogil:
    """The tangents of one wide record, added to nothing; only an in-place write replaces."""
    cdef double *values = &t.value[0]
    cdef const double *xd = tangent_of(d, w.a, w.flags & CONSTANT_A)
    cdef const double *yd = tangent_of(d, w.b, w.flags & CONSTANT_B)
    cdef const double *y = values + w.b if w.b >= 0 else NULL
    cdef double *vd = d.dot + (w.dst - d.shift)
    cdef int64_t one[5]
    cdef Py_ssize_t k, low, high
    cdef const int64_t *p
    if w.n == 0 or w.kind == SPAN:
        return REACHED
    if w.kind == ASSIGN:
        exchange(t, w, True)
        if w.dst >= d.base:               # else into something that is constant here
            tangent_write(t, w, xd, vd)
            if w.flags & INDEXED:
                indexed_span(t, w, &low, &high)
                low, high = low + w.dst, high + w.dst
            else:
                span(t, w, 0, &low, &high)
            bits_set(&d.moving, low - d.shift, high - d.shift)
        return REACHED
    if not stirred(t, w, d):
        return REACHED
    if w.kind == ROUTE:
        p = &t.pool[w.layout]
        for k in range(w.n):
            if p[k] >= 0 and w.a + p[k] >= d.base:
                vd[k] = d.dot[w.a + p[k] - d.shift]
    elif w.kind == MAP:
        if not fa_rows[w.op].differentiable:          # a recorded comparison
            return REACHED
        if w.layout < 0 and not moves(xd, w.n, w.sx) and not moves(yd, w.n, w.sy):
            return REACHED
        map_tangent(w.op, axes(t, w, one), values + w.a, y, values + w.dst, xd, yd, vd)
    elif w.kind == MATMUL:
        if matmul_tangent(&t.pool[w.layout], values + w.a, y, xd, yd, vd) < 0:
            return NO_MEMORY
    elif w.kind == SPREAD:
        p = &t.pool[w.layout]
        for k in range(w.n):
            if not is_nothing(xd[p[k]]):
                vd[p[w.n + k]] += values[w.b + k] * xd[p[k]] + 0.0
    return REACHED


cdef void tangent_write(Tape t, Wide *w, const double *xd, double *vd) noexcept nogil:
    """An in-place write of tangents; a constant's are nothing."""
    cdef int64_t one[5]
    cdef Py_ssize_t k
    cdef const int64_t *p
    if w.flags & INDEXED:
        p = &t.pool[w.layout]
        for k in range(w.n):
            vd[p[k]] = NOTHING if xd is NULL else xd[k * w.sx]
    elif xd is NULL:
        fill_view(axes(t, w, one), vd, NOTHING)
    else:
        map_forward(OP_positive, False, axes(t, w, one), xd, NULL, vd)


cdef int tangent_call(Tape t, Wide *w, Tangents *d) except -1:
    """The tangents of a CALL record: through its rule's `tangent` when it has one, else through the transpose.

    ``tangent(tangents)`` gets a list with a flat array, or None, for each operand and returns one with an array for
    each result. Without it, result k has the tangent <pull(e_k), x_dot>: right for any rule, at one pull for each
    element.
    """
    cdef const int64_t *p = &t.pool[w.layout]
    cdef Py_ssize_t n_in = p[0]
    cdef const int64_t *outs = p + 2 + 2 * n_in
    cdef Py_ssize_t j, k, n_out = p[1 + 2 * n_in]
    cdef double *vd
    cdef const double *xd
    cdef const double[::1] v_dot
    cdef list tangents = []
    cdef bint reached = False
    for j in range(n_in):
        xd = tangent_of(d, p[1 + 2 * j], False)
        if xd is NULL or p[2 + 2 * j] == 0 or all_nothing(xd, p[2 + 2 * j]):
            tangents.append(None)
        else:
            tangents.append(np.array(<const double[:p[2 + 2 * j]]>xd))
            reached = True
    if not reached:
        return 0
    bits_set(&d.moving, w.out - d.shift, w.out + w.size - 1 - d.shift)
    rule = t.objects[w.extra]
    sizes = [outs[2 * j + 1] for j in range(n_out)]
    results = rule.tangent(tangents) if hasattr(rule, "tangent") else transposed(rule, tangents, sizes)
    for j in range(n_out):
        if results[j] is None:
            continue
        v_dot = np.ascontiguousarray(results[j], np.float64).reshape(-1)
        if v_dot.shape[0] != sizes[j]:
            raise ValueError(f"jvp: {getattr(rule, 'name', type(rule).__name__)} gave a tangent of {v_dot.shape[0]} "
                             f"elements for a result of {sizes[j]}")
        vd = d.dot + (outs[2 * j] - d.shift)
        for k in range(sizes[j]):
            vd[k] = v_dot[k]
    return 0


cdef list transposed(object rule, list tangents, list sizes):
    """The tangents of a rule's results, one pull for each element."""
    cdef bint exact = getattr(rule, "exact", False)
    results = [np.full(size, NOTHING) for size in sizes]
    for j, result in enumerate(results):
        for k in range(len(result)):
            upstream = [np.full(size, NOTHING if exact else 0.0) for size in sizes]
            upstream[j][k] = 1.0
            for g, x_dot in zip(rule.pull(upstream), tangents):
                if g is None or x_dot is None:
                    continue
                g = np.asarray(g, np.float64).reshape(-1)
                used = ~((x_dot == 0.0) & np.signbit(x_dot))
                if exact:
                    used &= ~((g == 0.0) & np.signbit(g))
                if used.any():
                    result[k] += np.dot(g[used], x_dot[used]) + 0.0
    return results


cdef int reaches_outside(Tape t, list roots, Py_ssize_t base, Py_ssize_t guarded, bint freed) except -1:
    """Whether outputs depend on slots from `guarded` up to `base`; raise when they depend on a freed record."""
    cdef Bits slots
    cdef Handle root
    cdef Py_ssize_t rec, slot = t.n_slots
    cdef bint outside = False, lost = False
    if not freed and guarded >= base:
        return 0
    slots.before = NULL
    bits_new(&slots, t.n_slots)
    for root in roots:
        bits_set(&slots, root.offset + root.layout.low, root.offset + root.layout.high)
    with nogil:
        mark(t, &slots, NULL)
    outside = bits_any(&slots, guarded, base - 1)
    for rec in range(t.n_records - 1, -1, -1):
        if not is_wide(t.link[rec]):
            slot -= 1
            lost |= t.link[rec] == FREED_SCALAR and slot >= base and bit(&slots, slot)
        else:
            slot -= t.wide[t.link[rec] >> 8].size
            lost |= (t.wide[t.link[rec] >> 8].flags & FREED and slot >= base
                     and bits_any(&slots, slot, slot + t.wide[t.link[rec] >> 8].size - 1))
    bits_free(&slots)
    if lost:
        raise FreedGraphError("jvp: the function freed a part of its graph; call backward() in it with "
                              "retain_graph=True")
    return outside


# ---- directions --------------------------------------------------------------------------------------------------
@cython.final
cdef class Push:
    """Tangents of what was recorded since some inputs, for one direction after the other.

    They stand in a memory of their own, a mirror of the slots from the inputs up. Of a Jacobian by columns most
    directions reach few records: what moves is known by one bit for each slot; the rest is neither read nor cleared.

    Parameters
    ----------
    inputs : list of Handle
        Some, all on one tape.
    """

    def __cinit__(self, list inputs):
        cdef Handle x
        cdef Cursor c
        cdef Py_ssize_t n, first
        self.d.base = <Py_ssize_t>1 << 62
        first = <Py_ssize_t>1 << 62
        for x in inputs:
            self.tape = x.tape
            self.d.base, first = min(self.d.base, x.offset), min(first, x.rec)
        if self.tape is None:
            raise ValueError("tangents: there are no inputs, or they are on no tape")
        self.d.base = max(self.d.base, 1)
        self.d.shift = self.d.base - 1
        n = self.tape.n_slots - self.d.shift
        self.d.dot = <double *>PyMem_RawMalloc(n * sizeof(double))
        if self.d.dot is NULL:
            raise MemoryError()
        fill(n, NOTHING, self.d.dot)
        bits_new(&self.d.moving, n)
        c.rec, c.slot = self.tape.n_records, self.tape.n_slots
        rewind(self.tape, &c, first)
        self.rec, self.slot = c.rec, c.slot

    def __dealloc__(self):
        PyMem_RawFree(self.d.dot)
        bits_free(&self.d.moving)

    cdef int move(self, Handle x, object x_dot) except -1:
        """Give an input a tangent, an array of its shape, whose -0.0 are nothing."""
        cdef Py_ssize_t k, first = x.offset - self.d.shift
        if x.layout.size:
            write_view(self.d.dot + first, x.layout, x_dot)
            for k in range(first + x.layout.low, first + x.layout.high + 1):
                if not is_nothing(self.d.dot[k]):
                    bits_set(&self.d.moving, k, k)
        return 0

    cdef int move_one(self, Py_ssize_t slot) noexcept:
        """Let one element of an input move."""
        self.d.dot[slot - self.d.shift] = 1.0
        bits_set(&self.d.moving, slot - self.d.shift, slot - self.d.shift)
        return 0

    cdef int run(self) except -1:
        """Read the records: the tangent of a result is the sum of partial * tangent of operand."""
        cdef Cursor c
        c.rec, c.slot, self.d.freed = self.rec, self.slot, False
        read_ahead(self.tape, &c, &self.d)
        return 0

    cdef bint outside(self, list roots) except -1:
        """Whether outputs depend on slots from `guarded` up to the inputs, which have no tangent."""
        return reaches_outside(self.tape, roots, self.d.base, self.tape.guarded, self.d.freed)

    cdef int read(self, Handle y, double *out) except -1:
        """The tangents of an output in C order; nothing is 0.0."""
        cdef int64_t p[1 + 4 * MOST_DIMS]
        cdef const double *first = self.d.dot + (y.offset - self.d.shift)
        cdef Py_ssize_t k
        if not y.layout.size:
            return 0
        if not y.layout.contiguous:
            flat_layout(y.layout, p, False)
            map_forward(OP_positive, False, p, first, NULL, out)
            first = out
        for k in range(y.layout.size):
            out[k] = first[k] + 0.0
        return 0

    cdef int clear(self) noexcept:
        """Nothing moves any more."""
        cdef Bits *b = &self.d.moving
        cdef Py_ssize_t k = 0, first, last = b.n // 64 + 1
        while k < last:
            first = k
            while k < last and b.word[k]:
                b.word[k] = 0
                k += 1
            if k > first:
                fill(min(b.n, 64 * k) - 64 * first, NOTHING, self.d.dot + 64 * first)
            k += 1
        return 0
