"""The tape: one growing memory of values, its mirror of adjoints, and the records that connect their slots.

Every record owns a block of slots right behind the block of the record before it, so the sweeps find a record's result
by counting: one slot for a scalar record, ``size`` slots for a wide one. Scalar records are the columns `link`, `dx`,
`dy` alone; their forward pass has stored the partials, so that the reverse loop names no operator.

Nothing moves between `reserve` and the record it was called for. Only `reserve` may collect (compact the tape and
renumber slots), so offsets are read after it.
"""
cimport cython
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int32_t, int64_t, intptr_t, uint8_t, uint64_t
from libc.string cimport memcmp, memcpy, memmove, memset
from numpy cimport NPY_DOUBLE, PyArray_DATA, PyArray_IS_C_CONTIGUOUS, PyArray_TYPE, ndarray, ufunc

import os
import threading
from operator import attrgetter

import numpy as np

from . import ops as table
from .errors import FreedGraphError

cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1

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
    void map_forward(int op, int accumulate, const int64_t *layout, const double *x, const double *y, double *v) noexcept nogil
    void map_adjoint(int op, const int64_t *layout, const double *x, const double *y, const double *v,
                     const double *g, double *gx, double *gy) noexcept nogil
    void swap_view(const int64_t *layout, double *view, double *saved) noexcept nogil
    void overwrite_view(const int64_t *layout, double *view, double *saved, const double *source) noexcept nogil
    void fill_view(const int64_t *layout, double *view, double c) noexcept nogil
    void matmul_forward(const int64_t *p, const double *a, const double *b, double *out) noexcept nogil
    int matmul_adjoint(const int64_t *p, const double *a, const double *b, const double *g, double *ga, double *gb) noexcept nogil
    bint all_nothing(const double *g, Py_ssize_t n) noexcept nogil
    const int FASTAD_DEBUG
    const char *FASTAD_COMPILER

cdef enum:
    FIRST_SLOTS = 1 << 15
    FIRST_RECORDS = 1 << 14
    MOST_DIMS = 64
    RELEASE_GIL = 1 << 14             # a sweep of that many slots is worth letting other threads run
    CHUNK = 1 << 20                   # records between two looks at pending signals

cdef double NOTHING = -0.0
FREED_SCALAR = <uint64_t>0xffffffffffffff00


# ---- layouts -----------------------------------------------------------------------------------------------
@cython.final
cdef class Layout:
    def __dealloc__(self):
        PyMem_Free(self.dims)

    @property
    def shape(self):
        """Shape as a tuple."""
        cdef Py_ssize_t d
        if self._shape is None:
            self._shape = tuple([self.dims[d] for d in range(self.ndim)])
        return self._shape

    @property
    def strides(self):
        """Strides in elements as a tuple."""
        cdef Py_ssize_t d
        return tuple([self.dims[self.ndim + d] for d in range(self.ndim)])


cdef Layout make_layout(Py_ssize_t ndim, const Py_ssize_t *shape, const Py_ssize_t *strides):
    """A layout; `shape` and `strides` (in elements) must hold `ndim` numbers."""
    cdef Layout self = Layout.__new__(Layout)
    cdef Py_ssize_t d, expected = 1
    if ndim > MOST_DIMS:
        raise ValueError(f"fastad: arrays have at most {MOST_DIMS} dimensions, not {ndim}")
    self.dims = <Py_ssize_t *>PyMem_Malloc((2 * ndim + 1) * sizeof(Py_ssize_t))
    if self.dims is NULL:
        raise MemoryError()
    self.ndim = ndim
    self.size = 1
    self.contiguous = True
    for d in range(ndim - 1, -1, -1):
        self.dims[d] = shape[d]
        self.dims[ndim + d] = strides[d]
        self.size *= shape[d]
        if shape[d] > 1:
            if strides[d] != expected:
                self.contiguous = False
            if strides[d] < 0:
                self.low += strides[d] * (shape[d] - 1)
            else:
                self.high += strides[d] * (shape[d] - 1)
        expected *= shape[d]
    if self.size == 0:
        self.low, self.high, self.contiguous = 0, -1, True
    return self


