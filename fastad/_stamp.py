"""Build step: stamps the C kernels and the type stubs from the op table. The package never imports this at run time.

``setup.py`` loads this file by path and calls :func:`stamp`; ``python fastad/_stamp.py`` does the same without a build.
Each expression of the table is translated from its Python syntax tree into C, once as a scalar function and once as
block kernels that work on contiguous strips. In a block kernel every call of a function that has a vector loop of its
own (NumPy's ``exp``, SciPy's ``digamma``, another row's kernel) is taken out of the expression into a strip of
temporaries, so that what remains is plain arithmetic the compiler vectorises.
"""
from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from .ops import Op

#: What a block kernel computes beforehand, strip by strip: functions and the expressions of their arguments.
Steps: TypeAlias = "list[tuple[Op, list[str]]]"
#: A row and which of its operands are in the register: "", "x", "y" or "xy".
Link: TypeAlias = "tuple[Op, str]"

#: External functions that the compiler turns into vector instructions by itself; they stay inside the loops.
INLINE = {"sqrt", "fabs", "absolute", "floor", "ceil", "trunc", "rint", "copysign"}
#: How the operands are read in a block kernel.
OPERANDS = ("x[i]", "y[i]", "v[i]")
OPERATORS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.And: "&&", ast.Or: "||", ast.Lt: "<",
             ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}


