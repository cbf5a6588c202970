"""Variables: views on the tape with the operators and protocols of NumPy, and no mathematics of their own.

An operation on Variables is one record. Scalars take the short way (three stores and a handle), arrays become a strided
map; everything else goes through `apply`, which turns its operands into slots first.
"""
cimport cython
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact
from cpython.long cimport PyLong_CheckExact
from cpython.ref cimport PyObject
from cpython.slice cimport PySlice_Check
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.string cimport memcpy
from numpy cimport PyArray_DATA, ndarray

from operator import attrgetter

import numpy as np

from fastad._tape cimport (
    ACCUMULATE, ANYWHERE, ASSIGN, CALL, CONSTANT, CONSTANT_A, CONSTANT_B, FAR, GONE, INDEXED, LEAF, MAP, MATMUL, NODE,
    OP_COUNT, ROUTE, SCALAR, SPAN, SPREAD, Binding, Handle, Layout, State, Storage, Tape, Wide, adopt,
    current_tape, dense, ensure_loops, fa_rows, box_distance, is_nothing, layout_of, make_layout,
    OP_positive, OP_keep, OP_drop, accumulate, add_hook, add_to_view, all_nothing_view, copy_in, evaluate_plain, harvest, loop_table,
    read_view, unlink, write_in_place, write_view,
)

from . import _tape
from . import ops as table
from .errors import FreedGraphError, GradientLostError, NoGradientError

cdef extern from "_scalar.h":
    void *fa_loops
    void scalar_inline(int op, double x, double y, double *v, double *dx, double *dy) noexcept nogil
    void scalar_eval(int op, double x, double y, double *v, double *dx, double *dy) noexcept nogil
    cdef enum:
        OP_add, OP_subtract, OP_multiply, OP_divide, OP_power, OP_remainder, OP_floor_divide, OP_negative, OP_absolute
        OP_less, OP_less_equal, OP_greater, OP_greater_equal, OP_equal, OP_not_equal

(&fa_loops)[0] = loop_table()

cdef object float64 = np.float64
cdef object true = np.True_
cdef object false = np.False_
cdef object asarray = np.asarray
cdef dict opcodes = {}                # ufunc -> opcode
cdef dict functions = {}              # NumPy function -> answer; filled by fastad.numpy_api
cdef dict methods = {}                # name of a method -> function of the Variable; likewise


cdef extern from "_handles.h":
    ctypedef struct PySequenceMethods:
        void *sq_item
    ctypedef struct PyTypeObject:
        void (*tp_dealloc)(PyObject *) noexcept
        PySequenceMethods *tp_as_sequence
    enum:
        FA_FREE_HANDLES
    object fa_revive(PyObject *o, PyTypeObject *type)
    bint fa_recyclable(PyObject *o, PyTypeObject *type) noexcept

cdef PyObject *free_handles[FA_FREE_HANDLES]
cdef int n_free_handles = 0
cdef void (*full_dealloc)(PyObject *) noexcept


# ---- making handles --------------------------------------------------------------------------------------------
cdef Variable new_node(Tape tape, Py_ssize_t offset, Py_ssize_t rec, Layout layout):
    """A handle on a view of the tape."""
    global n_free_handles
    cdef Variable h
    if n_free_handles:
        n_free_handles -= 1
        h = <Variable>fa_revive(free_handles[n_free_handles], <PyTypeObject *>Variable)
    else:
        h = Variable.__new__(Variable)
    if layout is not SCALAR:
        h.layout = layout
    h.offset = offset
    h.rec = rec
    h.state = NODE
    adopt(tape, h)
    return h


cdef void recycle(PyObject *o) noexcept:
    """tp_dealloc of Variable: plain handles go to the free list, as a scalar without a tape."""
    global n_free_handles
    if (n_free_handles < FA_FREE_HANDLES and fa_recyclable(o, <PyTypeObject *>Variable) and (<Variable>o).linked
            and (<Variable>o).extra is None):
        unlink(<void *>o)
        (<Variable>o).tape = None
        (<Variable>o).layout = SCALAR
        free_handles[n_free_handles] = o
        n_free_handles += 1
    else:
        full_dealloc(o)


cdef Variable with_data(object data, State state):
    """A Variable with data of its own: a leaf or a constant. `data` is a float64 array nobody else writes to."""
    cdef Variable h = Variable.__new__(Variable)
    if not data.flags.c_contiguous:
        data = np.array(data, order="C")
    h.layout = layout_of(data.shape)
    h.extra = Storage.__new__(Storage)
    h.extra.data = data
    h.state = state
    return h


cdef object result(object data):
    """A 0-d array as np.float64, others as they are."""
    return data[()] if data.ndim == 0 else data


cdef object values_of(Handle h):
    """The values as np.float64 or as an array that belongs to the caller or is not to be written to."""
    if h.state == NODE:
        if h.layout is SCALAR:
            return float64(h.tape.value[h.offset])
        return read_view(&h.tape.value[h.offset], h.layout)
    return result(h.extra.data)


cdef inline bint recorded(Handle h) noexcept:
    """Whether a gradient can flow through."""
    return h.state == NODE or h.state == LEAF


cdef int refuse_freed(Handle h, str name) except -1:
    raise FreedGraphError(f"{name}: this Variable belongs to a graph that backward() has freed; pass retain_graph=True to "
                          "backward() to go on computing with it, or use .item() or .detach() for its value")


# ---- scalar records: the short way ---------------------------------------------------------------------------------
cdef inline Variable push_scalar(Tape tape, int op, Py_ssize_t x, Py_ssize_t y, double v, double dx, double dy):
    """Append a scalar record; x and y are slots, 0 for none. There is room and the distances fit.

    An operand that was not selected is boxed away, so that the reverse loop need not ask.
    """
    cdef Py_ssize_t slot = tape.n_slots, rec = tape.n_records
    if fa_rows[op].selective:
        if x and is_nothing(dx):
            dx, x = box_distance(slot - x), 0
        if y and is_nothing(dy):
            dy, y = box_distance(slot - y), 0
    tape.value[slot] = v
    tape.link[rec] = <uint64_t>op | (<uint64_t>(slot - x) << 8 if x else 0) | (<uint64_t>(slot - y) << 36 if y else 0)
    tape.dx[rec] = dx
    tape.dy[rec] = dy
    tape.n_slots = slot + 1
    tape.n_records = rec + 1
    return new_node(tape, slot, rec, SCALAR)


