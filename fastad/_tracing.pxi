# What a traced function leaves behind (part of variable.pyx).
#
# `fa.compile` runs a function once with inputs on a tape of its own. Whatever depends on the inputs must be a record
# there, or a guard: a value that Python has seen, with the record before which it did. A Variable that carries no
# gradient is a Discrete: a Variable with a NumPy dtype whose conversion to a plain number leaves a guard.

cdef object BOOL = np.dtype(np.bool_)
cdef object INT = np.dtype(np.int64)
cdef object FLOAT = np.dtype(np.float64)


cdef inline Trace trace_of(Handle h):
    """The trace whose tape a Variable stands on; None."""
    return <Trace>h.tape.trace if h.state == NODE else None


cdef inline Trace current_trace():
    """The trace that runs in this thread; None."""
    return <Trace>current_tape().trace if tracing else None


@cython.final
cdef class Trace:
    """What a traced function has recorded and seen; made by `begin_trace`.

    ``inputs``: (slot, shape, kind) of each input; ``captures``: (array, slot, size) of arrays from outside, whose
    content at call time counts; ``frozen``: (array, copy) of arrays that selected elements, which must not have
    changed; ``guards``: (slot, size, values) that Python has seen, in order.
    """

    def __cinit__(self):
        self.inputs, self.captures, self.frozen = [], [], []
        self.seen, self.known, self.held, self.owned = [], {}, set(), []

    def input(self, value, kind="float"):
        """A Variable (kind "float") or Discrete ("int", "bool") that stands for an argument."""
        if kind not in ("float", "int", "bool"):
            raise ValueError(f"input: kind={kind!r} is none of 'float', 'int', 'bool'")
        cdef Variable x = input_variable(value)
        if x.tape is not self.tape:
            raise RuntimeError("input: the trace is not this thread's")
        self.inputs.append((x.offset, x.layout.shape, kind))
        return x if kind == "float" else discrete_node(x, BOOL if kind == "bool" else INT)

    def output(self, x):
        """(slot, shape, dtype, whether a gradient flows) of a result, copied to slots without gaps; None for others."""
        cdef Variable v
        if not isinstance(x, Handle) or ((<Handle>x).state != LEAF and (<Handle>x).state != NODE):
            return None
        v = x if (<Variable>x).layout.contiguous and (<Variable>x).state == NODE else record_copy(x)
        if v.tape is not self.tape:
            raise TraceError("a result was recorded on another tape than the traced function's; .detach() makes it a "
                             "constant")
        return v.offset, v.layout.shape, kind_of(v), not isinstance(v, Discrete)

    @property
    def guards(self):
        """(slot, size, values) of everything that Python has seen, in program order."""
        return [(slot, 1, np.array([v])) if isinstance(v, float) else (slot, v.size, v) for _, slot, v in self.seen]

    def guard_columns(self):
        """The guards as arrays: ``record`` (how many records were there), ``slot``, ``size``; ``values`` in a row."""
        cdef Py_ssize_t k = 0, n = len(self.seen), end = 0
        record, slot, size = [np.empty(n, np.int64) for _ in range(3)]
        cdef int64_t[::1] record_ = record, slot_ = slot, size_ = size
        for k in range(n):
            record_[k], slot_[k], v = self.seen[k]
            size_[k] = 1 if isinstance(v, float) else v.size
        values = np.empty(size.sum())
        for k in range(n):
            values[end:end + size_[k]] = self.seen[k][2]
            end += size_[k]
        return {"record": record, "slot": slot, "size": size, "values": values}

    @property
    def rules(self):
        """The rules of CALL records; a record's ``extra`` counts in this list."""
        return list(self.tape.objects)

    def columns(self, bint copy=True):
        """Copies of the tape's columns: ``value``, ``link``, ``dx``, ``dy``, ``wide`` (structured), ``pool``.

        Without `copy` the values are the tape's own, not to be looked at any more when something else was recorded.
        """
        cdef Tape t = self.tape
        return {"value": copied(&t.value[0], t.n_slots, np.float64) if copy else np.asarray(t.value[:t.n_slots]),
                "link": copied(&t.link[0], t.n_records, np.uint64), "dx": copied(&t.dx[0], t.n_records, np.float64),
                "dy": copied(&t.dy[0], t.n_records, np.float64), "wide": _tape.wide_records(t),
                "pool": copied(&t.pool[0], t.n_pool, np.int64)}

    def decoded(self):
        """The records as dictionaries, see `decoded_record`."""
        cdef Py_ssize_t i, slot = 1
        out = []
        for i in range(self.tape.n_records):
            out.append(decoded_record(self.tape, i, slot))
            slot += out[len(out) - 1]["size"]
        return out

    def capture_leaf(self, data, Py_ssize_t slot):
        """Called by the tape when a leaf from outside is copied to it."""
        self.has_leaves = True
        if not any([array is data and place_ == slot for array, place_, _ in self.captures]):
            self.captures.append((data, slot, data.size))

    def check(self):
        """Raise TraceError if a captured array has changed since it was used: a replay could not tell that from it."""
        for array, slot, size in self.captures:
            self.check_content(array, slot)
        for array, copy in self.frozen:
            if not np.array_equal(array, copy, equal_nan=copy.dtype.kind == "f"):
                raise TraceError(CHANGED)

    def check_content(self, array, Py_ssize_t slot):
        """Raise TraceError unless the array holds what it held when it was captured."""
        now = np.asarray(array, np.float64).reshape(-1)
        if not np.array_equal(now, np.asarray(self.tape.value[slot:slot + now.size]), equal_nan=True):
            raise TraceError(CHANGED)

    def constant(self, value):
        """Numbers that the trace's owner has made, as a Variable: constants of the program, not read anew."""
        return new_span(self.tape, value)

    def own(self, array):
        """Let an array that the trace's owner has made, and nobody can change, select without a look in each replay."""
        self.owned.append(array)                      # so that no other array comes to stand in its place
        self.held.add(key_of(array))
        return array

    def close(self):
        """Let go of the tape; what was asked for before stays."""
        if self.outer is not None:
            raise RuntimeError("close: the trace has not ended")
        self.tape = None


