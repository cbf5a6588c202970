# The reverse sweep recorded as ordinary records (part of variable.pyx): derivatives that can be differentiated again.
#
# Instead of a number each slot has an adjoint that is itself a slot: of a new record, of an old one (the adjoint of x
# in x * y is y), or a number. A copy, a gather or a broadcast moves such references and records nothing; where a whole
# view's adjoint is read and its elements stand all over the tape, one ROUTE record gathers them.
#
# Nothing (see docs/design.md) must stay nothing. One bit for each adjoint says whether it may be nothing, now or (in a
# program that is replayed) with other inputs; these alone take the row `flow` instead of `multiply`.

cdef str FREED_PART = ("backward: a part of this graph was freed by an earlier backward(); call that one with "
                       "retain_graph=True")


@cython.final
cdef class _Recorder(_Partials):
    """The recorded sweep: the adjoint of each kind of record."""

    # ---- the sweep ---------------------------------------------------------------------------------------------------
    cdef int run(self) except -1:
        """Go through the records backwards."""
        cdef Tape t = self.tape
        cdef Py_ssize_t rec = self.stop, slot = self.end
        cdef Wide w
        while rec > self.first:
            if t.hooks and rec - 1 in t.hooks:
                self.run_hooks(t.hooks[rec - 1])
            rec -= 1
            if t.observer is not None:
                t.observer.origin = rec
            if is_wide(t.link[rec]):
                w = t.wide[t.link[rec] >> 8]
                slot -= w.size
                self.wide(&w)
            else:
                slot -= 1
                if self.state[slot - self.base] & (ACTIVE | REACHED) == ACTIVE | REACHED:
                    self.scalar(rec, slot)
            if rec & 0xffff == 0:
                PyErr_CheckSignals()
        return 0

    cdef int scalar(self, Py_ssize_t rec, Py_ssize_t slot) except -1:
        """The adjoint of a scalar record."""
        cdef Tape t = self.tape
        cdef uint64_t link = t.link[rec]
        cdef int op = link & 255
        cdef Py_ssize_t x = distance_x(t, rec), y = distance_y(t, rec)
        cdef const Program *q
        cdef Term g = no_term()
        cdef int64_t ref
        if self.state[slot - self.base] & HELD:
            self.spill(self.run_at(slot))
        ref = self.adjoint[slot - self.base]
        if link == FREED_SCALAR:
            raise FreedGraphError(FREED_PART)
        if not fa_rows[op].differentiable:
            return 0
        if ref:
            g = self.decoded(ref)
            if g.maybe and not self.live:
                g.maybe = False
                if is_nothing(g.value):
                    g = no_term()
        q = program_of(op)
        self.x = self.scalar_at(slot - x) if x else number(t.dx[rec])
        if fa_rows[op].arity == 2:
            self.y = self.scalar_at(slot - y) if y else number(t.dy[rec])
        self.v = self.scalar_at(slot)
        self.time += 1
        if x and self.active_slot(slot - x):
            self.add_scalar(slot - x, self.contribution(q, q.dx, g, None) if g.slot >= 0 else g)
        if y and self.active_slot(slot - y):
            self.add_scalar(slot - y, self.contribution(q, q.dy, g, None) if g.slot >= 0 else g)
        return 0

    cdef bint reached(self, Py_ssize_t first, Layout l) except -1:
        """Whether an output depends on a view."""
        cdef Py_ssize_t k
        cdef int64_t *slots
        if l.contiguous:
            for k in range(first - self.base, first - self.base + l.size):
                if self.state[k] & REACHED:
                    return True
            return False
        if self.state[first - self.base] & REACHED:
            return True
        slots = self.buffer(3, l.size)
        slots_into(first, l, slots)
        for k in range(l.size):
            if self.state[slots[k] - self.base] & REACHED:
                return True
        return False

    cdef int wide(self, Wide *w) except -1:
        """The adjoint of a wide record."""
        cdef Layout l
        if w.kind == CALL:
            return self.called(w)
        if w.n == 0 or w.kind == SPAN:
            return 0
        del self.kept[:]
        if w.kind == ASSIGN:
            return self.assigned(w)
        if w.flags & FREED:
            if self.reached(w.out, layout_of((w.size,))):
                raise FreedGraphError(FREED_PART)
            return 0
        if w.kind == MAP:
            if fa_rows[w.op].differentiable:
                self.mapped(w)
        elif w.kind == MATMUL:
            self.multiplied(w)
        elif w.kind == ROUTE:
            self.moved(w)
        else:
            self.spread(w)
        self.shape = SCALAR
        return 0

    cdef int mapped(self, Wide *w) except -1:
        """The adjoint of a strided map."""
        cdef int64_t one[5]
        cdef const int64_t *p = axes(self.tape, w, one)
        cdef Layout out = axis_layout(p, 1), a = axis_layout(p, 2), b = axis_layout(p, 3)
        cdef bint x = self.reads_active(w, False), y = w.b >= 0 and self.reads_active(w, True)
        cdef Py_ssize_t at = w.dst, at_a = w.a, at_b = w.b, n
        cdef Py_ssize_t dims[64]
        cdef Grid grid
        cdef Term g
        cdef const Program *q
        if not (x or y) or not self.reached(at, out):
            return 0
        if self.narrowed(at, out, &grid):             # the rest is nothing
            if x:
                self.touch(at_a, a)
            if y:
                self.touch(at_b, b)
            out, a, b = on_grid(&grid, out, &at), on_grid(&grid, a, &at_a), on_grid(&grid, b, &at_b)
        if self.held_whole(at, out) and (n := self.divided_like_run(at, out, a if x else None, b if y else None, dims)):
            out, a = divided(out, n, dims), divided(a, n, dims)
            if w.b >= 0:
                b = divided(b, n, dims)
        g = self.adjoint_of(at, out)
        q = program_of(w.op)
        self.shape = out
        self.time += 1
        if g.slot >= 0:
            self.x = self.operand_at(at_a, a, w.flags & CONSTANT_A != 0)
            if w.b >= 0:
                self.y = self.operand_at(at_b, b, w.flags & CONSTANT_B != 0)
            self.v = self.operand_at(at, out, False)
        if x:
            self.contribute(at_a, a, self.contribution(q, q.dx, g, a) if g.slot >= 0 else g)
        if y:
            self.contribute(at_b, b, self.contribution(q, q.dy, g, b) if g.slot >= 0 else g)
        return 0

    cdef int moved(self, Wide *w) except -1:
        """The adjoint of a gather: references go where the values came from."""
        cdef Tape t = self.tape
        cdef int64_t *targets = self.buffer(1, w.n)
        cdef int64_t *refs = self.buffer(2, w.n)
        cdef Py_ssize_t k, n = 0, slot
        self.spill_span(w.dst, w.dst + w.n - 1)
        for k in range(w.n):
            slot = w.a + t.pool[w.layout + k]
            if (t.pool[w.layout + k] < 0 or not self.active_slot(slot)
                    or not self.state[w.dst + k - self.base] & REACHED):
                continue
            self.state[slot - self.base] |= REACHED
            targets[n], refs[n] = slot, self.adjoint[w.dst + k - self.base]
            n += refs[n] != 0
        return self.scattered(targets, refs, n)

    cdef int spread(self, Wide *w) except -1:
        """The adjoint of a weighted scatter."""
        cdef Tape t = self.tape
        cdef int64_t *targets = self.buffer(1, w.n)
        cdef int64_t *refs = self.buffer(2, w.n)
        cdef int64_t *weights
        cdef Py_ssize_t k, n = 0, slot, from_
        cdef bint ones = True
        cdef Layout flat
        cdef Term g, c
        weights = self.buffer(0, w.n)
        self.spill_span(w.out, w.out + w.size - 1)
        for k in range(w.n):
            slot, from_ = w.a + t.pool[w.layout + k], w.dst + t.pool[w.layout + w.n + k] - self.base
            if not self.active_slot(slot) or not self.state[from_] & REACHED:
                continue
            self.state[slot - self.base] |= REACHED
            targets[n], refs[n], weights[n] = slot, self.adjoint[from_], 2 * (w.b + k)
            ones = ones and t.value[w.b + k] == 1.0
            n += refs[n] != 0
        if n and not ones:
            flat = layout_of((n,))
            self.shape = flat
            c = self.gathered(weights, flat, False)
            c.constant = True
            g = self.gathered(refs, flat, True)
            c = self.product(c, g, None)
            if c.slot == 0:
                weights[0] = self.encoded(c)
                for k in range(n):
                    refs[k] = weights[0]
            else:
                slots_into(c.slot, <Layout>c.layout, refs)
                for k in range(n):
                    refs[k] = 2 * refs[k] + c.maybe
        return self.scattered(targets, refs, n)

    cdef int assigned(self, Wide *w) except -1:
        """The adjoint of an in-place write goes to what was written; what it overwrote stands in its own block."""
        cdef Tape t = self.tape
        cdef int64_t one[5]
        cdef const int64_t *p
        cdef int64_t *targets = self.buffer(1, w.n)
        cdef int64_t *refs = self.buffer(2, w.n)
        cdef int64_t *slots = self.buffer(3, w.n)
        cdef Py_ssize_t k, j, kept, n = 0, low = 0, high = -1
        cdef bint known = w.a >= 0 and not w.flags & CONSTANT_A
        if w.flags & INDEXED:
            for k in range(w.n):
                slots[k] = w.dst + t.pool[w.layout + k]
                targets[k] = w.a + k * w.sx
        else:
            p = axes(t, w, one)
            slots_into(w.dst, axis_layout(p, 1), slots)
            slots_into(w.a, axis_layout(p, 2), targets)
        written_span(t, w, &low, &high)
        self.spill_span(low, high)
        self.spill_span(w.out, w.out + w.n - 1)
        for k in range(w.n - 1, -1, -1):              # where a slot was written twice, the last write counts
            j = slots[k] - self.base
            self.standing[slots[k] - self.lowest] = w.out + k
            if j < 0:
                continue
            if known and self.state[j] & REACHED and self.active_slot(targets[k]):
                self.state[targets[k] - self.base] |= REACHED
                if self.adjoint[j]:
                    # positions up to k are still to be read: the list grows down from the end
                    n += 1
                    targets[w.n - n], refs[w.n - n] = targets[k], self.adjoint[j]
            kept = w.out + k - self.base              # a recorded sweep before this one has read the old value there
            self.adjoint[j] = self.adjoint[kept]
            self.state[j] = self.state[j] & ~<uint8_t>REACHED | self.state[kept] & REACHED
        return self.scattered(targets + (w.n - n), refs + (w.n - n), n)

    cdef int multiplied(self, Wide *w) except -1:
        """The adjoint of a matrix product (batch B; M, K times K, N): two matrix products."""
        cdef Tape t = self.tape
        cdef Py_ssize_t B = t.pool[w.layout], M = t.pool[w.layout + 1]
        cdef Py_ssize_t N = t.pool[w.layout + 2], K = t.pool[w.layout + 3]
        cdef Py_ssize_t s[9]
        cdef Py_ssize_t k, at = w.dst, at_a = w.a, at_b = w.b
        cdef Layout out, a, b
        cdef bint x = self.reads_active(w, False), y = self.reads_active(w, True)
        cdef Grid grid
        cdef Term g, c = no_term()
        for k in range(9):
            s[k] = t.pool[w.layout + 4 + k]
        if B == 0 or M == 0 or N == 0 or K == 0:
            return 0
        out = cube(B, M, N, s[0], s[1], s[2])
        a, b = cube(B, M, K, s[3], s[4], s[5]), cube(B, K, N, s[6], s[7], s[8])
        if not (x or y) or not self.reached(at, out):
            return 0
        if self.narrowed(at, out, &grid):             # the rest is nothing
            if x:
                self.touch(at_a, a)
            if y:
                self.touch(at_b, b)
            out, N = on_grid(&grid, out, &at), grid.count[2]
            at_a += grid.start[0] * s[3] + grid.start[1] * s[4]
            at_b += grid.start[0] * s[6] + grid.start[2] * s[8]
            B, M = grid.count[0], grid.count[1]
            a = cube(B, M, K, max(grid.step[0], 1) * s[3], max(grid.step[1], 1) * s[4], s[5])
            b = cube(B, K, N, max(grid.step[0], 1) * s[6], s[7], max(grid.step[2], 1) * s[8])
        g = self.adjoint_of(at, out)
        if x:
            self.shape = a
            if g.slot >= 0:
                c = self.matrix_product(g, out, self.operand_at(at_b, b, w.flags & CONSTANT_B != 0), False)
            self.contribute(at_a, a, c)
        if y:
            self.shape = b
            if g.slot >= 0:
                c = self.matrix_product(g, out, self.operand_at(at_a, a, w.flags & CONSTANT_A != 0), True)
            self.contribute(at_b, b, c)
        return 0

    cdef Term turned(self, Term c, Layout shape, int p, int q, int r, int s=-1) except *:
        """A term with its axes p, q, r, s as the axes of a shape; -1: an axis that it does not move along."""
        cdef Py_ssize_t steps[4]
        cdef int axis[4]
        cdef Py_ssize_t d
        cdef Layout old, l
        if c.slot <= 0:
            return c
        axis[0], axis[1], axis[2], axis[3] = p, q, r, s
        old = <Layout>c.layout
        for d in range(shape.ndim):
            steps[d] = old.dims[old.ndim + axis[d]] if axis[d] >= 0 else 0
        l = make_layout(shape.ndim, shape.dims, steps)
        self.kept.append(l)
        c.layout = <void *>l
        return c

    cdef Term matrix_product(self, Term g, Layout gs, Term other, bint second) except *:
        """The contribution g bᵀ to the first, or aᵀ g to the second, operand of a matrix product.

        Where g may be nothing: what belongs to rows (second: columns) that are nothing altogether is nothing. If the
        other factor is not finite, the product is written out, to leave out what is nothing.
        """
        cdef Layout shape = self.shape, inner
        cdef Py_ssize_t B = gs.dims[0], M = gs.dims[1], N = gs.dims[2]
        cdef Py_ssize_t K = shape.dims[1] if second else shape.dims[2]
        cdef Term rows, c
        cdef int axis = 1 if second else 2            # of g, summed over
        if g.maybe and not self.finite(other):
            inner = hypercube(B, M, N, K, axis)
            self.shape = inner
            other = self.turned(other, inner, 0, 1, -1, 2) if second else self.turned(other, inner, 0, -1, 2, 1)
            g = self.turned(g, inner, 0, 1, 2, -1)
            c = self.emit_map(OP_flow, other, g, inner)
            c.maybe = True
            if not moves(other, axis) and not moves(g, axis):
                c = self.product(number(inner.dims[axis]), c, None)
            self.shape = shape
            return self.turned(c, shape, 0, 3, 2) if second else self.turned(c, shape, 0, 1, 3)
        if second:
            c = self.emit_matmul(self.turned(other, cube(B, K, M, 0, 0, 0), 0, 2, 1), g, B, K, N, M)
        else:
            c = self.emit_matmul(g, self.turned(other, cube(B, N, K, 0, 0, 0), 0, 2, 1), B, M, K, N)
        if not g.maybe:
            return c
        self.shape = gs
        rows = self.emit(OP_logical_not, self.emit(OP_absent, g, g), g)
        rows = self.emit_map(OP_positive, rows, rows, cube(B, M, N, 1, not second, second))
        self.shape = shape
        if not self.live and not self.holds_zero(rows):
            return c
        rows = self.turned(rows, shape, 0, -1, 2) if second else self.turned(rows, shape, 0, 1, -1)
        c = self.emit(OP_keep, self.plus_zero(c), rows)
        c.maybe = True
        return c

    cdef Term emit_matmul(self, Term a, Term b, Py_ssize_t B, Py_ssize_t M, Py_ssize_t N, Py_ssize_t K) except *:
        """Record the product of stacks of matrices (B, M, K) and (B, K, N)."""
        cdef Tape t = self.tape
        cdef Py_ssize_t size = B * M * N, d, p
        cdef Layout l = cube(B, M, N, M * N, N, 1)
        cdef Wide *w
        t.reserve(size + 2, 1, 13)
        w = t.push(MATMUL, size + (a.slot == 0) + (b.slot == 0))
        w.flags = (CONSTANT_A if a.slot == 0 or a.constant else 0) | (CONSTANT_B if b.slot == 0 or b.constant else 0)
        w.n, w.a, w.b, w.layout = size, a.slot, b.slot, t.n_pool
        if a.slot == 0:
            w.a = w.out + size
            t.value[w.a] = a.value
        if b.slot == 0:
            w.b = w.out + size + (a.slot == 0)
            t.value[w.b] = b.value
        p = t.n_pool
        t.pool[p], t.pool[p + 1], t.pool[p + 2], t.pool[p + 3] = B, M, N, K
        for d in range(3):
            t.pool[p + 4 + d] = l.dims[3 + d]
            t.pool[p + 7 + d] = (<Layout>a.layout).dims[3 + d] if a.slot else 0
            t.pool[p + 10 + d] = (<Layout>b.layout).dims[3 + d] if b.slot else 0
        t.n_pool += 13
        run(t, w)
        self.kept.append(l)
        return standing_at(w.out, <void *>l, 0.0)

    cdef int leave_values(self) except -1:
        """From here on values are not computed: until somebody asks, see `catch_up`."""
        self.tape.late, self.tape.late_slot = self.tape.n_records + 1, self.tape.n_slots
        return 0

    cdef bint finite(self, Term c) except -1:
        """Whether all elements are finite now."""
        if c.slot == 0:
            return c.value - c.value == 0.0
        if self.tape.late and c.slot + (<Layout>c.layout).high >= self.tape.late_slot:
            catch_up(self.tape)
            self.leave_values()
        return np.all(np.isfinite(read_view(&self.tape.value[c.slot], <Layout>c.layout)))

    cdef bint holds_zero(self, Term c) except -1:
        """Whether an element is zero now."""
        if c.slot == 0:
            return c.value == 0.0
        return not np.all(read_view(&self.tape.value[c.slot], <Layout>c.layout))

    # ---- where the sweep meets Python --------------------------------------------------------------------------------
    cdef object variable_of(self, Term c, Layout l):
        """A term as a Variable."""
        if c.slot == 0:
            return with_data(np.full(l.shape, c.value), CONSTANT)
        return new_node(self.tape, c.slot, self.tape.n_records - 1, SCALAR if c.layout is NULL else <Layout>c.layout)

    cdef int called(self, Wide *w) except -1:
        """The adjoint of a CALL record: its rule works with Variables, which need values."""
        cdef Tape t = self.tape
        cdef bint late = t.late != 0
        cdef Py_ssize_t p = w.layout, n_in = t.pool[p], n_out = t.pool[p + 1 + 2 * n_in], j, offset, size
        cdef Py_ssize_t q = p + 2 + 2 * n_in
        cdef Layout l
        cdef Term g
        cdef Variable h
        if not self.reads_active(w, False) or w.size == 0 or not self.reached(w.out, layout_of((w.size,))):
            return 0
        if w.flags & FREED:
            raise FreedGraphError(FREED_PART)
        rule = t.objects[w.extra]
        del self.kept[:]
        exact = getattr(rule, "exact", False)
        operands, results, upstream = [], [], []
        for j in range(n_in):
            l = layout_of((t.pool[p + 2 + 2 * j],))
            operands.append(self.variable_of(self.operand_at(t.pool[p + 1 + 2 * j], l, False), l) if l.size
                            else with_data(np.empty(0), CONSTANT))
        for j in range(n_out):
            l = layout_of((t.pool[q + 1 + 2 * j],))
            g = no_term()
            if l.size == 0:
                results.append(with_data(np.empty(0), CONSTANT))
            else:
                results.append(self.variable_of(self.operand_at(t.pool[q + 2 * j], l, False), l))
                g = self.adjoint_of(t.pool[q + 2 * j], l)
            if g.slot >= 0 and g.maybe and not exact:
                self.shape = l
                g.maybe = False
                g = self.emit(OP_add, g, number(0.0))
            upstream.append(self.variable_of(g, l) if g.slot >= 0 else None)
        catch_up(t)
        if all([g_j is None for g_j in upstream]):
            gradients = [None] * n_in
        else:
            gradients = recorded_rule(rule)(operands, results, upstream)
        for j in range(n_in):
            offset, size = t.pool[p + 1 + 2 * j], t.pool[p + 2 + 2 * j]
            if size == 0 or not self.active_span(offset, offset + size - 1):
                continue
            l = layout_of((size,))
            self.shape = l
            if gradients[j] is None:
                self.touch(offset, l)
                continue
            h = flat_variable(t, gradients[j], size)
            if h.tape is not t:
                raise RuntimeError("recorded sweep: a rule's gradient was recorded in another thread")
            g = standing_at(h.offset, <void *>h.layout, 0.0)
            g.maybe = exact                           # also where its rule gives nothing: elements that were not taken
            self.contribute(offset, l, g)
        self.shape = SCALAR
        if late:
            self.leave_values()
        return 0

    cdef int run_hooks(self, dict hooks) except -1:
        """Show the adjoint of a view, as a Variable, to its hooks, which may replace it."""
        cdef Hook h
        cdef Variable new
        cdef Term g
        cdef Py_ssize_t k
        cdef int64_t *targets
        cdef int64_t *refs
        catch_up(self.tape)
        for h in list(hooks):
            if h.offset < self.base or h.layout.size == 0:
                continue
            g = self.adjoint_of(h.offset, h.layout)
            if g.slot < 0:
                continue
            shown = self.variable_of(g, h.layout)
            answer = hooked(h.function, shown, h.name)
            if answer is shown:
                continue
            new = flat_variable(self.tape, np.reshape(answer, -1), h.layout.size)
            targets, refs = self.buffer(1, h.layout.size), self.buffer(2, h.layout.size)
            slots_into(h.offset, h.layout, targets)
            slots_into(new.offset, new.layout, refs)
            self.spill_span(h.offset + h.layout.low, h.offset + h.layout.high)
            for k in range(h.layout.size):
                self.adjoint[targets[k] - self.base] = 2 * refs[k]
        return 0

    # ---- beginning and end of the adjoints ---------------------------------------------------------------------------
    cdef int seed(self, Py_ssize_t first, Layout l, object seed) except -1:
        """Start with the adjoint of an output: a Variable or an array of its shape, whose -0.0 are nothing."""
        cdef Variable h
        cdef const double[::1] flat
        cdef int64_t *targets = self.buffer(1, l.size)
        cdef int64_t *refs = self.buffer(2, l.size)
        cdef Py_ssize_t k
        cdef bint few
        slots_into(first, l, targets)
        if isinstance(seed, Handle) and recorded(seed):
            h = seed
            if h.layout.ndim == 0:
                slots_into(slot_of(h), SCALAR, refs)
                for k in range(l.size):
                    refs[k] = refs[0]
            else:
                slots_into(slot_of(h), h.layout, refs)
            for k in range(l.size):
                refs[k] *= 2
        else:
            if isinstance(seed, Handle):
                seed = values_of(seed)
            flat = np.ascontiguousarray(np.broadcast_to(np.asarray(seed, np.float64), l.shape)).reshape(-1)
            few = few_numbers(flat)
            if not few:
                h = new_span(self.tape, np.asarray(flat))
            for k in range(l.size):
                if is_nothing(flat[k]):
                    refs[k] = 0
                else:
                    refs[k] = self.encoded(number(flat[k])) if few else 2 * (h.offset + k)
        return self.scattered(targets, refs, l.size)

    cdef object gradient(self, Py_ssize_t first, Layout l, bint exact):
        """The finished adjoint of a view as a Variable with memory of its own; None where no output depends on it.

        What is nothing becomes 0.0; `exact`: it stays -0.0, and no number looks like it.
        """
        cdef Term c = no_term()
        del self.kept[:]
        if l.size == 0 or first < self.base or first + l.high >= self.end:
            return None
        if not self.reached(first, l):
            return None
        if l.contiguous and l.size >= SHORTEST_RUN and not self.held_whole(first, l):
            c = self.assembled(first, l, True, exact)
            if c.slot > 0:
                return new_node(self.tape, c.slot, self.tape.n_records - 1, <Layout>c.layout)
        c = self.adjoint_of(first, l)
        if c.slot <= 0:
            return with_data(np.full(l.shape, c.value + 0.0 if c.slot == 0 else -0.0 if exact else 0.0), CONSTANT)
        self.shape = l
        c = self.emit(OP_positive, c, c) if c.maybe == exact else self.emit(OP_add, c, number(0.0))
        if c.layout is NULL or (<Layout>c.layout).contiguous:
            l = SCALAR if l.ndim == 0 else dense(l.ndim, l.dims)
            return new_node(self.tape, c.slot, self.tape.n_records - 1, l)
        c = self.emit_dense(c)
        return new_node(self.tape, c.slot, self.tape.n_records - 1, dense(l.ndim, l.dims))


