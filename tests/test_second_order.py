"""Derivatives of derivatives: the recorded sweep, create_graph, nested transforms, hvp, hessian."""
import gc
import math
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_ops import exact, higher, mp, samples

import fastad as fa
from fastad import variable

rng = np.random.default_rng(11)


@pytest.fixture(autouse=True)
def numerics():
    with mp.workdps(110), np.errstate(all="ignore"):
        yield


def close(a, b, tol=1e-10):
    np.testing.assert_allclose(np.asarray(a, float), np.asarray(b, float), rtol=tol, atol=tol)


def differences(f, x, v, h=1e-6):
    """The Hessian of f times v by differences of gradients."""
    g = fa.grad(f)
    return (g(x + h * v) - g(x - h * v)) / (2 * h)


def replayable_hvp(f, x, v):
    """hvp over a sweep that records selections, as compiled functions need it."""
    inputs = fa.transforms.Inputs("test", 0, [x])
    out = inputs.call(f, {})
    gradient = variable.recorded_pull([out], [1.0], inputs.variables, True)
    return inputs.pull(gradient, [v])[0]


def nth(f, order):
    for _ in range(order):
        f = fa.grad(f)
    return f


# ---- the rows of the table -----------------------------------------------------------------------------------
ROWS = [op for op in fa.ops.OPS if op.differentiable and op.name not in fa.ops.INTERNAL]


def row(op):
    return getattr(fa, op.name)


def along(op, args, k):
    """The row as a function of its k-th argument."""
    def f(t):
        return row(op)(*args[:k], t, *args[k + 1:])
    return f


@pytest.mark.parametrize("op", ROWS, ids=lambda op: op.name)
def test_second_derivatives_of_rows(op):
    for args in samples(op.name)[:30]:
        _, gradient, hessian = exact(op.name, args)
        scale = max(abs(float(g)) for g in gradient)
        for k in range(op.arity):
            if (op.name, k) in {("zeta", 0), ("polygamma", 0)}:
                continue                              # nan by convention
            want = float(mp.re(hessian[k][k]))
            got = nth(along(op, args, k), 2)(args[k])
            assert abs(got - want) <= 1e-10 * max(abs(want), scale) + 1e-290, (args, k, got, want)


@pytest.mark.parametrize("op", ROWS, ids=lambda op: op.name)
def test_third_derivatives_and_blocks_of_rows(op):
    """The third derivative of scalars against that of the table's own expressions; blocks and scalars agree."""
    points = samples(op.name)[:12]
    for k in range(op.arity):
        if (op.name, k) in {("zeta", 0), ("polygamma", 0)}:
            continue
        scalars = np.array([nth(along(op, args, k), 3)(args[k]) for args in points])
        for args, got in zip(points, scalars, strict=True):
            want, lower = higher(op, args, "xy"[k] * 3), higher(op, args, "xy"[k] * 2)
            allowed = 1e-6 * max(abs(want), abs(lower)) + 1e-290
            assert abs(got - want) <= allowed or math.isnan(want), (args, k, got, want)
        columns = [np.array(c) for c in zip(*points, strict=True)]
        f = along(op, columns, k)
        for _ in range(3):
            f = (lambda g: lambda x: fa.grad(lambda t: np.sum(g(t)))(x))(f)
        np.testing.assert_allclose(f(columns[k]), scalars, rtol=1e-9, atol=1e-9 * np.max(np.abs(scalars)) + 1e-300)


def test_mixed_derivatives_of_rows():
    for op in ROWS:
        if op.arity == 2 and op.name not in ("zeta", "polygamma"):
            for args in samples(op.name)[:8]:
                xy = fa.grad(lambda x, y, op=op: fa.grad(row(op), 1)(x, y), 0)(*args)
                yx = fa.grad(lambda x, y, op=op: fa.grad(row(op), 0)(x, y), 1)(*args)
                scale = max(abs(float(g)) for g in exact(op.name, args)[1])
                assert abs(xy - float(exact(op.name, args)[2][0][1])) <= 1e-7 * max(abs(xy), scale) + 1e-290
                assert abs(xy - yx) <= 1e-8 * max(abs(xy), scale) + 1e-290, (op.name, args, xy, yx)