cdef Layout dense(Py_ssize_t ndim, const Py_ssize_t *shape):
    """The C-contiguous layout of a shape."""
    cdef Py_ssize_t strides[MOST_DIMS]
    cdef Py_ssize_t d, step = 1
    if ndim == 0:
        return SCALAR
    if ndim > MOST_DIMS:
        raise ValueError(f"fastad: arrays have at most {MOST_DIMS} dimensions, not {ndim}")
    for d in range(ndim - 1, -1, -1):
        strides[d] = step
        if shape[d] and step > (<Py_ssize_t>1 << 59) // shape[d]:
            raise MemoryError("fastad: the array is larger than memory can address")
        step *= shape[d]
    return make_layout(ndim, shape, strides)


cdef Layout layout_of(tuple shape):
    """The C-contiguous layout of a shape given as a tuple."""
    cdef Py_ssize_t dims[MOST_DIMS]
    cdef Py_ssize_t d, n = len(shape)
    if n > MOST_DIMS:
        raise ValueError(f"fastad: arrays have at most {MOST_DIMS} dimensions, not {n}")
    for d in range(n):
        dims[d] = shape[d]
    return dense(n, dims)


SCALAR = make_layout(0, NULL, NULL)


# ---- handles -----------------------------------------------------------------------------------------------
@cython.final
cdef class Binding:
    pass


@cython.final
cdef class Storage:
    def __dealloc__(self):
        cdef Binding b
        if self.bindings is not None:
            for b in self.bindings:
                b.leaf = NULL
                if b.offset >= 0:
                    b.tape.living_slots -= self.data.size
                    b.tape.living_leaves -= 1


@cython.no_gc
cdef class Handle:
    def __dealloc__(self):
        if self.linked:
            unlink(<void *>self)


# ---- columns -----------------------------------------------------------------------------------------------
cdef Py_ssize_t larger(Py_ssize_t have, Py_ssize_t need) noexcept:
    """The capacity to grow to: half as much again for large columns, twice for small ones."""
    cdef Py_ssize_t grown = have * 2 if have < (1 << 24) else have + have // 2
    return grown if grown > need else need


cdef object resized(object old, Py_ssize_t used, Py_ssize_t capacity):
    """A column of the given capacity with the first `used` entries of `old`."""
    new = np.empty(capacity, old.dtype)
    new[:used] = old[:used]
    return new


cdef object grown(object old, Py_ssize_t used, Py_ssize_t need, Py_ssize_t share):
    """A larger column when `need` entries fill more than one part in `share` of the old one, else None.

    Where memory is short, just as much as needed.
    """
    cdef Py_ssize_t have = old.shape[0]
    if need * share <= have:
        return None
    try:
        return resized(old, used, larger(have, need))
    except MemoryError:
        return None if need <= have else resized(old, used, need)


