"""Optimisers that take a step from the gradients that ``backward()`` has left in leaf Variables.

The formulas stand in ``_rules.pxi``, which `fastad.minimize` shares; here are the groups of parameters and the states.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter
from typing import Any, ClassVar

import numpy as np

from .._descent import Update
from ..variable import Variable, leaf_arrays

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop"]

Parameters = Iterable[Variable] | Iterable[Mapping[str, Any]]


class Optimizer:
    """What all optimisers have: groups of parameters with options of their own, and a state for each parameter.

    Parameters
    ----------
    params : iterable
        Leaf Variables; or dicts with a list of them under ``"params"`` and options for these.
    **defaults
        Options of groups that do not say otherwise.

    Attributes
    ----------
    param_groups : list of dict
        ``"params"`` and the options; these may be changed between steps.
    """

    #: What options may be: numbers from `low` up, below `high`.
    limits: ClassVar[dict[str, tuple[float, float]]] = {"beta1": (0.0, 1.0), "beta2": (0.0, 1.0)}
    #: Options that are True or False.
    flags: ClassVar[frozenset[str]] = frozenset([
        "amsgrad", "centered", "decoupled_weight_decay", "maximize", "nesterov"])
    #: Kind of the update rule, and its names for options where they differ.
    kind: ClassVar[str] = ""
    names: ClassVar[dict[str, str]] = {}

    def __init__(self, params: Parameters, **defaults: Any) -> None:
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self.updates: dict[int, Update] = {}          # by the id of a parameter, which a group keeps alive
        self.settings: list[Any] = []                 # of each group, what its updates were told last
        self.read = itemgetter(*defaults)
        if isinstance(params, (Variable, np.ndarray, Mapping, str)) or not isinstance(params, Iterable):
            raise TypeError(f"{self.name}: params is {type(params).__name__}; a list of Variables, or of dicts with "
                            "'params', is needed")
        given: list[Any] = list(params)
        if not given:
            raise ValueError(f"{self.name}: params is empty")
        for group in given if isinstance(given[0], Mapping) else [{"params": given}]:
            self.add_param_group(group)

    @property
    def name(self) -> str:
        """Its name, for messages."""
        return type(self).__name__

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Add a dict with parameters and options of their own.

        Raises
        ------
        TypeError
            When a parameter is no Variable.
        ValueError
            When one is no leaf or has a place already, or an option makes no sense.
        """
        if not isinstance(param_group, Mapping) or "params" not in param_group:
            raise TypeError(f"{self.name}: a group is a dict with a list of Variables under 'params', not "
                            f"{param_group!r}")
        group = {**self.defaults, **param_group}
        params = group["params"] = [group["params"]] if isinstance(group["params"], Variable) else list(group["params"])
        known = {id(p) for other in self.param_groups for p in other["params"]}
        for p in params:
            if not isinstance(p, Variable):
                raise TypeError(f"{self.name}: a parameter is {type(p).__name__}; Variables are needed")
            if not p.is_leaf:
                raise ValueError(f"{self.name}: a parameter was computed from other Variables; only a leaf, made by "
                                 "fa.Variable(values), can be optimised")
            if id(p) in known:
                raise ValueError(f"{self.name}: a parameter stands in params twice")
            known.add(id(p))
        unknown = set(group) - {"params", "initial_lr", *self.defaults}
        if unknown:
            raise ValueError(f"{self.name}: there is no option {', '.join(sorted(unknown))}; there are "
                             f"{', '.join(self.defaults)}")
        self.options(group)
        self.param_groups.append(group)
        self.settings.append(None)

    def options(self, group: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a group under the names of the update rule, checked."""
        for name in self.flags & self.defaults.keys():
            if not isinstance(group[name], (bool, np.bool_)):
                raise ValueError(f"{self.name}: {name}={group[name]!r}, True or False is needed")
        options = {name: group[name] for name in self.defaults if name not in ("betas", "maximize")}
        if "betas" in self.defaults:
            betas = group["betas"]
            if not isinstance(betas, (tuple, list)) or len(betas) != 2:
                raise ValueError(f"{self.name}: betas={betas!r}, two numbers are needed")
            options["beta1"], options["beta2"] = betas
        for name, value in options.items():
            if name in self.flags:
                continue
            low, high = self.limits.get(name, (0.0, np.inf))
            if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)) \
                    or not low <= value < high:
                raise ValueError(f"{self.name}: {name}={value!r}, a number from {low:g} up"
                                 + (f" and below {high:g}" if high < np.inf else "") + " is needed")
        return {self.names.get(name, name): value for name, value in options.items()}

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters; or make them zero, where there are some."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.zero_grad()
                elif p.grad is not None:
                    p.grad = np.zeros(p.shape)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move all parameters that have a gradient.

        Parameters
        ----------
        closure : callable, optional
            Computes the loss and its gradients; called before the step.

        Returns
        -------
        object
            What `closure` returned, else None.
        """
        if closure is not None and not callable(closure):
            raise TypeError(f"{self.name}: step(closure={closure!r}); a function is needed, or nothing")
        loss = None if closure is None else closure()
        updates = self.updates
        for k, group in enumerate(self.param_groups):
            settings = self.read(group)
            if settings != self.settings[k]:
                self.tell(k, group, settings)
            ascent = group["maximize"]
            for p in group["params"]:
                arrays = leaf_arrays(p)
                if arrays is None:
                    continue
                value, gradient = arrays
                update = updates.get(id(p))
                if update is None:
                    update = updates[id(p)] = Update(self.kind, p.size, **self.options(group))
                update.apply(-gradient if ascent else gradient, value)
        return loss

    def tell(self, k: int, group: dict[str, Any], settings: Any) -> None:
        """Pass changed options of a group on to the updates of its parameters."""
        options = self.options(group)
        for p in group["params"]:
            if id(p) in self.updates:
                self.updates[id(p)].set(**options)
        self.settings[k] = settings

    def state_dict(self) -> dict[str, Any]:
        """Options and states as plain data, which pickles; parameters are numbered through all groups.

        Returns
        -------
        dict
            ``"state"``: number of a parameter to ``"step"`` and arrays of its shape; ``"param_groups"``: dicts of
            options, with the numbers of the parameters under ``"params"``.
        """
        params = [p for group in self.param_groups for p in group["params"]]
        numbers = {id(p): k for k, p in enumerate(params)}
        return {"state": {k: self.state_of(p) for k, p in enumerate(params) if id(p) in self.updates},
                "param_groups": [{**group, "params": [numbers[id(p)] for p in group["params"]]}
                                 for group in self.param_groups]}

    def state_of(self, p: Variable) -> dict[str, Any]:
        """What is remembered of one parameter."""
        update = self.updates[id(p)]
        return {"step": update.count, **{name: a.reshape(p.shape).copy() for name, a in update.state.items()}}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take options and states from `state_dict` of an optimiser with parameters of the same shapes.

        Raises
        ------
        ValueError
            When it does not fit; nothing is changed then.
        """
        if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= set(state_dict):
            raise ValueError(f"{self.name}.load_state_dict: a dict with 'state' and 'param_groups' is needed")
        groups, states = state_dict["param_groups"], state_dict["state"]
        sizes = [len(group["params"]) for group in self.param_groups]
        if not isinstance(groups, (list, tuple)) or [len(group.get("params", ())) for group in groups] != sizes:
            raise ValueError(f"{self.name}.load_state_dict: groups of {sizes} parameters are needed")
        params = [p for group in self.param_groups for p in group["params"]]
        numbers = [number for group in groups for number in group["params"]]
        loaded = []
        for own, group in zip(self.param_groups, groups, strict=True):
            missing = set(self.defaults) - set(group)
            if missing or set(group) - {"params", "initial_lr", *self.defaults}:
                raise ValueError(f"{self.name}.load_state_dict: a group has the options "
                                 f"{', '.join(sorted(set(group) - {'params'}))}, needed are {', '.join(self.defaults)}")
            loaded.append({**group, "params": own["params"]})
        if not isinstance(states, Mapping) or not set(states) <= set(numbers):
            raise ValueError(f"{self.name}.load_state_dict: 'state' has other keys than the numbers of the parameters")
        made = self.loaded_states({id(p): (p, group, states.get(number)) for p, number, group in zip(
            params, numbers, [group for group in loaded for _ in group["params"]], strict=True)})
        self.param_groups[:] = loaded
        self.settings = [None] * len(loaded)
        self.updates = made

    def loaded_states(self, wanted: dict[int, tuple[Variable, dict[str, Any], Any]]) -> dict[int, Any]:
        """States from what `state_of` gave, by the id of their parameters."""
        made = {}
        for key, (p, group, state) in wanted.items():
            options = self.options(group)
            if state is None:
                continue
            update = made[key] = Update(self.kind, p.size, **options)
            if not isinstance(state, Mapping) or set(state) != {"step", *update.state}:
                raise ValueError(f"{self.name}.load_state_dict: the state of a parameter needs "
                                 f"{', '.join(['step', *update.state])}, it has {', '.join(map(str, state))}")
            if not isinstance(state["step"], (int, np.integer)) or state["step"] < 0:
                raise ValueError(f"{self.name}.load_state_dict: step={state['step']!r}, a whole number is needed")
            update.count = int(state["step"])
            for name, memory in update.state.items():
                values = np.asarray(state[name])
                if values.shape != p.shape or values.dtype.kind not in "fiu":
                    raise ValueError(f"{self.name}.load_state_dict: {name} is an array of shape {values.shape} and "
                                     f"dtype {values.dtype}; the parameter has shape {p.shape}")
                memory[...] = values.reshape(-1)
        return made

    def __repr__(self) -> str:
        lines = []
        for k, group in enumerate(self.param_groups):
            options = ", ".join(f"{name}={value}" for name, value in group.items() if name != "params")
            lines.append(f"  group {k}: {len(group['params'])} parameters, {options}")
        return "\n".join([f"{self.name}(", *lines, ")"])

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError(f"{self.name}: an optimiser belongs to its Variables and is not pickled; its state_dict() is")


class SGD(Optimizer):
    """Gradient descent, with momentum if wanted.

    With ``g`` the gradient (plus ``weight_decay`` times the parameter), ``v = momentum v + (1 - dampening) g``,
    beginning with ``v = g``, the step is ``-lr v``; Nesterov's is ``-lr (g + momentum v)``.

    Parameters
    ----------
    params : iterable
        Leaf Variables, or dicts with ``"params"`` and options.
    lr, momentum, dampening, weight_decay : float
        See the formula.
    nesterov : bool
        Nesterov's momentum; needs a momentum, and no dampening.
    maximize : bool
        Go up instead.

    Examples
    --------
    >>> import numpy as np
    >>> import fastad as fa
    >>> w = fa.Variable([1.0, 2.0])
    >>> optimizer = fa.optim.SGD([w], lr=0.1)
    >>> np.sum(w ** 2).backward()
    >>> optimizer.step()
    >>> w.value
    array([0.8, 1.6])
    """

    kind = "sgd"

    def __init__(self, params: Parameters, lr: float = 1e-3, momentum: float = 0.0, dampening: float = 0.0,
                 weight_decay: float = 0.0, nesterov: bool = False, *, maximize: bool = False) -> None:
        super().__init__(params, lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay,
                         nesterov=nesterov, maximize=maximize)

    def options(self, group: Mapping[str, Any]) -> dict[str, Any]:
        """See `Optimizer`."""
        options = super().options(group)
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise ValueError("SGD: nesterov=True needs a momentum and no dampening, not "
                             f"momentum={group['momentum']!r}, dampening={group['dampening']!r}")
        return options


class Adagrad(Optimizer):
    """Steps that become shorter with the sum of squared gradients (Duchi, Hazan, Singer 2011).

    With ``g`` the gradient (plus ``weight_decay`` times the parameter), ``s = s + g^2``, the step is
    ``-lr / (1 + (step - 1) lr_decay) g / (sqrt(s) + eps)``.

    Parameters
    ----------
    params : iterable
        Leaf Variables, or dicts with ``"params"`` and options.
    lr, lr_decay, weight_decay, eps : float
        See the formula.
    initial_accumulator_value : float
        What ``s`` begins with.
    maximize : bool
        Go up instead.

    Examples
    --------
    >>> import fastad as fa
    >>> w = fa.Variable(4.0)
    >>> optimizer = fa.optim.Adagrad([w], lr=0.5)
    >>> (w ** 2).backward()
    >>> optimizer.step()
    >>> w.value
    np.float64(3.5)
    """

    kind, names = "adagrad", {"initial_accumulator_value": "initial"}

    def __init__(self, params: Parameters, lr: float = 1e-2, lr_decay: float = 0.0, weight_decay: float = 0.0,
                 initial_accumulator_value: float = 0.0, eps: float = 1e-10, *, maximize: bool = False) -> None:
        super().__init__(params, lr=lr, lr_decay=lr_decay, weight_decay=weight_decay, eps=eps, maximize=maximize,
                         initial_accumulator_value=initial_accumulator_value)


class RMSprop(Optimizer):
    """Steps in units of a running mean of squared gradients (Tieleman, Hinton 2012; centred: Graves 2013).

    With ``g`` the gradient (plus ``weight_decay`` times the parameter), ``s = alpha s + (1 - alpha) g^2``, the step is
    ``-lr g / (sqrt(s) + eps)``; centred with ``s`` less the square of the running mean of ``g``; with momentum of
    ``v = momentum v + g / (...)``.

    Parameters
    ----------
    params : iterable
        Leaf Variables, or dicts with ``"params"`` and options.
    lr, alpha, eps, weight_decay, momentum : float
        See the formula.
    centered : bool
        Whether the variance takes the place of the mean square.
    maximize : bool
        Go up instead.

    Examples
    --------
    >>> import fastad as fa
    >>> w = fa.Variable(4.0)
    >>> optimizer = fa.optim.RMSprop([w], lr=0.5, alpha=0.75)
    >>> (w ** 2).backward()
    >>> optimizer.step()
    >>> w.value.round(6)
    np.float64(3.0)
    """

    kind, names = "rmsprop", {"alpha": "beta2"}
    limits: ClassVar[dict[str, tuple[float, float]]] = {"alpha": (0.0, 1.0)}

    def __init__(self, params: Parameters, lr: float = 1e-2, alpha: float = 0.99, eps: float = 1e-8,
                 weight_decay: float = 0.0, momentum: float = 0.0, centered: bool = False, *,
                 maximize: bool = False) -> None:
        super().__init__(params, lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum,
                         centered=centered, maximize=maximize)


class Adam(Optimizer):
    """Running means of the gradient and its square, corrected for their start (Kingma, Ba 2015).

    With ``g`` the gradient (plus ``weight_decay`` times the parameter), ``m = beta1 m + (1 - beta1) g`` and
    ``s = beta2 s + (1 - beta2) g^2``, the step is ``-lr M / (sqrt(S) + eps)``, where ``M = m / (1 - beta1^step)`` and
    ``S = s / (1 - beta2^step)``.

    Parameters
    ----------
    params : iterable
        Leaf Variables, or dicts with ``"params"`` and options.
    lr, eps, weight_decay : float
        See the formula.
    betas : tuple of float
        ``(beta1, beta2)``.
    amsgrad : bool
        Whether the greatest ``s`` so far takes its place (Reddi, Kale, Kumar 2018).
    maximize : bool
        Go up instead.
    decoupled_weight_decay : bool
        Whether the decay is a part of the step, not of the gradient: `AdamW`.

    Examples
    --------
    >>> import fastad as fa
    >>> w = fa.Variable(4.0)
    >>> optimizer = fa.optim.Adam([w], lr=0.5)
    >>> (w ** 2).backward()
    >>> optimizer.step()
    >>> w.value.round(6)
    np.float64(3.5)
    """

    kind, names = "adam", {"decoupled_weight_decay": "decoupled"}

    def __init__(self, params: Parameters, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 0.0, amsgrad: bool = False, *, maximize: bool = False,
                 decoupled_weight_decay: bool = False) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad,
                         maximize=maximize, decoupled_weight_decay=decoupled_weight_decay)


class AdamW(Adam):
    """Adam with a weight decay of its own, ``-lr weight_decay`` times the parameter (Loshchilov, Hutter 2019).

    Parameters
    ----------
    params : iterable
        Leaf Variables, or dicts with ``"params"`` and options.
    lr, betas, eps, weight_decay, amsgrad, maximize
        As for `Adam`.

    Examples
    --------
    >>> import fastad as fa
    >>> w = fa.Variable(4.0)
    >>> optimizer = fa.optim.AdamW([w], lr=0.5, weight_decay=0.1)
    >>> (w ** 2).backward()
    >>> optimizer.step()
    >>> w.value.round(6)
    np.float64(3.3)
    """

    def __init__(self, params: Parameters, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 1e-2, amsgrad: bool = False, *,
                 maximize: bool = False) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, decoupled_weight_decay=True)
