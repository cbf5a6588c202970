"""Many fits side by side: each as if it were alone, whatever the number of threads."""
import numpy as np
import pytest

import fastad as fa
from fastad.optimize import many

T = np.linspace(0.0, 1.0, 10)


def rosen(x):
    return 100.0 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2


def starts(rows):
    return np.random.default_rng(0).normal(size=(rows, 2)) * 2


@pytest.mark.parametrize(("method", "options"), [
    ("lbfgs", {}), ("gd", {"accept": "armijo"}), ("adam", {"lr": 0.05, "max_iter": 50}),
    ("momentum", {"lr": 1e-4, "max_iter": 60}),
    ("lbfgs", {"bounds": [(-0.5, 0.5), (None, None)]}), ("adam", {"lr": 0.1, "schedule": "cosine", "max_iter": 40}),
])
def test_each_fit_is_as_if_it_were_alone(method, options):
    c, X = fa.compile(rosen), starts(300)
    r = fa.minimize_many(c, X, method=method, **options)
    assert r.x.shape == (300, 2) and r.fun.shape == r.nit.shape == r.success.shape == (300,)
    for k in range(0, 300, 23):
        alone = fa.minimize(c, X[k], method=method, **options)
        np.testing.assert_allclose(r.x[k], alone.x, rtol=1e-10)
        assert (r.nit[k], r.nfev[k], r.status[k], r.success[k]) == (alone.nit, alone.nfev, alone.status, alone.success)
        np.testing.assert_allclose(r.jac[k], alone.jac, rtol=1e-6, atol=1e-9)
    assert len(set(r.nit)) > 1 or "max_iter" in options


@pytest.mark.parametrize("rows", [1, 7, 64, 1000])
def test_the_same_bits_for_any_number_of_threads(rows):
    def f(x):
        return rosen(x) + np.exp(-x[0]) if x[0] > 0 else rosen(x) + np.sin(x[1])

    one = fa.minimize_many(f, starts(rows), max_iter=200)
    for threads in (2, 3, 8):
        r = fa.minimize_many(f, starts(rows), max_iter=200, threads=threads)
        for name in ("x", "fun", "jac", "nit", "nfev", "status"):
            np.testing.assert_array_equal(r[name], one[name])


def test_data_by_row_and_shared():
    def misfit(p, y, t):
        return np.sum((p["height"] * np.exp(-p["rate"] * t) - y) ** 2)

    heights, rates = np.linspace(1, 3, 40), np.linspace(0.2, 2, 40)
    Y = heights * np.exp(-np.outer(T, rates))
    r = fa.minimize_many(misfit, {"height": np.ones(40), "rate": np.ones(40)}, (Y, T), in_axes=(1, None), tol=1e-9)
    assert r.success.all() and r.message == "40 of 40 fits converged"
    np.testing.assert_allclose(r.x["height"], heights, rtol=1e-5)
    np.testing.assert_allclose(r.x["rate"], rates, rtol=1e-5)


def test_up_and_fits_that_fail():
    r = fa.minimize_many(lambda x: -np.sum((x - 1.0) ** 2), starts(20), maximize=True)
    np.testing.assert_allclose(r.x, 1.0, atol=1e-5)
    np.testing.assert_allclose(r.fun, 0.0, atol=1e-9)
    r = fa.minimize_many(fa.log, np.array([1.0, -1.0, 2.0]), method="gd", lr=10.0)
    assert not r.success.any() and list(r.status) == [3, 3, 3] and r.message.startswith("0 of 3")
    np.testing.assert_array_equal(r.x, [1.0, -1.0, 2.0])


def test_functions_that_cannot_be_compiled_run_in_python():
    buffer = np.zeros(1)

    def f(x):
        buffer[0] = 1.0
        y = x * buffer
        buffer[0] = 2.0                               # no live input any more
        return np.sum((y + x * buffer - 3.0) ** 2)

    with pytest.warns(UserWarning, match="cannot be traced"):
        r = fa.minimize_many(f, np.zeros(3), threads=2)
    np.testing.assert_allclose(r.x, 1.0)


@pytest.mark.parametrize(("options", "message"), [
    ({"method": "newton-cg"}, "newton-cg"), ({"method": "scipy:BFGS"}, "scipy:BFGS"), ({"threads": 0}, "threads=0"),
    ({"X0": 3.0}, "X0"), ({"X0": {"a": np.ones(2), "b": np.ones(3)}}, "X0"), ({"args": (np.ones(3),)}, r"args\[0\]"),
    ({"args": 3}, "args=3"), ({"args": (1.0,), "in_axes": (0, 0)}, "in_axes"), ({"f": 3}, "f=3"),
])
def test_bad_arguments(options, message):
    given = {"f": lambda x, *args: np.sum(x ** 2), "X0": np.ones((4, 2))} | options
    with pytest.raises(ValueError, match=message):
        fa.minimize_many(given.pop("f"), given.pop("X0"), **given)


