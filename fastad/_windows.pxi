# Instructions that are executed part by part, so that what goes from one to the next stays in cache (part of _program.pyx).

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
        self.before, self.within, self.after = [np.ascontiguousarray(rows, INSTRUCTION) for rows in (before, within, after)]
        self.steps = np.ascontiguousarray(steps, np.int64)
        self.pool = np.ascontiguousarray(pool, np.int64)
        if self.steps.shape != (len(self.within), 3) or len(self.within) > MOST_IN_PARTS:
            raise ValueError("program: the instructions of a window and their steps do not belong together")

    def __repr__(self):
        return f"<window: instructions {self.first} to {self.last}, {len(self.within)} of them in {self.parts} parts>"

    cdef Py_ssize_t execute(self, Code code, Workspace space) noexcept nogil:
        """Returns where the program goes on, -1 when a signal has raised."""
        cdef const int64_t *pool = <const int64_t *>PyArray_DATA(<ndarray>self.pool)
        if execute(PyArray_DATA(<ndarray>self.before), 0, PyArray_DIM(<ndarray>self.before, 0), code._scalars, code._strands, pool,
                   space.w, 1, space.work, space.regions) < 0:
            return -1
        if execute_parts(PyArray_DATA(<ndarray>self.within), PyArray_DIM(<ndarray>self.within, 0), self.parts,
                         <const int64_t *>PyArray_DATA(<ndarray>self.steps), code._strands, pool, space.w, space.work,
                         space.regions) < 0:
            return -1
        if execute(PyArray_DATA(<ndarray>self.after), 0, PyArray_DIM(<ndarray>self.after, 0), code._scalars, code._strands, pool,
                   space.w, 1, space.work, space.regions) < 0:
            return -1
        return self.last
