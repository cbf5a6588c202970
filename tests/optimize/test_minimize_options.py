"""Schedules, clipping, bounds, stops, results, minibatches, SciPy's methods."""
import pickle

import numpy as np
import pytest
from scipy.optimize import NonlinearConstraint

import fastad as fa

START = np.array([-1.2, 1.0])


def quad(x):
    return np.sum((x - np.array([1.0, -2.0])) ** 2 * np.array([1.0, 10.0]))


def rosen(x):
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def lengths(**options):
    """Step over gradient norm, of the first iterations."""
    r = fa.minimize(quad, np.zeros(2), max_iter=5, tol=0.0, **options)
    return r.history["step"][1:] / r.history["grad_norm"][:-1]


# ---- step lengths ------------------------------------------------------------------------------------------
def test_schedules():
    k = np.arange(5)
    np.testing.assert_allclose(lengths(lr=0.01, schedule="exponential", gamma=0.5), 0.01 * 0.5 ** k)
    np.testing.assert_allclose(lengths(lr=0.01, schedule="step", step_size=2), 0.01 * 0.1 ** (k // 2))
    np.testing.assert_allclose(lengths(lr=0.01, schedule="cosine", eta_min=0.1),
                               0.01 * (0.1 + 0.45 * (1 + np.cos(np.pi * k / 5))))
    np.testing.assert_allclose(lengths(lr=0.01, schedule="cosine", T_max=2)[2:], 0.0, atol=1e-12)
    np.testing.assert_allclose(lengths(lr=0.01, schedule=lambda k: 1 / (1 + k)), 0.01 / (1 + k))
    np.testing.assert_allclose(lengths(lr=lambda k: 0.02 / (1 + k)), 0.02 / (1 + k))


def test_clipping():
    r = fa.minimize(quad, np.zeros(2), lr=1.0, clip_norm=0.1, max_iter=5)
    np.testing.assert_allclose(r.history["step"][1:], 0.1)
    r = fa.minimize(quad, np.zeros(2), lr=1.0, clip_value=0.1, max_iter=1, record_x=True)
    np.testing.assert_allclose(r.history["x"], [[0.0, 0.0], [0.1, -0.1]])


# ---- bounds ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("method", "options"), [
    ("gd", {"lr": 0.04}), ("gd", {"accept": "armijo"}), ("momentum", {"lr": 0.01}), ("adam", {"lr": 0.05}),
    ("lbfgs", {}), ("newton-cg", {}), ("scipy:L-BFGS-B", {}), ("scipy:trust-constr", {"tol": 1e-12}),
])
def test_bounds(method, options):
    seen = []

    def f(x):
        seen.append(np.array([float(v) for v in fa.stop_gradient(x)]))
        return quad(x)

    r = fa.minimize(f, np.array([3.0, 3.0]), method=method, bounds=[(None, 0.5), (-1.0, 1.0)], max_iter=3000, **options)
    np.testing.assert_allclose(r.x, [0.5, -1.0], atol=1e-3)
    assert r.success, r.message
    assert np.all(r.x <= [0.5, 1.0]) and np.all(np.array(seen) >= [-np.inf, -1.0 - 1e-12])
    assert np.linalg.norm(r.jac) > 1.0 and r.history["grad_norm"][-1] < 1e-3          # the projected one is small


def test_bounds_of_containers():
    r = fa.minimize(lambda p: np.sum(p["a"] ** 2) + (p["b"] - 3.0) ** 2, {"a": np.ones(2), "b": 0.0}, method="lbfgs",
                    bounds={"a": (0.5, None), "b": None})
    np.testing.assert_allclose(r.x["a"], 0.5)
    assert r.success and r.x["b"] == pytest.approx(3.0)


def test_lbfgs_with_bounds_finds_what_scipy_finds():
    rng = np.random.default_rng(0)
    for _ in range(5):
        low = rng.normal(size=8)
        bounds = list(zip(low, low + rng.uniform(0.1, 2.0, 8), strict=True))
        start = rng.normal(size=8)
        ours = fa.minimize(rosen, start, method="lbfgs", bounds=bounds)
        theirs = fa.minimize(rosen, start, method="scipy:L-BFGS-B", bounds=bounds, ftol=0.0)
        assert ours.success, ours.message
        assert ours.fun == pytest.approx(theirs.fun, rel=1e-6)


# ---- stops and results -------------------------------------------------------------------------------------
def test_small_changes_stop():
    r = fa.minimize(quad, np.zeros(2), lr=0.01, ftol=1e-4)
    assert r.success and "ftol" in r.message
    fun = r.history["fun"]
    assert abs(fun[-1] - fun[-2]) <= 1e-4 < abs(fun[-2] - fun[-3])
    r = fa.minimize(quad, np.zeros(2), lr=0.01, xtol=1e-3)
    assert r.success and "xtol" in r.message and r.history["step"][-1] <= 1e-3 * np.linalg.norm(r.x)


