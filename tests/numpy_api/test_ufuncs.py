"""fastad.numpy_api.ufuncs: what goes beyond a plain call of a function of the table."""

import numpy as np
import pytest
import scipy.special as sp
from checking import T, X, Y, check, refused, v

import fastad as fa
from fastad import ops
from fastad.numpy_api.ufuncs import row_of

P = X + 0.5
REDUCED = [
    np.add,
    np.multiply,
    np.maximum,
    np.minimum,
    np.fmax,
    np.fmin,
    np.logaddexp,
    np.subtract,
    np.hypot,
    np.divide,
]


def test_every_ufunc_of_the_table_is_answered():
    for row in ops.OPS:
        if row.numpy and "." not in row.numpy:
            function = getattr(np, row.numpy)
            assert not isinstance(function, np.ufunc) or row_of(function)
        elif row.numpy and row.numpy.startswith("special."):
            function = getattr(sp, row.numpy[8:], None)
            assert function is None or row_of(function) == row.name


@pytest.mark.parametrize(
    "f",
    [np.degrees, np.radians, np.sinc, np.i0, sp.exp2, sp.expm1, sp.log1p, sp.cbrt, sp.psi, sp.expit, sp.erf],
    ids=lambda f: f.__name__,
)
def test_other_names_and_functions_that_are_no_ufuncs(f):
    check(f, P)


def test_ufuncs_beside_the_table():
    check(lambda x, y: np.divmod(x * 5, y + 4), X, Y, rtol=1e-5)
    check(lambda x: np.modf(x * 3), P)
    check(lambda x: np.frexp(x)[0], P * 3)
    check(lambda x: np.ldexp(x, 3), X)
    check(lambda x: np.conjugate(x) * np.conj(x), X)
    assert isinstance(np.logical_xor(fa.Variable(X) > 0.5, True), np.ndarray)
    check(lambda x: np._core.umath.clip(x, 0.4, 0.7), X)


def test_truth_values_are_plain():
    x = fa.Variable([1.0, np.nan, np.inf])
    for f in (np.isnan, np.isinf, np.isfinite, np.signbit, np.logical_not):
        out = f(x)
        assert type(out) is np.ndarray and out.dtype == bool
        np.testing.assert_array_equal(out, f(x.value))


@pytest.mark.parametrize("ufunc", REDUCED, ids=lambda f: f.__name__)
def test_reduce(ufunc):
    check(lambda x: ufunc.reduce(x), P)
    check(lambda x: ufunc.reduce(x, axis=1), P)
    check(lambda x: ufunc.reduce(x, axis=-1, keepdims=True), T + 5)


def test_reduce_over_several_axes():
    check(lambda x: np.add.reduce(x, axis=(0, 2)), T)
    check(lambda x: np.multiply.reduce(x, axis=None), X)
    x = fa.Variable(X)
    np.testing.assert_array_equal(np.logical_and.reduce(x > 0.5, axis=0), np.logical_and.reduce(X > 0.5, axis=0))
    np.testing.assert_array_equal(np.logical_or.reduce(x), np.logical_or.reduce(X))


@pytest.mark.parametrize(
    "ufunc", [np.add, np.multiply, np.maximum, np.minimum, np.subtract, np.logaddexp], ids=lambda f: f.__name__
)
def test_accumulate(ufunc):
    check(lambda x: ufunc.accumulate(x), P)
    check(lambda x: ufunc.accumulate(x, axis=1), P)


@pytest.mark.parametrize(
    "ufunc", [np.add, np.multiply, np.subtract, np.power, np.arctan2, np.maximum], ids=lambda f: f.__name__
)
def test_outer(ufunc):
    check(lambda x, y: ufunc.outer(x, y), P, np.abs(v) + 0.1)
    check(lambda x: ufunc.outer(x, 2.0), P)


def test_refusals():
    refused(lambda x: np.add(x, x, out=np.empty((3, 4))), "numpy.add", "out=")
    refused(lambda x: np.exp(x, where=X > 0.5), "numpy.exp", "where=", "np.where")
    refused(lambda x: np.exp(x, dtype=np.float32), "numpy.exp", "dtype=")
    refused(lambda x: np.bitwise_and(x, 1), "numpy.bitwise_and")
    refused(lambda x: np.gcd(x, 1), "numpy.gcd")
    refused(lambda x: sp.jv(1, x), "jv")
    refused(lambda x: np.add.at(x, [0], 1.0), "numpy.add.at")
    refused(lambda x: np.add.reduceat(x, [0]), "numpy.add.reduceat")
    refused(lambda x: np.arctan2.reduce(x, axis=None), "numpy.arctan2.reduce", error=ValueError)
    refused(lambda x: np.add.reduce(x, initial=1.0), "numpy.add.reduce", "initial")
    refused(lambda x: np.matmul(x, x.T, out=np.empty((3, 3))), "numpy.matmul", "out=")
    np.testing.assert_array_equal(np.exp(fa.Variable(X), dtype=np.float64).value, np.exp(X))

    def plain_array_in_place(x):
        a = np.zeros((3, 4))
        a += x

    refused(plain_array_in_place, "numpy.add", "a = a + x")


def test_a_freed_graph_is_an_error_everywhere():
    x = fa.Variable(X)
    y = x * 2.0
    np.sum(y).backward()
    for f in (
        np.exp,
        np.sum,
        np.max,
        np.transpose,
        lambda a: np.concatenate([a, x]),
        lambda a: np.dot(a, X.T),
        np.add.reduce,
        np.sort,
        lambda a: np.where(X > 0.5, a, x),
        lambda a: a.sum(),
        lambda a: np.einsum("ij,ij", a, x),
    ):
        with pytest.raises(fa.FreedGraphError):
            f(y)
    assert np.argmax(y) == np.argmax(X)  # reading stays possible
