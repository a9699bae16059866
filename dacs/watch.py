"""Lines about a pipeline while Snakemake runs it, read from the files of its jobs. Torch-free."""

import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

EVERY = 30  # seconds
TAIL = 4096  # bytes at the end of a log, more than a line has
LEFT = re.compile(r"step .*, (\d+) s left")


class Watcher(threading.Thread):
    """Prints, every 30 seconds, how far trainings and the whole are; ends with the process.

    `benchmarks`: logs/benchmarks/<kind>/<name>.tsv of each job, which Snakemake writes when the job is done; its log is
    logs/<kind>/<name>.log.
    """

    def __init__(self, logs: Path, benchmarks: list[Path]) -> None:
        super().__init__(daemon=True)
        self.logs, self.benchmarks, self.begin = logs, benchmarks, time.time()
        self.shown: dict[Path, str] = {}

    def run(self) -> None:
        """Print until the process ends."""
        while True:
            time.sleep(EVERY)
            for line in (*self.news(), self.overall()):
                print(line, file=sys.stderr, flush=True)

    def news(self) -> Iterator[str]:
        """A line for each training or evaluation whose last line is another than the last time."""
        kinds = ("train", "adapt", "evaluate")
        for log in sorted(path for kind in kinds for path in (self.logs / kind).glob("*.log")):
            line = self._last_line(log)
            if line.startswith(("step ", "state ")) and self.shown.get(log) != line:
                self.shown[log] = line
                yield f"{log.stem}: {line}"

    def overall(self) -> str:
        """How many jobs are done, and about how long the others take, once a job of each kind was timed."""
        done = self._done()
        seconds: dict[str, list[float]] = {}
        for path in done:
            seconds.setdefault(path.parent.name, []).append(_seconds(path))
        left = [self._left(path, seconds.get(path.parent.name, [])) for path in {*self.benchmarks} - {*done}]
        known = [each for each in left if each is not None]
        if not done or len(known) < len(left):
            return self.counted()
        at_once = sum(map(sum, seconds.values())) / (time.time() - self.begin)
        remaining = sum(known) / max(at_once, 0.1)
        return f"{self.counted()}, about {f'{remaining / 60:.0f} min' if remaining > 90 else f'{remaining:.0f} s'} left"

    def counted(self) -> str:
        """How many jobs are done."""
        return f"{len(self._done())} of {len(self.benchmarks)} jobs"

    def _done(self) -> list[Path]:
        return [path for path in self.benchmarks if self._is_new(path)]

    def _left(self, benchmark: Path, seconds: list[float]) -> float | None:
        """The seconds that a job still takes: as it says itself, or as others of its kind took; None where unknown."""
        kind = benchmark.parent.name
        if said := LEFT.match(self._last_line(self.logs / kind / f"{benchmark.stem}.log")):
            return float(said[1])
        if kind == "benchmarks":  # figures and page, which take seconds
            return 0.0
        return sum(seconds) / len(seconds) if seconds else None

    def _last_line(self, log: Path) -> str:
        return last_line(log) if self._is_new(log) else ""

    def _is_new(self, path: Path) -> bool:
        return path.exists() and path.stat().st_size > 0 and path.stat().st_mtime >= self.begin


def _seconds(benchmark: Path) -> float:
    """How long a job took, as Snakemake measured it."""
    return float(benchmark.read_text().splitlines()[1].split("\t")[0])


def last_line(log: Path) -> str:
    """The last whole line of a log; empty where it has none."""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - TAIL))
        *lines, _ = stream.read().decode(errors="replace").split("\n")
    return lines[-1] if lines else ""
