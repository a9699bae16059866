"""What an evaluation leaves: counts, scores by protocol, and tables of the states of a run."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dacs.evaluation.calibration import PseudoLabels
from dacs.evaluation.confusion import confusions, score_name, scores, without_pixels
from dacs.evaluation.counts import write_counts
from dacs.evaluation.protocols import Counts, FrameCounts
from dacs.evaluation.selection import Choice, Criteria
from dacs.files import write_json, write_text
from dacs.labels import LabelSet
from dacs.layout import EvaluationDir
from dacs.loading.split import Split
from dacs.settings import EvaluateJob

NETWORKS = "student", "teacher"
CONFLATION = "step", "class", "taken_for", "percent"


class State(NamedTuple):
    """What was measured of a state of a run."""

    counts: Counts
    criteria: Criteria
    pseudo: PseudoLabels


class Scoring(NamedTuple):
    """How counts become scores."""

    labels: LabelSet
    job: EvaluateJob

    def matrix(self, counts: Counts, network: str) -> np.ndarray:
        """The confusion matrix of a network at the headline size; zeros where nothing was measured."""
        found, classes = counts.get((network, self.job.labels)), len(self.labels.classes)
        return np.zeros((classes, classes), np.int64) if found is None else found.matrix

    def scores(self, matrix: np.ndarray) -> dict[str, Any]:
        """The scores of a confusion matrix."""
        return scores(matrix, self.labels, self.job.absent)

    def miou(self, counts: Counts, network: str) -> float | None:
        """mIoU of a network over all classes at the headline size, in percent."""
        whole = next(iter(self.labels.measured(self.job.absent)))
        return self.scores(self.matrix(counts, network))[score_name(whole)]

    def confusions(self, counts: Counts) -> Iterator[tuple[str, str, float]]:
        """What the student takes classes for at the headline size."""
        return confusions(self.matrix(counts, "student"), self.labels)


def write(
    out: EvaluationDir,
    data: Split,
    scoring: Scoring,
    states: Mapping[int, State],
    checkpoints: Mapping[str, int],
    choice: Choice | None,
) -> None:
    """Write all but the predictions. `states`: by step; `checkpoints`: the steps of those that protocols name."""
    by_name = {name: states[step].counts for name, step in checkpoints.items()}
    protocols = {(name, *key): found for name, counts in by_name.items() for key, found in counts.items()}
    cells = {"/".join(protocol): found.cells for protocol, found in protocols.items()}
    write_counts(out.counts, data.names if protocols else [], len(scoring.labels.classes), cells)
    last = by_name["last"]
    matrices = {network: scoring.matrix(last, network) for network in NETWORKS}
    listed = {network: matrix.tolist() for network, matrix in matrices.items()}
    write_json(out.confusion, {"classes": list(scoring.labels.names), **listed})
    metrics = {
        **{network: scoring.scores(matrix) for network, matrix in matrices.items()},
        **_headline(data, scoring.job.labels, last),
        "absent": list(scoring.job.absent),
        "without_pixels": without_pixels(matrices["student"], scoring.labels, scoring.job.absent),
        "protocols": [_row(protocol, found, scoring) for protocol, found in protocols.items()],
        "choice": choice and choice._asdict(),
    }
    write_json(out.metrics, metrics)
    conflated = [(step, *row) for step, state in states.items() for row in scoring.confusions(state.counts)]
    _write_rows(out.conflation, [dict(zip(CONFLATION, row, strict=True)) for row in conflated], CONFLATION)
    _write_rows(
        out.checkpoints,
        [
            {"step": step}
            | {network: scoring.miou(state.counts, network) for network in NETWORKS}
            | {**state.criteria._asdict(), **state.pseudo.summary()}
            for step, state in states.items()
        ],
    )
    for path, rows in ((out.calibration, PseudoLabels.reliability), (out.confident, PseudoLabels.by_class)):
        _write_rows(path, [{"step": step, **row} for step, state in states.items() for row in rows(state.pseudo)])


def _row(protocol: tuple[str, ...], found: FrameCounts, scoring: Scoring) -> dict[str, Any]:
    """The scores by one protocol, without those of single classes."""
    names = dict(zip(("checkpoint", "network", "size"), protocol, strict=True))
    means = {name: value for name, value in scoring.scores(found.matrix).items() if name != "iou"}
    return {**names, "labels": _described(protocol[-1], found), **means}


def _headline(data: Split, size: str, last: Counts) -> dict[str, Any]:
    """The size of the labels of the headline; or why there is none."""
    if data.labelled:
        return {"labels": _described(size, last["student", size])}
    domain, split = data.prepared.path.absolute().parts[-2:]
    return {"labels": None, "unmeasured": f"The {split} frames of {domain} have no labels, so nothing was measured."}


def _described(size: str, found: FrameCounts) -> str:
    """A size of labels, with its height x width."""
    if len(found.shapes) > 1:
        return f"{size}, {len(found.shapes)} sizes"
    return f"{size} {'x'.join(map(str, *found.shapes))}"


def _write_rows(path: Path, rows: list[dict[str, Any]], columns: Sequence[str] = ()) -> None:
    """Write a table; a cell is empty where a value is None. `columns` must be given where there may be no rows."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns or list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
