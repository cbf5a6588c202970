# The partials of the table's functions as programs of a few nodes (part of variable.pyx).
#
# The expressions of a row's dx and dy, read once and without repetition, so that the recorded sweep can evaluate them
# with records for operations.

cdef enum NodeKind:
    IS_X, IS_Y, IS_V, IS_NUMBER, IS_NOTHING, IS_WHERE, IS_CALL

cdef enum:
    MOST_NODES = 512

cdef struct Node:
    int kind, op
    int a, b                          # operands: other nodes
    int c                             # of IS_WHERE: the condition
    double number

cdef struct Program:
    Node *nodes
    int n, dx, dy                     # where the partials end

cdef Program programs[OP_COUNT]
cdef dict code_of = {row.name: code for code, row in enumerate(table.OPS, 1)}


cdef class _Expressions:
    """The nodes of some expressions."""
    cdef list rows
    cdef dict places

    cdef int add(self, int kind, int op, int a, int b, int c, double number) except -1:
        """The place of a node: the old one if it is there already."""
        key = (kind, op, a, b, c, repr(number))
        place = self.places.setdefault(key, len(self.rows))
        if place == len(self.rows):
            self.rows.append((kind, op, a, b, c, number))
        return place

    cdef int call(self, str name, list parts) except -1:
        """The node of a function call."""
        return self.add(IS_CALL, code_of[name], parts[0], parts[1] if len(parts) > 1 else -1, -1, 0.0)

    cdef int of(self, object node) except -1:
        """The node of a syntax tree."""
        import ast
        cdef int k, last
        if isinstance(node, ast.Constant):
            return self.add(IS_NUMBER, 0, -1, -1, -1, node.value)
        if isinstance(node, ast.Name):
            if node.id == "nothing":
                return self.add(IS_NOTHING, 0, -1, -1, -1, 0.0)
            if node.id in table.CONSTANTS:
                return self.add(IS_NUMBER, 0, -1, -1, -1, table.CONSTANTS[node.id])
            return self.add({"x": IS_X, "y": IS_Y, "v": IS_V}[node.id], 0, -1, -1, -1, 0.0)
        if isinstance(node, ast.BinOp):
            return self.call({ast.Add: "add", ast.Sub: "subtract", ast.Mult: "multiply",
                              ast.Div: "divide"}[type(node.op)],
                             [self.of(node.left), self.of(node.right)])
        if isinstance(node, ast.UnaryOp):
            k = self.of(node.operand)
            if isinstance(node.op, ast.Not):
                return self.call("logical_not", [k])
            if self.rows[k][0] == IS_NUMBER:
                return self.add(IS_NUMBER, 0, -1, -1, -1, -self.rows[k][5])
            return self.call("negative", [k])
        if isinstance(node, ast.Compare):
            k, last = self.of(node.left), self.of(node.comparators[0])
            if isinstance(node.ops[0], ast.NotEq) and self.rows[last][0] == IS_NUMBER and self.rows[last][5] == 0.0:
                return k                              # a mask: what is not 0 holds
            return self.call({ast.Lt: "less", ast.LtE: "less_equal", ast.Gt: "greater", ast.GtE: "greater_equal",
                              ast.Eq: "equal", ast.NotEq: "not_equal"}[type(node.ops[0])], [k, last])
        if isinstance(node, ast.BoolOp):
            name = "logical_and" if isinstance(node.op, ast.And) else "logical_or"
            k = self.of(node.values[0])
            for part in node.values[1:]:
                k = self.call(name, [k, self.of(part)])
            return k
        if node.func.id == "where":
            k = self.of(node.args[0])
            return self.add(IS_WHERE, 0, self.of(node.args[1]), self.of(node.args[2]), k, 0.0)
        return self.call(node.func.id, [self.of(part) for part in node.args])


