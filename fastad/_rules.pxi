# Update rules: from a gradient, and what is remembered of others, to the next step (part of _descent.pyx).
#
# Formulas, names of options and what the rules start with are those of torch.optim. A rule is a struct, so that
# thousands of fits can have one each; what it remembers is in one stretch of memory that the caller provides.

cdef enum Kind:
    SGD, ADAGRAD, RMSPROP, ADAM, SPECTRAL, LBFGS, OUTSIDE

#: Their names.
KINDS = ("sgd", "adagrad", "rmsprop", "adam", "spectral", "lbfgs", "outside")
#: The options of all rules and what they are unless given.
DEFAULTS = {
    "lr": 0.01, "momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8,
    "lr_decay": 0.0, "initial": 0.0, "clip_norm": INFINITY, "clip_value": INFINITY, "nesterov": False,
    "decoupled": False, "centered": False, "amsgrad": False, "memory": 10,
}

cdef struct Rule:
    Kind kind
    Py_ssize_t n, count, memory       # size of the vector; steps since the last reset; pairs of L-BFGS
    double lr, momentum, dampening, weight_decay
    double beta1, beta2               # of the means of gradients and of squared gradients (rmsprop: alpha is beta2)
    double eps, lr_decay
    double initial                    # adagrad: what the sum of squares starts with
    double clip_norm, clip_value      # of the gradient, before anything else
    bint nesterov, decoupled, centered, amsgrad
    # What is remembered, n numbers each: sgd the momentum; adagrad, rmsprop the squares; adam the means in a, the
    # squares in b, their greatest in c; rmsprop the means in b, the momentum in c; spectral, lbfgs the last point and
    # gradient in a and b
    double *a
    double *b
    double *c
    const double *low                 # bounds of x, NULL: none; lbfgs keeps off those that hold x
    const double *high
    double *pairs                     # lbfgs (s, y) of the last steps, then room for 1 / s.y and a factor of each
    Py_ssize_t n_pairs


cdef double dot(Py_ssize_t n, const double *x, const double *y) noexcept nogil:
    """The inner product, in four sums: one order for every driver."""
    cdef double s0 = 0.0, s1 = 0.0, s2 = 0.0, s3 = 0.0
    cdef Py_ssize_t i = 0
    while i + 4 <= n:
        s0 += x[i] * y[i]
        s1 += x[i + 1] * y[i + 1]
        s2 += x[i + 2] * y[i + 2]
        s3 += x[i + 3] * y[i + 3]
        i += 4
    while i < n:
        s0 += x[i] * y[i]
        i += 1
    return (s0 + s1) + (s2 + s3)


cdef double norm(Py_ssize_t n, const double *x) noexcept nogil:
    """The Euclidean norm."""
    return sqrt(dot(n, x, x))


cdef Py_ssize_t rule_size(const Rule *r) noexcept nogil:
    """How many numbers a rule remembers."""
    if r.kind == SGD:
        return r.n if r.momentum else 0
    if r.kind == ADAGRAD:
        return r.n
    if r.kind == RMSPROP:
        return r.n * (1 + r.centered + (r.momentum > 0.0))
    if r.kind == ADAM:
        return r.n * (2 + r.amsgrad)
    if r.kind == SPECTRAL:
        return 2 * r.n
    if r.kind == LBFGS:
        return 2 * r.n + 2 * (r.memory + 1) * (r.n + 1)   # one pair more: that which may not be taken
    return 0


cdef void rule_place(Rule *r, double *memory) noexcept nogil:
    """Say where the rule may remember."""
    r.a = r.b = r.c = memory
    if r.kind == RMSPROP:
        r.b = memory + r.n
        r.c = r.b + r.n * r.centered
    elif r.kind != SGD and r.kind != ADAGRAD:
        r.b = memory + r.n
        r.c = r.pairs = r.b + r.n


