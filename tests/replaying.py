"""A small interpreter for the records of a traced function: what `compile` has to do, in the plainest way."""
import math

import numpy as np

import fastad as fa
from fastad import ops, variable
from fastad.tree import flatten

ACCUMULATE, INDEXED = 1, 8               # flags of records


def row(name, *operands):
    """A function of the table on plain arrays, float64 throughout."""
    if name in ("keep", "drop"):
        x, y = np.broadcast_arrays(*operands)
        return np.where((y != 0) == (name == "keep"), x, -0.0)
    if name == "flow":                                # nothing times anything is nothing, of numbers none is
        x, g = np.broadcast_arrays(*operands)
        return np.where((g == 0.0) & np.signbit(g), -0.0, x * g + 0.0)
    if name in ("positive", "stop"):
        return operands[0]
    with np.errstate(all="ignore"):
        return np.asarray(getattr(fa, name)(*[np.asarray(z, np.float64) for z in operands]), np.float64)


def strided(memory, first, lengths, strides):
    """A writable view of the memory."""
    return np.lib.stride_tricks.as_strided(memory[first:], lengths, [8 * s for s in strides])


def matrices(memory, first, batch, rows, columns, strides):
    return strided(memory, first, (batch, rows, columns), strides)


def execute(r, v):
    """One record."""
    kind, out, n = r["kind"], r["out"], r.get("n")
    if kind == "scalar":
        operands = [v[r["a"]] if r["a"] is not None else r["ca"]]
        if ops.BY_NAME[r["op"]].arity == 2:
            operands.append(v[r["b"]] if r["b"] is not None else r["cb"])
        v[out] = row(r["op"], *operands)
    elif kind == "map":
        lengths, sv, sx, sy = r["layout"]
        if r["flags"] & ACCUMULATE and r["dst"] == out and r["size"]:
            v[out:out + r["size"]] = -0.0 if n else 0.0
        if n == 0:
            return
        operands = [np.array(strided(v, r["a"], lengths, sx))]
        if r["b"] is not None:
            operands.append(np.array(strided(v, r["b"], lengths, sy)))
        result = np.broadcast_to(row(r["op"], *operands), lengths)
        if r["flags"] & ACCUMULATE:
            where = np.array(strided(np.arange(len(v), dtype=np.float64), r["dst"], lengths, sv)).astype(int)
            np.add.at(v, where.ravel(), result.ravel())
        else:
            strided(v, r["dst"], lengths, sv)[...] = result
    elif kind == "route":
        for k, i in enumerate(r["indices"]):
            if i >= 0:
                v[out + k] = v[r["a"] + i]
    elif kind == "spread":
        v[out:r["b"]] = 0.0
        np.add.at(v, out + r["targets"], v[r["b"]:r["b"] + n] * v[r["a"] + r["indices"]])
    elif kind == "matmul":
        batch, m, k2, k, bv, rv, cv, ba, ra, ca, bb, rb, cb = r["sizes"]
        a = matrices(v, r["a"], batch, m, k, (ba, ra, ca))
        b = matrices(v, r["b"], batch, k, k2, (bb, rb, cb))
        matrices(v, r["dst"], batch, m, k2, (bv, rv, cv))[...] = a @ b
    elif kind == "assign":
        a = r["a"] if r["a"] is not None else out + n
        if r["flags"] & INDEXED:
            for k, i in enumerate(r["indices"]):
                v[r["dst"] + i] = v[a + k * r["stride"]]
        else:
            lengths, sv, sx, _ = r["layout"]
            strided(v, r["dst"], lengths, sv)[...] = np.array(strided(v, a, lengths, sx))
    elif kind == "call":
        results = r["rule"].forward([np.array(v[s:s + k]) for s, k in r["ins"]])
        for (s, k), result in zip(r["outs"], results, strict=True):
            v[s:s + k] = np.reshape(result, -1)


# ---- a traced function ---------------------------------------------------------------------------------------
class Traced:
    """A function traced at some inputs."""

    def __init__(self, f, args, tree=False):
        trace = self.trace = variable.begin_trace()
        try:
            kinds = {"f": "float", "i": "int", "b": "bool"}
            out = f(*[trace.input(a, kinds[np.asarray(a).dtype.kind]) for a in args])
            self.results = flatten(out)[0] if tree else list(out) if isinstance(out, (tuple, list)) else [out]
            self.outputs = [trace.output(x) for x in self.results]
        finally:
            variable.end_trace(trace)
        trace.check()
        self.columns, self.guards = trace.columns(), trace.guard_columns()
        self.records = trace.decoded()

    def replay(self, args):
        """The results for new inputs, None where a guard fails."""
        v = self.columns["value"].copy()
        if not all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in self.trace.frozen):
            return None
        for (slot, shape, _), a in zip(self.trace.inputs, args, strict=True):
            v[slot:slot + math.prod(shape)] = np.reshape(a, -1)
        for array, slot, size in self.trace.captures:
            v[slot:slot + size] = np.reshape(array, -1)
        g, starts = self.guards, np.concatenate([[0], np.cumsum(self.guards["size"])])
        k = 0
        for i in range(len(self.records) + 1):
            while k < len(g["record"]) and g["record"][k] == i:
                seen = v[g["slot"][k]:g["slot"][k] + g["size"][k]]
                if not np.array_equal(seen, g["values"][starts[k]:starts[k + 1]], equal_nan=True):
                    return None
                k += 1
            if i < len(self.records):
                try:
                    execute(self.records[i], v)
                except (IndexError, ValueError):           # the program does not fit these inputs
                    return None
        return [x if o is None else v[o[0]:o[0] + math.prod(o[1])].reshape(o[1])
                for x, o in zip(self.results, self.outputs, strict=True)]
