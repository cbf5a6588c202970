"""Ufuncs of the table."""
import numpy as np


def opcodes(ops):
    """dict ufunc -> opcode for the rows that answer a NumPy ufunc."""
    found = {}
    for code, op in enumerate(ops):
        name = getattr(op, "numpy", None)
        f = getattr(np, name, None) if name and "." not in name else None
        if isinstance(f, np.ufunc):
            found[f] = code
    return found
