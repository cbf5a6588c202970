"""The main job: a model of predator and prey, fitted to real counts with fastad's gradients.

``python -m fastad`` reads the pelts of snowshoe hare and Canadian lynx that the Hudson's Bay Company collected from
1900 to 1920 and fits the Lotka–Volterra equations to them: four rates and two initial populations. The integrator is
an ordinary Python loop over scalars; its gradient comes from :func:`fastad.value_and_grad`, the descent from
:func:`fastad.minimize`. ``python -m fastad info`` says what this installation is, ``python -m fastad selftest`` whether
it computes what it should on this machine.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import math
import platform
import statistics
import sys
import timeit
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import fastad as fa

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Scalar = Any  # a float, or a Variable that behaves like one
    Function = Callable[[Scalar], Scalar]
    Vector = NDArray[np.float64]

DATA = Path(__file__).parent / "data" / "hudson_bay.csv"
#: The parameters of the model; the fit works on their logarithms, which keeps all of them positive.
PARAMETERS = (
    ("alpha", "birth of hares, per year"),
    ("beta", "hares caught, per thousand lynxes and year"),
    ("gamma", "death of lynxes, per year"),
    ("delta", "growth of lynxes, per thousand hares and year"),
    ("hare 1900", "thousand pelts"),
    ("lynx 1900", "thousand pelts"),
)
#: Runge–Kutta steps a year.
STEPS = 10


def read_counts() -> tuple[list[int], list[float], list[float]]:
    """The data set: years, hares and lynxes in thousands of pelts, one value a year."""
    with open(DATA, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [int(r["year"]) for r in rows], [float(r["hare"]) for r in rows], [float(r["lynx"]) for r in rows]


def rk4_step(hare: Scalar, lynx: Scalar, rates: Sequence[Scalar], h: float) -> tuple[Scalar, Scalar]:
    """One step of the classical Runge–Kutta method on the Lotka–Volterra equations."""
    alpha, beta, gamma, delta = rates

    def slope(u: Scalar, v: Scalar) -> tuple[Scalar, Scalar]:
        return u * (alpha - beta * v), v * (delta * u - gamma)

    a1, b1 = slope(hare, lynx)
    a2, b2 = slope(hare + h / 2 * a1, lynx + h / 2 * b1)
    a3, b3 = slope(hare + h / 2 * a2, lynx + h / 2 * b2)
    a4, b4 = slope(hare + h * a3, lynx + h * b3)
    return hare + h / 6 * (a1 + 2 * (a2 + a3) + a4), lynx + h / 6 * (b1 + 2 * (b2 + b3) + b4)


def populations(p: Sequence[Scalar], years: int, exp: Function) -> list[tuple[Scalar, Scalar]]:
    """The model's hares and lynxes at every step of the integrator, for log-parameters `p`."""
    *rates, hare, lynx = (exp(p[k]) for k in range(len(PARAMETERS)))
    course = [(hare, lynx)]
    for _ in range((years - 1) * STEPS):
        hare, lynx = rk4_step(hare, lynx, rates, 1 / STEPS)
        course.append((hare, lynx))
    return course


def make_loss(exp: Function, log: Function) -> Function:
    """The squared error in the logarithms of the populations, summed over years and species.

    With fastad's ``exp`` and ``log`` it takes Variables; with those of :mod:`math` it is a plain function of floats, on
    which finite differences are measured.
    """
    years, hares, lynxes = read_counts()
    counts = [(math.log(u), math.log(v)) for u, v in zip(hares, lynxes, strict=True)]

    def loss(p: Sequence[Scalar]) -> Scalar:
        total = 0.0
        for (u, v), (log_hare, log_lynx) in zip(populations(p, len(years), exp)[::STEPS], counts, strict=True):
            total = total + (log(u) - log_hare) ** 2 + (log(v) - log_lynx) ** 2
        return total

    return loss


def starting_point() -> Vector:
    """Log-parameters from the look of the data: a cycle of ten years around the mean populations.

    Near the equilibrium (gamma / delta, alpha / beta) the model swings with the period 2π / sqrt(alpha gamma).
    """
    _, hares, lynxes = read_counts()
    rate = 2 * math.pi / 10
    start = [rate, rate / statistics.mean(lynxes), rate, rate / statistics.mean(hares), hares[0], lynxes[0]]
    return np.array([math.log(value) for value in start])


def central_differences(f: Function, x: Vector, step: float = 1e-5) -> Vector:
    """The gradient of `f` by 2 n evaluations; `f` takes a list of floats."""
    gradient = np.empty_like(x)
    for k in range(x.size):
        low, high = x.tolist(), x.tolist()
        low[k] -= step
        high[k] += step
        gradient[k] = (f(high) - f(low)) / (high[k] - low[k])
    return gradient


def milliseconds(call: Callable[[], object], repeat: int = 15) -> float:
    """The median time of `call`."""
    return 1e3 * statistics.median(timeit.repeat(call, number=1, repeat=repeat))


def show_progress(state: Any) -> None:
    """Show an iteration of the descent: in place on a terminal, now and then in a log."""
    line = f"  iteration {state.nit:3d}   squared error {state.fun:.6f}"
    if sys.stdout.isatty():
        print(f"\r{line}", end="", flush=True)
    elif state.nit % 10 == 1:
        print(line, flush=True)


