"""The training loop: Algorithm 1 of Tranheden et al. (2021), for every method of the table."""

from collections.abc import Iterator
from itertools import islice

import torch
from safetensors.torch import load_file

from dacs.adaptation.sampling import seed_of
from dacs.adaptation.teacher import Teacher
from dacs.errors import Interrupted
from dacs.files import write_text
from dacs.group import ALONE, Group
from dacs.layout import RunDir
from dacs.loading.split import Split
from dacs.models.build import build, load_pretrained
from dacs.models.device import Forward, describe, device_for, memory_errors, set_numerics
from dacs.models.published import NONE
from dacs.models.statistics import re_estimate
from dacs.models.whole_batch import see_whole_batch
from dacs.training import checkpoint
from dacs.training.batches import step_batches
from dacs.training.checkpoint import State, write_weights
from dacs.training.distributed import add_up, check_same_step, current_group
from dacs.training.log import as_csv, by_name, check_finite, next_row
from dacs.training.objectives import Losses, Networks, StepBatch, terms_of
from dacs.training.progress import Progress, stop_signals
from dacs.training.run import Run, snapshot_steps
from dacs.training.schedule import optimizer_for, set_rate

MEMORY_ADVICE = (
    "In params.yaml set loop.precision: bf16, half of loop.batch with twice loop.accumulate, or a smaller crop."
)


def train_run(folder: RunDir, run: Run, key: str) -> str:
    """Train `run` in `folder`, from its checkpoint if there is one; return the name of the device.

    Leaves the weights of student and teacher and pictures of the terms, both also of some earlier steps, and log.csv.
    Raises Interrupted on SIGINT or SIGTERM after saving a checkpoint, RunFailed when a loss is not finite.
    """
    loop, steps, group = run.settings.loop, run.settings.schedule.steps, current_group()
    device = device_for(loop.device)
    set_numerics(threads=loop.threads, deterministic=loop.deterministic, precision=loop.precision)
    if group.is_first:
        checkpoint.remove_damaged(folder.checkpoint)
    group.any(False)  # the other processes look for a checkpoint only then
    with memory_errors("the networks", MEMORY_ADVICE):
        state = initial_state(run, device, resumed=folder.checkpoint.exists(), group=group)
    checkpoint.resume(state, folder.checkpoint, key, steps)
    check_same_step(group, state.step)
    networks, batches = networks_of(state, run), step_batches(run, state.step, device, group)
    adapt = run.settings.adapt
    moves_before = adapt is not None and adapt.ema_update == "before"
    with stop_signals() as stopped, Progress(state.step, run, shown=group.is_first) as progress:
        while state.step < steps:
            # Dropout and stochastic depth draw from torch's own generator.
            torch.manual_seed(seed_of(run.seed, "dropout", state.step))
            set_rate(state.optimizer, state.step, run.settings)
            if moves_before:
                state.teacher.update(state.student, state.step)
            state.optimizer.zero_grad(set_to_none=not (loop.graphs and device.type == "cuda"))
            losses = add_up(group, state, backward(state, networks, batches, loop.accumulate))
            state.optimizer.step()
            if not moves_before:
                state.teacher.update(state.student, state.step)
            state.step += 1
            last = state.step == steps
            if group.is_first:
                state.pending.append(losses)
                save_earlier_state(state, folder, run)
                row = None
                if last or state.step % loop.log_every == 0:
                    row = next_row(state, folder.checkpoint)
                    state.rows.append(row)
                    write_text(folder.log, as_csv(state.rows))
                progress.show(state.step, row)
            interrupted = group.any(stopped()) and not last
            if group.is_first and (interrupted or (state.step % loop.checkpoint_every == 0 and not last)):
                check_finite(state, folder.checkpoint)
                checkpoint.save(state, folder.checkpoint, key)
            if interrupted:
                raise Interrupted(
                    f"stopped at step {state.step} of {steps}; {folder.checkpoint} keeps it.\n"
                    "Run the same command again to resume from there."
                )
    if group.is_first:
        save_results(state, folder)
    return describe(device)


def initial_state(run: Run, device: torch.device, *, resumed: bool = False, group: Group = ALONE) -> State:
    """The state before the first step: initial weights, and a teacher equal to the student.

    What a checkpoint replaces anyway is not estimated for a `resumed` run. Each process of a group has all of it.
    """
    settings, adapt, model = run.settings, run.settings.adapt, run.settings.model
    student = build(model, seed_of(run.seed, "weights"), classes=len(settings.label_set.classes))
    if run.init is not None:
        student.load_state_dict(load_file(run.init.start))
    elif model.weights != NONE:
        load_pretrained(student, model)
    student.frozen_statistics = settings.schedule.bn_statistics != "live"
    student.to(device)
    if adapt and adapt.bn_statistics == "target" and not resumed:
        re_estimate(student.eval(), Split(run.target).spread_images(adapt.bn_frames))
    student.train()
    tracked = adapt is not None and adapt.bn_statistics == "target"
    see_whole_batch(student, group, statistics=settings.loop.sync_bn or tracked)
    if settings.loop.channels_last:
        student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    # A teacher that keeps nothing of itself is the student before this step: the paper's reading.
    ema = 0.0 if adapt and adapt.pseudo_labels == "student" else settings.schedule.ema
    teacher = Teacher(student, ema=ema, batch_norm=adapt.teacher_bn if adapt else "running")
    return State(student, teacher, optimizer_for(student, settings), terms_of(run.row, settings, student))


def networks_of(state: State, run: Run) -> Networks:
    """The forward passes of student and teacher; compiled ones share the weights of the state."""
    loop, both = run.settings.loop, (state.student, state.teacher.network)
    student, teacher = (Forward(network, loop.precision, compiled=loop.compile, graphs=loop.graphs) for network in both)
    return Networks(student, teacher)


def backward(state: State, networks: Networks, batches: Iterator[StepBatch], accumulate: int) -> Losses:
    """Add the gradients of every term over the batches of one step; return the sums of the losses by name."""
    with memory_errors(f"step {state.step + 1}", MEMORY_ADVICE):
        parts = [
            {name: loss for term in state.terms for name, loss in term(networks, batch).items()}
            for batch in islice(batches, accumulate)
        ]
    return {name: values.sum() for name, values in by_name(parts).items()}


def save_earlier_state(state: State, folder: RunDir, run: Run) -> None:
    """Write the weights and pictures that are kept of the step just done, if any are."""
    if state.step == run.settings.start:
        write_weights(folder.start, state.student)
    if state.step in snapshot_steps(run.settings.schedule.steps, run.settings.loop.snapshots):
        check_finite(state, folder.checkpoint)
        write_weights(folder.snapshot(state.step, "student"), state.student)
        write_weights(folder.snapshot(state.step, "teacher"), state.teacher.network)
        save_pictures(state, folder)


def save_results(state: State, folder: RunDir) -> None:
    """Write the weights of student and teacher, and the pictures of the terms."""
    save_pictures(state, folder)
    for network, path in ((state.student, folder.weights), (state.teacher.network, folder.teacher)):
        write_weights(path, network)


def save_pictures(state: State, folder: RunDir) -> None:
    """Write the pictures of the terms at this step."""
    for term in state.terms:
        term.save_pictures(folder.mixed(state.step))
