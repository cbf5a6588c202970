"""How an answer to a NumPy function is declared, and what surrounds every answer.

An answer is a Python function with NumPy's names for its parameters. It only ever sees calls in which a recorded
Variable takes part; the other calls (constants, lists of numbers) go to NumPy itself with the plain values.
Parameters that no answer knows (``out``, ``where``, ``dtype`` and so on) are refused here, once for all functions.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from .. import variable
from ..errors import FreedGraphError
from ..variable import Variable, is_recorded, is_tracing, value_of
from . import traced

if TYPE_CHECKING:
    from .._typing import Answer, Function, Options, Value

F = TypeVar("F", bound="Function")

__all__ = ["ANSWERS", "METHODS", "answers", "any_recorded", "constant", "explained", "facts", "has_variables",
           "is_plain_default", "lifted", "plain", "plain_answers", "refusal", "reveal"]

#: NumPy function -> what answers it on Variables.
ANSWERS: dict[Any, Answer] = {}
#: Name of an ndarray method -> function of the Variable and the method's arguments.
METHODS: dict[str, Answer] = {}

#: What to do instead of a parameter that is refused.
WAY_OUT = {
    "out": "write the result in place afterwards: y[...] = ...",
    "where": "select with np.where(condition, x, y) before or after",
    "dtype": "fastad computes in float64; convert the result",
    "initial": "combine the result with the initial value afterwards",
    "order": "Variables are in C order",
    "casting": "fastad computes in float64",
}

#: Values of other parameters that change nothing.
SAYS_NOTHING = {"order": ("C", "K", "A"), "subok": (True, False), "casting": ("same_kind", "unsafe"), "copy": (False,)}


def refusal(name: str, key: str) -> TypeError:
    """The error for a parameter that has no meaning on Variables."""
    return TypeError(f"{name}: {key}= is not supported with Variables; {WAY_OUT.get(key, 'leave it out')}")


def is_plain_default(key: str, value: Any) -> bool:
    """Whether a parameter says no more than leaving it out would."""
    if value is None or value is np._NoValue:
        return True
    if key == "where":
        return value is True
    if key == "dtype":
        return value is float or np.dtype(value) == np.float64
    return isinstance(value, (str, bool)) and value in SAYS_NOTHING.get(key, ())


# ---- operands ----------------------------------------------------------------------------------------------
def anywhere(items: Iterable[Any], wanted: Callable[[Variable], bool]) -> bool:
    """Whether a Variable with a property stands among arguments, in lists of them or in object arrays."""
    for x in items:
        if isinstance(x, Variable):
            if wanted(x):
                return True
        elif isinstance(x, (list, tuple)):
            if anywhere(x, wanted):
                return True
        elif isinstance(x, np.ndarray) and x.dtype.kind == "O" and anywhere(x.flat, wanted):
            return True
    return False


def any_recorded(items: Iterable[Any]) -> bool:
    """Whether a gradient can flow through one of the arguments."""
    return anywhere(items, is_recorded)


def has_variables(items: Iterable[Any]) -> bool:
    """Whether a Variable of any kind is among the arguments."""
    return anywhere(items, lambda x: True)


def check_alive(x: Value) -> None:
    """Refuse the value of a freed graph."""
    try:
        x.register_hook(check_alive)
    except FreedGraphError as error:
        raise FreedGraphError(str(error).removeprefix("register_hook: ")) from None
    except RuntimeError:                              # a constant: its value may be used
        pass


def reveal(x: Value, check: bool = False) -> Value:
    """An argument with plain values in place of its Variables."""
    if isinstance(x, Variable):
        if check:
            check_alive(x)
        return value_of(x)
    if isinstance(x, (list, tuple)):
        items = [reveal(item, check) for item in x]
        return type(x)(*items) if hasattr(x, "_fields") else type(x)(items)
    if isinstance(x, np.ndarray) and x.dtype.kind == "O":
        return np.array([reveal(item, check) for item in x.flat], object).reshape(x.shape).astype(np.float64)
    return variable.freeze(x)


def facts(x: Value) -> Value:
    """What an answer may look at without a gradient: plain values; in a traced function the Variable, detached."""
    if isinstance(x, Variable) and is_recorded(x) and is_tracing():
        return x.detach()
    return np.asarray(value_of(x))


def constant(out: Value) -> Value:
    """A result without gradient: numbers as constant Variables, truth values and integers as they are."""
    if isinstance(out, (list, tuple)):
        items = [constant(item) for item in out]
        return type(out)(*items) if hasattr(out, "_fields") else type(out)(items)
    if isinstance(out, (np.ndarray, np.floating)) and out.dtype == np.float64:
        return Variable(out).detach()
    return out


def lifted(x: Value, name: str) -> Value:
    """An operand as a Variable or as a float64 array; constants become arrays."""
    if isinstance(x, Variable):
        return x if is_recorded(x) else variable.captured(np.asarray(reveal(x, check=True)))
    if isinstance(x, np.ndarray) and x.dtype.kind != "O" and is_tracing():
        return variable.captured(x, name)
    if not isinstance(x, np.ndarray) or x.dtype.kind == "O":
        x = variable.array(x, copy=False)
    if isinstance(x, Variable):
        return lifted(x, name)
    if x.dtype.kind == "c":
        raise TypeError(f"{name}: complex numbers are not supported; split them into real and imaginary parts")
    out = np.asarray(x, np.float64)
    return out[()] if out.ndim == 0 and is_tracing() else out          # a number is no live array


# ---- what surrounds an answer -------------------------------------------------------------------------------
def plain(function: Function, args: Iterable[Any], kwargs: Options, check: bool = True) -> Value:
    """What NumPy gives for the values, as a constant."""
    return constant(function(*[reveal(a, check) for a in args], **{k: reveal(a, check) for k, a in kwargs.items()}))


def by_name(function: Function, name: str, args: tuple[Any, ...], most: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional arguments beyond the first `most` under the names that NumPy gives them."""
    import inspect

    try:
        names = list(inspect.signature(function).parameters)[most:]
    except ValueError:
        names = []
    if len(args) - most > len(names):
        raise TypeError(f"{name}: {len(args)} positional arguments are too many")
    return args[:most], dict(zip(names, args[most:], strict=False))


