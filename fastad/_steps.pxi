# Blocks as steps of a program (part of _passes.pyx).

def frequent(const int32_t[::1] depth, const uint64_t[::1] form, Py_ssize_t least):
    """Which entries stand with at least so many of the same depth and form; array of uint8."""
    cdef Py_ssize_t n = depth.shape[0], size = 16, k, at, mask
    cdef uint64_t key
    while size < 2 * n:
        size *= 2
    mask = size - 1
    found, first, count = np.zeros(n, np.uint8), np.full(size, -1), np.zeros(size, np.int32)
    where = np.empty(n, np.int64)
    cdef uint8_t[::1] found_ = found
    cdef int64_t[::1] first_ = first, where_ = where
    cdef int32_t[::1] count_ = count
    for k in range(n):
        key = mixed(form[k], <uint64_t>depth[k])
        at = <Py_ssize_t>((key ^ (key >> 32)) & <uint64_t>mask)
        while first_[at] >= 0 and (depth[first_[at]] != depth[k] or form[first_[at]] != form[k]):
            at = (at + 1) & mask
        if first_[at] < 0:
            first_[at] = k
        count_[at] += 1
        where_[k] = at
    for k in range(n):
        found_[k] = count_[where_[k]] >= least
    return found


cdef bint is_plain_line(Block block) except -1:
    """Whether the result of a map lies in a row over one axis, and so does each operand that is not one slot."""
    cdef View view = <View>block.writes[0]
    if len(view.shape) != 1 or not view.row:
        return False
    for z in block.reads:
        view = <View>z
        if not view.row and view.low != view.high:
            return False
    return True


cdef int as_line(Block block) except -1:
    """Let a map be a line if its elements can be put in an order in which the results lie in a row.

    Operands of a line lie in a row, are one slot, or repeat; ``kind`` is "line" then, and the views are in that order.
    """
    cdef View out, view
    if not is_plain_line(block):
        out = <View>block.writes[0]
        axes = sorted([d for d in range(len(out.shape)) if out.shape[d] != 1], key=lambda d: -out.strides[d])
        views = [View(view.base, tuple([view.shape[d] for d in axes]), tuple([view.strides[d] for d in axes]))
                 for view in [out, *block.reads]]
        if not (<View>views[0]).row or None in [(<View>y).repeats() for y in views[1:]]:
            return 0
        block.writes, block.reads = views[:1], views[1:]
    block.kind = "line"
    return 0


cdef set plain_sums(list blocks):
    """Slots into which one vector is summed, from nothing: that can be done on the way."""
    cdef Block block, add
    cdef View view, x, out
    cdef dict writers = {}
    cdef set found = set()
    for z in blocks:
        block = <Block>z
        if block.kind == "fill" and (<View>block.writes[0]).size == 1:
            writers[(<View>block.writes[0]).base] = []
    if not writers:
        return found
    for z in blocks:
        for y in (<Block>z).writes:
            view = <View>y
            if view.size and view.base in writers:
                (<list>writers[view.base]).append(z)
    for base, those in writers.items():
        if [(<Block>z).kind for z in those] == ["fill", "add"]:
            add = <Block>those[1]
            x, out = <View>add.reads[0], <View>add.writes[0]
            if add.op == OP_positive and len(x.shape) == 1 and x.row and x.size > 1 and out.low == out.high:
                found.add(base)
    return found


def as_steps(list blocks):
    """Blocks as steps of a program: maps as lines where that goes, sums of vectors as such.

    Returns
    -------
    steps, chains : lists of Block
    """
    cdef Block block
    cdef View out
    cdef list steps = []
    cdef list chains = []
    cdef set sums = plain_sums(blocks)
    for z in blocks:
        block = <Block>z
        out = <View>block.writes[0]
        if block.kind == "chain":
            chains.append(block)
            continue
        if block.kind == "map":
            if out.size:
                as_line(block)
        elif sums and out.size and out.base in sums:
            if block.kind != "add":                   # what it starts from
                continue
            block.kind = "sum"
        steps.append(block)
    return steps, chains


def constants_of_lines(Cells cells, list steps, const uint8_t[::1] known):
    """The cells that hold constants which lines of blocks read for all their elements, each once."""
    cdef Block block
    cdef View view
    cdef Py_ssize_t k
    cdef list found = []
    cdef uint8_t[::1] seen = np.zeros(cells.count, np.uint8)
    for z in steps:
        if not isinstance(z, Block):
            continue
        block = <Block>z
        if block.kind != "line" and block.kind != "sum":
            continue
        for y in block.reads:
            view = <View>y
            if view.size and view.low == view.high:
                k = cells.at(view.low)
                if known[k] and not seen[k]:
                    seen[k] = 1
                    found.append(k)
    return np.array(found, np.int64)


def results_of(list steps):
    """Slots of the results of steps, in their order; of blocks those that are one slot."""
    cdef list found = []
    cdef list some = []
    cdef View view
    for step in steps:
        if not isinstance(step, Block):
            found += [np.array(some, np.int64), step.out]
            some = []
            continue
        for z in (<Block>step).writes:
            view = <View>z
            if view.size and view.low == view.high:
                some.append(view.base)
    return np.concatenate([*found, np.array(some, np.int64)])
