"""Pictures: every operation a node, every operand an edge."""
import re
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import fastad as fa


def graph(dot):
    """Labels by node, and the set of edges by labels' first lines; the text has to be DOT as to_dot writes it."""
    lines = dot.splitlines()
    assert lines[0] == "digraph fastad {" and lines[-1] == "}"
    labels, edges = {}, []
    for text in lines[2:-1]:
        node = re.fullmatch(r'  (\w+) \[label="((?:[^"\\]|\\.)*)"(?:, \w+=\w+)*\];', text)
        edge = re.fullmatch(r"  (\w+) -> (\w+);", text)
        assert node or edge, text
        if node:
            assert node[1] not in labels
            labels[node[1]] = node[2].split(r"\n")
        else:
            edges.append((edge[1], edge[2]))
    assert {name for edge in edges for name in edge} <= set(labels)
    assert len(edges) == len(set(edges))
    return labels, {(labels[a][0], labels[b][0]) for a, b in edges}


def test_scalars():
    x, y = fa.Variable(2.0, name="x"), fa.Variable(3.0, name="y")
    unused = fa.exp(x) + 1.0
    labels, edges = graph(fa.to_dot(fa.sin(x) * y - 1.5))
    assert edges == {("x", "sin"), ("sin", "multiply"), ("y", "multiply"), ("multiply", "subtract 1.5")}
    assert len(labels) == 5 and ["x", "2"] in labels.values()
    del unused


def test_arrays_have_shapes_and_values():
    w = fa.Variable(np.arange(6.0).reshape(2, 3), name="w")
    labels, edges = graph(fa.to_dot(np.sum(np.exp(w @ np.ones(3)))))
    assert edges == {("w", "matmul"), ("matmul", "exp"), ("exp", "sum")}
    three = w * 3.0                                   # its constant stands behind the result
    labels_of_three, _ = graph(fa.to_dot(three[0, 1] + 0.5))
    assert ["multiply", "(2, 3)", "[0 3 6 9 ...]"] in labels_of_three.values()
    two = fa.to_dot(np.array([1.0, 2.0]) * fa.Variable(2.0))
    assert '"multiply\\n(2,)\\n[2 4]"' in two
    assert ["w", "(2, 3)", "[0 1 2 3 ...]"] in labels.values()
    assert ["exp", "(2,)", "[20.0855 162755]"] in labels.values()


def test_gradients_and_names_of_intermediates():
    x = fa.Variable(3.0, name="x")
    square = x * x
    square.name = 'the "square"'
    y = fa.log(square)
    y.backward(retain_graph=True)
    labels, _ = graph(fa.to_dot(y))
    assert ["x", "3", "gradient 0.666667"] in labels.values()
    assert [r'the \"square\" = multiply', "9", "gradient 0.111111"] in labels.values()


def test_writes_views_and_pieces():
    a, b = fa.Variable([1.0, 2.0, 3.0], name="a"), fa.Variable(5.0, name="b")
    x = a * 2.0
    x[1] = b
    _, edges = graph(fa.to_dot(np.cos(x)))
    assert {("a", "multiply"), ("multiply", "cos"), ("write", "cos")} <= edges
    assert any(first == "b" for first, _ in edges)
    _, edges = graph(fa.to_dot(np.cos(x[2])))         # nothing was written there
    assert edges == {("a", "multiply"), ("multiply", "cos")}
    _, edges = graph(fa.to_dot(np.exp(np.concatenate([a, a * 3.0]))))
    assert {("a", "multiply"), ("a", "copy"), ("multiply", "copy"), ("copy", "exp")} <= edges
    _, edges = graph(fa.to_dot(a[np.array([0, 2, 2])] * np.max(x)))
    assert {("a", "select"), ("select", "multiply")} <= edges
    np.where(a > 1.0, a, b)
    _, edges = graph(fa.to_dot(np.sum(np.where(a.value > 1.0, a * 2.0, b))))
    assert any(first == "b" for first, _ in edges) and any(last == "sum" for _, last in edges)


def test_a_leaf_and_a_constant():
    assert graph(fa.to_dot(fa.Variable(1.5, name="alone")))[0] == {"n0": ["alone", "1.5"]}
    assert graph(fa.to_dot(fa.Variable([1.0, 2.0]).detach()))[0] == {"n0": ["(2,)", "[1 2]"]}
    assert graph(fa.to_dot(fa.Variable(np.empty(0)) * 2.0))


def test_large_graphs_are_cut():
    x = fa.Variable(1.0, name="x")
    y = x
    for _ in range(100_000):
        y = y * 1.00001
    labels, edges = graph(fa.to_dot(y))
    assert len(labels) == 501 and labels["rest"] == ["99501 operations more"]
    assert ("99501 operations more", "multiply 1.00001") in edges
    assert len(graph(fa.to_dot(y, max_nodes=3))[0]) == 4


