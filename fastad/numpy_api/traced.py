"""What a traced function needs beside the table: primitives, CALL records whose rules are known by name.

A primitive's rule has ``name``, ``params`` (JSON will do), ``forward(inputs)``, a pure function of flat float64 arrays
and the parameters that gives a list of arrays (an error means that the program does not fit the inputs), and
``recorded_pull(operands, results, upstream)``, the gradients of the operands as NumPy functions of flat Variables
(None: no gradient; entries of `upstream` may be None).
"""
from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .. import variable
from ..variable import Discrete, Variable
from .products import cumprod_gradient, cumsum_gradient, prod_gradient

if TYPE_CHECKING:
    from .._typing import Array, Function, Options, Shape, Value

__all__ = ["PRIMITIVES", "Primitive", "evaluate", "extremum", "folded", "free", "indexed", "take"]

#: Name -> class of the rule; ``PRIMITIVES[name](**params)`` is the rule again.
PRIMITIVES: dict[str, type[Primitive]] = {}


class Primitive:
    """The rule of a CALL record whose gradient is nothing where its upstream is."""

    name: ClassVar[str] = ""
    exact = True

    def __init__(self, **params: Any) -> None:
        self.params = params

    def __init_subclass__(cls) -> None:
        PRIMITIVES[cls.name] = cls

    def forward(self, inputs: list[Array]) -> list[Array]:
        """The results for flat inputs."""
        raise NotImplementedError

    def native(self) -> tuple[str, tuple[int, ...]] | None:
        """What a program does itself in place of `forward`: its name in ``_program.NATIVE``, and its numbers."""
        return None

    def recorded_pull(self, operands: list[Value], results: list[Value], upstream: list[Value]) -> list[Value]:
        """The gradients of the operands; here for results that carry none."""
        return [None] * len(operands)


def record(rule: Primitive, operands: Sequence[Value], dtypes: Sequence[Any] | None = None) -> list[Value]:
    """Carry out and record a primitive; results with a dtype carry no gradient."""
    values = [np.asarray(variable.unguarded(x), np.float64).reshape(-1) for x in operands]
    with np.errstate(all="ignore"):
        outs = rule.forward(values)
    made = variable.call(rule, operands, outs, rule.name)
    return made if dtypes is None else [variable.discrete(v, d) for v, d in zip(made, dtypes, strict=True)]


# ---- arguments as JSON ---------------------------------------------------------------------------------------
class UnsuitableError(Exception):
    """An argument that has no form in JSON."""


def encode(x: Any, operands: list[Any]) -> Any:
    """An argument in JSON's terms; Variables and arrays go to `operands`."""
    if isinstance(x, np.ndarray) and x.dtype.kind == "O":
        raise UnsuitableError
    if isinstance(x, Variable) and not variable.is_recorded(x):
        x = np.asarray(x.value)
    if isinstance(x, (Variable, np.ndarray)):
        operands.append(variable.captured(x))
        return {"operand": len(operands) - 1}
    if x is None or type(x) in (bool, int, float, str):
        return x
    if type(x) in (np.bool_, np.int64, np.float64):
        return x.item()
    if type(x) is tuple:
        return {"tuple": [encode(item, operands) for item in x]}
    if type(x) is list:
        return [encode(item, operands) for item in x]
    if isinstance(x, slice):
        return {"slice": [encode(item, operands) for item in (x.start, x.stop, x.step)]}
    if x is Ellipsis:
        return {"ellipsis": True}
    if isinstance(x, (type, np.dtype)) and np.dtype(x).kind in "biuf":
        return {"dtype": np.dtype(x).str}
    raise UnsuitableError


def decode(x: Any, operands: Sequence[Any]) -> Any:
    """The argument that `encode` has made a template of."""
    if isinstance(x, list):
        return [decode(item, operands) for item in x]
    if not isinstance(x, dict):
        return x
    (kind, what), = x.items()
    if kind == "operand":
        return operands[what]
    if kind == "dtype":
        return np.dtype(what)
    if kind == "ellipsis":
        return Ellipsis
    items = [decode(item, operands) for item in what]
    return slice(*items) if kind == "slice" else tuple(items)


