"""Compiled functions: `compile` and `load`."""
from .files import load
from .function import Compiled, compile  # noqa: A004

__all__ = ["Compiled", "compile", "load"]