def test_newton_needs_few_iterations():
    r = fa.minimize(quad, np.zeros(2), method="newton-cg")
    assert r.success and r.nit <= 5
    r = fa.minimize(lambda x: -rosen(x), START, method="newton-cg", maximize=True, tol=1e-9)
    assert r.success and r.nit < 90
    np.testing.assert_allclose(r.x, 1.0, atol=1e-8)
    with pytest.raises(ValueError, match="newton-cg"):
        fa.minimize(lambda x: (np.sum(x ** 2), 2 * x), np.ones(2), method="newton-cg", jac=True)


def test_results_pickle_and_plot():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    r = fa.minimize(fa.compile(rosen), START, method="lbfgs")
    figure = r.plot()
    assert len(figure.axes) == 2 and len(figure.axes[1].collections) == 1          # contours
    np.testing.assert_array_equal(figure.axes[1].lines[0].get_xydata()[0], START)
    again = pickle.loads(pickle.dumps(r))
    assert dict(again).keys() == dict(r).keys() and again.fun == r.fun
    assert not again.plot().axes[1].collections        # without the function the path alone
    assert len(fa.minimize(rosen, np.zeros(3)).plot().axes) == 1
    assert r.plot(plt.subplots()[1]) is not figure
    plt.close("all")


# ---- minibatches -------------------------------------------------------------------------------------------
def data(rows=100):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(rows, 3))
    return X, X @ [1.0, 2.0, 3.0] + 0.01 * rng.normal(size=rows)


def misfit(w, X, Y):
    return np.mean((X @ w - Y) ** 2)


@pytest.mark.parametrize("compiled", [False, True])
def test_minibatches(compiled):
    X, Y = data()
    f = fa.compile(misfit) if compiled else misfit
    r = fa.minimize(f, np.zeros(3), data=(X, Y), batch_size=32, epochs=4, method="momentum", lr=0.02, shuffle=3)
    w, v, order, steps = np.zeros(3), 0.0, np.random.default_rng(3), []
    for _ in range(4):
        rows = order.permutation(100)
        for first in range(0, 100, 32):               # the last batch has 4 rows
            B, y = X[rows[first:first + 32]], Y[rows[first:first + 32]]
            steps.append(misfit(w, B, y))
            v = 0.9 * v + 2 * B.T @ (B @ w - y) / len(y)
            w = w - 0.02 * v
    assert r.nit == 16 and r.nfev == 16 + 5
    np.testing.assert_allclose(r.history["batch_fun"], steps, rtol=1e-9)
    assert r.history["fun"].shape == (5,) and r.fun == min(r.history["fun"])
    np.testing.assert_allclose(r.history["fun"][-1], misfit(w, X, Y), rtol=1e-9)


def test_minibatches_stop_and_say_what_is_wrong():
    X, Y = data()
    r = fa.minimize(misfit, np.zeros(3), data=(X, Y), batch_size=10, epochs=100, lr=0.05, ftol=1e-3)
    assert r.success and "ftol" in r.message and r.nit < 1000
    r = fa.minimize(misfit, np.zeros(3), data=(X, Y), lr=5.0, epochs=100)
    assert not r.success and r.status in (3, 4) and r.fun == np.nanmin(r.history["fun"])
    seen = []
    r = fa.minimize(misfit, np.zeros(3), data=(X, Y), epochs=5, callback=lambda s: seen.append(s.nit) or s.nit >= 8)
    assert seen == [4, 8] and r.status == 5
    for options, message in (({"batch_size": 0}, "batch_size=0"), ({"epochs": -1}, "epochs=-1"),
                             ({"method": "lbfgs"}, "first-order"), ({"shuffle": "x"}, "shuffle='x'"),
                             ({"data": (X, Y[:3])}, "data.*rows"), ({"data": 3.0}, "data")):
        with pytest.raises(ValueError, match=message):
            fa.minimize(misfit, np.zeros(3), **{"data": (X, Y), **options})


# ---- SciPy's methods ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["L-BFGS-B", "BFGS", "CG", "Newton-CG", "trust-ncg", "trust-exact", "trust-constr",
                                  "SLSQP", "Nelder-Mead"])
def test_scipy_by_name(name):
    for f in (rosen, fa.compile(rosen)):
        r = fa.minimize(f, START, method=f"scipy:{name}", record_x=True)
        np.testing.assert_allclose(r.x, 1.0, atol=1e-2)
        assert r.success and "scipy" in r.message and r.fun == pytest.approx(rosen(r.x), rel=1e-6)
        assert r.fun <= np.min(r.history["fun"]) and len(r.history["x"]) == len(r.history["fun"]) >= r.nit


