# Adjoints of many slots in a row as one reference (part of variable.pyx; see _references.pxi).
#
# The adjoint of an array is nearly always a view, or a number. A run says so once for all slots of a stretch, instead
# of writing a reference for each: only who looks at elements pays for elements.

cdef enum:
    SHORTEST_RUN = 64                 # slots; shorter stretches have a reference for each
    RUN_AXES = 8
    MOST_PARTS = 8                    # stretches that are added to, or put together, one by one

cdef struct Run:
    Py_ssize_t first, size            # which slots
    Py_ssize_t slot                   # where their adjoints begin; 0: all are one number
    double value                      # which number
    bint maybe                        # may be nothing
    int ndim                          # axes of the adjoints over the slots, in C order
    Py_ssize_t dims[RUN_AXES]
    Py_ssize_t steps[RUN_AXES]


cdef bint run_of(Py_ssize_t first, Layout shape, Term c, Run *r) noexcept:
    """A term over slots in a row as a run, with as few axes as will do; False where those are too many."""
    cdef Py_ssize_t d, step
    cdef int n = 0
    r.first, r.size, r.slot, r.value, r.maybe = first, shape.size, c.slot, c.value, c.maybe
    for d in range(shape.ndim if c.slot else 0):
        step = (<Layout>c.layout).dims[shape.ndim + d]
        if shape.dims[d] == 1:
            continue
        if n and r.steps[n - 1] == shape.dims[d] * step:
            r.dims[n - 1] *= shape.dims[d]
            r.steps[n - 1] = step
            continue
        if n == RUN_AXES:
            return False
        r.dims[n], r.steps[n] = shape.dims[d], step
        n += 1
    r.ndim = n
    return True


cdef bint cut_run(Run *r, Py_ssize_t first, Py_ssize_t size) noexcept:
    """Let a run be some of its slots only; False, and nothing is changed, where these are no whole lines of it."""
    cdef Py_ssize_t low = first - r.first, inner, slot = r.slot
    cdef int d, gone = 0
    if r.slot:
        inner = r.size
        while gone < r.ndim:
            inner //= r.dims[gone]
            if low // inner != (low + size - 1) // inner:
                break
            slot += low // inner * r.steps[gone]
            low %= inner
            gone += 1
        if gone < r.ndim:
            if low % inner or size % inner:
                return False
            r.slot = slot + low // inner * r.steps[gone]
            r.dims[gone] = size // inner
            for d in range(gone, r.ndim):
                r.dims[d - gone], r.steps[d - gone] = r.dims[d], r.steps[d]
        else:
            r.slot = slot
        r.ndim -= gone
    r.first, r.size = first, size
    return True


cdef Layout layout_of_run(const Run *r):
    """The iteration over a run."""
    cdef Py_ssize_t one = r.size, still = 0
    return make_layout(r.ndim, r.dims, r.steps) if r.ndim else make_layout(1, &one, &still)


cdef inline Term term_of_run(const Run *r, Layout l) noexcept:
    """The adjoints of a run as a term; `l` is what `layout_of_run` gives."""
    cdef Term c = standing_at(r.slot, <void *>l if r.slot else NULL, r.value)
    c.maybe, c.constant = r.maybe, r.slot == 0
    return c


