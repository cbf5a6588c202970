"""Compiled functions among Variables: one record, and the derivatives of the function itself at every order."""
import gc
from collections import namedtuple

import numpy as np
import pytest
from test_tape import fresh_tape

import fastad as fa

rng = np.random.default_rng(21)
A = rng.normal(size=(3, 3))


def close(actual, wanted, tolerance=1e-12):
    np.testing.assert_allclose(actual, wanted, rtol=tolerance, atol=tolerance)


def loop(x):
    s = 0.0
    for k in range(len(x)):
        s = s + (fa.sin(x[k]) if x[k] > 0 else x[k] * x[k])
    return s


FUNCTIONS = {
    "loop": loop,
    "scalar": lambda x: np.sum(x ** 3) * x[0],
    "array": lambda x: np.tanh(A @ x) * x,
    "selection": lambda x: np.where(x > 0, np.sqrt(np.abs(x)), x ** 3),
    "container": lambda x: {"a": np.cumsum(x), "b": [x[1:] * x[:-1], np.max(x)]},
    "linear": lambda x: A @ x,
    "identity": lambda x: x,
}
POINTS = [np.array([0.3, -0.7, 1.2]), np.array([-0.3, 0.7, 1.1]), np.array([2.0, 1.0, 0.5])]


def weighted(out):
    """A scalar of everything in a container."""
    leaves = fa.tree.flatten(out)[0]
    return sum(np.sum(np.cos(y) * (k + 1.5)) for k, y in enumerate(leaves))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives_are_those_of_the_function(name):
    f = FUNCTIONS[name]
    c = fa.compile(f)
    plain, compiled = [lambda x, g=g: weighted(g(np.exp(x) - 1.0)) for g in (f, c)]
    d = np.array([1.0, -2.0, 0.5])
    for x in POINTS:
        close(compiled(x), plain(x))
        close(fa.grad(compiled)(x), fa.grad(plain)(x))
        close(fa.jvp(compiled, (x,), (d,)), fa.jvp(plain, (x,), (d,)))
        close(fa.hessian(compiled)(x), fa.hessian(plain)(x))
        close(fa.hvp(compiled, x, d), fa.hvp(plain, x, d))
        close(fa.jvp(fa.grad(compiled), (x,), (d,))[1], fa.hvp(plain, x, d))
    third = [fa.grad(lambda x, g=g: np.sum(fa.hvp(g, x, d)))(POINTS[0]) for g in (plain, compiled)]
    close(third[1], third[0], 1e-10)


def test_one_record_however_long_the_function():
    c = fa.compile(loop)
    x = fa.Variable(rng.normal(size=200))
    y = c(x)
    before = len(fa.tape())
    y = c(x)
    assert len(fa.tape()) - before <= 2
    y.backward()
    close(x.grad, np.where(x.value > 0, np.cos(x.value), 2 * x.value))


def test_any_argument_may_be_a_variable():
    Pair = namedtuple("Pair", "w b")
    c = fa.compile(lambda p, x, scale, power=2, name="n": (np.sum(p.w * x + p.b) * scale) ** power,
                   static_argnums=(2,))
    w, b, x = fa.Variable(rng.uniform(1, 2, 3)), fa.Variable(0.5), rng.uniform(1, 2, 3)
    c(Pair(w, b), x, 2.0).backward()
    inner = np.sum(w.value * x + 0.5)
    close(w.grad, 8 * inner * x)
    close(b.grad, 8 * inner * 3)
    x, power = fa.Variable(x), fa.Variable(3.0)
    c(Pair(w.value, 0.5), x, 2.0, power=power, name="m").backward()
    close(x.grad, 24 * inner ** 2 * w.value)
    close(power.grad, (2 * inner) ** 3 * np.log(2 * inner))
    elements = np.array([fa.Variable(1.0), fa.Variable(2.0), fa.Variable(3.0)])
    c(Pair(elements, 0.5), x.value, 2.0).backward()
    inner = np.sum(np.array([1.0, 2.0, 3.0]) * x.value + 0.5)
    close([v.grad for v in elements], 8 * inner * x.value)


def test_results_without_gradient_stay_plain():
    c = fa.compile(lambda x, y: (x * 2, x > 0, np.floor(y).astype(int), None))
    x = fa.Variable([1.0, -1.0])
    y, positive, floor, nothing = c(x, 2.5)
    assert isinstance(y, fa.Variable) and type(positive) is np.ndarray and positive.dtype == bool and floor == 2
    assert nothing is None
    with fa.no_grad():
        y = c(x, 2.5)[0]
        assert not fa.variable.is_recorded(y)
        close(y.value, [2.0, -2.0])


