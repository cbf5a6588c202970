"""What ``python -m fastad selftest`` runs: whether an installed fastad computes what it should on this machine.

Each check works without pytest and takes about a second at most. The tests of the repository look far closer; this one
looks at the parts that depend on a machine: kernels, the loops of its NumPy and SciPy, files, threads.
"""

from __future__ import annotations

import operator
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import math, special, transforms
from .compiled import compile, load
from .errors import FormatError, GradientLostError
from .ops import INTERNAL, OPS, Op
from .optimize import minimize
from .testing import gradcheck
from .variable import Variable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["CHECKS", "run"]

#: Numbers in the arguments of a row; odd, so that vector loops have a rest.
SIZE = 37
#: Imaginary step of a complex difference: its square is nothing beside 1, so that the derivative has all its digits.
IMAGINARY = 1e-150
ROWS = [op for op in OPS if op.name not in INTERNAL]

#: What is checked, by title; a check returns how many things it has looked at, or raises.
CHECKS: dict[str, Callable[[], int]] = {}


def check(title: str) -> Callable[[Callable[[], int]], Callable[[], int]]:
    """Enter a check under a title."""
    def enter(function: Callable[[], int]) -> Callable[[], int]:
        CHECKS[title] = function
        return function

    return enter


def agree(what: str, have: Any, want: Any, rtol: float = 0.0) -> None:
    """Raise if two results differ; with `rtol` 0 they have to be the same numbers."""
    np.testing.assert_allclose(have, want, rtol=rtol, atol=0.0, equal_nan=True, err_msg=what)


def smooth(op: Op) -> list[int]:
    """The arguments that a row has a derivative with respect to."""
    return [k for k, slope in enumerate((op.dx, op.dy)) if slope not in (None, "nan")]


def points(op: Op, size: int = SIZE) -> list[Array]:
    """For each argument of a row some numbers from the inner part of its domain, away from kinks and ties."""
    found = []
    for k, ((low, high), (start, end)) in enumerate(zip(op.domain, ((0.13, 0.87), (0.79, 0.17)), strict=False)):
        x = low + np.linspace(start, end, size) * (high - low)
        if op.differentiable and k not in smooth(op):       # an order: a whole number
            x = np.rint(x)
        for kink in op.kinks:
            x = np.where(np.abs(x - kink) < 1e-3, x + 4e-3, x)
        found.append(x)
    return found


def original(op: Op) -> Any:
    """The NumPy or SciPy function that a row answers to, or None."""
    if op.numpy is None:
        return None
    if op.numpy.startswith("special."):
        import scipy.special

        return operator.attrgetter(op.numpy.removeprefix("special."))(scipy.special)
    return operator.attrgetter(op.numpy)(np)


def complex_slopes(f: Any, args: list[Array], k: int) -> Array | None:
    """The derivative of a ufunc with respect to argument `k` by a complex difference; None: it is not for them."""
    if not isinstance(f, np.ufunc) or f"{'D' * f.nin}->D" not in f.types:
        return None
    shifted: list[Any] = [x + 1j * IMAGINARY if i == k else x + 0j for i, x in enumerate(args)]
    slopes: Array = np.imag(f(*shifted)) / IMAGINARY
    return slopes


@check("values of the functions are NumPy's and SciPy's")
def values() -> int:
    """Each row on an array, recorded, and number by number."""
    for op in ROWS:
        args, wanted, own = points(op), original(op), getattr(math, op.name)
        result = np.asarray(own(*args))
        if wanted is not None:
            agree(op.name, result, wanted(*args), 1e-13)
        recorded = own(*[Variable(x) for x in args])
        agree(f"{op.name}, recorded", getattr(recorded, "value", recorded), result, 1e-13)
        agree(f"{op.name} of numbers", [own(*[float(x[i]) for x in args]) for i in range(SIZE)], result, 1e-13)
    return len(ROWS)


