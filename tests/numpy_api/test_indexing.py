"""fastad.numpy_api.indexing."""

import numpy as np
import pytest
from checking import T, X, Y, check, refused, v

import fastad as fa

MASK = X > 0.6
SELECTIONS = {
    "where": lambda x, y: np.where(MASK, x, y),
    "where scalar": lambda x, y: np.where(MASK, x, 0.0) + np.where(MASK[0], 1.0, y),
    "where broadcast": lambda x, y: np.where(MASK[:, :1], x[0], y),
    "where recorded condition": lambda x, y: np.where(x > y, x * x, y),
    "clip": lambda x, y: np.clip(x, 0.4, 0.7),
    "clip below": lambda x, y: np.clip(y, 0.1, None),
    "clip names": lambda x, y: np.clip(y, max=0.1),
    "clip recorded": lambda x, y: np.clip(y, -x, x),
    "method clip": lambda x, y: x.clip(0.4, 0.7) + x.clip(min=0.5),
    "take": lambda x, y: np.take(x, [2, 0, 0], axis=0),
    "take flat": lambda x, y: np.take(x, [[1, -1], [5, 1]]),
    "take wrap": lambda x, y: np.take(x, [5, -7], axis=1, mode="wrap"),
    "method take": lambda x, y: x.take([1], 1),
    "take_along_axis": lambda x, y: np.take_along_axis(x, np.argsort(Y, axis=1), axis=1),
    "compress": lambda x, y: np.compress([True, False, True], x, axis=0),
    "extract": lambda x, y: np.extract(MASK, x),
    "select": lambda x, y: np.select([X < 0.4, X < 0.7], [x, x * y], 0.5),
    "choose": lambda x, y: np.choose(MASK.astype(int), [x, y]),
    "bincount": lambda x, y: np.bincount([0, 2, 2, 1], weights=x[0]),
    "nan_to_num": lambda x, y: np.nan_to_num(x * y),
    "real": lambda x, y: np.real(x) * 2.0 + np.imag(y),
    "copyto": lambda x, y: filled(np.copyto, x, y),
    "fill_diagonal": lambda x, y: filled(np.fill_diagonal, x[:, :3], y[0, 0]),
    "put": lambda x, y: filled(np.put, x, [1, 5], y[0, :2]),
    "method fill": lambda x, y: filled(lambda a, b: a.fill(b), x, y[0, 0]),
}


def filled(write, x, *args):
    """A copy of x after a write in place."""
    a = x * 1.0
    write(a, *args)
    return a


@pytest.mark.parametrize("name", SELECTIONS)
def test_selections(name):
    if name in ("copyto", "fill_diagonal", "put", "method fill"):
        check(lambda x: SELECTIONS[name](x, x + 1.0), X)  # what is written into has to be a Variable
    else:
        check(SELECTIONS[name], X, Y)


def test_what_is_not_selected_gets_nothing():
    with np.errstate(all="ignore"):
        x = np.array([0.0, 4.0])
        np.testing.assert_array_equal(fa.grad(lambda x: np.sum(np.where(x > 0, np.sqrt(x), 0.0)))(x), [0.0, 0.25])
        np.testing.assert_array_equal(fa.grad(lambda x: np.sum(np.select([x > 0], [np.sqrt(x)], 0.0)))(x), [0.0, 0.25])
        np.testing.assert_array_equal(fa.grad(lambda x: np.clip(np.sqrt(x), 1.0, 3.0).sum())(x), [0.0, 0.25])
        x = np.array([np.nan, 1.0])
        np.testing.assert_array_equal(fa.grad(lambda x: np.sum(np.nan_to_num(x)))(x), [0.0, 1.0])


def test_a_bound_of_clip_shares():
    np.testing.assert_array_equal(
        fa.grad(lambda x: np.sum(np.clip(x, 0.0, 1.0)))(np.array([-1.0, 0.0, 0.5, 1.0, 2.0])), [0.0, 0.5, 1.0, 0.5, 0.0]
    )


PLAIN = {
    "argmax": lambda x: np.argmax(x, axis=1),
    "argmin": np.argmin,
    "argsort": lambda x: np.argsort(x, axis=0),
    "nonzero": np.nonzero,
    "where": lambda x: np.where(x),
    "any": lambda x: np.any(x > 0.5, axis=0),
    "all": np.all,
    "count_nonzero": np.count_nonzero,
    "searchsorted": lambda x: np.searchsorted(x[0], 0.5),
    "isclose": lambda x: np.isclose(x, 0.5),
    "allclose": lambda x: np.allclose(x, x),
    "array_equal": lambda x: np.array_equal(x, x),
    "shape": np.shape,
    "ndim": np.ndim,
    "size": np.size,
    "size axis": lambda x: np.size(x, 1),
    "isreal": np.isreal,
    "iscomplexobj": np.iscomplexobj,
    "digitize": lambda x: np.digitize(x, [0.4, 0.6]),
    "argwhere": lambda x: np.argwhere(x > 0.5),
    "flatnonzero": np.flatnonzero,
    "isposinf": np.isposinf,
    "isin": lambda x: np.isin(x, [0.5]),
    "result_type": lambda x: np.result_type(x, 1),
    "method argmax": lambda x: x.argmax(1),
    "method argmin": lambda x: x.argmin(axis=0),
    "method argsort": lambda x: x.argsort(),
    "method any": lambda x: x.any(),
    "method all": lambda x: x.all(axis=1),
    "method nonzero": lambda x: x.nonzero(),
    "argpartition": lambda x: np.argpartition(x, 1),
    "bincount": lambda x: np.bincount(np.array([1, 2])),
    "astype int": lambda x: x.astype(int),
}


@pytest.mark.parametrize("name", PLAIN)
def test_results_without_gradient_are_plain(name):
    got, want = PLAIN[name](fa.Variable(X)), PLAIN[name](X)
    assert type(got) is type(want)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    "f",
    [
        np.round,
        np.around,
        lambda x: np.round(x, 1),
        lambda x: x.round(1),
        np.floor,
        lambda x: np.zeros_like(np.floor(x)),
    ],
)
def test_rounded_numbers_are_constants(f):
    out = f(fa.Variable(Y))
    assert isinstance(out, fa.Variable) and not fa.variable.is_recorded(out)
    np.testing.assert_array_equal(np.asarray(out), f(Y))
    check(lambda x: x * np.asarray(f(x)), Y)


def test_refusals():
    refused(lambda x: np.take(x, 12), "12", error=IndexError)
    refused(lambda x: np.take(x, x[0]), "recorded", error=IndexError)
    refused(lambda x: np.where(X > 0.5, x, np.ones(3)), "where", "(3, 4)", "(3,)", error=ValueError)
    refused(lambda x: np.where(x, x), "numpy.where", error=ValueError)
    refused(lambda x: np.clip(x, 0, 1, out=np.empty((3, 4))), "numpy.clip", "out=")
    refused(lambda x: np.select([x > 0], [x, x]), "numpy.select", error=ValueError)
    refused(lambda x: np.copyto(np.zeros((3, 4)), x), "numpy.copyto")
    refused(lambda x: np.take(x, 1, out=np.empty(())), "numpy.take", "out=")
    refused(lambda x: np.argmax(x, out=np.empty((), int)), "numpy.argmax", "out=")


def test_constants_as_indices():
    x = fa.Variable(v)
    k = np.floor(fa.Variable(np.array([1.2, 3.9])))
    np.testing.assert_array_equal(np.take(x, k).value, v[[1, 3]])
    check(lambda x: np.take(x, np.floor(np.abs(x) / 9).astype(int)), v)
    assert T is not None
