/* The strided map: out[view] (= or +=) f(a[view], b[view]) over an iteration space, and its adjoint.
 *
 * The stamped block kernels know contiguous arrays only. The drivers here walk the outer axes, feed the innermost one
 * to a kernel directly where it is contiguous, and strip by strip through small buffers where it is not (stride 0 is a
 * broadcast operand, and on the way back a sum). "Nothing", the structural zero, is -0.0: the identity of addition.
 */
#ifndef FASTAD_KERNELS_H
#define FASTAD_KERNELS_H
#include <stdlib.h>
#include "_scalar.h"

typedef ptrdiff_t ssize;
#define STRIP 256
#define MAX_DIMS 64

typedef struct {
    void (*forward)(ssize n, const double *restrict x, const double *restrict y, double *restrict v);
    void (*adjoint)(ssize n, const double *x, const double *y, const double *v, const double *g, double *gx,
                    double *gy);
} fa_kernel;

typedef void (*fa_pair)(ssize n, const double *restrict x, const double *restrict y, const double *restrict z,
                        double *restrict v);

/* Apply the NumPy or SciPy loop of an external row to contiguous strips. */
static void loop_block(int op, ssize n, const double *x, const double *y, double *v) {
    char *args[3] = {(char *)x, y ? (char *)y : (char *)v, (char *)v};
    const intptr_t count = n, steps[3] = {sizeof(double), sizeof(double), sizeof(double)};
    fa_loops[op].call(args, &count, steps, fa_loops[op].data);
}

/* ---- one set of kernels per instruction set, chosen at import ------------------------------------------- */
#define BLOCK(name) name##_baseline
#define TARGET
#include "_block.h"
#include "_pairs.h"
#undef BLOCK
#undef TARGET

#if defined(__GNUC__) && defined(__x86_64__)
#define FASTAD_DISPATCH 1
#define BLOCK(name) name##_avx2
#define TARGET __attribute__((target("avx2")))
#include "_block.h"
#include "_pairs.h"
#undef BLOCK
#undef TARGET
#define BLOCK(name) name##_avx512
#if defined(__clang__)
#define TARGET __attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,avx2")))
#else
#define TARGET __attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,avx2,prefer-vector-width=512")))
#endif
#include "_block.h"
#include "_pairs.h"
#undef BLOCK
#undef TARGET
#endif

static const fa_kernel *fa_kernels = kernels_baseline;
static const fa_pair (*fa_pairs)[13] = pairs_baseline;
static void (*fa_add_into)(ssize, const double *restrict, double *restrict) = add_into_baseline;
static int (*fa_row_numbers)(ssize, const double *restrict, ssize, int32_t *restrict) = row_numbers_baseline;
static int (*fa_from_whole)(ssize, const int64_t *restrict, double *restrict) = from_whole_baseline;

/* Choose the kernels this processor can run, at most those of `level` (0 baseline, 1 AVX2, 2 AVX-512). */
static const char *fa_dispatch(int level) {
#ifdef FASTAD_DISPATCH
    __builtin_cpu_init();
    if (level >= 2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")
        && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw")) {
        fa_kernels = kernels_avx512;
        fa_pairs = pairs_avx512;
        fa_add_into = add_into_avx512;
        fa_row_numbers = row_numbers_avx512;
        fa_from_whole = from_whole_avx512;
        return "avx512";
    }
    if (level >= 1 && __builtin_cpu_supports("avx2")) {
        fa_kernels = kernels_avx2;
        fa_pairs = pairs_avx2;
        fa_add_into = add_into_avx2;
        fa_row_numbers = row_numbers_avx2;
        fa_from_whole = from_whole_avx2;
        return "avx2";
    }
#endif
    (void)level;
    fa_kernels = kernels_baseline;
    fa_pairs = pairs_baseline;
    fa_add_into = add_into_baseline;
    fa_row_numbers = row_numbers_baseline;
    fa_from_whole = from_whole_baseline;
    return "baseline";
}

/* ---- strips ----------------------------------------------------------------------------------------------- */
static inline void fill(ssize n, double c, double *d) {
    for (ssize i = 0; i < n; i++) d[i] = c;
}

/* A strip of an operand as a contiguous one; a broadcast operand stands in its buffer from the start. */
static inline const double *gather(const double *p, ssize stride, ssize n, double *buffer) {
    if (stride == 1) return p;
    if (stride != 0) for (ssize i = 0; i < n; i++) buffer[i] = p[i * stride];
    return buffer;
}

