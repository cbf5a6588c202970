"""Documentation: examples that pytest does not find by itself, and whether all that is public is told."""
import doctest
import importlib
import importlib.util
import inspect
import re
from pathlib import Path

import pytest

import fastad as fa
from fastad.ops import INTERNAL, OPS


@pytest.mark.parametrize("name", ["_blocks", "_fusing", "_instructions", "_passes", "_program", "_sparsity", "_tape",
                                  "variable"])
def test_examples_of_extension_modules(name):
    module = importlib.import_module(f"fastad.{name}")
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for test in doctest.DocTestFinder().find(module, f"fastad.{name}"):
        output = []
        runner.run(test, out=output.append)
        assert not output, "".join(output)


def test_examples_are_found():
    found = {test.name for name in ("_program", "variable")
             for test in doctest.DocTestFinder().find(importlib.import_module(f"fastad.{name}")) if test.examples}
    assert {"fastad._program.Replay.grad", "fastad._program.Bound", "fastad.variable.array"} <= found


# ---- what users are told --------------------------------------------------------------------------------------
ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PUBLIC = [name for name in fa.__all__ if name != "__version__" and not inspect.ismodule(getattr(fa, name))]


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_has_an_example_that_runs(name):
    test = doctest.DocTestParser().get_doctest(getattr(fa, name).__doc__ or "", {"__name__": "__main__"}, name, None, 0)
    assert test.examples, f"{name}: an example is missing in its docstring"
    output = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).run(test, out=output.append)
    assert not output, "".join(output)


@pytest.mark.parametrize("name", [name for name in fa.__all__ if name != "__version__"])
def test_every_public_name_stands_in_the_documentation(name):
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert re.search(rf"\b(fa|fastad)\.{name}\b|`{name}`", text), f"{name} is in no page of docs/ and not in README.md"


def test_the_table_of_functions_is_that_of_the_package():
    page = ROOT / "docs" / "conventions.md"
    spec = importlib.util.spec_from_file_location("function_table", ROOT / "docs" / "function_table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = page.read_text(encoding="utf-8")
    assert module.renewed(text) == text, "the op table has changed: run `python docs/function_table.py`"
    assert module.renewed(text.replace("| `sin`", "| `sine`")) == text


def test_links_lead_somewhere():
    for page in PAGES:
        text = re.sub(r"`[^`\n]*`", "", page.read_text(encoding="utf-8"))
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_index_names_every_page():
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in index, f"docs/README.md does not link {page.name}"
    assert "docs/README.md" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_what_is_said_of_functions_can_be_read():
    for op in OPS:
        if op.name not in INTERNAL:
            assert max(map(len, getattr(fa, op.name).__doc__.splitlines())) <= 200, op.name
