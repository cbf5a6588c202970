"""The code of compiled functions: instructions over a workspace of slots, validated when made, executed without the GIL."""
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcmp, memcpy
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_Check
from numpy cimport (
    NPY_DOUBLE, PyArray_DATA, PyArray_DIM, PyArray_EMPTY, PyArray_IS_C_CONTIGUOUS, PyArray_ISBEHAVED_RO, PyArray_NDIM, PyArray_SIZE,
    PyArray_TYPE, import_array, ndarray, npy_intp,
)

from fastad._tape cimport OP_COUNT, ensure_loops, execute, fa_rows

import numpy as np

from . import variable

cdef extern from "<math.h>" nogil:
    bint signbit(double x) noexcept

cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1

import_array()

cdef object float64 = np.float64
cdef object tracing = variable.is_tracing

cdef enum:
    RUN_STRIP = 512                   # as in _execute.h
    SIZE = 96                         # of an instruction
    LONG = 1 << 20                    # so much work is worth letting other threads run, and looking for signals after
    SHORT = 2000                      # and so much is not worth letting go of the GIL

KINDS = ("scalars", "run", "line", "map", "add", "fill", "chain", "matmul", "gather", "call", "copy", "sum")
INSTRUCTION = np.dtype([(name, np.int64) for name in ("n", "v", "a", "b", "ia", "ib", "first", "count")]
                       + [(name, np.int32) for name in ("kind", "op", "av", "aa", "ab", "ra", "rb", "unused")])
SCALAR = np.dtype([(name, np.int32) for name in ("op", "v", "a", "b")])
STRIP = RUN_STRIP
assert INSTRUCTION.itemsize == SIZE


