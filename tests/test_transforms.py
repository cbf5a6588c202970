"""grad, value_and_grad, vjp, jacobian on plain functions."""
import gc
from collections import namedtuple
from dataclasses import dataclass

import numpy as np
import pytest

import fastad as fa

rng = np.random.default_rng(5)


def close(actual, wanted):
    np.testing.assert_allclose(actual, wanted, rtol=1e-12, atol=1e-12)


# ---- value_and_grad, grad ----------------------------------------------------------------------------------
def test_numbers():
    value, g = fa.value_and_grad(lambda x: x * np.sin(x))(0.7)
    close([value, g], [0.7 * np.sin(0.7), np.sin(0.7) + 0.7 * np.cos(0.7)])
    assert isinstance(value, float) and isinstance(g, float)
    assert fa.grad(lambda x: x ** 2)(3) == 6.0


def test_argnums():
    f = lambda a, b, c=2.0: np.sum(a * b) * c                      # noqa: E731
    a, b = rng.normal(size=3), rng.normal(size=3)
    close(fa.grad(f)(a, b), 2 * b)
    close(fa.grad(f, argnums=1)(a, b, c=3.0), 3 * a)
    close(fa.grad(f, argnums=-1)(a, b, 2.0), a @ b)
    g = fa.grad(f, argnums=[2, 0])(a, b, 5.0)
    assert isinstance(g, tuple)
    close(g[0], a @ b)
    close(g[1], 5 * b)
    for wrong in (3, -4, (0, 7), 1.0, "a"):
        with pytest.raises(ValueError, match="argnums"):
            fa.grad(f, argnums=wrong)(a, b, 2.0)


def test_has_aux():
    f = lambda x: (x ** 2, {"seen": x, "other": "text", "none": None, "twice": [2.0 * x]})      # noqa: E731
    (value, aux), g = fa.value_and_grad(f, has_aux=True)(3.0)
    assert (value, g) == (9.0, 6.0)
    assert aux == {"seen": 3.0, "other": "text", "none": None, "twice": [6.0]}
    assert not isinstance(aux["seen"], fa.Variable)
    g, aux = fa.grad(f, has_aux=True)(3.0)
    assert g == 6.0 and aux["twice"] == [6.0]
    for wrong in (lambda x: x, lambda x: (x, 1, 2), lambda x: [x, 1]):
        with pytest.raises(TypeError, match="has_aux"):
            fa.grad(wrong, has_aux=True)(1.0)


Pair = namedtuple("Pair", "u v")


@dataclass
class Model:
    w: np.ndarray
    rest: dict


def test_containers_come_back_in_their_form():
    p = {"m": Model(np.ones((2, 2)), {"k": Pair(2.0, [np.arange(3.0)])}), "t": (1.0, None)}

    def f(p):
        k = p["m"].rest["k"]
        return np.sum(p["m"].w * 3.0) + k.u ** 2 + np.sum(k.v[0] ** 2) * p["t"][0]

    g = fa.grad(f)(p)
    assert isinstance(g["m"], Model) and isinstance(g["m"].rest["k"], Pair) and isinstance(g["t"], tuple)
    close(g["m"].w, np.full((2, 2), 3.0))
    close(g["m"].rest["k"].u, 4.0)
    close(g["m"].rest["k"].v[0], [0.0, 2.0, 4.0])
    close(g["t"][0], 5.0)
    assert g["t"][1] is None


@pytest.mark.parametrize(("x", "kind"), [(np.ones(3, np.float32), np.float32), (np.ones(3), np.float64),
                                         (np.ones(3, np.int64), np.float64), (np.float32(2.0), np.float32)])
def test_the_dtype_of_a_gradient(x, kind):
    g = fa.grad(lambda x: np.sum(x * x))(x)
    assert g.dtype == kind
    close(g, 2.0 * np.asarray(x, float))
    j = fa.jacobian(lambda x: x * x)(x)
    assert np.asarray(j).dtype == kind or np.ndim(x) == 0


def test_unused_arguments_get_zeros():
    close(fa.grad(lambda x: 3.0)(np.ones((2, 2))), np.zeros((2, 2)))
    g = fa.grad(lambda p, q: q * 2.0, argnums=(0, 1))({"a": np.ones(2), "b": 1.0}, 5.0)
    close(g[0]["a"], [0.0, 0.0])
    assert g[0]["b"] == 0.0 and g[1] == 2.0
    close(fa.grad(lambda x: np.sum(x[:0]))(np.ones(3)), np.zeros(3))
    assert fa.grad(lambda x: np.sum(x))(np.ones((0, 3))).shape == (0, 3)


