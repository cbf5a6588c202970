"""Rows shared out among threads, so that the bits do not depend on how many there are and Ctrl-C ends all of them."""
from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["in_threads"]

#: So many seconds between two looks at what the caller watches.
WAIT = 0.02


def in_threads(work: Callable[[tuple[int, int], NDArray[np.uint8]], Any], rows: int, size: int, threads: int,
               watch: Callable[[NDArray[np.uint8]], Any] | None = None) -> None:
    """Split rows among threads.

    Parameters
    ----------
    work : callable
        ``work((first, last), cancel)`` does some of the rows, and stops early once ``cancel[0]`` is not 0.
    rows : int
        How many there are.
    size : int
        Rows that stay together: every part but the last is a multiple of it, for any number of threads.
    threads : int
        How many threads, the caller's among them.
    watch : callable, optional
        ``watch(cancel)`` is called now and then while the caller's has nothing to do but wait for the others.
    """
    cancel = np.zeros(1, np.uint8)
    groups = -(-rows // size)
    step = max(-(-groups // threads), 1) * size
    parts = [(first, min(first + step, rows)) for first in range(0, rows, step)]
    if len(parts) <= 1:
        for part in parts:
            work(part, cancel)
        return
    from concurrent.futures import ThreadPoolExecutor, wait  # takes milliseconds, and most programs do without

    with ThreadPoolExecutor(len(parts) - 1) as pool:
        try:
            waiting = [pool.submit(work, part, cancel) for part in parts[1:]]
            work(parts[0], cancel)                    # where signals arrive
            while watch is not None and wait(waiting, WAIT).not_done:
                watch(cancel)
            for other in waiting:
                other.result()
        except BaseException:
            cancel[0] = 1
            raise