cdef str CHANGED = ("an array from outside was written to while the function was traced for compile(), between two "
                    "uses of it; compute a new array instead")


cdef object decoded_record(Tape t, Py_ssize_t i, Py_ssize_t slot):
    """One record in words.

    A scalar one: kind "scalar", op, out, size 1, a and b (slots or None), ca and cb (the constants in their place).
    Others: kind, op, out, size, dst, a, b (None: none), n, flags (the bits of `Flag`), rule, and layout (lengths and
    the three tuples of strides), indices, or for a call ins and outs (pairs of slot and size) and for matmul sizes (13
    numbers).
    """
    cdef uint64_t k = t.link[i]
    cdef Wide *w
    cdef Py_ssize_t x, y, n
    cdef double dx = t.dx[i], dy = t.dy[i]
    if not is_wide(k):
        x, y = <Py_ssize_t>(k >> 8) & (FAR - 1), <Py_ssize_t>(k >> 36)
        row = fa_rows[k & 255]
        if row.selective:
            x, y = x or boxed_distance(dx), y or boxed_distance(dy)
        binary_row = row.arity == 2
        return {"kind": "scalar", "op": row.name.decode(), "out": slot, "size": 1, "a": slot - x if x else None,
                "b": slot - y if y else None, "ca": None if x else dx, "cb": None if y or not binary_row else dy}
    w = &t.wide[k >> 8]
    out = {"kind": _tape.KINDS[w.kind], "op": fa_rows[w.op].name.decode(), "out": w.out, "size": w.size, "dst": w.dst,
           "a": w.a if w.a >= 0 else None, "b": w.b if w.b >= 0 else None, "n": w.n, "flags": w.flags,
           "rule": t.objects[w.extra] if w.extra >= 0 else None}
    pool = np.asarray(t.pool[w.layout:t.n_pool]) if w.layout >= 0 else None
    if w.kind == CALL:
        n = pool[0]
        pairs = [(int(pool[1 + 2 * j]), int(pool[2 + 2 * j])) for j in range(n)]
        n = 1 + 2 * n
        out["ins"], out["outs"] = pairs, [(int(pool[n + 1 + 2 * j]), int(pool[n + 2 + 2 * j])) for j in range(pool[n])]
    elif w.kind == MATMUL:
        out["sizes"] = tuple(pool[:13].tolist())
    elif w.kind == ROUTE or w.flags & INDEXED:
        out["indices"] = np.array(pool[:w.n])
        out["stride"] = w.sx
    elif w.kind == SPREAD:
        out["indices"], out["targets"] = np.array(pool[:w.n]), np.array(pool[w.n:2 * w.n])
    elif w.kind == MAP or w.kind == ASSIGN:
        if pool is None:
            out["layout"] = (w.n,), (w.sv,), (w.sx,), (w.sy,)
        else:
            n = pool[0]
            out["layout"] = tuple([tuple(pool[1 + j * n:1 + (j + 1) * n].tolist()) for j in range(4)])
    return out