cdef void rule_reset(Rule *r) noexcept nogil:
    """Forget everything."""
    cdef Py_ssize_t i, size = rule_size(r)
    r.count = r.n_pairs = 0
    for i in range(size):
        r.a[i] = r.initial if r.kind == ADAGRAD else 0.0


cdef void clipped(const Rule *r, const double *g, double *d) noexcept nogil:
    """The gradient within its bounds: each entry, then its norm."""
    cdef Py_ssize_t i
    cdef double length, limit = r.clip_value
    if limit < INFINITY:
        for i in range(r.n):
            d[i] = min(max(g[i], -limit), limit)
    elif d != g:
        memcpy(d, g, r.n * sizeof(double))
    if r.clip_norm < INFINITY:
        length = norm(r.n, d)
        if length > r.clip_norm:
            for i in range(r.n):
                d[i] *= r.clip_norm / length


cdef void rule_step(Rule *r, const double *g, const double *x, double lr, double *d) noexcept nogil:
    """The step to take from x, where the gradient is g, into d (which is neither)."""
    cdef Py_ssize_t i
    r.count += 1
    clipped(r, g, d)
    if r.weight_decay and not r.decoupled:
        for i in range(r.n):
            d[i] += r.weight_decay * x[i]
    if r.kind == SGD:
        step_sgd(r, lr, d)
    elif r.kind == ADAGRAD:
        step_adagrad(r, lr, d)
    elif r.kind == RMSPROP:
        step_rmsprop(r, lr, d)
    elif r.kind == ADAM:
        step_adam(r, lr, d)
    elif r.kind == SPECTRAL:
        step_spectral(r, x, d)
    elif r.kind == LBFGS:
        step_lbfgs(r, x, lr, d)
    if r.weight_decay and r.decoupled:
        for i in range(r.n):
            d[i] -= lr * r.weight_decay * x[i]


cdef void step_sgd(Rule *r, double lr, double *d) noexcept nogil:
    """Against the gradient, or a running sum of gradients."""
    cdef Py_ssize_t i
    cdef double share = 1.0 - r.dampening if r.count > 1 else 1.0
    if r.momentum:
        for i in range(r.n):
            r.a[i] = r.momentum * r.a[i] + share * d[i]
            d[i] = d[i] + r.momentum * r.a[i] if r.nesterov else r.a[i]
    for i in range(r.n):
        d[i] *= -lr


cdef void step_adagrad(Rule *r, double lr, double *d) noexcept nogil:
    """Step lengths fall with the sum of squared gradients (Duchi, Hazan, Singer 2011)."""
    cdef Py_ssize_t i
    lr /= 1.0 + (r.count - 1) * r.lr_decay
    for i in range(r.n):
        r.a[i] += d[i] * d[i]
        d[i] = -lr * (d[i] / (sqrt(r.a[i]) + r.eps))


cdef void step_rmsprop(Rule *r, double lr, double *d) noexcept nogil:
    """Step lengths from a running mean of squared gradients (Tieleman, Hinton 2012; centred: Graves 2013)."""
    cdef Py_ssize_t i
    cdef double variance
    for i in range(r.n):
        r.a[i] = r.beta2 * r.a[i] + (1.0 - r.beta2) * d[i] * d[i]
        variance = r.a[i]
        if r.centered:
            r.b[i] += (1.0 - r.beta2) * (d[i] - r.b[i])
            variance -= r.b[i] * r.b[i]
        d[i] /= sqrt(variance) + r.eps
        if r.momentum > 0.0:
            r.c[i] = r.momentum * r.c[i] + d[i]
            d[i] = r.c[i]
        d[i] *= -lr


