"""Contents of the tape: the arena, the record columns, the views on them, and the sweeps."""
cimport cython
from libc.math cimport NAN
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

from fastad._scalar cimport FA_LIKELY, FA_UNLIKELY, OP_WIDE, box_distance, boxed_distance, fa_rows, is_nothing

cdef enum:
    FAR = 1 << 28             # scalar records hold the distance to an operand in 28 bits

cdef uint64_t FREED_SCALAR         # link of a scalar record whose graph was freed; its opcode is that of wide records


cdef inline bint is_wide(uint64_t link) noexcept nogil:
    """Whether a record stands in the wide table."""
    return link & 255 == OP_WIDE and link != <uint64_t>0xffffffffffffff00


cdef enum Kind:
    SPAN                      # data without an operation: a leaf's or constant's values
    MAP                       # out[view] (= or +=) f(a[view], b[view])
    MATMUL                    # out = a @ b over a batch
    ROUTE                     # out[k] = a[index[k]]
    SPREAD                    # out[target[k]] += weight[k] * a[source[k]]
    ASSIGN                    # in-place write, overwritten values kept in the own block
    CALL                      # a Python function with its own derivative rule

cdef enum Flag:
    ACCUMULATE = 1            # += instead of =
    CONSTANT_A = 2            # the operand is a constant: no adjoint
    CONSTANT_B = 4
    INDEXED = 8               # ASSIGN by an index list
    ANYWHERE = 16             # ROUTE from slots all over the tape
    FREED = 32                # graph was freed by backward()
    OF_LEAF = 64              # SPAN: a leaf's values

cdef packed struct Wide:
    int64_t out, size         # the record's own block of slots
    int64_t dst, a, b         # first slot of the destination and of the operands; -1: none
    int64_t n, sv, sx, sy     # a single axis: its length, strides of destination and operands
    int64_t layout            # where the pool holds the layout or the indices; -1: the single axis above
    int32_t extra             # which entry of `objects`; -1: none
    uint8_t kind, op, flags, unused

cdef struct Level:
    Py_ssize_t slots, records, wide, pool, objects, assign    # how long each part of a tape is


cdef enum State:
    UNSET                     # not initialised
    NODE                      # a value on the tape
    LEAF                      # an input with data and gradient of its own
    CONSTANT                  # data without gradient
    GONE                      # freed; its values were moved into its own storage


cdef class Layout:
    """Shape and strides (in elements) of a view; immutable and shared."""
    cdef readonly Py_ssize_t ndim, size
    cdef Py_ssize_t low, high         # first and last element that the view touches, relative to its offset
    cdef bint contiguous              # C order without gaps
    cdef Py_ssize_t *dims             # shape[ndim], then strides[ndim]
    cdef tuple _shape
    cdef Layout _row                  # layout of self[i], made on first use

cdef Layout SCALAR
cdef Layout make_layout(Py_ssize_t ndim, const Py_ssize_t *shape, const Py_ssize_t *strides)
cdef Layout dense(Py_ssize_t ndim, const Py_ssize_t *shape)
cdef Layout layout_of(tuple shape)


cdef class Binding:
    """The slots in which a leaf's values stand on one tape."""
    cdef void *leaf                   # the Handle, NULL once it is gone
    cdef Tape tape
    cdef Py_ssize_t offset, rec
    cdef unsigned long version        # of the leaf's data when it was copied


@cython.no_gc                         # its Variable shows the collector what is in it
cdef class Storage:
    """What a Variable has beyond its view: data of its own, gradient, name, hooks."""
    cdef public object data           # float64 array; np.float64 for a freed number; None
    cdef public object grad           # ndarray (float64) or None
    cdef public object name
    cdef public object dtype          # what a gradient is converted to; None: float64
    cdef public dict hooks            # of a leaf
    cdef list bindings                # of a leaf: one for each tape that has used it
    cdef Binding current
    cdef unsigned long version
    cdef bint exposed                 # the user holds, or held since the last check, the data array


@cython.no_gc                         # tracking each would cost more than the operation; see _leaves.pxi
cdef class Handle:
    """A view on the tape: (tape, offset, layout), linked into the tape's list of living handles."""
    cdef Tape tape
    cdef Layout layout
    cdef Storage extra
    cdef Py_ssize_t offset            # slot of the first element
    cdef Py_ssize_t rec               # the record that made the values
    cdef Py_ssize_t born              # records on the tape when the handle was made: no older handle needs later ones
    cdef void *older
    cdef void *newer
    cdef State state
    cdef bint linked
    cdef bint collectable             # has the garbage collector's header in front
    cdef object __weakref__


