"""Maps with broadcast operands: lines whose operands repeat, and the sums that their gradients are."""
import numpy as np
import pytest
from comparing import agree, close, program, rng, same_bits

import fastad as fa
from fastad._instructions import KINDS
from fastad._program import Code
from fastad.compiled.listing import View

WIDTHS, HEIGHTS = (1, 3, 32, 511, 512, 513), (1, 2, 57)
OPERATORS = {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide}

#: Shapes of two operands, by what repeats; they stand for (rows, width).
SHAPES = {
    "row": ((0, 1), (1,)),
    "column": ((0, 1), (0, None)),
    "row, column": ((1,), (0, None)),
    "column, row": ((0, None), (1,)),
    "number": ((0, 1), ()),
}


def normal(shape):
    return rng.uniform(0.5, 2.0, shape)


def kinds(c, kind="value"):
    return [KINDS[k] for k in program(c, kind).evaluator.code.instructions["kind"]]


@pytest.mark.parametrize("rows", HEIGHTS)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("which", SHAPES)
def test_two_axes(which, width, rows):
    sizes = {0: rows, 1: width, None: 1}
    shapes = [tuple(sizes[d] for d in dims) for dims in SHAPES[which]]
    for op in OPERATORS.values():
        calls = [tuple(map(normal, shapes)) for _ in range(2)]
        agree(lambda x, y, op=op: np.sum(op(op(x, y) * y + x, y)), *calls, argnums=(0, 1), bits=True)


@pytest.mark.parametrize("rows", [1, 2, 1797])
@pytest.mark.parametrize("width", [3, 10, 32])
def test_values_are_numpys(rows, width):
    x, y, z = normal((rows, width)), normal(width), normal((rows, 1))
    for op in OPERATORS.values():
        for args in ((x, y), (y, x), (x, z), (z, x), (z, y), (y, z)):
            np.testing.assert_array_equal(fa.compile(op)(*args), op(*args))


@pytest.mark.parametrize("shapes", [((5, 7, 3), (5, 1, 3)), ((5, 7, 3), (7, 1)), ((5, 7, 3), (5, 1, 1)),
                                    ((5, 1, 3), (7, 3)), ((4, 1, 7, 1), (1, 5, 1, 3)), ((4, 5, 7, 3), (4, 1, 7, 1)),
                                    ((40, 1, 30), (20, 1))])
def test_more_axes(shapes):
    calls = [tuple(map(normal, shapes)) for _ in range(2)]
    agree(lambda x, y: np.sum(np.exp(x - y) * y), *calls, argnums=(0, 1), bits=True)


@pytest.mark.parametrize("turn", [np.transpose, lambda x: x[::-1], lambda x: x[:, ::-1], lambda x: x[::2],
                                  lambda x: x[:, 1::2]])
def test_operands_in_another_order(turn):
    y = normal(turn(np.ones((36, 36))).shape[1])
    agree(lambda x: np.sum(np.sin(turn(x) * y) - turn(x)), normal((36, 36)), normal((36, 36)), bits=True)
    agree(lambda x: np.sum(turn(np.sin(x + y[0]) * 2.0) * y), normal((36, 36)), normal((36, 36)), bits=True)


def test_results_in_fortran_order():
    calls = [(normal((36, 50)), normal(36)) for _ in range(2)]
    agree(lambda x, y: np.sum(np.tanh(x.T - y) * x.T), *calls, argnums=(0, 1))


def test_what_repeats_is_made_in_the_function():
    agree(lambda x, y: np.sum(np.tanh(x - np.mean(x, axis=0)) / np.sum(x * x, axis=1, keepdims=True) + np.sin(y)),
          *[(normal((600, 10)), normal(10)) for _ in range(2)], argnums=(0, 1))
    agree(lambda x: np.sum((x[:, None, :] - x[None, :, :]) ** 2 * np.arange(3.0)), normal((30, 3)), normal((30, 3)))


def test_a_repeated_constant_and_one_of_many():
    row, column, calls = normal(7), normal((90, 1)), [normal((90, 7)) for _ in range(2)]
    agree(lambda x: np.sum(np.sin(x * row) * column + row * column), *calls, bits=True)
    agree(lambda x: np.sum(np.sin(x[3] * np.ones((90, 7)) + x) * x[:, 3:4]), *calls, bits=True)


def test_broadcast_maps_are_lines_of_one_run():
    c = fa.compile(lambda x, y, z: np.tanh((x + y) * z) + z)
    c(normal((100, 10)), normal(10), normal((100, 1)))
    assert kinds(c) == ["run"] + ["line"] * 4
    assert str(program(c, "value")).count("repeated") == 3


def test_softmax_of_rows():
    agree(lambda x, b: np.sum(fa.log_softmax(x + b, axis=1)[:, 2]), *[(rng.normal(size=(n, 10)), rng.normal(size=10))
                                                                     for n in (1, 32, 1797)], argnums=(0, 1), tol=1e-11)


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (300, 1), (300, 7), (300, 8), (300, 63), (64, 64), (65, 65),
                                   (7, 300)])
