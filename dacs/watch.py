"""Lines about running trainings while Snakemake runs them, read from the ends of their logs. Torch-free."""

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

EVERY = 30  # seconds
TAIL = 4096  # bytes at the end of a log, more than a line has


class Watcher(threading.Thread):
    """Prints, every 30 seconds, the last line of each log below `folders` that has grown; ends with the process."""

    def __init__(self, folders: list[Path]) -> None:
        super().__init__(daemon=True)
        self.folders, self.begin = folders, time.time()
        self.shown: dict[Path, str] = {}

    def run(self) -> None:
        """Print until the process ends."""
        while True:
            time.sleep(EVERY)
            for line in self.news():
                print(line, file=sys.stderr, flush=True)

    def news(self) -> Iterator[str]:
        """A line for each log whose last line is another than the last time."""
        for folder in self.folders:
            for log in sorted(folder.glob("*.log")):
                line = last_line(log) if log.stat().st_mtime >= self.begin else ""
                if line.startswith("step ") and self.shown.get(log) != line:
                    self.shown[log] = line
                    yield f"{log.stem}: {line}"


def last_line(log: Path) -> str:
    """The last whole line of a log; empty where it has none."""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - TAIL))
        *lines, _ = stream.read().decode(errors="replace").split("\n")
    return lines[-1] if lines else ""
