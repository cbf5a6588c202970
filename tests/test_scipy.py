"""fa.scipy: derivatives supplied, structured parameters; plain scipy.optimize with fastad's derivatives."""
import subprocess
import sys
from collections import Counter, namedtuple
from itertools import pairwise

import numpy as np
import pytest
from scipy import optimize
from scipy.optimize import BFGS, Bounds, LinearConstraint, NonlinearConstraint, OptimizeResult
from scipy.sparse import issparse

import fastad as fa

Pair = namedtuple("Pair", "first second")
rng = np.random.default_rng(5)


def close(a, b, tol=1e-6):
    np.testing.assert_allclose(a, b, rtol=tol, atol=tol)


def rosen(x):
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def bowl(p):
    """Its minimum: a = [1, 2], b = 3."""
    return np.sum((p["a"] - np.array([1.0, 2.0])) ** 2) + (p["b"] - 3.0) ** 2 + (p["a"][0] - 1.0) ** 4


START = {"a": np.zeros(2), "b": 0.0}


def reached(x, tol=1e-4):
    close(x["a"], [1.0, 2.0], tol)
    close(x["b"], 3.0, tol)


# ---- SciPy as it is ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("wrap", [lambda f: f, fa.compile], ids=["eager", "compiled"])
def test_plain_scipy_takes_the_derivatives(wrap):
    f, x0 = wrap(rosen), np.array([-1.2, 1.0, 0.5])
    r = optimize.minimize(fa.value_and_grad(f), x0, jac=True)
    close(r.x, np.ones(3), 1e-4)
    r = optimize.minimize(fa.value_and_grad(f), x0, jac=True, hess=fa.hessian(f), method="trust-exact")
    assert r.success
    close(r.x, np.ones(3))
    r = optimize.minimize(f, x0, jac=fa.grad(f), hessp=lambda x, p: fa.hvp(f, x, p), method="Newton-CG")
    close(r.x, np.ones(3), 1e-4)
    r = optimize.minimize(f, x0, jac=fa.grad(f), hess=fa.hessian(f), method="trust-constr", options={"gtol": 1e-8})
    close(r.x, np.ones(3), 1e-4)


@pytest.mark.parametrize("wrap", [lambda f: f, fa.compile], ids=["eager", "compiled"])
def test_plain_least_squares_and_root(wrap):
    def residuals(x):
        return np.stack([10.0 * (x[1] - x[0] ** 2), 1.0 - x[0]])

    f = wrap(residuals)
    for method in ("trf", "dogbox", "lm"):
        r = optimize.least_squares(f, np.array([-1.2, 1.0]), jac=fa.jacobian(f), method=method)
        close(r.x, np.ones(2))
    for method in ("hybr", "lm"):
        close(optimize.root(f, np.array([-1.2, 1.0]), jac=fa.jacobian(f), method=method).x, np.ones(2))
    close(optimize.root_scalar(lambda t: t ** 3 - 8.0, x0=1.0, fprime=fa.grad(lambda t: t ** 3 - 8.0)).root, 2.0)


def test_curve_fit_takes_a_jacobian():
    t = np.linspace(0.0, 3.0, 20)

    def model(t, a, k):
        return a * np.exp(-k * t)

    found, _ = optimize.curve_fit(model, t, model(t, 2.0, 0.7), p0=[1.0, 1.0],
                                  jac=lambda t, a, k: np.stack(fa.jacobian(model, argnums=(1, 2))(t, a, k), axis=-1))
    close(found, [2.0, 0.7])


# ---- minimize -------------------------------------------------------------------------------------------------------
METHODS = ["Nelder-Mead", "Powell", "CG", "BFGS", "Newton-CG", "L-BFGS-B", "TNC", "COBYLA", "COBYQA", "SLSQP",
           "trust-constr", "dogleg", "trust-ncg", "trust-krylov", "trust-exact", None]


