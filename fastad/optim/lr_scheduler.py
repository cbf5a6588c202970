"""Schedules of the learning rate, as in ``torch.optim.lr_scheduler``: call ``step()`` after the optimiser's.

They change ``lr`` in the optimiser's parameter groups by factors, so that several can work together.
"""
from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .optimizer import Optimizer

__all__ = ["CosineAnnealingLR", "ExponentialLR", "LambdaLR", "MultiStepLR", "ReduceLROnPlateau", "StepLR"]


def number(owner: Any, name: str, value: Any, low: float, high: float = math.inf, whole: bool = False) -> Any:
    """An option, checked."""
    kinds = (int, np.integer) if whole else (int, float, np.integer, np.floating)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value < high:
        raise ValueError(f"{type(owner).__name__}: {name}={value!r}, a {'whole ' if whole else ''}number"
                         f" from {low:g} up" + (f" and below {high:g}" if high < math.inf else "") + " is needed")
    return value


class Scheduler:
    """What schedules have: a count of steps, and the state."""

    #: What stays out of the state.
    own: tuple[str, ...] = ("optimizer",)

    def __init__(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(self).__name__}: optimizer is {type(optimizer).__name__}; an optimiser of fa.optim "
                            "is needed")
        self.optimizer = optimizer
        self.last_epoch = 0

    def get_last_lr(self) -> list[float]:
        """The learning rate of each parameter group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """The state as plain data (without functions)."""
        return {name: list(value) if isinstance(value, list) else value
                for name, value in vars(self).items() if name not in self.own}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take the state from `state_dict` of a schedule of the same class.

        Raises
        ------
        ValueError
            When it has other entries.
        """
        names = {name for name in vars(self) if name not in self.own}
        if not isinstance(state_dict, Mapping) or set(state_dict) != names:
            raise ValueError(f"{type(self).__name__}.load_state_dict: a dict with {', '.join(sorted(names))} is needed")
        number(self, "last_epoch", state_dict["last_epoch"], 0, whole=True)
        vars(self).update(state_dict)


class Schedule(Scheduler):
    """A schedule that depends on the count of steps alone."""

    def __init__(self, optimizer: Optimizer) -> None:
        super().__init__(optimizer)
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]

    def step(self) -> None:
        """Go on by one epoch."""
        self.last_epoch += 1
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=False):
            group["lr"] = self.next_lr(group["lr"], base)

    def next_lr(self, lr: float, base: float) -> float:
        """The learning rate in epoch `last_epoch`, from that before and the first one."""
        raise NotImplementedError


class StepLR(Schedule):
    """Times `gamma` after every `step_size` epochs.

    Examples
    --------
    >>> import fastad as fa
    >>> optimizer = fa.optim.SGD([fa.Variable(1.0)], lr=1.0)
    >>> schedule = fa.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
    >>> for _ in range(4):
    ...     schedule.step()
    >>> schedule.get_last_lr()
    [0.25]
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        super().__init__(optimizer)
        self.step_size: int = number(self, "step_size", step_size, 1, whole=True)
        self.gamma: float = number(self, "gamma", gamma, 0)

    def next_lr(self, lr: float, base: float) -> float:
        """See `Schedule`."""
        return lr * self.gamma if self.last_epoch % self.step_size == 0 else lr


class MultiStepLR(Schedule):
    """Times `gamma` at each of the `milestones`.

    Examples
    --------
    >>> import fastad as fa
    >>> optimizer = fa.optim.SGD([fa.Variable(1.0)], lr=1.0)
    >>> schedule = fa.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[1, 3], gamma=0.5)
    >>> for _ in range(4):
    ...     schedule.step()
    >>> schedule.get_last_lr()
    [0.25]
    """

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1) -> None:
        super().__init__(optimizer)
        if not isinstance(milestones, Iterable):
            raise TypeError(f"{type(self).__name__}: milestones={milestones!r}; a list of whole numbers is needed")
        self.milestones = sorted([int(number(self, "milestones", m, 0, whole=True)) for m in milestones])
        self.gamma: float = number(self, "gamma", gamma, 0)

    def next_lr(self, lr: float, base: float) -> float:
        """See `Schedule`."""
        passed = bisect_right(self.milestones, self.last_epoch) - bisect_right(self.milestones, self.last_epoch - 1)
        return lr * self.gamma ** passed if passed else lr


class ExponentialLR(Schedule):
    """Times `gamma` in every epoch.

    Examples
    --------
    >>> import fastad as fa
    >>> optimizer = fa.optim.SGD([fa.Variable(1.0)], lr=1.0)
    >>> schedule = fa.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.5]
    """

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        super().__init__(optimizer)
        self.gamma: float = number(self, "gamma", gamma, 0)

    def next_lr(self, lr: float, base: float) -> float:
        """See `Schedule`."""
        return lr * self.gamma


class CosineAnnealingLR(Schedule):
    """Half a cosine from the first learning rate to `eta_min` in `T_max` epochs (and back, if there are more).

    Examples
    --------
    >>> import fastad as fa
    >>> optimizer = fa.optim.SGD([fa.Variable(1.0)], lr=1.0)
    >>> schedule = fa.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
    >>> for _ in range(5):
    ...     schedule.step()
    >>> round(schedule.get_last_lr()[0], 12)
    0.5
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        super().__init__(optimizer)
        self.T_max: int = number(self, "T_max", T_max, 1, whole=True)
        self.eta_min: float = number(self, "eta_min", eta_min, 0)

    def next_lr(self, lr: float, base: float) -> float:
        """See `Schedule`."""
        if (self.last_epoch - 1 - self.T_max) % (2 * self.T_max) == 0:
            return lr + (base - self.eta_min) * (1 - math.cos(math.pi / self.T_max)) / 2
        now, before = [1 + math.cos(math.pi * epoch / self.T_max) for epoch in (self.last_epoch, self.last_epoch - 1)]
        return now / before * (lr - self.eta_min) + self.eta_min


