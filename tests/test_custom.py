"""Gate and custom_vjp: rules of the user's own."""
import functools
from collections import namedtuple

import numpy as np
import pytest

import fastad as fa


class Multiply(fa.Gate):
    def forward(self, x, y):
        self.x, self.y = x, y
        return x * y

    def backward(self, upstream):
        return [self.y * upstream, self.x * upstream]


class Split(fa.Gate):
    """Two outputs: x ** 2 and 3 y."""

    def forward(self, x, y):
        self.x = x
        return x ** 2, 3 * y

    def backward(self, g, h):
        return 2 * self.x * g, 3 * h


def gate(forward, backward):
    kind = type("Own", (fa.Gate,), {"forward": lambda self, *a: forward(*a), "backward": lambda self, *g: backward(*g)})
    return kind()


# ---- gates -------------------------------------------------------------------------------------------------
def test_one_instance_used_twice_keeps_its_calls_apart():
    mul = Multiply()
    x, y = fa.Variable(3.0), fa.Variable(4.0)
    (mul(x, y) + mul(y, y) * 10.0).backward()
    assert (x.grad, y.grad) == (4.0, 3.0 + 80.0)
    assert not hasattr(mul, "x")


def test_values_and_gradients_of_arrays_and_a_second_backward():
    a, b = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[5.0, 6.0], [7.0, 8.0]])
    x, y = fa.Variable(a), fa.Variable(b)
    z = np.sum(Multiply()(x.T, y))
    assert z.value == np.sum(a.T * b)
    z.backward(retain_graph=True)
    np.testing.assert_array_equal(x.grad, b.T)
    z.backward()
    np.testing.assert_array_equal(x.grad, 2 * b.T)
    np.testing.assert_array_equal(y.grad, 2 * a.T)


def test_plain_arguments_give_a_plain_result():
    assert Multiply()(3.0, 4.0) == 12.0
    assert type(Multiply()(np.ones(2), 2.0)) is np.ndarray
    assert Split()(2.0, 1.0) == (4.0, 3.0)


def test_constants_among_the_arguments():
    x = fa.Variable(3.0)
    Multiply()(x, 5.0).backward()
    Multiply()(np.float64(2.0), x).backward()
    assert x.grad == 7.0
    with fa.no_grad():
        assert not fa.variable.is_recorded(Multiply()(x, x))


def test_several_outputs():
    x, y = fa.Variable([1.0, 2.0]), fa.Variable(5.0)
    u, v = Split()(x, y)
    (np.sum(u) + v).backward()
    np.testing.assert_array_equal(x.grad, [2.0, 4.0])
    assert y.grad == 3.0
    x.zero_grad()
    y.zero_grad()
    u, _ = Split()(x, y)                               # the other output is not used: its upstream is zero
    np.sum(u).backward()
    np.testing.assert_array_equal(x.grad, [2.0, 4.0])
    assert y.grad == 0.0


def test_a_single_gradient_and_no_gradient():
    x, y = fa.Variable(np.ones(3)), fa.Variable(2.0)
    np.sum(gate(lambda x: 2 * x, lambda g: 2 * g)(x)).backward()
    np.testing.assert_array_equal(x.grad, [2.0, 2.0, 2.0])
    x.zero_grad()
    np.sum(gate(lambda x, y: x * y, lambda g: [None, np.sum(g)])(x, y)).backward()
    assert x.grad is None or not np.any(x.grad)
    assert y.grad == 3.0


def test_no_gradient_is_nothing_even_where_the_slope_is_infinite():
    x = fa.Variable(0.0)
    (gate(lambda s: s, lambda g: None)(np.sqrt(x)) + x).backward()
    assert x.grad == 1.0


def test_keyword_arguments_reach_forward():
    class Scale(fa.Gate):
        def forward(self, x, *, by=1.0):
            self.by = by
            return x * by

        def backward(self, g):
            return self.by * g

    x = fa.Variable(3.0)
    Scale()(x, by=4.0).backward()
    assert x.grad == 4.0
    with pytest.raises(TypeError, match=r"Scale.*keyword"):
        Scale()(x, by=x)


def test_an_array_changed_between_forward_and_backward_does_no_harm():
    x, c = fa.Variable(np.ones(2)), np.array([3.0, 4.0])
    z = np.sum(Multiply()(x, c))
    c[:] = 0.0
    z.backward()
    np.testing.assert_array_equal(x.grad, [3.0, 4.0])
    y = fa.Variable(np.array([1.0, 2.0]))
    z = np.sum(Multiply()(x, y))
    y.value[:] = 100.0
    x.zero_grad()
    z.backward()
    np.testing.assert_array_equal(x.grad, [1.0, 2.0])


