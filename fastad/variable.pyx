"""Variables: views on the tape with the operators and protocols of NumPy, and no mathematics of their own.

An operation on Variables is one record. Scalars take the short way (three stores and a handle), arrays become a strided
map; everything else goes through `apply`, which turns its operands into slots first.
"""
cimport cython
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_Check, PyFloat_CheckExact
from cpython.long cimport PyLong_CheckExact
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from cpython.slice cimport PySlice_Check
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.math cimport NAN
from libc.string cimport memcpy
from numpy cimport (
    NPY_DOUBLE, PyArray_DATA, PyArray_DIM, PyArray_IS_C_CONTIGUOUS, PyArray_ISBEHAVED_RO, PyArray_NDIM, PyArray_TYPE,
    ndarray,
)

from operator import attrgetter

import numpy as np

from fastad._scalar cimport (
    FA_UNLIKELY, OP_COUNT, OP_absent, OP_absolute, OP_add, OP_ceil, OP_divide, OP_drop, OP_equal, OP_floor,
    OP_floor_divide, OP_flow, OP_greater, OP_greater_equal, OP_keep, OP_less, OP_less_equal, OP_logical_and,
    OP_logical_not, OP_logical_or, OP_multiply, OP_negative, OP_not_equal, OP_positive, OP_power, OP_remainder, OP_rint,
    OP_square, OP_stop, OP_subtract, OP_trunc, boxed_distance, fa_loops, fa_rows, is_nothing, scalar_eval,
    scalar_inline,
)
from fastad._tape cimport (
    ACCUMULATE, ANYWHERE, ASSIGN, CALL, CONSTANT, CONSTANT_A, CONSTANT_B, FAR, FREED, FREED_SCALAR, GONE, INDEXED,
    LEAF, MAP, MATMUL, NODE, OF_LEAF, ROUTE, SCALAR, SPAN, SPREAD, UNSET, Binding, Handle, Hook, Layout, State,
    Push, Storage, Tape, Wide, accumulate, add_hook, add_to_view, adopt, all_nothing_view, axes, catch_up, copy_in,
    current_tape, dense, distance_x, distance_y, ensure_loops, evaluate_plain, exchange_tape, forget_leaf, harvest,
    is_wide, layout_of, loop_table, make_layout, matrix_span, reached_records, read_gradient, read_view, span,
    store_scalar, unbind_all, unlink, write_in_place, write_view,
)

from . import _tape
from . import ops as table
from ._dtype import NUMBER as NUMBER_DTYPE
from .errors import FreedGraphError, GradientLostError, NoGradientError, TraceError, refuse_masked

cdef extern from "Python.h":
    Py_ssize_t PyNumber_AsSsize_t(object, object) except? -1
    int PyErr_CheckSignals() except -1
    void *PyErr_Occurred()

(&fa_loops)[0] = loop_table()

observers = 0
cdef int tracing = 0                  # traces that run, in all threads: one predictable test where there is none

cdef str UNINITIALISED = "Variable: not initialised; a subclass has to call super().__init__(value)"
cdef object float64 = np.float64
cdef object true = np.True_
cdef object false = np.False_
cdef object asarray = np.asarray
cdef dict OPCODES = {row.name: op for op, row in enumerate(table.OPS, 1)}
cdef dict opcodes = {}                # ufunc -> opcode
cdef dict functions = {}              # NumPy function -> answer; filled by fastad.numpy_api
cdef dict methods = {}                # name of a method -> function of the Variable; likewise


cdef extern from "_handles.h":
    ctypedef struct PySequenceMethods:
        void *sq_item
    ctypedef int (*visitproc)(PyObject *, void *) noexcept
    ctypedef struct PyTypeObject:
        void (*tp_dealloc)(PyObject *) noexcept
        PyObject *(*tp_alloc)(PyTypeObject *, Py_ssize_t) noexcept
        void (*tp_free)(void *) noexcept
        int (*tp_is_gc)(PyObject *) noexcept
        int (*tp_traverse)(PyObject *, visitproc, void *) noexcept
        int (*tp_clear)(PyObject *) noexcept
        unsigned long tp_flags
        PySequenceMethods *tp_as_sequence
    unsigned long Py_TPFLAGS_HAVE_GC
    PyTypeObject *Py_TYPE(PyObject *) noexcept
    PyObject *PyType_GenericAlloc(PyTypeObject *, Py_ssize_t) noexcept
    bint PyObject_IS_GC(PyObject *) noexcept
    void PyObject_GC_UnTrack(void *) noexcept
    void PyObject_GC_Del(void *) noexcept
    void PyObject_Free(void *) noexcept
    PyObject *fa_copy_handle(PyObject *blank, PyTypeObject *type) noexcept
    Py_ssize_t fa_references(PyObject *o) noexcept
    enum:
        FA_FREE_HANDLES
    ctypedef struct fa_error:
        pass
    void fa_put_aside(fa_error *e) noexcept
    void fa_raise_again(fa_error *e) noexcept
    object fa_revive(PyObject *o, PyTypeObject *type)
    bint fa_recyclable(PyObject *o, PyTypeObject *type) noexcept

