"""Checking gradients against differences of function values."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import transforms, variable
from .tree import flatten, leaf_names

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Index = tuple[int, ...]

__all__ = ["GradientEntry", "GradientReport", "gradcheck", "gradient_report"]

EPS = float(np.finfo(np.float64).eps)
#: Steps that are tried where the first estimate does not confirm the gradient, relative to the first step.
FACTORS = tuple(8.0 ** -k for k in range(-2, 8))


@dataclass(frozen=True, slots=True)
class GradientEntry:
    """One partial derivative: where it stands, what reverse mode gives and what differences give."""

    argument: str
    index: Index
    output: str
    analytic: float
    numeric: float
    error: float
    ok: bool


@dataclass(frozen=True)
class GradientReport:
    """The result of a gradient check, one entry per partial derivative; ``str`` makes a table of it."""

    name: str
    entries: list[GradientEntry]

    @property
    def passed(self) -> bool:
        """Whether all entries agree."""
        return all(entry.ok for entry in self.entries)

    @property
    def worst(self) -> float:
        """The largest relative error; nan if an entry is not finite."""
        return float(max((e.error for e in self.entries), default=0.0, key=lambda e: np.inf if np.isnan(e) else e))

    def __str__(self) -> str:
        wrong = [entry for entry in self.entries if not entry.ok]
        shown = sorted(wrong or self.entries, key=lambda e: -np.nan_to_num(e.error, nan=np.inf))[:20]
        count = len(self.entries)
        verdict = f"{len(wrong)} of {count} entries differ" if wrong else f"{count} entries agree"
        lines = [f"gradcheck of {self.name}: {verdict}, largest relative error {self.worst:.1e}"]
        where = [(f"{e.argument}{list(e.index) if e.index else ''}", e.output or "f") for e in shown]
        wide, out = max([len(w) for w, _ in where] + [8]), max([len(o) for _, o in where] + [6])
        lines += [f"  {'argument':{wide}}  {'output':{out}}  {'analytic':>22}  {'numeric':>22}  relative error"]
        lines += [f"  {w:{wide}}  {o:{out}}  {e.analytic:22.15g}  {e.numeric:22.15g}  {e.error:.1e}"
                  for (w, o), e in zip(where, shown, strict=True)]
        if len(shown) < len(wrong):
            lines.append(f"  ... and {len(wrong) - len(shown)} more")
        return "\n".join(lines)


class Arguments:
    """The differentiated arguments as one vector of float64 and back."""

    def __init__(self, args: Sequence[Any], argnums: int | Sequence[int] | None) -> None:
        self.args = [plain(a) for a in args]
        if argnums is None:
            kinds = [{np.asarray(leaf).dtype.kind for leaf in flatten(a)[0]} or {"O"} for a in self.args]
            numbers = [k for k, kind in enumerate(kinds) if kind == {"f"}]
            numbers = numbers or [k for k, kind in enumerate(kinds) if kind <= {"f", "i", "u"}]
            if not numbers:
                raise ValueError("gradcheck: none of the arguments is a number, an array or a container of them")
        else:
            numbers = [int(k) for k in np.atleast_1d(argnums)]
            if any(not -len(args) <= k < len(args) for k in numbers):
                raise ValueError(f"gradcheck: argnums={argnums!r} does not name one of the {len(args)} arguments given")
        self.numbers = tuple(k % len(args) for k in numbers)
        leaves, self.rebuild = flatten([self.args[k] for k in self.numbers])
        self.leaves = [np.array(leaf, np.float64) for leaf in leaves]
        self.start = np.concatenate([leaf.ravel() for leaf in self.leaves]) if leaves else np.empty(0)

    def at(self, x: Any) -> list[Any]:
        """The arguments with the entries of `x`, an array or a recorded Variable."""
        leaves, offset = [], 0
        for leaf in self.leaves:
            piece = x[offset] if leaf.ndim == 0 else x[offset:offset + leaf.size].reshape(leaf.shape)
            leaves.append(piece)
            offset += leaf.size
        args = list(self.args)
        for k, arg in zip(self.numbers, self.rebuild(leaves), strict=True):
            args[k] = arg
        return args

    def places(self) -> Iterator[tuple[str, Index]]:
        """Argument and index of each entry of the vector."""
        names = [f"{k}{name}" for k in self.numbers for name in leaf_names(self.args[k])]
        for name, leaf in zip(names, self.leaves, strict=True):
            for index in np.ndindex(leaf.shape):
                yield name, index


def plain(tree: Any) -> Any:
    """A container with the values of its Variables."""
    leaves, rebuild = flatten(tree)
    return rebuild([variable.value_of(leaf) for leaf in leaves])


def outputs_of(out: Any) -> Array:
    """All outputs of a function as one vector of plain numbers."""
    leaves = [np.asarray(variable.value_of(leaf), np.float64).ravel() for leaf in flatten(out)[0]]
    return np.concatenate(leaves) if leaves else np.empty(0)


def checked_output(out: Any) -> Any:
    """What a function returned, if there is anything in it to check."""
    for leaf in flatten(out)[0] or [None]:
        transforms.check_output("gradcheck", leaf)
    return out


def output_names(out: Any) -> list[str]:
    """How each element of all outputs is reached."""
    named = zip(leaf_names(out), flatten(out)[0], strict=True)
    return [name + (str(list(index)) if index else "") for name, leaf in named for index in np.ndindex(np.shape(leaf))]


def gradient_report(f: Callable[..., Any], *args: Any, order: int = 1, eps: float | None = None, rtol: float = 1e-6,
                    atol: float = 1e-14, argnums: int | Sequence[int] | None = None) -> GradientReport:
    """Compare derivatives with central differences, entry by entry; parameters as for `gradcheck`.

    Returns
    -------
    GradientReport
        ``report.passed``, ``report.entries``; printed, a table with relative errors.

    Examples
    --------
    >>> import fastad as fa
    >>> report = fa.testing.gradient_report(lambda x: fa.sin(x) * x, 0.5)
    >>> report.passed, report.worst < 1e-8
    (True, True)
    """
    transforms.check_function("gradcheck", f)
    if order not in (1, 2):
        raise ValueError(f"gradcheck: order={order!r}; 1 (gradients) and 2 (second derivatives) can be checked")
    for limit, value in (("rtol", rtol), ("atol", atol)):
        if not isinstance(value, (int, float)) or not value >= 0:
            raise ValueError(f"gradcheck: {limit}={value!r}; a number from 0 up is needed")
    if eps is not None and (not isinstance(eps, (int, float)) or not eps > 0):
        raise ValueError(f"gradcheck: eps={eps!r}; a positive number is needed")
    arguments = Arguments(args, argnums)
    x = arguments.start
    name = getattr(f, "__name__", type(f).__name__)
    with np.errstate(all="ignore"):
        names = output_names(checked_output(plain(f(*arguments.at(x)))))

        def values(x: Array) -> Array:
            return outputs_of(f(*arguments.at(x)))

        entries = compare(arguments, names, values, first_order(f, arguments), eps, rtol, atol)
        if order == 2:
            slopes = [f"d{n or 'f'}/d({a}{list(i) if i else ''})" for n in names for a, i in arguments.places()]
            entries += compare(arguments, slopes, lambda x: first_order(f, arguments, x).ravel(),
                               second_order(f, arguments, len(names)), eps, rtol, atol)
    return GradientReport(name, entries)


def gradcheck(f: Callable[..., Any], *args: Any, order: int = 1, eps: float | None = None, rtol: float = 1e-6,
              atol: float = 1e-14, raise_exception: bool = True, argnums: int | Sequence[int] | None = None) -> bool:
    """Check the derivatives of a function against central differences.

    Every partial derivative of every output element is compared: reverse mode on one side, on the other differences
    with a step chosen for each entry of the arguments. Where the first step does not confirm an entry, larger and
    smaller steps are tried, so that a kink, a border of the domain or rounding nearby does not decide; at a kink itself
    any slope between those on both sides is right.

    Parameters
    ----------
    f : callable
        Returns a number, an array or a nested container of them. It is called with plain values too.
    *args
        Arguments: numbers, arrays, nested containers; Variables stand for their values.
    order : {1, 2}
        With 2, second derivatives (``fa.hvp``) are checked against differences of gradients as well.
    eps : float, optional
        First step, relative to ``max(1, abs(x))``. Default: the cube root of the machine epsilon.
    rtol, atol : float
        Allowed difference: ``atol + rtol * max(abs(analytic), abs(numeric))``, and what rounding of the function's
        values explains.
    raise_exception : bool
        Raise, or return False, when an entry differs.
    argnums : int or sequence of int, optional
        The arguments to check. Default: all floating ones; when there is none, all integer ones.

    Returns
    -------
    bool
        True if all entries agree.

    Raises
    ------
    AssertionError
        Lists the entries that differ: argument, index, analytic, numeric, relative error.

    Examples
    --------
    >>> import numpy as np
    >>> import fastad as fa
    >>> fa.gradcheck(lambda x, y: fa.exp(x) * y, np.array([0.1, 0.2]), 2.0)
    True
    """
    report = gradient_report(f, *args, order=order, eps=eps, rtol=rtol, atol=atol, argnums=argnums)
    if raise_exception and not report.passed:
        raise AssertionError(str(report))
    return report.passed


# ---- the two sides -----------------------------------------------------------------------------------------------
def first_order(f: Callable[..., Any], arguments: Arguments, x: Array | None = None) -> Array:
    """Reverse mode's matrix of partial derivatives: outputs by entries."""
    args = arguments.at(arguments.start if x is None else x)
    blocks = []
    for k in range(len(flatten(f(*args))[0])):
        matrix = transforms.jacobian(lambda *a, k=k: flatten(f(*a))[0][k], argnums=arguments.numbers)(*args)
        leaves = [np.asarray(leaf, np.float64) for leaf in flatten(matrix)[0]]
        rows = [leaf.reshape(-1, own.size) for leaf, own in zip(leaves, arguments.leaves, strict=True)]
        blocks.append(np.concatenate(rows, axis=1))
    return np.concatenate(blocks) if blocks else np.empty((0, arguments.start.size))


