"""Observers: what sees every record of a tape come and go, and knows the line of the user's code that made it."""
from __future__ import annotations

import linecache
import sys
from bisect import bisect_right
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Observer", "Place", "user_place"]

#: Code in these directories is not the user's.
_SITE = Path(np.__file__).parents[1]
_NOT_THE_USERS = tuple(f"{path}/" for path in (Path(__file__).parent, _SITE / "numpy", _SITE / "scipy"))
_known: dict[CodeType, bool] = {}


class Place(NamedTuple):
    """A line of a program."""

    file: str
    line: int
    function: str

    @property
    def source(self) -> str:
        """The text of the line, where it can be read."""
        return linecache.getline(self.file, self.line).strip()

    def __str__(self) -> str:
        text = f'File "{self.file}", line {self.line}, in {self.function}'
        return f"{text}\n  {self.source}" if self.source else text


def is_users(code: CodeType) -> bool:
    """Whether code is neither fastad's nor NumPy's nor SciPy's."""
    known = _known.get(code)
    if known is None:
        known = _known[code] = not Path(code.co_filename).as_posix().startswith(_NOT_THE_USERS)
    return known


def user_place() -> Place:
    """The line of the user's code that runs."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not is_users(frame.f_code):
        frame = frame.f_back
    frame = frame or sys._getframe(1)
    return Place(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)


class Observer:
    """Sees the records of a tape; `fastad.variable.observe` lets it.

    This one notes where in the user's code each record was made. Records of a recorded sweep have the place of the
    records whose derivatives they are.

    Attributes
    ----------
    operands : sequence
        Those of the operation that is being recorded: Variables, arrays and None.
    origin : int
        The record whose derivative is being recorded, -1 when there is none.
    """

    def __init__(self) -> None:
        self.operands: Any = ()
        self.origin = -1
        self.starts: list[int] = []                   # from this record on ...
        self.places: list[Place | None] = []          # ... they were made here

    def here(self) -> Place | None:
        """Where the record that is going to be made comes from."""
        return user_place() if self.origin < 0 else self.place(self.origin)

    def recording(self, tape: Any) -> None:
        """There is room for further records, which are going to be made now."""
        place = self.here()
        n = len(tape)
        while self.starts and self.starts[-1] >= n:   # what was there has been cut off
            self.starts.pop()
            self.places.pop()
        if not self.places or self.places[-1] != place:
            self.starts.append(n)
            self.places.append(place)
        self.operands = ()

    def collecting(self, starts: list[int]) -> None:
        """The tape is compacted: the records have these numbers from now on."""
        kept = dict(zip(starts, self.places, strict=True))        # of those that have gone the last one counts
        self.starts[:], self.places[:] = kept.keys(), kept.values()

    def place(self, record: int) -> Place | None:
        """Where a record was made; None for one that is older than the observer."""
        k = bisect_right(self.starts, record)
        return self.places[k - 1] if k else None

    def computed(self, tape: Any, record: int, slot: int) -> None:
        """The values of a record are there; `slot` is the first one of its block."""

    def sweeping(self, tape: Any, record: int, slot: int) -> None:
        """A reverse sweep comes to a record: its adjoint is complete."""

    def swept(self, tape: Any, record: int, slot: int) -> None:
        """The operands of a record have got their part of its adjoint."""

    def replayed(self, name: str, program: Any, leaves: Any, results: Any) -> None:
        """A program has run of a function that has no Python code, which other functions run meanwhile."""
