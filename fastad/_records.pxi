# Scalar records: as columns, and simplified (part of _passes.pyx).

@cython.final
cdef class Numbers:
    """Where numbers stand, found by their bits: 0.0 and -0.0 are two, and so are any two nan that differ."""
    cdef Py_ssize_t count, size
    cdef uint64_t *bits
    cdef int64_t *place                               # -1: nothing is here

    def __cinit__(self):
        self.count, self.size = 0, 64
        self.bits = <uint64_t *>malloc(self.size * sizeof(uint64_t))
        self.place = <int64_t *>malloc(self.size * sizeof(int64_t))
        if self.bits is NULL or self.place is NULL:
            raise MemoryError()
        memset(self.place, 255, self.size * sizeof(int64_t))

    def __dealloc__(self):
        free(self.bits)
        free(self.place)

    cdef inline Py_ssize_t spot(self, uint64_t bits) noexcept nogil:
        """Where in the table a number is, or would be."""
        cdef Py_ssize_t mask = self.size - 1, k = <Py_ssize_t>(mixed(bits, 1) & <uint64_t>mask)
        while self.place[k] >= 0 and self.bits[k] != bits:
            k = (k + 1) & mask
        return k

    cdef int grow(self) except -1:
        cdef uint64_t *bits = self.bits
        cdef int64_t *place = self.place
        cdef Py_ssize_t n = self.size, k, there
        cdef uint64_t *more_bits = <uint64_t *>malloc(2 * n * sizeof(uint64_t))
        cdef int64_t *more = <int64_t *>malloc(2 * n * sizeof(int64_t))
        if more_bits is NULL or more is NULL:
            free(more_bits)
            free(more)
            raise MemoryError()
        memset(more, 255, 2 * n * sizeof(int64_t))
        self.bits, self.place, self.size = more_bits, more, 2 * n
        for k in range(n):
            if place[k] >= 0:
                there = self.spot(bits[k])
                self.bits[there], self.place[there] = bits[k], place[k]
        free(bits)
        free(place)
        return 0

    cdef inline int64_t entered(self, double value, int64_t place) except -1:
        """Where a number stands: at `place` if it is new."""
        cdef uint64_t bits = bits_of(value)
        cdef Py_ssize_t k = self.spot(bits)
        if self.place[k] < 0:
            if 2 * self.count >= self.size:
                self.grow()
                k = self.spot(bits)
            self.bits[k], self.place[k] = bits, place
            self.count += 1
        return self.place[k]


def scalar_records(const uint64_t[::1] link, const double[::1] dx, const double[::1] dy, const int64_t[::1] sizes):
    """The scalar records of a tape.

    Parameters
    ----------
    link, dx, dy : arrays of one entry per record
    sizes : array of int64
        Slots that each wide record owns.

    Returns
    -------
    dict of arrays
        ``op, v, a, b, time`` of the scalar records, ``constants`` (values, each once; their slots follow those of the
        tape), ``wide_time`` and ``wide_slot`` of the wide ones, and ``n_slots`` of the tape.
    """
    cdef Py_ssize_t n = link.shape[0], rec, slot = 1, k = 0, w = 0, total = 1, x, y
    cdef Numbers numbers = Numbers()
    for rec in range(n):
        total += sizes[link[rec] >> 8] if is_wide(link[rec]) else 1
        k += not is_wide(link[rec])
    op, v, a, b, time = [np.empty(k, np.int64) for _ in range(5)]
    wide_time, wide_slot = np.zeros(sizes.shape[0], np.int64), np.zeros(sizes.shape[0], np.int64)
    constants = np.empty(2 * k)
    cdef int64_t[::1] op_ = op, v_ = v, a_ = a, b_ = b, time_ = time, wt = wide_time, ws = wide_slot
    cdef double[::1] constants_ = constants
    cdef int code
    k = 0
    for rec in range(n):
        if is_wide(link[rec]):
            w = link[rec] >> 8
            wt[w], ws[w] = rec, slot
            slot += sizes[w]
            continue
        code = link[rec] & 255
        x, y = <Py_ssize_t>(link[rec] >> 8) & (FAR - 1), <Py_ssize_t>(link[rec] >> 36)
        if x == 0:
            x = boxed_distance(dx[rec])
        if y == 0:
            y = boxed_distance(dy[rec])
        op_[k], v_[k], time_[k], b_[k] = code, slot, rec, 0
        if x:
            a_[k] = slot - x
        else:
            constants_[numbers.count] = dx[rec]
            a_[k] = numbers.entered(dx[rec], total + numbers.count)
        if fa_rows[code].arity == 2:
            if y:
                b_[k] = slot - y
            else:
                constants_[numbers.count] = dy[rec]
                b_[k] = numbers.entered(dy[rec], total + numbers.count)
        slot += 1
        k += 1
    return {"op": op, "v": v, "a": a, "b": b, "time": time, "constants": constants[:numbers.count],
            "wide_time": wide_time, "wide_slot": wide_slot, "n_slots": total}


def kept(const uint8_t[::1] keep, *columns):
    """Put those entries of columns (arrays of int64) that are kept one behind the other; how many they are."""
    cdef Py_ssize_t k, n = 0
    cdef int64_t[::1] column
    for z in columns:
        column = z
        if column.shape[0] != keep.shape[0]:
            raise ValueError(f"kept: a column of {column.shape[0]} entries, {keep.shape[0]} flags")
        n = 0
        for k in range(keep.shape[0]):
            column[n] = column[k]
            n += keep[k] != 0
    return n


