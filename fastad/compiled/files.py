"""Saved programs: a file of plain numbers and a JSON header, validated field by field; loading runs no code.

The layout: eight bytes of magic, the length of the header, the header (JSON, UTF-8), the arrays one after the other in
the order and of the type and shape that the header names, and the SHA-256 digest of everything before it.
"""
from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import Any, NoReturn

import numpy as np

from .._program import Code, Evaluator
from .._version import __version__
from ..errors import FormatError, PathError
from ..ops import OPS
from ..tree import flatten, unpack
from .arguments import Leaf
from .function import Compiled, Paths
from .path import Path
from .program import Program
from .sparsity import Pattern, from_places

__all__ = ["load", "save"]

MAGIC = b"fastad\x00\x01"
#: The tables of a program, with their types; records are stored as bytes of their fields, little-endian.
DTYPES: dict[str, np.dtype[Any]] = {text: np.dtype(text) for text in ("<i8", "<f8", "|u1", "|b1", "<i4")}


class Writer:
    """Collects arrays; the header refers to them by number."""

    def __init__(self) -> None:
        self.arrays: list[Any] = []

    def add(self, array: Any) -> int:
        """Store an array; returns its number."""
        a = np.asarray(array)
        kind = {"f": "<f8", "i": "<i8", "u": "<i8", "b": "|b1"}[a.dtype.kind]
        self.arrays.append(np.array(a, dtype=kind, order="C"))
        return len(self.arrays) - 1

    def fields(self, table: Any) -> int:
        """Store a table of records of whole numbers as a matrix."""
        names = table.dtype.names
        return self.add(np.array([table[name].astype(np.int64) for name in names]).reshape(len(names), -1))


def form_out(tree: Any) -> Any:
    """The form of an output as JSON."""
    if tree is None:
        return {"none": True}
    if unpack(tree) is None:
        return {"leaf": True}
    if type(tree) is dict and all(isinstance(key, str) for key in tree):
        return {"dict": list(tree), "items": [form_out(item) for item in tree.values()]}
    if type(tree) in (list, tuple):
        return {type(tree).__name__: True, "items": [form_out(item) for item in tree]}
    raise TypeError(f"save: the function returns a {type(tree).__name__}; dicts with string keys, lists and tuples can "
                    "be saved")


def form_in(form: Any) -> Any:
    """A tree of that form, with zeros as leaves."""
    if not isinstance(form, dict):
        raise FormatError("load: the form of an output is none")
    if form.get("none"):
        return None
    if form.get("leaf"):
        return 0
    items = [form_in(item) for item in form["items"]]
    if "dict" in form:
        return dict(zip(map(str, form["dict"]), items, strict=True))
    return items if "list" in form else tuple(items)


