"""Writes the table of functions in conventions.md, from the one truth in fastad/ops.py.

Run ``python docs/function_table.py`` after a row has changed; a test compares the page with the table.
"""
from __future__ import annotations

from pathlib import Path

from fastad.ops import INTERNAL, OPS, Op, shown

BEGIN, END = "<!-- table of functions: python docs/function_table.py -->\n", "<!-- end of the table -->\n"


def code(expression: str | None) -> str:
    """An expression in a cell of a table."""
    return "" if expression is None else f"`{shown(expression)}`".replace("|", "\\|")


def prose(text: str) -> str:
    """Text in a cell of a table."""
    return text.replace("*", "\\*").replace("|", "\\|")


def row_of(row: Op) -> str:
    """One function."""
    arguments = ", ".join("xy"[:row.arity])
    module = "scipy." if (row.numpy or "").startswith("special.") else "np."
    answers = f"`{module}{row.numpy}`" if row.numpy else ""
    slopes = [code(row.dx)] + ([code(row.dy)] if row.dy is not None else []) if row.differentiable else ["none"]
    cells = [f"`{row.name}`({arguments})", prose(row.summary.removesuffix(".")), answers, " <br> ".join(slopes),
             prose(row.convention)]
    return f"| {' | '.join(cells)} |"


def table() -> str:
    """All functions of the package, in the order of the table."""
    head = ["| function | what it is | answers to | d/dx <br> d/dy | at edge points |", "|---|---|---|---|---|"]
    return "\n".join([*head, *[row_of(row) for row in OPS if row.name not in INTERNAL]]) + "\n"


def renewed(text: str) -> str:
    """The page with the table as it is now."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + "\n" + table() + "\n" + END + rest.partition(END)[2]


if __name__ == "__main__":
    page = Path(__file__).parent / "conventions.md"
    page.write_text(renewed(page.read_text(encoding="utf-8")), encoding="utf-8")
