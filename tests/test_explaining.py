"""Backpropagation as a table: contributions are local derivative times upstream, and add up to the gradients."""
import numpy as np
import pytest

import fastad as fa


def sums(table):
    """Contributions by operand, those to elements of a node added where they belong."""
    found = {}
    for e in table.rows:
        name, _, index = e.operand.partition("[")
        value = table.values.get(name)
        total = found.setdefault(name, np.zeros(np.shape(value)))
        if index and index != "...]":
            total[tuple(int(k) for k in index[:-1].split(","))] += e.contribution
        else:
            total += e.contribution
    return found


def test_numbers_are_exact():
    x, y = fa.Variable(2.0, name="x"), fa.Variable(3.0, name="y")
    z = x * y + fa.sin(x)
    z.name = "z"
    table = fa.explain(z)
    assert [tuple(e) for e in table.rows] == [
        ("z", "add", "v1", 1.0, 1.0, 1.0), ("z", "add", "v2", 1.0, 1.0, 1.0),
        ("v2", "sin", "x", np.cos(2.0), 1.0, np.cos(2.0)),
        ("v1", "multiply", "x", 3.0, 1.0, 3.0), ("v1", "multiply", "y", 2.0, 1.0, 2.0)]
    assert table.values == {"z": 6.0 + np.sin(2.0), "v2": np.sin(2.0), "v1": 6.0, "x": 2.0, "y": 3.0}
    assert x.grad is None and z.grad is None          # nothing was swept for anyone else
    z.backward()
    assert table.gradients["x"] == x.grad and table.gradients["y"] == y.grad


def network():
    W, b = fa.Variable(np.arange(6.0).reshape(2, 3) / 10, name="W"), fa.Variable([0.5, -1.0], name="b")
    h = np.tanh(W @ np.array([0.1, 0.2, 0.3]) + b)
    h.name = "h"
    loss = np.sum(h * h) + h[0] * b[1] + np.linalg.norm(np.concatenate([b, h * 2.0]))
    return loss, W, b, h


def sorting():
    a, b = fa.Variable([3.0, 1.0, 2.0], name="a"), fa.Variable(0.5, name="b")
    q = a * 2.0
    q[1] = b
    return np.sum(np.sort(q) ** 2 * np.array([1.0, 2.0, 3.0])) + np.max(a) * fa.array([b, a[0]])[1], a, b


@pytest.mark.parametrize("model", [network, sorting])
def test_contributions_add_up_to_gradients(model):
    y, *nodes = model()
    y.backward(retain_graph=True)
    before = [np.array(v.grad) for v in nodes]
    table = fa.explain(y)
    totals = sums(table)
    for v, g in zip(nodes, before, strict=True):
        np.testing.assert_allclose(totals[v.name], g, rtol=1e-13)
        np.testing.assert_allclose(table.gradients[v.name], g, rtol=1e-13)
        np.testing.assert_array_equal(v.grad, g)      # as it was
    for e in table.rows:
        if e.local is not None and np.shape(e.local) == np.shape(e.upstream) == np.shape(e.contribution):
            np.testing.assert_allclose(e.local * e.upstream, e.contribution, rtol=1e-13)
    y.backward()
    for v, g in zip(nodes, before, strict=True):
        if v.is_leaf:
            np.testing.assert_allclose(v.grad, 2 * g, rtol=1e-13)


def test_matrix_products():
    A, B = fa.Variable([[1.0, 2.0], [3.0, 4.0]], name="A"), fa.Variable([[5.0], [6.0]], name="B")
    table = fa.explain(np.sum(A @ B))
    edges = {e.operand: e for e in table.rows}
    np.testing.assert_array_equal(edges["A"].local, [5.0, 6.0])
    np.testing.assert_array_equal(edges["A"].contribution, [[5.0, 6.0], [5.0, 6.0]])
    np.testing.assert_array_equal(edges["B"].contribution, [[4.0], [6.0]])


