"""Schedules of the learning rate: closed forms, states, misuse; beside PyTorch's where it is installed."""
import math
import pickle

import numpy as np
import pytest

import fastad as fa
from fastad.optim import lr_scheduler

SCHEDULES = {
    "StepLR": (lambda o, at: at.StepLR(o, 7, gamma=0.5), lambda k: 0.5 ** (k // 7)),
    "MultiStepLR": (lambda o, at: at.MultiStepLR(o, [20, 3, 3], gamma=0.5),
                    lambda k: 0.5 ** (2 * (k >= 3) + (k >= 20))),
    "ExponentialLR": (lambda o, at: at.ExponentialLR(o, 0.9), lambda k: 0.9 ** k),
    "CosineAnnealingLR": (lambda o, at: at.CosineAnnealingLR(o, 15), lambda k: (1 + math.cos(math.pi * k / 15)) / 2),
    "LambdaLR": (lambda o, at: at.LambdaLR(o, lambda k: 1 / (1 + k)), lambda k: 1 / (1 + k)),
}


def optimiser(*rates):
    return fa.optim.SGD([{"params": [fa.Variable(1.0)], "lr": lr} for lr in rates])


@pytest.mark.parametrize("name", SCHEDULES)
def test_rates_follow_the_closed_form(name):
    make, form = SCHEDULES[name]
    optimizer = optimiser(0.5, 0.25)
    schedule = make(optimizer, lr_scheduler)
    for k in range(1, 40):
        schedule.step()
        np.testing.assert_allclose(schedule.get_last_lr(), [0.5 * form(k), 0.25 * form(k)], rtol=1e-12, atol=1e-15)


def test_cosine_ends_at_eta_min():
    optimizer = optimiser(1.0)
    schedule = lr_scheduler.CosineAnnealingLR(optimizer, T_max=8, eta_min=0.1)
    for _ in range(8):
        schedule.step()
    np.testing.assert_allclose(schedule.get_last_lr(), [0.1])


def test_two_schedules_work_together():
    optimizer = optimiser(1.0)
    a, b = lr_scheduler.ExponentialLR(optimizer, 0.5), lr_scheduler.StepLR(optimizer, 2, gamma=0.1)
    for _ in range(4):
        a.step()
        b.step()
    np.testing.assert_allclose(optimizer.param_groups[0]["lr"], 0.5 ** 4 * 0.1 ** 2)


def test_the_optimiser_uses_the_rate():
    w = fa.Variable(0.0)
    optimizer = fa.optim.SGD([w], lr=1.0)
    schedule = lr_scheduler.ExponentialLR(optimizer, 0.5)
    for _ in range(3):
        w.grad = 1.0
        optimizer.step()
        schedule.step()
    assert w.value == -1.75


def test_plateau():
    optimizer = optimiser(1.0)
    schedule = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1, cooldown=1, min_lr=0.2)
    seen = []
    for loss in [5.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0]:
        schedule.step(loss)
        seen += schedule.get_last_lr()
    assert seen == [1.0] * 3 + [0.5] * 3 + [0.25] * 3 + [0.2] * 4
    up = lr_scheduler.ReduceLROnPlateau(optimiser(1.0), mode="max", threshold_mode="abs", threshold=0.5, patience=0)
    for value in [1.0, 2.0, 2.4]:
        up.step(fa.Variable(value))
    assert up.get_last_lr() == [0.1]


@pytest.mark.parametrize("name", [*SCHEDULES, "plateau"])
def test_rates_are_torchs(name):
    torch = pytest.importorskip("torch")
    make = SCHEDULES[name][0] if name in SCHEDULES else lambda o, at: at.ReduceLROnPlateau(o, patience=2, cooldown=1)
    ours, theirs = optimiser(0.5), torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    a, b = make(ours, lr_scheduler), make(theirs, torch.optim.lr_scheduler)
    for k in range(60):
        theirs.step()
        for schedule in (a, b):
            schedule.step(*([] if name in SCHEDULES else [float(k % 9)]))
        np.testing.assert_allclose(a.get_last_lr(), theirs.param_groups[0]["lr"], rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("name", [*SCHEDULES, "plateau"])
def test_a_saved_state_goes_on(name):
    make = SCHEDULES[name][0] if name in SCHEDULES else lambda o, at: at.ReduceLROnPlateau(o, patience=2, min_lr=[0.01])
    measure = [] if name in SCHEDULES else [1.0]
    first = optimiser(0.5)
    schedule = make(first, lr_scheduler)
    for _ in range(10):
        schedule.step(*measure)
    state = pickle.loads(pickle.dumps((first.state_dict(), schedule.state_dict())))
    second = optimiser(0.1)
    other = make(second, lr_scheduler)
    second.load_state_dict(state[0])
    other.load_state_dict(state[1])
    for _ in range(10):
        schedule.step(*measure)
        other.step(*measure)
    assert other.get_last_lr() == schedule.get_last_lr() and other.last_epoch == 20
    with pytest.raises(ValueError, match="last_epoch"):
        other.load_state_dict({"last_epoch": 3})
    with pytest.raises(ValueError, match="last_epoch='x'"):
        other.load_state_dict({**state[1], "last_epoch": "x"})


@pytest.mark.parametrize(("make", "match"), [
    (lambda o: lr_scheduler.StepLR(o, 0), "StepLR: step_size=0, a whole number from 1 up"),
    (lambda o: lr_scheduler.ExponentialLR(o, -0.5), "gamma=-0.5"),
    (lambda o: lr_scheduler.MultiStepLR(o, [1.5]), "milestones=1.5"),
    (lambda o: lr_scheduler.CosineAnnealingLR(o, 10, eta_min=-1), "eta_min=-1"),
    (lambda o: lr_scheduler.LambdaLR(o, [abs, abs]), "one for each of the 1"),
    (lambda o: lr_scheduler.ReduceLROnPlateau(o, mode="up"), "'min' or 'max'"),
    (lambda o: lr_scheduler.ReduceLROnPlateau(o, threshold_mode="x"), "'rel' or 'abs'"),
    (lambda o: lr_scheduler.ReduceLROnPlateau(o, factor=1.0), "factor=1.0, a number from 0 up and below 1"),
    (lambda o: lr_scheduler.ReduceLROnPlateau(o, min_lr=[0.1, 0.2]), "a list of 1"),
])
def test_bad_arguments(make, match):
    with pytest.raises(ValueError, match=match):
        make(optimiser(0.1))


def test_an_optimiser_is_needed():
    with pytest.raises(TypeError, match="optimizer is list"):
        lr_scheduler.StepLR([], 3)


@pytest.mark.parametrize("factor", [None, np.nan, -1.0, "1"])
def test_factors_are_numbers(factor):
    with pytest.raises(ValueError, match=r"LambdaLR: lr_lambda\(0\)="):
        fa.optim.LambdaLR(fa.optim.SGD([fa.Variable(1.0)], lr=0.1), lambda k: factor)
