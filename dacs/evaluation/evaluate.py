"""The networks of a run on the target: counts and scores by protocol, pseudo-labels, and the choice of a checkpoint."""

import copy
import shutil
import sys
from collections.abc import Collection
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from dacs.errors import BadRequest, RunFailed
from dacs.evaluation.calibration import PseudoLabels
from dacs.evaluation.confusion import extremes
from dacs.evaluation.likeliest import top
from dacs.evaluation.passes import batches, forward
from dacs.evaluation.protocols import Counts, Measured, OfFrame, See, recalibrated
from dacs.evaluation.record import NETWORKS, Scoring, State, write
from dacs.evaluation.selection import choice, criteria_of
from dacs.evaluation.spec import Schedule, labels_of, model_of, schedule_of
from dacs.files import write_bytes
from dacs.labels import LabelSet
from dacs.layout import EvaluationDir, PreparedSplit, RunDir
from dacs.loading.classes import check_classes
from dacs.loading.split import Split
from dacs.models.build import build
from dacs.models.device import device_for
from dacs.models.segmenter import Segmenter
from dacs.models.statistics import batch_statistics
from dacs.prepare.pixels import png_of_label
from dacs.settings import EvaluateJob, Model


def evaluate_run(
    run: RunDir, measured: PreparedSplit, train: PreparedSplit, out: EvaluationDir, job: EvaluateJob
) -> None:
    """Measure the networks of a run by every protocol on a prepared split, and each state of it that was kept.

    `train`: the training images of the target, for what needs no labels: criteria and AdaBN. The criterion
    `job.choose_by` chooses a state. Of this and of the last one, student and teacher are measured with their own
    BatchNorm statistics and with those of `train`, at every size that there are labels of. The headline is the last
    student at the size `job.labels`. A prediction of a class in `job.merged` is taken for the other class there.

    Writes counts.npz (by protocol and frame), confusion.json ([ground truth][prediction] of the headline),
    metrics.json (percent, and what was measured; `without_pixels`: classes that could be in the frames, but are not, so
    that they are in no mean), checkpoints.csv, calibration.csv, confident.csv and conflation.csv (by state), and the
    student's predictions of `job.frames` evenly spread frames, and of those with the lowest and the highest mIoU.
    Without labels scores are None; `unmeasured` says so.
    """
    data, labels = Split(measured), labels_of(run)
    _check_settings(run, labels, job)
    if data.labelled:
        check_classes(measured, labels)
        if job.labels == "full":
            data.full(0)  # raises RunFailed where there is none
    frames = Measured(data, labels, job.merged or {}, device_for(job.device))
    evaluation, scoring = Evaluation(run, schedule_of(run), frames, Split(train), labels, job), Scoring(labels, job)
    states = {step: evaluation.measure(step) for step in evaluation.steps}
    chosen, checkpoints = None, {"last": evaluation.steps[-1]}
    if len(states) > 1:
        criteria = {step: state.criteria for step, state in states.items()}
        students = {step: scoring.miou(state.counts, "student") for step, state in states.items()}
        chosen = choice(criteria, students, job.choose_by)
        checkpoints["chosen"] = chosen.chosen
    for step in {*checkpoints.values()} if data.labelled else ():
        states[step].counts.update(evaluation.recalibrate(step, states[step].counts))
    last = states[checkpoints["last"]].counts.get(("student", job.labels))
    pictures = evaluation.pictures(extremes(last.miou) if last else [])
    write(out, data, scoring, states, checkpoints, chosen)
    shutil.rmtree(out.predictions, ignore_errors=True)  # of an earlier evaluation of more frames
    for name, picture in pictures.items():
        write_bytes(out.predictions / f"{name}.png", picture)


