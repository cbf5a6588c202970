# Instructions that are executed part by part, so that what goes from one to the next stays in cache
# (part of _program.pyx).

cdef class Window:
    """What is executed instead of the instructions [first, last) of a program; made by `fastad.compiled.parts`.

    Parameters
    ----------
    first, last : int
    before, within, after : ndarray
        Instructions that are executed before, `parts` times, and afterwards.
    parts : int
    steps : ndarray
        How far result and operands of each instruction of `within` go on from part to part.
    pool : ndarray
        The pool of these instructions.
    """

    def __init__(self, Py_ssize_t first, Py_ssize_t last, before, within, after, Py_ssize_t parts, steps, pool):
        self.first, self.last, self.parts = first, last, parts
        self.before, self.within, self.after = [np.ascontiguousarray(rows, INSTRUCTION)
                                                for rows in (before, within, after)]
        self.steps = np.ascontiguousarray(steps, np.int64)
        self.pool = np.ascontiguousarray(pool, np.int64)
        if self.steps.shape != (len(self.within), 3) or len(self.within) > MOST_IN_PARTS:
            raise ValueError("program: the instructions of a window and their steps do not belong together")

    def __repr__(self):
        return f"<window: instructions {self.first} to {self.last}, {len(self.within)} of them in {self.parts} parts>"


cdef Parts *tables_of(list windows) except NULL:
    """The tables of windows, which live as long as these."""
    cdef Parts *made = <Parts *>PyMem_RawMalloc((len(windows) + 1) * sizeof(Parts))
    cdef Parts *p = made
    if made is NULL:
        raise MemoryError()
    for window in windows:
        p.before, p.n_before = PyArray_DATA(<ndarray>window.before), len(window.before)
        p.within, p.n_within = PyArray_DATA(<ndarray>window.within), len(window.within)
        p.after, p.n_after = PyArray_DATA(<ndarray>window.after), len(window.after)
        p.steps = <const int64_t *>PyArray_DATA(<ndarray>window.steps)
        p.pool = <const int64_t *>PyArray_DATA(<ndarray>window.pool)
        p.parts, p.last = window.parts, window.last
        p += 1
    return made


cdef Py_ssize_t execute_window(const Parts *p, Code code, Workspace space) noexcept nogil:
    """Returns where the program goes on, -1 when a signal has raised."""
    if execute(p.before, 0, p.n_before, code._scalars, code._strands, p.pool, space.w, 1, space.work,
               space.regions) < 0 \
            or execute_parts(p.within, p.n_within, p.parts, p.steps, code._strands, p.pool, space.w, space.work,
                             space.regions) < 0 \
            or execute(p.after, 0, p.n_after, code._scalars, code._strands, p.pool, space.w, 1, space.work,
                       space.regions) < 0:
        return -1
    return p.last
