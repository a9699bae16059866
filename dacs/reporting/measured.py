"""What `dacs evaluate` wrote of the listed runs, by protocol: checkpoint, network, and size of the ground truth."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dacs.errors import RunFailed
from dacs.evaluation.counts import Counts, read_counts
from dacs.evaluation.intervals import Bootstrap
from dacs.files import read_json
from dacs.layout import EvaluationDir
from dacs.reporting.data import Run

NETWORKS = {  # network of a protocol → title
    "student": "student",
    "teacher": "teacher",
    "student_adabn": "student with AdaBN",
    "teacher_adabn": "teacher with AdaBN",
}
CHECKPOINTS = {"last": "last checkpoint", "chosen": "checkpoint chosen without labels"}
SIZES = {"full": "full size", "prepared": "the input size of the networks"}


class Protocol(NamedTuple):
    """How a score was measured."""

    checkpoint: str
    network: str
    size: str  # of the ground truth; empty where there is none

    @property
    def key(self) -> str:
        """Its name in counts.npz."""
        return "/".join(self)

    @property
    def title(self) -> str:
        """What it is called on the page."""
        return f"{NETWORKS[self.network]}, {CHECKPOINTS[self.checkpoint]}, ground truth at {SIZES[self.size]}"

    @property
    def authors(self) -> "Protocol":
        """The protocol of the authors of DACS: they count at the input size."""
        return self._replace(size="prepared")

    @property
    def shown(self) -> "tuple[Protocol, ...]":
        """The protocols that the page shows where this one is that of the main numbers; it comes first."""
        networks = [self._replace(network=name) for name in ("teacher", "student_adabn")]
        return tuple(dict.fromkeys([self, self.authors, *networks, self._replace(checkpoint="chosen")]))


class Evaluation(NamedTuple):
    """The evaluation of one run."""

    headline: Protocol  # that of the main numbers
    metrics: dict[str, Any]
    counts: Counts  # of the shown protocols

    @property
    def measured(self) -> bool:
        """Whether there was ground truth."""
        return bool(self.headline.size)

    @property
    def scores(self) -> dict[Protocol, dict[str, Any]]:
        """The means and `labels`, the size of the ground truth in pixels, by protocol; that of the main numbers first.

        Where nothing was measured: of student and teacher after the last step, without values.
        """
        main, labels = self.headline, {"labels": self.metrics["labels"]}
        roles = {main._replace(network=role): self.metrics[role] | labels for role in ("student", "teacher")}
        listed = {Protocol(*(row[name] for name in Protocol._fields)): row for row in self.metrics["protocols"]}
        about = (*Protocol._fields, "iou")
        return {
            protocol: {name: value for name, value in row.items() if name not in about}
            for protocol, row in (roles | listed).items()
        }


def read_evaluation(folder: EvaluationDir) -> Evaluation:
    """Read an evaluation. Raises RunFailed for one of an earlier version, which counted no frames."""
    metrics = read_json(folder.metrics)
    if "protocols" not in metrics or not folder.counts.exists():
        raise RunFailed(
            f"{folder.path}: made by an earlier version, which kept no counts of single images.\n"
            "Evaluate the run again: 'snakemake --cores all all' does, without training."
        )
    size = metrics["labels"].replace(",", " ").split()[0] if metrics["labels"] else ""
    main, counts = Protocol("last", "student", size), read_counts(folder.counts)
    cells = {each.key: counts.cells[each.key] for each in main.shown if each.key in counts.cells}
    return Evaluation(main, metrics, counts._replace(cells=cells))


def bootstrap(counts: Mapping[str, Sequence[np.ndarray]], classes: Sequence[int]) -> Bootstrap:
    """The bootstrap of mIoU over classes; an interval has no ends where a resample may have none of them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice")
        return Bootstrap(counts, classes)


class Resampled:
    """Bootstraps of the methods of each task, made when they are asked for, and once."""

    def __init__(self, evaluations: Mapping[Run, Evaluation]) -> None:
        """Raises RunFailed where runs of a task were not measured on the same frames."""
        self._counts: dict[str, dict[str, list[Counts]]] = {}  # by task and method, one of each seed
        for run, found in evaluations.items():
            of_task = self._counts.setdefault(run.task, {})
            other = next(iter(of_task.values()))[0] if of_task else found.counts
            if found.counts.frames != other.frames:
                raise RunFailed(
                    f"{run.folder.evaluation.path}: measured on other images than other runs of {run.task}.\n"
                    "Evaluate all of them again: 'snakemake --cores all all' does, without training."
                )
            of_task.setdefault(run.method, []).append(found.counts)
        self._made: dict[tuple[str, Protocol, tuple[int, ...]], Bootstrap] = {}

    def counts(self, task: str) -> dict[str, list[Counts]]:
        """The counts of a task by method, one of each seed."""
        return self._counts[task]

    def images(self, task: str) -> int:
        """The number of images of a task that were measured."""
        return len(self._first(task).frames)

    def pixels(self, task: str, protocol: Protocol) -> np.ndarray:
        """Pixels of each class in the ground truth of a task."""
        return self._first(task).matrix(protocol.key).sum(1)

    def of(self, task: str, protocol: Protocol, classes: Sequence[int]) -> Bootstrap:
        """The bootstrap of mIoU over the classes, as train ids."""
        key = task, protocol, tuple(classes)
        if key not in self._made:
            dense = {method: _Dense(found, protocol.key) for method, found in self._counts[task].items()}
            self._made[key] = bootstrap(dense, classes)
        return self._made[key]

    def _first(self, task: str) -> Counts:
        return next(iter(self._counts[task].values()))[0]


class _Dense(Sequence[np.ndarray]):
    """The matrices of all frames by seed; of many classes these are so large that only one is kept at a time."""

    def __init__(self, counts: Sequence[Counts], protocol: str) -> None:
        self._counts, self._protocol = counts, protocol

    def __len__(self) -> int:
        return len(self._counts)

    def __getitem__(self, index: Any) -> Any:
        return self._counts[index].by_frame(self._protocol)
