"""The textbook programs: their numbers, and that each runs as a script."""
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastad as fa

FOLDER = Path(__file__).parent.parent / "examples"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))


def load(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def close(actual, wanted, tol=1e-12):
    np.testing.assert_allclose(actual, wanted, rtol=tol, atol=tol)


def test_all_nine_are_there():
    assert len(NAMES) == 9


@pytest.mark.parametrize("name", NAMES)
def test_runs_as_a_script(name):
    if name == "real_data":
        pytest.importorskip("sklearn")
    path = os.pathsep.join([str(Path(fa.__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run([sys.executable, "-W", "error", FOLDER / f"{name}.py"], capture_output=True, text=True,
                          timeout=60, env={**os.environ, "PYTHONPATH": path}, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) >= 2


def test_gradient_vector():
    module = load("gradient_vector")
    g, length = module.gradient()
    close(g, [5.0, 7.0])
    close(length, np.sqrt(74.0))
    down, up = ([value for _, value in module.walk(d)] for d in (-1, 1))
    assert down[0] == up[0] == 13.0
    assert np.all(np.diff(down) < 0) and np.all(np.diff(up) > 0)
    close(module.descent().x, [0.0, 0.0], 1e-7)


def test_line_fit():
    module = load("line_fit")
    p, kept = module.fixed_step()
    close(p, [1.9, 1.89])
    assert kept == 11
    close(module.prediction(p), 20.89)
    assert module.squared_error(module.backtracking()) < 1e-12 < module.squared_error(p)
    stalled, searched = module.with_the_driver()
    assert not stalled.success and "stalled" in stalled.message
    assert searched.success and searched.fun < 1e-12


def test_sigmoid_net():
    outputs, gradients = load("sigmoid_net").run()
    for name, wanted in {"sum 1": [0.3775, 0.3925], "sigmoid 1": [0.5933, 0.5969], "sum 2": [1.1059, 1.2249],
                         "sigmoid 2": [0.7514, 0.7729]}.items():
        close(outputs[name].round(4), wanted)
    for place, wanted in {
        ("sigmoid 2", "out"): [1.0, 1.0], ("sigmoid 2", "x"): [0.1868, 0.1755], ("sum 2", "out"): [0.1868, 0.1755],
        ("sum 2", "x"): [0.1625, 0.1806], ("sum 2", "W"): [[0.1108, 0.1115], [0.1041, 0.1048]],
        ("sum 2", "b"): [0.3623], ("sigmoid 1", "out"): [0.1625, 0.1806], ("sigmoid 1", "x"): [0.0392, 0.0435],
        ("sum 1", "out"): [0.0392, 0.0435],
        ("sum 1", "b"): [0.0827],
    }.items():
        close(gradients[place].round(4), wanted)
    close(gradients["sum 1", "W"], np.outer(gradients["sum 1", "out"], [0.05, 0.1]))
    close(gradients["sum 1", "x"], np.array([[0.15, 0.2], [0.25, 0.3]]).T @ gradients["sum 1", "out"])
    assert len(gradients) == 12                        # every layer, every input


def test_single_neuron():
    module = load("single_neuron")
    assert module.one_point() == (1.0, -2.0)
    rows, w = module.training()
    assert len(rows) == 10
    for k, (before, by_hand, by_tape) in enumerate(rows):
        close([before, by_hand, by_tape], [2 - 2 * 0.85 ** k, -30 * 0.85 ** k, -30 * 0.85 ** k])
    close(w, 2 - 2 * 0.85 ** 10)


def test_chain_rule():
    module = load("chain_rule")
    hand, engine = module.by_hand(module.PARAMETERS), module.by_engine(module.PARAMETERS)
    assert set(hand) == set(engine)
    for name in hand:
        close(engine[name], hand[name])
        assert np.any(hand[name] != 0) and (name == "b3" or np.any(hand[name] == 0))   # relus that pass and that stop
    good, bad = module.checks()
    assert good.passed and good.worst < 1e-7
    assert not bad.passed and bad.worst > 0.5
    assert len(good.entries) == 5 * 4 + 5 + 2 * 5 + 2 + 2 + 1


def test_delta_rule():
    module = load("delta_rule")
    start = module.W0, module.B0
    for formula, tape in zip(module.by_formula(*start), module.by_tape(*start), strict=True):
        close(tape, formula)
    errors = module.train(module.by_tape)
    close(errors, module.train(module.by_formula))
    assert np.all(np.diff(errors) < 0) and errors[-1] < 0.01 * errors[0]


def test_gates():
    module = load("gates")
    assert module.gradients_of(module.sum_times, -2.0, 5.0, -4.0) == (-12.0, [-4.0, -4.0, 3.0])
    assert module.gradients_of(module.own_gate, -2.0, 5.0, -4.0) == (-12.0, [-4.0, -4.0, 3.0])
    assert module.gradients_of(module.product_and_maximum, 3.0, -4.0, 2.0, -1.0) == (-20.0, [-8.0, 6.0, 2.0, 0.0])
    s = 1 / (1 + np.exp(-1.0))
    value, gradients = module.gradients_of(module.neuron, 2.0, -1.0, -3.0, -2.0, -3.0)
    close(value, s)
    close(gradients, s * (1 - s) * np.array([-1.0, 2.0, -2.0, -3.0, 1.0]))
    value, gW, gx = module.squared_norm()
    close(value, 0.116)
    close(gW, [[0.088, 0.176], [0.104, 0.208]])
    close(gx, [-0.112, 0.636])
    relu, linear = module.vectors()
    close(relu, np.diag([1.0, 0.0, 1.0]))
    close(linear, [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


def test_explicit_graph():
    module = load("explicit_graph")
    W, b = np.array([[0.1, 0.2], [0.3, 0.4]]), np.array([0.5, 0.6])
    for x in (np.array([1.0, 2.0]), np.array([3.0, -1.0])):
        value, gradients, operations, table = module.evaluate(x)
        s = 1 / (1 + np.exp(-(W @ x + b)))
        close(value, s)
        close(gradients["b"], s * (1 - s))
        close(gradients["W"], np.outer(s * (1 - s), x))
        assert operations == ["placeholder", "variable", "variable", "matmul", "add", "sigmoid", "sum"]
        assert "sigmoid(add_4)" in table
    rows, derivative = module.chain(0.4)
    assert [row[0] for row in rows] == ["multiply", "sin", "exp", "square", "log"]
    close(np.prod([row[2] for row in rows]), derivative)
    close(derivative, 4 * np.cos(0.8))                 # log(exp(sin 2x)²) = 2 sin 2x
    close(rows[-1][1], 2 * np.sin(0.8))


def test_real_data():
    pytest.importorskip("sklearn")
    module = load("real_data")
    assert module.digits() >= 0.95
    ours, theirs, result = module.breast_cancer()
    assert result.success
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