@pytest.mark.filterwarnings("ignore:delta_grad")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["eager", "compile=True", "compiled"])
def test_every_method_on_structured_parameters(method, kind):
    f = fa.compile(bowl) if kind == "compiled" else bowl
    r = fa.scipy.minimize(f, START, method=method, tol=1e-8, compile=kind == "compile=True")
    assert isinstance(r, OptimizeResult) and list(r.x) == ["a", "b"] and r.x["a"].shape == (2,)
    assert isinstance(r.x["b"], np.float64)
    reached(r.x)
    if str(method).lower() not in ("nelder-mead", "powell", "cobyla", "cobyqa"):
        gradient = r.grad if method == "trust-constr" else r.jac
        assert set(gradient) == {"a", "b"} and gradient["a"].shape == (2,)
        assert max(np.abs(gradient["a"]).max(), abs(gradient["b"])) < 1e-3


def test_methods_get_what_they_use_and_nothing_else(monkeypatch):
    seen = {}

    def spy(fun, x0, method=None, **given):
        seen[method] = {k for k in ("jac", "hess", "hessp") if given.get(k) is not None}
        return OptimizeResult(x=x0)

    monkeypatch.setattr(optimize, "minimize", spy)
    for method in METHODS:
        fa.scipy.minimize(bowl, START, method=method)
    product, matrix = {"Newton-CG", "trust-ncg", "trust-krylov", "trust-constr"}, {"dogleg", "trust-exact"}
    nothing = {"Nelder-Mead", "Powell", "COBYLA", "COBYQA"}
    for method, given in seen.items():
        assert given == (set() if method in nothing else {"jac"} | ({"hessp"} if method in product else set())
                         | ({"hess"} if method in matrix else set()))


def test_second_derivatives_are_exact():
    for method in ("Newton-CG", "trust-ncg", "trust-krylov", "trust-exact"):
        r = fa.scipy.minimize(rosen, np.full(5, 1.3), method=method, tol=1e-8)
        assert r.success and r.nit < 40, r
        close(r.x, np.ones(5), 1e-4)
    r = fa.scipy.minimize(rosen, np.full(5, 1.3), method="trust-constr", options={"gtol": 1e-9})
    assert r.nit < 30
    close(r.x, np.ones(5))


@pytest.mark.parametrize("x0", [2.0, np.array(2.0), np.full((2, 2), 2.0), [2.0, np.ones(2)], (2.0, {"k": [1.0]}),
                                Pair(2.0, np.ones(3)), {"a": None, "b": 2}])
def test_forms_of_parameters(x0):
    def f(p):
        return sum([np.sum((leaf - 0.5) ** 2) for leaf in fa.tree.flatten(p)[0]])

    r = fa.scipy.minimize(f, x0)
    assert type(r.x) is (type(x0) if isinstance(x0, (list, tuple, dict)) else type(np.asarray(x0)[()]))
    for leaf, start in zip(fa.tree.flatten(r.x)[0], fa.tree.flatten(x0)[0], strict=True):
        assert np.shape(leaf) == np.shape(start)
        close(leaf, np.full(np.shape(start), 0.5))


def test_the_dtype_of_floating_parameters_comes_back():
    r = fa.scipy.minimize(lambda p: np.sum((p["a"] - 0.5) ** 2), {"a": np.ones(2, np.float32)})
    assert r.x["a"].dtype == np.float32 and r.jac["a"].dtype == np.float32
    r = fa.scipy.minimize(lambda x: np.sum((x - 0.5) ** 2), np.ones(2, np.float32))
    assert r.x.dtype == np.float32


def test_arguments_and_options_are_passed_on():
    def f(x, c, k):
        return c * np.sum((x - k) ** 2)

    for compile in (False, True):
        close(fa.scipy.minimize(f, np.zeros(2), (2.0, np.array([1.0, 3.0])), compile=compile).x, [1.0, 3.0])
    close(fa.scipy.minimize(fa.compile(f), np.zeros(2), (2.0, 5.0), method="trust-exact").x, [5.0, 5.0])
    r = fa.scipy.minimize(rosen, np.zeros(4), method="L-BFGS-B", options={"maxiter": 3})
    assert r.nit == 3 and not r.success


