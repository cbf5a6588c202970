"""Tangents: one recording read forward, against the same recording read backward."""
import gc
from collections import namedtuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import inputs, points, programs, run, total
from test_tape import fresh_tape

import fastad as fa
from fastad.ops import INTERNAL, OPS

rng = np.random.default_rng(8)
ROWS = [op for op in OPS if op.differentiable and op.name not in INTERNAL]
by_name = pytest.mark.parametrize("op", ROWS, ids=lambda op: op.name)


def close(actual, wanted, tolerance=1e-12):
    np.testing.assert_allclose(actual, wanted, rtol=tolerance, atol=tolerance)


def agree(f, args, directions, tolerance=1e-11):
    """<c, f' d> = <f'T c, d> for random c; gives the tangent."""
    value, tangent = fa.jvp(f, args, directions)
    value_again, pull = fa.vjp(f, *args)
    np.testing.assert_array_equal(value, value_again)
    assert np.shape(tangent) == np.shape(value)
    c = rng.normal(size=np.shape(value))
    wanted = sum(np.sum(g * d) for g, d in zip(pull(c), directions, strict=True))
    np.testing.assert_allclose(np.sum(c * tangent), wanted, rtol=tolerance, atol=tolerance)
    return tangent


# ---- rows of the table -------------------------------------------------------------------------------------
def sample(op, k, shape):
    low, high = op.domain[min(k, len(op.domain) - 1)]
    return low + (high - low) * rng.uniform(0.05, 0.95, shape)


@by_name
def test_rows_on_numbers_and_arrays(op):
    f = getattr(fa, op.name)
    for shape in ((), (7,), (600,), (3, 300)):
        args = [sample(op, k, shape) for k in range(op.arity)]
        directions = [rng.normal(size=shape) for _ in args]
        agree(f, args, directions)
        if len(shape) == 2:                           # other strides, broadcast operands, a sum over them
            agree(lambda *xs: f(*[x.T[::2, ::-1] for x in xs]), args, directions)
            agree(lambda *xs: np.sum(f(*[x[:, 1:] if k == 0 else x[:, :1] for k, x in enumerate(xs)]), axis=1), args,
                  directions)
        if op.arity == 2:
            agree(lambda x: f(x, args[1]), args[:1], directions[:1])       # noqa: B023
            agree(lambda y: f(args[0], y), args[1:], directions[1:])       # noqa: B023


@by_name
def test_rows_at_their_special_points(op):
    f = getattr(fa, op.name)
    for at, _, partials in op.points:
        if partials is None:
            continue
        for k, partial in enumerate(partials):
            def alone(z, k=k, at=at):
                return f(*[z if j == k else a for j, a in enumerate(at)])

            for z in (at[k], np.full(3, at[k])):
                np.testing.assert_allclose(fa.jvp(alone, [z], [np.ones(np.shape(z))])[1], partial, rtol=1e-14)


# ---- programs ----------------------------------------------------------------------------------------------
@settings(max_examples=300, deadline=None)
@given(programs, points, points)
def test_programs(program, point, direction):
    u, v, s = inputs(point)
    d = inputs(direction)
    agree(lambda u, v, s: total(run(program, u, v, s)), [u, v, s], list(d), 1e-9)
    tangents = fa.jvp(lambda *args: run(program, *args), (u, v, s), d)[1]
    gradients = fa.vjp(lambda *args: total(run(program, *args)), u, v, s)[1](1.0)
    values = run(program, u, v, s)
    through = sum(np.sum(t / np.cosh(w) ** 2) for t, w in zip(tangents, values, strict=True) if np.all(np.abs(w) < 300))
    if all(np.all(np.abs(w) < 300) for w in values):
        close(through, sum(np.sum(g * e) for g, e in zip(gradients, d, strict=True)), 1e-9)


@settings(max_examples=150, deadline=None)
@given(programs, points)
def test_columns_are_directions(program, point):
    """The directions of a Jacobian share a memory, in which each finds nothing of the one before."""
    u, v, s = inputs(point)

    def all_results(u, v, s):
        return np.concatenate([np.reshape(r, -1) for r in [*run(program, u, v, s), u, v, u, s]])

    columns = np.concatenate([part.reshape(len(part), -1)
                              for part in fa.jacobian(all_results, argnums=(0, 1, 2))(u, v, s)], axis=1)
    for k, d in enumerate(np.where(np.eye(9) > 0.0, 1.0, 0.0)):
        np.testing.assert_array_equal(columns[:, k] + 0.0, fa.jvp(all_results, (u, v, s), inputs(d))[1] + 0.0)