cdef inline Py_ssize_t ready(Handle h, Tape tape) noexcept:
    """The slot of a scalar that can stand in a scalar record of the tape right now, else 0."""
    cdef Binding b
    cdef Py_ssize_t slot
    if h.layout is not SCALAR:
        return 0
    if h.state == NODE:
        if h.tape is not tape:
            return 0
        slot = h.offset
    elif h.state == LEAF:
        b = h.extra.current
        if b is None or b.tape is not tape or b.offset < 0 or b.version != h.extra.version:
            return 0
        slot = b.offset
    else:
        return 0
    return slot if tape.n_slots - slot < FAR else 0


cdef inline bint roomy(Tape tape) noexcept:
    """Whether one more scalar record fits, and recording is on."""
    return tape.n_slots < tape.slot_limit and tape.n_records < tape.record_limit


cdef inline Tape tape_for(Handle h):
    return h.tape if h.state == NODE else current_tape()


cdef inline object binary(int op, object a, object b):
    """An operator of two arguments, `op` known to the C compiler: scalars the short way."""
    cdef Tape tape
    cdef Py_ssize_t x = 0, y = 0
    cdef double v, dx = 0.0, dy = 0.0
    if type(a) is Variable:
        tape = tape_for(<Variable>(b if (<Variable>a).state == LEAF and type(b) is Variable else a))
        x = ready(<Variable>a, tape)
        if x and roomy(tape):
            if PyFloat_CheckExact(b):
                dy = PyFloat_AS_DOUBLE(b)
                scalar_inline(op, tape.value[x], dy, &v, &dx, NULL)
                return push_scalar(tape, op, x, 0, v, dx, dy)
            if type(b) is Variable:
                y = ready(<Variable>b, tape)
                if y:
                    scalar_inline(op, tape.value[x], tape.value[y], &v, &dx, &dy)
                    return push_scalar(tape, op, x, y, v, dx, dy)
            elif PyLong_CheckExact(b):
                dy = b
                scalar_inline(op, tape.value[x], dy, &v, &dx, NULL)
                return push_scalar(tape, op, x, 0, v, dx, dy)
    elif PyFloat_CheckExact(a) and type(b) is Variable:
        tape = tape_for(<Variable>b)
        y = ready(<Variable>b, tape)
        if y and roomy(tape):
            dx = PyFloat_AS_DOUBLE(a)
            scalar_inline(op, dx, tape.value[y], &v, NULL, &dy)
            return push_scalar(tape, op, 0, y, v, dx, dy)
    return apply(op, a, b)


cdef object unary(int op, object a):
    """A function of one argument."""
    cdef Tape tape
    cdef Py_ssize_t x
    cdef double v, dx = 0.0
    if type(a) is Variable and fa_rows[op].differentiable:
        tape = tape_for(<Variable>a)
        x = ready(<Variable>a, tape)
        if x and roomy(tape):
            ensure_loops(op)
            scalar_eval(op, tape.value[x], 0.0, &v, &dx, NULL)
            return push_scalar(tape, op, x, 0, v, dx, 0.0)
    elif PyFloat_CheckExact(a) and fa_rows[op].differentiable:
        ensure_loops(op)
        scalar_eval(op, PyFloat_AS_DOUBLE(a), 0.0, &v, NULL, NULL)
        return v
    return apply(op, a, None)


# ---- operands ----------------------------------------------------------------------------------------------------------
cdef object constant_array(object x, str name):
    """An operand that is no Variable as a float64 array; an object array of Variables as one Variable."""
    a = asarray(x)
    kind = a.dtype.kind
    if kind == "f" or kind == "i" or kind == "u" or kind == "b":
        return asarray(a, np.float64, order="C")
    if kind == "O":
        return pack(a)
    if kind == "c":
        raise TypeError(f"{name}: complex numbers are not supported; split them into real and imaginary parts")
    raise TypeError(f"{name}: cannot compute with {type(x).__name__} of dtype {a.dtype}")


cdef object operand(object x, str name):
    """An argument as what a record can use: a recorded Variable, or the float64 array of a constant."""
    cdef Handle h
    if not isinstance(x, Handle):
        x = constant_array(x, name)
        if not isinstance(x, Handle):
            return x
    h = <Handle>x
    if h.state == GONE:
        refuse_freed(h, name)
    return h.extra.data if h.state == CONSTANT else h


cdef inline Layout layout_for(object x):
    """The layout of an operand; None for None."""
    return None if x is None else (<Handle>x).layout if isinstance(x, Handle) else layout_of(x.shape)


cdef inline Py_ssize_t slot_of(Handle h) noexcept:
    """First slot of a recorded Variable that `settle` has prepared."""
    return h.offset if h.state == NODE else h.extra.current.offset


cdef inline Py_ssize_t rec_of(Handle h) noexcept:
    return h.rec if h.state == NODE else h.extra.current.rec


cdef Tape settle(object operands, Py_ssize_t slots, Py_ssize_t records, Py_ssize_t pool, str name):
    """The tape for an operation on some operands, with room for so much more and all leaves bound to it."""
    cdef Tape tape = None
    cdef Handle h
    for x in operands:
        if isinstance(x, Handle):
            h = <Handle>x
            if h.state == NODE:
                if tape is not None and h.tape is not tape:
                    raise RuntimeError(f"{name}: the operands were recorded by different threads; compute with the value of "
                                       "one of them (.detach())")
                tape = h.tape
    if tape is None:
        tape = current_tape()
    for x in operands:
        if isinstance(x, Handle):
            if (<Handle>x).state == LEAF:
                tape.bind_size(<Handle>x, &slots)
                records += 1
        elif x is not None:
            slots += (<ndarray>x).size
    tape.reserve(slots, records, pool)
    for x in operands:
        if isinstance(x, Handle) and (<Handle>x).state == LEAF:
            tape.bind(<Handle>x)
    return tape


cdef Py_ssize_t place(Tape tape, object x, Py_ssize_t *slot) except -1:
    """The slot of an operand; a constant is copied behind what the record's block already holds."""
    cdef Py_ssize_t where = slot[0]
    if isinstance(x, Handle):
        return slot_of(<Handle>x)
    copy_in(tape, where, x)
    slot[0] += (<ndarray>x).size
    return where


cdef object value_or_array(object x):
    return values_of(<Handle>x) if isinstance(x, Handle) else x


cdef object unrecorded(object out):
    """A result without gradient: truth values and integers as NumPy gives them, numbers as a constant Variable."""
    return with_data(np.array(out), CONSTANT) if out.dtype == float64 else out


