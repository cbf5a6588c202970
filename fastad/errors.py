"""Errors of fastad: one class per misuse, each also an instance of the built-in error a caller would expect."""

__all__ = ["AuditError", "FormatError", "FreedGraphError", "GradientLostError", "NoGradientError", "PathError",
           "TraceError"]


class FreedGraphError(RuntimeError):
    """A value was used whose graph has been freed by ``backward()``."""


class NoGradientError(RuntimeError):
    """``backward()`` was called on a value that carries no gradient."""


class TraceError(RuntimeError):
    """A function did something that cannot be replayed while it was traced for `compile`."""


class GradientLostError(TypeError):
    """A conversion to a plain number or array would silently drop a gradient."""


class AuditError(RuntimeError):
    """A compiled function and the Python function it was made from have given different results."""


class FormatError(ValueError):
    """A file holds no program, or one that was damaged."""


class PathError(RuntimeError):
    """A loaded program met a branch that it was not saved with."""
