# Whether a program stays within its tables: files are not to be trusted (part of _program.pyx).

def validate(Code code):
    """Check that no instruction can reach outside of the workspace, the pool or the other tables."""
    ins, pool, n = code.instructions, code.pool, code.n_slots
    if n < 1 or n > 1 << 40 or len(code.image) < 1 or len(code.image) > n:
        raise ValueError(f"program: {len(code.image)} values do not fit into {n} slots")
    for slot, size in code.regions:
        within(slot, size, n, "a region")
    s = code.scalars
    for slots in [s["v"], s["a"], s["b"]]:
        if len(s) and (slots.min() < 0 or slots.max() >= n):
            raise ValueError("program: a scalar instruction reaches outside of the workspace")
    if len(s) and (s["op"].min() < 1 or s["op"].max() >= OP_COUNT):
        raise ValueError("program: a scalar instruction has no function")
    k = 0
    while k < len(ins):
        p = ins[k]
        kind = int(p["kind"])
        if not 0 <= kind < len(KINDS) or kind == 2 or kind == 11:
            raise ValueError(f"program: instruction {k} is of no kind")
        if kind == 1:
            count = int(p["count"])
            if not 0 < count < len(ins) - k:
                raise ValueError(f"program: run {k} has no lines")
            check_pairs(ins[k + 1:k + 1 + count])
            for q in ins[k + 1:k + 1 + count]:
                if q["kind"] not in (2, 11) or min(q["n"], q["count"]) < 0 or int(q["count"]) + int(q["n"]) > p["n"]:
                    raise ValueError(f"program: run {k} holds something else than lines within its length")
                check_line(q, pool, n)
                check_regions(code, q)
            k += count + 1
            continue
        check_single(code, p, kind)
        check_regions(code, p)
        k += 1


cdef int bad(str what) except -1:
    raise ValueError(f"program: {what} reaches outside of its table")


cdef int within(Py_ssize_t first, Py_ssize_t count, Py_ssize_t n, str what) except -1:
    if count < 0 or first < 0 or first > n or count > n - first:
        bad(what)
    return 0


cdef int check_slots(object pool, Py_ssize_t first, Py_ssize_t count, Py_ssize_t n) except -1:
    """Check an index list."""
    within(first, count, len(pool), "an index list")
    if count and (pool[first:first + count].min() < 0 or pool[first:first + count].max() >= n):
        bad("an index")
    return 0


cdef int check_regions(Code code, object p) except -1:
    """Check that operands said to be in a region are."""
    cdef Py_ssize_t low, high, first
    kind = int(p["kind"])
    if kind == 2 and p["av"] >= 2:
        if p["av"] - 2 >= len(code.regions):
            bad("a region")
        first, size = code.regions[p["av"] - 2]
        if p["v"] < first or p["v"] + p["n"] > first + size:
            bad("a region")
    for which, (slot, on, index, region) in enumerate(((p["a"], p["aa"], p["ia"], p["ra"]), (p["b"], p["ab"], p["ib"], p["rb"]))):
        if region < 0:
            continue
        if kind not in (2, 3, 4, 7, 11) or index >= 0 or slot < 0 or region >= len(code.regions):
            bad("a region")
        first, size = code.regions[region]
        low, high = slot, slot
        if kind == 2 or kind == 11:
            high = slot + reach(p, on, which, code.pool) - 1
        elif kind == 7:
            low, high = matrix_bounds(code.pool, p["first"], which + 1, slot)
        else:
            low, high = view_bounds(code.pool, p["first"], which + 1, slot)
        if low < first or high >= first + size:
            bad("a region")
    return 0


cdef Py_ssize_t reach(object q, int on, int which, object pool) except -1:
    """How many slots a line's operand takes, one that is no index list."""
    cdef Py_ssize_t first = q["first"] + 3 * which
    if on == HANDED_ON:
        return 0
    if on == 0 or on == 1:
        return q["n"] if on else min(<Py_ssize_t>q["n"] + <Py_ssize_t>q["count"], RUN_STRIP)
    if on != 2:
        bad("an operand")
    within(first, 3, len(pool), "an operand in blocks")
    width, span, count = [int(z) for z in pool[first:first + 3]]
    if min(width, span, count) < 1 or max(width, span, count, width * count) > 1 << 40:
        bad("an operand in blocks")
    return width * count


cdef tuple view_bounds(object pool, Py_ssize_t first, int which, Py_ssize_t slot):
    """First and last slot of one operand (0 the result, 1, 2) of a layout in the pool."""
    nd = int(pool[first])
    low = high = slot
    for d in range(nd):
        length, stride = int(pool[first + 1 + d]), int(pool[first + 1 + (which + 1) * nd + d])
        if length < 1:
            bad("a layout")
        low += min(stride, 0) * (length - 1)
        high += max(stride, 0) * (length - 1)
    return low, high


cdef tuple matrix_bounds(object pool, Py_ssize_t first, int which, Py_ssize_t slot):
    """The same of a matrix product."""
    q = [int(z) for z in pool[first:first + 13]]
    sizes = ((q[0], q[1], q[2]), (q[0], q[1], q[3]), (q[0], q[3], q[2]))[which]
    low = high = int(slot)
    for m, s in zip(sizes, q[4 + 3 * which:7 + 3 * which]):
        low += min(s, 0) * (m - 1)
        high += max(s, 0) * (m - 1)
    return low, high


