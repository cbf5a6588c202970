# The iterations of a descent, as a machine that is asked for a place and told value and gradient there
# (part of _descent.pyx).
#
# `tell` goes from one evaluation to the next: it accepts, shortens or rejects the step, writes the history, finds out
# whether to stop, and proposes the next place. So whoever evaluates, Python or a compiled function, one at a time or
# many fits side by side, the same arithmetic leads to the same bits.

cdef enum Phase:
    EVALUATE                          # value and gradient at y are wanted
    STEP                              # a step from x is wanted; of a rule that is not here
    DONE

#: Why a descent has ended, in the order of `optimize.driver.ENDS`.
cdef enum Reason:
    RUNNING = -1
    GRADIENT, FLOOR, VALUE, PLACE, LIMIT, TIME, STALLED, NOT_FINITE, DIVERGED

cdef enum Accept:
    ANY, DECREASE, ARMIJO, WOLFE

ACCEPT = ("any", "decrease", "armijo", "wolfe")

cdef enum Verdict:
    TAKE, TAKE_LOW, GO_ON, REJECT

cdef enum:
    ARMIJO_TRIES = 60
    WOLFE_TRIES = 40
    COLUMNS = 4                       # of the history, beside the places
    APART = 8                         # the clock is read once in so many evaluations, if these are

cdef double QUICK = 1e-6              # as quick as this: seconds
cdef double EPS = 2.220446049250313e-16
cdef double SUFFICIENT = 1e-4         # c1 and c2 of the Wolfe conditions
cdef double CURVATURE = 0.9
cdef double RISE = 1e10
#: A value so much above the scale of the first and the best one is divergence.
DIVERGENCE = RISE

cdef struct Fit:
    Rule rule
    Accept accept
    Phase phase
    Reason reason
    Py_ssize_t n, nit, nfev, max_iter
    double sign                       # -1.0: go up
    double tol, ftol, xtol, max_time
    const double *lengths             # step lengths of iterations [first_length, end_length), if they change
    Py_ssize_t first_length, end_length
    bint scheduled                    # whether they do
    bint fresh                        # the rule remembers nothing
    double *x                         # the point, value, gradient and norm of the (projected) gradient
    double *g
    double f, norm
    double *y                         # the same of the place that is tried
    double *gy
    double fy, norm_y
    bint finite                       # of the latter
    double *best_x                    # the best point, unless that is x
    double *best_g
    double best_f, best_norm
    bint best_here
    double f0                         # the first value
    double *d                         # the step; x + t d is tried
    double slope, t, gain, length
    int tries
    double *low_g                     # wolfe: gradient at the better end of the interval; t, value and slope of both
    double low_t, low_f, low_d, high_t, high_f, high_d
    bint bracketed
    double began, now                 # when it did, and when the clock was read last
    int since, apart                  # evaluations since then, and until it is read again
    double *log[COLUMNS]              # the history: value, norm of the gradient, length of the step, time; NULL: none
    double *places                    # n numbers for each row; NULL: none
    Py_ssize_t rows, room


cdef Py_ssize_t fit_size(const Fit *s) noexcept nogil:
    """How many numbers a fit needs."""
    return 8 * s.n + rule_size(&s.rule)


cdef void fit_place(Fit *s, double *memory) noexcept nogil:
    """Give a fit its memory."""
    cdef Py_ssize_t n = s.n
    s.x, s.g, s.y, s.gy = memory, memory + n, memory + 2 * n, memory + 3 * n
    s.best_x, s.best_g, s.d, s.low_g = memory + 4 * n, memory + 5 * n, memory + 6 * n, memory + 7 * n
    rule_place(&s.rule, memory + 8 * n)


cdef void fit_begin(Fit *s) noexcept nogil:
    """Start at y."""
    s.nit = s.nfev = s.rows = 0
    s.reason, s.phase = RUNNING, EVALUATE
    s.best_f, s.best_norm, s.best_here, s.fresh = INFINITY, INFINITY, True, True
    s.began = s.now = fa_clock()
    s.since, s.apart = 0, 1
    rule_reset(&s.rule)
    project(s, s.y)


cdef void project(const Fit *s, double *x) noexcept nogil:
    """Move x into the bounds."""
    cdef Py_ssize_t i
    if s.rule.low is not NULL:
        for i in range(s.n):
            x[i] = min(max(x[i], s.rule.low[i]), s.rule.high[i])


cdef double measured(const Fit *s, const double *x, const double *g) noexcept nogil:
    """The norm of the gradient; with bounds of the way to the projection of x - g."""
    cdef Py_ssize_t i
    cdef double total = 0.0, way
    if s.rule.low is NULL:
        return norm(s.n, g)
    for i in range(s.n):
        way = x[i] - min(max(x[i] - g[i], s.rule.low[i]), s.rule.high[i])
        total += way * way
    return sqrt(total)


cdef bint all_finite(Py_ssize_t n, const double *x) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        if not isfinite(x[i]):
            return False
    return True