cdef class Workspace:
    def __dealloc__(self):
        PyMem_RawFree(self.w)
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
        Arguments that are read where the caller has them.

    Raises
    ------
    ValueError
        When an instruction reaches outside of the workspace or the tables.
    """

    def __init__(self, instructions, scalars, pool, image, list calls, Py_ssize_t n_slots, list regions=[]):
        self.instructions = np.ascontiguousarray(instructions, INSTRUCTION)
        self.scalars = np.ascontiguousarray(scalars, SCALAR)
        self.pool = np.ascontiguousarray(pool, np.int64)
        self.image = np.ascontiguousarray(image, np.float64)
        self.calls = calls
        self.n_slots, self.regions = n_slots, regions
        for table in (self.instructions, self.scalars, self.pool, self.image):
            table.setflags(write=False)
        validate(self)
        for op in np.flatnonzero(np.bincount(np.append(self.scalars["op"], self.instructions["op"]), minlength=1)):
            if op:
                ensure_loops(op)
        self.stops = stops(self.instructions)
        self._instructions = PyArray_DATA(<ndarray>self.instructions)
        self._scalars = PyArray_DATA(<ndarray>self.scalars)
        self._pool = <const int64_t *>PyArray_DATA(<ndarray>self.pool)
        self._image = <const double *>PyArray_DATA(<ndarray>self.image)
        self._stops = <const int64_t *>PyArray_DATA(<ndarray>self.stops)
        self.free = []

    cdef Workspace workspace(self, Py_ssize_t lanes):
        """The memory for one call; constants stand in it already."""
        cdef Workspace space
        cdef Py_ssize_t k, l, n = PyArray_DIM(<ndarray>self.image, 0)
        if lanes == 1 and self.free:
            return self.free.pop()
        space = Workspace.__new__(Workspace)
        space.lanes = lanes
        space.w = <double *>PyMem_RawMalloc((self.n_slots + 2 * RUN_STRIP) * lanes * sizeof(double))
        if space.w is NULL:
            raise MemoryError(f"fastad: no memory for the {self.n_slots * lanes} numbers of a compiled function's workspace")
        space.work = space.w + self.n_slots * lanes
        space.regions = <Region *>PyMem_RawMalloc((len(self.regions) + 1) * sizeof(Region))
        if space.regions is NULL:
            raise MemoryError()
        for k in range(len(self.regions)):
            space.regions[k].start = self.regions[k][0]
            space.regions[k].data = space.w + space.regions[k].start
        if lanes == 1:
            memcpy(space.w, self._image, n * sizeof(double))
        else:
            for k in range(n):
                for l in range(lanes):
                    space.w[k * lanes + l] = self._image[k]
        return space

    cdef void give_back(self, Workspace space):
        """Keep a workspace for the next call."""
        if space.lanes == 1 and len(self.free) < 8:
            self.free.append(space)

    cdef int execute(self, Workspace space) except -1:
        """Run all instructions."""
        cdef const void *regions = NULL
        cdef Py_ssize_t at = 0, stop, k = 0, n = PyArray_DIM(<ndarray>self.instructions, 0)
        if space.lanes == 1:
            regions = space.regions
        while at < n:
            stop = self._stops[k]
            if self._stops[k + 1]:
                with nogil:
                    at = execute(self._instructions, at, stop, self._scalars, self._pool, space.w, space.lanes, space.work, regions)
            else:
                at = execute(self._instructions, at, stop, self._scalars, self._pool, space.w, space.lanes, space.work, regions)
            k += 2
            if at == n:
                break
            if self._stops[k]:
                self.call(at, space)
                at += 1
            else:
                PyErr_CheckSignals()
            k += 1
        return 0

    cdef int call(self, Py_ssize_t k, Workspace space) except -1:
        """Run a CALL instruction: the pool holds the number of operands with (slot, size) of each, and the same for results."""
        row = self.instructions[k]
        cdef Py_ssize_t first = row["first"], j, lane, size, i, lanes = space.lanes
        cdef const int64_t *p = self._pool + first
        cdef Py_ssize_t n_in = p[0], n_out = p[1 + 2 * n_in]
        cdef const int64_t *outs = p + 2 + 2 * n_in
        cdef const double[::1] out
        rule = self.calls[row["count"]]
        for lane in range(lanes):
            inputs = []
            for j in range(n_in):
                size = p[2 + 2 * j]
                inputs.append(np.array(<double[:size, :lanes]>(space.w + p[1 + 2 * j] * lanes))[:, lane].copy() if size
                              else np.empty(0))
            outputs = rule.forward(inputs)
            for j in range(n_out):
                size = outs[2 * j + 1]
                out = np.ascontiguousarray(outputs[j], np.float64).reshape(-1)
                if out.shape[0] != size:
                    raise RuntimeError(f"{rule.name}: gave {out.shape[0]} numbers where it gave {size} when it was traced")
                for i in range(size):
                    space.w[(outs[2 * j] + i) * lanes + lane] = out[i]
        return 0


def stops(instructions):
    """Where execution stops, as triples: before which instruction, whether the way there is long, whether it is a call there."""
    cost = np.maximum(instructions["n"] * np.maximum(instructions["count"], 1), 1)
    rows, start, work = [], 0, 0
    for k, kind in enumerate(instructions["kind"].tolist()):
        if kind == 2 or kind == 11:                   # the lines of a run go with it
            continue
        if kind == 9:
            rows += [k, work > SHORT, 1]
            work = 0
            continue
        if work > LONG:
            rows += [k, 1, 0]
            work = 0
        work += int(cost[k])
    rows += [len(instructions), work > SHORT, 0]
    return np.array(rows, np.int64)


def validate(Code code):
    """Check that no instruction can reach outside of the workspace, the pool or the other tables."""
    ins, pool, n = code.instructions, code.pool, code.n_slots
    if n < 1 or n > 1 << 40 or len(code.image) < 1 or len(code.image) > n:
        raise ValueError(f"program: {len(code.image)} values do not fit into {n} slots")
    s = code.scalars
    for slots in [s["v"], s["a"], s["b"]]:
        if len(s) and (slots.min() < 0 or slots.max() >= n):
            raise ValueError("program: a scalar instruction reaches outside of the workspace")
    if len(s) and (s["op"].min() < 1 or s["op"].max() >= OP_COUNT):
        raise ValueError("program: a scalar instruction has no function")
    k = 0
    while k < len(ins):
        p = ins[k]
        kind = int(p["kind"])
        if not 0 <= kind < len(KINDS) or kind == 2 or kind == 11:
            raise ValueError(f"program: instruction {k} is of no kind")
        if kind == 1:
            count = int(p["count"])
            if not 0 < count < len(ins) - k:
                raise ValueError(f"program: run {k} has no lines")
            for q in ins[k + 1:k + 1 + count]:
                if q["kind"] not in (2, 11) or q["n"] != p["n"]:
                    raise ValueError(f"program: run {k} holds something else than lines of its length")
                check_line(q, pool, n)
                check_regions(code, q)
            k += count + 1
            continue
        check_single(code, p, kind)
        check_regions(code, p)
        k += 1


cdef int bad(str what) except -1:
    raise ValueError(f"program: {what} reaches outside of its table")


cdef int within(Py_ssize_t first, Py_ssize_t count, Py_ssize_t n, str what) except -1:
    if count < 0 or first < 0 or first > n or count > n - first:
        bad(what)
    return 0


cdef int check_slots(object pool, Py_ssize_t first, Py_ssize_t count, Py_ssize_t n) except -1:
    """Check an index list."""
    within(first, count, len(pool), "an index list")
    if count and (pool[first:first + count].min() < 0 or pool[first:first + count].max() >= n):
        bad("an index")
    return 0


cdef int check_regions(Code code, object p) except -1:
    """Check that operands said to be in a region are."""
    cdef Py_ssize_t low, high, first
    kind = int(p["kind"])
    for which, (slot, on, index, region) in enumerate(((p["a"], p["aa"], p["ia"], p["ra"]), (p["b"], p["ab"], p["ib"], p["rb"]))):
        if region < 0:
            continue
        if kind not in (2, 3, 4, 7, 11) or index >= 0 or slot < 0 or region >= len(code.regions):
            bad("a region")
        first, size = code.regions[region]
        low, high = slot, slot
        if kind == 2 or kind == 11:
            high = slot + reach(p, on, which, code.pool) - 1
        elif kind == 7:
            low, high = matrix_bounds(code.pool, p["first"], which + 1, slot)
        else:
            low, high = view_bounds(code.pool, p["first"], which + 1, slot)
        if low < first or high >= first + size:
            bad("a region")
    return 0


cdef Py_ssize_t reach(object q, int on, int which, object pool) except -1:
    """How many slots a line's operand takes, one that is no index list."""
    cdef Py_ssize_t first = q["first"] + 3 * which
    if on != 2:
        return q["n"] if on else min(<Py_ssize_t>q["n"], RUN_STRIP)
    within(first, 3, len(pool), "an operand in blocks")
    width, span, count = [int(z) for z in pool[first:first + 3]]
    if min(width, span, count) < 1 or max(width, span, count, width * count) > 1 << 40:
        bad("an operand in blocks")
    return width * count


