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
    return execute(code._instructions, first, last, code._scalars, code._strands, code._pool, space.w, space.lanes, space.work,
                   space.regions if space.lanes == 1 else NULL)


cdef inline int64_t cost(const Instruction *q) noexcept nogil:
    """How many numbers an instruction computes; the lines of a run go with it."""
    return 1 if is_line(q) else max(times(q.n, max(q.count, <int64_t>1)), <int64_t>1)


def stops(instructions, ready=(), windows=()):
    """Where execution stops, as triples: before which instruction, whether the way there is long, and what for.

    That is 0 (signals), 1 (a call), or 2 and how many guards are to be looked at; `ready` says for each guard after how many
    instructions it can be, and rises. -1 and lower: the way to the next stop is the first, second... window.
    """
    cdef const Instruction *ins = <const Instruction *>PyArray_DATA(<ndarray>instructions)
    cdef Py_ssize_t k, n = len(instructions), past = 0, checked = 0, n_ready = len(ready)
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
        if unchecked > CHECK and checked < n_ready and ready[checked] <= k:
            checked = int(np.searchsorted(ready, k, side="right"))
            rows += [k, work > SHORT, 2 + checked]
            work = unchecked = 0
        if ins[k].kind == K_CALL and not ins[k].op:
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


def ready_after(instructions, scalars, guards):
    """After how many instructions each guard, and all before it, can be looked at: all, where it is not plain who writes it."""
    made = {}                                         # slot -> the last instruction that writes it
    wanted = np.unique(guards)
    plain = np.isin(instructions["kind"], [0, 2, 6, 8, 10, 11])
    others = np.flatnonzero(~plain & (instructions["kind"] != 1))     # they may write anywhere
    least = int(others.max()) + 1 if len(others) else 0
    for k in np.flatnonzero(plain).tolist():
        row = instructions[k]
        if row["kind"] == 0:
            slots = scalars["v"][row["first"]:row["first"] + row["n"]]
            slots = slots[np.isin(slots, wanted)]
        else:
            size = 1 if row["kind"] == 11 else row["n"]
            slots = wanted[np.searchsorted(wanted, row["v"]):np.searchsorted(wanted, row["v"] + size)]
        made.update(dict.fromkeys(slots.tolist(), k + 1))
    return np.maximum.accumulate([max(made.get(slot, len(instructions)), least) for slot in guards.tolist()])