def test_bounds_in_the_form_of_the_parameters():
    low, high = np.array([-1.0, -2.0]), np.array([0.5, 5.0])
    for bounds in ({"a": (low, high), "b": (None, 2.5)}, {"b": (None, 2.5), "a": (-10.0, high)},
                   Bounds([-1.0, -2.0, -np.inf], [0.5, 5.0, 2.5])):
        r = fa.scipy.minimize(bowl, START, bounds=bounds)
        close(r.x["a"], [0.5, 2.0])
        close(r.x["b"], 2.5)
    r = fa.scipy.minimize(bowl, START, bounds={"a": None, "b": (4.0, None)})
    close(r.x["b"], 4.0)
    pairs = [(None, 0.5), (0.0, None)]
    close(fa.scipy.minimize(lambda x: np.sum((x - 1.0) ** 2), np.zeros(2), bounds=pairs).x, [0.5, 1.0])
    r = fa.scipy.minimize(lambda p: (p[0] - 1.0) ** 2 + (p[1] + 1.0) ** 2, [0.0, 0.0], bounds=pairs)
    close(r.x, [0.5, 0.0])
    close(fa.scipy.minimize(lambda t: (t - 2.0) ** 2, 0.0, bounds=(None, 1.5)).x, 1.5)


@pytest.mark.filterwarnings("ignore:delta_grad")
@pytest.mark.parametrize("method", ["SLSQP", "trust-constr", "COBYLA", "COBYQA"])
@pytest.mark.parametrize("compile", [False, True])
def test_constraints(method, compile):
    def circle(p):
        return p["a"][0] ** 2 + p["b"] ** 2

    def f(p):
        return -p["a"][0] - 2.0 * p["b"] + (p["a"][1] - 1.0) ** 2

    want = np.array([1.0, 2.0]) / np.sqrt(5.0)
    start = {"a": np.full(2, 0.5), "b": 0.5}
    inside = NonlinearConstraint(circle, -np.inf, 1.0)
    r = fa.scipy.minimize(f, start, method=method, constraints=inside, compile=compile)
    close([r.x["a"][0], r.x["b"]], want, 1e-3)
    r = fa.scipy.minimize(f, start, method=method, compile=compile, constraints=[
        {"type": "ineq", "fun": lambda p, radius: radius - circle(p), "args": (1.0,)},
        LinearConstraint([[0.0, 1.0, 0.0]], -np.inf, 0.25)])
    close([r.x["a"][0], r.x["a"][1], r.x["b"]], [want[0], 0.25, want[1]], 1e-3)


def test_derivatives_of_constraints_are_fastads():
    from fastad.optimize.form import Form
    from fastad.optimize.wiring import wired_constraints

    def c(p):
        return {"x": p["a"] ** 3, "y": p["a"][0] * p["b"]}

    form, x = Form(START), np.array([1.0, 2.0, 3.0])
    made, = wired_constraints(NonlinearConstraint(c, 0.0, 1.0), form, "trust-constr")
    close(made.fun(x), [1.0, 8.0, 3.0])
    close(made.jac(x), [[3.0, 0.0, 0.0], [0.0, 12.0, 0.0], [3.0, 0.0, 1.0]])
    H = made.hess(x, np.array([1.0, 2.0, 10.0]))
    close(H @ np.eye(3), [[6.0, 0.0, 10.0], [0.0, 24.0, 0.0], [10.0, 0.0, 0.0]])
    close(H @ np.eye(3)[0], [6.0, 0.0, 10.0])
    compiled, = wired_constraints(NonlinearConstraint(fa.compile(lambda p: p["a"] * p["b"]), 0.0, 1.0), form,
                                  "trust-constr")
    close(compiled.jac(x), [[3.0, 0.0, 1.0], [0.0, 3.0, 2.0]])
    close(compiled.hess(x, np.array([1.0, 5.0])) @ np.eye(3), [[0.0, 0.0, 1.0], [0.0, 0.0, 5.0], [1.0, 5.0, 0.0]])
    given, = wired_constraints(NonlinearConstraint(c, 0.0, 1.0, jac="3-point", hess="2-point"), form)
    assert given.jac == "3-point" and given.hess == "2-point"
    jac = {"a": np.zeros(2), "b": 7.0}
    own, = wired_constraints({"type": "eq", "fun": lambda p: p["b"], "jac": lambda p: jac}, form)
    close(own["jac"](x), [[0.0, 0.0, 7.0]])
    without, = wired_constraints({"type": "ineq", "fun": lambda p: p["b"]}, form, "COBYLA")
    assert "jac" not in without


