"""fastad.special."""

import numpy as np
import pytest
import scipy.special as sp

import fastad as fa
from fastad import special

rng = np.random.default_rng(2)
X = rng.normal(size=(3, 4))


def numeric(f, x, h=1e-6):
    g = np.empty_like(x)
    for i in np.ndindex(x.shape):
        e = np.zeros_like(x)
        e[i] = h
        g[i] = (f(x + e) - f(x - e)) / (2 * h)
    return g


@pytest.mark.parametrize("name", ["logsumexp", "softmax", "log_softmax"])
@pytest.mark.parametrize("axis", [None, 0, -1, (0, 1)])
def test_composites(name, axis):
    ours, theirs = getattr(special, name), getattr(sp, name)
    w = rng.normal(size=np.shape(theirs(X, axis=axis)))
    value, pull = fa.vjp(lambda x: ours(x, axis=axis), X)
    np.testing.assert_allclose(value, theirs(X, axis=axis), rtol=1e-14, atol=1e-16)
    np.testing.assert_allclose(pull(w)[0], numeric(lambda x: np.sum(theirs(x, axis=axis) * w), X), rtol=1e-6, atol=1e-8)
    np.testing.assert_array_equal(ours(X, axis=axis), theirs(X, axis=axis))
    assert type(ours([1.0, 2.0])) is type(theirs([1.0, 2.0]))


def test_logsumexp_parameters():
    b = rng.uniform(0.1, 2.0, X.shape)
    value, pull = fa.vjp(lambda x, b: special.logsumexp(x, axis=1, b=b, keepdims=True), X, b)
    np.testing.assert_allclose(value, sp.logsumexp(X, axis=1, b=b, keepdims=True), rtol=1e-13)
    gx, gb = pull(np.ones((3, 1)))
    np.testing.assert_allclose(gx, numeric(lambda x: np.sum(sp.logsumexp(x, axis=1, b=b)), X), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(gb, numeric(lambda b: np.sum(sp.logsumexp(X, axis=1, b=b)), b), rtol=1e-6, atol=1e-8)
    with pytest.raises(TypeError, match="return_sign"):
        special.logsumexp(fa.Variable(X), return_sign=True)
    assert sp.logsumexp([1.0, 2.0], b=[1, -1], return_sign=True) == special.logsumexp(
        [1.0, 2.0], b=[1, -1], return_sign=True
    )


def test_large_numbers_and_digits():
    x = np.array([1000.0, 1001.0, 999.0])
    for axis in (None, 0):
        value, g = fa.value_and_grad(lambda x, axis=axis: special.logsumexp(x, axis=axis))(x)
        np.testing.assert_allclose(value, sp.logsumexp(x), rtol=1e-15)
        np.testing.assert_allclose(g, sp.softmax(x), rtol=1e-14)
    x = np.array([0.0, -40.0])  # 4e-18 is not lost beside 1
    np.testing.assert_allclose(fa.value_and_grad(special.logsumexp)(x)[0], np.log1p(np.exp(-40.0)), rtol=1e-14)
    np.testing.assert_allclose(fa.vjp(special.log_softmax, x)[0], [-np.exp(-40.0), -40.0], rtol=1e-14)


@pytest.mark.parametrize(
    ("x", "value", "gradient"),
    [
        ([-np.inf, 0.0, 0.0], np.log(2.0), [0.0, 0.5, 0.5]),
        ([-np.inf, -np.inf], -np.inf, [0.5, 0.5]),
        ([np.inf, 0.0], np.inf, [1.0, 0.0]),
        ([np.inf, np.inf, -np.inf], np.inf, [0.5, 0.5, 0.0]),
        ([3.0], 3.0, [1.0]),
    ],
)
def test_infinities(x, value, gradient):
    with np.errstate(all="ignore"):
        got, g = fa.value_and_grad(special.logsumexp)(np.array(x))
    assert got == value or np.isclose(got, value, rtol=1e-15)
    np.testing.assert_allclose(g, gradient, rtol=1e-15)


def test_nan_goes_through_and_minus_infinity_has_no_weight():
    with np.errstate(all="ignore"):
        assert np.isnan(fa.value_and_grad(special.logsumexp)(np.array([np.nan, 1.0]))[0])
        value, pull = fa.vjp(special.softmax, np.array([-np.inf, 0.0, 0.0]))
        np.testing.assert_allclose(value, [0.0, 0.5, 0.5])
        np.testing.assert_allclose(pull(np.array([1.0, 2.0, 3.0]))[0], [0.0, -0.25, 0.25])
        np.testing.assert_allclose(
            fa.vjp(special.log_softmax, np.array([-np.inf, 0.0, 0.0]))[0], [-np.inf, -np.log(2.0), -np.log(2.0)]
        )


def test_rows_have_scipys_names():
    for name in (
        "expit",
        "erf",
        "gammaln",
        "digamma",
        "psi",
        "xlogy",
        "log_ndtr",
        "polygamma",
        "i0",
        "j1",
        "entr",
        "betaln",
        "logit",
        "log_expit",
    ):
        assert callable(getattr(special, name)) and name in special.__all__
    np.testing.assert_allclose(fa.grad(lambda x: special.polygamma(0, x))(2.0), sp.polygamma(1, 2.0))
    np.testing.assert_allclose(fa.grad(special.psi)(2.0), sp.polygamma(1, 2.0))
    np.testing.assert_array_equal(special.erf(X), sp.erf(X))


@pytest.mark.parametrize("make", [
    lambda: sp.gammaln(fa.Variable(0.0)),
    lambda: fa.gammaln(fa.Variable(0.0) * 1.0),
    lambda: fa.gammaln(0.0),
    lambda: fa.gammaln(fa.Variable([0.0, 1.0])),
    lambda: fa.gammaln(fa.Variable(np.zeros((4, 4))).T),
    lambda: fa.gammaln(fa.Variable(np.zeros(60_000))),
    lambda: sp.betaln(fa.Variable([0.0, 1.0]), fa.Variable([[0.0], [2.0]])),
    lambda: sp.gammaln(fa.Variable([0.0]).detach()),
], ids=["ufunc", "number", "float", "array", "strided", "long", "broadcast", "constant"])
def test_scipys_errors_are_raised_where_scipy_is_told_to_raise(make):
    with sp.errstate(all="raise"), pytest.raises(sp.SpecialFunctionError):
        make()
    x = fa.Variable(3.0)
    (x * x).backward()
    assert x.grad == 6.0


def test_a_sweep_raises_scipys_error_and_leaves_the_tape_usable():
    x = fa.Variable([0.0, 1.0])
    y = sp.gammaln(x)
    with sp.errstate(all="raise"), pytest.raises(sp.SpecialFunctionError):
        y.backward(seed=np.ones(2))
    assert x.grad is None
    (x * 2.0).backward(seed=np.ones(2))
    np.testing.assert_array_equal(x.grad, [2.0, 2.0])
