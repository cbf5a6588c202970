/* The executor of compiled functions: instructions over a workspace of slots.
 *
 * With `lanes` > 1 a slot is a line of that many numbers, side by side, one for each input of a batch: every loop over
 * n slots becomes one over n * lanes numbers. Nothing is reassociated and nothing contracted, whatever the executor.
 */
#ifndef FASTAD_EXECUTE_H
#define FASTAD_EXECUTE_H
#include "_instruction.h"
#include "_moves.h"
#include "_strands.h"

#define LONG_RUN (1 << 22)  /* so many results are worth looking for signals after */
#define SHORT_ROW 64  /* such rows are added up without a call for each: too few for the order of additions to matter */
#define MOST_IN_PARTS 64
#define TILE 8         /* numbers of a cache line */

/* An argument or result that is read and written where the caller has it; `start` is the slot it would begin at. */
typedef struct { const double *data; int64_t start; } fa_region;

static inline const double *operand_at(int64_t slot, int32_t region, const fa_region *regions, const double *w,
                                       ssize lanes) {
    return region >= 0 && regions ? regions[region].data + (slot - regions[region].start) : w + slot * lanes;
}

/* How far an operand of a line has gone on, see fa_instruction. */
static inline ssize gone_on(int32_t on, ssize first, ssize in_strip) {
    return on == 1 ? first : on == 0 ? in_strip : 0;
}

/* The numbers of n slots that lie anywhere, as a line. */
static void collect_slots(ssize n, const int64_t *slots, const double *w, ssize lanes, double *d) {
    if (lanes == 1) for (ssize i = 0; i < n; i++) d[i] = w[slots[i]];
    else for (ssize i = 0; i < n; i++) memcpy(d + i * lanes, w + slots[i] * lanes, (size_t)lanes * sizeof(double));
}

/* v (= or +=) the sum of a strip, as NumPy's pairwise sum has it. */
static void add_up(ssize n, const double *x, double *v, ssize lanes, int first) {
    if (first) for (ssize l = 0; l < lanes; l++) v[l] = -0.0;
    if (lanes == 1) {
        char *args[3] = {(char *)v, (char *)x, (char *)v};
        const intptr_t count = n, steps[3] = {0, sizeof(double), 0};
        fa_loops[OP_add].call(args, &count, steps, fa_loops[OP_add].data);
    }
    else for (ssize i = 0; i < n; i++) fa_add_into(lanes, x + i * lanes, v);
}

/* Whether a signal came whose handler has raised; called with the GIL or without. */
static int interrupted(void) {
    PyGILState_STATE state = PyGILState_Ensure();
    const int raised = PyErr_CheckSignals();
    PyGILState_Release(state);
    return raised;
}

/* n numbers of `width` ones that repeat, from the phase-th on; what is written already is doubled. */
static inline void tile(ssize n, const double *x, ssize width, ssize phase, double *d) {
    ssize done = width - phase < n ? width - phase : n;
    memcpy(d, x + phase, (size_t)done * sizeof(double));
    d += done;
    n -= done;
    done = width < n ? width : n;
    memcpy(d, x, (size_t)done * sizeof(double));
    while (done < n) {
        const ssize more = done < n - done ? done : n - done;
        memcpy(d + done, d, (size_t)more * sizeof(double));
        done += more;
    }
}

/* Numbers [start, start + n) of a broadcast operand: `count` blocks of `width` slots, each repeated until it has filled
 * `span` slots; after the last the first has its turn again. Returns them in place where they stand in a row, else in
 * d. */
static const double *read_blocks(const int64_t *blocks, ssize start, ssize n, const double *x, ssize lanes, double *d) {
    const ssize width = (ssize)blocks[0] * lanes, span = (ssize)blocks[1] * lanes, count = (ssize)blocks[2];
    ssize block = start / span % count, at = start % span;
    double *to = d;
    if (n <= span - at && n <= width - at % width) return x + block * width + at % width;
    while (n > 0) {
        ssize m = n < span - at ? n : span - at;
        if (width == 1 && at == 0 && n >= span) {
            const ssize some = n / span < count - block ? n / span : count - block;
            repeat(some, span, x + block, to);
            block += some - 1;
            m = some * span;
        }
        else if (width == 1) fill(m, x[block], to);
        else tile(m, x + block * width, width, at % width, to);
        to += m;
        n -= m;
        at = 0;
        if (++block == count) block = 0;
    }
    return d;
}

