"""What the objects of the package look like at the prompt."""
import re

import numpy as np
import pytest

import fastad as fa


class Twice(fa.Gate):
    """A gate."""

    def forward(self, x):
        return 2.0 * x

    def backward(self, upstream):
        return 2.0 * upstream


@fa.custom_vjp
def ruled(x):
    """A function with a rule."""
    return x


def square(x):
    return np.sum(x * x)


def compiled():
    f = fa.compile(square)
    f.grad(np.ones(2))
    return f


def graph():
    g = fa.Graph()
    x, w = g.placeholder("x"), g.variable("w", 2.0)
    g.forward(x * w + g.variable("b", 1.0), x=1.0)
    return g


def hook(x=None):
    return fa.Variable(1.0).register_hook(abs)


def removed():
    handle = hook()
    handle.remove()
    return handle


@pytest.mark.parametrize(("made", "text"), [
    (lambda: fa.Variable([1.0, 2.0], name="w"), "Variable([1., 2.], name='w')"),
    (lambda: fa.Variable(2.0).detach(), "Variable(2., constant)"),
    (lambda: fa.tape(), r"<fastad tape: \d+ records?, \d+ slots?, \d+ living variables?, \d+\.\d MB>"),
    (lambda: fa.compile(square), "<compiled square: no programs yet>"),
    (compiled, "<compiled square: programs grad>"),
    (lambda: compiled().batch, "<batch of <compiled square: programs grad>>"),
    (lambda: compiled().bind(np.ones(2)), r"<bound evaluator: arguments of shapes \(2,\), gradient \(2,\)>"),
    (lambda: compiled().programs[0], r"<fastad program \(grad\): \d+ records, .* 0 guards, .*>"),
    (lambda: compiled().programs[0].evaluator, r"<evaluator: \(2,\) -> \(\), \(2,\)>"),
    (lambda: compiled().programs[0].evaluator.code, r"<code: \d+ instructions over \d+ slots>"),
    (fa.Graph, "<graph: 0 nodes, not evaluated>"),
    (graph, r"<graph: 5 nodes (1 placeholder, 2 variables), evaluated>"),
    (lambda: graph().nodes[2], r"<multiply_2 = multiply(x, w)>"),
    (hook, "<hook abs>"),
    (removed, "<hook, removed>"),
    (Twice, "<gate Twice>"),
    (lambda: ruled, "<custom_vjp ruled, without a rule>"),
    (lambda: fa.debug_nan(warn=True), "debug_nan(inf=True, warn=True)"),
])
def test_reprs(made, text):
    found = repr(made())
    assert found == text or re.fullmatch(text, found), found


def test_listings_show_what_constants_are():
    f = fa.compile(lambda x: 3.5 * x if x > 0.25 else -x)
    f(1.0)
    assert re.search(r"greater\(s\d+, 0\.25\)\n.*multiply\(3\.5, s\d+\)", str(f.programs[0]))
    assert "0.25" in fa.to_dot(f.programs[0])
    g = fa.compile(lambda x: np.sum(x * 2.5 + 0.5))
    g(np.zeros(100))
    assert re.search(r"multiply\(.*2\.5\)(.|\n)*add\(.*0\.5\)", str(g.programs[0]))