@pytest.mark.parametrize(("f", "x", "want"), [
    (fa.sinc, 0.0, -math.pi**2 / 3), (fa.tanh, 0.0, 0.0), (fa.tanh, 800.0, 0.0), (fa.sigmoid, -800.0, 0.0),
    (fa.softplus, 1000.0, 0.0), (lambda x: x ** 2, 0.0, 2.0), (lambda x: x ** 3, -2.0, -12.0),
    (lambda x: x ** 1, 0.0, 0.0), (lambda x: x ** 0, 0.0, 0.0), (fa.sqrt0, 0.0, 0.0), (fa.absolute, 0.0, 0.0),
    (fa.relu, 0.0, 0.0), (fa.relu, -1.0, 0.0), (fa.relu, 2.0, 0.0),
    (lambda x: fa.maximum(x, x * x), 1.0, 1.0), (lambda x: fa.maximum(x * x, 1.0), 3.0, 2.0),
    (fa.expm1, -40.0, math.exp(-40)), (lambda x: fa.hypot(x, 0.0), 0.0, 0.0), (lambda x: x ** 2.5, 0.0, 0.0),
])
def test_special_points(f, x, want):
    assert nth(f, 2)(x) == pytest.approx(want, rel=1e-13, abs=1e-300)
    block = fa.hvp(lambda z: np.sum(f(z)), np.array([x, x]), np.array([1.0, 0.0]))
    np.testing.assert_allclose(block, [want, 0.0], rtol=1e-13, atol=1e-300)
    assert replayable_hvp(f, x, np.ones(())) == pytest.approx(want, rel=1e-13, abs=1e-300)


# ---- structural zeros --------------------------------------------------------------------------------------------
def test_what_is_not_selected_stays_nothing_at_every_order():
    f = lambda x: np.where(x > 0, np.sqrt(x), 0.0)                 # noqa: E731
    for order in (1, 2, 3, 4):
        assert nth(f, order)(0.0) == 0.0
    x = np.array([0.0, 4.0])
    close(fa.hessian(lambda x: np.sum(f(x)))(x), [[0.0, 0.0], [0.0, -1 / 32]])
    g = lambda x: np.where(x >= 0, x ** 3, np.sqrt(-x))            # noqa: E731
    assert [nth(g, n)(1.0) for n in (1, 2, 3, 4)] == [3.0, 6.0, 6.0, 0.0]
    close(replayable_hvp(lambda x: np.sum(f(x)), x, np.array([1.0, 2.0])), [0.0, -1 / 16])
    root = lambda x: np.sqrt(x) * np.sqrt(x)                       # noqa: E731  no selection: never a silent 0
    with np.errstate(all="ignore"):
        assert math.isnan(nth(root, 2)(0.0))


def test_nothing_does_not_come_back_through_matrices():
    A = np.array([[1.0, 2.0], [3.0, 4.0]])

    def f(x):
        rows = np.sqrt(x)[:, None] * A                             # the slope of the first row is infinite
        return np.sum(np.where([[False], [True]], rows @ x.reshape(2, 1) + rows @ A, 0.0) ** 2)

    x, v = np.array([0.0, 2.0]), np.array([0.0, 1.0])
    for got in (fa.hvp(f, x, v), replayable_hvp(f, x, v)):
        assert np.isfinite(got[1])
        close(got[1], (fa.grad(f)(x + 1e-6 * v) - fa.grad(f)(x - 1e-6 * v))[1] / 2e-6, 1e-6)
    B = np.array([[np.inf, 1.0], [0.0, 1.0]])
    h = lambda x: np.sum(np.where([True, False], x ** 3, B @ x))   # noqa: E731
    for got in (fa.hvp(h, x + 1, v + 1), replayable_hvp(h, x + 1, v + 1)):
        close(got, [6.0, 0.0])


def test_ties_share_at_second_order():
    x = np.array([2.0, 2.0, 1.0])
    close(fa.grad(lambda x: np.max(x) ** 2)(x), [2.0, 2.0, 0.0])
    close(fa.hessian(lambda x: np.max(x) ** 2)(x), [[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 0.0]])
    close(fa.hvp(lambda x: np.sum(np.maximum(x, x[::-1]) ** 2), np.array([1.0, 1.0]), np.array([1.0, 0.0])), [1.0, 1.0])
    close(fa.hessian(np.linalg.norm)(np.zeros(3)), np.zeros((3, 3)))


def test_a_gradient_reads_zero_where_nothing_was_selected():
    x = fa.Variable([1.0, -1.0])
    np.sum(fa.relu(x)).backward(create_graph=True)
    assert not np.signbit(x.grad.value).any()
    np.testing.assert_array_equal(x.grad.value, [1.0, 0.0])


# ---- structures --------------------------------------------------------------------------------------------------
A = rng.normal(size=(4, 4))
STACK = rng.normal(size=(3, 2, 2))


def writes(x):
    y = x * x
    y[1] = y[0] * x[2]
    z = np.sin(y)
    y[1:3] = z[:2] * x[1]
    y[np.array([0, 3, 0])] = x[:3] * x[1]
    y *= x
    return np.sum(y * z)


def overlapping_writes(x):
    y = np.outer(x, x * x)
    y[:2, ::2] = y[2:, 1::2] * x[0]
    y.T[1] = x ** 3
    y[0, 0], y[1, 1] = y[1, 1], y[0, 0]
    return np.sum(y ** 2 * A)