# ---- which steps are taken: from value and slope at the place tried to a verdict ---------------------------------
cdef bint lowers(const Fit *s) noexcept nogil:
    """Whether the value falls enough, or, when rounding hides that, whether the slope says so.

    The second condition is the approximate one of Hager and Zhang (SIAM J. Optim. 16, 2005), here without any rise.
    """
    if s.fy <= s.f + SUFFICIENT * s.gain:
        return True
    return s.fy <= s.f and -s.gain <= 1e4 * EPS * fabs(s.f) \
        and dot(s.n, s.gy, s.d) <= (2.0 * SUFFICIENT - 1.0) * s.slope


cdef Verdict armijo(Fit *s) noexcept nogil:
    """Shorten the step until the value falls by a share of what the slope promises."""
    if s.finite and lowers(s):
        return TAKE
    s.t *= 0.5
    return GO_ON if s.tries < ARMIJO_TRIES else REJECT


cdef Verdict wolfe(Fit *s) noexcept nogil:
    """A step with the strong Wolfe conditions (Nocedal, Wright: Numerical Optimization, algorithms 3.5 and 3.6)."""
    cdef double d = dot(s.n, s.gy, s.d) if s.finite else NAN
    cdef Py_ssize_t i
    cdef double largest = 0.0, place = 0.0
    if not s.finite or not lowers(s) or s.fy > s.low_f:
        s.bracketed, s.high_t, s.high_f, s.high_d = True, s.t, s.fy, d
    elif fabs(d) <= -CURVATURE * s.slope:
        return TAKE
    else:
        if d * ((s.high_t if s.bracketed else INFINITY) - s.low_t) >= 0.0:
            s.bracketed, s.high_t, s.high_f, s.high_d = True, s.low_t, s.low_f, s.low_d
        s.low_t, s.low_f, s.low_d = s.t, s.fy, d
        memcpy(s.low_g, s.gy, s.n * sizeof(double))
    if not s.bracketed:
        s.t *= 4.0
    else:
        for i in range(s.n):
            largest, place = max(largest, fabs(s.d[i])), max(place, fabs(s.x[i]))
        if fabs(s.high_t - s.low_t) * largest <= EPS * place:
            s.tries = WOLFE_TRIES
        s.t = between(s)
    if s.tries < WOLFE_TRIES:
        return GO_ON
    return TAKE_LOW if s.low_t > 0.0 else REJECT


cdef double between(const Fit *s) noexcept nogil:
    """The minimum of the cubic through two values and slopes, kept off the ends of the interval."""
    cdef double a = s.low_t, b = s.high_t, da = s.low_d, db = s.high_d, t = NAN, d, root
    cdef double near = a + 0.1 * (b - a), far = a + 0.9 * (b - a)
    if isfinite(db):
        d = da + db - 3.0 * (s.low_f - s.high_f) / (a - b)
        root = d * d - da * db
        if root >= 0.0:
            root = copysign(sqrt(root), b - a)
            if db - da + 2.0 * root:
                t = b - (b - a) * (db + root - d) / (db - da + 2.0 * root)
    if isfinite(t) and min(near, far) <= t <= max(near, far):
        return t
    return a + (0.5 if isfinite(db) else 0.1) * (b - a)


# ---- from one evaluation to the next -----------------------------------------------------------------------------
cdef void tell(Fit *s, double f) noexcept nogil:
    """Go on: the value at y is f, the gradient stands in gy."""
    cdef Py_ssize_t i
    cdef Verdict verdict
    s.nfev += 1
    s.fy = s.sign * f
    if s.sign < 0.0:
        for i in range(s.n):
            s.gy[i] = -s.gy[i]
    s.norm_y = measured(s, s.y, s.gy)
    s.finite = isfinite(s.fy) and (s.rule.low is NULL and isfinite(s.norm_y) or all_finite(s.n, s.gy))
    if s.nfev == 1:
        s.f0 = s.f = s.fy
        arrive(s, 0.0)
        return
    if s.accept == ANY:
        verdict = TAKE
    elif s.accept == DECREASE:
        verdict = TAKE if s.finite and s.fy < s.f else REJECT
    else:
        s.tries += 1
        verdict = armijo(s) if s.accept == ARMIJO else wolfe(s)
    if verdict == TAKE:
        move(s)
        return
    if better(s):
        keep(s, s.y, s.gy)
    if verdict == GO_ON:
        try_place(s)
    elif verdict == TAKE_LOW:
        s.t = s.low_t
        try_place(s)
        s.fy = s.low_f
        memcpy(s.gy, s.low_g, s.n * sizeof(double))
        s.norm_y, s.finite = measured(s, s.y, s.gy), True
        move(s)
    else:
        stay(s)


cdef bint better(const Fit *s) noexcept nogil:
    """Whether y is the best point so far."""
    return s.finite and (s.fy < s.best_f or s.fy == s.best_f and s.norm_y <= s.best_norm)


cdef void keep(Fit *s, const double *x, const double *g) noexcept nogil:
    """Remember a point as the best, with the value and norm at y unless it is x."""
    memcpy(s.best_x, x, s.n * sizeof(double))
    memcpy(s.best_g, g, s.n * sizeof(double))
    if x == s.y:
        s.best_f, s.best_norm = s.fy, s.norm_y
    s.best_here = False


