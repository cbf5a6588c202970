"""The tape: one growing memory of values, its mirror of adjoints, and the records that connect their slots.

Every record owns a block of slots right behind the block of the record before it, so the sweeps find a record's result
by counting: one slot for a scalar record, ``size`` slots for a wide one. Scalar records are the columns `link`, `dx`,
`dy` alone; their forward pass has stored the partials, so that the reverse loop names no operator.

Nothing moves between `reserve` and the record it was called for. Only `reserve` may collect (compact the tape and
renumber slots), so offsets are read after it.
"""
cimport cython
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_RawFree, PyMem_RawMalloc, PyMem_RawRealloc
from libc.stdint cimport int32_t, int64_t, intptr_t, uint8_t, uint64_t
from libc.string cimport memcmp, memcpy, memmove, memset
from numpy cimport NPY_DOUBLE, PyArray_DATA, PyArray_IS_C_CONTIGUOUS, PyArray_TYPE, ndarray

from fastad._scalar cimport OP_COUNT, OP_drop, OP_keep, OP_positive, OP_stop, scalar_eval

import os
import threading
from operator import attrgetter

import numpy as np

from . import ops as table
from .errors import FreedGraphError, TraceError

cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1
    void *PyErr_Occurred()
    const Py_ssize_t PY_SSIZE_T_MAX

cdef extern from "_kernels.h":
    ctypedef struct fa_ufunc:
        void (*call)(char **, const intptr_t *, const intptr_t *, void *) noexcept nogil
        void *data
    fa_ufunc *fa_loops
    fa_ufunc fa_loop_table[]
    fa_ufunc fa_matmul
    void *fa_thread_tape
    int fa_count_bits(uint64_t w) noexcept nogil
    const char *fa_dispatch(int level) noexcept nogil
    int (*fa_from_whole)(Py_ssize_t n, const int64_t *x, double *out) noexcept nogil
    void line_forward(int op, int accumulate, Py_ssize_t n, const double *x, Py_ssize_t sx, const double *y,
                      Py_ssize_t sy, double *v, Py_ssize_t sv) noexcept nogil
    void map_forward(int op, int accumulate, const int64_t *layout, const double *x, const double *y,
                     double *v) noexcept nogil
    void map_adjoint(int op, const int64_t *layout, const double *x, const double *y, const double *v,
                     const double *g, double *gx, double *gy) noexcept nogil
    void swap_view(const int64_t *layout, double *view, double *saved) noexcept nogil
    void overwrite_view(const int64_t *layout, double *view, double *saved, const double *source) noexcept nogil
    void fill(Py_ssize_t n, double c, double *d) noexcept nogil
    void fill_view(const int64_t *layout, double *view, double c) noexcept nogil
    void matmul_forward(const int64_t *p, const double *a, const double *b, double *out) noexcept nogil
    int matmul_adjoint(const int64_t *p, const double *a, const double *b, const double *g, double *ga,
                       double *gb) noexcept nogil
    void map_tangent(int op, const int64_t *layout, const double *x, const double *y, const double *v,
                     const double *xd, const double *yd, double *vd) noexcept nogil
    int matmul_tangent(const int64_t *p, const double *a, const double *b, const double *ad, const double *bd,
                       double *vd) noexcept nogil
    bint all_nothing(const double *g, Py_ssize_t n) noexcept nogil
    const int FASTAD_DEBUG
    const char *FASTAD_COMPILER

cdef extern from "_execute.h":        # after _kernels.h, whose kernels it calls
    ctypedef struct fa_instruction:
        pass
    ctypedef struct fa_scalar_instruction:
        pass
    ctypedef struct fa_region:
        pass
    Py_ssize_t fa_execute(const fa_instruction *code, Py_ssize_t first, Py_ssize_t last,
                          const fa_scalar_instruction *scalars, const int32_t *strands, const int64_t *pool, double *w,
                          Py_ssize_t lanes, double *work, const fa_region *regions) noexcept nogil
    Py_ssize_t fa_execute_parts(const fa_instruction *code, Py_ssize_t count, Py_ssize_t parts, const int64_t *steps,
                                const int32_t *strands, const int64_t *pool, double *w, double *work,
                                const fa_region *regions) noexcept nogil

