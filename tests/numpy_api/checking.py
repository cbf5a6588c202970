"""The oracle of these tests: NumPy for values, central differences for gradients."""

import numpy as np
import pytest
from replaying import Traced

import fastad as fa
from fastad.tree import flatten

rng = np.random.default_rng(5)
X = rng.uniform(0.3, 0.9, (3, 4))
Y = rng.normal(size=(3, 4))
T = rng.normal(size=(2, 3, 4))
v = rng.normal(size=5)


def leaves(out):
    """The arrays of a result; lists are results of np.split and its kin."""
    return [np.asarray(fa.variable.value_of(a)) for a in flatten(out)[0]]


def inner(xs, ys):
    """The inner product of two lists of arrays."""
    return sum(float(np.sum(x * y)) for x, y in zip(xs, ys, strict=True))


def numeric_pull(f, args, k, seeds, h=1e-6):
    """Central differences of <seeds, f> in argument k."""
    g = np.empty(np.shape(args[k]))
    for i in np.ndindex(g.shape):
        moved = []
        for sign in (1, -1):
            a = [np.array(x, float) for x in args]
            a[k][i] += sign * h
            moved.append(sum(float(np.sum(s * y)) for s, y in zip(seeds, leaves(f(*a)), strict=True)))
        g[i] = (moved[0] - moved[1]) / (2 * h)
    return g


def compare(f, args, rtol=2e-6, atol=2e-7):
    """Value as NumPy's, gradients as central differences, tangents by their inner product with the gradients.

    All arguments are recorded, then each alone.
    """
    want = leaves(f(*[np.array(a, float) for a in args]))
    seeds = [rng.normal(size=w.shape) for w in want]
    numeric = [numeric_pull(f, args, k, seeds) for k in range(len(args))]
    for recorded in [tuple(range(len(args))), *([(k,) for k in range(len(args))] if len(args) > 1 else [])]:

        def g(*some, recorded=recorded):
            full = list(args)
            for k, a in zip(recorded, some, strict=True):
                full[k] = a
            return f(*full)

        value, pull = fa.vjp(g, *[args[k] for k in recorded])
        got = leaves(value)
        assert len(got) == len(want)
        for a, b in zip(got, want, strict=True):
            assert a.shape == b.shape
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)
        template = flatten(value)[1]
        gradients = pull(template(seeds))
        for k, gradient in zip(recorded, gradients, strict=True):
            np.testing.assert_allclose(gradient, numeric[k], rtol=rtol, atol=atol)
        directions = [rng.normal(size=np.shape(args[k])) for k in recorded]
        tangents = leaves(fa.jvp(g, [args[k] for k in recorded], directions)[1])
        assert [t.shape for t in tangents] == [w.shape for w in want]
        np.testing.assert_allclose(inner(seeds, tangents), inner(gradients, directions), rtol=1e-9, atol=1e-11)


def replay(f, args):
    """A trace gives for other arguments what the function does, or sees that it cannot."""
    traced = Traced(f, [np.array(a, float) for a in args], tree=True)
    for other in (args, [np.array(a) * rng.uniform(0.9, 1.1, np.shape(a)) for a in args]):
        got = traced.replay(other)
        if got is not None:
            for a, b in zip(got, leaves(f(*other)), strict=True):
                assert np.shape(a) == np.shape(b)
                np.testing.assert_allclose(np.asarray(a, float), b, rtol=1e-12, atol=1e-13)
        else:
            assert other is not args


def check(f, *args, **tolerances):
    """`compare` on arrays as they are and on views with other strides."""
    compare(f, args, **tolerances)
    replay(f, args)
    if all(np.ndim(a) for a in args):
        compare(lambda *bases: f(*[b.T[::-1] for b in bases]), [np.array(a[::-1].T) for a in args], **tolerances)


def refused(f, *names, error=TypeError, at=None):
    """The call raises and its message has all the names in it."""
    with pytest.raises(error) as caught:
        f(fa.Variable(X if at is None else at))
    assert all(name in str(caught.value) for name in names), str(caught.value)
