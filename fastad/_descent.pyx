"""Gradient descent without Python: update rules, iterations, and compiled functions that drive them without the GIL."""
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from libc.math cimport INFINITY, NAN, copysign, fabs, isfinite, pow, sqrt
from libc.stdint cimport int64_t
from libc.string cimport memcpy
from numpy cimport (
    NPY_DOUBLE, PyArray_DATA, PyArray_ISCARRAY_RO, PyArray_ISWRITEABLE, PyArray_SIZE, PyArray_TYPE, import_array,
    ndarray,
)

from fastad._program cimport Code, Evaluator, Workspace

from math import prod

import numpy as np

cdef extern from "_clock.h" nogil:
    double fa_clock() noexcept

cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1

import_array()

include "_rules.pxi"
include "_iterations.pxi"

cdef enum:
    CHUNK = 256                       # step lengths that are asked for at a time
    FEW = 1 << 10                     # rows that the history begins with
    MANY = 1 << 18                    # and by which it grows at most: more take long to be cleared
    POLL = 1 << 21                    # many fits look for signals after so many numbers


cdef class Port:
    """A compiled value and gradient as a function of one vector: the leaves [first, last) of the arguments.

    Parameters
    ----------
    evaluator : Evaluator
        Of the kind ``grad``.
    leaves : list
        All arguments; those that are not of the vector stay as they are. Arrays may change between calls of `advance`.
    first, last : int
    """
    cdef readonly Evaluator evaluator
    cdef Workspace space
    cdef list leaves
    cdef Py_ssize_t n, first, parts                   # numbers of the vector; its leaves
    cdef const int64_t[:, ::1] spans                  # slot, size, region of each leaf of the vector
    cdef const int64_t[::1] slots                     # of the value, then of the gradient
    cdef bint row                                     # whether those of the gradient lie in a row

    def __init__(self, Evaluator evaluator, list leaves, Py_ssize_t first, Py_ssize_t last):
        cdef Py_ssize_t k
        sizes = [prod(shape) for shape in evaluator.dims[first:last]]
        if not 0 <= first < last <= len(leaves) or len(evaluator.results) != 1 + last - first \
                or len(leaves) != evaluator.n_inputs or evaluator.results[0][0] != () \
                or [len(slots) for _, slots in evaluator.results[1:]] != sizes:
            raise ValueError("port: the program is none for a value and the gradient with respect to these arguments")
        self.evaluator, self.leaves, self.n = evaluator, leaves, sum(sizes)
        self.first, self.parts = first, last - first
        self.spans = np.array([[evaluator.inputs[k][0], size, evaluator.region_of[k]]
                               for k, size in enumerate(sizes, first)], np.int64)
        self.slots = np.concatenate([slots for _, slots in evaluator.results], dtype=np.int64)
        self.row = True
        for k in range(1, self.n):
            self.row = self.row and self.slots[k + 1] == self.slots[k] + 1
        self.space = evaluator.code.workspace(1)

    cdef int refresh(self) except -1:
        """Read the other arguments and what is captured anew; -2 when the program is none for them."""
        if self.evaluator.load(self.space, self.leaves) == -2:
            return -2
        return self.evaluator.load_captures(self.space)

    def place(self, arrays, Py_ssize_t first):
        """Put other arrays in the places of the arguments from the first-th leaf on; they have to be of their kind."""
        self.leaves[first:first + len(arrays)] = arrays

    def __call__(self, x):
        """Value and gradient at a vector; None when the function takes another branch there."""
        cdef const double[::1] given = np.ascontiguousarray(x, np.float64).reshape(-1)
        cdef double f = 0.0
        cdef int left
        if given.shape[0] != self.n:
            raise ValueError(f"port: a vector of {self.n} numbers is needed, not of {given.shape[0]}")
        gradient = np.empty(self.n)
        cdef double[::1] g = gradient
        if self.n == 0 or self.refresh() == -2:
            return None
        with nogil:
            left = evaluate(self, self.evaluator, self.evaluator.code, self.space, &given[0], &f, &g[0])
        return None if left else (f, gradient)


cdef int evaluate(Port port, Evaluator evaluator, Code code, Workspace space, const double *x, double *f,
                  double *g) except -1 nogil:
    """Value and gradient at x; 1 when the function takes another branch there."""
    cdef Py_ssize_t k, size, at = 0
    for k in range(port.parts):
        size = port.spans[k, 1]
        if port.spans[k, 2] >= 0:
            space.regions[port.spans[k, 2]].data = x + at
        else:
            memcpy(space.w + port.spans[k, 0], x + at, size * sizeof(double))
        at += size
    code.run(space, evaluator, NULL)
    if evaluator.failed(space, 0) >= 0:
        return 1
    if space.failing:
        with gil:
            raise space.errors[0]
    f[0] = space.w[port.slots[0]]
    if port.row:
        memcpy(g, space.w + port.slots[1], port.n * sizeof(double))
    else:
        for k in range(port.n):
            g[k] = space.w[port.slots[1 + k]]
    return 0