def test_derivatives_of_the_callers_own():
    calls = Counter()

    def gradient(p):
        calls["jac"] += 1
        return {"b": 2.0 * (p["b"] - 3.0), "a": fa.grad(lambda a: bowl({"a": a, "b": 0.0}))(p["a"])}

    r = fa.scipy.minimize(bowl, START, jac=gradient)
    reached(r.x)
    assert calls["jac"] == r.njev
    reached(fa.scipy.minimize(lambda p: (bowl(p), gradient(p)), START, jac=True, method="trust-ncg").x)
    r = fa.scipy.minimize(bowl, START, jac="2-point", method="BFGS")
    assert r.nfev > 3 * r.nit
    reached(r.x)

    def product(p, v):
        calls["hessp"] += 1
        return fa.hvp(bowl, p, v)

    reached(fa.scipy.minimize(bowl, START, hessp=product, method="Newton-CG").x)
    assert calls["hessp"]
    r = fa.scipy.minimize(rosen, np.zeros(2), hess=lambda x: fa.hessian(rosen)(x), method="trust-exact")
    close(r.x, np.ones(2), 1e-4)
    reached(fa.scipy.minimize(bowl, START, hess=BFGS(), method="trust-constr", options={"gtol": 1e-6}).x, 1e-3)


@pytest.mark.parametrize("method", ["BFGS", "L-BFGS-B", "trust-constr", "SLSQP", "Nelder-Mead"])
def test_callbacks_see_the_parameters(method):
    seen = []
    fa.scipy.minimize(bowl, START, method=method, options={"maxiter": 5}, callback=lambda p, *state: seen.append(p))
    assert seen and all(set(p) == {"a", "b"} for p in seen)

    def stop(intermediate_result):
        if bowl(intermediate_result.x) < bowl(START):
            raise StopIteration

    r = fa.scipy.minimize(bowl, START, method=method, callback=stop)
    full = fa.scipy.minimize(bowl, START, method=method)
    assert bowl(r.x) < bowl(START) and r.nit < full.nit


def test_a_custom_method_gets_everything():
    def method(fun, x0, args, jac, hess, hessp, **rest):
        x = x0
        for _ in range(30):
            H = np.stack([hessp(x, p) for p in np.eye(x.size)])
            x = x - np.linalg.solve(H, jac(x))
        return OptimizeResult(x=x, fun=fun(x), success=True)

    reached(fa.scipy.minimize(bowl, START, method=method).x)


def test_compile_traces_once_and_falls_back():
    calls = Counter()

    def f(x):
        calls["f"] += 1
        return rosen(x)

    fa.scipy.minimize(f, np.zeros(3), compile=True)
    assert calls["f"] == 1
    c = fa.compile(rosen)
    fa.scipy.minimize(c, np.zeros(3))
    programs = len(c.programs)
    fa.scipy.minimize(c, np.full(3, 0.1))
    assert len(c.programs) == programs            # the second solve traced nothing

    held = fa.Variable(np.zeros(1))

    def untraceable(x):
        held.value = np.ones(1)
        return np.sum((x - 1.0) ** 2)

    with pytest.warns(UserWarning, match="cannot be traced"):
        close(fa.scipy.minimize(untraceable, np.zeros(2), compile=True).x, np.ones(2))


def test_branches_stay_right():
    def f(x):
        return (x[0] - 1.0) ** 2 if x[0] > 0 else 1.0 - 4.0 * x[0]

    for compile in (False, True):
        close(fa.scipy.minimize(f, np.array([-3.0]), compile=compile).x, [1.0], 1e-4)


