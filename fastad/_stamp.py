"""Build step: stamps the C kernels from the op table. The package never imports this at run time.

``setup.py`` loads this file by path and calls :func:`stamp`. Each expression of the table is translated from its Python
syntax tree into C, once as a scalar function and once as block kernels that work on contiguous strips. In a block kernel
every call of a function that has a vector loop of its own (NumPy's ``exp``, SciPy's ``digamma``, another row's kernel)
is taken out of the expression into a strip of temporaries, so that what remains is plain arithmetic the compiler
vectorises.
"""
from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

#: External functions that the compiler turns into vector instructions by itself; they stay inside the loops.
INLINE = {"sqrt", "fabs", "absolute", "floor", "ceil", "trunc", "rint", "copysign"}
#: How the operands are read in a block kernel.
OPERANDS = ("x[i]", "y[i]", "v[i]")
OPERATORS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.And: "&&", ast.Or: "||", ast.Lt: "<",
             ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}


def load_table(package):
    """The op table module of the package directory, loaded by path."""
    spec = importlib.util.spec_from_file_location("fastad_ops", Path(package) / "ops.py")
    module = importlib.util.module_from_spec(spec)
    import sys
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class Emitter:
    """Translates expressions of the table into C."""

    def __init__(self, table):
        self.table = table

    def vector(self, op):
        """Whether a block call of `op` goes through a loop of its own."""
        if op.external:
            return op.name not in INLINE
        tree = ast.parse(op.value, mode="eval")
        return any(self.vector(self.table.BY_NAME[c.func.id]) for c in ast.walk(tree)
                   if isinstance(c, ast.Call) and c.func.id != "where")

    def needs_scipy(self, op, seen=()):
        """Whether the value or a partial of `op` goes, at any depth, through a loop of SciPy's."""
        if op.external and (op.numpy or "").startswith("special."):
            return True
        calls = {c.func.id for e in (op.value, op.dx, op.dy) if e is not None for c in ast.walk(ast.parse(e, mode="eval"))
                 if isinstance(c, ast.Call) and c.func.id != "where"}
        return any(self.needs_scipy(self.table.BY_NAME[name], (*seen, op.name)) for name in calls - {op.name, *seen})

    def scalar(self, expression):
        """C for one pair of scalars ``x``, ``y`` (and the value ``v``)."""
        return self._emit(ast.parse(expression, mode="eval").body, str, None)

    def block(self, expression, operands):
        """C for a strip: (steps, expression); `operands` says how ``x``, ``y``, ``v`` are read at position i."""
        steps = []
        text = self._emit(ast.parse(expression, mode="eval").body, operands.__getitem__, steps)
        return steps, text

    def _emit(self, node, name, steps):
        def sub(child):
            return self._emit(child, name, steps)

        match node:
            case ast.Constant():
                return repr(float(node.value))
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

    def _call(self, op, arguments, steps):
        if steps is None or not self.vector(op):
            return f"value_{op.name}({', '.join(arguments + ['0.0'] * (2 - len(arguments)))})"
        for k, step in enumerate(steps):
            if step == (op, arguments):
                return f"t{k}[i]"
        steps.append((op, arguments))
        return f"t{len(steps) - 1}[i]"


def scalar_call(op):
    """C for the value of an external row at one pair of scalars."""
    if op.libm:
        return f"{op.libm}({', '.join('xy'[:op.arity])})"
    return f"loop_scalar(OP_{op.name}, x, {'y' if op.arity == 2 else '0.0'}, {op.arity})"


def temporaries(steps):
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


def declarations(steps):
    """Declarations of the strips that :func:`temporaries` fills."""
    names = [f"t{k}" for k in range(len(steps))]
    names += [f"{'ab'[j]}{k}" for k, (_, arguments) in enumerate(steps) for j, a in enumerate(arguments) if a not in OPERANDS]
    return f"double {', '.join(f'{n}[STRIP]' for n in names)};" if names else ""


def stamp(package):
    """Write the build's generated headers into the directory `package`; files whose text is unchanged stay untouched."""
    from Cython import Tempita

    package = Path(package)
    table = load_table(package)
    if hasattr(table, "validate"):
        table.validate()
    if len(table.OPS) > 250:
        raise ValueError("op table: opcodes have to fit into eight bits")
    emitter = Emitter(table)

    def adjoint_plans(op):
        reads = {name: f"{name}[i]" for name in "xyv"}
        return [(p, emitter.block(e, reads)) for p, e in (("x", op.dx), ("y", op.dy)) if e is not None]

    names = {"ops": table.OPS, "emit": emitter, "adjoint_plans": adjoint_plans, "constants": table.CONSTANTS, "scalar_call": scalar_call,
             "temporaries": temporaries, "declarations": declarations}
    for template in sorted(package.glob("*.h.tp")):
        text = Tempita.Template(template.read_text(), name=template.name, namespace=names).substitute()
        target = template.with_suffix("")
        if not target.exists() or target.read_text() != text:
            target.write_text(text)


if __name__ == "__main__":
    stamp(Path(__file__).parent)
