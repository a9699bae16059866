"""Images of the report: mixed examples, predictions beside the ground truth, and confusions of road and sidewalk."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dacs.evaluation.confusion import count, predicted_as, scores
from dacs.labels import IGNORE, NAMES
from dacs.layout import PreparedDomain
from dacs.methods import method
from dacs.reporting.data import ReportData, Run, pixels, read_table
from dacs.reporting.names import target_of, task_title
from dacs.reporting.style import Tile, Tiles

ROAD, SIDEWALK = NAMES.index("road"), NAMES.index("sidewalk")
MARKS = {  # ground truth and prediction → colour over the gray image, and what it means
    (SIDEWALK, SIDEWALK): ((64, 132, 214), "sidewalk, correct"),
    (SIDEWALK, ROAD): ((224, 82, 6), "sidewalk predicted as road"),
    (ROAD, SIDEWALK): ((240, 200, 40), "road predicted as sidewalk"),
}
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


def mixing(data: ReportData) -> Iterator[Tiles]:
    """One mixed example of the main method step by step, and the results of the other methods that mix."""
    for task in data.tasks:
        for run in sorted(data.examples(task), key=lambda run: run.method != data.main):
            foreground, heading = method(run.method).foreground, f"{task_title(task)}: {run.title}"
            if run.method == data.main and foreground == "source":
                tiles = [_mixing_tile(run, name) for name in MIXING]
                yield Tiles(task, run.method, heading, [*tiles[:3], _pasted_classes(run), *tiles[3:], AUGMENTED], "mix")
            elif foreground != "nothing":
                mask, *tiles = (_mixing_tile(run, name, f"{run.title}, ") for name in ("mask", "mixed", "label"))
                items: list[Tile | str] = [mask, _pasted_classes(run), *tiles]
                yield Tiles(task, run.method, f"{heading}, for comparison", items, "strip")


def predictions(data: ReportData) -> Iterator[Tiles]:
    """A few images of each target, their ground truth, and the predictions of each method's student."""
    for task in data.tasks:
        for number, example in enumerate(examples(data, task)):
            tiles = [_image_tile(example)]
            if task in data.measured:
                tiles.append(Tile("label", example.label, "ground truth", f"Ground truth of {example.name}"))
            for run, predicted in example.predictions.items():
                accuracy = scores(count(example.label, predicted))["accuracy"]
                caption = run.title if accuracy is None else f"{run.title}: {accuracy:.0f} % correct"
                tiles.append(Tile(run.method, predicted, caption, f"{caption}; prediction for {example.name}"))
            yield Tiles(task, example.name, "" if number else task_title(task), tiles)


def confusions(data: ReportData) -> Iterator[Tiles]:
    """Road and sidewalk in that one of the images in which all methods together predict most sidewalk as road."""
    for task in data.measured:
        example = max(examples(data, task), key=_confused_pixels, default=None)
        if example and _confused_pixels(example):
            tiles = [_image_tile(example)]
            for run, predicted in example.predictions.items():
                share = predicted_as(count(example.label, predicted), "sidewalk", "road")
                caption = f"{run.title}: {share:.0f} % of the sidewalk as road"
                image = marked(example.image, example.label, predicted)
                tiles.append(Tile(run.method, image, caption, f"{example.name}, {caption}"))
            yield Tiles(task, example.name, f"{task_title(task)}: an example", tiles)


def examples(data: ReportData, task: str) -> list[Example]:
    """The first images, by name, of the measured split whose predictions all the runs have kept."""
    split = PreparedDomain(data.prepared / target_of(task)).measured
    index = {Path(row["image"]).stem: row for row in read_table(split.index).to_dict("records")}
    folders = {run: run.folder.evaluation.predictions for run in data.examples(task)}
    kept = [name for name in sorted(index) if all((path / f"{name}.png").exists() for path in folders.values())]
    found = []
    for name in kept[: data.frames]:
        image, label = pixels(split.path / index[name]["image"]), index[name].get("label")
        ids = pixels(split.path / label) if label else np.full(image.shape[:2], IGNORE, np.uint8)
        found.append(Example(name, image, ids, {run: pixels(path / f"{name}.png") for run, path in folders.items()}))
    return found


def marked(image: np.ndarray, label: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The image in gray with the colours of `MARKS`."""
    canvas = np.repeat(0.5 * image.mean(axis=-1, keepdims=True) + 90, 3, axis=-1)
    for (actual, found), (color, _) in MARKS.items():
        where = (label == actual) & (predicted == found)
        canvas[where] = 0.2 * canvas[where] + 0.8 * np.array(color)
    return canvas.round().astype(np.uint8)


def _mixing_tile(run: Run, name: str, prefix: str = "") -> Tile:
    image = pixels(run.folder.mixing / f"{name}.png")
    image = np.stack([image] * 3, axis=-1) if name == "mask" else image
    return Tile(name, image, prefix + MIXING[name], f"{MIXING[name]} ({run.title}, {task_title(run.task)})")


def _pasted_classes(run: Run) -> str:
    """How much is pasted into a mixed image, and which classes."""
    mask, label = (pixels(run.folder.mixing / f"{name}.png") for name in ("mask", "label"))
    names = [NAMES[index] for index in np.unique(label[(mask > 0) & (label != IGNORE)])]
    return f"{100 * (mask > 0).mean():.0f} % of the image is pasted (white)" + (
        f": {', '.join(names)}." if names else "."
    )


def _image_tile(example: Example) -> Tile:
    return Tile("image", example.image, "target image", f"Image {example.name} of the target")


def _confused_pixels(example: Example) -> int:
    """Pixels of sidewalk that are predicted as road, over all predictions."""
    return sum(int(count(example.label, ids)[SIDEWALK, ROAD]) for ids in example.predictions.values())