cdef bint flows(object operands, str name) except -1:
    """Whether an operation on these operands is to be recorded: a gradient flows through one, and no_grad() is off."""
    cdef Tape tape = None
    cdef bint found = False
    for x in operands:
        if isinstance(x, Handle):
            if (<Handle>x).state == GONE:
                refuse_freed(<Handle>x, name)
            if (<Handle>x).state == NODE:
                tape = (<Handle>x).tape
            found = found or recorded(<Handle>x)
    if not found:
        return False
    return (tape if tape is not None else current_tape()).paused == 0


cdef Layout broadcast(Layout x, Layout y, str name):
    """The layout of the result of an elementwise operation: dense, of the broadcast shape."""
    cdef Py_ssize_t dims[64]
    cdef Py_ssize_t d, n, a, b
    if y is None or x is y:
        return x if x.contiguous else dense(x.ndim, x.dims)
    n = x.ndim if x.ndim > y.ndim else y.ndim
    for d in range(n):
        a = x.dims[d - (n - x.ndim)] if d >= n - x.ndim else 1
        b = y.dims[d - (n - y.ndim)] if d >= n - y.ndim else 1
        if a != b and a != 1 and b != 1:
            raise ValueError(f"{name}: operands of shapes {x.shape} and {y.shape} cannot be broadcast together")
        dims[d] = b if a == 1 else a
    if n == x.ndim and x.contiguous and same_dims(x, dims):
        return x
    if n == y.ndim and y.contiguous and same_dims(y, dims):
        return y
    return dense(n, dims)


cdef bint same_dims(Layout layout, const Py_ssize_t *dims) noexcept:
    cdef Py_ssize_t d
    for d in range(layout.ndim):
        if layout.dims[d] != dims[d]:
            return False
    return True


# ---- the general way -------------------------------------------------------------------------------------------------------
cdef object apply(int op, object x, object y):
    """Record, or compute, a function of the table on any operands; y is None for a function of one argument."""
    cdef str name = fa_rows[op].name.decode()
    cdef object a, b = None
    for a in (x, y):                                  # a symbolic operand takes the operation as its own
        if not isinstance(a, Handle) and hasattr(type(a), "__fastad_node__"):
            return a.__fastad_node__(name, (x,) if fa_rows[op].arity == 1 else (x, y))
    a = operand(x, name)
    if fa_rows[op].arity == 2:
        b = operand(y, name)
    if not (isinstance(a, Handle) or isinstance(b, Handle)):
        out = evaluate(op, a, b)
        return unrecorded(out) if isinstance(x, Handle) or isinstance(y, Handle) else out
    ensure_loops(op)
    if not fa_rows[op].differentiable or not flows((a, b), name):
        return unrecorded(evaluate(op, value_or_array(a), None if b is None else value_or_array(b)))
    return record_map(op, a, b, layout_for(a), layout_for(b), name)


cdef Variable record_map(int op, object a, object b, Layout la, Layout lb, str name):
    """Record out = op(a, b) over the broadcast shape of a and b (b may be None)."""
    cdef Layout out = broadcast(la, lb, name)
    cdef Tape tape = settle((a, b), out.size, 2, 4 * out.ndim + 5, name)
    cdef Py_ssize_t slot = tape.n_slots, rec, x = 0, y = 0
    cdef bint ca = not isinstance(a, Handle), cb = not isinstance(b, Handle)
    cdef Wide *w
    cdef double v, dx = 0.0, dy = 0.0
    if out is SCALAR:
        if not ca:
            x = slot_of(<Handle>a)
        if not cb:
            y = slot_of(<Handle>b)
        if (ca or slot - x < FAR) and (cb or slot - y < FAR):
            if ca:
                dx = a
            if b is not None and cb:
                dy = b
            scalar_eval(op, dx if ca else tape.value[x], dy if cb else tape.value[y], &v, NULL if ca else &dx,
                        NULL if cb else &dy)
            return push_scalar(tape, op, x, y, v, dx, dy)
    rec = tape.n_records
    w = tape.push(MAP, out.size + (la.size if ca else 0) + (lb.size if lb is not None and cb else 0))
    w.op = <uint8_t>op
    w.flags = (CONSTANT_A if ca else 0) | (CONSTANT_B if cb else 0)
    slot = w.out + out.size
    w.a = place(tape, a, &slot)
    if b is not None:
        w.b = place(tape, b, &slot)
    tape.push_layout(out, out, la, lb, w)
    run(tape, w)
    return new_node(tape, w.out, rec, out)


cdef void run(Tape tape, Wide *w) noexcept:
    """Compute a record's values, letting other threads work meanwhile when it is long."""
    if w.n > 50_000:
        tape.busy = True
        with nogil:
            tape.run_forward(w)
        tape.busy = False
    else:
        tape.run_forward(w)


cdef bint same_shape(Layout x, Layout y) noexcept:
    return x is y or (x.ndim == y.ndim and same_dims(x, y.dims))


cdef object pair(int op, Handle x, Handle y):
    """An operator on two recorded arrays of one shape without gaps: no operand needs to be looked at twice."""
    cdef Tape tape
    cdef Py_ssize_t slots = x.layout.size
    cdef Wide *w
    if x.state == NODE:
        tape = x.tape
        if y.state == NODE and y.tape is not tape:
            return None
    else:
        tape = y.tape if y.state == NODE else current_tape()
    if tape.paused:
        return None
    if x.state == LEAF:
        tape.bind_size(x, &slots)
    if y.state == LEAF:
        tape.bind_size(y, &slots)
    tape.reserve(slots, 3, 0)
    if x.state == LEAF:
        tape.bind(x)
    if y.state == LEAF:
        tape.bind(y)
    w = tape.push(MAP, x.layout.size)
    w.op = <uint8_t>op
    w.a, w.b = slot_of(x), slot_of(y)
    w.n = x.layout.size
    w.sv = w.sx = w.sy = 1
    run(tape, w)
    return new_node(tape, w.out, tape.n_records - 1, x.layout)