STRUCTURES = {
    "slices": lambda x: np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2),
    "loop": lambda x: sum((x[i] * x[i + 1] * fa.sin(x[i]) for i in range(3)), 0.0),
    "matrix-vector": lambda x: np.sum(np.tanh(A @ x) * x),
    "matrices": lambda x: np.sum((x.reshape(2, 2) @ np.exp(x.reshape(2, 2)).T) ** 2),
    "stack": lambda x: np.sum((STACK @ x.reshape(2, 2)) ** 3) + np.sum(np.matmul(x.reshape(2, 2), STACK * x[0]) ** 2),
    "stacks": lambda x: np.sum(np.matmul(STACK * x[1], np.sin(STACK) * x[2]) ** 2),
    "einsum": lambda x: np.sum(np.einsum("ij,jk,ik->i", x.reshape(2, 2), A[:2, :3] * x[0], A[2:, :3]) ** 2),
    "where": lambda x: np.sum(np.where(x > 0.5, x ** 3, np.sin(x))),
    "relu": lambda x: np.sum(fa.relu(A @ (fa.relu(A @ x) * x)) * x),
    "max": lambda x: np.max(x * x) * x[0],
    "ties": lambda x: np.max(np.where(x > 0.5, 3.0 * x[0], x * x)) * x[1] * x[1],
    "take": lambda x: np.sum(x[np.array([0, 0, 1, 1, 1, 2, 3, 3, 3])] ** 3 * np.arange(9.0)),
    "take some": lambda x: np.sum(x[np.array([0, 1, 1])] ** 3) * np.sum(x[[2, 3, 3, 3, 2, 2, 2]] ** 2),
    "bincount": lambda x: np.sum(np.bincount([0, 1, 1, 0], weights=x * x) ** 2),
    "outer": lambda x: np.sum(np.outer(x, x * x) * A),
    "broadcast": lambda x: np.sum((x[:, None] * x[None, :] * x[0]) ** 2 * np.exp(x[1])),
    "scalar broadcast": lambda x: np.sum(np.exp(A * x[0]) / x[1]) + np.sum(A ** 2 * x[2] ** 3),
    "transposed": lambda x: np.sum((x.reshape(2, 2).T * x.reshape(2, 2)) ** 2),
    "windows": lambda x: np.sum(np.lib.stride_tricks.sliding_window_view(x, 2) ** 3 * np.array([1.0, 2.0])),
    "diagonal": lambda x: np.sum(np.diagonal(np.outer(x, x)) ** 2) + np.trace(np.outer(x, x * x)),
    "join": lambda x: np.sum(np.concatenate([x, x[::-1] * x]) ** 2 * np.arange(8.0)),
    "stack up": lambda x: np.sum(np.stack([x, x * x], axis=1) ** 3),
    "pad": lambda x: np.sum(np.pad(x, 1) ** 2 * np.arange(6.0)) + np.sum(np.roll(x, 1) * x * x),
    "pack": lambda x: np.sum(fa.array([x[0] * x[1], x[1], 2.0, x[1] * x[3]]) ** 3),
    "sort": lambda x: np.sum(np.sort(x * np.array([3.0, 1.1, 2.3, 0.7])) ** 2 * np.arange(4.0) * x),
    "variance": lambda x: np.var(x) * np.mean(x ** 2) + np.std(x * x),
    "norm": lambda x: np.linalg.norm(x * x),
    "maximum": lambda x: np.sum(np.maximum(x, x[::-1] * 1.1) ** 3),
    "median": lambda x: np.median(x * x) ** 2,
    "prod": lambda x: np.prod(x) + np.sum(np.prod(x.reshape(2, 2) * x[0], axis=0) ** 2),
    "prod at zeros": lambda x: np.prod(x - np.array([0.7, 0.0, 0.3, 0.0])),
    "cumprod": lambda x: np.sum(np.cumprod(x) ** 2 * np.array([1.0, 2.0, -3.0, 4.0])),
    "cumsum": lambda x: np.sum(np.cumsum(x ** 3) * x),
    "logsumexp": lambda x: fa.logsumexp(x * x) + np.sum(fa.softmax(x) * x),
    "in place": writes,
    "in place, overlapping": overlapping_writes,
    "linear": lambda x: np.sum(A @ x),
    "used twice": lambda x: np.sum(x * x * x) + np.sum(x ** 2),
    "constant part": lambda x: np.sum(x[:2] ** 2) + np.sum(x[2:]),
}


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("replayable", [False, True])
def test_structures(name, replayable):
    f = STRUCTURES[name]
    x, v = np.array([0.7, 1.4, 0.3, 0.9]), np.array([1.0, -0.5, 0.3, 0.2])
    got = replayable_hvp(f, x, v) if replayable else fa.hvp(f, x, v)
    close(got, differences(f, x, v), 3e-6)