cdef void step_adam(Rule *r, double lr, double *d) noexcept nogil:
    """Running means of gradient and its square, corrected for their start (Kingma, Ba 2015; AMSGrad: Reddi 2018)."""
    cdef Py_ssize_t i
    cdef double length = lr / (1.0 - pow(r.beta1, <double>r.count))
    cdef double root = sqrt(1.0 - pow(r.beta2, <double>r.count)), square
    for i in range(r.n):
        r.a[i] += (1.0 - r.beta1) * (d[i] - r.a[i])
        r.b[i] = r.beta2 * r.b[i] + (1.0 - r.beta2) * d[i] * d[i]
        square = r.b[i]
        if r.amsgrad:
            square = r.c[i] = max(r.c[i], square)
        d[i] = -length * (r.a[i] / (sqrt(square) / root + r.eps))


cdef void step_spectral(Rule *r, const double *x, double *d) noexcept nogil:
    """Against the gradient, with the step length of Barzilai and Borwein (IMA J. Numer. Anal. 8, 1988)."""
    cdef Py_ssize_t i
    cdef double s, y, ss = 0.0, sy = 0.0, length = norm(r.n, d)
    if r.count == 1:
        length = 1.0 / max(1.0, length)
    else:
        for i in range(r.n):
            s, y = x[i] - r.a[i], d[i] - r.b[i]
            ss += s * s
            sy += s * y
        length = ss / sy if sy > 0.0 else 2.0 * sqrt(ss) / length
    memcpy(r.a, x, r.n * sizeof(double))
    memcpy(r.b, d, r.n * sizeof(double))
    for i in range(r.n):
        d[i] *= -length


cdef inline bint held(const Rule *r, const double *x, const double *g, Py_ssize_t i) noexcept nogil:
    """Whether a bound holds the i-th entry of x: the gradient pushes against it."""
    return x[i] <= r.low[i] and g[i] > 0.0 or x[i] >= r.high[i] and g[i] < 0.0


cdef void let_go(const Rule *r, const double *x, const double *g, double *d) noexcept nogil:
    """No step where a bound holds x."""
    cdef Py_ssize_t i
    if r.low is not NULL:
        for i in range(r.n):
            if held(r, x, g, i):
                d[i] = 0.0


cdef double curvature_of(const Rule *r, const double *x, const double *s, const double *y) noexcept nogil:
    """s.y, of the entries that no bound holds."""
    cdef Py_ssize_t i
    cdef double total = 0.0
    if r.low is NULL:
        return dot(r.n, s, y)
    for i in range(r.n):
        if not held(r, x, r.b, i):
            total += s[i] * y[i]
    return total


cdef void step_lbfgs(Rule *r, const double *x, double lr, double *d) noexcept nogil:
    """Limited-memory BFGS: the two-loop recursion (Nocedal, Wright: Numerical Optimization, algorithm 7.4).

    What a bound holds stays out of it: the recursion is that of the other entries (Bertsekas, SIAM J. Control 20,
    1982).
    """
    cdef Py_ssize_t i, k, n = r.n, first, last
    cdef double *inverse = r.pairs + 2 * (r.memory + 1) * n
    cdef double *factors = inverse + r.memory + 1
    cdef double *s = pair(r, r.n_pairs)
    cdef double *y = s + n
    cdef double c, size = 0.0, scale = 0.0
    if r.count > 1:
        for i in range(n):
            s[i], y[i] = x[i] - r.a[i], d[i] - r.b[i]
        if dot(n, s, y) > 1e-10 * norm(n, s) * norm(n, y):
            r.n_pairs += 1
    memcpy(r.a, x, n * sizeof(double))
    memcpy(r.b, d, n * sizeof(double))
    let_go(r, x, r.b, d)
    first, last = max(r.n_pairs - r.memory, 0), r.n_pairs
    for k in range(last - 1, first - 1, -1):
        s = pair(r, k)
        y = s + n
        c = curvature_of(r, x, s, y)
        inverse[k % (r.memory + 1)] = 1.0 / c if c > 0.0 else 0.0
        if c > 0.0:
            if scale == 0.0:
                scale = c / curvature_of(r, x, y, y)
            c = factors[k % (r.memory + 1)] = dot(n, s, d) / c
            for i in range(n):
                d[i] -= c * y[i]
            let_go(r, x, r.b, d)
    if scale == 0.0:
        for i in range(n):
            size += fabs(d[i])
        scale = min(1.0, lr / size)
    for i in range(n):
        d[i] *= scale
    for k in range(first, last):
        s = pair(r, k)
        c = inverse[k % (r.memory + 1)]
        if c > 0.0:
            c = factors[k % (r.memory + 1)] - c * dot(n, s + n, d)
            for i in range(n):
                d[i] += c * s[i]
            let_go(r, x, r.b, d)
    for i in range(n):
        d[i] = -d[i]


