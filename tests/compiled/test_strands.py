"""fastad/_strands.h: scalar instructions as they are executed, against lanes, which have no strands."""
import time

import numpy as np
import pytest
from comparing import program

import fastad as fa
from fastad import _stamp, ops
from fastad._program import INSTRUCTION, KINDS, SCALAR, Code, Evaluator, strands

STRANDS = _stamp.Strands(ops.OPS)
OPCODE = {op.name: k for k, op in enumerate(ops.OPS, 1)}
OPERATORS = sorted({op.name for op, _ in STRANDS.links})
INPUTS = 8


def scalar_code(rows, stretches, n_slots):
    """Code of nothing but scalar instructions (op, v, a, b), in stretches (first, n)."""
    instructions = np.zeros(len(stretches), INSTRUCTION)
    instructions["first"], instructions["n"] = np.array(stretches).T
    for name in ("ia", "ib", "ra", "rb"):
        instructions[name] = -1
    return Code(instructions, np.array(rows, SCALAR), np.empty(0, np.int64), np.ones(1), [], n_slots)


def agree_with_lanes(code, rtol=0.0):
    """Compare all slots with two lanes of a batch."""
    every = np.arange(code.n_slots)
    evaluator = Evaluator(code, [(1, (INPUTS,))], [], [], [], [], [((code.n_slots,), every)])
    x = np.random.default_rng(0).uniform(0.5, 2.0, (2, INPUTS))
    out = np.zeros((2, code.n_slots))
    assert evaluator.batch([x], [True], 0, 2, [out], np.ones(2, np.uint8), 2)
    written = np.unique(np.append(code.scalars["v"], np.arange(1 + INPUTS)))
    for row in range(2):                              # what no instruction writes is anything
        np.testing.assert_allclose(evaluator([x[row]])[0][written], out[row][written], rtol=rtol, atol=0.0)


def random_rows(rng, n, first, names=OPERATORS, near=12):
    """Instructions each of which writes a slot of its own and reads any before it, near ones more often."""
    rows = []
    for v in range(first, first + n):
        a, b = (v - 1 - np.minimum(rng.geometric(1.0 / near, 2) - 1, v - 2)).tolist()
        rows.append((OPCODE[names[rng.integers(len(names))]], v, a, b))
    return rows


@pytest.mark.parametrize("length", [1, 2, 3])
def test_every_strand(length):
    for strand in STRANDS.all:
        if len(strand) != length:
            continue
        leading = () if strand[0][1] == "" else ((ops.BY_NAME["square"], ""),)          # something is in the register
        rows, v = [], 1 + INPUTS
        for op, place in (*leading, *strand):
            a, b = 1 + v % INPUTS, 1 + (v + 3) % INPUTS
            rows.append((OPCODE[op.name], v, v - 1 if "x" in place else a, v - 1 if "y" in place else b))
            v += 1
        code = scalar_code(rows, [(0, len(rows))], v)
        assert code.strands[3 if leading else 0] == STRANDS.number[strand]
        agree_with_lanes(code, 0.0 if strand[0][0].name in OPERATORS else 1e-12)    # libm against vector loops


def test_a_sum_of_either_order_is_one_strand():
    for op in ("add", "multiply"):
        rows = [(OPCODE["subtract"], 9, 1, 2), (OPCODE[op], 10, 3, 9)]
        code = scalar_code(rows, [(0, 2)], 11)
        number = STRANDS.number[(ops.BY_NAME["subtract"], ""), (ops.BY_NAME[op], "x")]
        assert code.strands.tolist()[:7] == [number, 9, 1, 2, 10, 3, 0]
        agree_with_lanes(code)


@pytest.mark.parametrize("seed", range(20))
def test_random_code(seed):
    rng = np.random.default_rng(seed)
    n, first = int(rng.integers(1, 400)), 1 + INPUTS
    names = [*OPERATORS, "sqrt", "square", "maximum"] if seed % 2 else ["add", "multiply", "subtract", "negative"]
    rows = random_rows(rng, n, first, names, near=rng.choice([2, 12, 100]))
    cuts = np.unique(np.append(rng.integers(0, n + 1, 3), [0, n]))
    agree_with_lanes(scalar_code(rows, list(zip(cuts[:-1], np.diff(cuts), strict=True)), first + n))


