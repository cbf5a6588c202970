"""Backpropagation as a table: for each edge of a graph local derivative × upstream = contribution."""
from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from . import variable
from .errors import NoGradientError
from .graph import Node
from .observing import Observer
from .pictures import ACCUMULATE, blocks_of, html_table, operation_of, reach, reads, shape_of, short, written

__all__ = ["Edge", "Explanation", "explain"]


class Edge(NamedTuple):
    """One edge of a graph, from the result of an operation to one of its operands.

    Numbers are floats, what belongs to arrays are arrays; `local` is None where it is no elementwise factor (a gate, a
    decomposition).
    """

    result: str
    operation: str
    operand: str
    local: Any
    upstream: Any
    contribution: Any


class Explanation:
    """What `explain` gives: a table that can be printed, shown in a notebook, or taken apart.

    Attributes
    ----------
    rows : list of Edge
        In the order of the sweep: from the output backwards.
    values : dict
        The value of each node, by name.
    gradients : dict
        The sum of the contributions to each node, by name; None where nothing arrived.
    left_out : int
        How many operations further down are not shown.
    """

    def __init__(self, rows: list[Edge], values: dict[str, Any], gradients: dict[str, Any], left_out: int) -> None:
        self.rows, self.values, self.gradients, self.left_out = rows, values, gradients, left_out

    def _tables(self) -> list[list[tuple[str, ...]]]:
        """The cells of both tables, headings first."""
        edges: list[tuple[str, ...]] = [("operation", "operand", "local derivative", "× upstream", "= contribution")]
        before = ""
        for e in self.rows:
            head = f"{e.result} = {e.operation}"
            edges.append(("" if head == before else head, e.operand, "-" if e.local is None else summary(e.local),
                          f"× {summary(e.upstream)}", f"= {summary(e.contribution)}"))
            before = head
        nodes: list[tuple[str, ...]] = [("node", "value", "gradient: the sum of its contributions")]
        nodes += [(name, summary(value), "-" if self.gradients[name] is None else summary(self.gradients[name]))
                  for name, value in self.values.items()]
        return [edges, nodes]

    def __repr__(self) -> str:
        parts = []
        for table in self._tables():
            wide = [max(len(row[k]) for row in table) for k in range(len(table[0]))]
            parts.append("\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, wide, strict=True)).rstrip()
                                   for row in table))
        if self.left_out:
            parts[0] += f"\n... and {self.left_out} operations before them (max_rows)"
        return "\n\n".join(parts)

    def _repr_html_(self) -> str:
        parts = [html_table(rows) for rows in self._tables()]
        if self.left_out:
            parts.insert(1, f"<p>... and {self.left_out} operations before them (max_rows)</p>")
        return "".join(parts)


