"""The update rules in C: each beside its formula, written down once more with NumPy."""
import doctest

import numpy as np
import pytest

from fastad import _descent
from fastad._descent import Update

G = [np.array([1.0, -4.0, 0.5]), np.array([2.0, 1.0, -3.0]), np.array([-1.0, 0.25, 2.0])]
X = np.array([1.0, 2.0, -3.0])


def steps(kind, **options):
    """The steps of a rule at one place, for the gradients above."""
    update = Update(kind, 3, **options)
    return [update.step(g, X) for g in G]


def test_examples():
    assert doctest.testmod(_descent).failed == 0


def test_gradient_descent():
    for step, g in zip(steps("sgd", lr=0.5, weight_decay=0.1), G, strict=True):
        np.testing.assert_allclose(step, -0.5 * (g + 0.1 * X), rtol=1e-15)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum(nesterov):
    v, options = 0.0, {"momentum": 0.5, "dampening": 0.25, "nesterov": nesterov}
    for k, (step, g) in enumerate(zip(steps("sgd", lr=0.1, **options), G, strict=True)):
        v = 0.5 * v + (0.75 if k else 1.0) * g        # the first gradient is taken as it is
        np.testing.assert_allclose(step, -0.1 * (g + 0.5 * v if nesterov else v), rtol=1e-15)


def test_adagrad():
    s = 0.3
    for k, (step, g) in enumerate(zip(steps("adagrad", lr=0.1, lr_decay=0.5, initial=0.3), G, strict=True)):
        s = s + g ** 2
        np.testing.assert_allclose(step, -0.1 / (1 + 0.5 * k) * g / (np.sqrt(s) + 1e-8), rtol=1e-14)


@pytest.mark.parametrize(("centered", "momentum"), [(False, 0.0), (True, 0.0), (False, 0.5), (True, 0.5)])
def test_rmsprop(centered, momentum):
    s = mean = v = 0.0
    for step, g in zip(steps("rmsprop", lr=0.1, beta2=0.75, centered=centered, momentum=momentum), G, strict=True):
        s, mean = 0.75 * s + 0.25 * g ** 2, 0.75 * mean + 0.25 * g
        v = momentum * v + g / (np.sqrt(s - mean ** 2 * centered) + 1e-8)
        np.testing.assert_allclose(step, -0.1 * v, rtol=1e-12)


@pytest.mark.parametrize(("decoupled", "amsgrad"), [(False, False), (True, False), (False, True), (True, True)])
def test_adam(decoupled, amsgrad):
    m = s = most = 0.0
    options = {"beta1": 0.5, "beta2": 0.75, "weight_decay": 0.2, "decoupled": decoupled, "amsgrad": amsgrad}
    for k, (step, g) in enumerate(zip(steps("adam", lr=0.1, **options), G, strict=True), 1):
        g = g + 0.2 * X * (not decoupled)
        m, s = 0.5 * m + 0.5 * g, 0.75 * s + 0.25 * g ** 2
        most = np.maximum(most, s) if amsgrad else s
        want = -0.1 * (m / (1 - 0.5 ** k)) / (np.sqrt(most / (1 - 0.75 ** k)) + 1e-8) - 0.02 * X * decoupled
        np.testing.assert_allclose(step, want, rtol=1e-14)


def test_clipping():
    np.testing.assert_allclose(steps("sgd", lr=1.0, clip_value=1.5), -np.clip(G, -1.5, 1.5))
    for step, g in zip(steps("sgd", lr=1.0, clip_norm=3.0), G, strict=True):
        np.testing.assert_allclose(step, -g * min(1.0, 3.0 / np.linalg.norm(g)), rtol=1e-15)