/* The numbers before a strip that its readers look back at come from the end of the strip before. */
static inline void keep_history(const fa_instruction *q, ssize strip, double *w, ssize lanes) {
    double *kept = w + (q->v - q->history) * lanes;
    memmove(kept, kept + strip * lanes, (size_t)(q->history * lanes) * sizeof(double));
}

/* Maps strip by strip, so that what goes from one to the next stays in cache; -1: interrupted. Element j of a line has
 * its turn at the time j + lag, so that it may read what lines before it have computed at other places. */
static int execute_run(const fa_instruction *run, const int64_t *pool, double *w, ssize lanes, double *work,
                       const fa_region *regions) {
    const ssize n = (ssize)run->n, count = (ssize)run->count;
    const ssize strip = lanes == 1 ? RUN_STRIP : RUN_STRIP / lanes > 32 ? RUN_STRIP / lanes : 32;
    ssize work_done = 0;
    for (ssize start = 0; start < n; start += strip) {
        if ((work_done += strip * count * lanes) > LONG_RUN) {
            work_done = 0;
            if (interrupted()) return -1;
        }
        for (const fa_instruction *q = run + 1; q <= run + count; q++) {
            if (q->history && start) keep_history(q, strip, w, lanes);
            const ssize from = start - (ssize)q->count, first = from > 0 ? from : 0, in_strip = first - from;
            const ssize m = (from + strip < (ssize)q->n ? from + strip : (ssize)q->n) - first;
            if (m <= 0) continue;
            const double *x = operand_at(q->a + gone_on(q->aa, first, in_strip), q->ra, regions, w, lanes), *y = 0;
            if (q->ia >= 0) {
                collect_slots(m, pool + q->ia + first, w, lanes, work);
                x = work;
            }
            else if (q->aa == 2) x = read_blocks(pool + q->first, first * lanes, m * lanes, x, lanes, work);
            if (q->ib >= 0) {
                collect_slots(m, pool + q->ib + first, w, lanes, work + RUN_STRIP * lanes);
                y = work + RUN_STRIP * lanes;
            }
            else if (q->b >= 0) {
                y = operand_at(q->b + gone_on(q->ab, first, in_strip), q->rb, regions, w, lanes);
                if (q->ab == 2)
                    y = read_blocks(pool + q->first + 3, first * lanes, m * lanes, y, lanes, work + RUN_STRIP * lanes);
            }
            if (q->kind == K_SUM) {
                add_up(m, x, w + q->v * lanes, lanes, first == 0);
                continue;
            }
            if (q->av == HANDED_ON) {
                const int first_op = q->op - OP_add;
                q++;
                const int both = q->aa == HANDED_ON && q->ab == HANDED_ON, second = q->aa != HANDED_ON;
                const int which = q->op == OP_negative ? 12 : 3 * (q->op - OP_add) + (both ? 2 : second);
                if (q->history && start) keep_history(q, strip, w, lanes);
                const double *z = q->op == OP_negative ? x
                    : operand_at((second ? q->a : q->b) + gone_on(second ? q->aa : q->ab, first, in_strip),
                                 second ? q->ra : q->rb, regions, w, lanes);
                double *v = (double *)operand_at(q->v + (q->av ? first : in_strip), q->av - 2, regions, w, lanes);
                fa_pairs[first_op][which](m * lanes, x, y, z, v);
                continue;
            }
            double *v = (double *)operand_at(q->v + (q->av ? first : in_strip), q->av - 2, regions, w, lanes);
            fa_kernels[q->op].forward(m * lanes, x, y, v);
        }
    }
    return 0;
}

/* Scalar instructions on lanes. */
static void execute_lanes(const fa_scalar_instruction *p, ssize n, double *w, ssize lanes) {
    for (; n > 0; n--, p++) fa_kernels[p->op].forward(lanes, w + p->a * lanes, w + p->b * lanes, w + p->v * lanes);
}