cdef tuple view_bounds(object pool, Py_ssize_t first, int which, Py_ssize_t slot):
    """First and last slot of one operand (0 the result, 1, 2) of a layout in the pool."""
    nd = int(pool[first])
    low = high = slot
    for d in range(nd):
        length, stride = int(pool[first + 1 + d]), int(pool[first + 1 + (which + 1) * nd + d])
        if length < 1:
            bad("a layout")
        low += min(stride, 0) * (length - 1)
        high += max(stride, 0) * (length - 1)
    return low, high


cdef tuple matrix_bounds(object pool, Py_ssize_t first, int which, Py_ssize_t slot):
    """The same of a matrix product."""
    q = [int(z) for z in pool[first:first + 13]]
    sizes = ((q[0], q[1], q[2]), (q[0], q[1], q[3]), (q[0], q[3], q[2]))[which]
    low = high = int(slot)
    for m, s in zip(sizes, q[4 + 3 * which:7 + 3 * which]):
        low += min(s, 0) * (m - 1)
        high += max(s, 0) * (m - 1)
    return low, high


cdef int check_line(object q, object pool, Py_ssize_t n) except -1:
    """Check one line of a run."""
    cdef Py_ssize_t length = q["n"], strip = min(length, RUN_STRIP)
    if q["kind"] == 11:
        within(q["v"], 1, n, "a sum")
        if q["b"] != -1 or q["ib"] >= 0:
            bad("a sum")
    elif not 0 < q["op"] < OP_COUNT:
        bad("an opcode")
    if q["kind"] == 2:
        within(q["v"], length if q["av"] else strip, n, "a line")
    for which, (slot, on, index) in enumerate(((q["a"], q["aa"], q["ia"]), (q["b"], q["ab"], q["ib"]))):
        if index >= 0:
            check_slots(pool, index, length, n)
        elif slot != -1:
            within(slot, reach(q, on, which, pool), n, "a line")
    if q["v"] < 0 or (q["a"] < 0 and q["ia"] < 0) or (q["kind"] == 2 and fa_rows[<int>q["op"]].arity == 2
                                                                      and q["b"] < 0 and q["ib"] < 0):
        bad("a line")
    return 0