def test_lbfgs_builds_the_inverse_hessian():
    H = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, 0.1], [0.0, 0.1, 3.0]])
    for memory in (1, 2, 5):
        update = Update("lbfgs", 3, memory=memory)
        points = np.random.default_rng(0).normal(size=(4, 3))
        for x in points:
            step = update.step(H @ x, x)
        s, y = np.diff(points, axis=0), np.diff(points, axis=0) @ H
        W = np.eye(3) * (s[-1] @ y[-1]) / (y[-1] @ y[-1])
        for sk, yk in list(zip(s, y, strict=True))[-memory:]:        # the update that the two loops unroll
            V = np.eye(3) - np.outer(yk, sk) / (yk @ sk)
            W = V.T @ W @ V + np.outer(sk, sk) / (yk @ sk)
        np.testing.assert_allclose(step, -W @ H @ points[-1], rtol=1e-10)


def test_what_a_rule_remembers():
    update, other = Update("adam", 3, lr=0.1), Update("adam", 3, lr=0.3)
    for g in G[:2]:
        update.step(g, X)
    assert update.count == 2 and list(update.state) == ["exp_avg", "exp_avg_sq"]
    for name, array in update.state.items():
        other.state[name][...] = array
    other.count, other.lr = 2, 0.1
    np.testing.assert_array_equal(other.step(G[2], X), update.step(G[2], X))
    update.reset()
    assert update.count == 0 and not update.state["exp_avg"].any()
    np.testing.assert_array_equal(update.step(G[0], X), steps("adam", lr=0.1)[0])


def test_options_change():
    update = Update("sgd", 3, lr=0.1)
    update.step(G[0], X)
    update.set(lr=0.5, momentum=0.5)
    assert list(update.state) == ["momentum_buffer"] and update.count == 1 and update.lr == 0.5
    update = Update("adam", 3)
    update.step(G[0], X)
    first = update.state["exp_avg"].copy()
    update.set(amsgrad=True)
    assert list(update.state) == ["exp_avg", "exp_avg_sq", "max_exp_avg_sq"]
    np.testing.assert_array_equal(update.state["exp_avg"], first)


def test_apply_writes_in_place_and_checks():
    update, x = Update("sgd", 3, lr=0.5), X.copy()
    update.apply(G[0], x)
    np.testing.assert_array_equal(x, X - 0.5 * G[0])
    x = np.ones((3, 1))
    update.apply(np.ones((1, 3)), x)
    np.testing.assert_array_equal(x, 0.5)
    for g, target in ((np.ones(2), np.ones(3)), (np.ones(3), np.ones(4)), (np.ones(3, np.float32), np.ones(3)),
                      (np.ones(3), np.ones(6)[::2])):
        with pytest.raises(ValueError, match="update rule"):
            update.apply(g, target)
    frozen = np.ones(3)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        update.apply(G[0], frozen)
    with pytest.raises(ValueError, match="2 and 3 numbers"):
        update.step(np.ones(2), np.ones(3))
    with pytest.raises(ValueError, match=r"'sdg'.*sgd"):
        Update("sdg", 3)
    with pytest.raises(ValueError, match=r"'betta1'.*beta1"):
        Update("adam", 3, betta1=0.5)


def test_a_history_that_was_looked_at_stays():
    """What `history` gives is the memory of the descent; it goes on in another."""
    descent = _descent.Descent(np.array([3.0]), "sgd", {"lr": 1e-4}, max_iter=5000, path=True, tol=0.0)

    def go_on(n):
        while descent.nit < n:
            x = descent.trial
            descent.tell(float(x @ x), 2 * x)

    go_on(100)
    early = descent.history
    kept = [column.copy() for column in early]
    assert all(a is b for a, b in zip(early, descent.history, strict=True))
    go_on(5000)
    late = descent.history
    assert [column.shape for column in late] == [(5001,)] * 4 + [(5001, 1)]
    for before, copy, after in zip(early, kept, late, strict=True):
        np.testing.assert_array_equal(before, copy)
        np.testing.assert_array_equal(after[:101], copy)
    np.testing.assert_array_equal(late[0], late[4][:, 0] ** 2)
    assert np.all(np.diff(late[3]) >= 0.0)
