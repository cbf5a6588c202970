"""What is minimised, as the iterations take it: value and gradient of a vector, in C where the function is compiled."""
from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .._descent import Port
from ..compiled import Compiled
from .form import Form
from .wiring import Wired, given_pair

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .._typing import Array

__all__ = ["Objective", "Replayed", "free_entries", "objective_of"]


class Objective:
    """Value and gradient of a vector, in Python."""

    #: What evaluates without Python, at places like the last one; None: nothing does.
    port: Port | None = None

    def __init__(self, function: Callable[[Array], tuple[float, Array]],
                 hvp: Callable[[Array, Array], Array]) -> None:
        self.function, self.hvp = function, hvp

    def __call__(self, x: Array) -> tuple[float, Array]:
        """Value and gradient."""
        return self.function(x)


class Replayed(Objective):
    """A compiled function: each branch has a port, and the last one taken is `port`."""

    def __init__(self, wired: Wired, f: Compiled, form: Form, args: tuple[Any, ...]) -> None:
        super().__init__(wired.value_and_grad, wired.hvp)
        self.f, self.form, self.args = f, form, args
        self.ports: dict[Any, Port] = {}

    def __call__(self, x: Array) -> tuple[float, Array]:
        """Value and gradient; finds the branch."""
        if self.f.is_watched:                         # each operation is to be seen
            return self.function(x)
        arguments = self.f.read((self.form.tree_of(x), *self.args), {})
        found = self.f.find("grad", arguments, arguments.leaves) if self.f.scalar_paths(arguments) else None
        self.port = None
        if found is None:
            return self.function(x)
        result, path = found
        if path not in self.ports:
            self.ports[path] = Port(path.program("grad").evaluator, list(arguments.leaves), *arguments.trees[0][1:])
        if x.size:
            self.port = self.ports[path]
        return float(result[0]), self.form.vector(result[1:])


def objective_of(f: Any, form: Form, args: Any, jac: bool) -> Objective:
    """The function that is to be minimised.

    Raises
    ------
    ValueError
        When `f` or `args` make no sense.
    """
    if not callable(f):
        raise ValueError(f"{form.name}: f={f!r}, a function is needed")
    if not isinstance(args, (tuple, list)):
        raise ValueError(f"{form.name}: args={args!r}, a tuple is needed")
    args = tuple(args)
    if not isinstance(jac, (bool, np.bool_)):
        raise ValueError(f"{form.name}: jac={jac!r}; True, if f returns (value, gradient), or False: fastad finds it")
    if jac:
        def both(x: Array) -> tuple[float, Array]:
            return given_pair(f(form.tree_of(x), *args), form)

        def refused(x: Array, p: Array) -> Array:
            raise ValueError(f"{form.name}: jac=True; newton-cg and SciPy's methods of its kind need products with the "
                             "Hessian; leave jac to fastad, or take method='lbfgs'")

        return Objective(both, refused)
    wired = Wired(f, form, args)
    if isinstance(f, Compiled) and not f.audit:       # audits compare in each call
        return Replayed(wired, f, form, args)
    return Objective(wired.value_and_grad, wired.hvp)


def free_entries(x: Array, g: Array, bounds: tuple[Array, Array] | None) -> NDArray[np.bool_]:
    """Which entries may change: not those that a bound holds."""
    if bounds is None:
        return np.ones(x.shape, bool)
    return ((x > bounds[0]) | (g <= 0)) & ((x < bounds[1]) | (g >= 0))
