"""fastad._blocks: cells against a set of cuts, views against NumPy's strides."""
import numpy as np
import pytest

from fastad._blocks import Cells, View

rng = np.random.default_rng(5)


@pytest.mark.parametrize("n", [1, 2, 63, 64, 65, 1000])
def test_cells_lie_between_cuts(n):
    cells, cuts = Cells(n), {0, min(1, n)}
    for _ in range(n // 10 + 1):
        first, last = sorted(rng.integers(0, n + 1, 2).tolist())
        cells.cut(first, last)
        cuts |= {first, last}
    one = int(rng.integers(n))
    cells.cut_each(np.array([one]))
    cuts |= {one, one + 1}
    row = np.arange(n // 2, n // 2 + min(5, n - n // 2))
    cells.cut_runs(row)
    cuts |= {int(row[0]), int(row[-1]) + 1}
    cells.close()
    first = np.array(sorted(cuts - {n}))
    assert np.array_equal(cells.first, [*first, n]) and cells.count == len(first)
    slots = np.arange(n)
    of = np.searchsorted(first, slots, side="right") - 1
    assert np.array_equal(cells.of(slots), of) and cells.cell(n - 1) == len(first) - 1
    places = rng.integers(0, 100, len(first))
    assert np.array_equal(cells.moved(slots, places), places[of] + slots - first[of])
    assert cells.moved_slot(one, places) == cells.moved(np.array([one]), places)[0]


def test_cuts_outside_are_refused():
    cells = Cells(10)
    for bad in (lambda: cells.cut(0, 11), lambda: cells.cut(-1, 3), lambda: cells.cut(5, 4),
                lambda: cells.cut_each(np.array([10])), lambda: cells.cut_runs(np.array([-1])),
                lambda: cells.cut_views([View(8, (3,), (1,))])):
        with pytest.raises(IndexError, match="of 10"):
            bad()
    with pytest.raises(TypeError, match="for each cell"):
        cells.moved_slot(3, np.zeros(3))


@pytest.mark.parametrize(("shape", "strides"), [
    ((), ()), ((5,), (1,)), ((5,), (-1,)), ((5,), (2,)), ((5,), (0,)), ((1, 1), (7, 9)), ((3, 4), (4, 1)),
    ((3, 4), (1, 3)), ((4, 3), (1, 1)), ((3, 4), (5, 1)), ((2, 3, 4), (12, -4, 1)), ((2, 3), (0, 1)), ((2, 2), (3, 1)),
    ((0, 4), (4, 1))])
def test_what_views_say_of_themselves(shape, strides):
    view = View(50, shape, strides)
    array = np.lib.stride_tricks.as_strided(np.arange(100)[50:], shape, [8 * s for s in strides])
    slots = array.ravel()
    assert np.array_equal(view.slots(), slots) and view.size == len(view) == slots.size
    if slots.size:
        assert view.bounds == (slots.min(), slots.max())
        assert view.covers == (len(np.unique(slots)) == slots.max() - slots.min() + 1)
        assert view.row == np.array_equal(slots, slots[0] + np.arange(slots.size))