@pytest.mark.parametrize("name", ["slices", "matrix-vector", "einsum", "where", "prod", "cumprod", "in place", "stack"])
def test_third_order_of_structures(name):
    f = STRUCTURES[name]
    x, v = np.array([0.7, 1.4, 0.3, 0.9]), np.array([1.0, -0.5, 0.3, 0.2])
    g = lambda x: np.sum(fa.hvp(f, x, v) * v)                          # noqa: E731
    close(fa.grad(g)(x), [(g(x + h) - g(x - h)) / 2e-6 for h in 1e-6 * np.eye(4)], 2e-5)


def test_large_matrices_go_through_blas():
    W, X = rng.normal(size=(40, 30)), rng.normal(size=(30, 50))
    f = lambda w: np.sum(fa.relu(w @ X) ** 2)                          # noqa: E731
    V = rng.normal(size=W.shape)
    close(fa.hvp(f, W, V), differences(f, W, V), 1e-4)
    close(replayable_hvp(f, W, V), fa.hvp(f, W, V))


@st.composite
def programs(draw):
    """Random programs over a few scalars and a vector, as instructions."""
    kinds = st.sampled_from(["add", "mul", "sin", "div", "view", "sum", "write", "max", "dot", "sel"])
    return draw(st.lists(st.tuples(kinds, st.integers(0, 40), st.integers(0, 40)), min_size=3, max_size=25))


