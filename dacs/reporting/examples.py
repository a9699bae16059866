"""Which images of the target are shown with their predictions, and their places among all that were measured."""

from collections.abc import Collection
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dacs.evaluation import confusion
from dacs.evaluation.confusion import mean_iou
from dacs.labels import IGNORE
from dacs.layout import PreparedDomain
from dacs.reporting.data import ReportData, Run, pixels, read_table
from dacs.reporting.measured import read_evaluation
from dacs.reporting.names import target_of, task_title


class Example(NamedTuple):
    """An image of the target, its ground truth, and the predictions of the students of some runs, as train ids."""

    name: str
    image: np.ndarray
    label: np.ndarray  # all of it ignored where the image is unlabelled
    predictions: dict[Run, np.ndarray]


class Ranking:
    """The images of a task by mIoU, by the protocol of the main numbers; without ground truth they have no order."""

    def __init__(self, data: ReportData, task: str) -> None:
        self.data, self.task, self.runs = data, task, data.examples(task)
        self.title, self.judge = task_title(task), min(self.runs, key=lambda run: run.method != data.main)

    @cached_property
    def _miou(self) -> dict[Run, dict[str, float]]:
        """mIoU of each measured image by run and name."""
        return {run: _frame_miou(run) for run in self.runs}

    def score(self, name: str) -> float:
        """The mIoU of an image by the main method, or else the first."""
        return float(np.nan_to_num(self._miou[self.judge].get(name, 0)))

    def extremes(self, run: Run) -> list[str]:
        """The names of the images of the lowest and the highest mIoU of a run, the first of equal ones."""
        names, values = [*self._miou[run]], [*self._miou[run].values()]
        return [names[place] for place in confusion.extremes(values)]

    def heading(self, example: Example) -> str:
        """The name of an image, its place among all that were measured, and of whom it is the worst or the best."""
        title, every = f"{self.title}, {example.name}", self._miou[self.judge]
        if len(every) < 2 or example.name not in every:
            return title
        place = 1 + sum(other > every[example.name] for other in every.values())
        text = f"{title}: number {place} of {len(every)} images by mIoU of {self.judge.title}"
        for number, word in enumerate(("worst", "best")):
            runs = [run.title for run in self.runs if run != self.judge and self.extremes(run)[number] == example.name]
            text += f"; {word} of {', '.join(runs)}" if runs else ""
        return text


def examples(ranking: Ranking) -> list[Example]:
    """Images of the measured split whose predictions all the runs have kept, by the mIoU of the main method.

    Of more than `data.frames` the worst, the best, and others evenly between; of an unlabelled target by name.
    """
    kept = set.intersection(*(_kept(run) for run in ranking.runs))
    ranked = sorted(sorted(kept), key=ranking.score)
    places = np.linspace(0, len(ranked) - 1, min(ranking.data.frames, len(ranked))).round().astype(int)
    return _read(ranking, [ranked[place] for place in places])


def extremes(ranking: Ranking, shown: Collection[str]) -> list[Example]:
    """The worst and the best image of each run among all that were measured, but those that are shown already.

    Each has the predictions of the runs that have kept it.
    """
    names = dict.fromkeys(name for run in ranking.runs for name in ranking.extremes(run) if name in _kept(run))
    return _read(ranking, [name for name in names if name not in shown])


def _read(ranking: Ranking, names: Collection[str]) -> list[Example]:
    split = PreparedDomain(ranking.data.prepared / target_of(ranking.task)).measured
    index = {Path(row["image"]).stem: row for row in read_table(split.index).to_dict("records")}
    found = []
    for name in (name for name in names if name in index):
        image, label = pixels(split.path / index[name]["image"]), index[name].get("label")
        ids = pixels(split.path / label) if label else np.full(image.shape[:2], IGNORE, np.uint8)
        predictions = {run: pixels(_prediction(run, name)) for run in ranking.runs if _prediction(run, name).exists()}
        found.append(Example(name, image, ids, predictions))
    return found


def _kept(run: Run) -> set[str]:
    """The names of the images whose predictions a run has kept."""
    return {path.stem for path in run.folder.evaluation.predictions.glob("[!.]*.png")}


def _prediction(run: Run, name: str) -> Path:
    return run.folder.evaluation.predictions / f"{name}.png"


def _frame_miou(run: Run) -> dict[str, float]:
    """mIoU of each measured image by its name; empty without ground truth."""
    found = read_evaluation(run.folder.evaluation)
    if not found.measured:
        return {}
    return dict(zip(found.counts.frames, map(mean_iou, found.counts.by_frame(found.headline.key)), strict=True))
