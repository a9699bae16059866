"""Images of the report: mixed examples, predictions beside the ground truth, and confusions of two classes."""

from collections.abc import Iterator
from pathlib import Path

import matplotlib
import numpy as np

from dacs.evaluation.confusion import count, mean_iou, predicted_as, scores
from dacs.files import read_json
from dacs.labels import IGNORE, LabelSet
from dacs.methods import method
from dacs.reporting.data import ReportData, Run, pixels
from dacs.reporting.examples import Example, Ranking, examples, extremes
from dacs.reporting.groups import listed
from dacs.reporting.names import number, task_title
from dacs.reporting.style import Tile, Tiles

CORRECT, WRONG, REVERSE = (64, 132, 214), (224, 82, 6), (240, 200, 40)  # colours over a gray image
ERROR, IGNORED = (214, 20, 30), (24, 24, 24)
GRAYS = 8  # between two grays of an image: few colours take little space
MIXING = {  # file of a mixed example → caption
    "source": "Source image: a labelled crop.",
    "source_label": "Ground truth of the source image.",
    "mask": "Mask: white pixels are pasted.",
    "target": "Target image: an unlabelled crop.",
    "pseudo": "Pseudo-label: what the teacher predicts for the target image.",
    "mixed": "Mixed image: what is pasted where the mask is white, the target image elsewhere.",
    "label": "Mixed label: that of what is pasted where the mask is white, the pseudo-label elsewhere.",
    "augmented": "Input of the student: the mixed image with colours and sharpness changed at random.",
    "weight": "Weight of each pixel in the loss",
}
WEIGHTS = "viridis"  # the colours of weights from 0 to 1; the style sheet has the same


# --------------------------------------------------------------------------------------------------------------------
# Mixing


def mixing(data: ReportData) -> Iterator[Tiles]:
    """Mixed examples of the main method step by step, and the results of the other methods that mix."""
    for task in data.tasks:
        for run in sorted(data.examples(task), key=lambda run: run.method != data.main):
            foreground, heading = method(run.method).foreground, f"{task_title(task)}: {run.title}"
            if foreground != "nothing":
                for step, folder in _mixed_examples(run):
                    name, facts = f"{run.method}-step{step}", {"step": step}
                    pasted = _pasted_classes(folder, data.labels)
                    if run.method == data.main and foreground == "source":
                        *tiles, weight = (_mixing_tile(run, folder, each) for each in MIXING)
                        weight = weight._replace(caption=" ".join([weight.caption, *_weights(run)]))
                        yield Tiles(task, name, heading, [*tiles[:3], pasted, *tiles[3:], weight], "mix", facts)
                    else:
                        mask, *tiles = (_mixing_tile(run, folder, each) for each in ("mask", "mixed", "label"))
                        yield Tiles(task, name, f"{heading}, for comparison", [mask, pasted, *tiles], "strip", facts)


def _mixed_examples(run: Run) -> list[tuple[int, Path]]:
    """The steps of the mixed examples of a run, and their folders."""
    folders = (path.parent for path in run.folder.mixing.glob("step*/mixed.png"))
    return sorted((int(folder.name.removeprefix("step")), folder) for folder in folders)


def _mixing_tile(run: Run, folder: Path, name: str) -> Tile:
    image, caption = pixels(folder / f"{name}.png"), MIXING[name]
    if name == "mask":
        image = np.stack([image] * 3, axis=-1)
    elif name == "weight":
        caption += f": {_range(image / 255)}."
        image = matplotlib.colormaps[WEIGHTS](image, bytes=True)[..., :3]
    alt = f"{caption} ({run.title}, {task_title(run.task)})"
    return Tile(name, image, caption, alt, {"shows": "classes"} if image.ndim == 2 else {})


def _range(weights: np.ndarray) -> str:
    """The lowest, the highest and the mean weight; one number where all are equal."""
    low, high = number(weights.min(), ".2f"), number(weights.max(), ".2f")
    return low if low == high else f"{low} to {high}, mean {number(weights.mean(), '.2f')}"