cdef extern from "_ufunc.h":
    void fa_get_loop(object ufunc, Py_ssize_t k, fa_ufunc *loop) noexcept

cdef enum:
    MOST_DIMS = 64
    RELEASE_GIL = 1 << 14             # a sweep of that many slots is worth letting other threads run
    CHUNK = 1 << 20                   # records between two looks at pending signals

cdef double NOTHING = -0.0
cdef object float64 = np.float64
FREED_SCALAR = <uint64_t>0xffffffffffffff00


include "_layout.pxi"
include "_columns.pxi"


# ---- handles -----------------------------------------------------------------------------------------------
@cython.final
cdef class Binding:
    pass


@cython.final
@cython.no_gc
cdef class Storage:
    pass


@cython.no_gc
cdef class Handle:
    def __dealloc__(self):
        if self.linked:
            unlink(<void *>self)
        forget_leaf(<void *>self)


cdef str counted(Py_ssize_t n, str what):
    """A number of things in words."""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


KINDS = ("span", "map", "matmul", "route", "spread", "assign", "call")


cdef struct Cursor:
    Py_ssize_t rec, slot              # records and slots below are still to be swept

cdef enum Status:
    REACHED, AT_CALL, AT_FREED, NO_MEMORY


@cython.final
cdef class Tape:
    """Records of one thread: operations in the order in which they ran, over values and their mirrored adjoints.

    A tape fills itself while Variables are computed with; nobody has to create one. `fastad.tape()` gives the calling
    thread's tape, whose columns can be looked at as NumPy arrays (copies): ``values``, ``adjoints``, ``records``.
    """

    def __cinit__(self):
        self.value = new_column(np.dtype(np.float64), FIRST_SLOTS)
        self.adjoint = new_column(np.dtype(np.float64), 1)
        self.link = new_column(np.dtype(np.uint64), FIRST_RECORDS)
        self.dx = new_column(np.dtype(np.float64), FIRST_RECORDS)
        self.dy = new_column(np.dtype(np.float64), FIRST_RECORDS)
        self.wide = new_column(WIDE_TYPE, FIRST_WIDE)
        self.pool = new_column(np.dtype(np.int64), FIRST_POOL)
        self.objects = []
        self.leaves = []
        self.hooks = {}
        self.transforms = []
        self.value[0] = 0.0
        self.adjoint[0] = NOTHING
        self.n_slots = 1              # slot 0 stands for no operand
        self.kept = self.level()
        self.limit()

    def __dealloc__(self):
        if fa_thread_tape == <void *>self:
            (&fa_thread_tape)[0] = NULL

    # ---- looking ----
    def __len__(self):
        return self.n_records

    def __repr__(self):
        return (f"<fastad tape: {counted(self.n_records, 'record')}, {counted(self.n_slots - 1, 'slot')}, "
                f"{counted(self.n_live, 'living variable')}, {self.nbytes / 1e6:.1f} MB>")

    @property
    def nbytes(self):
        """Bytes of memory that the columns hold."""
        return (8 * (self.value.shape[0] + self.adjoint.shape[0] + self.pool.shape[0]) + 24 * self.link.shape[0]
                + WIDE_TYPE.itemsize * self.wide.shape[0])

    @property
    def nbytes_used(self):
        """Bytes that the recorded operations take, values and adjoints included."""
        return 16 * self.n_slots + 24 * self.n_records + WIDE_TYPE.itemsize * self.n_wide + 8 * self.n_pool

    @property
    def values(self):
        """Copy of the arena: float64 array, one entry per slot."""
        return np.array(self.value[:self.n_slots])

    @property
    def adjoints(self):
        """Copy of the adjoints of the slots that the last sweeps have reached."""
        return np.array(self.adjoint[:min(self.swept, self.n_slots)])

    @property
    def records(self):
        """The records as a structured array.

        One row per record: ``op`` (name of the scalar function, or the kind of a wide record), ``out`` and ``size``
        (its block of slots), ``x`` and ``y`` (first slots of its operands, -1 for none), ``dx`` and ``dy`` (partials of
        scalar records).
        """
        cdef Py_ssize_t i, slot = 1, w
        cdef uint64_t k
        out = np.zeros(self.n_records, [("op", "U16"), ("out", "i8"), ("size", "i8"), ("x", "i8"), ("y", "i8"),
                                        ("dx", "f8"), ("dy", "f8")])
        for i in range(self.n_records):
            k = self.link[i]
            if is_wide(k):
                w = <Py_ssize_t>(k >> 8)
                kind = KINDS[self.wide[w].kind]
                name = fa_rows[self.wide[w].op].name.decode() if kind == "map" else kind
                out[i] = (name, slot, self.wide[w].size, self.wide[w].a, self.wide[w].b, np.nan, np.nan)
                slot += self.wide[w].size
            else:
                x, y = <Py_ssize_t>(k >> 8) & (FAR - 1), <Py_ssize_t>(k >> 36)
                name = "freed" if k == FREED_SCALAR else fa_rows[k & 255].name.decode()
                x, y = [slot - z if z and k != FREED_SCALAR else -1 for z in (x, y)]
                out[i] = (name, slot, 1, x, y, self.dx[i], self.dy[i])
                slot += 1
        return out

    # ---- room ----
    cdef void limit(self) noexcept:
        """Set what the fast paths test: room is there, nobody sweeps, nobody paused recording, nobody watches."""
        if self.busy or self.paused or self.ended or self.observer is not None:
            self.slot_limit = self.record_limit = 0
        else:
            self.slot_limit = self.value.shape[0]
            self.record_limit = min(self.link.shape[0], self.dx.shape[0], self.dy.shape[0])

    cdef int reserve(self, Py_ssize_t slots, Py_ssize_t records, Py_ssize_t pool) except -1:
        """Make sure that so many more slots, records and pool entries fit. May collect: offsets change."""
        if self.ended:
            raise TraceError("a Variable has outlived the call of the function that compile() traced: a compiled "
                             "function has to return what it computes, not keep it")
        if self.busy:
            raise RuntimeError("fastad: the Variable's graph is being swept: in a hook, gate or rule compute with its "
                               ".value or .detach(); in another thread wait for backward() to end")
        if (self.n_slots + slots > self.value.shape[0] or self.n_records + records > min(
                self.link.shape[0], self.dx.shape[0], self.dy.shape[0])
                or self.n_wide + records > self.wide.shape[0] or self.n_pool + pool > self.pool.shape[0]):
            self.make_room(slots, records, pool)
        if self.observer is not None:
            self.observer.recording(self)
        return 0

    cdef int make_room(self, Py_ssize_t slots, Py_ssize_t records, Py_ssize_t pool) except -1:
        """Collect, then grow what is still more than a quarter (large columns: half) full.

        The limits follow the shortest column, so that the tape is whole wherever memory ends.
        """
        cdef Py_ssize_t s, r, w, p
        if slots < 0 or slots > (<Py_ssize_t>1 << 58):
            raise MemoryError("fastad: the array is larger than memory can address")
        if not self.pinned:
            self.collect()
        s, r, w, p = self.n_slots + slots, self.n_records + records, self.n_wide + records, self.n_pool + pool
        share = 4 if self.value.shape[0] < (1 << 22) else 2
        try:
            fa_follow(self.value, grown(self.value.base, s, share))
            fa_follow(self.wide, grown(self.wide.base, w, 2))
            fa_follow(self.pool, grown(self.pool.base, p, 2))
            fa_follow(self.dy, grown(self.dy.base, r, share))
            fa_follow(self.dx, grown(self.dx.base, r, share))
            fa_follow(self.link, grown(self.link.base, r, share))
        finally:
            self.limit()
        return 0

    # ---- recording ----
    cdef Wide *push(self, Kind kind, Py_ssize_t size) noexcept:
        """A new wide record with a block of `size` slots; the caller has reserved and fills in the rest."""
        cdef Wide *w = &self.wide[self.n_wide]
        w.out = w.dst = self.n_slots
        w.size = size
        w.n = w.sv = w.sx = w.sy = 0
        w.a = w.b = w.layout = w.extra = -1
        w.kind = <uint8_t>kind
        w.op = w.flags = w.unused = 0
        self.open = True
        self.link[self.n_records] = <uint64_t>self.n_wide << 8
        self.n_wide += 1
        self.n_records += 1
        self.n_slots += size
        return w

    cdef Py_ssize_t push_layout(self, Layout shape, Layout v, Layout x, Layout y, Wide *w) noexcept:
        """Write the iteration over `shape` with the operands' strides (missing leading axes and axes of length 1
        broadcast; None: no operand) into the record: a single axis into its fields, more into the pool.
        """
        cdef Py_ssize_t sizes[MOST_DIMS]
        cdef Py_ssize_t strides[3][MOST_DIMS]
        cdef Py_ssize_t s[3]
        cdef Py_ssize_t d, j, k, n = 0
        cdef Layout layout
        for d in range(shape.ndim):
            if shape.dims[d] == 1:
                continue
            for j in range(3):
                layout = v if j == 0 else x if j == 1 else y
                s[j] = 0
                if layout is not None:
                    k = d - (shape.ndim - layout.ndim)
                    if k >= 0 and layout.dims[k] != 1:
                        s[j] = layout.dims[layout.ndim + k]
            if n and all_mergeable(strides, n - 1, s, shape.dims[d]):
                sizes[n - 1] *= shape.dims[d]
                for j in range(3):
                    strides[j][n - 1] = s[j]
            else:
                sizes[n] = shape.dims[d]
                for j in range(3):
                    strides[j][n] = s[j]
                n += 1
        if n == 0:
            sizes[0] = 1
            strides[0][0] = strides[1][0] = strides[2][0] = 0
            n = 1
        # the innermost axis is the line of the block kernels: a short one changes places with the longest
        if n > 1 and sizes[n - 1] < 16:
            k = n - 1
            for d in range(n):
                if sizes[d] > 4 * sizes[k]:
                    k = d
            sizes[k], sizes[n - 1] = sizes[n - 1], sizes[k]
            for j in range(3):
                strides[j][k], strides[j][n - 1] = strides[j][n - 1], strides[j][k]
        w.n = shape.size
        if n == 1:
            w.layout = -1
            w.sv, w.sx, w.sy = strides[0][0], strides[1][0], strides[2][0]
            return 0
        w.layout = self.n_pool
        self.pool[self.n_pool] = n
        for d in range(n):
            self.pool[self.n_pool + 1 + d] = sizes[d]
            for j in range(3):
                self.pool[self.n_pool + 1 + (j + 1) * n + d] = strides[j][d]
        self.n_pool += 1 + 4 * n
        return 0

    cdef void run_forward(self, Wide *w) noexcept nogil:
        """Compute the values of one MAP, MATMUL, ROUTE or SPREAD record."""
        cdef double *values = &self.value[0]
        cdef const double *y = values + w.b if w.b >= 0 else NULL
        cdef Py_ssize_t k
        if w.n == 0:
            return
        if w.kind == MAP:
            if w.layout < 0:
                line_forward(w.op, w.flags & ACCUMULATE, w.n, values + w.a, w.sx, y, w.sy, values + w.dst, w.sv)
            else:
                map_forward(w.op, w.flags & ACCUMULATE, &self.pool[w.layout], values + w.a, y, values + w.dst)
        elif w.kind == MATMUL:
            matmul_forward(&self.pool[w.layout], values + w.a, y, values + w.dst)
        elif w.kind == ROUTE:
            for k in range(w.n):
                if self.pool[w.layout + k] >= 0:
                    values[w.dst + k] = values[w.a + self.pool[w.layout + k]]
        elif w.kind == SPREAD:            # what no weight goes to stays as it is
            for k in range(w.n):
                values[w.dst + self.pool[w.layout + w.n + k]] = NOTHING
            for k in range(w.n):
                values[w.dst + self.pool[w.layout + w.n + k]] += values[w.b + k] * values[w.a + self.pool[w.layout + k]]

    # ---- forward (see _replay.pxi) ----
    def forward(self):
        """Compute all values on the tape anew from what its leaves hold now, and the partials with them.

        The gradient that ``backward()`` gives afterwards is that of the recorded operations at the new point. Every
        Variable on the tape then has the new value, through all its views.

        Raises
        ------
        FreedGraphError
            When something that lives depends on a graph that ``backward()`` has freed.
        NotImplementedError
            When a function with a derivative rule of its own does not say how to recompute itself.

        Notes
        -----
        The operations are those of the recording. A branch that Python took is not decided again, and neither is what
        was selected by value: the mask of ``np.where``, the position of ``np.max``, the order of ``np.sort``, numbers
        that left the graph through ``.item()`` or ``.detach()``. (``np.maximum``, ``abs`` and the other functions of
        the table do select anew.) After an error in the middle, records up to that place have new values and the rest
        old ones.

        Examples
        --------
        >>> import fastad as fa
        >>> x = fa.Variable(3.0)
        >>> y = x * x + 1.0
        >>> x.value = 5.0
        >>> fa.tape().forward()
        >>> y.item()
        26.0
        >>> y.backward()
        >>> float(x.grad)
        10.0
        """
        recompute(self)

    # ---- the reverse sweep ----
    cdef int prepare_adjoints(self, Py_ssize_t base) except -1:
        """Set the adjoints of all slots from `base` up to nothing."""
        cdef Py_ssize_t first = base if base < self.swept else max(self.swept, 1)
        if self.trace is not None:
            raise TraceError("a sweep through the function that is being traced for compile(): its numbers could not "
                             "be replayed; take derivatives outside of the compiled function")
        if self.busy:
            raise RuntimeError("fastad: this tape is already being swept; backward() cannot be called from a hook or "
                               "gate on it")
        if self.adjoint.shape[0] < self.n_slots:
            fa_follow(self.adjoint, resized(self.adjoint.base, min(
                self.value.shape[0], larger(self.adjoint.shape[0], self.n_slots))))
        if first < self.n_slots:
            fill(self.n_slots - first, NOTHING, &self.adjoint[first])
        self.adjoint[0] = NOTHING
        self.swept = self.n_slots
        return 0

    cdef Py_ssize_t size_of(self, Py_ssize_t rec) noexcept:
        """How many slots the block of a record has."""
        return self.wide[self.link[rec] >> 8].size if is_wide(self.link[rec]) else 1

    cdef int sweep(self, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t base) except -1:
        """Read the records [stop, start) backwards: adj(operand) += partial * adj(result).

        What would go to slots below `base` is dropped. Hooks of intermediates run when their adjoint is complete.
        In-place writes are undone on the way, so that partials see the values of their time, and redone at the end.
        """
        cdef Cursor c
        cdef Py_ssize_t boundary, top
        cdef Status status
        c.rec, c.slot = self.n_records, self.n_slots
        if self.n_assign == 0:
            rewind(self, &c, start)
        top = c.rec
        self.busy = True
        self.limit()
        try:
            while c.rec > stop:
                boundary = max(stop, c.rec - (CHUNK if self.observer is None else 1))
                for rec in self.hooks:
                    if boundary <= rec < c.rec:
                        boundary = rec + 1
                        if boundary == c.rec:
                            run_hooks(self, self.hooks[rec], base)
                            boundary = rec
                            break
                if self.observer is not None:
                    self.observer.sweeping(self, c.rec - 1, c.slot - self.size_of(c.rec - 1))
                if c.slot - base > RELEASE_GIL:
                    with nogil:
                        status = reverse(self, &c, boundary, base)
                else:
                    status = reverse(self, &c, boundary, base)
                heard()
                if status == AT_CALL:
                    reverse_call(self, &self.wide[self.link[c.rec - 1] >> 8], base)
                    c.rec -= 1
                    c.slot -= self.wide[self.link[c.rec] >> 8].size
                elif status == AT_FREED:
                    raise FreedGraphError("backward: a part of this graph was freed by an earlier backward(); call "
                                          "that one with retain_graph=True")
                elif status == NO_MEMORY:
                    raise MemoryError("fastad: no memory for the adjoint of a matrix product")
                if self.observer is not None:
                    self.observer.swept(self, c.rec, c.slot)
                PyErr_CheckSignals()
        finally:
            if self.n_assign:
                redo(self, c.rec, top)
            self.busy = False
            self.limit()
        return 0

    # ---- leaves ----
    cdef int bind_size(self, Handle leaf, Py_ssize_t *slots) except -1:
        """Add to `slots` what `bind` is going to need for this leaf; sees whether its data were changed."""
        cdef Storage s = leaf.extra
        cdef Binding b = binding_on(self, s)
        if s.exposed and b is not None and b.tape is self and b.offset >= 0 and b.version == s.version:
            if memcmp(data_of(s), &self.value[0] + b.offset, leaf.layout.size * sizeof(double)):
                s.version += 1
            elif not shared(s.data):
                s.exposed = False
        if b is None or b.tape is not self or b.offset < 0 or b.version != s.version:
            slots[0] += leaf.layout.size
        return 0

    cdef Binding bind(self, Handle leaf):
        """The slots of a leaf's values on this tape, copied there now if they are not. `reserve` was called."""
        cdef Storage s = leaf.extra
        cdef Binding b = s.current
        cdef Wide *w
        if b is not None and b.tape is self and b.offset >= 0:
            if b.version == s.version:
                return b
        else:
            b = None
        if b is None or self.n_live:
            b = Binding.__new__(Binding)
            b.tape = self
            b.leaf = <void *>leaf
            b.offset, b.rec = self.n_slots, self.n_records
            w = self.push(SPAN, leaf.layout.size)
            w.n = leaf.layout.size
            w.flags = OF_LEAF
            self.leaves.append(b)
            s.bindings = [old for old in s.bindings or () if (<Binding>old).offset >= 0] + [b]
            s.current = b
            self.living_slots += leaf.layout.size
            self.living_leaves += 1
            self.kept = self.level()
        b.version = s.version
        if leaf.layout.size:
            memcpy(&self.value[0] + b.offset, data_of(s), leaf.layout.size * sizeof(double))
        if self.trace is not None:
            self.trace.capture_leaf(s.data, b.offset)
        return b

    cdef int deposit(self, Handle root) except -1:
        """Add the adjoints of all leaves that `root` depends on to their gradients; all or none."""
        cdef Binding b
        cdef Handle leaf
        cdef list found = []
        cdef dict several = {}
        cdef set reached = None
        for b in self.leaves:
            if b.leaf is NULL or b.offset >= self.swept:
                continue
            leaf = <Handle>b.leaf
            if all_nothing(&self.adjoint[0] + b.offset, leaf.layout.size):
                if leaf.extra.grad is not None:
                    continue
                if reached is None:                   # no gradient, or none because nothing was selected?
                    reached = reached_leaves(self, root)
                if id(b) not in reached and leaf.layout.size:
                    continue
            g = read_gradient(self, b.offset, leaf.layout)
            if len(leaf.extra.bindings) > 1:          # the leaf may stand on the tape with several values
                if id(leaf) in several:
                    several[id(leaf)][1] += g
                    continue
                several[id(leaf)] = pair = [leaf, g]
            else:
                pair = [leaf, g]
            found.append(pair)
        for pair in found:
            leaf = <Handle?>pair[0]
            if leaf.extra.hooks:
                pair[1] = call_hooks(leaf.extra.hooks, pair[1], leaf.extra.name)
        for leaf, g in found:
            accumulate(leaf.extra, g)
        return 0

    # ---- lifetime (see _collect.pxi) ----
    cdef int release(self) except -1:
        return release(self)

    cdef int collect(self) except -1:
        return 0 if self.trace is not None or self.ended else collect(self)

    cdef Level level(self) noexcept:
        """How long the tape is now."""
        cdef Level now
        now.slots, now.records, now.wide, now.pool = self.n_slots, self.n_records, self.n_wide, self.n_pool
        now.objects, now.assign = len(self.objects), self.n_assign
        return now

    cdef void cut(self) noexcept:
        """The youngest variable is gone: forget the records that no older one can need."""
        cdef Py_ssize_t needed
        if self.trace is not None or self.pinned or self.ended:
            return
        if self.n_live == 0:
            emptied(self)
        elif self.n_assign == 0 and not self.hooks:
            needed = max((<Handle>self.newest).born, self.kept.records)
            if needed < self.n_records:
                self.truncate(needed)

    cdef void truncate(self, Py_ssize_t records) noexcept:
        """Forget all records from `records` on; nobody may hold them, and none writes in place."""
        cdef Level to = self.level()
        cdef Wide *w
        while to.records > records:
            to.records -= 1
            if not is_wide(self.link[to.records]):
                to.slots -= 1
                continue
            to.wide = <Py_ssize_t>(self.link[to.records] >> 8)
            w = &self.wide[to.wide]
            to.slots -= w.size
            if w.layout >= 0:
                to.pool = w.layout
            if w.extra >= 0:
                to.objects = w.extra
        self.restore(to)

    cdef void restore(self, Level to) noexcept:
        """Make the tape as long as it was."""
        cdef list dropped = None
        self.n_slots, self.n_records, self.n_wide, self.n_pool = to.slots, to.records, to.wide, to.pool
        self.n_assign = to.assign
        self.swept = min(self.swept, to.slots)
        if to.objects < len(self.objects):
            dropped = self.objects[to.objects:]       # dies last: its parts may call back
            del self.objects[to.objects:]
        if self.hooks:
            self.hooks = {rec: hooks for rec, hooks in self.hooks.items() if rec < to.records}

    cdef void emptied(self) noexcept:
        """The last living variable is gone: forget all graphs, keep the leaves at the bottom bound."""
        emptied(self)


