"""debug_nan names the first operation that goes wrong, its operands and its line."""
import linecache
import re
import threading
import warnings

import numpy as np
import pytest

import fastad as fa


def marked(word):
    """The number of the line in this file that ends in a comment."""
    lines = linecache.getlines(__file__)
    return next(k for k, text in enumerate(lines, 1) if text.rstrip().endswith(f"# {word}"))


def spoilt(x):
    y = np.exp(x)
    z = np.log(y - 1.0)  # log
    return np.sum(z * 2.0)


def check(error, phase, operation, word):
    assert (error.phase, error.operation) == (phase, operation)
    assert (error.place.file, error.place.line) == (__file__, marked(word))
    assert f'File "{__file__}", line {marked(word)}' in str(error)


def test_values_of_numbers():
    x = fa.Variable(0.0, name="x")
    assert np.isneginf(spoilt(x).item())              # nobody watches
    with fa.debug_nan(), pytest.raises(fa.NonFiniteError, match="log gave -inf") as caught:
        spoilt(x)
    check(caught.value, "value", "log", "log")
    assert "operand 1: 0" in str(caught.value)
    assert issubclass(fa.NonFiniteError, FloatingPointError)
    assert np.isneginf(spoilt(x).item())


def test_values_of_arrays():
    x = fa.Variable([[1.0, 2.0], [3.0, -4.0]], name="x")
    with fa.debug_nan(), pytest.raises(fa.NonFiniteError) as caught:
        x * np.array([1.0, 2.0]) + np.sqrt(x)
    text = str(caught.value)
    assert "sqrt gave nan in 1 of 4 elements, first in [1, 1]" in text
    assert "operand x: [1 2 3 -4], shape (2, 2), there -4" in text
    with fa.debug_nan(), pytest.raises(fa.NonFiniteError, match=r"there 0") as caught:
        x / fa.Variable([1.0, 0.0])
    assert "divide gave inf in 2 of 4 elements, first in [0, 1]" in str(caught.value)


@pytest.mark.parametrize("function", [
    lambda x: x @ np.array([[np.inf, 1.0], [1.0, 1.0]]),
    lambda x: np.concatenate([x, x]).sum() * np.inf,
    lambda x: fa.array([x[0], x[1] * np.nan]),
    lambda x: np.max(x * np.nan),
    lambda x: np.linalg.norm(np.einsum("i,j->ij", x, np.array([1.0, np.nan]))),
    lambda x: np.where(x > 1.0, np.log(x - 1.0), x),
    lambda x: np.prod(x * np.array([1e308, 1e308])),
    lambda x: fa.special.gammaln(x - 1.0),
], ids=["matmul", "scaled", "pieces", "max", "einsum", "where", "prod", "scipy"])
def test_every_kind_of_operation(function):
    x = fa.Variable([1.0, 2.0])
    with fa.debug_nan(), pytest.raises(fa.NonFiniteError):
        function(x)
    with fa.debug_nan():
        assert (x * 2.0).sum().item() == 6.0          # the tape goes on


def cusp(x):
    y = np.sqrt(x)  # sqrt
    z = y * y
    return np.sum(z)


def test_gradients_know_the_line_of_the_record():
    x = fa.Variable(0.0)
    with fa.debug_nan():
        y = cusp(x)
        with pytest.raises(fa.NonFiniteError) as caught:
            y.backward()
    check(caught.value, "gradient", "sqrt", "sqrt")
    assert "upstream gradient: 0" in str(caught.value) and "local derivatives: inf" in str(caught.value)


@pytest.mark.parametrize("run", [
    lambda x: fa.grad(cusp)(x),
    lambda x: fa.compile(cusp).grad(x),
    lambda x: fa.compile(cusp).value_and_grad(x, out=np.empty(2)),
    lambda x: fa.hessian(cusp)(x),
    lambda x: fa.jacobian(lambda x: np.stack([cusp(x), cusp(x)]))(x),
    lambda x: fa.compile(cusp).hvp(x, x),
    lambda x: fa.vjp(cusp, x)[1](1.0),
], ids=["grad", "compiled", "compiled out", "hessian", "jacobian", "hvp", "vjp"])
def test_transforms_and_compiled_functions(run):
    with fa.debug_nan(), pytest.raises(fa.NonFiniteError) as caught:
        run(np.array([1.0, 0.0]))
    check(caught.value, "gradient", "sqrt", "sqrt")


def test_compiled_values():
    f = fa.compile(spoilt)
    good, bad = np.array([1.0, 2.0]), np.array([1.0, 0.0])
    assert np.isfinite(f(good)) and np.isneginf(f(bad))
    with fa.debug_nan():
        np.testing.assert_allclose(f(good), np.sum(2.0 * np.log(np.exp(good) - 1.0)))
        assert f.grad(good).shape == (2,)
        with pytest.raises(fa.NonFiniteError) as caught:
            f(bad)
        with pytest.raises(fa.NonFiniteError):
            f(fa.Variable(bad))
    check(caught.value, "value", "log", "log")
    assert np.isneginf(f(bad))


