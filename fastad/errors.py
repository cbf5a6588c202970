"""Errors of fastad: one class per misuse, each also an instance of the built-in error a caller would expect."""

__all__ = ["AuditError", "FormatError", "FreedGraphError", "GradientLostError", "NoGradientError",
           "NonFiniteError", "PathError", "TraceError"]


class FreedGraphError(RuntimeError):
    """A value was used whose graph has been freed by ``backward()``."""


class NoGradientError(RuntimeError):
    """``backward()`` was called on a value that carries no gradient."""


class TraceError(RuntimeError):
    """A function did something that cannot be replayed while it was traced for `compile`."""


class NonFiniteError(FloatingPointError):
    """Under `debug_nan` a value or a gradient became nan or infinite.

    Attributes
    ----------
    operation : str
        What was computed, or differentiated.
    place : Place or None
        ``file``, ``line`` and ``function`` where it was recorded; None if that was before.
    phase : str
        ``"value"`` or ``"gradient"``.
    """

    def __init__(self, text: str, operation: str = "", place: object = None, phase: str = "value") -> None:
        super().__init__(text)
        self.operation, self.place, self.phase = operation, place, phase


class GradientLostError(TypeError):
    """A conversion to a plain number or array would silently drop a gradient."""


class AuditError(RuntimeError):
    """A compiled function and the Python function it was made from have given different results."""


class FormatError(ValueError):
    """A file holds no program, or one that was damaged."""


class PathError(RuntimeError):
    """A loaded program met a branch that it was not saved with."""