class Doubled(fa.Gate):
    """A rule without tangents of its own."""

    def forward(self, x):
        return 2.0 * x

    def backward(self, upstream):
        return 2.0 * upstream


def test_columns_reach_what_they_move_and_nothing_else():
    A = rng.normal(size=(3, 3))

    def f(x):
        rows = np.outer(np.sin(x), np.arange(100.0))             # a row of it moves with one element
        y = np.ones(3) * x[2]
        y[1] = x[0]
        y[[2, 2]] = np.stack([x[1], x[0] * x[0]])
        return np.concatenate([rows[1], y, Doubled()(x[1:]), A @ x, np.take(x, [2, 2, 0]), rows[:, ::30].T.reshape(-1)])

    x = rng.normal(size=3)
    J = fa.jacobian(f)(x)
    np.testing.assert_array_equal(J, np.stack([fa.vjp(f, x)[1](e)[0] for e in np.eye(len(J))]))
    assert J.flags.c_contiguous


def test_partials_see_the_values_of_their_time():
    def f(x):
        y = x * 1.0
        z = y * y
        y[0] = 100.0
        y[1:] = x[:-1] * y[1:]
        return z + y

    x, d = np.array([2.0, 3.0, 5.0]), np.array([1.0, 10.0, 100.0])
    close(fa.jvp(f, (x,), (d,))[1], 2 * x * d + [0.0, 1.0 * 3 + 2 * 10, 10.0 * 5 + 3 * 100])
    x[:] = 1.0
    agree(f, [x], [d])


def test_an_argument_that_is_written_to():
    def f(x):
        x[1] = x[0] * x[1]
        return x

    close(fa.jvp(f, (np.array([2.0, 3.0]),), (np.array([1.0, 10.0]),))[1], [1.0, 23.0])


# ---- matrix products ---------------------------------------------------------------------------------------
SHAPES = [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)), ((2, 3), (3, 4)), ((20, 30), (30, 10)),
          ((5, 12, 13), (13, 14)), ((12, 13), (5, 13, 14)), ((5, 12, 13), (5, 13, 14)), ((2, 1, 3, 4), (5, 4, 2)),
          ((0, 3), (3, 2)), ((2, 0), (0, 2))]


@pytest.mark.parametrize(("a", "b"), SHAPES)
def test_matmul(a, b):
    args = [rng.normal(size=a), rng.normal(size=b)]
    directions = [rng.normal(size=a), rng.normal(size=b)]
    close(agree(np.matmul, args, directions), directions[0] @ args[1] + args[0] @ directions[1])
    if len(a) == len(b) == 2:
        agree(lambda a, b: np.matmul(b.T, a.T[:, ::-1]), args, directions)
    agree(lambda a: a @ args[1], args[:1], directions[:1])
    agree(lambda b: args[0] @ b, args[1:], directions[1:])


@pytest.mark.parametrize("n", [2, 12])
def test_a_tangent_that_is_nothing_meets_no_infinity(n):
    a, b = rng.normal(size=(n, n)), rng.normal(size=(n, n))
    b[0, 0] = np.inf

    def f(x):
        moved = np.where(np.arange(n) > 0, x, 1.0)    # column 0 has no tangent
        return np.matmul(moved, b)[:, 1:], np.matmul(moved, b)[:, 0]

    tangents = fa.jvp(f, (a,), (np.ones((n, n)),))[1]
    close(tangents[0], np.broadcast_to(b[1:, 1:].sum(0), (n, n - 1)))
    close(tangents[1], np.full(n, b[1:, 0].sum()))

    def g(y):
        moved = np.where(np.arange(n)[:, None] > 0, y, 1.0)
        return np.matmul(b.T, moved)

    close(fa.jvp(g, (a,), (np.ones((n, n)),))[1], np.broadcast_to(b[1:].sum(0)[:, None], (n, n)))


# ---- nothing -----------------------------------------------------------------------------------------------
def test_what_is_not_selected_has_no_tangent():
    one = np.ones(2)
    x = np.array([0.0, 4.0])
    close(fa.jvp(lambda x: np.where(x > 0, np.sqrt(x), 0.0), (x,), (one,))[1], [0.0, 0.25])
    close(fa.jvp(lambda x: np.where(x >= 0, x, np.sqrt(-x)), (x,), (one,))[1], [1.0, 1.0])
    assert fa.jvp(lambda x: fa.maximum(fa.sqrt(x), 1.0), (0.0,), (1.0,))[1] == 0.0
    assert np.isnan(fa.jvp(lambda x: np.sqrt(x) * np.sqrt(x), (0.0,), (1.0,))[1])
    assert np.isnan(fa.jvp(np.sqrt, (0.0,), (-0.0,))[1])          # a number that is zero is a number,
    assert fa.jvp(lambda x: np.sqrt(x) + 1.0, (0.0,), (None,))[1] == 0.0      # None is nothing


