"""The build of the extension modules; pyproject.toml says everything else.

This is the one place for Cython directives and compiler flags. ``FASTAD_DEBUG=1`` in the environment makes the checked
build: bounds and initialisation are checked and assertions hold. Both kinds of build keep their files in directories of
their own, so that one never picks up objects of the other.
"""
import hashlib
import importlib.util
import os
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
PACKAGE = ROOT / "fastad"
DEBUG = os.environ.get("FASTAD_DEBUG", "0") not in ("", "0")

#: Modules of the package that are written in Cython: ``fastad.<name>`` is made from ``fastad/<name>.pyx``.
MODULES = ("_blocks", "_descent", "_fusing", "_instructions", "_passes", "_program", "_sparsity", "_tape", "variable")

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": DEBUG,
    "initializedcheck": DEBUG,
    "wraparound": False,
    "cdivision": True,
    "nonecheck": False,
    "binding": False,               # plain built-in methods: the cheapest call
    "embedsignature": True,         # signatures for help() and for the check of the stubs
    "embedsignature.format": "clinic",
    "show_performance_hints": not DEBUG,
}

MACROS = [("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")]
MACROS += [("FASTAD_DEBUG", "1")] if DEBUG else [("NDEBUG", None), ("CYTHON_WITHOUT_ASSERTIONS", "1")]

#: Flags of compilers with GCC's command line. Results must not depend on the machine that built the wheel, and
#: infinities and nans are ordinary numbers here, so there is no -ffast-math and no -march=native; the kernels choose
#: their instruction set at run time.
GNU_FLAGS = [
    "-ffp-contract=off",            # a fused multiply-add would give other digits on other machines
    "-fno-math-errno",              # nobody reads errno, and it keeps sqrt from being one instruction
    "-fno-trapping-math",           # nor the floating-point flags in mid-loop; selections become blends
    "-Wall", "-Wextra",
    # Cython keeps the temporaries of an assertion that is compiled out; the checked build has the warning on.
    *(["-O1", "-g"] if DEBUG else ["-O3", "-g0", "-Wno-unused-variable"]),
]
#: MSVC knows ``restrict`` from C11 on.
MSVC_FLAGS = ["/std:c11", "/fp:precise", *(["/Od"] if DEBUG else ["/O2"])]


def load(path):
    """A Python file as a module, by path: the package itself cannot be imported before it is built."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Build(build):
    """``build``, with a directory of its own for the checked build."""

    def initialize_options(self):
        super().initialize_options()
        if DEBUG:
            self.build_base = os.path.join(self.build_base, "debug")


class BuildExt(build_ext):
    """``build_ext`` that first stamps the kernels from the op table and translates the Cython sources."""

    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def run(self):
        super().run()
        # Python started in the checkout (`python -m fastad`, `python -m pytest`) finds the package here first, whatever
        # is installed; so the modules also go beside their sources. An in-place build has done so already.
        if not self.inplace:
            self.copy_extensions_to_source()

    def build_extensions(self):
        import Cython
        import numpy
        from Cython.Build import cythonize

        load(PACKAGE / "_stamp.py").stamp(PACKAGE)
        depends = [str(p.relative_to(ROOT)) for p in PACKAGE.iterdir() if p.suffix in {".h", ".pxd", ".pxi"}]
        flags = MSVC_FLAGS if self.compiler.compiler_type == "msvc" else GNU_FLAGS
        # What the translation depends on beside the sources names the directory it goes to.
        key = hashlib.sha256(repr((Cython.__version__, DIRECTIVES)).encode()).hexdigest()[:8]
        translated = cythonize(self.extensions, build_dir=os.path.join(self.build_temp, "cython-" + key),
                               compiler_directives=DIRECTIVES, nthreads=0 if os.name == "nt" else self.parallel)
        sources = {extension.name: extension.sources for extension in translated}
        for extension in self.extensions:
            extension.sources = sources[extension.name]
            extension.depends = [*depends, "setup.py"]
            extension.include_dirs = ["fastad", numpy.get_include()]
            extension.define_macros = MACROS
            extension.undef_macros = ["NDEBUG"] if DEBUG else []
            extension.extra_compile_args = flags
        super().build_extensions()


setup(
    ext_modules=[Extension(f"fastad.{name}", [f"fastad/{name}.pyx"]) for name in MODULES],
    cmdclass={"build": Build, "build_ext": BuildExt},
)