def test_fits_of_one_branch_go_together(monkeypatch):
    """Rows that begin on several branches are as many groups; only those that change branches are fits of their own."""
    @fa.compile
    def f(x, kind):
        if kind > 1.0:
            return np.sum((x - 1.0) ** 4 + x ** 2)
        if kind > 0.0:
            return np.sum((x + kind) ** 2)
        return np.sum((x - 0.5) ** 2) if x[0] > 0.0 else np.sum((x - 0.5) ** 2) + x[0] ** 2

    begin, kinds = np.random.default_rng(3).normal(size=(60, 3)), np.arange(60) % 3 - 0.5
    singles = []
    plain = many.descend
    monkeypatch.setattr(many, "descend", lambda *args: (singles.append(1), plain(*args))[1])
    result = fa.minimize_many(f, begin, (kinds,), threads=2)
    moving = int(((kinds < 0.0) & (begin[:, 0] <= 0.0)).sum())
    assert result.success.all()
    assert len(singles) <= moving < 20
    for k in range(60):
        one = fa.minimize(f, begin[k], (kinds[k],), method="lbfgs")
        np.testing.assert_array_equal(result.x[k], one.x)
        assert (result.nit[k], result.nfev[k]) == (one.nit, one.nfev)


# ---- while they run ----------------------------------------------------------------------------------------------
@pytest.fixture
def always_shown(monkeypatch):
    """The callback is asked whenever there is an occasion."""
    monkeypatch.setattr(many.Watch, "INTERVAL", 0.0)


def in_python(x):
    """Audited in each call, so no fit runs without Python."""
    return rosen(x)


FORMS = {"side by side": lambda: fa.compile(rosen), "one by one": lambda: fa.compile(in_python, audit=1)}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("threads", [1, 3])
def test_a_callback_sees_how_far_it_is(form, threads, always_shown):
    seen = []
    r = fa.minimize_many(FORMS[form](), starts(300), threads=threads, maximize=False, callback=seen.append)
    done = [state.done for state in seen]
    assert done == sorted(done) and done[-1] == 300 and {state.total for state in seen} == {300} and len(seen) > 1
    for state in seen:
        ended = ~np.isnan(state.fun)
        assert ended.sum() == state.done and not state.success[~ended].any()
        np.testing.assert_array_equal(state.fun[ended], r.fun[ended])
    assert seen[-1].success.all() and r.success.all() and r.message == "300 of 300 fits converged"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("answer", "status", "message"), [
    (True, 5, "stopped by the callback"), (np.True_, 5, "stopped by the callback"),
    (StopIteration, 5, "stopped by the callback"), (KeyboardInterrupt, 6, "interrupted")])
def test_what_stops_all_fits(form, answer, status, message, always_shown):
    def callback(state):
        if state.done:
            if isinstance(answer, type):
                raise answer
            return answer
        return None

    r = fa.minimize_many(FORMS[form](), starts(3000), callback=callback)
    ended, whole = r.status == 0, fa.minimize_many(rosen, starts(3000))
    assert 0 < ended.sum() < 3000 and set(r.status[~ended]) == {status} and message in r.message
    np.testing.assert_array_equal(r.success, ended)
    if form == "side by side":
        for name in ("x", "fun", "jac", "nit", "nfev"):
            np.testing.assert_array_equal(r[name][ended], whole[name][ended])
    waiting = r.nfev == 0
    assert waiting.any() and np.isnan(r.fun[waiting]).all() and np.isnan(r.jac[waiting]).all()
    np.testing.assert_array_equal(r.x[waiting], starts(3000)[waiting])