/* v[j] += the j-th term of each of `count` rows, n slots apart, for the first `side` of them: each sum in a register,
 * since through memory a term would have to wait twice as long for the one before. */
FA_INLINE void add_side_by_side(ssize side, ssize n, ssize count, const double *t, const int64_t *slots, double *v) {
    double s[4];
    for (ssize j = 0; j < side; j++) s[j] = v[j];
    if (slots) for (ssize i = 0; i < count; i++) for (ssize j = 0; j < side; j++) s[j] += t[slots[i * n + j]];
    else for (ssize i = 0; i < count; i++) for (ssize j = 0; j < side; j++) s[j] += t[i * n + j];
    for (ssize j = 0; j < side; j++) v[j] = s[j];
}

/* p->n sums of p->count terms, each from its first term to its last: v[j] = (s[j] + t[0][j]) + t[1][j] + ... */
static void execute_chain(const fa_instruction *p, const int64_t *pool, double *w, ssize lanes) {
    const ssize n = (ssize)p->n, count = (ssize)p->count;
    const int64_t *slots = pool + p->ib;
    double *v = w + p->v * lanes;
    for (ssize j = 0; j < n; j++)
        for (ssize l = 0; l < lanes; l++) v[j * lanes + l] = w[(p->a + (p->aa ? j : 0)) * lanes + l];
    if (p->ib < 0 && n * lanes >= SHORT_ROW)
        for (ssize i = 0; i < count; i++) fa_add_into(n * lanes, w + (p->b + i * n) * lanes, v);
    else if (lanes == 1) for (ssize j = 0; j < n;) {
        const int64_t *const at = p->ib < 0 ? 0 : slots + j;
        const double *t = w + (at ? 0 : p->b + j);
        if (n - j >= 4) { add_side_by_side(4, n, count, t, at, v + j); j += 4; }
        else if (n - j >= 2) { add_side_by_side(2, n, count, t, at, v + j); j += 2; }
        else { add_side_by_side(1, n, count, t, at, v + j); j += 1; }
    }
    else for (ssize i = 0; i < count * n; i++)
        fa_add_into(lanes, w + (p->ib < 0 ? p->b + i : slots[i]) * lanes, v + i % n * lanes);
}

/* v += the rows of a matrix one after the other. Neighbouring short rows are added up side by side first, as one long
 * row. */
static void add_columns(ssize n, ssize width, const double *x, ssize sx, double *v) {
    double s[RUN_STRIP];
    const ssize side = sx == width ? RUN_STRIP / 2 / width : 1, wide = side * width;
    ssize k = 0;
    fill(wide, -0.0, s);
    for (; k + side <= n; k += side) fa_add_into(wide, x + k * sx, s);
    for (ssize i = 0; i < side; i++) for (ssize j = 0; j < width; j++) v[j] += s[i * width + j];
    for (; k < n; k++) for (ssize j = 0; j < width; j++) v[j] += x[k * sx + j];
}

/* Begin a walk over the axes of a layout without the last two, and one of length 1: their layout goes to `outer`. */
static void walk_matrices(fa_walk *w, const int64_t *layout, int64_t *outer) {
    const ssize nd = (ssize)layout[0], r = nd - 2;
    outer[0] = r + 1;
    for (ssize j = 0; j < 4; j++)
        for (ssize d = 0; d <= r; d++) outer[1 + j * (r + 1) + d] = d < r ? layout[1 + j * nd + d] : 1;
    walk_start(w, outer);
}

/* v += sums of f(x, y) over one axis of matrices with short rows, where a call for each row would cost more than the
 * row: over each row, or down the columns. Whether it was such a map. */