def run(program, x):
    pool = [x, x * 0.5 + 0.1]
    for what, i, j in program:
        a, b = pool[i % len(pool)], pool[j % len(pool)]
        if what == "add":
            out = a + b
        elif what == "mul":
            out = a * b * 0.5
        elif what == "sin":
            out = np.sin(a)
        elif what == "div":
            out = a / (1.5 + b * b)
        elif what == "view":
            out = a[::-1] if np.ndim(a) else x[j % 4:]
            out = np.concatenate([out, out])[:4] if np.size(out) < 4 else out
            out = np.sum(out) * 0.2 + x if np.shape(out) != (4,) else out
        elif what == "sum":
            out = np.sum(a) * 0.3
        elif what == "write":
            out = a * 1.0 + x * 0.1
            out[j % 4] = b[i % 4] if np.ndim(b) else b
            out[1:3] = np.cos(out[:2])
        elif what == "max":
            out = np.maximum(a, np.sin(b) + 0.01)
        elif what == "dot":
            out = (a + x) @ np.tanh(b + 2 * x) * 0.1
        else:
            out = np.where(np.asarray(variable.value_of(a)) > 0.2, a * a, b * 0.7)
        pool.append(out)
    return np.sum(pool[-1] * pool[-2]) + np.sum(pool[len(pool) // 2] ** 2)


@settings(max_examples=150, deadline=None)
@given(programs(), st.integers(0, 2**31))
def test_random_programs(program, seed):
    random = np.random.default_rng(seed)
    x, v, w = random.uniform(-1, 1, 4), random.normal(size=4), random.normal(size=4)
    f = lambda x: run(program, x)                                      # noqa: E731
    hv = fa.hvp(f, x, v)
    close(hv @ w, fa.hvp(f, x, w) @ v, 1e-8)                           # the Hessian is symmetric
    close(replayable_hvp(f, x, v), hv, 1e-11)
    numeric = [differences(f, x, v, h) for h in (1e-5, 1e-6, 1e-7)]
    spread = np.max(np.abs(numeric[0] - numeric[1]))
    if spread < 1e-3 * (1 + np.max(np.abs(hv))):                       # no kink nearby
        assert np.max(np.abs(hv - numeric[1])) <= 1e-4 * (1 + np.max(np.abs(hv))) + 10 * spread


# ---- create_graph ------------------------------------------------------------------------------------------------
def test_gradients_are_variables():
    x, z = fa.Variable(2.0), fa.Variable([1.0, 2.0], name="z")
    y = x ** 3
    out = np.sum(y * z * z)
    out.backward(create_graph=True)
    assert x.grad.value == 60.0 and y.grad.value == 5.0 and isinstance(out.grad, fa.Variable)
    np.testing.assert_array_equal(z.grad.value, [16.0, 32.0])
    g, h = x.grad, z.grad
    x.zero_grad()
    z.zero_grad()
    (g + np.sum(h)).backward()
    assert x.grad == 60.0 + 72.0                                       # 6 x (1 + 4) + 2 (1 + 2) 3 x^2
    np.testing.assert_array_equal(z.grad, [24.0 + 16.0, 48.0 + 16.0])


def test_recorded_gradients_accumulate():
    x = fa.Variable(3.0)
    for _ in range(2):
        (x * x).backward(create_graph=True)
    assert x.grad.value == 12.0
    x.grad.backward(create_graph=True)
    assert x.grad.value == 16.0
    (x * 1.0).backward()                                               # numbers end the graph
    assert x.grad == 17.0 and not isinstance(x.grad, fa.Variable)


def test_a_recorded_seed():
    x, s = fa.Variable([1.0, 2.0]), fa.Variable([3.0, 4.0])
    (x ** 3).backward(seed=s, create_graph=True)
    g = x.grad
    x.zero_grad()
    np.sum(g).backward()
    np.testing.assert_array_equal(x.grad, [18.0, 48.0])
    np.testing.assert_array_equal(s.grad, [3.0, 12.0])


def test_create_graph_keeps_the_graph():
    x = fa.Variable(2.0)
    y = x ** 3
    y.backward(create_graph=True)
    y.backward()
    assert x.grad == 24.0
    with pytest.raises(fa.FreedGraphError):
        y.backward(create_graph=True)
    with pytest.raises(ValueError, match="retain_graph"):
        (x * x).backward(create_graph=True, retain_graph=False)
    for start in (2.0, np.ones(3)):                                    # a part that was freed in the meantime
        w = fa.Variable(start)
        z = w * w
        one, other = np.sum(z * z), np.sum(z * 3.0)
        one.backward()
        with pytest.raises(fa.FreedGraphError):
            other.backward(create_graph=True)


def test_hooks_see_variables():
    x = fa.Variable(2.0)
    y = x * x
    seen = []
    x.register_hook(seen.append)
    doubled = y.register_hook(lambda g: g * 2.0)
    (y * y).backward(create_graph=True)
    doubled.remove()
    assert x.grad.value == 64.0 and isinstance(seen[0], fa.Variable)  # 8 x^3
    g = x.grad
    x.zero_grad()
    g.backward()
    assert x.grad == 96.0 and seen[1] == 96.0
    y = x * x
    y.register_hook(lambda g: np.ones(3))
    with pytest.raises(ValueError, match=r"hook.*\(3,\)"):
        y.backward(create_graph=True)


def test_a_leaf_with_several_values():
    x = fa.Variable([1.0])
    y = np.sum(x ** 3)
    x.value[:] = 2.0
    (y + np.sum(x ** 3)).backward(create_graph=True)
    np.testing.assert_array_equal(x.grad.value, [15.0])
    g = x.grad
    x.zero_grad()
    np.sum(g).backward()
    np.testing.assert_array_equal(x.grad, [18.0])


def test_what_no_output_depends_on_has_no_gradient():
    x, y = fa.Variable(1.0), fa.Variable(2.0)
    unused = y * 2.0
    (x * x).backward(create_graph=True)
    assert y.grad is None and unused.grad is None
    z = fa.Variable(-1.0)
    (fa.relu(z) + x).backward(create_graph=True)
    assert z.grad.value == 0.0


def test_loops_run_in_constant_memory():
    x = fa.Variable(np.linspace(0.5, 1.0, 20))
    sizes = []
    for k in range(400):
        x.zero_grad()
        np.sum(np.sin(x) * x ** 3).backward(create_graph=True)
        g = x.grad
        x.zero_grad()
        np.sum(g * g).backward()
        if k in (200, 399):
            gc.collect()
            sizes.append((fa.tape().nbytes, fa.tape().nbytes_used))
    assert sizes[1][0] <= sizes[0][0] and sizes[1][1] <= 2 * sizes[0][1] + 10_000
    before = len(fa.tape())
    for _ in range(300):
        fa.hvp(lambda x: np.sum(x ** 3), np.ones(5), np.ones(5))
        fa.grad(fa.grad(lambda x: x ** 3))(2.0)
    assert len(fa.tape()) <= before + 20


def test_an_error_in_the_sweep_leaves_the_tape_usable():
    class Once(fa.Gate):
        def forward(self, x):
            self.x = float(x)
            return self.x ** 2

        def backward(self, g):
            return 2 * self.x * g

    x = fa.Variable(3.0)
    for _ in range(3):
        with pytest.raises(NotImplementedError, match=r"Once.*GradientLostError"):
            (Once()(x) * x).backward(create_graph=True)
    y = Once()(x) * x
    y.backward()
    assert x.grad == 27.0
    x.zero_grad()
    (x * x).backward(create_graph=True)
    assert x.grad.value == 6.0


def test_a_million_operations_deep():
    x = fa.Variable(1.0)
    y = x
    for _ in range(500_000):
        y = y * 0.999999 + x * 1e-6
    (g,) = variable.recorded_pull([y * y], [1.0], [x])
    numeric = fa.grad(lambda t: t * t)(y.item()) * y.item()
    assert g.value == pytest.approx(numeric, rel=1e-6)


# ---- nested transforms ----------------------------------------------------------------------------------------------
def test_no_perturbation_confusion():
    assert fa.grad(lambda x: fa.grad(lambda y: x * y * y)(x))(3.0) == 12.0
    assert fa.grad(lambda x: x * fa.grad(lambda y: x + y)(1.0))(1.0) == 1.0
    assert fa.grad(lambda x: x * fa.grad(lambda y: x * y)(2.0))(5.0) == 10.0
    assert fa.grad(lambda x: fa.grad(lambda y: fa.grad(lambda z: x * y * z * z)(y))(x))(2.0) == 16.0


def test_what_an_inner_function_captures():
    ones = np.ones((3, 3))
    cases = [
        (lambda x: fa.grad(lambda y: x * y * y)(2.0), 4.0), (lambda x: fa.grad(lambda y: x)(1.0), 0.0),
        (lambda x: fa.grad(lambda y: fa.sin(x * 2.0) * y)(1.0), 2 * math.cos(6.0)),
        (lambda x: fa.grad(lambda y: y * np.sum(fa.array([x, y])))(1.0), 1.0),
        (lambda x: fa.grad(lambda y: np.sum((ones * x) @ (np.ones(3) * y)))(1.0), 9.0),
        (lambda x: fa.grad(lambda y: np.sum(np.where([True, False], x, y)))(1.0), 0.0),
        (lambda x: fa.grad(lambda y: y * np.prod(x * np.ones(3)))(1.0), 27.0),
    ]
    for f, want in cases:
        assert fa.grad(f)(3.0) == pytest.approx(want, rel=1e-14)
        assert fa.jacobian(f)(3.0) == pytest.approx(want, rel=1e-14)
    assert fa.grad(lambda t: t * fa.grad(lambda s: s * s)(1.5))(2.0) == 3.0
    assert fa.grad(lambda t: t * fa.grad(lambda s: s * t.detach())(1.5))(2.0) == 2.0


def test_values_and_auxiliary_outputs_keep_the_outer_derivative():
    def f(x):
        (value, aux), g = fa.value_and_grad(lambda y: (x * y * y, {"xy": x * y, "n": 3}), has_aux=True)(2.0)
        assert aux["n"] == 3
        return value + aux["xy"] + g * x

    assert fa.grad(f)(3.0) == 4.0 + 2.0 + 24.0
    assert fa.grad(lambda x: fa.vjp(lambda y: x * y, 2.0)[0])(3.0) == 2.0
    assert fa.grad(lambda x: fa.vjp(lambda y: y ** 3, x)[1](x)[0])(2.0) == 36.0
    _, pull = fa.vjp(lambda y: np.sin(y), np.array([0.1, 0.2]))
    close(fa.grad(lambda c: np.sum(pull(c)[0] * c))(np.ones(2)), 2 * np.cos([0.1, 0.2]))
    inner = fa.grad(lambda y: (y * y, y * 5.0), has_aux=True)
    assert fa.grad(lambda x: sum(inner(x)))(1.0) == 7.0


def test_any_mix_of_transforms():
    x = np.array([0.5, 1.5, -0.3])
    f = lambda x: np.sum(np.exp(x) * x[::-1])                          # noqa: E731
    H = fa.hessian(f)(x)
    close(fa.jacobian(fa.grad(f))(x), H)
    close(fa.jacobian(lambda x: fa.value_and_grad(f)(x)[1])(x), H)
    close(fa.jacobian(lambda x: fa.jacobian(f)(x))(x), H)
    close(fa.jacobian(lambda x: fa.vjp(f, x)[1](1.0)[0])(x), H)
    close([fa.grad(lambda x, k=k: fa.grad(f)(x)[k])(x) for k in range(3)], H)
    close([fa.hvp(f, x, e) for e in np.eye(3)], H)
    T = fa.jacobian(fa.hessian(f))(x)
    close(fa.jacobian(lambda x: fa.hvp(f, x, np.ones(3)))(x), T.sum(1))
    close(fa.hessian(lambda x: np.sum(fa.hvp(f, x, x)))(x).shape, (3, 3))
    assert fa.grad(lambda x: np.linalg.norm(fa.jacobian(lambda y: np.outer(y, x))(x)))(x).shape == (3,)


def test_containers_and_argnums():
    p = {"w": np.array([1.0, 2.0]), "b": 3.0}
    f = lambda p, c: np.sum(p["w"] ** 2) * p["b"] * c                  # noqa: E731
    H = fa.hessian(f)(p, 2.0)
    close(H["w"]["w"], 12 * np.eye(2))
    close(H["w"]["b"], [4.0, 8.0])
    close(H["b"]["w"], [4.0, 8.0])
    assert H["b"]["b"] == 0.0
    H = fa.hessian(f, argnums=(1, 0))(p, 2.0)
    assert H[0][0] == 0.0 and H[0][1]["b"] == 5.0 and H[1]["b"][0] == 5.0
    hv = fa.hvp(lambda p: f(p, 1.0), p, {"b": 1.0, "w": np.zeros(2)})
    close(hv["w"], [2.0, 4.0])
    assert hv["b"] == 0.0
    g = fa.grad(lambda p: fa.grad(f)(p, 1.0)["b"])(p)
    close(g["w"], [2.0, 4.0])
    nested = fa.grad(lambda x: fa.grad(lambda q: q["a"] * q["b"][0])({"a": x, "b": [x * x]})["a"])
    assert nested(3.0) == 6.0


def test_arguments_that_are_eager_variables():
    x = fa.Variable(2.0)
    g = fa.grad(lambda t: t ** 3)(x)
    assert isinstance(g, fa.Variable) and g.value == 12.0
    g.backward()
    assert x.grad == 12.0
    with fa.no_grad():
        assert not isinstance(fa.grad(lambda t: t ** 3)(x), fa.Variable)
    assert fa.grad(lambda t: t * t)(x.detach()) == 4.0
    objects = np.array([x, x * 2.0])
    close(fa.grad(lambda t: np.sum(t ** 3))(objects).value, [12.0, 48.0])


def test_nesting_under_no_grad():
    with fa.no_grad():
        assert fa.grad(fa.grad(lambda x: x ** 3))(2.0) == 12.0
        close(fa.hessian(np.prod)(np.ones(2)), [[0.0, 1.0], [1.0, 0.0]])

    def constant_slope(x):
        with fa.no_grad():
            slope = fa.grad(lambda y: y ** 3)(x)
        return slope * x

    assert fa.grad(constant_slope)(2.0) == 12.0


def test_dtypes_and_numbers():
    x = np.ones(2, np.float32)
    f = lambda t: np.sum(t ** 3)                                       # noqa: E731
    assert fa.hvp(f, x, x).dtype == fa.hessian(f)(x).dtype == np.float32
    assert isinstance(fa.hessian(lambda t: t ** 3)(2.0), float) and isinstance(fa.hvp(lambda t: t ** 3, 2, 1), float)


def test_functions_without_second_derivative():
    assert fa.grad(fa.grad(lambda x: 3.0 * x))(1.0) == 0.0
    assert fa.hvp(lambda x: 3.0 * x, 1.0, 2.0) == 0.0
    close(fa.hessian(lambda x: 5.0)(np.ones(2)), np.zeros((2, 2)))
    close(fa.hessian(lambda x: np.sum(x))(np.ones(0)), np.zeros((0, 0)))
    with pytest.raises(TypeError, match="jacobian"):
        fa.hvp(lambda x: x * 2, np.ones(2), np.ones(2))
    with pytest.raises(ValueError, match=r"hvp.*\(2,\).*\(3,\)"):
        fa.hvp(lambda x: np.sum(x), np.ones(2), np.ones(3))
    with pytest.raises(ValueError, match="vector"):
        fa.hvp(lambda p: p["a"] * 1.0, {"a": 1.0}, {"b": 1.0})


def test_rules_of_the_user():
    @fa.custom_vjp
    def cube(x):
        return x ** 3

    cube.defvjp(lambda x: (x ** 3, x), lambda x, g: (3 * x * x * g,))
    assert nth(cube, 4)(2.0) == 0.0 and nth(cube, 3)(2.0) == 6.0 and nth(cube, 2)(2.0) == 12.0
    close(fa.hessian(lambda x: np.sum(cube(x) * x[0]))(np.array([1.0, 2.0])), [[12.0, 12.0], [12.0, 12.0]])

    @fa.custom_vjp
    def scaled(tree, k):
        return {"out": tree["a"] * tree["b"] * k}

    scaled.defvjp(lambda tree, k: ({"out": tree["a"] * tree["b"] * k}, (tree, k)),
                  lambda kept, g: ({"a": kept[0]["b"] * kept[1] * g["out"], "b": kept[0]["a"] * kept[1] * g["out"]},
                                   None))
    assert fa.grad(fa.grad(lambda x: scaled({"a": x, "b": x}, 2.0)["out"]))(3.0) == 4.0

    class Multiply(fa.Gate):
        def forward(self, x, y):
            self.x, self.y = x, y
            return x * y

        def backward(self, g):
            return [self.y * g, self.x * g]

    mul = Multiply()
    assert fa.grad(fa.grad(lambda x: mul(mul(x, x), 5.0 * x)))(2.0) == 60.0


def test_rules_run_again_on_other_inputs():
    """``rule.forward`` gives the values for other inputs, and ``pull`` belongs to these then."""
    x, y = np.array([1.0, 2.0, 3.0]), np.array([2.0, -1.0, 0.0])
    seen = []
    original = variable.call

    def spy(rule, inputs, outputs, name):
        seen.append(rule)
        return original(rule, inputs, outputs, name)

    @fa.custom_vjp
    def cube(x):
        return x ** 3

    cube.defvjp(lambda x: (x ** 3, x), lambda x, g: (3 * x * x * g,))
    for f in (np.prod, np.cumprod, np.cumsum, cube):
        try:
            variable.call = spy
            f(fa.Variable(x))
        finally:
            variable.call = original
        (values,) = seen[-1].forward([y])
        close(values, np.ravel(f(y)))
        g = np.ones(values.shape)
        close(seen[-1].pull([g])[0], fa.vjp(f, y)[1](g.reshape(np.shape(f(y))))[0])


def test_a_graph_of_another_thread():
    x = fa.Variable(np.ones(8))
    y = x ** 3 + x
    seed = np.arange(8.0)
    worker = threading.Thread(target=lambda: y.backward(seed, create_graph=True))
    worker.start()
    worker.join()
    close(x.grad.value, 4 * seed)


def test_threads():
    results = {}

    def work(k):
        results[k] = fa.hessian(lambda x: np.sum(x ** 3) * k)(np.ones(3))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(4)))
    for k in range(4):
        close(results[k], 6 * k * np.eye(3))