cdef const Program *program_of(int op) except NULL:
    """The partials of a differentiable row; read when they are needed for the first time, and kept."""
    import ast
    cdef Program *program = &programs[op]
    cdef _Expressions e
    if program.n:
        return program
    row = table.OPS[op - 1]
    e = _Expressions.__new__(_Expressions)
    e.rows, e.places = [], {}
    program.dx = e.of(ast.parse(row.dx, mode="eval").body)
    program.dy = e.of(ast.parse(row.dy, mode="eval").body) if row.dy is not None else -1
    if len(e.rows) > MOST_NODES:
        raise ValueError(f"op table, row {row.name!r}: its partials have {len(e.rows)} nodes, more than MOST_NODES")
    program.nodes = <Node *>PyMem_Malloc(len(e.rows) * sizeof(Node))
    if program.nodes is NULL:
        raise MemoryError()
    for k, (kind, code, a, b, c, number) in enumerate(e.rows):
        program.nodes[k].kind, program.nodes[k].op, program.nodes[k].number = kind, code, number
        program.nodes[k].a, program.nodes[k].b, program.nodes[k].c = a, b, c
    program.n = len(e.rows)
    return program


cdef class _Partials(_References):
    """Evaluates partials, and adds their products with an adjoint to the adjoints of the operands."""
    cdef Term x, y, v                 # what a program refers to
    cdef Term memo[MOST_NODES]        # values of its nodes, as far as
    cdef int seen[MOST_NODES]         # this is now's
    cdef int time

    # ---- partials ----------------------------------------------------------------------------------------------------
    cdef double known(self, const Program *q, int k) noexcept:
        """The value of a node, for scalars, without records."""
        cdef const Node *node = &q.nodes[k]
        cdef double v = 0.0
        if node.kind == IS_X:
            return self.x.value
        if node.kind == IS_Y:
            return self.y.value
        if node.kind == IS_V:
            return self.v.value
        if node.kind == IS_NUMBER:
            return node.number
        if node.kind == IS_NOTHING:
            return -0.0
        if node.kind == IS_WHERE:
            return self.known(q, node.a if self.known(q, node.c) != 0.0 else node.b)
        scalar_eval(node.op, self.known(q, node.a), self.known(q, node.b) if node.b >= 0 else 0.0, &v, NULL, NULL)
        return v

    cdef Term condition(self, const Program *q, int k) except *:
        """A condition of the table: a number when it is known, or all the same, for good."""
        cdef Term c
        cdef Py_ssize_t j, held = 0
        cdef Layout l
        cdef int64_t *slots
        if not self.live and self.shape is SCALAR:
            return number(self.known(q, k))
        c = self.evaluated(q, k)
        if self.live or c.slot <= 0 or c.layout is NULL:
            return c
        l = <Layout>c.layout
        slots = self.buffer(3, l.size)
        slots_into(c.slot, l, slots)
        for j in range(l.size):
            held += self.tape.value[slots[j]] != 0.0
        return number(0.0) if held == 0 else number(1.0) if held == l.size else c

    cdef Term evaluated(self, const Program *q, int k) except *:
        """The value of a node as a term."""
        cdef const Node *node = &q.nodes[k]
        cdef Term c, a, b
        if self.seen[k] == self.time:
            return self.memo[k]
        if node.kind == IS_X:
            return self.x
        if node.kind == IS_Y:
            return self.y
        if node.kind == IS_V:
            return self.v
        if node.kind == IS_NUMBER or node.kind == IS_NOTHING:
            return number(node.number)
        if node.kind == IS_WHERE:
            c = self.condition(q, node.c)
            if c.slot == 0:
                c = self.evaluated(q, node.a if c.value != 0.0 else node.b)
            else:
                a, b = self.evaluated(q, node.a), self.evaluated(q, node.b)
                c = self.selected(c, a, b)
        else:
            a = self.evaluated(q, node.a)
            b = self.evaluated(q, node.b) if node.b >= 0 else a
            c = self.emit(node.op, a, b)
        self.memo[k], self.seen[k] = c, self.time
        return c

    cdef Term contribution(self, const Program *q, int k, Term g, Layout summed) except *:
        """A partial times the adjoint; a selection is made on the products, so that nothing can be nothing at all."""
        cdef const Node *node = &q.nodes[k]
        cdef Term c, a, b
        if node.kind == IS_NOTHING:
            return no_term()
        if node.kind == IS_WHERE:
            c = self.condition(q, node.c)
            if c.slot == 0:
                return self.contribution(q, node.a if c.value != 0.0 else node.b, g, summed)
            a = self.contribution(q, node.a, g, None)
            b = self.contribution(q, node.b, g, None)
            return self.selected(c, a, b)
        if (node.kind == IS_CALL and node.op == OP_add and q.nodes[node.b].kind == IS_NUMBER
                and q.nodes[node.b].number == 0.0):
            return self.contribution(q, node.a, g, summed)
        if (node.kind == IS_CALL and node.op == OP_divide and not g.maybe and summed is None
                and q.nodes[node.a].kind == IS_NUMBER and q.nodes[node.a].number == 1.0):
            return self.emit(OP_divide, g, self.evaluated(q, node.b))
        return self.product(self.evaluated(q, k), g, summed)

    # ---- contributions -----------------------------------------------------------------------------------------------
    cdef int touch(self, Py_ssize_t first, Layout l) except -1:
        """The outputs depend on a view, though no adjoint arrives."""
        cdef Py_ssize_t k
        cdef int64_t *slots
        if l.contiguous:
            for k in range(max(first, self.base), min(first + l.size, self.end)):
                self.state[k - self.base] |= REACHED
            return 0
        slots = self.buffer(1, l.size)
        slots_into(first, l, slots)
        for k in range(l.size):
            if self.base <= slots[k] < self.end:
                self.state[slots[k] - self.base] |= REACHED
        return 0

    cdef int add_scalar(self, Py_ssize_t slot, Term c) except -1:
        """Add to the adjoint of a slot."""
        cdef int64_t *there = &self.adjoint[slot - self.base]
        cdef Term old
        cdef bint maybe
        if self.state[slot - self.base] & HELD and c.slot >= 0:
            self.spill(self.run_at(slot))
        self.state[slot - self.base] |= REACHED
        if c.slot < 0:
            return 0
        if there[0]:
            old = self.decoded(there[0])
            maybe = old.maybe and c.maybe
            if c.slot == 0 and c.value == 0.0 and not old.maybe:
                return 0
            if old.slot == 0 and old.value == 0.0 and not c.maybe:
                old = c
            else:
                old = self.emit(OP_add, old, c)
            old.maybe = maybe
            c = old
        there[0] = self.encoded(c)
        return 0

    cdef Term reduced(self, Term c, Layout l) except *:
        """A contribution over the iteration shape summed over the axes that the operand is broadcast along."""
        cdef Py_ssize_t d
        cdef double copies = 1.0
        cdef bint several = False, maybe = c.maybe
        for d in range(l.ndim):
            if l.dims[d] > 1 and l.dims[l.ndim + d] == 0:
                if moves(c, d):
                    several = True
                else:
                    copies *= l.dims[d]
        if several:
            c = self.emit_map(OP_positive, c, c, l)
            c.maybe = maybe
        return self.product(number(copies), c, None) if copies != 1.0 else c

    cdef int contribute(self, Py_ssize_t first, Layout l, Term c) except -1:
        """Add a term over the iteration shape to the adjoint of an operand, the view (first, l)."""
        cdef Py_ssize_t dims[64]
        cdef Py_ssize_t steps[64]
        cdef Py_ssize_t own[64]
        cdef Py_ssize_t d, n = 0
        cdef Layout shape = self.shape, target, view
        if c.slot < 0:
            return self.touch(first, l)
        if not c.reduced:
            c = self.reduced(c, l)
        for d in range(l.ndim):
            if l.dims[d] > 1 and l.dims[l.ndim + d] != 0:
                dims[n], steps[n] = l.dims[d], l.dims[l.ndim + d]
                own[n] = (<Layout>c.layout).dims[l.ndim + d] if moves(c, d) else 0
                n += 1
        if n == 0:
            c.layout = NULL
            if c.slot:
                c.value = self.tape.value[c.slot]
            if self.base <= first < self.end:
                self.shape = SCALAR
                self.add_scalar(first, c)
                self.shape = shape
            return 0
        if without_gaps(n, dims, steps):              # in the order of the slots
            for d in range(n):
                if steps[d] < 0:
                    first += steps[d] * (dims[d] - 1)
                    c.slot += own[d] * (dims[d] - 1)
                    steps[d], own[d] = -steps[d], -own[d]
            by_steps(n, dims, steps, own)
        target, view = make_layout(n, dims, steps), make_layout(n, dims, own)
        self.kept.append(view)
        if c.slot:
            c.layout = <void *>view
        self.shape = target
        if target.contiguous and first >= self.base and first + target.size <= self.end:
            self.contribute_block(first, target, c)
        else:
            self.contribute_view(first, target, c)
        self.shape = shape
        return 0

    cdef int contribute_block(self, Py_ssize_t first, Layout target, Term c, bint part=False) except -1:
        """Add a term to the adjoints of a view without gaps; `part`: of a longer one, and one record for it will do."""
        cdef Py_ssize_t k, there = 0, size = target.size
        cdef int64_t *adjoint = self.adjoint + (first - self.base)
        cdef uint8_t *state = self.state + (first - self.base)
        cdef uint8_t every = 0, some = self.states(first, size, &every)
        cdef int64_t *refs
        cdef Term sum
        cdef bint maybe
        if not some & REACHED and size >= SHORTEST_RUN:
            return self.hold(first, target, c)
        if some & HELD:
            if every & HELD and self.added_to_run(first, target, c):
                return 0
            sum = self.assembled(first, target) if every & REACHED and size >= SHORTEST_RUN else no_term()
            if sum.slot > 0:
                maybe = sum.maybe and c.maybe
                sum = self.emit(OP_add, sum, c)
                sum.maybe = maybe
                self.clear_span(first, first + size)
                return self.hold(first, target, sum)
            if self.contributed_in_parts(first, target, c):
                return 0
            self.spill_span(first, first + size - 1)
        for k in range(size):
            state[k] |= REACHED
        for k in range(size):
            there += adjoint[k] != 0
        if there == 0:
            return self.hold(first, target, c)
        if there < size or (size <= 4 and not part):
            return self.contribute_view(first, target, c)
        sum = self.emit(OP_add, self.gathered(adjoint, target, False), c)
        sum.maybe = c.maybe
        if not c.maybe:
            return self.hold(first, target, sum)
        refs = self.buffer(3, size)
        self.refer(sum, target, refs)
        for k in range(size):                         # a number for certain stays one
            adjoint[k] = refs[k] & (adjoint[k] | ~<int64_t>1)
        return 0

    cdef bint added_to_run(self, Py_ssize_t first, Layout target, Term c) except -1:
        """Add a term to the adjoints of a run, if it is one of just these slots and can be iterated over alike."""
        cdef Py_ssize_t k = self.run_at(first)
        cdef Run old = self.runs[k], new
        cdef Layout shape
        cdef Term there
        if old.first != first or old.size != target.size:
            return False
        there = self.run_seen(&old, first, target)
        if there.slot < 0:                            # the other way round: over the axes of the run
            if not run_of(first, target, c, &new):
                return False
            shape = layout_of_run(&old)
            target = dense(shape.ndim, shape.dims)
            c, there = self.run_seen(&new, first, target), standing_at(old.slot, <void *>shape, 0.0)
            if c.slot < 0:
                return False
            self.kept.append(shape)
            self.shape = target
        there = self.emit(OP_add, there, c)
        there.maybe = old.maybe and c.maybe
        self.taken_run(k)
        self.hold(first, target, there)
        return True

    cdef bint contributed_in_parts(self, Py_ssize_t first, Layout target, Term c) except -1:
        """Add a term to the adjoints of slots some of which are HELD, run by run, if these are a few and can be cut."""
        cdef Run whole, part, rest
        cdef Py_ssize_t ends[MOST_PARTS]
        cdef Py_ssize_t at = first, end = first + target.size, stop, k
        cdef int n = 0, j
        cdef Layout lines, steps
        if not run_of(first, target, c, &whole):
            return False
        while at < end:
            if n == MOST_PARTS:
                return False
            stop = at
            if self.state[at - self.base] & HELD:
                k = self.run_at(at)
                rest = part = self.runs[k]
                stop = min(end, part.first + part.size)
                if not cut_run(&part, at, stop - at):
                    return False
                if at > rest.first and not cut_run(&rest, rest.first, at - rest.first):
                    return False
                rest = self.runs[k]
                if stop < rest.first + rest.size and not cut_run(&rest, stop, rest.first + rest.size - stop):
                    return False
            else:
                while stop < end and not self.state[stop - self.base] & HELD:
                    stop += 1
            part = whole
            if not cut_run(&part, at, stop - at):
                return False
            ends[n] = at = stop
            n += 1
        if n == 1 and self.runs[self.run_at(first)].size == target.size:
            return False                              # nothing to be cut
        at = first
        for j in range(n):
            if self.state[at - self.base] & HELD:
                self.divide_run(self.run_at(at), at, ends[j])
            part = whole
            cut_run(&part, at, ends[j] - at)
            steps = layout_of_run(&part)
            lines = dense(steps.ndim, steps.dims)
            self.kept.append(steps)
            c.slot = part.slot
            c.layout = <void *>steps if part.slot else NULL
            self.shape = lines
            self.contribute_block(at, lines, c, True)
            at = ends[j]
        return True

    cdef int clear_span(self, Py_ssize_t first, Py_ssize_t end) except -1:
        """Let no run hold slots from one up to another; what runs hold before and behind them stays."""
        cdef Py_ssize_t at = first, k
        cdef Run whole, rest
        while at < end:
            if not self.state[at - self.base] & HELD:
                at += 1
                continue
            k = self.run_at(at)
            whole = self.runs[k]
            at = whole.first + whole.size
            rest = whole
            if whole.first < first and not cut_run(&rest, whole.first, first - whole.first):
                self.spill(k)
                continue
            rest = whole
            if end < at and not cut_run(&rest, end, at - end):
                self.spill(k)
                continue
            self.divide_run(k, max(first, whole.first), min(end, at))
            if self.state[max(first, whole.first) - self.base] & HELD:
                self.taken_run(self.run_at(max(first, whole.first)))
        return 0

    cdef int divide_run(self, Py_ssize_t k, Py_ssize_t first, Py_ssize_t end) except -1:
        """Divide a run, which can be cut there, into what is before a slot, what is before another, and the rest."""
        cdef Run whole = self.taken_run(k), part
        cdef Py_ssize_t bounds[4]
        cdef int j
        cdef Layout l
        bounds[0], bounds[1], bounds[2], bounds[3] = whole.first, first, end, whole.first + whole.size
        for j in range(3):
            if bounds[j] == bounds[j + 1]:
                continue
            part = whole
            cut_run(&part, bounds[j], bounds[j + 1] - bounds[j])
            l = layout_of_run(&part)
            self.hold(part.first, dense(l.ndim, l.dims), term_of_run(&part, l))
        return 0

    cdef int contribute_view(self, Py_ssize_t first, Layout target, Term c) except -1:
        """Add a term to the adjoints of any view."""
        cdef Py_ssize_t k, there = 0, size = target.size
        cdef int64_t *targets = self.buffer(1, size)
        cdef int64_t *refs = self.buffer(2, size)
        cdef int64_t *old
        cdef int64_t *adjoint = self.adjoint
        self.spill_span(first + target.low, first + target.high)
        slots_into(first, target, targets)
        self.refer(c, target, refs)
        if first + target.low < self.base or first + target.high >= self.end or overlapping(target):
            return self.scattered(targets, refs, size)
        for k in range(size):
            self.state[targets[k] - self.base] |= REACHED
            there += adjoint[targets[k] - self.base] != 0
        if there == 0:
            for k in range(size):
                adjoint[targets[k] - self.base] = refs[k]
            return 0
        if there < size or size <= 4:
            return self.scattered(targets, refs, size)
        old = self.buffer(0, size)
        for k in range(size):
            old[k] = adjoint[targets[k] - self.base]
        return self.accumulated(targets, old, size, target, c)

    cdef int accumulated(self, const int64_t *targets, const int64_t *old, Py_ssize_t n, Layout shape,
                         Term c) except -1:
        """Add a term to the adjoints of n different slots that have one."""
        cdef Term sum = self.emit(OP_add, self.gathered(old, shape, False), c)
        cdef Py_ssize_t k
        cdef int64_t *refs = self.buffer(3, n)
        sum.maybe = c.maybe
        self.refer(sum, shape, refs)
        for k in range(n):
            self.adjoint[targets[k] - self.base] = refs[k] & (old[k] | ~<int64_t>1)
        return 0

    cdef int scattered(self, int64_t *targets, int64_t *refs, Py_ssize_t n) except -1:
        """Add references to the adjoints of slots, some of which may come several times; both lists are used up."""
        cdef Py_ssize_t k, j, m = 0, pending = 0
        cdef int64_t *old
        cdef Layout shape = self.shape, flat
        cdef Term c
        for k in range(n):
            j = targets[k] - self.base
            if not refs[k] or j < 0 or targets[k] >= self.end or not self.state[j] & ACTIVE:
                continue
            if self.state[j] & HELD:
                self.spill(self.run_at(targets[k]))
            self.state[j] |= REACHED
            if self.adjoint[j] == 0:
                self.adjoint[j] = refs[k]
            else:
                targets[pending], refs[pending] = targets[k], refs[k]
                pending += 1
        if pending <= 4:
            self.shape = SCALAR
            for k in range(pending):
                self.add_scalar(targets[k], self.decoded(refs[k]))
            self.shape = shape
            return 0
        old = self.buffer(0, 2 * pending)
        for k in range(pending):                      # number the different targets
            j = targets[k] - self.base
            if not self.state[j] & PENDING:
                self.state[j] |= PENDING
                old[m] = self.adjoint[j]
                self.adjoint[j] = m
                targets[m], targets[k] = targets[k], targets[m]
                if m != k:
                    refs[m], refs[k] = refs[k], refs[m]
                m += 1
        for k in range(m):
            self.state[targets[k] - self.base] &= ~<uint8_t>PENDING
        if m == pending:
            flat = layout_of((m,))
            self.shape = flat
            for k in range(m):                        # a number for certain stays one
                old[k] &= ~<int64_t>1 | (refs[k] & 1)
            c = self.gathered(refs, flat, False)
            c.maybe = True
            self.accumulated(targets, old, m, flat, c)
            self.shape = shape
            return 0
        return self.sums(targets, refs, old, m, pending)

    cdef int sums(self, const int64_t *targets, const int64_t *refs, int64_t *old, Py_ssize_t m,
                  Py_ssize_t n) except -1:
        """The adjoints of m slots, each the sum of its old one and of some of n references: a gather and a SPREAD."""
        cdef Tape t = self.tape
        cdef Py_ssize_t k, j, size = m + n
        cdef Term c
        cdef Wide *w
        cdef int64_t *index = self.buffer(3, n)
        for k in range(n):
            index[k] = j = self.adjoint[targets[k] - self.base]
            old[m + k] = refs[k]
            old[j] &= ~<int64_t>1 | (refs[k] & 1)
        c = self.routed(old, size, layout_of((size,)))
        t.reserve(m + size, 1, 2 * size)
        w = t.push(SPREAD, m + size)
        w.n, w.a, w.b, w.layout = size, c.slot, w.out + m, t.n_pool
        for k in range(size):
            t.pool[w.layout + k] = k
            t.pool[w.layout + size + k] = k if k < m else index[k - m]
            t.value[w.b + k] = 1.0
        t.n_pool += 2 * size
        run(t, w)
        for k in range(m):
            self.adjoint[targets[k] - self.base] = 2 * (w.out + k) + (old[k] & 1)
        return 0