cdef class _Runs:
    """The runs among the slots that a recorded sweep goes over."""
    cdef Tape tape
    cdef Py_ssize_t base, end         # slots of the records that are swept
    cdef uint8_t *state               # of each of these slots: AdjointState
    cdef Run *runs
    cdef Py_ssize_t n_runs, room_for_runs, free_run        # free ones are linked through `first`; -1: none
    cdef int32_t *heads               # by SHORTEST_RUN slots: the run that begins there, and one more; 0: none does
    cdef list kept                    # layouts in use

    cdef int begin_runs(self) except -1:
        """No runs yet, over slots that are known."""
        self.free_run = -1
        self.heads = <int32_t *>PyMem_Calloc((self.end - self.base) // SHORTEST_RUN + 1, sizeof(int32_t))
        if self.heads is NULL:
            raise MemoryError()
        return 0

    def __dealloc__(self):
        PyMem_Free(self.runs)
        PyMem_Free(self.heads)

    cdef Py_ssize_t run_at(self, Py_ssize_t slot) noexcept:
        """The number of the run that a slot is HELD by: the last that begins before it."""
        cdef Py_ssize_t g = (slot - self.base) // SHORTEST_RUN
        if self.heads[g] and self.runs[self.heads[g] - 1].first > slot:
            g -= 1
        while self.heads[g] == 0:
            g -= 1
        return self.heads[g] - 1

    cdef int put_run(self, const Run *r) except -1:
        """Enter a run of slots none of which is HELD."""
        cdef Py_ssize_t k = self.free_run, room
        cdef uint8_t *state = self.state + (r.first - self.base)
        cdef Run given = r[0]                         # may stand in the memory that moves
        if k >= 0:
            self.free_run = self.runs[k].first
        else:
            if self.n_runs == self.room_for_runs:
                room = 2 * self.room_for_runs + 16
                grown = <Run *>PyMem_Realloc(self.runs, room * sizeof(Run))
                if grown is NULL:
                    raise MemoryError()
                self.runs, self.room_for_runs = grown, room
            k = self.n_runs
            self.n_runs += 1
        self.runs[k] = given
        self.heads[(given.first - self.base) // SHORTEST_RUN] = <int32_t>(k + 1)
        for k in range(given.size):
            state[k] |= HELD | REACHED
        return 0

    cdef Run taken_run(self, Py_ssize_t k) noexcept:
        """Take a run away."""
        cdef Run r = self.runs[k]
        cdef uint8_t *state = self.state + (r.first - self.base)
        self.heads[(r.first - self.base) // SHORTEST_RUN] = 0
        self.runs[k].first, self.free_run = self.free_run, k
        for k in range(r.size):
            state[k] &= ~<uint8_t>HELD
        return r

    cdef bint held_whole(self, Py_ssize_t first, Layout l) noexcept:
        """Whether a view that is not empty is within one run."""
        cdef const Run *r
        if not self.state[first - self.base] & HELD:
            return False
        r = &self.runs[self.run_at(first)]
        return r.first <= first + l.low and first + l.high < r.first + r.size

    cdef Py_ssize_t divided_like_run(self, Py_ssize_t first, Layout l, Layout a, Layout b, Py_ssize_t *dims) noexcept:
        """Shorter axes for an iteration over slots in a row within a run, such as both have in common; 0: as they are.

        What is summed, an axis along which an operand (a, b) does not move, is not divided: sums keep their order.
        """
        cdef Run r = self.runs[self.run_at(first)]
        cdef Py_ssize_t n = 0, left = 1, other = 1, m, axis = l.ndim
        cdef int d
        cdef bint more = False
        if not l.contiguous or r.slot == 0 or r.ndim < 2 or not cut_run(&r, first, l.size):
            return 0
        d = r.ndim
        while True:
            while left == 1 and axis:
                axis -= 1
                left = l.dims[axis]
            while other == 1 and d:
                d -= 1
                other = r.dims[d]
            if left == 1 or other == 1 or n == 64:
                break
            m = min(left, other)
            if left % m or other % m:
                return 0
            if m < left:
                more = True
                if a is not None and a.dims[l.ndim + axis] == 0 or b is not None and b.dims[l.ndim + axis] == 0:
                    return 0
            dims[n] = m
            left, other, n = left // m, other // m, n + 1
        for d in range(<int>(n // 2)):
            dims[d], dims[n - 1 - d] = dims[n - 1 - d], dims[d]
        return n if more and left == other == 1 else 0

    cdef uint8_t states(self, Py_ssize_t first, Py_ssize_t size, uint8_t *all) noexcept:
        """What is set in one, and what in all of the states of some slots."""
        cdef const uint8_t *state = self.state + (first - self.base)
        cdef uint8_t some = 0, every = 0xff
        cdef Py_ssize_t k
        for k in range(size):
            some |= state[k]
            every &= state[k]
        all[0] = every
        return some

    cdef Term run_seen(self, const Run *r, Py_ssize_t first, Layout l):
        """The adjoints of a view within a run; nothing at all where they are no view."""
        cdef Py_ssize_t index[RUN_AXES]
        cdef Py_ssize_t lowest[RUN_AXES]
        cdef Py_ssize_t highest[RUN_AXES]
        cdef Py_ssize_t inner[RUN_AXES]
        cdef Py_ssize_t steps[64]
        cdef Py_ssize_t at = first - r.first, slot = r.slot, j, left, turns
        cdef int d, sign
        cdef Layout view
        cdef Term c
        if r.slot == 0:
            return number(r.value)
        left = r.size
        for d in range(r.ndim):
            left //= r.dims[d]
            inner[d] = left
            index[d], at = at // left, at % left
            lowest[d] = highest[d] = index[d]
            slot += index[d] * r.steps[d]
        for j in range(l.ndim):
            steps[j] = 0
            if l.dims[j] == 1:
                continue
            left, sign = l.dims[l.ndim + j], 1
            if left < 0:
                left, sign = -left, -1
            for d in range(r.ndim):                   # how far a step along this axis goes along those of the run
                turns, left = left // inner[d], left % inner[d]
                steps[j] += sign * turns * r.steps[d]
                if sign > 0:
                    highest[d] += turns * (l.dims[j] - 1)
                else:
                    lowest[d] -= turns * (l.dims[j] - 1)
        for d in range(r.ndim):
            if lowest[d] < 0 or highest[d] >= r.dims[d]:
                return no_term()                      # it goes on in the next line
        if l.ndim == 0:
            c = standing_at(slot, NULL, self.tape.value[slot])
        else:
            view = make_layout(l.ndim, l.dims, steps)
            self.kept.append(view)
            c = standing_at(slot, <void *>view, 0.0)
        c.maybe = r.maybe
        return c