cdef bint all_mergeable(Py_ssize_t[3][MOST_DIMS] strides, Py_ssize_t last, const Py_ssize_t *s,
                        Py_ssize_t size) noexcept nogil:
    """Whether an axis of `size` with strides `s` continues the axis `last` without a gap in all operands."""
    cdef Py_ssize_t j
    for j in range(3):
        if strides[j][last] != s[j] * size:
            return False
    return True


include "_sweep.pxi"
include "_replay.pxi"


include "_transfer.pxi"
include "_collect.pxi"


cdef Py_ssize_t execute(const void *code, Py_ssize_t first, Py_ssize_t last, const void *scalars,
                        const int32_t *strands, const int64_t *pool, double *w, Py_ssize_t lanes, double *work,
                        const void *regions) noexcept nogil:
    """Execute instructions of a compiled function up to one that needs Python; the block kernels are in this module."""
    return fa_execute(<const fa_instruction *>code, first, last, <const fa_scalar_instruction *>scalars, strands, pool,
                      w, lanes, work, <const fa_region *>regions)


cdef Py_ssize_t execute_parts(const void *code, Py_ssize_t count, Py_ssize_t parts, const int64_t *steps,
                              const int32_t *strands, const int64_t *pool, double *w, double *work,
                              const void *regions) noexcept nogil:
    """The same part by part; -1 when a signal has raised."""
    return fa_execute_parts(<const fa_instruction *>code, count, parts, steps, strands, pool, w, work,
                            <const fa_region *>regions)


