"""Explicit graphs: symbols first, numbers later.

A `Graph` is written down once with the same NumPy and fastad functions as everything else; `forward` then evaluates its
nodes in topological order, by calling these very functions on Variables, and `backward` reads their gradients.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from . import math, variable
from .errors import refuse_masked
from .tree import flatten, tree_map

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Graph", "Node"]


def real_numbers(value: Any, what: str) -> Any:
    """A number or an array as float64, a copy; refused if it is anything else."""
    refuse_masked(value, what)
    a = np.asarray(value)
    if a.dtype.kind not in "fiub":
        raise TypeError(f"{what} is {type(value).__name__} of dtype {a.dtype}; real numbers are needed")
    return a.astype(np.float64)[()]


class Entry:
    """What a graph knows of a node. It does not know the graph, which so goes, with its values, with its last user."""

    def __init__(self, index: int, operation: str, name: str | None, function: Callable[..., Any] | None,
                 args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        leaves, self._rebuild = flatten((args, kwargs))
        self._leaves = [leaf.entry if isinstance(leaf, Node) else
                        leaf.copy() if isinstance(leaf, np.ndarray) else leaf for leaf in leaves]
        self.inputs = tuple([leaf for leaf in self._leaves if isinstance(leaf, Entry)])
        self.index, self.operation, self.function = index, operation, function
        self.name = name if name is not None else f"{operation}_{index}"

    def compute(self, values: dict[int, Any]) -> Any:
        """The value of the node from those of its inputs, by their index."""
        args, kwargs = self._rebuild([values[leaf.index] if isinstance(leaf, Entry) else leaf for leaf in self._leaves])
        assert self.function is not None
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<{self.name} = {self.operation}({', '.join([entry.name for entry in self.inputs])})>"


class Node(NDArrayOperatorsMixin):
    """A value of a `Graph` that is computed when the graph is evaluated.

    Operators, NumPy functions, methods of arrays (``node.sum(axis=0)``, ``node.T``) and fastad functions on nodes make
    further nodes. Nodes are made by `Graph.placeholder`, `Graph.variable`, `Graph.constant` and by computing with them.

    Attributes
    ----------
    graph : Graph
    index : int
        Place in ``graph.nodes``, which is a topological order.
    operation : str
        ``"placeholder"``, ``"variable"``, ``"constant"`` or the name of a function.
    name : str
        Given for placeholders, variables and constants; other nodes have one made of operation and place, and can be
        given another.
    inputs : tuple of Node
        What the node is computed from.
    """

    __hash__ = object.__hash__        # `==` makes a node, as it makes an array in NumPy

    def __init__(self, graph: Graph, entry: Entry) -> None:
        self.graph, self.entry = graph, entry
        self.index, self.operation = entry.index, entry.operation

    @property
    def name(self) -> str:
        """Its name; another one may be given."""
        return self.entry.name

    @name.setter
    def name(self, name: str) -> None:
        self.entry.name = name

    @property
    def inputs(self) -> tuple[Node, ...]:
        """What it is computed from."""
        return tuple([self.graph.node(entry) for entry in self.entry.inputs])

    @property
    def value(self) -> Any:
        """The value of the last ``forward``, as `Graph.value` gives it."""
        return self.graph.value(self)

    @property
    def grad(self) -> Any:
        """The gradient of the last ``backward``, as `Graph.grad` gives it."""
        return self.graph.grad(self)

    @property
    def T(self) -> Node:  # noqa: N802  NumPy's name
        """The transpose."""
        return record(self.graph, "transpose", np.transpose, (self,), {})

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Node:
        name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
        return record(self.graph, name, getattr(ufunc, method), inputs, kwargs)

    def __array_function__(self, function: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...],
                           kwargs: dict[str, Any]) -> Node:
        return record(self.graph, function.__name__, function, args, kwargs)

    def __fastad_node__(self, name: str, args: tuple[Any, ...]) -> Node:
        return record(self.graph, name, getattr(math, name), args, {})

    def __getitem__(self, key: Any) -> Node:
        return record(self.graph, "getitem", take_item, (self, Index(key)), {})

    def __iter__(self) -> Any:
        raise TypeError("a node has no length before it is evaluated: take items one by one, node[0], node[1], ...")

    def __bool__(self) -> bool:
        raise TypeError("a node has no truth value before it is evaluated: use np.where(condition, x, y) in a graph")

    def __float__(self) -> float:
        raise TypeError("a node is no number before it is evaluated: use NumPy and fastad functions; node.value")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        raise TypeError("a node is no array before it is evaluated: use NumPy and fastad functions; node.value")

    def __getattr__(self, name: str) -> Callable[..., Node]:
        if name.startswith("_") or not callable(getattr(np.ndarray, name, None)):
            raise AttributeError(f"a node has no attribute {name!r}")

        def method(*args: Any, **kwargs: Any) -> Node:
            return record(self.graph, name, lambda x, *a, **k: getattr(x, name)(*a, **k), (self, *args), kwargs)

        return method

    def __repr__(self) -> str:
        return repr(self.entry)


class Index:
    """An index, kept in one piece."""

    def __init__(self, key: Any) -> None:
        if any(isinstance(leaf, Node) for leaf in flatten(key)[0]):
            raise TypeError("an index cannot be a node: np.take(x, k) takes computed positions")
        self.key = key


def take_item(x: Any, index: Index) -> Any:
    """The item of an evaluated node."""
    return x[index.key]


def record(graph: Graph, name: str, function: Callable[..., Any], args: tuple[Any, ...],
           kwargs: dict[str, Any]) -> Node:
    """Add a node for a function call to its graph."""
    if kwargs.get("out") is not None:
        raise TypeError(f"{name}: out= is not supported on nodes")
    return graph.add(name, None, function, tuple(args), kwargs)


class Graph:
    """A graph of operations with placeholders, written down once and evaluated with many inputs.

    Examples
    --------
    >>> import numpy as np
    >>> import fastad as fa
    >>> g = fa.Graph()
    >>> x = g.placeholder("x", shape=(2,))
    >>> W = g.variable("W", [[1.0, 2.0], [3.0, 4.0]])
    >>> y = np.sum(W @ x)
    >>> float(g.forward(y, x=[1.0, 10.0]))
    64.0
    >>> g.backward(y)
    {'W': array([[ 1., 10.],
           [ 1., 10.]])}
    >>> f = g.function(inputs=[x], outputs=[y])
    >>> [float(v) for v in f([1.0, 1.0])]
    [10.0]
    """

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self._nodes: WeakValueDictionary[int, Node] = WeakValueDictionary()     # those that somebody holds, by index
        self._names: dict[str, Entry] = {}
        self._shapes: dict[int, tuple[int, ...] | None] = {}    # of placeholders
        self._leaves: dict[int, Any] = {}                       # variables and constants by index
        self._values: dict[int, Any] = {}                       # of the last forward
        self._last: Entry | None = None
        self._swept = False

    @property
    def nodes(self) -> list[Node]:
        """All nodes in topological order: every node stands behind those it is computed from."""
        return [self.node(entry) for entry in self.entries]

    def node(self, entry: Entry) -> Node:
        """The node of an entry, the same one for as long as somebody holds it."""
        found = self._nodes.get(entry.index)
        if found is None:
            found = self._nodes[entry.index] = Node(self, entry)
        return found

    def add(self, operation: str, name: str | None = None, function: Callable[..., Any] | None = None,
            args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Node:
        """A further node, of a call with these arguments."""
        if any(isinstance(leaf, Node) and leaf.graph is not self for leaf in flatten((args, kwargs))[0]):
            raise ValueError(f"{operation}: the nodes belong to different graphs")
        self.entries.append(Entry(len(self.entries), operation, name, function, args, kwargs or {}))
        return self.node(self.entries[-1])

    # ---- leaves ----
    def placeholder(self, name: str, shape: Sequence[int] | int | None = None) -> Node:
        """A value that each ``forward`` is given.

        Parameters
        ----------
        name : str
            Name of the argument of ``forward``.
        shape : tuple of int, optional
            Checked when it is fed; None takes any, and so does None for the length of one axis.
        """
        lengths = None if shape is None else tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
        if lengths and not all(n is None or (isinstance(n, (int, np.integer)) and n >= 0) for n in lengths):
            raise ValueError(f"placeholder: shape={shape!r}; whole numbers from 0 up, or None, are needed")
        node = self._leaf("placeholder", name)
        self._shapes[node.index] = lengths
        return node

    def variable(self, name: str, value: ArrayLike) -> Node:
        """A parameter: has a value from the start, and ``backward`` gives its gradient.

        ``graph.set(name, value)`` gives it another value.
        """
        leaf = variable.Variable(real_numbers(value, f"variable: the value of {name!r}"))
        node = self._leaf("variable", name)
        leaf.name = name
        self._leaves[node.index] = leaf
        return node

    def constant(self, value: ArrayLike, name: str | None = None) -> Node:
        """A value that never changes and has no gradient."""
        data = real_numbers(value, "constant: the value")
        node = self._leaf("constant", name)
        self._leaves[node.index] = data
        return node

    def _leaf(self, operation: str, name: str | None) -> Node:
        if name is not None and (not isinstance(name, str) or not name):
            raise ValueError(f"{operation}: name={name!r}, a string is needed")
        if name in self._names:
            raise ValueError(f"{operation}: the graph has a {self._names[name].operation} named {name!r} already")
        node = self.add(operation, name)
        if name is not None:
            self._names[name] = node.entry
        return node

    def set(self, name: str, value: ArrayLike) -> None:
        """Give a variable new values, of the same shape."""
        node = self._names.get(name)
        if node is None or node.operation != "variable":
            raise ValueError(f"set: the graph has no variable named {name!r}; it has "
                             f"{[n.name for n in self.entries if n.operation == 'variable']}")
        self._leaves[node.index].value = value

    # ---- evaluation ----
    def forward(self, node: Node | None = None, /, **feeds: ArrayLike) -> Any:
        """Evaluate a node, and everything it is computed from, in topological order.

        Parameters
        ----------
        node : Node, optional
            Default: all nodes, and the value of the last one is returned.
        **feeds
            Values of the placeholders by name.

        Returns
        -------
        float or ndarray
            The value of `node`.

        Raises
        ------
        ValueError
            When a placeholder that is needed is not fed, is fed with a wrong shape, or does not exist.
        """
        if not self.entries:
            raise ValueError("forward: the graph has no nodes")
        target = self.entries[-1] if node is None else self._own(node, "forward")
        needed = self.entries if node is None else self._needed([target])
        for name in feeds:
            if name not in self._names or self._names[name].operation != "placeholder":
                raise ValueError(f"forward: the graph has no placeholder named {name!r}; it has {self._placeholders()}")
        given = {self._names[name].index: variable.Variable(self._checked(self._names[name], value), name=name)
                 for name, value in feeds.items()}
        values = self._evaluate(needed, given)
        self._values, self._last, self._swept = values, target, False
        return variable.value_of(values[target.index])

    def backward(self, node: Node | None = None, seed: ArrayLike | None = None) -> dict[str, Any]:
        """The gradients of a node of the last ``forward``, with respect to every node it is computed from.

        Parameters
        ----------
        node : Node, optional
            Default: the node of the last ``forward``.
        seed : array_like, optional
            Upstream gradient, of the node's shape; 1 for a scalar.

        Returns
        -------
        dict
            The gradient for each variable, by name; zeros where the node does not depend on it. ``grad(node)`` gives
            those of the other nodes.
        """
        target = self._last if node is None else self._own(node, "backward")
        if target is None or target.index not in self._values:
            raise RuntimeError(f"backward: {'the graph' if target is None else target.name} has not been evaluated; "
                               "call forward first")
        y = self._values[target.index]
        if not variable.is_recorded(y):
            raise RuntimeError(f"backward: {target.name} does not depend on a variable or a placeholder")
        for value in self._values.values():
            if isinstance(value, variable.Variable):
                value.zero_grad()
        self._swept = False
        y.backward(seed, retain_graph=True)
        self._swept = True
        return {n.name: self._grad(n) for n in self.entries if n.operation == "variable" and n.index in self._values}

    def value(self, node: Node) -> Any:
        """The value of a node in the last ``forward``."""
        entry = self._own(node, "value")
        if entry.index not in self._values:
            raise RuntimeError(f"value: {entry.name} has not been evaluated; call forward first")
        return detached(self._values[entry.index])

    def grad(self, node: Node) -> Any:
        """The gradient of a node in the last ``backward``; zeros where nothing flows to it."""
        entry = self._own(node, "grad")
        if not self._swept or entry.index not in self._values:
            raise RuntimeError(f"grad: {entry.name} has no gradient yet; call forward and backward first")
        return self._grad(entry)

    def _grad(self, entry: Entry) -> Any:
        value = self._values[entry.index]
        gradient = value.grad if isinstance(value, variable.Variable) else None
        return np.zeros(np.shape(value))[()] if gradient is None else gradient

    def function(self, inputs: Sequence[Node], outputs: Sequence[Node]) -> Callable[..., list[Any]]:
        """A plain function of some nodes, with the variables' values at the time of each call.

        Parameters
        ----------
        inputs : sequence of Node
            Placeholders or variables: the arguments, in order.
        outputs : sequence of Node
            What is returned, as a list.

        Returns
        -------
        callable
            Takes numbers, arrays or Variables; with Variables its results can be differentiated. It leaves the state of
            the graph alone.
        """
        ins = [self._own(node, "function") for node in inputs]
        outs = [self._own(node, "function") for node in outputs]
        for node in ins:
            if node.operation not in ("placeholder", "variable"):
                raise ValueError(f"function: the input {node.name} is no placeholder and no variable")
        needed = self._needed(outs)
        known = {node.index for node in ins}
        for node in needed:
            if node.operation == "placeholder" and node.index not in known:
                raise ValueError(f"function: the outputs need the placeholder {node.name!r}, which is no input")

        def evaluate(*args: Any) -> list[Any]:
            if len(args) != len(ins):
                raise ValueError(f"function: takes {len(ins)} arguments ({', '.join(n.name for n in ins)}), "
                                 f"{len(args)} were given")
            given = {n.index: self._checked(n, value) for n, value in zip(ins, args, strict=True)}
            given |= {n.index: np.array(self._leaves[n.index].value) for n in needed
                      if n.operation == "variable" and n.index not in given}
            values = self._evaluate(needed, given)
            return [values[n.index] for n in outs]

        return evaluate

    def _own(self, node: Any, what: str) -> Entry:
        if not isinstance(node, Node) or node.graph is not self:
            raise ValueError(f"{what}: {node!r} is no node of this graph")
        return node.entry

    def _placeholders(self) -> list[str]:
        return [self.entries[index].name for index in self._shapes]

    def _needed(self, outputs: Sequence[Entry]) -> list[Entry]:
        """What the outputs are computed from, and they themselves, in topological order."""
        found, waiting = set(), [node.index for node in outputs]
        while waiting:
            index = waiting.pop()
            if index not in found:
                found.add(index)
                waiting += [node.index for node in self.entries[index].inputs]
        return [self.entries[index] for index in sorted(found)]

    def _checked(self, node: Entry, value: Any) -> Any:
        """A fed value, of the shape its node asks for."""
        if not isinstance(value, variable.Variable):
            value = real_numbers(value, f"forward: what is fed to {node.name!r}")
        shape = np.shape(self._leaves[node.index]) if node.operation == "variable" else self._shapes[node.index]
        given = np.shape(value)
        if shape is not None and (len(given) != len(shape)
                                  or any(n is not None and n != m for n, m in zip(shape, given, strict=True))):
            raise ValueError(f"forward: the {node.operation} {node.name!r} has shape {shape}, fed was shape {given}")
        return value

    def _evaluate(self, needed: Sequence[Entry], given: dict[int, Any]) -> dict[int, Any]:
        """The values of nodes in topological order."""
        values: dict[int, Any] = {}
        for node in needed:
            if node.index in given:
                values[node.index] = given[node.index]
            elif node.operation == "placeholder":
                raise ValueError(f"forward: the placeholder {node.name!r} is not fed; "
                                 f"call forward(..., {node.name}=value)")
            elif node.function is None:
                values[node.index] = self._leaves[node.index]
            else:
                try:
                    values[node.index] = node.compute(values)
                except Exception as error:
                    error.add_note(f"in the node {node!r}, whose inputs have the shapes "
                                   f"{', '.join(str(np.shape(values[n.index])) for n in node.inputs)}")
                    raise
        return values

    def __repr__(self) -> str:
        kinds = [entry.operation for entry in self.entries]
        leaves = ", ".join([f"{kinds.count(kind)} {kind}{'' if kinds.count(kind) == 1 else 's'}"
                            for kind in ("placeholder", "variable", "constant") if kind in kinds])
        state = "swept" if self._swept else "evaluated" if self._values else "not evaluated"
        return f"<graph: {len(self.entries)} nodes{f' ({leaves})' if leaves else ''}, {state}>"

    def __str__(self) -> str:
        """One line per node: name, operation, value and gradient of the last evaluation."""
        rows = [("node", "operation", "value", "gradient")]
        for node in self.entries:
            known = node.index in self._values
            rows.append((node.name, f"{node.operation}({', '.join([n.name for n in node.inputs])})" if node.inputs
                         else node.operation, short(detached(self._values[node.index])) if known else "-",
                         short(self._grad(node)) if known and self._swept else "-"))
        wide = [max(len(row[k]) for row in rows) for k in range(3)]
        return "\n".join("  ".join([*(cell.ljust(w) for cell, w in zip(row, wide, strict=False)), row[3]]).rstrip()
                         for row in rows)


def detached(value: Any) -> Any:
    """A value without its Variables, as something that stays as it is."""
    def own(leaf: Any) -> Any:
        return np.array(variable.value_of(leaf))[()] if isinstance(leaf, (variable.Variable, np.ndarray)) else leaf

    return tree_map(own, value)


def short(value: Any) -> str:
    """A value in one line."""
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(short(item) for item in value) + "]"
    return np.array2string(np.asarray(value), precision=4, threshold=8, edgeitems=2, separator=" ").replace("\n", "")
