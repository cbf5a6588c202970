/* Loops over rows of a few numbers: taken and added up by number, summed, repeated. Widths that are usual are constants
 * in a copy of the loop, which the compiler then unrolls; wider vectors than the baseline's make them slower. */
#ifndef FASTAD_MOVES_H
#define FASTAD_MOVES_H

#define FOR_WIDTH(width, loop) \
    switch (width) { \
    case 1: loop(1) break; \
    case 2: loop(2) break; \
    case 3: loop(3) break; \
    case 4: loop(4) break; \
    default: loop(width) \
    }

/* v[k] += the sum of the k-th row of a matrix, `n` rows of `width` elements that are neighbours. */
static void add_rows(ssize n, ssize width, const double *restrict x, ssize sx, double *restrict v, ssize sv) {
#define ROWS(w, sx, sv) for (ssize k = 0; k < n; k++) { \
        const double *row = x + k * (sx); \
        double s0 = -0.0, s1 = -0.0, s2 = -0.0, s3 = -0.0; \
        ssize i = 0; \
        for (; i + 4 <= (w); i += 4) { s0 += row[i]; s1 += row[i + 1]; s2 += row[i + 2]; s3 += row[i + 3]; } \
        for (; i < (w); i++) s0 += row[i]; \
        v[k * (sv)] += (s0 + s1) + (s2 + s3); \
    }
#define DENSE(w) ROWS(w, w, 1)
    if (sx == width && sv == 1) { FOR_WIDTH(width, DENSE) }
    else ROWS(width, sx, sv)
#undef DENSE
#undef ROWS
}

/* Each of n numbers `times` times. */
static void repeat(ssize n, ssize times, const double *restrict x, double *restrict d) {
#define LOOP(w) for (ssize k = 0; k < n; k++) for (ssize j = 0; j < (w); j++) d[k * (w) + j] = x[k];
    FOR_WIDTH(times, LOOP)
#undef LOOP
}

/* Rows by number. */
static void take_rows(ssize n, ssize width, const int32_t *restrict rows, const double *restrict x,
                      double *restrict v) {
#define LOOP(w) for (ssize k = 0; k < n; k++) \
        for (ssize j = 0; j < (w); j++) v[k * (w) + j] = x[rows[k] * (ssize)(w) + j];
    FOR_WIDTH(width, LOOP)
#undef LOOP
}

/* Rows added to those of a number, from the first to the last; where one comes several times in a row, its sum stays in
 * registers. */
static void put_rows(ssize n, ssize width, const int32_t *restrict rows, const double *restrict x, double *restrict v) {
#define LOOP(w) for (ssize k = 0; k < n;) { \
        const int32_t row = rows[k]; \
        double s[w], *to = v + row * (ssize)(w); \
        for (ssize j = 0; j < (w); j++) s[j] = to[j]; \
        do { \
            for (ssize j = 0; j < (w); j++) s[j] += x[k * (w) + j]; \
            k++; \
        } while (k < n && rows[k] == row); \
        for (ssize j = 0; j < (w); j++) to[j] = s[j]; \
    }
    switch (width) {
    case 1: LOOP(1) break;
    case 2: LOOP(2) break;
    case 3: LOOP(3) break;
    case 4: LOOP(4) break;
    default: for (ssize k = 0; k < n; k++) for (ssize j = 0; j < width; j++) v[rows[k] * width + j] += x[k * width + j];
    }
#undef LOOP
}
#undef FOR_WIDTH
#endif