cdef int check_pairs(object lines) except -1:
    """Check that what is handed on goes to the next line, and that there is a loop for both."""
    given = np.flatnonzero((lines["av"] == HANDED_ON) & (lines["kind"] == LINE))
    p, q = lines[given], lines[np.minimum(given + 1, len(lines) - 1)]
    binary = (q["op"] >= OP_add) & (q["op"] <= OP_divide)
    taken = [(q[on] == HANDED_ON) for on in ("aa", "ab")]
    other = [(q[index] < 0) & (q[slot] >= 0) & np.isin(q[on], [0, 1]) for slot, on, index in (("a", "aa", "ia"), ("b", "ab", "ib"))]
    fine = ((given + 1 < len(lines)) & (q["kind"] == LINE) & (q["av"] != HANDED_ON) & (p["n"] == q["n"]) & (p["count"] == q["count"])
            & (p["op"] >= OP_add) & (p["op"] <= OP_divide) & (p["history"] == 0)
            & (taken[0] & ((q["op"] == OP_negative) | binary & (taken[1] | other[1])) | taken[1] & binary & other[0]))
    if not fine.all() or not np.array_equal(given + 1, np.flatnonzero((lines["aa"] == HANDED_ON) | (lines["ab"] == HANDED_ON))):
        bad("what a line hands on")
    return 0


cdef int check_line(object q, object pool, Py_ssize_t n) except -1:
    """Check one line of a run."""
    cdef Py_ssize_t length = q["n"], strip = min(length + <Py_ssize_t>q["count"], RUN_STRIP), history = q["history"]
    if q["kind"] == 11:
        within(q["v"], 1, n, "a sum")
        if q["b"] != -1 or q["ib"] >= 0:
            bad("a sum")
    elif not 0 < q["op"] < OP_COUNT:
        bad("an opcode")
    if q["kind"] == 2:
        within(q["v"], length if q["av"] else strip, n, "a line")
        if q["av"] < HANDED_ON or history < 0 or (history and (q["av"] or q["v"] < history or q["v"] > n - RUN_STRIP)):
            bad("a line")
    for which, (slot, on, index) in enumerate(((q["a"], q["aa"], q["ia"]), (q["b"], q["ab"], q["ib"]))):
        if index >= 0:
            check_slots(pool, index, length, n)
        elif slot != -1:
            within(slot, reach(q, on, which, pool), n, "a line")
    if q["v"] < 0 or (q["a"] < 0 and q["ia"] < 0) or (q["kind"] == 2 and fa_rows[<int>q["op"]].arity == 2
                                                                      and q["b"] < 0 and q["ib"] < 0):
        bad("a line")
    return 0


cdef int check_view(object pool, Py_ssize_t first, int which, Py_ssize_t slot, Py_ssize_t n) except -1:
    """Check one operand (0 the result, 1, 2) of a layout in the pool."""
    low, high = view_bounds(pool, first, which, slot)
    if low < 0 or high >= n:
        bad("a view")
    return 0


cdef int check_single(Code code, object p, int kind) except -1:
    """Check an instruction that is no run."""
    cdef Py_ssize_t n = code.n_slots, length = p["n"], first = p["first"], j, k, nd
    pool = code.pool
    if length < 0:
        bad("a length")
    if kind == 0:
        within(first, length, len(code.scalars), "a stretch of scalar instructions")
    elif kind == 3 or kind == 4:
        if not 0 < p["op"] < OP_COUNT or (fa_rows[<int>p["op"]].arity == 2 and p["b"] < 0):
            bad("an opcode")
        within(first, 1, len(pool), "a layout")
        nd = pool[first]
        if not 0 < nd < 63:
            bad("a layout")
        within(first, 1 + 4 * nd, len(pool), "a layout")
        check_view(pool, first, 0, p["v"], n)
        check_view(pool, first, 1, p["a"], n)
        if p["b"] >= 0:
            check_view(pool, first, 2, p["b"], n)
    elif kind == 5:
        within(p["v"], length, n, "a fill")
        within(p["a"], 1, n, "a fill")
    elif kind == 6:
        count = int(p["count"])
        if count < 0 or length > 1 << 40 or count > 1 << 40:
            bad("a chain")
        within(p["v"], length, n, "a chain")
        within(p["a"], length if p["aa"] else 1, n, "a chain")
        if p["ib"] >= 0:
            check_slots(pool, p["ib"], length * count, n)
        else:
            within(p["b"], length * count, n, "a chain")
    elif kind == 7:
        within(first, 13, len(pool), "a matrix product")
        q = [int(z) for z in pool[first:first + 13]]
        if min(q[:4]) < 1 or max(q[:4]) > 1 << 40:
            bad("a matrix product")
        for which, slot in enumerate((p["v"], p["a"], p["b"])):
            low, high = matrix_bounds(pool, first, which, slot)
            if low < 0 or high >= n:
                bad("a matrix product")
    elif kind == 8:
        within(p["v"], length, n, "a gather")
        check_slots(pool, p["ia"], length, n)
    elif kind == 10:
        within(p["v"], length, n, "a copy")
        within(p["a"], length, n, "a copy")
        if p["v"] < p["a"] + length and p["a"] < p["v"] + length:
            bad("a copy")
    else:
        within(p["count"], 1, len(code.calls), "a call")
        within(first, 1, len(pool), "a call")
        for _ in range(2):
            nd = pool[first]
            if nd < 0 or nd > 1 << 30:
                bad("a call")
            within(first, 1 + 2 * nd, len(pool), "a call")
            for j in range(nd):
                within(pool[first + 1 + 2 * j], pool[first + 2 + 2 * j], n, "a call")
            first += 1 + 2 * nd
            if _ == 0:
                within(first, 1, len(pool), "a call")
        if p["op"]:
            check_native(p["op"], pool, p["first"])
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
