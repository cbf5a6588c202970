"""Compiled functions: a call of each workload by fastad, C by hand and installed peers; fastad's first call."""

from .compiled import peers, table
from .compiled.workloads import WORKLOADS


class Call:
    """Value and gradient, or what else the workload asks for; after the first call."""

    params = (tuple(WORKLOADS), ("fastad", "C", *peers.NAMES))
    param_names = ("workload", "by")

    def setup(self, name, by):
        workload = WORKLOADS[name]
        prepare = table.versions(workload, peers.installed({by})).get(by)
        if prepare is None:
            raise NotImplementedError(f"{by} has no version of {name}, or is not installed")   # asv skips it
        run = prepare(workload)
        self.call, self.args, self.keep = run.call, run.args, run
        self.call(*self.args)

    def time_call(self, name, by):
        self.call(*self.args)


class First:
    """Tracing, compiling, and the first call."""

    params = (tuple(WORKLOADS),)
    param_names = ("workload",)
    number = repeat = 1
    timeout = 300

    def time_first_call(self, name):
        run = table.fastad_run(WORKLOADS[name])
        run.call(*run.args)
