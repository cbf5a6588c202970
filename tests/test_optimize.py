"""minimize: methods, ways to accept a step, stopping, results, misuse."""
import builtins
import itertools
import sys
from collections import namedtuple

import numpy as np
import pytest
from scipy.optimize import OptimizeResult

import fastad as fa
from fastad._descent import Descent
from fastad.optimize.methods import METHODS


def quad(x):
    return np.sum((x - np.array([1.0, -2.0])) ** 2 * np.array([1.0, 10.0]))


def rosen(x):
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


# ---- methods -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("method", "lr"), [("gd", 0.05), ("momentum", 0.02), ("nesterov", 0.02), ("adagrad", 1.0),
                                            ("adam", 0.1), ("lbfgs", None)])
def test_methods_reach_the_minimum(method, lr):
    r = fa.minimize(quad, np.zeros(2), method=method, lr=lr, max_iter=5000, tol=1e-6)
    assert r.success and r.status == 0, r.message
    np.testing.assert_allclose(r.x, [1.0, -2.0], atol=1e-5)
    assert np.linalg.norm(r.jac) <= 1e-6


def test_rmsprop_and_adamw_come_near():
    r = fa.minimize(quad, np.zeros(2), method="rmsprop", lr=0.01, max_iter=2000)
    np.testing.assert_allclose(r.x, [1.0, -2.0], atol=2e-2)
    r = fa.minimize(quad, np.zeros(2), method="adamw", lr=0.05, weight_decay=1e-5, max_iter=2000)
    np.testing.assert_allclose(r.x, [1.0, -2.0], atol=1e-2)


def test_lbfgs_on_hard_functions():
    r = fa.minimize(rosen, np.full(10, -1.0), method="lbfgs", max_iter=300, tol=1e-8)
    assert r.success and r.nfev < 150, r.message
    ones = np.full(10, 1.0)
    assert np.allclose(r.x, ones, atol=1e-7) or r.fun == pytest.approx(3.9865791, abs=1e-5)    # the local minimum
    c = np.logspace(0, 3, 30)
    r = fa.minimize(lambda x: np.sum(c * (x - 1.0) ** 2), np.zeros(30), method="lbfgs", max_iter=500, tol=1e-6)
    assert r.success
    np.testing.assert_allclose(r.x, np.ones(30), atol=1e-5)


def test_lbfgs_needs_no_more_evaluations_than_scipy():
    from scipy.optimize import minimize as scipy_minimize
    for x0 in (np.array([-1.2, 1.0]), np.zeros(6), np.linspace(-1, 2, 6)):
        ours = fa.minimize(rosen, x0, method="lbfgs", tol=1e-6)
        theirs = scipy_minimize(fa.value_and_grad(rosen), x0, jac=True, method="L-BFGS-B", options={"gtol": 1e-6})
        assert ours.success and ours.fun <= 1e-10
        assert ours.nfev <= 1.3 * theirs.nfev + 5


def test_a_large_offset_does_not_stop_the_search_early():
    for method, accept in (("lbfgs", None), ("gd", "armijo")):
        r = fa.minimize(lambda x: quad(x) + 1e6, np.zeros(2), method=method, accept=accept, tol=1e-8, max_iter=500)
        assert r.success, r.message
        np.testing.assert_allclose(r.x, [1.0, -2.0], atol=1e-4)


# ---- which steps are taken ---------------------------------------------------------------------------------
def test_decrease_never_lets_the_value_rise():
    for method in METHODS:
        r = fa.minimize(rosen, np.array([-1.2, 1.0]), method=method, lr=1e-4, accept="decrease", max_iter=200)
        assert np.all(np.diff(r.history["fun"]) <= 0), method
        assert r.fun < rosen(np.array([-1.2, 1.0]))


def test_a_fixed_step_that_is_too_long_stalls_and_backtracking_goes_on():
    r = fa.minimize(quad, np.array([5.0, 5.0]), lr=0.3, accept="decrease", max_iter=50)
    assert not r.success and r.status == 2 and "stalled" in r.message and "armijo" in r.message
    for lr in (None, 0.3):
        r = fa.minimize(quad, np.array([5.0, 5.0]), lr=lr, accept="armijo", max_iter=500, tol=1e-7)
        assert r.success and np.all(np.diff(r.history["fun"]) <= 0)
        np.testing.assert_allclose(r.x, [1.0, -2.0], atol=1e-6)


@pytest.mark.parametrize("accept", ["armijo", "wolfe"])
@pytest.mark.parametrize("method", ["momentum", "adam", "lbfgs", "gd"])
def test_searches_with_every_rule(method, accept):
    r = fa.minimize(rosen, np.array([-1.2, 1.0]), method=method, accept=accept, max_iter=3000, tol=1e-2)
    assert np.all(np.diff(r.history["fun"]) <= 0)
    assert r.success, (r.message, r.fun)


