"""The scalar functions: ``fastad.sin`` and its kin, made by a loop over the table.

Each is a C function bound to its opcode, the fastest way to record in a scalar loop. On plain numbers and arrays it
gives what the NumPy or SciPy function of the row gives. ``math.pyi``, stamped by the build, declares them to type
checkers.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from . import ops, variable

if TYPE_CHECKING:
    from ._typing import Function, Value


def describe(row: ops.Op) -> str:
    """Docstring of a row's function: formula, domain and convention."""
    arguments = ", ".join("xy"[:row.arity])
    lines = [f"{row.name}({arguments}, /)", "--", "", row.summary or f"{row.name}.", ""]
    if not row.external:
        lines += [f"    {row.name}({arguments}) = {row.value}"]
    if row.dx is None:
        lines += ["    carries no gradient"]
    else:
        lines += [f"    d/dx = {ops.shown(row.dx)}" + ("   (v: the value)" if "v" in row.dx else "")]
        lines += [f"    d/dy = {ops.shown(row.dy)}"] if row.dy is not None else []
    lines += ["", row.convention, ""] if row.convention else [""]
    if row.numpy:
        lines += [f"Answers to ``{'scipy.' if row.numpy.startswith('special.') else 'numpy.'}{row.numpy}``.", ""]
    lines += ["Parameters", "----------", f"{arguments} : Variable, number or array_like", "",
              "Returns", "-------", "Variable, or what NumPy gives where no Variable is involved", "",
              "Examples", "--------", *example(row)]
    return "\n".join(lines)


def example(row: ops.Op) -> list[str]:
    """An example at a point of the domain: the gradient against differences; without one, the value against NumPy."""
    point = ", ".join([f"{low + 0.61 * (high - low):.4g}" for low, high in row.domain])
    if row.dx == "nan":                               # an order, such as that of polygamma
        return [">>> import fastad as fa", f">>> fa.gradcheck(lambda y: fa.{row.name}(2, y), 1.7)", "True"]
    if row.differentiable:
        return [">>> import fastad as fa", f">>> fa.gradcheck(fa.{row.name}, {point})", "True"]
    module = "scipy.special" if (row.numpy or "").startswith("special.") else "numpy"
    name = (row.numpy or row.name).removeprefix("special.")
    return [f">>> import fastad as fa, {module}",
            f">>> bool(fa.{row.name}({point}) == {module}.{name}({point}))", "True"]


#: Functions by the name of their row.
ROWS: dict[str, Function] = {
    row.name: variable.make_function(code, describe(row))
    for code, row in enumerate(ops.OPS, 1) if row.name not in ops.INTERNAL}
globals().update(ROWS)


def where(condition: Value, x: Value, y: Value) -> Value:
    """Take x where the condition holds, else y; what is not selected has no adjoint at all.

    Parameters
    ----------
    condition : array_like of bool
    x, y : Variable, number or array_like
        Broadcast against each other and the condition.

    Returns
    -------
    Variable, or what ``numpy.where`` gives where no Variable is involved

    Examples
    --------
    >>> import fastad as fa
    >>> float(fa.grad(lambda x: fa.where(x > 0, fa.sqrt(x), 0.0))(0.0))
    0.0
    """
    return variable.choose(condition, x, y)


def clip(x: Value, low: Value, high: Value) -> Value:
    """Limit x to the interval [low, high], ``minimum(maximum(x, low), high)``; a limit of None is none.

    Parameters
    ----------
    x : Variable, number or array_like
    low, high : Variable, number, array_like or None

    Returns
    -------
    Variable, or plain numbers where no Variable is involved

    Examples
    --------
    >>> import fastad as fa
    >>> x = fa.Variable(3.0)
    >>> fa.clip(x, -1.0, 1.0)
    Variable(1.)
    """
    if low is not None:
        x = ROWS["maximum"](x, low)
    return x if high is None else ROWS["minimum"](x, high)


__all__ = ["clip", "where", *ROWS]