cdef Py_ssize_t result_size(Tape t, Py_ssize_t rec) noexcept:
    """How many slots of a record's own block are its result; constants may follow."""
    cdef Py_ssize_t low, high
    cdef Wide *w
    if not is_wide(t.link[rec]):
        return 1
    w = &t.wide[t.link[rec] >> 8]
    if w.kind == MAP and w.size and w.n:
        span(t, w, 0, &low, &high)
        return min(high - low + 1, w.size)
    if w.kind == MATMUL:
        return t.pool[w.layout] * t.pool[w.layout + 1] * t.pool[w.layout + 2]
    return w.size


def history(Variable x not None, Py_ssize_t limit, str name="to_dot"):
    """What a Variable was computed from, for the function `name`: the youngest `limit` records, oldest first; how many.

    A record is what `decoded_record` gives, with ``record`` (its number), ``values`` and ``gradient`` of its result
    (None: no gradient, or none yet) and ``variable``, the Variable that is this result (None: nobody holds one). A leaf
    or constant has no records.
    """
    cdef Tape t = x.tape
    cdef Py_ssize_t rec, slot, size
    cdef Handle h
    cdef Binding b
    cdef Layout line
    cdef void *p
    if x.state == UNSET:
        raise RuntimeError(UNINITIALISED)
    if x.state == GONE:
        refuse_freed(x, name)
    if x.state != NODE:
        return [], 0
    held = {}
    p = t.newest
    while p is not NULL:                              # of those that are the same block the oldest
        h = <Handle>p
        if h.state == NODE and h.layout.contiguous:
            held[h.offset, h.layout.size] = h
        p = h.older
    for b in t.leaves:
        if b.leaf is not NULL:
            held[b.offset, (<Handle>b.leaf).layout.size] = <Handle>b.leaf
    reached = reached_records(t, x)
    out = []
    for rec, slot in reached[max(len(reached) - limit, 0):]:
        found = record_at(t, rec, slot)
        size = result_size(t, rec)
        line = layout_of((size,))
        found["record"], found["values"] = rec, read_view(&t.value[slot], line) if line.size else np.empty(0)
        found["variable"] = held.get((slot, size))
        found["gradient"] = None
        if found["variable"] is not None:
            found["gradient"] = found["variable"].grad
        elif line.size and slot + line.size <= t.swept and not all_nothing_view(t, slot, line):
            found["gradient"] = read_gradient(t, slot, line)
        out.append(found)
    return out, len(reached)


cdef object copied(const void *first, Py_ssize_t n, dtype):
    """A copy of n numbers of eight bytes each."""
    out = np.empty(n, dtype)
    if n:
        memcpy(PyArray_DATA(<ndarray>out), first, n * 8)
    return out


def begin_trace():
    """Begin to trace in this thread: what Variables compute goes to a new tape. `end_trace` has to follow."""
    global tracing
    cdef Trace trace = Trace.__new__(Trace)
    trace.tape = Tape()
    trace.tape.trace = trace
    trace.outer = exchange_tape(trace.tape)
    tracing += 1
    return trace


def resume_trace(Trace trace not None):
    """Go on recording on the tape of a trace that has ended; `end_trace` has to follow."""
    global tracing
    if trace.outer is not None:
        raise RuntimeError("resume_trace: this trace has not ended")
    catch_up(trace.tape)
    trace.tape.trace = trace
    trace.tape.ended = False
    trace.tape.limit()
    trace.outer = exchange_tape(trace.tape)
    tracing += 1


