"""fastad.numpy_api.reductions."""

import numpy as np
import pytest
from checking import T, X, Y, check, refused, v
from hypothesis import given, settings
from hypothesis import strategies as st

import fastad as fa

REDUCTIONS = {
    "sum": np.sum,
    "mean": np.mean,
    "prod": np.prod,
    "var": np.var,
    "std": np.std,
    "max": np.max,
    "min": np.min,
    "amax": np.amax,
    "amin": np.amin,
    "nanmax": np.nanmax,
    "nanmin": np.nanmin,
}


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2), (1,), ()])
@pytest.mark.parametrize("keepdims", [False, True])
def test_axes(name, axis, keepdims):
    if axis == () and name in ("var", "std"):
        pytest.skip("the variance of single numbers is 0 everywhere; central differences see only noise")
    check(lambda x: REDUCTIONS[name](x, axis=axis, keepdims=keepdims), T)


@pytest.mark.parametrize("name", [n for n in REDUCTIONS if n[0] != "a" and n[:3] != "nan"])
def test_methods(name):
    check(lambda x: getattr(x, name)(), X)
    check(lambda x: getattr(x, name)(axis=1, keepdims=True), X)
    check(lambda x: getattr(x, name)(0), X)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_shape_and_axes(data):
    shape = tuple(data.draw(st.lists(st.integers(1, 3), max_size=4)))
    axes = data.draw(st.lists(st.integers(0, max(len(shape) - 1, 0)), unique=True, max_size=len(shape)))
    axes = tuple(a - data.draw(st.sampled_from([0, len(shape)])) for a in axes)
    keepdims = data.draw(st.booleans())
    x = np.random.default_rng(len(shape)).normal(size=shape)
    seed = np.random.default_rng(1).normal(size=np.sum(x, axis=axes, keepdims=True).shape)
    for f in (np.sum, np.mean, np.max, np.prod):
        out = f(x, axis=axes, keepdims=keepdims)
        value, pull = fa.vjp(lambda a, f=f: f(a, axis=axes, keepdims=keepdims), x)
        rounding = np.finfo(float).eps * np.sum(np.abs(x)) if f in (np.sum, np.mean) else 0.0     # where terms cancel
        np.testing.assert_allclose(value, out, rtol=1e-13, atol=rounding)
        assert np.shape(value) == np.shape(out)
        (g,) = pull(seed.reshape(np.shape(out)))
        if f is np.sum:
            np.testing.assert_array_equal(g, np.broadcast_to(seed, shape))
        if f is np.prod:
            np.testing.assert_allclose(g, np.broadcast_to(seed * f(x, axis=axes, keepdims=True), shape) / x, rtol=1e-12)


def test_numpys_order_of_positional_arguments():
    check(lambda x: np.sum(x, 0, None, None, True), X)
    check(lambda x: np.var(x, 0, None, None, 1), X)
    check(lambda x: np.var(x, axis=0, ddof=1) + np.std(x, 1, ddof=2)[0], X)
    check(lambda x: np.max(x, 0, None, True), X)
    check(lambda x: np.sum(x, dtype=np.float64, out=None), X)


def test_ties_share_equally():
    x = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])
    np.testing.assert_allclose(fa.grad(lambda x: np.sum(np.max(x, axis=1)))(x), [[0, 0.5, 0.5], [1 / 3] * 3])
    np.testing.assert_allclose(fa.grad(lambda x: np.min(x))(x), [[1, 0, 0], [0, 0, 0]])
    np.testing.assert_allclose(fa.grad(lambda x: np.max(x[:, ::-1]))(x), [[0, 0.5, 0.5], [0, 0, 0]])


def test_nan_goes_through():
    x = np.array([1.0, np.nan, 3.0])
    for f in (np.max, np.min, np.sum, np.mean, np.var, np.std, np.prod):
        assert np.isnan(fa.value_and_grad(f)(x)[0])
    np.testing.assert_array_equal(fa.grad(np.max)(x), [0, 1, 0])
    value, g = fa.value_and_grad(np.nanmax)(x)
    assert value == 3.0
    np.testing.assert_array_equal(g, [0, 0, 1])


