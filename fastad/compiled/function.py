"""`fastad.compile`: replay of Python functions at the speed of C, right on every branch."""
from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from functools import update_wrapper
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import transforms, variable
from .._program import Bound, Replay
from .._tape import tape
from ..errors import AuditError, TraceError
from ..transforms import like
from ..tree import flatten, flatten_like
from .arguments import FLOAT, INT, Arguments, read_arguments
from .batch import Batch
from .matrices import as_sparse, matrix
from .path import Path, joined
from .program import Program
from .rule import recorded_call

if TYPE_CHECKING:
    from .._typing import Argnums, Function, Options

__all__ = ["Compiled", "compile"]

#: How many ways through a function are kept for arguments of one kind.
MAX_PATHS = 64
#: And for how many contents of the arrays from outside that select.
MAX_CONTENTS = 8


class Paths:
    """The ways through the function for arguments of one kind: trees over the guards that told them apart.

    There is one tree; more where an array from outside that selects (see `Trace`) had other contents: one for each of
    those met lately.
    """

    def __init__(self) -> None:
        self.roots: list[Path] = []
        self.last: Path | None = None
        self.count = self.dropped = self.clock = 0
        self.eager = False

    @property
    def root(self) -> Path | None:
        """The first path of the tree that was used last."""
        return self.roots[0] if self.roots else None

    def all(self) -> list[Path]:
        """All paths, the first traced one of each tree first."""
        found: list[Path] = []
        waiting = self.roots[::-1]
        while waiting:
            path = waiting.pop()
            found.append(path)
            waiting += list(path.branches.values())
        return found

    def add(self, path: Path, after: tuple[Path, tuple[int, bytes]] | None) -> None:
        """Enter a new path, where the walk over the tree ended; the least recently used one makes room."""
        if after is None:
            self.roots = [path, *self.roots[:MAX_CONTENTS - 1]]
        else:
            path.parent = after
            after[0].branches[after[1]] = path
        self.count = len(self.all())
        if self.count > MAX_PATHS:
            self.remove(min([p for p in self.all() if p is not path], key=lambda p: p.used))
            self.count -= 1
            self.dropped += 1

    def remove(self, path: Path) -> None:
        """Take a path out of its tree; the branch that left it last takes its place: it shares those guards."""
        ends = sorted(path.branches.items(), key=lambda branch: branch[0][0])
        heir = ends.pop()[1] if ends else None
        if heir is not None:
            heir.parent = path.parent
            for outcome, branch in ends:
                heir.branches[outcome] = branch
                branch.parent = (heir, outcome)
        if path.parent is None:
            at = self.roots.index(path)
            self.roots[at:at + 1] = [] if heir is None else [heir]
        elif heir is not None:
            path.parent[0].branches[path.parent[1]] = heir
        else:
            del path.parent[0].branches[path.parent[1]]


def positions(name: str, given: Any) -> list[int]:
    """The positions of arguments that one integer or a sequence of them names."""
    found = list(given) if isinstance(given, (tuple, list)) else [given]
    if not all(isinstance(k, (int, np.integer)) for k in found):
        raise TypeError(f"compile: {name}={given!r}; an integer or a sequence of integers is needed")
    return found


def described(array: Any) -> str:
    """What a buffer is, for the message that it does not do."""
    if not isinstance(array, np.ndarray):
        return type(array).__name__
    marks = "read-only " * (not array.flags.writeable) + "strided " * (not array.flags.c_contiguous)
    return f"{marks}{array.dtype} of shape {array.shape}"