static inline void spread_out(const double *p, ssize stride, ssize n, double *buffer) {
    if (p && stride == 0) fill(n < STRIP ? n : STRIP, *p, buffer);
}

/* d[view] += s, in order; on stride 0 the sum is made first, so that "nothing" stays nothing. */
static void scatter_add(const double *s, ssize n, double *d, ssize stride) {
    if (stride == 0) {
        char *args[3] = {(char *)d, (char *)s, (char *)d};
        const intptr_t count = n, steps[3] = {0, sizeof(double), 0};
        fa_loops[OP_add].call(args, &count, steps, fa_loops[OP_add].data);
    }
    else if (stride == 1) fa_add_into(n, s, d);
    else for (ssize i = 0; i < n; i++) d[i * stride] += s[i];
}

/* One axis of a map: v (= or +=) f(x, y). */
static void line_forward(int op, int accumulate, ssize n, const double *x, ssize sx, const double *y, ssize sy,
                         double *v, ssize sv) {
    if (accumulate && op == OP_positive) {
        const intptr_t w = sizeof(double);
        if (sv == 1 && sx == 1) { fa_add_into(n, x, v); return; }
        if (sv == 0) {  /* NumPy's pairwise sum */
            char *args[3] = {(char *)v, (char *)x, (char *)v};
            const intptr_t count = n, steps[3] = {0, sx * w, 0};
            fa_loops[OP_add].call(args, &count, steps, fa_loops[OP_add].data);
            return;
        }
    }
    if (!accumulate && sx == 1 && sv == 1 && (!y || sy == 1)) { fa_kernels[op].forward(n, x, y, v); return; }
    double bx[STRIP], by[STRIP], bv[STRIP];
    spread_out(x, sx, n, bx);
    spread_out(y, sy, n, by);
    for (; n > 0; n -= STRIP, x += STRIP * sx, v += STRIP * sv) {
        const ssize m = n < STRIP ? n : STRIP;
        const double *xs = gather(x, sx, m, bx), *ys = 0;
        if (y) { ys = gather(y, sy, m, by); y += STRIP * sy; }
        double *out = (sv == 1 && !accumulate) ? v : bv;
        fa_kernels[op].forward(m, xs, ys, out);
        if (out == bv) {
            if (accumulate) scatter_add(bv, m, v, sv);
            else for (ssize i = 0; i < m; i++) v[i * sv] = bv[i];
        }
    }
}

/* One axis of the adjoint of a map: gx += g f_x, gy += g f_y. A null pointer wants no adjoint. */
static void line_adjoint(int op, ssize n, const double *x, ssize sx, const double *y, ssize sy, const double *v,
                         const double *g, ssize sv, double *gx, double *gy) {
    double bx[STRIP], by[STRIP], bv[STRIP], bg[STRIP], cx[STRIP], cy[STRIP];
    if (sx == 1 && sv == 1 && (!y || sy == 1)) { fa_kernels[op].adjoint(n, x, y, v, g, gx, gy); return; }
    spread_out(x, sx, n, bx);
    spread_out(y, sy, n, by);
    spread_out(v, sv, n, bv);
    spread_out(g, sv, n, bg);
    for (; n > 0; n -= STRIP, x += STRIP * sx, v += STRIP * sv, g += STRIP * sv) {
        const ssize m = n < STRIP ? n : STRIP;
        const double *xs = gather(x, sx, m, bx), *ys = y ? gather(y, sy, m, by) : 0;
        const double *vs = gather(v, sv, m, bv), *gs = gather(g, sv, m, bg);
        double *dx = !gx || sx == 1 ? gx : cx, *dy = !gy || sy == 1 ? gy : cy;
        if (dx == cx) fill(m, -0.0, cx);
        if (dy == cy) fill(m, -0.0, cy);
        fa_kernels[op].adjoint(m, xs, ys, vs, gs, dx, dy);
        if (dx == cx) scatter_add(cx, m, gx, sx);
        if (dy == cy) scatter_add(cy, m, gy, sy);
        if (gx) gx += STRIP * sx;
        if (gy) gy += STRIP * sy;
        if (y) y += STRIP * sy;
    }
}

