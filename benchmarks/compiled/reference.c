/* Values and gradients of the workloads, written by hand, as somebody would who has an afternoon for each. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

double rosenbrock(const double *restrict x, double *restrict g, long n) {
    double total = 0.0;
    memset(g, 0, n * sizeof *g);
    for (long i = 0; i < n - 1; i++) {
        const double t = x[i + 1] - x[i] * x[i], u = 1.0 - x[i];
        total += 100.0 * t * t + u * u;
        g[i] += -400.0 * x[i] * t - 2.0 * u;
        g[i + 1] = 200.0 * t;
    }
    return total;
}

void rosenbrock_hessian(const double *restrict x, double *restrict H, long n) {
    memset(H, 0, n * n * sizeof *H);
    for (long i = 0; i < n - 1; i++) {
        H[i * n + i] += 1200.0 * x[i] * x[i] - 400.0 * x[i + 1] + 2.0;
        H[i * n + i + 1] = H[(i + 1) * n + i] = -400.0 * x[i];
        H[(i + 1) * n + i + 1] = 200.0;
    }
}

double small_net(const double *W1, const double *b1, const double *W2, const double *b2, const double *x, const double *y,
                 double *gW1, double *gb1, double *gW2, double *gb2) {
    double h[2], o[2], gh[2] = {0.0, 0.0}, loss = 0.0;
    for (int i = 0; i < 2; i++) h[i] = 1.0 / (1.0 + exp(-(W1[2 * i] * x[0] + W1[2 * i + 1] * x[1] + b1[i])));
    for (int i = 0; i < 2; i++) {
        o[i] = 1.0 / (1.0 + exp(-(W2[2 * i] * h[0] + W2[2 * i + 1] * h[1] + b2[i])));
        loss += (o[i] - y[i]) * (o[i] - y[i]);
        gb2[i] = 2.0 * (o[i] - y[i]) * o[i] * (1.0 - o[i]);
        for (int j = 0; j < 2; j++) {
            gW2[2 * i + j] = gb2[i] * h[j];
            gh[j] += gb2[i] * W2[2 * i + j];
        }
    }
    for (int i = 0; i < 2; i++) {
        gb1[i] = gh[i] * h[i] * (1.0 - h[i]);
        for (int j = 0; j < 2; j++) gW1[2 * i + j] = gb1[i] * x[j];
    }
    return loss;
}

/* One turn of the chain is s + sin(s x + y - 0.5) / 1024. */
double chain(const double *p, double *g, long turns) {
    double *s = malloc((turns + 1) * sizeof *s), *c = malloc(turns * sizeof *c);
    s[0] = p[0];
    for (long k = 0; k < turns; k++) {
        const double t = s[k] * p[0] + p[1] - 0.5;
        c[k] = cos(t) / 1024.0;
        s[k + 1] = s[k] + sin(t) / 1024.0;
    }
    double gs = 1.0, gx = 0.0, gy = 0.0;
    for (long k = turns; k-- > 0;) {
        const double gt = gs * c[k];
        gx += gt * s[k];
        gy += gt;
        gs += gt * p[0];
    }
    g[0] = gx + gs;
    g[1] = gy;
    const double value = s[turns];
    free(s);
    free(c);
    return value;
}

double lennard_jones(const double *restrict x, double *restrict g, long n) {
    double energy = 0.0;
    memset(g, 0, 3 * n * sizeof *g);
    for (long i = 0; i < n; i++)
        for (long j = 0; j < i; j++) {
            const double dx = x[3 * i] - x[3 * j], dy = x[3 * i + 1] - x[3 * j + 1], dz = x[3 * i + 2] - x[3 * j + 2];
            const double s = 1.0 / (dx * dx + dy * dy + dz * dz), s3 = s * s * s;
            energy += 4.0 * (s3 * s3 - s3);
            const double f = -24.0 * s * (2.0 * s3 * s3 - s3);
            g[3 * i] += f * dx;
            g[3 * i + 1] += f * dy;
            g[3 * i + 2] += f * dz;
            g[3 * j] -= f * dx;
            g[3 * j + 1] -= f * dy;
            g[3 * j + 2] -= f * dz;
        }
    return energy;
}

