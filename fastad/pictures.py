"""Pictures of what was computed, as Graphviz DOT text: of Variables, compiled programs and explicit graphs."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from . import variable
from ._instructions import KINDS, STRIP
from .compiled.program import Program, described
from .graph import Graph, Node

__all__ = ["Picture", "to_dot"]

ACCUMULATE, INDEXED, ANYWHERE, OF_LEAF = 1, 8, 16, 64        # flags of a record
#: A label shows so many elements of an array.
SHOWN = 4
WORDS = {"span": "array", "matmul": "matmul", "route": "select", "spread": "spread", "assign": "write",
         "freed": "freed"}


class Picture(str):
    """DOT text that a notebook shows as a drawing.

    That takes the package ``graphviz`` and its program ``dot``; without them a notebook shows the text.
    """

    __slots__ = ()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """What a notebook may show; an error while drawing is no error of the notebook's."""
        drawing = self._repr_svg_()
        return {"text/plain": str(self), **({} if drawing is None else {"image/svg+xml": drawing})}

    def _repr_svg_(self) -> str | None:
        """The drawing, None where Graphviz is not there or fails."""
        try:
            import graphviz
            return str(graphviz.Source(str(self)).pipe(format="svg", encoding="utf-8"))
        except Exception:                             # no package, no program, or one that fails: there is the text
            return None


def to_dot(y: Any, max_nodes: int = 500) -> Picture:
    r"""A picture of what a value was computed from, as text in Graphviz's DOT language.

    Parameters
    ----------
    y : Variable, Program, Graph or Node
        A recorded Variable: a node for each operation, with shape, value and, after ``backward(retain_graph=True)``,
        gradient; an edge from each operand. A program of a compiled function (``f.programs``): a node for each
        instruction, an edge for the slots that go from one to another. An explicit graph, or what one of its nodes is
        computed from: values and gradients of the last ``forward`` and ``backward``.
    max_nodes : int
        Of longer computations only the last so many operations are shown, and one node says how many are left out.

    Returns
    -------
    Picture
        A str that ``dot -Tsvg`` draws. A notebook shows the drawing if the package ``graphviz`` and the program ``dot``
        are there (``pip install fastad[graph]``), else the text.

    Raises
    ------
    FreedGraphError
        When ``backward()`` has freed the graph.
    TypeError
        When `y` is something else.

    Examples
    --------
    >>> import fastad as fa
    >>> x = fa.Variable(2.0, name="x")
    >>> print(fa.to_dot(fa.exp(x) * 3.0))
    digraph fastad {
      rankdir=LR; node [shape=box];
      n0 [label="x\n2", style=filled];
      n1 [label="exp\n7.38906"];
      n0 -> n1;
      n2 [label="multiply 3\n22.1672"];
      n1 -> n2;
    }
    """
    if isinstance(max_nodes, bool) or not isinstance(max_nodes, int) or max_nodes < 1:
        raise ValueError(f"to_dot: max_nodes={max_nodes!r}: a positive number is needed")
    if isinstance(y, Program):
        lines = of_program(y, max_nodes)
    elif isinstance(y, variable.Variable):
        lines = of_variable(y, max_nodes)
    elif isinstance(y, Graph):
        lines = of_graph(y, y.nodes, max_nodes)
    elif isinstance(y, Node):
        lines = of_graph(y.graph, [y.graph.node(entry) for entry in y.graph._needed([y.entry])], max_nodes)
    else:
        raise TypeError("to_dot: a Variable, a graph, a node or a program of a compiled function (f.programs) is "
                        f"needed, not {type(y).__name__}")
    return Picture("\n".join(["digraph fastad {", "  rankdir=LR; node [shape=box];", *lines, "}"]))


def quoted(*rows: str) -> str:
    """Rows of text as a label."""
    text = "\n".join([row for row in rows if row])
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def short(values: Any) -> str:
    """Numbers, the first few of many."""
    values = np.asarray(values).reshape(-1)
    text = " ".join([f"{v:.6g}" for v in values[:SHOWN].tolist()])
    return text if values.size == 1 else f"[{text}{' ...' if values.size > SHOWN else ''}]"


def left_out(n: int, what: str) -> list[str]:
    """The node that stands for all that is not shown."""
    return [f"  rest [label={quoted(f'{n} {what} more')}, style=dashed];"] if n else []