cdef object with_number(int op, Handle x, double c, bint left):
    """An operator on a recorded array without gaps and a number, which stands behind the result in its block."""
    cdef Tape tape = x.tape if x.state == NODE else current_tape()
    cdef Py_ssize_t slots = x.layout.size + 1
    cdef Wide *w
    if tape.paused:
        return None
    if x.state == LEAF:
        tape.bind_size(x, &slots)
    tape.reserve(slots, 2, 0)
    if x.state == LEAF:
        tape.bind(x)
    w = tape.push(MAP, x.layout.size + 1)
    w.op = <uint8_t>op
    w.n = x.layout.size
    w.sv = 1
    tape.value[w.out + w.n] = c
    if left:
        w.flags, w.a, w.b, w.sx, w.sy = CONSTANT_A, w.out + w.n, slot_of(x), 0, 1
    else:
        w.flags, w.a, w.b, w.sx, w.sy = CONSTANT_B, slot_of(x), w.out + w.n, 1, 0
    run(tape, w)
    return new_node(tape, w.out, tape.n_records - 1, x.layout)


cdef inline bint plain_array(object a) noexcept:
    """Whether a is a recorded array whose elements lie in C order without gaps."""
    return type(a) is Variable and (<Variable>a).layout.ndim > 0 and (<Variable>a).layout.contiguous and recorded(<Variable>a)


cdef inline object operator(int op, object a, object b):
    """A differentiable operator, the short ways first; one of the operands is a Variable."""
    cdef object out = None
    if plain_array(a):
        if PyFloat_CheckExact(b):
            out = with_number(op, <Variable>a, PyFloat_AS_DOUBLE(b), False)
        elif plain_array(b) and same_shape((<Variable>a).layout, (<Variable>b).layout):
            out = pair(op, <Variable>a, <Variable>b)
    elif PyFloat_CheckExact(a) and plain_array(b):
        out = with_number(op, <Variable>b, PyFloat_AS_DOUBLE(a), True)
    return binary(op, a, b) if out is None else out


node_protocol = "__fastad_node__"     # method of symbolic operands, see `apply`
cdef list plain_functions = [None] * OP_COUNT


def plain_function(str name):
    """The NumPy or SciPy function of a row, None if there is none."""
    row = table.BY_NAME[name]
    if row.numpy is None:
        return None
    if row.numpy.startswith("special."):
        import scipy.special
        return attrgetter(row.numpy[8:])(scipy.special)
    return getattr(np, row.numpy)


cdef object evaluate(int op, object a, object b):
    """The function on plain arrays: NumPy's or SciPy's where it is theirs."""
    cdef object f = plain_functions[op]
    if f is None:
        f = plain_function(fa_rows[op].name.decode())
        plain_functions[op] = f or False
    if f:
        with np.errstate(all="ignore"):
            return f(a) if b is None else f(a, b)
    ensure_loops(op)
    if b is None:
        a = np.ascontiguousarray(a, np.float64) if a.ndim else asarray(a, np.float64)
    else:
        a, b = [np.ascontiguousarray(z, np.float64).reshape(z.shape) for z in np.broadcast_arrays(a, b)]
    return result(evaluate_plain(op, a, b))


include "_building.pxi"


# ---- the class ------------------------------------------------------------------------------------------------------------------
cdef class HookHandle:
    """What ``register_hook`` returns; ``remove()`` takes the hook away, also a second time."""
    cdef dict home
    cdef object key

    def remove(self):
        """Take the hook away."""
        self.home.pop(self.key, None)