def end_trace(Trace trace not None):
    """End a trace; its tape stays as it is. `Trace.output` has to be asked before."""
    global tracing
    if trace.outer is None:
        raise RuntimeError("end_trace: this trace has ended already")
    tracing -= 1
    exchange_tape(trace.outer)
    trace.outer = None
    trace.known = {}
    unbind_all(trace.tape)
    trace.tape.trace = None                           # whoever holds one of the two does not hold a circle
    trace.tape.ended = True
    trace.tape.limit()


# ---- arrays from outside ---------------------------------------------------------------------------------------------
cdef object captured_by(Trace trace, object array, str name):
    """A plain array as a value on the trace's tape that is read anew in each replay."""
    cdef Wide *w
    cdef Tape tape = trace.tape
    cdef Variable node
    key = key_of(array)
    known = trace.known.get(key)
    if known is not None and array.dtype.kind != "O":
        trace.check_content(array, (<Handle>known).offset)
        return known
    data = constant_array(array, name)
    if isinstance(data, Handle):                      # an array of Variables
        return data
    tape.reserve(data.size, 1, 0)
    w = tape.push(SPAN, data.size)
    w.n = data.size
    w.flags = OF_LEAF                                 # nobody writes to it
    copy_in(tape, w.out, data)
    node = new_node(tape, w.out, tape.n_records - 1, layout_of(data.shape))
    trace.captures.append((array, node.offset, data.size))
    known = discrete_node(node, array.dtype if array.dtype.kind != "f" or array.dtype.itemsize <= 8 else FLOAT)
    trace.known[key] = known
    return known


def captured(x, str name="array"):
    """While a function is traced: a plain array as a live value on its tape. Anything else, and else, x itself."""
    cdef Trace trace = current_trace()
    if trace is not None and isinstance(x, (list, tuple)):
        freeze_within(x)
    return captured_by(trace, x, name) if trace is not None and isinstance(x, np.ndarray) else x


def freeze(x):
    """While a function is traced: note that a replay is valid only if the array x is as it is now. Gives x."""
    cdef Trace trace = current_trace()
    if trace is not None and isinstance(x, np.ndarray) and x.dtype.kind != "O":
        key = key_of(x)
        if key not in trace.held:
            trace.held.add(key)
            trace.frozen.append((x, x.copy()))
    return x


def freeze_unless_captured(x):
    """Like `freeze`, for an array that may have been used as a live value."""
    cdef Trace trace = current_trace()
    if trace is not None and isinstance(x, np.ndarray) and key_of(x) not in trace.known:
        freeze(x)


cdef bint meets_trace(object x, object y) noexcept:
    """Whether one of two operands is a Variable that a traced function computes with."""
    if isinstance(x, Handle):
        if (<Handle>x).state == NODE:
            if (<Handle>x).tape.trace is not None:
                return True
        elif current_tape().trace is not None:
            return True
    return isinstance(y, Handle) and meets_trace(y, None)


cdef int refuse_while_tracing(str name) except -1:
    """What is written outside of the trace's tape would not be written again in a replay."""
    if tracing and is_tracing():
        raise TraceError(f"{name}: a function that is traced for compile() cannot write to a Variable from outside: a "
                         "replay would not do it again; write to a copy, or return the new values")
    return 0


cdef int freeze_within(object x) except -1:
    """Freeze the arrays that stand in a list."""
    for item in x:
        if isinstance(item, (list, tuple)):
            freeze_within(item)
        else:
            freeze(item)
    return 0


cdef object key_of(object array):
    """What two arrays that are views of the same elements have in common."""
    return array.__array_interface__["data"][0], array.shape, array.strides, array.dtype.str


def is_tracing():
    """Whether this thread traces a function for `compile`."""
    return current_trace() is not None


# ---- guards ----------------------------------------------------------------------------------------------------------
cdef int guard(Trace trace, Variable x) except -1:
    """Python sees the values of x: a replay has to find the same ones."""
    if x.layout is SCALAR:
        trace.seen.append((trace.tape.n_records, x.offset, trace.tape.value[x.offset]))
        return 0
    if not x.layout.contiguous:
        x = record_copy(x)
    if x.layout.size:
        trace.seen.append((trace.tape.n_records, x.offset,
                           read_view(&x.tape.value[0] + x.offset, x.layout).reshape(-1)))
    return 0


