"""Fits of ten parameters by SciPy: with finite differences, and with fastad's derivatives.

``python -m benchmarks.bench_scipy`` prints a table: processor time of a whole fit, its ratio to finite differences.
"""
import time

import numpy as np
import scipy.optimize

import fastad as fa

#: Three peaks over a background: vectorised.
T = np.linspace(0.0, 10.0, 1000)
PEAKS = np.array([0.5, 1.0, 2.0, 0.5, 2.0, 5.0, 0.8, 1.5, 8.0, 0.6])
#: A chain of reactions, with rates there and back: a loop over time steps in Python.
RATES = np.array([1.0, 0.3, 0.8, 0.2, 0.5, 0.1, 0.7, 0.4, 0.6, 0.2])


def peaks(p):
    """The spectrum at T."""
    s = p[0]
    for k in range(3):
        s = s + p[1 + 3 * k] * np.exp(-((T - p[2 + 3 * k]) / p[3 + 3 * k]) ** 2)
    return s


def chain(p):
    """Concentrations of the substances but the first, after each of 40 time steps."""
    c = [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    seen = []
    for _ in range(40):
        flows = [p[2 * k] * c[k] - p[2 * k + 1] * c[k + 1] for k in range(5)]
        c = [c[k] + 0.1 * ((flows[k - 1] if k else 0.0) - (flows[k] if k < 5 else 0.0)) for k in range(6)]
        seen += c[1:]
    return fa.array(seen)


def problem(name):
    """The residuals, their sum of squares, and where to start."""
    model, exact = {"peaks": (peaks, PEAKS), "chain": (chain, RATES)}[name]
    data = np.asarray(model(exact)) + 0.001 * np.random.default_rng(0).normal(size=len(model(exact)))

    def residuals(p):
        return model(p) - data

    def loss(p):
        return np.sum(residuals(p) ** 2)

    return residuals, loss, exact * 1.1


def fit(how, solver, residuals, loss, x0):
    """A call that fits, with derivatives by `how`."""
    f = loss if solver == "minimize" else residuals
    plain, wired = getattr(scipy.optimize, solver), getattr(fa.scipy, solver)
    options = {"method": "L-BFGS-B"} if solver == "minimize" else {}
    if how == "differences":
        return lambda: plain(f, x0, **options)
    if how == "fastad, compiled before":
        f = fa.compile(f)
        wired(f, x0, **options)
    return lambda: wired(f, x0, **options)


class Fit:
    """A whole fit."""

    params = (("peaks", "chain"), ("minimize", "least_squares"), ("differences", "fastad", "fastad, compiled before"))
    param_names = ("model", "solver", "derivatives")

    def setup(self, model, solver, how):
        self.fit = fit(how, solver, *problem(model))

    def time_fit(self, model, solver, how):
        self.fit()


def main():
    """Print the table."""
    print(f"{'model':8}{'solver':16}{'derivatives':26}{'ms':>8}{'ratio':>8}{'evaluations':>13}")
    for model in Fit.params[0]:
        for solver in Fit.params[1]:
            base = None
            for how in Fit.params[2]:
                run = fit(how, solver, *problem(model))
                times = []
                for _ in range(7):
                    begin = time.process_time()
                    result = run()
                    times.append(time.process_time() - begin)
                base = base or min(times)
                print(f"{model:8}{solver:16}{how:26}{min(times) * 1e3:8.2f}{min(times) / base:8.2f}{result.nfev:13}")


if __name__ == "__main__":
    main()
