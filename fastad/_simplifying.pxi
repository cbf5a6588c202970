# Identities and common subexpressions of operations on arrays (part of _passes.pyx).

cdef bint is_constant(Cells cells, const uint8_t[::1] known, View view) noexcept:
    """Whether all elements of an operand are one constant."""
    return view.size > 0 and view.low == view.high and known[cells.at(view.low)]


cdef inline bint is_number(double x, double y) noexcept nogil:
    """Whether two numbers are the same to the last bit."""
    return bits_of(x) == bits_of(y)


cdef View simplified(Cells cells, const double[::1] value, const uint8_t[::1] known, Block block):
    """Rewrite one map by identities that hold to the last bit; an operand when the result is that, else None."""
    cdef View first = <View>block.reads[0], second = <View>block.reads[1] if len(block.reads) > 1 else None
    cdef bint has_x = is_constant(cells, known, first), has_y = second is not None and is_constant(cells, known, second)
    cdef double x = value[first.base] if has_x else 0.0, y = value[second.base] if has_y else 0.0
    cdef Py_ssize_t op = block.op
    cdef bint power = op == OP_power or op == OP_float_power
    if op == OP_square or (power and has_y and y == 2.0):
        block.op, block.reads = OP_multiply, [first, first]
    elif power and has_y and y == -1.0:
        block.op, block.reads = OP_reciprocal, [first]
    elif op == OP_positive or (has_y and y == 1.0 and (power or op == OP_multiply or op == OP_divide)):
        return first
    elif op == OP_multiply and has_x and x == 1.0:
        return second
    elif (op == OP_add and has_y and is_number(y, -0.0)) or (op == OP_subtract and has_y and is_number(y, 0.0)):
        return first
    elif op == OP_add and has_x and is_number(x, -0.0):
        return second
    elif (op == OP_keep or op == OP_drop) and has_y and (y != 0.0) == (op == OP_keep):
        return first
    return None


cdef bint folded(Cells cells, double[::1] value, uint8_t[::1] known, Block block) except -1:
    """Compute a single number from constants; whether it was one."""
    cdef View out = <View>block.writes[0]
    cdef double x[2]
    cdef Py_ssize_t k
    if out.size != 1:
        return False
    x[0] = x[1] = 0.0
    for k in range(len(block.reads)):
        if not is_constant(cells, known, <View>block.reads[k]):
            return False
        x[k] = value[(<View>block.reads[k]).base]
    value[out.base] = evaluate(<int>block.op, x[0], x[1])
    known[cells.at(out.base)] = 1
    return True


cdef int stand_for(Cells cells, int64_t[::1] alias, Py_ssize_t base, View out) except -1:
    """Let the values of a result be those of a row of slots."""
    cdef Py_ssize_t k
    for k in range(cells.at(out.low), cells.at(out.high) + 1):
        alias[k] = cells.firsts[k] + (base - out.base)
    return 0


def looked_across(Cells cells, list blocks):
    """By cell: whether a view of some block looks at it and at the one behind it."""
    cdef View view
    cdef Py_ssize_t k
    glued = np.zeros(cells.count, np.uint8)
    cdef uint8_t[::1] glued_ = glued
    for block in blocks:
        for those in ((<Block>block).reads, (<Block>block).writes):
            for z in <list>those:
                view = <View>z
                if view.low < view.high:
                    for k in range(cells.at(view.low), cells.at(view.high)):
                        glued_[k] = 1
    return glued


cdef uint64_t hash_of_view(View view) except? 0:
    """A hash of the slots that a view looks at."""
    cdef uint64_t axes = <uint64_t>view.step if view.ndim == 1 else <uint64_t>hash((view.dims, view.steps))
    return mixed(mixed(<uint64_t>view.base, <uint64_t>view.size), axes)


cdef Py_ssize_t hash_of_map(Block block) except? 0:
    """A hash of what a map computes."""
    cdef uint64_t key = <uint64_t>block.op
    for view in block.reads:
        key = mixed(key, hash_of_view(<View>view))
    return <Py_ssize_t>(key ^ (key >> 32))


cdef bint same_map(Block one, Block other) except -1:
    """Whether two maps compute the same numbers in the same order."""
    cdef Py_ssize_t k
    if (one.op != other.op or len(one.reads) != len(other.reads)
            or not alike(<View>one.writes[0], <View>other.writes[0])):
        return False
    for k in range(len(one.reads)):
        if ((<View>one.reads[k]).base != (<View>other.reads[k]).base
                or not alike(<View>one.reads[k], <View>other.reads[k])):
            return False
    return True


def put_together(list blocks, Py_ssize_t shortest):
    """The blocks that collect at least so many slots, and those that copy a row of at least so many into a row."""
    cdef Block block
    cdef View source, out
    cdef list gathers = [], copies = []
    for z in blocks:
        block = <Block?>z
        if block.kind == "gather":
            if (<View>block.writes[0]).size >= shortest:
                gathers.append(block)
        elif block.op == OP_positive and block.kind == "map":
            source, out = <View>block.reads[0], <View>block.writes[0]
            if source.row and out.row and out.size >= shortest:
                copies.append(block)
    return gathers, copies


def simplify_maps(Cells cells, list blocks, double[::1] value, uint8_t[::1] known, int64_t[::1] alias):
    """Simplify the maps among blocks.

    Parameters
    ----------
    value
        By slot: the value of a constant.
    known, alias
        By cell: whether it is constant, and where its values are. Both are updated, and operands renamed.

    Returns
    -------
    blocks : list of Block
        What is left.
    identities, shared : int
        How many are gone, and of what kind.
    """
    cdef Py_ssize_t k, at, identities = 0, shared = 0, size = 16, mask
    cdef Block block
    cdef View out, same
    cdef bint dense
    cdef list left = []
    cdef const uint8_t[::1] across = looked_across(cells, blocks)
    cdef int32_t[::1] times = np.zeros(cells.count, np.int32)        # by cell: how many results begin there
    while size < 2 * len(blocks):
        size *= 2
    mask = size - 1
    cdef int64_t[::1] found = np.full(size, -1, np.int64)            # maps that are left, by what they compute
    for k in range(len(blocks)):
        for z in (<Block>blocks[k]).writes:
            times[cells.at((<View>z).base)] += (<View>z).size > 0
    for k in range(len(blocks)):
        block = <Block>blocks[k]
        rename_reads(cells, block, alias, True)
        if block.kind != "map":
            left.append(block)
            continue
        out = <View>block.writes[0]
        if folded(cells, value, known, block):
            identities += 1
            continue
        dense = (out.covers and out.size > 0 and out.size == out.high - out.low + 1 and times[cells.at(out.base)] == 1
                 and not across[cells.at(out.low) - 1] and not across[cells.at(out.high)])
        same = simplified(cells, value, known, block)
        if dense and same is not None and alike(same, out):
            identities += 1
            stand_for(cells, alias, same.base, out)
            continue
        if same is not None and block.op != OP_positive:
            block.op, block.reads = OP_positive, [same]
        if dense:
            at = hash_of_map(block) & mask
            while found[at] >= 0 and not same_map(<Block>left[found[at]], block):
                at = (at + 1) & mask
            if found[at] >= 0:
                shared += 1
                stand_for(cells, alias, (<View>(<Block>left[found[at]]).writes[0]).base, out)
                continue
            found[at] = len(left)
        left.append(block)
    return left, identities, shared