def test_arrays_of_scalar_variables_are_joined():
    x = fa.Variable([2.0, 3.0])
    np.sum(Multiply()(np.array([x[0], x[1]]), np.array([10.0, 20.0]))).backward()
    np.testing.assert_array_equal(x.grad, [10.0, 20.0])


WRONG = [
    (lambda x: x * 2, lambda g: [np.ones(7)], r"Own.*\(7,\).*\(3,\)"),
    (lambda x: x * 2, lambda g: 1.0, r"Own.*\(\).*\(3,\)"),
    (lambda x: x * 2, lambda g: np.ones((3, 1)), r"Own.*\(3, 1\).*\(3,\)"),
    (lambda x: x * 2, lambda g: [g, g], r"Own.*2 gradients.*\(3,\).*1 input"),
    (lambda x: x * 2, lambda g: [], r"Own.*0 gradients"),
]


@pytest.mark.parametrize(("forward", "backward", "message"), WRONG)
def test_wrong_gradients(forward, backward, message):
    x = fa.Variable(np.ones(3))
    with pytest.raises(ValueError, match=message):
        np.sum(gate(forward, backward)(x)).backward()


def test_one_array_for_two_inputs():
    with pytest.raises(ValueError, match=r"Own.*\(2,\).*2 inputs"):
        np.sum(gate(lambda x, y: x + y, lambda g: g)(fa.Variable(np.ones(2)), fa.Variable(np.ones(2)))).backward()


@pytest.mark.parametrize("gradient", [np.ones(3) * 1j, np.array(["a", "b", "c"])])
def test_gradients_that_are_no_real_numbers(gradient):
    with pytest.raises(TypeError, match="Own"):
        np.sum(gate(lambda x: x * 2, lambda g: gradient)(fa.Variable(np.ones(3)))).backward()


def test_outputs_that_are_no_numbers():
    with pytest.raises(TypeError, match=r"Own.*output"):
        gate(lambda x: "text", None)(fa.Variable(1.0))


def test_variables_from_outside_would_lose_their_gradient():
    x, other = fa.Variable(2.0), fa.Variable(3.0)
    with pytest.raises(TypeError, match="argument, not a Variable from outside"):
        gate(lambda x: x * other, lambda g: g)(x)
    with pytest.raises(TypeError, match="custom_vjp"):
        gate(lambda pair: pair[0] * 2.0, lambda g: g)([x, other])


def test_missing_methods_are_named():
    class Nothing(fa.Gate):
        pass

    with pytest.raises(NotImplementedError, match=r"Nothing.*forward"):
        Nothing()(1.0)


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_an_exception_leaves_the_tape_usable(where):
    def fail(*args):
        raise ZeroDivisionError(where)

    x = fa.Variable(np.ones(3))
    broken = gate(fail, None) if where == "forward" else gate(lambda x: x * 2, fail)
    with pytest.raises(ZeroDivisionError, match=where):
        np.sum(np.exp(broken(x * 1.0))).backward()
    assert x.grad is None
    np.sum(x * x).backward()
    np.testing.assert_array_equal(x.grad, [2.0, 2.0, 2.0])
    np.testing.assert_array_equal(fa.grad(lambda t: np.sum(Multiply()(t, t)))(np.ones(2)), [2.0, 2.0])


# ---- custom_vjp --------------------------------------------------------------------------------------------
def square():
    @fa.custom_vjp
    def square(x):
        """The square of x."""
        return x * x

    square.defvjp(lambda x: (x * x, x), lambda x, g: (7.0 * x * g,))      # 7, so that nothing else can give it
    return square


def test_the_rule_is_used_and_only_with_a_gradient():
    f = square()
    assert f(3.0) == 9.0 and isinstance(f(3.0), float)
    assert fa.grad(f)(3.0) == 21.0
    x = fa.Variable([1.0, 2.0])
    np.sum(f(x) * 2.0).backward()
    np.testing.assert_array_equal(x.grad, [14.0, 28.0])
    assert (f.__name__, f.__doc__) == ("square", "The square of x.")


def test_without_a_rule():
    @fa.custom_vjp
    def lonely(x):
        return x * 2.0

    assert lonely(2.0) == 4.0
    with pytest.raises(AttributeError, match=r"lonely.*defvjp"):
        fa.grad(lonely)(2.0)
    with pytest.raises(TypeError, match="defvjp"):
        lonely.defvjp(lambda x: (x, None), None)
    with pytest.raises(TypeError, match="custom_vjp"):
        fa.custom_vjp(3.0)