def first_by_name(function: Function, kwargs: Options) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The first argument of a call that names it, as a positional one."""
    import inspect

    name = next(iter(inspect.signature(function).parameters))
    kwargs = dict(kwargs)
    return ((kwargs.pop(name),), kwargs) if name in kwargs else ((), kwargs)


def known(name: str, parameters: frozenset[str], open_ended: bool, kwargs: Options) -> dict[str, Any]:
    """The keyword arguments that an answer takes; one it does not know must say no more than its default."""
    taken = {}
    for key, value in kwargs.items():
        if key in parameters or (open_ended and key not in WAY_OUT):
            if value is not np._NoValue:
                taken[key] = value
        elif not is_plain_default(key, value):
            raise refusal(name, key)
    return taken


def name_of(function: Function) -> str:
    """``numpy.linalg.norm`` and its kin; ufuncs know only their last name."""
    module = getattr(function, "__module__", None) or "numpy"
    return f"{module}.{function.__name__}"


def shapes_of(args: Iterable[Any]) -> list[str]:
    """The shapes of the operands, for messages."""
    shapes = []
    for x in args:
        if isinstance(x, (Variable, np.ndarray)):
            shapes.append(str(tuple(x.shape)))
        elif isinstance(x, (list, tuple)) and any(isinstance(item, (Variable, np.ndarray)) for item in x):
            shapes.extend(shapes_of(x))
    return shapes


def explained(error: ValueError, name: str, args: Iterable[Any]) -> ValueError:
    """A ValueError of NumPy's with the name of the function and the shapes of its operands."""
    text = str(error)
    if type(error) is not ValueError or text.startswith("numpy."):
        return error
    return ValueError(f"{name}: {text} (operands of shapes {', '.join(shapes_of(args))})")


def surrounded(function: Function, answer: Answer, name: str) -> Answer:
    """The answer with everything that holds for all functions."""
    code = answer.__code__
    variadic, open_ended = bool(code.co_flags & 0x04), bool(code.co_flags & 0x08)     # *args, **kwargs
    most = code.co_argcount
    parameters = frozenset(code.co_varnames[:most + code.co_kwonlyargcount])

    def answered(*args: Any, **kwargs: Any) -> Value:
        if not args:                                  # np.flip(m=x): what is first in NumPy is first here
            args, kwargs = first_by_name(function, kwargs)
        if len(args) > most and not variadic:
            args, named = by_name(function, name, args, most)
            kwargs = {**named, **kwargs}
        if not any_recorded(args) and not (kwargs and any_recorded(kwargs.values())):
            return plain(function, args, kwargs)
        try:
            if is_tracing():
                return while_tracing(function, answer, args, kwargs, lambda k: known(name, parameters, open_ended, k))
            if kwargs:
                kwargs = known(name, parameters, open_ended, kwargs)
            return answer(*args, **kwargs)
        except ValueError as error:
            raise explained(error, name, args) from None

    answered.__name__ = answered.__qualname__ = function.__name__
    answered.__doc__ = answer.__doc__
    return answered


def while_tracing(function: Function, answer: Answer, args: tuple[Any, ...], kwargs: Options,
                  taken: Callable[[Options], dict[str, Any]]) -> Value:
    """An answer in a traced function.

    What it does not take from values without gradient NumPy does. A plain array that it has not made a live value of
    must stay as it is.
    """
    if kwargs.get("dtype") is not None and traced.free([*args, *kwargs.values()]):
        return traced.evaluate(function, args, kwargs)
    try:
        out = answer(*args, **taken(kwargs))
    except TypeError:
        if not traced.free([*args, *kwargs.values()]):
            raise
        return traced.evaluate(function, args, kwargs)
    for x in (*args, *kwargs.values()):
        for array in x if isinstance(x, (list, tuple)) else (x,):
            variable.freeze_unless_captured(array)
    return out


def answers(*functions: Function, method: str | None = None) -> Callable[[F], F]:
    """Decorator: the function below answers these NumPy functions, and the ndarray method of that name."""
    def install(answer: F) -> F:
        for function in functions:
            ANSWERS[function] = surrounded(function, answer, name_of(function))
        if method:
            METHODS[method] = ANSWERS[functions[0]] if functions else answer
        return answer
    return install


def plain_answers(*functions: Function, methods: Sequence[str] = ()) -> None:
    """Declare functions whose results carry no gradient: NumPy computes them from the values."""
    for function in functions:
        traced.CALLABLE[traced.name_of(function)] = function

        def answered(*args: Any, _function: Function = function, **kwargs: Any) -> Value:
            if is_tracing() and any_recorded((*args, *kwargs.values())):
                return traced.evaluate(_function, args, kwargs)
            if not is_plain_default("out", kwargs.get("out")):
                raise refusal(name_of(_function), "out")
            return plain(_function, args, kwargs, check=False)

        answered.__name__ = answered.__qualname__ = function.__name__
        ANSWERS[function] = answered
        if function.__name__ in methods:
            METHODS[function.__name__] = answered