cdef PyObject *free_handles[FA_FREE_HANDLES]
cdef int n_free_handles = 0
cdef void (*full_dealloc)(PyObject *) noexcept


include "_memory.pxi"
include "_leaves.pxi"
include "_recording.pxi"
include "_building.pxi"
include "_indexing.pxi"


# ---- the class -------------------------------------------------------------------------------------------------------
cdef class HookHandle:
    """What ``register_hook`` returns; ``remove()`` takes the hook away, also a second time."""
    cdef dict home
    cdef object key

    def remove(self):
        """Take the hook away."""
        (self.key.home if self.home is None else self.home).pop(self.key, None)

    def __repr__(self):
        home = self.key.home if self.home is None else self.home
        function = home.get(self.key)
        function = getattr(function, "function", function)
        return f"<hook {getattr(function, '__name__', function)}>" if function is not None else "<hook, removed>"


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
        if self.state != UNSET:
            raise RuntimeError("Variable: already initialised")
        if isinstance(value, Discrete):
            value = values_of(value)
        if isinstance(value, Handle):
            raise TypeError("Variable: the value is a Variable already; .detach() gives its values without gradient")
        a = asarray(value)
        found = constant_array(value, "Variable")
        if isinstance(found, Handle):
            raise TypeError("Variable: the value holds Variables; fa.array joins them, .detach() gives values alone")
        if name is not None and not isinstance(name, str):
            raise TypeError(f"Variable: name={name!r}, a string is needed")
        data = np.array(found, order="C")
        self.layout = layout_of(data.shape)
        self.extra = Storage.__new__(Storage)
        self.extra.data = data
        self.extra.dtype = a.dtype if a.dtype.kind == "f" and a.dtype != float64 else None
        self.extra.name = name
        self.state = LEAF

    # ---- values and gradients ----
    @property
    def value(self):
        """The values: np.float64 for a scalar, else an array. A leaf's array is its memory and may be written to."""
        if self.state == LEAF and self.layout.ndim:
            self.extra.exposed = True
            return self.extra.data
        return values_of(self)

    @value.setter
    def value(self, new):
        if self.state != LEAF and self.state != CONSTANT:
            raise RuntimeError("value: only a leaf can be given new values; write y[...] = value to record a write in "
                               "place")
        refuse_while_tracing("value")
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
            now = read_gradient(self.tape, self.offset, self.layout)
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
            write_view(&self.tape.adjoint[0] + self.offset, self.layout, np.full(self.layout.shape, -0.0))

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

    def backward(self, seed=None, retain_graph=None, bint create_graph=False):
        """Sweep the tape backwards and add the gradient of this Variable to ``grad`` of all that it was computed from.

        Parameters
        ----------
        seed : array_like, optional
            Upstream gradient, of this Variable's shape; 1 for a scalar.
        retain_graph : bool, optional
            Keep the graph for another ``backward()``; else it is freed: values and gradients stay readable, computing
            on with them is an error. Default: as `create_graph`.
        create_graph : bool
            Record the sweep: ``grad`` is a Variable that can be differentiated again. The graph lives as long as one
            holds such gradients; ``zero_grad()`` lets go of them.

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

        >>> x = fa.Variable(2.0)
        >>> (x ** 4).backward(create_graph=True)
        >>> slope = x.grad
        >>> x.zero_grad()
        >>> slope.backward()
        >>> float(slope.value), float(x.grad)
        (32.0, 48.0)
        """
        if self.state == UNSET:
            raise RuntimeError(UNINITIALISED)
        if self.state == CONSTANT:
            raise NoGradientError("backward: this value carries no gradient (computed under no_grad(), detached, or "
                                  "the result of a function like floor)")
        if self.state == GONE:
            raise FreedGraphError("backward: the graph was freed by an earlier backward(); call that one with "
                                  "retain_graph=True")
        if create_graph and retain_graph is not None and not retain_graph:
            raise ValueError("backward: create_graph=True needs the graph; leave out retain_graph=False")
        seed = seed_of(self, seed, create_graph)
        if self.state == LEAF:
            if create_graph and isinstance(seed, Handle):
                add_gradient(self, seed)
            else:
                g = _tape.call_hooks(self.extra.hooks or {}, np.full(self.layout.shape, seed) + 0.0, self.extra.name)
                accumulate(self.extra, g)
            return
        if self.tape.busy:
            raise RuntimeError("backward: the graph is being swept already; a hook or gate cannot sweep it too")
        if create_graph:
            recorded_sweep_from(self, seed)
        else:
            sweep_from(self, seed, retain_graph is not None and retain_graph)

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
        if self.state == UNSET:
            raise RuntimeError(UNINITIALISED)
        if self.state == CONSTANT:
            raise NoGradientError("register_hook: this value carries no gradient")
        if self.tape.trace is not None:
            raise TraceError("register_hook: a replay of the function that is traced for compile() would not call the "
                             "hook")
        handle.key = add_hook(self, function)             # knows itself where it stands
        return handle

    def item(self, *index):
        """The value of one element as a Python float, without gradient."""
        return float(asarray(values_of(self)).item(*index))

    def tolist(self):
        """The values as nested lists of Python floats, without gradient."""
        return asarray(values_of(self)).tolist()

    def detach(self):
        """The values as a constant: computing with it records nothing for it."""
        if tracing and self.state == NODE and self.tape.trace is not None:
            return stopped(self)
        return with_data(np.array(values_of(self)), CONSTANT)

    def copy(self):
        """A recorded copy with memory of its own."""
        if not recorded(self):
            return self.detach()
        if tracing and meets_trace(self, None):
            return finished(record_copy(self), (self,), None)
        return apply(OP_positive, self, None)

    def __copy__(self):
        return self.copy()

    def __reduce__(self):
        if self.state == NODE:
            raise TypeError("pickle: a recorded Variable cannot be pickled; pickle its .value")
        return _restore, (np.array(values_of(self)), self.state == LEAF, self.extra.grad, self.extra.name,
                          self.extra.dtype)

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
        return NUMBER_DTYPE if self.layout.ndim == 0 and recorded(self) else np.dtype(np.float64)

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
        cdef Py_ssize_t n = self.layout.ndim
        shape, strides = self.layout.shape, self.layout.strides
        if n < 2:
            raise ValueError(f"mT: a Variable of shape {shape} is no matrix")
        return view(self, 0, (*shape[:n - 2], shape[n - 1], shape[n - 2]),
                    (*strides[:n - 2], strides[n - 1], strides[n - 2]))

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
        if (PyLong_CheckExact(key) and layout.ndim and self.state == NODE and not self.tape.paused
                and type(self) is Variable):
            i, n = PyNumber_AsSsize_t(key, IndexError), layout.dims[0]
            if i < 0:
                i += n
            if i < 0 or i >= n:
                raise IndexError(f"index {key} is out of bounds for a Variable of shape {layout.shape}")
            n = layout.ndim
            return new_node(self.tape, self.offset + i * layout.dims[n], self.rec,
                            SCALAR if n == 1 else make_layout(n - 1, layout.dims + 1, layout.dims + n + 1))
        if tracing and indexes(key) and recorded(self):
            return functions["indexed"](self, key)
        kind, what = index_of(self, key)
        if kind == "view":
            return view(self, *what)
        if self.state == CONSTANT:
            return with_data(self.extra.data.reshape(-1)[what], CONSTANT)
        return gather(self, what)

    def __setitem__(self, key, new):
        if self.state == CONSTANT or (self.state == LEAF and current_tape().paused):
            refuse_while_tracing("in-place write")
            if isinstance(new, Handle) and flows((new,), "in-place write"):
                raise TypeError("in-place write: a recorded value cannot be written into a constant; take .copy() of "
                                "it first, or build the array with fa.zeros_like, fa.array or np.stack")
            self.extra.data[plain_index(key)] = values_of(new) if isinstance(new, Handle) else new
            self.extra.version += 1
            return
        check_writable(self)
        if tracing and isinstance(self, Discrete):
            new = fitted_to((<Discrete>self).kind, new)
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
        if self.layout.ndim and (type(other) is int or type(other) is float) and other == 2:
            return unary(OP_square, self)             # as NumPy has it: x * x costs far less than a power
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
        if tracing and meets_trace(self, other):
            return compared(self, other, how)
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
        return apply((OP_less, OP_less_equal, OP_equal, OP_not_equal, OP_greater, OP_greater_equal)[how],
                     readable(self),
                     readable(other) if isinstance(other, Handle) else other)

    def __hash__(self):
        return <Py_ssize_t><void *>self >> 4

    # ---- plain numbers ----
    def __bool__(self):
        if tracing and self.layout is SCALAR and self.state == NODE and self.tape.trace is not None:
            return bool(compared(self, 0.0, 3))       # != 0: a guard on the outcome, not on the value
        if self.layout.size != 1:
            raise ValueError(f"the truth value of a Variable of shape {self.layout.shape} is ambiguous; use .any() or "
                             ".all()")
        return bool(asarray(values_of(self)).item() != 0.0)

    def __float__(self):
        if self.layout.size != 1:
            raise TypeError(f"float: only a scalar can be converted, not a Variable of shape {self.layout.shape}")
        if self.state != GONE and flows((self,), "float"):
            raise GradientLostError("float() or a function of the math module would drop the gradient of this "
                                    "Variable: use np.sin or fa.sin instead of math.sin, or .item() or .detach() for "
                                    "the number alone")
        return float(asarray(values_of(self)).item())

    def __int__(self):
        if self.layout.size != 1:
            raise TypeError(f"int: only a scalar can be converted, not a Variable of shape {self.layout.shape}")
        return int(asarray(values_of(whole(self, OP_trunc))).item())

    def __trunc__(self):
        return int(self)

    def __floor__(self):
        return int(np.floor(asarray(values_of(whole(self, OP_floor))).item()))

    def __ceil__(self):
        return int(np.ceil(asarray(values_of(whole(self, OP_ceil))).item()))

    def __round__(self, digits=None):
        if digits is None and self.layout.ndim == 0:
            return round(asarray(values_of(whole(self, OP_rint))).item())
        if tracing and is_tracing():
            return np.round(self, digits or 0)
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
        raise GradientLostError(f"converting a Variable of shape {self.layout.shape} to a plain array would drop its "
                                "gradient: use NumPy functions on the Variable itself, fa.array to join Variables, "
                                "or .value or .detach() for the numbers alone")

    def __repr__(self):
        text = np.array2string(asarray(peek(self)), separator=", ", prefix="Variable(")
        what = {LEAF: "", NODE: "", CONSTANT: ", constant", GONE: ", freed"}[self.state]
        name = f", name={self.name!r}" if self.name is not None else ""
        return f"Variable({text}{name}{what})"

    def __format__(self, spec):
        return format(asarray(values_of(self)).item() if self.layout.ndim == 0 else values_of(self),
                      spec) if spec else str(self)

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
            return functions["missing"](function, args, kwargs)
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
    if h.state == GONE or h.state == UNSET:
        return <double>h.extra.data if h.extra is not None else NAN
    return (<double *>PyArray_DATA(<ndarray>h.extra.data))[0]