WIDE_TYPE = np.dtype([(name, np.int64) for name in ("out", "size", "dst", "a", "b", "n", "sv", "sx", "sy", "layout")]
                     + [("extra", np.int32)] + [(name, np.uint8) for name in ("kind", "op", "flags", "unused")])
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
        self.value = np.empty(FIRST_SLOTS)
        self.adjoint = np.empty(1)
        self.link = np.empty(FIRST_RECORDS, np.uint64)
        self.dx = np.empty(FIRST_RECORDS)
        self.dy = np.empty(FIRST_RECORDS)
        self.wide = np.empty(256, WIDE_TYPE)
        self.pool = np.empty(4096, np.int64)
        self.objects = []
        self.leaves = []
        self.hooks = {}
        self.value[0] = 0.0
        self.adjoint[0] = NOTHING
        self.n_slots = 1              # slot 0 takes what goes to no operand
        self.kept_slots = 1
        self.limit()

    def __dealloc__(self):
        if fa_thread_tape == <void *>self:
            (&fa_thread_tape)[0] = NULL

    # ---- looking ----
    def __len__(self):
        return self.n_records

    def __repr__(self):
        return (f"<fastad tape: {self.n_records} records, {self.n_slots - 1} slots, {self.n_live} living variables, "
                f"{self.nbytes / 1e6:.1f} MB>")

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
                out[i] = (name, slot, 1, slot - x if x and k != FREED_SCALAR else -1, slot - y if y and k != FREED_SCALAR else -1, self.dx[i], self.dy[i])
                slot += 1
        return out

    # ---- room ----
    cdef void limit(self) noexcept:
        """Set what the fast paths test: room is there, nobody sweeps, nobody paused recording."""
        if self.busy or self.paused:
            self.slot_limit = self.record_limit = 0
        else:
            self.slot_limit = self.value.shape[0]
            self.record_limit = self.link.shape[0]

    cdef int reserve(self, Py_ssize_t slots, Py_ssize_t records, Py_ssize_t pool) except -1:
        """Make sure that so many more slots, records and pool entries fit. May collect: offsets change."""
        if self.busy:
            raise RuntimeError("fastad: this tape is being swept in another thread; record on a Variable of the own thread")
        if (self.n_slots + slots > self.value.shape[0] or self.n_records + records > self.link.shape[0]
                or self.n_wide + records > self.wide.shape[0] or self.n_pool + pool > self.pool.shape[0]):
            self.make_room(slots, records, pool)
        return 0

    cdef int make_room(self, Py_ssize_t slots, Py_ssize_t records, Py_ssize_t pool) except -1:
        """Collect, then grow what is still more than a quarter (large columns: half) full. All or nothing."""
        cdef Py_ssize_t s, r, w, p
        if slots < 0 or slots > (<Py_ssize_t>1 << 58):
            raise MemoryError("fastad: the array is larger than memory can address")
        self.collect()
        s, r, w, p = self.n_slots + slots, self.n_records + records, self.n_wide + records, self.n_pool + pool
        share = 4 if self.value.shape[0] < (1 << 22) else 2
        values = grown(np.asarray(self.value), self.n_slots, s, share)
        link = grown(np.asarray(self.link), self.n_records, r, share)
        dx = dy = None
        if link is not None:
            dx = resized(np.asarray(self.dx), self.n_records, link.size)
            dy = resized(np.asarray(self.dy), self.n_records, link.size)
        wide = grown(np.asarray(self.wide), self.n_wide, w, 2)
        pool_ = grown(np.asarray(self.pool), self.n_pool, p, 2)
        if values is not None:
            self.value = values
        if link is not None:
            self.link, self.dx, self.dy = link, dx, dy
        if wide is not None:
            self.wide = wide
        if pool_ is not None:
            self.pool = pool_
        self.limit()
        return 0

    # ---- recording ----
    cdef Wide *push(self, Kind kind, Py_ssize_t size) noexcept:
        """A new wide record with a block of `size` slots; the caller has reserved and fills in the rest."""
        cdef Wide *w = &self.wide[self.n_wide]
        memset(w, 0, sizeof(Wide))
        w.kind = <uint8_t>kind
        w.out = w.dst = self.n_slots
        w.size = size
        w.a = w.b = w.layout = w.extra = -1
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
        cdef int64_t one[5]
        cdef Py_ssize_t k
        if w.n == 0:
            return
        if w.kind == MAP:
            map_forward(w.op, w.flags & ACCUMULATE, axes(self, w, one), values + w.a, y, values + w.dst)
        elif w.kind == MATMUL:
            matmul_forward(&self.pool[w.layout], values + w.a, y, values + w.dst)
        elif w.kind == ROUTE:
            for k in range(w.n):
                if self.pool[w.layout + k] >= 0:
                    values[w.dst + k] = values[w.a + self.pool[w.layout + k]]

    # ---- the reverse sweep ----
    cdef int prepare_adjoints(self, Py_ssize_t base) except -1:
        """Set the adjoints of all slots from `base` up to nothing."""
        cdef Py_ssize_t i, first = base if base < self.swept else max(self.swept, 1)
        if self.adjoint.shape[0] < self.n_slots:
            self.adjoint = resized(np.asarray(self.adjoint), min(self.swept, self.n_slots),
                                    min(self.value.shape[0], larger(self.adjoint.shape[0], self.n_slots)))
        if self.busy:
            raise RuntimeError("fastad: this tape is already being swept; backward() cannot be called from a hook or gate on it")
        for i in range(first, self.n_slots):
            self.adjoint[i] = NOTHING
        self.adjoint[0] = NOTHING
        self.swept = self.n_slots
        return 0

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
                boundary = max(stop, c.rec - CHUNK)
                for rec in self.hooks:
                    if boundary <= rec < c.rec:
                        boundary = rec + 1
                        if boundary == c.rec:
                            run_hooks(self, self.hooks[rec], base)
                            boundary = rec
                            break
                if c.slot - base > RELEASE_GIL:
                    with nogil:
                        status = reverse(self, &c, boundary, base)
                else:
                    status = reverse(self, &c, boundary, base)
                if status == AT_CALL:
                    reverse_call(self, &self.wide[self.link[c.rec - 1] >> 8], base)
                    c.rec -= 1
                    c.slot -= self.wide[self.link[c.rec] >> 8].size
                elif status == AT_FREED:
                    raise FreedGraphError(
                        "backward: a part of this graph was freed by an earlier backward(); call that one with retain_graph=True")
                elif status == NO_MEMORY:
                    raise MemoryError("fastad: no memory for the adjoint of a matrix product")
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
            if memcmp(data_of(s), &self.value[b.offset], leaf.layout.size * sizeof(double)):
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
            self.leaves.append(b)
            s.bindings = [old for old in s.bindings or () if (<Binding>old).offset >= 0] + [b]
            s.current = b
            self.living_slots += leaf.layout.size
            self.living_leaves += 1
            self.kept_slots, self.kept_records = self.n_slots, self.n_records
        b.version = s.version
        if leaf.layout.size:
            memcpy(&self.value[b.offset], data_of(s), leaf.layout.size * sizeof(double))
        return b

    cdef int deposit(self, Handle root) except -1:
        """Add the adjoints of all leaves that `root` depends on to their gradients; all or none."""
        cdef Binding b
        cdef Handle leaf
        cdef list found = []
        cdef set reached = None
        for b in self.leaves:
            if b.leaf is NULL or b.offset >= self.swept:
                continue
            leaf = <Handle>b.leaf
            if all_nothing(&self.adjoint[b.offset], leaf.layout.size):
                if leaf.extra.grad is not None:
                    continue
                if reached is None:                   # no gradient, or none because nothing was selected?
                    reached = reached_leaves(self, root)
                if id(b) not in reached and leaf.layout.size:
                    continue
            found.append((leaf, read_view(&self.adjoint[b.offset], leaf.layout) + 0.0))
        gathered = {}
        for leaf, g in found:
            gathered[id(leaf)] = (leaf, gathered[id(leaf)][1] + g if id(leaf) in gathered else g)
        ready = []
        for leaf, g in gathered.values():
            if leaf.extra.hooks:
                g = call_hooks(leaf.extra.hooks, g, leaf.extra.name)
            ready.append((leaf, g))
        for leaf, g in ready:
            accumulate(leaf.extra, g)
        return 0

    # ---- lifetime (see _collect.pxi) ----
    cdef int release(self) except -1:
        return release(self)

    cdef int collect(self) except -1:
        return collect(self)

    cdef void cut(self) noexcept:
        """The youngest variable is gone: forget the records that no older one can need."""
        cdef Py_ssize_t needed
        if self.n_live == 0:
            emptied(self)
        elif self.n_assign == 0 and not self.hooks:
            needed = max((<Handle>self.newest).born, self.kept_records)
            if needed < self.n_records:
                self.truncate(needed)

    cdef void truncate(self, Py_ssize_t records) noexcept:
        """Forget all records from `records` on; nobody may hold them."""
        cdef Py_ssize_t slots = self.n_slots, rec = self.n_records, n_objects = -1
        cdef Wide *w
        while rec > records:
            rec -= 1
            if not is_wide(self.link[rec]):
                slots -= 1
                continue
            self.n_wide = <Py_ssize_t>(self.link[rec] >> 8)
            w = &self.wide[self.n_wide]
            slots -= w.size
            if w.layout >= 0:
                self.n_pool = w.layout
            if w.extra >= 0:
                n_objects = w.extra
            if w.kind == ASSIGN:
                self.n_assign -= 1
        self.n_records, self.n_slots = records, slots
        self.swept = min(self.swept, slots)
        if self.hooks:
            self.hooks = {rec: hooks for rec, hooks in self.hooks.items() if rec < records}
        if n_objects >= 0:
            dropped = self.objects[n_objects:]        # dies last: its parts may call back
            del self.objects[n_objects:]

    cdef void emptied(self) noexcept:
        """The last living variable is gone: forget all graphs, keep the leaves at the bottom bound."""
        emptied(self)


