# What an index selects (part of variable.pyx).

cdef object plain_index(object key):
    """An index without Variables."""
    if isinstance(key, tuple):
        return tuple([plain_index(k) for k in key])
    if tracing:
        freeze(key)
    if isinstance(key, Discrete):
        return values_of(key) if (<Discrete>key).kind.kind != "f" else values_of(key).astype(np.int64)
    if isinstance(key, Handle):
        if recorded(key):
            raise IndexError("index: a recorded Variable is no index; int(x) or np.floor(x) say which element is meant")
        values = asarray(values_of(key))
        if not np.all(values == np.trunc(values)):
            raise IndexError("index: the values of the Variable are no whole numbers")
        return values.astype(np.int64)[()]
    return key


cdef object index_of(Variable x, object key):
    """What an index selects: ("view", (offset, shape, strides)) or ("gather", positions)."""
    key = plain_index(key)
    if basic_index(key):
        return "view", basic_view(x, key if isinstance(key, tuple) else (key,))
    positions = np.arange(x.layout.size, dtype=np.int64).reshape(x.layout.shape)
    return "gather", positions[key]


cdef bint basic_index(object key):
    """Whether an index is made of integers, slices, None and Ellipsis only."""
    for k in key if isinstance(key, tuple) else (key,):
        if not (k is None or k is Ellipsis or PySlice_Check(k)
                or (isinstance(k, (int, np.integer)) and not isinstance(k, (bool, np.bool_)))):
            return False
    return True


cdef object basic_view(Variable x, tuple key):
    """Offset, shape and strides of a basic index."""
    cdef Py_ssize_t offset = 0, axis = 0, start, stop, step, n
    cdef tuple shape = x.layout.shape, strides = x.layout.strides
    used = sum([1 for k in key if k is not None and k is not Ellipsis])
    if used > len(shape):
        raise IndexError(f"too many indices for a Variable of shape {shape}: {used} were given")
    dots = [k for k in key if k is Ellipsis]
    if len(dots) > 1:
        raise IndexError("an index can have a single ellipsis ('...') only")
    if not dots:
        key = key + (Ellipsis,)
    out_shape, out_strides = [], []
    for k in key:
        if k is None:
            out_shape.append(1)
            out_strides.append(0)
        elif k is Ellipsis:
            for _ in range(len(shape) - used):
                out_shape.append(shape[axis])
                out_strides.append(strides[axis])
                axis += 1
        elif PySlice_Check(k):
            start, stop, step = k.indices(shape[axis])
            n = len(range(start, stop, step))
            if n:
                offset += start * strides[axis]
            out_shape.append(n)
            out_strides.append(step * strides[axis])
            axis += 1
        else:
            try:
                n = k
            except OverflowError:                     # further than any memory reaches
                n = -shape[axis] - 1
            if n < 0:
                n += shape[axis]
            if n < 0 or n >= shape[axis]:
                raise IndexError(f"index {k} is out of bounds for axis {axis} of a Variable of shape {shape}")
            offset += n * strides[axis]
            axis += 1
    return offset, tuple(out_shape), tuple(out_strides)