# ---- what it takes and gives -------------------------------------------------------------------------------
Pair = namedtuple("Pair", "u v")


def test_containers():
    def f(p, c):
        return {"a": p["w"].u * c, "b": [np.sum(p["w"].v), 1.0, np.arange(2)]}

    args = ({"w": Pair(np.array([1.0, 2.0]), 3.0), "none": None}, 2.0)
    value, tangent = fa.jvp(f, args, ({"none": None, "w": Pair([1, 10], 5)}, 0.5))
    close(value["a"], [2.0, 4.0])
    close(tangent["a"], [2.5, 21.0])
    assert tangent["b"][:2] == [5.0, 0.0] and isinstance(tangent["b"][0], float)
    close(tangent["b"][2], [0.0, 0.0])
    close(fa.jvp(f, args, (None, 1.0))[1]["a"], [1.0, 2.0])


def test_has_aux_and_arguments_that_are_not_used():
    value, tangent, aux = fa.jvp(lambda x, y: (x * x, {"seen": x}), [3, np.ones(2)], [1, np.ones(2)], has_aux=True)
    assert (value, tangent, aux) == (9.0, 6.0, {"seen": 3.0})
    value, tangent = fa.jvp(lambda x: np.ones(3), (1.0,), (1.0,))
    close(tangent, np.zeros(3))
    assert fa.jvp(lambda: 2.0, (), ()) == (2.0, 0.0)
    assert fa.jvp(lambda x: np.sum(x) + x[:, None].shape[1], (np.empty(0),), (np.empty(0),)) == (1.0, 0.0)
    w = fa.Variable(3.0)                              # eager Variables are constants
    assert fa.jvp(lambda x: x * w, (2.0,), (1.0,)) == (6.0, 3.0)
    assert w.grad is None


@pytest.mark.parametrize(("args", "tangents", "error", "words"), [
    ((1.0, np.ones(2)), (1.0, np.ones(3)), ValueError, r"args\[1\] has shape \(2,\), tangents\[1\] \(3,\)"),
    ((1.0,), (1.0, 2.0), ValueError, "tangents.*1 items.*2"),
    (({"a": 1.0, "b": 2.0}, 1.0), ({"a": 1.0}, 1.0), ValueError, "tangents.*keys"),
    (({"a": np.ones(2)}, 1.0), ({"a": 1.0}, 1.0), ValueError, r"args\[0\]\['a'\] has shape \(2,\), tangents.* \(\)"),
    ((1.0,), ("up",), TypeError, r"tangents\[0\] is str"),
    ((1.0,), (1j,), TypeError, r"tangents\[0\] is complex"),
    (("a",), (1.0,), TypeError, "argument is str"),
    (1.0, 1.0, TypeError, r"\(x,\)"),
])
def test_wrong_arguments(args, tangents, error, words):
    with pytest.raises(error, match=words):
        fa.jvp(lambda *xs: xs[0], args, tangents)


def test_wrong_outputs():
    with pytest.raises(TypeError, match="returned NoneType"):
        fa.jvp(lambda x: None, (1.0,), (1.0,))
    with pytest.raises(TypeError, match="has_aux"):
        fa.jvp(lambda x: x, (1.0,), (1.0,), has_aux=True)


# ---- within other transforms -------------------------------------------------------------------------------
def cube(x):
    return x ** 3


def along(f):
    """The derivative of a function of one number, forward."""
    return lambda x: fa.jvp(f, (x,), (1.0,))[1]


@pytest.mark.parametrize("outer", [fa.grad, along])
@pytest.mark.parametrize("inner", [fa.grad, along])
def test_derivatives_of_derivatives(outer, inner):
    close(outer(inner(cube))(2.0), 12.0)
    close(outer(outer(inner(lambda x: fa.sin(x) * x)))(0.7), -3 * np.sin(0.7) - 0.7 * np.cos(0.7))
    close(outer(lambda x: x * inner(lambda y: y * y)(3.0))(2.0), 6.0)
    close(outer(lambda x: inner(lambda y: y * x)(1.0))(2.0), 1.0)
    close(outer(lambda x: inner(lambda y: y * y)(1.0))(2.0), 0.0)


