"""Update rules: from the gradient (and what the rule remembers) to the next step.

Each rule is a small class: its fields are its options, ``step(g, x)`` gives the step from the point `x` with gradient
`g`, ``reset()`` forgets what was remembered. A rule knows neither the function nor how its step is accepted.
"""
from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, ClassVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["LBFGS", "RULES", "AdaGrad", "Adam", "AdamW", "GradientDescent", "Momentum", "Nesterov", "RMSProp", "Rule"]


@dataclass
class Rule:
    """What all rules have: a step length, and the check of the options."""

    lr: float = 0.01
    #: Name of the way its steps are accepted when the caller chooses none.
    accept: ClassVar[str | None] = None

    def __post_init__(self) -> None:
        for option in self.options():
            value = getattr(self, option)
            if not isinstance(value, (int, float, np.integer, np.floating)) or not np.isfinite(value):
                raise ValueError(f"minimize: {option}={value!r}, a number is needed")
            low, high = LIMITS.get(option, (0.0, np.inf))
            if not (value > 0.0 if option in POSITIVE else value >= low) or not value < high:
                bounds = "positive" if option in POSITIVE else f"at least {low:g}"
                raise ValueError(f"minimize: {option}={value!r}, it has to be {bounds}"
                                 + (f" and below {high:g}" if np.isfinite(high) else ""))
        self.reset()

    @classmethod
    def options(cls) -> list[str]:
        """Names of the options of this rule."""
        return [f.name for f in fields(cls) if f.init]

    def reset(self) -> None:
        """Forget everything remembered."""

    def step(self, g: Array, x: Array) -> Array:
        """The step to take from `x`, where the gradient is `g`."""
        raise NotImplementedError


POSITIVE = ("lr", "eps", "memory")
LIMITS = {"beta": (0.0, 1.0), "beta1": (0.0, 1.0), "beta2": (0.0, 1.0), "rho": (0.0, 1.0)}


@dataclass
class GradientDescent(Rule):
    """Against the gradient: ``-lr g``."""

    def step(self, g: Array, x: Array) -> Array:
        """See the class."""
        return -self.lr * g


@dataclass
class SpectralDescent(Rule):
    """Against the gradient, with the step length of Barzilai and Borwein (IMA J. Numer. Anal. 8, 1988)."""

    def reset(self) -> None:
        """Forget the last point."""
        self._last: tuple[Array, Array] | None = None

    def step(self, g: Array, x: Array) -> Array:
        """See the class."""
        length = 1.0 / max(1.0, float(np.linalg.norm(g)))
        if self._last is not None:
            s, y = x - self._last[0], g - self._last[1]
            curvature = float(s @ y)
            length = float(s @ s) / curvature if curvature > 0 else 2.0 * float(np.linalg.norm(s) / np.linalg.norm(g))
        self._last = x, g
        return -length * g


@dataclass
class Momentum(Rule):
    """A heavy ball: ``v = beta v + g``, step ``-lr v``."""

    beta: float = 0.9

    def reset(self) -> None:
        """Stop the ball."""
        self._v: Array | float = 0.0

    def step(self, g: Array, x: Array) -> Array:
        """See the class."""
        self._v = self.beta * self._v + g
        return -self.lr * self._v


@dataclass
class Nesterov(Momentum):
    """Nesterov's momentum: ``v = beta v + g``, step ``-lr (g + beta v)``."""

    def step(self, g: Array, x: Array) -> Array:
        """See the class."""
        self._v = self.beta * self._v + g
        return -self.lr * (g + self.beta * self._v)


@dataclass
class AdaGrad(Rule):
    """Step lengths fall with the sum of squared gradients (Duchi, Hazan, Singer 2011)."""

    eps: float = 1e-10

    def reset(self) -> None:
        """Forget the squares."""
        self._s: Array | float = 0.0

    def step(self, g: Array, x: Array) -> Array:
        """See the class."""
        self._s = self._s + g * g
        return -self.lr * g / (np.sqrt(self._s) + self.eps)


@dataclass
class RMSProp(AdaGrad):
    """Step lengths from a running mean of squared gradients (Tieleman, Hinton 2012)."""

    rho: float = 0.9
    eps: float = 1e-8

    def step(self, g: Array, x: Array) -> Array:
        """See the class."""
        self._s = self.rho * self._s + (1 - self.rho) * g * g
        return -self.lr * g / (np.sqrt(self._s) + self.eps)


@dataclass
class Adam(Rule):
    """Running means of gradient and squared gradient, corrected for their start (Kingma, Ba 2015)."""

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def reset(self) -> None:
        """Forget the means."""
        self._m: Array | float = 0.0
        self._s: Array | float = 0.0
        self._count = 0

    def step(self, g: Array, x: Array) -> Array:
        """See the class."""
        self._count += 1
        self._m = self.beta1 * self._m + (1 - self.beta1) * g
        self._s = self.beta2 * self._s + (1 - self.beta2) * g * g
        mean, square = self._m / (1 - self.beta1 ** self._count), self._s / (1 - self.beta2 ** self._count)
        return -self.lr * mean / (np.sqrt(square) + self.eps)


@dataclass
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov, Hutter 2019)."""

    weight_decay: float = 0.01

    def step(self, g: Array, x: Array) -> Array:
        """See the class."""
        return super().step(g, x) - self.lr * self.weight_decay * x


@dataclass
class LBFGS(Rule):
    """Limited-memory BFGS: the two-loop recursion (Nocedal, Wright: Numerical Optimization, algorithm 7.4)."""

    lr: float = 1.0
    memory: int = 10
    accept: ClassVar[str | None] = "wolfe"
    _pairs: deque[tuple[Array, Array, float]] = field(init=False, repr=False)

    def reset(self) -> None:
        """Forget the pairs."""
        self._pairs = deque(maxlen=int(self.memory))
        self._last: tuple[Array, Array] | None = None

    def step(self, g: Array, x: Array) -> Array:
        """See the class."""
        if self._last is not None:
            s, y = x - self._last[0], g - self._last[1]
            curvature = float(s @ y)
            if curvature > 1e-10 * float(np.linalg.norm(s) * np.linalg.norm(y)):
                self._pairs.append((s, y, 1.0 / curvature))
        self._last = x, g
        if not self._pairs:
            return -g * min(1.0, self.lr / float(np.abs(g).sum()))
        q, factors = g.copy(), []
        for s, y, rho in reversed(self._pairs):
            factors.append(rho * float(s @ q))
            q -= factors[-1] * y
        s, y, rho = self._pairs[-1]
        q /= rho * float(y @ y)
        for (s, y, rho), factor in zip(self._pairs, reversed(factors), strict=True):
            q += (factor - rho * float(y @ q)) * s
        return -q


#: Names of the methods; a new rule is one more entry.
RULES: dict[str, type[Rule]] = {
    "gd": GradientDescent, "momentum": Momentum, "nesterov": Nesterov, "adagrad": AdaGrad, "rmsprop": RMSProp,
    "adam": Adam, "adamw": AdamW, "lbfgs": LBFGS,
}