# ---- the recorded sweep itself -------------------------------------------------------------------------------------
def test_a_linear_operation_costs_one_record_at_most():
    x = fa.Variable(2.0)
    for f, most in ((lambda x: x * 3.0, 0), (lambda x: x + x, 0), (lambda x: -(x - 1.0), 0), (lambda x: x * x, 1)):
        y = f(x)
        before = len(fa.tape())
        (g,) = variable.recorded_pull([y], [1.0], [x])
        assert len(fa.tape()) - before <= most + 1                     # and one for the result
        del y, g


def test_the_numeric_sweep_does_not_meet_recorded_comparisons():
    """Records of rows without gradient pass nothing on, also where their adjoint is a number."""
    x = fa.Variable(2.0)
    y = fa.relu(x * x) * x
    (g,) = variable.recorded_pull([y], [1.0], [x], True)
    assert "less_equal" in fa.tape().records["op"]
    g.backward()
    assert x.grad == 12.0


def test_misuse_is_named():
    x = fa.Variable(2.0)
    y = x * x
    with pytest.raises(TypeError, match="input"):
        variable.recorded_pull([y], [1.0], [2.0])
    with pytest.raises(ValueError, match="seed"):
        variable.recorded_pull([y], [np.ones(3)], [x])
    assert variable.recorded_pull([y], [None], [x]) == [None]
    assert variable.recorded_pull([3.0], [1.0], [x]) == [None]


