"""fa.optim.LBFGS, beside numbers stored from a run of torch.optim.LBFGS 2.13 (float64)."""
import pickle

import numpy as np
import pytest

import fastad as fa


def problem(**options):
    """Rosenbrock's function of three variables: the parameters, the optimiser and its closure."""
    w = fa.Variable([-1.2, 1.0, 0.7])
    optimizer = fa.optim.LBFGS([w], **options)

    def closure():
        optimizer.zero_grad()
        loss = np.sum(100.0 * (w[1:] - w[:-1] ** 2) ** 2 + (1.0 - w[:-1]) ** 2)
        loss.backward()
        return loss

    return w, optimizer, closure


@pytest.mark.parametrize(("options", "want", "evaluations"), [
    ({"lr": 0.1, "max_iter": 12}, [-1.01751509840677, 0.9388235345612814, 0.7930832638667707], 12),
    ({"max_iter": 12, "line_search_fn": "strong_wolfe"},
     [-0.7545565637750608, 0.5739816257118063, 0.3245530060043036], 14)])
def test_a_step_ends_where_torchs_did(options, want, evaluations):
    w, optimizer, closure = problem(**options)
    np.testing.assert_allclose(float(optimizer.step(closure).value), 33.2)
    np.testing.assert_allclose(w.value, want, rtol=1e-11)
    assert optimizer.memory["func_evals"] == evaluations


def test_it_converges():
    w, optimizer, closure = problem(line_search_fn="strong_wolfe", history_size=5, tolerance_grad=1e-6,
                                    tolerance_change=1e-15)
    for _ in range(20):
        optimizer.step(closure)
    assert np.abs(w.grad).max() <= 1e-6
    assert len(optimizer.memory["pairs"]) <= 5
    spent = optimizer.memory["func_evals"]
    optimizer.step(closure)                       # at the minimum: one look
    assert optimizer.memory["func_evals"] == spent + 1


def test_a_step_in_pieces_is_the_same():
    whole, optimizer, closure = problem(line_search_fn="strong_wolfe", max_iter=10, max_eval=1000)
    optimizer.step(closure)
    parts, optimizer, closure = problem(line_search_fn="strong_wolfe", max_iter=1, max_eval=1000)
    for _ in range(10):
        optimizer.step(closure)
    assert parts.value.tolist() == whole.value.tolist()


def test_several_parameters_some_without_gradient():
    a, b, c = fa.Variable(np.zeros((2, 2))), fa.Variable(0.0), fa.Variable([5.0])
    optimizer = fa.optim.LBFGS([a, b, c])

    def closure():
        optimizer.zero_grad()
        loss = np.sum((a - 1.0) ** 2) + (b + 2.0) ** 2
        loss.backward()
        return loss

    optimizer.step(closure)
    np.testing.assert_allclose(a.value, np.ones((2, 2)), atol=1e-6)
    np.testing.assert_allclose(b.value, -2.0, atol=1e-6)
    assert c.value.tolist() == [5.0]


def test_a_saved_state_goes_on_with_the_same_bits():
    w, optimizer, closure = problem(line_search_fn="strong_wolfe", max_iter=3)
    fresh_state = optimizer.state_dict()
    assert fresh_state["state"] == {}
    optimizer.step(closure)
    state, middle = pickle.loads(pickle.dumps(optimizer.state_dict())), w.value.copy()
    optimizer.step(closure)

    other, fresh, again = problem()
    other.value = middle
    fresh.load_state_dict(state)
    fresh.step(again)
    assert other.value.tolist() == w.value.tolist()
    for change, match in [({"d": np.ones(2)}, "vectors of 3 numbers"), ({"other": 1}, "the state needs func_evals")]:
        with pytest.raises(ValueError, match=match):
            fresh.load_state_dict({**state, "state": {0: {**state["state"][0], **change}}})
    fresh.load_state_dict(fresh_state)
    assert fresh.memory["n_iter"] == 0


def test_misuse():
    w = fa.Variable([1.0])
    with pytest.raises(ValueError, match="one group"):
        fa.optim.LBFGS([{"params": [w]}, {"params": [fa.Variable(1.0)]}])
    with pytest.raises(ValueError, match="line_search_fn='wolfe'"):
        fa.optim.LBFGS([w], line_search_fn="wolfe")
    with pytest.raises(ValueError, match="max_iter=0, a whole number from 1 up"):
        fa.optim.LBFGS([w], max_iter=0)
    with pytest.raises(ValueError, match="tolerance_grad=-1"):
        fa.optim.LBFGS([w], tolerance_grad=-1)
    with pytest.raises(ValueError, match="needs a function"):
        fa.optim.LBFGS([w]).step()


def test_a_value_that_is_not_finite_ends_the_step():
    w = fa.Variable([1.0])
    optimizer = fa.optim.LBFGS([w], line_search_fn="strong_wolfe", max_iter=5)

    def closure():
        optimizer.zero_grad()
        with np.errstate(invalid="ignore", divide="ignore"):
            loss = np.sum(np.log(w))
            loss.backward()
        return loss

    assert optimizer.step(closure).value == 0.0 and optimizer.memory["func_evals"] < 20