class LambdaLR(Schedule):
    """The first learning rate times a function of the epoch; one function, or one for each parameter group.

    Examples
    --------
    >>> import fastad as fa
    >>> optimizer = fa.optim.SGD([fa.Variable(1.0)], lr=1.0)
    >>> schedule = fa.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1 / (1 + epoch))
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.5]
    """

    own = ("optimizer", "lr_lambdas")

    def __init__(self, optimizer: Optimizer,
                 lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]]) -> None:
        super().__init__(optimizer)
        n = len(optimizer.param_groups)
        self.lr_lambdas: list[Any] = list(lr_lambda) if isinstance(lr_lambda, (list, tuple)) else [lr_lambda] * n
        if len(self.lr_lambdas) != n or not all(callable(function) for function in self.lr_lambdas):
            raise ValueError(f"LambdaLR: lr_lambda={lr_lambda!r}; a function, or a list of one for each of the {n} "
                             "parameter groups, is needed")
        self.apply()

    def apply(self) -> None:
        """Set the learning rates of this epoch."""
        for group, base, function in zip(self.optimizer.param_groups, self.base_lrs, self.lr_lambdas, strict=False):
            factor = number(self, f"lr_lambda({self.last_epoch})", function(self.last_epoch), 0)
            group["lr"] = base * float(factor)

    def step(self) -> None:
        """Go on by one epoch."""
        self.last_epoch += 1
        self.apply()


class ReduceLROnPlateau(Scheduler):
    """Times `factor` when a measure has not become better for more than `patience` epochs.

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates change.
    mode : {"min", "max"}
        Whether the measure is to fall or to rise.
    factor : float
        Below 1.
    patience, cooldown : int
        How many epochs without progress are borne, and how many after a reduction do not count.
    threshold, threshold_mode : float, {"rel", "abs"}
        What counts as better than the best so far.
    min_lr : float or list of float
        Where to end; one for all groups or one for each.
    eps : float
        A smaller change of a learning rate is left out.

    Examples
    --------
    >>> import fastad as fa
    >>> optimizer = fa.optim.SGD([fa.Variable(1.0)], lr=1.0)
    >>> schedule = fa.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    >>> for loss in [3.0, 2.0, 2.0, 2.0]:
    ...     schedule.step(loss)
    >>> schedule.get_last_lr()
    [0.5]
    """

    def __init__(self, optimizer: Optimizer, mode: str = "min", factor: float = 0.1, patience: int = 10,
                 threshold: float = 1e-4, threshold_mode: str = "rel", cooldown: int = 0,
                 min_lr: float | Sequence[float] = 0.0, eps: float = 1e-8) -> None:
        super().__init__(optimizer)
        if mode not in ("min", "max"):
            raise ValueError(f"ReduceLROnPlateau: mode={mode!r}, 'min' or 'max' is needed")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f"ReduceLROnPlateau: threshold_mode={threshold_mode!r}, 'rel' or 'abs' is needed")
        n = len(optimizer.param_groups)
        self.min_lrs = list(min_lr) if isinstance(min_lr, (list, tuple)) else [min_lr] * n
        if len(self.min_lrs) != n:
            raise ValueError(f"ReduceLROnPlateau: min_lr={min_lr!r}, a number or a list of {n} is needed")
        self.mode, self.threshold_mode = mode, threshold_mode
        self.factor, self.eps = number(self, "factor", factor, 0, 1), number(self, "eps", eps, 0)
        self.patience = number(self, "patience", patience, 0, whole=True)
        self.cooldown = number(self, "cooldown", cooldown, 0, whole=True)
        self.threshold = number(self, "threshold", threshold, 0)
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = 0

    def better(self, measure: float) -> bool:
        """Whether this is progress."""
        sign = 1.0 if self.mode == "min" else -1.0
        limit = self.best * (1.0 - sign * self.threshold) if self.threshold_mode == "rel" \
            else self.best - sign * self.threshold
        return bool(sign * measure < sign * limit)

    def step(self, metrics: float) -> None:
        """Go on by one epoch, in which the measure was `metrics`."""
        measure = getattr(metrics, "value", metrics)
        if np.shape(measure) != () or np.asarray(measure).dtype.kind not in "fiub":
            raise TypeError(f"{type(self).__name__}: metrics={metrics!r}; a number is needed")
        measure = float(measure)
        self.last_epoch += 1
        if self.better(measure):
            self.best, self.num_bad_epochs = measure, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group, least in zip(self.optimizer.param_groups, self.min_lrs, strict=False):
                lr = max(group["lr"] * self.factor, least)
                if group["lr"] - lr > self.eps:
                    group["lr"] = lr
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
