"""fastad.numpy_api.linalg and .einsum."""

import numpy as np
import pytest
from checking import T, X, Y, check, refused, rng, v
from hypothesis import given, settings
from hypothesis import strategies as st

import fastad as fa

S = rng.normal(size=(4, 4))
PRODUCTS = {
    "dot": (np.dot, X, S),
    "dot vectors": (np.dot, v, v[::-1].copy()),
    "dot matrix vector": (np.dot, X, S[0]),
    "dot vector matrix": (np.dot, S[0], S),
    "dot 3-2": (np.dot, T, S),
    "dot 3-1": (np.dot, T, S[0]),
    "dot 3-3": (np.dot, T, T.transpose(0, 2, 1).copy()),
    "dot scalar": (lambda x, y: np.dot(x, y[0]), X, v),
    "method dot": (lambda x: x.dot(S) + x.dot(x.T[:, :1]), X),
    "matmul": (np.matmul, X, S),
    "operator": (lambda x, y: x @ y, X, S),
    "matmul batch": (np.matmul, T, S),
    "matmul broadcast": (lambda x, y: np.matmul(x[:, None], y), T, T.transpose(0, 2, 1).copy()),
    "matmul vector": (np.matmul, T, S[0]),
    "inner": (np.inner, X, Y),
    "inner 3": (np.inner, T, X),
    "inner vectors": (np.inner, v, v * 2),
    "outer": (np.outer, v, X),
    "vdot": (np.vdot, X, Y),
    "tensordot": (np.tensordot, T, X),
    "tensordot 1": (lambda x, y: np.tensordot(x, y, 1), X, S),
    "tensordot 0": (lambda x, y: np.tensordot(x, y, 0), v, X),
    "tensordot axes": (lambda x, y: np.tensordot(x, y, axes=([0, 1], [1, 2])), X, T),
    "tensordot axis": (lambda x, y: np.tensordot(x, y, axes=(1, -1)), X, T),
    "kron": (np.kron, X[:2, :2], Y),
    "kron vector": (np.kron, v, X),
    "cross": (lambda x, y: np.cross(x[:, :3], y[:, :3]), X, Y),
    "cross axis": (lambda x, y: np.cross(x, y, axis=0), X, Y),
    "vecdot": (np.vecdot, T, X),
    "linalg.outer": (np.linalg.outer, v, v * 3),
    "multi_dot": (lambda x, y: np.linalg.multi_dot([x, y, x.T, x[:, 0]]), X, S),
}
if hasattr(np, "matvec"):
    PRODUCTS |= {"matvec": (np.matvec, T, X[:2]), "vecmat": (lambda x, y: np.vecmat(x[:, :3], y), X[:2], T)}

EINSUMS = [
    ("ij,jk->ik", X, S),
    ("ij,jk", X, S),
    ("ij,kij,lj->kl", X, T, X),
    ("ii->", S),
    ("ii->i", S),
    ("ii", S),
    ("ij->ji", X),
    ("ij->", X),
    ("ij->j", X),
    ("i,j->ij", v, v),
    ("i,i", v, v),
    ("ij,ij->ij", X, Y),
    ("ij,ij->i", X, Y),
    ("...j,j->...", T, S[0]),
    ("...ij,...jk->...ik", T, S),
    ("...ij,...kj", T, X),
    ("bij,bkj->bik", T, T),
    ("bij,bij->b", T, T),
    ("bij,kl->bl", T, X),
    ("ijk,k,j->i", T, S[0], X[:, 0]),
    ("i,i,i->", v, v, v),
    ("i,i,i->i", v, v, v),
    ("ij,j,jk,k->i", X, S[0], S, S[1]),
    ("iij->ij", np.stack([S, S * 2], axis=2)),
    ("iij,j->i", np.stack([S, S * 2], axis=2), v[:2]),
    ("ij,kl->ijkl", X, Y[:2]),
    ("ba", X),
    (",ij->ij", np.array(2.0), X),
    ("...,...->...", T, X),
    ("ij,ij->ij", X, Y[:1]),
    ("ij,jk->ik", X[:, :1], S),
    ("abc,cd,de,ef->abf", T, S, S, S),
]


@pytest.mark.parametrize("name", PRODUCTS)
def test_products(name):
    f, *args = PRODUCTS[name]
    check(f, *args)


@pytest.mark.parametrize("case", EINSUMS, ids=lambda case: case[0])
def test_einsum(case):
    text, *args = case
    check(lambda *items: np.einsum(text, *items), *args)


