"""The methods of `minimize`: which update rule each is, with which options, and what values these may have."""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["ACCEPT", "METHODS", "Method", "number", "options_of"]


@dataclass(frozen=True)
class Method:
    """A method: the kind of its rule (see ``fastad._descent.Update``), its options and how its steps are accepted."""

    kind: str
    lr: float = 0.01
    #: name of an option -> (what the rule calls it, default)
    options: dict[str, tuple[str, Any]] = field(default_factory=dict)
    fixed: dict[str, Any] = field(default_factory=dict)
    #: The search that a method needs, whose steps have a natural length.
    accept: str | None = None


SQUARES = {"beta1": ("beta1", 0.9), "beta2": ("beta2", 0.999), "eps": ("eps", 1e-8), "amsgrad": ("amsgrad", False)}

#: The methods by name; a new rule is one more entry.
METHODS = {
    "gd": Method("sgd"),
    "momentum": Method("sgd", options={"beta": ("momentum", 0.9), "dampening": ("dampening", 0.0)}),
    "nesterov": Method("sgd", options={"beta": ("momentum", 0.9)}, fixed={"nesterov": True}),
    "adagrad": Method("adagrad", options={"eps": ("eps", 1e-10), "lr_decay": ("lr_decay", 0.0)}),
    "rmsprop": Method("rmsprop", options={"rho": ("beta2", 0.9), "eps": ("eps", 1e-8), "centered": ("centered", False),
                                          "momentum": ("momentum", 0.0)}),
    "adam": Method("adam", options=SQUARES),
    "adamw": Method("adam", options={**SQUARES, "weight_decay": ("weight_decay", 0.01)}, fixed={"decoupled": True}),
    "lbfgs": Method("lbfgs", 1.0, {"memory": ("memory", 10)}, accept="wolfe"),
    "newton-cg": Method("outside", 1.0, {"cg_iter": ("cg_iter", None)}, accept="armijo"),
}

#: Names of the ways to accept a step, and what the iterations call them.
ACCEPT = {None: "any", "decrease": "decrease", "armijo": "armijo", "wolfe": "wolfe"}

#: The values of an option: lowest, whether that is allowed, and what is beyond the highest.
LIMITS = {"lr": (0.0, False, np.inf), "eps": (0.0, False, np.inf), "beta": (0.0, True, 1.0), "beta1": (0.0, True, 1.0),
          "beta2": (0.0, True, 1.0), "rho": (0.0, True, 1.0), "momentum": (0.0, True, 1.0),
          "clip_norm": (0.0, False, np.inf), "clip_value": (0.0, False, np.inf), "gamma": (0.0, False, np.inf),
          "dampening": (0.0, True, 1.0)}
WHOLE = ("memory", "cg_iter", "step_size", "T_max")


def number(who: str, name: str, value: Any) -> Any:
    """An option's value, checked.

    Raises
    ------
    ValueError
        Names the option, its value and what it may be.

    Examples
    --------
    >>> number("minimize", "beta1", 1.0)
    Traceback (most recent call last):
    ValueError: minimize: beta1=1.0, it has to be at least 0 and below 1
    """
    if name in ("amsgrad", "centered"):
        if not isinstance(value, (bool, np.bool_)):
            raise ValueError(f"{who}: {name}={value!r}, True or False is needed")
        return bool(value)
    if name in WHOLE:
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"{who}: {name}={value!r}, a whole number from 1 up is needed")
        return int(value)
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)) \
            or not np.isfinite(value):
        raise ValueError(f"{who}: {name}={value!r}, a number is needed")
    low, included, high = LIMITS.get(name, (0.0, True, np.inf))
    if not (value >= low if included else value > low) or not value < high:
        bound = f"at least {low:g}" if included else "positive"
        raise ValueError(f"{who}: {name}={value!r}, it has to be {bound}"
                         + (f" and below {high:g}" if np.isfinite(high) else ""))
    return float(value)


def options_of(who: str, method: str, given: dict[str, Any],
               others: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of a method's rule, and those given of `others` (of a schedule), checked.

    Raises
    ------
    ValueError
        When there is no such method or option; names those that there are.
    """
    if not isinstance(method, str) or method not in METHODS:
        raise ValueError(f"{who}: method={method!r} is not known; allowed are {', '.join(map(repr, METHODS))} and "
                         "'scipy:' with the name of one of scipy.optimize.minimize's")
    kind = METHODS[method]
    for name, value in given.items():
        if name not in kind.options and name not in others:
            allowed = ["lr", *kind.options, *others]
            raise ValueError(f"{who}: method {method!r} has no option {name}={value!r}; allowed are "
                             f"{', '.join(allowed)}")
    made = {own: number(who, name, given[name]) if name in given else default
            for name, (own, default) in kind.options.items()}
    return {**kind.fixed, **made}, {name: number(who, name, value) for name, value in given.items() if name in others}
