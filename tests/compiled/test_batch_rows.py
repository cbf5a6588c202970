"""Batches: what many rows give together is what each gives alone."""
import sys
import threading
import time
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
from comparing import delay_of_an_interrupt

import fastad as fa
from fastad.compiled import batch, sparsity

rng = np.random.default_rng(11)


def camera(q, seen):
    """Two residuals of a point, turned and projected."""
    p = np.stack([q[3] * np.cos(q[0]) - q[4] * np.sin(q[0]), q[3] * np.sin(q[0]) + q[4] * np.cos(q[0])])
    return p / (1.0 + q[1] ** 2 + q[5] ** 2) * q[2] - seen


def wide(x):
    return np.exp(np.outer(x, np.arange(1.0, 4.0))) * x[0]


def branching(x):
    return x[:2] * x[2] if x[0] > 0.0 else np.sin(x[1:]) * x[0]


def together(f, *rows, in_axes=0, **options):
    """The Jacobian of each row, one after the other."""
    axes = [in_axes] * len(rows) if not isinstance(in_axes, tuple) else in_axes
    n = next(len(x) for x, axis in zip(rows, axes, strict=True) if axis is not None)
    pairs = list(zip(rows, axes, strict=True))
    return np.stack([fa.jacobian(f, **options)(*[x if axis is None else x[k] for x, axis in pairs]) for k in range(n)])


@pytest.mark.parametrize("most", [0, 1 << 13], ids=["directions in turn", "one program"])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("f", [wide, branching, lambda x: np.sum(x ** 3), lambda x: x[0] * x[2],
                               lambda x: np.stack([x, np.cos(x)]), lambda x: x.reshape(1, 3)[:, ::-1] * x[0]])
