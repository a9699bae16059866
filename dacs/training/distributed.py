"""Training by several processes, which torchrun starts: how they meet, and what they exchange in a step.

Every term of a step has a backward of its own. DistributedDataParallel would exchange gradients in each of them, or
must be kept from it in all but the last (`no_sync`), which no term knows to be; and it runs one forward pass, where
terms ask for features too. So gradients add up in each process first, and are exchanged once, before the optimizer
moves the weights.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from dacs.errors import Interrupted, RunFailed
from dacs.group import ALONE, Group, lost_process
from dacs.models.device import device_for
from dacs.models.whole_batch import own_statistics
from dacs.settings import RunSettings
from dacs.training.checkpoint import State
from dacs.training.objectives import Losses

ANSWER = timedelta(seconds=60)  # after which a process that does not answer is taken for dead
PREPARATION = timedelta(days=30)  # while the first process waits for another run, and checks data
BUCKET = 64 * 2**20  # bytes exchanged at a time, which are there twice


@contextmanager
def together(settings: RunSettings) -> Iterator[Group]:
    """Meet the other processes that torchrun has started; each has a GPU of its own where GPUs are used.

    Raises RunFailed where there are too few GPUs.
    """
    group = Group(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    on_gpu = device_for(settings.loop.device).type == "cuda"
    if on_gpu:
        place, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if place >= there:
            raise RunFailed(f"Process {place + 1} of this machine has no GPU: there are {there}.\nStart fewer.")
        torch.cuda.set_device(place)
    with lost_process():
        store, rank, world = next(rendezvous("env://", timeout=ANSWER))
        # torchrun's store outlives a restart, and keeps the addresses of processes that have ended.
        fresh = PrefixStore(os.environ["TORCHELASTIC_RESTART_COUNT"], store)
        backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
        dist.init_process_group(backend, store=fresh, rank=rank, world_size=world, timeout=ANSWER)
    try:
        yield group
    except Interrupted:  # by all of them; after another error the others may not answer
        dist.destroy_process_group()
        raise
    dist.destroy_process_group()


def current_group() -> Group:
    """The processes that train here together."""
    there = dist.is_available() and dist.is_initialized()
    return Group(dist.get_rank(), dist.get_world_size()) if there else ALONE


def announce(key: str | None) -> str | None:
    """Give the key of the run to be trained, None for nothing to do, to all processes; return that of the first."""
    found = [key]
    with lost_process():
        waiting = dist.new_group(backend="gloo", timeout=PREPARATION)
        dist.broadcast_object_list(found, 0, waiting)
    return found[0]


def check_same_step(group: Group, step: int) -> None:
    """Raise RunFailed where the processes would start at different steps."""
    steps = group.gather(torch.tensor([step])).tolist()
    if len({*steps}) > 1:
        raise RunFailed(
            f"Processes found checkpoints of different steps ({', '.join(map(str, steps))}).\n"
            "All machines must see the same .cache/runs; put the project on a file system that they share."
        )


def add_up(group: Group, state: State, losses: Losses) -> Losses:
    """Sum gradients over the processes, and average statistics that each moves by itself; return the summed losses."""
    if group.world == 1:
        return losses
    gradients = [weight.grad for weight in state.student.parameters() if weight.grad is not None]
    statistics = own_statistics(state.student) + own_statistics(state.teacher.network)
    for values in statistics:
        values.div_(group.world)
    totals = torch.stack(list(losses.values()))
    for bucket in _buckets([*gradients, *statistics, totals]):
        summed = group.sum(torch.cat([values.flatten() for values in bucket]))
        for values, part in zip(bucket, summed.split([values.numel() for values in bucket]), strict=True):
            values.copy_(part.view(values.shape))
    return dict(zip(losses, totals, strict=True))


def _buckets(tensors: list[Tensor]) -> Iterator[list[Tensor]]:
    """The tensors in order, so many at a time that they have `BUCKET` bytes."""
    found, size = list[Tensor](), 0
    for tensor in tensors:
        found.append(tensor)
        size += tensor.nbytes
        if size >= BUCKET:
            yield found
            found, size = [], 0
    if found:
        yield found
