"""What a compiled function spends its time and memory on, by instruction and by line of its source."""
from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import variable
from ._instructions import KIND, KINDS, STRIP
from ._program import Bound, timed
from .compiled.arguments import Arguments
from .compiled.batch import Batch, lanes_for, row_arguments
from .compiled.function import Compiled
from .compiled.path import Path
from .compiled.program import Program, described
from .compiled.sparsity import one_program
from .observing import Observer, Place
from .pictures import html_table

if TYPE_CHECKING:
    from ._typing import Options

__all__ = ["Cost", "LineCost", "Profile", "profile"]

#: The kind of program behind each method of a compiled function.
PROGRAM = {"value_and_grad": "grad", "grad": "grad", "hvp": "hvp", "jvp": "jvp", "jacobian": "jacobian",
        "hessian": "hessian"}
#: A table shows so many rows.
SHOWN = 20
OF_ROWS = {name: PROGRAM[name] for name in ("value_and_grad", "grad", "jacobian")}
RUN, SCALARS = KIND["run"], KIND["scalars"]


class Cost(NamedTuple):
    """One instruction: seconds of a call, bytes of its results, and the lines it comes from, most frequent first."""

    instruction: str
    seconds: float
    bytes: int
    places: tuple[Place, ...]


class LineCost(NamedTuple):
    """One line of the source: seconds of a call, bytes of its results, and how many numbers these are."""

    place: Place | None
    seconds: float
    bytes: int
    numbers: int


class Profile:
    """What `profile` gives: two tables that can be printed, shown in a notebook, or taken apart.

    Attributes
    ----------
    rows : list of Cost
        The instructions, the most expensive first.
    lines : list of LineCost
        The same by line of the source: of an instruction that comes from several lines each gets its share of the
        numbers. Its `place` is None for what belongs to no line, such as gathering a gradient.
    seconds : float
        A whole call, with arguments and results.
    workspace : int
        Bytes of the program's workspace.
    """

    def __init__(self, name: str, rows: list[Cost], lines: list[LineCost], seconds: float, workspace: int) -> None:
        self.name, self.rows, self.lines, self.seconds, self.workspace = name, rows, lines, seconds, workspace

    @property
    def executing(self) -> float:
        """Seconds of all instructions together; the rest of a call goes into arguments and results."""
        return sum(row.seconds for row in self.rows)

    def _head(self) -> str:
        rest = max(self.seconds - self.executing, 0.0)
        return (f"{self.name}: {duration(self.seconds)} a call, {duration(self.executing)} in {len(self.rows)} "
                f"instructions, {duration(rest)} for arguments and results; workspace {memory(self.workspace)}")

    def _tables(self) -> list[list[tuple[str, ...]]]:
        """The cells of both tables, headings first."""
        total = self.executing or 1.0
        costs: list[tuple[str, ...]] = [("time", "share", "memory", "instruction", "from")]
        costs += [(duration(row.seconds), f"{row.seconds / total:.0%}", memory(row.bytes), row.instruction,
                   short_places(row.places)) for row in self.rows[:SHOWN]]
        lines: list[tuple[str, ...]] = [("time", "share", "memory", "numbers", "line")]
        lines += [(duration(row.seconds), f"{row.seconds / total:.0%}", memory(row.bytes),
                   str(row.numbers), "-" if row.place is None else f"{short_places((row.place,))}  {row.place.source}")
                  for row in self.lines[:SHOWN]]
        return [costs, lines]

    def __repr__(self) -> str:
        parts = [self._head()]
        for table in self._tables():
            wide = [max(len(row[k]) for row in table) for k in range(4)]
            parts.append("\n".join("  ".join([*[cell.rjust(w) if k < 3 else cell.ljust(w) for k, (cell, w)
                                                 in enumerate(zip(row, wide, strict=False))], row[4]]).rstrip()
                                   for row in table))
        for k, rows in ((1, self.rows), (2, self.lines)):
            if len(rows) > SHOWN:
                parts[k] += f"\n... and {len(rows) - SHOWN} more"
        return "\n\n".join(parts)

    def _repr_html_(self) -> str:
        from html import escape

        parts = [f"<p>{escape(self._head())}</p>"]
        return "".join([*parts, *[html_table(rows) for rows in self._tables()]])


