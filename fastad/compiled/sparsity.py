"""Sparse Jacobians and Hessians: which elements can be other than zero, and how few directions tell them all.

The pattern is found once for each way through a function: every slot gets the set of the inputs that it depends on.
Rows, or columns, that nowhere meet share a direction: they are given one colour (Curtis, Powell and Reid 1974;
Gebremedhin, Manne and Pothen, "What color is your Jacobian?", SIAM Review 47, 2005).
"""
from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .._sparsity import Sets, distinct_rows, star_colours
from ..ops import OPS
from .listing import Block, Listing, Slots, View
from .passes.dead import drop_dead, stretches

__all__ = ["Compressed", "Pattern", "compress_jacobian", "compress_symmetric", "from_places", "one_program",
           "pattern_of"]

#: A set of more inputs than this, and than a quarter of them, counts as all of them.
LARGE_SET = 64
#: Patterns and their sets may take so many numbers together.
ROOM = 1 << 24
#: So many steps of a colouring are worth it.
MOST_STEPS = 1 << 27
#: Records of all directions together, up to which they are one program, also for a dense matrix.
MOST_RECORDS = 1 << 13
#: So few directions of a sparse matrix are one program, too, unless they take more records than this.
FEW, MOST_OF_FEW = 16, 1 << 22

DIFFERENTIABLE = np.array([False, *[row.differentiable for row in OPS]])


@dataclass(frozen=True)
class Pattern:
    """The elements of a sparse matrix that can be other than zero, row by row; ``indices`` are their columns."""

    shape: tuple[int, int]
    indptr: Any
    indices: Any

    @cached_property
    def rows(self) -> Any:
        """The row of each element."""
        return np.repeat(np.arange(self.shape[0]), np.diff(self.indptr))

    @cached_property
    def places(self) -> Any:
        """Where each element stands in the dense matrix, in C order."""
        return self.rows * self.shape[1] + self.indices

    @cached_property
    def blank(self) -> Any:
        """A SciPy array with this pattern."""
        from scipy.sparse import csr_array
        return csr_array((np.zeros(len(self.indices)), self.indices, self.indptr), shape=self.shape)

    def filled(self, data: Any) -> Any:
        """A SciPy array of these elements, with tables of its own: SciPy has methods that change them."""
        made = copy(self.blank)                       # SciPy's constructor checks what it is given, in 40 µs
        made.data, made.indices, made.indptr = data, made.indices.copy(), made.indptr.copy()
        return made

    @property
    def transposed(self) -> Pattern:
        """The same of the transposed matrix."""
        return from_places((self.shape[1], self.shape[0]), np.sort(self.indices * np.int64(self.shape[0]) + self.rows))

    @property
    def symmetric(self) -> Pattern:
        """The elements that are here, or in the transposed matrix."""
        return from_places(self.shape, np.union1d(self.places, self.transposed.places))


def from_places(shape: tuple[int, int], places: Any) -> Pattern:
    """The pattern of elements at these places, which rise."""
    rows, indices = np.divmod(places, shape[1])
    return Pattern(shape, np.searchsorted(rows, np.arange(shape[0] + 1)), indices.astype(np.int32))


