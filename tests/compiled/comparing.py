"""The oracle of these tests: the function itself run eagerly, its gradient, and the program without passes."""
import _thread
import threading
import time

import numpy as np
import pytest

import fastad as fa
from fastad._instructions import KIND, LISTED, READING, uses_of
from fastad.tree import flatten

rng = np.random.default_rng(11)


def leaves(tree):
    return [np.asarray(leaf, float) for leaf in flatten(tree)[0]]


def close(a, b, tol=1e-12, what=""):
    """All leaves of two trees agree, nan with nan."""
    for x, y in zip(leaves(a), leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=tol, atol=tol, err_msg=what)


def same_bits(a, b):
    """All leaves of two trees have the same bits; any nan is like any other."""
    for x, y in zip(leaves(a), leaves(b), strict=True):
        assert x.shape == y.shape
        known = ~np.isnan(x)
        np.testing.assert_array_equal(known, ~np.isnan(y))
        np.testing.assert_array_equal(x[known], y[known])
        np.testing.assert_array_equal(np.signbit(x[known]), np.signbit(y[known]))


def delay_of_an_interrupt(work):
    """How many seconds after a Ctrl-C, sent while it is at it, some work ends with a KeyboardInterrupt."""
    sent = []

    def interrupt():
        sent.append(time.perf_counter())
        _thread.interrupt_main()

    timer = threading.Timer(0.3, interrupt)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        work()
    return time.perf_counter() - sent[0]


def unwritten(evaluator):
    """Slots that an instruction reads, or a result is taken from, before anything has written to them."""
    code = evaluator.code
    written, found = np.zeros(code.n_slots, bool), []
    written[:len(code.image)] = True
    for slot, shape in evaluator.inputs:
        written[slot:slot + np.prod(shape, dtype=int)] = True
    for array, slot in evaluator.captures:
        written[slot:slot + array.size] = True
    row, mode, low, high = uses_of(code.instructions, code.pool)
    begins = np.searchsorted(row, np.arange(len(code.instructions) + 1))
    for k, q in enumerate(code.instructions):
        if q["kind"] == KIND["scalars"]:
            for s in code.scalars[q["first"]:q["first"] + q["n"]]:
                found += [slot for slot in (s["a"], s["b"]) if not written[slot]]
                written[s["v"]] = True
        uses = range(begins[k], begins[k + 1])
        for j in uses:
            if mode[j] in (READING, LISTED):
                found += (low[j] + np.flatnonzero(~written[low[j]:high[j] + 1])).tolist()
        for j in uses:
            if mode[j] not in (READING, LISTED):
                written[low[j]:high[j] + 1] = True
    taken = np.concatenate([evaluator.guards, *[slots for _, slots in evaluator.results]])
    return found + taken[~written[taken]].tolist()


def agree(f, *calls, argnums=0, tol=1e-12, bits=False, **options):
    """Value and gradient, with passes and without, are what the function gives eagerly; returns the compiled one.

    Each call is a tuple of arguments, or the only argument; the first is traced. With `bits` the passes leave no trace
    in the results.
    """
    made = [fa.compile(f, argnums, passes=passes, **options) for passes in (True, False)]
    for call in calls:
        args = call if isinstance(call, tuple) else (call,)
        with np.errstate(all="ignore"):
            value, gradient = fa.value_and_grad(f, argnums)(*args)
            results = [(c(*args), *c.value_and_grad(*args), *c.value_and_grad(*args)) for c in made]
        for c in made:
            assert [unwritten(p.evaluator) for p in c.programs] == [[]] * len(c.programs)
        for result, passes in zip(results, (True, False), strict=True):
            close(result, (value, value, gradient, value, gradient), tol, f"passes={passes}")
        if bits:
            same_bits(*results)
    return made[0]


def program(c, kind="grad"):
    """The only program of a kind."""
    (found,) = [p for p in c.programs if p.kind == kind]
    return found
