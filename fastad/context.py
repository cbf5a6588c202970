"""Contexts in which computing means something else."""
from contextlib import ContextDecorator
from types import TracebackType
from typing import Self

from . import variable

__all__ = ["no_grad"]


class no_grad(ContextDecorator):  # noqa: N801  a context manager, named like PyTorch's
    """Context manager and decorator: what is computed inside is not recorded; it holds for the calling thread.

    Examples
    --------
    >>> import fastad as fa
    >>> x = fa.Variable(2.0)
    >>> with fa.no_grad():
    ...     y = x * x
    >>> float(y)
    4.0
    """

    def __enter__(self) -> Self:
        variable.pause(1)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        variable.pause(-1)
