"""Programs: what a trace becomes, and how it looks."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np

from .._instructions import KINDS
from .._program import Code, Evaluator
from .listing import OPCODE, Listing, Slots
from .parts import in_parts
from .passes.blocks import simplify_blocks
from .passes.chains import join_chains
from .passes.dead import drop_dead
from .passes.emit import Emitter
from .passes.join import join_pieces
from .passes.regroup import regroup
from .passes.simplify import simplify
from .sparsity import Pattern

__all__ = ["Program", "build"]

#: A program that is printed shows so many lines of instructions, of guards and of results.
MOST_LINES = 200
NAMES = {code: name for name, code in OPCODE.items()}


class Program:
    """One kind of replay (value, gradient, ...) of one way through a function; immutable.

    Attributes
    ----------
    kind : str
        value, grad, vjp, jvp, hvp, jacobian or hessian.
    n_records : int
        Operations that were recorded.
    n_instructions : int
        Instructions that are executed: an operation on an array is one, and so is a scalar one.
    statistics : dict
        What each pass has done.
    pattern : Pattern or None
        Which elements of a sparse Jacobian or Hessian the result holds.

    Examples
    --------
    >>> import fastad as fa
    >>> f = fa.compile(lambda x: x * x + fa.sin(2.0 * x) * fa.sin(2.0 * x))
    >>> float(f(0.0))
    0.0
    >>> program = f.programs[0]
    >>> program.kind, program.n_records, program.n_instructions
    ('value', 8, 5)
    >>> program.statistics["simplify"]
    {'folded': 0, 'identities': 0, 'shared': 2}
    >>> print(program)
    <fastad program (value): 8 records, 5 instructions, 0 guards, workspace 0.1 kB>
      input    s2        ()
      scalar   s... = multiply(s2, s2)
      ...
    """

    def __init__(self, kind: str, evaluator: Evaluator, statistics: dict[str, Any], path: Any = None,
                 pattern: Pattern | None = None) -> None:
        self.kind, self.evaluator, self.statistics, self.path = kind, evaluator, statistics, path
        self.pattern = pattern
        in_parts(evaluator)
        self.n_records = int(statistics["records"])
        self.n_instructions = int(statistics["instructions"])

    def __repr__(self) -> str:
        size = 8 * self.evaluator.code.n_slots
        return (f"<fastad program ({self.kind}): {self.n_records} records, {self.n_instructions} instructions, "
                f"{len(self.evaluator.guards)} guards, workspace {size / 1e3:.1f} kB>")

    def __str__(self) -> str:
        return "\n".join(self.lines(MOST_LINES))

    def lines(self, most: int | None = None) -> Iterator[str]:
        """The listing, line by line.

        Parameters
        ----------
        most : int, optional
            Of inputs, captured arrays, instructions, guards and results show so many at most (all); ``print(program)``
            shows 200.

        Yields
        ------
        str
            Without the newline.

        Examples
        --------
        >>> import fastad as fa
        >>> f = fa.compile(lambda x: x * x + 1.0)
        >>> float(f(2.0))
        5.0
        >>> for line in f.programs[0].lines(most=1):
        ...     print(line)
        <fastad program (value): 3 records, 2 instructions, 0 guards, workspace 0.0 kB>
          input    s2        ()
          scalar   s3 = multiply(s2, s2)
          ... and 1 instruction more
          result   s4 ()
        """
        code, evaluator = self.evaluator.code, self.evaluator
        yield repr(self)
        yield from shown("input", evaluator.inputs, lambda z: [f"  input    s{z[0]:<8} {z[1]}"], most)
        yield from shown("captured array", evaluator.captures,
                         lambda z: [f"  captured s{z[1]:<8} {np.shape(z[0])}"], most)
        yield from shown("instruction", code.instructions, lambda row: described(row, code), most,
                         self.n_instructions)
        yield from shown("guard", list(zip(evaluator.guards, evaluator.expected, strict=True)),
                         lambda z: [f"  guard    s{z[0]} == {z[1]:g}"], most)
        yield from shown("result", evaluator.results, lambda z: [f"  result   {slots_text(z[1], code)} {z[0]}"], most)


def shown(what: str, rows: Any, text: Callable[[Any], list[str]], most: int | None,
          total: int | None = None) -> Iterator[str]:
    """The lines of some rows, `most` of them at most, and how many of `total` are left out then."""
    every = chain.from_iterable(map(text, rows))
    yield from islice(every, most)
    left = (len(rows) if total is None else total) - (most or 0)
    if next(every, None) is not None:
        yield f"  ... and {left:,} {what}{'s' if left > 1 else ''} more"


def slot_text(slot: Any, code: Any) -> str:
    """A slot, or the number that always stands there: constants come first."""
    return f"{code.image[slot]:g}" if slot < len(code.image) else f"s{slot}"


def slots_text(slots: Any, code: Any) -> str:
    """Slots, shortened."""
    if len(slots) == 1:
        return slot_text(slots[0], code)
    if len(slots) and bool((np.diff(slots) == 1).all()):
        return f"s{slots[0]}..{slots[-1]}"
    return "[" + " ".join([f"s{slot}" for slot in slots[:4]]) + (" ...]" if len(slots) > 4 else "]")


def described(row: Any, code: Any) -> list[str]:
    """Lines of the listing for one instruction."""
    kind, n, v = KINDS[row["kind"]], int(row["n"]), int(row["v"])
    if kind == "scalars":
        first = int(row["first"])
        return [f"  scalar   s{q['v']} = {NAMES[int(q['op'])]}"
                f"({', '.join([slot_text(q[name], code) for name in 'ab' if name == 'a' or q['b']])})"
                for q in code.scalars[first:first + n]]
    if kind == "run":
        return [f"  run      {row['count']} lines of {n}"]
    operands = []
    handed = kind == "line" and row["av"] < 0         # from a line to the next, in a register
    for k, (name, on, index) in enumerate((("a", row["aa"], row["ia"]), ("b", row["ab"], row["ib"]))):
        if index >= 0:
            operands.append(slots_text(code.pool[index:index + n], code))
        elif on < 0:
            operands.append("it")
        elif row[name] >= 0:
            width, _, count = code.pool[row["first"] + 3 * k:][:3] if on == 2 else (n if on else 1, 0, 1)
            last = row[name] + width * count - 1
            there = f"s{row[name]}..{last}" if last > row[name] else slot_text(row[name], code)
            operands.append(there + (" repeated" if on == 2 else ""))
    if kind == "sum":
        return [f"  sum      s{v} = sum of {', '.join(operands)}"]
    if kind in ("line", "map", "add"):
        name = NAMES[int(row["op"])]
        result = "it" if handed else f"s{v}..{v + n - 1}"
        return [f"  {kind:<8} {result} {'+=' if kind == 'add' else '='} {name}({', '.join(operands)})"]
    if kind == "chain":
        return [f"  chain    s{v}{f'..{v + n - 1}' if n > 1 else ''} = sum of {row['count']} terms, in order"]
    if kind == "call":
        return [f"  {'native' if row['op'] else 'call':<8} {code.calls[row['count']].name}"]
    return [f"  {kind:<8} s{v}..{v + n - 1} = {', '.join(operands)}"]


def build(listing: Listing, wanted: Sequence[Any], passes: bool = True,
          origins: list[Any] | None = None) -> tuple[Code, list[Any], list[int], dict[str, Any]]:
    """Compile a listing.

    Parameters
    ----------
    listing : Listing
        Is used up.
    wanted : sequence of Slots
        The slots of each result, as on the tape.
    passes : bool
        Whether to optimise; dead code goes in any case.
    origins : list, optional
        Gets the slots of the tape that each instruction computes.

    Returns
    -------
    code : Code
    results : list of Slots
        Where the slots of each result stand in the program, and at the end those of all guards.
    inputs : list of int
        Where each input of the listing stands.
    statistics : dict
        What each pass has done.
    """
    statistics: dict[str, Any] = {"records": listing.n_records}
    moved: dict[int, tuple[int, int]] = {}
    guards = Slots.of(np.concatenate([np.empty(0, np.int64), *listing.guards]))
    where = [*[listing.placed(slots) for slots in wanted], guards]
    zero = Slots.row(0, 1)
    listing.divide()
    if passes:
        statistics["simplify"] = simplify(listing)
        statistics["blocks"] = simplify_blocks(listing)
        where = [listing.now(listing.now(slots)) for slots in where]      # each may have moved what the other left
    everything = Slots.chained([*where, zero])
    statistics["dead"] = drop_dead(listing, everything)
    if passes:
        moved, where = join_pieces(listing, where[:-1], where[-1])
        statistics["joined"] = len(moved)
        everything = Slots.chained([*where, zero])
        statistics["chained"] = join_chains(listing, everything)
    steps = regroup(listing, *([] if passes else [1 << 60]))
    emitter = Emitter(listing, steps, everything, where[:len(wanted)])
    code = emitter.emit()
    if origins is not None:
        before = {there: first for first, (there, _) in moved.items()}
        origins += [slots - slots[0] + before[int(slots[0])] if len(slots) and int(slots[0]) in before else slots
                    for slots in emitter.origins]
    stretches = int((code.instructions["kind"] == 0).sum())
    statistics["instructions"] = len(code.instructions) + max(0, len(code.scalars) - stretches)
    starts = [emitter.spot(view.base) if view.size else 0 for view in listing.inputs]
    return code, [emitter.spots_of(slots) for slots in where], starts, statistics