@pytest.mark.parametrize("outer", [fa.grad, along])
@pytest.mark.parametrize("inner", [fa.grad, along])
def test_perturbations_are_not_confused(outer, inner):
    close(outer(lambda x: x * inner(lambda y: x + y)(1.0))(1.0), 1.0)
    close(outer(lambda x: inner(lambda y: x * inner(lambda z: y * z)(2.0))(x))(5.0), 1.0)
    close(outer(lambda x: x * inner(lambda y: x * y * y)(3.0))(2.0), 24.0)


def test_tangents_that_an_outer_transform_differentiates():
    A = rng.normal(size=(3, 2))

    def f(x):
        return np.tanh(A @ x)

    x, d = rng.normal(size=(2, 2))
    by_direction = fa.jacobian(lambda d: fa.jvp(f, (x,), (d,))[1])(d)
    close(by_direction, fa.jacobian(f)(x))
    value, tangent = fa.jvp(lambda d: fa.jvp(f, (x,), (d,)), (d,), (d,))
    close(value[0], f(x))
    close(tangent[0], np.zeros(3))
    close(value[1], tangent[1])


def test_nested_containers_several_arguments_and_auxiliary_data():
    A = np.arange(6.0).reshape(2, 3) / 6.0

    def f(p, c):
        return {"a": np.tanh(A @ p["x"]) * c, "b": [np.sum(p["x"] ** 3), p["y"] * 2.0, 5.0]}, p["y"] + 1.0

    def nested(x, y, c):
        value, tangent, aux = fa.jvp(f, ({"x": x, "y": y}, c), ({"x": np.array([1.0, -1.0, 0.5]), "y": None}, y),
                                     has_aux=True)
        assert tangent["b"][2] == 0.0
        return np.sum(tangent["a"]) + 2.0 * tangent["b"][0] + tangent["b"][1] + value["b"][0] + 3.0 * aux

    assert fa.gradcheck(nested, np.array([0.1, 0.2, 0.3]), 0.7, 1.5)
    assert fa.gradcheck(nested, np.array([0.1, 0.2, 0.3]), 0.7, 1.5, order=2)


def test_nested_tangents_of_what_is_not_selected():
    x = np.array([0.0, 4.0])

    def f(x):
        return np.where(x > 0, np.sqrt(x), 0.0)

    close(fa.grad(lambda x: np.sum(fa.jvp(f, (x,), (np.ones(2),))[1]))(x), [0.0, -1 / 32])
    close(fa.jvp(lambda x: fa.jvp(f, (x,), (np.ones(2),))[1], (x,), (np.ones(2),)), [[0.0, 0.25], [0.0, -1 / 32]])
    # a tangent that is nothing meets the infinite slope; one that is 0.0 does not get past it
    assert fa.grad(lambda y: fa.jvp(lambda a, b: fa.sqrt(a) * y + b, (0.0, y), (None, 1.0))[1])(2.0) == 0.0
    assert np.isnan(fa.grad(lambda y: fa.jvp(lambda a, b: fa.sqrt(a) * y + b, (0.0, y), (0.0, 1.0))[1])(2.0))


def test_hessian_vector_products_forward_over_reverse():
    def f(x):
        return np.sum(x[1:] * x[:-1] ** 2) + np.prod(np.cos(x))

    x, d = rng.normal(size=(2, 5))
    close(fa.jvp(fa.grad(f), (x,), (d,))[1], fa.hvp(f, x, d))
    close(fa.grad(lambda x: fa.jvp(f, (x,), (d,))[1])(x), fa.hvp(f, x, d))


def test_tangents_of_eager_variables_are_variables():
    w, d = fa.Variable(2.0), fa.Variable(3.0)
    value, tangent = fa.jvp(cube, (w,), (d,))
    assert (value.item(), tangent.item()) == (8.0, 36.0)
    (tangent * 1.0).backward()
    assert (w.grad, d.grad) == (36.0, 12.0)


def test_tangents_in_a_traced_function():
    @fa.compile
    def f(x):
        return fa.jvp(lambda y: fa.sin(y) * x, (1.0,), (1.0,))[1] * fa.jvp(cube, (x,), (1.0,))[1]

    for x in (2.0, -3.0):
        close(f(x), 3 * x ** 3 * np.cos(1.0))
        close(f.grad(x), 9 * x ** 2 * np.cos(1.0))
    assert len({program.path for program in f.programs}) == 1


# ---- the tape afterwards -----------------------------------------------------------------------------------
def test_nothing_is_left_and_nothing_is_lost():
    def work():
        x = fa.Variable([1.0, 2.0])
        y = x * 3.0
        np.sum(y * y).backward(retain_graph=True)
        before, records = np.array(y.grad), len(fa.tape())
        fa.jvp(lambda z: np.sum(z * z) * np.prod(z), (np.ones(5),), (np.ones(5),))
        gc.collect()
        np.testing.assert_array_equal(y.grad, before)
        assert len(fa.tape()) <= records

    fresh_tape(work)