@dataclass(frozen=True)
class Evaluation:
    """A run, and the frames that its networks are measured on."""

    run: RunDir
    schedule: Schedule
    frames: Measured
    unlabelled: Split
    labels: LabelSet
    job: EvaluateJob

    @property
    def steps(self) -> list[int]:
        """The steps of its states; the last is that of its results."""
        return [*self.run.kept_steps, self.schedule.steps]

    def network(self, step: int, name: str) -> Segmenter:
        """The student or the teacher after a step."""
        results = {"student": self.run.weights, "teacher": self.run.teacher}
        weights = results[name] if step == self.steps[-1] else self.run.snapshot(step, name)
        return load(weights, self.run).to(self.frames.device)

    def measure(self, step: int) -> State:
        """Measure student and teacher after a step."""
        number = self.steps.index(step) + 1
        print(f"state {number} of {len(self.steps)}: step {step}", file=sys.stderr, flush=True)
        student, teacher = (self.network(step, name) for name in NETWORKS)
        numbers = self.unlabelled.spread(self.job.criteria_frames)
        images = batches(self.unlabelled, numbers, self.job.batch, self.frames.device)
        criteria = criteria_of(partial(forward, student), partial(forward, teacher), (each for _, each in images))
        pseudo, counts = PseudoLabels(self.labels, self.schedule.threshold), Counts()

        def see(name: str, number: int, logits: OfFrame) -> None:
            if name == "teacher":
                (confidence,), (given,) = top(logits[None].softmax(1))
                truth = self.frames.data.label(number)
                pseudo.add(self.frames.counted(given), confidence, None if truth is None else truth.to(given.device))

        as_measured = self.frames.data.labelled and self.schedule.batch is None
        if self.frames.data.labelled:
            networks = {"student": student, "teacher": teacher}
            counts = self.frames.count(networks, self.job.batch, see if as_measured else None)
        if not as_measured:
            self._show_teacher(teacher, see)
        return State(counts, criteria, pseudo)

    def _show_teacher(self, teacher: Segmenter, see: See) -> None:
        """Show the logits of the teacher of the run as in training, where they are not those that are counted.

        With `adapt.teacher_bn: batch` it normalised each batch of the run by itself. Without ground truth only as many
        frames are shown as the criteria have.
        """
        data, batch = self.frames.data, self.schedule.batch
        numbers = range(len(data)) if data.labelled else data.spread(self.job.criteria_frames)
        teacher = copy.deepcopy(teacher)  # each batch moves the running statistics
        with batch_statistics(teacher) if batch else nullcontext():
            for some, images in batches(data, numbers, batch or self.job.batch, self.frames.device):
                for number, logits in zip(some, forward(teacher, images), strict=True):
                    see("teacher", number, logits)

    def recalibrate(self, step: int, plain: Counts) -> Counts:
        """Measure both networks with BatchNorm statistics of the training images; `plain`: with their own."""
        images = self.unlabelled.spread_images(self.job.adabn_frames)
        found = {name: recalibrated(self.network(step, name), images) for name in NETWORKS}
        others = {name: network for name, network in found.items() if network}
        counts = plain | (self.frames.count(others, self.job.batch) if others else {})
        return {(f"{name}_adabn", size): counts[name, size] for name in NETWORKS for size in self.frames.sizes}

    def pictures(self, others: Collection[int]) -> dict[str, bytes]:
        """The predictions of the last student of evenly spread frames and others, by the name of the frame."""
        data, student, pictures = self.frames.data, self.network(self.steps[-1], "student"), {}
        numbers = sorted({*data.spread(self.job.frames), *others})
        for some, images in batches(data, numbers, self.job.batch, self.frames.device):
            for number, logits in zip(some, forward(student, images), strict=True):
                ids = self.frames.predicted(student, logits, data.size).cpu().numpy()
                pictures[data.names[number]] = png_of_label(ids, self.labels)
        return pictures


def load(weights: Path, run: RunDir | None = None) -> Segmenter:
    """A network of a finished run, in evaluation mode; its shape is given by the settings of the run.

    `run`: that of the weights, unless they lie in its folder.
    """
    run = run or RunDir(weights.parent)
    model = model_of(run)
    network = copy.deepcopy(_built(model, len(labels_of(run).classes)))
    try:
        network.load_state_dict(load_file(weights))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise RunFailed(
            f"{weights}: not weights of {model.network} ({error}).\nDelete {run.path} and make the run again."
        ) from error
    return network.eval()


@cache
def _built(model: Model, classes: int) -> Segmenter:
    """A network with random weights, which take longer to draw than to copy."""
    return build(model, classes=classes)


def _check_settings(run: RunDir, labels: LabelSet, job: EvaluateJob) -> None:
    """Raise BadRequest where the settings name classes that the run does not have."""
    merged = job.merged or {}
    if unknown := {*job.absent, *merged, *merged.values()} - {*labels.names}:
        raise BadRequest(
            f"{run.path}: has no class '{min(unknown)}', which the settings of its evaluation name.\n"
            "Give settings that were made with the labels of the run; `snakemake` makes both."
        )
