# Adjoints as references to slots, and the operations of a recorded sweep (part of variable.pyx; see
# _recorded_sweep.pxi).

cdef class _References(_Runs):
    """The adjoints of a recorded sweep as references, and operations on them, over the records above some inputs."""
    cdef Py_ssize_t first, stop       # the records that are swept
    cdef int64_t *adjoint             # for each slot that is not HELD: 2 * reference + maybe; 0: none. See `encoded`
    cdef int64_t *standing            # which slot holds a slot's value at the time of the sweep; NULL: itself
    cdef Py_ssize_t lowest            # first slot in `standing`
    cdef double *numbers              # adjoints that are numbers
    cdef Py_ssize_t n_numbers, room_for_numbers
    cdef int64_t *buffers[4]
    cdef Py_ssize_t buffer_sizes[4]
    cdef bint live                    # the records will be replayed with other inputs: selections are recorded
    cdef Layout shape                 # over which terms iterate; SCALAR: terms are numbers and scalars

    def __dealloc__(self):
        cdef int k
        PyMem_Free(self.adjoint)
        PyMem_Free(self.standing)
        PyMem_Free(self.state)
        PyMem_Free(self.numbers)
        for k in range(4):
            PyMem_Free(self.buffers[k])

    # ---- beginning -------------------------------------------------------------------------------------------------
    cdef int begin(self, Tape tape, Py_ssize_t lowest, bint live) except -1:
        """Prepare a sweep down to the record that owns the slot `lowest`."""
        cdef Py_ssize_t k, n, low, high
        self.tape, self.live, self.shape, self.kept = tape, live, SCALAR, []
        self.stop = self.first = tape.n_records
        self.end = self.base = tape.n_slots
        while self.base > lowest and self.first:
            self.first -= 1
            self.base -= tape.wide[tape.link[self.first] >> 8].size if is_wide(tape.link[self.first]) else 1
        n = self.end - self.base
        self.adjoint = <int64_t *>PyMem_Calloc(n + 1, sizeof(int64_t))
        self.state = <uint8_t *>PyMem_Calloc(n + 1, 1)
        if self.adjoint is NULL or self.state is NULL:
            raise MemoryError()
        if n >= HUGE:
            fa_large_pages(self.state, n)
        self.begin_runs()
        self.lowest = self.base
        if tape.n_assign:
            for k in range(self.first, self.stop):
                if is_wide(tape.link[k]) and tape.wide[tape.link[k] >> 8].kind == ASSIGN:
                    written_span(tape, &tape.wide[tape.link[k] >> 8], &low, &high)
                    self.lowest = min(self.lowest, low)
            n = self.end - self.lowest
            self.standing = <int64_t *>PyMem_Malloc((n + 1) * sizeof(int64_t))
            if self.standing is NULL:
                raise MemoryError()
            for k in range(n):
                self.standing[k] = self.lowest + k
        return 0

    cdef inline bint active_slot(self, Py_ssize_t slot) noexcept:
        return slot >= self.base and slot < self.end and self.state[slot - self.base] & ACTIVE

    cdef bint active_span(self, Py_ssize_t low, Py_ssize_t high) noexcept:
        """Whether one of the slots low … high depends on the inputs."""
        low, high = max(low, self.base), min(high, self.end - 1)
        for low in range(low, high + 1):
            if self.state[low - self.base] & ACTIVE:
                return True
        return False

    cdef void activate(self, Py_ssize_t low, Py_ssize_t high) noexcept:
        cdef uint8_t *state = self.state
        cdef Py_ssize_t k
        for k in range(max(low, self.base) - self.base, min(high, self.end - 1) + 1 - self.base):
            state[k] |= ACTIVE

    cdef bint reads_active(self, const Wide *w, bint second) noexcept:
        """Whether an operand of a wide record depends on the inputs."""
        cdef Tape t = self.tape
        cdef Py_ssize_t low = 0, high = -1, k
        if w.kind == CALL:
            for k in range(t.pool[w.layout]):
                if self.active_span(t.pool[w.layout + 1 + 2 * k],
                                    t.pool[w.layout + 1 + 2 * k] + t.pool[w.layout + 2 + 2 * k] - 1):
                    return True
            return False
        if (w.n == 0 or w.kind == SPAN or (w.b if second else w.a) < 0
                or w.flags & (CONSTANT_B if second else CONSTANT_A)):
            return False
        if w.kind == ROUTE or w.kind == SPREAD:
            for k in range(w.n):
                if t.pool[w.layout + k] >= 0 and self.active_slot(w.a + t.pool[w.layout + k]):
                    return True
            return False
        if w.kind == MATMUL:
            matrix_span(t, w, 1 + second, &low, &high)
        elif w.kind == ASSIGN and w.flags & INDEXED:
            low, high = w.a, w.a + (w.n - 1) * w.sx
        else:
            span(t, w, 1 + second, &low, &high)
        return self.active_span(low, high)

    cdef int mark(self) except -1:
        """Find out, forwards, what depends on the inputs, whose slots are marked."""
        cdef Tape t = self.tape
        cdef Py_ssize_t rec, slot = self.base, low, high, k
        cdef Wide *w
        for rec in range(self.first, self.stop):
            if not is_wide(t.link[rec]):
                if (t.link[rec] == FREED_SCALAR or self.active_slot(slot - distance_x(t, rec))
                        or self.active_slot(slot - distance_y(t, rec))):
                    self.state[slot - self.base] |= ACTIVE
                slot += 1
                continue
            w = &t.wide[t.link[rec] >> 8]
            slot += w.size
            if w.kind == ASSIGN and w.n:                      # its block holds what it overwrites
                written_span(t, w, &low, &high)
                if self.active_span(low, high):
                    self.activate(w.out, w.out + w.n - 1)
            if not (self.reads_active(w, False) or (w.b >= 0 and w.kind != SPREAD and self.reads_active(w, True))
                    or w.flags & FREED):
                continue
            if w.kind == ASSIGN:
                if w.flags & INDEXED:
                    for k in range(w.n):
                        self.activate(w.dst + t.pool[w.layout + k], w.dst + t.pool[w.layout + k])
                    continue
            else:
                self.activate(w.out, w.out + w.size - 1)
            if w.kind == ASSIGN or w.kind == MAP:
                span(t, w, 0, &low, &high)
                self.activate(low, high)
        return 0

    # ---- references --------------------------------------------------------------------------------------------
    cdef int spill(self, Py_ssize_t k) except -1:
        """Let a run's slots have a reference each."""
        cdef Run r = self.taken_run(k)
        cdef Layout l = layout_of_run(&r)
        return self.refer(term_of_run(&r, l), l, self.adjoint + (r.first - self.base))

    cdef int spill_span(self, Py_ssize_t low, Py_ssize_t high) except -1:
        """Let the slots low … high, if there is a run among them, have a reference each."""
        cdef Py_ssize_t k
        low, high = max(low, self.base), min(high, self.end - 1)
        while self.n_runs and low <= high:
            if self.state[low - self.base] & HELD:
                k = self.run_at(low)
                low = self.runs[k].first + self.runs[k].size
                self.spill(k)
            else:
                low += 1
        return 0

    cdef int hold(self, Py_ssize_t first, Layout target, Term c) except -1:
        """Let a term be the adjoint of slots in a row, none of which is HELD."""
        cdef Run r
        if target.size >= SHORTEST_RUN and run_of(first, target, c, &r):
            return self.put_run(&r)
        return self.refer(c, target, self.adjoint + (first - self.base))

    cdef int refer(self, Term c, Layout l, int64_t *out) except -1:
        """The references to the elements of a term, in C order."""
        cdef Py_ssize_t k
        cdef int64_t all
        if c.slot == 0:
            all = self.encoded(c)
            for k in range(l.size):
                out[k] = all
            return 0
        if (<Layout>c.layout).contiguous:
            for k in range(l.size):
                out[k] = 2 * (c.slot + k) + c.maybe
            return 0
        slots_into(c.slot, <Layout>c.layout, out)
        for k in range(l.size):
            out[k] = 2 * out[k] + c.maybe
        return 0

    cdef int parts(self, Py_ssize_t first, Py_ssize_t end, Run *found) noexcept:
        """The adjoints of slots in a row as a few runs: how many; 0 where they are too many, or a slot has none.

        Slots that are not HELD, the smaller part, count as a run as far as their references go on alike.
        """
        cdef Py_ssize_t at = first, stop, held = 0
        cdef const int64_t *ref
        cdef int64_t step
        cdef int n = 0
        cdef Run *r
        while at < end:
            if n == MOST_PARTS:
                return 0
            r, stop = &found[n], at + 1
            if self.state[at - self.base] & HELD:
                r[0] = self.runs[self.run_at(at)]
                stop = min(end, r.first + r.size)
                held += stop - at
                if not cut_run(r, at, stop - at):
                    return 0
            else:
                ref = self.adjoint + (at - self.base)
                if ref[0] == 0:
                    return 0
                step = ref[1] - ref[0] if stop < end and ref[0] > 1 and ref[1] > 1 else 0
                if step & 1 == 0:
                    while (stop < end and not self.state[stop - self.base] & HELD and ref[stop - at] != 0
                           and ref[stop - at] == ref[0] + step * (stop - at)):
                        stop += 1
                r.first, r.size, r.slot, r.maybe = at, stop - at, max(<Py_ssize_t>(ref[0] >> 1), 0), ref[0] & 1
                r.value = self.numbers[-(ref[0] >> 1) - 1] if ref[0] < 0 else 0.0
                r.ndim, r.dims[0], r.steps[0] = 1, r.size, <Py_ssize_t>(step // 2)
            at = stop
            n += 1
        return n if 2 * held > end - first else 0

    cdef Term assembled(self, Py_ssize_t first, Layout l, bint last=False, bint exact=False):
        """The adjoints of slots in a row as a new block of a few copies; nothing at all where they would be many.

        `last`: as a gradient, see there for `exact`.
        """
        cdef Tape t = self.tape
        cdef Run found[MOST_PARTS]
        cdef Py_ssize_t out, j
        cdef int k, n = self.parts(first, first + l.size, found)
        cdef Wide *w
        cdef Layout steps, lines, whole
        cdef bint plain = not last or found[0].maybe == exact
        cdef Term c
        for k in range(1, n):
            if found[k].maybe != found[0].maybe:
                return no_term()
        if n < 2:
            return no_term()
        t.reserve(l.size + n, 1 + n, n * (4 * RUN_AXES + 5))
        w = t.push(SPAN, l.size)
        w.n, out = l.size, w.out
        for k in range(n):
            if found[k].slot == 0:
                for j in range(out + (found[k].first - first), out + (found[k].first - first) + found[k].size):
                    t.value[j] = found[k].value if plain else found[k].value + 0.0
                continue
            steps = layout_of_run(&found[k])
            lines = dense(steps.ndim, steps.dims)
            w = t.push(MAP, not plain)
            w.op, w.dst, w.a = OP_positive, out + (found[k].first - first), found[k].slot
            if not plain:
                w.op, w.b, w.flags = OP_add, w.out, CONSTANT_B
                t.value[w.b] = 0.0
            t.push_layout(lines, lines, steps, None if plain else SCALAR, w)
            run(t, w)
        whole = dense(l.ndim, l.dims)
        self.kept.append(whole)
        c = standing_at(out, <void *>whole, 0.0)
        c.maybe = plain and found[0].maybe
        return c

    cdef int64_t *buffer(self, int k, Py_ssize_t n) except NULL:
        """Room for n references."""
        if self.buffer_sizes[k] < n or self.buffers[k] is NULL:
            PyMem_Free(self.buffers[k])
            self.buffers[k] = <int64_t *>PyMem_Malloc((n + 16) * sizeof(int64_t))
            self.buffer_sizes[k] = n + 16 if self.buffers[k] is not NULL else 0
            if self.buffers[k] is NULL:
                raise MemoryError()
        return self.buffers[k]

    cdef int64_t encoded(self, Term c) except? -1:
        """The reference to a scalar term: a slot, or for a number minus its place in `numbers` and one more."""
        cdef Py_ssize_t k
        if c.slot > 0:
            return 2 * c.slot + c.maybe
        for k in range(self.n_numbers - 1, max(self.n_numbers - 5, -1), -1):
            if self.numbers[k] == c.value and (c.value != 0.0 or is_nothing(self.numbers[k]) == is_nothing(c.value)):
                return -2 * (k + 1)
        if self.n_numbers == self.room_for_numbers:
            k = 2 * self.room_for_numbers + 16
            grown = <double *>PyMem_Realloc(self.numbers, k * sizeof(double))
            if grown is NULL:
                raise MemoryError()
            self.numbers, self.room_for_numbers = grown, k
        self.numbers[self.n_numbers] = c.value
        self.n_numbers += 1
        return -2 * self.n_numbers

    cdef inline Term decoded(self, int64_t ref) noexcept:
        """The scalar term of a reference."""
        cdef Py_ssize_t slot = <Py_ssize_t>(ref >> 1)
        cdef Term c
        if slot < 0:
            return number(self.numbers[-slot - 1])
        c = standing_at(slot, NULL, self.tape.value[slot])
        c.maybe = ref & 1
        return c

    cdef Term affine(self, const int64_t *refs, Layout shape):
        """A view or a number that holds all references in the order of a shape; nothing at all when there is none."""
        cdef Py_ssize_t steps[64]
        cdef Py_ssize_t index[64]
        cdef Py_ssize_t d, k, step = 1, inner = 1, n = shape.ndim
        cdef int64_t first = refs[0] >> 1, at, wrong
        cdef bint still = True
        cdef Layout l
        for d in range(n - 1, -1, -1):
            index[d] = 0
            steps[d] = <Py_ssize_t>((refs[step] >> 1) - first) if shape.dims[d] > 1 else 0
            still = still and steps[d] == 0
            step *= shape.dims[d]
        if first <= 0 and not still:
            return no_term()
        at, k = first, 0
        if n:
            inner, step = shape.dims[n - 1], steps[n - 1]
        while k < shape.size:                         # line by line
            if at <= 0 and not still or at + (inner - 1) * step <= 0 and not still:
                return no_term()
            wrong = 0
            for d in range(inner):
                wrong |= (refs[k + d] >> 1) ^ (at + d * step)
            if wrong:
                return no_term()
            k += inner
            d = n - 2
            while d >= 0:
                at += steps[d]
                index[d] += 1
                if index[d] < shape.dims[d]:
                    break
                at -= steps[d] * shape.dims[d]
                index[d] = 0
                d -= 1
        if first < 0:
            return number(self.numbers[-first - 1])
        if n == 0:
            return standing_at(first, NULL, self.tape.value[first])
        l = make_layout(n, shape.dims, steps)
        self.kept.append(l)
        return standing_at(first, <void *>l, 0.0)

    cdef Term routed(self, const int64_t *refs, Py_ssize_t n, Layout shape):
        """A new block with the values of references from all over the tape."""
        cdef Tape t = self.tape
        cdef Wide *w
        cdef Py_ssize_t k
        cdef int64_t slot
        cdef Layout l = dense(shape.ndim, shape.dims) if not shape.contiguous else shape
        t.reserve(n, 1, n)
        w = t.push(ROUTE, n)
        w.n, w.a, w.flags, w.layout = n, 0, ANYWHERE, t.n_pool
        for k in range(n):
            slot = refs[k] >> 1
            t.pool[w.layout + k] = slot if slot > 0 else -1
            if slot <= 0:
                t.value[w.out + k] = self.numbers[-slot - 1] if slot < 0 else -0.0
        t.n_pool += n
        run(t, w)
        self.kept.append(l)
        return standing_at(w.out, NULL if l.ndim == 0 else <void *>l, t.value[w.out])

    cdef Term gathered(self, const int64_t *refs, Layout shape, bint exact):
        """References in the order of a shape as one term; `exact`: no number among them looks like nothing."""
        cdef Py_ssize_t k, n = shape.size, missing = 0, certain = 0
        cdef Term c = no_term()
        for k in range(n):
            missing += refs[k] == 0
            certain += (refs[k] & 1) ^ 1
        certain -= missing
        if missing == n:
            return c
        if missing == 0:
            c = self.affine(refs, shape)
        if c.slot < 0:
            c = self.routed(refs, n, shape)
        if certain == n:
            return c
        c.maybe = self.live or self.holds_nothing(c)
        if exact and c.maybe and certain:
            c = self.marked(c, refs, shape)
        return c

    cdef bint holds_nothing(self, Term c) except -1:
        """Whether an element is nothing now."""
        cdef Layout l
        cdef Py_ssize_t k
        cdef int64_t *slots
        if c.slot <= 0:
            return c.slot < 0
        if c.layout is NULL:
            return is_nothing(self.tape.value[c.slot])
        l = <Layout>c.layout
        if l.contiguous:
            for k in range(l.size):
                if is_nothing(self.tape.value[c.slot + k]):
                    return True
            return False
        slots = self.buffer(3, l.size)
        slots_into(c.slot, l, slots)
        for k in range(l.size):
            if is_nothing(self.tape.value[slots[k]]):
                return True
        return False

    cdef Term marked(self, Term c, const int64_t *refs, Layout shape):
        """A term with 0.0 added to what is a number for certain, so that it cannot be mistaken for nothing."""
        cdef Tape t = self.tape
        cdef Py_ssize_t k, n = shape.size
        cdef Layout l = dense(shape.ndim, shape.dims)
        cdef Wide *w
        self.kept.append(l)
        t.reserve(2 * n, 1, 4 * shape.ndim + 5)
        w = t.push(MAP, 2 * n)
        w.op, w.flags, w.a, w.b = OP_add, CONSTANT_B, c.slot, w.out + n
        for k in range(n):
            t.value[w.b + k] = 0.0 if refs[k] and not refs[k] & 1 else -0.0
        t.push_layout(l, l, <Layout>c.layout, l, w)
        run(t, w)
        c = standing_at(w.out, <void *>l, 0.0)
        c.maybe = True
        return c

    cdef Term adjoint_of(self, Py_ssize_t first, Layout l):
        """The adjoint of a view; nothing at all when there is none."""
        cdef int64_t *refs
        cdef Py_ssize_t k
        cdef Term c
        cdef Layout once = without_repeats(l)
        if once is not l:
            c = self.adjoint_of(first, once)
            if c.slot > 0:
                once = repeated(layout_or_scalar(c), l)
                self.kept.append(once)
                c.layout = <void *>once
            return c
        if self.held_whole(first, l):
            c = self.run_seen(&self.runs[self.run_at(first)], first, l)
            if c.slot >= 0:
                c.maybe = c.maybe and (self.live or self.holds_nothing(c))
                return c
        if l.contiguous and l.size >= SHORTEST_RUN:
            c = self.assembled(first, l)
            if c.slot > 0:
                c.maybe = c.maybe and (self.live or self.holds_nothing(c))
                return c
        self.spill_span(first + l.low, first + l.high)
        if l.contiguous:
            return self.gathered(self.adjoint + (first - self.base), l, True)
        refs = self.buffer(0, l.size)
        slots_into(first, l, refs)
        for k in range(l.size):
            refs[k] = self.adjoint[refs[k] - self.base]
        return self.gathered(refs, l, True)

    cdef bint narrowed(self, Py_ssize_t first, Layout l, Grid *grid) except -1:
        """The smallest grid that has all elements of a view with an adjoint, if that is smaller than the view."""
        cdef Layout once = without_repeats(l)
        cdef Py_ssize_t d, j
        if once is l:
            return self.narrowed_once(first, l, grid)
        if not self.narrowed_once(first, once, grid):
            return False
        j = once.ndim
        for d in range(l.ndim - 1, -1, -1):
            if repeats(l, d):
                grid.start[d], grid.step[d], grid.count[d] = 0, 1, l.dims[d]
            else:
                j -= 1
                grid.start[d], grid.step[d], grid.count[d] = grid.start[j], grid.step[j], grid.count[j]
        return True

    cdef bint narrowed_once(self, Py_ssize_t first, Layout l, Grid *grid) except -1:
        """The same of a view that has no axis along which nothing changes."""
        cdef Py_ssize_t d, k, rest, i, last, n = l.ndim, present = 0, size = 1
        cdef int64_t *slots
        if self.held_whole(first, l):
            return False
        self.spill_span(first + l.low, first + l.high)
        slots = self.buffer(0, l.size)
        slots_into(first - self.base, l, slots)
        for k in range(l.size):
            present += self.adjoint[slots[k]] != 0
        if present == 0 or present == l.size:
            return False
        for d in range(n):
            grid.count[d] = 0
        for k in range(l.size):
            if self.adjoint[slots[k]] == 0:
                continue
            rest = k
            for d in range(n - 1, -1, -1):
                i, rest = rest % l.dims[d], rest // l.dims[d]
                if grid.count[d] == 0:
                    grid.start[d], grid.step[d], grid.count[d] = i, 0, 1
                    continue
                last = max(grid.start[d] + grid.step[d] * (grid.count[d] - 1), i)
                grid.step[d] = divisor(grid.step[d], abs(i - grid.start[d]))
                grid.start[d] = min(grid.start[d], i)
                grid.count[d] = (last - grid.start[d]) // grid.step[d] + 1 if grid.step[d] else 1
        for d in range(n):
            size *= grid.count[d]
        return size < l.size

    cdef Term operand_at(self, Py_ssize_t first, Layout l, bint constant):
        """The values of a view at this point of the sweep."""
        cdef int64_t *refs
        cdef Py_ssize_t k
        cdef Term c
        if constant and l.high == l.low == 0 and l.size:      # one number for all elements, for good
            return number(self.tape.value[first])
        self.kept.append(l)
        c = standing_at(first, <void *>l, 0.0)
        if self.standing is not NULL and first + l.high >= self.lowest:
            refs = self.buffer(0, l.size)
            slots_into(first, l, refs)
            for k in range(l.size):
                refs[k] = 2 * (self.standing[refs[k] - self.lowest] if self.lowest <= refs[k] < self.end else refs[k])
            c = self.gathered(refs, l, False)
        c.constant = constant
        return c

    cdef Term scalar_at(self, Py_ssize_t slot) noexcept:
        """The value of a slot at this point of the sweep."""
        if self.standing is not NULL and slot >= self.lowest:
            slot = self.standing[slot - self.lowest]
        return standing_at(slot, NULL, self.tape.value[slot])

    # ---- operations ------------------------------------------------------------------------------------------------
    cdef Term emit(self, int op, Term a, Term b) except *:
        """Record a function of the table; numbers are folded."""
        cdef Tape t = self.tape
        cdef double v = 0.0, dx = -0.0, dy = -0.0
        cdef Py_ssize_t slot
        cdef bint two = fa_rows[op].arity == 2
        if a.slot == 0 and (not two or b.slot == 0):
            scalar_eval(op, a.value, b.value, &v, NULL, NULL)
            return number(v)
        if op == OP_multiply:
            if a.slot == 0 and (a.value == 1.0 or a.value == -1.0):
                return b if a.value == 1.0 else self.emit(OP_negative, b, b)
            if b.slot == 0 and (b.value == 1.0 or b.value == -1.0):
                return a if b.value == 1.0 else self.emit(OP_negative, a, a)
        elif op == OP_power:
            if b.slot == 0 and b.value == 1.0:
                return a
        elif op == OP_logical_and or op == OP_logical_or:
            if a.slot == 0:
                return b if (a.value != 0.0) == (op == OP_logical_and) else a
            if b.slot == 0:
                return a if (b.value != 0.0) == (op == OP_logical_and) else b
        slot = t.n_slots
        if (a.layout is not NULL or (two and b.layout is not NULL) or slot - a.slot >= FAR and a.slot
                or (two and b.slot and slot - b.slot >= FAR)):
            return self.emit_map(op, a, b, None)
        if slot >= t.slot_limit or t.n_records >= t.record_limit:
            t.reserve(2, 1, 0)
        scalar_eval(op, a.value, b.value, &v, &dx if a.slot else NULL, &dy if two and b.slot else NULL)
        if a.slot == 0:
            dx = a.value
        if two and b.slot == 0:
            dy = b.value
        return standing_at(put_scalar(t, op, a.slot, b.slot if two else 0, v, dx, dy), NULL, v)

    cdef int stored(self, Term a, Term b, int *order) except -1:
        """The axes of the iteration shape from the outermost in memory to the innermost, as one with all has them.

        A record's iteration may have changed places of axes; results stored the same way would be read across.
        """
        cdef Layout shape = self.shape, layout
        cdef Py_ssize_t d, j, k, n = shape.ndim
        cdef const Py_ssize_t *steps
        for d in range(n):
            order[d] = <int>d
        for j in range(3):
            if j and (a.layout if j == 1 else b.layout) is NULL:
                continue
            layout = shape if j == 0 else <Layout>a.layout if j == 1 else <Layout>b.layout
            if layout.ndim != n:
                continue
            steps = &layout.dims[n]
            for d in range(n):
                if shape.dims[d] > 1 and steps[d] == 0:
                    break
            else:
                for d in range(1, n):
                    k = d
                    while k and abs(steps[order[k - 1]]) < abs(steps[order[k]]):
                        order[k - 1], order[k] = order[k], order[k - 1]
                        k -= 1
                return 0
        return 0

    cdef Term emit_map(self, int op, Term a, Term b, Layout summed) except *:
        """Record a map over the iteration shape, without the axes that no operand moves along.

        `summed`: the layout of an operand; the result is summed over the axes that this one is broadcast along.
        """
        cdef Tape t = self.tape
        cdef Py_ssize_t dims[64]
        cdef Py_ssize_t steps[64]
        cdef int order[64]
        cdef Py_ssize_t d, k, n = self.shape.ndim, size = 1
        cdef bint two = fa_rows[op].arity == 2
        cdef Layout l
        cdef Wide *w
        self.stored(a, b, order)
        for k in range(n - 1, -1, -1):
            d = order[k]
            dims[d] = self.shape.dims[d] if moves(a, d) or (two and moves(b, d)) else 1
            steps[d] = 0
            if dims[d] > 1 and (summed is None or summed.dims[n + d] != 0):
                steps[d] = size
                size *= dims[d]
        t.reserve(size + 2, 1, 4 * n + 5)
        w = t.push(MAP, size + (a.slot == 0) + (two and b.slot == 0))
        w.op = <uint8_t>op
        w.flags = CONSTANT_A if a.slot == 0 or a.constant else 0
        w.flags |= CONSTANT_B if two and (b.slot == 0 or b.constant) else 0
        k = w.out + size
        w.a = a.slot
        if a.slot == 0:
            w.a = k
            t.value[k] = a.value
            k += 1
        if two:
            w.b = b.slot
            if b.slot == 0:
                w.b = k
                t.value[k] = b.value
        if summed is not None:
            w.flags |= ACCUMULATE
            for k in range(size):
                t.value[w.out + k] = -0.0
        l = make_layout(n, dims, steps)
        t.push_layout(l, l, layout_or_scalar(a), layout_or_scalar(b) if two else None, w)
        run(t, w)
        l = make_layout(n, self.shape.dims, steps)
        self.kept.append(l)
        return standing_at(w.out, <void *>l if n else NULL, t.value[w.out])

    cdef Term emit_dense(self, Term c) except *:
        """A copy in a block of its own, without gaps."""
        cdef Tape t = self.tape
        cdef Layout l = dense(self.shape.ndim, self.shape.dims)
        cdef Wide *w
        t.reserve(l.size, 1, 4 * l.ndim + 5)
        w = t.push(MAP, l.size)
        w.op, w.a = OP_positive, c.slot
        t.push_layout(l, l, <Layout>c.layout, None, w)
        run(t, w)
        self.kept.append(l)
        return standing_at(w.out, <void *>l, 0.0)

    cdef Term plus_zero(self, Term c) except *:
        """A term none of whose numbers looks like nothing."""
        if c.slot <= 0 or c.maybe or not (self.live or self.holds_nothing(c)):
            return c
        return self.emit(OP_add, c, number(0.0))

    cdef Term product(self, Term p, Term g, Layout summed) except *:
        """A partial times an adjoint; summed already where `summed` is broadcast, if that is as simple."""
        cdef Term c
        cdef int op = OP_flow if g.maybe else OP_multiply
        cdef Py_ssize_t d
        cdef bint fused = summed is not None
        if p.slot == 0 and p.value == 1.0:
            return g
        if not g.maybe and ((p.slot == 0 and (p.value == -1.0 or g.slot == 0))
                            or (g.slot == 0 and abs(g.value) == 1.0)):
            return self.emit(OP_multiply, p, g)
        if fused:
            fused = False
            for d in range(summed.ndim):
                if summed.dims[summed.ndim + d] == 0 and summed.dims[d] > 1:
                    fused = moves(p, d) or moves(g, d)
                    if not fused:
                        break
        c = self.emit_map(op, p, g, summed) if fused else self.emit(op, p, g)
        c.maybe = g.maybe
        c.reduced = fused
        return c

    cdef Term selected(self, Term mask, Term a, Term b) except *:
        """Where the mask holds a, else b; either may be nothing at all."""
        cdef Term c
        if b.slot < 0:
            if a.slot < 0:
                return a
            c = self.emit(OP_keep, self.plus_zero(a), mask)
            c.maybe = True
        elif a.slot < 0:
            c = self.emit(OP_drop, self.plus_zero(b), mask)
            c.maybe = True
        else:
            c = self.emit(OP_add, self.emit(OP_keep, a, mask), self.emit(OP_drop, b, mask))
            c.maybe = a.maybe or b.maybe
        return c