def test_outputs_that_are_no_scalars():
    with pytest.raises(TypeError, match=r"\(3,\).*fa.jacobian"):
        fa.grad(lambda x: x * 2.0)(np.ones(3))
    with pytest.raises(TypeError, match=r"\(1,\)"):
        fa.grad(lambda x: x * 2.0)(np.ones(1))


@pytest.mark.parametrize("x", [1j, np.ones(2) * 1j, "text", np.array(["a"]), object()])
def test_arguments_that_are_no_real_numbers(x):
    for transform in (fa.grad, fa.value_and_grad, fa.jacobian):
        with pytest.raises(TypeError):
            transform(lambda x: 1.0)(x)
    with pytest.raises(TypeError):
        fa.vjp(lambda x: 1.0, x)


def test_arguments_are_not_changed_and_may_be_written_to_inside():
    def f(x):
        x[0] = x[1] * 2.0
        x *= 3.0
        return np.sum(x)

    x = np.array([1.0, 2.0])
    close(fa.grad(f)(x), [0.0, 9.0])
    close(x, [1.0, 2.0])


def test_eager_variables_are_left_alone():
    w = fa.Variable([1.0, 2.0])
    loss = np.sum(w ** 2)
    close(fa.grad(lambda x: np.sum(x * 5.0))(np.ones(2)), [5.0, 5.0])
    close(fa.grad(lambda x: np.sum(x * w))(np.array([3.0, 4.0])), [1.0, 2.0])
    assert w.grad is None
    loss.backward()
    close(w.grad, [2.0, 4.0])


def test_nothing_stays_on_the_tape():
    gc.collect()
    before, size = len(fa.tape()), fa.tape().nbytes
    f = fa.value_and_grad(lambda x: np.sum(np.exp(x) * x))
    for _ in range(1000):
        f(np.ones(100))
    assert len(fa.tape()) <= before and fa.tape().nbytes < 10_000_000 + size


def test_an_exception_inside_leaves_the_tape_usable():
    def broken(x):
        y = x * 2.0
        raise KeyError(f"{y.item()}")

    with pytest.raises(KeyError, match=r"2.0"):
        fa.grad(broken)(1.0)
    assert fa.grad(lambda x: x * x)(1.0) == 2.0


def test_names_and_docstrings_are_kept():
    def f(x):
        """What f is."""
        return x

    for transform in (fa.grad, fa.value_and_grad, fa.jacobian):
        assert transform(f).__name__ == "f" and transform(f).__doc__ == "What f is."


# ---- vjp, jacobian -----------------------------------------------------------------------------------------
def test_vjp():
    A = rng.normal(size=(2, 3))
    value, pull = fa.vjp(lambda x, p: {"y": A @ x, "z": [p["s"] * x[0]]}, np.ones(3), {"s": 2.0})
    close(value["y"], A.sum(axis=1))
    close(value["z"][0], 2.0)
    for scale in (1.0, 3.0):                                      # as often as you like
        gx, gp = pull({"y": scale * np.array([1.0, 2.0]), "z": [scale * 5.0]})
        close(gx, scale * (A.T @ [1.0, 2.0] + [10.0, 0.0, 0.0]))
        close(gp["s"], scale * 5.0)
    value, pull, aux = fa.vjp(lambda x: (x * 2.0, x), 3.0, has_aux=True)
    assert (value, pull(1.0), aux) == (6.0, (2.0,), 3.0)


def test_wrong_cotangents():
    _, pull = fa.vjp(lambda x: (x * 2.0, x), np.ones(3))
    with pytest.raises(ValueError, match="tuple of 2 items"):
        pull(np.ones(3))
    with pytest.raises(ValueError, match=r"\(3,\).*\(2,\)"):
        pull((np.ones(3), np.ones(2)))


def test_jacobian_by_tangents_is_the_one_by_adjoints():
    """More outputs than inputs: a sweep for each input; a wide function, one for each output."""
    A = rng.normal(size=(7, 3))

    def tall(x, c=1.0):
        return np.sin(A @ x) * c

    x = rng.normal(size=3)
    close(fa.jacobian(tall)(x), np.cos(A @ x)[:, None] * A)
    stacked = np.stack([fa.grad(lambda x, k=k: tall(x)[k])(x) for k in range(7)])
    close(fa.jacobian(tall)(x), stacked)
    Jx, Jc = fa.jacobian(tall, argnums=(0, 1))(x, 2.0)
    close(Jx, 2.0 * stacked)
    close(Jc, np.sin(A @ x))
    J = fa.jacobian(lambda M: np.stack([M * k for k in range(3)]))(np.ones((2, 2)))
    close(J, np.einsum("k,im,jn->kijmn", np.arange(3.0), np.eye(2), np.eye(2)))
    with np.errstate(divide="ignore"):
        J = fa.jacobian(lambda x: fa.array([np.sqrt(x[0]), x[1], 2.0, x[1]]))(np.array([0.0, 3.0]))
    assert J.tolist() == [[np.inf, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 1.0]]    # inf meets nothing, not zero
    close(fa.jacobian(lambda x: np.ones(5))(x), np.zeros((5, 3)))
    second = fa.jacobian(fa.jacobian(tall))(x)
    close(second, -np.einsum("k,ki,kj->kij", np.sin(A @ x), A, A))


