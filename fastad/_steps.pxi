# Blocks as steps of a program (part of _passes.pyx).

def grouped(const int64_t[::1] members, const int32_t[::1] depth, const uint64_t[::1] form, Py_ssize_t least):
    """Divide records into groups of one depth and form.

    Parameters
    ----------
    members : array of int64
        Those records that are to be divided.
    depth, form
        By record.
    least : int
        Smaller groups are none.

    Returns
    -------
    order : array of int64
        The members of groups, a group behind the other as they begin, each in the order that was given.
    ends : array of int64
        Where in it each group ends.
    rest : array of int64
        Members of no group.
    """
    cdef Py_ssize_t n = members.shape[0], size = 16, k, m, at, mask, groups = 0, large = 0, total = 0, others = 0
    cdef uint64_t key
    while size < 2 * n:
        size *= 2
    mask = size - 1
    table, group = np.full(size, -1, np.int64), np.empty(n, np.int64)
    cdef int64_t[::1] table_ = table, group_ = group        # table: a group's first member
    for k in range(n):
        m = members[k]
        key = mixed(form[m], <uint64_t>depth[m])
        at = <Py_ssize_t>((key ^ (key >> 32)) & <uint64_t>mask)
        while table_[at] >= 0 and (depth[members[table_[at]]] != depth[m] or form[members[table_[at]]] != form[m]):
            at = (at + 1) & mask
        if table_[at] < 0:
            table_[at] = k
            group_[k] = groups
            groups += 1
        else:
            group_[k] = group_[table_[at]]
    ends = np.zeros(groups, np.int64)
    cdef int64_t[::1] begins = np.zeros(groups, np.int64), ends_ = ends
    for k in range(n):
        begins[group_[k]] += 1
    for k in range(groups):                           # from how many there are to where they begin
        if begins[k] < least:
            begins[k] = -1
            continue
        total += begins[k]
        begins[k], ends_[large] = total - begins[k], total
        large += 1
    order, rest = np.empty(total, np.int64), np.empty(n - total, np.int64)
    cdef int64_t[::1] order_ = order, rest_ = rest
    for k in range(n):
        at = begins[group_[k]]
        if at < 0:
            rest_[others] = members[k]
            others += 1
        else:
            order_[at] = members[k]
            begins[group_[k]] += 1
    return order, ends[:large], rest


cdef bint is_plain_line(Block block) except -1:
    """Whether the result of a map lies in a row over one axis, and so does each operand that is not one slot."""
    cdef View view = <View>block.writes[0]
    if view.ndim != 1 or not view.row:
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
            if add.op == OP_positive and x.ndim == 1 and x.row and x.size > 1 and out.low == out.high:
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


def depths_of(list steps):
    """The depth of each step; array of int64."""
    cdef Py_ssize_t k
    depths = np.empty(len(steps), np.int64)
    cdef int64_t[::1] depths_ = depths
    for k in range(len(steps)):
        depths_[k] = (<Block>steps[k]).depth if isinstance(steps[k], Block) else steps[k].depth
    return depths


def constants_of_lines(Cells cells, list blocks, const uint8_t[::1] known):
    """The cells that hold constants which lines of blocks read for all their elements, each once."""
    cdef Block block
    cdef View view
    cdef Py_ssize_t k
    cdef list found = []
    cdef uint8_t[::1] seen = np.zeros(cells.count, np.uint8)
    for z in blocks:
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


def place_results(Cells cells, list steps, int64_t[::1] place, Py_ssize_t n_slots):
    """Give the cells in which results of steps are their places, one behind the other, as far as they have none.

    Of blocks those that are one slot; others have to keep together with what is around them.

    Parameters
    ----------
    place : array of int64
        By cell: the slot of the program where its first one goes, or -1.
    n_slots : int
        The first free slot.

    Returns
    -------
    int
        The first slot that is free then.
    """
    cdef const int64_t[::1] slots
    cdef View view
    cdef Py_ssize_t i
    for step in steps:
        if isinstance(step, Block):
            for z in (<Block>step).writes:
                view = <View>z
                if view.size and view.low == view.high:
                    n_slots += placed(cells, cells.at(view.base), place, n_slots)
            continue
        slots = step.out
        for i in range(slots.shape[0]):
            n_slots += placed(cells, cells.at(slots[i]), place, n_slots)
    return n_slots


cdef inline Py_ssize_t placed(Cells cells, Py_ssize_t cell, int64_t[::1] place, Py_ssize_t there) noexcept:
    """Place a cell that has no place; how many slots that takes."""
    if place[cell] >= 0:
        return 0
    place[cell] = there
    return cells.firsts[cell + 1] - cells.firsts[cell]
