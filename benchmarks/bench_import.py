"""What ``import fastad`` costs beyond ``import numpy``."""

import statistics
import subprocess
import sys

PROGRAM = """
import time
import numpy
start = time.perf_counter()
import fastad
print(time.perf_counter() - start)
"""


def import_milliseconds(repeat=11):
    """The median over fresh interpreters."""
    command = [sys.executable, "-c", PROGRAM]
    times = [float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(repeat)]
    return 1e3 * statistics.median(times)


class Import:
    """In fresh interpreters, NumPy imported before the clock starts."""

    def track_beyond_numpy(self):
        return import_milliseconds()

    track_beyond_numpy.unit = "ms"
