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


def stops(instructions, ready=(), windows=()):
    """Where execution stops, as triples: before which instruction, whether the way there is long, and what for.

    That is 0 (signals), 1 (a call), or 2 and how many guards are to be looked at; `ready` says for each guard after how many
    instructions it can be, and rises. -1 and lower: the way to the next stop is the first, second... window.
    """
    cost = costs(instructions)
    rows, work, unchecked, checked, past = [], 0, 0, 0, 0
    begins = {window.first: number for number, window in enumerate(windows)}
    for k, kind in enumerate(instructions["kind"].tolist()):
        if kind == 2 or kind == 11 or k < past:       # the lines of a run go with it
            continue
        if past == k > 0:
            rows += [k, 1, 0]
            work = 0
        if k in begins:
            past = windows[begins[k]].last
            rows += [k, work > SHORT, -1 - begins[k]]
            unchecked, work = CHECK + 1, LONG
            continue
        if unchecked > CHECK and checked < len(ready) and ready[checked] <= k:
            checked = int(np.searchsorted(ready, k, side="right"))
            rows += [k, work > SHORT, 2 + checked]
            work = unchecked = 0
        if kind == 9 and not instructions["op"][k]:
            rows += [k, work > SHORT, 1]
            work = 0
            continue
        if work > LONG:
            rows += [k, 1, 0]
            work = 0
        work += int(cost[k])
        unchecked += int(cost[k])
    rows += [len(instructions), work > SHORT, 0]
    return np.array(rows, np.int64)


def ready_after(instructions, scalars, guards):
    """After how many instructions each guard, and all before it, can be looked at: all, where it is not plain who writes it."""
    made = {}                                         # slot -> the last instruction that writes it
    wanted = np.unique(guards)
    plain = np.isin(instructions["kind"], [0, 2, 6, 8, 10, 11])
    others = np.flatnonzero(~plain & (instructions["kind"] != 1))     # they may write anywhere
    least = int(others.max()) + 1 if len(others) else 0
    for k in np.flatnonzero(plain).tolist():
        row = instructions[k]
        if row["kind"] == 0:
            slots = scalars["v"][row["first"]:row["first"] + row["n"]]
            slots = slots[np.isin(slots, wanted)]
        else:
            size = 1 if row["kind"] == 11 else row["n"]
            slots = wanted[np.searchsorted(wanted, row["v"]):np.searchsorted(wanted, row["v"] + size)]
        made.update(dict.fromkeys(slots.tolist(), k + 1))
    return np.maximum.accumulate([max(made.get(slot, len(instructions)), least) for slot in guards.tolist()])
