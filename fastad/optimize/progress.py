"""What a descent shows while it runs."""
from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .driver import Descent

__all__ = ["progress_display"]


def progress_display(max_iter: int, sign: float) -> tuple[Callable[[Descent], None], Callable[[], None]]:
    """A function to call after each iteration and one to call at the end: tqdm's bar, or a line now and then."""
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return lines(sign), lambda: None
    bar = tqdm(total=max_iter, desc="minimize", unit="it")

    def show(descent: Descent) -> None:
        norm = descent.history["grad_norm"][-1]
        bar.set_postfix_str(f"fun={sign * descent.point.f:.6g}, |grad|={norm:.2g}", refresh=False)
        bar.update()

    return show, bar.close


def lines(sign: float, seconds: float = 1.0) -> Callable[[Descent], None]:
    """Print a line at most once in so many seconds, the first one at once."""
    last = -seconds

    def show(descent: Descent) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= seconds:
            last = now
            print(f"minimize: iteration {descent.nit}, fun={sign * descent.point.f:.6g}, "
                  f"|grad|={descent.history['grad_norm'][-1]:.2g}", file=sys.stderr, flush=True)

    return show
