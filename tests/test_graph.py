"""Explicit graphs: construction, evaluation, gradients, functions, messages."""
import gc
import weakref

import numpy as np
import pytest

import fastad as fa
from fastad.graph import Node

W0, B0, X = np.array([[0.1, 0.2], [0.3, 0.4]]), np.array([0.5, 0.6]), np.array([1.0, 2.0])


def layer():
    g = fa.Graph()
    x = g.placeholder("x", shape=(2,))
    W, b = g.variable("W", W0), g.variable("b", B0)
    y = fa.sigmoid(W @ x + b)
    return g, x, W, b, y, np.sum(y)


def test_values_and_gradients():
    g, x, W, _, y, loss = layer()
    for feed in (X, np.array([3.0, -1.0])):
        v = 1 / (1 + np.exp(-(W0 @ feed + B0)))
        np.testing.assert_allclose(g.forward(loss, x=feed), v.sum())
        np.testing.assert_allclose(g.value(y), v)
        grads = g.backward(loss)
        assert list(grads) == ["W", "b"]
        np.testing.assert_allclose(grads["b"], v * (1 - v))
        np.testing.assert_allclose(grads["W"], np.outer(v * (1 - v), feed))
        np.testing.assert_allclose(g.grad(x), W0.T @ (v * (1 - v)))
        np.testing.assert_allclose(y.grad, [1.0, 1.0])
        np.testing.assert_allclose(W.value, W0)
        assert loss.value == g.value(loss) and isinstance(loss.value, float)


def test_backward_starts_afresh_each_time():
    g, *_, y, loss = layer()
    g.forward(loss, x=X)
    first = g.backward(loss)["b"]
    np.testing.assert_array_equal(g.backward()["b"], first)
    np.testing.assert_array_equal(g.backward(y, seed=[2.0, 0.0])["b"], 2 * first * [1.0, 0.0])
    assert g.grad(loss) == 0.0


def test_defaults_of_forward_and_backward():
    g, *_, loss = layer()
    assert g.forward(x=X) == g.forward(loss, x=X)
    assert set(g.backward()) == {"W", "b"}


def test_only_what_is_needed_is_evaluated():
    g = fa.Graph()
    x, z = g.placeholder("x"), g.placeholder("z")
    a, b = g.variable("a", 2.0), g.variable("b", 3.0)
    y, other = a * x, b * z
    assert g.forward(y, x=5.0) == 10.0                   # z is not fed and not needed
    assert g.backward(y) == {"a": 5.0}
    with pytest.raises(RuntimeError, match="multiply_5 has not been evaluated"):
        g.value(other)
    assert g.forward(x=1.0, z=1.0) == 3.0
    assert g.backward(y) == {"a": 1.0, "b": 0.0}


def test_every_kind_of_operation():
    g = fa.Graph()
    x = g.placeholder("x")
    nodes = {
        "operators": 2.0 * x - x / 3.0 + x ** 2 - (-x) + 2.0 ** x + abs(x) + x % 2.0, "ufunc": np.hypot(x, 1.0),
        "fastad": fa.logaddexp(x, 2.0), "stack": np.stack([x, x * 2.0])[1], "where": np.where(x > 0.8, x, 0.0),
        "method": x.reshape(3, 1).sum(axis=0), "transpose": (x.reshape(1, 3).T @ np.ones(1)),
        "reduce": np.add.reduce(x),
        "index": x[1:] * x[:-1], "keyword": np.sum(x, axis=0, keepdims=True), "nested": np.concatenate([x[:1], x]),
    }

    def same(x):
        return [2.0 * x - x / 3.0 + x ** 2 - (-x) + 2.0 ** x + abs(x) + x % 2.0, np.hypot(x, 1.0), np.logaddexp(x, 2.0),
                2 * x, np.where(x > 0.8, x, 0.0), np.sum(x)[None], x, np.sum(x), x[1:] * x[:-1], np.sum(x)[None],
                np.concatenate([x[:1], x])]

    feed = np.array([0.5, 1.0, 1.5])
    for (name, node), wanted in zip(nodes.items(), same(feed), strict=True):
        np.testing.assert_allclose(g.forward(node, x=feed), wanted, err_msg=name)
        g.backward(node, seed=np.ones(np.shape(wanted)))
        total = fa.grad(lambda x, name=name: np.sum(same(x)[list(nodes).index(name)]))(feed)
        np.testing.assert_allclose(g.grad(x), total, err_msg=name)


