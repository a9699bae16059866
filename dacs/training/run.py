"""What one run is asked to do. Torch-free."""

from dataclasses import dataclass

from dacs.layout import PreparedSplit, RunDir
from dacs.methods import Method, method
from dacs.settings import RunSettings


@dataclass(frozen=True)
class Run:
    """One training or adaptation."""

    method: str
    seed: int
    settings: RunSettings
    source: PreparedSplit  # labelled: of the source domain, or the target's own for the oracle
    target: PreparedSplit  # unlabelled training images of the target; nothing else of it is read
    init: RunDir | None = None  # the source-only run whose weights it starts from

    @property
    def row(self) -> Method:
        """The row of its method."""
        return method(self.method)


def snapshot_steps(steps: int, snapshots: int) -> list[int]:
    """The steps after which weights are kept: so many with the last, evenly spread; the last are the result itself.

    >>> snapshot_steps(800, 4)
    [200, 400, 600]
    """
    return sorted({round(steps * number / snapshots) for number in range(1, snapshots)} - {0, steps})