static int add_matrices(int op, const int64_t *layout, const double *x, const double *y, double *v) {
    const ssize nd = (ssize)layout[0], last = nd - 1, r = nd - 2;
    const int64_t *n = layout + 1, *sv = n + nd, *sx = sv + nd, *sy = sx + nd;
    if (nd < 2 || n[last] > SHORT_ROW || sx[last] != 1 || (y && sy[last] != 1)) return 0;
    const int columns = sv[last] == 1 && sv[r] == 0;
    if (!columns && (sv[last] != 0 || sv[r] == 0)) return 0;
    const ssize width = (ssize)n[last], some = op == OP_positive ? (ssize)n[r] : RUN_STRIP / width;
    const int dense = sx[r] == width && (!y || sy[r] == width);
    double made[RUN_STRIP];
    int64_t outer[4 * MAX_DIMS + 5];
    fa_walk w;
    walk_matrices(&w, layout, outer);
    do for (ssize k = 0; k < (ssize)n[r]; k += some) {
        const ssize m = (ssize)n[r] - k < some ? (ssize)n[r] - k : some;
        const double *a = x + w.x + k * sx[r], *b = y ? y + w.y + k * sy[r] : 0;
        double *to = v + w.v + (columns ? 0 : k * sv[r]);
        ssize step = (ssize)sx[r];
        if (op != OP_positive) {
            if (dense) fa_kernels[op].forward(m * width, a, b, made);
            else for (ssize i = 0; i < m; i++)
                fa_kernels[op].forward(width, a + i * sx[r], b ? b + i * sy[r] : 0, made + i * width);
            a = made;
            step = width;
        }
        if (columns) add_columns(m, width, a, step, to);
        else add_rows(m, width, a, step, to, (ssize)sv[r]);
    }
    while (walk_next(&w, outer));
    return 1;
}

/* v = matrices whose columns are in a row in x: a cache line of each column at a time. Whether it was such a map. */
static int copy_columns(const int64_t *layout, const double *x, double *v) {
    const ssize nd = (ssize)layout[0];
    const int64_t *n = layout + 1, *sv = n + nd, *sx = sv + nd;
    if (nd < 2) return 0;
    const ssize row = sx[nd - 1] == 1 ? nd - 1 : nd - 2, column = 2 * nd - 3 - row;      /* the axes along x and v */
    if (sx[row] != 1 || sv[column] != 1 || sv[row] == 1) return 0;
    int64_t outer[4 * MAX_DIMS + 5];
    fa_walk w;
    walk_matrices(&w, layout, outer);
    do for (ssize i = 0; i < (ssize)n[row]; i += TILE) {
        const ssize m = (ssize)n[row] - i < TILE ? (ssize)n[row] - i : TILE;
        for (ssize j = 0; j < (ssize)n[column]; j++) {
            const double *from = x + w.x + i + j * sx[column];
            double *to = v + w.v + i * sv[row] + j;
            for (ssize k = 0; k < m; k++) to[k * sv[row]] = from[k];
        }
    }
    while (walk_next(&w, outer));
    return 1;
}

/* A map over the layout in the pool; with lanes these are one more axis, the innermost. */
static void execute_map(const fa_instruction *p, const int64_t *pool, double *w, ssize lanes,
                        const fa_region *regions) {
    const int64_t *layout = pool + p->first;
    int64_t wider[4 * MAX_DIMS + 5];
    if (lanes == 1 && p->kind == K_ADD
        && add_matrices(p->op, layout, operand_at(p->a, p->ra, regions, w, 1),
                        p->b >= 0 ? operand_at(p->b, p->rb, regions, w, 1) : 0, w + p->v)) return;
    if (lanes == 1 && p->kind == K_MAP && p->op == OP_positive
        && copy_columns(layout, operand_at(p->a, p->ra, regions, w, 1), w + p->v)) return;
    if (lanes > 1) {
        const int64_t nd = layout[0];
        wider[0] = nd + 1;
        for (int64_t j = 0; j < 4; j++) {
            for (int64_t d = 0; d < nd; d++)
                wider[1 + j * (nd + 1) + d] = layout[1 + j * nd + d] * (j ? (int64_t)lanes : 1);
            wider[1 + j * (nd + 1) + nd] = j ? 1 : (int64_t)lanes;
        }
        layout = wider;
    }
    map_forward(p->op, p->kind == K_ADD, layout, operand_at(p->a, p->ra, regions, w, lanes),
                p->b >= 0 ? operand_at(p->b, p->rb, regions, w, lanes) : 0, w + p->v * lanes);
}

