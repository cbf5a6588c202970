"""Structured parameters: a number, an array or a nested container as one vector, and back."""
from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import refuse_masked
from ..tree import flatten, flatten_like

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["Form", "as_array"]


def as_array(value: Any, what: str) -> Any:
    """A number or an array as an array; Variables and masked arrays are refused."""
    refuse_masked(value, what)
    try:
        return np.asarray(value)
    except TypeError as error:                        # a Variable says why
        raise TypeError(f"{what}: {error}") from None


class Form:
    """The form of x0, a number, an array or a nested container, and the vector of all its entries.

    Parameters
    ----------
    x0 : number, array_like or nested container
        What is optimised. A list of nothing but numbers is a vector, as for SciPy.
    name, argument : str
        Who asks, and what x0 is called there, for messages.

    Examples
    --------
    >>> form = Form({"a": [1, 2.5], "b": 3.0})
    >>> form.start
    array([1. , 2.5, 3. ])
    >>> form.tree_of(form.start)["b"]
    np.float64(3.0)
    """

    def __init__(self, x0: Any, name: str = "minimize", argument: str = "x0") -> None:
        self.name, self.argument = name, argument
        if type(x0) is list and x0 and all(isinstance(x, (int, float, np.number)) for x in x0):
            x0 = np.asarray(x0)
        self.tree = x0
        self.leaves, self.rebuild = flatten(x0)
        if x0 is None:
            raise ValueError(f"{name}: {argument}=None; numbers, arrays or containers of them are needed")
        arrays = [as_array(leaf, f"{name}: {argument}") for leaf in self.leaves]
        for a in arrays:
            if a.dtype.kind not in "fiu":
                raise ValueError(f"{name}: {argument} has an entry of dtype {a.dtype}; real numbers and arrays are "
                                 "needed")
        self.shapes = [a.shape for a in arrays]
        self.dtypes = [a.dtype if a.dtype.kind == "f" else np.dtype(np.float64) for a in arrays]
        self.sizes = [a.size for a in arrays]
        self.start = self.vector(arrays)
        #: Whether the parameters are a vector already.
        self.is_vector = isinstance(x0, np.ndarray) and x0.ndim == 1

    @staticmethod
    def vector(leaves: list[Any]) -> Array:
        """All entries in one row."""
        return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in leaves]) if leaves else np.empty(0)

    def not_empty(self, what: str) -> Form:
        """Itself, refused where there are no numbers."""
        if not self.start.size:
            raise ValueError(f"{self.name}: {self.argument} has no numbers; {what} needs some")
        return self

    def split(self, x: Any) -> Any:
        """The container with views of x, an array or a Variable."""
        parts, first = [], 0
        for shape, size in zip(self.shapes, self.sizes, strict=True):
            parts.append(x[first:first + size].reshape(shape) if shape else x[first])
            first += size
        return self.rebuild(parts)

    def tree_of(self, x: Array, own_dtype: bool = False) -> Any:
        """The container with the entries of x, in float64 or in the dtypes of x0."""
        parts, first = [], 0
        for shape, size, dtype in zip(self.shapes, self.sizes, self.dtypes, strict=True):
            part = x[first:first + size].reshape(shape)
            parts.append((part.astype(dtype) if own_dtype else part.copy())[()])
            first += size
        return self.rebuild(parts)

    def vector_of(self, tree: Any, what: str) -> Array:
        """The vector from a container of this form, such as a gradient."""
        plain = self.is_vector and type(tree) is np.ndarray
        found: Array = tree if plain else self.vector(flatten_like(self.tree, tree, f"{self.name}: {what}"))
        if found.shape != self.start.shape:
            raise ValueError(f"{self.name}: {what} has shape {found.shape}; {self.argument} has {self.start.size} "
                             "numbers")
        return found

    def matrix_of(self, tree: Any, what: str) -> Array:
        """A row for each output and a column for each entry, from a Jacobian in this form."""
        if self.is_vector and type(tree) is np.ndarray and tree.ndim == 2:
            return tree
        parts = flatten_like(self.tree, tree, f"{self.name}: {what}")
        if any(np.size(part) % max(size, 1) for part, size in zip(parts, self.sizes, strict=True)):
            shapes = " and ".join([str(np.shape(part)) for part in parts])
            raise ValueError(f"{self.name}: {what} has shape {shapes}; a row for each output is needed, of the numbers "
                             f"of {self.argument}")
        blocks = [np.asarray(part).reshape(-1, size) for part, size in zip(parts, self.sizes, strict=True)]
        return blocks[0] if len(blocks) == 1 else np.hstack(blocks)

    def tree_of_rows(self, matrix: Array) -> Any:
        """A Jacobian in this form: in the place of each array one more axis in front, for the outputs."""
        ends = np.cumsum(self.sizes)
        parts = [matrix[:, end - size:end].reshape(-1, *shape)
                 for shape, size, end in zip(self.shapes, self.sizes, ends, strict=True)]
        return self.rebuild(parts)

    def vector_like(self, tree: Any, none: float, what: str) -> Array:
        """A number for each entry, from a number for all, or from numbers, arrays or None (`none`) for the leaves."""
        if tree is None or isinstance(tree, (int, float, np.number)):
            return np.full(self.start.shape, none if tree is None else tree, np.float64)
        return self.limits(flatten_like(self.tree, tree, f"{self.name}: {what}"), none, what)

    def limits(self, leaves: Sequence[Any], none: float, what: str) -> Array:
        """A number for each entry, from a number, an array or None (`none`) for each leaf."""
        try:
            return self.vector([np.broadcast_to(none if leaf is None else leaf, shape)
                                for leaf, shape in zip(leaves, self.shapes, strict=True)])
        except (ValueError, TypeError) as error:
            raise ValueError(f"{self.name}: {what} does not fit {self.argument}: {error}") from None
