# Whether a program stays within its tables: files are not to be trusted (part of _program.pyx).

def validate(Code code):
    """Check that no instruction can reach outside of the workspace or the tables, and load what instructions call."""
    cdef const Instruction *ins = <const Instruction *>PyArray_DATA(<ndarray>code.instructions)
    cdef const Scalar *s = <const Scalar *>PyArray_DATA(<ndarray>code.scalars)
    cdef const int64_t[::1] pool = code.pool
    cdef Uses uses = Uses()
    cdef Py_ssize_t k, j, count, n_ins = len(code.instructions), n = code.n_slots
    if n < 1 or n > MOST or len(code.image) < 1 or len(code.image) > n:
        raise ValueError(f"program: {len(code.image)} values do not fit into {n} slots")
    for slot, size in code.regions:
        within(slot, size, n, "a region")
    for k in range(len(code.scalars)):
        if not (0 <= s[k].v < n and 0 <= s[k].a < n and 0 <= s[k].b < n):
            raise ValueError("program: a scalar instruction reaches outside of the workspace")
        if not 0 < s[k].op < OP_COUNT:
            raise ValueError("program: a scalar instruction has no function")
        ensure_loops(s[k].op)
    k = 0
    while k < n_ins:
        if ins[k].kind == K_RUN:
            count = ins[k].count
            check_places(ins + k, n)
            if not 0 < count < n_ins - k:
                raise ValueError(f"program: run {k} has no lines")
            for j in range(k + 1, k + 1 + count):
                if (not is_line(ins + j) or ins[j].n < 0 or ins[j].count < 0 or ins[k].n > MOST
                        or ins[j].n > ins[k].n - ins[j].count):
                    raise ValueError(f"program: run {k} holds something else than lines within its length")
                check_places(ins + j, n)
                check_line(ins + j, pool)
                check_pair(ins + j, j > k + 1, j < k + count)
                check_uses(code, ins + j, pool, uses)
            k += count + 1
            continue
        if is_line(ins + k) or not 0 <= ins[k].kind <= K_SUM:
            raise ValueError(f"program: instruction {k} is of no kind")
        check_places(ins + k, n)
        check_single(code, ins + k, pool)
        check_uses(code, ins + k, pool, uses)
        k += 1


cdef inline bint is_line(const Instruction *p) noexcept nogil:
    return p.kind == K_LINE or p.kind == K_SUM


cdef int bad(str what) except -1:
    raise ValueError(f"program: {what} reaches outside of its table")


cdef int within(Py_ssize_t first, Py_ssize_t count, Py_ssize_t n, str what) except -1:
    if count < 0 or first < 0 or first > n or count > n - first:
        bad(what)
    return 0


cdef int check_places(const Instruction *p, Py_ssize_t n) except -1:
    """Check opcode and slots of an instruction as far as that goes without its kind."""
    if not 0 <= p.op < OP_COUNT:
        bad("an opcode")
    if not 0 <= p.v <= n or p.a > n or p.b > n:
        bad(f"the instruction {KINDS[p.kind]}")
    ensure_loops(p.op)
    return 0


cdef int check_slots(const int64_t[::1] pool, Py_ssize_t first, Py_ssize_t count, Py_ssize_t n) except -1:
    """Check an index list."""
    cdef Py_ssize_t k
    within(first, count, pool.shape[0], "an index list")
    for k in range(first, first + count):
        if pool[k] < 0 or pool[k] >= n:
            bad("an index")
    return 0