def test_einsum_with_lists_of_numbers_and_options():
    check(lambda x, y: np.einsum(x, [0, 1], y, [1, 2], [0, 2]), X, S)
    check(lambda x, y: np.einsum(x, [0, 1], y, [1, 2]), X, S)
    check(lambda x: np.einsum(x, [..., 0], [0, ...]), T)
    check(lambda x, y: np.einsum("ij,jk->ik", x, y, optimize=True), X, S)
    check(lambda x: np.einsum("ij,jk->ik", [[1.0, 2.0, 3.0]], x), X)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_einsum(data):
    sizes = dict(zip("abcd", data.draw(st.lists(st.integers(1, 3), min_size=4, max_size=4)), strict=True))
    terms = data.draw(st.lists(st.text("abcd", max_size=3), min_size=1, max_size=3))
    known = sorted(set("".join(terms)))
    right = "".join(
        data.draw(st.permutations(data.draw(st.lists(st.sampled_from(known), unique=True) if known else st.just([]))))
    )
    text = ",".join(terms) + "->" + right
    draw = np.random.default_rng(len(text))
    args = [draw.normal(size=[sizes[c] for c in term]) for term in terms]
    want = np.einsum(text, *args)
    value, pull = fa.vjp(lambda *items: np.einsum(text, *items), *args)
    np.testing.assert_allclose(value, want, rtol=1e-12, atol=1e-12)
    seed = draw.normal(size=want.shape)
    for a, g in zip(args, pull(seed), strict=True):  # linear in each operand: Euler's identity
        assert g.shape == a.shape
        np.testing.assert_allclose(np.sum(g * a), np.sum(seed * want), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("order", [None, 2, 1, np.inf, -np.inf, 3, 2.5, -1])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("keepdims", [False, True])
def test_vector_norms(order, axis, keepdims):
    check(lambda x: np.linalg.norm(x, order, axis, keepdims), Y)


@pytest.mark.parametrize("order", [None, "fro", 1, -1, np.inf, -np.inf])
@pytest.mark.parametrize("keepdims", [False, True])
def test_matrix_norms(order, keepdims):
    check(lambda x: np.linalg.norm(x, order, keepdims=keepdims), Y)
    check(lambda x: np.linalg.norm(x, order, (2, 0), keepdims=keepdims), T)


def test_norms_have_slope_0_at_0():
    for order in (None, 2, 1, np.inf, 3):
        np.testing.assert_array_equal(
            fa.grad(lambda x, order=order: np.linalg.norm(x, order))(np.zeros(3)), np.zeros(3)
        )
    x = np.array([[0.0, 0.0], [3.0, 4.0]])
    np.testing.assert_allclose(fa.grad(lambda x: np.sum(np.linalg.norm(x, axis=1)))(x), [[0, 0], [0.6, 0.8]])


def test_other_norms_and_powers():
    check(lambda x: np.linalg.vector_norm(x), Y)
    check(lambda x: np.linalg.matrix_norm(x, ord=1), T)
    check(lambda x: np.linalg.norm(x), T)
    assert float(np.linalg.norm(fa.Variable(v), 0)) == 5.0
    for n in (1, 2, 5):
        check(lambda x, n=n: np.linalg.matrix_power(x, n), S)


def test_trace():
    check(lambda x: np.trace(x[:, :3]), X)
    check(lambda x: np.trace(x, 1, 1, 2), T)
    check(lambda x: x.trace(), X)


def test_empty_products():
    check(np.matmul, np.empty((2, 0)), np.empty((0, 3)))
    check(lambda x, y: np.einsum("ij,jk->ik", x, y), np.empty((2, 0)), np.empty((0, 3)))
    check(np.dot, np.empty(0), np.empty(0))


def test_errors_name_function_and_shapes():
    refused(lambda x: np.dot(x, x), "dot", "(3, 4)", error=ValueError)
    refused(lambda x: x @ x, "matmul", "(3, 4)", error=ValueError)
    refused(lambda x: np.inner(x, np.ones(3)), "inner", "(3, 4)", "(3,)", error=ValueError)
    refused(lambda x: np.vdot(x, np.ones(3)), "vdot", "(3, 4)", "(3,)", error=ValueError)
    refused(lambda x: np.tensordot(x, x, 1), "tensordot", "(3, 4)", error=ValueError)
    refused(lambda x: np.einsum("ij,jk", x, x), "einsum", "(3, 4)", error=ValueError)
    refused(lambda x: np.einsum("ij,jk", x), "einsum", error=ValueError)
    refused(lambda x: np.einsum("ijk", x), "einsum", "(3, 4)", error=ValueError)
    refused(lambda x: np.einsum("ij->ijj", x), "einsum", error=ValueError)
    refused(lambda x: np.einsum("ij->k", x), "einsum", error=ValueError)
    refused(lambda x: np.linalg.norm(x, 2), "norm", "singular")
    refused(lambda x: np.linalg.norm(x, "fro", 1), "norm", error=ValueError)
    refused(lambda x: np.linalg.norm(np.stack([x, x]), 1), "norm", error=ValueError)
    refused(lambda x: np.vecdot(x, np.ones(3)), "vecdot", "(3, 4)", "(3,)", error=ValueError)
    refused(lambda x: np.linalg.matrix_power(x, 2), "matrix_power", "(3, 4)", error=ValueError)