class Compiled(Replay):
    """A function made by `fastad.compile`.

    Calling it replays the program of the branch that the arguments take; so do its methods, which give derivatives with
    respect to the arguments that `argnums` names.

    Attributes
    ----------
    programs : tuple of Program
        Those that were made so far.
    batch : Batch
        The function over many arguments at once.

    Examples
    --------
    >>> import numpy as np
    >>> import fastad as fa
    >>> f = fa.compile(lambda x, k=2.0: k * np.sum(x * x))
    >>> float(f(np.array([1.0, 2.0]))), f.grad(np.array([1.0, 2.0]), 0.5)
    (10.0, array([1., 2.]))
    >>> value, gradient = f.value_and_grad(np.array([1.0, 2.0]), k=3.0)
    >>> float(value), gradient
    (15.0, array([ 6., 12.]))
    """

    def __init__(self, f: Function, argnums: Argnums = 0, static_argnums: Argnums = (), *, audit: int = 0,
                 passes: bool = True) -> None:
        if not callable(f):
            raise TypeError(f"compile: a function is needed, not {type(f).__name__}")
        update_wrapper(self, f, updated=())
        self.f = f
        self.single = not isinstance(argnums, (tuple, list))
        self.argnums = positions("argnums", argnums)
        self.static = positions("static_argnums", static_argnums)
        if not isinstance(audit, int) or audit < 0:
            raise ValueError(f"compile: audit={audit!r}: how many calls apart the function is run beside the replay, "
                             "or 0")
        self.audit, self.passes = audit, passes
        self.name = getattr(f, "__name__", type(f).__name__)
        self.cache: dict[Any, Paths] = {}
        self.saved: dict[str, Paths] = {}             # what came from a file, by the text of its key
        self.lock = threading.RLock()
        self.calls = 0
        self.batch = Batch(self)
        self.quick_matrices = {}

    def __repr__(self) -> str:
        kinds = ", ".join([program.kind for program in self.programs])
        return f"<compiled {self.name}: {f'programs {kinds}' if kinds else 'no programs yet'}>"

    def __reduce__(self) -> tuple[Any, ...]:
        if self.saved:                                # of a loaded one there are the programs alone
            from .files import packed, unpacked
            return unpacked, (packed(self),)
        return _recompile, (self.f, self.argnums[0] if self.single else tuple(self.argnums), tuple(self.static),
                            self.audit, self.passes)

    @property
    def programs(self) -> tuple[Program, ...]:
        """The programs that were made so far: one for each way through the function and each kind of replay.

        Examples
        --------
        >>> import fastad as fa
        >>> f = fa.compile(lambda x: x * x if x > 0 else -x)
        >>> float(f.grad(3.0)), float(f.grad(-3.0))
        (6.0, -1.0)
        >>> [program.kind for program in f.programs]
        ['grad', 'grad']
        """
        return tuple([program for paths in list(self.cache.values()) for path in paths.all()
                      for program in path.programs.values()])

    # ---- arguments and programs ----
    def read(self, args: Sequence[Any], kwargs: Options, derive: bool = True) -> Arguments:
        """The arguments of a call, taken apart; `derive`: those of argnums have to be among the positional ones."""
        n = len(args)
        for k in self.static:
            if not -n <= k < n:
                raise TypeError(f"{self.name}: static_argnums has {k}, but {n} positional arguments were given")
        static, numbers = {k % n for k in self.static}, [k % n for k in self.argnums if -n <= k < n]
        if derive and len(numbers) < len(self.argnums):
            raise ValueError(f"{self.name}: argnums={self.argnums} does not name one of the {n} positional arguments "
                             "given")
        if len(set(numbers)) < len(numbers) or static & set(numbers):
            raise ValueError(f"{self.name}: argnums={self.argnums} names an argument twice, or a static one")
        return read_arguments(args, kwargs, numbers, static)

    def find(self, kind: str, arguments: Arguments, leaves: Sequence[Any], out: Any = None) -> tuple[Any, Path] | None:
        """Replay, after tracing if need be: results and path taken; None when the function has to run in Python."""
        paths = self.paths_for(arguments)
        after = None
        for root in [paths.last, *paths.roots]:       # the path of the last call first, then from the top
            path, after = root, None
            while path is not None:
                result = self.replayed(path, kind, leaves, out)
                if result is None:                    # an array from outside is not what it was
                    after = None
                    break
                if isinstance(result, list):
                    self.took(paths, path, root)
                    if arguments.simple and not self.audit:
                        self.shorten(kind, path, arguments)
                    return result, path
                outcome = (result[0], np.float64(result[1] + 0.0 if result[1] == result[1] else np.nan).tobytes())
                after = (path, outcome)
                path = path.branches.get(outcome)
            if after is not None and root in paths.roots:
                break                                 # the arguments leave this tree, to which the new path belongs
        if paths.eager:
            return None
        with self.lock:
            path = self.traced(paths, arguments, after)
        if path is None:
            return None
        result = self.replayed(path, kind, leaves, out)
        if not isinstance(result, list):
            raise AuditError(f"{self.name}: takes another way through its branches in each call with the same "
                             "arguments; it depends on something that is no argument (random numbers, a counter)")
        return result, path

    def took(self, paths: Paths, path: Path, root: Path | None) -> None:
        """Note that a call took a path; its tree comes first from now on."""
        paths.clock += 1
        path.used, paths.last = paths.clock, path
        path.replays += 1
        if root in paths.roots[1:]:
            paths.roots = [root, *[other for other in paths.roots if other is not root]]

    def shorten(self, kind: str, path: Path, arguments: Arguments) -> None:
        """Let the next call try this program first."""
        if path.program(kind).evaluator in (self.quick_grad, self.quick_value):
            return
        if any(leaf.kind not in (FLOAT, INT) for leaf in arguments.kinds):
            return                                    # the short way knows floating-point and whole numbers only
        if any(leaf.kind == INT for leaf in arguments.kinds):
            path.program(kind).evaluator.whole = [leaf.kind == INT for leaf in arguments.kinds]
        if kind == "grad" and arguments.differentiated == sorted(arguments.differentiated):
            self.quick_grad, self.several = path.program(kind).evaluator, not self.single
        elif kind == "value" and path.is_plain:
            self.quick_value = path.program(kind).evaluator

    def paths_for(self, arguments: Arguments) -> Paths:
        """The paths for arguments of this kind."""
        paths = self.cache.get(arguments.key)
        if paths is None:
            made = self.saved.get(repr(arguments.key)) if self.saved else None
            paths = self.cache.setdefault(arguments.key, made or Paths())
        return paths

    def replayed(self, path: Path, kind: str, leaves: Sequence[Any], out: Any) -> Any:
        """What the evaluator gives."""
        program = path.program(kind)
        found = program.evaluator(leaves, out)
        if self.saved and isinstance(found, list):
            self.show(program, leaves, found)
        return found

    def show(self, program: Program, leaves: Sequence[Any], results: Sequence[Any]) -> None:
        """Let an observer see the replay of a function that has no Python code."""
        observer = variable.observer_of(tape()) if self.is_watched else None
        if observer is not None:
            observer.replayed(self.name, program, leaves, results)

    def traced(self, paths: Paths, arguments: Arguments, after: Any) -> Path | None:
        """Trace a new path; None when the function cannot be traced, or has too many paths."""
        if paths.dropped > 2 * MAX_PATHS:
            self.give_up(paths, f"has more than {3 * MAX_PATHS} ways through its branches for arguments of this kind")
            return None
        try:
            path = Path(self.f, arguments, self.passes)
        except TraceError as error:
            self.give_up(paths, f"cannot be traced: {error}")
            return None
        paths.add(path, after)
        paths.last = path
        return path

    def give_up(self, paths: Paths, why: str) -> None:
        """Run the function in Python from now on, for arguments of this kind."""
        if not paths.eager:
            warnings.warn(f"fastad.compile: {self.name} {why}; it runs in Python where no program fits", stacklevel=5)
        paths.eager = True

    # ---- calls ----
    def long_call(self, args: Sequence[Any], kwargs: Options) -> Any:
        """The value, when the short way does not do."""
        if variable.is_tracing():
            return self.f(*args, **kwargs)            # within another trace: a part of it
        if has_recorded(args, kwargs):
            return self.f(*args, **kwargs) if self.runs_in_python else recorded_call(self, args, kwargs)
        if self.runs_in_python:
            return self.observed(args, kwargs)
        arguments = self.read(args, kwargs, derive=False)
        found = self.find("value", arguments, arguments.leaves)
        if found is None:
            return transforms.plain(self.f(*args, **kwargs))
        result, path = found
        self.check(result, path, args, kwargs, "value")
        return path.rebuilt(result)

    @property
    def runs_in_python(self) -> bool:
        """Whether a trace or an observer has to see each operation; of a loaded function there are programs alone."""
        return not self.saved and variable.in_python()

    @property
    def is_watched(self) -> bool:
        """Whether there is an observer, apart from a trace."""
        return variable.in_python() and not variable.is_tracing()

    @property
    def is_observed(self) -> bool:
        """Whether an observer has to see each operation: Python runs the function."""
        return not self.saved and self.is_watched

    def observed(self, args: Sequence[Any], kwargs: Options) -> Any:
        """The function on Variables, so that an observer sees what it does."""
        arguments = self.read(args, kwargs, derive=False)
        given, named = arguments.rebuild([variable.input_variable(x) if leaf.kind == FLOAT else x
                                          for x, leaf in zip(arguments.leaves, arguments.kinds, strict=True)])
        return transforms.plain(self.f(*given, **named))

    def long_value_and_grad(self, args: Sequence[Any], kwargs: Options, out: Any) -> tuple[Any, Any]:
        """Value and gradient, when the short way does not do."""
        if variable.is_tracing() or has_recorded(args, kwargs):
            if out is not None:
                raise TypeError(f"value_and_grad: out= takes numbers, but the gradient of {self.name} is recorded "
                                "where arguments are Variables, and in functions that are traced; leave it out")
            return transforms.value_and_grad(self.f, self.argnums[0] if self.single else self.argnums)(*args, **kwargs)
        arguments = self.read(args, kwargs)
        buffers = None if out is None else self.buffers(out, arguments)
        replay = not self.runs_in_python and self.scalar_paths(arguments)
        found = self.find("grad", arguments, arguments.leaves, buffers) if replay else None
        if found is None:
            eager = transforms.value_and_grad(self.f, self.argnums[0] if self.single else self.argnums)
            value, g = eager(*args, **kwargs)
            if buffers is not None:
                for target, found_g in zip(buffers[1:], arguments.by_leaf(flatten(g)[0]), strict=True):
                    target[...] = found_g
                g = out
            return value, g
        result, path = found
        self.check(result, path, args, kwargs, "grad")
        return result[0], out if out is not None else self.shaped(arguments, result[1:])

    def first_path(self, arguments: Arguments) -> tuple[Path | None, bool]:
        """The first path for arguments of this kind, and whether it was traced now: then they take it."""
        paths = self.paths_for(arguments)
        if paths.root is None and not paths.eager:
            with self.lock:
                if paths.root is None:
                    return self.traced(paths, arguments, None), True
        return paths.root, False

    def scalar_paths(self, arguments: Arguments) -> bool:
        """Trace the first path if need be, and require a scalar output."""
        path, _ = self.first_path(arguments)
        return path is not None and self.check_scalar(path)

    def check_scalar(self, path: Path) -> bool:
        """Refuse a function that has no gradient."""
        if not path.is_scalar:
            shapes = [np.shape(y) for y in path.outputs]
            what = (f"shape {shapes[0]}" if len(shapes) == 1 and shapes[0] else
                    f"a container of arrays of shapes {shapes}" if shapes else "no number")
            raise TypeError(f"grad: {self.name} returned {what}, a gradient needs a scalar; reduce it "
                            "(np.sum), or use .jacobian")
        return True

    def bind(self, *args: Any) -> Bound:
        """A gradient for hot loops, with buffers of its own.

        Parameters
        ----------
        *args
            Numbers and arrays; what it is called with later has to be of their kind.

        Returns
        -------
        Bound
            ``b(*args)`` gives the value; ``b.gradient`` is the buffer, or tuple of buffers, that holds the gradient
            then.

        Examples
        --------
        >>> import numpy as np
        >>> import fastad as fa
        >>> b = fa.compile(lambda x: np.sum(x ** 3)).bind(np.ones(2))
        >>> b(np.array([1.0, 2.0])), b.gradient
        (9.0, array([ 3., 12.]))
        """
        self.value_and_grad(*args)
        arguments = self.read(args, {})
        found = self.find("grad", arguments, arguments.leaves)
        if found is None or not arguments.simple:
            raise TypeError(f"bind: {self.name} takes more than numbers and arrays here, or cannot be compiled")
        buffers = [np.empty(arguments.kinds[j].dims) for j in arguments.differentiated]

        def slow(values: Sequence[Any], targets: list[Any]) -> float:
            value, g = self.long_value_and_grad(values, {}, None)
            for target, part in zip(targets, arguments.by_leaf([g] if self.single else g), strict=True):
                if np.shape(part) != target.shape:
                    raise ValueError(f"bind: {self.name} was bound to an argument of shape {target.shape}, not "
                                     f"{np.shape(part)}")
                target[...] = part
            return float(value)

        quick = all(leaf.kind == FLOAT for leaf in arguments.kinds)
        return Bound(self, found[1].program("grad").evaluator, buffers[0] if self.single else tuple(buffers),
                     arguments.by_leaf(buffers), slow, quick)

    def buffers(self, out: Any, arguments: Arguments) -> list[Any]:
        """The arrays to be filled, checked: one for the value (none), then one for each differentiated leaf."""
        given = [out] if isinstance(out, np.ndarray) else flatten(out)[0]
        active = [arguments.kinds[j] for j in arguments.differentiated]
        if len(given) != len(active):
            raise ValueError(f"out: {len(given)} arrays for {len(active)} differentiated arguments")
        for array, leaf in zip(given, active, strict=True):
            if not isinstance(array, np.ndarray) or array.dtype != np.float64 or not array.flags.c_contiguous \
                    or not array.flags.writeable or array.shape != leaf.dims:
                raise ValueError(f"out: a writeable float64 array in C order of shape {leaf.dims} is needed, not "
                                 f"{described(array)}")
        return [None, *arguments.by_leaf(given)]

    def shaped(self, arguments: Arguments, gradients: Sequence[Any]) -> Any:
        """Gradients in the form, and the floating dtype, of the arguments."""
        by_leaf = dict(zip(sorted(arguments.differentiated), gradients, strict=True))
        made = []
        for k in arguments.numbers:
            rebuild, first, last = arguments.trees[k]
            parts = [like(arguments.leaves[j], by_leaf[j]) for j in range(first, last)]
            made.append(parts[0] if rebuild is None else rebuild(parts))
        return made[0] if self.single else tuple(made)

    # ---- derivatives of other kinds ----
    def hvp(self, *args: Any, **kwargs: Any) -> Any:
        """The product of the Hessian with a vector, which is the last argument, without the Hessian.

        The vector has the form of the differentiated argument; it is a tuple of such for several.

        Examples
        --------
        >>> import numpy as np
        >>> import fastad as fa
        >>> fa.compile(lambda x: np.sum(x ** 3)).hvp(np.array([1.0, 2.0]), np.array([1.0, 10.0]))
        array([  6., 120.])
        """
        if len(args) < 2:
            raise TypeError(f"hvp: the arguments of {self.name} and the vector are needed; {len(args)} were given")
        *rest, vector = args
        if self.runs_in_python or has_recorded(args, kwargs):
            return transforms.hvp(*self.of_differentiated(rest, kwargs), vector)
        arguments = self.read(rest, kwargs)
        vectors = self.seeds_like(arguments, vector, "hvp: the vector")
        found = self.find("hvp", arguments, [*arguments.leaves, *vectors]) if self.scalar_paths(arguments) else None
        if found is None:
            return transforms.hvp(*self.of_differentiated(rest, kwargs), vector)
        return self.shaped(arguments, found[0])

    def of_differentiated(self, args: Sequence[Any], kwargs: Options) -> tuple[Function, Any]:
        """The function as one of the differentiated arguments alone, and these."""
        def function(chosen: Any) -> Any:
            given = list(args)
            for k, value in zip(self.argnums, [chosen] if self.single else chosen, strict=True):
                given[k] = value
            return self.f(*given, **kwargs)

        return function, args[self.argnums[0]] if self.single else tuple([args[k] for k in self.argnums])

    def seeds_like(self, arguments: Arguments, tree: Any, what: str) -> list[Any]:
        """The leaves of a vector in the form of the differentiated arguments."""
        trees = [tree] if self.single else list(tree)
        found: list[Any] = []
        if len(trees) != len(arguments.numbers):
            raise ValueError(f"{what}: {len(trees)} were given for {len(arguments.numbers)} differentiated arguments")
        for k, part in zip(arguments.numbers, trees, strict=True):
            rebuild, first, last = arguments.trees[k]
            leaves = arguments.leaves[first:last]
            parts = [part] if rebuild is None else flatten_like(rebuild(leaves), part, what)
            for leaf, own in zip(leaves, parts, strict=True):
                found.append(transforms.seed_of(leaf, own, what))
        return arguments.by_leaf(found)

    def jvp(self, args: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        """The value and its derivative along a direction.

        Parameters
        ----------
        args : sequence
            The positional arguments.
        tangents : sequence
            The direction: for each differentiated argument what has its form and its shapes.

        Examples
        --------
        >>> import numpy as np
        >>> import fastad as fa
        >>> f = fa.compile(lambda x, c: c * x ** 2)
        >>> f.jvp((np.array([1.0, 3.0]), 2.0), (np.array([1.0, 10.0]),))
        (array([ 2., 18.]), array([  4., 120.]))
        """
        tangent = tangents[0] if self.single and len(tangents) == 1 else tangents
        if self.runs_in_python or has_recorded([*args, tangent], {}):
            function, chosen = self.of_differentiated(args, {})
            return transforms.jvp(function, (chosen,), (tangent,))
        arguments = self.read(args, {})
        vectors = self.seeds_like(arguments, tangent, "jvp: a tangent")
        found = self.find("jvp", arguments, [*arguments.leaves, *vectors])
        if found is None:
            function, chosen = self.of_differentiated(args, {})
            return transforms.jvp(function, (chosen,), (tangent,))
        result, path = found
        n = len(path.outputs)
        return path.rebuilt(result[:n]), path.rebuild_outputs(result[n:])

    def jacobian(self, *args: Any, sparse: bool = False, **kwargs: Any) -> Any:
        """The derivatives of an array output: an array of shape ``output.shape + argument.shape`` for each argument.

        Forward or reverse, whichever needs fewer directions; rows, or columns, with no element in common share one.

        Parameters
        ----------
        *args, **kwargs
            As for the function.
        sparse : bool
            Give a ``scipy.sparse.csr_array`` of the elements that can be other than zero: a matrix of one row for each
            element of the output and one column for each of the argument.

        Examples
        --------
        >>> import numpy as np
        >>> import fastad as fa
        >>> fa.compile(lambda x: np.stack([x[0] * x[1], x[0]])).jacobian(np.array([2.0, 3.0]))
        array([[3., 2.],
               [1., 0.]])
        >>> fa.compile(lambda x: x ** 2).jacobian(np.arange(1000.0), sparse=True).nnz
        1000
        """
        made = None if kwargs else self.quick_matrix("jacobian", args, sparse)
        if made is None:
            return self.long_matrix("jacobian", args, kwargs, sparse)
        return made[1].filled(made[0]) if sparse else made

    def hessian(self, *args: Any, sparse: bool = False, **kwargs: Any) -> Any:
        """The matrix of second derivatives with respect to a single array or number.

        Parameters
        ----------
        *args, **kwargs
            As for the function.
        sparse : bool
            Give a ``scipy.sparse.csr_array`` of the elements that can be other than zero.

        Examples
        --------
        >>> import numpy as np
        >>> import fastad as fa
        >>> f = fa.compile(lambda x: x[0] ** 2 * x[1])
        >>> f.hessian(np.array([1.0, 2.0]))
        array([[4., 2.],
               [2., 0.]])
        >>> f.hessian(np.array([1.0, 2.0]), sparse=True).nnz
        3
        """
        made = None if kwargs else self.quick_matrix("hessian", args, sparse)
        if made is None:
            return self.long_matrix("hessian", args, kwargs, sparse)
        return made[1].filled(made[0]) if sparse else made

    def long_matrix(self, kind: str, args: Sequence[Any], kwargs: Options, sparse: bool) -> Any:
        """A Jacobian or Hessian, when the short way does not do."""
        eager = getattr(transforms, kind)(self.f, self.argnums[0] if self.single else self.argnums)
        if variable.is_tracing() or has_recorded(args, kwargs):
            if sparse:
                raise TypeError(f"{kind}: sparse=True gives plain numbers, which nothing can be recorded of; leave it "
                                "out where Variables are among the arguments, and in functions that are traced")
            return eager(*args, **kwargs)
        found = None if self.runs_in_python else matrix(self, kind, args, kwargs, sparse)
        if found is None:
            found = eager(*args, **kwargs)
            if sparse:
                n = np.size(args[self.argnums[0]])
                found = as_sparse(found, None, (found.size // max(n, 1), n))
        return found

    # ---- audits ----
    def check(self, result: list[Any], path: Path, args: Sequence[Any], kwargs: Options, kind: str) -> None:
        """Run the function beside the replay in one call of `audit`, and on the first replay."""
        if not self.audit:
            return
        self.calls += 1
        if path.replays != 2 and self.calls % self.audit:
            return
        value = flatten(transforms.plain(self.f(*args, **kwargs)))[0]
        for have, want in zip(result, value, strict=False):
            if not np.allclose(have, want, rtol=1e-9, atol=1e-12, equal_nan=True):
                raise AuditError(f"{self.name}: the replay gives {have}, the function {want}: "
                                 f"{self.difference(path, args, kwargs)}")

    def difference(self, path: Path, args: Sequence[Any], kwargs: Options) -> str:
        """Which recorded operation is another one when the function is traced again."""
        other = Path(self.f, self.read(args, kwargs, derive=False), self.passes)
        return path.difference(other)

    def save(self, path: Any) -> None:
        """Write the programs that were made so far to a file, for `fastad.load`.

        Raises
        ------
        ValueError
            When no program was made yet.
        TypeError
            When something in a program cannot be written, such as a Python function with a derivative rule of its own.

        Examples
        --------
        >>> import os, tempfile
        >>> import fastad as fa
        >>> f = fa.compile(lambda x: x ** 3)
        >>> name = os.path.join(tempfile.mkdtemp(), "cube.fad")
        >>> f.save(name)
        Traceback (most recent call last):
        ValueError: save: <lambda> has no programs yet; call it, or its grad, with arguments first
        >>> float(f.grad(1.0))
        3.0
        >>> f.save(name)
        >>> float(fa.load(name).grad(2.0))
        12.0
        """
        from .files import save
        save(self, path)


def has_recorded(args: Sequence[Any], kwargs: Options) -> bool:
    """Whether a recorded Variable is among the arguments."""
    for x in args:
        kind = type(x)
        if kind is float or kind is int or (kind is np.ndarray and x.dtype != object):
            continue
        if any(variable.is_recorded(joined(leaf)) for leaf in flatten(x)[0]):
            return True
    return bool(kwargs) and any(variable.is_recorded(joined(leaf)) for leaf in flatten(dict(kwargs))[0])


def _recompile(f: Function, argnums: Argnums, static: Argnums, audit: int, passes: bool) -> Compiled:
    """A compiled function, unpickled."""
    return Compiled(f, argnums, static, audit=audit, passes=passes)


def compile(f: Function | None = None, argnums: Argnums = 0, static_argnums: Argnums = (), *, audit: int = 0,
            passes: bool = True) -> Any:
    """A function that runs at the speed of C: `f` is traced once for each way through its branches, then replayed.

    What Python numbers from outside (globals, attributes, closures) were in the call that was traced is part of the
    program, and so is what NumPy computed from outside data before an argument came in; `audit` finds it when such data
    change. An array from outside that meets an argument is a live input: what it holds at call time is used.

    Parameters
    ----------
    f : callable
        Takes numbers, arrays and nested containers of them; uses Python, NumPy and ``fastad`` functions.
    argnums : int or sequence of int
        Positions of the arguments that derivatives are taken with respect to.
    static_argnums : int or sequence of int
        Positions of arguments that are fixed in a program: each value is traced anew; they must be hashable.
    audit : int
        Run the Python function beside the replay in one of so many calls, and on the first replay, and compare; 0:
        never.
    passes : bool
        Whether programs are optimised.

    Returns
    -------
    Compiled
        Call it as `f`; ``.value_and_grad``, ``.grad``, ``.jacobian``, ``.hessian``, ``.hvp``, ``.jvp`` and ``.batch``
        give derivatives and batches; ``.programs`` shows what was made.

    Raises
    ------
    AuditError
        In a call, when an audit finds a difference.

    Examples
    --------
    >>> import numpy as np
    >>> import fastad as fa
    >>> @fa.compile
    ... def f(x):
    ...     s = 0.0
    ...     for i in range(len(x)):
    ...         if x[i] > 0:
    ...             s = s + x[i] ** 2
    ...     return s
    >>> f.grad(np.array([1.0, -2.0, 3.0]))
    array([2., 0., 6.])
    >>> f.grad(np.array([-1.0, 2.0, 3.0]))
    array([0., 4., 6.])
    """
    if f is None:
        return lambda function: Compiled(function, argnums, static_argnums, audit=audit, passes=passes)
    return Compiled(f, argnums, static_argnums, audit=audit, passes=passes)