cdef class Descent:
    """A descent that asks for values, gradients (and steps, of a rule that is not here) until it is done.

    Parameters
    ----------
    x0 : ndarray
        Start; a vector.
    kind : str
        The update rule, see `Update`; ``"outside"``: `step` is told each step.
    options : dict
        Of the rule.
    accept : {"any", "decrease", "armijo", "wolfe"}
    bounds : pair of ndarray, optional
        Lowest and highest values.
    sign : {1.0, -1.0}
        Whether to go down or up; all values and gradients here are those that go down.
    max_iter, tol, ftol, xtol, max_time : number
        When to stop; a negative `ftol` or `xtol`: never.
    path : bool
        Whether the history has the places.
    lengths : callable, optional
        ``lengths(first, last)`` gives the step lengths of these iterations; default: lr.

    Examples
    --------
    >>> import numpy as np
    >>> descent = Descent(np.array([3.0]), "sgd", {"lr": 0.25}, max_iter=20)
    >>> while descent.wants == "value":
    ...     x = descent.trial
    ...     descent.tell(float(x @ x), 2 * x)
    >>> descent.nit, descent.best[0].round(8)
    (20, array([2.86e-06]))
    """
    cdef Fit fit
    cdef double[::1] memory, table
    cdef list columns                                 # the arrays behind `fit.log`, and that of the places, if any
    cdef bint shown                                   # whether somebody else has views of them
    cdef object bounds, lengths

    def __init__(self, x0, str kind, dict options, *, str accept="any", bounds=None, double sign=1.0,
                 Py_ssize_t max_iter=1000, double tol=1e-6, double ftol=-1.0, double xtol=-1.0,
                 double max_time=INFINITY, bint path=False, lengths=None):
        cdef Fit *s = &self.fit
        cdef const double[::1] x = np.ascontiguousarray(x0, np.float64).reshape(-1)
        cdef const double[::1] low, high
        s.n = x.shape[0]
        rule_make(&s.rule, kind, s.n, options)
        s.accept = <Accept><int>ACCEPT.index(accept)
        s.sign, s.max_iter, s.tol, s.ftol, s.xtol, s.max_time = sign, max_iter, tol, ftol, xtol, max_time
        self.memory = np.zeros(fit_size(s) + 1)
        fit_place(s, &self.memory[0])
        if bounds is not None and s.n:
            self.bounds = low, high = [np.array(b, np.float64).reshape(-1) for b in bounds]
            if low.shape[0] != s.n or high.shape[0] != s.n:
                raise ValueError(f"descent: bounds of {low.shape[0]} and {high.shape[0]} numbers for {s.n}")
            s.rule.low, s.rule.high = &low[0], &high[0]
        if s.n:
            memcpy(s.y, &x[0], s.n * sizeof(double))
        self.lengths, s.scheduled = lengths, lengths is not None
        s.first_length = s.end_length = s.room = 0
        self.columns = [np.empty(0) for _ in range(COLUMNS)] + [np.empty((0, s.n))] * path
        fit_begin(s)
        self.provide()

    cdef int provide(self) except -1:
        """See to it that the next call of tell finds a step length and room in the history."""
        cdef Fit *s = &self.fit
        if s.scheduled and s.nit + 1 >= s.end_length:
            self.ask(s.nit, s.nit + CHUNK)
        if s.rows >= s.room:
            self.grow(s.room + min(max(s.room, FEW), MANY))
        return 0

    cdef int ask(self, Py_ssize_t first, Py_ssize_t last) except -1:
        """Ask for the step lengths of these iterations."""
        cdef Fit *s = &self.fit
        table = np.ascontiguousarray(self.lengths(first, last), np.float64)
        if table.shape != (last - first,):
            raise ValueError("descent: another number of step lengths than asked for")
        self.table = table
        s.lengths, s.first_length, s.end_length = &self.table[0], first, last
        return 0

    cdef int grow(self, Py_ssize_t room) except -1:
        """Give the columns of the history room for so many rows, where they are if nobody else looks at them."""
        cdef Fit *s = &self.fit
        cdef Py_ssize_t k
        if self.shown:
            self.columns, self.shown = [column.copy() for column in self.columns], False
        s.room = 0
        for column in self.columns:
            column.resize((room,) + column.shape[1:], refcheck=False)
        for k in range(COLUMNS):
            s.log[k] = <double *>PyArray_DATA(<ndarray>self.columns[k])
        if len(self.columns) > COLUMNS:
            s.places = <double *>PyArray_DATA(<ndarray>self.columns[COLUMNS])
        s.room = room
        return 0

    def tell(self, double f, g):
        """Value and gradient at `trial`."""
        cdef const double[::1] given = np.ascontiguousarray(g, np.float64).reshape(-1)
        if self.fit.phase != EVALUATE or given.shape[0] != self.fit.n:
            raise ValueError(f"descent: {given.shape[0]} derivatives of {self.fit.n}, while it wants {self.wants}")
        if self.fit.n:
            memcpy(self.fit.gy, &given[0], self.fit.n * sizeof(double))
        self.provide()
        with nogil:
            tell(&self.fit, f)

    def step(self, d):
        """The step from `x`, of a rule that is not here."""
        cdef const double[::1] given = np.ascontiguousarray(d, np.float64).reshape(-1)
        if self.fit.phase != STEP or given.shape[0] != self.fit.n:
            raise ValueError(f"descent: a step of {given.shape[0]} numbers for {self.fit.n}, while it wants "
                             f"{self.wants}")
        if self.fit.n:
            memcpy(self.fit.d, &given[0], self.fit.n * sizeof(double))
        search(&self.fit)

    def advance(self, Port port, Py_ssize_t iterations, double seconds):
        """Go on without Python, at most so many iterations and about so many seconds.

        Returns
        -------
        bool
            False when the function takes another branch at `trial` than the program of the port.
        """
        cdef Fit *s = &self.fit
        cdef Evaluator evaluator = port.evaluator
        cdef Workspace space = port.space
        cdef Code code = evaluator.code
        cdef Py_ssize_t last = s.nit + iterations
        cdef double f = 0.0, until = fa_clock() + seconds
        cdef bint left = False
        if port.n != s.n or s.n == 0:
            raise ValueError(f"descent: a port of {port.n} numbers for {s.n}")
        if port.refresh() == -2:
            return False
        while s.phase == EVALUATE and not left:
            self.provide()
            with nogil:
                while s.phase == EVALUATE and (not s.scheduled or s.nit + 1 < s.end_length) and s.rows < s.room:
                    left = evaluate(port, evaluator, code, space, s.y, &f, s.gy)
                    if left:
                        break
                    tell(s, f)
                    if s.nit >= last or s.now > until:
                        break
            if s.nit >= last or s.now > until:
                break
        return not left

    def give_up(self):
        """End, for a reason of the caller's."""
        self.fit.phase = DONE

    cdef object vector(self, const double *x):
        out = np.empty(self.fit.n)
        if self.fit.n:
            memcpy(PyArray_DATA(<ndarray>out), x, self.fit.n * sizeof(double))
        return out

    @property
    def wants(self):
        """What is wanted: "value", "step", or "nothing"."""
        return ("value", "step", "nothing")[<int>self.fit.phase]

    @property
    def reason(self):
        """Why it has ended, -1 unless it has."""
        return <int>self.fit.reason

    @property
    def nit(self):
        return self.fit.nit

    @property
    def nfev(self):
        return self.fit.nfev

    @property
    def trial(self):
        """Where value and gradient are wanted."""
        return self.vector(self.fit.y)

    @property
    def x(self):
        return self.vector(self.fit.x)

    @property
    def g(self):
        return self.vector(self.fit.g)

    @property
    def f(self):
        return self.fit.f

    @property
    def norm(self):
        """The norm of the gradient; with bounds of the way to the projection of x - g."""
        return self.fit.norm

    @property
    def length(self):
        """Of the last step."""
        return self.fit.length

    @property
    def best(self):
        """The best point: (x, value, gradient); the start if there was none that is finite."""
        cdef Fit *s = &self.fit
        if s.nfev == 0:
            return self.vector(s.y), NAN, np.full(s.n, NAN)
        if s.best_here:
            return self.vector(s.x), s.f, self.vector(s.g)
        return self.vector(s.best_x), s.best_f, self.vector(s.best_g)

    @property
    def history(self):
        """Values, norms of the gradient, lengths of the step, seconds, and places if wanted.

        There is one for the start and one for each iteration. The arrays are those that the descent writes to, without
        what is not used yet; it goes on in others.
        """
        if not self.shown:
            self.grow(self.fit.rows)
            self.shown = True
        return tuple(self.columns)

    def ask_all(self):
        """Ask for the step lengths of all iterations, before `many`."""
        if self.fit.scheduled:
            self.ask(0, self.fit.max_iter + 1)


include "_many.pxi"
