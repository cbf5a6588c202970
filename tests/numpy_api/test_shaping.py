"""fastad.numpy_api.shaping and .moving."""

import numpy as np
import pytest
from checking import T, X, Y, check, refused, v
from hypothesis import given, settings
from hypothesis import strategies as st

import fastad as fa

VIEWS = {
    "transpose": np.transpose,
    "transpose axes": lambda x: np.transpose(x, (2, 0, 1)),
    "T": lambda x: x.T,
    "method transpose": lambda x: x.transpose(2, 0, 1),
    "method transpose tuple": lambda x: x.transpose((0, 2, 1)),
    "reshape": lambda x: np.reshape(x, (4, -1)),
    "reshape flat": lambda x: x.reshape(-1),
    "varargs": lambda x: x.reshape(6, 4),
    "F": lambda x: np.reshape(x, (6, 4), order="F"),
    "ravel": np.ravel,
    "ravel F": lambda x: np.ravel(x, "F"),
    "method ravel": lambda x: x.ravel(),
    "flatten": lambda x: x.flatten(),
    "flatten F": lambda x: x.flatten("F"),
    "swapaxes": lambda x: np.swapaxes(x, 0, 2),
    "method swapaxes": lambda x: x.swapaxes(0, -1),
    "moveaxis": lambda x: np.moveaxis(x, 0, -1),
    "moveaxis many": lambda x: np.moveaxis(x, [0, 1], [2, 0]),
    "rollaxis": lambda x: np.rollaxis(x, 2),
    "expand_dims": lambda x: np.expand_dims(x, (0, 2)),
    "squeeze": lambda x: np.squeeze(x[:, None, :1]),
    "squeeze axis": lambda x: np.squeeze(x[:, None], axis=1),
    "method squeeze": lambda x: x[None].squeeze(0),
    "broadcast_to": lambda x: np.broadcast_to(x, (3, 2, 3, 4)),
    "broadcast_arrays": lambda x: np.broadcast_arrays(x, x[:1], 2.0),
    "flip": np.flip,
    "flip axes": lambda x: np.flip(x, (0, 2)),
    "flipud": np.flipud,
    "fliplr": np.fliplr,
    "rot90": np.rot90,
    "rot90 k": lambda x: np.rot90(x, 3, (1, 2)),
    "diagonal": np.diagonal,
    "diagonal axes": lambda x: np.diagonal(x, 1, 1, 2),
    "method diagonal": lambda x: x.diagonal(-1, 2, 1),
    "split": lambda x: np.split(x, 2, axis=2),
    "split at": lambda x: np.split(x, [1, 2], axis=1),
    "array_split": lambda x: np.array_split(x, 3, axis=-1),
    "hsplit": lambda x: np.hsplit(x, 3),
    "vsplit": lambda x: np.vsplit(x, 2),
    "dsplit": lambda x: np.dsplit(x, 2),
    "atleast_1d": np.atleast_1d,
    "atleast_2d": lambda x: np.atleast_2d(x[0, 0]),
    "atleast_3d": lambda x: np.atleast_3d(x[0]),
    "atleast many": lambda x: np.atleast_2d(x[0, 0, 0], x[0, 0]),
    "matrix_transpose": np.matrix_transpose,
}

COPIES = {
    "repeat": lambda x: np.repeat(x, 2, axis=1),
    "repeat list": lambda x: np.repeat(x, [1, 0, 2], axis=0),
    "repeat flat": lambda x: np.repeat(x, 3),
    "method repeat": lambda x: x.repeat(2, 0),
    "tile": lambda x: np.tile(x, (2, 3)),
    "tile more": lambda x: np.tile(x, (2, 1, 2)),
    "roll": lambda x: np.roll(x, 5),
    "roll axis": lambda x: np.roll(x, 1, axis=1),
    "roll axes": lambda x: np.roll(x, (1, -1), axis=(0, 1)),
    "resize": lambda x: np.resize(x, (3, 7)),
    "delete": lambda x: np.delete(x, 1, axis=0),
    "tril": np.tril,
    "tril k": lambda x: np.tril(x, 1),
    "triu": np.triu,
    "triu k": lambda x: np.triu(x, k=-1),
    "diagflat": lambda x: np.diagflat(x, 1),
    "diag of a matrix": np.diag,
    "diag k": lambda x: np.diag(x, 1),
    "diag of a vector": lambda x: np.diag(x[0], -1),
    "pad": lambda x: np.pad(x, 1),
    "pad each": lambda x: np.pad(x, ((1, 0), (0, 2))),
    "pad with": lambda x: np.pad(x, 1, constant_values=3.0),
    "pad sides": lambda x: np.pad(x, ((1, 0), (0, 2)), constant_values=((1, 2), (3, 4))),
    "pad edge": lambda x: np.pad(x, 2, mode="edge"),
    "pad reflect": lambda x: np.pad(x, 2, "reflect"),
    "pad symmetric": lambda x: np.pad(x, 2, "symmetric"),
    "pad wrap": lambda x: np.pad(x, (1, 2), mode="wrap"),
    "copy": np.copy,
    "method copy": lambda x: x.copy(),
    "astype": lambda x: x.astype(float),
    "zeros_like": lambda x: np.zeros_like(x) + x,
    "full_like recorded": lambda x: np.full_like(x, x[0] * 2.0),
    "ones_like": lambda x: np.ones_like(x) * x,
    "full_like": lambda x: np.full_like(x, 2.5) * x,
    "like shape": lambda x: np.zeros_like(x, shape=(2, 2)) + x[0, 0],
}