def test_what_is_not_selected_gets_nothing():
    with np.errstate(all="ignore"):
        g = fa.grad(lambda x: np.max(np.sqrt(x)))(np.array([0.0, 4.0]))
    np.testing.assert_array_equal(g, [0.0, 0.25])


def test_std_of_equal_elements_has_slope_0():
    np.testing.assert_array_equal(fa.grad(np.std)(np.ones(3)), np.zeros(3))


@pytest.mark.parametrize("zeros", [(), (1,), (1, 3), (0, 1, 2, 3, 4)])
def test_products_with_zeros_among_the_factors(zeros):
    x = v.copy()
    x[list(zeros)] = 0.0
    check(np.prod, x)
    check(np.cumprod, x)
    check(lambda x: np.prod(np.outer(x, x[:2]), axis=0), x)


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_cumulative(axis):
    for x in (X, T):
        check(lambda x: np.cumsum(x, axis=axis), x)
        check(lambda x: np.cumprod(x, axis=axis), x)
    check(lambda x: x.cumsum(axis) * x.cumprod(axis), X)


@pytest.mark.parametrize("axis", [0, 1, -1, None])
def test_sort(axis):
    check(lambda x: np.sort(x, axis=axis), Y)
    check(lambda x: np.partition(x, 1, axis=axis), Y)


def test_sort_in_place():
    def f(x):
        y = x * 2.0
        y.sort()
        return y

    check(f, X)


def test_sort_puts_nan_last_and_keeps_ties_in_order():
    value, pull = fa.vjp(np.sort, np.array([3.0, np.nan, 1.0, 1.0]))
    np.testing.assert_array_equal(value, [1, 1, 3, np.nan])
    np.testing.assert_array_equal(pull(np.array([1.0, 2.0, 3.0, 4.0]))[0], [3, 4, 1, 2])


def test_empty_arrays():
    x = np.empty((0, 3))
    for f, want in ((np.sum, 0.0), (np.prod, 1.0)):
        value, g = fa.value_and_grad(f)(x)
        assert value == want and g.shape == (0, 3)
    check(lambda x: np.sum(x, axis=0), x)
    check(lambda x: np.cumsum(x, axis=1), x)
    check(lambda x: np.sort(x, axis=0), x)
    refused(np.max, "maximum", error=ValueError, at=x)
    assert np.isnan(fa.vjp(np.mean, x)[0])


def test_scalars():
    for f in (np.sum, np.mean, np.prod, np.max, np.min):
        assert fa.value_and_grad(f)(2.0) == (2.0, 1.0)


def test_refusals():
    refused(lambda x: np.sum(x, out=np.empty(())), "numpy.sum", "out=")
    refused(lambda x: np.sum(x, where=X > 0.5), "numpy.sum", "np.where")
    refused(lambda x: np.max(x, initial=3.0), "numpy.max", "initial")
    refused(lambda x: np.mean(x, dtype=np.float32), "numpy.mean", "float64")
    refused(lambda x: np.sum(x, axis=2), "axis 2", error=np.exceptions.AxisError)
    refused(lambda x: np.cumsum(x, axis=-3), "-3", error=np.exceptions.AxisError)
    refused(lambda x: np.sum(x, axis=(0, 0)), "numpy.sum", "(3, 4)", error=ValueError)


def test_constants_stay_constants():
    c = np.floor(fa.Variable(X) * 10)
    for f in (np.sum, np.max, np.cumsum, np.sort, np.var):
        out = f(c)
        assert not fa.variable.is_recorded(out)
        np.testing.assert_array_equal(out.value, f(np.floor(X * 10)))
    with fa.no_grad():
        out = np.prod(fa.Variable(X))
    assert float(out) == np.prod(X)


@pytest.mark.parametrize("f", [np.prod, np.cumprod, np.max, np.sort, np.linalg.norm])
def test_a_leaf_that_changes_before_the_sweep(f):
    x = fa.Variable(v)
    y = np.sum(f(x))
    x.value[:] = 7.0
    y.backward()
    np.testing.assert_allclose(x.grad, fa.grad(lambda x: np.sum(f(x)))(v), rtol=1e-13)