cdef bint all_mergeable(Py_ssize_t[3][MOST_DIMS] strides, Py_ssize_t last, const Py_ssize_t *s, Py_ssize_t size) noexcept nogil:
    """Whether an axis of `size` with strides `s` continues the axis `last` without a gap in all operands."""
    cdef Py_ssize_t j
    for j in range(3):
        if strides[j][last] != s[j] * size:
            return False
    return True


cdef const int64_t *axes(Tape t, const Wide *w, int64_t *one) noexcept nogil:
    """The layout of a record as the map drivers read it."""
    if w.layout >= 0:
        return &t.pool[w.layout]
    one[0], one[1], one[2], one[3], one[4] = 1, w.n, w.sv, w.sx, w.sy
    return one


cdef void write_in_place(Tape t, Wide *w) noexcept:
    """Carry out an ASSIGN record: keep the old values in its block, write the new ones."""
    cdef int64_t one[5]
    cdef double *values = &t.value[0]
    cdef Py_ssize_t k
    if w.n == 0:
        return
    if w.flags & INDEXED:
        for k in range(w.n):
            values[w.out + k] = values[w.dst + t.pool[w.layout + k]]
            values[w.dst + t.pool[w.layout + k]] = values[w.a + k * w.sx]
    else:
        overwrite_view(axes(t, w, one), values + w.dst, values + w.out, values + w.a)