def test_nothing_passes_through():
    # a gradient that no selected branch uses must not meet the infinite slope in front of the function, nor within it
    first = fa.compile(lambda x: x[0] * 2)
    x = np.array([1.0, 0.0])
    for f in (first, first.f):
        close(fa.grad(lambda z, f=f: f(np.log(z)))(x), [2.0, 0.0])
        close(fa.hessian(lambda z, f=f: f(np.log(z)))(x), [[-2.0, 0.0], [0.0, 0.0]])
        close(fa.jvp(lambda z, f=f: f(np.log(z)), (x,), (np.ones(2),))[1], 2.0)
    root = fa.compile(lambda x: np.sqrt(x) * np.stack([x[0], x[1]]))
    for f in (root, root.f):
        close(fa.grad(lambda x, f=f: f(x)[0] * 1.0)(x), [1.5, 0.0])
        close(fa.jvp(lambda x, f=f: f(x)[0], (x,), (np.ones(2),))[1], 1.5)
        assert np.isnan(fa.grad(lambda x, f=f: np.sum(f(x)))(x)[1])
        close(fa.jvp(lambda a, f=f: f(fa.array([a, 0.0])), (1.0,), (1.0,))[1], [1.5, 0.0])


def test_jacobian_of_what_is_not_selected():
    c = fa.compile(lambda x: np.stack([np.sqrt(x[0]), x[1]]))
    close(c.jacobian(np.array([0.0, 1.0])), [[np.inf, 0.0], [0.0, 1.0]])


def test_arrays_are_what_they_were():
    weights, x, leaf = np.array([1.0, 2.0]), np.array([3.0, 4.0]), fa.Variable([5.0, 6.0])
    c = fa.compile(lambda v, x: np.sum(v ** 2 * x * weights))
    y = c(leaf, x)
    weights[:], x[:], leaf.value[:] = 0.0, 0.0, 0.0
    y.backward(retain_graph=True)
    close(leaf.grad, [2 * 5 * 3, 2 * 6 * 4 * 2])
    with pytest.raises(RuntimeError, match=r"lambda.*array from outside.*written to"):
        y.backward(create_graph=True)
    mask = np.array([True, False])
    c = fa.compile(lambda v: np.sum(v[mask] ** 2))
    leaf = fa.Variable([5.0, 6.0])
    y = c(leaf)
    mask[:] = True
    y.backward()
    close(leaf.grad, [10.0, 0.0])


def test_variables_from_outside_get_their_gradients():
    w, x = fa.Variable([2.0, 3.0]), fa.Variable([4.0, 5.0])
    c = fa.compile(lambda x: np.sum(w * x))
    for k in (1, 2):
        c(x).backward()
        close(w.grad, k * x.value)
        close(x.grad, k * w.value)
    close(c.grad(np.ones(2)), w.value)


def test_functions_that_cannot_be_traced_run_in_python():
    x = fa.Variable([4.0, 5.0])
    y = x * 2.0
    c = fa.compile(lambda z: np.sum(y * z))
    with pytest.warns(UserWarning, match="cannot be traced"):
        c(x).backward()
    close(x.grad, 4.0 * x.value)


def test_tape_is_read_forward_on_other_branches():
    c = fa.compile(lambda x: np.sum(x ** 3) if x[0] > 0 else np.sum(x ** 2))
    x = fa.Variable([1.0, 2.0])
    y = c(x) * 2.0
    x.value = np.array([-1.0, 2.0])
    fa.tape().forward()
    close(y.value, 10.0)
    y.backward()
    close(x.grad, 4.0 * x.value)
    c = fa.compile(lambda x: x * 2 if x[0] > 0 else x[:1])
    x = fa.Variable([1.0, 2.0])
    y = c(x)
    x.value = np.array([-1.0, 2.0])
    with pytest.raises(fa.TraceError, match="does not fit this record"):
        fa.tape().forward()


def test_within_a_trace_it_is_a_part_of_it():
    inner = fa.compile(lambda x: np.sum(np.sin(x)) if x[0] > 0 else np.sum(x))
    outer = fa.compile(lambda x: inner(x * 2.0) ** 2)
    for x in POINTS:
        close(outer.grad(x), fa.grad(lambda x: inner.f(x * 2.0) ** 2)(x))
    assert not inner.programs
    assert all(not program.evaluator.code.calls for program in outer.programs)


def test_saved_functions_say_that_they_take_no_variables(tmp_path):
    c = fa.compile(lambda x: np.sum(x ** 2))
    c.grad(np.ones(2))
    c(fa.Variable([1.0, 2.0])).backward()
    c.save(tmp_path / "c.fad")
    loaded = fa.load(tmp_path / "c.fad")
    close(loaded.grad(np.ones(2)), [2.0, 2.0])
    with pytest.raises(fa.PathError):
        loaded(fa.Variable([1.0, 2.0]))


def test_nothing_is_left_on_the_tape():
    def work():
        c = fa.compile(loop)
        x = fa.Variable(POINTS[0])
        c(x).backward()
        gc.collect()
        records, slots = len(fa.tape()), fa.tape().nbytes_used
        for _ in range(50):
            c(x).backward()
            c(x)
            fa.grad(c)(POINTS[1])
        gc.collect()
        assert (len(fa.tape()), fa.tape().nbytes_used) == (records, slots)

    fresh_tape(work)