def test_what_is_not_selected_gets_nothing():
    x, y = fa.Variable(1.0, name="x"), fa.Variable(2.0, name="y")
    table = fa.explain(fa.maximum(x, y))
    assert [e.operand for e in table.rows] == ["y"]
    assert table.gradients["x"] is None and "-" in repr(table).splitlines()[-2] + repr(table).splitlines()[-1]


def test_seeds_and_leaves():
    x = fa.Variable([1.0, 2.0], name="x")
    table = fa.explain(x ** 3, seed=[1.0, 10.0])
    np.testing.assert_array_equal(table.rows[0].contribution, [3.0, 120.0])
    np.testing.assert_array_equal(fa.explain(x).gradients["x"], [1.0, 1.0])
    with pytest.raises(ValueError, match="seed"):
        fa.explain(x ** 3)


def test_hooks_do_not_run_and_gates_have_no_factor():
    class Cube(fa.Gate):
        def forward(self, x):
            self.x = x
            return x ** 3

        def backward(self, upstream):
            return 3.0 * self.x ** 2 * upstream

    x = fa.Variable(2.0, name="x")
    y = Cube()(x)
    seen = []
    y.register_hook(seen.append)
    table = fa.explain(y * 2.0)
    assert not seen
    edge = table.rows[-1]
    assert edge.operation == "Cube" and edge.local is None and edge.contribution == 24.0
    assert "Cube" in repr(table)


def test_long_computations_are_cut():
    x = fa.Variable(1.0, name="x")
    y = x
    for _ in range(10_000):
        y = y * 1.0001
    table = fa.explain(y, max_rows=5)
    assert len(table.rows) == 5 and table.left_out == 9996
    assert table.rows[-1].operand == "(earlier)" and "9996 operations before them" in repr(table)
    assert len(fa.explain(np.sum(fa.Variable(np.ones(3)) * fa.Variable(np.ones(3))), max_rows=1).rows) == 1


def test_nodes_of_a_graph():
    g = fa.Graph()
    x, w = g.placeholder("x"), g.variable("w", 2.0)
    y = np.exp(x * w)
    with pytest.raises(RuntimeError, match="evaluated"):
        fa.explain(y)
    g.forward(y, x=0.5)
    table = fa.explain(y)
    assert [(e.result, e.operand) for e in table.rows] == [("exp_3", "multiply_2"), ("multiply_2", "x"),
                                                           ("multiply_2", "w")]
    assert g.backward(y)["w"] == table.gradients["w"]


def test_names_are_told_apart():
    a, b, c = fa.Variable(1.0, name="x"), fa.Variable(2.0, name="x"), fa.Variable(3.0)
    assert [e.operand for e in fa.explain(a * b * c).rows] == ["v1", "leaf3", "x", "x'"]


def test_a_notebook_shows_a_table():
    x = fa.Variable(2.0, name="<x>")
    html = fa.explain(x * 3.0)._repr_html_()
    assert html.count("<table>") == html.count("</table>") == 2 and "&lt;x&gt;" in html and "<x>" not in html


def test_misuse():
    x = fa.Variable(1.0)
    y = fa.exp(x)
    y.backward()
    with pytest.raises(fa.FreedGraphError, match=r"explain.*retain_graph"):
        fa.explain(y)
    with pytest.raises(TypeError, match="not float"):
        fa.explain(1.0)
    with pytest.raises(fa.NoGradientError):
        fa.explain(x.detach())
    with pytest.raises(ValueError, match="max_rows"):
        fa.explain(x, max_rows=0)


def test_seeds_have_the_shape():
    y = fa.Variable(np.ones(3)) * 2.0
    with pytest.raises(ValueError, match=r"explain: y has shape \(3,\); a seed"):
        fa.explain(y)
    with pytest.raises(ValueError, match=r"explain: the seed has shape \(2,\), y has \(3,\)"):
        fa.explain(y, seed=np.ones(2))