@check("gradients of the functions against complex or central differences")
def gradients() -> int:
    """Each differentiable row: an array at once, and numbers in a loop."""
    differentiable = [op for op in ROWS if op.differentiable]
    for op in differentiable:
        own, args = getattr(math, op.name), points(op)
        _, pull = transforms.vjp(own, *args)
        parts = pull(np.ones(SIZE))
        for k, part in enumerate(parts):
            slopes = complex_slopes(original(op), args, k)
            if slopes is not None:
                agree(f"slope {k} of {op.name}", part, slopes, 1e-9)
        gradcheck(own, *[x[::6] for x in args], argnums=smooth(op))
        for i in (0, SIZE // 3):
            numbers = transforms.grad(own, argnums=tuple(range(op.arity)))(*[float(x[i]) for x in args])
            agree(f"slope of {op.name} at a number", numbers, [part[i] for part in parts], 1e-12)
    return len(differentiable)


#: NumPy functions of a matrix, one of each family.
ARRAY_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "sum": lambda A: np.sum(A * A, axis=0),
    "mean and std": lambda A: np.std(A, axis=1) + np.mean(A),
    "max": lambda A: np.max(A, axis=1),
    "prod": lambda A: np.prod(A, axis=0),
    "cumsum": lambda A: np.cumsum(A, axis=0),
    "sort": lambda A: np.sort(A, axis=1) * np.arange(1.0, 5.0),
    "where": lambda A: np.where(A > 0.0, np.sqrt(np.abs(A)), A),
    "views": lambda A: A[1:, ::2].T.reshape(-1) * A[0, 0],
    "concatenate": lambda A: np.concatenate([A, A[:1] * A[1:2]]),
    "matmul": lambda A: A @ A.T,
    "einsum": lambda A: np.einsum("ij,kj,k->i", A, A, A[:, 0]),
    "matrix_power": lambda A: np.linalg.matrix_power(A, 3),
    "norm": lambda A: np.linalg.norm(A, axis=0),
    "logsumexp": lambda A: special.logsumexp(A, axis=1),
}


def matrix() -> Array:
    """Sixteen numbers of either sign, no two alike."""
    return np.random.default_rng(8).uniform(-1.0, 1.0, (4, 4))


@check("NumPy's array functions: gradients, and second derivatives, against differences")
def array_functions() -> int:
    """The list above."""
    for name, f in ARRAY_FUNCTIONS.items():
        try:
            gradcheck(f, matrix())
            gradcheck(lambda A, f=f: np.sum(f(A) ** 2), matrix()[:, ::-1])
            A, V = matrix(), matrix().T
            value, tangent = transforms.jvp(f, (A,), (V,))
            _, pull = transforms.vjp(f, A)
            agree(f"vjp and jvp of {name}", np.sum(pull(value) * V), np.sum(value * tangent), 1e-9)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error
    gradcheck(lambda A: np.sum(np.tanh(A @ A) * A), matrix()[:2, :2], order=2)
    return len(ARRAY_FUNCTIONS)


def loop(op: Op, *args: Any) -> Any:
    """A Python loop over the elements, with the row in its middle."""
    f, total = getattr(math, op.name), 0.0
    for i in range(len(args[0])):
        total = total + f(*[x[i] for x in args]) * (0.5 + i)
    return total


@check("compiled functions give what Python gives: value, gradient, Hessian")
def compiled() -> int:
    """Each row in a loop and on an array; then branches and Hessians."""
    count = 0
    for op in (op for op in ROWS if op.differentiable):
        args, argnums = points(op), tuple(range(op.arity))
        for f in (partial(loop, op), lambda *a, op=op: np.sum(getattr(math, op.name)(*a) * np.arange(SIZE))):
            fast = compile(f, argnums)
            fast.value_and_grad(*[x[::-1].copy() for x in args])
            value, slopes = fast.value_and_grad(*args)
            wanted, right = transforms.value_and_grad(f, argnums)(*args)
            agree(f"{op.name}, compiled", value, wanted, 1e-13)
            agree(f"slopes of {op.name}, compiled", slopes, right, 1e-13)
            count += 1
    chain = compile(branching)
    for x in (np.linspace(-1.0, 2.0, 9), np.linspace(2.0, -1.0, 9), np.linspace(0.5, 2.5, 9)):
        agree("a function with branches", chain.value_and_grad(x)[1], transforms.grad(branching)(x), 1e-13)
        agree("its Hessian", chain.hessian(x) + 0.0, transforms.hessian(branching)(x) + 0.0, 1e-12)
    return count + 3