def test_the_wolfe_search_meets_its_conditions():
    functions = (lambda x: x ** 4 - x, lambda x: 1e-3 * x ** 2 - x, lambda x: -1 / (1 + (x - 3) ** 2),
                 lambda x: 1e6 * x ** 2)
    for f, start in itertools.product(functions, (-2.0, 0.5, 40.0)):
        descent = Descent(np.array([start]), "sgd", {"lr": 1.0}, accept="wolfe", max_iter=1)
        while descent.wants == "value":
            value, g = fa.value_and_grad(f)(descent.trial[0])
            descent.tell(value, [g])
        before, slope = fa.value_and_grad(f)(start)
        t = (descent.x[0] - start) / -slope
        assert descent.f <= before - 1e-4 * t * slope ** 2
        assert abs(descent.g[0] * slope) <= 0.9 * slope ** 2


def test_a_search_steps_back_from_where_the_function_ends():
    for method, accept in (("lbfgs", None), ("gd", "armijo")):
        r = fa.minimize(lambda x: x - np.log(x), 30.0, method=method, accept=accept, tol=1e-8, max_iter=300)
        assert r.success, r.message
        np.testing.assert_allclose(r.x, 1.0, atol=1e-6)


# ---- results -----------------------------------------------------------------------------------------------
def test_the_result():
    r = fa.minimize(quad, np.zeros(2), lr=0.05, max_iter=20, tol=0.0)
    assert isinstance(r, OptimizeResult)
    assert r.nit == 20 and r.nfev == 21 and not r.success and r.status == 1 and "max_iter=20" in r.message
    assert set(r.history) == {"fun", "grad_norm", "step", "time"}
    assert all(type(column) is np.ndarray and column.shape == (21,) for column in r.history.values())
    assert r.history["fun"][0] == quad(np.zeros(2)) and r.history["fun"][-1] == r.fun == quad(r.x)
    assert r.history["step"][0] == 0.0
    np.testing.assert_allclose(r.history["step"][1:], 0.05 * r.history["grad_norm"][:-1])
    assert np.all(np.diff(r.history["time"]) >= 0)
    np.testing.assert_allclose(r.jac, fa.grad(quad)(r.x))


def test_the_best_point_is_returned_not_the_last():
    r = fa.minimize(rosen, np.array([-1.2, 1.0]), method="momentum", lr=2e-4, max_iter=50)
    assert r.history["fun"][-1] > r.fun == rosen(r.x) <= min(r.history["fun"])


def test_no_iterations():
    r = fa.minimize(quad, np.zeros(2), max_iter=0)
    assert r.nit == 0 and len(r.history["fun"]) == 1 and not r.success
    r = fa.minimize(quad, np.array([1.0, -2.0]))
    assert r.nit == 0 and r.success


Pair = namedtuple("Pair", "u v")


def test_the_form_of_x0():
    x0 = {"a": np.ones((2, 2), np.float32), "b": [Pair(2, 3.0)], "c": None}
    r = fa.minimize(lambda p: np.sum(p["a"] ** 2) + p["b"][0].u ** 2 + p["b"][0].v ** 2, x0, lr=0.1, tol=1e-5)
    assert r.success and set(r.x) == {"a", "b", "c"}
    assert r.x["a"].shape == (2, 2) and r.x["a"].dtype == np.float32
    assert isinstance(r.x["b"][0], Pair) and isinstance(r.x["b"][0].u, float) and r.x["c"] is None
    assert set(r.jac) == {"a", "b", "c"}
    np.testing.assert_array_equal(x0["a"], 1.0)
    r = fa.minimize(lambda x: (x - 3.0) ** 2, 0, lr=0.25)
    assert isinstance(r.x, float) and r.x == pytest.approx(3.0)
    r = fa.minimize(lambda x: np.sum((x - 3.0) ** 2), [0, 1], lr=0.25)       # numbers alone are a vector
    assert isinstance(r.x, np.ndarray) and r.x == pytest.approx([3.0, 3.0])
    r = fa.minimize(lambda p: np.sum((p[0] - p[1]) ** 2) + (p[1] - 3.0) ** 2, [np.zeros(2), 1.0], lr=0.1)
    assert isinstance(r.x, list) and r.x[0] == pytest.approx([3.0, 3.0], rel=1e-5)


def test_args_and_maximize():
    r = fa.minimize(lambda x, a, b: -(x - a) ** 2 + b, 0.0, (3.0, 7.0), lr=0.1, maximize=True, tol=1e-8)
    assert r.success and r.fun == pytest.approx(7.0) and r.x == pytest.approx(3.0)
    assert r.history["fun"][0] == -2.0 and np.all(np.diff(r.history["fun"]) >= 0)


def test_functions_that_bring_their_own_gradient():
    def both(x):
        return quad(x), 2 * (x - np.array([1.0, -2.0])) * np.array([1.0, 10.0])

    assert fa.minimize(both, np.zeros(2), method="lbfgs", jac=True).success

    class Compiled:
        calls = 0

        def __call__(self, x):
            raise AssertionError

        def value_and_grad(self, x):
            self.calls += 1
            return both(x)

    f = Compiled()
    r = fa.minimize(f, np.zeros(2), method="lbfgs")
    assert r.success and f.calls == r.nfev