@pytest.mark.parametrize(("f", "part"), [
    (lambda x: np.sin(x) * x, (slice(1, 40, 3), slice(None))),
    (lambda x: np.exp(x @ x.T), (slice(0, 2), slice(5, 60, 5))),
    (lambda x: np.cumsum(x * x[::-1], axis=0), (7, 3)),
    (lambda x: x[:, None, :2] * x[None, :, 1:3], (slice(4, 9, 4), 3, 1)),
    (lambda x: np.stack([x, x]) @ np.tanh(x.T), (1, slice(2, 40, 19), slice(None, None, 20))),
    (lambda x: np.sum(x, axis=1, keepdims=True) / x, (slice(None, None, 30), 2)),
], ids=["steps", "matmul", "element", "broadcast", "stack of matmuls", "sums"])
def test_a_recorded_sweep_leaves_out_what_is_nothing(f, part):
    """It is as right as the numeric one, and takes records for what there is alone."""
    value = rng.normal(size=(60, 4))
    seed = np.full(np.shape(f(value)), -0.0)
    seed[part] = rng.normal(size=np.shape(seed[part]))
    x = fa.Variable(value)
    y = f(x)
    (g,) = variable.recorded_pull([y], [seed], [x])
    close(g.value, fa.vjp(f, value)[1](seed)[0])
    close(g.value, fa.grad(lambda x: np.sum(f(x)[part] * seed[part]))(value))


def test_a_recorded_sweep_is_as_long_as_what_it_sweeps():
    x = fa.Variable(np.arange(1000.0))
    y, used, held = x, [], []
    for _ in range(20):
        y = np.sin(y) * x
    for seed in (np.where(np.arange(1000) % 500 == 1, 1.0, -0.0), np.ones(1000)):
        before = fa.tape().nbytes_used
        held += variable.recorded_pull([y], [seed], [x])
        used.append(fa.tape().nbytes_used - before)
    assert used[0] < used[1] / 5                      # most of it for the gradient itself, which is no shorter