@cython.no_gc
cdef class Variable(Handle):
    """A number or array whose gradient can be asked for.

    Parameters
    ----------
    value : array_like
        Number or array, converted to float64 and copied. A float32 value gets its gradient in float32.
    name : str, optional
        Shown in pictures and messages.

    Notes
    -----
    Operators, NumPy functions and ``scipy.special`` ufuncs on Variables give Variables, recorded on the tape of the
    calling thread. Comparisons give plain truth values.

    Raises
    ------
    TypeError
        When `value` is complex or not numeric, or contains Variables (use ``fastad.array`` for these).

    Examples
    --------
    >>> import numpy as np
    >>> import fastad as fa
    >>> x = fa.Variable([1.0, 2.0, 3.0])
    >>> y = np.sum(x ** 2)
    >>> y.backward()
    >>> x.grad
    array([2., 4., 6.])
    """

    def __cinit__(self, *args, **kwargs):
        self.layout = SCALAR

    def __init__(self, value, name=None):
        if isinstance(value, Handle):
            raise TypeError("Variable: the value is a Variable already; .detach() gives its values without gradient")
        a = asarray(value)
        if a.dtype.kind == "O":
            raise TypeError("Variable: an array of Variables or objects; fa.array joins scalar Variables")
        data = np.array(constant_array(a, "Variable"), order="C")
        self.layout = layout_of(data.shape)
        self.extra = Storage.__new__(Storage)
        self.extra.data = data
        self.extra.dtype = a.dtype if a.dtype.kind == "f" and a.dtype != float64 else None
        self.extra.name = name
        self.state = LEAF

    # ---- values and gradients ----
    @property
    def value(self):
        """The values: np.float64 for a scalar, else an array. A leaf's array is its own memory and may be written to."""
        if self.state == LEAF and self.layout.ndim:
            self.extra.exposed = True
            return self.extra.data
        return values_of(self)

    @value.setter
    def value(self, new):
        if self.state != LEAF and self.state != CONSTANT:
            raise RuntimeError("value: only a leaf can be given new values; write y[...] = value to record a write in place")
        new = constant_array(new, "value")
        if isinstance(new, Handle):
            raise TypeError("value: the new values are recorded Variables; use .detach() for their values")
        if new.shape != self.layout.shape:
            raise ValueError(f"value: the Variable has shape {self.layout.shape}, the new values {new.shape}")
        if new is not self.extra.data:
            self.extra.data[...] = new
        self.extra.version += 1

    @property
    def grad(self):
        """The gradient that ``backward()`` has left, None before. Intermediates have one too."""
        cdef Storage s = self.extra
        g = None if s is None else s.grad
        if self.state == NODE and self.offset + self.layout.high < self.tape.swept and self.layout.size \
                and not all_nothing_view(self.tape, self.offset, self.layout):
            now = read_view(&self.tape.adjoint[self.offset], self.layout) + 0.0
            g = now if g is None else g + now
        if g is None or isinstance(g, Handle):
            return g
        if s is not None and s.dtype is not None:
            g = asarray(g).astype(s.dtype)
        return g[()] if isinstance(g, np.ndarray) and g.ndim == 0 else g

    @grad.setter
    def grad(self, new):
        if new is not None and np.shape(new) != self.layout.shape:
            raise ValueError(f"grad: the Variable has shape {self.layout.shape}, the new gradient {np.shape(new)}")
        self.zero_grad()
        if new is not None:
            if self.extra is None:
                self.extra = Storage.__new__(Storage)
            self.extra.grad = np.array(new, np.float64)

    def zero_grad(self):
        """Forget the gradient: ``grad`` is None again."""
        if self.extra is not None:
            self.extra.grad = None
        if self.state == NODE and self.layout.size and self.offset + self.layout.high < self.tape.swept:
            write_view(&self.tape.adjoint[self.offset], self.layout, np.full(self.layout.shape, -0.0))

    @property
    def name(self):
        """The name given on creation or later; None without."""
        return None if self.extra is None else self.extra.name

    @name.setter
    def name(self, new):
        if self.extra is None:
            self.extra = Storage.__new__(Storage)
        self.extra.name = new

    @property
    def is_leaf(self):
        """Whether this is an input with a gradient of its own, not the result of an operation."""
        return self.state == LEAF

    def backward(self, seed=None, bint retain_graph=False):
        """Sweep the tape backwards and add the gradient of this Variable to ``grad`` of everything it was computed from.

        Parameters
        ----------
        seed : array_like, optional
            Upstream gradient, of this Variable's shape; 1 for a scalar.
        retain_graph : bool
            Keep the graph for another ``backward()``; else it is freed: values and gradients stay readable, computing
            on with them is an error.

        Raises
        ------
        ValueError
            Without a seed of the right shape for an array.
        RuntimeError
            When the graph is freed already, or nothing was recorded (``no_grad``, ``detach``).

        Examples
        --------
        >>> import fastad as fa
        >>> x = fa.Variable([1.0, 2.0])
        >>> (x * x).backward(seed=[1.0, 10.0])
        >>> x.grad
        array([ 2., 40.])
        """
        if self.state == CONSTANT:
            raise NoGradientError("backward: this value carries no gradient (computed under no_grad(), detached, or the "
                                  "result of a function like floor)")
        if self.state == GONE:
            raise FreedGraphError("backward: the graph was freed by an earlier backward(); call that one with retain_graph=True")
        if seed is None:
            if self.layout.size != 1:
                raise ValueError(f"backward: a Variable of shape {self.layout.shape} needs a seed of that shape, e.g. "
                                 f"y.backward(np.ones({self.layout.shape})); or reduce it to a scalar first")
            seed = np.ones(self.layout.shape)
        else:
            if isinstance(seed, Handle):
                seed = values_of(seed)
            seed = asarray(seed, np.float64)
            if seed.shape != self.layout.shape:
                raise ValueError(f"backward: the seed has shape {seed.shape}, the Variable {self.layout.shape}")
        if self.state == LEAF:
            accumulate(self.extra, _tape.call_hooks(self.extra.hooks or {}, seed + 0.0, self.extra.name))
            return
        cdef Tape tape = self.tape
        cdef Handle h
        cdef void *p = tape.oldest
        while p is not NULL and tape.swept:               # keep what earlier sweeps have left
            h = <Handle>p
            p = h.newer
            harvest(tape, h)
        tape.prepare_adjoints(1)
        add_to_view(&tape.adjoint[self.offset], self.layout, seed + 0.0)
        tape.sweep(self.rec + 1, 0, 1)
        tape.deposit(self)
        if not retain_graph:
            tape.release()

    def register_hook(self, function):
        """Call a function with the gradient of this Variable in each ``backward()``.

        Parameters
        ----------
        function : callable
            Gets the gradient (np.float64 or array); what it returns replaces the gradient, None leaves it.

        Returns
        -------
        handle with a method ``remove()``
        """
        if not callable(function):
            raise TypeError(f"register_hook: a function is needed, not {type(function).__name__}")
        cdef HookHandle handle = HookHandle.__new__(HookHandle)
        if self.state == LEAF:
            if self.extra.hooks is None:
                self.extra.hooks = {}
            handle.home, handle.key = self.extra.hooks, object()
            handle.home[handle.key] = function
            return handle
        if self.state == GONE:
            refuse_freed(self, "register_hook")
        if self.state == CONSTANT:
            raise NoGradientError("register_hook: this value carries no gradient")
        hook = add_hook(self, function)
        handle.home, handle.key = hook.home, hook
        return handle

    def item(self, *index):
        """The value of one element as a Python float, without gradient."""
        return float(asarray(values_of(self)).item(*index))

    def tolist(self):
        """The values as nested lists of Python floats, without gradient."""
        return asarray(values_of(self)).tolist()

    def detach(self):
        """The values as a constant: computing with it records nothing for it."""
        return with_data(np.array(values_of(self)), CONSTANT)

    def copy(self):
        """A recorded copy with memory of its own."""
        if not recorded(self):
            return self.detach()
        return apply(OP_positive, self, None)

    def __copy__(self):
        return self.copy()

    def __reduce__(self):
        if self.state == NODE:
            raise TypeError("pickle: a recorded Variable cannot be pickled; pickle its .value")
        return _restore, (np.array(self.extra.data), self.state == LEAF, self.grad, self.extra.name)

    # ---- shape ----
    @property
    def shape(self):
        """Shape as a tuple."""
        return self.layout.shape

    @property
    def ndim(self):
        """Number of axes."""
        return self.layout.ndim

    @property
    def size(self):
        """Number of elements."""
        return self.layout.size

    @property
    def dtype(self):
        """Always float64."""
        return np.dtype(np.float64)

    @property
    def nbytes(self):
        """Bytes of the values."""
        return 8 * self.layout.size

    @property
    def itemsize(self):
        """Bytes of one element."""
        return 8

    @property
    def real(self):
        """The Variable itself: Variables are real."""
        return self

    @property
    def mT(self):
        """The transposed matrices of a stack, a view."""
        if self.layout.ndim < 2:
            raise ValueError(f"mT: a Variable of shape {self.layout.shape} is no matrix")
        return np.swapaxes(self, self.layout.ndim - 2, self.layout.ndim - 1)

    @property
    def T(self):
        """The transpose, a view."""
        return view(self, 0, self.layout.shape[::-1], self.layout.strides[::-1])

    @property
    def strides_in_elements(self):
        """Strides of the view, counted in elements."""
        return self.layout.strides

    def __len__(self):
        if self.layout.ndim == 0:
            raise TypeError("len() of a scalar Variable")
        return self.layout.dims[0]

    def __iter__(self):
        if self.layout.ndim == 0:
            raise TypeError("iteration over a scalar Variable")
        return (self[i] for i in range(self.layout.dims[0]))

    def __reversed__(self):
        return iter(self[::-1])

    def __contains__(self, item):
        return bool(np.any(self == item))

    def __getitem__(self, key):
        cdef Py_ssize_t i, n
        cdef Layout layout = self.layout
        if PyLong_CheckExact(key) and layout.ndim == 1 and self.state == NODE and not self.tape.paused:
            i, n = key, layout.dims[0]
            if i < 0:
                i += n
            if i < 0 or i >= n:
                raise IndexError(f"index {key} is out of bounds for a Variable of shape {layout.shape}")
            return new_node(self.tape, self.offset + i * layout.dims[1], self.rec, SCALAR)
        kind, what = index_of(self, key)
        if kind == "view":
            return view(self, *what)
        if self.state == CONSTANT:
            return with_data(self.extra.data.reshape(-1)[what], CONSTANT)
        return gather(self, what)

    def __setitem__(self, key, new):
        if self.state == CONSTANT or (self.state == LEAF and current_tape().paused):
            if isinstance(new, Handle) and flows((new,), "in-place write"):
                raise TypeError("in-place write: a recorded value cannot be written into a constant; take .copy() of it first, "
                                "or build the array with fa.zeros_like, fa.array or np.stack")
            self.extra.data[plain_index(key)] = values_of(new) if isinstance(new, Handle) else new
            self.extra.version += 1
            return
        check_writable(self)
        kind, what = index_of(self, key)
        if kind == "view":
            offset, shape, strides = what
            assign(self, offset, (<Variable>view(self, offset, shape, strides)).layout, new)
        else:
            assign_at(self, what, new)

    # ---- operators ----
    def __add__(self, other): return operator(OP_add, self, other)
    def __radd__(self, other): return operator(OP_add, other, self)
    def __sub__(self, other): return operator(OP_subtract, self, other)
    def __rsub__(self, other): return operator(OP_subtract, other, self)
    def __mul__(self, other): return operator(OP_multiply, self, other)
    def __rmul__(self, other): return operator(OP_multiply, other, self)
    def __truediv__(self, other): return operator(OP_divide, self, other)
    def __rtruediv__(self, other): return operator(OP_divide, other, self)
    def __mod__(self, other): return operator(OP_remainder, self, other)
    def __rmod__(self, other): return operator(OP_remainder, other, self)
    def __floordiv__(self, other): return apply(OP_floor_divide, self, other)
    def __rfloordiv__(self, other): return apply(OP_floor_divide, other, self)
    def __divmod__(self, other): return apply(OP_floor_divide, self, other), apply(OP_remainder, self, other)
    def __rdivmod__(self, other): return apply(OP_floor_divide, other, self), apply(OP_remainder, other, self)
    def __matmul__(self, other): return matmul(self, other)
    def __rmatmul__(self, other): return matmul(other, self)
    def __neg__(self): return unary(OP_negative, self)
    def __pos__(self): return unary(OP_positive, self)
    def __abs__(self): return unary(OP_absolute, self)

    def __pow__(self, other, modulo):
        if modulo is not None:
            raise TypeError("pow: Variables have no modular power")
        return operator(OP_power, self, other)

    def __rpow__(self, other, modulo):
        return operator(OP_power, other, self)

    def __iadd__(self, other): return in_place(self, other, OP_add)
    def __isub__(self, other): return in_place(self, other, OP_subtract)
    def __imul__(self, other): return in_place(self, other, OP_multiply)
    def __itruediv__(self, other): return in_place(self, other, OP_divide)
    def __imod__(self, other): return in_place(self, other, OP_remainder)

    def __ipow__(self, other, modulo):
        return in_place(self, other, OP_power)

    def __richcmp__(self, other, int how):
        cdef double a, b
        cdef bint out
        if other is None or isinstance(other, str):
            return NotImplemented
        if self.layout is SCALAR and (PyFloat_CheckExact(other) or PyLong_CheckExact(other)
                                      or (type(other) is Variable and (<Variable>other).layout is SCALAR)):
            a = scalar_value(self)
            b = scalar_value(<Variable>other) if type(other) is Variable else other
            if how == 0:
                out = a < b
            elif how == 1:
                out = a <= b
            elif how == 2:
                out = a == b
            elif how == 3:
                out = a != b
            elif how == 4:
                out = a > b
            else:
                out = a >= b
            return true if out else false
        return apply((OP_less, OP_less_equal, OP_equal, OP_not_equal, OP_greater, OP_greater_equal)[how], readable(self),
                     readable(other) if isinstance(other, Handle) else other)

    def __hash__(self):
        return <Py_ssize_t><void *>self >> 4

    # ---- plain numbers ----
    def __bool__(self):
        if self.layout.size != 1:
            raise ValueError(f"the truth value of a Variable of shape {self.layout.shape} is ambiguous; use .any() or .all()")
        return bool(asarray(values_of(self)).item() != 0.0)

    def __float__(self):
        if self.layout.size != 1:
            raise TypeError(f"float: only a scalar can be converted, not a Variable of shape {self.layout.shape}")
        if self.state != GONE and flows((self,), "float"):
            raise GradientLostError("float() or a function of the math module would drop the gradient of this Variable: use "
                                    "np.sin or fa.sin instead of math.sin, or .item() or .detach() for the number alone")
        return float(asarray(values_of(self)).item())

    def __int__(self):
        if self.layout.size != 1:
            raise TypeError(f"int: only a scalar can be converted, not a Variable of shape {self.layout.shape}")
        return int(asarray(values_of(self)).item())

    def __trunc__(self):
        return int(self)

    def __floor__(self):
        return int(np.floor(asarray(values_of(self)).item()))

    def __ceil__(self):
        return int(np.ceil(asarray(values_of(self)).item()))

    def __round__(self, digits=None):
        if digits is None and self.layout.ndim == 0:
            return round(asarray(values_of(self)).item())
        return with_data(np.array(np.round(values_of(self), digits or 0)), CONSTANT)

    def __complex__(self):
        raise TypeError("complex: complex numbers are not supported")

    def __array__(self, dtype=None, copy=None):
        if not recorded(self):
            return np.array(values_of(self), dtype=dtype)
        if self.layout.ndim == 0 and (dtype is None or dtype == object):
            out = np.empty((), object)
            out[()] = self
            return out
        raise GradientLostError(f"converting a Variable of shape {self.layout.shape} to a plain array would drop its gradient: "
                                "use NumPy functions on the Variable itself, fa.array to join Variables, or .value or "
                                ".detach() for the numbers alone")

    def __repr__(self):
        text = np.array2string(asarray(values_of(self)), separator=", ", prefix="Variable(")
        what = {LEAF: "", NODE: "", CONSTANT: ", constant", GONE: ", freed"}[self.state]
        name = f", name={self.name!r}" if self.name is not None else ""
        return f"Variable({text}{name}{what})"

    def __format__(self, spec):
        return format(asarray(values_of(self)).item() if self.layout.ndim == 0 else values_of(self), spec) if spec else str(self)

    # ---- NumPy ----
    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        cdef object code
        if method == "__call__" and not kwargs:
            code = opcodes.get(ufunc)
            if code is not None:
                if len(inputs) == 2:
                    return operator_call(code, inputs[0], inputs[1])
                return unary(code, inputs[0])
        return functions["ufunc"](ufunc, method, inputs, kwargs)

    def __array_function__(self, function, types, args, kwargs):
        answer = functions.get(function)
        if answer is None:
            return functions["missing"](function)
        return answer(*args, **kwargs)

    def __getattr__(self, name):
        f = methods.get(name)
        if f is None:
            raise AttributeError(f"'Variable' object has no attribute {name!r}")
        return f.__get__(self, Variable)

    def __dir__(self):
        return sorted(set(object.__dir__(self)) | set(methods))