# ---- the loops of the reverse sweep --------------------------------------------------------------------------
cdef void rewind(Tape t, Cursor *c, Py_ssize_t start) noexcept:
    """Bring the cursor from the top of the tape down to record `start`."""
    while c.rec > start:
        c.rec -= 1
        c.slot -= t.wide[t.link[c.rec] >> 8].size if is_wide(t.link[c.rec]) else 1


cdef Status reverse(Tape t, Cursor *c, Py_ssize_t stop, Py_ssize_t base) noexcept nogil:
    """Sweep down to `stop`, or to a record that needs Python."""
    cdef Status status
    cdef Wide *w
    while True:
        if base > 1:
            reverse_scalars(t.link, t.dx, t.dy, t.adjoint, c, stop, base, True)
        else:
            reverse_scalars(t.link, t.dx, t.dy, t.adjoint, c, stop, 1, False)
        if c.rec <= stop:
            return REACHED
        if t.link[c.rec - 1] == FREED_SCALAR:
            if not is_nothing(t.adjoint[c.slot - 1]):
                return AT_FREED
            c.rec -= 1
            c.slot -= 1
            continue
        w = &t.wide[t.link[c.rec - 1] >> 8]
        if w.kind == CALL:
            return AT_CALL
        status = reverse_wide(t, w, base)
        if status != REACHED:
            return status
        c.rec -= 1
        c.slot -= w.size


cdef inline void reverse_scalars(const uint64_t[::1] link, const double[::1] dx, const double[::1] dy, double[::1] adjoints,
                                 Cursor *c, Py_ssize_t stop, Py_ssize_t base, bint partly) noexcept nogil:
    """Sweep scalar records down to `stop` or the next wide or freed record.

    An adjoint that the next record reads goes on in a register instead of through memory; and 0.0, which makes a sum a
    number that cannot be mistaken for nothing, is added to the old adjoint before the product arrives: both keep the
    chain of dependent operations short, which runs from adjoint to adjoint. A missing operand has distance 0 and goes to
    slot 0, so that the loop has no branch for it.
    """
    cdef Py_ssize_t rec = c.rec, slot = c.slot - 1, x, y
    cdef uint64_t k
    cdef double g, dg = 0.0
    cdef bint carried = False
    while rec > stop:
        k = link[rec - 1]
        if FA_UNLIKELY(k & 255 == OP_WIDE):
            break
        rec -= 1
        if FA_LIKELY(carried):
            g = dg
            carried = False
        else:
            g = adjoints[slot]
            if is_nothing(g):
                slot -= 1
                continue
        x = <Py_ssize_t>(k >> 8) & (FAR - 1)
        y = <Py_ssize_t>(k >> 36)
        if partly:
            x = slot - x if <size_t>(x - 1) < <size_t>(slot - base) else 0
            y = slot - y if <size_t>(y - 1) < <size_t>(slot - base) else 0
        else:
            x = slot - x if x else 0
            y = slot - y if y else 0
        slot -= 1
        adjoints[y] = (adjoints[y] + 0.0) + dy[rec] * g
        if FA_LIKELY(x == slot):
            adjoints[x] = dg = (adjoints[x] + 0.0) + dx[rec] * g
            carried = True
        else:
            adjoints[x] = (adjoints[x] + 0.0) + dx[rec] * g
    c.rec, c.slot = rec, slot + 1