def second_order(f: Callable[..., Any], arguments: Arguments, count: int) -> Array:
    """Second derivatives by ``hvp``: rows are outputs and first derivatives, columns entries."""
    x, n = arguments.start, arguments.start.size
    result = np.empty((count, n, n))
    for k in range(count):
        def output(z: Any, k: int = k) -> Any:
            for leaf in flatten(f(*arguments.at(z)))[0]:
                size = int(np.size(leaf))
                if k < size:
                    return leaf.reshape(-1)[k] if np.ndim(leaf) else leaf
                k -= size
            raise IndexError(k)

        for j in range(n):
            result[k, :, j] = transforms.hvp(output, x, np.eye(n)[j])
    return result.reshape(count * n, n)


def compare(arguments: Arguments, names: list[str], values: Callable[[Array], Array], analytic: Array,
            eps: float | None, rtol: float, atol: float) -> list[GradientEntry]:
    """Hold a matrix of derivatives against differences of `values`, column by column."""
    base = values(arguments.start)
    entries = []
    for j, (argument, index) in enumerate(arguments.places()):
        step = (EPS ** (1 / 3) if eps is None else eps) * max(1.0, abs(arguments.start[j]))
        line = Line(values, arguments.start, j, base)
        column = analytic[:, j]
        scale = np.nanmax(np.abs(analytic), axis=1, initial=0.0, where=np.isfinite(analytic))
        numeric, ok = line.judge(column, step, rtol, atol, scale)
        with np.errstate(all="ignore"):
            largest = np.maximum(np.abs(column), np.abs(numeric))
            error = np.where(column == numeric, 0.0, np.abs(column - numeric) / np.where(largest > 0, largest, 1.0))
        entries += [GradientEntry(argument, index, *row) for row in
                    zip(names, column.tolist(), numeric.tolist(), error.tolist(), ok.tolist(), strict=True)]
    return entries


