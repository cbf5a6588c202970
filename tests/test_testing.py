"""gradcheck: passes what is right, fails what is a little wrong, and is not fooled by kinks, borders and rounding."""
import gc
from collections import namedtuple

import numpy as np
import pytest

import fastad as fa
from fastad.testing import gradient_report

rng = np.random.default_rng(11)


def wrong_by(factor, value=lambda x: x * x, slope=lambda x: 2 * x):
    """An elementwise function whose derivative is off by a factor."""
    @fa.custom_vjp
    def f(x):
        return value(x)

    f.defvjp(lambda x: (value(x), x), lambda x, g: (factor * slope(x) * g,))
    return f


@pytest.mark.parametrize(("f", "args"), [
    (lambda x: x ** 3, (0.7,)),
    (lambda x: x ** 3, (3,)),
    (lambda x: np.sum(np.exp(x) * np.sin(x)), (rng.normal(size=(2, 3)),)),
    (lambda x: np.sum(x * x), (np.ones(3, np.float32),)),
    (lambda x, y: np.outer(x, y), (rng.normal(size=2), rng.normal(size=3))),
    (lambda p: {"a": p["w"] @ p["b"][0], "b": [p["b"][1] ** 2]},
     ({"w": rng.normal(size=(2, 2)), "b": (np.ones(2), 2.0)},)),
    (lambda x: np.log(x), (1e-7,)),                          # the border of the domain is closer than the step
    (lambda x: x ** 1.5, (0.0,)),                            # at the border
    (lambda x: np.sqrt(x), (0.0,)),                          # infinite there
    (lambda x: np.abs(x), (1e-8,)),                          # a kink closer than the step
    (lambda x: np.maximum(x, 0.0), (np.array([0.0, 1e-9, -1e-9, 1.0]),)),
    (lambda x: 1e8 + np.sin(x), (0.3,)),                     # rounding
    (lambda x: 1e-9 * x ** 3, (2.0,)),
    (lambda x: np.exp(x / np.linalg.norm(x)), (rng.normal(size=4),)),
    (lambda x: np.where(x > 0, np.sqrt(np.abs(x)), 0.0), (np.array([1.0, -2.0]),)),
    (lambda x: x * 1e200, (1.0,)),
    (lambda x: 3.0, (1.0,)),
])
def test_what_is_right_passes(f, args):
    assert fa.gradcheck(f, *args) is True


@pytest.mark.parametrize("factor", [1.001, 1.00001, -1.0, 0.0])
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_what_is_a_little_wrong_fails(factor, scale):
    f = wrong_by(factor)
    with pytest.raises(AssertionError, match="relative error"):
        fa.gradcheck(lambda x: np.sum(f(x)) * scale, rng.normal(size=3))
    assert fa.gradcheck(lambda x: np.sum(f(x)) * scale, rng.normal(size=3), raise_exception=False) is False


def test_one_wrong_output_among_many_is_found():
    f = wrong_by(1.001)
    with pytest.raises(AssertionError, match=r"2 of 400 entries differ"):
        fa.gradcheck(lambda x: np.concatenate([1e3 * np.sin(np.repeat(x, 99)), f(x)]), np.array([1.0, 2.0]))


def test_nan_fails():
    f = wrong_by(np.nan)
    assert not fa.gradcheck(f, 1.0, raise_exception=False)


def test_a_wrong_slope_at_a_kink_fails():
    f = wrong_by(1.5, np.abs, np.sign)
    assert not fa.gradcheck(f, 1e-8, raise_exception=False)
    assert not fa.gradcheck(f, np.array([1.0, 2e-6]), raise_exception=False)


def test_a_sign_error_at_an_infinite_slope_fails():
    f = wrong_by(-1.0, np.sqrt, lambda x: 0.5 / np.sqrt(x) if x else np.inf)
    assert not fa.gradcheck(f, 0.0, raise_exception=False)


def test_the_report():
    f = wrong_by(1.1)
    report = gradient_report(lambda p: np.stack([np.sum(p["a"]), f(p["b"])]), {"a": np.ones((1, 2)), "b": 3.0})
    assert not report.passed
    np.testing.assert_allclose(report.worst, 0.1 / 1.1, rtol=1e-6)
    (wrong,) = [e for e in report.entries if not e.ok]
    assert (wrong.argument, wrong.index, wrong.output) == ("0['b']", (), "[1]")
    np.testing.assert_allclose([wrong.analytic, wrong.numeric], [6.6, 6.0], rtol=1e-8)
    assert {(e.argument, e.index) for e in report.entries} == {("0['a']", (0, 0)), ("0['a']", (0, 1)), ("0['b']", ())}
    lines = str(report).splitlines()
    assert "1 of 6 entries differ, largest relative error 9.1e-02" in lines[0]
    assert len(lines) == 3 and "0['b']" in lines[2] and "9.1e-02" in lines[2]
    good = gradient_report(np.sin, 1.0)
    assert good.passed and good.worst < 1e-8 and "1 entries agree" in str(good)


def test_argnums():
    f = wrong_by(1.1)
    both = lambda x, y, text: x * x + f(y)                   # noqa: E731
    assert fa.gradcheck(both, 1.0, 2.0, "no number", argnums=0)
    assert not fa.gradcheck(both, 1.0, 2.0, "no number", argnums=(0, 1), raise_exception=False)
    assert not fa.gradcheck(both, 1.0, 2.0, "no number", argnums=-2, raise_exception=False)
    assert not fa.gradcheck(both, 1.0, 2.0, "no number", raise_exception=False)
    assert fa.gradcheck(lambda x, k: x[k] ** 2, np.ones(3), 1)   # an integer beside floating arguments is no input
    with pytest.raises(ValueError, match="argnums=5"):
        fa.gradcheck(both, 1.0, 2.0, "x", argnums=5)
    with pytest.raises(ValueError, match="none of the arguments"):
        fa.gradcheck(both, "a")


Pair = namedtuple("Pair", "left right")


def test_variables_and_namedtuples_as_arguments():
    assert fa.gradcheck(lambda p: p.left * p.right, Pair(fa.Variable([1.0, 2.0]), 3.0))


def test_functions_that_raise_outside_of_their_domain():
    def f(x):
        if fa.variable.value_of(x) < 0:
            raise ValueError("negative")
        return x ** 2.5

    assert fa.gradcheck(f, 0.0) and fa.gradcheck(f, 1e-9)


def test_nothing_is_left_behind():
    gc.collect()
    before, x = len(fa.tape()), np.arange(3.0)
    assert fa.gradcheck(lambda x: np.sum(x ** 2), x)
    np.testing.assert_array_equal(x, np.arange(3.0))
    assert len(fa.tape()) <= before


def test_second_order():
    f = lambda x: np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2)     # noqa: E731
    assert fa.gradcheck(f, rng.normal(size=3), order=2)
    with pytest.raises(ValueError, match="order=3"):
        fa.gradcheck(f, rng.normal(size=3), order=3)


def test_the_step_can_be_given():
    assert fa.gradcheck(np.sin, 1.0, eps=1e-3)
    assert fa.gradcheck(np.sin, 1.0, eps=1e-6, rtol=1e-5)
