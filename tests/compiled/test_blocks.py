"""fastad.compiled.passes.blocks: operations on arrays that are known, done already, or the identity."""
import numpy as np
import pytest
from comparing import agree, program, rng

import fastad as fa

X = [rng.normal(size=20) for _ in range(3)]
EDGES = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 5e-324, 1e308, 2.0] * 2)

#: What the pass may remove, as functions of a vector: results are the same to the last bit.
IDENTITIES = {
    "x * 1": lambda x: x * 1.0,
    "1 * x": lambda x: 1.0 * x,
    "x / 1": lambda x: x / 1.0,
    "x ** 1": lambda x: x ** 1.0,
    "x - 0": lambda x: x - 0.0,
    "x + -0": lambda x: x + (-0.0),
    "-0 + x": lambda x: -0.0 + x,
    "+x": lambda x: +x,
}
#: And what it must leave: it would be wrong for signed zeros, infinities or nan.
NO_IDENTITIES = {
    "x + 0": lambda x: x + 0.0,
    "x - -0": lambda x: x - (-0.0),
    "x * 0": lambda x: x * 0.0,
    "x - x": lambda x: x - x,
    "x / x": lambda x: x / x,
    "0 - x": lambda x: 0.0 - x,
    "x * -1": lambda x: x * -1.0,
    "0 / x": lambda x: 0.0 / x,
    "x ** 0": lambda x: x ** 0.0,
}


def vector_of(f):
    """A program whose output shows the bits of f, zeros with their signs."""
    return lambda x: (np.sum(np.copysign(1.0, f(x)) * np.arange(1.0, 21.0))
                      + np.sum(np.where(np.isfinite(f(x)), f(x), 0.0) * x[5]))


@pytest.mark.parametrize("f", [*IDENTITIES.values(), *NO_IDENTITIES.values()], ids=[*IDENTITIES, *NO_IDENTITIES])
def test_bits_of_identities(f):
    agree(vector_of(f), *X, EDGES, -EDGES, bits=True)


@pytest.mark.parametrize("f", IDENTITIES.values(), ids=IDENTITIES)
def test_identities_are_gone(f):
    c = agree(lambda x: np.sum(np.sin(f(x) * 3.0)), *X)
    assert program(c, "value").statistics["blocks"]["identities"] >= 1


@pytest.mark.parametrize("f", NO_IDENTITIES.values(), ids=NO_IDENTITIES)
def test_nothing_else_is_gone(f):
    c = fa.compile(lambda x: np.sum(np.sin(f(x))))
    c(X[0])
    assert program(c, "value").statistics["blocks"]["identities"] == 0


def test_the_same_twice_is_computed_once():
    c = agree(lambda x: np.sum(np.sin(x) * np.arange(20.0)) + np.sum(np.sin(x) ** 2), *X)
    assert program(c, "value").statistics["blocks"]["shared"] == 1


@pytest.mark.parametrize("f", [lambda x: x * 1.0, np.sin], ids=["identity", "shared"])
@pytest.mark.parametrize("look", [lambda y: y[::-1], lambda y: y[::-2], lambda y: y[3:7][::-1],
                                  lambda y: y.reshape(4, 5).T,
                                  lambda y: np.broadcast_to(y[4], 20), lambda y: y[[3, 1, 1]], lambda y: y[19]])
def test_views_of_what_is_gone(f, look):
    agree(lambda x: np.sum(f(x)) + np.sum(look(f(x)) ** 2 * 2.0), *X)


def test_an_array_of_parts_that_are_gone():
    agree(lambda x: np.sum(np.concatenate([x[:3] + 1, x[3:6] * 1.0, x[2:5] * 2, x[2:5] * 2]) ** 3 * np.arange(12.0)),
          *X)
    agree(lambda x: np.sum(np.where(np.isfinite(x * 1.0), x * 1.0, 0.0) * x[5]), *X, EDGES, -EDGES)
    agree(lambda x: np.sum(np.stack([x * 1.0, np.sin(x), np.sin(x)])[::-1] ** 3 * np.arange(60.0).reshape(3, 20)), *X)


def test_empty_and_single():
    agree(lambda x: np.sum(x * 1.0) + np.sum(x[:0] * 2.0), *[np.ones(n) for n in (0, 1, 2)], np.ones((1, 1)),
          np.ones((2, 0)))
    agree(lambda x: np.sin(x * 1.0) * x, np.array(2.0), np.array(3.0))