JOINS = {
    "concatenate": lambda x, y: np.concatenate([x, y, np.ones((1, 4))]),
    "concatenate axis": lambda x, y: np.concatenate((x, y[:, :2]), axis=-1),
    "concatenate flat": lambda x, y: np.concatenate([x, y[0]], axis=None),
    "stack": lambda x, y: np.stack([x, y]),
    "stack last": lambda x, y: np.stack([x, y, Y], axis=-1),
    "stack middle": lambda x, y: np.stack((x, y), 1),
    "stack scalars": lambda x, y: np.stack([x[0, 0], 2.0, y[1, 1]]),
    "vstack": lambda x, y: np.vstack([x, y[0], [1, 2, 3, 4]]),
    "hstack": lambda x, y: np.hstack([x, y]),
    "hstack vectors": lambda x, y: np.hstack([x[0], y[1, 2], 3.0]),
    "dstack": lambda x, y: np.dstack([x, y]),
    "column_stack": lambda x, y: np.column_stack([x[:, 0], y]),
    "append": lambda x, y: np.append(x, y),
    "append axis": lambda x, y: np.append(x, y, axis=1),
    "block": lambda x, y: np.block([[x, y], [np.zeros((1, 4)), np.ones((1, 4))]]),
    "block flat": lambda x, y: np.block([x, y]),
    "block of scalars": lambda x, y: np.block([[x[0, 0], 0.0], [1.0, y[0, 0]]]),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views(name):
    check(VIEWS[name], T)


@pytest.mark.parametrize("name", COPIES)
def test_copies(name):
    check(COPIES[name], X)


@pytest.mark.parametrize("name", JOINS)
def test_joining(name):
    check(JOINS[name], X, Y)


@pytest.mark.parametrize("name", [n for n in VIEWS if "flatten" not in n and "F" not in n and "atleast" not in n])
def test_views_make_no_record(name):
    x = fa.Variable(T) * 1.0
    before = len(fa.tape())
    out = VIEWS[name](x)
    after = len(fa.tape())
    assert after == before and out is not None


def test_a_view_is_written_through():
    def f(x):
        y = x * 1.0
        np.reshape(y, (2, 6))[1, :] = 7.0
        np.swapaxes(np.flip(y[:, 1:]), 0, 1)[0] = x[0, :3] * 2.0
        y.T[0] = 0.0
        return y

    check(f, X)


def test_zeros_like_can_be_filled():
    def f(x):
        y = np.zeros_like(x)
        for i in range(x.shape[0]):
            y[i] = x[i] * float(i + 1)
        y[0, 0] += x[1, 1] * x[2, 2]
        return y

    check(f, X)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_rearranging_any_shape(data):
    shape = tuple(data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=4)))
    x = np.arange(float(np.prod(shape))).reshape(shape)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    order = data.draw(st.permutations(range(len(shape))))
    for f in (
        lambda a: np.transpose(a, order),
        lambda a: np.flip(a, axis),
        lambda a: np.roll(a, 2, axis),
        lambda a: np.expand_dims(a, axis),
        lambda a: np.repeat(a, 2, axis),
        lambda a: np.moveaxis(a, axis, 0),
        lambda a: np.transpose(a, order).reshape(-1),
        lambda a: np.concatenate([a, a], axis),
        lambda a: np.stack([a, a], axis),
        lambda a: np.array_split(a, 2, axis)[0],
        lambda a: np.tile(a, (2, 1)),
    ):
        value, pull = fa.vjp(f, x)
        want = f(x)
        np.testing.assert_array_equal(value, want)
        assert value.shape == want.shape
        seed = np.arange(1.0, want.size + 1).reshape(want.shape)
        # A linear map of positions: its transpose is checked by the inner product.
        assert np.sum(pull(seed)[0] * x) == pytest.approx(np.sum(seed * want))