cdef inline double *pair(const Rule *r, Py_ssize_t k) noexcept nogil:
    """Where the k-th pair (s, y) stands."""
    return r.pairs + 2 * r.n * (k % (r.memory + 1))


cdef int rule_set(Rule *r, dict options) except -1:
    """Take options; the caller has checked their values."""
    for name, value in options.items():
        if name == "lr":
            r.lr = value
        elif name == "momentum":
            r.momentum = value
        elif name == "dampening":
            r.dampening = value
        elif name == "weight_decay":
            r.weight_decay = value
        elif name == "beta1":
            r.beta1 = value
        elif name == "beta2":
            r.beta2 = value
        elif name == "eps":
            r.eps = value
        elif name == "lr_decay":
            r.lr_decay = value
        elif name == "initial":
            r.initial = value
        elif name == "clip_norm":
            r.clip_norm = value
        elif name == "clip_value":
            r.clip_value = value
        elif name == "nesterov":
            r.nesterov = value
        elif name == "decoupled":
            r.decoupled = value
        elif name == "centered":
            r.centered = value
        elif name == "amsgrad":
            r.amsgrad = value
        elif name == "memory":
            r.memory = value
        else:
            raise ValueError(f"update rule: there is no option {name!r}; there are {', '.join(DEFAULTS)}")
    return 0


cdef int rule_make(Rule *r, str kind, Py_ssize_t n, dict options) except -1:
    """A rule without memory yet."""
    if kind not in KINDS:
        raise ValueError(f"update rule: there is no kind {kind!r}; there are {', '.join(KINDS)}")
    r.kind, r.n, r.count, r.n_pairs = <Kind><int>KINDS.index(kind), n, 0, 0
    r.low = r.high = NULL
    rule_set(r, DEFAULTS)
    rule_set(r, options)
    if n < 0 or not 1 <= r.memory <= 1 << 20:
        raise ValueError(f"update rule: n={n}, memory={r.memory}: sizes are needed")
    return 0


