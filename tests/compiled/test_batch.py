"""fastad.compiled.batch: rows side by side, in threads, on all branches."""
import signal
import threading
import time
import warnings

import numpy as np
import pytest
from comparing import close, rng, same_bits

import fastad as fa


def branches(x, y):
    s = y * 1.0
    for i in range(len(x)):
        s = s + (x[i] ** 2 if x[i] > 0 else np.sin(x[i]) * y)
    return s


def test_each_row_takes_its_branch():
    c = fa.compile(branches, (1, 0))
    X, Y = rng.normal(size=(200, 3)), rng.normal(size=200)
    for threads in (1, 2, 3):
        value, (gy, gx) = c.batch.value_and_grad(X, Y, threads=threads)
        for k in range(200):
            close((value[k], (gy[k], gx[k])), fa.value_and_grad(branches, (1, 0))(X[k], Y[k]))
        close(c.batch(X, Y, threads=threads), value)
    assert len(c.programs) >= 8


@pytest.mark.parametrize("rows", [1, 2, 7, 8, 9, 63, 64, 65, 129])
def test_numbers_of_rows_and_threads_leave_the_bits(rows):
    c = fa.compile(lambda x: np.sum(np.exp(-x[1:] ** 2) * x[:-1]) + x[0] / x[1])
    X = rng.normal(size=(rows, 7))
    want = c.batch.value_and_grad(X)
    for threads in (2, 3, 200):
        same_bits(c.batch.value_and_grad(X, threads=threads), want)
    close(want, (np.array([c(x) for x in X]), np.array([c.grad(x) for x in X])))


def test_axes_containers_and_static_arguments():
    def f(p, x, how, k, flag):
        y = np.sum(p["a"] * x) + p["b"][0] * k
        return y * 2.0 if how == "double" or flag else y ** 2

    c = fa.compile(f, (0, 1), static_argnums=2)
    p = {"a": rng.normal(size=(3, 20)), "b": (rng.normal(size=20),)}
    x, k = rng.normal(size=3), np.arange(20)
    for how in ("double", "square", "double"):
        value, (gp, gx) = c.batch.value_and_grad(p, x, how, k, False, in_axes=(-1, None, None, 0, None))
        assert gp["a"].shape == (20, 3) and gx.shape == (20, 3)
        for i in range(20):
            row = {"a": p["a"][:, i], "b": (p["b"][0][i],)}
            close((value[i], gp["a"][i], gp["b"][0][i], gx[i]),
                  (lambda v, g: (v, g[0]["a"], g[0]["b"][0], g[1]))(*fa.value_and_grad(f, (0, 1))(row, x, how,
                          int(k[i]), False)))


def test_results_keep_form_and_dtype():
    c = fa.compile(lambda x: {"k": np.argmax(x), "m": x > 0, "s": (np.sum(x), x[::-1])})
    X = rng.normal(size=(9, 4))
    r = c.batch(X)
    assert r["k"].dtype == np.int64 and r["m"].dtype == bool
    close((r["k"], r["m"], r["s"]), (np.argmax(X, 1), X > 0, (np.sum(X, 1), X[:, ::-1])))


def test_arrays_of_other_dtypes_and_layouts():
    c = fa.compile(lambda x, n: np.sum(x * n))
    X, N = rng.normal(size=(4, 10)).T, np.arange(40).reshape(10, 4)
    close(c.batch.grad(X, N), N)
    assert c.batch.grad(X.astype(np.float32), N).dtype == np.float32
    close(c.batch.grad(X[::-1], N % 2 == 0), (N % 2 == 0).astype(float))
    close(c.batch.grad(np.broadcast_to(X[0], (10, 4)), N), N)


def test_products_and_calls():
    def f(A, x):
        return np.sum(np.cumsum(A @ x) * np.sort(x)) + np.max(A)

    c = fa.compile(f, (0, 1))
    A, X = rng.normal(size=(30, 4, 4)), rng.normal(size=(30, 4))
    value, (ga, gx) = c.batch.value_and_grad(A, X, threads=2)
    for k in range(30):
        close((value[k], (ga[k], gx[k])), fa.value_and_grad(f, (0, 1))(A[k], X[k]))


def test_more_branches_than_programs():
    def f(x):
        return sum([x[i] * (i + 2) if x[i] > 0 else x[i] ** 2 for i in range(9)])

    c = fa.compile(f)
    signs = np.array([[1.0 if k >> b & 1 else -1.0 for b in range(9)] for k in range(300)])
    X = signs * rng.uniform(1, 2, signs.shape)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        value, g = c.batch.value_and_grad(X)
        close(c.batch(X), value)
    assert len(seen) == 1
    close((value, g), (np.array([f(x) for x in X]), np.array([fa.grad(f)(x) for x in X])))


def test_misuse_is_named():
    c = fa.compile(branches)
    X, Y = rng.normal(size=(5, 3)), rng.normal(size=5)
    for args, options, message in (((X, Y[:4]), {}, "numbers of rows"), ((X, Y), {"in_axes": (0,)}, "in_axes"),
                                   ((X, Y), {"threads": 0}, "threads"), ((X[:0], Y[:0]), {}, "no rows"),
                                   ((X, Y), {"in_axes": (None, None)}, "rows")):
        with pytest.raises(ValueError, match=message):
            c.batch(*args, **options)
    with pytest.raises(TypeError, match="returned shape"):
        fa.compile(lambda x: x * 2.0).batch.grad(X)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", [(300_000, 3), (2_000, 500)])
def test_interrupt(shape, threads):
    c = fa.compile(lambda x: np.sum(np.tanh(np.sin(x)) * np.exp(-x * x)))
    X = rng.normal(size=shape)
    c.batch.value_and_grad(X[:100])
    main, sent = threading.main_thread().ident, []

    def send():
        sent.append(time.perf_counter())
        signal.pthread_kill(main, signal.SIGINT)

    timer = threading.Timer(0.1, send)
    timer.start()
    def work():
        end = time.perf_counter() + 30.0
        while time.perf_counter() < end:
            c.batch.value_and_grad(X, threads=threads)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert time.perf_counter() - sent[0] < 1.0        # 0.1 on a machine that does nothing else
    close(c.batch(X[:3]), np.array([c(x) for x in X[:3]]))