def _pasted_classes(folder: Path, labels: LabelSet) -> str:
    """How much is pasted into a mixed image, and which classes."""
    mask, label = (pixels(folder / f"{name}.png") for name in ("mask", "label"))
    names = [labels.names[index] for index in np.unique(label[(mask > 0) & (label != IGNORE)])]
    pasted = f"{100 * (mask > 0).mean():.0f} % of the image is pasted (white)"
    return f"{pasted}: {listed(names)}." if names else f"{pasted}."


def _weights(run: Run) -> list[str]:
    """How much the pixels of the mixed image weigh in the loss, as the settings say."""
    adapt = read_json(run.folder.spec)["settings"].get("adapt", {})
    texts = {
        "threshold": "It is 1 for pasted and for confident pixels, 0 for others",
        "none": "It is 1 for all pixels",
        "threshold_uniform": "It is "
        + ("" if adapt.get("lambda_applies_to") == "all" else "1 for pasted pixels; for others ")
        + "λ, the share of confident pixels in the "
        + ("mixed image" if adapt.get("lambda_counts") == "mixed" else "target image"),
    }
    if adapt.get("pixel_weight") not in texts:
        return []
    return [
        texts[adapt["pixel_weight"]]
        + ("; 0 in the rows at its top and bottom." if any(adapt.get("margins", ())) else ".")
    ]


# --------------------------------------------------------------------------------------------------------------------
# Predictions


def predictions(data: ReportData) -> Iterator[Tiles]:
    """Images of each target from the worst to the best: ground truth, the predictions of the students, and errors."""
    for task in data.tasks:
        ranking = Ranking(data, task)
        shown = examples(ranking)
        every = [*shown, *extremes(ranking, [each.name for each in shown])]
        for example in sorted(every, key=lambda each: ranking.score(each.name)):
            tiles = [_image_tile(example)]
            if task in data.measured:
                alt = f"Ground truth of {example.name}"
                tiles.append(Tile("label", example.label, "ground truth", alt, {"shows": "classes"}))
            for run, predicted in example.predictions.items():
                tiles += _prediction(example, run, predicted, data.labels)
            yield Tiles(task, example.name, ranking.heading(example), tiles, "wall")


def _prediction(example: Example, run: Run, predicted: np.ndarray, labels: LabelSet) -> list[Tile]:
    """The prediction of a run for an image and, where there is ground truth, what is wrong in it."""
    accuracy = scores(counts := _counts(example, predicted, labels), labels)["accuracy"]
    caption = run.title if accuracy is None else f"{run.title}: {accuracy:.0f} % correct, mIoU {mean_iou(counts):.0f} %"
    of, alt = {"of": run.method}, f"{caption}; prediction for {example.name}"
    tiles = [Tile(run.method, predicted, caption, alt, {**of, "shows": "classes"})]
    if accuracy is not None:
        wrong, alt = errors(example.image, example.label, predicted), f"Wrong pixels of {run.title} in {example.name}"
        tiles.append(Tile(f"{run.method}-errors", wrong, f"errors of {run.title}", alt, {**of, "shows": "errors"}))
    return tiles


def confusions(data: ReportData) -> Iterator[Tiles]:
    """Two classes in that one of the images in which all methods together predict most of the first as the second."""
    for task in data.measured:
        if not (pair := data.pair(task)):
            continue
        ids = [data.labels.names.index(name) for name in pair]
        shown = examples(Ranking(data, task))
        example = max(shown, key=lambda each: _confused_pixels(each, *ids), default=None)
        if example and _confused_pixels(example, *ids):
            tiles = [_image_tile(example)]
            for run, predicted in example.predictions.items():
                share = predicted_as(_counts(example, predicted, data.labels), data.labels, *pair)
                caption = f"{run.title}: {share:.0f} % of the {pair[0]} as {pair[1]}"
                image = marked(example.image, example.label, predicted, *ids)
                tiles.append(Tile(run.method, image, caption, f"{example.name}, {caption}"))
            yield Tiles(task, example.name, f"{task_title(task)}: an example", tiles)


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