cdef double scalar_value(Handle h) noexcept:
    """The value of a scalar."""
    if h.state == NODE:
        return h.tape.value[h.offset]
    return (<double *>PyArray_DATA(<ndarray>h.extra.data))[0]


cdef object readable(Handle h):
    """The values for a function without gradient: these may be read even from a freed graph."""
    return asarray(values_of(h))


cdef object operator_call(int op, object a, object b):
    """A function of two arguments with an opcode known at run time only."""
    cdef object out
    cdef Variable x, y
    cdef Tape tape
    cdef Py_ssize_t slot_x, slot_y
    cdef double v, dx, dy
    if type(a) is Variable and type(b) is Variable and fa_rows[op].differentiable:
        x, y = <Variable>a, <Variable>b
        if plain_array(x) and plain_array(y) and same_shape(x.layout, y.layout):
            ensure_loops(op)
            out = pair(op, x, y)
            if out is not None:
                return out
        elif x.layout is SCALAR:
            tape = tape_for(y if x.state == LEAF else x)
            slot_x, slot_y = ready(x, tape), ready(y, tape)
            if slot_x and slot_y and roomy(tape):
                ensure_loops(op)
                scalar_eval(op, tape.value[slot_x], tape.value[slot_y], &v, &dx, &dy)
                return push_scalar(tape, op, slot_x, slot_y, v, dx, dy)
    return apply(op, a, b)