class Line:
    """The values of a function along one entry of its arguments."""

    def __init__(self, values: Callable[[Array], Array], start: Array, entry: int, base: Array) -> None:
        self.values, self.start, self.entry, self.base = values, start, entry, base
        self.known: dict[float, tuple[Array, float]] = {}

    def at(self, shift: float) -> tuple[Array, float]:
        """Values at a shifted entry, and the shift as floating point has made it; nan where there is no value."""
        if shift not in self.known:
            x = self.start.copy()
            x[self.entry] += shift
            try:
                values = self.values(x)
            except (ArithmeticError, ValueError):      # outside of the domain, as math.log says it
                values = np.full(self.base.shape, np.nan)
            values = values if values.shape == self.base.shape else np.full(self.base.shape, np.nan)
            self.known[shift] = values, float(x[self.entry] - self.start[self.entry])
        return self.known[shift]

    def slopes(self, step: float) -> tuple[Array, Array, Array, Array]:
        """Central, forward and backward difference, and what rounding may have added to them."""
        (up, right), (down, left) = self.at(step), self.at(-step)
        largest = np.fmax(np.fmax(np.abs(up), np.abs(down)), np.abs(self.base))
        rounding = 8 * EPS * largest / step
        return (up - down) / (right - left), (up - self.base) / right, (down - self.base) / left, rounding

    def estimate(self, step: float) -> tuple[Array, Array, Array]:
        """Richardson's estimate from a step and its half, its uncertainty (inf without an estimate), its rounding."""
        whole, half = self.slopes(step), self.slopes(step / 2)
        best, error = (4 * half[0] - whole[0]) / 3, np.abs(half[0] - whole[0])
        for side in (1, 2):                           # at a border of the domain one side has to do
            one = 2 * half[side] - whole[side]
            alone = ~np.isfinite(best) & np.isfinite(one)
            best, error = np.where(alone, one, best), np.where(alone, np.abs(one - half[side]), error)
        return best, np.where(np.isfinite(best), error, np.inf), half[3]

    def judge(self, analytic: Array, step: float, rtol: float, atol: float,
              scale: Array) -> tuple[Array, NDArray[np.bool_]]:
        """Numeric derivatives, and whether they confirm the analytic ones.

        Rounding counts in favour of the analytic derivative, and so does the uncertainty of the numeric one as long as
        it is below 1e-4 of the largest derivative of that output.
        """
        def confirms(numeric: Array, error: Array, rounding: Array) -> NDArray[np.bool_]:
            largest = np.maximum(np.abs(analytic), np.abs(numeric))
            allowed = atol + rtol * largest + rounding + np.minimum(4 * error, 1e-4 * np.maximum(scale, largest))
            good: NDArray[np.bool_] = np.isfinite(analytic) & (np.abs(analytic - numeric) <= allowed)
            return good

        best, error, rounding = self.estimate(step)
        ok = confirms(best, error, rounding)
        if ok.all():
            return best, ok
        for factor in FACTORS:
            found = self.estimate(factor * step)
            better = ~ok & (found[1] + found[2] < error + rounding)
            best, error, rounding = (np.where(better, new, old)
                                     for new, old in zip(found, (best, error, rounding), strict=True))
        ok |= confirms(best, error, rounding)
        if not ok.all():
            self.kinks(analytic, best, ok, step, rtol, atol)
            self.borders(analytic, best, ok, step, rtol, atol)
        return best, ok

    def kinks(self, analytic: Array, best: Array, ok: NDArray[np.bool_], step: float, rtol: float, atol: float) -> None:
        """Confirm, in place, what lies between the slopes on both sides of a jump of the derivative.

        A jump stays as large when the step shrinks. It is looked for at the smallest step at which rounding lets it be
        seen.
        """
        undecided = ~ok
        for factor in (FACTORS[-1], FACTORS[-3], FACTORS[-5]):
            wide, near = self.slopes(8 * factor * step), self.slopes(factor * step)
            low, high = np.minimum(near[1], near[2]), np.maximum(near[1], near[2])
            visible = undecided & (16 * near[3] <= 1e-3 * np.maximum(np.abs(low), np.abs(high)))
            kink = visible & (high - low > 0.75 * np.abs(wide[1] - wide[2])) & (high - low > 16 * near[3])
            slack = atol + rtol * np.abs(analytic) + 16 * near[3]
            ok |= kink & (analytic >= low - slack) & (analytic <= high + slack)
            best[:] = np.where(kink, np.clip(analytic, low, high), best)
            undecided &= ~visible

    def borders(self, analytic: Array, best: Array, ok: NDArray[np.bool_], step: float, rtol: float,
                atol: float) -> None:
        """Confirm, in place, the limit of one-sided slopes where the function begins, be it finite (Aitken) or not."""
        for side in (1, 2):
            found = [self.slopes(factor * step) for factor in FACTORS[-4:]]
            a, b, c, d = (slopes[side] for slopes in found)
            alone = ~ok & ~np.isfinite(found[-1][3 - side]) & np.isfinite(d)
            limits = [w - (w - v) ** 2 / ((w - v) - (v - u)) for u, v, w in ((a, b, c), (b, c, d))]
            allowed = atol + rtol * np.abs(d) + 16 * found[-1][3] + 4 * np.abs(limits[1] - limits[0])
            settles = alone & (np.abs(d - c) < 0.9 * np.abs(c - b))
            ok |= settles & np.isfinite(analytic) & (np.abs(analytic - limits[1]) <= allowed)
            grows = alone & (d / c > 1.2) & (c / b > 1.2)
            ok |= grows & np.isinf(analytic) & (np.sign(d) == np.sign(analytic))
            best[:] = np.where(settles, limits[1], np.where(grows, np.copysign(np.inf, d), best))
