"""fastad beside plain Python, NumPy and other packages, in one run: ``python benchmarks/compare.py [--peers]``.

All numbers of a table come from the same work in the same process. ``min`` is the best of the repeats, which says what
the code can do; ratios are taken between medians, which say what a user gets. ``--peers`` adds those of torch,
autograd, xad, jax, casadi and mygrad that are installed.

``--descent`` shows 1,000 iterations of gradient descent on two variables beside a loop by hand and torch.optim.

``--compiled`` shows compiled functions instead: value and gradient, and the first call, of each workload beside C by
hand and, with ``--peers``, other packages. ``--only NAME`` takes the workloads whose names contain it.

``--record`` measures all of it with the peers that are installed, writes the figures to
``benchmarks/results/performance.json``, and from there the tables of README.md and docs/performance.md; with ``--only``
it measures only these workloads anew, with ``--only recorded`` what is no workload. ``--pages`` writes the tables again
from the file.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

# Started as a script, this file is outside its package. An installed fastad still comes before the one of the checkout.
sys.path.append(str(Path(__file__).parents[1]))

from benchmarks import bench_descent, packages, pages, recorded

#: What libraries read when they are imported, so that each uses one thread and compiles anew.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",
}


def single_threaded():
    """Start again as a process where each library has one thread, unless this is one."""
    if any(os.environ.get(name) != value for name, value in ENVIRONMENT.items()):
        sys.exit(subprocess.run([sys.executable, *sys.argv], env={**os.environ, **ENVIRONMENT}).returncode)


def compare_recorded(found, repeat):
    """Measure and print recorded operations; what was measured, as it is stored."""
    print(f"packages: {', '.join(found)}")
    chain = recorded.measure_chain(found, repeat)
    recorded.print_chain(chain)
    arrays = recorded.measure_arrays(found, repeat)
    recorded.print_arrays(arrays)
    size = recorded.measure_size()
    recorded.print_size(size)
    return {"chain": {name: {"record": record.stored(), **({"backward": sweep.stored()} if sweep else {})}
                      for name, (record, sweep) in chain.items()},
            "arrays": {str(n): {label: timing.stored() for label, timing in done.items()}
                       for n, done in arrays.items()},
            "size": size}


def compare_compiled(with_peers, repeat, only):
    """Measure and print compiled functions, one after the other; see `table.compare_compiled`."""
    from benchmarks.compiled import peers, table

    return table.compare_compiled(peers.installed() if with_peers else {}, repeat, only)


def record(repeat, only):
    """Measure all, or some workloads; store the figures and write the pages."""
    pages.store({"machine": pages.machine()})
    if only in (None, "recorded"):
        pages.store(compare_recorded(packages.installed(), repeat))
    for name, figures in compare_compiled(True, repeat, only):
        pages.store({"compiled": {name: figures}})
    pages.write_pages()


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peers", action="store_true", help="also measure the other packages that are installed")
    parser.add_argument("--repeat", type=int, default=9, help="repeats of each measurement (default: 9)")
    parser.add_argument("--compiled", action="store_true", help="compiled functions instead of recorded ones")
    parser.add_argument("--only", metavar="NAME",
                        help="with --compiled or --record: workloads whose names contain NAME")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--record", action="store_true", help="measure all, store the figures, write the pages")
    what.add_argument("--descent", action="store_true", help="1,000 iterations of gradient descent, nothing else")
    what.add_argument("--pages", action="store_true", help="write the tables of the pages from the stored figures")
    options = parser.parse_args()
    if options.pages:
        pages.write_pages()
    elif options.descent:
        bench_descent.compare(options.peers, options.repeat)
    elif options.record:
        single_threaded()
        record(options.repeat, options.only)
    elif options.compiled:
        single_threaded()
        for _ in compare_compiled(options.peers, options.repeat, options.only):
            pass                # printed as they come
    else:
        compare_recorded(packages.installed(None if options.peers else {"fastad"}), options.repeat)


if __name__ == "__main__":
    main()
