"""Profiles: every instruction has a time and lines, and together they are about the whole call."""
import functools
import linecache
from itertools import pairwise

import numpy as np
import pytest

import fastad as fa


def line_of(text):
    """The number of the first line of this file that contains a text."""
    return next(k for k, line in enumerate(linecache.getlines(__file__), 1) if text in line)


@fa.compile
def loop(x):
    s = 0.0
    for i in range(len(x) - 1):
        a = x[i + 1] - x[i] * x[i]
        s = s + 100.0 * a * a + (1.0 - x[i]) * (1.0 - x[i])
    return s


@fa.compile(argnums=(0, 1))
def layer(W, x, k=2):
    h = np.tanh(W @ x)
    z = helper(h)
    return np.sum(np.sort(z)[::k] * np.linalg.norm(x))


def helper(h):
    return np.exp(h) * h


@fa.compile
def model(p):
    y = p[0] * np.exp(p[1] * X)
    return np.sin(p[2] * y)


X = np.linspace(0.0, 1.0, 500)
W = np.linspace(-1.0, 1.0, 60).reshape(6, 10)


@pytest.mark.parametrize(("f", "args", "words"), [
    (loop, (X,), ["a = x[i + 1]", "s = s + 100.0"]),
    (loop.value_and_grad, (X,), ["a = x[i + 1]", "s = s + 100.0"]),
    (loop.grad, (X,), ["a = x[i + 1]", "s = s + 100.0"]),
    (loop.hvp, (X, X), ["a = x[i + 1]", "s = s + 100.0"]),
    (loop.hessian, (X[:20],), ["a = x[i + 1]", "s = s + 100.0"]),
    (loop.jvp, ((X,), (X,)), ["a = x[i + 1]", "s = s + 100.0"]),
    (model.jacobian, (X[:3],), ["y = p[0] * np.exp", "return np.sin(p[2]"]),
    (layer, (W, X[:10]), ["h = np.tanh", "return np.exp(h)", "return np.sum(np.sort"]),
    (layer.value_and_grad, (W, X[:10]), ["h = np.tanh", "return np.exp(h)", "return np.sum(np.sort"]),
], ids=["value", "value_and_grad", "grad", "hvp", "hessian", "jvp", "jacobian", "calls", "calls' gradient"])
def test_lines(f, args, words):
    p = fa.profile(f, *args, repeat=3)
    places = {(row.place.file, row.place.line) for row in p.lines if row.place is not None}
    assert places == {(__file__, line_of(word)) for word in words}
    assert {place for row in p.rows for place in row.places} == {row.place for row in p.lines if row.place is not None}
    assert sum(row.seconds for row in p.lines) == pytest.approx(p.executing)
    assert sum(row.bytes for row in p.lines) == pytest.approx(sum(row.bytes for row in p.rows), abs=len(p.lines))
    assert [row.seconds for row in p.rows] == sorted([row.seconds for row in p.rows], reverse=True)
    assert all(row.seconds >= 0.0 for row in p.rows)


def test_the_program_is_that_of_the_function():
    """Tracing with lines makes the same instructions."""
    p = fa.profile(loop.value_and_grad, X, repeat=1)
    gradient = loop.grad(X)
    program = next(program for program in loop.programs if program.kind == "grad")
    kinds = program.evaluator.code.instructions["kind"]
    assert len(p.rows) == len(kinds) - int(program.evaluator.code.instructions["count"][kinds == 1].sum())
    assert p.workspace == 8 * program.evaluator.code.n_slots
    np.testing.assert_allclose(gradient, fa.grad(loop.f)(X))


def test_instructions_are_about_the_whole_call():
    f = fa.compile(lambda A: np.sum(np.exp(A @ A) * np.sin(A)))
    ratios = []
    for _ in range(5):
        p = fa.profile(f.grad, np.full((150, 150), 0.01), repeat=5)
        ratios.append(p.executing / p.seconds)
    assert 0.6 < sorted(ratios)[2] < 1.2              # the rest: arguments and results