def test_scipy_with_containers_constraints_and_stops():
    def f(p):
        return (p["x"] - 2.0) ** 2 + np.sum((p["y"] - 2.0) ** 2)

    ball = NonlinearConstraint(lambda p: p["x"] ** 2 + np.sum(p["y"] ** 2), -np.inf, 3.0)
    for name in ("trust-constr", "SLSQP"):
        r = fa.minimize(f, {"x": 0.1, "y": np.zeros(2)}, method=f"scipy:{name}", constraints=ball)
        assert r.success
        np.testing.assert_allclose([r.x["x"], *r.x["y"]], 1.0, atol=1e-3)
    r = fa.minimize(lambda x: -rosen(x), START, method="scipy:BFGS", maximize=True, callback=lambda s: s.nit >= 3)
    assert r.status == 5 and r.nit == 3 and r.fun == np.max(r.history["fun"])

    def interrupt(state):
        raise KeyboardInterrupt

    assert fa.minimize(rosen, START, method="scipy:BFGS", callback=interrupt).status == 6
    assert fa.minimize(rosen, START, method="scipy:BFGS", max_time=0.0).status == 7


# ---- misuse ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("options", "message"), [
    ({"schedule": "cos"}, "schedule='cos'.*'cosine'"), ({"schedule": "step", "T_max": 3}, "T_max=3.*step_size, gamma"),
    ({"schedule": "step", "step_size": 0}, "step_size=0"), ({"lr": abs, "schedule": "step"}, "lr is a function"),
    ({"lr": lambda k: -1.0}, r"lr\(0\) gave -1.0"), ({"schedule": lambda k: "x"}, r"schedule\(0\) gave 'x'"),
    ({"clip_norm": 0.0}, "clip_norm=0.0"), ({"clip_value": -1}, "clip_value=-1"), ({"ftol": -1}, "ftol=-1"),
    ({"xtol": "a"}, "xtol='a'"), ({"max_time": -1}, "max_time=-1"), ({"bounds": [(0, 1)]}, "bounds"),
    ({"bounds": [(0, 1), (3, 2)]}, "bounds.*low"), ({"bounds": 3}, "bounds=3"),
    ({"callback": print, "callback_every": 0}, "callback_every=0"),
    ({"bounds": [(0, 1)] * 2, "accept": "wolfe"}, "accept='wolfe'"),
    ({"constraints": [1]}, "constraints.*trust-constr"),
    ({"batch_size": 3}, "batch_size=3.*data"), ({"method": "scipy:nope"}, "scipy:nope"),
    ({"method": "scipy:BFGS", "eta": 1}, "eta.*show_options"), ({"method": "scipy:BFGS", "lr": 1.0}, "lr=1.0"),
    ({"method": "scipy:BFGS", "bounds": [(0, 1)] * 2}, "bounds"), ({"method": "adam", "amsgrad": 2}, "amsgrad=2"),
])
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=f"minimize: .*{message}"):
        fa.minimize(quad, np.zeros(2), **options)


# ---- what nobody planned for -------------------------------------------------------------------------------------
@pytest.mark.parametrize(("f", "x0", "options", "error", "message"), [
    (rosen, None, {}, ValueError, "minimize: x0=None"),
    (rosen, fa.Variable(np.ones(2)), {}, TypeError, "minimize: x0: converting a Variable"),
    (rosen, START, {"jac": rosen}, ValueError, "minimize: jac=<function"),
    (rosen, START, {"jac": True}, TypeError, r"minimize: jac=True; .* return \(value, gradient\), not float64"),
    (lambda x: (rosen(x), x[:1]), START, {"jac": True}, ValueError, r"the gradient has shape \(1,\); x0 has 2"),
    (lambda x: 0.0, [], {"method": "scipy:BFGS"}, ValueError, "minimize: x0 has no numbers; method='scipy:BFGS'"),
    (lambda w, x: np.sum((w - x) ** 2), 0.0, {"data": [1.0, 2.0]}, ValueError, r"data has arrays of shapes \(\), \(\)"),
    (fa.compile(lambda a, x: a * rosen(x), argnums=1), START, {"args": (1.0,)}, ValueError, r"argnums=\[1\]"),
])
def test_errors_name_the_argument(f, x0, options, error, message):
    with pytest.raises(error, match=message):
        fa.minimize(f, x0, **options)


def test_there_is_nothing_to_draw_without_a_history():
    for result in (fa.minimize_many(rosen, np.zeros((2, 2))), fa.optimize.result.Result({"x": 1.0})):
        with pytest.raises(ValueError, match="plot: there is no history"):
            result.plot()