def test_nodes_are_in_topological_order_and_can_be_looked_at():
    g, *_ = layer()
    assert [n.operation for n in g.nodes] == ["placeholder", "variable", "variable", "matmul", "add", "sigmoid", "sum"]
    assert all(i.index < n.index for n in g.nodes for i in n.inputs)
    assert [n.name for n in g.nodes] == ["x", "W", "b", "matmul_3", "add_4", "sigmoid_5", "sum_6"]
    assert repr(g.nodes[4]) == "<add_4 = add(matmul_3, b)>"
    assert str(g).splitlines()[-1].split() == ["sum_6", "sum(sigmoid_5)", "-", "-"]
    g.forward(x=X)
    g.backward()
    lines = str(g).splitlines()
    assert len(lines) == 8 and lines[0].split() == ["node", "operation", "value", "gradient"]
    assert lines[-1].split() == ["sum_6", "sum(sigmoid_5)", "1.5766", "1."]


def test_function():
    g, x, _, b, y, loss = layer()
    f = g.function(inputs=[x], outputs=[y, loss])
    out, total = f(X)
    np.testing.assert_allclose(out, 1 / (1 + np.exp(-(W0 @ X + B0))))
    assert type(out) is np.ndarray and total == out.sum()
    with pytest.raises(RuntimeError):
        g.value(y)                                       # the graph's own state is untouched
    h = g.function([b, x], [loss])
    np.testing.assert_allclose(h(np.zeros(2), X)[0], np.sum(1 / (1 + np.exp(-W0 @ X))))
    np.testing.assert_allclose(fa.grad(lambda b: h(b, X)[0])(B0), out * (1 - out))
    g.set("b", [0.0, 0.0])
    np.testing.assert_allclose(f(X)[1], h(np.zeros(2), X)[0])
    for args in ((), (X, X)):
        with pytest.raises(ValueError, match=r"takes 1 arguments \(x\)"):
            f(*args)
    with pytest.raises(ValueError, match=r"\(3,\)"):
        f(np.ones(3))
    with pytest.raises(ValueError, match="placeholder 'x'"):
        g.function([b], [y])
    with pytest.raises(ValueError, match="matmul_3 is no placeholder"):
        g.function([g.nodes[3]], [y])


def test_gradient_descent_on_a_graph():
    g = fa.Graph()
    x, t = g.placeholder("x"), g.placeholder("t")
    w = g.variable("w", 0.0)
    loss = np.mean((w * x - t) ** 2)
    for _ in range(100):
        g.forward(loss, x=[1.0, 2.0, 3.0, 4.0], t=[2.0, 4.0, 6.0, 8.0])
        g.set("w", g.value(w) - 0.01 * g.backward(loss)["w"])
    g.forward(w)
    assert g.value(w) == pytest.approx(2.0, abs=1e-6)


def test_constants_and_arrays_keep_what_they_held():
    c = np.array([1.0, 2.0])
    g = fa.Graph()
    x = g.placeholder("x", shape=2)
    k = g.constant(c, name="k")
    y = np.sum(x * k + x * c)
    c[:] = 100.0
    assert g.forward(y, x=X) == 10.0
    g.backward(y)
    np.testing.assert_array_equal(g.grad(x), [2.0, 4.0])
    np.testing.assert_array_equal(g.grad(k), [0.0, 0.0])
    feed = np.array(X)
    g.forward(y, x=feed)
    feed[:] = 0.0
    np.testing.assert_array_equal(g.value(x), X)


def test_shapes_with_free_axes():
    g = fa.Graph()
    x = g.placeholder("x", shape=(None, 2))
    y = np.sum(x)
    assert g.forward(y, x=np.ones((5, 2))) == 10.0
    with pytest.raises(ValueError, match=r"\(None, 2\).*\(5, 3\)"):
        g.forward(y, x=np.ones((5, 3)))


def test_many_nodes_deep():
    g = fa.Graph()
    x = y = g.placeholder("x")
    for _ in range(20_000):
        y = y * 1.00001
    assert g.forward(y, x=1.0) == pytest.approx(1.00001 ** 20_000)
    g.backward(y)
    assert g.grad(x) == pytest.approx(1.00001 ** 20_000)
    del g, x, y                                          # nothing recurses when they go either