/* The slope of the predator-prey equations, and its pull: adjoints of u and v, those of the rates added to g. */
static inline void slope(const double *p, double u, double v, double *k) {
    k[0] = p[0] * u - p[1] * u * v;
    k[1] = p[3] * u * v - p[2] * v;
}

static inline void slope_pull(const double *p, double u, double v, double gu, double gv, double *out, double *g) {
    out[0] = gu * (p[0] - p[1] * v) + gv * p[3] * v;
    out[1] = gv * (p[3] * u - p[2]) - gu * p[1] * u;
    g[0] += gu * u;
    g[1] -= gu * u * v;
    g[2] -= gv * v;
    g[3] += gv * u * v;
}

double lotka_volterra(const double *p, double *g, long steps) {
    const double h = 10.0 / steps;
    double *at = malloc(8 * steps * sizeof *at), u = p[4], v = p[5];
    for (long t = 0; t < steps; t++) {
        double k[2], su = 0.0, sv = 0.0, *s = at + 8 * t;
        for (int stage = 0; stage < 4; stage++) {
            const double by = stage == 0 ? 0.0 : stage == 3 ? h : 0.5 * h, weight = stage == 0 || stage == 3 ? 1.0 : 2.0;
            s[2 * stage] = stage ? u + by * k[0] : u;
            s[2 * stage + 1] = stage ? v + by * k[1] : v;
            slope(p, s[2 * stage], s[2 * stage + 1], k);
            su += weight * k[0];
            sv += weight * k[1];
        }
        u += h / 6.0 * su;
        v += h / 6.0 * sv;
    }
    double gu = 2.0 * (u - 1.0), gv = 2.0 * (v - 2.0);
    memset(g, 0, 6 * sizeof *g);
    for (long t = steps; t-- > 0;) {
        const double *s = at + 8 * t;
        double q[2] = {0.0, 0.0}, nu = gu, nv = gv;
        for (int stage = 4; stage-- > 0;) {
            const double by = stage == 3 ? 0.0 : stage == 2 ? h : 0.5 * h, weight = stage == 0 || stage == 3 ? h / 6.0 : h / 3.0;
            slope_pull(p, s[2 * stage], s[2 * stage + 1], weight * gu + by * q[0], weight * gv + by * q[1], q, g);
            nu += q[0];
            nv += q[1];
        }
        gu = nu;
        gv = nv;
    }
    g[4] = gu;
    g[5] = gv;
    free(at);
    return (u - 1.0) * (u - 1.0) + (v - 2.0) * (v - 2.0);
}

double logistic(const double *restrict w, double b, const double *restrict X, const double *restrict y, double *restrict gw,
                double *restrict gb, long n, long d) {
    double total = 0.0, sum = 0.0;
    memset(gw, 0, d * sizeof *gw);
    for (long i = 0; i < n; i++) {
        double z = b;
        for (long j = 0; j < d; j++) z += X[i * d + j] * w[j];
        const double e = exp(-fabs(z));
        total += fmax(z, 0.0) + log1p(e) - y[i] * z;
        const double r = (z >= 0.0 ? 1.0 : e) / (1.0 + e) - y[i];
        sum += r;
        for (long j = 0; j < d; j++) gw[j] += r * X[i * d + j];
    }
    for (long j = 0; j < d; j++) gw[j] /= n;
    *gb = sum / n;
    return total / n;
}

/* One path of an Asian option: every price is its predecessor times exp(drift + spread z). */
static double asian_path(const double *p, const double *z, long stride, double *g, long steps, double *s) {
    const double h = 1.0 / steps, drift = (p[2] - 0.5 * p[1] * p[1]) * h, spread = p[1] * sqrt(h);
    double total = 0.0, last = p[0];
    for (long k = 0; k < steps; k++) {
        last *= exp(drift + spread * z[k * stride]);
        s[k] = last;
        total += last;
    }
    g[0] = g[1] = g[2] = 0.0;
    const double excess = total / steps - 100.0, discount = exp(-p[2]);
    if (excess <= 0.0) return 0.0;
    const double seed = discount / steps;
    double gs = 0.0;                       /* adjoint of the logarithm of the price */
    for (long k = steps; k-- > 0;) {
        gs += seed * s[k];
        g[1] += gs * (sqrt(h) * z[k * stride] - p[1] * h);
        g[2] += gs * h;
    }
    g[0] = gs / p[0];
    g[2] -= discount * excess;
    return discount * excess;
}

