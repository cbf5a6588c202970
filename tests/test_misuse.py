"""Wrong input at the public functions: the error names who refuses it, what was given, and what is needed."""
import numpy as np
import pytest

import fastad as fa

MASKED = np.ma.array([1.0, 2.0], mask=[False, True])
DATES = np.array(["2020-01-01"], "M8[D]")
X = np.ones(2)


def square(x):
    return np.sum(x * x)


def hooked(answer):
    y = fa.Variable([1.0, 2.0, 3.0]) * 2.0
    y.register_hook(lambda g: answer)
    np.sum(y).backward()


@pytest.mark.parametrize("transform", [fa.grad, fa.value_and_grad, fa.jacobian, fa.hessian])
def test_transforms_name_themselves(transform):
    name = transform.__name__
    for given, kind in ((None, "NoneType"), (3, "int"), ("f", "str")):
        with pytest.raises(TypeError, match=f"^{name}: a function is needed, not {kind}"):
            transform(given)
    with pytest.raises(ValueError, match=f"^{name}: argnums=2 .* 1 positional arguments given"):
        transform(square, argnums=2)(X)
    with pytest.raises(ValueError, match=f"^{name}: argnums=0 .* 0 positional arguments given"):
        transform(square)(x=X)
    for given, words in ((MASKED, "masked arrays"), (DATES, "an array of dtype datetime64"), ("a", "str"),
                         (object(), "object"), (1j, "complex")):
        with pytest.raises(TypeError, match=f"^{name}: .*{words}"):
            transform(square)(given)
    with pytest.raises(TypeError, match=f"^{name}: the function returned NoneType"):
        transform(lambda x: None)(X)


