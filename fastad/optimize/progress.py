"""What a descent shows while it runs."""
from __future__ import annotations

import sys
import time
from collections.abc import Callable

__all__ = ["Show", "progress_display"]

#: ``show(done, value, norm)`` says how far it is.
Show = Callable[[int, float, float], None]


def progress_display(total: int, unit: str = "it") -> tuple[Show, Callable[[], None]]:
    """A function to call now and then and one to call at the end: tqdm's bar, or a line now and then."""
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return lines(), lambda: None
    bar = tqdm(total=total, desc="minimize", unit=unit)

    def show(done: int, value: float, norm: float) -> None:
        bar.set_postfix_str(f"fun={value:.6g}, |grad|={norm:.2g}", refresh=False)
        bar.update(done - bar.n)

    return show, bar.close


def lines(seconds: float = 1.0) -> Show:
    """Print a line at most once in so many seconds, the first one at once."""
    last = -seconds

    def show(done: int, value: float, norm: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= seconds:
            last = now
            print(f"minimize: iteration {done}, fun={value:.6g}, |grad|={norm:.2g}", file=sys.stderr, flush=True)

    return show
