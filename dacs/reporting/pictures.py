"""Images of the report: mixed examples, predictions beside the ground truth, and confusions of two classes."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dacs.evaluation.confusion import count, iou, predicted_as, scores
from dacs.files import read_json
from dacs.labels import IGNORE, LabelSet
from dacs.layout import PreparedDomain
from dacs.methods import method
from dacs.reporting.data import ReportData, Run, pixels, read_table
from dacs.reporting.groups import listed
from dacs.reporting.measured import read_evaluation
from dacs.reporting.names import target_of, task_title
from dacs.reporting.style import Tile, Tiles

CORRECT, WRONG, REVERSE = (64, 132, 214), (224, 82, 6), (240, 200, 40)  # colours over a gray image
ERROR, IGNORED = (214, 20, 30), (24, 24, 24)
GRAYS = 8  # between two grays of an image: few colours take little space
MIXING = {  # file of a mixed example → caption
    "source": "source image",
    "source_label": "ground truth of the source image",
    "mask": "mask",
    "target": "target image",
    "pseudo": "pseudo-label of the target image",
    "mixed": "mixed image",
    "label": "mixed label",
    "augmented": "input of the student",
}
AUGMENTED = "Colours and sharpness are changed at random; the label remains the mixed label."


class Example(NamedTuple):
    """An image of the target, its ground truth, and the predictions of the students of some runs, as train ids."""

    name: str
    image: np.ndarray
    label: np.ndarray  # all of it ignored where the image is unlabelled
    predictions: dict[Run, np.ndarray]


# --------------------------------------------------------------------------------------------------------------------
# Mixing


def mixing(data: ReportData) -> Iterator[Tiles]:
    """Mixed examples of the main method step by step, and the results of the other methods that mix."""
    for task in data.tasks:
        for run in sorted(data.examples(task), key=lambda run: run.method != data.main):
            foreground, heading = method(run.method).foreground, f"{task_title(task)}: {run.title}"
            if foreground != "nothing":
                for step, folder in _mixed_examples(run):
                    name, facts = (f"{run.method}-step{step}", {"step": step}) if step else (run.method, {})
                    pasted = _pasted_classes(folder, data.labels)
                    if run.method == data.main and foreground == "source":
                        tiles = [_mixing_tile(run, folder, each) for each in MIXING]
                        weights = " ".join([AUGMENTED, *_weights(run, step)])
                        yield Tiles(task, name, heading, [*tiles[:3], pasted, *tiles[3:], weights], "mix", facts)
                    else:
                        mask, *tiles = (
                            _mixing_tile(run, folder, each, f"{run.title}, ") for each in ("mask", "mixed", "label")
                        )
                        yield Tiles(task, name, f"{heading}, for comparison", [mask, pasted, *tiles], "strip", facts)


def _mixed_examples(run: Run) -> list[tuple[int | None, Path]]:
    """The folders of the mixed examples of a run and their steps; None where there is one, of the last step."""
    steps = sorted((int(path.name.removeprefix("step")), path) for path in run.folder.mixing.glob("step*"))
    return [*steps] or [(None, run.folder.mixing)]


def _mixing_tile(run: Run, folder: Path, name: str, prefix: str = "") -> Tile:
    image = pixels(folder / f"{name}.png")
    image = np.stack([image] * 3, axis=-1) if name == "mask" else image
    alt = f"{MIXING[name]} ({run.title}, {task_title(run.task)})"
    return Tile(name, image, prefix + MIXING[name], alt, {"shows": "classes"} if image.ndim == 2 else {})


def _pasted_classes(folder: Path, labels: LabelSet) -> str:
    """How much is pasted into a mixed image, and which classes."""
    mask, label = (pixels(folder / f"{name}.png") for name in ("mask", "label"))
    names = [labels.names[index] for index in np.unique(label[(mask > 0) & (label != IGNORE)])]
    pasted = f"{100 * (mask > 0).mean():.0f} % of the image is pasted (white)"
    return f"{pasted}: {listed(names)}." if names else f"{pasted}."


def _weights(run: Run, step: int | None) -> list[str]:
    """How much the pixels of the mixed image weigh in the loss, as the settings say, and λ after a step."""
    adapt, log = read_json(run.folder.spec)["settings"].get("adapt", {}), read_table(run.folder.log)
    texts = {
        "threshold": "Weight in the loss: 1 for pasted and for confident pixels, 0 for others",
        "none": "Weight in the loss: 1 for all pixels",
        "threshold_uniform": "Weight in the loss: "
        + ("" if adapt.get("lambda_applies_to") == "all" else "1 for pasted pixels; for others ")
        + "λ, the share of confident pixels in the "
        + ("mixed image" if adapt.get("lambda_counts") == "mixed" else "target image"),
    }
    if adapt.get("pixel_weight") not in texts:
        return []
    text = texts[adapt["pixel_weight"]]
    found = log.loc[log["step"] <= (step or np.inf), "lambda"].dropna() if "lambda" in log else log["step"][:0]
    if len(found) and adapt["pixel_weight"] == "threshold_uniform":
        text += f", {found.iloc[-1]:.2f} on average over the latest steps"
    return [text + ("; 0 in the rows at its top and bottom." if any(adapt.get("margins", ())) else ".")]


# --------------------------------------------------------------------------------------------------------------------
# Predictions


def predictions(data: ReportData) -> Iterator[Tiles]:
    """Images of each target from the worst to the best: ground truth, the predictions of the students, and errors."""
    for task in data.tasks:
        for example in examples(data, task):
            tiles = [_image_tile(example)]
            if task in data.measured:
                alt = f"Ground truth of {example.name}"
                tiles.append(Tile("label", example.label, "ground truth", alt, {"shows": "classes"}))
            for run, predicted in example.predictions.items():
                tiles += _prediction(example, run, predicted, data.labels)
            yield Tiles(task, example.name, _heading(example, data), tiles, "wall")


def _prediction(example: Example, run: Run, predicted: np.ndarray, labels: LabelSet) -> list[Tile]:
    """The prediction of a run for an image and, where there is ground truth, what is wrong in it."""
    accuracy = scores(counts := _counts(example, predicted, labels), labels)["accuracy"]
    caption = run.title if accuracy is None else f"{run.title}: {accuracy:.0f} % correct, mIoU {_miou(counts):.0f} %"
    of, alt = {"of": run.method}, f"{caption}; prediction for {example.name}"
    tiles = [Tile(run.method, predicted, caption, alt, {**of, "shows": "classes"})]
    if accuracy is not None:
        wrong, alt = errors(example.image, example.label, predicted), f"Wrong pixels of {run.title} in {example.name}"
        tiles.append(Tile(f"{run.method}-errors", wrong, f"errors of {run.title}", alt, {**of, "shows": "errors"}))
    return tiles


def _heading(example: Example, data: ReportData) -> str:
    """The name of an image, and its place among all that were measured."""
    run = _judge(example.predictions, data)
    title, every = f"{task_title(run.task)}, {example.name}", _frame_miou(run)
    if len(every) < 2 or example.name not in every:
        return title
    place = 1 + sum(other > every[example.name] for other in every.values())
    return f"{title}: number {place} of {len(every)} images by mIoU of {run.title}"


def _frame_miou(run: Run) -> dict[str, float]:
    """mIoU of each measured image by its name, by the protocol of the main numbers; empty without ground truth."""
    found = read_evaluation(run.folder.evaluation)
    if not found.measured:
        return {}
    return dict(zip(found.counts.frames, map(_miou, found.counts.by_frame(found.headline.key)), strict=True))


def _judge(runs: Iterable[Run], data: ReportData) -> Run:
    """The run by whose mIoU images are ordered: that of the main method, or else the first."""
    return min(runs, key=lambda run: run.method != data.main)


def confusions(data: ReportData) -> Iterator[Tiles]:
    """Two classes in that one of the images in which all methods together predict most of the first as the second."""
    for task in data.measured:
        pair = data.pair(task)
        ids = [data.labels.names.index(name) for name in pair or ()]
        example = (
            max(examples(data, task), key=lambda each: _confused_pixels(each, *ids), default=None) if pair else None
        )
        if example and pair and _confused_pixels(example, *ids):
            tiles = [_image_tile(example)]
            for run, predicted in example.predictions.items():
                share = predicted_as(_counts(example, predicted, data.labels), data.labels, *pair)
                caption = f"{run.title}: {share:.0f} % of the {pair[0]} as {pair[1]}"
                image = marked(example.image, example.label, predicted, *ids)
                tiles.append(Tile(run.method, image, caption, f"{example.name}, {caption}"))
            yield Tiles(task, example.name, f"{task_title(task)}: an example", tiles)


def examples(data: ReportData, task: str) -> list[Example]:
    """Images of the measured split whose predictions all the runs have kept, by the mIoU of the main method.

    Of more than `data.frames` the worst, the best, and others evenly between; of an unlabelled target by name.
    """
    split = PreparedDomain(data.prepared / target_of(task)).measured
    index = {Path(row["image"]).stem: row for row in read_table(split.index).to_dict("records")}
    folders = {run: run.folder.evaluation.predictions for run in data.examples(task)}
    kept = [name for name in sorted(index) if all((path / f"{name}.png").exists() for path in folders.values())]

    miou = _frame_miou(_judge(folders, data))
    ranking = sorted(kept, key=lambda name: float(np.nan_to_num(miou.get(name, 0))))
    places = np.linspace(0, len(ranking) - 1, min(data.frames, len(ranking))).round().astype(int)
    found = []
    for name in (ranking[place] for place in places):
        image, label = pixels(split.path / index[name]["image"]), index[name].get("label")
        ids = pixels(split.path / label) if label else np.full(image.shape[:2], IGNORE, np.uint8)
        found.append(Example(name, image, ids, {run: pixels(path / f"{name}.png") for run, path in folders.items()}))
    return found


def errors(image: np.ndarray, label: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The image in gray, its wrong pixels in red, ignored ones dark. Label and prediction are train ids."""
    canvas = _gray(image)
    canvas[label != predicted] = ERROR
    canvas[label == IGNORE] = IGNORED
    return canvas.astype(np.uint8)


