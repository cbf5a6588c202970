"""Compiled functions: instructions over a workspace of slots, validated when made, executed without the GIL."""
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from libc.stdint cimport int32_t, int64_t, uintptr_t
from libc.string cimport memcmp, memcpy, memset
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_Check
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_CheckExact
from numpy cimport (
    NPY_DOUBLE, NPY_INT64, PyArray_DATA, PyArray_DIM, PyArray_EMPTY, PyArray_IS_C_CONTIGUOUS, PyArray_ISBEHAVED,
    PyArray_ISBEHAVED_RO, PyArray_NDIM, PyArray_SIZE, PyArray_STRIDE, PyArray_TYPE, PyArray_ZEROS, import_array,
    ndarray, npy_intp,
)

from fastad._blocks cimport Slots
from fastad._instructions cimport (
    HANDED_ON, K_CALL, K_CHAIN, K_COPY, K_FILL, K_GATHER, K_LINE, K_ADD, K_MAP, K_MATMUL, K_RUN, K_SCALARS, K_SUM, MOST,
    RUN_STRIP, WRITES, Instruction, Scalar, Uses, matrix_bounds, operand_reach, times, view_bounds,
)
from fastad._scalar cimport OP_COUNT, OP_add, OP_divide, OP_multiply, OP_negative, OP_subtract, fa_rows
from fastad._tape cimport ensure_loops, execute, execute_parts, from_whole
from fastad.variable cimport observers

from math import prod
from time import perf_counter_ns

import numpy as np

from . import variable
from ._instructions import INSTRUCTION, KINDS, NATIVE, SCALAR
from ._tape import build_info

cdef extern from "<math.h>" nogil:
    const double NAN
    bint signbit(double x) noexcept

cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1

include "_memory.pxi"

import_array()

cdef object float64 = np.float64
cdef int64_t EXACT = 1 << 53          # integers up to here are float64 numbers
cdef object tracing = variable.in_python
cdef object clock = perf_counter_ns
cdef bint CHECKED = build_info()["debug"]

cdef enum:
    MOST_IN_PARTS = 64                # as in _execute.h
    CACHE_LINE = 64
    LONG = 1 << 20                    # so much work is worth letting other threads run, and looking for signals after
    LARGE = 1 << 22                   # numbers: a workspace of more is not kept
    POLL = 1 << 21                    # a batch looks for signals after so many numbers
    CLOCKED = 5000                    # nanoseconds that a clock measures well
    SHORT = 2000                      # and so much is not worth letting go of the GIL
    CHECK = 4000                      # after so much work a look at the guards is worth it


cdef class Workspace:
    def __dealloc__(self):
        PyMem_RawFree(self.memory)
        PyMem_RawFree(self.regions)


