# Lifetime of what is on a tape (part of _tape.pyx).
#
# A tape never frees single records. It is emptied when the last variable on it dies, and compacted when a column is
# full: what living variables need is marked in one backward pass over the records and slid down, and all offsets are
# renumbered. Both are amortised over the records made since. Leaves keep their slots as long as they live.

cdef enum:
    LARGE = 1 << 21                   # slots; a tape up to this size stays as it is


cdef int bits_new(Bits *b, Py_ssize_t n) except -1:
    b.n = n
    b.before = NULL
    b.word = <uint64_t *>PyMem_Malloc((n // 64 + 1) * sizeof(uint64_t))
    if b.word is NULL:
        raise MemoryError()
    memset(b.word, 0, (n // 64 + 1) * sizeof(uint64_t))
    return 0


cdef int bits_count(Bits *b) except -1:
    """Prepare `bits_rank`."""
    cdef Py_ssize_t i, total = 0
    b.before = <Py_ssize_t *>PyMem_Malloc((b.n // 64 + 1) * sizeof(Py_ssize_t))
    if b.before is NULL:
        raise MemoryError()
    for i in range(b.n // 64 + 1):
        b.before[i] = total
        total += fa_count_bits(b.word[i])
    return 0


cdef void bits_free(Bits *b) noexcept:
    PyMem_Free(b.word)
    PyMem_Free(b.before)
    b.word, b.before = NULL, NULL


cdef inline bint bit(const Bits *b, Py_ssize_t i) noexcept nogil:
    return (b.word[i >> 6] >> (i & 63)) & 1


cdef inline Py_ssize_t bits_rank(const Bits *b, Py_ssize_t i) noexcept nogil:
    """How many bits are set below i: the new number of slot or record i."""
    return b.before[i >> 6] + fa_count_bits(b.word[i >> 6] & ((<uint64_t>1 << (i & 63)) - 1))


cdef inline uint64_t bits_from(Py_ssize_t i) noexcept nogil:
    """Bits i and above of the word that holds bit i."""
    return ~<uint64_t>0 << (i & 63)


cdef inline uint64_t bits_to(Py_ssize_t i) noexcept nogil:
    """Bits up to and including i of the word that holds bit i."""
    return ~<uint64_t>0 >> (63 - (i & 63))


cdef inline Py_ssize_t kept_rank(const Bits *b, Py_ssize_t i) noexcept nogil:
    """The new number of record i, or where it is gone of the last one before it that is kept."""
    return bits_rank(b, i) if bit(b, i) else max(bits_rank(b, i) - 1, 0)


cdef void bits_set(Bits *b, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Set the bits first … last (inclusive)."""
    cdef Py_ssize_t i = first >> 6, end = last >> 6
    if first > last:
        return
    if i == end:
        b.word[i] |= bits_from(first) & bits_to(last)
        return
    b.word[i] |= bits_from(first)
    for i in range(i + 1, end):
        b.word[i] = ~<uint64_t>0
    b.word[end] |= bits_to(last)


cdef bint bits_any(const Bits *b, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Whether one of the bits first … last is set."""
    cdef Py_ssize_t i = first >> 6, end = last >> 6
    if first > last:
        return False
    if i == end:
        return b.word[i] & bits_from(first) & bits_to(last) != 0
    if b.word[i] & bits_from(first) or b.word[end] & bits_to(last):
        return True
    for i in range(i + 1, end):
        if b.word[i]:
            return True
    return False


cdef void span(Tape t, const Wide *w, int operand, Py_ssize_t *low, Py_ssize_t *high) noexcept nogil:
    """First and last slot that a MAP or ASSIGN record touches through its destination (0) or operand (1: a, 2: b)."""
    cdef Py_ssize_t d, n, first = w.dst if operand == 0 else w.a if operand == 1 else w.b
    cdef Py_ssize_t step
    low[0] = high[0] = first
    if w.layout < 0:
        step = (w.n - 1) * (w.sv if operand == 0 else w.sx if operand == 1 else w.sy)
        low[0], high[0] = first + min(step, 0), first + max(step, 0)
        return
    n = t.pool[w.layout]
    for d in range(n):
        step = (t.pool[w.layout + 1 + d] - 1) * t.pool[w.layout + 1 + (operand + 1) * n + d]
        low[0] += min(step, 0)
        high[0] += max(step, 0)


cdef void indexed_span(Tape t, const Wide *w, Py_ssize_t *low, Py_ssize_t *high) noexcept nogil:
    """First and last slot of the index list of a record, relative to nothing (-1: an element without source)."""
    cdef Py_ssize_t k
    low[0], high[0] = <Py_ssize_t>1 << 62, -1
    for k in range(w.n):
        if t.pool[w.layout + k] >= 0:
            low[0] = min(low[0], t.pool[w.layout + k])
            high[0] = max(high[0], t.pool[w.layout + k])


cdef void matrix_span(Tape t, const Wide *w, int operand, Py_ssize_t *low, Py_ssize_t *high) noexcept nogil:
    """First and last slot of an operand (1: a, 2: b) of a MATMUL record."""
    cdef const int64_t *p = &t.pool[w.layout]
    cdef const int64_t *strides = p + (7 if operand == 1 else 10)
    cdef Py_ssize_t sizes[3]
    cdef Py_ssize_t d, step
    sizes[0], sizes[1], sizes[2] = p[0], p[1] if operand == 1 else p[3], p[3] if operand == 1 else p[2]
    low[0] = high[0] = w.a if operand == 1 else w.b
    for d in range(3):
        step = (sizes[d] - 1) * strides[d]
        low[0] += min(step, 0)
        high[0] += max(step, 0)


cdef bint written(Tape t, const Wide *w, const Bits *slots) noexcept nogil:
    """Whether somebody needs what a record writes."""
    cdef Py_ssize_t low, high
    if bits_any(slots, w.out, w.out + w.size - 1):
        return True
    if w.kind == ASSIGN and w.flags & INDEXED:
        indexed_span(t, w, &low, &high)
        return high >= 0 and bits_any(slots, w.dst + low, w.dst + high)
    if w.n and (w.kind == ASSIGN or w.kind == MAP):
        span(t, w, 0, &low, &high)
        return bits_any(slots, low, high)
    return False


cdef void mark_operands(Tape t, const Wide *w, Bits *slots) noexcept nogil:
    """Mark everything that a record reads."""
    cdef Py_ssize_t low, high, k
    cdef const int64_t *p = NULL
    if w.layout >= 0:
        p = &t.pool[w.layout]
    if w.n == 0 and w.kind != CALL:
        return
    if w.kind == CALL:
        for k in range(p[0]):
            bits_set(slots, p[1 + 2 * k], p[1 + 2 * k] + p[2 + 2 * k] - 1)
    elif w.kind == MAP:
        span(t, w, 0, &low, &high)
        bits_set(slots, low, high)
        span(t, w, 1, &low, &high)
        bits_set(slots, low, high)
        if w.b >= 0:
            span(t, w, 2, &low, &high)
            bits_set(slots, low, high)
    elif w.kind == ASSIGN:
        if w.flags & INDEXED:
            indexed_span(t, w, &low, &high)
            bits_set(slots, w.dst + low, w.dst + high)
            if w.a >= 0:
                bits_set(slots, w.a, w.a + (w.n - 1) * w.sx)
        else:
            span(t, w, 0, &low, &high)
            bits_set(slots, low, high)
            if w.a >= 0:
                span(t, w, 1, &low, &high)
                bits_set(slots, low, high)
    elif w.kind == MATMUL and p[0] and p[1] and p[2] and p[3]:
        for k in range(1, 3):
            matrix_span(t, w, <int>k, &low, &high)
            bits_set(slots, low, high)
    elif w.kind == ROUTE or w.kind == SPREAD:
        indexed_span(t, w, &low, &high)
        if high >= 0 and w.flags & ANYWHERE:
            for k in range(w.n):
                if p[k] >= 0:
                    bits_set(slots, p[k], p[k])
        elif high >= 0:
            bits_set(slots, w.a + low, w.a + high)


cdef Py_ssize_t mark(Tape t, Bits *slots, Bits *records) noexcept nogil:
    """From the marked slots, mark all records and slots they depend on; returns how many slots there are in all."""
    cdef Py_ssize_t rec = t.n_records, slot = t.n_slots, x, y
    cdef uint64_t k
    cdef Wide *w
    while rec > 0:
        rec -= 1
        k = t.link[rec]
        if is_wide(k):
            w = &t.wide[k >> 8]
            slot -= w.size
            if w.kind == SPAN and w.op and records is not NULL:
                bits_set(slots, slot, slot + w.size - 1)      # a living leaf
            elif not written(t, w, slots):
                if w.kind == ASSIGN and records is not NULL:  # dropped: what it had overwritten comes back
                    exchange(t, w, False)
                continue
            bits_set(slots, slot, slot + w.size - 1)
            if not w.flags & FREED:
                mark_operands(t, w, slots)
            if records is not NULL:
                bits_set(records, rec, rec)
        else:
            slot -= 1
            if not bit(slots, slot):
                continue
            if records is not NULL:
                bits_set(records, rec, rec)
            if k == FREED_SCALAR:
                continue
            x, y = distance_x(t, rec), distance_y(t, rec)
            if x:
                bits_set(slots, slot - x, slot - x)
            if y:
                bits_set(slots, slot - y, slot - y)
    return slot


cdef set reached_leaves(Tape t, Handle root):
    """Ids of the bindings that `root` depends on, also where no adjoint arrives because nothing selected them."""
    cdef Bits slots
    cdef Binding b
    slots.before = NULL
    bits_new(&slots, t.n_slots)
    bits_set(&slots, root.offset + root.layout.low, root.offset + root.layout.high)
    with nogil:
        mark(t, &slots, NULL)
    found = {id(b) for b in t.leaves if b.leaf is not NULL
             and bits_any(&slots, b.offset, b.offset + (<Handle>b.leaf).layout.size - 1)}
    bits_free(&slots)
    return found


cdef list reached_records(Tape t, Handle root):
    """(record, first slot of its block) of all that `root` was computed from, oldest first."""
    cdef Bits slots
    cdef Py_ssize_t rec, slot = 1, size
    cdef uint64_t k
    cdef list found = []
    if not root.layout.size:
        return found
    slots.before = NULL
    bits_new(&slots, t.n_slots)
    bits_set(&slots, root.offset + root.layout.low, root.offset + root.layout.high)
    with nogil:
        mark(t, &slots, NULL)
    for rec in range(t.n_records):
        k = t.link[rec]
        size = t.wide[k >> 8].size if is_wide(k) else 1
        if written(t, &t.wide[k >> 8], &slots) if is_wide(k) else bit(&slots, slot):
            found.append((rec, slot))
        slot += size
    bits_free(&slots)
    return found


cdef int evacuate(Tape t, Handle h) except -1:
    """Move value and gradient of a freed variable into its own storage."""
    if h.extra is None:
        h.extra = Storage.__new__(Storage)
    h.extra.data = float64(t.value[h.offset]) if h.layout is SCALAR else read_view(&t.value[0] + h.offset, h.layout)
    harvest(t, h)
    h.state = GONE
    unlink(<void *>h)
    return 0


cdef int harvest(Tape t, Handle h) except -1:
    """Add the adjoint of an intermediate to its gradient."""
    if h.offset + h.layout.high < t.swept and not all_nothing_view(t, h.offset, h.layout):
        if h.extra is None:
            h.extra = Storage.__new__(Storage)
        accumulate(h.extra, read_gradient(t, h.offset, h.layout))
    return 0


cdef int release(Tape t) except -1:
    """Free the graph that the last sweep has walked: everything that has an adjoint.

    Variables of it that somebody holds move out with their values and gradients. When no other graph lives, the tape is
    empty then; else it is compacted once it has doubled.
    """
    cdef void *p = t.oldest
    cdef Handle h
    cdef Py_ssize_t rec, slot, others = 0
    cdef Wide *w
    cdef Binding b
    cdef list freed = []
    calm(t)
    while p is not NULL:
        h = <Handle>p
        if h.offset + h.layout.high < t.swept and not all_nothing_view(t, h.offset, h.layout):
            freed.append(h)
        else:
            others += 1
        p = h.newer
    if others:
        rec, slot = t.n_records, t.n_slots
        while rec > 0:
            rec -= 1
            if is_wide(t.link[rec]):
                w = &t.wide[t.link[rec] >> 8]
                slot -= w.size
                if (w.kind != SPAN and w.kind != ASSIGN and w.size and slot + w.size <= t.swept
                        and not all_nothing(&t.adjoint[slot], w.size)):
                    w.flags |= FREED
            else:
                slot -= 1
                if slot < t.swept and not is_nothing(t.adjoint[slot]):
                    t.link[rec] = FREED_SCALAR
    for h in freed:
        evacuate(t, h)
    for b in t.leaves:                    # have handed their adjoints over
        if b.leaf is not NULL and b.offset + (<Handle>b.leaf).layout.size <= t.swept:
            fill((<Handle>b.leaf).layout.size, NOTHING, &t.adjoint[0] + b.offset)
    if others and t.n_records > 2 * t.collected_records + FIRST_RECORDS:
        collect(t)
    return 0


cdef Level bottom() noexcept:
    """The length of an empty tape."""
    cdef Level level
    level.slots = 1
    level.records = level.wide = level.pool = level.objects = level.assign = 0
    return level


cdef void calm(Tape t) noexcept:
    """Called when a graph ends: after several small ones, give back what a large one has made the columns grow to."""
    if t.value.shape[0] <= LARGE or t.n_slots * 16 > t.value.shape[0]:
        t.small_graphs = 0
        return
    t.small_graphs += 1
    if t.small_graphs < 16:
        return
    t.small_graphs = 0
    try:
        fa_follow(t.value, resized(t.value.base, 2 * t.n_slots + FIRST_SLOTS))
        fa_follow(t.adjoint, resized(t.adjoint.base, t.n_slots))
        if t.n_records * 16 < t.link.shape[0]:
            capacity = 2 * t.n_records + FIRST_RECORDS
            fa_follow(t.link, resized(t.link.base, capacity))
            fa_follow(t.dx, resized(t.dx.base, capacity))
            fa_follow(t.dy, resized(t.dy.base, capacity))
        if t.n_wide * 16 < t.wide.shape[0]:
            fa_follow(t.wide, resized(t.wide.base, 2 * t.n_wide + FIRST_WIDE))
        if t.n_pool * 16 < t.pool.shape[0]:
            fa_follow(t.pool, resized(t.pool.base, 2 * t.n_pool + FIRST_POOL))
    except (MemoryError, BufferError):
        pass                              # the large ones stay
    t.limit()


cdef void emptied(Tape t) noexcept:
    """Forget all records but the leaves at the bottom; these too when most of them are gone."""
    cdef Binding b
    calm(t)
    if (t.living_leaves == 0 or t.kept.slots > 2 * t.living_slots + FIRST_SLOTS
            or len(t.leaves) > 2 * t.living_leaves + 256):
        for b in t.leaves:
            b.offset = -1
        t.leaves = []
        t.living_slots = t.living_leaves = 0
        t.kept = bottom()
    t.restore(t.kept)
    t.swept = 1                           # the leaves at the bottom have handed their adjoints over


cdef int collect(Tape t) except -1:
    """Compact the tape: keep what living variables and leaves need, renumber slots and records."""
    cdef Bits slots, records
    cdef Handle h
    cdef Binding b
    cdef Hook hook
    cdef void *p
    cdef Py_ssize_t rec, slot, size, new_slot, new_rec, new_wide, new_pool, x, y
    cdef uint64_t k
    cdef double dx, dy
    cdef Wide *w
    cdef bint living_leaf
    cdef Py_ssize_t n_assign = 0
    cdef Level kept = bottom()
    slots.word = records.word = NULL
    slots.before = records.before = NULL
    t.busy = True                         # a variable that dies meanwhile is taken off the list, nothing more
    t.limit()
    try:
        bits_new(&slots, t.n_slots)
        bits_new(&records, t.n_records)
        for rec in range(t.n_wide):
            if t.wide[rec].kind == SPAN:
                t.wide[rec].op = 0
        for b in t.leaves:
            if b.leaf is not NULL and (<Handle>b.leaf).extra.current is b:
                t.wide[t.link[b.rec] >> 8].op = 1
        p = t.oldest
        while p is not NULL:
            h = <Handle>p
            p = h.newer
            bits_set(&slots, h.offset + h.layout.low, h.offset + h.layout.high)
        with nogil:
            mark(t, &slots, &records)
        bits_set(&slots, 0, 0)
        bits_count(&slots)
        bits_count(&records)
        if t.observer is not None:
            t.observer.collecting([bits_rank(&records, min(<Py_ssize_t>start, t.n_records))
                                   for start in t.observer.starts])
        slot = new_slot = 1
        new_rec = new_wide = new_pool = 0
        objects = []
        for rec in range(t.n_records):
            k = t.link[rec]
            if not is_wide(k):
                if bit(&records, rec):
                    x, y = <Py_ssize_t>(k >> 8) & (FAR - 1), <Py_ssize_t>(k >> 36)
                    dx, dy = t.dx[rec], t.dy[rec]
                    if k != FREED_SCALAR:
                        k &= 255
                        if x:
                            k |= <uint64_t>(new_slot - bits_rank(&slots, slot - x)) << 8
                        elif distance_x(t, rec):
                            dx = box_distance(new_slot - bits_rank(&slots, slot - distance_x(t, rec)))
                        if y:
                            k |= <uint64_t>(new_slot - bits_rank(&slots, slot - y)) << 36
                        elif distance_y(t, rec):
                            dy = box_distance(new_slot - bits_rank(&slots, slot - distance_y(t, rec)))
                    t.link[new_rec], t.dx[new_rec], t.dy[new_rec] = k, dx, dy
                    t.value[new_slot] = t.value[slot]
                    if slot < t.swept:
                        t.adjoint[new_slot] = t.adjoint[slot]
                    new_rec += 1
                    new_slot += 1
                slot += 1
                continue
            w = &t.wide[k >> 8]
            size = w.size
            if bit(&records, rec):
                if size:
                    memmove(&t.value[new_slot], &t.value[slot], size * sizeof(double))
                    if slot < t.swept:
                        memmove(&t.adjoint[new_slot], &t.adjoint[slot], size * sizeof(double))
                if w.extra >= 0:
                    objects.append(t.objects[w.extra])
                    w.extra = <int32_t>(len(objects) - 1)
                living_leaf = w.kind == SPAN and w.op
                n_assign += w.kind == ASSIGN
                renumber(t, w, &slots, &new_pool)
                w.out = new_slot
                t.wide[new_wide] = w[0]
                t.link[new_rec] = <uint64_t>new_wide << 8
                new_rec += 1
                new_wide += 1
                new_slot += size
                if living_leaf:
                    kept.slots, kept.records, kept.wide, kept.pool = new_slot, new_rec, new_wide, new_pool
                    kept.objects, kept.assign = len(objects), n_assign
            slot += size
        p = t.oldest
        while p is not NULL:
            h = <Handle>p
            p = h.newer
            h.offset = bits_rank(&slots, h.offset) if h.layout.size else 0
            h.rec = kept_rank(&records, h.rec)
            h.born = bits_rank(&records, h.born) if h.born < t.n_records else new_rec
        leaves = []
        for b in t.leaves:
            if bit(&records, b.rec):
                b.offset = bits_rank(&slots, b.offset)
                b.rec = bits_rank(&records, b.rec)
                leaves.append(b)
            else:
                b.offset = -1
                if b.leaf is not NULL:
                    t.living_slots -= (<Handle>b.leaf).layout.size
                    t.living_leaves -= 1
        hooks = {}
        for number, group in t.hooks.items():
            for hook in group:
                if hook.layout.size and bit(&slots, hook.offset):
                    hook.offset = bits_rank(&slots, hook.offset)
                    hook.home = hooks.setdefault(kept_rank(&records, number), {})
                    hook.home[hook] = hook
        t.leaves, t.hooks, t.objects = leaves, hooks, objects
        t.swept = bits_rank(&slots, t.swept) if t.swept < t.n_slots else (new_slot if t.swept else 0)
        t.n_slots, t.n_records, t.n_wide, t.n_pool = new_slot, new_rec, new_wide, new_pool
        t.n_assign, t.kept = n_assign, kept
        t.n_collections += 1
        t.collected_records = new_rec
    finally:
        bits_free(&slots)
        bits_free(&records)
        t.busy = False
        t.limit()
    return 0


cdef void renumber(Tape t, Wide *w, const Bits *slots, Py_ssize_t *new_pool) noexcept:
    """Give the operands of a surviving wide record their new slots, and move its part of the pool down."""
    cdef Py_ssize_t k, n = 0
    cdef int64_t *p = NULL
    if w.layout >= 0:
        p = &t.pool[w.layout]
        if w.kind == CALL:
            n = 2 + 2 * p[0] + 2 * p[1 + 2 * p[0]]
            for k in range(p[0]):
                p[1 + 2 * k] = bits_rank(slots, p[1 + 2 * k])
            for k in range(p[1 + 2 * p[0]]):
                p[2 + 2 * p[0] + 2 * k] = bits_rank(slots, p[2 + 2 * p[0] + 2 * k])
        elif w.kind == MATMUL:
            n = 13
        elif w.kind == ROUTE or (w.kind == ASSIGN and w.flags & INDEXED):
            n = w.n
            if w.flags & ANYWHERE:
                for k in range(n):
                    if p[k] >= 0:
                        p[k] = bits_rank(slots, p[k])
        elif w.kind == SPREAD:
            n = 2 * w.n
        else:
            n = 1 + 4 * p[0]
        memmove(&t.pool[new_pool[0]], p, n * sizeof(int64_t))
        w.layout = new_pool[0]
        new_pool[0] += n
    w.dst = bits_rank(slots, w.dst)
    if w.a >= 0:
        w.a = bits_rank(slots, w.a) if not w.flags & ANYWHERE else 0
    if w.b >= 0:
        w.b = bits_rank(slots, w.b)