@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda: fa.vjp(3, 1.0), TypeError, "^vjp: a function is needed, not int"),
    (lambda: fa.jvp(3, (1.0,), (1.0,)), TypeError, "^jvp: a function is needed, not int"),
    (lambda: fa.hvp(3, 1.0, 1.0), TypeError, "^hvp: a function is needed, not int"),
    (lambda: fa.hvp(square, X, np.ones(3)), ValueError, r"^hvp: the vector has to have shape \(2,\), not \(3,\)"),
    (lambda: fa.hvp(square, X, 1j * X), TypeError, "^hvp: the vector is ndarray of dtype complex128"),
    (lambda: fa.hvp(square, X, MASKED), TypeError, "^hvp: the vector: masked"),
    (lambda: fa.vjp(np.sin, X)[1](["a", "b"]), TypeError, "^vjp: the cotangent is list of dtype <U1"),
    (lambda: fa.vjp(np.sin, X)[1](np.ones(3)), ValueError, r"^vjp: the cotangent .* \(2,\), not \(3,\)"),
    (lambda: fa.gradcheck(3, 1.0), TypeError, "^gradcheck: a function"),
    (lambda: fa.gradcheck(lambda x: None, X), TypeError, "^gradcheck: the function returned NoneType"),
    (lambda: fa.gradcheck(lambda x: {"a": x, "b": "c"}, X), TypeError, "^gradcheck: the function returned str"),
    (lambda: fa.gradcheck(square, X, eps=0.0), ValueError, "^gradcheck: eps=0.0; a positive"),
    (lambda: fa.gradcheck(square, X, eps="a"), ValueError, "^gradcheck: eps='a'"),
    (lambda: fa.gradcheck(square, X, rtol=None), ValueError, "^gradcheck: rtol=None"),
    (lambda: fa.gradcheck(square, X, atol=np.nan), ValueError, "^gradcheck: atol=nan"),
    (lambda: fa.Variable(None), TypeError, "^Variable: cannot compute with NoneType"),
    (lambda: fa.Variable({}), TypeError, "^Variable: cannot compute with dict"),
    (lambda: fa.Variable([fa.Variable(1.0)]), TypeError, "^Variable: .* fa.array"),
    (lambda: fa.Variable(1.0, name=3), TypeError, "^Variable: name=3"),
    (lambda: fa.Variable(10 ** 400), OverflowError, "^Variable: an integer is too large"),
    (lambda: fa.array({1.0}), TypeError, "^array: cannot compute with set"),
    (lambda: fa.sin(None), TypeError, "^sin: cannot compute with NoneType"),
    (lambda: fa.Variable(1.0) + len, TypeError, "^add: cannot compute with builtin_function"),
    (lambda: fa.Variable(X)[10 ** 30], IndexError, "is out of bounds for axis 0"),
    (lambda: fa.Variable(X)[-10 ** 30], IndexError, "is out of bounds for axis 0"),
    (lambda: hooked("a"), ValueError, "^hook of a variable: returned <U1"),
    (lambda: hooked(np.ones(2)), ValueError, r"^hook of a variable: .* \(2,\) for .* \(3,\)"),
    (lambda: hooked(1j * np.ones(3)), ValueError, "^hook of a variable: returned complex128"),
])
def test_functions_name_themselves(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda c: fa.compile(square, argnums=None), TypeError, "^compile: argnums=None"),
    (lambda c: fa.compile(square, argnums=(0, "a")), TypeError, "^compile: argnums="),
    (lambda c: fa.compile(square, static_argnums="a"), TypeError, "^compile: static_argnums='a'"),
    (lambda c: c(MASKED), TypeError, "^compile: .*masked"),
    (lambda c: c.grad(MASKED), TypeError, "^compile: .*masked"),
    (lambda c: c.grad(DATES), TypeError, "^compile: .*an array of dtype datetime64"),
    (lambda c: c.hvp(), TypeError, "^hvp: .* 0 were given"),
    (lambda c: c.hvp(X), TypeError, "^hvp: .* 1 were given"),
    (lambda c: c.hvp(X, 1j * X), TypeError, "^hvp: the vector is ndarray of dtype complex128"),
    (lambda c: c.hvp(X, np.ones(3)), ValueError, r"^hvp: the vector .* \(2,\), not \(3,\)"),
    (lambda c: c.jvp((X,), (1j * X,)), TypeError, "^jvp: a tangent is ndarray of dtype complex128"),
    (lambda c: c.batch(3.0), ValueError, r"^batch: an array of shape \(\) has no axis 0 of rows"),
    (lambda c: c.batch(np.ones((2, 3)), in_axes=2), ValueError, r"^batch: an array of shape \(2, 3\) has no axis 2"),
    (lambda c: c.batch([[1.0], [2.0]]), ValueError, "^batch: .* no axis 0 of rows"),
    (lambda c: c.batch(np.ones((2, 3)), in_axes="a"), TypeError, "^batch: in_axes has 'a'"),
    (lambda c: c.batch(np.ones((2, 3)), in_axes=(1.5,)), TypeError, "^batch: in_axes has 1.5"),
    (lambda c: c.batch(np.ones((2, 3)), in_axes=None), ValueError, "^batch: no argument has rows"),
    (lambda c: c.grad(X, out=np.ones(4)[::2]), ValueError, r"needed, not strided float64 of shape \(2,\)"),
    (lambda c: c.grad(X, out=np.broadcast_to(1.0, 2)), ValueError, "not read-only strided float64"),
    (lambda c: c.grad(X, out=3.0), ValueError, "needed, not float$"),
])
def test_compiled_functions_name_what_is_wrong(call, error, words):
    with pytest.raises(error, match=words):
        call(fa.compile(square))


@pytest.mark.parametrize(("function", "words"), [
    (lambda x: None, "returned no number"),
    (lambda x: x, r"returned shape \(2,\)"),
    (lambda x: {"a": x[0]}, "returned a container"),
    (lambda x: (x[0], x), "returned a container"),
])
def test_a_compiled_gradient_needs_a_scalar_as_an_eager_one_does(function, words):
    for call in (fa.compile(function).grad, fa.compile(function).hessian, fa.compile(function).bind):
        with pytest.raises(TypeError, match=words):
            call(X)
    with pytest.raises(TypeError, match="returned"):
        fa.grad(function)(X)


@pytest.mark.parametrize("call", [
    lambda x: fa.minimize(square, x), lambda x: fa.minimize(fa.compile(square), x),
    lambda x: fa.scipy.minimize(square, x), lambda x: fa.scipy.least_squares(lambda x: x, x),
    lambda x: fa.scipy.root(lambda x: x, x)])
