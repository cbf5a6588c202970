# What arguments and results are: shapes, kinds, arrays that have not changed, places (part of _program.pyx).

cdef inline bint same_shape(ndarray x, tuple dims) noexcept:
    """Whether an array has a shape."""
    cdef Py_ssize_t d
    if PyArray_NDIM(x) != len(dims):
        return False
    for d in range(len(dims)):
        if PyArray_DIM(x, <int>d) != <Py_ssize_t>dims[d]:
            return False
    return True


cdef bint unchanged(array, copy) except -1:
    """Whether a frozen array is what it was."""
    return np.array_equal(array, copy, equal_nan=copy.dtype.kind == "f")


cdef inline bint plain_numbers(tuple args, list whole) noexcept:
    """Whether all arguments are floats and float64 arrays, or (where `whole` says so) int and int64 arrays.

    Then they are of the kind that was traced, if their shapes are.
    """
    cdef Py_ssize_t k = 0
    for x in args:
        if whole is not None and k < len(whole) and whole[k]:
            if not PyLong_CheckExact(x) and (type(x) is not ndarray or PyArray_TYPE(<ndarray>x) != NPY_INT64):
                return False
        elif not PyFloat_Check(x) and (type(x) is not ndarray or PyArray_TYPE(<ndarray>x) != NPY_DOUBLE):
            return False
        k += 1
    return True


cdef object in_a_row(object slots):
    """The slots of a result as Slots if they follow one another, else as an array."""
    if type(slots) is not Slots:
        return np.ascontiguousarray(slots, np.int64)
    return slots if (<Slots>slots).n == 1 else slots.listed()


cdef object way_out(object given, Py_ssize_t n_slots, int64_t *where):
    """How a result is copied out, for `Evaluator.where` and `lists`: in a row, in a few stretches, or slot by slot."""
    cdef ndarray slots
    cdef const int64_t *slot
    cdef Py_ssize_t k, n, breaks = 0
    if type(given) is Slots:
        where[0], where[1] = (<Slots>given).firsts[0], (<Slots>given).size
        within(where[0], where[1], n_slots, "a result")
        return None
    slots = given
    slot, n = <const int64_t *>PyArray_DATA(slots), PyArray_DIM(slots, 0)
    check_slots(slots, 0, n, n_slots)
    for k in range(1, n):
        breaks += slot[k] != slot[k - 1] + 1
    where[0], where[1] = (slot[0] if n else 0) if breaks == 0 else -1, n
    if breaks == 0:
        return None
    if breaks * 8 >= n:
        return slots
    where[0] = -2
    starts = np.concatenate([[0], np.flatnonzero(np.diff(slots) != 1) + 1])
    return np.ascontiguousarray(np.stack([slots[starts], np.diff(np.append(starts, n))], axis=1))


cdef list results_in_regions(Evaluator e, list starts):
    """For each result the region where it can be written for the caller, -1 for none.

    A region is either read or written, and as large.
    """
    cdef const Instruction *ins = <const Instruction *>e.code._instructions
    cdef Py_ssize_t k, slot
    cdef list found = []
    cdef set written = {ins[k].av - 2 for k in range(len(e.code.instructions))
                        if ins[k].kind == K_LINE and ins[k].av >= 2}
    for region, shape in [*zip(e.region_of, e.dims), *zip(e.capture_region, e.capture_dims)]:
        if region >= 0 and (region in written or e.code.regions[region][1] != prod(shape)):
            bad("a region")
    for k in range(e.n_results):
        slot = e.where[2 * (e.n_inputs + k)]
        region = starts.index(slot) if slot in starts else -1
        if region not in written or region in found or len(e.guards) \
                or e.code.regions[region][1] != e.where[2 * (e.n_inputs + k) + 1]:
            region = -1
        found.append(region)
    return found