def test_errors_leave_the_tape_usable():
    class Rule:
        name = "mystery"

        def tangent(self, tangents):
            return [np.zeros(5)]

    def f(x):
        y = fa.variable.call(Rule(), [x * 1.0], [x.value], "mystery")[0]
        z = y * 1.0
        z[0] = x[1]
        kept.append(z)
        return z

    kept = []
    with pytest.raises(ValueError, match=r"mystery.*5.*2"):
        fa.jvp(f, (np.array([1.0, 2.0]),), (np.ones(2),))
    np.testing.assert_array_equal(kept[0].value, [2.0, 2.0])
    x = fa.Variable(2.0)
    (x * x).backward()
    assert x.grad == 4.0


def test_graphs_freed_inside_of_the_function():
    w = fa.Variable([1.0, 2.0])

    def independent(x):
        np.sum(w * w).backward()
        return x * 2.0

    def freed(x):
        shared = x * 2.0
        other = shared * 3.0
        shared.backward()
        return other

    assert fa.jvp(independent, (1.0,), (1.0,)) == (2.0, 2.0)
    with pytest.raises(fa.FreedGraphError):
        fa.jvp(freed, (1.0,), (1.0,))


# ---- rules -------------------------------------------------------------------------------------------------
def test_rules_with_and_without_a_tangent():
    class Times:
        name = "times"

        def __init__(self, x, y):
            self.x, self.y = x, y

        def pull(self, upstream):
            return [upstream[0] * self.y, upstream[0] * self.x]

    class Forward(Times):
        def tangent(self, tangents):
            x_dot, y_dot = tangents
            return [(0.0 if x_dot is None else x_dot * self.y) + (0.0 if y_dot is None else y_dot * self.x)]

    x, y, dx, dy = rng.normal(size=(4, 3))
    for rule in (Times, Forward):
        def f(a, b, rule=rule):
            return fa.variable.call(rule(x, y), [a, b], [x * y], "times")[0]

        close(fa.jvp(f, (x, y), (dx, dy))[1], dx * y + dy * x)
        close(fa.jvp(f, (x, y), (dx, None))[1], dx * y)


def test_own_gates_and_rules():
    class Multiply(fa.Gate):
        def forward(self, x, y):
            self.x, self.y = x, y
            return x * y, x + y

        def backward(self, upstream, other):
            return [self.y * upstream + other, self.x * upstream + other]

    value, tangent = fa.jvp(lambda x, y: Multiply()(x, y), (2.0, 5.0), (1.0, 10.0))
    assert (tuple(value), tuple(tangent)) == ((10.0, 7.0), (25.0, 11.0))


@given(st.integers(0, 3), st.integers(0, 3))
def test_cumulative_rules_keep_nothing(first, second):
    x = np.array([1.0, 2.0, 0.5, 3.0])
    d = np.zeros(4)
    d[first] = 1.0

    def f(x):
        return np.cumprod(np.where(np.arange(4) == second, x, 2.0))

    wanted = np.where(np.arange(4) >= second, 2.0 ** np.arange(4), 0.0) * (first == second)
    close(fa.jvp(f, (x,), (d,))[1], wanted)


# ---- size --------------------------------------------------------------------------------------------------
def test_deep():
    def f(x):
        y = x
        for _ in range(100_000):
            y = fa.sin(y) * 0.9 + x
        return y

    agree(f, [0.4], [1.5], 1e-9)


def test_records_that_nothing_reaches_keep_nothing():
    """Whole rows, broadcast operands and parts of them: a tangent that is nothing meets no infinite partial."""
    n = 40
    x, y = np.zeros(n), np.linspace(1.0, 2.0, n)

    def f(x, y, s):
        root = np.sqrt(x)                             # infinite slopes
        return root, root * y, y * s, np.sqrt(s) + y

    with np.errstate(divide="ignore", invalid="ignore"):
        _, tangents = fa.jvp(f, (x, y, 0.0), (None, np.ones(n), None))
        assert tangents[0].tolist() == [0.0] * n and tangents[1].tolist() == [0.0] * n
        assert tangents[2].tolist() == [0.0] * n and tangents[3].tolist() == [1.0] * n
        _, tangents = fa.jvp(f, (x, y, 0.0), (None, None, 1.0))
        assert tangents[0].tolist() == [0.0] * n and tangents[2].tolist() == y.tolist()
        assert np.isinf(tangents[3]).all()