def explain(y: Any, seed: Any = None, max_rows: int = 100) -> Explanation:
    """How backpropagation comes to its gradients: for each edge local derivative × upstream = contribution.

    Parameters
    ----------
    y : Variable or Node
        A recorded Variable, or a node of a `Graph` that was evaluated. The graph must not have been freed.
    seed : array_like, optional
        Upstream gradient of `y`, as for ``backward()``; 1 for a scalar.
    max_rows : int
        Of longer computations only the last so many operations are shown.

    Returns
    -------
    Explanation
        Prints as two tables: edges in the order of the sweep, and nodes with the sums of what they got. ``rows``,
        ``values`` and ``gradients`` hold the numbers.

    Notes
    -----
    `explain` makes a sweep of its own: it may be called before ``backward()``, or after it with ``retain_graph=True``,
    and changes no gradient. Hooks do not run. Of arrays the table shows the shape, the Euclidean norm and the first
    elements.

    Raises
    ------
    FreedGraphError
        When ``backward()`` has freed the graph.
    NoGradientError
        When `y` carries no gradient.

    Examples
    --------
    >>> import fastad as fa
    >>> x, w = fa.Variable(2.0, name="x"), fa.Variable(-3.0, name="w")
    >>> y = fa.exp(x * w)
    >>> y.name = "y"
    >>> fa.explain(y)
    operation      operand  local derivative  × upstream    = contribution
    y = exp        v1       0.00247875        × 1           = 0.00247875
    v1 = multiply  x        -3                × 0.00247875  = -0.00743626
                   w        2                 × 0.00247875  = 0.0049575
    <BLANKLINE>
    node  value       gradient: the sum of its contributions
    y     0.00247875  1
    v1    -6          0.00247875
    w     -3          0.0049575
    x     2           -0.00743626
    >>> fa.explain(y).rows[1].local
    -3.0
    """
    if isinstance(max_rows, bool) or not isinstance(max_rows, int) or max_rows < 1:
        raise ValueError(f"explain: max_rows={max_rows!r}: a positive number is needed")
    names: dict[int, str] = {}
    if isinstance(y, Node):
        names = {id(value): y.graph.nodes[k].name for k, value in y.graph._values.items()}
        if y.index not in y.graph._values:
            raise RuntimeError(f"explain: {y.name} has not been evaluated; call forward first")
        y = y.graph._values[y.index]
    if not isinstance(y, variable.Variable):
        raise TypeError(f"explain: a recorded Variable or a node of a graph is needed, not {type(y).__name__}")
    if seed is not None and np.shape(seed) != y.shape:
        raise ValueError(f"explain: the seed has shape {np.shape(seed)}, y has {y.shape}")
    records, total = variable.history(y, max_rows, "explain")
    if not variable.is_recorded(y):
        raise NoGradientError("explain: this value carries no gradient; it is a constant")
    if not records:
        name = names.get(id(y), y.name or "leaf1")
        start = np.ones(y.shape) if seed is None else np.asarray(seed, np.float64)
        return Explanation([], {name: item(y.value)}, {name: item(start)}, 0)
    if seed is None and y.size != 1:
        raise ValueError(f"explain: y has shape {y.shape}; a seed of that shape is needed, or reduce it to a scalar "
                         "(np.sum)")
    table = _Table(records, names)
    variable.observed_sweep(y, seed, table, records[0]["record"])
    return table.explanation(total - len(records), max_rows)