# ---- Variables -------------------------------------------------------------------------------------------------
def of_variable(y: variable.Variable, max_nodes: int) -> list[str]:
    """Nodes and edges of what a Variable was computed from."""
    records, total = variable.history(y, max_nodes)
    if not total:
        return [f"  n0 [label={labelled(y, y.name or '', y.value, y.grad, y.shape)}, style=filled];"]
    lines = left_out(total - len(records), "operations")
    blocks, starts = blocks_of(records)
    writers: dict[int, list[tuple[int, int, int]]] = {}        # block -> what was written to it later on
    for k, r in enumerate(records):
        lines.append(f"  n{k} [label={label(r)}{', style=filled' if is_source(r) else ''}];")
        operands: dict[str, None] = {}
        for low, high in reads(r):
            at = max(int(np.searchsorted(starts, low, "right")) - 1, 0)
            if low < starts[0] and total > len(records):
                operands["rest"] = None
            while at < len(blocks) and blocks[at][0] <= high:
                _, stop, j = blocks[at]
                if low < stop and j < k:
                    operands[f"n{j}"] = None
                    operands.update({f"n{w}": None for w, a, b in writers.get(j, ()) if low <= b and a <= high})
                at += 1
        lines += [f"  {name} -> n{k};" for name in operands]
        target = written(r)
        if target is not None:
            at = int(np.searchsorted(starts, target[0], "right")) - 1
            if at >= 0 and blocks[at][2] != k:
                writers.setdefault(blocks[at][2], []).append((k, *target))
    return lines


def blocks_of(records: Any) -> tuple[list[tuple[int, int, int]], Any]:
    """First slot, end and place of each record's block, and the first slots as an array, to look slots up in."""
    blocks = [(r["out"], r["out"] + r["size"], k) for k, r in enumerate(records) if r["size"]]
    return blocks, np.array([first for first, _, _ in blocks])


def is_source(r: Any) -> bool:
    """Whether nothing was computed there: a leaf, an argument, a constant."""
    return bool(r["kind"] == "span" and (r["variable"] is not None or r["flags"] & OF_LEAF))


def operation_of(r: Any) -> str:
    """What a record has done, in words."""
    kind = r["kind"]
    if kind == "scalar":
        numbers = [f" {r[c]:.6g}" for c in ("ca", "cb") if r[c] is not None]
        return str("copy" if r["op"] == "positive" else r["op"] + numbers[0] if numbers else r["op"])
    if kind == "map":
        summed = "sum" if r["op"] == "positive" else f"{r['op']}, sum"
        return str(summed if r["flags"] & ACCUMULATE else "copy" if r["op"] == "positive" else r["op"])
    if kind == "call":
        return getattr(r["rule"], "name", None) or type(r["rule"]).__name__
    return WORDS[kind]


def label(r: Any) -> str:
    """The label of a record: name, operation, shape, value, gradient."""
    held = r["variable"]
    operation = "" if is_source(r) and held is not None and held.name else operation_of(r)
    name = held.name if held is not None and held.name else ""
    return labelled(held, " = ".join([word for word in (name, operation) if word]), r["values"], r["gradient"],
                    shape_of(r))


def labelled(held: Any, head: str, values: Any, gradient: Any, shape: tuple[int, ...]) -> str:
    """A label of its parts."""
    if held is None and not np.size(values):
        return quoted(head)
    gradient = variable.value_of(gradient)
    return quoted(head, f"{shape}" if shape else "", short(values),
                  "" if gradient is None else f"gradient {short(gradient)}")


def shape_of(r: Any) -> tuple[int, ...]:
    """The shape of what a record has computed, as far as it is known."""
    if r["variable"] is not None:
        return tuple(r["variable"].shape)
    if r["kind"] == "map":
        lengths, strides = r["layout"][:2]
        return tuple([n for n, s in zip(lengths, strides, strict=True) if s or n == 1]) if len(r["values"]) > 1 else ()
    if r["kind"] == "matmul":
        return tuple([n for n in r["sizes"][:3] if n != 1])
    return () if r["kind"] == "scalar" else (r["size"],)


def reach(first: int, lengths: Any, strides: Any) -> tuple[int, int]:
    """First and last slot of a view."""
    ends = [(n - 1) * s for n, s in zip(lengths, strides, strict=True)]
    return first + sum([e for e in ends if e < 0]), first + sum([e for e in ends if e > 0])