cdef bint from_whole(Py_ssize_t n, const int64_t *x, double *out) noexcept nogil:
    """Copy integers; whether all are float64 numbers for certain."""
    return fa_from_whole(n, x, out)


# ---- this thread's tape; the loops of NumPy and SciPy ----------------------------------------------------------------
_thread = threading.local()


cdef class _Owner:
    """Ends with its thread: leaves that live on need not keep the thread's tape."""
    cdef Tape tape

    def __del__(self):
        if self.tape is None or self.tape.n_live or self.tape.busy:
            return
        unbind_all(self.tape)
        self.tape.kept = bottom()
        self.tape.restore(self.tape.kept)


cdef int unbind_all(Tape tape) except -1:
    """Let the leaves forget a tape that is not going to be used any more."""
    cdef Binding b
    cdef Handle leaf
    for b in tape.leaves:
        b.offset = -1
        if b.leaf is not NULL:
            leaf = <Handle>b.leaf
            leaf.extra.bindings = [other for other in leaf.extra.bindings if other is not b]
            if leaf.extra.current is b:
                leaf.extra.current = None
    tape.leaves = []
    tape.living_slots = tape.living_leaves = 0
    return 0


cdef Tape exchange_tape(Tape new):
    """Make another tape the calling thread's; gives the one it was, which does not change hands."""
    cdef Tape old
    current_tape()                                      # from now on the thread has one
    old = <Tape>fa_thread_tape
    (&fa_thread_tape)[0] = <void *>new
    return old


