# Blocks as steps of a program (part of _passes.pyx).

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


def as_lines(list blocks):
    """Let maps be lines whose elements can be put in an order in which the results lie in a row.

    Operands of a line lie in a row, are one slot, or repeat; ``kind`` is "line" then, and the views are in that order.
    """
    cdef Block block
    cdef View out, view
    for z in blocks:
        block = <Block>z
        if block.kind != "map" or (<View>block.writes[0]).size == 0:
            continue
        if not is_plain_line(block):
            out = <View>block.writes[0]
            axes = sorted([d for d in range(len(out.shape)) if out.shape[d] != 1], key=lambda d: -out.strides[d])
            views = [View(view.base, tuple([view.shape[d] for d in axes]), tuple([view.strides[d] for d in axes]))
                     for view in [out, *block.reads]]
            if not (<View>views[0]).row or None in [(<View>y).repeats() for y in views[1:]]:
                continue
            block.writes, block.reads = views[:1], views[1:]
        block.kind = "line"


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