def test_bad_arguments_of_minimize():
    with pytest.raises(ValueError, match=r"fa.scipy.minimize: x0 .* dtype <U"):
        fa.scipy.minimize(bowl, {"a": "x"})
    with pytest.raises(ValueError, match=r"fun=3, a function"):
        fa.scipy.minimize(3, START)
    with pytest.raises(ValueError, match=r"args=2.0, a tuple"):
        fa.scipy.minimize(bowl, START, 2.0)
    with pytest.raises(ValueError, match=r"bounds has 3; .*pair \(low, high\)"):
        fa.scipy.minimize(bowl, START, bounds={"a": 3, "b": None})
    with pytest.raises(ValueError, match=r"bounds: a dict with the keys \['a', 'b'\]"):
        fa.scipy.minimize(bowl, START, bounds={"a": None})
    with pytest.raises(ValueError, match=r"bounds does not fit x0: .*shape"):
        fa.scipy.minimize(bowl, START, bounds={"a": (np.zeros(3), None), "b": None})
    with pytest.raises(ValueError, match=r"constraints has 5; LinearConstraint"):
        fa.scipy.minimize(bowl, START, constraints=[5])
    with pytest.raises(ValueError, match=r"callback=1, a function"):
        fa.scipy.minimize(bowl, START, callback=1)
    with pytest.raises(ValueError, match=r"argnums=\[1\]"):
        fa.scipy.minimize(fa.compile(bowl, argnums=1), START)
    with pytest.raises(ValueError, match=r"jac=7"):
        fa.scipy.minimize(bowl, START, jac=7)
    with pytest.raises(ValueError, match=r"Unknown solver"):
        fa.scipy.minimize(bowl, START, method="nonsense")
    with pytest.raises(TypeError, match=r"gradient needs a scalar"):
        fa.scipy.minimize(lambda p: p["a"], START)


# ---- least_squares and root -----------------------------------------------------------------------------------------
T = np.linspace(0.0, 4.0, 25)
DATA = 2.0 * np.exp(-0.7 * T) + 0.5


def misfit(p):
    return p["amplitudes"][0] * np.exp(-p["rate"] * T) + p["amplitudes"][1] - DATA


GUESS = {"amplitudes": np.ones(2), "rate": 1.0}


@pytest.mark.parametrize("kind", ["eager", "compile=True", "compiled"])
@pytest.mark.parametrize("method", ["trf", "dogbox", "lm"])
def test_least_squares_on_structured_parameters(method, kind):
    f = fa.compile(misfit) if kind == "compiled" else misfit
    r = fa.scipy.least_squares(f, GUESS, method=method, compile=kind == "compile=True", xtol=1e-12)
    close(r.x["amplitudes"], [2.0, 0.5])
    close(r.x["rate"], 0.7)
    assert r.jac["amplitudes"].shape == (25, 2) and r.jac["rate"].shape == (25,) and r.fun.shape == (25,)
    close(r.jac["amplitudes"][:, 0], np.exp(-0.7 * T))
    assert r.grad["amplitudes"].shape == (2,)
    plain = optimize.least_squares(lambda v: misfit({"amplitudes": v[:2], "rate": v[2]}), np.ones(3), method=method)
    assert r.nfev <= plain.nfev


def test_least_squares_options():
    r = fa.scipy.least_squares(misfit, GUESS, bounds=({"amplitudes": [-np.inf, 0.6], "rate": None}, np.inf))
    close(r.x["amplitudes"][1], 0.6)
    r = fa.scipy.least_squares(misfit, GUESS, bounds=(0.0, {"amplitudes": 1.5, "rate": 3.0}))
    assert r.x["amplitudes"].max() <= 1.5
    r = fa.scipy.least_squares(misfit, GUESS, loss="soft_l1", f_scale=0.1, tr_solver="lsmr",
                               x_scale={"amplitudes": np.ones(2), "rate": 0.5})
    close(r.x["rate"], 0.7)
    seen = []
    fa.scipy.least_squares(lambda p, c: {"a": c * (p - 1.0), "b": p}, 5.0, (3.0,), callback=seen.append)
    assert seen and all(np.ndim(p) == 0 for p in seen)
    r = fa.scipy.least_squares(misfit, GUESS, jac="2-point")
    close(r.x["rate"], 0.7, 1e-4)
    r = fa.scipy.least_squares(lambda x: np.outer(x, x) - np.eye(2), np.array([0.5, 0.1]))
    assert r.fun.shape == (4,) and r.jac.shape == (4, 2)
    with pytest.raises(ValueError, match="bounds=3"):
        fa.scipy.least_squares(misfit, GUESS, bounds=3)
    with pytest.raises(ValueError, match="x_scale"):
        fa.scipy.least_squares(misfit, GUESS, x_scale={"rate": 1.0})