cdef Tape current_tape():
    """The calling thread's tape; while it is swept, and a hook or rule computes, a tape set aside for that."""
    cdef Tape tape
    if fa_thread_tape is NULL:
        tape = Tape()
        _thread.owner = _Owner.__new__(_Owner)          # keeps it alive as long as the thread lives
        (<_Owner>_thread.owner).tape = tape
        (&fa_thread_tape)[0] = <void *>tape
    tape = <Tape>fa_thread_tape
    while tape.busy:
        if tape.aside is None:
            tape.aside = Tape()
        tape = tape.aside
    return tape


cdef int find_loop(object u, fa_ufunc *loop) except -1:
    """Find the float64 loop of a ufunc."""
    for k, signature in enumerate(u.types):
        if signature == "d" * u.nin + "->" + "d" * u.nout:
            fa_get_loop(u, k, loop)
            return 0
    raise ImportError(f"fastad: {u!r} has no loop for float64")


cdef bint scipy_loaded = False


cdef void *loop_table() noexcept:
    """The table of loops, for the modules that include the scalar functions."""
    return fa_loop_table


cdef int ensure_loops(int op) except -1:
    """Load SciPy's loops when a row needs them for the first time (importing scipy.special takes a while)."""
    global scipy_loaded
    if fa_rows[op].needs_scipy and not scipy_loaded:
        import scipy.special
        for code, row in enumerate(table.OPS, 1):
            if row.external and (row.numpy or "").startswith("special."):
                find_loop(attrgetter(row.numpy[8:])(scipy.special), &fa_loops[code])
        scipy_loaded = True
    return 0