cdef Status reverse_wide(Tape t, Wide *w, Py_ssize_t base) noexcept nogil:
    """The adjoint of one wide record."""
    cdef double *values = &t.value[0]
    cdef double *adj = &t.adjoint[0]
    cdef double *gx = adj + w.a if w.a >= base and not w.flags & CONSTANT_A else NULL
    cdef double *gy = adj + w.b if w.b >= base and not w.flags & CONSTANT_B else NULL
    cdef const double *y = values + w.b if w.b >= 0 else NULL
    cdef int64_t one[5]
    cdef Py_ssize_t k
    cdef double g
    cdef const int64_t *p
    if w.n == 0 or w.kind == SPAN:
        return REACHED
    if w.kind == ASSIGN:
        undo(t, w, gx)
        return REACHED
    if w.size and all_nothing(adj + w.out, w.size):
        return REACHED
    if w.flags & FREED:
        return AT_FREED
    if gx is NULL and gy is NULL and not w.flags & ANYWHERE:
        return REACHED
    if w.kind == MAP:
        map_adjoint(w.op, axes(t, w, one), values + w.a, y, values + w.dst, adj + w.dst, gx, gy)
    elif w.kind == MATMUL:
        if matmul_adjoint(&t.pool[w.layout], values + w.a, y, adj + w.dst, gx, gy) < 0:
            return NO_MEMORY
    elif w.kind == ROUTE:
        p = &t.pool[w.layout]
        for k in range(w.n):
            g = adj[w.dst + k]
            if p[k] >= 0 and not is_nothing(g) and w.a + p[k] >= base:
                adj[w.a + p[k]] += g
    elif w.kind == SPREAD:                # n triples: source, target, weight in the own block behind the results
        p = &t.pool[w.layout]
        for k in range(w.n):
            g = adj[w.dst + p[w.n + k]]
            if not is_nothing(g):
                adj[w.a + p[k]] += values[w.b + k] * g + 0.0
    return REACHED


cdef void undo(Tape t, Wide *w, double *gx) noexcept nogil:
    """The adjoint of an in-place write: old values come back, the adjoint goes to what was written."""
    cdef double *values = &t.value[0]
    cdef double *adj = &t.adjoint[0]
    cdef int64_t one[5]
    cdef Py_ssize_t k
    cdef const int64_t *p
    cdef double *view = adj + w.dst
    if w.flags & INDEXED:
        p = &t.pool[w.layout]
        for k in range(w.n - 1, -1, -1):
            values[w.dst + p[k]], values[w.out + k] = values[w.out + k], values[w.dst + p[k]]
            if gx is not NULL and not is_nothing(view[p[k]]):
                gx[k * w.sx] += view[p[k]]
            view[p[k]] = NOTHING
        return
    p = axes(t, w, one)
    swap_view(p, values + w.dst, values + w.out)
    if gx is not NULL:
        map_adjoint(OP_positive, p, values, NULL, values, view, gx, NULL)
    fill_view(p, view, NOTHING)


