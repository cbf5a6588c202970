"""The benchmarks of compiled functions: every version agrees with every other."""
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: Seconds of compilation, or large data; smaller sizes of the same functions stand in.
LARGE = {"rosenbrock_arrays 1000000", "logistic 100000", "softmax_net 1797", "mixture 10,25", "mixture 20,50",
         "asian_paths", "asian_batch", "lstm"}


@pytest.fixture(autouse=True)
def found(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)


def test_versions_agree():
    from benchmarks.compiled import peers, table
    from benchmarks.compiled.measure import measure
    from benchmarks.compiled.workloads import WORKLOADS

    assert set(WORKLOADS) >= LARGE
    for name, workload in WORKLOADS.items():
        if name not in LARGE:
            done, failed = measure(workload, table.versions(workload, peers.installed({"numpy"})), 0)
            assert "fastad" in done and not failed, (name, failed)


def test_small_cases_of_the_large_ones():
    from dataclasses import replace

    from benchmarks.compiled import peers, table, workloads
    from benchmarks.compiled.measure import measure

    for name, data in {"logistic": lambda: workloads.logistic_data(50),
                       "softmax_net": lambda: workloads.softmax_net_data(5),
                       "mixture": lambda: workloads.mixture_data(3, 4, 20), "lstm": lambda: workloads.lstm_data(4),
                       "asian_paths": lambda: (workloads.OPTION, workloads.random().normal(size=(6, 20))),
                       "asian_batch": lambda: (workloads.OPTION, workloads.random().normal(size=(20, 6)))}.items():
        workload = next(w for w in workloads.WORKLOADS.values() if w.base == name)
        small = replace(workload, data=data)
        done, failed = measure(small, table.versions(small, peers.installed({"numpy"})), 0)
        assert "fastad" in done and not failed, (name, failed)


def test_a_wrong_version_is_found():
    from benchmarks.compiled.measure import Run, fastad_run, measure
    from benchmarks.compiled.workloads import WORKLOADS

    workload = WORKLOADS["rosenbrock2"]
    value, g = fastad_run(workload).results()
    done, failed = measure(workload, {"fastad": fastad_run, "wrong": lambda w: Run(lambda: (value, g * 1.001), ())}, 0)
    assert set(done) == {"fastad"} and "disagrees" in failed["wrong"]


def test_table():
    script = str(ROOT / "benchmarks" / "compare.py")
    command = [sys.executable, script, "--compiled", "--repeat", "1", "--only", "rosenbrock2"]
    text = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    for line in ("rosenbrock2 bound", "fastad", "us for each of", "first call"):
        assert line in text