def report_gradient(loss: Function, float_loss: Function, p: Vector) -> None:
    """Check the gradient at `p` against central differences, and compare what both cost."""
    value_and_grad = fa.value_and_grad(loss)
    numeric = central_differences(float_loss, p)
    gradient = value_and_grad(p)[1]
    fa.gradcheck(loss, p)
    error = float(np.max(np.abs(gradient - numeric)) / np.max(np.abs(numeric)))
    print(f"\nGradient against central differences: largest relative difference {error:.1e}, gradcheck passed")

    start = p.tolist()
    evaluation = milliseconds(lambda: float_loss(start))
    reverse = milliseconds(lambda: value_and_grad(p))
    print(f"One value on plain floats    {evaluation:8.2f} ms")
    print(f"One value and gradient       {reverse:8.2f} ms   {reverse / evaluation:.1f} evaluations")
    for name, count in (("Forward", p.size + 1), ("Central", 2 * p.size)):
        time = count * evaluation
        print(f"{name} differences          {time:8.2f} ms   {count} evaluations, {time / reverse:.1f} x the gradient")


def report_fit(p: Vector) -> None:
    """Print the parameters and the fitted populations beside the counts."""
    print("\nThe fit")
    for (name, meaning), value in zip(PARAMETERS, np.exp(p), strict=True):
        print(f"  {name:10s} {value:8.4f}   {meaning}")
    print("\n  year     hare  fitted     lynx  fitted")
    years, hares, lynxes = read_counts()
    course = populations(p.tolist(), len(years), math.exp)[::STEPS]
    for year, hare, lynx, (u, v) in zip(years, hares, lynxes, course, strict=True):
        print(f"  {year}   {hare:6.1f}  {u:6.1f}   {lynx:6.1f}  {v:6.1f}")


def draw(path: str, p: Vector) -> None:
    """Write a picture of the counts and the fitted curves."""
    from matplotlib.figure import Figure

    years, hares, lynxes = read_counts()
    course: Vector = np.array(populations(p.tolist(), len(years), math.exp))
    time = np.linspace(years[0], years[-1], len(course))
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot(xlabel="year", ylabel="thousand pelts", title="Hare and lynx, Hudson's Bay Company")
    for name, counts, curve, colour in (("hare", hares, course[:, 0], "C0"), ("lynx", lynxes, course[:, 1], "C3")):
        axes.plot(years, counts, "o", color=colour, label=f"{name}, counted")
        axes.plot(time, curve, "-", color=colour, label=f"{name}, fitted")
    axes.set_xticks(years[::5])
    axes.legend()
    figure.savefig(path, dpi=120)
    print(f"\nPicture: {path}")


def fit(plot: str | None) -> int:
    """Fit the model, report on it, and draw it to `plot` unless that is None; the exit status."""
    loss, float_loss = make_loss(fa.exp, fa.log), make_loss(math.exp, math.log)
    p = starting_point()
    print(f"Hudson's Bay Company, 1900-1920: Lotka-Volterra equations, {len(PARAMETERS)} parameters, "
          f"{20 * STEPS} Runge-Kutta steps in plain Python\n")
    print(f"  start           squared error {float_loss(p.tolist()):.6f}")
    result = fa.minimize(loss, p, method="lbfgs", max_iter=200, tol=1e-7, callback=show_progress)
    end = "\n" if sys.stdout.isatty() else ""
    print(f"{end}  {result.nit} iterations, squared error {result.fun:.6f}: {result.message}")
    report_fit(result.x)
    report_gradient(loss, float_loss, p)
    if plot is not None:
        draw(plot, result.x)
    return 0 if result.success else 1


def info() -> int:
    """Print what this installation is; the exit status."""
    import scipy

    from fastad._tape import build_info

    build = build_info()
    print(f"fastad    {fa.__version__}")
    print(f"build     {'debug' if build['debug'] else 'release'}, {build['compiler']}")
    print(f"dispatch  {build['dispatch']}")
    print(f"runs on   Python {platform.python_version()}, NumPy {np.__version__}, SciPy {scipy.__version__}, "
          f"{platform.system()} {platform.machine()}")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m fastad", description="Fit a predator-prey model to real data.")
    parser.add_argument("command", nargs="?", choices=("fit", "info", "selftest"), default="fit",
                        help="fit the model (default), say what this installation is, or check that it computes right")
    picture = parser.add_mutually_exclusive_group()
    picture.add_argument("--plot", metavar="PATH",
                         help="write the picture there (default: lynx_hare.png, if matplotlib is installed)")
    picture.add_argument("--no-plot", action="store_true", help="write no picture")
    options = parser.parse_args(arguments)
    if options.command == "info":
        return info()
    if options.command == "selftest":
        from fastad import selftest

        info()
        return 1 if selftest.run() else 0
    has_matplotlib = importlib.util.find_spec("matplotlib") is not None
    if options.plot and not has_matplotlib:
        parser.error("--plot needs matplotlib: pip install 'fastad[plot]'")
    return fit(None if options.no_plot or not has_matplotlib else options.plot or "lynx_hare.png")


if __name__ == "__main__":
    sys.exit(main())
