"""Where a nan came from: the first operation that made one, and the line it stands in."""
from __future__ import annotations

import warnings
from contextlib import ContextDecorator
from types import TracebackType
from typing import Any, Self

import numpy as np

from . import variable
from ._instructions import KINDS, LISTED, READING, WRITING, uses_of
from ._program import stepped
from ._tape import tape as current_tape
from .compiled.program import NAMES, Program, described
from .compiled.unfused import unfused
from .errors import NonFiniteError
from .observing import Observer
from .pictures import ACCUMULATE, operation_of, reads, short

__all__ = ["debug_nan"]


class debug_nan(ContextDecorator):  # noqa: N801  a context manager, named like JAX's option
    """Context manager and decorator: raise where a value or a gradient becomes nan or infinite.

    Every operation that is recorded inside is looked at as soon as it is computed, and so is every step of a reverse
    sweep. The error names the operation, its operands, and the file and line in which it was recorded, also when it is
    the gradient that goes wrong. It holds for the calling thread.

    Parameters
    ----------
    inf : bool
        Whether infinite numbers count, too.
    warn : bool
        Issue a RuntimeWarning, for the first value and the first gradient, in place of the error.

    Raises
    ------
    NonFiniteError
        A FloatingPointError with the attributes ``operation``, ``place`` (file, line, function; None for what was
        recorded before) and ``phase`` ("value" or "gradient").

    Notes
    -----
    Compiled functions, their batches, bound evaluators and descents run in Python meanwhile. Those that `fastad.load`
    has read have no Python code: their programs are executed once more, one operation after the other, and the error
    names the instruction in place of a line. Of programs of derivatives that is done when a result is nan or infinite;
    not of matrices that take many directions. What is computed under ``no_grad`` or in plain NumPy, and the tangents of
    ``jvp``, are not looked at. A value that ``np.where`` does not select counts as well: it is a value.

    Inside, an operation takes some tens of microseconds; outside it costs nothing.

    Examples
    --------
    >>> import fastad as fa
    >>> x = fa.Variable(0.0, name="x")
    >>> with fa.debug_nan():
    ...     y = fa.sqrt(x)
    ...     y.backward()
    Traceback (most recent call last):
    fastad.errors.NonFiniteError: the gradient that sqrt passes on to its operand is inf
      File "...", line 2, in <module>
        y = fa.sqrt(x)
      operand 1: 0
      upstream gradient: 1
      local derivatives: inf
    """

    def __init__(self, *, inf: bool = True, warn: bool = False) -> None:
        self.inf, self.warn = inf, warn
        self.before: list[tuple[Any, Any]] = []

    def __repr__(self) -> str:
        return f"debug_nan(inf={self.inf}, warn={self.warn})"

    def _recreate_cm(self) -> Self:
        """One for each call of a decorated function."""
        return type(self)(inf=self.inf, warn=self.warn)

    def __enter__(self) -> Self:
        tape = current_tape()
        before = variable.observer_of(tape)
        variable.observe(tape, _Checker(self.inf, self.warn, before))
        self.before.append((tape, before))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        variable.observe(*self.before.pop())


class _Checker(Observer):
    """Looks at values and adjoints."""

    def __init__(self, inf: bool, warn: bool, outer: Observer | None) -> None:
        super().__init__()
        self.inf, self.warn = inf, warn
        self.warned: set[str] = set()
        if outer is not None:
            self.starts, self.places = outer.starts, outer.places

    def bad(self, values: Any) -> Any:
        """Which numbers are to be reported."""
        return ~np.isfinite(values) if self.inf else np.isnan(values)

    def computed(self, tape: Any, record: int, slot: int) -> None:
        """Look at what a record has computed; derivatives that are recorded were looked at as numbers."""
        values = variable.result_at(tape, record, slot)
        bad = self.bad(values)
        if self.origin >= 0 or not bad.any():
            return
        r = variable.record_at(tape, record, slot)
        operands = [x for x in self.operands if x is not None]
        at = int(np.argmax(bad))
        where = element(r, operands, len(values), at)
        lines = [operand_line(k, x, where, self.bad) for k, x in enumerate(operands)]
        what = gave(operation_of(r), values, bad, where)
        self.report("value", operation_of(r), self.place(record), what, lines)

    def sweeping(self, tape: Any, record: int, slot: int) -> None:
        """Look at the adjoint that arrives, which a seed or a hook may have spoilt."""
        r = variable.record_at(tape, record, slot)
        if r["kind"] in ("span", "freed", "assign"):
            return
        g = variable.numbers_at(tape, slot, min(r["size"], max(r.get("n", 1), 1)), True)
        if self.bad(g).any():
            self.report("gradient", operation_of(r), self.place(record), "the gradient that arrives at "
                        f"{operation_of(r)} is {g[int(np.argmax(self.bad(g)))]:g}, from a seed or a hook", [])

    def swept(self, tape: Any, record: int, slot: int) -> None:
        """Look at the adjoints that a record has added to."""
        r = variable.record_at(tape, record, slot)
        if r["kind"] in ("span", "freed"):
            return
        spans = [(low, high) for low, high in reads(r) if not r["out"] <= low < r["out"] + r["size"]]
        for low, high in spans:
            g = variable.numbers_at(tape, low, high - low + 1, True)
            bad = self.bad(g)
            if bad.any():
                lines = [operand_line(k, values[0] if len(values) == 1 else values, None, self.bad)
                         for k, values in enumerate(operand_values(tape, r))]
                upstream = variable.numbers_at(tape, slot, min(r["size"], max(r.get("n", 1), 1)), True) + 0.0
                lines.append(f"upstream gradient: {short(upstream)}")
                if r["kind"] == "scalar":
                    lines.append("local derivatives: " + ", ".join(
                        [f"{d:g}" for d, s in zip(r["partials"], (r["a"], r["b"]), strict=True) if s is not None
                         and d is not None]))
                one = "its operand" if len(spans) == 1 else "an operand"
                self.report("gradient", operation_of(r), self.place(record), "the gradient that "
                            f"{operation_of(r)} passes on to {one} is {g[int(np.argmax(bad))]:g}", lines)

    def replayed(self, name: str, program: Program, leaves: Any, results: Any) -> None:
        """Find the operation in a program; those of derivatives hold infinite numbers that are never selected."""
        wrong = [bool(self.bad(x).any()) for x in results]
        phase = "value" if program.kind == "value" or wrong[0] else "gradient"
        if phase in self.warned or (program.kind != "value" and not any(wrong)):
            return
        evaluator, sources = unfused(program.evaluator)

        def look(k: int, numbers: Any) -> None:
            step = Step(evaluator.code, k, numbers)
            bad = self.bad(step.values)
            if phase in self.warned or not bad.any():
                return
            at = int(np.argmax(bad))
            lines = [operand_line(j, x[0] if len(x) == 1 else x, (at,) if step.by_element and len(x) == len(bad) else
                                  None, self.bad) for j, x in enumerate(step.operands)]
            self.report(phase, step.operation, None, gave(step.operation, step.values, bad), lines,
                        f"instruction {sources[k]} of the program ({program.kind}) of {name}, which was loaded from "
                        f"a file and has no lines:\n  {step.text}")

        stepped(evaluator, leaves, look)

    def report(self, phase: str, operation: str, place: Any, what: str, lines: list[str],
               elsewhere: str = "recorded before debug_nan()") -> None:
        """Raise the error, or warn once."""
        text = "\n".join([what, *[f"  {line}" for line in str(place or elsewhere).split("\n")],
                          *[f"  {line}" for line in lines]])
        if not self.warn:
            raise NonFiniteError(text, operation, place, phase)
        if phase not in self.warned:
            self.warned.add(phase)
            file, line = (place.file, place.line) if place else ("<unknown>", 0)
            warnings.warn_explicit(text, RuntimeWarning, file, line)


