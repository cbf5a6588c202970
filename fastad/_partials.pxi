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
        cdef int64_t *slots = self.buffer(1, l.size)
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
        target, view = make_layout(n, dims, steps), make_layout(n, dims, own)
        if c.slot:
            c.layout = <void *>view
        self.shape = target
        if target.contiguous and first >= self.base and first + target.size <= self.end:
            self.contribute_block(first, target, c)
        else:
            self.contribute_view(first, target, c)
        self.shape = shape
        return 0

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

    cdef int contribute_block(self, Py_ssize_t first, Layout target, Term c) except -1:
        """Add a term to the adjoints of a view without gaps."""
        cdef Py_ssize_t k, there = 0, size = target.size
        cdef int64_t *adjoint = self.adjoint + (first - self.base)
        cdef uint8_t *state = self.state + (first - self.base)
        cdef int64_t *refs
        cdef Term sum
        for k in range(size):
            state[k] |= REACHED
        for k in range(size):
            there += adjoint[k] != 0
        if there == 0:
            return self.refer(c, target, adjoint)
        if there < size or size <= 4:
            return self.contribute_view(first, target, c)
        sum = self.emit(OP_add, self.gathered(adjoint, target, False), c)
        sum.maybe = c.maybe
        refs = self.buffer(3, size)
        self.refer(sum, target, refs)
        for k in range(size):                         # a number for certain stays one
            adjoint[k] = refs[k] & (adjoint[k] | ~<int64_t>1)
        return 0

    cdef int contribute_view(self, Py_ssize_t first, Layout target, Term c) except -1:
        """Add a term to the adjoints of any view."""
        cdef Py_ssize_t k, there = 0, size = target.size
        cdef int64_t *targets = self.buffer(1, size)
        cdef int64_t *refs = self.buffer(2, size)
        cdef int64_t *old
        cdef int64_t *adjoint = self.adjoint
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
