"""The dtype of a recorded number.

``np.mean`` of an object array of numbers ends in ``total.dtype.type(total / n)``; with float64 itself that would be a
conversion to a plain float and lose the gradient. This stand-in is float64 in all else.
"""
from typing import Any

import numpy as np


class NumberDtype:
    """float64, except that ``type`` leaves Variables as they are."""

    dtype = np.dtype(np.float64)          # what NumPy asks for when it is given this as a dtype

    @staticmethod
    def type(x: Any) -> Any:
        """Convert to a float64 number, unless x has a gradient."""
        return x if hasattr(x, "backward") else np.float64(x)

    def __getattr__(self, name: str) -> Any:
        return getattr(np.dtype(np.float64), name)

    def __eq__(self, other: object) -> bool:
        return bool(self.dtype == other)

    def __hash__(self) -> int:
        return hash(self.dtype)

    def __repr__(self) -> str:
        return repr(self.dtype)

    def __str__(self) -> str:
        return str(self.dtype)


NUMBER = NumberDtype()