/* One axis of the tangent of a map: v_dot += f_x x_dot, v_dot += f_y y_dot. A null pointer stands for no tangent. The
 * adjoint's kernels compute it: what f does element by element has a diagonal Jacobian, which is its own transpose. */
static void line_tangent(int op, ssize n, const double *x, ssize sx, const double *y, ssize sy, const double *v,
                         ssize sv, const double *xd, const double *yd, double *vd) {
    double bx[STRIP], by[STRIP], bv[STRIP], bxd[STRIP], byd[STRIP], c[STRIP];
    if (sx == 1 && sv == 1 && (!y || sy == 1)) {
        if (xd) fa_kernels[op].adjoint(n, x, y, v, xd, vd, 0);
        if (yd) fa_kernels[op].adjoint(n, x, y, v, yd, 0, vd);
        return;
    }
    spread_out(x, sx, n, bx);
    spread_out(y, sy, n, by);
    spread_out(v, sv, n, bv);
    spread_out(xd, sx, n, bxd);
    spread_out(yd, sy, n, byd);
    for (; n > 0; n -= STRIP, x += STRIP * sx, v += STRIP * sv, vd += STRIP * sv) {
        const ssize m = n < STRIP ? n : STRIP;
        const double *xs = gather(x, sx, m, bx), *ys = y ? gather(y, sy, m, by) : 0, *vs = gather(v, sv, m, bv);
        double *d = sv == 1 ? vd : c;
        if (d == c) fill(m, -0.0, c);
        if (xd) fa_kernels[op].adjoint(m, xs, ys, vs, gather(xd, sx, m, bxd), d, 0);
        if (yd) fa_kernels[op].adjoint(m, xs, ys, vs, gather(yd, sy, m, byd), 0, d);
        if (d == c) scatter_add(c, m, vd, sv);
        if (xd) xd += STRIP * sx;
        if (yd) yd += STRIP * sy;
        if (y) y += STRIP * sy;
    }
}

/* ---- outer axes ------------------------------------------------------------------------------------------- */
/* A walk over the outer axes of a layout (ndim, shape[], strides of out[], a[], b[]); the last axis is the line. */
typedef struct { ssize index[MAX_DIMS]; ssize v, x, y; } fa_walk;

static inline int walk_next(fa_walk *w, const int64_t *layout) {
    const ssize ndim = (ssize)layout[0];
    const int64_t *shape = layout + 1, *sv = shape + ndim, *sx = sv + ndim, *sy = sx + ndim;
    for (ssize d = ndim - 2; d >= 0; d--) {
        w->v += sv[d]; w->x += sx[d]; w->y += sy[d];
        if (++w->index[d] < shape[d]) return 1;
        w->v -= sv[d] * shape[d]; w->x -= sx[d] * shape[d]; w->y -= sy[d] * shape[d];
        w->index[d] = 0;
    }
    return 0;
}

static inline void walk_start(fa_walk *w, const int64_t *layout) {
    for (ssize d = 0; d < layout[0]; d++) w->index[d] = 0;
    w->v = w->x = w->y = 0;
}

static void map_forward(int op, int accumulate, const int64_t *layout, const double *x, const double *y, double *v) {
    const ssize last = (ssize)layout[0] - 1, nd = last + 1;
    const int64_t *shape = layout + 1, *sv = shape + nd, *sx = sv + nd, *sy = sx + nd;
    fa_walk w;
    walk_start(&w, layout);
    do line_forward(op, accumulate, shape[last], x + w.x, sx[last], y ? y + w.y : 0, sy[last], v + w.v, sv[last]);
    while (walk_next(&w, layout));
}

static void map_adjoint(int op, const int64_t *layout, const double *x, const double *y, const double *v,
                        const double *g, double *gx, double *gy) {
    const ssize last = (ssize)layout[0] - 1, nd = last + 1;
    const int64_t *shape = layout + 1, *sv = shape + nd, *sx = sv + nd, *sy = sx + nd;
    fa_walk w;
    walk_start(&w, layout);
    do line_adjoint(op, shape[last], x + w.x, sx[last], y ? y + w.y : 0, sy[last], v + w.v, g + w.v, sv[last],
                    gx ? gx + w.x : 0, gy ? gy + w.y : 0);
    while (walk_next(&w, layout));
}

