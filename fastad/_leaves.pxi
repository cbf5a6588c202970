# Birth and death of Variables (part of variable.pyx).
#
# A leaf and its hooks may refer to each other, so leaves, and all instances of subclasses, are seen by the garbage
# collector. Handles of intermediates are not: the collector's header costs more than the operation. Both are of one
# type, as with Python's own static and dynamic types: tp_is_gc tells them apart.

cdef Variable blank                   # what a new handle looks like


cdef Variable new_handle():
    """A handle without a header for the garbage collector."""
    cdef PyObject *o = <PyObject *>fa_copy_handle(<PyObject *>blank, <PyTypeObject *>Variable)
    cdef Variable h
    if o is NULL:
        raise MemoryError("fastad: no memory for a Variable")
    h = <Variable>o                   # counts itself, and what the copy refers to
    Py_INCREF(h.tape)
    Py_INCREF(h.layout)
    Py_INCREF(h.extra)
    Py_DECREF(h)
    return h


cdef void recycle(PyObject *o) noexcept:
    """tp_dealloc of Variable: plain handles go to the free list, as a scalar without a tape."""
    global n_free_handles
    cdef fa_error error
    if (n_free_handles < FA_FREE_HANDLES and (<Variable>o).linked and fa_recyclable(o, <PyTypeObject *>Variable)
            and (<Variable>o).extra is None and not (<Variable>o).collectable):
        if (<Variable>o).newer is NULL:               # may cut the tape: rules die, whose variables fill the list
            fa_put_aside(&error)
            unlink(<void *>o)
            fa_raise_again(&error)
        else:
            unlink(<void *>o)
        (<Variable>o).tape = None
        (<Variable>o).layout = SCALAR
        if n_free_handles < FA_FREE_HANDLES:
            free_handles[n_free_handles] = o
            n_free_handles += 1
            return
    if PyObject_IS_GC(o):
        PyObject_GC_UnTrack(o)
    forget_leaf(<void *>o)
    full_dealloc(o)



cdef PyObject *allocate(PyTypeObject *type, Py_ssize_t n) noexcept:
    """tp_alloc of Variable, for what Python makes: with a header, tracked."""
    cdef PyObject *o = PyType_GenericAlloc(type, n)
    if o is not NULL:
        (<Variable>o).collectable = True
    return o


cdef void deallocate(void *o) noexcept:
    """tp_free of Variable."""
    if (<Variable>o).collectable:
        PyObject_GC_Del(o)
    else:
        PyObject_Free(o)


cdef int is_collectable(PyObject *o) noexcept:
    """tp_is_gc of Variable: a subclass made in Python has a header always."""
    return (<Variable>o).collectable or Py_TYPE(o) != <PyTypeObject *>Variable


cdef int traverse(PyObject *o, visitproc visit, void *arg) noexcept:
    """tp_traverse of Variable: shows what only this one holds. Not its bindings, which the tapes have a pointer to."""
    cdef PyObject *extra = <PyObject *>(<Variable>o).extra
    cdef int stop
    if extra is NULL or extra is <PyObject *>None or fa_references(extra) != 1:
        return 0
    stop = visit(<PyObject *>(<Storage>extra).hooks, arg)
    if stop == 0:
        stop = visit(<PyObject *>(<Storage>extra).grad, arg)
    return visit(<PyObject *>(<Storage>extra).name, arg) if stop == 0 else stop


cdef int clear(PyObject *o) noexcept:
    """tp_clear of Variable: breaks its cycles and leaves the rest usable, for others may still look at it."""
    cdef Storage s = (<Variable>o).extra
    if s is not None:
        s.hooks = s.grad = s.name = None
    return 0


cdef int meet_collector() except -1:
    """Change the type for good; nothing was made of it before."""
    global full_dealloc, blank
    cdef PyTypeObject *type = <PyTypeObject *>Variable
    blank = Variable.__new__(Variable)
    full_dealloc = type.tp_dealloc
    type.tp_dealloc, type.tp_alloc, type.tp_free = recycle, allocate, deallocate
    type.tp_is_gc, type.tp_traverse, type.tp_clear = is_collectable, traverse, clear
    type.tp_flags |= Py_TPFLAGS_HAVE_GC
    # No sequence for NumPy: it would turn the TypeError of a misuse into a ValueError about sequences.
    type.tp_as_sequence.sq_item = NULL
    return 0


def leaf_arrays(x):
    """The values of a leaf, which are about to be written to, and its gradient, both float64; None without a gradient.

    For optimisers: as a write to ``value``, but in place and without a look at each number.

    Raises
    ------
    TypeError
        When it is no leaf.
    """
    if not isinstance(x, Variable) or (<Variable>x).state != LEAF:
        raise TypeError(f"a leaf is needed: a Variable made of values, not {type(x).__name__} that was computed or "
                        "detached")
    cdef Storage s = (<Variable>x).extra
    if s.grad is None:
        return None
    refuse_while_tracing("step of an optimiser")
    s.version += 1
    return s.data, np.ascontiguousarray(values_of(s.grad) if isinstance(s.grad, Handle) else s.grad, float64)