def test_freed_graphs_and_others():
    x = fa.Variable(1.0)
    y = fa.exp(x)
    y.backward()
    with pytest.raises(fa.FreedGraphError, match="retain_graph"):
        fa.to_dot(y)
    with pytest.raises(TypeError, match="not ndarray"):
        fa.to_dot(np.ones(3))
    with pytest.raises(ValueError, match="max_nodes"):
        fa.to_dot(x, max_nodes=0)


def test_making_a_picture_changes_nothing():
    x = fa.Variable([1.0, 2.0])
    y = x * 3.0
    y[0] = 7.0                                        # nobody needs it below
    z = np.sum(np.exp(x))
    graph(fa.to_dot(z))
    np.testing.assert_array_equal(y.value, [7.0, 6.0])
    np.sum(y).backward()
    np.testing.assert_array_equal(x.grad, [0.0, 3.0])


def test_explicit_graphs():
    g = fa.Graph()
    x, w = g.placeholder("x"), g.variable("w", [1.0, 2.0])
    y = np.sum(x * w)
    labels, edges = graph(fa.to_dot(g))
    assert edges == {("x", "multiply_2 = multiply"), ("w", "multiply_2 = multiply"),
                     ("multiply_2 = multiply", "sum_3 = sum")}
    g.forward(y, x=3.0)
    g.backward(y)
    labels, _ = graph(fa.to_dot(y))
    assert labels["n1"] == ["w", "(2,)", "[1 2]", "gradient [3 3]"]
    assert labels["n3"] == ["sum_3 = sum", "9", "gradient 1"]
    assert list(graph(fa.to_dot(g, max_nodes=1))[0]) == ["rest", "n3"]


def drawing(svg):
    """A package graphviz that draws, or fails."""
    def pipe(format, encoding):
        if isinstance(svg, Exception):
            raise svg
        return svg

    return SimpleNamespace(Source=lambda text: SimpleNamespace(pipe=pipe))


def test_notebooks_show_a_drawing_or_the_text(monkeypatch):
    dot = fa.to_dot(fa.Variable(2.0, name="x") * 3.0)
    monkeypatch.setitem(sys.modules, "graphviz", drawing("<svg/>"))
    assert dot._repr_mimebundle_() == {"text/plain": str(dot), "image/svg+xml": "<svg/>"}
    for missing in (None, drawing(RuntimeError("no program dot"))):
        monkeypatch.setitem(sys.modules, "graphviz", missing)
        assert dot._repr_svg_() is None
        assert dot._repr_mimebundle_() == {"text/plain": str(dot)}


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_graphviz_draws_it():
    pytest.importorskip("graphviz")
    assert "<svg" in fa.to_dot(fa.Variable(2.0, name="x") * 3.0)._repr_svg_()


PROGRAMS = {
    "scalars": (lambda x: x[0] * x[1] + fa.sin(x[2]), np.arange(1.0, 4.0)),
    "lines": (lambda x: np.sum(np.exp(np.sin(x)) * x), np.arange(700.0) / 700),
    "matmul": (lambda x: np.sum(x.reshape(4, 5) @ np.ones((5, 3))), np.arange(20.0)),
    "gather and calls": (lambda x: np.max(x[::-2]) + np.sum(np.sort(x) ** 2), np.arange(20.0)),
    "chain": (lambda x: sum([x[k] * x[k] for k in range(len(x))]), np.arange(30.0)),
    "guard": (lambda x: np.sum(x * x if x[0] > 0 else np.cos(x)), np.arange(1.0, 30.0)),
    "broadcast": (lambda x: np.sum(x[:, None] * x * np.sum(x[:, None] + x, axis=0)), np.arange(5.0)),
}


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("passes", [True, False])
def test_programs(name, passes):
    f, x = PROGRAMS[name]
    c = fa.compile(f, passes=passes)
    c.grad(x)
    for program in c.programs:
        dot = fa.to_dot(program)
        labels, _ = graph(dot)
        assert f"input\\n{x.shape}" in dot and "result" in labels["result0"]
        edges = re.findall(r"  (\w+) -> (\w+);", dot)
        reached, waiting = set(), [node for node in labels if node.startswith("result")]
        while waiting:                                # what is computed is needed: no operand was forgotten
            node = waiting.pop()
            if node not in reached:
                reached.add(node)
                waiting += [a for a, b in edges if b == node]
        guards = {node for node in labels if labels[node][0].startswith("guard")}
        reached |= guards | {a for a, b in edges if b in guards | {c for c, d in edges if d in guards}}
        assert reached >= {node for node in labels if labels[node][0] not in ("captured",)}
        assert (name == "guard") == bool(guards)