@pytest.mark.parametrize("method", ["trf", "lm"])
def test_least_squares_records_each_point_once(method):
    """Residuals and Jacobian at one point come from one recording, and none is left afterwards."""
    seen = []

    def residuals(x):
        seen.append(x.value.tobytes())
        return np.exp(-x[0] * T) - x[1] * T

    size = len(fa.tape())
    fa.scipy.least_squares(residuals, np.array([1.0, 1.0]), method=method)
    assert len(seen) > 3 and all(x != y for x, y in pairwise(seen))
    assert len(fa.tape()) == size

    def failing(x):
        if len(seen) > 3:
            raise OverflowError
        return residuals(x)

    seen.clear()
    with pytest.raises(OverflowError):
        fa.scipy.least_squares(failing, np.array([1.0, 1.0]), method=method)
    assert len(fa.tape()) == size


@pytest.mark.parametrize("method", ["hybr", "lm", "broyden1", "df-sane", "krylov"])
@pytest.mark.parametrize("compile", [False, True])
def test_root_of_structured_parameters(method, compile):
    def f(p):
        x, y = p["x"], p["y"]
        return {"first": x[0] + 0.1 * x[1] ** 2 - 1.0, "rest": [x[1] - 0.5 * y, 2.0 * y - x[0]]}

    r = fa.scipy.root(f, {"x": np.ones(2), "y": 1.0}, method=method, compile=compile)
    assert r.success and set(r.x) == {"x", "y"}
    x, y = r.x["x"], r.x["y"]
    close([x[0] + 0.1 * x[1] ** 2, x[1] - 0.5 * y, 2.0 * y - x[0]], [1.0, 0.0, 0.0], 1e-4)


def test_root_uses_the_jacobian_and_passes_the_rest_on():
    x0 = np.full(4, 2.0)
    r = fa.scipy.root(lambda x, c: x ** 2 - c, x0, (np.arange(1.0, 5.0),), tol=1e-12)
    close(r.x, np.sqrt(np.arange(1.0, 5.0)))
    by_differences = fa.scipy.root(lambda x: x ** 2 - np.arange(1.0, 5.0), x0, jac=False, tol=1e-12)
    assert r.njev >= 1 and r.nfev < by_differences.nfev
    seen = []
    fa.scipy.root(lambda p: (p[0] - 1.0, p[1] + p[0]), (0.0, 0.0), method="krylov",
                  callback=lambda p, f: seen.append(p))
    assert seen and all(isinstance(p, tuple) for p in seen)
    assert not fa.scipy.root(lambda x: x ** 2 + 1.0, np.array([3.0]), options={"maxfev": 20}).success


def test_roots_take_no_sparse_jacobian():
    for method in ("hybr", "lm", "krylov", "broyden1"):
        with pytest.raises(ValueError, match=r"fa\.scipy\.root: sparse=True.*least_squares"):
            fa.scipy.root(lambda x: x ** 2 - 1.0, np.ones(3), method=method, sparse=True)
    fit = fa.scipy.least_squares(lambda x: x ** 2 - np.arange(1.0, 101.0), np.ones(100), sparse=True, gtol=1e-12)
    assert fit.cost < 1e-12 and fit.jac.nnz == 100                      # as the message says
    with pytest.raises(ValueError, match="Unknown solver"):
        fa.scipy.root(lambda x: x ** 2 - 1.0, np.ones(3), method="newton")


def test_derivatives_of_many_points_leave_nothing_on_the_tape():
    from fastad.optimize.form import Form
    from fastad.optimize.wiring import Wired

    f, sizes = Wired(rosen, Form(np.zeros(5))), []
    for k in range(30):
        f.value_and_grad(np.full(5, 0.1 * k))
        f.hvp(np.full(5, 0.1 * k), np.ones(5))
        f.hvp(np.full(5, 0.1 * k), np.arange(5.0))
        sizes.append(len(fa.tape()))
    assert max(sizes) < 5 * sizes[0]


def test_scipy_is_imported_when_asked_for():
    code = "import sys, fastad; assert 'scipy.optimize' not in sys.modules; fastad.scipy; assert fastad.scipy.root"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = fa.nonsense


