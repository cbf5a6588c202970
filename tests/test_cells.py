"""fastad._blocks: cells against a set of cuts, views against NumPy's strides, slots against lists."""
import numpy as np
import pytest

from fastad._blocks import Cells, Moves, Slots, View, distinct

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


def listed_by_hand(slots):
    return [first + k for first, n in zip(slots.first.tolist(), slots.count.tolist(), strict=True) for k in range(n)]


def test_slots_are_told_by_stretches():
    cells = Cells(60)
    for first in (5, 9, 20, 33, 34, 50):
        cells.cut(first, 60)
    cells.close()
    places = rng.permutation(len(cells.first) - 1) * 100
    moves = Moves(np.array([4, 10, 31]), np.array([7, 0, -30]))
    for array in (np.empty(0, np.int64), np.arange(1, 60), rng.integers(1, 60, 80),
                  np.concatenate([np.arange(30, 40), np.arange(3, 12), np.arange(12, 15)])):
        slots = Slots.of(array)
        assert len(slots) == len(array) and slots.n == len(slots.first) == len(slots.count)
        np.testing.assert_array_equal(slots.listed(), array)
        assert listed_by_hand(slots) == array.tolist()
        np.testing.assert_array_equal(cells.moved_slots(slots, places).listed(), cells.moved(array, places))
        np.testing.assert_array_equal(moves.slots(slots).listed(), moves(array))
        np.testing.assert_array_equal(np.unique(cells.among(slots)), np.unique(cells.of(array)))
        np.testing.assert_array_equal(Slots.chained([slots, Slots.row(60, 3), slots]).listed(),
                                      np.concatenate([array, np.arange(60, 63), array]))
    assert Slots.chained([Slots.row(4, 2), Slots.row(6, 3), Slots.row(9, 0)]).n == 1


def test_distinct_numbers():
    for array in (np.empty(0, np.int64), np.array([5]), rng.integers(0, 9, 40)):
        np.testing.assert_array_equal(distinct(array), np.unique(array))