def test_jacobian():
    A, x = rng.normal(size=(4, 3)), rng.normal(size=3)
    close(fa.jacobian(lambda x: A @ x)(x), A)
    J = fa.jacobian(lambda M: M @ A)(rng.normal(size=(2, 4)))
    assert J.shape == (2, 3, 2, 4)
    close(J, np.einsum("ik,lj->ijkl", np.eye(2), A))
    close(fa.jacobian(lambda x: np.sum(x))(x), np.ones(3))
    close(fa.jacobian(lambda t: np.stack([t, t ** 2]))(3.0), [1.0, 6.0])
    Jx, Jp = fa.jacobian(lambda x, p: x * p["s"], argnums=(0, 1))(x, {"s": 2.0, "unused": np.ones(2)})
    close(Jx, 2 * np.eye(3))
    close(Jp["s"], x)
    close(Jp["unused"], np.zeros((3, 2)))
    J, aux = fa.jacobian(lambda x: (x ** 2, "aux"), has_aux=True)(x)
    close(J, np.diag(2 * x))
    assert aux == "aux"
    assert fa.jacobian(lambda x: x[:0])(x).shape == (0, 3)


def test_an_output_made_of_scalars():
    x = np.array([2.0, 3.0])
    close(fa.jacobian(lambda x: fa.array([x[0] * x[1], 1.0, x[1] * 2.0]))(x), [[3.0, 2.0], [0.0, 0.0], [0.0, 2.0]])
    close(fa.jacobian(lambda x: np.array([x[0] * x[1], x[1] * 2.0]))(x), [[3.0, 2.0], [0.0, 2.0]])


def test_infinite_slopes_stay_in_their_row():
    with np.errstate(divide="ignore"):
        J = fa.jacobian(np.sqrt)(np.array([0.0, 4.0]))
    np.testing.assert_array_equal(J, [[np.inf, 0.0], [0.0, 0.25]])


# ---- what the function captures -----------------------------------------------------------------------------------
def test_eager_variables_are_constants_of_a_transform():
    leaf = fa.Variable(3.0)
    node = leaf * 2.0
    assert fa.grad(lambda t: t * t * leaf * node)(2.0) == 72.0
    assert fa.grad(lambda t: node)(2.0) == 0.0 and fa.grad(lambda t: leaf)(2.0) == 0.0
    with fa.no_grad():
        assert fa.grad(lambda t: t * t * leaf * node)(2.0) == 72.0
        with pytest.raises(fa.NoGradientError):
            (leaf * 2.0).backward()
    value, pull = fa.vjp(lambda t: t * t * node, 2.0)
    assert value == 24.0 and pull(1.0) == (24.0,)
    node.backward()
    assert leaf.grad == 2.0


def test_an_exception_in_the_function_leaves_nothing_behind():
    def bad(x):
        y = x * x
        raise KeyError(float(y.value))

    n = len(fa.tape())
    for _ in range(1000):
        with pytest.raises(KeyError):
            fa.grad(bad)(2.0)
    assert len(fa.tape()) <= n + 20
    assert fa.grad(lambda x: x * x)(2.0) == 4.0


def test_misuse_is_named():
    with pytest.raises(TypeError, match="NoneType"):
        fa.grad(lambda x: None)(1.0)
    with pytest.raises(TypeError, match="NoneType"):
        fa.vjp(lambda x: None, 1.0)
    with pytest.raises(TypeError, match="str"):
        fa.jacobian(lambda x: "x")(1.0)
    for argnums in ((0, 0), (0, -2), [1, -1]):
        with pytest.raises(ValueError, match="twice"):
            fa.grad(lambda x, y: x * y, argnums=argnums)(1.0, 2.0)
    with pytest.raises(TypeError, match="masked"):
        fa.Variable(np.ones(3)) * np.ma.array([1.0, 2.0, 3.0], mask=[0, 1, 0])
    with pytest.raises(TypeError, match="complex"):
        fa.Variable(1.0).backward(1j)


def test_cotangents_of_dicts_go_by_key():
    _, pull = fa.vjp(lambda z: {"a": z, "b": z * 2.0}, 3.0)
    assert pull({"b": 1.0, "a": 5.0}) == (7.0,) and pull({"a": None, "b": 1.0}) == (2.0,)
    with pytest.raises(ValueError, match="keys"):
        pull({"a": 1.0})
