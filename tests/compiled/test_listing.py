"""Views that are found in lists of slots."""
import numpy as np
import pytest
from comparing import agree, program, rng

from fastad._instructions import KINDS
from fastad.compiled.listing import View, alike, regular

LAYOUTS = [((5,), (1,)), ((5,), (0,)), ((4,), (-3,)), ((5, 3), (1, 0)), ((2, 5, 3), (0, 3, 1)), ((3, 4, 5), (1, 0, 3)),
           ((2, 3, 4, 5), (60, 1, 0, 7)), ((2, 4000, 2), (3, 0, 1)), ((3, 5000), (0, 2))]


@pytest.mark.parametrize(("shape", "strides"), LAYOUTS)
def test_regular_slots_are_a_view(shape, strides):
    view = View(100, shape, strides)
    found = regular(view.slots())
    assert found is not None
    np.testing.assert_array_equal(View(100, *found).slots(), view.slots())


@pytest.mark.parametrize("slots", [[1, 2, 4], [1, 2, 3, 5], [0, 1, 0, 1, 1, 1], [3, 1, 2, 5], [1, 2, 1, 2, 1],
                                   rng.permutation(1000)], ids=str)
def test_irregular_slots_are_none(slots):
    assert regular(np.array(slots)) is None


@pytest.mark.parametrize("shapes", [((6, 4), (24,)), ((2, 12), (6, 4)), ((2, 3, 4), (6, 4), (2, 12), (24,)),
                                    ((1, 24), (3, 8)), ((5, 1), (5,)), ((1, 1), (1,))])
def test_axes_are_divided_alike(shapes):
    views = [View(7, shape, tuple(rng.integers(-3, 9, len(shape)).tolist())) for shape in shapes]
    made = alike(views)
    assert len({view.shape for view in made}) == 1
    for view, new in zip(views, made, strict=True):
        np.testing.assert_array_equal(new.slots(), view.slots())


def test_axes_that_cannot_be():
    assert alike([View(0, (4, 6), (6, 1)), View(0, (6, 4), (4, 1))]) == []


def test_repeated_adjoints_need_no_gather():
    x, w = rng.normal(size=(5, 40, 7)), rng.normal(size=(7, 7))
    calls = (x, w), (w[0] - x, w.T.copy())
    c = agree(lambda x, w: np.sum(np.exp(-np.sum((x @ w) ** 2, axis=2))), *calls, argnums=(0, 1))
    kinds = [KINDS[k] for k in program(c).evaluator.code.instructions["kind"]]
    assert "gather" not in kinds and "copy" not in kinds


def test_pairs_by_fixed_positions():
    i, j = np.tril_indices(12, -1)

    def energy(x):
        d = x[i] - x[j]
        return np.sum(1.0 / np.sum(d * d, axis=1))

    agree(energy, *[rng.normal(size=(12, 3)) for _ in range(2)], tol=1e-10)