cdef bint few_numbers(const double[::1] x) noexcept:
    """Whether no more than four different numbers are in an array."""
    cdef double seen[4]
    cdef Py_ssize_t k, j, n = 0
    for k in range(x.shape[0]):
        for j in range(n):
            if seen[j] == x[k]:
                break
        else:
            if n == 4:
                return False
            seen[n] = x[k]
            n += 1
    return True


cdef Variable flat_variable(Tape tape, object x, Py_ssize_t size):
    """A gradient that a rule has made as a recorded Variable of one axis."""
    cdef Variable h
    if np.size(x) != size:
        raise ValueError(f"recorded sweep: a rule gave {np.size(x)} elements as the gradient of an operand of {size}")
    if isinstance(x, Handle) and recorded(x):
        h = dense_view(np.reshape(x, -1))
        return h if h.state == NODE else record_map(OP_positive, h, None, h.layout, None, "copy")
    return new_span(tape, np.reshape(np.asarray(value_or_array(x), np.float64), -1))


cdef object recorded_rule(object rule):
    """How a rule differentiates itself."""
    pull = getattr(rule, "recorded_pull", None)
    if pull is None:
        raise NotImplementedError(f"{getattr(rule, 'name', type(rule).__name__)}: its rule gives first derivatives "
                                  "only; it needs a method recorded_pull(operands, results, upstream) that works "
                                  "with Variables")
    return pull