def test_padding_and_triangles_carry_nothing():
    with np.errstate(all="ignore"):
        g = fa.grad(lambda x: np.sum(np.tril(np.sqrt(x))))(np.array([[4.0, 0.0], [1.0, 4.0]]))
    np.testing.assert_array_equal(g, [[0.25, 0.0], [0.5, 0.25]])


def test_other_dtypes():
    x = fa.Variable(X)
    assert np.zeros_like(x, dtype=bool).dtype == bool
    assert np.full_like(x, 3, dtype=int).dtype == int
    assert x.astype(int).dtype == int
    out = x.astype(object)
    assert out.dtype == object and isinstance(out[0, 0], fa.Variable)
    refused(lambda x: x.astype(np.float32), "float32")
    refused(lambda x: x.astype(complex), "complex")


def test_errors_name_function_and_shapes():
    refused(lambda x: np.reshape(x, (5, 2)), "reshape", "(3, 4)", "(5, 2)", error=ValueError)
    refused(lambda x: np.transpose(x, (0, 1, 2)), "transpose", "(3, 4)", error=ValueError)
    refused(lambda x: np.concatenate([x, np.ones((2, 3))]), "concatenate", "(3, 4)", "(2, 3)", error=ValueError)
    refused(lambda x: np.stack([x, x[0]]), "stack", "(3, 4)", "(4,)", error=ValueError)
    refused(lambda x: np.broadcast_to(x, (4, 4)), "broadcast_to", "(3, 4)", "(4,4)", error=ValueError)
    refused(lambda x: np.squeeze(x, 0), "squeeze", "(3, 4)", error=ValueError)
    refused(lambda x: np.split(x, 5, axis=1), "split", "(3, 4)", error=ValueError)
    refused(lambda x: np.swapaxes(x, 0, 2), "2", error=np.exceptions.AxisError)
    refused(lambda x: np.expand_dims(x, 7), "7", error=np.exceptions.AxisError)
    refused(lambda x: np.stack([x, x], axis=5), "5", error=np.exceptions.AxisError)
    refused(lambda x: np.concatenate([x[0, 0], x[0, 1]]), "concatenate", error=ValueError)
    refused(lambda x: np.pad(x, 1, mode="mean"), "numpy.pad", "mean")
    refused(lambda x: np.concatenate([x, x], out=np.empty((6, 4))), "numpy.concatenate", "out=")


def test_vectors_and_scalars():
    check(np.diag, v)
    check(lambda x: np.roll(x, 2), v)
    assert fa.grad(lambda x: np.sum(np.reshape(x, (1, 1))))(3.0) == 1.0
    assert fa.vjp(lambda x: np.ravel(x), 3.0)[0].shape == (1,)


@pytest.mark.parametrize(("function", "args", "match"), [
    (np.swapaxes, (0, 2), "axis2: axis 2 is out of bounds"), (np.swapaxes, (-3, 0), "axis1: axis -3 is out of bounds"),
    (np.transpose, ((0, 0),), "repeated axis"), (np.transpose, ((0,),), "axes don't match"),
    (np.transpose, ((0, 2),), "axis 2 is out of bounds"), (np.reshape, ((4, 2),), r"shape \(4, ?2\)"),
])
def test_axes_and_shapes_that_do_not_exist(function, args, match):
    with pytest.raises(ValueError, match=match):
        function(np.ones((2, 3)), *args)
    with pytest.raises(ValueError, match=match):
        function(fa.Variable(np.ones((2, 3))), *args)


def test_the_short_ways_are_views_as_numpys():
    a = np.arange(24.0).reshape(2, 3, 4)
    x = fa.Variable(a) * 1.0
    for function in (lambda z: z.mT, lambda z: z.swapaxes(0, -1), lambda z: z.transpose(2, 0, 1),
                     lambda z: np.transpose(z, (-1, 0, 1)), lambda z: np.transpose(z, [1, 0, 2]),
                     lambda z: z.reshape(4, 6), lambda z: z.reshape(2, -1), lambda z: z[1].reshape(12),
                     lambda z: z[:, 1:2].reshape(8), lambda z: z[0:0].reshape(3, 0), lambda z: z.reshape(1, 24)[0],
                     lambda z: z[0, 0, 0].reshape(1, 1)):
        records = len(fa.tape())
        y = function(x)
        np.testing.assert_array_equal(y.value, function(a))
        assert y.shape == function(a).shape
        assert len(fa.tape()) == records or not np.shares_memory(function(a), a)
    assert x.detach().mT.shape == (2, 4, 3)