def test_tables():
    p = fa.profile(layer.value_and_grad, W, X[:10], k=3, repeat=2)
    text = repr(p)
    assert text.startswith("layer.value_and_grad: ") and "test_profiling.py:" in text
    assert "h = np.tanh(W @ x)" in text and "matmul" in text
    html = p._repr_html_()
    assert html.count("<table>") == html.count("</table>") == 2 and "np.tanh(W @ x)" in html
    many = fa.compile(lambda x: sum([np.sum(x[:k] ** 2) * np.max(x[k:]) for k in range(1, 40)]))
    assert "... and" in repr(fa.profile(many, np.arange(50.0), repeat=1))


def test_ordinary_traces_note_no_lines():
    f = fa.compile(lambda x: x * x)
    f.grad(2.0)
    assert f.programs[0].path.origins is None


def test_misuse(tmp_path):
    with pytest.raises(TypeError, match=r"fa\.compile"):
        fa.profile(lambda x: x, 1.0)
    with pytest.raises(TypeError, match="not bind"):
        fa.profile(loop.bind, X)
    many = fa.compile(lambda x: sum([fa.sin(u * v) for u, v in pairwise(x)]) * np.sum(x) ** 3)
    with pytest.raises(TypeError, match="takes many directions"):
        fa.profile(many.hessian, np.ones(60))
    with pytest.raises(ValueError, match="repeat"):
        fa.profile(loop, X, repeat=0)
    loop(X)
    loop.save(tmp_path / "loop.fad")
    with pytest.raises(TypeError, match="file"):
        fa.profile(fa.load(tmp_path / "loop.fad"), X)


# ---- rows and bound evaluators --------------------------------------------------------------------------------------
@pytest.mark.parametrize(("method", "options"), [
    ("batch", {}), ("batch.value_and_grad", {"threads": 2}), ("batch.grad", {}), ("batch", {"in_axes": 1})])
@pytest.mark.parametrize("rows", [1, 5, 300])
def test_batches(method, options, rows):
    args = np.tile(X[:20], (rows, 1))
    f = functools.reduce(getattr, method.split("."), loop)
    p = fa.profile(f, args.T if options.get("in_axes") else args, repeat=2, **options)
    assert {row.place.line for row in p.lines if row.place} == {line_of("a = x[i + 1]"), line_of("s = s + 100.0")}
    assert repr(p).startswith(f"loop.{method}: ") and p.executing > 0.0
    one = fa.profile(loop.grad if "grad" in method else loop, X[:20], repeat=2)
    assert len(p.rows) == len(one.rows) and p.workspace % one.workspace == 0
    assert (p.workspace > one.workspace) == (rows > 1)


def test_batches_with_shared_arguments_and_jacobians():
    p = fa.profile(layer.batch.value_and_grad, np.stack([W] * 40), X[:10], in_axes=(0, None), repeat=2)
    assert {place.line for row in p.rows for place in row.places} == {
        line_of(word) for word in ("h = np.tanh", "return np.exp(h)", "return np.sum(np.sort")}
    p = fa.profile(model.batch.jacobian, np.ones((9, 3)), repeat=2)
    assert repr(p).startswith("model.batch.jacobian: ")


def test_bound_evaluators():
    b = loop.bind(X)
    p = fa.profile(b, X, repeat=3)
    assert b.function is loop and repr(p).startswith("loop.bind: ")
    assert len(p.rows) == len(fa.profile(loop.grad, X, repeat=3).rows)


@pytest.mark.parametrize("f", [loop.batch.__repr__, np.sum, loop.bind, 3, X.sum, loop.f])
def test_what_cannot_be_profiled(f):
    with pytest.raises(TypeError, match="profile: a compiled function is needed"):
        fa.profile(f, X)