cdef object hooked(object function, object g, object name):
    """What a hook makes of a gradient that is a Variable."""
    new = function(g)
    if new is None:
        return g
    if np.shape(new) != g.shape:
        raise ValueError(f"hook of {name or 'a variable'}: returned shape {np.shape(new)} for a gradient of shape "
                         f"{g.shape}")
    return new


cdef _Recorder recorded_sweep(Tape tape, list outputs, list seeds, list spans, bint live, bint late):
    """A finished recorded sweep; `late`: its values are computed when somebody asks for them.

    `outputs` are Variables that stand on the tape; `spans` are pairs (first slot, layout) of what is differentiated
    with respect to.
    """
    cdef _Recorder r = _Recorder.__new__(_Recorder)
    cdef Py_ssize_t lowest = tape.n_slots, first
    cdef Layout l
    cdef Variable y
    for first, l in spans:
        if l.size:
            lowest = min(lowest, first + l.low)
    r.begin(tape, lowest, live)
    for first, l in spans:
        if l.size:
            r.activate(first + l.low, first + l.high)
    r.mark()
    for y, seed in zip(outputs, seeds):
        if seed is not None and y.layout.size and slot_of(y) + y.layout.low >= r.base:
            r.seed(slot_of(y), y.layout, seed)
    if tape.observer is not None:
        show_sweep(tape, outputs, seeds, r.base)
    elif late:
        r.leave_values()
    try:
        r.run()
    finally:
        if tape.observer is not None:
            tape.observer.origin = -1
    return r