def reads(r: Any) -> Iterator[tuple[int, int]]:
    """First and last slots of what a record reads; constants stand in its own block."""
    kind = r["kind"]
    if kind == "scalar":
        yield from [(r[name], r[name]) for name in ("a", "b") if r[name] is not None]
    elif kind == "call":
        yield from [(slot, slot + size - 1) for slot, size in r["ins"] if size]
    elif kind == "matmul":
        q = r["sizes"]
        if min(q[:4]) > 0:
            yield reach(r["a"], (q[0], q[1], q[3]), q[7:10])
            yield reach(r["b"], (q[0], q[3], q[2]), q[10:13])
    elif kind == "route" or kind == "spread":
        first = 0 if r["flags"] & ANYWHERE else r["a"]
        yield from [(first + j, first + j) for j in sorted(set(r["indices"].tolist())) if j >= 0]
    elif kind == "assign" and r["flags"] & INDEXED:
        if r["a"] is not None:
            yield reach(r["a"], (r["n"],), (r["stride"],))
    elif kind == "map" or kind == "assign":
        for name, strides in (("a", r["layout"][2]), ("b", r["layout"][3])):
            if r[name] is not None and r["n"]:
                yield reach(r[name], r["layout"][0], strides)


def written(r: Any) -> tuple[int, int] | None:
    """First and last slot of what a record writes outside of its own block."""
    if r["kind"] not in ("map", "assign") or not r["n"] or r["out"] <= r["dst"] < r["out"] + r["size"]:
        return None
    if r["flags"] & INDEXED:
        return r["dst"] + int(r["indices"].min()), r["dst"] + int(r["indices"].max())
    return reach(r["dst"], *r["layout"][:2])


# ---- explicit graphs ---------------------------------------------------------------------------------------------
def of_graph(graph: Graph, nodes: Any, max_nodes: int) -> list[str]:
    """Nodes and edges of an explicit graph."""
    shown = nodes[-max_nodes:]
    first = shown[0].index if shown else 0
    lines = left_out(len(nodes) - len(shown), "nodes")
    for node in shown:
        rows = [node.name if not node.inputs else f"{node.name} = {node.operation}"]
        if node.index in graph._values:
            value = node.value
            if isinstance(value, (float, np.ndarray)):
                rows += [f"{np.shape(value)}" if np.ndim(value) else "", short(value)]
            rows += [f"gradient {short(node.grad)}"] if graph._swept else []
        lines.append(f"  n{node.index} [label={quoted(*rows)}{'' if node.inputs else ', style=filled'}];")
        sources = dict.fromkeys("rest" if source.index < first else f"n{source.index}" for source in node.inputs)
        lines += [f"  {source} -> n{node.index};" for source in sources]
    return lines


# ---- programs --------------------------------------------------------------------------------------------------
def of_program(program: Program, max_nodes: int) -> list[str]:
    """Nodes and edges of a program: instructions, and the slots between them."""
    evaluator = program.evaluator
    code = evaluator.code
    lines: list[str] = []
    maker = np.full(code.n_slots, -1, np.int64)       # by slot: the node that wrote it last
    nodes = 0
    for word, spans in (("input", [(slot, shape) for slot, shape in evaluator.inputs]),
                        ("captured", [(slot, np.shape(array)) for array, slot in evaluator.captures])):
        for slot, shape in spans:
            lines.append(f"  n{nodes} [label={quoted(word, str(shape) if shape else '', f's{slot}')}, style=filled];")
            maker[slot:slot + int(np.prod(shape, dtype=np.int64))] = nodes
            nodes += 1
    steps = list(instructions(code))
    skipped = max(0, len(steps) - max_nodes)
    lines += left_out(skipped, "instructions")
    for k, (text, sources, target) in enumerate(steps):
        node = -2 if k < skipped else nodes           # -2: what is left out
        if node == nodes:
            lines.append(f"  n{nodes} [label={quoted(text)}];")
            lines += edges(maker, sources, f"n{nodes}")
            nodes += 1
        for slots in target:
            maker[slots] = node
    for slots, value in zip(evaluator.guards.tolist(), evaluator.expected.tolist(), strict=True):
        if nodes >= 2 * max_nodes:
            break
        lines.append(f"  n{nodes} [label={quoted(f'guard == {value:g}')}, shape=diamond];")
        lines += edges(maker, [line(slots, 1)], f"n{nodes}")
        nodes += 1
    for k, (shape, slots) in enumerate(evaluator.results):
        lines.append(f"  result{k} [label={quoted('result', str(shape) if shape else '')}, style=filled];")
        lines += edges(maker, [slots], f"result{k}")
    return lines