cdef int check_uses(Code code, const Instruction *p, const int64_t[::1] pool, Uses uses) except -1:
    """Check that what an instruction, whose entries of the pool are fine, reads and writes is in the workspace."""
    cdef Py_ssize_t j, i, n = code.n_slots
    cdef int64_t low, high, first, size
    cdef int which, region
    uses.find(p, &pool[0] if pool.shape[0] else NULL)
    for j in range(uses.n):
        if uses.items[j].slots is not NULL:
            for i in range(uses.items[j].count):
                if uses.items[j].slots[i] < 0 or uses.items[j].slots[i] >= n:
                    bad("an index")
        elif uses.items[j].low < 0 or uses.items[j].high >= n or uses.items[j].high < uses.items[j].low:
            bad(f"the instruction {KINDS[p.kind]}")
    if p.kind == K_LINE and p.av >= 2:
        if p.av - 2 >= len(code.regions):
            bad("a region")
        first, size = code.regions[p.av - 2]
        if p.v < first or p.v + p.n > first + size:
            bad("a region")
    for which in range(2):
        region = p.rb if which else p.ra
        if region < 0:
            continue
        low = p.b if which else p.a
        if (not (is_line(p) or p.kind == K_MAP or p.kind == K_ADD or p.kind == K_MATMUL)
                or (p.ib if which else p.ia) >= 0 or low < 0 or region >= len(code.regions)):
            bad("a region")
        if is_line(p):
            high = low + operand_reach(p, which, &pool[0] if pool.shape[0] else NULL) - 1
        elif p.kind == K_MATMUL:
            matrix_bounds(&pool[p.first], which + 1, low, &low, &high)
        else:
            view_bounds(&pool[p.first], which + 1, low, &low, &high)
        first, size = code.regions[region]
        if low < first or high >= first + size:
            bad("a region")
    return 0


cdef inline bint takes(const Instruction *q) noexcept nogil:
    """Whether a line reads what the one before hands on."""
    return q.aa == HANDED_ON or q.ab == HANDED_ON


cdef int check_pair(const Instruction *q, bint has_before, bint has_next) except -1:
    """Check that what is handed on goes to the next line of the run, and that there is a loop for both."""
    cdef const Instruction *p = q - 1
    cdef bint given = has_before and p.kind == K_LINE and p.av == HANDED_ON
    cdef bint other
    cdef bint fine = given == takes(q) and (has_next or q.kind != K_LINE or q.av != HANDED_ON)
    if fine and given:
        fine = q.kind == K_LINE and q.av != HANDED_ON and p.n == q.n and p.count == q.count and p.history == 0 \
            and OP_add <= p.op <= OP_divide
        if q.aa == HANDED_ON and q.ab == HANDED_ON:
            other = True
        elif q.aa == HANDED_ON:
            other = q.ib < 0 and q.b >= 0 and (q.ab == 0 or q.ab == 1)
        else:
            other = q.ia < 0 and q.a >= 0 and (q.aa == 0 or q.aa == 1)
        fine = fine and ((q.op == OP_negative and q.aa == HANDED_ON) or (OP_add <= q.op <= OP_divide and other))
    if not fine:
        bad("what a line hands on")
    return 0


cdef int check_line(const Instruction *q, const int64_t[::1] pool) except -1:
    """Check one line of a run."""
    cdef int which, on
    cdef int64_t slot, index, first
    cdef Py_ssize_t k
    if q.kind == K_SUM:
        if q.b != -1 or q.ib >= 0:
            bad("a sum")
    else:
        if not 0 < q.op < OP_COUNT:
            bad("an opcode")
        if q.av < HANDED_ON or q.history < 0 or (q.history and (q.av or q.v < q.history)):
            bad("a line")
    for which in range(2):
        if which:
            slot, index, on = q.b, q.ib, q.ab
        else:
            slot, index, on = q.a, q.ia, q.aa
        if index >= 0:
            within(index, q.n, pool.shape[0], "an index list")
        elif slot != -1:
            if slot < 0 or not HANDED_ON <= on <= 2:
                bad("an operand")
            if on == 2:
                first = q.first + 3 * which
                if q.first > MOST or q.first < 0:
                    bad("an operand in blocks")
                within(first, 3, pool.shape[0], "an operand in blocks")
                for k in range(first, first + 3):
                    if not 1 <= pool[k] <= MOST:
                        bad("an operand in blocks")
    if (q.a < 0 and q.ia < 0) or (q.kind == K_LINE and fa_rows[q.op].arity == 2 and q.b < 0 and q.ib < 0):
        bad("a line")
    return 0


