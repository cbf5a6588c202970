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