cdef class Tape:
    cdef double[::1] value           # the arena
    cdef double[::1] adjoint         # its mirror, valid below `swept`
    cdef uint64_t[::1] link           # scalar record: opcode | distance to x << 8 | that to y << 36; else index << 8
    cdef double[::1] dx               # partials of scalar records; where an operand is a constant, the constant
    cdef double[::1] dy
    cdef Wide[::1] wide               # all other records
    cdef int64_t[::1] pool            # layouts and index lists
    cdef list objects                 # rules of CALL records
    cdef Py_ssize_t n_slots, n_records, n_wide, n_pool
    cdef Py_ssize_t slot_limit, record_limit     # capacities; 0 while paused, busy or observed: one test for all
    cdef Py_ssize_t swept             # slots whose adjoints the last sweeps have set
    cdef Py_ssize_t n_assign          # ASSIGN records on the tape
    cdef Level kept                   # up to the last leaf: what stays when all graphs are gone
    cdef void *oldest                 # living handles in order of creation
    cdef void *newest
    cdef Py_ssize_t n_live
    cdef int paused                   # depth of no_grad()
    cdef int pinned                   # nothing is cut off or collected while a sweep is recorded
    cdef bint busy                    # a sweep runs
    cdef list transforms              # the inputs of the function transforms that run, outermost first
    cdef Py_ssize_t guarded           # first slot of the outermost transform: what is dropped above is an error
    cdef bint outside                 # the last sweep dropped such a thing
    cdef Py_ssize_t late, late_slot   # the record whose value is to be computed next, plus 1, and its slot; 0: none
    cdef bint open                    # a record was pushed that has no handle yet: nothing may be cut off
    cdef Tape aside                   # where hooks and rules record while this tape is swept
    cdef list leaves                  # Bindings
    cdef Py_ssize_t living_slots, living_leaves  # of bindings whose leaf is alive
    cdef dict hooks                   # record -> list of hooks of intermediates
    cdef int small_graphs             # in a row, on columns that are much larger
    cdef Py_ssize_t collected_records # records that the last collection left
    cdef readonly Py_ssize_t n_collections
    cdef object observer              # sees every record come and go, see fastad/observing.py; None
    cdef bint ended                   # the trace of this tape has ended: there will be no more records
    cdef readonly object trace        # the Trace of a compiled function: nothing is ever cut off then; None

    cdef void limit(self) noexcept
    cdef int reserve(self, Py_ssize_t slots, Py_ssize_t records, Py_ssize_t pool) except -1
    cdef int make_room(self, Py_ssize_t slots, Py_ssize_t records, Py_ssize_t pool) except -1
    cdef Wide *push(self, Kind kind, Py_ssize_t size) noexcept
    cdef Py_ssize_t push_layout(self, Layout shape, Layout v, Layout x, Layout y, Wide *w) noexcept
    cdef void run_forward(self, Wide *w) noexcept nogil
    cdef Py_ssize_t size_of(self, Py_ssize_t rec) noexcept
    cdef int sweep(self, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t base) except -1
    cdef int prepare_adjoints(self, Py_ssize_t base) except -1
    cdef int deposit(self, Handle root) except -1
    cdef int release(self) except -1
    cdef int collect(self) except -1
    cdef Level level(self) noexcept
    cdef void cut(self) noexcept
    cdef void truncate(self, Py_ssize_t records) noexcept
    cdef void restore(self, Level to) noexcept
    cdef void emptied(self) noexcept
    cdef Binding bind(self, Handle leaf)
    cdef int bind_size(self, Handle leaf, Py_ssize_t *slots) except -1

cdef Tape current_tape()
cdef Tape exchange_tape(Tape new)
cdef int unbind_all(Tape tape) except -1


cdef inline void store_scalar(Tape tape, Py_ssize_t rec, Py_ssize_t slot, int op, Py_ssize_t x, Py_ssize_t y,
                              double v, double dx, double dy) noexcept nogil:
    """Write a scalar record; x and y are slots, 0 for none.

    An operand that was not selected is boxed away, so that the reverse loop need not ask.
    """
    if fa_rows[op].selective:
        if x and is_nothing(dx):
            dx, x = box_distance(slot - x), 0
        elif dx != dx:
            dx = NAN                                  # no foreign nan may look like a box
        if y and is_nothing(dy):
            dy, y = box_distance(slot - y), 0
        elif dy != dy:
            dy = NAN
    tape.value[slot] = v
    tape.link[rec] = <uint64_t>op | (<uint64_t>(slot - x) << 8 if x else 0) | (<uint64_t>(slot - y) << 36 if y else 0)
    tape.dx[rec] = dx
    tape.dy[rec] = dy


cdef inline void adopt(Tape tape, Handle h) noexcept:
    """Put a new handle at the young end of the tape's list."""
    h.tape = tape
    h.linked = True
    h.born = tape.n_records
    h.older = tape.newest
    h.newer = NULL
    if tape.newest is NULL:
        tape.oldest = <void *>h
    else:
        (<Handle>tape.newest).newer = <void *>h
    tape.newest = <void *>h
    tape.n_live += 1
    tape.open = False


