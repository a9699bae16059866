"""The training loop: Algorithm 1 of Tranheden et al. (2021), for every method of the table."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import nn

from dacs.adaptation.sampling import seed_of
from dacs.adaptation.teacher import Teacher
from dacs.errors import Interrupted
from dacs.files import write_bytes, write_text
from dacs.layout import RunDir
from dacs.loading.split import Split
from dacs.models.build import build, load_pretrained
from dacs.models.device import Forward, describe, device_for, memory_errors, set_numerics
from dacs.models.published import NONE
from dacs.models.statistics import re_estimate
from dacs.training import checkpoint
from dacs.training.batches import step_batches
from dacs.training.checkpoint import State
from dacs.training.log import as_csv, by_name, check_finite, next_row
from dacs.training.monitor import Monitor
from dacs.training.objectives import Losses, Networks, StepBatch, terms_of
from dacs.training.progress import Progress, stop_signals
from dacs.training.run import Run
from dacs.training.schedule import optimizer_for, set_rate

ESTIMATED = 200  # unlabelled target images that the first statistics of `bn_statistics: target` are estimated on
MEMORY_ADVICE = (
    "In params.yaml set loop.precision: bf16, half of loop.batch with twice loop.accumulate, or a smaller crop."
)


def train_run(folder: RunDir, run: Run, key: str) -> str:
    """Train `run` in `folder`, from its checkpoint if there is one; return the name of the device.

    Leaves the weights of student and teacher, log.csv, and the example pictures of the terms. Raises Interrupted on
    SIGINT or SIGTERM after saving a checkpoint, RunFailed when a loss is not finite.
    """
    loop, steps = run.settings.loop, run.settings.schedule.steps
    device = device_for(loop.device)
    set_numerics(threads=loop.threads, deterministic=loop.deterministic, precision=loop.precision)
    state = initial_state(run, device)
    checkpoint.resume(state, folder.checkpoint, key)
    networks, batches = networks_of(state, run), step_batches(run, state.step, device)
    monitor = Monitor(run)
    with stop_signals() as stopped, Progress(state.step, run) as progress:
        while state.step < steps:
            set_rate(state.optimizer, state.step, run.settings)
            state.optimizer.zero_grad()
            state.pending.append(backward(state, networks, batches, loop.accumulate))
            state.optimizer.step()
            state.teacher.update(state.student, state.step)
            state.step += 1
            if state.step == run.settings.start:
                write_weights(folder.start, state.student)

            last = state.step == steps
            if last or state.step % loop.log_every == 0:
                row = next_row(state, folder.checkpoint)
                if last or state.step % loop.monitor_every == 0:
                    row |= monitor.measure(state.teacher.network, device)
                state.rows.append(row)
                progress.show(row)
            interrupted = stopped() and not last
            if interrupted or (state.step % loop.checkpoint_every == 0 and not last):
                check_finite(state, folder.checkpoint)
                checkpoint.save(state, folder.checkpoint, key)
            if interrupted:
                raise Interrupted(
                    f"stopped at step {state.step} of {steps}; {folder.checkpoint} keeps it.\n"
                    "Run the same command again to resume from there."
                )
    save_results(state, folder)
    return describe(device)


def initial_state(run: Run, device: torch.device) -> State:
    """The state before the first step: initial weights, and a teacher equal to the student."""
    settings, adapt, model = run.settings, run.settings.adapt, run.settings.model
    student = build(model, seed_of(run.seed, "weights"))
    if run.init is not None:
        student.load_state_dict(load_file(run.init.start))
    elif model.weights != NONE:
        load_pretrained(student, model)
    student.frozen_statistics = settings.schedule.bn_statistics != "live"
    student.to(device)
    if adapt and adapt.bn_statistics == "target":
        re_estimate(student, Split(run.target.train).spread_images(ESTIMATED))
    student.train()
    if settings.loop.channels_last:
        student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    # A teacher that keeps nothing of itself is the student before this step: the paper's reading.
    ema = 0.0 if adapt and adapt.pseudo_labels == "student" else settings.schedule.ema
    teacher = Teacher(student, ema=ema, batch_norm=adapt.teacher_bn if adapt else "running")
    return State(student, teacher, optimizer_for(student, settings), terms_of(run.row, settings, student))


def networks_of(state: State, run: Run) -> Networks:
    """The forward passes of student and teacher; compiled ones share the weights of the state."""
    loop, both = run.settings.loop, (state.student, state.teacher.network)
    return Networks(*(Forward(network, loop.precision, compiled=loop.compile) for network in both))


def backward(state: State, networks: Networks, batches: Iterator[StepBatch], accumulate: int) -> Losses:
    """Add the gradients of every term over the batches of one step; return the sums of the losses by name."""
    with memory_errors(f"step {state.step + 1}", MEMORY_ADVICE):
        parts = [
            {name: loss for term in state.terms for name, loss in term(networks, batch).items()}
            for batch in islice(batches, accumulate)
        ]
    return {name: values.sum() for name, values in by_name(parts).items()}


def save_results(state: State, folder: RunDir) -> None:
    """Write log.csv, the weights of student and teacher, and the pictures of the terms."""
    for term in state.terms:
        term.save_pictures(folder.mixing)
    write_text(folder.log, as_csv(state.rows))
    for network, path in ((state.student, folder.weights), (state.teacher.network, folder.teacher)):
        write_weights(path, network)


def write_weights(path: Path, network: nn.Module) -> None:
    """Write the tensors of a network as a safetensors file."""
    write_bytes(path, to_bytes({name: value.cpu().contiguous() for name, value in network.state_dict().items()}))
