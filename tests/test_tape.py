"""The tape: records, lifetime, collection, sweeps, structural zeros."""
import gc
import os
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import fastad as fa


def fresh_tape(function):
    """Run a function in a thread of its own, which has a tape of its own, and give what it returned or raised."""
    out = []

    def work():
        try:
            out.append((function(), None))
        except BaseException as error:
            out.append((None, error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    value, error = out[0]
    if error is not None:
        raise error
    return value


def python(code, timeout=120):
    """Run code in a new interpreter; its exit status and output."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True,
                          timeout=timeout)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


# ---- records -----------------------------------------------------------------------------------------------
def test_records_can_be_looked_at():
    def look():
        x, y = fa.Variable(3.0), fa.Variable(4.0)
        z = fa.sin(x * y + 2.0)
        tape = fa.tape()
        r = tape.records
        assert r["op"].tolist() == ["span", "span", "multiply", "add", "sin"]
        product = r[2]
        assert (product["x"], product["y"], product["dx"], product["dy"]) == (1, 2, 4.0, 3.0)
        assert r[3]["y"] == -1 and r[3]["dy"] == 2.0            # a constant stands where its partial would
        np.testing.assert_array_equal(tape.values[1:], [3.0, 4.0, 12.0, 14.0, np.sin(14.0)])
        z.backward(retain_graph=True)
        np.testing.assert_allclose(tape.adjoints[1:], np.cos(14.0) * np.array([4.0, 3.0, 1.0, 1.0, 1 / np.cos(14.0)]))
        assert "5 records" in repr(tape) and len(tape) == 5

    fresh_tape(look)


def test_a_scalar_operation_takes_at_most_40_bytes():
    def measure():
        x = fa.Variable(1.0) * 1.0
        before, n = fa.tape().nbytes_used, 10_000
        y = x
        for _ in range(n):
            y = y * x
        return (fa.tape().nbytes_used - before) / n

    assert fresh_tape(measure) <= 40


def test_views_and_constants_make_no_record():
    def count():
        x = fa.Variable(np.arange(12.0).reshape(3, 4)) * 1.0
        before = len(fa.tape())
        views = [x[1], x.T, x[::2, 1:3], x.reshape(-1), x[:, None], x.T.diagonal(),
                 np.broadcast_to(x, (2, 3, 4)), x[1, 2]]
        assert len(fa.tape()) == before and len(views) == 8

    fresh_tape(count)


# ---- lifetime ------------------------------------------------------------------------------------------------
def loss_of(w):
    return np.sum(np.tanh(w * 2.0) ** 2) + w[0] * w[1]


@pytest.mark.parametrize("with_backward", [True, False])
@pytest.mark.parametrize("keep", ["nothing", "loss", "other graph", "intermediate"])
def test_loops_run_in_constant_memory(with_backward, keep):
    def run():
        w = fa.Variable(np.ones(500))
        other = np.sum(w * 3.0) if keep == "other graph" else None
        size = 0
        for k in range(2000):
            loss = loss_of(w)                      # the loss of the last round lives until here
            kept = loss * 2.0 if keep == "intermediate" else None
            if with_backward:
                loss.backward()
                w.zero_grad()
            if keep == "nothing":
                del loss
            if k == 300:
                size = fa.tape().nbytes
        assert fa.tape().nbytes == size, "the tape grew"
        if other is not None:
            other.backward()
            np.testing.assert_array_equal(w.grad, np.full(500, 3.0))
        return kept

    fresh_tape(run)


def test_only_the_graph_of_the_root_is_freed():
    w = fa.Variable(2.0)
    shared = w * w
    first, second = shared * 3.0, w * 5.0
    third = shared * 7.0
    first.backward()
    second.backward()                              # has nothing to do with the first
    assert w.grad == 4 * 3.0 + 5.0
    with pytest.raises(fa.FreedGraphError, match="retain_graph"):
        third.backward()
    assert w.grad == 4 * 3.0 + 5.0                 # nothing half-deposited
    with pytest.raises(fa.FreedGraphError, match="multiply"):
        shared * 2.0
    assert shared.value == 4.0 and shared.grad == 3.0 and first.grad == 1.0


def test_freed_values_and_gradients_stay_readable_through_collections():
    w = fa.Variable(np.arange(4.0))
    kept = []
    for k in range(300):
        y = w * float(k)
        np.sum(y * y).backward()
        kept.append(y)
        np.sum(np.exp(fa.Variable(np.zeros(2000))))
    for k, y in enumerate(kept):
        np.testing.assert_array_equal(y.value, np.arange(4.0) * k)
        np.testing.assert_array_equal(y.grad, 2 * np.arange(4.0) * k)


def test_collection_keeps_what_lives():
    def run():
        rng = np.random.default_rng(0)
        w = fa.Variable(rng.normal(size=50))
        alive, want = {}, {}
        for k in range(3000):
            i, j = rng.integers(50, size=2)
            y = fa.sin(w[i]) * w[j] + fa.maximum(w[i], w[j]) + np.sum(w[10:20] * w[20:30].T) * float(k)
            v = w.value
            g = np.zeros(50)
            g[i] += np.cos(v[i]) * v[j]
            g[j] += np.sin(v[i])
            g[i if v[i] > v[j] else j] += 1.0
            g[10:20] += v[20:30] * k
            g[20:30] += v[10:20] * k
            alive[k % 100], want[k % 100] = y, g      # most graphs die, a hundred live
        assert fa.tape().n_collections > 0
        for k, y in alive.items():
            w.zero_grad()
            y.backward(retain_graph=k % 2 == 0)
            np.testing.assert_allclose(w.grad, want[k], rtol=1e-12, atol=1e-12)

    fresh_tape(run)


def test_a_record_is_forgotten_with_the_youngest_variable():
    def run():
        x = fa.Variable(np.ones(10)) * 1.0
        n = len(fa.tape())
        for _ in range(100):
            x * x + x
        assert len(fa.tape()) == n

    fresh_tape(run)


def test_leaves_that_come_and_go_leave_nothing_behind():
    def run():
        sizes = set()
        for k in range(3000):
            x = fa.Variable(np.ones(100))
            y = fa.Variable(float(k))
            np.sum(x * y).backward()
            assert y.grad == 100.0
            if k > 1000:
                sizes.add(fa.tape().nbytes)
        assert len(sizes) == 1

    fresh_tape(run)


def test_a_large_graph_gives_its_memory_back_to_the_next():
    def run():
        for _ in range(5):
            x = fa.Variable(np.ones(300_000))
            np.sum(np.sin(x) * x).backward()
        return fa.tape().nbytes

    assert fresh_tape(run) < 300_000 * 8 * 4 * 8


def test_ten_million_scalar_operations_leak_nothing():
    out = python("""
        import resource, fastad as fa
        w = fa.Variable(0.5)
        def step():
            y = w * 1.0
            for _ in range(10_000):
                y = y * 0.9999 + 0.1
            y.backward()
            w.zero_grad()
        for _ in range(20):
            step()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(500):
            step()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        """)
    assert int(out) < 2048                         # KiB


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
@pytest.mark.skipif("libasan" in os.environ.get("LD_PRELOAD", ""), reason="AddressSanitizer wants all addresses")
def test_out_of_memory_is_an_error_that_leaves_the_tape_usable():
    out = python("""
        import resource, numpy as np, fastad as fa
        x = fa.Variable(np.ones(1_000_000)) * 1.0
        limit = 900 << 20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        ys = []
        try:
            while True:
                ys.append(x * 2.0)
        except MemoryError:
            n = len(ys)
        del ys[2:]
        total = np.sum(ys[0]) + np.sum(ys[1])
        total.backward()
        assert x.grad[0] == 4.0, x.grad
        try:
            fa.Variable(1.0) * np.broadcast_to(1.0, (1 << 40,))
        except MemoryError:
            print("usable", n > 5)
        """)
    assert out.split() == ["usable", "True"]


def test_a_column_that_somebody_looks_at_does_not_move():
    def work():
        x = fa.Variable(np.full(1000, 1.25))
        y = x * 2.0
        owners = [view.base for view in gc.get_objects() if type(view).__name__ == "memoryview"]
        columns = [np.asarray(owner) for owner in owners if type(owner).__name__ == "Column"]
        value = next(column for column in columns if column.dtype == float and 1.25 in column[1:2])
        del owners, columns
        with pytest.raises(BufferError, match="looked at"):
            [y * 1.0 for _ in range(100)]
        assert np.all(value[1:fa.tape().values.size] == fa.tape().values[1:]) and np.all(y.value == 2.5)
        del value
        y = [y * 1.0 for _ in range(100)][-1]
        y.backward(seed=np.ones(1000))
        assert np.all(x.grad == 2.0)

    fresh_tape(work)


@pytest.mark.parametrize("files", [("test_variable.py", "test_reviewed.py"), ("test_transforms.py", "test_custom.py"),
                                   ("numpy_api/test_indexing.py", "numpy_api/test_reductions.py")], ids=lambda f: f[0])
def test_the_suite_on_a_tape_that_is_always_full(files):
    """Nothing may depend on when the tape is collected, nor on room that nobody has reserved."""
    tests = Path(__file__).parent
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *(str(tests / f) for f in files)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tests.parent,
                          env=os.environ | {"FASTAD_TIGHT": "1"})
    assert done.returncode == 0, done.stdout[-3000:]


def test_empty_views_at_the_end_of_a_full_tape():
    """The checked build sees to it that nothing behind the columns is touched."""
    out = python("""
        import os
        os.environ["FASTAD_TIGHT"] = "1"
        import numpy as np, fastad as fa
        for n in range(1, 40):
            x, empty = fa.Variable(np.ones(n)), fa.Variable(np.ones((0, 3)))
            y = x * 1.0
            z = np.sort(y[n:])
            assert z.value.size == y[n:].value.size == (empty * 2.0).value.size == 0
            with fa.no_grad():
                y[n:]
            (np.sum(y) + np.sum(z) + np.sum(empty * 2.0)).backward()
            (empty * empty).backward(seed=np.ones((0, 3)))
            assert np.all(x.grad == 1.0)
        print("fine")
        """)
    assert out.split() == ["fine"]


def test_a_tight_tape_is_collected_all_the_time():
    out = python("""
        import os
        os.environ["FASTAD_TIGHT"] = "1"
        import fastad as fa
        y = x = fa.Variable(0.5)
        for _ in range(1000):
            y = fa.sin(y) + x
        print(fa.tape().n_collections > 1000, fa.tape().nbytes < 50 * 2000)
        """)
    assert out.split() == ["True", "True"]


def test_ctrl_c_interrupts_a_sweep_and_the_tape_stays_usable():
    out = python("""
        import os, signal, threading, time, numpy as np, fastad as fa
        x = fa.Variable(1.0)
        y = x * 1.0
        for _ in range(6_000_000):
            y = y * 1.0000001
        pid = os.getpid()
        def interrupt():
            time.sleep(0.004)
            os.kill(pid, signal.SIGINT)
        interrupted = False
        for _ in range(50):
            t = threading.Thread(target=interrupt)
            t.start()
            try:
                y.backward(retain_graph=True)
                t.join()
            except KeyboardInterrupt:
                interrupted = True
                t.join()
                break
        x.zero_grad()
        y.backward()
        print(interrupted, abs(x.grad - 1.0000001 ** 6_000_000) < 1e-6)
        """)
    assert out.split()[1] == "True"


# ---- threads --------------------------------------------------------------------------------------------------
def test_each_thread_records_on_its_own_tape():
    w = fa.Variable(np.linspace(0.1, 1.0, 20))
    results = {}

    def work(k):
        for _ in range(200):
            g = fa.grad(lambda x: np.sum(np.sin(x * k) * w))(np.ones(20))
            results[k] = g
            x = fa.Variable(np.ones(20))
            np.sum(x * x * float(k)).backward()
            assert x.grad[0] == 2.0 * k

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(1, 7)))
    for k, g in results.items():
        np.testing.assert_allclose(g, k * np.cos(k) * w.value)


def test_variables_of_two_threads_do_not_mix():
    theirs = []
    t = threading.Thread(target=lambda: theirs.append(fa.Variable(1.0) * 2.0))
    t.start()
    t.join()
    mine = fa.Variable(3.0) * 1.0
    with pytest.raises(RuntimeError, match="threads"):
        mine * theirs[0]
    assert (mine * theirs[0].detach()).value == 6.0
    theirs[0].backward()                           # its tape outlives its thread


def test_a_long_sweep_lets_other_threads_work():
    x = fa.Variable(np.ones(3_000_000))
    y = np.sum(np.sin(np.exp(x * 0.1)) * x)
    ticks, stop = [], threading.Event()

    def tick():
        while not stop.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.001)

    t = threading.Thread(target=tick)
    t.start()
    start = time.perf_counter()
    for _ in range(3):
        y.backward(retain_graph=True)
    end = time.perf_counter()
    stop.set()
    t.join()
    assert sum(start < s < end for s in ticks) >= 3


# ---- sweeps -----------------------------------------------------------------------------------------------------
@pytest.mark.skipif("FASTAD_LARGE_TESTS" not in os.environ, reason="takes 9 GB; FASTAD_LARGE_TESTS=1 runs it")
def test_far_operands_take_the_wide_way():
    """More than 2**28 slots between operand and result do not fit into a scalar record."""
    out = python("""
        import numpy as np, fastad as fa
        x = fa.Variable(3.0)
        y = x * 2.0
        big = fa.Variable(np.broadcast_to(1.0, ((1 << 28) + 10,)))
        view = big[:1]
        z = y * x + 4.0
        z.backward()
        print(x.grad, z.value)
        """, timeout=300)
    assert out.split() == ["12.0", "22.0"]


def test_in_place_writes_are_undone_for_older_partials_and_redone():
    x = fa.Variable([1.0, 2.0, 3.0])
    y = x * 2.0
    z = np.sum(y * y)
    y[1] = x[0] * x[2]
    after = np.sum(y ** 3)
    y[[0, 2]] = 0.0
    last = np.sum(y * 10.0)
    z.backward(retain_graph=True)                  # partials of the y before the writes
    np.testing.assert_array_equal(x.grad, 8 * np.array([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(y.value, [0.0, 3.0, 0.0])
    x.zero_grad()
    after.backward(retain_graph=True)
    np.testing.assert_array_equal(x.grad, [3 * 4 * 2 + 3 * 9 * 3, 0.0, 3 * 36 * 2 + 3 * 9 * 1])
    x.zero_grad()
    last.backward()
    np.testing.assert_array_equal(x.grad, [30.0, 0.0, 10.0])


def test_in_place_writes_survive_a_collection():
    def run():
        x = fa.Variable(np.arange(1.0, 6.0))
        y = x * 1.0
        z = np.sum(y * y)
        y[1:3] = x[3:] * x[0]
        y[np.array([0, 0])] = fa.array([x[1], x[2]])      # the last write counts
        w = np.sum(y * np.arange(5.0))
        for _ in range(3):
            for _ in range(40_000):
                x[0] * 2.0 + 1.0
            keep = [x[0] * 2.0 for _ in range(40_000)]
            del keep
        assert fa.tape().n_collections > 0
        np.testing.assert_array_equal(y.value, [3.0, 4.0, 5.0, 4.0, 5.0])
        z.backward(retain_graph=True)
        np.testing.assert_array_equal(x.grad, 2 * np.arange(1.0, 6.0))
        x.zero_grad()
        w.backward()
        np.testing.assert_array_equal(x.grad, [1 * 4 + 2 * 5, 0.0, 0.0, 1.0 + 3.0, 2.0 + 4.0])

    fresh_tape(run)


def test_overlapping_writes():
    x = fa.Variable(np.arange(5.0))
    y = x * 1.0
    y[1:] = y[:-1]
    np.testing.assert_array_equal(y.value, [0, 0, 1, 2, 3])
    np.sum(y * np.array([1.0, 10.0, 100.0, 1000.0, 10000.0])).backward()
    np.testing.assert_array_equal(x.grad, [11.0, 100.0, 1000.0, 10000.0, 0.0])


# ---- structural zeros ---------------------------------------------------------------------------------------------
def test_nothing_is_not_zero():
    x = fa.Variable(0.0)
    with np.errstate(all="ignore"):
        y = np.sqrt(x)
    (fa.maximum(y, 1.0) * 1.0).backward(retain_graph=True)
    assert x.grad == 0.0                           # not selected: nothing
    x.zero_grad()
    (y * 0.0).backward()
    assert np.isnan(x.grad)                        # a number that is zero, times inf


@pytest.mark.parametrize("n", [2, 40])             # loops; BLAS
def test_nothing_passes_matrix_products(n):
    W = fa.Variable(np.full((n, n), 4.0))
    v = np.ones(n)
    v[0] = 0.0
    with np.errstate(all="ignore"):
        x = fa.Variable(np.zeros(n))
        root = np.sqrt(x)
        h = np.where(np.arange(n) < n // 2, W @ (x + 1.0), 0.0)
        total = np.sum(h) + np.sum(np.where(v > 0, 0.0, 1.0) * np.where(False, W @ root, 0.0))
        total.backward()
    np.testing.assert_array_equal(W.grad[: n // 2], np.ones((n // 2, n)))
    np.testing.assert_array_equal(W.grad[n // 2:], np.zeros((n - n // 2, n)))
    np.testing.assert_allclose(x.grad, np.full(n, 4.0 * (n // 2)))


@pytest.mark.parametrize("n", [3, 30])
def test_an_infinite_factor_of_what_was_not_selected_does_no_harm(n):
    A = np.ones((n, n))
    A[-1] = np.inf
    x = fa.Variable(np.ones((n, n)))
    y = np.where(np.isfinite(A).all(axis=1)[:, None], A @ x, 0.0)
    np.sum(y).backward()
    np.testing.assert_array_equal(x.grad, np.full((n, n), n - 1.0))


def test_rows_that_are_nothing_stay_nothing_behind_a_product():
    n = 40
    with np.errstate(all="ignore"):
        t = fa.Variable(np.zeros((n, n)))
        root = np.sqrt(t)                          # infinite slope everywhere
        y = (root + 1.0) @ np.ones((n, n))
        np.sum(np.where(np.arange(n)[:, None] < 0, y, 1.0)).backward()
        np.testing.assert_array_equal(t.grad, np.zeros((n, n)))


# ---- hooks -----------------------------------------------------------------------------------------------------------
def test_hooks_in_order_and_exceptions_in_them():
    x = fa.Variable(2.0)
    seen = []
    y = x * x
    z = y * 3.0
    y.register_hook(lambda g: seen.append(("y", float(g))))
    z.register_hook(lambda g: seen.append(("z", float(g))))
    x.register_hook(lambda g: seen.append(("x", float(g))))
    z.backward(retain_graph=True)
    assert seen == [("z", 1.0), ("y", 3.0), ("x", 12.0)]

    def bad(g):
        raise KeyError("in a hook")

    handle = y.register_hook(bad)
    with pytest.raises(KeyError, match="in a hook"):
        z.backward(retain_graph=True)
    assert x.grad == 12.0                          # nothing was deposited
    handle.remove()
    handle.remove()
    z.backward()
    assert x.grad == 24.0


def test_hooks_may_compute_and_differentiate():
    x = fa.Variable(2.0)
    y = x * x
    y.register_hook(lambda g: g * fa.grad(lambda t: t ** 3)(2.0))
    y.backward()
    assert x.grad == 4.0 * 12.0


def test_hooks_move_with_a_collection():
    def run():
        x = fa.Variable(np.ones(3))
        seen = []
        junk = [x * float(k) for k in range(10_000)]
        y = x * 2.0
        y[1:].register_hook(lambda g: seen.append(g.tolist()))
        z = np.sum(y * np.arange(3.0))
        del junk
        junk = [x * float(k) for k in range(30_000)]
        assert fa.tape().n_collections > 0
        z.backward()
        assert seen == [[1.0, 2.0]] and junk

    fresh_tape(run)


def test_gradients_of_intermediates_accumulate_too():
    x = fa.Variable(3.0)
    y = x * x
    (y * 2.0).backward(retain_graph=True)
    (y * 5.0).backward(retain_graph=True)
    assert y.grad == 7.0 and x.grad == 42.0
    y.zero_grad()
    assert y.grad is None
    (y * 1.0).backward()
    assert y.grad == 1.0


def test_a_leaf_that_nothing_selected_gets_zero_and_one_that_is_not_there_none():
    x, y, z = fa.Variable(1.0), fa.Variable(2.0), fa.Variable(3.0)
    other = z * 2.0
    (fa.maximum(x, y) * 3.0).backward()
    assert x.grad == 0.0 and y.grad == 3.0 and z.grad is None
    other.backward()
    assert z.grad == 2.0
    a = fa.Variable([1.0, 2.0])
    b = fa.Variable([5.0, 6.0])
    np.sum(np.where([True, True], a, b)).backward()
    np.testing.assert_array_equal(b.grad, [0.0, 0.0])


def test_garbage_collection_while_recording():
    """Handles that die in a garbage collection in the middle of an operation do no harm."""
    class Cycle:
        pass

    threshold = gc.get_threshold()
    gc.set_threshold(1)
    try:
        w = fa.Variable(np.ones((4, 4)))
        for k in range(300):
            c = Cycle()
            c.self, c.y = c, w[k % 4] * 2.0
            del c
            y = np.sum(np.concatenate([w @ np.ones((4, 2)), np.where(w > 0, w, [1.0])[:, :1]], axis=1) * [1, 2, 3])
            y.backward()
            assert w.grad[0, 0] == 6.0
            w.zero_grad()
    finally:
        gc.set_threshold(*threshold)


def test_garbage_collection_during_backward():
    """Graphs that die in cycles while a sweep deposits gradients do no harm."""
    class Box:
        pass

    def garbage(n):
        box = Box()
        box.me = box
        y = fa.Variable(1.0)
        box.kept = [y]
        for _ in range(n):
            y = y * 1.00001
            box.kept.append(y)
        y.backward(retain_graph=True)

    threshold = gc.get_threshold()
    for k in range(60):
        gc.disable()
        x = fa.Variable(np.ones(2))
        kept = [x * float(i) for i in range(5)]
        garbage(1000)
        z = np.sum(x * x)
        gc.enable()
        gc.set_threshold(1 + k % 50, 1, 1)
        try:
            z.backward(retain_graph=True)
            z.backward()
        finally:
            gc.set_threshold(*threshold)
        np.testing.assert_array_equal(x.grad, [4.0, 4.0])
        assert len(kept) == 5