static void map_tangent(int op, const int64_t *layout, const double *x, const double *y, const double *v,
                        const double *xd, const double *yd, double *vd) {
    const ssize last = (ssize)layout[0] - 1, nd = last + 1;
    const int64_t *shape = layout + 1, *sv = shape + nd, *sx = sv + nd, *sy = sx + nd;
    fa_walk w;
    if (op == OP_positive) { map_forward(op, 1, layout, xd, 0, vd); return; }
    walk_start(&w, layout);
    do line_tangent(op, shape[last], x + w.x, sx[last], y ? y + w.y : 0, sy[last], v + w.v, sv[last],
                    xd ? xd + w.x : 0, yd ? yd + w.y : 0, vd + w.v);
    while (walk_next(&w, layout));
}

/* Exchange view and saved: undoes an in-place write, and undone again redoes it. */
static void swap_view(const int64_t *layout, double *view, double *saved) {
    const ssize last = (ssize)layout[0] - 1, nd = last + 1;
    const int64_t *shape = layout + 1, *sv = shape + nd;
    fa_walk w;
    walk_start(&w, layout);
    do for (ssize i = 0; i < shape[last]; i++) {
        double *p = view + w.v + i * sv[last], t = *p;
        *p = *saved;
        *saved++ = t;
    }
    while (walk_next(&w, layout));
}

/* Keep what the view holds, then write the source into it. */
static void overwrite_view(const int64_t *layout, double *view, double *saved, const double *source) {
    const ssize last = (ssize)layout[0] - 1, nd = last + 1;
    const int64_t *shape = layout + 1, *sv = shape + nd, *sx = sv + nd;
    fa_walk w;
    walk_start(&w, layout);
    do for (ssize i = 0; i < shape[last]; i++) {
        double *p = view + w.v + i * sv[last];
        *saved++ = *p;
        *p = source[w.x + i * sx[last]];
    }
    while (walk_next(&w, layout));
}

/* Set the elements of a view. */
static void fill_view(const int64_t *layout, double *view, double c) {
    const ssize last = (ssize)layout[0] - 1, nd = last + 1;
    const int64_t *shape = layout + 1, *sv = shape + nd;
    fa_walk w;
    walk_start(&w, layout);
    do for (ssize i = 0; i < shape[last]; i++) view[w.v + i * sv[last]] = c;
    while (walk_next(&w, layout));
}

/* ---- matrix products ---------------------------------------------------------------------------------------
 * A product is (batch, M, N, K) with strides of out (b, m, n), a (b, m, k) and b (b, k, n), 13 numbers in the pool.
 * NumPy's own matmul loop computes it: BLAS where the strides allow, without the GIL, with NumPy's bits. */
static fa_ufunc fa_matmul;
static fa_ufunc fa_loop_table[OP_COUNT];

static void matmul(const int64_t *size, const int64_t *so, const int64_t *sa, const int64_t *sb,
                   const double *a, const double *b, double *out) {
    char *args[3] = {(char *)a, (char *)b, (char *)out};
    const intptr_t w = sizeof(double);
    const intptr_t dims[4] = {size[0], size[1], size[3], size[2]};
    const intptr_t steps[9] = {sa[0] * w, sb[0] * w, so[0] * w,
                               sa[1] * w, sa[2] * w, sb[1] * w, sb[2] * w, so[1] * w, so[2] * w};
    fa_matmul.call(args, dims, steps, fa_matmul.data);
}

static void matmul_forward(const int64_t *p, const double *a, const double *b, double *out) {
    const int64_t *so = p + 4, *sa = p + 7, *sb = p + 10;
    const ssize batch = p[0], M = p[1], N = p[2], K = p[3];
    if (M * N * K > 32) { matmul(p, so, sa, sb, a, b, out); return; }
    for (ssize q = 0; q < batch; q++)
        for (ssize m = 0; m < M; m++)
            for (ssize n = 0; n < N; n++) {
                const double *x = a + q * sa[0] + m * sa[1], *y = b + q * sb[0] + n * sb[2];
                double s = 0.0;
                for (ssize k = 0; k < K; k++) s += x[k * sa[2]] * y[k * sb[1]];
                out[q * so[0] + m * so[1] + n * so[2]] = s;
            }
}