def test_wrong_feeds():
    g, *_, loss = layer()
    with pytest.raises(ValueError, match="placeholder 'x' is not fed"):
        g.forward(loss)
    with pytest.raises(ValueError, match=r"\(2,\).*\(3,\)"):
        g.forward(loss, x=np.ones(3))
    with pytest.raises(ValueError, match=r"no placeholder named 'z'; it has \['x'\]"):
        g.forward(loss, x=X, z=1.0)
    with pytest.raises(ValueError, match="no placeholder named 'W'"):
        g.forward(loss, x=X, W=W0)
    assert g.forward(loss, x=X) > 0                      # a wrong call does no harm


def test_too_early():
    g, *_, y, loss = layer()
    for question in (lambda: g.value(y), lambda: y.value, lambda: g.backward(), lambda: g.backward(loss),
                     lambda: g.grad(y)):
        with pytest.raises(RuntimeError, match="forward"):
            question()
    g.forward(loss, x=X)
    with pytest.raises(RuntimeError, match="backward"):
        g.grad(y)
    g.backward(loss)
    g.forward(loss, x=X)
    with pytest.raises(RuntimeError, match="backward"):
        g.grad(y)                                        # the gradients belonged to the old values


def test_wrong_construction():
    g, x, *_ = layer()
    with pytest.raises(ValueError, match="placeholder named 'x' already"):
        g.variable("x", 1.0)
    with pytest.raises(ValueError, match="name=''"):
        g.placeholder("")
    with pytest.raises(ValueError, match="no variable named 'x'"):
        g.set("x", 1.0)
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        g.set("b", np.ones(3))
    with pytest.raises(ValueError, match="different graphs"):
        x + fa.Graph().placeholder("x")
    with pytest.raises(ValueError, match="no node of this graph"):
        fa.Graph().value(x)
    with pytest.raises(ValueError, match="no nodes"):
        fa.Graph().forward()
    c = g.constant(1.0)
    g.forward(c)
    with pytest.raises(RuntimeError, match="does not depend"):
        g.backward(c)


def test_what_a_symbol_cannot_do():
    x = fa.Graph().placeholder("x")
    for misuse in (lambda: bool(x > 0), lambda: float(x), lambda: np.asarray(x), lambda: list(x), lambda: x[x],
                   lambda: np.exp(x, out=np.ones(1))):
        with pytest.raises(TypeError):
            misuse()
    with pytest.raises(AttributeError, match="banana"):
        x.banana  # noqa: B018  the access is the test
    assert isinstance(x == x, Node) and len({x, x}) == 1


def test_an_error_in_a_node_names_it():
    g = fa.Graph()
    x = g.placeholder("x")
    y = x @ np.ones((3, 3))
    with pytest.raises(ValueError, match="matmul") as error:
        g.forward(y, x=np.ones(2))
    assert "matmul_1" in error.value.__notes__[0] and "(2,)" in error.value.__notes__[0]


def test_a_graph_goes_with_its_last_user():
    """Without Python's garbage collector, which does not know how much a graph holds on the tape."""
    def computed():
        g = fa.Graph()
        x, w = g.placeholder("x"), g.variable("w", np.ones(3))
        y = np.einsum("i,i", *[np.sin(x), w]) + np.clip(w, a_min=0.0, a_max=2.0).sum() + np.concatenate([w, x])[2]
        g.forward(y, x=[1.0, 2.0, 3.0])
        g.backward(y)
        return weakref.ref(g), y

    before = len(fa.tape())
    gc.disable()
    try:
        g, y = computed()
        assert g() is y.graph and y.grad == 1.0 and y.inputs[0].graph is g()
        del y
        assert g() is None
        for _ in range(20):
            computed()
        assert len(fa.tape()) < before + 50
    finally:
        gc.enable()


def test_nodes_are_the_same_objects_while_somebody_holds_them():
    g = fa.Graph()
    x = g.placeholder("x")
    y = np.sin(x)
    assert g.nodes[0] is x and g.nodes[1] is y and y.inputs[0] is x
    y.name = "wave"
    index = y.index
    del y
    assert g.nodes[index].name == "wave" and g.nodes[index].inputs[0] is x
