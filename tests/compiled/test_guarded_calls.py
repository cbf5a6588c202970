"""Guards are looked at before a program calls Python, which sees no numbers of a branch that is not taken."""
import numpy as np
import pytest

import fastad as fa

#: What the gate was called with.
SEEN = set()


class Logarithm(fa.Gate):
    """Notes what it is called with: never anything below zero, if guards come first."""

    def forward(self, x):
        self.x = x
        if not isinstance(x, fa.Variable):
            SEEN.add(round(float(np.min(x)), 9))
        return np.log(x)

    def backward(self, upstream):
        return upstream / self.x


def behind_a_branch(x, c):
    s = np.sum(x * c)
    if s > 0.0:
        return np.sum(x) * Logarithm()(s)
    return -s


def between_branches(x, c):
    total = 0.0
    for k in range(3):
        if x[k] > 0.0:
            total = total + Logarithm()(x[k]) * c
        if total > 5.0:
            break
    return total


def behind_a_mask(x, c):
    """Guards of two lengths, one of them an array that is made in one piece."""
    y = np.tile(x, 40) * c
    chosen = y[y > 0.0]
    if len(chosen) and np.sum(y) > -1e9:
        return np.sum(chosen) + Logarithm()(chosen[0])
    return np.sum(y)


@pytest.mark.parametrize("passes", [True, False])
@pytest.mark.parametrize("f", [behind_a_branch, between_branches, behind_a_mask])
def test_python_is_not_called_with_what_a_guard_excludes(f, passes):
    c = fa.compile(f, passes=passes)
    positive, mixed = np.array([1.0, 2.0, 3.0]), np.array([-9.0, 2.0, -3.0])
    for kind in ("__call__", "value_and_grad"):
        getattr(c, kind)(positive, 2.0)                # traced with numbers that it can be called with
    SEEN.clear()
    for x in (mixed, positive, -positive, mixed[::-1].copy(), positive):
        for _ in range(2):
            np.testing.assert_allclose(c(x, 2.0), f(x, 2.0))
            value, gradient = c.value_and_grad(x, 2.0)
            wanted = fa.value_and_grad(f)(x, 2.0)
            np.testing.assert_allclose(value, wanted[0])
            np.testing.assert_allclose(gradient, wanted[1])
    assert SEEN and min(SEEN) > 0.0


def test_lanes_that_leave_at_a_guard_do_not_call_python():
    c = fa.compile(behind_a_branch)
    X = np.array([[1.0, 2.0], [-1.0, 0.5], [3.0, 0.1], [-5.0, 1.0], [0.2, 0.2]])
    c.batch(X[:1], 2.0, in_axes=(0, None))
    SEEN.clear()
    values = c.batch(X, 2.0, in_axes=(0, None))
    assert {6.0, 6.2, 0.8} == SEEN
    np.testing.assert_allclose(values, [behind_a_branch(x, 2.0) for x in X])


def test_a_value_after_a_gradient_is_right():
    def f(x):
        return np.sum(np.sin(x) * x) if x[0] > 0.0 else np.sum(x)

    c, x = fa.compile(f), np.array([0.5, 2.0])
    gradient = c.grad(x)
    assert c(x) == f(x) and [program.kind for program in c.programs] == ["grad", "value"]
    np.testing.assert_allclose(c.hvp(x, np.ones(2)), fa.hvp(f, x, np.ones(2)))
    np.testing.assert_array_equal(c.grad(x), gradient)