def test_batches_and_bound_evaluators():
    f = fa.compile(spoilt)
    good, bad = np.array([1.0, 2.0]), np.array([1.0, 0.0])
    bound = f.bind(good)
    rows = np.stack([good, bad])
    values, gradients = f.batch.value_and_grad(np.stack([good, good]))
    with fa.debug_nan():
        assert bound(good) == values[0]
        np.testing.assert_array_equal(bound.gradient, gradients[0])
        np.testing.assert_allclose(f.batch(np.stack([good, good])), values)
        for run in (lambda: bound(bad), lambda: f.batch(rows), lambda: f.batch.value_and_grad(rows),
                    lambda: f.batch.jacobian(rows)):
            with pytest.raises(fa.NonFiniteError) as caught:
                run()
            check(caught.value, "value", "log", "log")
    assert np.isneginf(bound(bad)) and np.isneginf(f.batch(rows)[1])


def test_jacobians_of_batches_are_those_without():
    f = fa.compile(lambda x, p: np.exp(p["a"] * x) + p["b"], argnums=(1, 0))
    args = np.arange(6.0).reshape(2, 3), {"a": np.ones((2, 3)), "b": np.array([1.0, 2.0])}
    with fa.debug_nan():
        found = f.batch.jacobian(*args)
    want = f.batch.jacobian(*args)
    for have, wanted in zip(fa.tree.flatten(found)[0], fa.tree.flatten(want)[0], strict=True):
        np.testing.assert_allclose(have, wanted)


def test_descents_of_compiled_functions():
    """A descent that would run in C runs where every operation is seen."""
    f = fa.compile(lambda x: np.sum(np.sqrt(x)))
    fa.minimize(f, np.array([1.0, 2.0]), lr=0.01, max_iter=3)
    with fa.debug_nan():
        for run in (lambda: fa.minimize(f, np.array([0.3, 2.0]), lr=0.5, max_iter=50),
                    lambda: fa.minimize_many(f, np.array([[0.3, 2.0], [1.0, 1.0]]), method="gd", lr=0.5, max_iter=50),
                    lambda: fa.minimize(f, np.array([0.3, 2.0]), method="scipy:CG")):
            with pytest.raises(fa.NonFiniteError) as caught:
                run()
            assert caught.value.operation == "sqrt"
    assert not fa.minimize(f, np.array([0.3, 2.0]), lr=0.5, max_iter=50).success


def loaded(f, *args, tmp_path):
    """A compiled function after it was saved and loaded, with programs for all that it can do with these arguments."""
    c = fa.compile(f)
    c(*args)
    c.grad(*args)
    c.hessian(*args)
    c.save(tmp_path / "f.fad")
    return fa.load(tmp_path / "f.fad")


def measured(x):
    """An array operation and a loop over numbers."""
    y, s = np.log(x), 0.0
    for i in range(3):
        s = s + fa.sqrt(x[i]) * y[i]
    return s + np.sum(np.exp(y))


GOOD, BAD = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 0.0, 3.0, 4.0])


@pytest.mark.parametrize("run", [
    lambda f: f(BAD), lambda f: f.grad(BAD), lambda f: f.value_and_grad(BAD), lambda f: f.hessian(BAD),
    lambda f: f.bind(GOOD)(BAD), lambda f: f.batch(np.stack([GOOD, BAD])),
    lambda f: f.batch.grad(np.stack([GOOD, BAD])),
], ids=["value", "grad", "value_and_grad", "hessian", "bind", "batch", "batch.grad"])
def test_a_loaded_function_names_the_instruction(run, tmp_path):
    f = loaded(measured, GOOD, tmp_path=tmp_path)
    with pytest.raises(fa.NonFiniteError) as caught, fa.debug_nan():
        run(f)
    error = caught.value
    assert (error.operation, error.place, error.phase) == ("log", None, "value")
    head, where, instruction, operand = str(error).splitlines()
    assert head == "log gave -inf in 1 of 4 elements, first in [1]"
    assert re.fullmatch(r"  instruction \d+ of the program \(\w+\) of measured, .* has no lines:", where)
    assert re.fullmatch(r"    line s[.\d]* = log\(s[.\d]*\)", instruction)
    assert operand == "  operand 1: [1 0 3 4], shape (4,), there 0"
    with fa.debug_nan():
        assert np.isfinite(f(GOOD)) and np.isfinite(f.grad(GOOD)).all() and np.isfinite(f.hessian(GOOD)).all()
    assert np.isnan(f(-BAD))


