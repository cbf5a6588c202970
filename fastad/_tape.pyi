from collections.abc import Callable
from typing import Any, TypedDict, final

import numpy as np
from numpy.typing import NDArray

DISPATCH: str
KINDS: tuple[str, ...]
WIDE_TYPE: np.dtype[np.void]

class _BuildInfo(TypedDict):
    debug: bool
    compiler: str
    dispatch: str

@final
class Layout:
    @property
    def ndim(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def strides(self) -> tuple[int, ...]: ...

@final
class Binding: ...

@final
class Storage:
    data: Any
    grad: Any
    name: Any
    dtype: Any
    hooks: dict[Any, Any] | None

class Handle: ...

class Hook:
    @property
    def function(self) -> Callable[[Any], Any]: ...
    @property
    def name(self) -> str | None: ...
    @property
    def home(self) -> dict[Hook, Hook]: ...

@final
class Tape:
    def __len__(self) -> int: ...
    @property
    def n_collections(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def nbytes_used(self) -> int: ...
    @property
    def values(self) -> NDArray[np.float64]: ...
    @property
    def adjoints(self) -> NDArray[np.float64]: ...
    @property
    def records(self) -> NDArray[np.void]: ...

def build_info() -> _BuildInfo: ...
def tape() -> Tape: ...
def hook_result(function: Callable[[Any], Any], g: Any, name: str | None) -> Any: ...
def call_hooks(hooks: dict[Any, Callable[[Any], Any]], g: Any, name: str | None) -> Any: ...
