"""Examples in the docstrings of extension modules, which pytest does not find by itself."""
import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["_passes", "_program", "_sparsity", "_tape", "variable"])
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