def recorded_pull(list outputs, list seeds, list inputs, bint live=False, bint exact=False, bint late=False):
    """Gradients as recorded Variables, which can be differentiated again.

    Parameters
    ----------
    outputs : list of Variable
        Recorded on one tape.
    seeds : list
        For each output its adjoint, a Variable or an array of its shape; -0.0 is nothing; None: not differentiated.
    inputs : list of Variable
        Recorded on the same tape.
    live : bool
        The tape will be replayed with other inputs: what a function selects (``where``, ``maximum``) is recorded, not
        taken from the values of now.
    exact : bool
        Elements that no output depends on are -0.0 (nothing), and numbers are not; otherwise they are 0.0.
    late : bool
        For a trace, `live`, that nothing else is recorded on before it is resumed: the values of the gradients are not
        computed until then.

    Returns
    -------
    list of Variable or None
        The sum of the outputs' gradients for each input; None where no output depends on it.
    """
    cdef Tape tape
    cdef int paused
    cdef Py_ssize_t k
    kept = [k for k in range(len(outputs)) if isinstance(outputs[k], Handle) and recorded(outputs[k])
            and seeds[k] is not None]
    if not kept or not inputs:
        return [None] * len(inputs)
    outputs, seeds = [outputs[k] for k in kept], [seeds[k] for k in kept]
    for x in inputs:
        if not isinstance(x, Handle) or not recorded(x):
            raise TypeError("recorded_pull: an input is no recorded Variable")
    for y, seed in zip(outputs, seeds):
        if np.shape(seed) != np.shape(y) and np.ndim(seed):
            raise ValueError(f"recorded_pull: an output has shape {np.shape(y)}, its seed {np.shape(seed)}")
    tape = settle(outputs + inputs + [s for s in seeds if isinstance(s, Handle) and recorded(s)], 0, 1, 0,
                  "recorded_pull")
    paused, tape.paused = tape.paused, 0
    tape.pinned += 1
    tape.limit()
    try:
        spans = [(slot_of(x), (<Handle>x).layout) for x in inputs]
        sweep = recorded_sweep(tape, outputs, seeds, spans, live, late and live)
        return [(<_Recorder>sweep).gradient(first, l, exact) for first, l in spans]
    finally:
        tape.pinned -= 1
        tape.paused = paused
        tape.open = False
        tape.limit()