def profile(f: Any, *args: Any, repeat: int = 20, **kwargs: Any) -> Profile:
    """Time and memory of each instruction of a compiled function, with the lines of the source that it comes from.

    Parameters
    ----------
    f : Compiled, or a method of one
        ``profile(f, x)`` runs the program of the value; ``profile(f.value_and_grad, x)``, ``f.grad``, ``f.hvp``,
        ``f.jvp``, ``f.jacobian`` and ``f.hessian`` those of derivatives. So do ``f.bind(x)`` and, of all rows,
        ``f.batch`` and its methods.
    *args, **kwargs
        Those of a call.
    repeat : int
        How many executions; the fastest of each instruction counts.

    Returns
    -------
    Profile
        Prints as two tables, by instruction and by line; ``rows`` and ``lines`` hold the numbers.

    Notes
    -----
    The function is traced once more, with its lines; ordinary traces note none. The lines of a *run* are executed
    together and have one time. What derivatives cost stands at the line that is differentiated. Of a batch as many rows
    are executed as lie side by side, and the time is that of all rows on one thread if they take the branches of the
    first one.

    Raises
    ------
    TypeError
        When `f` is not compiled, or has no Python code since it was loaded from a file; or a matrix is no program of
        its own, since it takes many directions: these are what ``f.jvp``, ``f.hvp`` or ``f.grad`` run.

    Examples
    --------
    >>> import numpy as np
    >>> import fastad as fa
    >>> @fa.compile
    ... def f(x):
    ...     y = np.exp(np.sin(x))
    ...     return np.sum(y * y)
    >>> p = fa.profile(f.value_and_grad, np.linspace(0.0, 1.0, 1000))
    >>> print(p)
    f.value_and_grad: ... a call, ... in ... instructions, ... for arguments and results; workspace ... kB
    ...
    >>> sorted({row.place.line for row in p.lines if row.place is not None})
    [3, 4]
    """
    owner, name, kind = profiled(f)
    if owner.saved:
        raise TypeError(f"profile: {owner.name} was loaded from a file and has no Python code")
    if isinstance(repeat, bool) or not isinstance(repeat, int) or repeat < 1:
        raise ValueError(f"profile: repeat={repeat!r}: a positive number is needed")
    seconds = duration_of_call(f, args, kwargs, repeat)        # first, so that errors are the call's own
    observer, lanes = _Lines(), 1
    if isinstance(getattr(f, "__self__", f), Batch):
        form, arrays = owner.batch.taken_apart(args, kwargs.get("in_axes", 0), kwargs.get("threads", 1))
        first = row_arguments(form, arrays, 0)
        program, leaves = traced(owner, kind, first, [], observer)
        lanes = lanes_for(program.evaluator.code, form.n)
    else:
        program, leaves = traced_call(owner, kind, args, kwargs, observer)
    if lanes > 1:
        nanoseconds = timed(program.evaluator, arrays, repeat, form.stacked, lanes)
    else:
        nanoseconds = timed(program.evaluator, leaves, repeat)
    assert nanoseconds is not None and program.path.origins is not None
    share = form.n / lanes if lanes > 1 else 1.0
    rows, lines = costs_of(program, program.path.origins[program.kind], nanoseconds * 1e-9 * share, observer, lanes)
    return Profile(name, rows, lines, seconds, 8 * program.evaluator.code.n_slots * lanes)


def profiled(f: Any) -> tuple[Compiled, str, str]:
    """The compiled function behind what is called, how that is called, and the kind of its program."""
    if isinstance(f, Bound):
        return f.function, f"{f.function.name}.bind", "grad"
    owner, method = getattr(f, "__self__", f), getattr(f, "__name__", "") if hasattr(f, "__self__") else ""
    known, within = PROGRAM, ""
    if isinstance(owner, Batch):
        owner, known, within = owner.function, OF_ROWS, ".batch"
    if not isinstance(owner, Compiled) or (method and method not in known):
        raise TypeError(f"profile: a compiled function is needed (fa.compile(f)), or its {', '.join(PROGRAM)}, bind(x) "
                        f"or batch, not {method or type(f).__name__}")
    return owner, owner.name + within + (f".{method}" if method else ""), known.get(method, "value")


class _Lines(Observer):
    """Notes the lines of the function itself; what is recorded behind it belongs to one of these or to none."""

    function = True

    def here(self) -> Place | None:
        """The line, None behind the function."""
        return super().here() if self.function or self.origin >= 0 else None


def traced_call(owner: Compiled, kind: str, args: Sequence[Any], kwargs: Options,
                observer: _Lines) -> tuple[Program, list[Any]]:
    """The program of a call, made anew under observation, and its inputs."""
    kwargs = {name: value for name, value in kwargs.items() if name not in ("out", "sparse")}      # of the call
    vector = None
    if kind == "hvp":
        *args, vector = args
    elif kind == "jvp":
        args, vector = args
        vector = vector[0] if owner.single and len(vector) == 1 else vector
    arguments = owner.read(args, kwargs, derive=kind != "value")
    more = [] if vector is None else owner.seeds_like(arguments, vector, f"{kind}: the vector")
    return traced(owner, kind, arguments, more, observer)


