from typing import final

import numpy as np
from numpy.typing import NDArray

from ._blocks import Slots

@final
class Fusion:
    def __init__(self, instructions: NDArray[np.void], scalars: NDArray[np.void], pool: NDArray[np.int64], n_image: int,
                 n_slots: int, wanted: Slots) -> None: ...
    def planned(self) -> tuple[NDArray[np.void], NDArray[np.int64], int]: ...