/* The adjoint written out: exact about "nothing", and the faster way for small or thin operands. */
static void matmul_adjoint_loops(const int64_t *p, const double *a, const double *b, const double *g, double *ga,
                                 double *gb) {
    const int64_t *so = p + 4, *sa = p + 7, *sb = p + 10;
    for (ssize m = 0; m < p[1]; m++)
        for (ssize n = 0; n < p[2]; n++) {
            const double u = g[m * so[1] + n * so[2]];
            if (is_nothing(u)) continue;
            if (ga) for (ssize k = 0; k < p[3]; k++) ga[m * sa[1] + k * sa[2]] += b[k * sb[1] + n * sb[2]] * u + 0.0;
            if (gb) for (ssize k = 0; k < p[3]; k++) gb[k * sb[1] + n * sb[2]] += a[m * sa[1] + k * sa[2]] * u + 0.0;
        }
}

static int all_finite(const double *x, ssize rows, ssize cols, ssize sr, ssize sc) {
    double s = 0.0;
    for (ssize i = 0; i < rows; i++) for (ssize j = 0; j < cols; j++) s += x[i * sr + j * sc] * 0.0;
    return s == 0.0;
}

/* d += a @ b through a dense product in `work`; rows and columns whose upstream is all nothing stay untouched. */
static void product_into(ssize M, ssize N, ssize K, const double *a, ssize am, ssize ak, const double *b, ssize bk,
                         ssize bn, double *work, double *d, ssize dm, ssize dn, const char *row, const char *column) {
    const int64_t size[4] = {1, M, N, K}, so[3] = {0, N, 1}, sa[3] = {0, am, ak}, sb[3] = {0, bk, bn};
    matmul(size, so, sa, sb, a, b, work);
    for (ssize m = 0; m < M; m++) {
        if (row && !row[m]) continue;
        for (ssize n = 0; n < N; n++)
            if (!column || column[n]) d[m * dm + n * dn] += work[m * N + n] + 0.0;
    }
}

static int any_nothing(const double *g, ssize n) {
    int found = 0;
    for (ssize i = 0; i < n; i++) found |= is_nothing(g[i]);
    return found;
}

static int all_nothing(const double *g, ssize n) {
    for (ssize i = 0; i < n; i++) if (!is_nothing(g[i])) return 0;
    return 1;
}

/* ga += g bᵀ, gb += aᵀ g for each matrix of the batch; the out block is dense. Returns -1 when out of memory. */
static int matmul_adjoint(const int64_t *p, const double *a, const double *b, const double *g, double *ga, double *gb) {
    const int64_t *so = p + 4, *sa = p + 7, *sb = p + 10;
    const ssize M = p[1], N = p[2], K = p[3];
    const int loops = M * N * K <= 512 || ((N == 1 || M == 1) && (sa[2] == 1 || M == 1) && (sb[1] == 1 || N == 1));
    double *work = 0;
    char *live = 0;
    if (M == 0 || N == 0 || K == 0) return 0;
    if (!loops) {
        const ssize big = (M > N ? M : N) * K > M * N ? (M > N ? M : N) * K : M * N;
        work = malloc((size_t)(big + M * N) * sizeof(double) + (size_t)(M + N));
        if (!work) return -1;
        live = (char *)(work + big + M * N);
    }
    for (ssize q = 0; q < p[0]; q++, a += sa[0], b += sb[0], g += so[0]) {
        int masked = 0;
        if (!loops && any_nothing(g, M * N)) {
            masked = 1;
            if (all_nothing(g, M * N)) goto next;
        }
        if (loops || (masked && !((!ga || all_finite(b, K, N, sb[1], sb[2]))
                                  && (!gb || all_finite(a, M, K, sa[1], sa[2])))))
            matmul_adjoint_loops(p, a, b, g, ga, gb);
        else {
            const double *u = g;
            if (masked) {
                double *clean = work + ((M > N ? M : N) * K > M * N ? (M > N ? M : N) * K : M * N);
                memset(live, 0, (size_t)(M + N));
                for (ssize m = 0; m < M; m++)
                    for (ssize n = 0; n < N; n++) {
                        const double c = g[m * N + n];
                        if (!is_nothing(c)) live[m] = live[M + n] = 1;
                        clean[m * N + n] = c + 0.0;
                    }
                u = clean;
            }
            if (ga) product_into(M, K, N, u, N, 1, b, sb[2], sb[1], work, ga, sa[1], sa[2], masked ? live : 0, 0);
            if (gb) product_into(K, N, M, a, sa[2], sa[1], u, N, 1, work, gb, sb[1], sb[2], 0, masked ? live + M : 0);
        }
    next:
        if (ga) ga += sa[0];
        if (gb) gb += sb[0];
    }
    free(work);
    return 0;
}