cdef void move(Fit *s) noexcept nogil:
    """Take the step to y."""
    cdef Py_ssize_t i
    cdef double way, total = 0.0
    for i in range(s.n):
        way = s.y[i] - s.x[i]
        total += way * way
    s.nit += 1
    s.fresh = False
    arrive(s, sqrt(total))


cdef void arrive(Fit *s, double length) noexcept nogil:
    """y becomes the point."""
    cdef double fall = fabs(s.f - s.fy), scale = max(1.0, max(fabs(s.f), fabs(s.fy)))
    if better(s):
        s.best_f, s.best_norm, s.best_here = s.fy, s.norm_y, True
    elif s.best_here and s.nfev > 1:
        keep(s, s.x, s.g)
    s.x, s.y, s.g, s.gy = s.y, s.x, s.gy, s.g
    s.f, s.norm, s.length = s.fy, s.norm_y, length
    note(s)
    if not s.finite:
        end(s, NOT_FINITE)
    elif s.f - s.best_f > RISE * max(1.0, max(fabs(s.f0), fabs(s.best_f))):
        end(s, DIVERGED)
    elif s.norm <= s.tol:
        end(s, GRADIENT)
    elif s.nit and fall <= s.ftol * scale:
        end(s, VALUE)
    elif s.nit and length <= s.xtol * max(1.0, norm(s.n, s.x)):
        end(s, PLACE)
    else:
        propose(s)


cdef void stay(Fit *s) noexcept nogil:
    """No step was accepted."""
    s.nit += 1
    s.length = 0.0
    note(s)
    if s.accept >= ARMIJO and -s.slope <= 1e3 * EPS * fabs(s.f):
        end(s, FLOOR)
    elif s.fresh and not s.scheduled:
        end(s, STALLED)
    else:
        rule_reset(&s.rule)
        s.fresh = True
        propose(s)


cdef void end(Fit *s, Reason reason) noexcept nogil:
    s.phase, s.reason = DONE, reason


cdef void propose(Fit *s) noexcept nogil:
    """Ask the rule for a step, unless it is time to stop."""
    if s.nit >= s.max_iter:
        end(s, LIMIT)
    elif s.now - s.began > s.max_time:
        end(s, TIME)
    elif s.rule.kind == OUTSIDE:
        s.phase = STEP
    else:
        rule_step(&s.rule, s.g, s.x, length_now(s), s.d)
        search(s)


cdef void search(Fit *s) noexcept nogil:
    """Begin with the whole step d; a search gets one that goes down, steepest descent if there is no other."""
    cdef Py_ssize_t i
    cdef double size
    if s.accept >= ARMIJO:
        let_go(&s.rule, s.x, s.g, s.d)
        s.slope = dot(s.n, s.g, s.d)
        if not s.slope < 0.0 and s.rule.kind != OUTSIDE:
            rule_reset(&s.rule)
            rule_step(&s.rule, s.g, s.x, length_now(s), s.d)
            let_go(&s.rule, s.x, s.g, s.d)
            s.slope = dot(s.n, s.g, s.d)
        if not s.slope < 0.0:
            size = max(1.0, norm(s.n, s.g))
            for i in range(s.n):
                s.d[i] = -s.g[i] / size
            let_go(&s.rule, s.x, s.g, s.d)
            s.slope = dot(s.n, s.g, s.d)
        s.low_t, s.low_f, s.low_d, s.bracketed, s.tries = 0.0, s.f, s.slope, False, 0
    s.t = 1.0
    try_place(s)


cdef void try_place(Fit *s) noexcept nogil:
    """Ask for the value at x + t d, within the bounds."""
    cdef Py_ssize_t i
    for i in range(s.n):
        s.y[i] = s.x[i] + s.t * s.d[i]
    s.gain = s.t * s.slope
    if s.rule.low is not NULL:
        project(s, s.y)
        s.gain = 0.0
        for i in range(s.n):
            s.gain += s.g[i] * (s.y[i] - s.x[i])
    s.phase = EVALUATE


cdef inline double length_now(const Fit *s) noexcept nogil:
    """The step length of this iteration."""
    return s.lengths[s.nit - s.first_length] if s.scheduled else s.rule.lr


cdef void look_at_clock(Fit *s) noexcept nogil:
    """Read the clock in each evaluation; not in all if these are as quick, as those of a small function."""
    cdef double before = s.now
    s.since += 1
    if s.since >= s.apart:
        s.now = fa_clock()
        s.apart = APART if s.now - before < QUICK * s.since else 1
        s.since = 0


cdef void note(Fit *s) noexcept nogil:
    """Write down where the descent stands; the caller has seen to it that there is room."""
    cdef Py_ssize_t k = s.rows
    look_at_clock(s)
    if s.log[0] is NULL or k >= s.room:
        return
    s.log[0][k], s.log[1][k], s.log[2][k], s.log[3][k] = s.f, s.norm, s.length, s.now - s.began
    if s.places is not NULL:
        memcpy(s.places + k * s.n, s.x, s.n * sizeof(double))
    s.rows += 1