# ---- patterns -----------------------------------------------------------------------------------------------------
def pattern_of(code: Listing, active: Sequence[View], wanted: Slots) -> Pattern | None:
    """Which elements of `active` each of the slots `wanted` depends on with a gradient; None where that takes too much.

    The listing is used up.
    """
    wanted = code.placed(wanted)
    n = sum(view.size for view in active)
    code.divide()
    drop_dead(code, wanted)
    sets = Sets(max(LARGE_SET, n // 4), ROOM)
    try:
        of = np.zeros(len(code.value), np.int64)
        of[np.concatenate([np.empty(0, np.int64), *[view.slots() for view in active]])] = sets.singles(n)
        flows = DIFFERENTIABLE[code.op]
        a, b = np.where(flows, code.a, 0), np.where(flows, code.b, 0)
        for k, (first, last) in enumerate(stretches(code)):
            sets.scalars(code.v[first:last], a[first:last], b[first:last], of)
            if k < len(code.blocks):
                spread(code.blocks[k], sets, of)
        return Pattern((len(wanted), n), *sets.rows(of[wanted.listed()], n))
    except OverflowError:
        return None


def spread(block: Block, sets: Sets, of: Any) -> None:
    """Give the results of a block their sets."""
    reads = [of[view.slots()] for view in block.reads]
    out = block.writes[0].slots() if block.writes else np.empty(0, np.int64)
    if block.kind in ("map", "add"):
        found = sets.pairs(*reads) if len(reads) > 1 else reads[0]
        if not DIFFERENTIABLE[block.op]:
            found = np.zeros_like(found)
        if block.kind == "map":
            of[out] = found
        else:
            sets.added(out, found, of)
    elif block.kind in ("fill", "gather"):
        of[out] = reads[0] if block.kind == "fill" else of[block.index]
    elif block.kind == "chain":
        of[out] = reads[0]
        sets.added(np.tile(out, len(block.index) // max(len(out), 1)), of[block.index], of)
    elif block.kind == "matmul":
        (q, m, k), n = block.reads[0].shape, block.reads[1].shape[2]
        rows, columns = np.zeros(q * m, np.int64), np.zeros(q * n, np.int64)
        sets.added(np.repeat(np.arange(q * m), k), reads[0], rows)
        sets.added(np.broadcast_to(np.arange(q * n).reshape(q, 1, n), (q, k, n)).reshape(-1), reads[1], columns)
        of[out] = sets.pairs(np.repeat(rows, n), np.broadcast_to(columns.reshape(q, 1, n), (q, m, n)).reshape(-1))
    else:                                             # of a call nothing is known
        everything = np.zeros(1, np.int64)
        given = np.concatenate([np.zeros(0, np.int64), *reads])
        sets.added(np.zeros_like(given), given, everything)
        for view in block.writes:
            of[view.slots()] = everything


# ---- directions ---------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Compressed:
    """A sparse matrix told by sums of its rows, or of its columns.

    ``colour`` says to which of the ``count`` sums each row (column, if `by_columns`) belongs; an element of the pattern
    is number ``index`` of all sums one after the other.
    """

    pattern: Pattern
    by_columns: bool
    colour: Any
    index: Any

    @cached_property
    def count(self) -> int:
        """How many directions there are."""
        return int(self.colour.max(initial=-1)) + 1

    def seeds(self, other: float) -> Any:
        """For each direction 1.0 where its rows (columns) are, `other` elsewhere."""
        return np.where(self.colour == np.arange(self.count)[:, None], 1.0, other)


def orders(pattern: Pattern) -> list[Any]:
    """In which orders rows are coloured: as they stand, and those with many elements first."""
    return [np.arange(pattern.shape[0]), np.argsort(-np.diff(pattern.indptr), kind="stable")]


def steps(pattern: Pattern) -> int:
    """About how long a colouring of neighbours takes."""
    return int((np.diff(pattern.indptr).astype(np.float64) ** 2).sum())


def fewest(colourings: Sequence[Any]) -> Any:
    """The colouring with the fewest colours."""
    return min(colourings, key=lambda colour: int(colour.max(initial=-1)))


def compress_jacobian(pattern: Pattern) -> Compressed | None:
    """Directions for a Jacobian: of rows, or of columns where these are fewer; None where looking takes too long.

    Rows that meet in a column need as many colours. Where that is one for each row or column, nobody looks for fewer.
    """
    across, best = pattern.transposed, None
    for by_columns, one, other in ((False, pattern, across), (True, across, pattern)):
        least = int(np.diff(other.indptr).max(initial=0))
        if least >= (min(pattern.shape) if best is None else best.count):
            continue
        if steps(one) > MOST_STEPS:
            return None
        colour = fewest([distinct_rows(order, one.indptr, one.indices, other.indptr, other.indices)
                         for order in orders(one)])
        if best is None or int(colour.max(initial=-1)) + 1 < best.count:
            own, there = (pattern.indices, pattern.rows) if by_columns else (pattern.rows, pattern.indices)
            best = Compressed(pattern, by_columns, colour, colour[own] * np.int64(one.shape[1]) + there)
    return best


def compress_symmetric(pattern: Pattern) -> Compressed | None:
    """Directions for a Hessian: an element is told by its own row, or by the row of its mirror image."""
    pattern = pattern.symmetric
    n = pattern.shape[1]
    if steps(pattern) > MOST_STEPS:
        return None
    colour = fewest([star_colours(order, pattern.indptr, pattern.indices) for order in orders(pattern)])
    own = colour[pattern.rows] * np.int64(n) + pattern.indices
    mirrored = colour[pattern.indices] * np.int64(n) + pattern.rows
    counts = np.bincount(own, minlength=1)
    return Compressed(pattern, False, colour, np.where(counts[own] == 1, own, mirrored))


def one_program(path: Any, kind: str, outputs: int) -> bool:
    """Whether all directions are one program; `outputs` is how many a dense matrix has."""
    if kind in path.programs:
        return True
    if not hasattr(path, "structure"):                # from a file: what is not there cannot be made
        return False
    records = path.n_function * (4 if kind == "hessian" else 1)      # those of a gradient, about
    if outputs * records <= MOST_RECORDS:
        return True
    structure: Compressed | None = path.structure(kind)
    return structure is not None and structure.count * records <= (
        MOST_OF_FEW if structure.count <= FEW else MOST_RECORDS)