cdef int check_view(object pool, Py_ssize_t first, int which, Py_ssize_t slot, Py_ssize_t n) except -1:
    """Check one operand (0 the result, 1, 2) of a layout in the pool."""
    low, high = view_bounds(pool, first, which, slot)
    if low < 0 or high >= n:
        bad("a view")
    return 0


cdef int check_single(Code code, object p, int kind) except -1:
    """Check an instruction that is no run."""
    cdef Py_ssize_t n = code.n_slots, length = p["n"], first = p["first"], j, k, nd
    pool = code.pool
    if length < 0:
        bad("a length")
    if kind == 0:
        within(first, length, len(code.scalars), "a stretch of scalar instructions")
    elif kind == 3 or kind == 4:
        if not 0 < p["op"] < OP_COUNT or (fa_rows[<int>p["op"]].arity == 2 and p["b"] < 0):
            bad("an opcode")
        within(first, 1, len(pool), "a layout")
        nd = pool[first]
        if not 0 < nd < 63:
            bad("a layout")
        within(first, 1 + 4 * nd, len(pool), "a layout")
        check_view(pool, first, 0, p["v"], n)
        check_view(pool, first, 1, p["a"], n)
        if p["b"] >= 0:
            check_view(pool, first, 2, p["b"], n)
    elif kind == 5:
        within(p["v"], length, n, "a fill")
        within(p["a"], 1, n, "a fill")
    elif kind == 6:
        count = int(p["count"])
        if count < 0 or length > 1 << 40 or count > 1 << 40:
            bad("a chain")
        within(p["v"], length, n, "a chain")
        within(p["a"], length if p["aa"] else 1, n, "a chain")
        if p["ib"] >= 0:
            check_slots(pool, p["ib"], length * count, n)
        else:
            within(p["b"], length * count, n, "a chain")
    elif kind == 7:
        within(first, 13, len(pool), "a matrix product")
        q = [int(z) for z in pool[first:first + 13]]
        if min(q[:4]) < 1 or max(q[:4]) > 1 << 40:
            bad("a matrix product")
        for which, slot in enumerate((p["v"], p["a"], p["b"])):
            low, high = matrix_bounds(pool, first, which, slot)
            if low < 0 or high >= n:
                bad("a matrix product")
    elif kind == 8:
        within(p["v"], length, n, "a gather")
        check_slots(pool, p["ia"], length, n)
    elif kind == 10:
        within(p["v"], length, n, "a copy")
        within(p["a"], length, n, "a copy")
        if p["v"] < p["a"] + length and p["a"] < p["v"] + length:
            bad("a copy")
    else:
        within(p["count"], 1, len(code.calls), "a call")
        within(first, 1, len(pool), "a call")
        for _ in range(2):
            nd = pool[first]
            if nd < 0 or nd > 1 << 30:
                bad("a call")
            within(first, 1 + 2 * nd, len(pool), "a call")
            for j in range(nd):
                within(pool[first + 1 + 2 * j], pool[first + 2 + 2 * j], n, "a call")
            first += 1 + 2 * nd
            if _ == 0:
                within(first, 1, len(pool), "a call")
    return 0


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
    """

    def __init__(self, Code code, list inputs, list captures, list frozen, guards, expected, list results):
        cdef Py_ssize_t k, n = code.n_slots
        self.code, self.inputs, self.captures, self.frozen, self.results = code, inputs, captures, frozen, results
        self.guards = np.ascontiguousarray(guards, np.int64)
        self.expected = np.ascontiguousarray(expected, np.float64)
        self._guards = <const int64_t *>PyArray_DATA(<ndarray>self.guards)
        self._expected = <const double *>PyArray_DATA(<ndarray>self.expected)
        self.n_inputs, self.n_results = len(inputs), len(results)
        self.dims = [tuple(shape) for _, shape in inputs]
        self.capture_dims = [np.shape(array) for array, _ in captures]
        self.lists = []
        self.where = <int64_t *>PyMem_RawMalloc((2 * (self.n_inputs + self.n_results) + 1) * sizeof(int64_t))
        if self.where is NULL:
            raise MemoryError()
        if len(self.guards) != len(self.expected):
            raise ValueError("program: guards and their values do not belong together")
        check_slots(self.guards, 0, len(self.guards), n)
        for k, (slot, shape) in enumerate(inputs):
            size = int(np.prod(shape, dtype=np.int64))
            within(slot, size, n, "an input")
            self.where[2 * k], self.where[2 * k + 1] = slot, size
        for array, slot in captures:
            within(slot, array.size, n, "a captured array")
        for k, (shape, slots) in enumerate(results):
            slots = np.ascontiguousarray(slots, np.int64)
            if slots.shape[0] != int(np.prod(shape, dtype=np.int64)):
                raise ValueError("program: a result has another shape")
            check_slots(slots, 0, slots.shape[0], n)
            breaks = np.flatnonzero(np.diff(slots) != 1) + 1
            row = len(breaks) == 0
            self.where[2 * (self.n_inputs + k)] = (slots[0] if slots.shape[0] else 0) if row else -1
            self.where[2 * (self.n_inputs + k) + 1] = slots.shape[0]
            if not row and len(breaks) * 8 < slots.shape[0]:      # a few stretches
                starts = np.concatenate([[0], breaks])
                lengths = np.diff(np.append(starts, slots.shape[0]))
                self.where[2 * (self.n_inputs + k)] = -2
                self.lists.append(np.ascontiguousarray(np.stack([slots[starts], lengths], axis=1)))
            else:
                self.lists.append(None if row else slots)
        starts = [slot for slot, _ in code.regions]
        self.region_of = [starts.index(slot) if slot in starts and np.prod(shape) else -1 for slot, shape in inputs]
        self.capture_region = [starts.index(slot) if slot in starts else -1 for _, slot in captures]

    def __dealloc__(self):
        PyMem_RawFree(self.where)

    cdef int load(self, Workspace space, object leaves) except -1:
        """Copy the arguments in; -2 when one is not what the program was made for."""
        cdef Py_ssize_t k, size, region
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
            if type(x) is not ndarray or PyArray_TYPE(<ndarray>x) != NPY_DOUBLE or not PyArray_IS_C_CONTIGUOUS(<ndarray>x) \
                    or not PyArray_ISBEHAVED_RO(<ndarray>x):
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
            if type(x) is not ndarray or PyArray_TYPE(<ndarray>x) != NPY_DOUBLE or not PyArray_IS_C_CONTIGUOUS(<ndarray>x) \
                    or not PyArray_ISBEHAVED_RO(<ndarray>x):
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

    cdef Py_ssize_t failed(self, Workspace space, Py_ssize_t lane) noexcept nogil:
        """The first guard that does not hold, -1 when all do; nan is equal to nan, but not 0.0 to -0.0."""
        cdef Py_ssize_t k, n = PyArray_DIM(<ndarray>self.guards, 0)
        cdef double x, y
        for k in range(n):
            x, y = space.w[self._guards[k] * space.lanes + lane], self._expected[k]
            if x != y:
                if x == x or y == y:
                    return k
            elif x == 0.0 and signbit(x) != signbit(y):
                return k                              # Python may have seen the sign
        return -1

    cdef int copy_result(self, Workspace space, Py_ssize_t k, double *out) noexcept:
        """Copy the k-th result."""
        cdef Py_ssize_t slot = self.where[2 * (self.n_inputs + k)], size = self.where[2 * (self.n_inputs + k) + 1], i
        cdef const int64_t *slots
        if slot >= 0:
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
        list of np.float64 and ndarray; (index, value) of the guard that does not hold; None when the arguments or frozen
        arrays are not those of this program.
        """
        cdef Workspace space = self.code.workspace(1)
        cdef Py_ssize_t k, d
        cdef npy_intp dims[64]
        cdef object shape, x
        if self.load(space, leaves) == -2 or (self.captures or self.frozen) and self.load_captures(space) == -2:
            self.code.give_back(space)
            return None
        self.code.execute(space)
        k = self.failed(space, 0)
        if k >= 0:
            x = space.w[self._guards[k]]
            self.code.give_back(space)
            return k, x
        made = []
        for k in range(self.n_results):
            shape = self.results[k][0]
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

    def batch(self, list arrays, list stacked, Py_ssize_t first, Py_ssize_t last, list out, unsigned char[::1] holds, Py_ssize_t lanes):
        """Evaluate rows [first, last) of a batch, side by side.

        Parameters
        ----------
        arrays : list of ndarray
            For each input a float64 array in C order; with a leading axis of rows where `stacked` says so.
        out : list of ndarray
            For each result an array of rows, to be filled.
        holds : array of uint8
            By row: set to 0 where a guard does not hold.
        lanes : int
            How many rows go together.
        """
        cdef Workspace space = self.code.workspace(lanes)
        cdef Py_ssize_t row, k, i, l, size, m, slot, src
        cdef const double *x
        cdef double *y
        cdef double *w
        cdef const int64_t *slots
        cdef list full = [np.ascontiguousarray(z, np.int64) for _, z in self.results]
        if self.captures or self.frozen:
            for array, copy in self.frozen:
                if not unchanged(array, copy):
                    return False
            for k, (array, at) in enumerate(self.captures):
                array = np.asarray(array, float64, order="C")
                if not same_shape(<ndarray>array, <tuple>self.capture_dims[k]):
                    return False
                x = <const double *>PyArray_DATA(<ndarray>array)
                for i in range(array.size):
                    for l in range(lanes):
                        space.w[(<Py_ssize_t>at + i) * lanes + l] = x[i]
        for row in range(first, last, lanes):
            m = min(lanes, last - row)
            for k in range(self.n_inputs):
                if row > first and not stacked[k]:
                    continue
                size = self.where[2 * k + 1]
                x = <const double *>PyArray_DATA(<ndarray?>arrays[k])
                w = space.w + self.where[2 * k] * lanes
                for l in range(lanes):
                    src = (row + min(l, m - 1)) * size if stacked[k] else 0
                    for i in range(size):
                        w[i * lanes + l] = x[src + i]
            self.code.execute(space)
            for l in range(m):
                if self.failed(space, l) >= 0:
                    holds[row + l] = 0
            for k in range(self.n_results):
                size = self.where[2 * (self.n_inputs + k) + 1]
                slot = self.where[2 * (self.n_inputs + k)]
                y = <double *>PyArray_DATA(<ndarray?>out[k]) + row * size
                slots = NULL
                if slot < 0:
                    slots = <const int64_t *>PyArray_DATA(<ndarray>full[k])
                for i in range(size):
                    w = space.w + (slot + i if slots is NULL else slots[i]) * lanes
                    for l in range(m):
                        y[l * size + i] = w[l]
        return True


