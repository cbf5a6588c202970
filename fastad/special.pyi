# Stamped by `python fastad/_stamp.py` from fastad/ops.py and fastad/special.py; not to be edited.
from typing import Any

from ._typing import Array, Axis, Value
from .math import beta as beta
from .math import betaln as betaln
from .math import digamma as digamma
from .math import digamma as psi
from .math import entr as entr
from .math import erf as erf
from .math import erfc as erfc
from .math import erfcinv as erfcinv
from .math import erfcx as erfcx
from .math import erfinv as erfinv
from .math import gamma as gamma
from .math import gammaln as gammaln
from .math import i0 as i0
from .math import i0e as i0e
from .math import i1 as i1
from .math import i1e as i1e
from .math import j0 as j0
from .math import j1 as j1
from .math import log_ndtr as log_ndtr
from .math import log_sigmoid as log_expit
from .math import logit as logit
from .math import ndtr as ndtr
from .math import ndtri as ndtri
from .math import polygamma as polygamma
from .math import rel_entr as rel_entr
from .math import sigmoid as expit
from .math import xlog1py as xlog1py
from .math import xlogy as xlogy
from .math import zeta as zeta

__all__ = [
    "log_softmax",
    "logsumexp",
    "softmax",
    "expit",
    "logit",
    "log_expit",
    "erf",
    "erfc",
    "erfcx",
    "erfinv",
    "erfcinv",
    "ndtr",
    "log_ndtr",
    "ndtri",
    "gamma",
    "gammaln",
    "digamma",
    "zeta",
    "beta",
    "betaln",
    "xlogy",
    "xlog1py",
    "entr",
    "rel_entr",
    "j0",
    "j1",
    "i0",
    "i1",
    "i0e",
    "i1e",
    "polygamma",
    "psi",
]

def scipys(name: str, *args: Any, **kwargs: Any) -> Value: ...
def largest(values: Array, axis: Axis) -> Array: ...
def logsumexp(a: Value, axis: Axis=None, b: Value=None, keepdims: bool=False, return_sign: bool=False) -> Value: ...
def others(x: Value, m: Array, tops: Array, axis: Axis, keepdims: bool) -> Value: ...
def fitted(kept: Value, axis: Axis, keepdims: bool) -> Value: ...
def weighted_logsumexp(x: Value, b: Value, axis: Axis, keepdims: bool) -> Value: ...
def softmax(x: Value, axis: Axis=None) -> Value: ...
def log_softmax(x: Value, axis: Axis=None) -> Value: ...
