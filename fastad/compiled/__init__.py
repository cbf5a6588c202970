"""Compiled functions: `compile` and `load`."""
from .files import load
from .function import Compiled, compile

__all__ = ["Compiled", "compile", "load"]
