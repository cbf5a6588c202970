# What the executor is told beside the tables: forms of scalar instructions, and where to stop (part of _program.pyx).

def with_forms(scalars, instructions):
    """The scalar instructions as they are executed: where an operator reads what the one before computed, it is told so."""
    out = scalars.copy()
    if len(out) == 0:
        return out
    before = np.append(-1, out["v"][:len(out) - 1])
    first = instructions["first"][instructions["kind"] == 0]
    before[first[first < len(out)]] = -1              # nothing is before the first of a stretch
    operator = np.isin(out["op"], [OP_add, OP_subtract, OP_multiply, OP_divide])
    out["op"] |= np.where(operator & (out["a"] == before), 256, 0) | np.where(operator & (out["b"] == before), 512, 0)
    return out


def costs(instructions):
    """How many numbers each instruction computes; the lines of a run go with it."""
    count = np.where(np.isin(instructions["kind"], [2, 11]), 0, np.maximum(instructions["count"], 1))
    return np.maximum(instructions["n"] * count, 1)


def stops(instructions):
    """Where execution stops, as triples: before which instruction, whether the way there is long, whether it is a call there."""
    cost = costs(instructions)
    rows, start, work = [], 0, 0
    for k, kind in enumerate(instructions["kind"].tolist()):
        if kind == 2 or kind == 11:                   # the lines of a run go with it
            continue
        if kind == 9 and not instructions["op"][k]:
            rows += [k, work > SHORT, 1]
            work = 0
            continue
        if work > LONG:
            rows += [k, 1, 0]
            work = 0
        work += int(cost[k])
    rows += [len(instructions), work > SHORT, 0]
    return np.array(rows, np.int64)
