"""Paths: one way through a Python function, traced once, and the programs made of it."""
from __future__ import annotations

import gc
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import transforms, variable
from .._program import Evaluator
from ..tree import flatten, unpack
from .arguments import FLOAT, Arguments
from .listing import Listing, Slots
from .program import Program, build
from .sparsity import Compressed, compress_jacobian, compress_symmetric, pattern_of

if TYPE_CHECKING:
    from .._typing import Function
    from ..observing import Observer

__all__ = ["Path"]

ONE = np.ones(())


@contextmanager
def no_collections() -> Iterator[None]:
    """Python's garbage collector waits: passes make many objects and no cycles, and it would look at all."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class Path:
    """One way through the function.

    Parameters
    ----------
    function : callable
    arguments : Arguments
        Those of the call that is traced.
    passes : bool
        Whether programs are optimised.
    observer : Observer, optional
        Sees what is recorded; ``origins`` then says, by kind of program, what each instruction computes.
    """

    def __init__(self, function: Function, arguments: Arguments, passes: bool = True,
                 observer: Observer | None = None) -> None:
        self.passes = passes
        self.origins: dict[str, list[Any]] | None = None if observer is None else {}
        self.kinds = arguments.kinds
        self.programs: dict[str, Program] = {}
        self.structures: dict[str, Compressed | None] = {}
        self.branches: dict[tuple[int, bytes], Path] = {}
        self.parent: tuple[Path, tuple[int, bytes]] | None = None
        self.lock = threading.Lock()
        self.used = 0
        self.replays = 0
        self.trace = variable.begin_trace()
        variable.observe(self.trace.tape, observer)
        try:
            self.inputs = [self.trace.input(value, leaf.kind)
                           for value, leaf in zip(arguments.leaves, arguments.kinds, strict=True)]
            args, kwargs = arguments.rebuild(self.inputs)
            out = function(*args, **kwargs)
            leaves, self.rebuild_outputs = flatten(out)
            self.outputs = [joined(leaf) for leaf in leaves]
            self.places = [self.trace.output(y) for y in self.outputs]
            self.input_spans = self.spans(self.inputs)
        finally:
            variable.end_trace(self.trace)
        self.trace.check()
        self.n_function = len(self.trace.tape)        # records of the function itself; derivatives stand behind them
        self.n_outputs = len(self.outputs)
        self.flowing = [k for k, place in enumerate(self.places) if place is not None and place[3]]  # with a gradient
        self.dtypes = [dtype_of(y, place, function) for y, place in zip(self.outputs, self.places, strict=True)]
        self.is_plain = unpack(out) is None and self.dtypes[0] == np.float64
        self.output_shapes = [shape_of(y) for y in self.outputs]
        self.is_scalar = unpack(out) is None and self.output_shapes[0] == ()

    def typed(self, values: Sequence[Any]) -> list[Any]:
        """Outputs with their dtypes: integers and truth values as such."""
        return [v if dtype == np.float64 else np.asarray(v).astype(dtype)[()]
                for v, dtype in zip(values, self.dtypes, strict=True)]

    def rebuilt(self, values: Sequence[Any]) -> Any:
        """What the function returns, in its containers."""
        return self.rebuild_outputs(self.typed(values))

    @property
    def active(self) -> list[Any]:
        """The inputs that are differentiated with respect to."""
        return [x for x, leaf in zip(self.inputs, self.kinds, strict=True) if leaf.active]

    def program(self, kind: str) -> Program:
        """The program of a kind; made on first use."""
        made = self.programs.get(kind)
        if made is None:
            with self.lock, no_collections():
                made = self.programs.get(kind)
                if made is None:
                    made = self.programs[kind] = self.make(kind)
        return made

    def make(self, kind: str) -> Program:
        """Record what the kind needs behind the trace, and compile it."""
        trace = self.trace
        if kind == "value":                           # nothing is recorded: late values go on waiting
            inputs, spans, results, places = self.inputs, self.input_spans, self.outputs, self.places
        else:
            variable.resume_trace(trace)
            try:
                extra, results = getattr(self, "_record_" + kind)()
                inputs = [*self.inputs, *extra]
                spans = self.spans(inputs)
                places = [trace.output(y) for y in results]
            finally:
                variable.end_trace(trace)
        captured = list(trace.captures)
        seen = trace.guard_columns()
        listing = self.listing(spans, seen)
        wanted = [self.slots(listing, place, y) for place, y in zip(places, results, strict=True)]
        origins = None if self.origins is None else self.origins.setdefault(kind, [])
        code, found, starts, statistics = build(listing, wanted, self.passes, origins)
        shapes = [shape_of(y) for y in results]
        evaluator = Evaluator(
            code, [(start, x.shape) for start, x in zip(starts, inputs, strict=False)],
            [(array, start) for (array, _, _), start in zip(captured, starts[len(inputs):], strict=True)],
            list(trace.frozen), found[-1].listed(), seen["values"], list(zip(shapes, found, strict=False)))
        structure = self.structures.get(kind)
        return Program(kind, evaluator, statistics, self, structure.pattern if structure else None)

    def spans(self, inputs: Sequence[Any]) -> list[tuple[int, int]]:
        """Where inputs stand on the tape."""
        return [(self.trace.output(x)[0], x.size) for x in inputs]

    def listing(self, spans: Sequence[tuple[int, int]], guards: dict[str, Any] | None = None) -> Listing:
        """What was recorded up to now."""
        captured = [(slot, size) for _, slot, size in self.trace.captures]
        return Listing(self.trace.columns(copy=False), self.trace.rules, [*spans, *captured], guards)

    def structure(self, kind: str) -> Compressed | None:
        """In how few directions a "jacobian" or "hessian" can be told; None when it is dense."""
        if kind not in self.structures:
            with self.lock:
                variable.resume_trace(self.trace)
                try:
                    self._find_structure(kind)
                finally:
                    variable.end_trace(self.trace)
        return self.structures[kind]

    def _find_structure(self, kind: str) -> Compressed | None:
        """Look for it, behind what is recorded already."""
        if kind not in self.structures:
            if kind == "hessian":
                self._record_grad(late=False)
            outputs = self.grad if kind == "hessian" else self.outputs[:1]
            places = [self.trace.output(y) for y in outputs]
            listing = self.listing(self.spans(self.inputs))
            wanted = [self.slots(listing, place, y) for place, y in zip(places, outputs, strict=True)]
            active = [view for view, leaf in zip(listing.inputs, self.kinds, strict=False) if leaf.active]
            pattern = pattern_of(listing, active, Slots.chained(wanted))
            compress = compress_symmetric if kind == "hessian" else compress_jacobian
            found = None if pattern is None else compress(pattern)
            worth = found is not None and found.count < min(found.pattern.shape)
            self.structures[kind] = found if worth else None
        return self.structures[kind]

    def slots(self, listing: Listing, place: Any, y: Any) -> Slots:
        """The slots of a result, which may be a constant."""
        if place is not None:
            return Slots.row(place[0], np.size(y))
        first = listing.constants(variable.value_of(y))
        return Slots.row(first, len(listing.value) - first)

    def difference(self, other: Path) -> str:
        """Which operation of the function another trace of it has recorded otherwise, in words."""
        mine, theirs = [path.trace.decoded()[:path.n_function] for path in (self, other)]
        for k, (x, y) in enumerate(zip(mine, theirs, strict=False)):
            names = [z["op"] if z["kind"] in ("scalar", "map") else z["kind"] for z in (x, y)]
            if names[0] != names[1]:
                return f"operation {k} was {names[0]}, now it is {names[1]}"
            for field in ("ca", "cb"):
                if x.get(field) != y.get(field):
                    return f"operation {k}, {names[0]}, had the number {x[field]!r}, now it has {y[field]!r}"
        if len(mine) != len(theirs):
            return f"{len(mine)} operations were recorded, now there are {len(theirs)}"
        values = [path.trace.columns()["value"] for path in (self, other)]
        for z in mine:
            if z["kind"] != "span":
                block = slice(z["out"], z["out"] + z["size"])
                if not np.array_equal(values[0][block], values[1][block], equal_nan=True):
                    name = z["op"] if z["kind"] in ("scalar", "map") else z["kind"]
                    return f"{name} works with other numbers from outside"
        return "a number from outside has changed"

    # ---- what is recorded behind the trace, by kind: (further inputs, results) ----
    def pulled(self, outputs: Sequence[Any], seeds: Sequence[Any], exact: bool = False,
               late: bool = False) -> list[Any]:
        """Gradients of the active inputs; zeros where nothing depends on one, or nothing if `exact`."""
        pairs = [(y, seed) for y, seed in zip(outputs, seeds, strict=True) if variable.is_recorded(y)]
        active = self.active
        found = variable.recorded_pull([y for y, _ in pairs], [seed for _, seed in pairs], active, live=True,
                                       exact=exact, late=late)
        return [self.trace.constant(np.full(np.shape(x), -0.0 if exact else 0.0)) if g is None else g
                for g, x in zip(found, active, strict=True)]

    def further(self, likes: Sequence[Any]) -> list[Any]:
        """Further inputs: seeds or tangents of these shapes."""
        return [self.trace.input(np.zeros(np.shape(y)), FLOAT) for y in likes]

    def along(self, seeds: Sequence[Any]) -> Any:
        """The inner product of the outputs with seeds that may be nothing in places."""
        return transforms.flowing([self.outputs[k] for k in self.flowing], [seeds[k] for k in self.flowing])

    def _record_grad(self, late: bool = True) -> tuple[list[Any], list[Any]]:
        """Nobody looks at the values of gradients, unless something is recorded behind them at once: not `late`."""
        if "grad" not in self.__dict__:
            self.grad = self.pulled(self.outputs, [ONE], late=late)
        return [], [*self.outputs, *self.grad]

    def _record_vjp(self) -> tuple[list[Any], list[Any]]:
        seeds = self.further(self.outputs)
        return seeds, [*self.outputs, *self.pulled([self.along(seeds)], [ONE])]

    def _record_jacobian(self) -> tuple[list[Any], list[Any]]:
        """The elements of the Jacobian of the one output; what its directions share is computed once."""
        y, active, structure = self.outputs[0], self.active, self._find_structure("jacobian")
        m, sizes = np.size(y), [x.size for x in active]
        by_columns = structure.by_columns if structure else m > sum(sizes)
        seeds = structure.seeds(-0.0) if structure else np.where(np.eye(min(m, sum(sizes))) > 0.0, 1.0, -0.0)
        sums = []
        transposed = transforms.Transposed([y], active) if by_columns else None
        for seed in seeds:                            # other directions are nothing, not zero
            if transposed:
                parts = np.split(seed, np.cumsum(sizes)[:-1])
                sums += transposed.columns([part.reshape(np.shape(x)) for part, x in zip(parts, active, strict=True)])
            else:
                sums += self.pulled([y], [seed.reshape(np.shape(y))])
        if structure or not by_columns:
            return [], [self.chosen(sums, structure)]
        return [], [np.reshape(np.reshape(self.chosen(sums), (-1, m)).T, -1)]

    def _record_hessian(self) -> tuple[list[Any], list[Any]]:
        """The elements of the Hessian with respect to the one active input."""
        self._record_grad(late=False)
        structure, shape = self._find_structure("hessian"), np.shape(self.active[0])
        seeds = structure.seeds(-0.0) if structure else np.where(np.eye(self.active[0].size) > 0.0, 1.0, -0.0)
        sums = [self.pulled(self.grad, [seed.reshape(shape)])[0] for seed in seeds]
        return [], [self.chosen(sums, structure)]

    def chosen(self, parts: Sequence[Any], structure: Compressed | None = None) -> Any:
        """The elements of sums that tell a matrix, all where it is dense; numbers, none of which is -0.0."""
        kept = [part if variable.is_recorded(part) else self.trace.constant(variable.unguarded(part)) for part in parts]
        flat = [np.reshape(part, -1) for part in kept]
        everything = np.concatenate(flat) if flat else self.trace.constant(np.empty(0))
        return (everything if structure is None else everything[self.trace.own(structure.index)]) + 0.0

    def _record_jvp(self) -> tuple[list[Any], list[Any]]:
        tangents = self.further(self.active)
        return tangents, [*self.outputs, *transforms.recorded_push(self.outputs, self.active, tangents)]

    # Those of the record that a call among Variables leaves: nothing stays -0.0.
    def _record_pull(self) -> tuple[list[Any], list[Any]]:
        seeds = self.further(self.outputs)
        return seeds, self.pulled(self.outputs, seeds, exact=True)

    def _record_pull_some(self) -> tuple[list[Any], list[Any]]:
        """The same for seeds some elements of which are nothing."""
        seeds = self.further(self.outputs)
        return seeds, self.pulled([self.along(seeds)], [ONE], exact=True)

    def _record_push(self) -> tuple[list[Any], list[Any]]:
        tangents = self.further(self.active)
        return tangents, transforms.recorded_push(self.outputs, self.active, tangents, exact=True)

    def _record_hvp(self) -> tuple[list[Any], list[Any]]:
        self._record_grad(late=False)
        vectors = self.further(self.active)
        total = inner(self.grad, vectors)
        return vectors, self.pulled([total], [ONE])


def dtype_of(y: Any, place: Any, function: Function) -> Any:
    """The dtype of an output: what carries a gradient is float64."""
    if place is not None:
        return np.dtype(np.float64) if place[3] else place[2]
    dtype = np.asarray(variable.value_of(y)).dtype
    if dtype.kind not in "fiub":
        raise TypeError(f"compile: {getattr(function, '__name__', 'the function')} returned {type(y).__name__}; "
                        "numbers, arrays and containers of them are needed")
    return dtype if dtype.kind in "iub" else np.dtype(np.float64)


def shape_of(y: Any) -> tuple[int, ...]:
    """The shape of a number, an array or a Variable."""
    shape: tuple[int, ...] = getattr(y, "shape", ())
    return shape


def inner(xs: Sequence[Any], ys: Sequence[Any]) -> Any:
    """The inner product of two lists of arrays."""
    return sum([np.sum(x * y) for x, y in zip(xs, ys, strict=True)], 0.0)


def joined(leaf: Any) -> Any:
    """An object array of scalar Variables as one Variable."""
    return variable.array(leaf) if isinstance(leaf, np.ndarray) and leaf.dtype == object else leaf
