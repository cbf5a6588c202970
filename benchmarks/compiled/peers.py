"""Other packages on the same workloads, each as its users would write it; a module in ``versions/`` for each package.

A module has a function ``version(workload)`` that gives a function which prepares the workload, or None. The folder is
no package (it has no ``__init__.py``), or asv would import all of it, installed or not.
"""

from __future__ import annotations

import importlib
import importlib.util

#: Modules of the folder, by the name of the package; those of one that is not installed are left out.
NAMES = {"numpy": "numpy", "jax": "jax", "casadi": "casadi", "torch": "torch", "torch.compile": "torch",
         "pytensor": "pytensor", "drjit": "drjit", "numba": "numba"}


def installed(names=None):
    """The peers that can be imported here."""
    found = {}
    for name, package in NAMES.items():
        if (names is None or name in names) and importlib.util.find_spec(package) is not None:
            found[name] = importlib.import_module(f"{__package__}.versions.with_{name.replace('.', '_')}")
    return found


def written_with(np, fa):
    """The functions of the workloads with other modules under the names ``np`` and ``fa``: a copy of their module."""
    spec = importlib.util.find_spec("benchmarks.compiled.functions")
    functions = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(functions)
    functions.np, functions.fa = np, fa
    return functions