cdef object seen_values(Handle h):
    """The values of a Variable in a traced function, guarded."""
    cdef Trace trace = trace_of(h)
    if trace is not None:
        guard(trace, <Variable>h)
    elif h.state == LEAF or h.state == CONSTANT:
        freeze(h.extra.data)
    return peek(h)


def unguarded(x):
    """The values of a Variable, for those who decide nothing by them; anything else as it is."""
    return peek(<Handle>x) if isinstance(x, Handle) else x


cdef inline object kind_of(object x):
    """The dtype of an operand."""
    return (<Discrete>x).kind if isinstance(x, Discrete) else FLOAT if isinstance(x, Handle) else asarray(x).dtype


cdef object of_numpy(str name, object x, object y):
    """An operator of truth values and integers; of truth values the function of the table that says the same."""
    cdef bint truth = kind_of(x) == BOOL and (y is None or kind_of(y) == BOOL)
    if truth and name in AS_ROWS:
        return apply(AS_ROWS[name], x, y)
    f = getattr(np, name)
    return functions["primitive"](f, (x,) if y is None else (x, y), {})


cdef object rebound(Variable x, object new):
    """What x becomes by an operator like &=: a number is another one, an array is written to."""
    if x.layout.ndim:
        x[...] = new
        return x
    return new


cdef dict AS_ROWS = {"bitwise_and": OP_logical_and, "bitwise_or": OP_logical_or, "bitwise_xor": OP_not_equal,
                     "invert": OP_logical_not}


def converted(Variable x, kind):
    """``astype`` in a traced function: a Discrete."""
    cdef object own = kind_of(x)
    if kind == own or (kind.kind in "if" and own.kind in "ib" and kind.itemsize == 8) or kind == FLOAT:
        return discrete_node(stopped(x) if not isinstance(x, Discrete) else x, kind)
    if kind == BOOL:
        return compared(x, 0.0, 3)
    if kind == INT:
        return discrete_node(apply(OP_trunc, x, None), INT)
    return np.asarray(values_of(x)).astype(kind)


cdef object fitted_to(object kind, object new):
    """What is written into a Discrete, in its dtype."""
    if isinstance(new, Handle):
        if recorded(new) and not isinstance(new, Discrete):
            raise TypeError("in-place write: a recorded value cannot be written into an array without gradient; build "
                            "the array with np.zeros_like of a differentiated one, fa.array or np.stack")
        return converted(new, kind) if recorded(new) else new
    if isinstance(new, np.ndarray):
        return converted(captured(new, "in-place write"), kind)
    return asarray(new).astype(kind)[()]


cdef bint indexes(object key) except -1:
    """Whether traced values without gradient stand in an index."""
    if isinstance(key, tuple):
        return any([isinstance(k, Discrete) for k in key])
    return isinstance(key, Discrete)


cdef object whole(Handle x, int op):
    """In a traced function x rounded, so that a conversion to int leaves a guard on the integer alone; else x."""
    return apply(op, x, None) if tracing and trace_of(x) is not None else x


# ---- Variables without gradient --------------------------------------------------------------------------------------
cdef Discrete discrete_node(Handle node, object kind):
    """The same values as a Discrete."""
    cdef Discrete h = Discrete.__new__(Discrete)
    h.kind = kind
    h.layout = node.layout
    h.offset, h.rec = node.offset, node.rec
    h.state = NODE
    adopt(node.tape, h)
    return h


def discrete(Variable x, dtype):
    """A Variable of a traced function as values that carry no gradient, of a dtype."""
    return discrete_node(x, np.dtype(dtype))


cdef Variable record_copy(Variable x):
    """A recorded copy; of what carries no gradient, one that carries none."""
    cdef Variable out = record_map(OP_positive, x, None, x.layout, None, "copy")
    return discrete_node(out, (<Discrete>x).kind) if isinstance(x, Discrete) else out


