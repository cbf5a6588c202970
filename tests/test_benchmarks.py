"""The benchmarks run: every suite once, at each of its parameters."""
import importlib
import inspect
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
SUITES = sorted(p.stem for p in (ROOT / "benchmarks").glob("bench_*.py"))
#: Suites whose benchmarks take long by their nature; that they import is enough here.
SLOW = {"bench_compiled", "bench_memory"}


@pytest.fixture(autouse=True)
def found(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)


@pytest.mark.parametrize("suite", SUITES)
def test_suite(suite):
    module = importlib.import_module(f"benchmarks.{suite}")
    classes = [c for name, c in inspect.getmembers(module, inspect.isclass)
               if c.__module__ == module.__name__ and not name.startswith("_")]
    assert classes
    if suite in SLOW:
        return
    for cls in classes:
        for parameter in itertools.product(*getattr(cls, "params", ())):
            benchmark = cls()
            with np.errstate(all="ignore"):
                getattr(benchmark, "setup", lambda *_: None)(*parameter)
                for name, method in inspect.getmembers(benchmark, inspect.ismethod):
                    if name.startswith(("time_", "track_")):
                        method(*parameter)


def test_compare():
    command = [sys.executable, str(ROOT / "benchmarks" / "compare.py"), "--repeat", "1"]
    text = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    for line in ("fastad, record", "fastad, backward", "fastad np.multiply(x, y)", "Memory for one scalar operation"):
        assert line in text
