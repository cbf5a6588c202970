"""The tape read forward: values anew, and the gradient at the new point."""
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from programs import inputs, points, programs, run, total
from test_tape import fresh_tape, python

import fastad as fa


def leaves_at(point):
    return [fa.Variable(a) for a in inputs(point)]


def value_of(r):
    return fa.variable.value_of(r)


def check_against_fresh(program, first, second):
    """Recorded at one point and recomputed at another: values and gradients are those of a recording there."""
    x = leaves_at(first)
    results = run(program, *x)
    y = total(results)
    y.backward(retain_graph=True)                     # what it leaves must not be in the way
    for leaf, new in zip(x, inputs(second), strict=True):
        leaf.zero_grad()
        leaf.value = new
    fa.tape().forward()
    fresh = leaves_at(second)
    wanted = run(program, *fresh)
    for r, w in zip(results, wanted, strict=True):
        np.testing.assert_allclose(value_of(r), value_of(w), rtol=1e-13, atol=1e-300)
    y.backward()
    total(wanted).backward()
    for leaf, w in zip(x, fresh, strict=True):
        assert (leaf.grad is None) == (w.grad is None)
        if w.grad is not None:
            np.testing.assert_allclose(leaf.grad, w.grad, rtol=1e-12, atol=1e-12)


@settings(max_examples=300, deadline=None)
@given(programs, points, points)
def test_forward_is_a_fresh_recording(program, first, second):
    fresh_tape(lambda: check_against_fresh(program, first, second))


def test_partials_are_recomputed():
    x = fa.Variable(3.0)
    y = fa.sin(x) * x
    x.value = 0.5
    fa.tape().forward()
    assert y.item() == np.sin(0.5) * 0.5
    y.backward()
    assert x.grad == pytest.approx(np.cos(0.5) * 0.5 + np.sin(0.5), rel=1e-15)


def test_the_table_selects_anew():
    x, c = fa.Variable(2.0), fa.Variable(1.0)
    y = fa.maximum(x, c)
    z = fa.maximum(x, 1.5)
    cases = [(0.0, (0.0, 1.0, 0.0)), (5.0, (1.0, 0.0, 1.0)), (np.nan, (1.0, 0.0, 1.0)), (0.5, (0.0, 1.0, 0.0))]
    for new, gradients in cases:
        x.value = new
        fa.tape().forward()
        for leaf in (x, c):
            leaf.zero_grad()
        y.backward(retain_graph=True)
        assert (x.grad, c.grad) == gradients[:2]
        x.zero_grad()
        z.backward(retain_graph=True)
        assert x.grad == gradients[2]
        np.testing.assert_equal(z.item(), np.maximum(new, 1.5))


def test_what_was_selected_by_value_stays():
    x = fa.Variable([1.0, 3.0, 2.0])
    largest, ordered, masked = np.max(x), np.sort(x), np.where(x > 2.5, x, 0.0)
    x.value = [5.0, 4.0, 6.0]
    fa.tape().forward()
    assert largest.item() == 4.0                      # the place of the largest element is that of the recording
    np.testing.assert_array_equal(ordered.value, [5.0, 6.0, 4.0])
    np.testing.assert_array_equal(masked.value, [0.0, 4.0, 0.0])


def test_ties_are_weighted_sums():
    x, w = fa.Variable([2.0, 2.0, 1.0]), fa.Variable([1.0, 2.0, 4.0])
    y, counts = np.max(x), np.bincount([0, 3, 3], weights=w)
    x.value, w.value = [4.0, 6.0, 1.0], [1.0, 5.0, 6.0]
    fa.tape().forward()
    assert y.item() == 5.0
    np.testing.assert_array_equal(counts.value, [1.0, 0.0, 0.0, 11.0])


def test_writes_through_value_are_seen():
    x = fa.Variable(np.ones(3))
    y = np.sum(x * x)
    x.value[1] = 3.0
    fa.tape().forward()
    assert y.item() == 11.0
    z = x * 1.0                                       # the leaf needs no second copy now
    np.testing.assert_array_equal(z.value, [1.0, 3.0, 1.0])
    x.value[0] = 2.0                                  # and a write after it is seen again
    np.testing.assert_array_equal((x * 1.0).value, [2.0, 3.0, 1.0])


def test_other_tapes_see_what_forward_has_seen():
    x = fa.Variable(np.ones(2))
    bound, seen, out = threading.Event(), threading.Event(), []

    def elsewhere():
        held = x * 3.0
        bound.set()
        seen.wait(10)
        out.extend([(x * 3.0).tolist(), held.tolist()])

    other = threading.Thread(target=elsewhere)
    other.start()
    assert bound.wait(10)
    y = x * 2.0
    x.value[0] = 5.0
    fa.tape().forward()
    assert (y + x).tolist() == [15.0, 3.0]
    seen.set()
    other.join()
    assert out == [[15.0, 3.0], [3.0, 3.0]]