@pytest.mark.parametrize("axis", [0, 1, (0, 1)])
@pytest.mark.parametrize("turn", [lambda x: x, np.transpose, lambda x: x[:, ::-1], lambda x: x[::2]])
def test_sums(shape, axis, turn):
    agree(lambda x: np.sum(np.sum(turn(x), axis=axis) ** 2), rng.normal(size=shape), rng.normal(size=shape))


def test_sums_of_nothing_and_of_signed_zeros():
    for width in (1, 3, 4, 9):
        for axis in (0, 1):
            agree(lambda x, axis=axis: np.sum(np.copysign(1.0, np.sum(x, axis=axis))), np.full((8, width), -0.0),
                  np.zeros((8, width)), np.full((8, width), np.inf), bits=True)


def test_exact_sums():
    x = rng.normal(size=(1797, 10)) * 10.0 ** rng.integers(-8, 9, (1797, 10))
    for axis in (0, 1):
        got = fa.compile(lambda x, axis=axis: np.sum(x, axis=axis))(x)
        exact = np.sum(x.astype(np.longdouble), axis=axis)
        bound = x.shape[axis] * np.finfo(float).eps * np.sum(np.abs(x), axis=axis)
        assert (np.abs(got - exact) <= bound).all()


def energy(x, y, z):
    return np.sum(np.sin(x * y + z) / z)


@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (40, 3), (2, 513), (70, 32)])
def test_lanes(shape):
    rows, width = shape
    f = fa.compile(energy, (0, 1, 2))
    args = [normal((9, *shape)), normal((9, width)), normal((9, rows, 1))]
    values, gradients = f.batch.value_and_grad(*args)
    for k in range(9):
        value, gradient = fa.value_and_grad(energy, (0, 1, 2))(*[x[k] for x in args])
        close((values[k], [g[k] for g in gradients]), (value, list(gradient)))


def test_inputs_that_are_read_in_place():
    args = normal((1797, 32)), normal(32), normal((1797, 1))
    agree(energy, args, tuple(map(np.copy, args)), argnums=(0, 1, 2), tol=1e-10)
    for shapes in (((3, 2500), (2500,)), ((2500, 3), (2500, 1))):
        calls = [tuple(map(normal, shapes)) for _ in range(2)]
        agree(lambda x, y: np.sum(np.sin(x + y)), *calls, argnums=(0, 1))


def test_saved_and_loaded(tmp_path):
    f = fa.compile(energy, (0, 1, 2))
    args = normal((100, 10)), normal(10), normal((100, 1))
    made = f.value_and_grad(*args)
    f.save(tmp_path / "energy")
    same_bits(made, fa.load(tmp_path / "energy").value_and_grad(*args))


def test_blocks_are_checked():
    f = fa.compile(lambda x, y, z: np.sin((x + y) * z))
    f(normal((100, 10)), normal(10), normal((100, 1)))
    code = program(f, "value").evaluator.code

    def remade(pool=code.pool, **fields):
        ins = code.instructions.copy()
        (k, *_) = np.flatnonzero((ins["aa"] == 2) | (ins["ab"] == 2))
        for name, number in fields.items():
            ins[name][k] = number
        return Code(ins, code.scalars, pool, code.image, code.calls, code.n_slots, code.regions)

    remade()
    for fields in ({"first": -1}, {"first": len(code.pool)}, {"first": len(code.pool) - 2}, {"b": code.n_slots - 5},
                   {"b": code.n_slots + 1}, {"aa": 2, "first": 0, "a": code.n_slots}):
        with pytest.raises(ValueError, match="program: "):
            remade(**fields)
    for number in (0, -1, 1 << 62):
        for k in np.flatnonzero(code.pool):
            pool = code.pool.copy()
            pool[k] = number
            with pytest.raises(ValueError, match="program: "):
                remade(pool)


@pytest.mark.parametrize(("shape", "strides", "expected"), [
    ((5, 7), (7, 1), ()), ((5, 7), (0, 0), ()), ((5, 7), (0, 1), (7, 35, 1)), ((5, 7), (1, 0), (1, 7, 5)),
    ((5, 7, 3), (3, 0, 1), (3, 21, 5)), ((5, 7, 3), (0, 3, 1), (21, 105, 1)), ((5, 7, 3), (0, 1, 0), (1, 3, 7)),
    ((5, 7, 3, 2), (0, 2, 0, 1), (2, 6, 7)), ((5, 7), (14, 2), None), ((5, 7), (1, 5), None), ((5, 7), (-7, 1), None),
    ((5, 7, 3, 2), (2, 0, 1, 0), None), ((5, 7, 3), (0, 6, 1), None), ((1, 7), (9, 0), None),
])
def test_repeats(shape, strides, expected):
    if expected is None and 1 in shape:
        shape, strides, expected = shape[1:], strides[1:], ()
    view = View(10, shape, strides)
    assert view.repeats() == expected
    if expected:
        width, span, count = expected
        i = np.arange(view.size)
        np.testing.assert_array_equal(view.slots(), 10 + i // span % count * width + i % width)