def as_given(flat: Iterable[Array], shapes: Sequence[Any], dtypes: Sequence[str]) -> list[Any]:
    """Flat operands with the shapes and dtypes that NumPy is to see."""
    return [a.reshape(shape).astype(dtype)[()] for a, shape, dtype in zip(flat, shapes, dtypes, strict=True)]


def kinds_of(operands: Sequence[Any]) -> dict[str, Any]:
    """Shapes and dtypes for `as_given`."""
    return {"shapes": [list(x.shape) for x in operands],
            "dtypes": [(x.dtype if isinstance(x, Discrete) else np.dtype(np.float64)).str for x in operands]}


# ---- functions whose results carry no gradient ---------------------------------------------------------------
#: Functions whose result has a shape that depends on the values: these are guarded.
BY_VALUE = {np.nonzero, np.flatnonzero, np.argwhere, np.bincount, np.histogram, np.unique, np.extract, np.compress}

#: Functions that look at shape and dtype alone.
BY_SHAPE = {np.isrealobj, np.iscomplexobj, np.result_type, np.can_cast, np.min_scalar_type, np.common_type,
            np.zeros_like, np.ones_like, np.empty_like, np.einsum_path, np.diag_indices_from,
            np.tril_indices_from, np.triu_indices_from}

#: Functions that show values to somebody who decides nothing by them.
SHOWN = {np.array2string, np.array_repr, np.array_str}

#: What a primitive may call, by name.
CALLABLE: dict[str, Function] = {}


def name_of(function: Function) -> str:
    """The name under which `CALLABLE` knows a function."""
    module = getattr(function, "__module__", None) or "numpy"
    return f"{module}.{function.__name__}"


class OfNumPy(Primitive):
    """A function of NumPy's whose results carry no gradient."""

    name = "numpy"

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        if params["function"] not in CALLABLE:
            raise ValueError(f"primitive 'numpy': {params['function']!r} is not among the functions it may call")

    def raw(self, inputs: list[Array]) -> Any:
        """What NumPy gives."""
        p = self.params
        operands = as_given(inputs, p["shapes"], p["dtypes"])
        named = {key: decode(value, operands) for key, value in p["named"].items()}
        return CALLABLE[p["function"]](*decode(p["args"], operands), **named)

    def forward(self, inputs: list[Array]) -> list[Array]:
        """The results as float64; a ValueError where the inputs give results of other shapes."""
        out = self.raw(inputs)
        parts = out if isinstance(out, tuple) else (out,)
        if [list(np.shape(a)) for a in parts] != self.params["results"]:
            raise ValueError(f"{self.params['function']}: the shape of the result has changed")
        return [np.asarray(a, np.float64) for a in parts]

    def native(self) -> tuple[str, tuple[int, ...]] | None:
        """A largest or smallest element over an axis; of truth values it says whether any or all hold."""
        p = self.params
        name, dtype = {"numpy.max": ("maximum", "<f8"), "numpy.min": ("minimum", "<f8"),
                       "numpy.any": ("maximum", "|b1"), "numpy.all": ("minimum", "|b1")}.get(p["function"], (None, ""))
        named = dict(p["named"])
        named.pop("keepdims", None)
        if named.get("initial") == {"maximum": -np.inf, "minimum": np.inf}.get(name or ""):
            named.pop("initial", None)
        axis = named.pop("axis", None)
        if name is None or named or p["args"] != {"tuple": [{"operand": 0}]} or p["dtypes"] != [dtype]:
            return None
        return reduced(name, p["shapes"][0], axis)


