"""What answers NumPy's functions on Variables, one file per family.

Importing this package installs the answers: ufuncs of the table by opcode, functions through ``__array_function__``,
methods of ndarray that make sense on a Variable.
"""
from .. import ops, variable
from . import composites, einsum, indexing, linalg, reductions, shaping, ufuncs  # noqa: F401 (importing installs)
from .registry import ANSWERS, METHODS

variable.register(ufuncs.opcodes(ops.OPS), ANSWERS, METHODS)
