"""Constant folding, exact identities and common subexpressions of operations on arrays."""
from __future__ import annotations

from typing import Any

import numpy as np

from ... import _passes
from ..listing import OPCODE, Block, Listing, View

__all__ = ["simplify_blocks"]

NAME = {code: name for name, code in OPCODE.items()}


def constant_of(code: Listing, view: View) -> float | None:
    """The constant that all elements of an operand are; None when they are not."""
    if not view.size:
        return None
    if view.low != view.high:
        return None
    return float(code.value[view.base]) if code.known[code.cells.cell(view.base)] else None


def simplified(code: Listing, block: Block) -> View | None:
    """Rewrite one map by identities that hold to the last bit; a view when the result is an operand, as it stands."""
    name = NAME[block.op]
    y = constant_of(code, block.reads[1]) if len(block.reads) > 1 else None
    x = constant_of(code, block.reads[0])
    if name == "square" or (name in ("power", "float_power") and y == 2.0):
        block.op, block.reads = OPCODE["multiply"], [block.reads[0], block.reads[0]]
    elif name in ("power", "float_power") and y == -1.0:
        block.op, block.reads = OPCODE["reciprocal"], block.reads[:1]
    elif name == "positive" or (y == 1.0 and name in ("power", "float_power", "multiply", "divide")):
        return block.reads[0]
    elif name == "multiply" and x == 1.0:
        return block.reads[1]
    elif (name == "add" and is_nothing(y)) or (name == "subtract" and y == 0.0 and not is_nothing(y)):
        return block.reads[0]
    elif name == "add" and is_nothing(x):
        return block.reads[1]
    elif name in ("keep", "drop") and y is not None and (y != 0.0) == (name == "keep"):
        return block.reads[0]
    return None


def folded(code: Listing, block: Block) -> bool:
    """Compute a single number from constants; whether it was one."""
    out = block.writes[0]
    if out.size != 1:
        return False
    numbers = [x for x in [constant_of(code, view) for view in block.reads] if x is not None]
    if len(numbers) < len(block.reads):
        return False
    code.value[out.base] = _passes.evaluate(block.op, numbers[0], numbers[1] if len(numbers) > 1 else 0.0)
    code.known[code.cells.cell(out.base)] = 1
    return True


def is_nothing(y: float | None) -> bool:
    """Whether a constant is -0.0, the identity of addition."""
    return y is not None and y == 0.0 and bool(np.signbit(y))


def same_space(view: View, out: View) -> bool:
    """Whether a view can stand for a result: elements in a row, as the result's are."""
    return view.shape == out.shape and view.strides == out.strides


class Straddled:
    """Knows between which slots a view of some block looks across."""

    def __init__(self, code: Listing) -> None:
        views = [view for block in code.blocks for view in (*block.reads, *block.writes) if view.size]
        self.lows = np.sort(np.array([view.low for view in views], np.int64))
        self.highs = np.sort(np.array([view.high for view in views], np.int64))

    def __call__(self, slots: Any) -> Any:
        """Whether a view begins before the slot and ends there or behind it; of one slot, or of each of an array."""
        return np.searchsorted(self.lows, slots) > np.searchsorted(self.highs, slots)


def separate(code: Listing) -> list[bool]:
    """By block: whether its result is written once, and no view of a block reaches across an end of it."""
    straddled = Straddled(code)
    firsts = np.array([block.writes[0].base for block in code.blocks], np.int64)
    ends = firsts + np.array([block.writes[0].size for block in code.blocks], np.int64)
    across = straddled(firsts) | straddled(ends)
    written = np.sort(np.array([view.base for block in code.blocks for view in block.writes], np.int64))
    times = np.searchsorted(written, firsts, side="right") - np.searchsorted(written, firsts)
    alone: list[bool] = (~across & (times == 1)).tolist()
    return alone


def simplify_blocks(code: Listing) -> dict[str, int]:
    """Simplify the maps among the blocks; returns how many are gone."""
    found: dict[Any, Block] = {}
    left, shared, identities = [], 0, 0
    cells, alias = code.cells, code.alias

    def stands_for(base: int, out: View) -> None:
        """Let the values of a result be those of a row of slots."""
        k, last = cells.cell(out.low), cells.cell(out.high)
        alias[k:last + 1] = cells.first[k:last + 1] + (base - out.base)

    for block, alone in zip(code.blocks, separate(code), strict=True):
        _passes.rename_operands(cells, [block], alias, all=True)
        if block.kind != "map":
            left.append(block)
            continue
        out = block.writes[0]
        if folded(code, block):
            identities += 1
            continue
        dense = alone and out.row and out.size > 0
        same = simplified(code, block)
        key = (block.op, out.shape, out.strides, *[(view.base, view.shape, view.strides) for view in block.reads])
        if dense and same is not None and same_space(same, out):
            identities += 1
            stands_for(same.base, out)
        elif dense and key in found:
            shared += 1
            stands_for(found[key].writes[0].base, out)
        else:
            if same is not None and block.op not in (OPCODE["positive"],):
                block.op, block.reads = OPCODE["positive"], [same]
            if dense:
                found[key] = block
            left.append(block)
    code.blocks = left
    code.a, code.b = code.now(code.a), code.now(code.b)
    return {"identities": identities, "shared": shared}
