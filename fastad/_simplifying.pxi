# Identities and common subexpressions of operations on arrays (part of _passes.pyx).

cdef bint is_constant(Cells cells, const uint8_t[::1] known, View view) noexcept:
    """Whether all elements of an operand are one constant."""
    return view.size > 0 and view.low == view.high and known[cells.at(view.low)]


cdef inline bint is_number(double x, double y) noexcept nogil:
    """Whether two numbers are the same to the last bit."""
    return bits_of(x) == bits_of(y)


cdef View simplified(Cells cells, const double[::1] value, const uint8_t[::1] known, Block block):
    """Rewrite one map by identities that hold to the last bit; a view when the result is an operand, as it stands, else None."""
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


def simplify_maps(Cells cells, list blocks, double[::1] value, uint8_t[::1] known, int64_t[::1] alias, const uint8_t[::1] alone):
    """Simplify the maps among blocks.

    Parameters
    ----------
    value
        By slot: the value of a constant.
    known, alias
        By cell: whether it is constant, and where its values are. Both are updated, and operands renamed.
    alone
        By block: whether its result is written once and as a whole.

    Returns
    -------
    blocks : list of Block
        What is left.
    identities, shared : int
        How many are gone, and of what kind.
    """
    cdef Py_ssize_t k, identities = 0, shared = 0
    cdef Block block
    cdef View out, same, view
    cdef bint dense
    cdef list left = []
    cdef dict found = {}
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
        dense = alone[k] and out.row and out.size > 0
        same = simplified(cells, value, known, block)
        if dense and same is not None and same.shape == out.shape and same.strides == out.strides:
            identities += 1
            stand_for(cells, alias, same.base, out)
            continue
        if same is not None and block.op != OP_positive:
            block.op, block.reads = OP_positive, [same]
        if dense:
            key = [block.op, out.shape, out.strides]
            for z in block.reads:
                view = <View>z
                key += [view.base, view.shape, view.strides]
            other = found.setdefault(tuple(key), block)
            if other is not block:
                shared += 1
                stand_for(cells, alias, (<View>(<Block>other).writes[0]).base, out)
                continue
        left.append(block)
    return left, identities, shared


def bounds_of(list blocks):
    """What the views of blocks touch.

    Returns
    -------
    low, high : arrays of int64
        First and last slots of all views that are not empty.
    base, size : arrays of int64
        By block: the first slot of its first result, and how many elements that has.
    written : array of int64
        The first slots of all results.
    """
    cdef Py_ssize_t n_views = 0, n_writes = 0, i = 0, j = 0, k, n = len(blocks)
    cdef Block block
    cdef View view
    for z in blocks:
        block = <Block>z
        n_views += len(block.reads) + len(block.writes)
        n_writes += len(block.writes)
    low, high = np.empty(n_views, np.int64), np.empty(n_views, np.int64)
    base, size, written = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n_writes, np.int64)
    cdef int64_t[::1] low_ = low, high_ = high, base_ = base, size_ = size, written_ = written
    for k in range(n):
        block = <Block>blocks[k]
        for y in block.reads:
            view = <View>y
            if view.size:
                low_[i], high_[i] = view.low, view.high
                i += 1
        for y in block.writes:
            view = <View>y
            if view.size:
                low_[i], high_[i] = view.low, view.high
                i += 1
            written_[j] = view.base
            j += 1
        base_[k], size_[k] = (<View>block.writes[0]).base, (<View>block.writes[0]).size
    return low[:i], high[:i], base, size, written