def simplify(Cells cells, int64_t[::1] op, int64_t[::1] v, int64_t[::1] a, int64_t[::1] b, int64_t[::1] time,
             double[::1] value, uint8_t[::1] known, int64_t[::1] alias, Py_ssize_t first_constant, bint fold=True,
             bint common=True):
    """Constant folding, exact identities and common subexpressions, in one reading.

    Parameters
    ----------
    op, v, a, b, time
        The records, slots as cells' only ones; those that are left are put in front, opcodes may change.
    value
        By slot: the value of a constant; results that turn out to be constants are entered.
    known
        By cell: whether it is constant; the same.
    alias
        By cell: is set to the slot where its value stands. Readers of the code's results have to look there.
    first_constant
        From this cell on stand the constants of scalar records.
    fold, common
        Which of it to do.

    Returns
    -------
    tuple of int
        How many records are left, and how many each of the three has taken away.

    Notes
    -----
    An identity here holds to the last bit, signed zeros, infinities and nan included; the one exception is ``x ** 2``
    as ``x * x``, the better rounded one.
    """
    cdef Py_ssize_t n = op.shape[0], count = cells.count, size = 16, k, i, mask
    cdef int code
    cdef int64_t x, y, out, target
    cdef const int64_t *first = cells.firsts
    cdef double r, vx, vy
    cdef Py_ssize_t left = 0, folded = 0, same = 0, shared = 0
    cdef Numbers numbers = Numbers()                  # cells of constants
    while size < 2 * n:
        size *= 2
    mask = size - 1
    #: Records that are left: by what they compute, and by the cell they write.
    cdef int32_t[::1] table = np.full(size if common else 1, -1, np.int32), producer = np.full(count, -1, np.int32)
    if n > INT32_MAX:
        raise OverflowError(f"simplify: {n} records of scalars in one program")
    for code in np.flatnonzero(np.bincount(op, minlength=1)):
        ensure_loops(code)
    for k in range(count):
        alias[k] = k
    if common:                                        # constants of one value are one constant
        for k in range(first_constant, count):
            if known[k] and first[k + 1] - first[k] == 1:
                alias[k] = numbers.entered(value[first[k]], k)
    for i in range(n):
        x, y, out = alias[cells.at(a[i])], alias[cells.at(b[i])], cells.at(v[i])
        vx, vy = value[first[x]], value[first[y]]
        code = <int>op[i]
        target = -1
        if fold and known[x] and (known[y] or fa_rows[code].arity == 1):
            scalar_eval(code, vx, vy, &r, NULL, NULL)
            value[first[out]] = r
            known[out] = 1
            folded += 1
            alias[out] = numbers.entered(r, out)
            continue
        if fold:
            if code == OP_square:
                code, y, vy = OP_multiply, x, vx
            elif code == OP_power or code == OP_float_power:
                if known[y] and vy == 2.0:
                    code, y, vy = OP_multiply, x, vx
                elif known[y] and vy == 1.0:
                    target = x
                elif known[y] and vy == -1.0:
                    code, y, vy = OP_reciprocal, 0, 0.0
            elif code == OP_negative and producer[x] >= 0 and op[producer[x]] == OP_negative:
                target = a[producer[x]]
            elif code == OP_positive:
                target = x
            elif code == OP_divide and known[y] and vy == 1.0:
                target = x
            if code == OP_multiply:
                if known[y] and vy == 1.0:
                    target = x
                elif known[x] and vx == 1.0:
                    target = y
            elif code == OP_add:
                if known[y] and bits_of(vy) == bits_of(-0.0):
                    target = x
                elif known[x] and bits_of(vx) == bits_of(-0.0):
                    target = y
                elif producer[y] >= 0 and op[producer[y]] == OP_negative:
                    code, y = OP_subtract, a[producer[y]]
            elif code == OP_subtract:
                if known[y] and bits_of(vy) == 0:
                    target = x
                elif producer[y] >= 0 and op[producer[y]] == OP_negative:
                    code, y = OP_add, a[producer[y]]
            elif code == OP_keep or code == OP_drop:
                if known[y] and (vy != 0.0) == (code == OP_keep):
                    target = x
                elif known[y]:                        # nothing is selected
                    value[first[out]] = -0.0
                    known[out] = 1
                    target = out
            elif code == OP_logical_and and ((known[x] and vx == 0.0) or (known[y] and vy == 0.0)):
                value[first[out]] = 0.0
                known[out] = 1
                target = out
            if target >= 0:
                same += 1
                alias[out] = target
                continue
        op[left], v[left], a[left], b[left], time[left] = code, out, x, y, time[i]
        if common:
            if (code == OP_add or code == OP_multiply) and y < x:
                x, y = y, x
            k = <Py_ssize_t>(mixed(mixed(<uint64_t>x, <uint64_t>y), <uint64_t>code) & <uint64_t>mask)
            while table[k] >= 0:
                target = table[k]
                if op[target] == code and ((a[target] == x and b[target] == y) or (
                        (code == OP_add or code == OP_multiply) and a[target] == y and b[target] == x)):
                    break
                target = -1
                k = (k + 1) & mask
            if target >= 0:
                shared += 1
                alias[out] = v[target]
                continue
            table[k] = <int32_t>left
        producer[out] = <int32_t>left
        left += 1
    for i in range(left):
        v[i], a[i], b[i] = first[v[i]], first[a[i]], first[b[i]]
    for k in range(count):
        alias[k] = first[alias[k]]
    return left, folded, same, shared
