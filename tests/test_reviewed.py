"""Cases that once went wrong: collections with every kind of record, views of leaves, exceptions in sweeps."""
import copy
import gc
import struct
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastad as fa


def collect():
    """Fill the tape with living variables until it has been compacted twice."""
    x, kept, tape = fa.Variable(1.5), [], fa.tape()
    before = tape.n_collections
    while tape.n_collections < before + 2:
        kept.extend([x * 1.5 for _ in range(1000)])


KINDS = {
    "pack": lambda x: fa.array([x[0] * 1.0, 3.0, x[1] * 2.0]),
    "gather": lambda x: np.pad(x, 1) * np.arange(6.0),
    "spread": lambda x: np.max(np.stack([x, x])) * x,
    "matmul": lambda x: np.ones((3, 4)) @ x,
    "call": lambda x: np.prod(x.reshape(2, 2), axis=0),
    "concatenate": lambda x: np.concatenate([x, x * 2.0, [1.0]])[1:7],
    "where": lambda x: np.where([True, False, True, False], x, x * x),
    "sum": lambda x: np.sum(x.reshape(2, 2) * 3.0, axis=1),
    "selected": lambda x: fa.array([fa.maximum(x[0], x[1]), fa.minimum(x[2], 0.1), fa.relu(x[3])]),
    "view": lambda x: (x * 2.0)[::-2],
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_record_survives_collections(kind):
    a = np.array([0.5, -1.5, 2.0, 0.7])

    def gradient(between):
        x = fa.Variable(a)
        y = KINDS[kind](x * 1.0)
        between()
        np.sum(y * np.arange(1.0, y.size + 1.0)).backward()
        return x.grad, y.value

    with ThreadPoolExecutor(1) as fresh:              # on a small tape of its own
        g, v = fresh.submit(gradient, collect).result()
    want, value = gradient(lambda: None)
    np.testing.assert_array_equal(g, want)
    np.testing.assert_array_equal(v, value)


def test_a_nan_that_looks_like_a_box():
    bad = struct.unpack("<d", struct.pack("<Q", 0xFFFC7FFFFFFFFFFF))[0]
    x = fa.Variable(2.0)
    y = fa.maximum(x * 1.0, bad)
    z = fa.maximum(fa.Variable(bad) * 1.0, x)
    collect()
    (y + z).backward()
    assert np.isnan(y.value) and x.grad == 0.0


def test_writing_through_a_view_with_negative_strides():
    x = fa.Variable(np.arange(1000.0))
    y = x * 1.0
    y[::-1] = x * 2.0
    np.sum(y * np.arange(1000.0)).backward()
    np.testing.assert_array_equal(x.grad, 2.0 * np.arange(1000.0)[::-1])


def test_a_variable_without_init():
    x = fa.Variable.__new__(fa.Variable)
    misuses = [lambda: x.value, lambda: x * 2.0, lambda: x.backward(), lambda: x.register_hook(print),
               lambda: x.detach(), lambda: x.__setitem__(0, 1.0), lambda: repr(x), lambda: copy.copy(x),
               lambda: np.sin(x), lambda: x @ x]
    for misuse in misuses:
        with pytest.raises((RuntimeError, TypeError, ValueError)):
            misuse()
    assert x.grad is None and (x < 1.0) is np.False_
    y = fa.Variable(1.0)
    with pytest.raises(RuntimeError, match="already"):
        y.__init__(np.ones(3))


def test_a_rule_that_owns_many_variables():
    class Holder(fa.Gate):
        def __init__(self, owned):
            self.owned = owned

        def forward(self, x):
            return x * 2.0

        def backward(self, g):
            return [g * 2.0]

    x = fa.Variable(1.0)
    for _ in range(3):
        y = Holder([x * 1.0 for _ in range(2000)])(x * 1.0)
        assert y.value == 2.0
        del y
    (x * 3.0).backward()
    assert x.grad == 3.0


def test_views_of_leaves_cannot_be_written_to():
    x = fa.Variable([1.0, 2.0, 3.0])
    for write in (lambda: x[1:].__setitem__(0, 10.0), lambda: x[1:].__iadd__(1.0),
                  lambda: x.reshape(-1).__setitem__([0], 1.0)):
        with pytest.raises(RuntimeError, match="leaf"):
            write()
    np.sum(x * x).backward()
    np.testing.assert_array_equal(x.grad, [2.0, 4.0, 6.0])


def test_views_under_no_grad():
    y = fa.Variable(np.arange(6.0).reshape(2, 3)) * 1.0
    z = (fa.Variable(np.arange(10.0)) * 1.0)[::2]
    with fa.no_grad():
        np.testing.assert_array_equal(y.T[0].value, [0.0, 3.0])
        np.testing.assert_array_equal(z[1:].value, [2.0, 4.0, 6.0, 8.0])
        assert float(z[4]) == 8.0


def test_stacks_of_matrices_with_an_axis_of_one():
    a, w = np.random.default_rng(0).normal(size=(5, 2, 3)), np.ones((3, 4))
    x = fa.Variable(a) * 1.0
    np.testing.assert_array_equal((x[:, None] @ w).value, a[:, None] @ w)
    np.testing.assert_array_equal((x[None] @ w).value, a[None] @ w)
    np.testing.assert_allclose((x[:1] @ (x.swapaxes(1, 2))).value, a[:1] @ a.swapaxes(1, 2), rtol=1e-14)


def test_an_index_list_write_from_the_same_elements():
    x = fa.Variable([1.0, 2.0, 3.0])
    y = x * 2.0
    y[np.array([1])] = y[1:2]
    np.sum(y).backward()
    np.testing.assert_array_equal(x.grad, [2.0, 2.0, 2.0])


def test_gradients_after_an_exception_in_a_sweep():
    x = fa.Variable(3.0)
    y = x * 2.0
    z = y * y
    fail = [True]

    def hook(g):
        if fail:
            fail.clear()
            raise KeyError
        with pytest.raises(RuntimeError, match="swept"):
            z.backward()

    y.register_hook(hook)
    with pytest.raises(KeyError):
        z.backward()
    assert x.grad is None and y.grad is None and z.grad is None
    z.backward()
    assert (x.grad, y.grad, z.grad) == (24.0, 12.0, 1.0)


def test_a_view_made_later_has_no_gradient_of_earlier_graphs():
    x = fa.Variable([1.0, 2.0, 3.0])
    np.sum(x * x).backward()
    v = x[1:]
    assert v.grad is None
    fa.grad(lambda t: t * np.sum(x))(1.0)
    assert v.grad is None
    np.sum(v * 3.0).backward()
    np.testing.assert_array_equal(v.grad, [3.0, 3.0])


def test_writing_to_something_captured_inside_of_a_transform():
    x = fa.Variable([1.0, 2.0])
    y = x * 1.0
    np.sum(y).backward(retain_graph=True)

    def f(s):
        y[0] = s
        return s * 2.0

    assert fa.grad(f)(1.0) == 2.0
    np.testing.assert_array_equal(y.grad, [1.0, 1.0])


def test_vjp_of_an_object_array():
    value, pull = fa.vjp(lambda x: np.array([x[0] * 2, x[1] * 3]), np.ones(2))
    np.testing.assert_array_equal(value, [2.0, 3.0])
    np.testing.assert_array_equal(pull(np.ones(2))[0], [2.0, 3.0])


def test_a_transform_that_returns_a_variable_of_another_thread():
    w, out = fa.Variable(5.0) * 2.0, []
    t = threading.Thread(target=lambda: out.append(fa.grad(lambda x: w * 1.0)(3.0)))
    t.start()
    t.join()
    assert out == [0.0]


def test_hooks_of_partly_needed_blocks_survive_collections():
    a, b, seen = fa.Variable(np.ones(2)), fa.Variable(np.ones(2)), []
    v = np.concatenate([a, b])[:1]
    handle = v.register_hook(lambda g: seen.append(g.tolist()))
    collect()
    y = v * 3.0
    y.backward([1.0], retain_graph=True)
    assert seen == [[3.0]]
    collect()
    handle.remove()
    y.backward([1.0])
    assert seen == [[3.0]]
    np.testing.assert_array_equal(a.grad, [6.0, 0.0])


def test_a_hook_that_scales_leaves_nothing_nothing():
    x = fa.Variable([0.0, 1.0])
    with np.errstate(all="ignore"):
        h = np.sqrt(x)
        h.register_hook(lambda g: g * 1.0)
        np.sum(np.where(x > 0, h, 0.0)).backward()
    np.testing.assert_array_equal(x.grad, [0.0, 0.5])


def test_hooks_may_change_the_gradient_in_place():
    x = fa.Variable([1.0, 1.0])
    y = x * 1.0
    for z in (x, y):
        z.register_hook(lambda g: g.__imul__(2.0) is None)
    with pytest.raises(ValueError, match="shape"):
        np.sum(y).backward(retain_graph=True)


def test_no_grad_in_a_hook():
    x = fa.Variable(2.0)
    y = x * 3.0
    seen = []

    def hook(g):
        with fa.no_grad():
            seen.append(float(y * 2.0))
        with pytest.raises(RuntimeError, match="hook"):
            y * 2.0

    y.register_hook(hook)
    y.backward()
    assert seen == [12.0]


def test_small_things():
    y = fa.Variable([1.0, 2.0]) * 1.0
    with pytest.raises(IndexError):
        y[10 ** 30]
    x = fa.Variable(np.ones(2, np.float32))
    np.sum(x).backward()
    assert copy.deepcopy(x).grad.dtype == np.float32


def test_a_number_taken_from_an_array_stays_what_it_was():
    x = fa.Variable([1.0, 2.0, 3.0])
    y = x * 1.0
    y[0], y[1] = y[1], y[0]
    np.testing.assert_array_equal(y.value, [2.0, 1.0, 3.0])
    first = y[2]
    y[[0, 2]] = 7.0
    assert first.value == 3.0
    y *= 2.0
    np.sum(y * np.array([1.0, 10.0, 100.0]) + first * first).backward()
    np.testing.assert_array_equal(x.grad, [20.0, 0.0, 18.0])


def test_gauss_seidel_in_place():
    def sweep(u):
        for i in range(1, len(u) - 1):
            previous = u[i]
            u[i] = 0.5 * (u[i - 1] + u[i + 1])
            u[i + 1] = u[i + 1] + 0.1 * previous
        return u

    def f(x):
        return np.sum(sweep(x * 1.0) ** 2)

    a = np.array([0.3, -1.0, 2.0, 0.5, 1.5])
    value, g = fa.value_and_grad(f)(a)
    np.testing.assert_allclose(value, f(a), rtol=1e-14)
    h = 1e-6
    np.testing.assert_allclose(g, [(f(a + h * e) - f(a - h * e)) / (2 * h) for e in np.eye(5)], rtol=1e-6)


def test_empty_products_in_collections():
    x = fa.Variable(np.zeros((2, 0)))
    w = fa.Variable(np.zeros((0, 3)))
    y = x @ w
    collect()
    np.sum(y).backward()
    assert x.grad.shape == (2, 0) and w.grad.shape == (0, 3) and not y.value.any()


def test_nothing_passes_cumulative_functions_and_products():
    for f in (lambda h: np.cumsum(h[::-1])[0], lambda h: np.prod(np.stack([h, h]), axis=0)[2],
              lambda h: np.cumprod(h[::-1])[0], lambda h: np.cumsum(h)[0] * 0.0 + np.cumsum(h[1:])[1]):
        x = fa.Variable([0.0, 1.0, 4.0])
        with np.errstate(all="ignore"):
            f(np.sqrt(x[::-1])[::-1]).backward()
        assert np.isfinite(x.grad[1:]).all()
    x = fa.Variable([0.0, 1.0, 4.0])
    with np.errstate(all="ignore"):
        np.cumprod(np.sqrt(x)[::-1])[1].backward()
    np.testing.assert_array_equal(x.grad, [0.0, 1.0, 0.25])


def test_a_leaf_does_not_keep_the_tapes_of_ended_threads():
    x = fa.Variable(np.ones(10))
    for _ in range(50):
        t = threading.Thread(target=lambda: np.sum(x * x).backward())
        t.start()
        t.join()
    np.testing.assert_array_equal(x.grad, np.full(10, 100.0))
    gc.collect()
    assert sum(type(o).__name__ == "Tape" for o in gc.get_objects()) < 20


def test_reshape_is_a_view_where_numpys_is():
    a = np.arange(12.0)
    y = fa.Variable(a) * 1.0
    b = a.copy()
    for u in (y, b):
        z = u[::2].reshape(-1)
        z[0] = 90.0
        u[::-1].reshape(3, 4)[0, 1] = 91.0
        u.reshape(3, 4).T.reshape(-1)[0] = 92.0
    np.testing.assert_array_equal(y.value, b)


def test_a_dying_leaf_whose_end_is_watched():
    keep = fa.Variable(2.0)
    y = keep * keep

    def last_words():
        for _ in range(3):
            y.backward(retain_graph=True)

    x = fa.Variable(np.ones(1000))
    z = np.sum(x * y)
    weakref.finalize(x, last_words)
    del x
    assert keep.grad == 12.0 and z.value == 4000.0


def test_masked_arrays_and_many_dimensions_are_named():
    with pytest.raises(TypeError, match="masked"):
        fa.Variable(np.ma.array([1.0, 2.0], mask=[0, 1]))
    x = fa.Variable(np.ones((1,) * 64))
    with pytest.raises((ValueError, IndexError), match="64"):
        (x * 1.0)[None]
