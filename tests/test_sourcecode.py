"""The house rules that a machine can check: lint, the direction of imports, the size of files, the length of lines."""
import ast
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "fastad"

#: Each module may import those of lower levels, and of its own.
LEVELS = [
    {"_version", "_dtype", "_typing", "ops", "errors", "tree", "_threads"},
    {"_tape", "_blocks"},
    {"_passes", "_sparsity", "_instructions", "variable"},
    {"_program", "_fusing"},
    {"_descent"},
    {"math", "context", "observing"},
    {"numpy_api"},
    {"special", "transforms", "custom"},
    {"testing", "graph", "compiled"},
    {"optimize", "optim", "pictures"},
    {"scipy", "selftest", "explaining", "debugging", "profiling"},
]


def level(module):
    """The level of a module of the package."""
    for k, names in enumerate(LEVELS):
        if module in names:
            return k
    raise AssertionError(f"tests/test_sourcecode.py: put the module {module} into LEVELS")


def imported(path):
    """Modules of the package that a file imports when it is loaded."""
    package = path.relative_to(PACKAGE).parts[:-1]
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            if base:
                continue                              # within a subpackage
            yield from [node.module.split(".")[0]] if node.module else [name.name for name in node.names]


@pytest.mark.parametrize("path", sorted(p for p in PACKAGE.rglob("*.py") if p.name not in ("__main__.py", "_stamp.py")
                                        and p != PACKAGE / "__init__.py"), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for name in imported(path):
        assert level(name) <= level(own), f"{own} must not import {name}: it stands above it"
        if own == "optimize":
            assert name not in ("_tape", "variable"), "optimize knows no tape: it takes a value-and-gradient function"


def test_files_can_be_read_in_one_sitting():
    for path in PACKAGE.rglob("*"):
        if path.suffix in {".py", ".pyx", ".pxi", ".pxd", ".tp"} or path.name in ("_kernels.h", "_handles.h"):
            lines = len(path.read_text().splitlines())
            assert lines <= 800, f"{path.relative_to(ROOT)} has {lines} lines: find the rooms in it"


def test_lines_fit_on_a_page():
    """Those of Python are ruff's matter; headers without a template are stamped from one that has it."""
    for path in PACKAGE.iterdir():
        if path.suffix in {".pyx", ".pxi", ".pxd", ".tp", ".h"} and not path.with_name(path.name + ".tp").exists():
            numbers = [k for k, line in enumerate(path.read_text().splitlines(), 1) if len(line) > 120]
            assert not numbers, f"{path.name}: lines {numbers} are longer than 120 columns"


@pytest.mark.skipif(shutil.which("ruff") is None, reason="ruff is not installed")
def test_lint():
    done = subprocess.run(["ruff", "check", "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
