"""Functions of scipy.special: the table's rows under SciPy's names, and composites that SciPy has as Python functions.

On plain numbers and arrays each gives SciPy's result. ``special.pyi``, stamped by the build, declares the rows to type
checkers.
"""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import math as rows
from . import ops
from .numpy_api.registry import any_recorded, facts, has_variables, lifted, plain

if TYPE_CHECKING:
    from ._typing import Array, Axis, Value

_NAMED = ops.special_names()
globals().update({name: rows.ROWS[row] for name, row in _NAMED.items()})
__all__ = ["log_softmax", "logsumexp", "softmax", *_NAMED]


def scipys(name: str, *args: Any, **kwargs: Any) -> Value:
    """SciPy's own function on plain values."""
    import scipy.special

    function = getattr(scipy.special, name)
    if not has_variables((*args, *kwargs.values())):
        return function(*args, **kwargs)
    return plain(function, args, kwargs)


def largest(values: Array, axis: Axis) -> Array:
    """The largest element over axes, kept as axes of length 1; 0 where it is not finite."""
    m = np.max(values, axis=axis, keepdims=True, initial=-np.inf)
    return np.where(np.isfinite(m), m, 0.0)


def logsumexp(a: Value, axis: Axis = None, b: Value = None, keepdims: bool = False, return_sign: bool = False) -> Value:
    """log(sum(exp(a))) without overflow.

    Parameters
    ----------
    a : array_like or Variable
    axis : None, int or tuple of int
        Axes of the sum, all by default.
    b : array_like or Variable, optional
        Factors of exp(a).
    keepdims : bool
        Whether the axes stay with length 1.
    return_sign : bool
        For plain arrays only.

    Returns
    -------
    Variable, or what ``scipy.special.logsumexp`` gives where no Variable is involved

    Notes
    -----
    The gradient is the softmax. Where the largest element is infinite, the elements equal to it share it equally.

    Raises
    ------
    TypeError
        For `return_sign` with Variables.

    Examples
    --------
    >>> import numpy as np
    >>> import fastad as fa
    >>> fa.grad(fa.logsumexp)(np.array([1000.0, 1000.0]))
    array([0.5, 0.5])
    """
    if not any_recorded((a, b)):
        return scipys("logsumexp", a, axis=axis, b=b, keepdims=keepdims, return_sign=return_sign)
    if return_sign:
        raise TypeError("logsumexp: return_sign= is not supported with Variables; "
                        "np.log(np.abs(np.sum(b * np.exp(a)))) gives the logarithm of the magnitude")
    x = lifted(a, "logsumexp")
    if b is not None:
        return weighted_logsumexp(x, lifted(b, "logsumexp"), axis, keepdims)
    values = facts(x)
    m = np.max(values, axis=axis, keepdims=True, initial=-np.inf)
    infinite = np.isinf(m)
    shift = np.where(infinite, 0.0, m)
    # The largest element, exp(0) = 1, is taken out of the sum: log1p keeps the digits of what the others add.
    out = np.log1p(others(x, shift, values == m, axis, keepdims)) + fitted(shift, axis, keepdims)
    if not np.any(infinite):
        return out
    return np.where(fitted(infinite, axis, keepdims), np.max(x, axis=axis, keepdims=keepdims), out)


def others(x: Value, m: Array, tops: Array, axis: Axis, keepdims: bool) -> Value:
    """The sum of exp(x - m) without one of the largest elements, `tops`, each of which is 1."""
    ones = tops.astype(np.float64)
    return (np.sum(np.exp(x - m) - ones, axis=axis, keepdims=keepdims)
            + (np.sum(ones, axis=axis, keepdims=keepdims) - 1.0))


def fitted(kept: Value, axis: Axis, keepdims: bool) -> Value:
    """A reduction with axes of length 1 as `keepdims` wants it."""
    return kept if keepdims else np.squeeze(kept, axis=axis if axis is not None else tuple(range(kept.ndim)))


def weighted_logsumexp(x: Value, b: Value, axis: Axis, keepdims: bool) -> Value:
    """log(sum(b exp(x))); what has the factor 0 takes no part, even where x is infinite."""
    x, b = np.broadcast_arrays(x, b)
    values = np.where(facts(b) == 0.0, -np.inf, facts(x))
    m = largest(values, axis)
    terms = np.where(values == -np.inf, 0.0, b * np.exp(x - m))
    return np.log(np.sum(terms, axis=axis, keepdims=keepdims)) + fitted(m, axis, keepdims)


def softmax(x: Value, axis: Axis = None) -> Value:
    """exp(x) / sum(exp(x)) without overflow.

    Parameters
    ----------
    x : array_like or Variable
    axis : None, int or tuple of int
        Axes of the sum, all by default.

    Returns
    -------
    Variable, or what ``scipy.special.softmax`` gives where no Variable is involved

    Examples
    --------
    >>> import fastad as fa
    >>> fa.softmax([0.0, 0.0])
    array([0.5, 0.5])
    """
    if not any_recorded((x,)):
        return scipys("softmax", x, axis=axis)
    a = lifted(x, "softmax")
    e = np.exp(a - np.max(facts(a), axis=axis, keepdims=True))
    return e / np.sum(e, axis=axis, keepdims=True)


def log_softmax(x: Value, axis: Axis = None) -> Value:
    """log(softmax(x)) with all its digits.

    Parameters
    ----------
    x : array_like or Variable
    axis : None, int or tuple of int
        Axes of the sum, all by default.

    Returns
    -------
    Variable, or what ``scipy.special.log_softmax`` gives where no Variable is involved

    Examples
    --------
    >>> import fastad as fa
    >>> fa.log_softmax([0.0, 800.0])
    array([-800.,    0.])
    """
    if not any_recorded((x,)):
        return scipys("log_softmax", x, axis=axis)
    a = lifted(x, "log_softmax")
    values = facts(a)
    m = largest(values, axis)
    # As in logsumexp the largest element is taken out of the sum, where it is finite.
    return a - m - np.log1p(others(a, m, values == m, axis, keepdims=True))