def marks(a: str, b: str) -> list[tuple[tuple[int, int, int], str]]:
    """The colours in `marked`, and what they mean."""
    return [(CORRECT, f"{a}, correct"), (WRONG, f"{a} predicted as {b}"), (REVERSE, f"{b} predicted as {a}")]


def marked(image: np.ndarray, label: np.ndarray, predicted: np.ndarray, a: int, b: int) -> np.ndarray:
    """The image in gray, and in colour where class a is right or taken for b, or b for a. Classes are train ids."""
    canvas = _gray(image)
    for actual, found, color in ((a, a, CORRECT), (a, b, WRONG), (b, a, REVERSE)):
        where = (label == actual) & (predicted == found)
        canvas[where] = 0.2 * canvas[where] + 0.8 * np.array(color)
    return canvas.round().astype(np.uint8)


def _gray(image: np.ndarray) -> np.ndarray:
    """The image in a few light grays: float of shape (height, width, 3)."""
    gray = GRAYS * (image.mean(axis=-1, keepdims=True) / (2 * GRAYS)).round() + 90
    return np.repeat(gray, 3, axis=-1)


def _image_tile(example: Example) -> Tile:
    return Tile("image", example.image, "target image", f"Image {example.name} of the target")


def _confused_pixels(example: Example, a: int, b: int) -> int:
    """Pixels of class a that are predicted as b, over all predictions."""
    return sum(int(((example.label == a) & (ids == b)).sum()) for ids in example.predictions.values())


def _counts(example: Example, predicted: np.ndarray, labels: LabelSet) -> np.ndarray:
    """The confusion matrix of an image."""
    return count(example.label, predicted, len(labels.classes))


def _miou(counts: np.ndarray) -> float:
    """mIoU over the classes that the ground truth of an image has, in percent; NaN where it has none."""
    return 100 * float(np.nanmean(iou(counts))) if counts.any() else float("nan")
