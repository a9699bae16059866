"""The progress of a run on the terminal, and the signals that stop it."""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from dacs.training.run import Run

QUIET = 20  # seconds without a line after which the next step is printed, so that every 30 s have one


class Progress:
    """A bar on a terminal; elsewhere a line at each tenth of the steps, and when none was printed for a while.

    Losses are those of the last row of log.csv.
    """

    def __init__(self, done: int, run: Run, *, shown: bool = True) -> None:
        loop, self.steps, self.first = run.settings.loop, run.settings.schedule.steps, done
        self.images = loop.batch * loop.accumulate * (2 if run.row.adapts else 1)  # a step
        self.tenth, self.begin = 10 * done // self.steps, time.monotonic()
        self.printed, self.losses = self.begin, dict[str, str]()
        self.bar = tqdm(total=self.steps, initial=done, unit="step", disable=not (shown and sys.stderr.isatty()))
        if done and shown and self.bar.disable:
            print(f"resuming from the checkpoint at step {done} of {self.steps}", file=sys.stderr, flush=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    def show(self, step: int, row: dict[str, Any] | None) -> None:
        """Report a step that is done, and its row of log.csv if it has one."""
        if row is not None:
            self.losses = {name: f"{value:.3f}" for name, value in row.items() if name not in ("step", "lr")}
        now, done = time.monotonic(), step - self.first
        seconds = now - self.begin
        values = {**self.losses, "images/s": f"{done * self.images / seconds:.0f}"}
        self.bar.set_postfix(values, refresh=False)
        self.bar.update(step - self.bar.n)
        due = row is not None and 10 * step // self.steps > self.tenth
        if self.bar.disable and (due or now - self.printed > QUIET):
            self.tenth, self.printed = 10 * step // self.steps, now
            left = seconds / done * (self.steps - step)
            line = ", ".join(f"{name} {value}" for name, value in values.items())
            print(f"step {step}/{self.steps}: {line}, {left:.0f} s left", file=sys.stderr, flush=True)


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Whether SIGINT, SIGTERM or SIGUSR1 was received; the loop asks between steps, so that no step is cut.

    Slurm sends SIGUSR1 before a time limit or a preemption, where it is asked to (--signal).
    """
    received: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    before = {each: signal.signal(each, lambda number, frame: received.append(number)) for each in numbers}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
