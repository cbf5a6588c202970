"""What was measured, and the tables of the pages made from it.

``benchmarks/results/performance.json`` holds the figures of one run with the machine that they are from. Tables of
README.md and docs/performance.md stand between comments, ``<!-- measured: NAME -->`` and ``<!-- end -->``; what is
between them is written here and nowhere else.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import math
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

import fastad as fa

from . import recorded

ROOT = Path(__file__).parents[1]
FIGURES = ROOT / "benchmarks" / "results" / "performance.json"
PAGES = (ROOT / "README.md", ROOT / "docs" / "performance.md")
COMMAND = "taskset -c 0 python benchmarks/compare.py --record"

#: Packages whose versions are noted.
PACKAGES = ("numpy", "scipy", "jax", "casadi", "torch", "pytensor", "drjit", "numba", "autograd", "xad", "mygrad")
#: What the pages call the workloads of ``benchmarks/compiled/``.
TITLES = {
    "rosenbrock2": "Rosenbrock of 2, new arrays", "rosenbrock2 bound": "the same, bound", "small_net": "net 2-2-2",
    "chain": "chain of 1,000 scalar operations", "rosenbrock_loop": "Rosenbrock of 10,000, Python loop",
    "rosenbrock_arrays 10000": "Rosenbrock of 10,000, arrays",
    "rosenbrock_arrays 1000000": "Rosenbrock of 1,000,000, arrays",
    "lennard_jones_loop": "Lennard-Jones, 64 atoms, Python loops",
    "lennard_jones_arrays": "Lennard-Jones, 64 atoms, arrays",
    "lotka_volterra": "Lotka–Volterra, 1,000 Runge–Kutta steps", "logistic 1000": "logistic regression 1,000 x 20",
    "logistic 100000": "logistic regression 100,000 x 20", "softmax_net 32": "net 64-32-10, batch of 32",
    "softmax_net 1797": "net 64-32-10, batch of 1,797", "mixture 2,5": "mixture, 1,000 points, d = 2, k = 5",
    "mixture 10,25": "mixture, d = 10, k = 25", "mixture 20,50": "mixture, d = 20, k = 50",
    "asian_paths": "Asian option, 252 x 10,000, arrays", "asian_batch": "Asian option, one path in `batch`",
    "bundle": "bundle adjustment, 500 blocks of 2 x 15", "lstm": "LSTM, 1,024 characters, unrolled",
    "rosenbrock_hessian": "Hessian of Rosenbrock, n = 100",
}
#: Columns of the tables: versions of a workload, and their headings.
COLUMNS = {"C": "C", "numba": "Numba", "numpy": "NumPy", "jax": "JAX", "casadi": "CasADi", "torch": "PyTorch",
           "torch.compile": "compiled torch", "pytensor": "PyTensor", "drjit": "Dr.Jit"}
#: The rows and columns that README.md shows.
CHOSEN = ("rosenbrock2", "small_net", "rosenbrock_loop", "lennard_jones_loop", "lotka_volterra", "logistic 1000",
          "softmax_net 32", "asian_batch")
PEERS = ("C", "numpy", "jax", "torch", "casadi")


# ---- the run -----------------------------------------------------------------------------------------------------
def cpu_model():
    """The processor's name, as it calls itself."""
    about = Path("/proc/cpuinfo")
    if about.exists():
        found = re.search(r"^model name\s*:\s*(.+)$", about.read_text(), re.M)
        if found:
            return found[1]
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    return platform.processor() or platform.machine()


def c_compiler():
    """What ``cc --version`` says first."""
    if shutil.which("cc") is None:
        return "none"
    return subprocess.run(["cc", "--version"], check=True, capture_output=True, text=True).stdout.splitlines()[0]


def machine():
    """What the figures of a run depend on beside fastad."""
    versions = {"fastad": fa.__version__}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    build = fa.build_info()
    return {"cpu": cpu_model(), "cores": os.cpu_count(), "system": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(), "build": f"{build['compiler']}, {build['dispatch']}",
            "cc": c_compiler(), "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
            "date": datetime.date.today().isoformat(), "versions": versions}


def load():
    """The stored figures."""
    return json.loads(FIGURES.read_text(encoding="utf-8"))


def rounded(tree):
    """Numbers with the digits that mean something."""
    if isinstance(tree, dict):
        return {key: rounded(value) for key, value in tree.items()}
    return float(f"{tree:.4g}") if isinstance(tree, float) else tree


def store(measured):
    """Add figures to those that are stored; what was not measured keeps its figures."""
    known = load() if FIGURES.exists() else {}
    compiled = known.get("compiled", {}) | measured.get("compiled", {})
    FIGURES.parent.mkdir(exist_ok=True)
    text = json.dumps(rounded(known | measured | {"compiled": compiled}), indent=1, ensure_ascii=False)
    FIGURES.write_text(f"{text}\n", encoding="utf-8")


