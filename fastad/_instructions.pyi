from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ._blocks import Cells, Moves

KINDS: tuple[str, ...]
KIND: dict[str, int]
INSTRUCTION: np.dtype[np.void]
SCALAR: np.dtype[np.void]
NATIVE: tuple[str, ...]
STRIP: int
LINE: int
READING: int
WRITING: int
SHARING: int
LISTED: int

def aligned(slot: int) -> int: ...
def uses_of(instructions: NDArray[np.void], pool: NDArray[np.int64]) -> tuple[
    NDArray[np.int64], NDArray[np.int8], NDArray[np.int64], NDArray[np.int64]]: ...
def move_slots(instructions: NDArray[np.void], pool: NDArray[np.int64], moves: Moves) -> None: ...

@final
class Uses: ...

@final
class Tables:
    n_slots: int
    source: int
    @property
    def n_rows(self) -> int: ...
    @property
    def n_pool(self) -> int: ...
    @property
    def rows(self) -> NDArray[np.void]: ...
    @property
    def sources(self) -> NDArray[np.int64]: ...
    @property
    def pool(self) -> NDArray[np.int64]: ...
    def __init__(self, n_slots: int) -> None: ...
    def instruction(self, kind: str, *, n: int = 0, v: int = 0, a: int = 0, b: int = -1, ia: int = -1, ib: int = -1,
                    first: int = 0, count: int = 0, op: int = 0, aa: int = 1, ab: int = 1) -> None: ...
    def to_pool(self, numbers: Any) -> int: ...
    def repeated(self, slot: int, n: int) -> int: ...
    def lines(self, steps: list[Any], first: int, cells: Cells, place: NDArray[np.int64],
              constant: NDArray[np.int64]) -> int: ...