(&fa_loops)[0] = fa_loop_table
for _code, _row in enumerate(table.OPS, 1):
    if _row.numpy and not _row.numpy.startswith("special.") and (_row.external or _row.name == "add"):
        find_loop(getattr(np, _row.numpy), &fa_loops[_code])
find_loop(np.matmul, &fa_matmul)

DISPATCH = fa_dispatch({"baseline": 0, "avx2": 1}.get(os.environ.get("FASTAD_DISPATCH", ""), 2)).decode()


def build_info():
    """How this module was built, and which block kernels the processor runs.

    Returns
    -------
    dict
        ``debug`` (bool), ``compiler`` (str), ``dispatch`` (``"baseline"``, ``"avx2"`` or ``"avx512"``; the environment
        variable ``FASTAD_DISPATCH`` lowers it).

    Examples
    --------
    >>> import fastad as fa
    >>> sorted(fa.build_info())
    ['compiler', 'debug', 'dispatch']
    """
    return {"debug": bool(FASTAD_DEBUG), "compiler": FASTAD_COMPILER.decode(), "dispatch": DISPATCH}


def tape():
    """The calling thread's tape.

    Examples
    --------
    >>> import fastad as fa
    >>> x = fa.Variable(3.0)
    >>> y = x * x
    >>> fa.tape().records["op"][-1].item()
    'multiply'
    """
    return current_tape()