def traced(owner: Compiled, kind: str, arguments: Arguments, more: Sequence[Any],
           observer: _Lines) -> tuple[Program, list[Any]]:
    """The same for arguments that were read, and further inputs."""
    path = Path(owner.f, arguments, owner.passes, observer)
    observer.function = False
    try:
        if kind in ("jacobian", "hessian"):
            width = sum(np.size(x) for x in path.active)
            if not one_program(path, kind, min(width, np.size(path.outputs[0])) if kind == "jacobian" else width):
                raise TypeError(f"profile: the {kind} of {owner.name} is no program of its own but takes many "
                                "directions; profile f.jvp, f.hvp or f.grad, which compute them")
        return path.program(kind), [*arguments.leaves, *more]
    finally:
        variable.observe(path.trace.tape, None)


def duration_of_call(f: Any, args: Sequence[Any], kwargs: Options, repeat: int) -> float:
    """Seconds of the fastest call."""
    f(*args, **kwargs)
    best = float("inf")
    for _ in range(max(repeat, 5)):
        start = perf_counter_ns()
        f(*args, **kwargs)
        best = min(best, perf_counter_ns() - start)
    return best * 1e-9


def costs_of(program: Program, origins: Sequence[Any], seconds: Any, observer: Observer,
             lanes: int = 1) -> tuple[list[Cost], list[LineCost]]:
    """The rows of both tables."""
    code = program.evaluator.code
    records = program.path.trace.tape.records
    starts, known = records["out"], int((records["out"] + records["size"]).max(initial=0))
    rows: list[Cost] = []
    by_line: dict[Place | None, list[float]] = {}
    k = 0
    while k < len(code.instructions):
        row = code.instructions[k]
        last = k + 1 + (int(row["count"]) if row["kind"] == RUN else 0)
        found: Counter[Place | None] = Counter()
        for slots in origins[k:last]:
            slots = np.asarray(slots, np.int64)
            inside = slots[slots < known]
            numbers, counts = np.unique(np.searchsorted(starts, inside, "right") - 1, return_counts=True)
            for record, n in zip(numbers.tolist(), counts.tolist(), strict=True):
                found[observer.place(record)] += n
            if len(slots) > len(inside):
                found[None] += len(slots) - len(inside)
        size = lanes * sum(bytes_of(code.instructions[j], code) for j in range(k, last))
        if not found:
            found[None] = 1
        total = found.total()
        for place, n in found.items():
            entry = by_line.setdefault(place, [0.0, 0.0, 0.0])
            entry[0] += seconds[k] * n / total
            entry[1] += size * n / total
            entry[2] += n
        rows.append(Cost(text_of(k, last, code), float(seconds[k]), size,
                         tuple([place for place, _ in found.most_common() if place is not None])))
        k = last
    rows.sort(key=lambda row: -row.seconds)
    lines = [LineCost(place, s, round(size), int(n)) for place, (s, size, n) in by_line.items()]
    return rows, sorted(lines, key=lambda line: -line.seconds)


def bytes_of(row: Any, code: Any) -> int:
    """Bytes of the results of an instruction; what only its run reads has no more room than a strip."""
    kind, n = KINDS[row["kind"]], int(row["n"])
    if kind == "run":
        return 0
    if kind == "sum":
        return 8
    if kind == "call":
        p = code.pool[row["first"]:]
        at = 1 + 2 * int(p[0])
        return 8 * sum(int(p[at + 2 + 2 * j]) for j in range(int(p[at])))
    if kind == "line" and row["av"] < 0:              # in a register
        return 0
    return 8 * (n if row["av"] else min(n, STRIP))


def text_of(k: int, last: int, code: Any) -> str:
    """An instruction in one line."""
    row = code.instructions[k]
    if row["kind"] == SCALARS:
        n = int(row["n"])
        return f"{n} scalar operation{'s' if n > 1 else ''}"
    if row["kind"] == RUN:
        names = [word for j in range(k + 1, last) for word in described(code.instructions[j], code)[0].split()[:5]
                 if "(" in word or word == "sum"]
        count = f"{last - k - 1} line{'s' if last - k > 2 else ''}"
        return f"run of {count} of {row['n']}: " + shortened([name.split("(")[0] for name in names])
    return " ".join(described(row, code)[0].split())


def shortened(names: list[str]) -> str:
    """The first few of many names."""
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")


def short_places(places: Sequence[Place]) -> str:
    """File names and lines, of many the first."""
    text = ", ".join([f"{place.file.rpartition('/')[2]}:{place.line}" for place in places[:3]])
    return text + (", ..." if len(places) > 3 else "") if places else "-"


def memory(size: int) -> str:
    """Bytes in a fitting unit."""
    for unit, factor in (("MB", 1e-6), ("kB", 1e-3)):
        if size * factor >= 1.0:
            return f"{size * factor:.3g} {unit}"
    return f"{size} B"


def duration(seconds: float) -> str:
    """Seconds in a fitting unit."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1.0:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"