cdef object finished(Variable node, object operands, object kind):
    """What an operation gives in a traced function: a Discrete if no operand carries a gradient, or under no_grad()."""
    cdef bint gradient = False
    cdef object first = None
    if node.tape.trace is None:
        return node
    for x in operands:
        if isinstance(x, Handle):
            first = x if first is None else first
            gradient = gradient or not isinstance(x, Discrete)
    if gradient or first is None:
        return node if not node.tape.paused else stopped(node)
    return discrete_node(node, kind_of(first) if kind is None else kind)


cdef object common_kind(object operands):
    """The dtype that operands have in common."""
    return np.result_type(*[weak_kind(x)(1) if isinstance(weak_kind(x), type) else weak_kind(x) for x in operands])


cdef Discrete stopped(Variable x):
    """The values of x, with no way back."""
    return discrete_node(record_map(OP_stop, x, None, x.layout, None, "detach"), kind_of(x))


cdef str OUTSIDE = ("the function that is traced for compile() uses a Variable that was recorded outside of it; pass "
                    "it as an argument, or .detach() it")
# (opcode, kind of x, kind of y) -> dtype of the result, None: the row is not what NumPy does
cdef dict kinds = {}
cdef tuple EXACT_IN_INTEGERS = ("add", "subtract", "multiply", "maximum", "minimum", "fmax", "fmin", "negative",
                                "positive",
                                "absolute", "sign", "square", "floor", "ceil", "trunc", "keep", "drop", "stop")
cdef tuple NOT_OF_TRUTH_VALUES = ("add", "floor_divide", "remainder", "power")


cdef object weak_kind(object x):
    """What decides the dtype of a result: the type of a plain Python number, the dtype of anything else."""
    return type(x) if type(x) is float or type(x) is int or type(x) is bool else kind_of(x)


cdef object sample(object kind):
    return kind(1) if isinstance(kind, type) else np.ones(1, kind)


cdef object result_kind(int op, object a, object b):
    """The dtype that NumPy's function gives for operands of such kinds; None where the row in float64 would not do."""
    name = fa_rows[op].name.decode()
    f = plain_function(name)
    if f is None:
        return FLOAT
    with np.errstate(all="ignore"):
        kind = asarray(f(sample(a)) if b is None else f(sample(a), sample(b))).dtype
    if (kind == FLOAT or (kind == BOOL and name not in NOT_OF_TRUTH_VALUES)
            or (kind == INT and name in EXACT_IN_INTEGERS)):
        return kind
    return None


cdef object apply_traced(int op, object x, object y, object a, object b, str name):
    """`apply` in a traced function: recorded whatever the operands are; if no gradient flows, with NumPy's dtypes."""
    cdef bint gradient = False
    for z in (a, b):
        if isinstance(z, Handle):
            if (<Handle>z).state == NODE and (<Handle>z).tape.trace is None:
                raise TraceError(f"{name}: {OUTSIDE}")
            gradient = gradient or not isinstance(z, Discrete)
    key = op, FLOAT if gradient else weak_kind(x if not isinstance(x, Handle) else a), \
        None if b is None else FLOAT if gradient else weak_kind(y if not isinstance(y, Handle) else b)
    if key not in kinds:
        kinds[key] = result_kind(key[0], key[1], key[2])
    kind = kinds[key]
    if (op == OP_floor_divide or op == OP_remainder) and type(y) is int and y != 0 and key[1] == INT:
        kind = INT                                    # by 0 NumPy's integers give 0
    if kind is None:
        return functions["primitive"](plain_function(name), (a if isinstance(a, Handle) else x,) if b is None else
                                      (a if isinstance(a, Handle) else x, b if isinstance(b, Handle) else y), {})
    ensure_loops(op)
    out = record_map(op, a, b, layout_for(a), layout_for(b), name)
    return finished(out, (a, b), kind) if fa_rows[op].differentiable else discrete_node(out, kind)


