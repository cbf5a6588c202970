"""Errors of fastad: one class per misuse, each also an instance of the built-in error a caller would expect."""

__all__ = ["FreedGraphError", "GradientLostError", "NoGradientError", "TraceError"]


class FreedGraphError(RuntimeError):
    """A value was used whose graph has been freed by ``backward()``."""


class NoGradientError(RuntimeError):
    """``backward()`` was called on a value that carries no gradient."""


class TraceError(RuntimeError):
    """A function did something that cannot be replayed while it was traced for `compile`."""


class GradientLostError(TypeError):
    """A conversion to a plain number or array would silently drop a gradient."""