/* vd += ad b (rows = 1) or a bd (rows = 0) for one matrix of a batch, `dot` being the factor with tangents, `fixed` the
 * other one. `live` marks the rows of ad, or columns of bd, that are not nothing altogether. */
static void matmul_tangent_half(const int64_t *p, int rows, const double *dot, const double *fixed, double *work,
                                char *live, double *vd) {
    const int64_t *so = p + 4, *sa = p + 7, *sb = p + 10;
    const ssize M = p[1], N = p[2], K = p[3], n = rows ? M : N;
    const ssize sn = rows ? sa[1] : sb[2], sk = rows ? sa[2] : sb[1];
    int masked = 0;
    if (work)
        for (ssize i = 0; i < n; i++) {
            live[i] = 0;
            for (ssize k = 0; k < K; k++)
                if (is_nothing(dot[i * sn + k * sk])) masked = 1; else live[i] = 1;
        }
    if (work && !(masked && !(rows ? all_finite(fixed, K, N, sb[1], sb[2]) : all_finite(fixed, M, K, sa[1], sa[2])))) {
        if (rows) product_into(M, N, K, dot, sa[1], sa[2], fixed, sb[1], sb[2], work, vd, so[1], so[2], live, 0);
        else product_into(M, N, K, fixed, sa[1], sa[2], dot, sb[1], sb[2], work, vd, so[1], so[2], 0, live);
        return;
    }
    const double *a = rows ? dot : fixed, *b = rows ? fixed : dot;
    for (ssize i = 0; i < M; i++)
        for (ssize j = 0; j < N; j++) {
            double s = -0.0;
            for (ssize k = 0; k < K; k++) {
                const double u = a[i * sa[1] + k * sa[2]], w = b[k * sb[1] + j * sb[2]];
                s += is_nothing(rows ? u : w) ? -0.0 : u * w + 0.0;
            }
            vd[i * so[1] + j * so[2]] += s;
        }
}

/* The tangent of a matrix product. Returns -1 when out of memory. */
static int matmul_tangent(const int64_t *p, const double *a, const double *b, const double *ad, const double *bd,
                          double *vd) {
    const int64_t *so = p + 4, *sa = p + 7, *sb = p + 10;
    const ssize M = p[1], N = p[2], K = p[3];
    double *work = 0;
    char *live = 0;
    if (M * N * K > 512) {
        work = malloc((size_t)(M * N) * sizeof(double) + (size_t)(M > N ? M : N));
        if (!work) return -1;
        live = (char *)(work + M * N);
    }
    for (ssize q = 0; q < p[0]; q++) {
        if (ad) matmul_tangent_half(p, 1, ad + q * sa[0], b + q * sb[0], work, live, vd + q * so[0]);
        if (bd) matmul_tangent_half(p, 0, bd + q * sb[0], a + q * sa[0], work, live, vd + q * so[0]);
    }
    free(work);
    return 0;
}

#ifndef FASTAD_DEBUG
#define FASTAD_DEBUG 0
#endif
#if defined(__clang__)
#define FASTAD_COMPILER "Clang " __clang_version__
#elif defined(__GNUC__)
#define FASTAD_COMPILER "GCC " __VERSION__
#elif defined(_MSC_VER)
#define FASTAD_COMPILER "MSVC"
#else
#define FASTAD_COMPILER "unknown"
#endif

/* ---- thread-local pointer to the tape of this thread -------------------------------------------------------- */
#if defined(_MSC_VER)
static __declspec(thread) void *fa_thread_tape;
#else
static __thread void *fa_thread_tape;
#endif

/* Set bits of a word; written out, because the instruction for it is not in the baseline of x86-64. */
static inline int fa_count_bits(uint64_t w) {
    w -= (w >> 1) & 0x5555555555555555u;
    w = (w & 0x3333333333333333u) + ((w >> 2) & 0x3333333333333333u);
    return (int)((((w + (w >> 4)) & 0x0f0f0f0f0f0f0f0fu) * 0x0101010101010101u) >> 56);
}
#endif
