"""What one run is asked to do. Torch-free."""

import os
from dataclasses import dataclass
from importlib.util import find_spec

from dacs.errors import BadRequest, RunFailed
from dacs.layout import PreparedSplit, RunDir
from dacs.machine import has_gpu
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


def processes_here() -> int:
    """The number of processes of this run that torchrun, or one of its kind, has started."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def check_processes(settings: RunSettings, started: int) -> None:
    """Raise BadRequest where so many processes cannot share each batch, or would not compute what is asked for."""
    batch, expected = settings.loop.batch, settings.processes
    if batch % started:
        raise BadRequest(
            f"{started} processes cannot share loop.batch {batch} equally: it counts the frames of all of them.\n"
            "Start a number that divides it, or change loop.batch."
        )
    if expected not in (None, started):
        raise BadRequest(
            f"{started} processes were started, but the result depends on their number here, and loop.processes is"
            f" {expected}.\nStart that many; or set loop.sync_bn to true and adapt.lambda_scope to image or batch."
        )
    if started > 1 and settings.loop.graphs:
        raise BadRequest(
            f"{started} processes were started, and loop.cuda_graphs records the passes of one alone.\n"
            f"Set loop.processes to {started}, with which nothing is recorded, or loop.cuda_graphs to false."
        )


def check_compiler(run: Run) -> None:
    """Raise RunFailed where networks would be compiled for a GPU without triton."""
    loop = run.settings.loop
    if run.row.terms and loop.compile and loop.device != "cpu" and has_gpu() and not find_spec("triton"):
        raise RunFailed(
            "loop.compile is true, but triton, which compiles for a GPU, is not installed.\n"
            "Install it with 'make .venv/gpu', or set loop.compile to false in params.yaml."
        )


def snapshot_steps(steps: int, snapshots: int) -> list[int]:
    """The steps after which weights are kept: so many with the last, evenly spread; the last are the result itself.

    >>> snapshot_steps(800, 4)
    [200, 400, 600]
    """
    return sorted({round(steps * number / snapshots) for number in range(1, snapshots)} - {0, steps})