def test_all_copies_of_a_leaf_follow():
    x = fa.Variable(1.0)
    y = x * 2.0
    x.value = 10.0
    z = y + x                                         # a second copy, the first one being in use
    assert z.item() == 12.0
    x.value = 3.0
    fa.tape().forward()
    assert (y.item(), z.item()) == (6.0, 9.0)
    z.backward()
    assert x.grad == 3.0


def test_constants_and_overwritten_values_are_those_of_their_time():
    x = fa.Variable([1.0, 2.0, 3.0])
    z = np.zeros_like(x)
    early = z + 1.0
    z[0] = x[1]
    z[1:] = 7.0
    z[[2, 2]] = [4.0, 9.0]
    late = z * x
    for new in ([1.0, 5.0, 2.0], [0.5, -1.0, 4.0]):
        x.value = new
        fa.tape().forward()
        np.testing.assert_array_equal(early.value, [1.0, 1.0, 1.0])
        np.testing.assert_array_equal(z.value, [new[1], 7.0, 9.0])
        x.zero_grad()
        np.sum(late).backward(retain_graph=True)
        np.testing.assert_array_equal(x.grad, [new[1], new[0] + 7.0, 9.0])


def test_deep_and_long():
    def work():
        x = fa.Variable(0.5)
        y = x
        for _ in range(100_000):
            y = fa.sin(y) + x
        x.value = 0.25
        fa.tape().forward()
        w = 0.25
        for _ in range(100_000):
            w = np.sin(w) + 0.25
        assert y.item() == pytest.approx(w, rel=1e-12)

    fresh_tape(work)


def test_interrupted():
    out = python("""
        import os, signal, threading, time
        import fastad as fa
        x = fa.Variable(0.5)
        z = fa.array([0.0, 1.0]) * x
        y = x
        for _ in range(1_000_000):
            y = fa.sin(y) + x
        z[0] = y
        interrupted = False
        for _ in range(50):
            timer = threading.Timer(0.004, os.kill, (os.getpid(), signal.SIGINT))
            try:
                timer.start()
                fa.tape().forward()
                timer.join()
            except KeyboardInterrupt:
                interrupted = True
                timer.join()
                break
        print(interrupted, z[0].item() == y.item())
        x.value = 0.0
        fa.tape().forward()
        print(y.item(), z.tolist())
        """)
    assert out.splitlines() == ["True True", "0.0 [0.0, 0.0]"]


def test_a_rule_with_forward():
    class Cube:
        name = "cube"

        def __init__(self, x):
            self.x = x

        def forward(self, inputs):
            self.x, = inputs
            return [self.x ** 3]

        def pull(self, upstream):
            return [3.0 * self.x ** 2 * upstream[0]]

    x = fa.Variable([1.0, 2.0])
    y = fa.variable.call(Cube(x.value), [x], [x.value ** 3], "cube")[0]
    x.value = [3.0, 4.0]
    fa.tape().forward()
    np.testing.assert_array_equal(y.value, [27.0, 64.0])
    np.sum(y).backward()
    np.testing.assert_array_equal(x.grad, [27.0, 48.0])


def test_rules_that_cannot_be_recomputed():
    class Rule:
        name = "mystery"

        def pull(self, upstream):
            return upstream

    class Wrong(Rule):
        def forward(self, inputs):
            return [np.zeros(5)]

    def work():
        x = fa.Variable([1.0, 2.0])
        z = np.zeros_like(x)
        y = fa.variable.call(Rule(), [x * 1.0], [x.value], "mystery")[0]
        z[0] = y[1]
        z[1] = 8.0
        x.value = [3.0, 4.0]
        with pytest.raises(NotImplementedError, match="mystery"):
            fa.tape().forward()
        np.testing.assert_array_equal(z.value, [2.0, 8.0])          # the writes behind it are as they were
        assert np.sum(x * x).item() == 25.0
        np.sum(z).backward()
        np.testing.assert_array_equal(x.grad, [0.0, 1.0])

    def wrong():
        x = fa.Variable([1.0, 2.0])
        y = fa.variable.call(Wrong(), [x], [x.value], "mystery")[0]
        with pytest.raises(ValueError, match=r"mystery.*5.*2"):
            fa.tape().forward()
        assert y.shape == (2,)

    fresh_tape(work)
    fresh_tape(wrong)


def test_freed_graphs():
    def work():
        x = fa.Variable([1.0, 2.0])
        shared = x * 2.0
        other = x * 3.0
        np.sum(shared).backward()                     # of no use to anybody: no obstacle
        x.value = [5.0, 6.0]
        fa.tape().forward()
        np.testing.assert_array_equal(other.value, [15.0, 18.0])
        shared = x * 2.0
        first, second = np.sum(shared), np.sum(shared * other)
        first.backward()
        with pytest.raises(fa.FreedGraphError, match="retain_graph"):
            fa.tape().forward()
        assert second.item() == 10 * 15 + 12 * 18

    fresh_tape(work)


def test_not_from_a_hook():
    x = fa.Variable(1.0)
    y = x * x
    tape = fa.tape()
    y.register_hook(lambda g: tape.forward())
    with pytest.raises(RuntimeError, match="hook"):
        y.backward()


def test_an_empty_tape():
    fresh_tape(lambda: fa.tape().forward())
