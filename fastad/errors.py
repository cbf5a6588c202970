"""Errors of fastad: one class per misuse, each also an instance of the built-in error a caller would expect."""

__all__ = ["FreedGraphError", "GradientLostError", "NoGradientError"]


class FreedGraphError(RuntimeError):
    """A value was used whose graph has been freed by ``backward()``."""


class NoGradientError(RuntimeError):
    """``backward()`` was called on a value that carries no gradient."""


class GradientLostError(TypeError):
    """A conversion to a plain number or array would silently drop a gradient."""