def branching(x: Any) -> Any:
    """A loop that branches by value."""
    total = 0.0
    for i in range(len(x) - 1):
        stretch = x[i + 1] * x[i + 1] - x[i]
        total = total + (stretch ** 3 if stretch > 0 else np.exp(stretch))
    return total


@check("files: saved, loaded, and refused when damaged")
def files() -> int:
    """A program and its file."""
    x = np.linspace(0.1, 0.9, 9)
    f = compile(branching)
    value, slopes = f.value_and_grad(x)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "branching.fad")
        f.save(path)
        again = load(path).value_and_grad(x)
        agree("loaded value", again[0], value)
        agree("loaded gradient", again[1], slopes)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        try:
            load(path)
        except FormatError:
            return 2
    raise AssertionError("half a file was loaded")


@check("threads: one program from four threads, and a batch split among them")
def threads() -> int:
    """The same bits whoever computes."""
    f = compile(branching)
    X = np.random.default_rng(3).uniform(0.2, 1.5, (64, 9))
    wanted = [f.value_and_grad(row) for row in X]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            for (value, slopes), (right, rights) in zip(pool.map(f.value_and_grad, X), wanted, strict=True):
                agree("value in a thread", value, right)
                agree("gradient in a thread", slopes, rights)
    one, two = (f.batch.value_and_grad(X, threads=n) for n in (1, 2))
    agree("values of two threads", two[0], one[0])
    agree("gradients of two threads", two[1], one[1])
    agree("gradients of a batch", one[1], [slopes for _, slopes in wanted], 1e-13)
    return 5 * len(X)


def rosenbrock(x: Any) -> Any:
    """The Rosenbrock function."""
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


@check("descents: a minimum is found, and those that run in C go where those in Python go")
def descent() -> int:
    """A method with a search, and first-order rules."""
    result = minimize(rosenbrock, np.zeros(5), method="lbfgs", max_iter=500)
    np.testing.assert_allclose(result.x, 1.0, atol=1e-3)
    methods = ("gd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "lbfgs")
    fast = compile(rosenbrock)
    for method in methods:
        ways = [minimize(f, np.zeros(3), method=method, max_iter=20) for f in (rosenbrock, fast)]
        agree(f"{method} in C", ways[1].x, ways[0].x, 1e-9)
    return 1 + len(methods)


@check("conversions that would drop a gradient are errors")
def lost_gradients() -> int:
    """Those of Python, and NumPy's."""
    v = Variable(2.0)
    conversions: tuple[Callable[[Any], object], ...] = (float, lambda y: np.asarray(y, float))
    for convert in conversions:
        try:
            convert(v * v)
        except GradientLostError:
            continue
        raise AssertionError("a conversion dropped the gradient of a Variable")
    return len(conversions)


def run(write: Callable[[str], object] = print) -> int:
    """Run all checks, write a line for each; the number of those that failed.

    Parameters
    ----------
    write : callable
        Takes each line.

    Returns
    -------
    int
        0 if everything holds.
    """
    failed = 0
    for title, function in CHECKS.items():
        start = time.perf_counter()
        try:
            with np.errstate(all="ignore"):
                outcome, text = "ok", f"{function():5d}"
        except Exception as error:
            outcome, text = "FAILED", f"{type(error).__name__}: {error}"
            failed += 1
        seconds = time.perf_counter() - start
        write(f"{outcome:6s} {seconds:5.2f} s  {text:>5s}  {title}" if outcome == "ok" else
              f"{outcome:6s} {seconds:5.2f} s         {title}\n    " + text.replace("\n", "\n    "))
    write(f"{len(CHECKS) - failed} of {len(CHECKS)} checks passed")
    return failed
