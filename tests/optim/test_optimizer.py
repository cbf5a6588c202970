"""fa.optim: formulas, groups, states, misuse.

Reference numbers were stored from a run of torch.optim 2.13 (float64); where PyTorch is installed, more are compared.
"""
import copy
import itertools
import pickle

import numpy as np
import pytest
from test_tape import fresh_tape

import fastad as fa

FAMILIES = ["SGD", "Adagrad", "RMSprop", "Adam", "AdamW"]


def gradient(k):
    """The gradient of step k, of three parameters."""
    return np.array([np.sin(k + 3.0 * j) * (1 + j) + 0.2 for j in range(3)])


def walk(optimizer, w, steps=100, first=0):
    for k in range(first, first + steps):
        w.grad = gradient(k)
        optimizer.step()
    return w.value.copy()


# ---- formulas ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("name", "options", "want"), [
    ("SGD", {"lr": .05, "momentum": .9, "dampening": .3, "weight_decay": .1},
     [-2.0298782008611167, -1.9551801861426292, -2.09084369675322]),
    ("SGD", {"lr": .05, "momentum": .9, "nesterov": True, "maximize": True},
     [10.642437984592409, 6.339050851811681, 10.86013581851312]),
    ("Adagrad", {"lr": .1, "lr_decay": .1, "weight_decay": .1, "initial_accumulator_value": .5},
     [0.7022637811966584, -1.9310359903534025, 0.3878733063300753]),
    ("RMSprop", {"lr": .01, "alpha": .9, "centered": True, "momentum": .9, "weight_decay": .1},
     [-1.5536344744026918, -1.9316698357271083, -0.5261790531423864]),
    ("Adam", {"lr": .05, "betas": (.8, .99), "weight_decay": .1},
     [-0.546025876405063, -1.9373216248225746, -0.07638735448832756]),
    ("Adam", {"lr": .05, "amsgrad": True}, [-0.5315830835571382, -2.580324203323058, -0.056339455976836594]),
    ("AdamW", {"lr": .05, "weight_decay": .1, "amsgrad": True},
     [-0.5740075517615703, -1.6869233417928131, -0.12467299108709252]),
])
def test_a_hundred_steps_end_where_torchs_did(name, options, want):
    w = fa.Variable([1.0, -2.0, 0.5])
    np.testing.assert_allclose(walk(getattr(fa.optim, name)([w], **options), w), want, rtol=1e-12, atol=1e-12)


def published(name, g, x, state, k, o):
    """A step of the published algorithms, with NumPy, written down for this test."""
    g = (-g if o.get("maximize") else g) + (0.0 if name == "AdamW" else o.get("weight_decay", 0.0)) * x
    if name == "SGD":
        mu = o.get("momentum", 0.0)
        state["v"] = g if k == 1 else mu * state["v"] + (1 - o.get("dampening", 0.0)) * g
        return -o["lr"] * ((g + mu * state["v"]) if o.get("nesterov") else state["v"] if mu else g)
    if name == "Adagrad":
        state["s"] = state.get("s", o.get("initial_accumulator_value", 0.0)) + g ** 2
        return -o["lr"] / (1 + (k - 1) * o.get("lr_decay", 0.0)) * g / (np.sqrt(state["s"]) + 1e-10)
    if name == "RMSprop":
        alpha = o.get("alpha", 0.99)
        state["s"] = alpha * state.get("s", 0.0) + (1 - alpha) * g ** 2
        state["m"] = alpha * state.get("m", 0.0) + (1 - alpha) * g
        unit = g / (np.sqrt(state["s"] - (state["m"] ** 2 if o.get("centered") else 0.0)) + 1e-8)
        state["v"] = o.get("momentum", 0.0) * state.get("v", 0.0) + unit
        return -o["lr"] * state["v"]
    b1, b2 = o.get("betas", (0.9, 0.999))
    state["m"] = b1 * state.get("m", 0.0) + (1 - b1) * g
    state["s"] = b2 * state.get("s", 0.0) + (1 - b2) * g ** 2
    state["greatest"] = np.maximum(state.get("greatest", 0.0), state["s"])
    square = (state["greatest"] if o.get("amsgrad") else state["s"]) / (1 - b2 ** k)
    decay = o["lr"] * o.get("weight_decay", 0.01) * x if name == "AdamW" else 0.0
    return -o["lr"] * state["m"] / (1 - b1 ** k) / (np.sqrt(square) + 1e-8) - decay


