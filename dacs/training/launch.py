"""Start the processes of one run, as torchrun does, and pass on how they end.

All are on this machine, or on each node of a step of Slurm, where srun starts this program once on each.
"""

import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NamedTuple
from uuid import uuid4

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from dacs.errors import BadRequest, Interrupted

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1)
TORCHS = "SIGUSR2"  # all that torch's own handler is given: at a second signal it would wait for no checkpoint
SAVING = 300  # seconds that a process has for its step and checkpoint, before it is killed
PORTS = range(20000, 30000)  # of which a step of Slurm has one by its number; below those that systems give away


class Nodes(NamedTuple):
    """The machines that share a run, seen from one of them."""

    total: int = 1
    rank: int = 0  # of this machine
    meet: str = "127.0.0.1:0"  # host and port of the first; 0: any
    run_id: str = ""

    @classmethod
    def of_slurm(cls) -> "Nodes":
        """Those of a step of Slurm that has this program once on each node; else this machine alone."""
        total, tasks = (int(os.environ.get(f"SLURM_STEP_NUM_{name}", 1)) for name in ("NODES", "TASKS"))
        if total == 1 or tasks != total:
            return cls()
        job, step = (os.environ[f"SLURM_{name}_ID"] for name in ("JOB", "STEP"))
        port = PORTS[(int(job) * 64 + int(step)) % len(PORTS)]
        # srun runs in the batch script, which is on the first node.
        meet = f"{os.environ['SLURM_LAUNCH_NODE_IPADDR']}:{port}"
        return cls(total, int(os.environ["SLURM_NODEID"]), meet, f"{job}.{step}")


def launch(processes: int, arguments: Sequence[str]) -> int:
    """Run `dacs` with these arguments in so many processes; return the exit code of the one that failed first.

    When one ends with an error, the others are ended. torchrun itself would hide the message under a traceback.
    Raises BadRequest where the nodes of a step of Slurm cannot have as many processes each.
    """
    nodes = Nodes.of_slurm()
    if processes % nodes.total:
        raise BadRequest(
            f"loop.processes is {processes}, which {nodes.total} nodes of Slurm do not share equally.\n"
            "Give a number that they divide, or other nodes in set-resources of the profile."
        )
    # Of each process, as torchrun has it: as many threads as cores in all of them would slow each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for name in logging.root.manager.loggerDict:
        if name.startswith("torch.distributed.elastic"):  # each has a level of its own
            logging.getLogger(name).setLevel(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=nodes.total,
        max_nodes=nodes.total,
        nproc_per_node=processes // nodes.total,
        run_id=nodes.run_id or uuid4().hex,
        # Between machines torch's c10d ends in an error where the first of them ends before the others.
        rdzv_backend="static" if nodes.total > 1 else "c10d",
        rdzv_endpoint=nodes.meet,
        rdzv_configs={"rank": nodes.rank},
        max_restarts=0,
        signals_to_handle=TORCHS,
        shutdown_timeout=SAVING,
    )
    try:
        with _first_signal():
            elastic_launch(config, sys.executable)("-m", "dacs", *arguments)
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        return failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode
    except SignalException:
        return Interrupted.exit_code
    return 0


@contextmanager
def _first_signal() -> Iterator[None]:
    """Let the first signal end the processes by SIGTERM, at which they save a checkpoint, and further ones do nothing.

    A cluster, or Ctrl-C, sends a signal to all processes of a job, and more than once.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        for each in SIGNALS:
            signal.signal(each, lambda number, frame: None)  # after SIG_IGN Python complains of those that have come
        raise SignalException(f"received {signal.Signals(number).name}", signal.SIGTERM)

    before = {each: signal.getsignal(each) for each in SIGNALS}
    for each, handler in before.items():
        if handler != signal.SIG_IGN:  # as nohup has it
            signal.signal(each, stop)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
