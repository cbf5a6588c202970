"""What type checkers are told is what is there."""
import ast
import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fastad as fa
from fastad import _stamp, math, ops
from fastad.numpy_api.registry import METHODS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "fastad"

needs_mypy = pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="mypy is not installed")

#: What stubtest finds and a stub need not say.
NOT_IN_STUBS = r"""
fastad\..*\.__pyx_capi__                # Cython's
fastad\..*\.__test__
# Disjoint bases: older checkers do not know the word.
fastad\.(_tape\.(Handle|Hook)|variable\.(HookHandle|OpCode))
fastad\._descent\.(Descent|Port|Update)
fastad\._program\.(Bound|Code|Evaluator|Replay|Window|Workspace)
# What a module has imported.
fastad\.(_fusing|_program)\.(INSTRUCTION|SCALAR|KINDS|NATIVE)
"""


def mypy(*arguments):
    """The output of a tool of mypy's that must have nothing to say."""
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def class_in(stub, name):
    """The methods of a class in a stub, by name; of overloads the last."""
    tree = ast.parse((PACKAGE / stub).read_text(encoding="utf-8"))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    return {node.name: node for node in body if isinstance(node, ast.FunctionDef)}


# ---- stamped stubs -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["math", "special"])
def test_stamped_stubs_are_what_the_table_gives(name):
    path = PACKAGE / f"{name}.pyi"
    assert path.read_text(encoding="utf-8") == _stamp.stubs(PACKAGE)[path], \
        "the op table or a signature has changed: run `python fastad/_stamp.py` and commit the stub"


def test_stamping_leaves_unchanged_files_alone(tmp_path):
    for path in PACKAGE.iterdir():
        if path.suffix in (".py", ".tp"):
            (tmp_path / path.name).write_bytes(path.read_bytes())
    pytest.importorskip("Cython")
    _stamp.stamp(tmp_path)
    stamped = [*_stamp.stubs(tmp_path), *_stamp.kernels(tmp_path)]
    assert stamped and all(path.exists() for path in stamped)
    before = {path: path.stat().st_mtime_ns for path in stamped}
    for path in stamped:
        path.chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        _stamp.stamp(tmp_path)
    finally:
        tmp_path.chmod(0o755)
    assert {path: path.stat().st_mtime_ns for path in stamped} == before


def test_stamping_runs_as_a_script():
    pytest.importorskip("Cython")
    code, text = mypy("fastad._stamp")
    assert code == 0, text
    done = subprocess.run([sys.executable, PACKAGE / "_stamp.py"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# ---- installed methods: stubtest cannot see them -------------------------------------------------------------
def test_stub_has_the_installed_methods():
    declared = {**class_in("math.pyi", "Methods"), **class_in("variable.pyi", "_ArrayMethods")}
    installed = set(METHODS) - {"where"}          # fa.where as a method is an accident
    assert set(declared) == installed, "change _ArrayMethods in fastad/variable.pyi as what numpy_api installs"
    assert set(class_in("math.pyi", "Methods")) == set(math.ROWS) == {r.name for r in ops.OPS} - ops.INTERNAL


@pytest.mark.parametrize("name", sorted(class_in("variable.pyi", "_ArrayMethods")))
def test_installed_methods_take_what_the_stub_says(name):
    function = METHODS[name]
    answer = inspect.unwrap(function)
    cells = [c.cell_contents for c in function.__closure__ or ()]
    answer = next((c for c in cells if inspect.isfunction(c)), answer)
    args = class_in("variable.pyi", "_ArrayMethods")[name].args
    if any(p.kind is p.VAR_KEYWORD for p in inspect.signature(answer).parameters.values()) or name in math.ROWS:
        return
    given = [p.name for p in inspect.signature(answer).parameters.values()][1:]
    if name in {"degrees", "radians"}:
        given = []
    declared = [a.arg for a in [*args.args, *([args.vararg] if args.vararg else []), *args.kwonlyargs]][1:]
    assert declared == given, f"change {name} in fastad/variable.pyi"


# ---- mypy ----------------------------------------------------------------------------------------------------
@needs_mypy
def test_types():
    code, text = mypy("mypy")
    assert code == 0, text


@needs_mypy
@pytest.mark.parametrize("name", ["math", "special"])
def test_types_in_modules_with_a_stub_of_their_own(name):
    _, text = mypy("mypy", "--follow-imports=silent", f"fastad/{name}.py")
    found = [line for line in text.splitlines() if line.startswith(f"fastad/{name}.py")]
    assert not found, "\n".join(found)
    assert "fastad" in text or "Success" in text, text


@needs_mypy
def test_stubs_match_the_modules(tmp_path):
    allowed = tmp_path / "allowed"
    allowed.write_text(NOT_IN_STUBS)
    names = ["_descent", "_tape", "_blocks", "_instructions", "_fusing", "_passes", "_program", "_sparsity", "variable",
             "math", "special"]
    code, text = mypy("mypy.stubtest", *[f"fastad.{name}" for name in names], "--concise",
                      "--mypy-config-file=pyproject.toml", f"--allowlist={allowed}", "--ignore-unused-allowlist")
    assert code == 0, f"change the stub of the module:\n{text}"


@needs_mypy
def test_public_names_are_visible(tmp_path):
    path = tmp_path / "user.py"
    path.write_text("import fastad as fa\n" + "".join(f"reveal_type(fa.{name})\n" for name in fa.__all__)
                    + "import fastad.special\n"
                    + "".join(f"reveal_type(fastad.special.{name})\n" for name in fa.special.__all__))
    code, text = mypy("mypy", "--config-file=pyproject.toml", str(path))
    assert code == 0, text
    revealed = re.findall(r'Revealed type is "(.*)"', text)
    assert len(revealed) == len(fa.__all__) + len(fa.special.__all__)
    untyped = [name for name, kind in zip([*fa.__all__, *fa.special.__all__], revealed, strict=True) if kind == "Any"]
    assert not untyped, "annotate these, or declare them in a stub"


USES = '''
import numpy as np
import fastad as fa
x = fa.Variable([1.0, 2.0])
X = np.ones((3, 2))
reveal_type(x * 2.0 + 1.0)          # Variable
reveal_type(2.0 * x)                # Variable
reveal_type(fa.sin(x))              # Variable
reveal_type(fa.hypot(1.0, x))       # Variable
reveal_type(x.sum())                # Variable
reveal_type(x[0])                   # Variable
reveal_type(fa.sin(1.0))            # Any
reveal_type(np.sin(x))              # Any
reveal_type(np.sum(x))              # Any
reveal_type(X @ x)                  # Any
np.sum(np.tanh(X @ x) ** 2).backward()
value, gradient = fa.value_and_grad(lambda x: np.sum(x ** 2))(np.ones(2))
'''


@needs_mypy
def test_what_users_write_has_types(tmp_path):
    path = tmp_path / "user.py"
    path.write_text(USES)
    code, text = mypy("mypy", "--config-file=pyproject.toml", str(path))
    assert code == 0, text
    kinds = [kind.removeprefix("fastad.variable.").removesuffix("[Any]")
             for kind in re.findall(r'Revealed type is "(.*)"', text)]
    assert kinds == re.findall(r"# (\w+)$", USES, re.M)
    path.write_text("import fastad as fa\nfa.Variable(1.0).backwards()\nfa.sin()\nfa.sinn(1.0)\n")
    code, text = mypy("mypy", "--config-file=pyproject.toml", str(path))
    assert text.count("error:") == 3, text