VARIANTS = [
    *[("SGD", {"lr": .05, "momentum": m, "dampening": d, "weight_decay": w, "maximize": u})
      for m, d, w, u in itertools.product([0, .9], [0, .3], [0, .1], [False, True]) if m or not d],
    ("SGD", {"lr": .05, "momentum": .5, "nesterov": True}),
    *[("Adagrad", {"lr": .1, "lr_decay": d, "initial_accumulator_value": s})
      for d, s in itertools.product([0, .1], [0, .5])],
    *[("RMSprop", {"lr": .01, "alpha": .9, "centered": c, "momentum": m, "maximize": u})
      for c, m, u in itertools.product([False, True], [0, .9], [False, True])],
    *[(name, {"lr": .05, "betas": (.8, .99), "amsgrad": a, "weight_decay": .1})
      for name, a in itertools.product(["Adam", "AdamW"], [False, True])],
]


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_steps_follow_the_published_formulas(name, options):
    w, x, state = fa.Variable([1.0, -2.0, 0.5]), np.array([1.0, -2.0, 0.5]), {}
    optimizer = getattr(fa.optim, name)([w], **options)
    for k in range(1, 101):
        x = x + published(name, gradient(k), x, state, k, options)
        w.grad = gradient(k)
        optimizer.step()
        np.testing.assert_allclose(w.value, x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_steps_are_torchs(name, options):
    torch = pytest.importorskip("torch")
    shapes = [(3,), (2, 2), ()]
    rng = np.random.default_rng(1)
    ours = [fa.Variable(rng.normal(size=shape)) for shape in shapes]
    theirs = [torch.tensor(np.array(w.value), dtype=torch.float64, requires_grad=True) for w in ours]
    a, b = getattr(fa.optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
    for k in range(100):
        for i, (w, p) in enumerate(zip(ours, theirs, strict=True)):
            g = rng.normal(size=w.shape) if (k + i) % 5 else None
            w.grad, p.grad = g, None if g is None else torch.tensor(g)
        a.step()
        b.step()
        for w, p in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(w.value, p.detach().numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", FAMILIES)
def test_defaults_are_torchs(name):
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.optim, name)([torch.zeros(1, requires_grad=True)]).defaults
    assert {k: theirs[k] for k in getattr(fa.optim, name)([fa.Variable(0.0)]).defaults} == \
        getattr(fa.optim, name)([fa.Variable(0.0)]).defaults


# ---- on a graph --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", FAMILIES)
def test_loops_reach_a_minimum(name):
    def loop():
        a, b = fa.Variable(np.zeros((2, 2))), fa.Variable(0.0)
        optimizer = getattr(fa.optim, name)([a, b], lr={"Adagrad": 0.9}.get(name, 0.05), **(
            {"weight_decay": 0.0} if name == "AdamW" else {}))
        sizes = []
        for _ in range(600):
            optimizer.zero_grad()
            loss = np.sum((a - 1.0) ** 2) + (b + 2.0) ** 2
            loss.backward()
            optimizer.step()
            sizes.append(len(fa.tape()))
        return a.value, b.value, max(sizes)

    a, b, size = fresh_tape(loop)                 # one that has grown collects later
    np.testing.assert_allclose(a, np.ones((2, 2)), atol=0.05)
    np.testing.assert_allclose(b, -2.0, atol=0.05)
    assert size < 1500                            # of 2400: graphs go when they are done; steps are not recorded


def test_an_update_is_seen_by_what_is_computed_next_and_not_by_what_was():
    w = fa.Variable([1.0, 2.0])
    optimizer = fa.optim.SGD([w], lr=1.0)
    held, y = w.value, w * w
    w.grad = np.array([1.0, 1.0])
    optimizer.step()
    assert held.tolist() == [0.0, 1.0]            # a leaf's array is its own memory
    assert y.value.tolist() == [1.0, 4.0]
    np.sum(y).backward()                          # of the values that y was computed from
    assert w.grad.tolist() == [3.0, 5.0]
    assert (w * w).value.tolist() == [0.0, 1.0]


def test_parameters_without_gradient_stay():
    a, b = fa.Variable(1.0), fa.Variable(1.0)
    optimizer = fa.optim.Adam([a, b], lr=0.1)
    (a ** 2).backward()
    assert optimizer.step() is None
    assert b.value == 1.0 and a.value < 1.0
    assert set(optimizer.state_dict()["state"]) == {0}


def test_kinds_of_leaves_and_gradients():
    single, half, empty = fa.Variable(np.float32([1.0, 2.0])), fa.Variable([[1.0, 2.0], [3.0, 4.0]]), fa.Variable([])
    optimizer = fa.optim.SGD([single, half, empty], lr=0.5)
    single.grad, empty.grad = np.ones(2), np.empty(0)
    (np.sum(half.T @ np.array([1.0, 2.0]))).backward(create_graph=True)
    assert isinstance(half.grad, fa.Variable)
    optimizer.step()
    assert single.value.tolist() == [0.5, 1.5] and half.value.tolist() == [[0.5, 1.5], [2.0, 3.0]]
    half.grad = np.asfortranarray([[1.0, 2.0], [3.0, 4.0]])
    optimizer.step()
    assert half.value.tolist() == [[0.0, 0.5], [0.5, 1.0]]


def test_a_closure_is_called_first():
    w = fa.Variable(2.0)
    optimizer = fa.optim.SGD([w], lr=0.25)

    def closure():
        optimizer.zero_grad()
        loss = w ** 2
        loss.backward()
        return loss

    assert float(optimizer.step(closure).value) == 4.0 and w.value == 1.0
    assert float(optimizer.step(closure).value) == 1.0 and w.value == 0.5


def test_zero_grad():
    a, b = fa.Variable([1.0]), fa.Variable([1.0])
    optimizer = fa.optim.SGD([a, b])
    a.grad = np.ones(1)
    optimizer.zero_grad(set_to_none=False)
    assert a.grad.tolist() == [0.0] and b.grad is None
    optimizer.zero_grad()
    assert a.grad is None


def test_no_step_while_tracing():
    w = fa.Variable([1.0])
    w.grad = np.ones(1)
    optimizer = fa.optim.SGD([w])

    def f(x):
        optimizer.step()
        return np.sum(x * w)

    with pytest.warns(UserWarning, match="step of an optimiser"):
        fa.compile(f)(np.ones(1))


# ---- groups ------------------------------------------------------------------------------------------------
def test_groups_have_options_of_their_own():
    a, b, c = fa.Variable(1.0), fa.Variable(1.0), fa.Variable(1.0)
    optimizer = fa.optim.SGD([{"params": [a]}, {"params": b, "lr": 0.5}], lr=0.1)
    optimizer.add_param_group({"params": [c], "lr": 0.25, "maximize": True})
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.5, 0.25]
    for w in (a, b, c):
        w.grad = 1.0
    optimizer.step()
    np.testing.assert_allclose([a.value, b.value, c.value], [0.9, 0.5, 1.25])
    assert "group 1" in repr(optimizer) and "lr=0.5" in repr(optimizer)


def test_options_may_be_changed_between_steps():
    w = fa.Variable([1.0, -2.0, 0.5])
    optimizer = fa.optim.Adam([w], lr=0.05)
    walk(optimizer, w, 5)
    optimizer.param_groups[0].update(lr=0.01, betas=(0.5, 0.9), weight_decay=0.2)
    x, state = np.array([1.0, -2.0, 0.5]), {}
    for k in range(10):
        options = {"lr": 0.05} if k < 5 else {"lr": 0.01, "betas": (0.5, 0.9), "weight_decay": 0.2}
        x = x + published("Adam", gradient(k), x, state, k + 1, options)
    np.testing.assert_allclose(walk(optimizer, w, 5, first=5), x, rtol=1e-12)
    optimizer.param_groups[0]["lr"] = -1.0
    with pytest.raises(ValueError, match=r"Adam: lr=-1.0, a number from 0 up"):
        walk(optimizer, w, 1)


def test_bad_parameters():
    w = fa.Variable([1.0])
    for params, error, match in [
        (w, TypeError, "a list of Variables"), (np.ones(2), TypeError, "a list of Variables"),
        ([], ValueError, "empty"),
        ([w, w], ValueError, "twice"), ([np.ones(2)], TypeError, "a parameter is ndarray"),
        ([w * 2.0], ValueError, "only a leaf"), ([w.detach()], ValueError, "only a leaf"),
        ([{"parameters": [w]}], TypeError, "under 'params'"), ([{"params": [w]}, w], TypeError, "a group is a dict"),
        ([{"params": [w]}, {"params": [w]}], ValueError, "twice"),
        ([{"params": [w], "rate": 1.0}], ValueError, "no option rate; there are lr, momentum"),
    ]:
        with pytest.raises(error, match=match):
            fa.optim.SGD(params, lr=0.1)


@pytest.mark.parametrize(("name", "options", "match"), [
    ("SGD", {"lr": -1.0}, r"SGD: lr=-1.0, a number from 0 up"), ("SGD", {"lr": "x"}, r"lr='x'"),
    ("SGD", {"momentum": -0.1}, "momentum=-0.1"), ("SGD", {"nesterov": True}, "needs a momentum"),
    ("SGD", {"nesterov": True, "momentum": 0.5, "dampening": 0.1}, "no dampening"),
    ("Adam", {"betas": (0.9, 1.0)}, r"beta2=1.0, a number from 0 up and below 1"),
    ("Adam", {"betas": 0.9}, "two numbers"),
    ("Adam", {"eps": np.nan}, "eps=nan"), ("AdamW", {"weight_decay": -1}, "weight_decay=-1"),
    ("RMSprop", {"alpha": 1.5}, "alpha=1.5"),
    ("Adagrad", {"initial_accumulator_value": -1}, "initial_accumulator_value=-1"),
])
def test_bad_options(name, options, match):
    with pytest.raises(ValueError, match=match):
        getattr(fa.optim, name)([fa.Variable([1.0])], **options)


# ---- states ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("name", "options"), [
    ("SGD", {"momentum": .9}), ("SGD", {}), ("Adagrad", {"lr_decay": .1}),
    ("RMSprop", {"centered": True, "momentum": .5}),
    ("Adam", {"amsgrad": True}), ("AdamW", {})])
