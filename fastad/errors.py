"""Errors of fastad: one class per misuse, each also an instance of the built-in error a caller would expect."""

__all__ = ["AuditError", "FormatError", "FreedGraphError", "GradientLostError", "NoGradientError",
           "NonFiniteError", "PathError", "TraceError"]


def refuse_masked(x: object, name: str) -> None:
    """Refuse a masked array, whose mask would be dropped silently."""
    if hasattr(x, "mask") and hasattr(x, "filled"):
        raise TypeError(f"{name}: masked arrays are not supported; fill them (x.filled(...)) and use np.where")


class FreedGraphError(RuntimeError):
    """A value was used whose graph has been freed by ``backward()``.

    Examples
    --------
    >>> import fastad as fa
    >>> y = fa.exp(fa.Variable(0.0))
    >>> y.backward()
    >>> y * 2.0
    Traceback (most recent call last):
    fastad.errors.FreedGraphError: multiply: this Variable belongs to a graph that backward() has freed; ...
    """


class NoGradientError(RuntimeError):
    """``backward()`` was called on a value that carries no gradient.

    Examples
    --------
    >>> import fastad as fa
    >>> fa.Variable(2.0).detach().backward()
    Traceback (most recent call last):
    fastad.errors.NoGradientError: backward: this value carries no gradient ...
    """


class TraceError(RuntimeError):
    """A function did something that cannot be replayed while it was traced for `compile`.

    `compile` catches it, warns once, and runs the function in Python.

    Examples
    --------
    >>> import warnings
    >>> import fastad as fa
    >>> w = fa.Variable(3.0)
    >>> v = w * 2.0                                   # recorded outside
    >>> with warnings.catch_warnings(record=True) as seen:
    ...     warnings.simplefilter("always")
    ...     value = fa.compile(lambda x: x * v)(1.0)
    >>> print(seen[0].message)
    fastad.compile: <lambda> cannot be traced: ...
    """


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

    Examples
    --------
    >>> import fastad as fa
    >>> try:
    ...     with fa.debug_nan():
    ...         fa.log(fa.Variable(-1.0))
    ... except fa.NonFiniteError as error:
    ...     print(error.operation, error.phase, error.place.line)
    log value 3
    """

    def __init__(self, text: str, operation: str = "", place: object = None, phase: str = "value") -> None:
        super().__init__(text)
        self.operation, self.place, self.phase = operation, place, phase


class GradientLostError(TypeError):
    """A conversion to a plain number or array would silently drop a gradient.

    Examples
    --------
    >>> import math
    >>> import fastad as fa
    >>> math.sin(fa.Variable(1.0))
    Traceback (most recent call last):
    fastad.errors.GradientLostError: float() or a function of the math module would drop the gradient ...
    """


class AuditError(RuntimeError):
    """A compiled function and the Python function it was made from have given different results.

    Examples
    --------
    >>> import fastad as fa
    >>> factor = 2.0
    >>> f = fa.compile(lambda x: factor * x, audit=1)
    >>> print(f(1.0))
    2.0
    >>> factor = 3.0
    >>> f(1.0)
    Traceback (most recent call last):
    fastad.errors.AuditError: <lambda>: the replay gives 2.0, the function 3.0: ...
    """


class FormatError(ValueError):
    """A file holds no program, or one that was damaged.

    Examples
    --------
    >>> import os, tempfile
    >>> import fastad as fa
    >>> name = os.path.join(tempfile.mkdtemp(), "nothing.fad")
    >>> with open(name, "w") as file:
    ...     _ = file.write("nothing")
    >>> fa.load(name)
    Traceback (most recent call last):
    fastad.errors.FormatError: ...
    """


class PathError(RuntimeError):
    """A loaded program met a branch that it was not saved with.

    Examples
    --------
    >>> import os, tempfile
    >>> import fastad as fa
    >>> f = fa.compile(lambda x: x * x if x > 0 else -x)
    >>> print(f(3.0))
    9.0
    >>> name = os.path.join(tempfile.mkdtemp(), "f.fad")
    >>> f.save(name)
    >>> fa.load(name)(-3.0)
    Traceback (most recent call last):
    fastad.errors.PathError: <lambda>: these arguments take a branch, ...
    """
