"""What the build, git and the sdist have to agree on."""
import re
from pathlib import Path

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
