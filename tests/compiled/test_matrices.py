"""Jacobians and Hessians of compiled functions: which programs are made for them, and when."""
import numpy as np
import pytest

import fastad as fa
from fastad.errors import AuditError


def residuals(x):
    return np.stack([x[0] * x[1], x[1] ** 3, np.sin(x[0])]) if x[0] > 0.0 else np.stack([x[0], -x[1], x[0] * x[1]])


def energy(x):
    return x[0] ** 2 * x[1] if x[0] > 0.0 else x[1] ** 3


@pytest.mark.parametrize(("f", "kind"), [(residuals, "jacobian"), (energy, "hessian")])
def test_the_matrix_alone_is_made_on_a_new_path(f, kind):
    """The way that was just traced is the one that the arguments take: no value tells it."""
    c, eager = fa.compile(f), getattr(fa, kind)(f)
    x, y = np.array([1.0, 2.0]), np.array([-1.0, 2.0])
    np.testing.assert_allclose(getattr(c, kind)(x), eager(x))
    assert [program.kind for program in c.programs] == [kind]
    for point in (y, x + 1.0, y - 1.0, x):                          # the branch is looked at
        np.testing.assert_allclose(getattr(c, kind)(point), eager(point))
    assert [program.kind for program in c.programs].count(kind) == 2


@pytest.mark.parametrize(("f", "kind"), [(residuals, "jacobian"), (energy, "hessian")])
@pytest.mark.parametrize("sparse", [False, True])
def test_the_matrix_alone_is_saved(tmp_path, f, kind, sparse):
    c, x = fa.compile(f), np.array([1.0, 2.0])
    made = getattr(c, kind)(x)
    c.save(tmp_path / "alone.fad")
    loaded = getattr(fa.load(tmp_path / "alone.fad"), kind)(x, sparse=sparse)
    np.testing.assert_array_equal(loaded.toarray() if sparse else loaded, made)


def test_a_function_that_changes_its_mind_is_found_out():
    turns = []

    class Turning(fa.Gate):
        def forward(self, x):
            turns.append(x)
            return x + len(turns) % 2

        def backward(self, upstream):
            return upstream

    def fickle(x):
        y = Turning()(x)
        return y * 2.0 if y[0] > 0.5 else y * 3.0

    with pytest.raises(AuditError, match="another way"):
        fa.compile(fickle).jacobian(np.zeros(2))
