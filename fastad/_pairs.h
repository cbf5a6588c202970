/* Two operations in one loop, so that what the first hands on to the second stays in a register: v = q(p(x, y), z).
   _kernels.h includes this once per instruction set, as it does _block.h. */
#define PAIR(name, first, second) \
    TARGET static void BLOCK(name)(ssize n, const double *restrict x, const double *restrict y, \
                                   const double *restrict z, double *restrict v) { \
        (void)z; \
        for (ssize i = 0; i < n; i++) { const double p = first; v[i] = second; } \
    }
#define WITH_SECONDS(name, first) \
    PAIR(name##_add, first, p + z[i]) PAIR(name##_add_to, first, z[i] + p) PAIR(name##_add_self, first, p + p) \
    PAIR(name##_subtract, first, p - z[i]) PAIR(name##_subtract_from, first, z[i] - p) \
    PAIR(name##_subtract_self, first, p - p) \
    PAIR(name##_multiply, first, p * z[i]) PAIR(name##_multiply_by, first, z[i] * p) \
    PAIR(name##_multiply_self, first, p * p) \
    PAIR(name##_divide, first, p / z[i]) PAIR(name##_divide_into, first, z[i] / p) \
    PAIR(name##_divide_self, first, p / p) \
    PAIR(name##_negative, first, -p)
#define ROW(name) { \
        BLOCK(name##_add), BLOCK(name##_add_to), BLOCK(name##_add_self), \
        BLOCK(name##_subtract), BLOCK(name##_subtract_from), BLOCK(name##_subtract_self), \
        BLOCK(name##_multiply), BLOCK(name##_multiply_by), BLOCK(name##_multiply_self), \
        BLOCK(name##_divide), BLOCK(name##_divide_into), BLOCK(name##_divide_self), BLOCK(name##_negative)}

WITH_SECONDS(sum, x[i] + y[i])
WITH_SECONDS(difference, x[i] - y[i])
WITH_SECONDS(product, x[i] * y[i])
WITH_SECONDS(quotient, x[i] / y[i])

/* By first operation; then by second one, and whether the handed on is its first operand, its second, or both. */
static const fa_pair BLOCK(pairs)[4][13] = {ROW(sum), ROW(difference), ROW(product), ROW(quotient)};
#undef PAIR
#undef WITH_SECONDS
#undef ROW