double asian_paths(const double *p, const double *Z, double *g, long steps, long paths) {
    double total = 0.0, one[3], *s = malloc(steps * sizeof *s);
    g[0] = g[1] = g[2] = 0.0;
    for (long k = 0; k < paths; k++) {
        total += asian_path(p, Z + k, paths, one, steps, s);
        for (int j = 0; j < 3; j++) g[j] += one[j] / paths;
    }
    free(s);
    return total / paths;
}

void asian_batch(const double *p, const double *Z, double *value, double *g, long paths, long steps) {
    double *s = malloc(steps * sizeof *s);
    for (long k = 0; k < paths; k++) value[k] = asian_path(p, Z + k * steps, 1, g + 3 * k, steps, s);
    free(s);
}

double softmax_net(const double *restrict W1, const double *b1, const double *restrict W2, const double *b2,
                   const double *restrict X, const double *restrict Y, double *restrict gW1, double *restrict gb1,
                   double *restrict gW2, double *restrict gb2, long n, long d, long m, long k) {
    double loss = 0.0, *h = malloc((2 * m + 2 * k) * sizeof *h), *gh = h + m, *z = gh + m, *gz = z + k;
    memset(gW1, 0, d * m * sizeof *gW1);
    memset(gb1, 0, m * sizeof *gb1);
    memset(gW2, 0, m * k * sizeof *gW2);
    memset(gb2, 0, k * sizeof *gb2);
    for (long t = 0; t < n; t++) {
        const double *x = X + t * d, *y = Y + t * k;
        memcpy(h, b1, m * sizeof *h);
        for (long i = 0; i < d; i++)
            for (long j = 0; j < m; j++) h[j] += x[i] * W1[i * m + j];
        for (long j = 0; j < m; j++) h[j] = tanh(h[j]);
        memcpy(z, b2, k * sizeof *z);
        for (long j = 0; j < m; j++)
            for (long c = 0; c < k; c++) z[c] += h[j] * W2[j * k + c];
        double top = z[0], sum = 0.0;
        for (long c = 1; c < k; c++) top = fmax(top, z[c]);
        for (long c = 0; c < k; c++) sum += gz[c] = exp(z[c] - top);
        for (long c = 0; c < k; c++) {
            loss -= y[c] * (z[c] - top - log(sum));
            gz[c] = (gz[c] / sum - y[c]) / n;
            gb2[c] += gz[c];
        }
        for (long j = 0; j < m; j++) {
            double g = 0.0;
            for (long c = 0; c < k; c++) {
                gW2[j * k + c] += h[j] * gz[c];
                g += W2[j * k + c] * gz[c];
            }
            gb1[j] += gh[j] = g * (1.0 - h[j] * h[j]);
        }
        for (long i = 0; i < d; i++)
            for (long j = 0; j < m; j++) gW1[i * m + j] += x[i] * gh[j];
    }
    free(h);
    return loss / n;
}

static double sigmoid(double z) { return 1.0 / (1.0 + exp(-z)); }

/* What the reverse pass needs of one layer at one step, b numbers each. */
enum { INPUT, HIDDEN, CELL, FORGET, INWARD, OUTWARD, CHANGE, TANH, KEPT };