def shared(v):
    """Slot v is read before it is written, or written twice: what such code computes depends on its order."""
    multiply, add = OPCODE["multiply"], OPCODE["add"]
    return [[(add, 10, v, 1), (multiply, v, 1, 2), (add, 12, 10, v)],
            [(add, v, 1, 2), (add, 10, v, 3), (multiply, v, 10, 10), (add, 12, v, 10)],
            [(add, v, v, 1), (add, v, v, v), (multiply, 12, v, v)]]


@pytest.mark.parametrize("case", range(3))
@pytest.mark.parametrize("v", [1, 11])
def test_slots_that_are_written_to_again(v, case):
    rows = [(OPCODE["sqrt"], 10, 1, 0), (OPCODE["sqrt"], 11, 2, 0), (OPCODE["sqrt"], 12, 2, 0)]
    agree_with_lanes(scalar_code(rows + shared(v)[case], [(0, 3), (3, len(shared(v)[case]))], 13))


def test_results_that_stand_far_apart():
    rows = [(OPCODE["add"], 10, 1, 2), (OPCODE["add"], 5_000, 10, 1), (OPCODE["multiply"], 9_999, 5_000, 10)]
    agree_with_lanes(scalar_code(rows, [(0, 3)], 10_000))


def test_a_stretch_of_nothing():
    rows = random_rows(np.random.default_rng(0), 5, 1 + INPUTS)
    agree_with_lanes(scalar_code(rows, [(0, 0), (0, 2), (2, 0), (2, 3), (5, 0)], 6 + INPUTS))


def test_stretches_in_any_order():
    rows = random_rows(np.random.default_rng(0), 6, 1 + INPUTS)
    agree_with_lanes(scalar_code(rows[4:] + rows[:4], [(2, 4), (0, 2)], 7 + INPUTS))


def test_stretches_that_overlap_are_refused():
    rows = random_rows(np.random.default_rng(0), 5, 1 + INPUTS)
    for stretches in ([(0, 3), (2, 3)], [(3, 2), (0, 4)], [(0, 5), (0, 5)]):
        with pytest.raises(ValueError, match="overlap"):
            scalar_code(rows, stretches, 6 + INPUTS)


def test_a_loop_becomes_long_strands():
    """Most operations of a Runge-Kutta step have their operand in the register, and most go along with others."""
    def f(x):
        u, v = x
        for _ in range(50):
            a, b = u - u * v, u * v - v
            p, q = u + 0.1 * a, v + 0.1 * b
            u, v = u + 0.2 * (p - p * q), v + 0.2 * (p * q - q)
        return u * u + v * v

    compiled, x = fa.compile(f), np.array([1.0, 0.5])
    value, gradient = compiled.value_and_grad(x)
    assert value == f(x)
    code = program(compiled, "grad").evaluator.code
    scalars = sum(row["n"] for row in code.instructions if KINDS[row["kind"]] == "scalars")
    lengths = {STRANDS.number[s]: 1 + sum(1 + op.arity - len(z) for op, z in s) for s in STRANDS.all}
    looked_up = 0
    for row in code.instructions:
        if KINDS[row["kind"]] == "scalars":
            at = 5 * row["first"]
            while code.strands[at]:
                at += lengths[code.strands[at]]
                looked_up += 1
    assert scalars > 2.0 * looked_up
    np.testing.assert_allclose(gradient, fa.grad(f)(x), rtol=1e-13)


def test_strands_are_found_in_linear_time():
    """However the operations hang together: a chain, one operand for all, one reader of all."""
    n, first = 200_000, 1 + INPUTS
    v = np.arange(first, first + n)
    for a, b in ((v - 1, v - 2), (np.maximum(v - 1, 1), v * 0 + 1), (v * 0 + first - 1, v * 0 + 1)):
        rows = np.zeros(n, SCALAR)
        rows["op"], rows["v"], rows["a"], rows["b"] = OPCODE["add"], v, a, b
        instructions = np.zeros(1, INSTRUCTION)
        instructions["n"] = n
        start = time.perf_counter()
        strands(instructions, rows)
        assert time.perf_counter() - start < 0.5      # 5 ms on an idle machine
