"""Names of the files of a run and of a prepared domain: the only place that knows them. Torch-free."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dacs.files import read_json


class Entry:
    """The path of a file or folder of this name, as an attribute of something that has a `path`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, folder: Any, kind: type) -> Path:
        return Path(folder.path / self.name)


@dataclass(frozen=True)
class EvaluationDir:
    """The files of an evaluation."""

    path: Path
    confusion = Entry("confusion.json")  # confusion matrices by network
    metrics = Entry("metrics.json")  # scores by network and by protocol, and which state was chosen
    counts = Entry("counts.npz")  # confusion counts of each frame by protocol
    checkpoints = Entry("checkpoints.csv")  # scores and label-free criteria of each state that was kept
    calibration = Entry("calibration.csv")  # accuracy of the pseudo-labels by their confidence
    confident = Entry("confident.csv")  # the classes of the confident pseudo-labels
    conflation = Entry("conflation.csv")  # which classes the students take for which others
    predictions = Entry("predictions")  # of a few images, as palette PNG of train ids


@dataclass(frozen=True)
class RunDir:
    """The files of one run: runs/<task>/<method>/seed<n>, or its entry in the run cache."""

    path: Path
    weights = Entry("weights.safetensors")  # of the student
    teacher = Entry("teacher.safetensors")
    start = Entry("start.safetensors")  # of the student of source-only, at the step after which adaptation starts
    snapshots = Entry("snapshots")  # weights of student and teacher at earlier steps
    log = Entry("log.csv")  # losses by step
    mixing = Entry("mixing")  # mixed examples of the steps that were kept, as PNG files
    checkpoint = Entry("checkpoint.pt")  # the resumable state, while the run is not finished
    spec = Entry("settings.json")  # what it was made with, and digests of the weights; written last, the marker

    @classmethod
    def of(cls, runs: Path, task: str, method: str, seed: int) -> "RunDir":
        """The folder of a run below `runs`."""
        return cls(runs / task / method / f"seed{seed}")

    def snapshot(self, step: int, network: str) -> Path:
        """The weights of the student or the teacher after a step."""
        return self.snapshots / f"step{step:06d}-{network}.safetensors"

    def mixed(self, step: int) -> Path:
        """The folder of the mixed example of a step."""
        return self.mixing / f"step{step:06d}"

    @property
    def kept_steps(self) -> list[int]:
        """The steps of which there are snapshots."""
        return sorted(int(path.name[4:10]) for path in self.snapshots.glob("step*-student.safetensors"))

    @property
    def appearance(self) -> Path:
        """The distance of the images of both domains, of all runs of its task."""
        return self.path.parents[1] / "appearance.json"

    @property
    def evaluation(self) -> EvaluationDir:
        """Its evaluation."""
        return EvaluationDir(self.path / "evaluation")


@dataclass(frozen=True)
class PreparedSplit:
    """The files of one split as networks see it: data/ready/<domain>/<split>."""

    path: Path
    index = Entry("index.csv")  # the columns image, label and full of each frame: paths relative to it
    stats = Entry("stats.json")  # number and size of frames, statistics of colours and classes, a digest of all frames
    class_counts = Entry("class_counts.csv")  # pixels of each class in each labelled frame, in the order of the index


SHARDS = ".shards"  # folder below a prepared domain: what the jobs that share its frames have noted


@dataclass(frozen=True)
class PreparedDomain:
    """The splits of one domain as networks see them: data/ready/<domain>."""

    path: Path
    data_report = Entry("data_report.json")  # what the raw data hold, compared with what is published; written last

    def split(self, name: str) -> PreparedSplit:
        """One of its splits."""
        return PreparedSplit(self.path / name)

    @property
    def train(self) -> PreparedSplit:
        """The training images; without labels where the domain is a target."""
        return self.split("train")

    @property
    def labelled(self) -> PreparedSplit:
        """The training images with their labels. Raises RunFailed where nothing is prepared."""
        return self.split(read_json(self.data_report)["labelled_split"])

    @property
    def measured(self) -> PreparedSplit:
        """The split that is evaluated on: val, or the training images where there is none, then without scores."""
        return self.split(read_json(self.data_report)["measured_split"])