def edges(maker: Any, sources: list[Any], to: str) -> list[str]:
    """Edges from the nodes that have made slots; constants have no node."""
    made = sorted({int(k) for slots in sources for k in np.unique(maker[slots])})
    return [f"  {'rest' if k == -2 else f'n{k}'} -> {to};" for k in made if k != -1]


def instructions(code: Any) -> Iterator[tuple[str, list[Any], list[Any]]]:
    """Of each instruction the text, the slots that it reads, and those that it writes."""
    for row in code.instructions:
        kind, n, v = KINDS[row["kind"]], int(row["n"]), int(row["v"])
        if kind == "run":
            continue                                  # its lines follow
        if kind == "scalars":
            first = int(row["first"])
            for q, text in zip(code.scalars[first:first + n], described(row, code), strict=True):
                operands = [q[name] for name in (("a", "b") if q["b"] else ("a",))]
                yield text.split(maxsplit=1)[1], [line(slot, 1) for slot in operands], [line(q["v"], 1)]
            continue
        text = " ".join(described(row, code)[0].split())
        if kind in ("map", "add"):
            nd, first = int(code.pool[row["first"]]), int(row["first"]) + 1
            p = code.pool[first:first + 4 * nd].reshape(4, nd)
            views = [line(*reach_of(int(row[name]), p[0], p[1 + j])) for j, name in enumerate("vab") if row[name] >= 0]
            yield text, views[1:] + (views[:1] if kind == "add" else []), views[:1]
        elif kind == "matmul":
            q = code.pool[row["first"]:row["first"] + 13]
            sizes = ((q[0], q[1], q[2]), (q[0], q[1], q[3]), (q[0], q[3], q[2]))
            views = [line(*reach_of(int(row[name]), sizes[j], q[4 + 3 * j:7 + 3 * j])) for j, name in enumerate("vab")]
            yield text, views[1:], views[:1]
        elif kind == "call":
            p = code.pool[row["first"]:].tolist()
            pairs = [(p[1 + 2 * j], p[2 + 2 * j]) for j in range(p[0])]
            p = p[1 + 2 * p[0]:]
            yield text, [line(*pair) for pair in pairs], [line(p[1 + 2 * j], p[2 + 2 * j]) for j in range(p[0])]
        elif kind == "chain":
            count = n * int(row["count"])
            terms = code.pool[row["ib"]:row["ib"] + count] if row["ib"] >= 0 else line(row["b"], count)
            yield text, [line(row["a"], n if row["aa"] else 1), terms], [line(v, n)]
        elif kind in ("fill", "copy"):
            yield text, [line(row["a"], 1 if kind == "fill" else n)], [line(v, n)]
        else:                                         # line, sum, gather
            strip = min(n, STRIP)                     # what does not leave its run stands in so many slots
            sources = []
            for name, on, index in (("a", "aa", "ia"), ("b", "ab", "ib")):
                if row[index] >= 0:
                    sources.append(code.pool[row[index]:row[index] + n])
                elif row[on] < 0:                     # from the line before, which puts it nowhere
                    sources.append(line(0, 1))
                elif row[name] >= 0:
                    sources.append(line(row[name], n if row[on] else strip))
            size = 1 if kind == "sum" or row["av"] < 0 else n if row["av"] or kind == "gather" else strip
            yield text, sources, [line(v, size)]


def line(slot: int, n: int) -> slice:
    """Slots in a row."""
    return slice(int(slot), int(slot) + int(n))


def reach_of(first: int, lengths: Any, strides: Any) -> tuple[int, int]:
    """The first slot of a view, and how many there are up to the last."""
    low, high = reach(first, np.asarray(lengths).tolist(), np.asarray(strides).tolist())
    return low, high - low + 1


def html_table(rows: Sequence[Sequence[str]]) -> str:
    """A table for notebooks; the first row has the headings.

    Examples
    --------
    >>> html_table([["x"], ["< 1"]])
    '<table><thead><tr><th>x</th></tr></thead><tbody><tr><td>&lt; 1</td></tr></tbody></table>'
    """
    from html import escape

    head, *body = ["<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row) + "</tr>"
                   for tag, row in zip(["th"] + ["td"] * len(rows), rows, strict=False)]
    return f"<table><thead>{head}</thead><tbody>{''.join(body)}</tbody></table>"
