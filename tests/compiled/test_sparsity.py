"""Sparse Jacobians and Hessians: patterns, colourings, and the same numbers as without."""
import numpy as np
import pytest

import fastad as fa
from fastad.compiled import sparsity
from fastad.compiled.sparsity import Pattern, compress_jacobian, compress_symmetric

rng = np.random.default_rng(5)


def pattern(dense):
    """The pattern of a matrix that is given densely."""
    rows, columns = np.nonzero(dense)
    return Pattern(dense.shape, np.searchsorted(rows, np.arange(len(dense) + 1)), columns.astype(np.int32))


def recovered(compressed, dense):
    """A matrix out of the sums of its rows (columns) that the colouring asks for."""
    matrix = dense.T if compressed.by_columns else dense
    sums = compressed.seeds(0.0) @ matrix
    out = np.zeros(dense.shape)
    out.reshape(-1)[compressed.pattern.places] = sums.reshape(-1)[compressed.index]
    return out


def banded(n, width):
    return np.abs(np.subtract.outer(np.arange(n), np.arange(n))) <= width


def arrow(n, at=0):
    dense = np.eye(n, dtype=bool)
    dense[at] = dense[:, at] = True
    return dense


# ---- colourings ----
@pytest.mark.parametrize(("dense", "count"), [
    (banded(30, 1), 3), (banded(30, 3), 7), (np.eye(5, dtype=bool), 1), (arrow(20)[1:], 2), (arrow(20)[:, 1:], 2),
    (np.zeros((3, 4), bool), 1)])
def test_jacobians_are_told_by_few_directions(dense, count):
    found = compress_jacobian(pattern(dense))
    numbers = rng.normal(size=dense.shape) * dense
    assert found.count == count
    np.testing.assert_array_equal(recovered(found, numbers), numbers)


@pytest.mark.parametrize("dense", [np.ones((4, 7), bool), np.ones((7, 4), bool), arrow(20), np.ones((1, 3), bool)])
def test_nobody_looks_for_fewer_directions_where_there_are_none(dense, monkeypatch):
    """A full row and a full column."""
    monkeypatch.setattr(sparsity, "distinct_rows", None)
    assert compress_jacobian(pattern(dense)) is None


@pytest.mark.parametrize(("dense", "count"), [(banded(30, 1), 3), (arrow(20), 2), (arrow(20, 19), 2),
                                              (np.eye(5, dtype=bool), 1), (np.ones((6, 6), bool), 6)])
def test_hessians_are_told_by_fewer(dense, count):
    found = compress_symmetric(pattern(dense))
    numbers = rng.normal(size=dense.shape)
    numbers = (numbers + numbers.T) * dense
    assert found.count == count
    np.testing.assert_array_equal(recovered(found, numbers), numbers)


@pytest.mark.parametrize("seed", range(20))
def test_any_pattern(seed):
    random = np.random.default_rng(seed)
    m, n = random.integers(1, 40, 2)
    dense = random.random((m, n)) < random.choice([0.03, 0.1, 0.4])
    numbers = random.normal(size=(m, n)) * dense
    found = compress_jacobian(pattern(dense))
    if found is None:
        assert min(dense.sum(axis=0).max(), dense.sum(axis=1).max()) >= min(m, n)
    else:
        np.testing.assert_array_equal(recovered(found, numbers), numbers)
    square = random.random((n, n)) < random.choice([0.03, 0.1, 0.4])
    numbers = random.normal(size=(n, n)) * square
    numbers = numbers + numbers.T
    np.testing.assert_array_equal(recovered(compress_symmetric(pattern(square)), numbers), numbers)


def test_no_colouring_where_it_takes_too_long(monkeypatch):
    monkeypatch.setattr(sparsity, "MOST_STEPS", 50)
    assert compress_jacobian(pattern(banded(30, 1))) is None
    assert compress_symmetric(pattern(banded(30, 1))) is None


# ---- patterns ----
def structure(f, x, kind="jacobian"):
    c = fa.compile(f)
    c(x)
    (paths,) = c.cache.values()
    return paths.root.structure(kind)


def dense_pattern(f, x, kind="jacobian"):
    found = structure(f, x, kind)
    if found is None:
        return None
    out = np.zeros(found.pattern.shape, bool)
    out.reshape(-1)[found.pattern.places] = True
    return out