class _Table(Observer):
    """Collects the edges in a sweep."""

    def __init__(self, records: list[Any], names: dict[int, str]) -> None:
        super().__init__()
        self.records = {r["record"]: r for r in records}
        self.blocks, self.starts_of = blocks_of(records)
        self.names = self._named(records, names)
        self.name_of = {r["record"]: name for r, name in zip(records, self.names, strict=True)}
        self.edges: list[Edge] = []
        self.waiting: list[tuple[int, int, Any]] = []
        self.list = records

    def _named(self, records: list[Any], names: dict[int, str]) -> list[str]:
        """A name for each record: of its Variable, or a number."""
        made: list[str] = []
        results = leaves = 0
        for r in records:
            held = r["variable"]
            results += r["kind"] != "span"
            leaves += r["kind"] == "span"
            name = names.get(id(held)) or (held.name if held is not None else None)
            name = name or (f"leaf{leaves}" if r["kind"] == "span" else f"v{results}")
            while name in made:
                name += "'"
            made.append(name)
        return made

    # ---- the sweep ----
    def sweeping(self, tape: Any, record: int, slot: int) -> None:
        """Note the upstream gradient; take what the operands have got out of the way of what they get now."""
        r = self.records.get(record)
        self.waiting = []
        if r is None:
            return
        self.keep(tape, r)
        if r["kind"] in ("span", "freed"):
            return
        if r["kind"] == "scalar":
            self.scalar(tape, variable.record_at(tape, record, slot), r)
            return
        for low, high in self.operand_spans(r):
            self.waiting.append((low, high, variable.numbers_at(tape, low, high - low + 1, True)))
            variable.set_adjoints(tape, low, np.full(high - low + 1, -0.0))
        low, high = written(r) or (r["out"], r["out"] + np.size(r["values"]) - 1)
        self.upstream = variable.numbers_at(tape, low, high - low + 1, True)

    def swept(self, tape: Any, record: int, slot: int) -> None:
        """Read what the operands have got, and give back what they had."""
        r = self.records.get(record)
        if r is None or not self.waiting:
            return
        local = [*locals_of(tape, r), None, None]
        same = len(self.waiting) == 1 and r["kind"] == "map" and local[0] is not None and local[1] is not None
        for k, (low, high, before) in enumerate(self.waiting):
            new = variable.numbers_at(tape, low, high - low + 1, True)
            both = np.where(nothing(before), new, before + new)
            variable.set_adjoints(tape, low, np.where(nothing(new), before, both))
            if nothing(new).all():
                continue
            factor = local[0] + local[1] if same else local[k]
            for j, first, last in self.parts(low, high, new):
                self.edge(r, j, first, last, factor, self.upstream, new[first - low:last - low + 1])

    def scalar(self, tape: Any, now: Any, r: Any) -> None:
        """The edges of an operation on numbers."""
        g = variable.numbers_at(tape, r["out"], 1, True)
        if nothing(g)[0]:
            return
        for slot, partial in zip((now["a"], now["b"]), now["partials"], strict=True):
            if slot is not None and partial is not None:
                self.edge(r, self.block(slot), slot, slot, partial, g, np.array([partial * g[0] + 0.0]))

    def operand_spans(self, r: Any) -> list[tuple[int, int]]:
        """First and last slots of the operands that are no constants; those that overlap are one."""
        own = range(r["out"], r["out"] + r["size"])
        merged: list[tuple[int, int]] = []
        spans = [(low, high) for low, high in reads(r) if low not in own]
        if spans and r["kind"] in ("route", "spread"):
            return [(min(low for low, _ in spans), max(high for _, high in spans))]
        for low, high in spans:
            for k, (first, last) in enumerate(merged):
                if low <= last and first <= high:
                    merged[k] = min(low, first), max(high, last)
                    break
            else:
                merged.append((low, high))
        return merged

    # ---- nodes ----
    def block(self, slot: int) -> int:
        """The record in whose block a slot stands, -1 when it is not shown."""
        at = int(np.searchsorted(self.starts_of, slot, "right")) - 1
        return self.blocks[at][2] if at >= 0 and slot < self.blocks[at][1] else -1

    def parts(self, low: int, high: int, new: Any) -> Iterator[tuple[int, int, int]]:
        """The blocks that a stretch of slots with contributions goes through."""
        reached = np.flatnonzero(~nothing(new)) + low
        owners = [self.block(int(slot)) for slot in reached]
        for j in dict.fromkeys(owners):
            mine = reached[np.array(owners) == j]
            whole = j >= 0 and self.list[j]["out"] >= low and self.last(j) <= high
            yield j, *((self.list[j]["out"], self.last(j)) if whole else (int(mine[0]), int(mine[-1])))

    def last(self, j: int) -> int:
        """The last slot of a record's result."""
        return int(self.list[j]["out"]) + max(np.size(self.list[j]["values"]), 1) - 1

    def shape(self, j: int) -> Any:
        """The shape of a record's result, flat where it is not known."""
        return fitting(self.list[j]["values"], self.list[j])

    def name(self, j: int, first: int, last: int) -> str:
        """A stretch of slots by the name of its node."""
        if j < 0:
            return "(earlier)"
        start = self.list[j]["out"]
        if first == start and last == self.last(j):
            return self.names[j]
        if first == last and first <= self.last(j):
            index = np.unravel_index(first - start, self.shape(j))
            return f"{self.names[j]}[{', '.join(str(k) for k in index)}]"
        return f"{self.names[j]}[...]"

    def edge(self, r: Any, j: int, first: int, last: int, local: Any, upstream: Any, contribution: Any) -> None:
        """Add an edge to the operand in block j."""
        contribution = contribution + 0.0
        if j >= 0 and first == self.list[j]["out"] and last == self.last(j):
            contribution = contribution.reshape(self.shape(j))
        elif first == last:
            contribution = contribution[0]
        self.edges.append(Edge(self.name_of[r["record"]], operation_of(r), self.name(j, first, last), item(local),
                               item(shaped(upstream, r)), item(contribution)))

    def keep(self, tape: Any, r: Any) -> None:
        """Note the adjoint of a node at the time when it is complete."""
        n = np.size(r["values"])
        r["total"] = variable.numbers_at(tape, r["out"], n, True) if n else np.empty(0)

    def explanation(self, left_out: int, max_rows: int) -> Explanation:
        """What was collected."""
        values, gradients = {}, {}
        for j in range(len(self.list) - 1, -1, -1):
            r = self.list[j]
            values[self.names[j]] = item(np.reshape(r["values"], self.shape(j)))
            g = r.get("total")
            reached = g is not None and not nothing(g).all()
            gradients[self.names[j]] = item(np.reshape(g + 0.0, self.shape(j))) if reached else None
        return Explanation(self.edges[:max_rows], values, gradients, left_out)