/* A matrix product for each lane: the lanes are the innermost loop. */
static void execute_matmul(const int64_t *p, const double *a, const double *b, double *out, ssize lanes) {
    const int64_t *so = p + 4, *sa = p + 7, *sb = p + 10;
    for (ssize q = 0; q < p[0]; q++)
        for (ssize m = 0; m < p[1]; m++)
            for (ssize n = 0; n < p[2]; n++) {
                double *restrict d = out + (q * so[0] + m * so[1] + n * so[2]) * lanes;
                for (ssize l = 0; l < lanes; l++) d[l] = 0.0;
                for (ssize k = 0; k < p[3]; k++) {
                    const double *x = a + (q * sa[0] + m * sa[1] + k * sa[2]) * lanes;
                    const double *y = b + (q * sb[0] + k * sb[1] + n * sb[2]) * lanes;
                    for (ssize l = 0; l < lanes; l++) d[l] += x[l] * y[l];
                }
            }
}

/* ---- calls that need no Python -------------------------------------------------------------------------------
 * What stands in the pool for a call, operands and results as (slot, size), is followed by the numbers named here. */
enum fa_native { N_NONE, N_TAKE, N_PUT_ADD, N_MAXIMUM, N_MINIMUM, N_COUNT };

/* The row that a number selects; negative ones count from the end. -1: there is none. */
static inline ssize row_at(double position, ssize rows) {
    if (!(position >= (double)-rows && position < (double)rows)) return -1;
    return position < 0.0 ? (ssize)position + rows : (ssize)position;
}

/* Rows of some width by their positions, or added up at their positions; 0 where there is no such row. */
static int move_lanes(int adds, ssize width, ssize lanes, ssize count, ssize rows, const double *restrict x,
                      const double *restrict at, double *restrict v) {
    const ssize step = width * lanes;
    for (ssize k = 0; k < count; k++)
        for (ssize l = 0; l < lanes; l++) {
            const ssize row = row_at(at[k * lanes + l], rows);
            if (row < 0) return 0;
            const double *from = x + (adds ? k : row) * step + l;
            double *to = v + (adds ? row : k) * step + l;
            if (adds) for (ssize j = 0; j < step; j += lanes) to[j] += from[j];
            else for (ssize j = 0; j < step; j += lanes) to[j] = from[j];
        }
    return 1;
}

/* The same for the operands in the pool (its number: the width). */
static int move_rows(int adds, const int64_t *p, double *w, ssize lanes) {
    const ssize width = (ssize)p[8], count = (ssize)p[4], rows = (ssize)(adds ? p[7] : p[2]) / width;
    const double *x = w + p[1] * lanes, *at = w + p[3] * lanes;
    double *v = w + p[6] * lanes;
    int32_t numbers[RUN_STRIP];
    if (adds) fill(rows * width * lanes, -0.0, v);
    if (lanes > 1 || rows > INT32_MAX) return move_lanes(adds, width, lanes, count, rows, x, at, v);
    for (ssize k = 0; k < count; k += RUN_STRIP) {
        const ssize m = count - k < RUN_STRIP ? count - k : RUN_STRIP;
        if (!fa_row_numbers(m, at + k, rows, numbers)) return 0;
        if (adds) put_rows(m, width, numbers, x + k * width, v);
        else take_rows(m, width, numbers, x, v + k * width);
    }
    return 1;
}

/* The largest (sign 1) or smallest (sign -1) elements along the middle one of three axes (pool: their lengths). */
static void extrema(double sign, const int64_t *p, double *w, ssize lanes) {
    const ssize outer = (ssize)p[6], n = (ssize)p[7], inner = (ssize)p[8] * lanes;
    const double *x = w + p[1] * lanes;
    double *v = w + p[4] * lanes;
    for (ssize o = 0; o < outer; o++, v += inner, x += n * inner) {
        if (inner == 1) {
            double m = x[0];
            for (ssize k = 1; k < n; k++) m = sign * x[k] > sign * m || x[k] != x[k] ? x[k] : m;
            *v = m;
            continue;
        }
        memcpy(v, x, (size_t)inner * sizeof(double));
        for (ssize k = 1; k < n; k++) {
            const double *restrict t = x + k * inner;
            double *restrict m = v;
            for (ssize i = 0; i < inner; i++) m[i] = sign * t[i] > sign * m[i] || t[i] != t[i] ? t[i] : m[i];
        }
    }
}