def reduced(name: str, shape: Sequence[int], axis: Any) -> tuple[str, tuple[int, ...]] | None:
    """The native form of an extremum over neighbouring axes, at most all of them; None where it has none."""
    axes = tuple(range(len(shape))) if axis is None else axis if isinstance(axis, (list, tuple)) else (axis,)
    axes = sorted(d + len(shape) if d < 0 else d for d in axes) if all(type(d) is int for d in axes) else []
    if not axes or axes != list(range(axes[0], axes[-1] + 1)) or 0 in shape:
        return None
    return name, (math.prod(shape[:axes[0]]), math.prod(shape[axes[0]:axes[-1] + 1]), math.prod(shape[axes[-1] + 1:]))


def free(items: Iterable[Any]) -> bool:
    """Whether Discretes are among some arguments, and no Variable that carries a gradient."""
    found = False
    for x in items:
        if isinstance(x, (list, tuple)):
            if x and any(isinstance(item, (Variable, list, tuple)) for item in x):
                if not free(x):
                    return False
                found = True
        elif isinstance(x, Variable):
            if not isinstance(x, Discrete) and variable.is_recorded(x):
                return False
            found = True
    return found


def dummies(x: Any) -> Any:
    """Zeros in the place of Variables."""
    if isinstance(x, Variable):
        return np.zeros(x.shape, x.dtype)
    return type(x)([dummies(item) for item in x]) if isinstance(x, (list, tuple)) else x


def plainly(x: Any) -> Any:
    """Values in the place of Variables, guarded."""
    if isinstance(x, Variable):
        return variable.value_of(x)
    if isinstance(x, (list, tuple)):
        return type(x)([plainly(item) for item in x])
    return variable.freeze(x)


def evaluate(function: Function, args: Sequence[Any], kwargs: Options) -> Value:
    """A function without gradient in a traced function: recorded where it can be, else guarded."""
    if function in BY_SHAPE:
        return function(*[dummies(a) for a in args], **{k: dummies(a) for k, a in kwargs.items()})
    if function in SHOWN:
        return function(*[variable.unguarded(a) for a in args], **kwargs)
    if function not in BY_VALUE and CALLABLE.get(name_of(function)) is function:
        operands: list[Any] = []
        try:
            params = {"args": encode(tuple(args), operands), "function": name_of(function),
                      "named": {key: encode(a, operands) for key, a in kwargs.items() if a is not np._NoValue}}
        except UnsuitableError:
            operands = []
        if operands:
            rule = OfNumPy(**params, **kinds_of(operands))
            out = rule.raw([np.asarray(variable.unguarded(x), np.float64).reshape(-1) for x in operands])
            parts = out if isinstance(out, tuple) else (out,)
            if all(np.asarray(a).dtype.kind in "biuf" for a in parts):
                rule.params["results"] = [list(np.shape(a)) for a in parts]
                made = record(rule, operands, [np.asarray(a).dtype for a in parts])
                return tuple(made) if isinstance(out, tuple) else made[0]
    return function(*[plainly(a) for a in args], **{k: plainly(a) for k, a in kwargs.items()})


# ---- gathering by indices that are traced --------------------------------------------------------------------
class Positions(Primitive):
    """Positions in C order of what an index selects."""

    name = "positions"

    def forward(self, inputs: list[Array]) -> list[Array]:
        """Positions as numbers."""
        p = self.params
        places = np.arange(math.prod(p["shape"])).reshape(p["shape"])
        return [np.asarray(places[decode(p["index"], as_given(inputs, p["shapes"], p["dtypes"]))], np.float64)]


class Take(Primitive):
    """Rows of a flat source, `width` elements each, by their positions; negative ones count from the end."""

    name = "take"

    @property
    def width(self) -> int:
        """How many elements a row has."""
        return int(self.params.get("width", 1))

    def forward(self, inputs: list[Array]) -> list[Array]:
        """The rows."""
        return [inputs[0].reshape(-1, self.width)[inputs[1].astype(np.int64)].reshape(-1)]

    def native(self) -> tuple[str, tuple[int, ...]]:
        """The same."""
        return "take", (self.width,)

    def recorded_pull(self, operands: list[Value], results: list[Value], upstream: list[Value]) -> list[Value]:
        """Each element's gradient goes where it came from."""
        return [record(PutAdd(size=operands[0].size, width=self.width), [upstream[0], operands[1]])[0], None]