def test_a_saved_state_goes_on_with_the_same_bits(name, options):
    w = fa.Variable([1.0, -2.0, 0.5])
    optimizer = getattr(fa.optim, name)([w], **options)
    optimizer.param_groups[0]["lr"] = 0.125
    middle = walk(optimizer, w, 10)
    state = pickle.loads(pickle.dumps(optimizer.state_dict()))
    kept = copy.deepcopy(state)
    end = walk(optimizer, w, 10, first=10)

    other = fa.Variable(middle)
    fresh = getattr(fa.optim, name)([other])
    fresh.load_state_dict(state)
    assert fresh.param_groups[0]["lr"] == 0.125 and fresh.param_groups[0]["params"] == [other]
    assert walk(fresh, other, 10, first=10).tolist() == end.tolist()
    assert repr(state) == repr(kept)              # what was loaded is a copy
    assert set(state["state"][0]) >= {"step"} and state["param_groups"][0]["params"] == [0]
    assert all(array.shape == (3,) for key, array in state["state"][0].items() if key != "step")


def test_states_that_do_not_fit_change_nothing():
    w = fa.Variable([1.0, -2.0, 0.5])
    optimizer = fa.optim.Adam([w], lr=0.1)
    walk(optimizer, w, 3)
    good, before = optimizer.state_dict(), pickle.dumps(optimizer.state_dict())

    def changed(change):
        state = copy.deepcopy(good)
        change(state)
        return state

    for state, match in [
        (3, "a dict with"), ({}, "a dict with"), (changed(lambda s: s.pop("state")), "a dict with"),
        (changed(lambda s: s["param_groups"].append({"params": [1]})), r"groups of \[1\] parameters"),
        (changed(lambda s: s["param_groups"][0].pop("eps")), "needed are lr"),
        (changed(lambda s: s["param_groups"][0].update(lr=-1)), "lr=-1"),
        (changed(lambda s: s["state"][0].pop("exp_avg")), "needs step, exp_avg"),
        (changed(lambda s: s["state"][0].update(step=-1)), "step=-1"),
        (changed(lambda s: s["state"][0].update(exp_avg=np.ones(2))), r"exp_avg .*\(2,\).*\(3,\)"),
        (changed(lambda s: s["state"][0].update(exp_avg=np.array(["x"] * 3))), "dtype <U1"),
        (changed(lambda s: s["state"].update({7: s["state"][0]})), "other keys"),
    ]:
        with pytest.raises(ValueError, match=match):
            optimizer.load_state_dict(state)
        assert pickle.dumps(optimizer.state_dict()) == before
    with pytest.raises(TypeError, match=r"state_dict\(\) is"):
        pickle.dumps(optimizer)


@pytest.mark.parametrize(("name", "options", "message"), [
    ("SGD", {"nesterov": "yes", "momentum": 0.9}, "SGD: nesterov='yes', True or False"),
    ("SGD", {"maximize": 1}, "SGD: maximize=1, True or"), ("Adam", {"amsgrad": None}, "Adam: amsgrad=None, True or"),
    ("RMSprop", {"centered": "no"}, "RMSprop: centered='no'"), ("SGD", {"lr": True}, "SGD: lr=True, a number"),
])
def test_flags_are_true_or_false(name, options, message):
    with pytest.raises(ValueError, match=message):
        getattr(fa.optim, name)([fa.Variable(1.0)], **{"lr": 0.1} | options)