cdef object readable(Handle h):
    """The values for a function without gradient: these may be read even from a freed graph."""
    return asarray(values_of(h))


cdef object in_place(Variable x, object other, int op):
    """x op= other: numbers are rebound as Python's are, arrays written to as NumPy's are."""
    if x.layout.ndim == 0 and not (x.state == LEAF and current_tape().paused):
        return binary(op, x, other)
    if x.state == CONSTANT or (x.state == LEAF and current_tape().paused):
        refuse_while_tracing("in-place operation")
        if x.state == CONSTANT and isinstance(other, Handle) and flows((other,), "in-place operation"):
            return binary(op, x, other)
        x.extra.data[...] = evaluate(op, x.extra.data, asarray(values_of(other)) if isinstance(other, Handle)
                                     else constant_array(other, "in-place operation"))
        x.extra.version += 1
        return x
    check_writable(x)
    assign(x, 0, x.layout, apply(op, x, other))
    return x


def _restore(data, bint leaf, grad, name, dtype):
    """Rebuild a pickled Variable."""
    cdef Variable x = with_data(data, LEAF if leaf else CONSTANT)
    x.extra.grad = None if grad is None else asarray(grad, np.float64)
    x.extra.name, x.extra.dtype = name, dtype
    return x


# ---- constants -------------------------------------------------------------------------------------------------------
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
    >>> float(fa.grad(lambda t: t * fa.stop_gradient(t * t))(2.0))
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
            return pack(holder, "array")
    out = constant_array(object, "array")
    return out if isinstance(out, Handle) else np.array(out)


include "_pulling.pxi"
include "_terms.pxi"
include "_runs.pxi"
include "_references.pxi"
include "_partials.pxi"
include "_recorded_sweep.pxi"
include "_tracing.pxi"
include "_observing.pxi"


# ---- what other modules ask and install ---
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
    cdef int op = OPCODES[name]
    if len(args) == 1:
        return unary(op, args[0])
    return operator_call(op, args[0], args[1])


meet_collector()


include "_functions.pxi"