def test_the_driver_needs_no_tape():
    descent = Descent(np.ones(3), "sgd", {"lr": 0.25})
    while descent.wants == "value":
        x = descent.trial
        descent.tell(float(x @ x), 2 * x)
    assert descent.reason == 0 and descent.norm <= 1e-6


# ---- stopping ----------------------------------------------------------------------------------------------
def test_divergence_stops_early_and_keeps_the_best():
    r = fa.minimize(quad, np.array([5.0, 5.0]), lr=0.3, max_iter=2000)
    assert not r.success and r.status == 4 and "diverge" in r.message
    assert r.nit < 50 and r.fun == min(r.history["fun"])


@pytest.mark.parametrize(("f", "x0", "lr"), [
    (np.log, 1.0, 10.0), (lambda x: x * np.nan, 1.0, 0.1), (lambda x: -np.exp(x), 1.0, 10.0), (np.sqrt, 0.0, 0.1),
])
def test_values_and_gradients_that_are_not_finite(f, x0, lr):
    r = fa.minimize(f, x0, lr=lr, max_iter=100)
    assert not r.success and r.status == 3 and "finite" in r.message
    assert np.isfinite(r.fun) or np.isnan(f(x0))


def test_callback():
    seen = []

    def callback(state):
        seen.append((state.nit, float(state.fun), state.x.shape, state.grad_norm, state.step))
        return state.nit >= 4

    r = fa.minimize(quad, np.zeros(2), lr=0.05, callback=callback)
    assert [s[0] for s in seen] == [1, 2, 3, 4] and r.nit == 4 and r.status == 5 and "callback" in r.message
    assert [s[1] for s in seen] == r.history["fun"][1:].tolist() and seen[0][2] == (2,)
    assert [s[3] for s in seen] == r.history["grad_norm"][1:].tolist()

    def stop(state):
        raise StopIteration

    assert fa.minimize(quad, np.zeros(2), callback=stop).nit == 1
    assert fa.minimize(quad, np.zeros(2), lr=0.05, callback=lambda state: 1, max_iter=3).nit == 3      # only True stops


def test_ctrl_c_gives_the_best_so_far():
    def callback(state):
        if state.nit == 5:
            raise KeyboardInterrupt

    r = fa.minimize(quad, np.zeros(2), lr=0.05, callback=callback)
    assert not r.success and r.status == 6 and "interrupted" in r.message
    assert r.nit == 5 and len(r.history["fun"]) == 6 and r.fun == min(r.history["fun"])


def test_other_exceptions_come_through():
    with pytest.raises(ZeroDivisionError):
        fa.minimize(quad, np.zeros(2), callback=lambda state: 1 / 0, progress=False)
    with pytest.raises(TypeError, match="scalar"):
        fa.minimize(lambda x: x * 2.0, np.zeros(2))


def test_progress_bar(capsys):
    pytest.importorskip("tqdm")
    fa.minimize(quad, np.zeros(2), lr=0.05, max_iter=5, progress=True)
    text = capsys.readouterr().err
    assert "minimize" in text and "5/5" in text and "|grad|" in text


def test_progress_without_tqdm(capsys, monkeypatch):
    real = builtins.__import__

    def without_tqdm(name, *args, **kwargs):
        if name.startswith("tqdm"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    for name in [name for name in sys.modules if name.startswith("tqdm")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without_tqdm)
    fa.minimize(lambda x: -quad(x), np.zeros(2), lr=0.05, max_iter=50, progress=True, maximize=True)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "iteration 1 of 50, fun=-" in lines[0]


# ---- misuse ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("options", "message"), [
    ({"method": "adamm"}, "method='adamm'.*'adam'"), ({"method": None}, "method=None"),
    ({"lr": -1.0}, "lr=-1.0.*positive"), ({"lr": 0.0}, "lr=0.0"), ({"lr": np.nan}, "lr=nan"), ({"lr": "1"}, "lr='1'"),
    ({"max_iter": -1}, "max_iter=-1"), ({"max_iter": 1.5}, "max_iter=1.5"), ({"max_iter": True}, "max_iter=True"),
    ({"tol": -1e-3}, "tol=-0.001"), ({"tol": "x"}, "tol='x'"), ({"accept": "lower"}, "accept='lower'.*'decrease'"),
    ({"callback": 3}, "callback=3"), ({"args": 3.0}, "args=3.0"),
    ({"momentum": 0.9}, "'gd' has no option momentum=0.9"),
    ({"method": "adam", "beta1": 1.0}, "beta1=1.0.*below 1"),
    ({"method": "momentum", "beta": -0.1}, "beta=-0.1"),
    ({"method": "lbfgs", "memory": 0}, "memory=0"), ({"x0": "text"}, "x0"), ({"x0": [1j]}, "x0.*complex"),
    ({"f": 3.0}, "f=3.0"),
])
def test_bad_arguments(options, message):
    arguments = {"f": quad, "x0": np.zeros(2)} | options
    with pytest.raises(ValueError, match=f"minimize: .*{message}" if "x0" not in options else message):
        fa.minimize(arguments.pop("f"), arguments.pop("x0"), **arguments)