def test_optimisers_refuse_masked_arrays(call):
    with pytest.raises(TypeError, match="x0: masked arrays"):
        call(MASKED)


@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda: fa.scipy.minimize(square, X, bounds=3), ValueError, "^fa.scipy.minimize: bounds=3; a pair"),
    (lambda: fa.scipy.minimize(square, X, bounds={"a": (0, 1)}), ValueError, "^fa.scipy.minimize: bounds={'a'"),
    (lambda: fa.minimize(square, X, bounds=[(0, 1), 2]), ValueError, r"^minimize: bounds=\[\(0, 1\), 2\]"),
    (lambda: fa.scipy.minimize(square, X, constraints=3), ValueError, "^fa.scipy.minimize: constraints has 3"),
    (lambda: fa.scipy.least_squares(lambda x: None, X), TypeError, "the function returned NoneType"),
    (lambda: fa.scipy.root(lambda x: [], X), TypeError, "the function returned list without a number"),
])
def test_scipys_optimisers_name_what_is_wrong(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_whole_numbers_of_any_size_are_numbers():
    big = 2 ** 70
    assert fa.Variable(big).value == fa.array(big) == float(big)
    assert fa.grad(lambda x: x * x)(big) == 2.0 * big
    np.testing.assert_array_equal(fa.Variable(np.array([1, 2.5], object)).value, [1.0, 2.5])


@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda g: g.placeholder("y", shape="a"), ValueError, "^placeholder: shape='a'"),
    (lambda g: g.placeholder("y", shape=(-1,)), ValueError, r"^placeholder: shape=\(-1,\)"),
    (lambda g: g.placeholder("y", shape=1.5), ValueError, "^placeholder: shape=1.5"),
    (lambda g: g.variable("y", "a"), TypeError, "^variable: the value of 'y' is str"),
    (lambda g: g.variable("y", MASKED), TypeError, "^variable: .*masked"),
    (lambda g: g.constant(1j), TypeError, "^constant: the value is complex"),
    (lambda g: g.forward(g.nodes[0], x="a"), TypeError, "^forward: what is fed to 'x' is str"),
    (lambda g: g.forward(g.nodes[0], x=1j * X), TypeError, "^forward: what is fed to 'x' is .* complex128"),
])
def test_graphs_name_what_is_wrong_and_stay_as_they_are(call, error, words):
    g = fa.Graph()
    g.placeholder("x", shape=(2,))
    with pytest.raises(error, match=words):
        call(g)
    assert [node.name for node in g.nodes] == ["x"]
    assert g.forward(g.nodes[0], x=[1.0, 2.0]).tolist() == [1.0, 2.0]


@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda w: fa.optim.SGD(None, lr=0.1), TypeError, "^SGD: params is NoneType"),
    (lambda w: fa.optim.Adam(3), TypeError, "^Adam: params is int"),
    (lambda w: fa.optim.Adam([w]).step(3), TypeError, r"^Adam: step\(closure=3\)"),
    (lambda w: fa.optim.LBFGS([w], max_iter="a"), ValueError, "^LBFGS: max_iter='a'"),
    (lambda w: fa.optim.LBFGS([w]).step(3), ValueError, r"^LBFGS: step\(closure=3\)"),
    (lambda w: fa.optim.LBFGS([w]).step(lambda: None), TypeError, "^LBFGS: the closure returned NoneType"),
    (lambda w: fa.optim.LBFGS([w]).step(lambda: X), TypeError, r"^LBFGS: the closure returned .* \(2,\)"),
    (lambda w: fa.optim.lr_scheduler.MultiStepLR(fa.optim.Adam([w]), 3), TypeError, "^MultiStepLR: milestones=3"),
    (lambda w: fa.optim.lr_scheduler.ReduceLROnPlateau(fa.optim.Adam([w])).step("a"), TypeError,
     "^ReduceLROnPlateau: metrics='a'"),
])
def test_optimisers_in_steps_name_what_is_wrong(call, error, words):
    w = fa.Variable(1.0)
    with pytest.raises(error, match=words):
        call(w)
    assert w.value == 1.0