class Step:
    """What an instruction of an unfused program has done."""

    def __init__(self, code: Any, k: int, numbers: Any) -> None:
        self.values, self.operands, self.operation, self.text = np.empty(0), [], "", ""
        row = code.instructions[k]
        kind = KINDS[row["kind"]]
        if kind in ("fill", "copy", "gather"):        # which compute nothing
            return
        self.text = " ".join(described(row, code)[0].split())
        self.by_element = kind in ("scalars", "line")
        if kind == "scalars":
            q = code.scalars[row["first"]]
            used = [(WRITING, q["v"], q["v"]), *[(READING, q[x], q[x]) for x in "ab" if x == "a" or q["b"]]]
            self.operation = NAMES[int(q["op"])]
        else:
            used = list(zip(*uses_of(code.instructions[k:k + 1], code.pool)[1:], strict=True))
            summed = kind in ("add", "sum", "chain")
            name = code.calls[row["count"]].name if kind == "call" else NAMES.get(int(row["op"]), kind)
            self.operation = ("sum" if name in (kind, "positive") else f"{name}, sum") if summed else name
        self.values = np.concatenate([numbers[low:high + 1] for mode, low, high in used if mode == WRITING])
        self.operands = [numbers[low:high + 1].copy() for mode, low, high in used if mode == READING]
        listed = [numbers[low] for mode, low, _ in used if mode == LISTED]
        self.operands += [np.array(listed)] if listed else []


def gave(operation: str, values: Any, bad: Any, where: tuple[int, ...] | None = None) -> str:
    """What an operation gave."""
    at = int(np.argmax(bad))
    several = f" in {int(bad.sum())} of {len(values)} elements, first in {list(where or (at,))}"
    return f"{operation} gave {values[at]:g}" + (several if len(values) > 1 else "")


def element(r: Any, operands: list[Any], n: int, at: int) -> tuple[int, ...] | None:
    """The index of an element of a result, where the operands tell its shape."""
    if r["kind"] == "scalar" or (r["kind"] == "map" and not r["flags"] & ACCUMULATE):
        try:
            shape = np.broadcast_shapes(*[np.shape(x) for x in operands])
        except ValueError:
            return None
        if int(np.prod(shape, dtype=np.int64)) == n:
            return tuple([int(k) for k in np.unravel_index(at, shape)])
    return None


def operand_line(k: int, x: Any, where: tuple[int, ...] | None, bad: Any) -> str:
    """An operand in one line: name, shape, values, the element that matters."""
    name = getattr(x, "name", None)
    values = np.asarray(variable.value_of(x))
    text = f"operand {name if isinstance(name, str) else k + 1}: {short(values)}"
    if values.ndim:
        text += f", shape {values.shape}"
        if where is not None:                         # of an axis that is broadcast, the only element
            own = where[len(where) - values.ndim:]
            text += f", there {values[tuple([min(i, n - 1) for i, n in zip(own, values.shape, strict=True)])]:g}"
    return text + (" (not finite already)" if bad(values).any() else "")


def operand_values(tape: Any, r: Any) -> list[Any]:
    """The values of a record's operands, flat."""
    if r["kind"] == "scalar":
        return [np.array([r[c]]) if r[s] is None else variable.numbers_at(tape, r[s], 1)
                for s, c in (("a", "ca"), ("b", "cb")) if r[s] is not None or r[c] is not None]
    return [variable.numbers_at(tape, low, high - low + 1) for low, high in reads(r)]