double lstm(const double *main, const double *extra, const double *state, const double *text, double *gmain, double *gextra,
            long n, long layers, long b) {
    const long steps = n - 1, size = KEPT * b;
    double *kept = malloc(steps * layers * size * sizeof *kept), *softmax = malloc(steps * b * sizeof *softmax);
    double *last = malloc(steps * b * sizeof *last), *now = malloc(2 * layers * b * sizeof *now);
    double *g = calloc(2 * layers * b, sizeof *g), *gx = malloc(b * sizeof *gx), total = 0.0;
    memcpy(now, state, 2 * layers * b * sizeof *now);
    memset(gmain, 0, 8 * layers * b * sizeof *gmain);
    memset(gextra, 0, 3 * b * sizeof *gextra);
    for (long t = 0; t < steps; t++) {
        double sum = 2.0, logarithm, *x = last + t * b;
        for (long i = 0; i < b; i++) x[i] = text[t * b + i] * extra[i];
        for (long k = 0; k < layers; k++) {
            const double *w = main + 8 * k * b;
            double *s = kept + (t * layers + k) * size, *hidden = now + 2 * k * b, *cell = hidden + b;
            for (long i = 0; i < b; i++) {
                s[INPUT * b + i] = x[i];
                s[HIDDEN * b + i] = hidden[i];
                s[CELL * b + i] = cell[i];
                s[FORGET * b + i] = sigmoid(x[i] * w[i] + w[4 * b + i]);
                s[INWARD * b + i] = sigmoid(hidden[i] * w[b + i] + w[5 * b + i]);
                s[OUTWARD * b + i] = sigmoid(x[i] * w[2 * b + i] + w[6 * b + i]);
                s[CHANGE * b + i] = tanh(hidden[i] * w[3 * b + i] + w[7 * b + i]);
                cell[i] = cell[i] * s[FORGET * b + i] + s[INWARD * b + i] * s[CHANGE * b + i];
                s[TANH * b + i] = tanh(cell[i]);
                x[i] = hidden[i] = s[OUTWARD * b + i] * s[TANH * b + i];
            }
        }
        for (long i = 0; i < b; i++) sum += softmax[t * b + i] = exp(x[i] * extra[b + i] + extra[2 * b + i]);
        logarithm = log(sum);
        for (long i = 0; i < b; i++) {
            total += text[(t + 1) * b + i] * (x[i] * extra[b + i] + extra[2 * b + i] - logarithm);
            softmax[t * b + i] /= sum;
        }
    }
    for (long t = steps; t-- > 0;) {
        const double *x = last + t * b;
        double ones = 0.0;
        for (long i = 0; i < b; i++) ones += text[(t + 1) * b + i];
        for (long i = 0; i < b; i++) {
            const double gz = (ones * softmax[t * b + i] - text[(t + 1) * b + i]) / steps;
            gextra[b + i] += gz * x[i];
            gextra[2 * b + i] += gz;
            gx[i] = gz * extra[b + i];
        }
        for (long k = layers; k-- > 0;) {
            const double *w = main + 8 * k * b, *s = kept + (t * layers + k) * size;
            double *gw = gmain + 8 * k * b, *ghidden = g + 2 * k * b, *gcell = ghidden + b;
            for (long i = 0; i < b; i++) {
                const double forget = s[FORGET * b + i], inward = s[INWARD * b + i], outward = s[OUTWARD * b + i];
                const double change = s[CHANGE * b + i], th = s[TANH * b + i], gh = ghidden[i] + gx[i];
                const double gc = gcell[i] + gh * outward * (1.0 - th * th);
                const double ao = gh * th * outward * (1.0 - outward), af = gc * s[CELL * b + i] * forget * (1.0 - forget);
                const double ai = gc * change * inward * (1.0 - inward), ac = gc * inward * (1.0 - change * change);
                gw[i] += af * s[INPUT * b + i];
                gw[b + i] += ai * s[HIDDEN * b + i];
                gw[2 * b + i] += ao * s[INPUT * b + i];
                gw[3 * b + i] += ac * s[HIDDEN * b + i];
                gw[4 * b + i] += af;
                gw[5 * b + i] += ai;
                gw[6 * b + i] += ao;
                gw[7 * b + i] += ac;
                gcell[i] = gc * forget;
                ghidden[i] = ai * w[b + i] + ac * w[3 * b + i];
                gx[i] = af * w[i] + ao * w[2 * b + i];
            }
        }
        for (long i = 0; i < b; i++) gextra[i] += gx[i] * text[t * b + i];
    }
    free(kept);
    free(softmax);
    free(last);
    free(now);
    free(g);
    free(gx);
    return -total / steps;
}
