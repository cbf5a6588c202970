"""Constant folding, exact identities and common subexpressions of operations on arrays."""
from __future__ import annotations

from bisect import bisect_left
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
    if any(n > 1 and s for n, s in zip(view.shape, view.strides, strict=True)):
        return None
    return float(code.value[view.base]) if code.known[view.base] else None


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
    code.known[out.base] = 1
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
        bounds = [view.bounds for block in code.blocks for view in (*block.reads, *block.writes) if view.size]
        self.lows, self.highs = [sorted(ends) for ends in zip(*bounds, strict=True)] if bounds else [[], []]

    def __call__(self, slot: int) -> bool:
        """Whether a view begins before the slot and ends there or behind it."""
        return bisect_left(self.lows, slot) > bisect_left(self.highs, slot)


def simplify_blocks(code: Listing) -> dict[str, int]:
    """Simplify the maps among the blocks; returns how many are gone."""
    found: dict[Any, Block] = {}
    written: dict[int, int] = {}
    for block in code.blocks:
        for view in block.writes:
            written[view.base] = written.get(view.base, 0) + 1
    straddled = Straddled(code)
    left, shared, identities = [], 0, 0
    if code.current is None:
        code.current = np.arange(len(code.value))
    alias = code.current                              # slot -> where its value stands

    def now(view: View) -> View:
        return View(int(alias[view.base]), view.shape, view.strides) if view.size else view

    for block in code.blocks:
        block.reads = [now(view) for view in block.reads]
        if block.index is not None:
            block.index = alias[block.index]
        if block.kind != "map":
            left.append(block)
            continue
        out = block.writes[0]
        if folded(code, block):
            identities += 1
            continue
        dense = (out.row and written[out.base] == 1
                 and not straddled(out.base) and not straddled(out.base + out.size))
        same = simplified(code, block)
        key = (block.op, out.shape, out.strides, *[(view.base, view.shape, view.strides) for view in block.reads])
        if dense and same is not None and same_space(same, out):
            identities += 1
            alias[out.base:out.base + out.size] = np.arange(same.base, same.base + out.size)
        elif dense and key in found:
            shared += 1
            there = found[key].writes[0].base
            alias[out.base:out.base + out.size] = np.arange(there, there + out.size)
        else:
            if same is not None and block.op not in (OPCODE["positive"],):
                block.op, block.reads = OPCODE["positive"], [same]
            if dense:
                found[key] = block
            left.append(block)
    code.blocks = left
    code.a, code.b = alias[code.a], alias[code.b]
    return {"identities": identities, "shared": shared}