# ---- the tables --------------------------------------------------------------------------------------------------
def table(heads, rows):
    """A table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def number(x):
    """Two significant digits, in a form that reads well."""
    x = float(f"{x:.2g}")
    return f"{x:,.{max(0, 1 - math.floor(math.log10(x)))}f}"


def duration(seconds):
    """A time with its unit."""
    unit, size = ("s", 1.0) if seconds >= 1.0 else ("ms", 1e-3) if seconds >= 1e-3 else ("µs", 1e-6)
    return f"{number(seconds / size)} {unit}"


def page_machine(figures):
    """The sentence on machine, versions and command."""
    m = figures["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in m["versions"].items())
    load = "" if m["load"] is None else f"; load average before the run {m['load']}"
    return (f"Measured on {m['date']} on one core of {m['cpu']} ({m['cores']} cores, {m['system']}{load}), "
            f"Python {m['python']}, {m['build']}, C with {m['cc']}, {versions}, by\n\n"
            f"```sh\n{COMMAND}\n```")


def page_chain(figures):
    """The scalar chain: fastad beside floats, the packages beside fastad."""
    chain = {name: {what: t["median"] for what, t in times.items()} for name, times in figures["chain"].items()}
    floats, own = chain.pop("Python floats")["record"], chain.pop("fastad")
    shortest = figures["chain"]["fastad"]["backward"]["min"]
    rows = [["the loop on Python floats", f"{floats:.1f}", "1", ""],
            ["fastad, record", f"{own['record']:.1f}", f"{own['record'] / floats:.1f}x floats",
             f"≤ {recorded.RECORD}x"],
            ["fastad, backward", f"{own['backward']:.1f} (shortest {shortest:.2f})", "", f"≤ {recorded.SWEEP}"]]
    for name, times in chain.items():
        ratios = " / ".join(f"{number(times[what] / own[what])}x" for what in ("record", "backward"))
        target = f"≥ {recorded.DEARER[name]}x to record" if name in recorded.DEARER else ""
        rows.append([f"{name}, record / backward", f"{number(times['record'])} / {number(times['backward'])}",
                     f"{ratios} fastad", target])
    return table(["what", "ns for an operation", "ratio", "target"], rows)


def page_arrays(figures):
    """Array operators beside NumPy without gradients, by size."""
    sizes = [n for n in figures["arrays"] if n != "0"]
    rows = []
    for label in figures["arrays"][sizes[0]]:
        base = recorded.STATEMENTS.get(label, ("", "NumPy a * b"))[1]
        if base is not None:
            ratios = [figures["arrays"][n][label]["median"] / figures["arrays"][n][base]["median"] for n in sizes]
            rows.append([f"{label} : {base}", *[f"{number(r)}x" for r in ratios]])
    limits = [recorded.PRODUCT[int(n)] for n in sizes]
    rows.append(["target of x * y", *[f"≤ {limit}x" for limit in limits]])
    return table(["what", *[f"n = {int(n):,}" for n in sizes]], rows)


def page_size(figures):
    """Memory and import."""
    size = figures["size"]
    return table(["what", "measured", "target"],
                 [["growth of the process for one scalar operation, value and adjoint included",
                   f"{size['bytes']:.1f} bytes", f"≤ {recorded.BYTES}"],
                  ["`import fastad` beyond NumPy", f"{size['import']:.0f} ms", f"≤ {recorded.IMPORT} ms"]])


def page_compiled(figures):
    """Compiled functions: fastad's time divided by that of each other version."""
    found = figures["compiled"]
    columns = [c for c in COLUMNS if any(c in done for done in found.values())]
    rows = []
    for name, done in found.items():
        own = done["fastad"]
        ratios = [number(own["min"] / done[c]["min"]) if c in done else "" for c in columns]
        first = number(own["first"] / done["jax"]["first"]) if "jax" in done else ""
        rows.append([TITLES.get(name, name), duration(own["min"]), *ratios, first])
    return table(["workload", "fastad", *[COLUMNS[c] for c in columns], "first call / JAX's"], rows)


def page_readme(figures):
    """Some workloads, in times."""
    rows = []
    for name in CHOSEN:
        done = figures["compiled"][name]
        rows.append([TITLES[name], *[duration(done[c]["min"]) if c in done else "" for c in ("fastad", *PEERS)]])
    m = figures["machine"]
    heads = ["value and gradient of", "fastad", *["C by hand" if c == "C" else "NumPy by hand" if c == "numpy"
                                                 else COLUMNS[c] for c in PEERS]]
    return (f"{table(heads, rows)}\n\n{m['cpu']}, one core, {m['date']}; "
            f"`{COMMAND}` measures all of it anew.")


TABLES = {"machine": page_machine, "chain": page_chain, "arrays": page_arrays, "size": page_size,
          "compiled": page_compiled, "readme": page_readme}


def page(text, figures):
    """A page with its tables written from the figures."""
    def written(found):
        return f"{found[1]}\n{TABLES[found[2]](figures)}\n{found[3]}"

    return re.sub(r"(<!-- measured: (\w+) -->)\n.*?(<!-- end -->)", written, text, flags=re.S)


def write_pages():
    """Write the tables of all pages from the stored figures."""
    figures = load()
    for path in PAGES:
        path.write_text(page(path.read_text(encoding="utf-8"), figures), encoding="utf-8")
