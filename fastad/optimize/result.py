"""What a descent gives back: SciPy's result, with a picture."""
from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import OptimizeResult

if TYPE_CHECKING:
    from .._typing import Array

__all__ = ["Result"]


class Result(OptimizeResult):  # type: ignore[misc]  # SciPy has no types
    """SciPy's `OptimizeResult` with `plot`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastad as fa
    >>> result = fa.minimize(lambda x: np.sum(x ** 2), np.ones(2), lr=0.1)
    >>> result["x"] is result.x, result.success
    (True, True)
    """

    def __init__(self, entries: Any = (), path: Array | None = None,
                 function: Callable[[Array], float] | None = None) -> None:
        super().__init__(entries)
        # beside the entries, which SciPy shows and compares; the function stays behind when a result is pickled
        object.__setattr__(self, "_path", path)
        object.__setattr__(self, "_function", function)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self), self.__dict__["_path"])

    def plot(self, axes: Any = None) -> Any:
        """Draw how the value and the norm of the gradient went, and for two parameters the path over contours.

        Needs matplotlib (``pip install fastad[plot]``). The contours need the function, which a result does not have
        any more after it was pickled; the path is drawn alone then.

        Parameters
        ----------
        axes : matplotlib axes or sequence of them, optional
            Where to draw: convergence, then the path. Default: a new figure.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            When there is no matplotlib; says how to get it.
        ValueError
            When there is no history: in a callback, and of `minimize_many`.

        Examples
        --------
        >>> import matplotlib
        >>> matplotlib.use("Agg")
        >>> import numpy as np
        >>> import fastad as fa
        >>> figure = fa.minimize(lambda x: np.sum(x ** 2), np.ones(2), lr=0.1).plot()
        >>> len(figure.axes) >= 2
        True
        """
        if "history" not in self:
            raise ValueError("plot: there is no history to draw; what minimize returns has one")
        try:
            import matplotlib.pyplot as plt
        except ImportError:
            raise ImportError("plot: matplotlib is needed; pip install fastad[plot]") from None
        path = self.__dict__["_path"]
        if axes is None:
            _, axes = plt.subplots(1, 1 if path is None else 2, squeeze=False, layout="constrained",
                                        figsize=(5 if path is None else 10, 4))
        axes = np.ravel(np.asarray(axes, dtype=object))
        self._draw_convergence(axes[0])
        if path is not None and len(axes) > 1:
            self._draw_path(axes[1], path)
        return axes[0].figure

    def _draw_convergence(self, ax: Any) -> None:
        """Value above the lowest one, and norm of the gradient, by iteration."""
        fun, norm = self.history["fun"], self.history["grad_norm"]
        gap = np.abs(fun - self.fun)
        for values, label in ((gap, "|f - best f|"), (norm, "|gradient|")):
            shown = np.where(np.isfinite(values) & (values > 0), values, np.nan)
            if np.any(np.isfinite(shown)):
                ax.semilogy(shown, label=label, linewidth=1.2)
        ax.set(xlabel="iteration", title=f"f = {float(self.fun):.6g}")
        if ax.lines:
            ax.legend()

    def _draw_path(self, ax: Any, path: Array) -> None:
        """The places of all iterations, over lines of equal value."""
        path = path[np.all(np.isfinite(path), axis=1)]
        low, high = path.min(axis=0), path.max(axis=0)
        margin = 0.15 * np.where(high > low, high - low, max(1.0, float(np.max(np.abs(high)))))
        low, high = low - margin, high + margin
        function = self.__dict__["_function"]
        if function is not None:
            grid = [np.linspace(a, b, 60) for a, b in zip(low, high, strict=True)]
            with np.errstate(all="ignore"):
                values = np.array([[function(np.array([u, v])) for u in grid[0]] for v in grid[1]])
            finite = values[np.isfinite(values)]
            if finite.size and finite.max() > finite.min():
                ax.contour(*grid, values, np.unique(np.quantile(finite, np.linspace(0.0, 1.0, 22)[1:-1])),
                           linewidths=0.7)
        ax.plot(*path.T, ".-", color="tab:red", markersize=3, linewidth=0.8)
        ax.plot(*path[0], "o", color="black", label="start")
        ax.plot(*path[-1], "*", color="black", markersize=10, label="end")
        ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xlabel="first parameter", ylabel="second parameter")
        ax.legend()