def nothing(g: Any) -> Any:
    """Where an adjoint is nothing: -0.0."""
    return (g == 0.0) & np.signbit(g)


def item(x: Any) -> Any:
    """A number as a float, an array as it is."""
    return x if x is None else np.asarray(x) if np.ndim(x) else float(x)


def shaped(g: Any, r: Any) -> Any:
    """An upstream gradient in the shape of the result."""
    return np.reshape(g + 0.0, fitting(g, r))


def fitting(values: Any, r: Any) -> tuple[int, ...]:
    """The shape of a record's result, if these values have as many elements."""
    shape = shape_of(r)
    return shape if math.prod(shape) == np.size(values) else np.shape(values)


def strided(tape: Any, first: int, lengths: Any, strides: Any) -> Any:
    """The values of a view of the tape."""
    low, high = reach(first, lengths, strides)
    flat = variable.numbers_at(tape, low, high - low + 1)
    index = np.full(tuple(lengths), first - low)
    for axis, (n, s) in enumerate(zip(lengths, strides, strict=True)):
        index = index + (np.arange(n) * s).reshape((n,) + (1,) * (len(lengths) - 1 - axis))
    return flat[index]


def locals_of(tape: Any, r: Any) -> tuple[Any, ...]:
    """The local derivatives of an operation on arrays, one for each operand."""
    kind = r["kind"]
    if kind in ("route", "assign"):
        return (1.0,)
    if kind == "spread":
        return (variable.numbers_at(tape, r["b"], r["n"]),)
    if kind == "matmul":
        q = r["sizes"]
        return (np.squeeze(strided(tape, r["b"], (q[0], q[3], q[2]), q[10:13])),
                np.squeeze(strided(tape, r["a"], (q[0], q[1], q[3]), q[7:10])))
    if kind != "map":
        return (None,)
    if r["op"] == "positive":
        return (1.0,)
    lengths = r["layout"][0]
    x = strided(tape, r["a"], lengths, r["layout"][2])
    y = strided(tape, r["b"], lengths, r["layout"][3]) if r["b"] is not None else None
    dx, dy = variable.partials_of(r["op"], x, np.zeros_like(x) if y is None else y)
    own = range(r["out"], r["out"] + r["size"])
    return tuple([d if r["size"] > 1 or r["flags"] & ACCUMULATE else d[0]
                  for slot, d in ((r["a"], dx), (r["b"], dy)) if slot is not None and slot not in own])


def summary(x: Any) -> str:
    """A number, or of an array shape, norm and first elements."""
    if np.ndim(x) == 0:
        return f"{float(x):.6g}"
    text = f"{np.shape(x)} {short(x)}"
    return f"{text}, norm {np.linalg.norm(np.ravel(x)):.6g}" if np.size(x) > 4 else text
