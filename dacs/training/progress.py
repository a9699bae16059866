"""What a person sees of a run, and how a person stops it."""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

SHOWN = ("loss_source", "loss_mixed", "lambda")  # beside the progress


class Progress:
    """A bar on a terminal, a line at each tenth of the way elsewhere."""

    def __init__(self, done: int, steps: int, images: int) -> None:
        self.steps, self.images, self.first, self.tenth = steps, images, done, 10 * done // steps
        self.begin = time.monotonic()
        self.bar = tqdm(total=steps, initial=done, unit="step", disable=not sys.stderr.isatty())
        if self.first and self.bar.disable:
            print(f"going on from the checkpoint at step {self.first} of {steps}", file=sys.stderr, flush=True)

    def show(self, row: dict[str, Any]) -> None:
        """Tell how far the run is."""
        done, seconds = row["step"] - self.first, time.monotonic() - self.begin
        words: dict[str, str] = {name: f"{row[name]:.3f}" for name in SHOWN if name in row}
        words["images/s"] = f"{done * self.images / seconds:.0f}"
        self.bar.set_postfix(words, refresh=False)
        self.bar.update(row["step"] - self.bar.n)
        if self.bar.disable and 10 * row["step"] // self.steps > self.tenth:
            self.tenth = 10 * row["step"] // self.steps
            left = seconds / done * (self.steps - row["step"])
            told = ", ".join(f"{name} {value}" for name, value in words.items())
            print(f"step {row['step']}/{self.steps}: {told}, {left:.0f} s left", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the terminal tidy."""
        self.bar.close()


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Whether SIGINT or SIGTERM came; the loop asks between steps, so that no step is cut."""
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda received, frame: came.append(received))
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