def load_table(package: Path) -> ModuleType:
    """The op table module of the package directory, loaded by path."""
    spec = importlib.util.spec_from_file_location("fastad_ops", package / "ops.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def called(expression: str) -> set[str]:
    """The functions of the table that an expression calls."""
    return {c.func.id for c in ast.walk(ast.parse(expression, mode="eval"))
            if isinstance(c, ast.Call) and isinstance(c.func, ast.Name) and c.func.id != "where"}


class Emitter:
    """Translates expressions of the table into C."""

    def __init__(self, table: ModuleType) -> None:
        self.table = table

    def vector(self, op: Op) -> bool:
        """Whether a block call of `op` goes through a loop of its own."""
        if op.external:
            return op.name not in INLINE
        return any(self.vector(self.table.BY_NAME[name]) for name in called(op.value))

    def needs_scipy(self, op: Op, seen: tuple[str, ...] = ()) -> bool:
        """Whether the value or a partial of `op` goes, at any depth, through a loop of SciPy's."""
        if op.external and (op.numpy or "").startswith("special."):
            return True
        calls = {name for e in (op.value, op.dx, op.dy) if e is not None for name in called(e)}
        return any(self.needs_scipy(self.table.BY_NAME[name], (*seen, op.name)) for name in calls - {op.name, *seen})

    def scalar(self, expression: str) -> str:
        """C for one pair of scalars ``x``, ``y`` (and the value ``v``)."""
        return self._emit(ast.parse(expression, mode="eval").body, str, None)

    def block(self, expression: str, operands: Mapping[str, str]) -> tuple[Steps, str]:
        """C for a strip: (steps, expression); `operands` says how ``x``, ``y``, ``v`` are read at position i."""
        steps: Steps = []
        text = self._emit(ast.parse(expression, mode="eval").body, operands.__getitem__, steps)
        return steps, text

    def _emit(self, node: ast.expr, name: Callable[[str], str], steps: Steps | None) -> str:
        def sub(child: ast.expr) -> str:
            return self._emit(child, name, steps)

        match node:
            case ast.Constant():
                return repr(float(node.value))  # type: ignore[arg-type]  # the table has only numbers
            case ast.Name(id=ident):
                if ident in self.table.CONSTANTS:
                    return f"C_{ident}"
                return name(ident)
            case ast.UnaryOp(op=ast.USub()):
                return f"(-{sub(node.operand)})"
            case ast.UnaryOp(op=ast.Not()):
                return f"(!{sub(node.operand)})"
            case ast.BinOp():
                return f"({sub(node.left)} {OPERATORS[type(node.op)]} {sub(node.right)})"
            case ast.BoolOp():
                return "(" + f" {OPERATORS[type(node.op)]} ".join(map(sub, node.values)) + ")"
            case ast.Compare(ops=[operator], comparators=[right]):
                return f"({sub(node.left)} {OPERATORS[type(operator)]} {sub(right)})"
            case ast.Call(func=ast.Name(id="where"), args=[condition, a, b]):
                return f"({sub(condition)} ? {sub(a)} : {sub(b)})"
            case ast.Call(func=ast.Name(id=ident), args=arguments):
                return self._call(self.table.BY_NAME[ident], [sub(a) for a in arguments], steps)
        raise ValueError(f"op table: {ast.unparse(node)!r} is not in the expression language")

    def _call(self, op: Op, arguments: list[str], steps: Steps | None) -> str:
        if steps is None or not self.vector(op):
            return f"value_{op.name}({', '.join(arguments + ['0.0'] * (2 - len(arguments)))})"
        for k, step in enumerate(steps):
            if step == (op, arguments):
                return f"t{k}[i]"
        steps.append((op, arguments))
        return f"t{len(steps) - 1}[i]"


def scalar_call(op: Op) -> str:
    """C for the value of an external row at one pair of scalars."""
    if op.libm:
        return f"{op.libm}({', '.join('xy'[:op.arity])})"
    return f"loop_scalar(OP_{op.name}, x, {'y' if op.arity == 2 else '0.0'}, {op.arity})"


class Strands:
    """The scalar instructions of ``_strands.h``: each row, and rows followed by links.

    A link is an operator together with what it reads from the register, where the number computed before is. Up to
    three operations are one instruction, unless one divides: that takes longer than looking up the next instruction.
    """

    def __init__(self, ops: Sequence[Op]) -> None:
        operators = [op for op in ops if (op.symbol, op.arity) in {("+", 2), ("-", 2), ("*", 2), ("/", 2), ("-", 1)}]
        self.links: list[Link] = [(op, z) for op in operators for z in self._places(op).split()]
        self.all: list[tuple[Link, ...]] = [*(((op, ""),) for op in ops), *((link,) for link in self.links)]
        pairs = [(first, link) for first, in self.all if first[0] in operators for link in self.links]
        self.all += pairs
        self.all += [(*pair, link) for pair in pairs for link in self.links
                     if "/" not in {op.symbol for op, _ in (*pair, link)}]
        #: 0 is the end of a stretch.
        self.number = {strand: k for k, strand in enumerate([(), *self.all])}

    @staticmethod
    def _places(op: Op) -> str:
        """What an operator may read from the register; which operand of a sum is no matter, x + x is usual."""
        return "x xy" if op.symbol in ("+", "*") else "x y"[:2 * op.arity]

    def links_of(self, op: Op) -> list[int]:
        """The numbers of the links for an operator that has x, y, or both in the register; -1: there is none."""
        return [next((self.links.index((op, z)) for z in (places, "x") if (op, z) in self.links), -1)
                if places in "xy"[:op.arity] else -1 for places in ("x", "y", "xy")]

    def grown(self, strand: tuple[Link, ...]) -> list[int]:
        """For each link the number of the strand that has it behind `strand`; 0: there is none."""
        return [self.number.get((*strand, link), 0) for link in self.links]

    def code(self, strand: tuple[Link, ...]) -> str:
        """C for a strand: p points to its number, behind which stand its slots."""
        lines, at = [], 1
        for op, place in strand:
            operands = ["0.0", "0.0"]
            result, at = at, at + 1
            for k, z in enumerate("xy"[:op.arity]):
                operands[k] = "r" if z in place else f"w[p[{at}]]"
                at += z not in place
            lines.append(f"w[p[{result}]] = r = value_{op.name}({', '.join(operands)});")
        return " ".join([*lines, f"p += {at};"])


def temporaries(steps: Steps) -> str:
    """Lines of C that fill the strips t0, t1, … of a block expression."""
    lines = []
    for k, (op, arguments) in enumerate(steps):
        sources = []
        for j, argument in enumerate(arguments):
            if argument in OPERANDS:
                sources.append(argument[0])
                continue
            target = f"{'ab'[j]}{k}"
            lines.append(f"for (ssize i = 0; i < n; i++) {target}[i] = {argument};")
            sources.append(target)
        second = sources[1] if len(sources) == 2 else "0"
        lines.append(f"BLOCK(fwd_{op.name})(n, {sources[0]}, {second}, t{k});")
    return "\n        ".join(lines)


def declarations(steps: Steps) -> str:
    """Declarations of the strips that :func:`temporaries` fills."""
    names = [f"t{k}" for k in range(len(steps))]
    names += [f"{'ab'[j]}{k}" for k, (_, arguments) in enumerate(steps)
              for j, a in enumerate(arguments) if a not in OPERANDS]
    return f"double {', '.join(f'{n}[STRIP]' for n in names)};" if names else ""


# ---- stubs ---------------------------------------------------------------------------------------------------
STUB_HEAD = """\
# Stamped by `python fastad/_stamp.py` from {sources}; not to be edited.
from typing import {typing}

{imports}
__all__ = [
{names}
]

"""


def declared(source: str) -> str:
    """The public functions and annotated names of a module, as a stub declares them."""
    lines = []
    for node in ast.parse(source).body:
        match node:
            case ast.FunctionDef(name=name) if not name.startswith("_"):
                node.body = [ast.Expr(ast.Constant(...))]
                lines.append(ast.unparse(node).replace(":\n    ...", ": ..."))
            case ast.AnnAssign(target=ast.Name(id=name)) if not name.startswith("_"):
                lines.append(f"{name}: {ast.unparse(node.annotation)}")
    return "\n".join(lines) + "\n"


def row_stub(op: Op) -> str:
    """The function of a row: a Variable gives a Variable; other operands, and functions without gradient, say less."""
    plain = f"def {op.name}({', '.join(f'{z}: Any' for z in 'xy'[:op.arity])}, /) -> Any: ..."
    if not op.differentiable:
        return plain
    recorded = [plain.replace(f"{z}: Any", f"{z}: Variable").replace("-> Any", "-> Variable") for z in "xy"[:op.arity]]
    numbers = plain.replace(": Any", ": Plain")       # Any would match a Variable too
    return "\n".join(f"@overload\n{line}" for line in (*recorded, numbers))


def head(sources: str, typing: str, imports: str, names: Sequence[str]) -> str:
    """The beginning of a stub."""
    return STUB_HEAD.format(sources=sources, typing=typing, imports=imports,
                            names="\n".join(f'    "{name}",' for name in names))


def math_stub(table: ModuleType, source: str) -> str:
    """The text of ``math.pyi``: the functions of the table, alone and as methods of a Variable."""
    rows = [op for op in table.OPS if op.name not in table.INTERNAL]
    methods = [f"    def {op.name}(self{', y: Any, /' if op.arity == 2 else ''}) -> "
               f"{'Variable' if op.differentiable else 'Any'}: ..." for op in rows]
    return "\n".join([
        head("fastad/ops.py and fastad/math.py", "Any, overload, type_check_only",
             "from . import ops\nfrom ._typing import Function, Plain, Value\nfrom .variable import Variable\n",
             ["clip", "where", *[op.name for op in rows]]) + declared(source),
        *[row_stub(op) for op in rows], "", "@type_check_only", "class Methods:", *methods, ""])


def special_stub(table: ModuleType, source: str) -> str:
    """The text of ``special.pyi``: rows under SciPy's names."""
    names = table.special_names()
    pairs = sorted((row, name) for name, row in names.items())
    imports = "".join(f"from .math import {row} as {name}\n" for row, name in pairs)
    return head("fastad/ops.py and fastad/special.py", "Any", f"from ._typing import Array, Axis, Value\n{imports}",
                ["log_softmax", "logsumexp", "softmax", *names]) + declared(source)


def stubs(package: Path) -> dict[Path, str]:
    """The stubs of the modules that get their functions from the table, by file."""
    table = load_table(package)
    return {package / f"{name}.pyi": make(table, (package / f"{name}.py").read_text(encoding="utf-8"))
            for name, make in (("math", math_stub), ("special", special_stub))}


# ---- files ---------------------------------------------------------------------------------------------------
def kernels(package: Path) -> dict[Path, str]:
    """The headers, by file, from the templates and the table."""
    from Cython import Tempita

    table = load_table(package)
    table.validate()
    if len(table.OPS) > 250:
        raise ValueError("op table: opcodes have to fit into eight bits")
    emitter = Emitter(table)

    def adjoint_plans(op: Op) -> list[tuple[str, tuple[Steps, str]]]:
        reads = {name: f"{name}[i]" for name in "xyv"}
        return [(p, emitter.block(e, reads)) for p, e in (("x", op.dx), ("y", op.dy)) if e is not None]

    names = {"ops": table.OPS, "emit": emitter, "adjoint_plans": adjoint_plans, "constants": table.CONSTANTS,
             "strands": Strands(table.OPS), "scalar_call": scalar_call, "temporaries": temporaries,
             "declarations": declarations}
    return {template.with_suffix(""): Tempita.Template(template.read_text(encoding="utf-8"), name=template.name,
                                                       namespace=names).substitute()
            for template in sorted(package.glob("*.h.tp"))}


def stamp(package: Path) -> None:
    """Write headers and stubs into the directory `package`; files whose text is unchanged stay untouched."""
    for target, text in (kernels(package) | stubs(package)).items():
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            target.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.path.pop(0)                   # this directory, whose math.py is not Python's
    stamp(Path(__file__).parent)
