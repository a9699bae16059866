"""The batches of a run: crops of labelled and unlabelled images, as functions of the seed and the step."""

from collections.abc import Iterator
from pkgutil import resolve_name

import torch

from dacs.adaptation.sampling import seed_of
from dacs.group import ALONE, Group
from dacs.layout import PreparedSplit
from dacs.loading.split import Split
from dacs.loading.stream import Batch, Crops, batches
from dacs.methods import SHUFFLED
from dacs.training.objectives import StepBatch
from dacs.training.run import Run, snapshot_steps


def step_batches(run: Run, first_step: int, device: torch.device, group: Group = ALONE) -> Iterator[StepBatch]:
    """All batches from step `first_step` on, each with the generator of its number; each process gets its part."""
    accumulate = run.settings.loop.accumulate
    steps = run.settings.schedule.steps
    first, total = first_step * accumulate, steps * accumulate
    last = {step * accumulate - 1 for step in (*snapshot_steps(steps, run.settings.loop.snapshots), steps)}
    sources = _crops("source", run.source, run, first, run.row.order, group)
    targets = _crops("target", run.target, run, first, SHUFFLED, group) if run.row.adapts else None
    for number in range(first, total):
        source = _to_device(next(sources), device)
        target = None if targets is None else _to_device(next(targets), device).images
        generator = torch.Generator().manual_seed(seed_of(run.seed, "mix", number))
        share = 1 / (accumulate * group.world)
        yield StepBatch(source, target, generator, share=share, pictures=number in last, group=group)


def _crops(role: str, prepared: PreparedSplit, run: Run, first: int, order: str, group: Group) -> Iterator[Batch]:
    """Crops of a split without end; the same wherever its folder is."""
    loop, split, seed = run.settings.loop, Split(prepared), seed_of(run.seed, role)
    largest = loop.largest_class if split.labelled else 1
    order_of = resolve_name(order)(split, seed, run.settings)
    held = loop.batch // group.world, loop.crop, loop.flip, largest, group.rank, group.world
    crops = Crops(split, order_of, seed, *held)
    return batches(crops, first, loop.workers)


def _to_device(batch: Batch, device: torch.device) -> Batch:
    images, labels = batch
    return Batch(images.to(device, non_blocking=True), None if labels is None else labels.to(device, non_blocking=True))