def test_fits_that_are_stopped_on_their_way_have_the_best_point_so_far(always_shown):
    """One group of fits whose program is long enough for Python to have its turn on the way."""
    W = np.random.default_rng(1).normal(size=(400, 40))

    def f(x):
        return np.sum(np.logaddexp(0.0, W @ x)) + np.sum(x ** 2)

    X, turns = np.ones((4, 40)), []
    r = fa.minimize_many(f, X, method="gd", lr=1e-5, max_iter=100_000, callback=lambda state: turns.append(1) or
                         len(turns) > 3)
    assert set(r.status) == {5} and (r.nfev > 0).all() and "0 of 4" in r.message
    for x, value, gradient, start in zip(r.x, r.fun, r.jac, X, strict=True):
        assert value == pytest.approx(f(x), rel=1e-12) and value < f(start)
        np.testing.assert_allclose(gradient, fa.grad(f)(x), rtol=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_time(form):
    r = fa.minimize_many(FORMS[form](), starts(500), max_time=0.0, bounds=[(0.0, 1.0), (None, None)])
    assert set(r.status) == {7} and "max_time=0 seconds" in r.message and np.isnan(r.fun).all()
    assert r.x[:, 0].min() >= 0.0 and r.x[:, 0].max() <= 1.0
    assert fa.minimize_many(FORMS[form](), starts(50), max_time=1e6).success.all()


def test_exceptions_of_a_callback_come_through(always_shown):
    with pytest.raises(ZeroDivisionError):
        fa.minimize_many(rosen, starts(5), callback=lambda state: 1 / 0, threads=2)


def test_a_bar(capsys):
    pytest.importorskip("tqdm")
    fa.minimize_many(rosen, starts(50), progress=True)
    text = capsys.readouterr().err
    assert "minimize_many" in text and "50/50" in text and "50 converged" in text


# ---- misuse ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("options", [
    {"lr": -1.0}, {"schedule": "wave"}, {"accept": "lower"}, {"accept": []}, {"bounds": [(0, 1)]}, {"clip_norm": 0.0},
    {"max_iter": -1}, {"tol": "x"}, {"ftol": -1}, {"xtol": np.nan}, {"max_time": -1.0}, {"callback": 3},
    {"method": "x"}, {"method": None},
    {"beta": 0.9}, {"memory": 0, "method": "lbfgs"}, {"lr": lambda k: -1.0},
    {"lr": lambda k: 1.0, "schedule": "cosine"}, {"bounds": [(1, 0), (0, 1)]}, {"args": 3},
])
def test_errors_name_the_function_that_was_called(options):
    for function, start in ((fa.minimize, np.ones(2)), (fa.minimize_many, np.ones((4, 2)))):
        with pytest.raises(ValueError, match=f"^{function.__name__}: "):
            function(rosen, start, **{"method": "gd"} | options)


@pytest.mark.parametrize("X0", [np.ma.masked_array([[1.0, 2.0]], [[True, False]]), {"a": np.ma.masked_array([1.0])}])
def test_masked_starts_are_refused(X0):
    with pytest.raises(TypeError, match="minimize_many: X0: masked"):
        fa.minimize_many(rosen, X0)
    with pytest.raises(TypeError, match=r"minimize_many: args\[0\]: masked"):
        fa.minimize_many(lambda x, y: np.sum((x - y) ** 2), np.ones(2), (np.ma.masked_array([1.0, 2.0]),))


def test_rows_as_lists():
    np.testing.assert_array_equal(fa.minimize_many(rosen, [[0, 1], [2.0, 3]]).x,
                                  fa.minimize_many(rosen, np.array([[0.0, 1.0], [2.0, 3.0]])).x)
    assert fa.minimize_many(lambda x: (x - 1.0) ** 2, [0, 1, 2]).x.shape == (3,)
    with pytest.raises(ValueError, match="X0 is a list of rows of different lengths"):
        fa.minimize_many(rosen, [[0.0, 1.0], [2.0]])


@pytest.mark.parametrize(("options", "error", "message"), [
    ({"X0": None}, ValueError, "X0 has no numbers"), ({"X0": {}}, ValueError, "X0 has no numbers"),
    ({"X0": fa.Variable(np.ones((2, 2)))}, TypeError, "X0: converting a Variable"),
    ({"args": (fa.Variable(np.ones(2)),)}, TypeError, r"args\[0\]: converting a Variable"),
    ({"args": (3.0,)}, ValueError, r"args\[0\] of shape \(\) has no axis 0 of rows"),
    ({"args": ("a",), "in_axes": None}, ValueError, r"args\[0\] of dtype <U1"),
    ({"args": (np.ones(2),), "in_axes": 5}, ValueError, r"args\[0\] of shape \(2,\) has no axis 5 of rows"),
    ({"args": (np.ones(2),), "in_axes": "a"}, ValueError, "in_axes has 'a'"),
    ({"args": (np.ones(2),), "in_axes": 0.0}, ValueError, r"in_axes has 0\.0"),
])
def test_errors_name_the_argument(options, error, message):
    given = {"X0": np.ones((2, 2))} | options
    with pytest.raises(error, match=f"^minimize_many: {message}"):
        fa.minimize_many(lambda x, *args: np.sum(x ** 2), given.pop("X0"), **given)
