"""Structured parameters: a number, an array or a nested container as one vector, and back."""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..tree import flatten

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["Form"]


class Form:
    """The form of x0, a number, an array or a nested container, and the vector of all its entries.

    Parameters
    ----------
    x0 : number, array_like or nested container
        What is optimised.
    name : str
        Who asks, for messages.

    Examples
    --------
    >>> form = Form({"a": [1, 2.5], "b": 3.0})
    >>> form.start
    array([1. , 2.5, 3. ])
    >>> form.tree_of(form.start)["b"]
    np.float64(3.0)
    """

    def __init__(self, x0: Any, name: str = "minimize") -> None:
        self.name = name
        self.tree = x0
        self.leaves, self.rebuild = flatten(x0)
        arrays = [np.asarray(leaf) for leaf in self.leaves]
        for a in arrays:
            if a.dtype.kind not in "fiu":
                raise ValueError(f"{name}: x0 has an entry of dtype {a.dtype}; real numbers and arrays are needed")
        self.shapes = [a.shape for a in arrays]
        self.dtypes = [a.dtype if a.dtype.kind == "f" else np.dtype(np.float64) for a in arrays]
        self.start = self.vector(arrays)

    @staticmethod
    def vector(leaves: list[Any]) -> Array:
        """All entries in one row."""
        return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in leaves]) if leaves else np.empty(0)

    def tree_of(self, x: Array, own_dtype: bool = False) -> Any:
        """The container with the entries of x, in float64 or in the dtypes of x0."""
        parts, first = [], 0
        for shape, dtype in zip(self.shapes, self.dtypes, strict=True):
            size = int(np.prod(shape, dtype=np.int64))
            part = x[first:first + size].reshape(shape)
            parts.append((part.astype(dtype) if own_dtype else part.copy())[()])
            first += size
        return self.rebuild(parts)