# ---- sparse matrices ---------------------------------------------------------------------------------------------
def bumpy(x):
    """Residuals each of which two neighbours move."""
    return np.concatenate([10.0 * (x[1:] - x[:-1] ** 2), 1.0 - x])


@pytest.mark.parametrize("prepare", [lambda f: f, fa.compile], ids=["eager", "compiled"])
def test_least_squares_with_a_sparse_jacobian(prepare):
    start = np.linspace(0.5, 1.5, 60)
    result = fa.scipy.least_squares(prepare(bumpy), start, sparse=True)
    dense = fa.scipy.least_squares(bumpy, start)
    assert result.success
    np.testing.assert_allclose(result.x, dense.x, atol=1e-6)
    assert result.jac.nnz == 59 * 2 + 60
    np.testing.assert_allclose(result.jac.toarray(), fa.jacobian(bumpy)(result.x), rtol=1e-12)


def test_sparse_jacobians_of_containers():
    def f(p):
        return {"a": 10.0 * (p["x"][1:] - p["x"][:-1] ** 2), "b": [p["y"] - p["x"]]}

    result = fa.scipy.least_squares(f, {"x": np.full(30, 0.5), "y": 2.0}, sparse=True, method="dogbox")
    assert result.jac.shape == (59, 31)
    assert result.jac.nnz == 29 * 2 + 30 * 2
    assert set(result.grad) == set(result.x) == {"x", "y"}
    np.testing.assert_allclose(result.x["y"], result.x["x"].mean(), atol=1e-6)


def test_sparse_hessians_for_trust_constr():
    seen = []

    def f(x):
        return np.sum((x[1:] - x[:-1] ** 2) ** 2) + np.sum((x - 2.0) ** 2)

    circle = NonlinearConstraint(lambda x: x[1:] * x[:-1], 0.0, 3.0)
    start = np.full(40, 0.5)
    result = fa.scipy.minimize(f, start, method="trust-constr", constraints=circle, sparse=True,
                               callback=lambda x, state: seen.append(state.jac[0]) and False)
    dense = fa.scipy.minimize(f, start, method="trust-constr", constraints=circle)
    np.testing.assert_allclose(result.x, dense.x, atol=1e-4)
    assert all(issparse(J) and J.nnz == 78 for J in seen)


def test_sparse_misuse():
    x = np.ones(3)
    with pytest.raises(ValueError, match="sparse=True is for method='trust-constr'"):
        fa.scipy.minimize(lambda x: np.sum(x ** 2), x, method="BFGS", sparse=True)
    with pytest.raises(ValueError, match="fastad's own Jacobian"):
        fa.scipy.least_squares(lambda x: x, x, jac="3-point", sparse=True)


@pytest.mark.parametrize(("function", "options", "error", "message"), [
    (fa.scipy.minimize, {"options": 3}, ValueError, "fa.scipy.minimize: options=3"),
    (fa.scipy.minimize, {"hessp": 3, "method": "trust-ncg"}, ValueError, "fa.scipy.minimize: hessp=3"),
    (fa.scipy.minimize, {"jac": True}, TypeError, r"minimize: jac=True; .* \(value, gradient\), not float64"),
    (fa.scipy.minimize, {"jac": lambda x: np.ones(5)}, ValueError, r"minimize: the gradient has shape \(5,\)"),
    (fa.scipy.least_squares, {"jac": lambda x: np.ones(5)}, ValueError, r"a derivative has shape \(5,\)"),
    (fa.scipy.root, {"jac": "2-point"}, ValueError, "fa.scipy.root: jac='2-point'"),
    (fa.scipy.root, {"options": 3}, ValueError, "fa.scipy.root: options=3"),
    *[(f, {"x0": x0}, ValueError, f"fa.scipy.{f.__name__}: x0{what}")
      for f in (fa.scipy.minimize, fa.scipy.least_squares, fa.scipy.root)
      for x0, what in ((None, "=None"), (np.empty(0), " has no numbers"))],
])
def test_errors_name_the_argument(function, options, error, message):
    given = {"x0": np.zeros(2)} | options
    f = (lambda x: np.sum((x - 1.0) ** 2)) if function is fa.scipy.minimize else (lambda x: x - np.ones(2))
    with pytest.raises(error, match=message):
        function(f, given.pop("x0"), **given)