X = np.linspace(0.5, 1.5, 12)

BLOCKS = {
    "map": (lambda x: np.sin(x) * x, np.eye(12)),
    "shifted": (lambda x: x[1:] - x[:-1] ** 2, np.eye(11, 12) + np.eye(11, 12, 1)),
    "scalars": (lambda x: fa.array([x[i] * x[i - 1] for i in range(12)]), np.eye(12) + np.roll(np.eye(12), -1, 1)),
    "rows": (lambda x: np.sum(x.reshape(4, 3), axis=1), np.kron(np.eye(4), np.ones(3))),
    "matmul": (lambda x: (x.reshape(4, 3) @ np.ones((3, 2))).reshape(-1),
               np.kron(np.eye(4), np.ones((2, 3)))),
    "gather": (lambda x: x[np.array([3, 3, 5])] ** 2, np.eye(12)[[3, 3, 5]]),
    "in place": (lambda x: written(x), np.eye(12)[[0, 0, 2]]),
    "no gradient": (lambda x: np.where(x[::-1] > 1.0, x, 2.0 * x), np.eye(12)),
    "nothing": (lambda x: np.sign(x), np.zeros((12, 12))),
}


def written(x):
    y = np.zeros(3) * x[:3]
    y[:2] = x[0]
    y[2] = x[2] * x[2]
    return y


@pytest.mark.parametrize("name", BLOCKS)
def test_patterns(name):
    f, want = BLOCKS[name]
    want = np.asarray(want, bool)
    have = dense_pattern(f, X)
    if name == "in place":                            # 0 * x is no structural zero
        assert (have | ~want).all()
    else:
        np.testing.assert_array_equal(have, want)


@pytest.mark.parametrize("f", [lambda x: np.sum(x) * x, lambda x: np.cumsum(x), lambda x: x * fa.array([sum(x)] * 12)])
def test_what_depends_on_everything_is_dense(f):
    x = rng.normal(size=12)
    np.testing.assert_allclose(fa.compile(f).jacobian(x), fa.jacobian(f)(x), rtol=1e-13, atol=1e-13)


def test_sets_that_grow_too_large_count_as_all(monkeypatch):
    monkeypatch.setattr(sparsity, "LARGE_SET", 2)
    have = dense_pattern(lambda x: fa.array([x[0], x[1] * x[2] * x[3] * x[4], x[5] * x[6]]), X)
    assert have.sum(axis=1).tolist() == [1, 12, 2]


def test_no_pattern_where_it_takes_too_much_room(monkeypatch):
    monkeypatch.setattr(sparsity, "ROOM", 8)
    assert structure(lambda x: x[1:] * x[:-1], X) is None


# ---- the numbers ----
def rosenbrock(x):
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def loop(x):
    s = 0.0
    for i in range(len(x) - 1):
        d = x[i + 1] - x[i] * x[i]
        s = s + 100.0 * d * d + (1.0 - x[i]) * (1.0 - x[i])
    return s


def hub(x):
    return x[0] * np.sum(np.sin(x[1:])) + np.sum(x ** 4)


def coupled(x):
    return np.exp(np.sum(x) * 0.1) * np.prod(x)


def branched(x):
    return np.sum(x ** 3) if x[0] > 0 else np.sum(x[1:] * x[:-1] ** 2)


def piecewise(x):
    return np.sum(np.where(x > 0.0, np.sqrt(np.maximum(x, 0.0)) * x, np.maximum(x, -1.0) ** 2))


@pytest.mark.parametrize("n", [1, 2, 7, 40])
@pytest.mark.parametrize("f", [rosenbrock, loop, hub, coupled, branched, piecewise, lambda x: np.sum(2.0 * x)])
def test_hessians(f, n):
    if f in (rosenbrock, loop) and n == 1:
        return
    c = fa.compile(f)
    for x in (rng.normal(size=n) + 0.1, -rng.random(n), rng.random(n)):
        want = fa.hessian(f)(x)
        for _ in range(2):                            # at last by the short way
            have = c.hessian(x)
            assert have.shape == want.shape
            np.testing.assert_allclose(have, want, rtol=1e-12, atol=1e-12)
        sparse = c.hessian(x, sparse=True)
        np.testing.assert_array_equal(sparse.toarray(), have)
    if f in (rosenbrock, loop, hub) and n == 40:
        assert sparse.nnz == 3 * n - 2


