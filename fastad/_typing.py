"""Names for types, in one place; imported by type checkers only.

NumPy's stubs know nothing of ``__array_function__``, so what its functions give for a Variable is `Any` to a checker.
`Value` says in a signature what such an `Any` stands for.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Answer", "Argnums", "Array", "Axis", "Function", "Index", "Mode", "Options", "Order", "Overlap", "Plain",
           "Shape", "Ufunc", "Value"]

#: Values without gradient.
Array: TypeAlias = NDArray[np.float64]
#: Positions or other whole numbers.
Index: TypeAlias = NDArray[np.int64]
#: A Variable, or what NumPy gives where none takes part.
Value: TypeAlias = Any
#: Numbers and arrays without a Variable.
Plain: TypeAlias = float | np.generic | NDArray[Any] | Sequence[Any]
Shape: TypeAlias = tuple[int, ...]
Axis: TypeAlias = int | Sequence[int] | None
#: A function of NumPy's, and what answers it on Variables.
Function: TypeAlias = Callable[..., Any]
Answer: TypeAlias = Callable[..., Any]
Ufunc: TypeAlias = np.ufunc
#: Keyword arguments.
Options: TypeAlias = Mapping[str, Any]
#: Which positional arguments to differentiate with respect to.
Argnums: TypeAlias = int | list[int] | tuple[int, ...]
#: NumPy's words for the order of elements, for indices out of bounds and for the parts of a convolution.
Order: TypeAlias = Literal["C", "F", "A", "K"]
Mode: TypeAlias = Literal["raise", "wrap", "clip"]
Overlap: TypeAlias = Literal["full", "same", "valid"]