cdef int check_layout(const int64_t[::1] pool, Py_ssize_t first, str what, Py_ssize_t sizes) except -1:
    """Check that some entries of the pool are lengths."""
    cdef Py_ssize_t k
    within(first, sizes, pool.shape[0], what)
    for k in range(first, first + sizes):
        if not 1 <= pool[k] <= MOST:
            bad(what)
    return 0


cdef int check_single(Code code, const Instruction *p, const int64_t[::1] pool) except -1:
    """Check the entries of the pool of an instruction that is no run."""
    cdef Py_ssize_t nd, first = p.first, j
    cdef int k
    if not 0 <= p.n <= MOST:
        bad("a length")
    if p.a < 0 and p.kind in (K_MAP, K_ADD, K_MATMUL, K_CHAIN, K_FILL, K_COPY) or p.b < 0 and p.kind == K_MATMUL:
        bad("an operand")
    if p.kind == K_SCALARS:
        within(first, p.n, len(code.scalars), "a stretch of scalar instructions")
    elif p.kind == K_MAP or p.kind == K_ADD:
        if not 0 < p.op < OP_COUNT or (fa_rows[p.op].arity == 2 and p.b < 0):
            bad("an opcode")
        within(first, 1, pool.shape[0], "a layout")
        nd = pool[first]
        if not 0 < nd < 63:
            bad("a layout")
        within(first, 1 + 4 * nd, pool.shape[0], "a layout")
        check_layout(pool, first + 1, "a layout", nd)
    elif p.kind == K_CHAIN:
        if not 0 <= p.count <= MOST or (p.ib < 0 and p.b < 0):
            bad("a chain")
        if p.ib >= 0:
            within(p.ib, times(p.n, p.count), pool.shape[0], "an index list")
        else:
            within(p.b, times(p.n, p.count), code.n_slots, "a chain")
    elif p.kind == K_MATMUL:
        within(first, 13, pool.shape[0], "a matrix product")
        check_layout(pool, first, "a matrix product", 4)
    elif p.kind == K_GATHER:
        within(p.ia, p.n, pool.shape[0], "an index list")
    elif p.kind == K_COPY:
        if p.v < p.a + p.n and p.a < p.v + p.n:
            bad("a copy")
    elif p.kind == K_CALL:
        within(p.count, 1, len(code.calls), "a call")
        for k in range(2):
            within(first, 1, pool.shape[0], "a call")
            nd = pool[first]
            if not 0 <= nd <= 1 << 30:
                bad("a call")
            within(first, 1 + 2 * nd, pool.shape[0], "a call")
            for j in range(first + 1, first + 1 + 2 * nd):
                if not 0 <= pool[j] <= MOST:
                    bad("a call")
            first += 1 + 2 * nd
        if p.op:
            check_native(p.op, code.pool, p.first)
    return 0


cdef int check_native(int op, object pool, Py_ssize_t first) except -1:
    """Check that a call that needs no Python has the operands and numbers that go with it."""
    cdef Py_ssize_t n_in = 2 if op < 3 else 1, n_out, last = first + 2 * n_in + 4
    if not 0 < op < len(NATIVE):
        bad("an opcode")
    within(first, 2 * n_in + 4, len(pool), "a call")
    n_out = pool[first + 1 + 2 * n_in]
    if pool[first] != n_in or n_out != 1:
        bad("a call")
    within(last, 1 if op < 3 else 3, len(pool), "a call")
    sizes = [int(pool[first + 2 + 2 * j]) for j in range(n_in)]
    out = int(pool[last - 1])
    numbers = [int(z) for z in pool[last:last + (1 if op < 3 else 3)]]
    if min(numbers) < 1 or max(numbers) > 1 << 40:
        bad("a call")
    if op == 1 and (sizes[0] % numbers[0] or out != sizes[1] * numbers[0]):
        bad("a call")
    if op == 2 and (out % numbers[0] or sizes[0] != sizes[1] * numbers[0]):
        bad("a call")
    if op > 2 and (sizes[0] != numbers[0] * numbers[1] * numbers[2] or out != numbers[0] * numbers[2]):
        bad("a call")
    return 0