@pytest.mark.parametrize("few", [16, 0], ids=["a program", "lanes"])
@pytest.mark.parametrize("f", [rosenbrock, loop, hub])
def test_programs_and_lanes_have_the_same_bits(monkeypatch, f, few):
    monkeypatch.setattr(sparsity, "MOST_RECORDS", 0)
    x = rng.normal(size=50)
    monkeypatch.setattr(sparsity, "FEW", 0)
    monkeypatch.setattr(sparsity, "compress_symmetric", None)
    plain = fa.compile(f)
    plain(x)
    (paths,) = plain.cache.values()
    paths.root.structures["hessian"] = None           # one lane for each row
    dense = plain.hessian(x)
    assert [program.kind for program in plain.programs] == ["value", "hvp"]
    monkeypatch.undo()
    monkeypatch.setattr(sparsity, "MOST_RECORDS", 0)
    monkeypatch.setattr(sparsity, "FEW", few)
    c = fa.compile(f)
    np.testing.assert_array_equal(c.hessian(x), dense)
    assert c.programs[-1].kind == ("hessian" if few else "hvp")


def test_what_is_infinite_in_one_column_stays_there():
    def f(x):
        return np.sum(np.sqrt(x) ** 3) + np.sum(x[1:] * x[:-1])

    x = np.array([1.0, 4.0, 0.0, 1.0, 9.0, 1.0])
    have = fa.compile(f).hessian(x)
    want = np.diag(0.75 / np.sqrt([1.0, 4.0, 1.0, 1.0, 9.0, 1.0])) + np.eye(6, k=1) + np.eye(6, k=-1)
    at = np.ones((6, 6), bool)
    at[2, 2] = False                                  # inf or nan
    np.testing.assert_allclose(have[at], want[at])
    assert not np.isfinite(have[2, 2])
    residuals = fa.compile(lambda x: np.sqrt(x[1:]) * x[:-1])
    jacobian = residuals.jacobian(x)
    assert np.isinf(jacobian[1, 2])
    jacobian[1, 2] = 0.0
    assert np.isfinite(jacobian).all()
    assert residuals.jacobian(np.where(x == 0.0, np.nan, x))[~banded(6, 1)[:-1]].sum() == 0.0


@pytest.mark.parametrize("most", [1 << 13, 0])
@pytest.mark.parametrize("few", [16, 0])
@pytest.mark.parametrize("f", [lambda x: x[1:] * x[:-1] ** 2, lambda x: x ** 3, lambda x: np.sin(x[:, None] * x[:3]),
                               lambda x: np.concatenate([x[:1] * np.sum(x), x ** 2]), lambda x: np.sum(x ** 2),
                               lambda x: x * np.prod(x)[None]])
def test_jacobians(monkeypatch, f, few, most):
    monkeypatch.setattr(sparsity, "MOST_RECORDS", most)
    monkeypatch.setattr(sparsity, "FEW", few)
    x = rng.normal(size=20)
    c = fa.compile(f)
    want = fa.jacobian(f)(x)
    for _ in range(2):
        have = c.jacobian(x)
        assert have.shape == want.shape
        np.testing.assert_allclose(have, want, rtol=1e-13, atol=1e-13)
    np.testing.assert_array_equal(c.jacobian(x, sparse=True).toarray(), have.reshape(-1, 20))
    X = rng.normal(size=(5, 20))
    np.testing.assert_allclose(c.batch.jacobian(X), [fa.jacobian(f)(row) for row in X], rtol=1e-13, atol=1e-13)


def test_jacobians_of_several_arguments():
    def f(x, y):
        return x[1:] * x[:-1] * y["a"] + np.cos(y["b"])

    x, y = rng.normal(size=30), {"a": rng.normal(size=29), "b": rng.normal(size=29)}
    for have, want in zip(fa.tree.flatten(fa.compile(f, (0, 1)).jacobian(x, y))[0],
                          fa.tree.flatten(fa.jacobian(f, (0, 1))(x, y))[0], strict=True):
        np.testing.assert_allclose(have, want, rtol=1e-14)
    with pytest.raises(TypeError, match="sparse=True needs them in one array"):
        fa.compile(f, (0, 1)).jacobian(x, y, sparse=True)