cdef inline void unlink(void *h) noexcept:
    """Take a handle, which may be dying, out of its tape's list. When it was the youngest, what only it needed goes."""
    cdef Tape tape = (<Handle>h).tape
    cdef bint youngest = (<Handle>h).newer is NULL
    if (<Handle>h).older is NULL:
        tape.oldest = (<Handle>h).newer
    else:
        (<Handle>(<Handle>h).older).newer = (<Handle>h).newer
    if youngest:
        tape.newest = (<Handle>h).older
    else:
        (<Handle>(<Handle>h).newer).older = (<Handle>h).older
    (<Handle>h).linked = False
    tape.n_live -= 1
    if youngest and not tape.busy and not tape.open:
        tape.cut()


cdef inline void forget_leaf(void *h) noexcept:
    """Tell the tapes on which a dying leaf stands, before anyone who watches it die can sweep them."""
    cdef Storage s = (<Handle>h).extra
    cdef Binding b
    if s is None or s.bindings is None:
        return
    for b in s.bindings:
        b.leaf = NULL
        if b.offset >= 0:
            b.tape.living_slots -= (<Handle>h).layout.size
            b.tape.living_leaves -= 1
    s.bindings = None


cdef inline Py_ssize_t distance_x(Tape t, Py_ssize_t rec) noexcept nogil:
    """Distance of a scalar record to its first operand, also to one that was not selected; 0: none."""
    cdef uint64_t k = t.link[rec]
    cdef Py_ssize_t x = <Py_ssize_t>(k >> 8) & (FAR - 1)
    return boxed_distance(t.dx[rec]) if x == 0 and fa_rows[k & 255].selective else x


cdef inline Py_ssize_t distance_y(Tape t, Py_ssize_t rec) noexcept nogil:
    """The same for the second operand."""
    cdef uint64_t k = t.link[rec]
    cdef Py_ssize_t y = <Py_ssize_t>(k >> 36)
    return boxed_distance(t.dy[rec]) if y == 0 and fa_rows[k & 255].selective else y


cdef class Hook:
    """A function that sees, and may replace, the gradient of one view of the tape."""
    cdef readonly object function, name
    cdef readonly dict home           # the hooks of one record: hook -> hook
    cdef Py_ssize_t offset
    cdef Layout layout


cdef struct Bits:
    uint64_t *word
    Py_ssize_t *before                # set bits in front of each word
    Py_ssize_t n


cdef struct Tangents:
    double *dot                       # dot[slot - shift] is the tangent of a slot; dot[0] is nothing
    Py_ssize_t shift, base            # slots below `base` have no tangent
    Bits moving                       # by entry of `dot`: where there may be one; all others are nothing
    bint freed                        # a record of a freed graph was passed


@cython.final
cdef class Push:
    """Tangents of what was recorded since some inputs, for one direction after the other."""
    cdef Tape tape
    cdef Tangents d
    cdef Py_ssize_t rec, slot         # where the inputs begin

    cdef int move(self, Handle x, object x_dot) except -1
    cdef int move_one(self, Py_ssize_t slot) noexcept
    cdef int run(self) except -1
    cdef bint outside(self, list roots) except -1
    cdef int read(self, Handle y, double *out) except -1
    cdef int clear(self) noexcept


cdef const int64_t *axes(Tape t, const Wide *w, int64_t *one) noexcept nogil
cdef void span(Tape t, const Wide *w, int operand, Py_ssize_t *low, Py_ssize_t *high) noexcept nogil
cdef void matrix_span(Tape t, const Wide *w, int operand, Py_ssize_t *low, Py_ssize_t *high) noexcept nogil
cdef int ensure_loops(int op) except -1
cdef void *loop_table() noexcept
cdef object read_view(const double *first, Layout l)
cdef object read_gradient(Tape t, Py_ssize_t offset, Layout l)
cdef int write_view(double *first, Layout l, object source) except -1
cdef int add_to_view(double *first, Layout l, object source) except -1
cdef int copy_in(Tape t, Py_ssize_t slot, object array) except -1
cdef object evaluate_plain(int op, object a, object b)
cdef void write_in_place(Tape t, Wide *w) noexcept nogil
cdef int accumulate(Storage s, object g) except -1
cdef int harvest(Tape t, Handle h) except -1
cdef list reached_records(Tape t, Handle root)
cdef bint all_nothing_view(Tape t, Py_ssize_t offset, Layout layout) noexcept
cdef object add_hook(Handle h, object function)
cdef int catch_up(Tape t) except -1
cdef Py_ssize_t execute(const void *code, Py_ssize_t first, Py_ssize_t last, const void *scalars,
                        const int32_t *strands, const int64_t *pool, double *w, Py_ssize_t lanes, double *work,
                        const void *regions) noexcept nogil
cdef Py_ssize_t execute_parts(const void *code, Py_ssize_t count, Py_ssize_t parts, const int64_t *steps,
                              const int32_t *strands, const int64_t *pool, double *w, double *work,
                              const void *regions) noexcept nogil
cdef bint from_whole(Py_ssize_t n, const int64_t *x, double *out) noexcept nogil