def test_descents_of_loaded_functions(tmp_path):
    f = loaded(measured, GOOD, tmp_path=tmp_path)
    with pytest.raises(fa.NonFiniteError, match="sqrt gave nan"), fa.debug_nan():
        fa.minimize(f, GOOD, lr=10.0)
    with pytest.raises(fa.NonFiniteError, match="log gave -inf"), fa.debug_nan():
        fa.minimize_many(f, np.stack([BAD, GOOD]))


def test_gradients_of_loaded_functions(tmp_path):
    """Infinite derivatives that nothing is multiplied with are none of the function's."""
    f = loaded(lambda x: np.sum(np.where(x > 1.0, np.sqrt(x), 2.0)), GOOD, tmp_path=tmp_path)
    with fa.debug_nan():
        np.testing.assert_array_equal(f.grad(BAD), [0.0, 0.0, 0.5 / np.sqrt(3.0), 0.25])
    f = loaded(lambda x: np.sum(np.sqrt(x)), GOOD, tmp_path=tmp_path)
    with fa.debug_nan():
        f(BAD)
    with pytest.raises(fa.NonFiniteError, match="inf") as caught, fa.debug_nan():
        f.grad(BAD)
    assert caught.value.phase == "gradient"


def test_warnings_of_loaded_functions(tmp_path):
    f = loaded(measured, GOOD, tmp_path=tmp_path)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with fa.debug_nan(warn=True):
            f.batch(np.stack([BAD, BAD]))
    assert len(seen) == 1 and str(seen[0].message).startswith("log gave -inf")


def test_what_is_not_selected_has_no_gradient():
    x = fa.Variable([0.0, 4.0])
    with fa.debug_nan():
        y = np.sum(np.where(x > 0.0, np.sqrt(x), 0.0))
        y.backward()
        h = fa.hessian(lambda x: np.sum(np.where(x > 0.0, np.sqrt(x), 0.0)))(np.array([0.0, 4.0]))
    np.testing.assert_array_equal(x.grad, [0.0, 0.25])
    np.testing.assert_allclose(h, [[0.0, 0.0], [0.0, -1.0 / 32.0]])


def test_seeds_and_hooks_are_named():
    x = fa.Variable(2.0)
    with fa.debug_nan():
        y = x * x * x
        with pytest.raises(fa.NonFiniteError, match="from a seed or a hook"):
            y.backward(seed=np.nan)
        y = x * x
        y.register_hook(lambda g: g * np.inf)
        with pytest.raises(fa.NonFiniteError, match=r"seed or a hook|passes on"):
            (y * 3.0).backward()


def test_infinity_may_be_allowed():
    x = fa.Variable([0.0, 1.0])
    with fa.debug_nan(inf=False):
        y = np.log(x)
        with pytest.raises(fa.NonFiniteError, match="nan"):
            y - y


def test_warnings_come_once():
    x = fa.Variable(0.0)
    with fa.debug_nan(warn=True), warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        y = fa.log(x) * 2.0 + x  # warned
        y.backward()
    assert [w.category for w in seen] == [RuntimeWarning] * 2
    assert all((w.filename, w.lineno) == (__file__, marked("warned")) for w in seen)
    assert x.grad == np.inf


def test_nesting_and_decorators():
    x = fa.Variable(0.0)

    @fa.debug_nan()
    def f(depth):
        return f(depth - 1) if depth else fa.log(x)

    with pytest.raises(fa.NonFiniteError):
        f(3)
    fa.log(x)
    with fa.debug_nan():
        with fa.debug_nan(inf=False):
            y = fa.log(x)
        with pytest.raises(fa.NonFiniteError, match=r"recorded before|File"):
            y.backward()
        with pytest.raises(fa.NonFiniteError):
            fa.log(x)


def test_older_records_have_no_line():
    x = fa.Variable(0.0)
    y = fa.sqrt(x)
    with fa.debug_nan(), pytest.raises(fa.NonFiniteError, match="recorded before") as caught:
        y.backward()
    assert caught.value.place is None


def test_it_holds_for_one_thread():
    found = []
    with fa.debug_nan():
        thread = threading.Thread(target=lambda: found.append(fa.log(fa.Variable(0.0)).item()))
        thread.start()
        thread.join()
    assert found == [-np.inf]


def test_loops_and_lines_stay_together():
    """Records that are cut off take their lines with them."""
    x = fa.Variable([1.0, 2.0])
    older = [np.exp(x)]
    n = fa.tape().n_collections
    with fa.debug_nan():
        for _ in range(200):
            loss = np.sum(np.exp(x) * x)
            loss.backward()
            x.zero_grad()
        for _ in range(20_000):                       # the tape is compacted, since the last four always live
            older = [*older[-3:], np.exp(x)]
        y = np.sum(np.sqrt(x - 1.0))  # again
        with pytest.raises(fa.NonFiniteError) as caught:
            y.backward()
    check(caught.value, "gradient", "sqrt", "again")
    assert fa.tape().n_collections > n
    np.sum(older[0]).backward()
    np.testing.assert_array_equal(x.grad, np.exp([1.0, 2.0]))