def test_nondiff_argnums():
    @functools.partial(fa.custom_vjp, nondiff_argnums=(0, 2))
    def apply(f, x, label):
        return f(x)

    seen = []

    def backward(f, label, residuals, g):
        seen.append((f(1.0), label, residuals))
        return (g * 5.0,)

    apply.defvjp(lambda f, x, label: (f(x), "kept"), backward)
    assert fa.grad(lambda x: apply(np.exp, x, "name"))(0.0) == 5.0
    assert seen == [(np.exp(1.0), "name", "kept")]
    with pytest.raises(TypeError, match=r"apply: argument 2.*nondiff_argnums"):
        apply(np.exp, fa.Variable(1.0), fa.Variable(1.0))


def test_keyword_arguments_find_their_place():
    @fa.custom_vjp
    def f(x, y=10.0, *, scale=1.0):
        return x * y * scale

    f.defvjp(lambda x, y, scale=1.0: (x * y * scale, (x, y, scale)),
             lambda res, g: (res[1] * res[2] * g, res[0] * res[2] * g))
    x, y = fa.Variable(2.0), fa.Variable(3.0)
    f(y=y, x=x, scale=4.0).backward()
    assert (x.grad, y.grad) == (12.0, 8.0)
    x.zero_grad()
    f(x=x).backward()                                   # the default takes its place too, as in JAX
    assert x.grad == 10.0
    with pytest.raises(TypeError, match="f: a keyword argument"):
        f(x, y, scale=fa.Variable(1.0))


Point = namedtuple("Point", "a b")


def test_nested_arguments_and_outputs():
    @fa.custom_vjp
    def f(p, q):
        return {"sum": p["u"] + q.a[0], "product": [q.b * 2.0]}

    def backward(residuals, g):
        assert list(g) == ["sum", "product"] and g["sum"].shape == (2,)
        down = np.sum(g["sum"])
        return {"v": None, "u": g["sum"]}, Point([down], 2.0 * g["product"][0])

    f.defvjp(lambda p, q: ({"sum": p["u"] + q.a[0], "product": [q.b * 2.0]}, None), backward)

    def loss(p, q):
        out = f(p, q)
        return np.sum(out["sum"] * 3.0) + out["product"][0] * 5.0

    p, q = {"u": np.array([1.0, 2.0]), "v": 1.0}, Point([3.0], 4.0)
    gp, gq = fa.grad(loss, argnums=(0, 1))(p, q)
    np.testing.assert_array_equal(gp["u"], [3.0, 3.0])
    assert gp["v"] == 0.0
    assert isinstance(gq, Point) and gq == Point([6.0], 10.0)
    assert f(p, q)["product"] == [8.0]


@pytest.mark.parametrize(("returned", "message"), [
    (lambda g: (g, g), "square.*1 gradient, .*2 gradients"),
    (lambda g: g, "square.*1 gradient.*ndarray"),
    (lambda g: (np.ones((2, 2)),), r"square.*\(2, 2\).*\(3,\)"),
    (lambda g: ([1.0],), r"square.*\(1,\).*\(3,\)"),
])
def test_wrong_returns_of_bwd(returned, message):
    f = fa.custom_vjp(square().fun)
    f.defvjp(lambda x: (x * x, None), lambda res, g: returned(g))
    with pytest.raises(ValueError, match=message):
        fa.grad(lambda x: np.sum(f(x)))(np.ones(3))


@pytest.mark.parametrize(("returned", "message"), [
    ((1.0, {"a": 1.0}), "dict with the keys"), ((1.0, [1.0]), "list of 2 items"), (([1.0], [1.0, 1.0]), r"\(1,\)"),
])
def test_gradients_in_another_form(returned, message):
    f = fa.custom_vjp(lambda x, t: x)
    f.defvjp(lambda x, t: (x, None), lambda res, g: returned)
    trees = {"dict": {"a": 1.0, "b": 2.0}, "list": [1.0, 2.0]}
    tree = trees["dict" if isinstance(returned[1], dict) else "list"]
    with pytest.raises(ValueError, match=message):
        fa.grad(lambda x: f(x, tree))(1.0)


def test_fwd_has_to_return_a_pair():
    f = fa.custom_vjp(lambda x: x)
    f.defvjp(lambda x: x, lambda res, g: (g,))
    with pytest.raises(TypeError, match=r"fwd.*residuals"):
        fa.grad(f)(1.0)


def test_an_exception_in_bwd_leaves_the_tape_usable():
    f = square()
    f.defvjp(lambda x: (x * x, x), lambda x, g: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fa.grad(f)(1.0)
    assert fa.grad(square())(1.0) == 7.0


def test_rules_inside_of_long_loops_need_no_memory():
    f, w, size = square(), fa.Variable(np.ones(10)), fa.tape().nbytes
    for _ in range(2000):
        w.zero_grad()
        np.sum(f(w)).backward()
    assert fa.tape().nbytes < size + 1_000_000
