"""What a descent shows while it runs."""
from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["Show", "progress_display", "stops"]

#: ``show(done, text)`` says how far it is.
Show = Callable[[int, str], None]


def progress_display(who: str, total: int, unit: str) -> tuple[Show, Callable[[], None]]:
    """A function to call now and then and one to call at the end: tqdm's bar, or a line now and then."""
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return lines(who, total, unit), lambda: None
    bar = tqdm(total=total, desc=who, unit=f" {unit}s")

    def show(done: int, text: str) -> None:
        bar.set_postfix_str(text, refresh=False)
        bar.update(done - bar.n)

    return show, bar.close


def stops(callback: Callable[[Any], Any], state: Any) -> bool:
    """Whether a callback wants to stop: it returns True, which may be NumPy's, or raises StopIteration."""
    try:
        answer = callback(state)
    except StopIteration:
        return True
    return isinstance(answer, (bool, np.bool_)) and bool(answer)


def lines(who: str, total: int, unit: str, seconds: float = 1.0) -> Show:
    """Print a line at most once in so many seconds, the first one at once."""
    last = -seconds

    def show(done: int, text: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= seconds:
            last = now
            print(f"{who}: {unit} {done} of {total}, {text}", file=sys.stderr, flush=True)

    return show