def test_sparse_jacobians_of_long_arrays():
    n = 20_000
    J = fa.compile(lambda x: x[2:] - 2.0 * x[1:-1] ** 2 + x[:-2]).jacobian(np.ones(n), sparse=True)
    assert J.shape == (n - 2, n)
    assert J.nnz == 3 * (n - 2)
    np.testing.assert_array_equal(J @ np.ones(n), np.full(n - 2, -2.0))


def test_sparse_where_no_numbers_come_out():
    c = fa.compile(lambda x: x ** 2)
    with pytest.raises(TypeError, match="sparse=True gives plain numbers"):
        c.jacobian(fa.Variable(np.ones(3)), sparse=True)


def test_dtypes_and_numbers():
    assert fa.compile(rosenbrock).hessian(np.ones(5, np.float32)).dtype == np.float32
    assert float(fa.compile(lambda x: x ** 3).hessian(2.0)) == 12.0
    assert fa.compile(lambda x: x ** 3).jacobian(np.ones((0,))).shape == (0, 0)


def test_a_matrix_of_a_file(tmp_path):
    c, x = fa.compile(rosenbrock), rng.normal(size=30)
    r = fa.compile(lambda x: x[1:] * x[:-1])
    for f, kind in ((c, "hessian"), (r, "jacobian")):
        want = getattr(f, kind)(x)
        f.save(tmp_path / "f.fad")
        again = fa.load(tmp_path / "f.fad")
        np.testing.assert_array_equal(getattr(again, kind)(x), want)
        np.testing.assert_array_equal(getattr(again, kind)(x, sparse=True).toarray(), want)


def test_programs_of_jacobians_know_their_directions():
    """Columns that do not meet an operation leave it out, and nothing but the captured array is read or compared."""
    t = np.linspace(0.0, 1.0, 200)
    c = fa.compile(lambda p: p[0] * np.exp(-p[1] * t) + t / p[2] + p[3])
    p = np.array([1.0, 2.0, 3.0, 4.0])
    np.testing.assert_allclose(c.jacobian(p), fa.jacobian(c.f)(p), rtol=1e-13)
    program = next(program for program in c.programs if program.kind == "jacobian")
    assert "flow" not in str(program)
    assert [array is t for array, _ in program.evaluator.captures] == [True]
    assert program.evaluator.frozen == []
    operations = np.isin(program.evaluator.code.instructions["kind"], [2, 3, 4])
    assert operations.sum() < 25


def test_tables_of_a_program_are_not_compared():
    c = fa.compile(rosenbrock)
    c.hessian(np.ones(20))
    assert all(not program.evaluator.frozen and not program.evaluator.captures for program in c.programs)


@pytest.mark.parametrize(("f", "kind"), [(rosenbrock, "hessian"), (lambda x: x[1:] * x[:-1], "jacobian")])
def test_sparse_matrices_are_the_callers_own(f, kind):
    """SciPy's methods that work in place leave the program's pattern as it is; short calls give what long ones do."""
    c, x = fa.compile(f), rng.normal(size=30)
    get = getattr(c, kind)
    first = get(x, sparse=True)
    for _ in range(3):
        made = get(x, sparse=True)
        np.testing.assert_array_equal(made.toarray(), get(x))
        assert (made.nnz, made.indices.dtype, made.shape) == (first.nnz, first.indices.dtype, first.shape)
        made.data[::2] = 0.0
        made.eliminate_zeros()
    other = rng.normal(size=31)
    np.testing.assert_array_equal(get(other, sparse=True).toarray(), get(other))
    np.testing.assert_array_equal(get(x, sparse=True).toarray(), get(x))


def test_a_dense_matrix_as_a_sparse_one():
    c = fa.compile(lambda x: np.cumsum(x ** 2) * np.sum(x))
    for _ in range(3):
        np.testing.assert_array_equal(c.jacobian(np.arange(4.0), sparse=True).toarray(), c.jacobian(np.arange(4.0)))