cdef object in_place(Variable x, object other, int op):
    """x op= other: numbers are rebound as Python's are, arrays written to as NumPy's are."""
    if x.layout.ndim == 0 and not (x.state == LEAF and current_tape().paused):
        return binary(op, x, other)
    if x.state == CONSTANT or (x.state == LEAF and current_tape().paused):
        if x.state == CONSTANT and isinstance(other, Handle) and flows((other,), "in-place operation"):
            return binary(op, x, other)
        x.extra.data[...] = evaluate(op, x.extra.data, asarray(values_of(other)) if isinstance(other, Handle)
                                     else constant_array(other, "in-place operation"))
        x.extra.version += 1
        return x
    check_writable(x)
    assign(x, 0, x.layout, apply(op, x, other))
    return x


def _restore(data, bint leaf, grad, name):
    """Rebuild a pickled Variable."""
    cdef Variable x = with_data(data, LEAF if leaf else CONSTANT)
    x.extra.grad = None if grad is None else asarray(grad, np.float64)
    x.extra.name = name
    return x


# ---- indexing -------------------------------------------------------------------------------------------------------------------
cdef object plain_index(object key):
    """An index without Variables."""
    if isinstance(key, tuple):
        return tuple([plain_index(k) for k in key])
    if isinstance(key, Handle):
        if recorded(key):
            raise IndexError("index: a recorded Variable is no index; int(x) or np.floor(x) say which element is meant")
        values = asarray(values_of(key))
        if not np.all(values == np.trunc(values)):
            raise IndexError("index: the values of the Variable are no whole numbers")
        return values.astype(np.int64)[()]
    return key


cdef object index_of(Variable x, object key):
    """What an index selects: ("view", (offset, shape, strides)) or ("gather", positions)."""
    key = plain_index(key)
    probe = np.lib.stride_tricks.as_strided(np.empty(0, np.int8), x.layout.shape, x.layout.strides) if x.layout.size else None
    if basic_index(key):
        return "view", basic_view(x, key if isinstance(key, tuple) else (key,))
    positions = np.arange(x.layout.size, dtype=np.int64).reshape(x.layout.shape)
    return "gather", positions[key]


cdef bint basic_index(object key):
    """Whether an index is made of integers, slices, None and Ellipsis only."""
    for k in key if isinstance(key, tuple) else (key,):
        if not (k is None or k is Ellipsis or PySlice_Check(k) or (isinstance(k, (int, np.integer)) and not isinstance(k, (bool, np.bool_)))):
            return False
    return True


cdef object basic_view(Variable x, tuple key):
    """Offset, shape and strides of a basic index."""
    cdef Py_ssize_t offset = 0, axis = 0, start, stop, step, n
    cdef tuple shape = x.layout.shape, strides = x.layout.strides
    used = sum([1 for k in key if k is not None and k is not Ellipsis])
    if used > len(shape):
        raise IndexError(f"too many indices for a Variable of shape {shape}: {used} were given")
    dots = [k for k in key if k is Ellipsis]
    if len(dots) > 1:
        raise IndexError("an index can have a single ellipsis ('...') only")
    if not dots:
        key = key + (Ellipsis,)
    out_shape, out_strides = [], []
    for k in key:
        if k is None:
            out_shape.append(1)
            out_strides.append(0)
        elif k is Ellipsis:
            for _ in range(len(shape) - used):
                out_shape.append(shape[axis])
                out_strides.append(strides[axis])
                axis += 1
        elif PySlice_Check(k):
            start, stop, step = k.indices(shape[axis])
            n = len(range(start, stop, step))
            if n:
                offset += start * strides[axis]
            out_shape.append(n)
            out_strides.append(step * strides[axis])
            axis += 1
        else:
            n = k
            if n < 0:
                n += shape[axis]
            if n < 0 or n >= shape[axis]:
                raise IndexError(f"index {k} is out of bounds for axis {axis} of a Variable of shape {shape}")
            offset += n * strides[axis]
            axis += 1
    return offset, tuple(out_shape), tuple(out_strides)