def save(function: Compiled, path: Any) -> None:
    """Write the programs of a compiled function to a file; errors are those of `packed`."""
    target = FilePath(path)
    content = packed(function)
    # nothing is half-written, by several at once either, and nothing is left behind
    partial = target.with_name(f"{target.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        partial.write_bytes(content)
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def packed(function: Compiled) -> bytes:
    """The content of a file with the programs of a compiled function.

    Raises
    ------
    ValueError
        When no program was made yet.
    TypeError
        When something in a program cannot be written: a Python function with a derivative rule of its own, a static
        argument without a stable text.
    """
    writer = Writer()
    groups = []
    for text, paths in {**function.saved, **{repr(key): paths for key, paths in function.cache.items()}}.items():
        if " at 0x" in text:
            raise TypeError(f"save: a static argument of {function.name} is written {text}, which names a place in "
                            "memory")
        every = paths.all()
        if any(p.programs for p in every):
            groups.append({"key": text, "paths": [saved_path(p, every, writer) for p in every]})
    if not groups:
        raise ValueError(f"save: {function.name} has no programs yet; call it, or its grad, with arguments first")
    header = {"version": __version__, "name": function.name, "argnums": [int(k) for k in function.argnums],
              "single": function.single, "static": [int(k) for k in function.static], "ops": [row.name for row in OPS],
              "groups": groups,
              "arrays": [[a.dtype.str, list(a.shape)] for a in writer.arrays]}
    text_bytes = json.dumps(header).encode()
    body = b"".join([MAGIC, len(text_bytes).to_bytes(8, "little"), text_bytes, *[a.tobytes() for a in writer.arrays]])
    return body + hashlib.sha256(body).digest()


def saved_path(path: Path, every: Sequence[Path], writer: Writer) -> dict[str, Any]:
    """One path for the header."""
    parent = None
    if path.parent is not None:
        parent = [every.index(path.parent[0]), int(path.parent[1][0]), path.parent[1][1].hex()]
    out = path.rebuild_outputs([0] * path.n_outputs)
    return {"kinds": [[leaf.kind, leaf.shape, leaf.active] for leaf in path.kinds], "parent": parent,
            "form": form_out(out), "scalar": path.is_scalar, "dtypes": [dtype.str for dtype in path.dtypes],
            "shapes": [list(shape) for shape in path.output_shapes],
            "programs": {kind: saved_program(program, writer) for kind, program in path.programs.items()}}


def saved_program(program: Program, writer: Writer) -> dict[str, Any]:
    """One program for the header."""
    e = program.evaluator
    rules = []
    for rule in e.code.calls:
        if getattr(rule, "params", None) is None or not rule.name:
            raise TypeError(f"save: {getattr(rule, 'name', None) or type(rule).__name__} is a Python function with a "
                            "rule of its own; it cannot be written to a file")
        rules.append([rule.name, rule.params])
    return {"statistics": program.statistics, "n_slots": e.code.n_slots, "calls": rules,
            "regions": [[int(slot), int(size)] for slot, size in e.code.regions],
            "instructions": writer.fields(e.code.instructions), "scalars": writer.fields(e.code.scalars),
            "pool": writer.add(e.code.pool), "image": writer.add(e.code.image), "guards": writer.add(e.guards),
            "expected": writer.add(e.expected), "inputs": [[slot, list(shape)] for slot, shape in e.inputs],
            "captures": [[writer.add(np.asarray(array, np.float64)), slot] for array, slot in e.captures],
            "frozen": [[writer.add(copy)] for _, copy in e.frozen],
            "results": [[list(shape), writer.add(slots)] for shape, slots in e.results],
            "pattern": program.pattern and [list(program.pattern.shape), writer.add(program.pattern.places)]}


def damaged(what: str) -> NoReturn:
    """Refuse a file."""
    raise FormatError(f"load: {what}; the file holds no program of fastad's, or was damaged")


def load(path: Any) -> Compiled:
    """A compiled function from a file that its ``save`` has written.

    It needs no Python code of the function, and runs none: a branch that was not traced before saving is an error.
    Captured arrays hold what they held when it was saved.

    Parameters
    ----------
    path : path-like

    Raises
    ------
    FormatError
        When the file is damaged, or no such file.
    PathError
        In a call: when the arguments take another branch, or are of another kind, than all that were saved.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import fastad as fa
    >>> f = fa.compile(lambda x: np.sum(x ** 2))
    >>> f.grad(np.ones(2))
    array([2., 2.])
    >>> name = os.path.join(tempfile.mkdtemp(), "f.fad")
    >>> f.save(name)
    >>> fa.load(name).grad(np.array([1.0, 5.0]))
    array([ 2., 10.])
    """
    return unpacked(FilePath(path).read_bytes())


def unpacked(raw: bytes) -> Compiled:
    """The compiled function that `packed` has made bytes of."""
    if len(raw) < len(MAGIC) + 40 or raw[:len(MAGIC)] != MAGIC:
        damaged("the first bytes are not those of a saved program")
    if hashlib.sha256(raw[:-32]).digest() != raw[-32:]:
        damaged("the digest does not fit the content")
    size = int.from_bytes(raw[len(MAGIC):len(MAGIC) + 8], "little")
    start = len(MAGIC) + 8
    if size > len(raw) - start - 32:
        damaged("the header is too long")
    try:
        header = json.loads(raw[start:start + size].decode())
        return loaded(header, arrays_of(header["arrays"], raw[start + size:-32]))
    except FormatError:
        raise
    except (KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError, ValueError) as error:
        raise FormatError(f"load: {type(error).__name__}: {error}; the file holds no program that this version can "
                          "run") from None


def arrays_of(described: Any, data: bytes) -> list[Any]:
    """The arrays behind the header."""
    found, at = [], 0
    for kind, shape in described:
        dtype = DTYPES[kind]
        if any(not isinstance(n, int) or n < 0 for n in shape):
            damaged("an array has no shape")
        count = 1
        for n in shape:
            count *= n
        if count * dtype.itemsize > len(data) - at:
            damaged("an array reaches beyond the end")
        found.append(np.frombuffer(data, dtype, count, at).reshape(shape))
        at += count * dtype.itemsize
    if at != len(data):
        damaged("something stands behind the last array")
    return found


class SavedPath:
    """A path whose programs came from a file; it cannot trace."""

    def __init__(self, name: str, entry: dict[str, Any], arrays: list[Any], codes: Any) -> None:
        self.name = name
        self.kinds = [Leaf(str(kind), None if shape is None else tuple(map(int, shape)), bool(active))
                      for kind, shape, active in entry["kinds"]]
        self.output_shapes = [tuple(map(int, shape)) for shape in entry["shapes"]]
        self.outputs = [np.empty(shape) for shape in self.output_shapes]
        self.n_outputs = len(self.outputs)
        self.is_scalar = bool(entry["scalar"])
        self.dtypes = [DTYPES[kind] for kind in entry["dtypes"]]
        self.is_plain = bool(entry["form"].get("leaf")) and self.dtypes == [np.dtype(np.float64)]
        leaves, self.rebuild_outputs = flatten(form_in(entry["form"]))
        if len(leaves) != self.n_outputs:
            damaged("the outputs do not have their form")
        self.programs = {str(kind): loaded_program(str(kind), p, arrays, codes)
                         for kind, p in entry["programs"].items()}
        self.branches: dict[tuple[int, bytes], Any] = {}
        self.parent: Any = None
        self.used = self.replays = 0

    typed, rebuilt = Path.typed, Path.rebuilt

    def program(self, kind: str) -> Program:
        """The program of a kind."""
        if kind not in self.programs:
            raise PathError(f"{self.name}: no program for {kind!r} was saved; there are {sorted(self.programs)}")
        return self.programs[kind]


def shape_of(dims: Any) -> tuple[int, ...]:
    """A shape of the header."""
    return tuple(int(n) for n in dims)


def loaded_program(kind: str, entry: dict[str, Any], arrays: list[Any], codes: Any) -> Program:
    """One program of the header; `codes` turns the opcodes of the file into ours."""
    from .._instructions import INSTRUCTION, KIND, NATIVE, SCALAR
    from ..numpy_api.traced import PRIMITIVES

    def table(number: int, dtype: Any) -> Any:
        matrix = arrays[number]
        if matrix.ndim != 2 or len(matrix) != len(dtype.names):
            damaged("a table has other columns")
        out = np.empty(matrix.shape[1], dtype)
        for name, column in zip(dtype.names, matrix, strict=True):
            if column.size and abs(column).max() > np.iinfo(dtype[name]).max:
                damaged("a number does not fit its column")
            out[name] = column
        ops = out["op"]
        if "kind" in dtype.names:
            has_op = np.isin(out["kind"], [KIND[name] for name in ("line", "map", "add")])
        else:
            has_op = np.ones(len(ops), bool)
        if has_op.any() and (ops[has_op].min() < 1 or ops[has_op].max() >= len(codes)):
            damaged("an opcode is none")
        ops[has_op] = codes[ops[has_op]]
        if "kind" in dtype.names:                     # the rule knows its native form
            for k in np.flatnonzero((out["kind"] == KIND["call"]) & (ops != 0)).tolist():
                ops[k] = NATIVE.index((calls[out["count"][k]].native() or ("",))[0])
                has_op[k] = True
        ops[~has_op] = 0
        return out

    calls = [PRIMITIVES[name](**params) for name, params in entry["calls"]]
    code = Code(table(entry["instructions"], INSTRUCTION), table(entry["scalars"], SCALAR), arrays[entry["pool"]],
                arrays[entry["image"]], calls, int(entry["n_slots"]),
                [(int(slot), int(size)) for slot, size in entry.get("regions", [])])
    evaluator = Evaluator(
        code, [(int(slot), shape_of(dims)) for slot, dims in entry["inputs"]],
        [(np.array(arrays[number]), int(slot)) for number, slot in entry["captures"]],
        [(np.array(arrays[number]), np.array(arrays[number])) for (number,) in entry["frozen"]],
        arrays[entry["guards"]], arrays[entry["expected"]],
        [(shape_of(dims), arrays[number]) for dims, number in entry["results"]])
    statistics = entry["statistics"]
    if not isinstance(statistics, dict):
        damaged("the statistics are none")
    return Program(kind, evaluator, statistics, None, loaded_pattern(entry.get("pattern"), evaluator, arrays))


def loaded_pattern(entry: Any, evaluator: Evaluator, arrays: list[Any]) -> Pattern | None:
    """Which elements of a matrix the result of a program holds."""
    if entry is None:
        return None
    (rows, columns), places = shape_of(entry[0]), arrays[entry[1]]
    if [shape for shape, _ in evaluator.results] != [places.shape] or places.dtype != np.int64 or places.ndim != 1 \
            or (places.size and not 0 <= places[0] <= places[-1] < rows * columns) or (np.diff(places) <= 0).any():
        damaged("the pattern of a matrix is none")
    return from_places((rows, columns), places)


def loaded(header: dict[str, Any], arrays: list[Any]) -> Compiled:
    """The function that the header describes."""
    names = {row.name: code for code, row in enumerate(OPS, 1)}
    name = str(header["name"])
    missing = [op for op in header["ops"] if op not in names]
    codes = np.array([0, *[names.get(op, 0) for op in header["ops"]]])
    if missing:
        damaged(f"this version has no function {missing[0]!r}")

    def no_code(*args: Any, **kwargs: Any) -> Any:
        raise PathError(f"{name}: these arguments take a branch, or are of a kind, that was not traced before the "
                        "function was saved")

    no_code.__name__ = name
    argnums = [int(k) for k in header["argnums"]]
    function = Compiled(no_code, argnums[0] if header["single"] else argnums, [int(k) for k in header["static"]])
    for group in header["groups"]:
        paths = Paths()
        made = [SavedPath(name, entry, arrays, codes) for entry in group["paths"]]
        for path, entry in zip(made, group["paths"], strict=True):
            if entry["parent"] is None:
                paths.roots.append(path)  # type: ignore[arg-type]
                paths.last = paths.root
                continue
            parent, guard, outcome = entry["parent"]
            if not 0 <= int(parent) < len(made):
                damaged("a path has no parent")
            path.parent = (made[parent], (int(guard), bytes.fromhex(outcome)))
            made[parent].branches[path.parent[1]] = path
        paths.count = len(made)
        function.saved[str(group["key"])] = paths
    return function