cdef void redo(Tape t, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Redo the in-place writes among the records [first, last) that a sweep has undone."""
    cdef Py_ssize_t rec
    cdef Wide *w
    for rec in range(first, last):
        if not is_wide(t.link[rec]):
            continue
        w = &t.wide[t.link[rec] >> 8]
        if w.kind == ASSIGN:
            exchange(t, w, True)


cdef void exchange(Tape t, Wide *w, bint forward) noexcept nogil:
    """Exchange what an ASSIGN record has overwritten with what stands there now."""
    cdef double *values = &t.value[0]
    cdef int64_t one[5]
    cdef Py_ssize_t i, k
    cdef const int64_t *p
    if w.n == 0:
        return
    if w.flags & INDEXED:
        p = &t.pool[w.layout]
        for i in range(w.n):
            k = i if forward else w.n - 1 - i
            values[w.dst + p[k]], values[w.out + k] = values[w.out + k], values[w.dst + p[k]]
    else:
        swap_view(axes(t, w, one), values + w.dst, values + w.out)


cdef Binding binding_on(Tape t, Storage s):
    """Make the newest binding of a leaf on this tape its current one; None when there is none."""
    cdef Binding b = s.current
    if b is not None and b.tape is not t:
        for b in reversed(s.bindings):
            if b.tape is t and b.offset >= 0:
                s.current = b
                return b
    return b


# ---- where the sweep meets Python ------------------------------------------------------------------------------
cdef int reverse_call(Tape t, Wide *w, Py_ssize_t base) except -1:
    """The adjoint of a CALL record: its rule turns the adjoints of the results into those of the operands.

    The pool holds the number of operands with (offset, size) of each, then the same for the results.
    """
    cdef const int64_t *p = &t.pool[w.layout]
    cdef Py_ssize_t n_in = p[0]
    cdef Py_ssize_t n_out = p[1 + 2 * n_in]
    cdef Py_ssize_t j, k, offset, size
    cdef const int64_t *ins = p + 1
    cdef const int64_t *outs = p + 2 + 2 * n_in
    cdef double *adj = &t.adjoint[0]
    cdef const double[::1] g
    cdef bint reached = False
    if all_nothing(adj + w.out, w.size):
        return 0
    if w.flags & FREED:
        raise FreedGraphError(
            "backward: a part of this graph was freed by an earlier backward(); call that one with retain_graph=True")
    rule = t.objects[w.extra]
    upstream = []
    for j in range(n_out):
        upstream.append(np.asarray(<double[:outs[2 * j + 1]]>(adj + outs[2 * j])) + 0.0 if outs[2 * j + 1]
                        else np.empty(0))
    gradients = rule.pull(upstream)
    for j in range(n_in):
        offset, size = ins[2 * j], ins[2 * j + 1]
        if gradients[j] is None or size == 0 or offset < base:
            continue
        g = np.ascontiguousarray(gradients[j], np.float64).reshape(-1)
        for k in range(size):
            adj[offset + k] += g[k] + 0.0
    return 0


cdef class Hook:
    """A function that sees, and may replace, the gradient of one view of the tape."""
    cdef readonly object function, name
    cdef readonly dict home           # the hooks of one record: hook -> hook
    cdef Py_ssize_t offset
    cdef Layout layout


cdef object add_hook(Handle h, object function):
    """Let a function see the gradient of an intermediate as soon as it is complete."""
    cdef Hook hook = Hook.__new__(Hook)
    hook.function = function
    hook.name = None if h.extra is None else h.extra.name
    hook.offset, hook.layout = h.offset, h.layout
    hook.home = h.tape.hooks.setdefault(h.rec, {})
    hook.home[hook] = hook
    return hook


cdef int run_hooks(Tape t, dict hooks, Py_ssize_t base) except -1:
    """Call the hooks of one record in the order of registration."""
    cdef Hook h
    for h in list(hooks):
        if h.offset < base or all_nothing_view(t, h.offset, h.layout):
            continue
        g = read_view(&t.adjoint[h.offset], h.layout)
        new = hook_result(h.function, g, h.name)
        if new is not g:
            write_view(&t.adjoint[h.offset], h.layout, new)
    return 0


def hook_result(function, g, name):
    """What a hook makes of a gradient: the gradient itself when it returns None."""
    new = function(g)
    if new is None:
        return g
    new = np.asarray(new, dtype=np.float64)
    if new.shape != np.shape(g):
        raise ValueError(f"hook of {name or 'a variable'}: returned shape {new.shape} for a gradient of shape {np.shape(g)}")
    return new + 0.0


def call_hooks(hooks, g, name):
    """Send a leaf's gradient through its hooks."""
    for function in list(hooks.values()):
        g = hook_result(function, g, name)
    return g


cdef int accumulate(Storage s, object g) except -1:
    """Add to the gradient of a leaf or a retained intermediate."""
    if s.grad is None:
        s.grad = np.array(g, dtype=np.float64)
    else:
        s.grad = np.asarray(s.grad, np.float64) + g
    return 0


# ---- views in and out --------------------------------------------------------------------------------------------
cdef double *data_of(Storage s) noexcept:
    return <double *>PyArray_DATA(<ndarray>s.data)


cdef extern from *:
    Py_ssize_t Py_REFCNT(object) noexcept


cdef bint shared(object data) noexcept:
    """Whether somebody besides the Storage holds the array (one reference is this argument's)."""
    return Py_REFCNT(data) > 1


cdef bint all_nothing_view(Tape t, Py_ssize_t offset, Layout layout) noexcept:
    """Whether no element that the view spans has an adjoint."""
    return layout.size == 0 or all_nothing(&t.adjoint[offset + layout.low], layout.high - layout.low + 1)


cdef Py_ssize_t flat_layout(Layout l, int64_t *p, bint write) noexcept:
    """A layout as the map drivers read it: between the view and a dense array."""
    cdef Py_ssize_t d, n = l.ndim if l.ndim else 1, step = 1
    p[0] = n
    if l.ndim == 0:
        p[1] = 1
        p[2] = p[3] = p[4] = 0
        return 1
    for d in range(n - 1, -1, -1):
        p[1 + d] = l.dims[d]
        p[1 + n + d] = l.dims[n + d] if write else step
        p[1 + 2 * n + d] = step if write else l.dims[n + d]
        p[1 + 3 * n + d] = 0
        step *= l.dims[d]
    return n


cdef object read_view(const double *first, Layout l):
    """A fresh array with what the view holds; -0.0 is kept."""
    cdef int64_t p[1 + 4 * MOST_DIMS]
    out = np.empty(l.shape)
    if l.size:
        if l.contiguous:
            memcpy(PyArray_DATA(<ndarray>out), first, l.size * sizeof(double))
        else:
            flat_layout(l, p, False)
            map_forward(OP_positive, False, p, first, NULL, <double *>PyArray_DATA(<ndarray>out))
    return out


cdef int write_view(double *first, Layout l, object source) except -1:
    """Write a float64 array of the view's shape into the view."""
    cdef int64_t p[1 + 4 * MOST_DIMS]
    source = np.ascontiguousarray(source, np.float64)
    if l.size:
        flat_layout(l, p, True)
        map_forward(OP_positive, False, p, <const double *>PyArray_DATA(<ndarray>source), NULL, first)
    return 0


cdef int add_to_view(double *first, Layout l, object source) except -1:
    """Add a float64 array of the view's shape to the view, element by element, also where it looks at a slot twice."""
    cdef Py_ssize_t k, d, n = l.ndim
    cdef const double[::1] flat = np.ascontiguousarray(source, np.float64).reshape(-1)
    cdef Py_ssize_t at, rest
    for k in range(l.size):
        at, rest = 0, k
        for d in range(n - 1, -1, -1):
            at += rest % l.dims[d] * l.dims[n + d]
            rest //= l.dims[d]
        first[at] += flat[k]
    return 0


cdef int copy_in(Tape t, Py_ssize_t slot, object array) except -1:
    """Copy a float64 array into reserved slots, in C order."""
    cdef ndarray a = array
    if not PyArray_IS_C_CONTIGUOUS(a) or PyArray_TYPE(a) != NPY_DOUBLE:
        a = np.ascontiguousarray(array, np.float64)
    if a.size:
        memcpy(&t.value[slot], PyArray_DATA(a), a.size * sizeof(double))
    return 0


cdef object evaluate_plain(int op, object x, object y):
    """A function of the table on dense float64 arrays of one shape."""
    cdef int64_t one[5]
    cdef ndarray a = x, b = y, out = np.empty(x.shape)
    one[0], one[1], one[2], one[3], one[4] = 1, a.size, 1, 1, 1
    if a.size:
        map_forward(op, False, one, <const double *>PyArray_DATA(a), <const double *>NULL if b is None else <const double *>PyArray_DATA(b),
                    <double *>PyArray_DATA(out))
    return out


include "_collect.pxi"


# ---- this thread's tape; the loops of NumPy and SciPy ----------------------------------------------------------------
_thread = threading.local()


cdef Tape current_tape():
    """The calling thread's tape; while it is swept, and a hook or rule computes, a tape set aside for that."""
    cdef Tape tape
    if fa_thread_tape is NULL:
        tape = Tape()
        _thread.tape = tape           # keeps it alive as long as the thread lives
        (&fa_thread_tape)[0] = <void *>tape
    tape = <Tape>fa_thread_tape
    while tape.busy:
        if tape.aside is None:
            tape.aside = Tape()
        tape = tape.aside
    return tape


cdef int find_loop(ufunc u, fa_ufunc *loop) except -1:
    """Find the float64 loop of a ufunc."""
    cdef int k, j, n = u.nin + u.nout
    for k in range(u.ntypes):
        for j in range(n):
            if u.types[k * n + j] != NPY_DOUBLE:
                break
        else:
            loop.call = <void (*)(char **, const intptr_t *, const intptr_t *, void *) noexcept nogil><void *>u.functions[k]
            loop.data = u.data[k]
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
