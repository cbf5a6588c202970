"""The loops of the passes over scalar records: what Python would take microseconds a record for takes nanoseconds here.

A stretch of code is four parallel arrays in the order of the program: opcode, slot of the result, slots of the operands
(of a function of one argument the second is slot 0). Slots are numbered as on the tape, constants behind them.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.string cimport memcpy

from fastad._scalar cimport (
    OP_COUNT, OP_add, OP_divide, OP_drop, OP_float_power, OP_keep, OP_logical_and, OP_multiply, OP_negative, OP_positive,
    OP_power, OP_reciprocal, OP_square, OP_subtract, boxed_distance, fa_loops, fa_rows, scalar_eval,
)
from fastad._tape cimport FAR, Tape, ensure_loops, is_wide, loop_table

import numpy as np

(&fa_loops)[0] = loop_table()

cdef inline uint64_t bits_of(double x) noexcept nogil:
    cdef uint64_t bits
    memcpy(&bits, &x, sizeof(bits))
    return bits


cdef inline uint64_t mixed(uint64_t a, uint64_t b) noexcept nogil:
    """A hash of two words."""
    a = (a ^ (b * <uint64_t>0x9e3779b97f4a7c15)) * <uint64_t>0xbf58476d1ce4e5b9
    return a ^ (a >> 29)


def columns(Tape tape):
    """Copies of a tape's columns: dict of arrays."""
    n, r = tape.n_slots, tape.n_records
    return {"value": np.array(tape.value[:n]), "link": np.array(tape.link[:r]), "dx": np.array(tape.dx[:r]),
            "dy": np.array(tape.dy[:r]), "wide": np.array(np.asarray(tape.wide)[:tape.n_wide]),
            "pool": np.array(tape.pool[:tape.n_pool])}


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
        ``op, v, a, b, time`` of the scalar records, ``constants`` (values; their slots follow those of the tape),
        ``wide_time`` and ``wide_slot`` of the wide ones, and ``n_slots`` of the tape.
    """
    cdef Py_ssize_t n = link.shape[0], rec, slot = 1, k = 0, c = 0, w = 0, total = 1, x, y
    for rec in range(n):
        total += sizes[link[rec] >> 8] if is_wide(link[rec]) else 1
    op, v, a, b, time = [np.zeros(n, np.int64) for _ in range(5)]
    wide_time, wide_slot = np.zeros(sizes.shape[0], np.int64), np.zeros(sizes.shape[0], np.int64)
    constants = np.empty(2 * n)
    cdef int64_t[::1] op_ = op, v_ = v, a_ = a, b_ = b, time_ = time, wt = wide_time, ws = wide_slot
    cdef double[::1] constants_ = constants
    cdef int code
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
        op_[k], v_[k], time_[k] = code, slot, rec
        if x:
            a_[k] = slot - x
        else:
            constants_[c] = dx[rec]
            a_[k] = total + c
            c += 1
        if fa_rows[code].arity == 2:
            if y:
                b_[k] = slot - y
            else:
                constants_[c] = dy[rec]
                b_[k] = total + c
                c += 1
        slot += 1
        k += 1
    return {"op": op[:k], "v": v[:k], "a": a[:k], "b": b[:k], "time": time[:k], "constants": constants[:c],
            "wide_time": wide_time, "wide_slot": wide_slot, "n_slots": total}


cdef inline bint exact_reciprocal(double c) noexcept nogil:
    """Whether division by c is multiplication by 1 / c to the last bit: a power of two, far from the ends."""
    cdef uint64_t bits = bits_of(c), exponent = (bits >> 52) & 2047
    return bits & <uint64_t>0xfffffffffffff == 0 and 100 < exponent < 1900


def simplify(int64_t[::1] op, int64_t[::1] v, int64_t[::1] a, int64_t[::1] b, double[::1] value, uint8_t[::1] known,
             int64_t[::1] alias, uint8_t[::1] keep, Py_ssize_t first_constant, bint fold=True, bint common=True):
    """Constant folding, exact identities and common subexpressions, in one reading.

    Parameters
    ----------
    op, v, a, b
        The code; operands are renamed, opcodes may change.
    value, known
        By slot: the value of a constant, and whether the slot is one. Results that turn out to be constants are entered.
    alias
        By slot: where its value stands; the identity before. Readers of the code's results have to look there.
    keep
        By record: set to 0 where the record is not needed any more.
    first_constant
        From this slot on stand the constants of scalar records.
    fold, common
        Which of it to do.

    Returns
    -------
    tuple of int
        How many records each of the three has taken away.

    Notes
    -----
    An identity here holds to the last bit, signed zeros, infinities and nan included; the one exception is ``x ** 2`` as
    ``x * x``, the better rounded one.
    """
    cdef Py_ssize_t n = op.shape[0], size = 16, k, i, mask
    cdef int code
    cdef int64_t x, y, target
    cdef double r
    cdef Py_ssize_t folded = 0, same = 0, shared = 0
    while size < 2 * (n + value.shape[0] - first_constant) + 16:
        size *= 2
    mask = size - 1
    table = np.full(size, -1, np.int64)               # records by what they compute
    numbers = np.full(size, -1, np.int64)             # constants by their bits
    producer = np.full(value.shape[0], -1, np.int64)
    cdef int64_t[::1] table_ = table, numbers_ = numbers, producer_ = producer
    for code in np.flatnonzero(np.bincount(op, minlength=1)):
        ensure_loops(code)
    if common:                                        # constants of one value are one constant
        for i in range(first_constant, value.shape[0]):
            if known[i]:
                k = mixed(bits_of(value[i]), 1) & mask
                while numbers_[k] >= 0 and bits_of(value[numbers_[k]]) != bits_of(value[i]):
                    k = (k + 1) & mask
                if numbers_[k] < 0:
                    numbers_[k] = i
                alias[i] = numbers_[k]
    for i in range(n):
        x, y = alias[a[i]], alias[b[i]]
        code = <int>op[i]
        target = -1
        if fold and known[x] and (known[y] or fa_rows[code].arity == 1):
            scalar_eval(code, value[x], value[y], &r, NULL, NULL)
            value[v[i]] = r
            known[v[i]] = 1
            keep[i] = 0
            folded += 1
            k = mixed(bits_of(r), 1) & mask
            while numbers_[k] >= 0 and bits_of(value[numbers_[k]]) != bits_of(r):
                k = (k + 1) & mask
            if numbers_[k] < 0:
                numbers_[k] = v[i]
            alias[v[i]] = numbers_[k]
            continue
        if fold:
            if code == OP_square:
                code, y = OP_multiply, x
            elif code == OP_power or code == OP_float_power:
                if known[y] and value[y] == 2.0:
                    code, y = OP_multiply, x
                elif known[y] and value[y] == 1.0:
                    target = x
                elif known[y] and value[y] == -1.0:
                    code, y = OP_reciprocal, 0
            elif code == OP_negative and producer_[x] >= 0 and op[producer_[x]] == OP_negative:
                target = a[producer_[x]]
            elif code == OP_positive:
                target = x
            elif code == OP_divide and known[y] and exact_reciprocal(value[y]):
                # the constant's own slot stays as it is: the reciprocal goes to the record's second constant, if it has one
                if value[y] == 1.0:
                    target = x
            if code == OP_multiply:
                if known[y] and value[y] == 1.0:
                    target = x
                elif known[x] and value[x] == 1.0:
                    target = y
            elif code == OP_add:
                if known[y] and bits_of(value[y]) == bits_of(-0.0):
                    target = x
                elif known[x] and bits_of(value[x]) == bits_of(-0.0):
                    target = y
                elif producer_[y] >= 0 and op[producer_[y]] == OP_negative:
                    code, y = OP_subtract, a[producer_[y]]
            elif code == OP_subtract:
                if known[y] and bits_of(value[y]) == 0:
                    target = x
                elif producer_[y] >= 0 and op[producer_[y]] == OP_negative:
                    code, y = OP_add, a[producer_[y]]
            elif code == OP_keep or code == OP_drop:
                if known[y] and (value[y] != 0.0) == (code == OP_keep):
                    target = x
                elif known[y]:                        # nothing is selected
                    value[v[i]] = -0.0
                    known[v[i]] = 1
                    target = v[i]
            elif code == OP_logical_and and ((known[x] and value[x] == 0.0) or (known[y] and value[y] == 0.0)):
                value[v[i]] = 0.0
                known[v[i]] = 1
                target = v[i]
            if target >= 0:
                same += 1
                keep[i] = 0
                alias[v[i]] = target
                continue
        op[i], a[i], b[i] = code, x, y
        if common:
            if (code == OP_add or code == OP_multiply) and y < x:
                x, y = y, x
            k = mixed(mixed(<uint64_t>x, <uint64_t>y), <uint64_t>code) & mask
            while table_[k] >= 0:
                target = table_[k]
                if op[target] == code and ((a[target] == x and b[target] == y) or (
                        (code == OP_add or code == OP_multiply) and a[target] == y and b[target] == x)):
                    break
                target = -1
                k = (k + 1) & mask
            if target >= 0:
                shared += 1
                keep[i] = 0
                alias[v[i]] = v[target]
                continue
            table_[k] = i
        producer_[v[i]] = i
    return folded, same, shared


def evaluate(int op, double x, double y):
    """A function of the table on numbers."""
    cdef double v
    ensure_loops(op)
    scalar_eval(op, x, y, &v, NULL, NULL)
    return v


def mark_live(const int64_t[::1] v, const int64_t[::1] a, const int64_t[::1] b, uint8_t[::1] live, uint8_t[::1] keep):
    """Dead code, backwards over one stretch: a record is kept when its result is live, and then its operands are."""
    cdef Py_ssize_t i
    for i in range(v.shape[0] - 1, -1, -1):
        if live[v[i]]:
            live[a[i]] = live[b[i]] = 1
        else:
            keep[i] = 0


def count_uses(const int64_t[::1] slots, int32_t[::1] uses):
    """Add one use to each of the slots."""
    cdef Py_ssize_t i
    for i in range(slots.shape[0]):
        uses[slots[i]] += 1


def find_chains(const int64_t[::1] op, const int64_t[::1] v, const int64_t[::1] a, const int64_t[::1] b,
                const int32_t[::1] uses, Py_ssize_t shortest):
    """Sums of many terms, made one by one: s = s + t or s - t again and again, nobody else reading the s between.

    Returns
    -------
    tuple of arrays
        ``last`` (record that ends each chain), ``start`` (slot it starts from), ``first`` and ``count`` (its part of `terms`),
        ``terms`` (slots in order; of a subtraction -1 - its record), and ``member`` (by record: 1, a chain has taken it over;
        2, it was a subtraction).
    """
    cdef Py_ssize_t n = op.shape[0], i, j, k, length, total = 0, chains = 0
    before = np.full(n, -1, np.int64)                 # the record of the same chain that makes the sum so far
    term = np.zeros(n, np.int64)
    lengths = np.ones(n, np.int64)
    ends = np.ones(n, np.uint8)
    producer = np.full(uses.shape[0], -1, np.int64)
    cdef int64_t[::1] before_ = before, term_ = term, lengths_ = lengths, producer_ = producer
    cdef uint8_t[::1] ends_ = ends
    for i in range(n):
        if op[i] != OP_add and op[i] != OP_subtract:
            continue
        j, k = producer_[a[i]], producer_[b[i]] if op[i] == OP_add else -1
        if j >= 0 and uses[a[i]] != 1:
            j = -1
        if k >= 0 and uses[b[i]] != 1:
            k = -1
        if k >= 0 and (j < 0 or lengths_[k] > lengths_[j]):
            before_[i], term_[i], lengths_[i] = k, a[i], lengths_[k] + 1
            ends_[k] = 0
        elif j >= 0:
            before_[i], term_[i], lengths_[i] = j, b[i] if op[i] == OP_add else -1 - i, lengths_[j] + 1
            ends_[j] = 0
        producer_[v[i]] = i
    for i in range(n):
        if producer_[v[i]] == i and ends_[i] and lengths_[i] >= shortest:
            chains += 1
            total += lengths_[i]
    last, start, first, count = [np.empty(chains, np.int64) for _ in range(4)]
    terms, member = np.empty(total, np.int64), np.zeros(n, np.uint8)
    cdef int64_t[::1] last_ = last, start_ = start, first_ = first, count_ = count, terms_ = terms
    cdef uint8_t[::1] member_ = member
    chains = total = 0
    for i in range(n):
        if producer_[v[i]] != i or not ends_[i] or lengths_[i] < shortest:
            continue
        length = lengths_[i]
        last_[chains], first_[chains], count_[chains] = i, total, length
        j = i
        for k in range(total + length - 1, total, -1):
            terms_[k] = term_[j]
            member_[j] = 1 if op[j] == OP_add else 2
            j = before_[j]
        member_[j] = 1 if op[j] == OP_add else 2
        start_[chains], terms_[total] = a[j], b[j] if op[j] == OP_add else -1 - j
        total += length
        chains += 1
    return last, start, first, count, terms, member


def levels_of(const int64_t[::1] op, const int64_t[::1] v, const int64_t[::1] a, const int64_t[::1] b, int32_t[::1] depth,
              uint64_t[::1] shape):
    """By slot, over one stretch: the depth of each result, and a hash of the form of the expression that makes it."""
    cdef Py_ssize_t i
    cdef int32_t d
    for i in range(op.shape[0]):
        d = depth[a[i]] if depth[a[i]] > depth[b[i]] else depth[b[i]]
        depth[v[i]] = d + 1
        shape[v[i]] = mixed(mixed(shape[a[i]], shape[b[i]]), <uint64_t>op[i])