cdef class Update:
    """An update rule and what it remembers of one vector.

    Parameters
    ----------
    kind : {"sgd", "adagrad", "rmsprop", "adam", "spectral", "lbfgs"}
        ``sgd`` with its momenta, ``adam`` with AdamW (``decoupled=True``) and AMSGrad; formulas as in torch.optim.
    n : int
        Size of the vector.
    **options
        See ``DEFAULTS``; values are not checked. ``beta2`` is RMSprop's alpha, ``initial`` AdaGrad's first sum.

    Attributes
    ----------
    lr : float
        The step length; may be set at any time.
    count : int
        Steps since the beginning; with ``state`` all that a rule remembers.
    state : dict
        Name to array of `n` numbers, which may be written to (of ``lbfgs`` and ``spectral``: not shown).

    Examples
    --------
    >>> import numpy as np
    >>> update = Update("sgd", 2, lr=0.5, momentum=0.5)
    >>> x, g = np.array([1.0, 2.0]), np.array([1.0, -4.0])
    >>> update.step(g, x)
    array([-0.5,  2. ])
    >>> update.apply(g, x)
    >>> x, update.state
    (array([0.25, 5.  ]), {'momentum_buffer': array([ 1.5, -6. ])})
    """
    cdef Rule rule
    cdef readonly str kind
    cdef readonly dict state
    cdef double[::1] memory                           # of the rule, then the step

    def __init__(self, str kind, Py_ssize_t n, **options):
        rule_make(&self.rule, kind, n, options)
        self.kind = kind
        self.place()

    cdef int place(self) except -1:
        """Memory, and names for it."""
        cdef Rule *r = &self.rule
        cdef Py_ssize_t k
        memory = np.zeros(rule_size(r) + r.n + 1)
        self.memory = memory
        rule_place(r, &self.memory[0])
        rule_reset(r)
        names = []
        if r.kind == SGD:
            names = ["momentum_buffer"] if r.momentum else []
        elif r.kind == ADAGRAD:
            names = ["sum"]
        elif r.kind == RMSPROP:
            names = ["square_avg"] + ["grad_avg"] * r.centered + ["momentum_buffer"] * (r.momentum > 0.0)
        elif r.kind == ADAM:
            names = ["exp_avg", "exp_avg_sq"] + ["max_exp_avg_sq"] * r.amsgrad
        self.state = {name: memory[k * r.n:(k + 1) * r.n] for k, name in enumerate(names)}
        return 0

    @property
    def n(self):
        return self.rule.n

    @property
    def lr(self):
        return self.rule.lr

    @lr.setter
    def lr(self, double lr):
        self.rule.lr = lr

    @property
    def count(self):
        return self.rule.count

    @count.setter
    def count(self, Py_ssize_t count):
        self.rule.count = count

    def set(self, **options):
        """Change options; what is remembered stays, as far as the rule with these options has it."""
        cdef Py_ssize_t count = self.rule.count, size = rule_size(&self.rule)
        rule_set(&self.rule, options)
        if rule_size(&self.rule) != size:
            state = self.state
            self.place()
            self.rule.count = count
            for name in self.state:
                if name in state:
                    self.state[name][...] = state[name]

    def reset(self):
        """Forget everything."""
        rule_reset(&self.rule)

    def step(self, g, x):
        """The step to take from `x`, where the gradient is `g`: arrays of `n` numbers."""
        cdef const double[::1] gv = np.ascontiguousarray(g, np.float64).reshape(-1)
        cdef const double[::1] xv = np.ascontiguousarray(x, np.float64).reshape(-1)
        if gv.shape[0] != self.rule.n or xv.shape[0] != self.rule.n:
            raise ValueError(f"update rule: {gv.shape[0]} and {xv.shape[0]} numbers for a rule of {self.rule.n}")
        out = np.empty(self.rule.n)
        cdef double[::1] d = out
        if self.rule.n:
            with nogil:
                rule_step(&self.rule, &gv[0], &xv[0], self.rule.lr, &d[0])
        return out

    def apply(self, ndarray g, ndarray x):
        """Add the step to `x`: float64 arrays of `n` numbers in C order, of any shape."""
        cdef Py_ssize_t i, n = self.rule.n
        cdef double *p = <double *>PyArray_DATA(x)
        cdef double *d = &self.memory[self.memory.shape[0] - n - 1]
        for array in (g, x):
            if (PyArray_TYPE(<ndarray>array) != NPY_DOUBLE or not PyArray_ISCARRAY_RO(<ndarray>array)
                    or PyArray_SIZE(<ndarray>array) != n):
                raise ValueError(f"update rule: a float64 array of {n} numbers in C order is needed, not "
                                 f"{(<object>array).dtype} of shape {np.shape(array)}")
        if not PyArray_ISWRITEABLE(x):
            raise ValueError("update rule: the array of parameters is read-only")
        with nogil:
            rule_step(&self.rule, <const double *>PyArray_DATA(g), p, self.rule.lr, d)
            for i in range(n):
                p[i] += d[i]
