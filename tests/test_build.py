"""What the build, git and the sdist have to agree on."""
import re
import shutil
import subprocess
import sysconfig
import tomllib
from pathlib import Path

import numpy as np
import pytest

import fastad
from fastad._version import __version__

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "fastad"
STAMPED = {template.stem for template in PACKAGE.glob("*.tp")}


def test_one_version():
    assert fastad.__version__ == __version__
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+)?", __version__)
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), "a heading for CHANGELOG.md"


def test_stamped_files_are_ignored_by_git():
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    assert {f"/fastad/{name}" for name in STAMPED} <= set(ignored), "add what the build stamps to .gitignore"


def test_headers_written_by_hand_are_in_the_sdist():
    listed = (ROOT / "MANIFEST.in").read_text(encoding="utf-8").split()
    headers = {f"fastad/{h.name}" for h in PACKAGE.glob("*.h") if h.name not in STAMPED}
    assert headers <= set(listed), "add headers that are written by hand to MANIFEST.in"


def test_every_cython_module_is_built():
    sources = {p.stem for p in PACKAGE.glob("*.pyx")}
    modules = re.search(r"^MODULES = \((.*?)\)", (ROOT / "setup.py").read_text(encoding="utf-8"), re.M | re.S)[1]
    assert sources == set(re.findall(r'"(\w+)"', modules)), "MODULES in setup.py lists the .pyx files"


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
@pytest.mark.parametrize("standard", ["c11", "c17"])
def test_headers_are_standard_c(tmp_path, standard):
    """What a compiler without GNU's extensions would see: labels as values are all that it has to do without."""
    others = sorted(h.name for h in PACKAGE.glob("*.h")     # those without a guard are parts that others include
                    if "#ifndef FASTAD_" in h.read_text() and h.name != "_kernels.h")
    includes = [f'#include "{name}"\n' for name in ("_kernels.h", *others)]
    (tmp_path / "all.c").write_text(f"#include <Python.h>\n{''.join(includes)}")
    flags = [f"-std={standard}", "-pedantic-errors", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function",
             "-DFASTAD_SWITCH", "-fsyntax-only", f"-I{PACKAGE}", f"-isystem{sysconfig.get_path('include')}",
             f"-isystem{np.get_include()}", "-DNPY_NO_DEPRECATED_API=NPY_1_7_API_VERSION"]
    done = subprocess.run(["cc", *flags, "all.c"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_wheels_for_the_pythons_that_are_named():
    with open(ROOT / "pyproject.toml", "rb") as file:
        project = tomllib.load(file)
    named = re.findall(r"Python :: 3\.(\d+)", " ".join(project["project"]["classifiers"]))
    assert project["tool"]["cibuildwheel"]["build"].split() == [f"cp3{minor}-*" for minor in named]
    assert project["project"]["requires-python"] == f">=3.{named[0]}"
