"""L-BFGS in steps that evaluate the function themselves, as in ``torch.optim``."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .._typing import Array
from ..variable import Variable, leaf_arrays
from .optimizer import Optimizer
from .strong_wolfe import strong_wolfe

__all__ = ["LBFGS"]


def loss_of(given: Any) -> float:
    """What a closure returned, as a number."""
    value = value_of(given)
    if np.shape(value) != () or np.asarray(value).dtype.kind not in "fiub":
        raise TypeError(f"LBFGS: the closure returned {type(given).__name__} of shape {np.shape(value)}; the loss, a "
                        "single number, is needed")
    return float(value)


class LBFGS(Optimizer):
    """Limited-memory BFGS (Nocedal, Wright: Numerical Optimization, algorithm 7.4) on one group of parameters.

    Without a line search the first step has the length ``lr min(1, 1 / sum |g|)``, the others are `lr` times the
    quasi-Newton step.

    Parameters
    ----------
    params : iterable
        Leaf Variables.
    lr : float
        See above; with a line search where it begins.
    max_iter, max_eval : int
        Most iterations, and most evaluations, in one ``step``; `max_eval` is 1.25 `max_iter` unless given.
    tolerance_grad : float
        A step ends when no entry of the gradient is greater.
    tolerance_change : float
        It ends when value and parameters change less.
    history_size : int
        How many pairs are remembered.
    line_search_fn : {None, "strong_wolfe"}
        How the length of steps is found.

    Examples
    --------
    >>> import numpy as np
    >>> import fastad as fa
    >>> w = fa.Variable(np.zeros(2))
    >>> optimizer = fa.optim.LBFGS([w], line_search_fn="strong_wolfe")
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = (w[0] - 1.0) ** 2 + 10.0 * (w[1] + w[0] ** 2) ** 2
    ...     loss.backward()
    ...     return loss
    >>> loss = optimizer.step(closure)
    >>> w.value.round(5)
    array([ 1., -1.])
    """

    def __init__(self, params: Any, lr: float = 1.0, max_iter: int = 20, max_eval: int | None = None,
                 tolerance_grad: float = 1e-7, tolerance_change: float = 1e-9, history_size: int = 100,
                 line_search_fn: str | None = None) -> None:
        if max_eval is None:
            max_eval = max_iter * 5 // 4 if isinstance(max_iter, int) else 1       # what is wrong is said of max_iter
        super().__init__(params, lr=lr, max_iter=max_iter, max_eval=max_eval, tolerance_grad=tolerance_grad,
                         tolerance_change=tolerance_change, history_size=history_size, line_search_fn=line_search_fn)
        self.memory: dict[str, Any] = dict(EMPTY)

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """See `Optimizer`; there can be but one group."""
        if self.param_groups:
            raise ValueError("LBFGS: all parameters have to be in one group")
        super().add_param_group(param_group)

    def options(self, group: Mapping[str, Any]) -> dict[str, Any]:
        """See `Optimizer`."""
        if group["line_search_fn"] not in (None, "strong_wolfe"):
            raise ValueError(f"LBFGS: line_search_fn={group['line_search_fn']!r}, None or 'strong_wolfe' is needed")
        for name in ("max_iter", "max_eval", "history_size"):
            value = group[name]
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(f"LBFGS: {name}={value!r}, a whole number from 1 up is needed")
        return super().options({**group, "line_search_fn": 0.0})

    def gradient(self) -> Array:
        """The gradients of all parameters in one row, zero where there is none."""
        rows = []
        for p in self.param_groups[0]["params"]:
            arrays = leaf_arrays(p)
            rows.append(np.zeros(p.size) if arrays is None else arrays[1].reshape(-1))
        return np.concatenate(rows)

    def values(self) -> Array:
        """The values of all parameters in one row."""
        return np.concatenate([np.ravel(p.value) for p in self.param_groups[0]["params"]])

    def place(self, x: Array) -> None:
        """Give the parameters these values."""
        first = 0
        for p in self.param_groups[0]["params"]:
            p.value = x[first:first + p.size].reshape(p.shape)
            first += p.size

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Iterate, as often as ``max_iter`` and ``max_eval`` say.

        Parameters
        ----------
        closure : callable
            Clears the gradients, computes the loss and its gradients, returns the loss.

        Returns
        -------
        object
            The loss at the beginning.
        """
        if not callable(closure):
            raise ValueError(f"LBFGS: step(closure={closure!r}) needs a function that computes the loss and its "
                             "gradients")
        group, m = self.param_groups[0], self.memory
        self.options(group)

        def evaluate(x: Array) -> tuple[float, Array]:
            self.place(x)
            return loss_of(closure()), self.gradient()

        given = closure()
        loss, g = loss_of(given), self.gradient()
        evaluations = 1
        m["func_evals"] += 1
        if not np.abs(g).max() > group["tolerance_grad"]:
            return given
        x = self.values()
        for iteration in range(1, group["max_iter"] + 1):
            m["n_iter"] += 1
            d = self.direction(g, group["history_size"])
            before, m["prev_flat_grad"] = loss, g
            t = group["lr"] * (min(1.0, 1.0 / float(np.abs(g).sum())) if m["n_iter"] == 1 else 1.0)
            slope = float(g @ d)
            m["d"], m["t"] = d, t
            if slope > -group["tolerance_change"]:
                break
            spent = 0
            if group["line_search_fn"]:
                loss, g, t, spent = strong_wolfe(lambda t, x=x, d=d: evaluate(x + t * d), t, d, loss, g, slope,  # type: ignore[misc]  # bound at once
                                                 group["max_eval"] - evaluations)
                m["t"], x = t, x + t * d
                self.place(x)
            else:
                x = x + t * d
                self.place(x)
                if iteration < group["max_iter"]:
                    (loss, g), spent = evaluate(x), 1
            evaluations += spent
            m["func_evals"] += spent
            change = group["tolerance_change"]
            if (evaluations >= group["max_eval"] or np.abs(g).max() <= group["tolerance_grad"]
                    or np.abs(t * d).max() <= change or abs(loss - before) < change):
                break
        return given

    def direction(self, g: Array, history_size: int) -> Array:
        """Minus the gradient times the estimate of the inverse Hessian, to which the last step adds."""
        m = self.memory
        if m["n_iter"] == 1:
            return -g
        y, s = g - m["prev_flat_grad"], m["t"] * m["d"]
        curvature = float(y @ s)
        if curvature > 1e-10:                         # torch's threshold, which fastad.minimize sets otherwise
            m["pairs"] = [*m["pairs"], (y, s, 1.0 / curvature)][-history_size:]
            m["H_diag"] = curvature / float(y @ y)
        q: Array = -g
        factors = []
        for y, s, inverse in reversed(m["pairs"]):
            factors.append(float(s @ q) * inverse)
            q = q - factors[-1] * y
        q = q * float(m["H_diag"])
        for (y, s, inverse), factor in zip(m["pairs"], reversed(factors), strict=True):
            q = q + (factor - float(y @ q) * inverse) * s
        return q

    def state_dict(self) -> dict[str, Any]:
        """See `Optimizer`; the state is one for all parameters, under 0."""
        state = super().state_dict()
        if self.memory["n_iter"]:
            state["state"] = {0: {name: [tuple(pair) for pair in value] if name == "pairs" else np.copy(value)
                                  if isinstance(value, np.ndarray) else value for name, value in self.memory.items()}}
        return state

    def loaded_states(self, wanted: dict[int, tuple[Variable, dict[str, Any], Any]]) -> dict[int, Any]:
        """See `Optimizer`."""
        state = next(iter(wanted.values()))[2]
        size = sum(p.size for p, _, _ in wanted.values())
        for _, group, _ in wanted.values():
            self.options(group)
        if state is None:
            self.memory = dict(EMPTY)
            return {}
        if not isinstance(state, Mapping) or set(state) != set(EMPTY):
            raise ValueError(f"LBFGS.load_state_dict: the state needs {', '.join(EMPTY)}")
        rows = [state["d"], state["prev_flat_grad"], *[row for pair in state["pairs"] for row in pair[:2]]]
        if any(np.shape(row) != (size,) for row in rows):
            raise ValueError(f"LBFGS.load_state_dict: vectors of {size} numbers are needed")
        pairs = [(np.array(y, np.float64), np.array(s, np.float64), float(inverse)) for y, s, inverse in state["pairs"]]
        self.memory = {**state, "d": np.array(state["d"], np.float64), "pairs": pairs,
                       "prev_flat_grad": np.array(state["prev_flat_grad"], np.float64)}
        return {}


#: What is remembered before the first step.
EMPTY: dict[str, Any] = {"func_evals": 0, "n_iter": 0, "d": None, "t": None, "pairs": [], "H_diag": 1.0,
                         "prev_flat_grad": None}


def value_of(loss: Any) -> Any:
    """A loss as a number."""
    return loss.value if isinstance(loss, Variable) else loss