def test_jacobian(monkeypatch, f, threads, most):
    monkeypatch.setattr(sparsity, "MOST_RECORDS", most)
    x = rng.normal(size=(101, 3))
    have = fa.compile(f).batch.jacobian(x, threads=threads)
    want = together(f, x)
    assert have.shape == want.shape
    np.testing.assert_allclose(have, want, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("most", [0, 1 << 13])
def test_jacobian_of_several_arguments(monkeypatch, most):
    monkeypatch.setattr(sparsity, "MOST_RECORDS", most)
    q, seen = rng.normal(size=(50, 6)), rng.normal(size=(50, 2))
    have = fa.compile(camera).batch.jacobian(q, seen, threads=1)
    np.testing.assert_allclose(have, together(camera, q, seen), rtol=1e-12)
    by_q, by_seen = fa.compile(camera, argnums=(0, 1)).batch.jacobian(q, seen[0], in_axes=(0, None))
    np.testing.assert_allclose(by_q, together(camera, q, seen[0], in_axes=(0, None)), rtol=1e-12)
    np.testing.assert_array_equal(by_seen, np.broadcast_to(-np.eye(2), (50, 2, 2)))
    swapped = fa.compile(camera, argnums=(1, 0)).batch.jacobian(q, seen)
    np.testing.assert_allclose(swapped[1], together(camera, q, seen), rtol=1e-12)
    assert swapped[0].shape == (50, 2, 2)


def test_jacobian_of_a_number_along_other_axes():
    f = fa.compile(lambda x, a: np.stack([np.sin(x), a[0] * x, a[1] * x]))
    x, a = np.linspace(0.0, 1.0, 9), rng.normal(size=(2, 9))
    want = np.stack([np.cos(x), a[0], a[1]], axis=1)
    np.testing.assert_allclose(f.batch.jacobian(x, a, in_axes=(0, 1)), want, rtol=1e-14)


@pytest.mark.parametrize("most", [0, 1 << 13])
def test_what_is_not_selected_is_nothing(monkeypatch, most):
    monkeypatch.setattr(sparsity, "MOST_RECORDS", most)
    f = fa.compile(lambda x: np.where(x > 0.0, np.sqrt(x), 0.0))
    np.testing.assert_array_equal(f.batch.jacobian(np.array([[4.0, 1.0], [0.0, 4.0]])),
                                  [[[0.25, 0.0], [0.0, 0.5]], [[0.0, 0.0], [0.0, 0.25]]])


def test_jacobian_needs_one_output():
    with pytest.raises(TypeError, match="returns 2 arrays"):
        fa.compile(lambda x: (x, x)).batch.jacobian(np.ones((3, 2)))


@pytest.mark.parametrize("n", [1, 2, 63, 64, 65, 200])
def test_any_number_of_rows(n):
    x = rng.normal(size=(n, 40))
    f = fa.compile(lambda x: np.sum(np.sin(x) * x[::-1]))
    f.grad(rng.normal(size=40))                       # leaves a workspace of one lane behind, with its own argument
    value, g = f.batch.value_and_grad(x)
    for k in range(n):
        np.testing.assert_allclose(g[k], f.grad(x[k]), rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(value[k], f(x[k]), rtol=1e-13)


def test_workspaces_are_used_again():
    scale = np.array([1.0, 2.0, 3.0])
    f = fa.compile(lambda x: np.sum(x * scale + 5.0) ** 2)
    x = rng.normal(size=(300, 3))
    first = f.batch.grad(x)
    scale *= 2.0                                      # captured: what it holds now
    second = f.batch.grad(x, threads=2)
    np.testing.assert_allclose(first, 2 * (x @ [1.0, 2.0, 3.0] + 15.0)[:, None] * np.array([1.0, 2.0, 3.0]), rtol=1e-12)
    np.testing.assert_allclose(second, 2 * (x @ [2.0, 4.0, 6.0] + 15.0)[:, None] * scale, rtol=1e-12)


def test_known_forms_of_rows():
    f = fa.compile(lambda x, y, k: np.stack([x[0] * y * k, np.sin(x[1]) * k]), argnums=(1, 0))
    x, y = rng.normal(size=(40, 2)), rng.normal(size=40)
    plain = [f.batch.jacobian(x, y, 2.0, in_axes=(0, 0, None)) for _ in range(2)]     # the second knows the form
    assert list(f.batch.forms)
    for given in ((x.T, y, 2.0, (1, 0, None)), (np.asfortranarray(x), y, 2.0, [0, 0, None]),
                  (x, y, np.float64(2.0), (0, 0, None)), (x, y, np.full(40, 2.0), 0)):
        for have, want in zip(f.batch.jacobian(*given[:3], in_axes=given[3]), plain[1], strict=True):
            np.testing.assert_array_equal(have, want)
    for have, want in zip(*plain, strict=True):
        assert have.tobytes() == want.tobytes()
    assert [part.shape for part in plain[0]] == [(40, 2), (40, 2, 2)]
    np.testing.assert_array_equal(f.batch.jacobian(2.0 * x, y, 2.0, in_axes=(0, 0, None))[0], 2.0 * plain[0][0])
    assert f.batch.jacobian(x.astype(np.float32), y, 2.0, in_axes=(0, 0, None))[1].dtype == np.float32
    with pytest.raises(ValueError, match="threads"):
        f.batch.jacobian(x, y, 2.0, in_axes=(0, 0, None), threads=0)


def test_forms_are_few_and_keep_nothing_alive():
    f = fa.compile(lambda x, k: np.sum(x * k))
    x, k = rng.normal(size=(10, 3)), rng.normal(size=3)
    f.batch.grad(x, k, in_axes=(0, None))
    seen = [weakref.ref(x), weakref.ref(k)]
    del x, k
    assert not [ref for ref in seen if ref() is not None]
    for n in range(1, 2 * batch.MOST_FORMS):
        f.batch(np.ones((n, 3)), np.ones(3), in_axes=(0, None))
    assert len(f.batch.forms) <= batch.MOST_FORMS


def test_an_array_from_outside_that_selects():
    chosen = np.array([0, 1])
    f = fa.compile(lambda x: np.sum(x[chosen] ** 2))
    x = rng.normal(size=(70, 3))
    np.testing.assert_allclose(f.batch(x), np.sum(x[:, :2] ** 2, axis=1))
    chosen[:] = 2
    np.testing.assert_allclose(f.batch(x), 2.0 * x[:, 2] ** 2)
    np.testing.assert_allclose(f.batch.grad(x)[:, 2], 4.0 * x[:, 2])


def test_rows_that_all_leave_early_cost_no_whole_run():
    def f(x):
        if x[0] < 0.0:
            return x[1]
        s = x[1]
        for _ in range(10_000):
            s = np.sin(s) * x[1]
        return s

    c = fa.compile(f)
    stay, leave, one = np.tile([1.0, 0.5], (64, 1)), np.tile([-1.0, 0.5], (64, 1)), np.tile([-1.0, 0.5], (64, 1))
    one[63, 0] = 1.0
    c.batch(stay)
    evaluator, out = c.programs[0].evaluator, np.empty(64)

    def shortest(x, held):
        times = []
        for _ in range(5):
            holds, begin = np.ones(64, np.uint8), time.perf_counter()
            assert evaluator.batch([x], [True], 0, 64, [out], holds, 64)
            times.append(time.perf_counter() - begin)
            assert holds.tolist() == held
        return min(times)

    whole = shortest(stay, [1] * 64)
    assert shortest(one, [0] * 63 + [1]) > 0.3 * whole
    assert out[63] == f(one[63])
    assert shortest(leave, [0] * 64) < 0.3 * whole


@pytest.mark.parametrize("rows", [1, 8, 9, 64, 65, 500, 10_000])
@pytest.mark.parametrize("slots", [1, 3_000, 1 << 20])
def test_lanes(rows, slots):
    lanes = batch.lanes_for(SimpleNamespace(n_slots=slots + 500, image=np.empty(500)), rows)
    assert lanes == rows <= 64 or lanes in range(8, 65, 8)
    assert lanes * slots <= batch.CACHE or lanes <= 8


def test_threads_give_the_same_bits():
    f = fa.compile(lambda x: np.sum(np.exp(np.sin(x)) * x) if x[0] > 0 else np.sum(np.cumsum(x) ** 2))
    x = rng.normal(size=(1000, 17))
    value, g = f.batch.value_and_grad(x)
    for threads in (2, 5):
        other = f.batch.value_and_grad(x, threads=threads)
        assert value.tobytes() == other[0].tobytes() and g.tobytes() == other[1].tobytes()


def test_others_run_beside_a_batch():
    c = fa.compile(lambda x: x[0] * x[1] + x[2])      # short: all the time goes into rows
    x = rng.normal(size=(3_000_000, 3))
    c.batch(x[:100])
    switch, turns = sys.getswitchinterval(), 0
    worker = threading.Thread(target=lambda: [c.batch(x) for _ in range(3)])
    sys.setswitchinterval(100.0)                      # nobody is asked for the GIL: it has to be let go of
    try:
        worker.start()
        while worker.is_alive():
            time.sleep(0.001)
            turns += 1
    finally:
        sys.setswitchinterval(switch)
        worker.join()
    assert turns > 20


def test_own_rules_in_batches():
    @fa.custom_vjp
    def twice(x):
        return 2.0 * x

    twice.defvjp(lambda x: (2.0 * x, None), lambda _, g: (7.0 * g,))
    x = rng.normal(size=(70, 3))
    np.testing.assert_allclose(fa.compile(lambda x: np.sum(twice(x) * x)).batch.grad(x, threads=2), 7.0 * x + 2.0 * x)


@pytest.mark.parametrize("threads", [1, 2])
def test_an_interrupt_ends_a_batch(threads):
    def f(x):
        for _ in range(200):
            x = np.sin(x) + np.cos(x)
        return np.sum(x)

    c = fa.compile(f)
    x = rng.normal(size=(20, 300))
    start = time.perf_counter()
    c.batch.grad(x)
    each = (time.perf_counter() - start)
    start = time.perf_counter()
    c.batch.grad(x)
    each = min(each, time.perf_counter() - start) / 20
    x = np.broadcast_to(x[0], (int(5.0 / each) + 64, 300)).copy()
    # 0.1 s on a machine that does nothing else
    assert delay_of_an_interrupt(lambda: c.batch.grad(x, threads=threads)) < 1.0


@pytest.mark.parametrize("spoil", [lambda a: a[0].astype(np.float32), lambda a: a[0][:, ::-1], lambda a: a[0][:-1],
                                   lambda a: a[0].tolist(), lambda a: a[0].reshape(3, 10)])
def test_wrong_arrays_are_refused(spoil):
    c = fa.compile(lambda x: np.sum(x * x))
    c.batch(np.ones((10, 3)))
    evaluator = c.programs[0].evaluator
    x, out, holds = np.ones((10, 3)), np.empty(10), np.ones(10, np.uint8)
    with pytest.raises(ValueError, match="batch"):
        evaluator.batch([spoil([x])], [True], 0, 10, [out], holds, 4)
    with pytest.raises(ValueError, match="batch"):
        evaluator.batch([x], [True], 0, 11, [out], holds, 4)
    with pytest.raises(ValueError, match="batch"):
        evaluator.batch([x], [True], 0, 10, [out[:5]], holds, 4)
