# What the executor is told beside the tables: strands of scalar instructions, and where to stop (part of _program.pyx).

cdef extern from "_strands.h" nogil:
    int FA_SPREAD
    ctypedef struct fa_scalar_instruction:
        pass
    void make_strands(const fa_scalar_instruction *p, Py_ssize_t n, int32_t *room, int32_t *out) noexcept


def strands(instructions, scalars):
    """The scalar instructions as they are executed on one lane.

    Those of a stretch begin at 5 * first, which leaves enough for each, since no two overlap; 0 is the end.
    """
    cdef const Instruction *ins = <const Instruction *>PyArray_DATA(<ndarray>instructions)
    cdef const fa_scalar_instruction *p = <const fa_scalar_instruction *>PyArray_DATA(<ndarray>scalars)
    cdef Py_ssize_t k, most = 0, end = 0, first, count
    cdef list stretches = sorted([(ins[k].first, ins[k].n) for k in range(len(instructions))
                                  if ins[k].kind == K_SCALARS and ins[k].n > 0])
    for first, count in stretches:
        if first < end:
            raise ValueError("program: stretches of scalar instructions overlap")
        end, most = first + count, max(most, count)
    cdef int32_t[::1] out = np.zeros(5 * len(scalars) + 1, np.int32)
    cdef int32_t[::1] room = np.empty((8 + FA_SPREAD) * most + 1, np.int32)
    for first, count in stretches:
        with nogil:
            make_strands(p + first, count, &room[0], &out[5 * first])
    return out.base


cdef inline Py_ssize_t advance(Code code, Py_ssize_t first, Py_ssize_t last, Workspace space) noexcept nogil:
    """Execute the instructions [first, last) up to one that needs Python; -1 when a signal has raised."""
    return execute(code._instructions, first, last, code._scalars, code._strands, code._pool, space.w, space.lanes,
                   space.work, space.regions if space.lanes == 1 else NULL)


cdef inline int64_t cost(const Instruction *q) noexcept nogil:
    """How many numbers an instruction computes; the lines of a run go with it."""
    return 1 if is_line(q) else max(times(q.n, max(q.count, <int64_t>1)), <int64_t>1)


def stops(instructions, ready=(), windows=()):
    """Where execution stops, as triples: before which instruction, whether the way there is long, and what for.

    That is 0 (signals), 1 (a call), or 2 and how many guards are to be looked at; `ready` says for each guard after how
    many instructions it can be, and rises. -1 and lower: the way to the next stop is the first, second... window.
    """
    cdef const Instruction *ins = <const Instruction *>PyArray_DATA(<ndarray>instructions)
    cdef Py_ssize_t k, n = len(instructions), past = 0, checked = 0, n_ready = len(ready)
    cdef bint calls
    cdef int64_t work = 0, unchecked = 0
    cdef list rows = []
    cdef dict begins = {window.first: number for number, window in enumerate(windows)}
    for k in range(n):
        if is_line(ins + k) or k < past:              # the lines of a run go with it
            continue
        if past == k > 0:
            rows += [k, 1, 0]
            work = 0
        if begins and k in begins:
            past = windows[begins[k]].last
            rows += [k, work > SHORT, -1 - <Py_ssize_t>begins[k]]
            unchecked, work = CHECK + 1, LONG
            continue
        calls = ins[k].kind == K_CALL and not ins[k].op
        if (unchecked > CHECK or calls) and checked < n_ready and ready[checked] <= k:
            checked = int(np.searchsorted(ready, k, side="right"))
            rows += [k, work > SHORT, 2 + checked]
            work = unchecked = 0
        if calls:                                     # not with the numbers of a way that is not taken
            rows += [k, work > SHORT, 1]
            work = 0
            continue
        if work > LONG:
            rows += [k, 1, 0]
            work = 0
        work += cost(ins + k)
        unchecked += cost(ins + k)
    rows += [n, work > SHORT, 0]
    return np.array(rows, np.int64)


cdef bint calls_python(Code code) noexcept:
    """Whether an instruction is a call of a rule in Python."""
    cdef const Instruction *ins = <const Instruction *>code._instructions
    cdef Py_ssize_t k
    for k in range(PyArray_DIM(<ndarray>code.instructions, 0)):
        if ins[k].kind == K_CALL and not ins[k].op:
            return True
    return False


cdef void note_writes(const int64_t[::1] slots, int64_t[::1] made, int64_t low, int64_t high, int64_t count) noexcept:
    """Enter after how many instructions those of some slots, which rise, are written that are among low ... high."""
    cdef Py_ssize_t first = 0, last = slots.shape[0], middle
    while first < last:
        middle = (first + last) // 2
        if slots[middle] < low:
            first = middle + 1
        else:
            last = middle
    while first < slots.shape[0] and slots[first] <= high:
        made[first] = count
        first += 1


def ready_after(Code code, const int64_t[::1] guards):
    """After how many instructions each guard, and all before it, can be looked at."""
    cdef const Instruction *ins = <const Instruction *>code._instructions
    cdef const Scalar *s = <const Scalar *>code._scalars
    cdef Uses uses = Uses()
    cdef Py_ssize_t k, j
    order = np.argsort(guards, kind="stable")
    made = np.zeros(len(order), np.int64)             # 0: an argument or a constant
    cdef const int64_t[::1] slots = np.asarray(guards)[order]
    cdef int64_t[::1] made_ = made
    for k in range(PyArray_DIM(<ndarray>code.instructions, 0)):
        if ins[k].kind == K_SCALARS:
            for j in range(ins[k].first, ins[k].first + ins[k].n):
                note_writes(slots, made_, s[j].v, s[j].v, k + 1)
            continue
        uses.find(ins + k, code._pool)
        for j in range(uses.n):
            if uses.items[j].mode == WRITES:
                note_writes(slots, made_, uses.items[j].low, uses.items[j].high, k + 1)
    ready = np.empty(len(order), np.int64)
    ready[order] = made
    return np.maximum.accumulate(ready)