cdef object compared(Handle x, object other, int how):
    """A comparison in a traced function: recorded, its outcome a Discrete."""
    cdef int op = (OP_less, OP_less_equal, OP_equal, OP_not_equal, OP_greater, OP_greater_equal)[how]
    cdef Tape tape = x.tape
    cdef Py_ssize_t a = 0, b = 0
    cdef double v, dy = 0.0
    if x.state == NODE and x.layout is SCALAR and roomy(tape) and tape.n_slots - x.offset < FAR:
        a = x.offset
        if PyFloat_CheckExact(other):
            dy = PyFloat_AS_DOUBLE(other)
        elif isinstance(other, Handle) and (<Handle>other).state == NODE and (<Handle>other).tape is tape \
                and (<Handle>other).layout is SCALAR and tape.n_slots - (<Handle>other).offset < FAR:
            b = (<Handle>other).offset
        elif PyLong_CheckExact(other):
            dy = other
        else:
            a = 0
    if a == 0:
        return apply(op, x, other)
    scalar_eval(op, tape.value[a], tape.value[b] if b else dy, &v, NULL, NULL)
    return discrete_node(push_scalar(tape, op, a, b, v, 0.0, dy), BOOL)


@cython.no_gc
@cython.final
cdef class Discrete(Variable):
    """A value of a traced function that carries no gradient: truth values, integers, numbers cut off from their origin.

    It computes as NumPy's numbers and arrays of its dtype do. A conversion to a plain number leaves a guard on the
    trace: a replay in which it would come out otherwise takes another program. Users meet it inside of a compiled
    function only.
    """

    def __init__(self, *args):
        raise TypeError("Discrete: made by tracing only")

    @property
    def dtype(self):
        """The dtype that NumPy's value would have."""
        return self.kind

    @property
    def itemsize(self):
        """Bytes of one element."""
        return self.kind.itemsize

    @property
    def nbytes(self):
        """Bytes of the values."""
        return self.kind.itemsize * self.layout.size

    def __bool__(self):
        cdef double v
        if self.layout is SCALAR:
            v = self.tape.value[self.offset]
            if self.tape.trace is not None:
                (<Trace>self.tape.trace).seen.append((self.tape.n_records, self.offset, v))
            return v != 0.0
        return bool(values_of(self))

    def __int__(self):
        return int(values_of(self))

    def __index__(self):
        return values_of(self).__index__()

    def __float__(self):
        return float(values_of(self))

    def __complex__(self):
        return complex(values_of(self))

    def __array__(self, dtype=None, copy=None):
        return np.array(values_of(self), dtype=dtype)

    def item(self, *index):
        """One element as a plain Python number."""
        return asarray(values_of(self)).item(*index)

    def tolist(self):
        """The values as nested lists of plain Python numbers."""
        return asarray(values_of(self)).tolist()

    def __and__(self, other): return of_numpy("bitwise_and", self, other)
    def __rand__(self, other): return of_numpy("bitwise_and", other, self)
    def __or__(self, other): return of_numpy("bitwise_or", self, other)
    def __ror__(self, other): return of_numpy("bitwise_or", other, self)
    def __xor__(self, other): return of_numpy("bitwise_xor", self, other)
    def __rxor__(self, other): return of_numpy("bitwise_xor", other, self)
    def __lshift__(self, other): return of_numpy("left_shift", self, other)
    def __rlshift__(self, other): return of_numpy("left_shift", other, self)
    def __rshift__(self, other): return of_numpy("right_shift", self, other)
    def __rrshift__(self, other): return of_numpy("right_shift", other, self)
    def __iand__(self, other): return rebound(self, of_numpy("bitwise_and", self, other))
    def __ior__(self, other): return rebound(self, of_numpy("bitwise_or", self, other))
    def __ixor__(self, other): return rebound(self, of_numpy("bitwise_xor", self, other))
    def __invert__(self): return of_numpy("invert", self, None)

    def __getattr__(self, name):
        try:
            return Variable.__getattr__(self, name)
        except AttributeError:
            if name.startswith("_") or not hasattr(np.ndarray, name):
                raise
        return getattr(values_of(self), name)

    def __hash__(self):
        return hash(values_of(self)) if self.layout is SCALAR else <Py_ssize_t><void *>self >> 4

    def __richcmp__(self, other, int how):
        if other is None or isinstance(other, str):
            return NotImplemented
        return compared(self, other, how)

    def __str__(self):
        return str(values_of(self))

    def __format__(self, spec):
        return format(values_of(self), spec)

    def __repr__(self):
        values = np.array2string(asarray(peek(self)), separator=", ", prefix="Discrete(")
        return f"Discrete({values}, dtype={self.kind})"