# ---- constants ---------------------------------------------------------------------------------------------------------------------
def pause(int step):
    """Enter (1) or leave (-1) a stretch in which this thread records nothing; used by `fastad.no_grad`."""
    cdef Tape tape = current_tape()
    tape.paused += step
    tape.limit()


def stop_gradient(x):
    """The values of x as a constant; anything but a Variable comes back as it is.

    Examples
    --------
    >>> import fastad as fa
    >>> fa.grad(lambda t: t * fa.stop_gradient(t * t))(2.0)
    4.0
    """
    return (<Variable>x).detach() if isinstance(x, Variable) else x


def array(object, copy=True):
    """Join numbers, arrays and Variables into one Variable, as ``np.array`` does with numbers.

    Parameters
    ----------
    object : array_like
        Nested sequences of numbers, scalar Variables, arrays and Variables of one shape.

    Returns
    -------
    Variable or ndarray
        A plain float64 array when no Variable is involved.

    Examples
    --------
    >>> import numpy as np
    >>> import fastad as fa
    >>> fa.grad(lambda x: np.sum(fa.array([x[0] * 2, x[1]]) ** 2))(np.ones(2))
    array([8., 2.])
    """
    if isinstance(object, Handle):
        return (<Variable>object).copy() if copy else object
    if isinstance(object, (list, tuple)):
        if not object:
            return np.empty(0)
        items = [array(item, False) if isinstance(item, (list, tuple)) else item for item in object]
        if any([isinstance(item, Handle) and (<Handle>item).layout.ndim for item in items]):
            return np.stack([item if isinstance(item, Handle) else operand(item, "array") for item in items])
        if not any([isinstance(item, Handle) for item in items]):
            object = items
        else:
            holder = np.empty(len(items), np.object_)
            for k, item in enumerate(items):
                holder[k] = item
            return pack(holder)
    out = constant_array(object, "array")
    return out if isinstance(out, Handle) else np.array(out)


# ---- for the transforms ------------------------------------------------------------------------------------------------------------
def input_variable(value):
    """A Variable on this thread's tape that stands for an argument: not a leaf, so that it may be written to in place."""
    cdef object data = np.ascontiguousarray(value, np.float64).reshape(np.shape(value))
    cdef Tape tape = current_tape()
    cdef Layout layout = layout_of(data.shape)
    cdef Wide *w
    tape.reserve(layout.size, 1, 0)
    w = tape.push(SPAN, layout.size)
    w.n = layout.size
    copy_in(tape, w.out, data)
    return new_node(tape, w.out, tape.n_records - 1, layout)


def pull_back(Variable y, seed, list inputs):
    """Gradients of y with respect to input Variables made before it; nothing is deposited or freed."""
    cdef Tape tape = y.tape
    cdef Handle h
    cdef Py_ssize_t base = tape.n_slots, stop = tape.n_records
    if y.state != NODE:
        return None
    for x in inputs:
        h = <Handle?>x
        if h.layout.size and h.offset < base:
            base = h.offset
        if h.rec < stop:
            stop = h.rec
    tape.prepare_adjoints(base)
    if y.offset < base:
        return None
    add_to_view(&tape.adjoint[y.offset], y.layout, seed)
    tape.sweep(y.rec + 1, stop, base)
    return [read_view(&tape.adjoint[(<Handle>x).offset], (<Handle>x).layout) + 0.0 for x in inputs]


def is_recorded(x):
    """Whether x is a Variable that a gradient can flow through."""
    return isinstance(x, Handle) and recorded(<Handle>x)


def check_alive(x, str name):
    """Raise FreedGraphError, naming the function `name`, when x belongs to a freed graph."""
    if isinstance(x, Handle) and (<Handle>x).state == GONE:
        refuse_freed(<Handle>x, name)


def value_of(x):
    """The values of a Variable, anything else as it is."""
    return values_of(<Handle>x) if isinstance(x, Handle) else x


def register(dict ufuncs, dict answers, dict named_methods):
    """Install what answers NumPy's ufuncs (opcodes), functions and methods."""
    opcodes.update(ufuncs)
    functions.update(answers)
    methods.update(named_methods)


def call_row(str name, *args):
    """A function of the table by name, on Variables, numbers or arrays."""
    cdef int op = [row.name for row in table.OPS].index(name) + 1
    if len(args) == 1:
        return unary(op, args[0])
    return operator_call(op, args[0], args[1])


full_dealloc = (<PyTypeObject *>Variable).tp_dealloc
(<PyTypeObject *>Variable).tp_dealloc = recycle
# No sequence for NumPy: it would turn the TypeError of a misuse into a ValueError about sequences.
(<PyTypeObject *>Variable).tp_as_sequence.sq_item = NULL


# ---- fa.sin and its kin ---------------------------------------------------------------------------------------------------------------
cdef extern from "Python.h":
    ctypedef struct PyMethodDef:
        const char *ml_name
        void *ml_meth
        int ml_flags
        const char *ml_doc
    object PyCFunction_NewEx(PyMethodDef *ml, object self, object module)
    int METH_O, METH_FASTCALL

cdef PyMethodDef method_defs[256]
_texts = []                           # keeps the names and docstrings of the C functions alive


cdef class OpCode:
    """What a function made by `make_function` is bound to."""
    cdef int op


cdef object call_unary(object self, object x):
    return unary((<OpCode>self).op, x)


cdef object call_binary(object self, PyObject **args, Py_ssize_t n):
    if n != 2:
        raise TypeError(f"{fa_rows[(<OpCode>self).op].name.decode()}: takes 2 arguments, {n} were given")
    return operator_call((<OpCode>self).op, <object>args[0], <object>args[1])


def make_function(int code, str doc):
    """The function ``fastad.<name>`` of a row: a C function bound to its opcode."""
    cdef OpCode self = OpCode.__new__(OpCode)
    cdef PyMethodDef *d = &method_defs[code]
    self.op = code
    name, text = fa_rows[code].name, doc.encode()
    _texts.append((name, text))
    d.ml_name = name
    d.ml_doc = text
    if fa_rows[code].arity == 1:
        d.ml_meth, d.ml_flags = <void *>call_unary, METH_O
    else:
        d.ml_meth, d.ml_flags = <void *>call_binary, METH_FASTCALL
    return PyCFunction_NewEx(d, self, "fastad.math")