cdef class Code:
    """Instructions over slots.

    Parameters
    ----------
    instructions, scalars, pool, image : ndarray
        Tables as the passes emit them; `image` holds the values that the first slots start with.
    calls : list
        Rules of the CALL instructions.
    n_slots : int
    regions : list of (slot, size)
        Arguments and results that stay where the caller has them.

    Raises
    ------
    ValueError
        When an instruction reaches outside of the workspace or the tables.
    """

    def __init__(self, instructions, scalars, pool, image, list calls, Py_ssize_t n_slots, list regions=[]):
        cdef Py_ssize_t k
        self.instructions = np.ascontiguousarray(instructions, INSTRUCTION)
        self.scalars = np.ascontiguousarray(scalars, SCALAR)
        self.pool = np.ascontiguousarray(pool, np.int64)
        self.image = np.ascontiguousarray(image, np.float64)
        self.calls = calls
        self.n_slots, self.regions = n_slots, regions
        for table in (self.instructions, self.scalars, self.pool, self.image):
            table.setflags(write=False)
        validate(self)
        self.stops = stops(self.instructions)
        self._instructions = PyArray_DATA(<ndarray>self.instructions)
        self.strands = strands(self.instructions, self.scalars)
        self._strands = <const int32_t *>PyArray_DATA(<ndarray>self.strands)
        self._scalars = PyArray_DATA(<ndarray>self.scalars)
        self._pool = <const int64_t *>PyArray_DATA(<ndarray>self.pool)
        self._image = <const double *>PyArray_DATA(<ndarray>self.image)
        self._stops = <const int64_t *>PyArray_DATA(<ndarray>self.stops)
        self.free, self.wide = [], []
        self.work = sum([cost(<const Instruction *>self._instructions + k) for k in range(len(self.instructions))])

    def __repr__(self):
        return f"<code: {len(self.instructions)} instructions over {self.n_slots} slots>"

    cdef Workspace workspace(self, Py_ssize_t lanes):
        """The memory for one call; constants stand in it already."""
        cdef Workspace space
        cdef Py_ssize_t k, l, size, n = PyArray_DIM(<ndarray>self.image, 0)
        if lanes == 1 and self.free:
            return self.free.pop()
        if lanes > 1:
            for k in range(len(self.wide)):
                if (<Workspace>self.wide[k]).lanes == lanes:
                    return self.wide.pop(k)
        space = Workspace.__new__(Workspace)
        space.lanes = lanes
        size = (self.n_slots + 2 * RUN_STRIP) * lanes * sizeof(double) + CACHE_LINE
        space.memory = PyMem_RawMalloc(size)
        if space.memory is NULL:
            raise MemoryError(f"fastad: no memory for the {self.n_slots * lanes} numbers of a compiled function's "
                              "workspace")
        if size >= HUGE:
            fa_large_pages(space.memory, size)
        if CHECKED:
            memset(space.memory, 0xff, size)          # nan: what is read before it is written shows
        space.w = <double *>((<uintptr_t>space.memory + CACHE_LINE - 1) // CACHE_LINE * CACHE_LINE)
        space.work = space.w + self.n_slots * lanes
        space.regions = <Region *>PyMem_RawMalloc((len(self.regions) + 1) * sizeof(Region))
        if space.regions is NULL:
            raise MemoryError()
        for k in range(len(self.regions)):
            space.regions[k].start = self.regions[k][0]
        self.let_go(space)
        if lanes == 1:
            memcpy(space.w, self._image, n * sizeof(double))
        else:
            for k in range(n):
                for l in range(lanes):
                    space.w[k * lanes + l] = self._image[k]
        return space

    cdef void let_go(self, Workspace space) noexcept:
        """Let all regions be in the workspace's own memory."""
        cdef Py_ssize_t k
        for k in range(len(self.regions)):
            space.regions[k].data = space.w + space.regions[k].start

    cdef void give_back(self, Workspace space):
        """Keep a workspace for the next call."""
        self.let_go(space)
        if space.lanes == 1:
            if len(self.free) < 8:
                self.free.append(space)
        elif self.n_slots * space.lanes <= LARGE:
            self.wide.append(space)
            if len(self.wide) > 8:
                self.wide.pop(0)

    cdef int execute(self, Workspace space, Evaluator e) except -1:
        """Run the instructions: all, unless a guard that is looked at on the way does not hold."""
        cdef const int64_t *stops = e._stops
        cdef Py_ssize_t at = 0, stop, k = 0, checked = 0, window = -1, n = PyArray_DIM(<ndarray>self.instructions, 0)
        space.errors, space.failing = None, False
        while at < n:
            stop = stops[k]
            if window >= 0:
                with nogil:
                    at = execute_window(&e._windows[window], self, space)
                window = -1
            elif stops[k + 1]:
                with nogil:
                    at = advance(self, at, stop, space)
            else:
                at = advance(self, at, stop, space)
            if at < 0:
                return -1
            if at < stop:                             # a call that needs its rule after all
                self.call(at, space, e, 0)
                at += 1
                continue
            k += 2
            if at == n:
                break
            if stops[k] == 1:
                self.call(at, space, e, 0)
                at += 1
            elif stops[k] == 0:
                PyErr_CheckSignals()
            elif stops[k] < 0:
                window = -1 - stops[k]
            else:
                if e.failed_among(space, 0, checked, stops[k] - 2) >= 0:
                    return 0
                checked = stops[k] - 2
            k += 1
        return 0

    cdef int run(self, Workspace space, Evaluator e, const unsigned char *cancel) except -1 nogil:
        """Run the instructions without the GIL, which a Python function takes; 1 when another thread cancels.

        All of them, unless each lane has a guard that is looked at on the way and does not hold.
        """
        cdef Py_ssize_t at = 0, k = 0, lane = 0, checked = 0, n = PyArray_DIM(<ndarray>self.instructions, 0)
        cdef int64_t what = 0
        if space.failing:
            with gil:
                space.errors, space.failing = None, False
        while True:
            if what < 0 and space.lanes == 1:
                at = execute_window(&e._windows[-1 - what], self, space)
            else:
                at = advance(self, at, e._stops[k], space)
            if at < 0:
                with gil:
                    return -1                         # a signal has raised
            if at < e._stops[k]:                      # a call that needs its rule after all
                with gil:
                    self.call(at, space, e, checked)
                at += 1
                continue
            k += 2
            if at >= n:
                return 0
            if cancel is not NULL and cancel[0]:
                return 1
            what = e._stops[k]
            k += 1
            if what >= 2:
                if e.failed_among(space, lane, checked, what - 2) >= 0:
                    lane += 1
                    while lane < space.lanes and e.failed_among(space, lane, 0, what - 2) >= 0:
                        lane += 1
                    if lane == space.lanes:
                        return 0
                checked = what - 2
            elif what >= 0:
                with gil:
                    if what:
                        self.call(at, space, e, checked)
                        at += 1
                    else:
                        PyErr_CheckSignals()

    cdef int call(self, Py_ssize_t k, Workspace space, Evaluator e, Py_ssize_t checked) except -1:
        """Run a CALL instruction: the pool holds how many operands, (slot, size) of each, and the same of results.

        Not for lanes in which one of the first `checked` guards does not hold.
        """
        row = self.instructions[k]
        cdef Py_ssize_t first = row["first"], j, lane, size, i, lanes = space.lanes
        cdef const int64_t *p = self._pool + first
        cdef Py_ssize_t n_in = p[0], n_out = p[1 + 2 * n_in]
        cdef const int64_t *outs = p + 2 + 2 * n_in
        cdef const double[::1] out
        rule = self.calls[row["count"]]
        for lane in range(lanes):
            if checked and e.failed_among(space, lane, 0, checked) >= 0:
                continue
            inputs = []
            for j in range(n_in):
                size = p[2 + 2 * j]
                inputs.append(np.array(<double[:size, :lanes]>(space.w + p[1 + 2 * j] * lanes))[:, lane].copy() if size
                              else np.empty(0))
            try:
                with np.errstate(all="ignore"):
                    outputs = rule.forward(inputs)
                for j in range(n_out):
                    size = outs[2 * j + 1]
                    out = np.ascontiguousarray(outputs[j], np.float64).reshape(-1)
                    if out.shape[0] != size:
                        raise RuntimeError(f"{rule.name}: gave {out.shape[0]} numbers where it gave {size} when it was "
                                           "traced")
                    for i in range(size):
                        space.w[(outs[2 * j] + i) * lanes + lane] = out[i]
            except MemoryError:
                raise
            except Exception as error:                # none if the arguments take another branch: the guards say so
                space.errors, space.failing = {lane: error, **(space.errors or {})}, True
                for j in range(n_out):
                    for i in range(outs[2 * j + 1]):
                        space.w[(outs[2 * j] + i) * lanes + lane] = NAN
        return 0


include "_stops.pxi"
include "_stepping.pxi"
include "_checking.pxi"
include "_windows.pxi"
include "_arguments.pxi"
include "_rows.pxi"


# ---- arguments and results -------------------------------------------------------------------------------------
cdef class Evaluator:
    """A program with its arguments and results.

    Parameters
    ----------
    code : Code
    inputs : list of (slot, shape)
        Where each argument goes.
    captures : list of (array, slot)
        Arrays from outside, read anew in each call.
    frozen : list of (array, copy)
        Arrays from outside that must be what they were.
    guards, expected : arrays
        Slots that Python acted on, in the order of the program, and the values that they have to have.
    results : list of (shape, slots)
        An array, or Slots.
    """

    def __init__(self, Code code, list inputs, list captures, list frozen, guards, expected, results):
        cdef Py_ssize_t k, size, n = code.n_slots
        self.code, self.inputs, self.captures, self.frozen = code, inputs, captures, frozen
        self.placed = [(shape, in_a_row(slots)) for shape, slots in results]
        self.guards = np.ascontiguousarray(guards, np.int64)
        self.expected = np.ascontiguousarray(expected, np.float64)
        self.in_parts([])
        self._guards = <const int64_t *>PyArray_DATA(<ndarray>self.guards)
        self._expected = <const double *>PyArray_DATA(<ndarray>self.expected)
        self.n_inputs, self.n_results = len(inputs), len(results)
        self.dims = [tuple(shape) for _, shape in inputs]
        self.capture_dims = [array.shape for array, _ in captures]
        self.lists = []
        self.where = <int64_t *>PyMem_RawMalloc((2 * (self.n_inputs + self.n_results) + 1) * sizeof(int64_t))
        if self.where is NULL:
            raise MemoryError()
        if len(self.guards) != len(self.expected):
            raise ValueError("program: guards and their values do not belong together")
        check_slots(self.guards, 0, len(self.guards), n)
        for k, (slot, shape) in enumerate(inputs):
            size = prod(shape)
            within(slot, size, n, "an input")
            self.where[2 * k], self.where[2 * k + 1] = slot, size
        for array, slot in captures:
            within(slot, array.size, n, "a captured array")
        for k, (shape, slots) in enumerate(self.placed):
            if len(slots) != prod(shape):
                raise ValueError("program: a result has another shape")
            self.lists.append(way_out(slots, n, self.where + 2 * (self.n_inputs + k)))
        starts = [slot for slot, _ in code.regions]
        self.region_of = [starts.index(slot) if slot in starts and prod(shape) else -1 for slot, shape in inputs]
        self.capture_region = [starts.index(slot) if slot in starts else -1 for _, slot in captures]
        self.result_region = results_in_regions(self, starts)
        self.direct = any(region >= 0 for region in self.result_region)

    @property
    def results(self):
        """Shape and slots of each result."""
        return [(shape, slots.listed() if type(slots) is Slots else slots) for shape, slots in self.placed]

    def in_parts(self, list windows):
        """Execute some instructions part by part from now on; not while another thread uses the evaluator."""
        code, ready = self.code, ()
        if len(self.guards) and (code.work > CHECK or calls_python(code)):
            ready = ready_after(code, self.guards)
        self.windows = windows
        PyMem_RawFree(self._windows)
        self._windows = tables_of(windows)
        self.stops = stops(code.instructions, ready, windows) if windows or len(ready) else code.stops
        self._stops = <const int64_t *>PyArray_DATA(<ndarray>self.stops)

    def __dealloc__(self):
        PyMem_RawFree(self.where)
        PyMem_RawFree(self._windows)

    def __repr__(self):
        given, found = [", ".join([str(tuple(shape)) for shape in shapes])
                        for shapes in (self.dims, [shape for shape, _ in self.placed])]
        return f"<evaluator: {given} -> {found}>"

    cdef int load(self, Workspace space, object leaves) except -1:
        """Copy the arguments in; -2 when one is not what the program was made for."""
        cdef Py_ssize_t k, size, region
        cdef long long whole
        cdef int overflow
        cdef double *w
        cdef object x
        if len(leaves) != self.n_inputs:
            return -2
        for k in range(self.n_inputs):
            x = leaves[k]
            w = space.w + self.where[2 * k]
            size = self.where[2 * k + 1]
            if PyFloat_Check(x):
                if <tuple>self.dims[k]:
                    return -2
                w[0] = PyFloat_AS_DOUBLE(x)
                continue
            if PyLong_CheckExact(x):
                whole = PyLong_AsLongLongAndOverflow(x, &overflow)
                if <tuple>self.dims[k] or overflow or not -EXACT <= whole <= EXACT:
                    return -2
                w[0] = <double>whole
                continue
            if type(x) is ndarray and PyArray_TYPE(<ndarray>x) == NPY_INT64 and PyArray_IS_C_CONTIGUOUS(<ndarray>x) \
                    and PyArray_ISBEHAVED_RO(<ndarray>x):
                if not same_shape(<ndarray>x, <tuple>self.dims[k]) \
                        or not from_whole(size, <const int64_t *>PyArray_DATA(<ndarray>x), w):
                    return -2
                if self.region_of[k] >= 0:
                    region = self.region_of[k]
                    space.regions[region].data = w
                continue
            if type(x) is not ndarray or PyArray_TYPE(<ndarray>x) != NPY_DOUBLE \
                    or not PyArray_IS_C_CONTIGUOUS(<ndarray>x) or not PyArray_ISBEHAVED_RO(<ndarray>x):
                x = np.array(x, dtype=float64, order="C")
            if not same_shape(<ndarray>x, <tuple>self.dims[k]):
                return -2
            region = self.region_of[k]
            if region >= 0 and space.lanes == 1 and x is leaves[k]:
                space.regions[region].data = <const double *>PyArray_DATA(<ndarray>x)
                continue
            memcpy(w, PyArray_DATA(<ndarray>x), size * sizeof(double))
            if region >= 0:
                space.regions[region].data = w
        return 0

    cdef int load_captures(self, Workspace space) except -1:
        """Copy captured arrays in; -2 when one that must not has changed."""
        cdef object x
        cdef Py_ssize_t region, k = -1
        for array, slot in self.captures:
            x = array
            k += 1
            region = self.capture_region[k]
            if type(x) is not ndarray or PyArray_TYPE(<ndarray>x) != NPY_DOUBLE \
                    or not PyArray_IS_C_CONTIGUOUS(<ndarray>x) or not PyArray_ISBEHAVED_RO(<ndarray>x):
                x = np.array(x, dtype=float64, order="C")
            if not same_shape(<ndarray>x, <tuple>self.capture_dims[k]):
                return -2
            if region >= 0 and space.lanes == 1 and x is array:
                space.regions[region].data = <const double *>PyArray_DATA(<ndarray>x)
                continue
            memcpy(space.w + <Py_ssize_t>slot, PyArray_DATA(<ndarray>x), PyArray_SIZE(<ndarray>x) * sizeof(double))
            if region >= 0:
                space.regions[region].data = space.w + <Py_ssize_t>slot
        for array, copy in self.frozen:
            if not unchanged(array, copy):
                return -2
        return 0

    cdef int load_captures_of_rows(self, Workspace space) except -1:
        """Copy captured arrays in, the same for all lanes; -2 when one that must not has changed."""
        cdef Py_ssize_t k, i, l, lanes = space.lanes
        cdef const double *x
        for array, copy in self.frozen:
            if not unchanged(array, copy):
                return -2
        for k, (array, at) in enumerate(self.captures):
            array = np.asarray(array, float64, order="C")
            if not same_shape(<ndarray>array, <tuple>self.capture_dims[k]):
                return -2
            x = <const double *>PyArray_DATA(<ndarray>array)
            for i in range(array.size):
                for l in range(lanes):
                    space.w[(<Py_ssize_t>at + i) * lanes + l] = x[i]
        return 0

    cdef Py_ssize_t failed(self, Workspace space, Py_ssize_t lane) noexcept nogil:
        """The first guard that does not hold, -1 when all do."""
        return self.failed_among(space, lane, 0, PyArray_DIM(<ndarray>self.guards, 0))

    cdef Py_ssize_t failed_among(self, Workspace space, Py_ssize_t lane, Py_ssize_t first,
                                 Py_ssize_t last) noexcept nogil:
        """The same among some guards; nan is equal to nan, but not 0.0 to -0.0."""
        cdef Py_ssize_t k
        cdef double x, y
        for k in range(first, last):
            x, y = space.w[self._guards[k] * space.lanes + lane], self._expected[k]
            if x != y:
                if x == x or y == y:
                    return k
            elif x == 0.0 and signbit(x) != signbit(y):
                return k                              # Python may have seen the sign
        return -1

    cdef int aim(self, Workspace space, Py_ssize_t k, object out) except -1:
        """Let the k-th result be written where it is wanted, unless something that is read is there."""
        cdef Py_ssize_t region = self.result_region[k], j, first, size
        cdef const double *data = <const double *>PyArray_DATA(<ndarray?>out)
        cdef const double *other
        if region < 0:
            return 0
        size = self.code.regions[region][1]
        for j in range(len(self.code.regions)):
            other = space.regions[j].data
            if j != region and data < other + <Py_ssize_t>self.code.regions[j][1] and other < data + size:
                data = NULL
                break
        if data is NULL or not PyArray_ISBEHAVED(<ndarray>out):
            data = space.w + space.regions[region].start
        space.regions[region].data = data
        return 0

    cdef int copy_result(self, Workspace space, Py_ssize_t k, double *out) noexcept:
        """Copy the k-th result, unless it is there."""
        cdef Py_ssize_t slot = self.where[2 * (self.n_inputs + k)], size = self.where[2 * (self.n_inputs + k) + 1], i
        cdef Py_ssize_t region = self.result_region[k]
        cdef const int64_t *slots
        if region >= 0:
            if space.regions[region].data != out:
                memcpy(out, space.regions[region].data, size * sizeof(double))
        elif slot >= 0:
            memcpy(out, space.w + slot, size * sizeof(double))
        elif slot == -2:
            slots = <const int64_t *>PyArray_DATA(<ndarray>self.lists[k])
            for i in range(PyArray_DIM(<ndarray>self.lists[k], 0)):
                memcpy(out, space.w + slots[2 * i], slots[2 * i + 1] * sizeof(double))
                out += slots[2 * i + 1]
        else:
            slots = <const int64_t *>PyArray_DATA(<ndarray>self.lists[k])
            for i in range(size):
                out[i] = space.w[slots[i]]
        return 0

    def __call__(self, leaves, out=None):
        """Evaluate.

        Parameters
        ----------
        leaves : sequence
            One number or array for each input, of its shape.
        out : list, optional
            For each result an array to be filled, or None.

        Returns
        -------
        list of np.float64 and ndarray; (index, value) of the guard that does not hold; None when the arguments or
        frozen arrays are not those of this program.
        """
        cdef Workspace space = self.code.workspace(1)
        cdef Py_ssize_t k, d
        cdef npy_intp dims[64]
        cdef object shape, x
        if self.load(space, leaves) == -2 or (self.captures or self.frozen) and self.load_captures(space) == -2:
            self.code.give_back(space)
            return None
        if self.direct:
            out = list(out) if out is not None else [None] * self.n_results
            for k in range(self.n_results):
                if self.result_region[k] >= 0:
                    if out[k] is None:
                        out[k] = np.empty(self.placed[k][0])
                    self.aim(space, k, out[k])
        self.code.execute(space, self)
        k = self.failed(space, 0)
        if k >= 0:
            x = space.w[self._guards[k]]
            self.code.give_back(space)
            return k, x
        if space.errors is not None:
            raise space.errors[0]
        made = []
        for k in range(self.n_results):
            shape = self.placed[k][0]
            if out is not None and out[k] is not None:
                x = out[k]
                self.copy_result(space, k, <double *>PyArray_DATA(<ndarray?>x))
            elif len(shape) == 0:
                d = self.where[2 * (self.n_inputs + k)]
                x = float64(space.w[d])
            else:
                for d in range(len(shape)):
                    dims[d] = shape[d]
                x = PyArray_EMPTY(<int>len(shape), dims, NPY_DOUBLE, 0)
                self.copy_result(space, k, <double *>PyArray_DATA(<ndarray>x))
            made.append(x)
        self.code.give_back(space)
        return made

    def batch(self, list arrays, list stacked, Py_ssize_t first, Py_ssize_t last, list out, unsigned char[::1] holds,
              Py_ssize_t lanes, unsigned char[::1] cancel=None):
        """Evaluate rows [first, last) of a batch, side by side, without the GIL.

        Parameters
        ----------
        arrays : list of ndarray
            For each input a float64 array in C order; with a leading axis of rows where `stacked` says so.
        out : list of ndarray
            For each result an array of rows, to be filled; each row in C order, the rows any distance apart.
        holds : array of uint8, or bytearray
            By row: set to 0 where a guard does not hold.
        lanes : int
            How many rows go together.
        cancel : array of one uint8, optional
            Another thread sets it to end this call early.

        Returns
        -------
        bool
            False when captured or frozen arrays are not those of this program.
        """
        cdef Workspace space
        cdef Py_ssize_t k, rows = holds.shape[0]
        cdef Rows *ports
        if not 0 <= first < last <= rows or len(arrays) != self.n_inputs or len(stacked) != self.n_inputs \
                or len(out) != self.n_results:
            raise ValueError(f"batch: {len(arrays)} inputs, {len(out)} results and rows {first} to {last} of {rows} do "
                             "not fit")
        for k in range(self.n_inputs):
            check_rows(arrays[k], self.dims[k], rows if stacked[k] else -1)
        for k in range(self.n_results):
            check_rows(out[k], self.placed[k][0], rows)
        space = self.code.workspace(lanes)
        if self.load_captures_of_rows(space) == -2:
            return False
        ports = <Rows *>PyMem_RawMalloc((self.n_inputs + self.n_results + 1) * sizeof(Rows))
        if ports is NULL:
            raise MemoryError()
        try:
            for k in range(self.n_inputs + self.n_results):
                array = arrays[k] if k < self.n_inputs else out[k - self.n_inputs]
                ports[k].data = <double *>PyArray_DATA(<ndarray>array)
                ports[k].slot, ports[k].size = self.where[2 * k], self.where[2 * k + 1]
                ports[k].slots = NULL
                ports[k].step = 0
                if k >= self.n_inputs or stacked[k]:
                    ports[k].step = PyArray_STRIDE(<ndarray>array, 0) // <Py_ssize_t>sizeof(double)
                if ports[k].slot < 0:
                    ports[k].slots = <const int64_t *>PyArray_DATA(<ndarray>self.placed[k - self.n_inputs][1])
            self.run_rows(space, ports, ports + self.n_inputs, first, last, &holds[0],
                          NULL if cancel is None else &cancel[0])
        finally:
            PyMem_RawFree(ports)
        self.code.give_back(space)
        return True

    cdef int run_rows(self, Workspace space, const Rows *inputs, const Rows *outputs, Py_ssize_t first, Py_ssize_t last,
                      unsigned char *holds, const unsigned char *cancel) except -1:
        """The loop of `batch`: load, execute, check the guards, store; `lanes` rows at a time."""
        cdef Code code = self.code
        cdef Py_ssize_t lanes = space.lanes, row = first, m, k, l, done = 0
        with nogil:
            while row < last and (cancel is NULL or not cancel[0]):
                m = min(lanes, last - row)
                for k in range(self.n_inputs):
                    if inputs[k].step or row == first:
                        load_rows(&inputs[k], space.w, lanes, row, m)
                if code.run(space, self, cancel):
                    return 0
                for l in range(m):
                    if self.failed(space, l) >= 0:
                        holds[row + l] = 0
                if space.failing:
                    with gil:
                        for lane in space.errors:
                            if <Py_ssize_t>lane < m:
                                holds[row + <Py_ssize_t>lane] = 0
                for k in range(self.n_results):
                    store_rows(&outputs[k], space.w, lanes, row, m)
                row += m
                done += code.work * lanes
                if done > POLL:
                    done = 0
                    with gil:
                        PyErr_CheckSignals()
        return 0


# ---- calls -----------------------------------------------------------------------------------------------------
cdef class Replay:
    """The short way of a compiled function; `fastad.compiled` has the long one."""

    def __call__(self, *args, **kwargs):
        """The value of the function."""
        if self.quick_value is not None and not kwargs and plain_numbers(args, self.quick_value.whole) \
                and not tracing():
            made = self.quick_value(args)
            if type(made) is list:
                return (<list>made)[0]
        return self.long_call(args, kwargs)

    def value_and_grad(self, *args, out=None, **kwargs):
        """The value and the gradient with respect to the arguments of `argnums`.

        Parameters
        ----------
        *args, **kwargs
            As for the function.
        out : ndarray or sequence of ndarray, optional
            Float64 arrays, one for each differentiated array, that the gradient is written into and that come back.

        Returns
        -------
        value : np.float64
        gradient : in the form of the differentiated argument, a tuple of them for several

        Examples
        --------
        >>> import numpy as np
        >>> import fastad as fa
        >>> f = fa.compile(lambda x: np.sum(x ** 2))
        >>> value, gradient = f.value_and_grad(np.array([1.0, 2.0]))
        >>> float(value), gradient
        (5.0, array([2., 4.]))
        """
        if self.quick_grad is not None and out is None and not kwargs and plain_numbers(args, self.quick_grad.whole) \
                and not tracing():
            made = self.quick_grad(args)
            if type(made) is list:
                if self.several:
                    return (<list>made)[0], tuple((<list>made)[1:])
                return (<list>made)[0], (<list>made)[1]
        return self.long_value_and_grad(args, kwargs, out)

    def grad(self, *args, out=None, **kwargs):
        """The gradient with respect to the arguments of `argnums`; parameters as for `value_and_grad`.

        Examples
        --------
        >>> import numpy as np
        >>> import fastad as fa
        >>> buffer = np.empty(2)
        >>> fa.compile(lambda x: np.sum(x ** 3)).grad(np.array([1.0, 2.0]), out=buffer) is buffer, buffer
        (True, array([ 3., 12.]))
        """
        return self.value_and_grad(*args, out=out, **kwargs)[1]

    def quick_matrix(self, str kind, tuple args, bint sparse=False):
        """A Jacobian or Hessian by the program of the last call; None when it does not fit.

        `sparse`: the pair of its elements that can be other than zero, and their pattern.
        """
        found = self.quick_matrices.get(kind)
        if found is None or not plain_numbers(args, None) or tracing():
            return None
        evaluator, pattern, shape = found
        made = None if sparse and pattern is None else evaluator(args)
        if type(made) is not list:
            return None
        if sparse:
            return made[0], pattern
        return made[0].reshape(shape) if pattern is None else scattered(made[0], pattern.places, shape)


cdef class Bound:
    """A gradient with a workspace and buffers of its own: calls allocate nothing but the number they return.

    Made by ``bind`` of a compiled function. Call it with arguments like those it was bound with: it returns the value,
    and `gradient` holds the gradient until the next call. It belongs to one thread.

    Examples
    --------
    >>> import fastad as fa
    >>> b = fa.compile(lambda x, y: x * y, argnums=(0, 1)).bind(1.0, 1.0)
    >>> b(2.0, 3.0), b.gradient
    (6.0, (array(3.), array(2.)))
    """

    def __init__(self, function, Evaluator evaluator, gradient, list buffers, slow, bint quick):
        self.function, self.evaluator, self.gradient, self.buffers = function, evaluator, gradient, buffers
        self.slow, self.quick = slow, quick
        self.space = evaluator.code.workspace(1)

    def __repr__(self):
        given, found = [", ".join([str(shape) for shape in shapes])
                        for shapes in (self.evaluator.dims, [array.shape for array in self.buffers])]
        return f"<bound evaluator: arguments of shapes {given}, gradient {found}>"

    def __call__(self, *args):
        cdef Evaluator e = self.evaluator
        cdef Py_ssize_t k
        if self.quick and not observers and plain_numbers(args, e.whole) and e.load(self.space, args) == 0 \
                and ((not e.captures and not e.frozen) or e.load_captures(self.space) == 0):
            if e.direct:
                for k in range(1, e.n_results):
                    e.aim(self.space, k, self.buffers[k - 1])
            e.code.execute(self.space, e)
            if e.failed(self.space, 0) < 0 and self.space.errors is None:
                for k in range(1, e.n_results):
                    e.copy_result(self.space, k, <double *>PyArray_DATA(<ndarray>self.buffers[k - 1]))
                k = e.where[2 * e.n_inputs]
                return self.space.w[k]
        return self.slow(args, self.buffers)
