"""The benchmarks run: every suite once, at each of its parameters."""
import importlib
import inspect
import itertools
import re
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
                try:
                    getattr(benchmark, "setup", lambda *_: None)(*parameter)
                except NotImplementedError:         # a package that is not installed; asv skips it, too
                    continue
                for name, method in inspect.getmembers(benchmark, inspect.ismethod):
                    if name.startswith(("time_", "track_")):
                        method(*parameter)
                getattr(benchmark, "teardown", lambda *_: None)(*parameter)


def test_compare():
    command = [sys.executable, str(ROOT / "benchmarks" / "compare.py"), "--repeat", "1"]
    text = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    for line in ("fastad, record", "fastad, backward", "fastad np.multiply(x, y)", "Memory for one scalar operation"):
        assert line in text


def test_pages_show_what_was_measured():
    pages = importlib.import_module("benchmarks.pages")
    figures, shown = pages.load(), set()
    for path in pages.PAGES:
        text = path.read_text(encoding="utf-8")
        assert pages.page(text, figures) == text, f"{path.name}: python benchmarks/compare.py --pages"
        shown |= set(re.findall(r"<!-- measured: (\w+) -->", text))
    assert shown == set(pages.TABLES)
    assert figures["machine"]["cpu"] in (ROOT / "README.md").read_text(encoding="utf-8")


def test_other_figures_make_another_page():
    pages = importlib.import_module("benchmarks.pages")
    figures, text = pages.load(), pages.PAGES[0].read_text(encoding="utf-8")
    figures["compiled"]["small_net"]["fastad"]["min"] *= 2.0
    assert pages.page(text, figures) != text


def test_figures_are_kept_beside_new_ones(monkeypatch, tmp_path):
    pages = importlib.import_module("benchmarks.pages")
    monkeypatch.setattr(pages, "FIGURES", tmp_path / "results" / "performance.json")
    pages.store({"compiled": {"a": {"fastad": {"min": 1.23456789}}, "b": {}}, "size": {"bytes": 40.0}})
    pages.store({"compiled": {"b": {"C": {}}}})
    assert pages.load() == {"compiled": {"a": {"fastad": {"min": 1.235}}, "b": {"C": {}}}, "size": {"bytes": 40.0}}


@pytest.mark.parametrize(("seconds", "text"), [(3.14e-7, "0.31 µs"), (1e-6, "1.0 µs"), (1.234e-5, "12 µs"),
                                               (9.99e-4, "1,000 µs"), (0.0123, "12 ms"), (123.0, "120 s")])
def test_durations(seconds, text):
    assert importlib.import_module("benchmarks.pages").duration(seconds) == text


@pytest.mark.parametrize(("x", "text"), [(0.0011, "0.0011"), (0.046, "0.046"), (1.0, "1.0"), (28.4, "28"),
                                         (1834.0, "1,800"), (0.6, "0.60"), (99.9, "100"), (0.00004, "0.000040")])
def test_numbers(x, text):
    assert importlib.import_module("benchmarks.pages").number(x) == text


def test_no_folder_is_named_like_a_module():
    """Or asv takes neither."""
    folder = ROOT / "benchmarks"
    assert not [p for p in folder.rglob("*.py") if p.with_suffix("").is_dir()]


def test_what_asv_imports_needs_no_other_package():
    program = f"""
import importlib, pkgutil, sys
sys.path.append({str(ROOT)!r})
from benchmarks.compiled.peers import NAMES
from benchmarks.packages import PEERS
for name in {{*NAMES.values(), *PEERS}} - {{"numpy"}}:
    sys.modules[name] = None
import benchmarks
for module in pkgutil.walk_packages(benchmarks.__path__, "benchmarks."):
    importlib.import_module(module.name)
"""
    subprocess.run([sys.executable, "-c", program], check=True)