class PutAdd(Primitive):
    """A vector that is the sum of rows at their positions, and nothing elsewhere."""

    name = "put_add"

    @property
    def width(self) -> int:
        """How many elements a row has."""
        return int(self.params.get("width", 1))

    def forward(self, inputs: list[Array]) -> list[Array]:
        """The vector."""
        out = np.full((self.params["size"] // self.width, self.width), -0.0)
        np.add.at(out, inputs[1].astype(np.int64), inputs[0].reshape(-1, self.width))
        return [out.reshape(-1)]

    def native(self) -> tuple[str, tuple[int, ...]]:
        """The same."""
        return "put_add", (self.width,)

    def recorded_pull(self, operands: list[Value], results: list[Value], upstream: list[Value]) -> list[Value]:
        """The gradient of the rows."""
        return [record(Take(width=self.width), [upstream[0], operands[1]])[0], None]


def take(x: Variable, positions: Variable, rows: bool = False) -> Value:
    """Elements of x by positions in C order that are traced themselves; its rows, along the first axis, on request."""
    shape = x.shape[1:] if rows else ()
    out = record(Take(width=math.prod(shape)), [np.ravel(x), np.ravel(positions)])[0]
    if isinstance(x, Discrete):
        out = variable.discrete(out, x.dtype)
    return np.reshape(out, (*positions.shape, *shape))


def indexed(x: Variable, key: Any) -> Value:
    """``x[key]`` where whole numbers in the key are traced; truth values decide the shape and are guarded."""
    items = list(key) if isinstance(key, tuple) else [key]
    for k, item in enumerate(items):
        if isinstance(item, Discrete):
            if item.dtype.kind == "b":
                items[k] = np.asarray(variable.value_of(item))
            elif item.dtype.kind == "f":
                items[k] = item.astype(np.int64)
    if not any(isinstance(item, Discrete) for item in items):
        return x[tuple(items)]
    if len(items) == 1 and x.ndim and 0 not in x.shape[1:]:
        return take(x, items[0], rows=True)
    operands: list[Any] = []
    try:
        index = encode(tuple(items), operands)
    except UnsuitableError:
        return x[tuple([plainly(item) for item in items])]
    rule = Positions(shape=list(x.shape), index=index, **kinds_of(operands))
    return take(x, record(rule, operands, [np.int64])[0])


variable.register({}, {"indexed": indexed, "primitive": evaluate}, {})


# ---- reductions ----------------------------------------------------------------------------------------------
class Extremum(Primitive):
    """A largest or smallest element over axes; elements that tie share the gradient."""

    name = "extremum"

    def forward(self, inputs: list[Array]) -> list[Array]:
        """The elements."""
        p = self.params
        reduce = getattr(np, p["ufunc"]).reduce
        return [np.asarray(reduce(inputs[0].reshape(p["shape"]), axis=tuple(p["axes"]), keepdims=p["keepdims"]))]

    def native(self) -> tuple[str, tuple[int, ...]] | None:
        """The same, where the axes are neighbours."""
        p = self.params
        return reduced(p["ufunc"], p["shape"], p["axes"]) if p["ufunc"] in ("maximum", "minimum") else None

    def recorded_pull(self, operands: list[Value], results: list[Value], upstream: list[Value]) -> list[Value]:
        """Where an element is the result, its share of the gradient; elsewhere nothing."""
        p = self.params
        x, axes = np.reshape(operands[0], p["shape"]), tuple(p["axes"])
        kept = [1 if d in axes else n for d, n in enumerate(p["shape"])]
        v, g = np.reshape(results[0], kept), np.reshape(upstream[0], kept)
        chosen = np.logical_or(x == v, np.logical_and(np.isnan(x), np.isnan(v)))
        share = g / np.sum(chosen, axis=axes, keepdims=True)
        return [np.ravel(np.where(chosen, np.broadcast_to(share, x.shape), -0.0))]


def extremum(a: Variable, ufunc: np.ufunc, axes: Shape, keepdims: bool) -> Value:
    """A largest or smallest element over axes."""
    rule = Extremum(ufunc=ufunc.__name__, shape=list(a.shape), axes=list(axes), keepdims=keepdims)
    return record(rule, [a], [a.dtype] if isinstance(a, Discrete) else None)[0]


class Product(Primitive):
    """A product over axes."""

    name = "prod"

    def forward(self, inputs: list[Array]) -> list[Array]:
        """The products."""
        p = self.params
        x = inputs[0].reshape(p["shape"])
        return [np.asarray(np.prod(x, axis=tuple(p["axes"]), keepdims=p["keepdims"]), np.float64)]

    def recorded_pull(self, operands: list[Value], results: list[Value], upstream: list[Value]) -> list[Value]:
        """The gradient of the factors."""
        p = self.params
        return [np.ravel(prod_gradient(np.reshape(operands[0], p["shape"]), upstream[0], tuple(p["axes"])))]


class Held:
    """A primitive that an eager call has recorded: it keeps the operands, so that its gradient needs no recording."""

    exact = True

    def __init__(self, rule: Primitive, operands: list[Array], results: list[Array]) -> None:
        self.rule, self.results = rule, results
        self.operands = [np.array(x) for x in operands]    # a leaf's values may change before the sweep

    def forward(self, inputs: list[Array]) -> list[Array]:
        """The results for other operands."""
        self.operands, self.results = [x.copy() for x in inputs], self.rule.forward(inputs)
        return [np.ravel(y) for y in self.results]

    def pull(self, upstream: list[Array]) -> list[Array]:
        """The gradients of the operands."""
        return self.rule.recorded_pull(self.operands, self.results, upstream)

    def recorded_pull(self, operands: list[Value], results: list[Value], upstream: list[Value]) -> list[Value]:
        """The same with Variables."""
        return self.rule.recorded_pull(operands, results, upstream)


def folded(name: str, a: Variable, **params: Any) -> Value:
    """A product or cumulative function by the name of its primitive, in a trace or not."""
    rule = PRIMITIVES[name](shape=list(a.shape), **params)
    if variable.is_tracing():
        dtypes = [np.int64 if a.dtype.kind == "b" else a.dtype] if isinstance(a, Discrete) else None
        return record(rule, [a], dtypes)[0]
    x = np.asarray(variable.value_of(a))
    results = rule.forward([x])
    return variable.call(Held(rule, [x], results), [a], results, name)[0]


class CumulativeSum(Primitive):
    """Sums of the first 1, 2, 3, ... elements along an axis."""

    name = "cumsum"

    def forward(self, inputs: list[Array]) -> list[Array]:
        """The sums."""
        return [np.add.accumulate(inputs[0].reshape(self.params["shape"]), self.params["axis"])]

    def recorded_pull(self, operands: list[Value], results: list[Value], upstream: list[Value]) -> list[Value]:
        """The gradient of the terms."""
        return [np.ravel(cumsum_gradient(np.reshape(upstream[0], self.params["shape"]), self.params["axis"]))]


class CumulativeProduct(Primitive):
    """Products of the first 1, 2, 3, ... elements along an axis."""

    name = "cumprod"

    def forward(self, inputs: list[Array]) -> list[Array]:
        """The products."""
        return [np.multiply.accumulate(inputs[0].reshape(self.params["shape"]), self.params["axis"])]

    def recorded_pull(self, operands: list[Value], results: list[Value], upstream: list[Value]) -> list[Value]:
        """The gradient of the factors."""
        x, v, g = [np.reshape(flat, self.params["shape"]) for flat in (operands[0], results[0], upstream[0])]
        return [np.ravel(cumprod_gradient(x, v, g, self.params["axis"]))]


CALLABLE |= {name_of(f): f for f in vars(np).values() if isinstance(f, np.ufunc)}
CALLABLE |= {name_of(f): f for f in (
    np.take, np.take_along_axis, np.roll, np.max, np.min, np.sum, np.prod, np.mean, np.unravel_index,
    np.ravel_multi_index)}