cdef inline bint plain_numbers(tuple args) noexcept:
    """Whether all arguments are Python floats and float64 arrays: of the kind that was traced, if their shapes are."""
    for x in args:
        if not PyFloat_Check(x) and (type(x) is not ndarray or PyArray_TYPE(<ndarray>x) != NPY_DOUBLE):
            return False
    return True


# ---- calls -----------------------------------------------------------------------------------------------------
cdef class Replay:
    """The short way of a compiled function; `fastad.compiled` has the long one."""

    def __call__(self, *args, **kwargs):
        """The value of the function."""
        if self.quick_value is not None and not kwargs and plain_numbers(args) and not tracing():
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
        """
        if self.quick_grad is not None and out is None and not kwargs and plain_numbers(args) and not tracing():
            made = self.quick_grad(args)
            if type(made) is list:
                if self.several:
                    return (<list>made)[0], tuple((<list>made)[1:])
                return (<list>made)[0], (<list>made)[1]
        return self.long_value_and_grad(args, kwargs, out)

    def grad(self, *args, out=None, **kwargs):
        """The gradient with respect to the arguments of `argnums`; parameters as for `value_and_grad`."""
        return self.value_and_grad(*args, out=out, **kwargs)[1]


cdef class Bound:
    """A gradient with a workspace and buffers of its own: calls allocate nothing but the number they return.

    Made by ``bind`` of a compiled function. Call it with arguments like those it was bound with: it returns the value, and
    `gradient` holds the gradient until the next call. It belongs to one thread.
    """

    def __init__(self, Evaluator evaluator, gradient, list buffers, slow, bint quick):
        self.evaluator, self.gradient, self.buffers, self.slow, self.quick = evaluator, gradient, buffers, slow, quick
        self.space = evaluator.code.workspace(1)

    def __call__(self, *args):
        cdef Evaluator e = self.evaluator
        cdef Py_ssize_t k
        if self.quick and plain_numbers(args) and e.load(self.space, args) == 0 \
                and ((not e.captures and not e.frozen) or e.load_captures(self.space) == 0):
            e.code.execute(self.space)
            if e.failed(self.space, 0) < 0:
                for k in range(1, e.n_results):
                    e.copy_result(self.space, k, <double *>PyArray_DATA(<ndarray>self.buffers[k - 1]))
                k = e.where[2 * e.n_inputs]
                return self.space.w[k]
        return self.slow(args, self.buffers)