/* Whether a call could be carried out; else its rule has to be, which also knows what is wrong. */
static int native_call(const fa_instruction *p, const int64_t *pool, double *w, ssize lanes) {
    switch (p->op) {
    case N_TAKE: case N_PUT_ADD: return move_rows(p->op == N_PUT_ADD, pool + p->first, w, lanes);
    case N_MAXIMUM: case N_MINIMUM: extrema(p->op == N_MAXIMUM ? 1.0 : -1.0, pool + p->first, w, lanes); return 1;
    default: return 0;
    }
}

/* Execute the instructions [first, last) up to one that needs Python; returns where it stopped, -1 when a signal has
 * raised. On one lane scalar instructions are executed as `strands`, see there. */
static ssize fa_execute(const fa_instruction *code, ssize first, ssize last, const fa_scalar_instruction *scalars,
                        const int32_t *strands, const int64_t *pool, double *w, ssize lanes, double *work,
                        const fa_region *regions) {
    for (ssize i = first; i < last; i++) {
        const fa_instruction *p = code + i;
        switch (p->kind) {
        case K_SCALARS:
            if (lanes > 1) execute_lanes(scalars + p->first, (ssize)p->n, w, lanes);
            else if (p->n) run_strands(strands + 5 * p->first, w);
            break;
        case K_RUN:
            if (execute_run(p, pool, w, lanes, work, regions)) return -1;
            i += (ssize)p->count;
            break;
        case K_MAP: case K_ADD: execute_map(p, pool, w, lanes, regions); break;
        case K_FILL:
            if (lanes == 1) fill((ssize)p->n, w[p->a], w + p->v);
            else tile((ssize)p->n * lanes, w + p->a * lanes, lanes, 0, w + p->v * lanes);
            break;
        case K_CHAIN: execute_chain(p, pool, w, lanes); break;
        case K_MATMUL:
            if (lanes == 1) matmul_forward(pool + p->first, operand_at(p->a, p->ra, regions, w, 1),
                                           operand_at(p->b, p->rb, regions, w, 1), w + p->v);
            else execute_matmul(pool + p->first, w + p->a * lanes, w + p->b * lanes, w + p->v * lanes, lanes);
            break;
        case K_GATHER: collect_slots((ssize)p->n, pool + p->ia, w, lanes, w + p->v * lanes); break;
        case K_CALL:
            if (!native_call(p, pool, w, lanes)) return i;
            break;
        case K_COPY: memcpy(w + p->v * lanes, w + p->a * lanes, (size_t)(p->n * lanes) * sizeof(double)); break;
        default: return i;
        }
    }
    return last;
}

/* Instructions whose results are used up part by part, `parts` times, each time on the next part of what they work on:
 * their slots go on by `steps` (v, a, b of each). Returns -1 when a signal has raised. */
static ssize fa_execute_parts(const fa_instruction *code, ssize count, ssize parts, const int64_t *steps,
                              const int32_t *strands, const int64_t *pool, double *w, double *work,
                              const fa_region *regions) {
    fa_instruction part[MOST_IN_PARTS];
    ssize numbers = 0, done = 0;
    memcpy(part, code, (size_t)count * sizeof *part);
    for (ssize k = 0; k < count; k++) numbers += (ssize)part[k].n;
    for (ssize q = 0; q < parts; q++) {
        for (ssize k = 0; q && k < count; k++) {
            part[k].v += steps[3 * k];
            part[k].a += steps[3 * k + 1];
            part[k].b += steps[3 * k + 2];
        }
        if (fa_execute(part, 0, count, 0, strands, pool, w, 1, work, regions) < 0) return -1;
        if ((done += numbers) > LONG_RUN) {
            done = 0;
            if (interrupted()) return -1;
        }
    }
    return 0;
}
#endif
