"""Images of the report: mixed examples, predictions beside the ground truth, and confusions of road and sidewalk."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from dacs.errors import RunFailed
from dacs.evaluation.confusion import count, predicted_as, scores
from dacs.labels import IGNORE, NAMES
from dacs.methods import method
from dacs.reporting.data import ReportData, Run, existing, pixels, prepared_domain
from dacs.reporting.names import target_of, task_title
from dacs.reporting.style import Tile, Tiles

ROAD, SIDEWALK = NAMES.index("road"), NAMES.index("sidewalk")
MARKS = {  # ground truth and prediction → colour over the gray image, and what it means
    (SIDEWALK, SIDEWALK): ((64, 132, 214), "sidewalk, correct"),
    (SIDEWALK, ROAD): ((224, 82, 6), "sidewalk predicted as road"),
    (ROAD, SIDEWALK): ((240, 200, 40), "road predicted as sidewalk"),
}
TILE = 480  # pixels: smaller images are enlarged by a whole number towards this width, larger ones reduced to it
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
    """An image of the target and its ground truth, all of it ignored where the image is unlabelled."""

    name: str
    image: np.ndarray
    label: np.ndarray


def mixing(data: ReportData) -> Iterator[Tiles]:
    """One mixed example of the main method step by step, and the results of the other methods that mix."""
    for task in data.tasks:
        for run in sorted(data.examples(task), key=lambda run: run.method != data.main):
            row = method(run.method)
            if row.foreground == "nothing":
                continue
            heading, note = f"{task_title(task)}: {row.title}", _pasted_classes(run)
            if run.method == data.main and row.foreground == "source":
                tiles = [_mixing_tile(run, name) for name in MIXING]
                yield Tiles(task, run.method, heading, [*tiles[:3], note, *tiles[3:], AUGMENTED], "mix")
            else:
                mask, *mixed = (_mixing_tile(run, name, f"{row.title}, ") for name in ("mask", "mixed", "label"))
                yield Tiles(task, run.method, f"{heading}, for comparison", [mask, note, *mixed], "strip")


def predictions(data: ReportData) -> Iterator[Tiles]:
    """A few images of each target, their ground truth, and the predictions of each method's student."""
    for task in data.tasks:
        for number, example in enumerate(_examples(data, task)):
            tiles = [_image_tile(example)]
            if (example.label != IGNORE).any():
                alt = f"Ground truth of {example.name}: {_contents(example.label)}"
                tiles.append(Tile("label", resized(example.label), "ground truth", alt))
            for run in data.examples(task):
                predicted = _prediction(run, example)
                caption = method(run.method).title + _accuracy(example.label, predicted)
                alt = f"{caption}; prediction for {example.name}: {_contents(predicted)}"
                tiles.append(Tile(run.method, resized(predicted), caption, alt))
            yield Tiles(task, example.name, "" if number else task_title(task), tiles)


def confusions(data: ReportData) -> Iterator[Tiles]:
    """Road and sidewalk in that one of the images in which all methods together predict most sidewalk as road."""
    for task in data.tasks:
        most, found = 0, list[Tiles]()
        for example in _examples(data, task):
            counts = {run: count(example.label, _prediction(run, example)) for run in data.examples(task)}
            total = sum(int(matrix[SIDEWALK, ROAD]) for matrix in counts.values())
            if total > most:
                tiles = [_image_tile(example), *(_marked_tile(run, example, matrix) for run, matrix in counts.items())]
                most, found = total, [Tiles(task, example.name, f"{task_title(task)}: an example", tiles)]
        yield from found


def marked(image: np.ndarray, label: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The image in gray with the colours of `MARKS`."""
    canvas = np.repeat(0.5 * image.mean(axis=-1, keepdims=True) + 90, 3, axis=-1)
    for (actual, found), (color, _) in MARKS.items():
        where = (label == actual) & (predicted == found)
        canvas[where] = 0.2 * canvas[where] + 0.8 * np.array(color)
    return canvas.round().astype(np.uint8)


def resized(image: np.ndarray) -> np.ndarray:
    """A small image enlarged by whole pixels, a large one reduced, to about `TILE` pixels of width."""
    height, width = image.shape[:2]
    if width <= TILE:
        return image.repeat(TILE // width, axis=0).repeat(TILE // width, axis=1)
    how = Image.Resampling.NEAREST if image.ndim == 2 else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(image).resize((TILE, round(height * TILE / width)), how))


def _mixing_file(run: Run, name: str) -> np.ndarray:
    return pixels(existing(run.folder.mixing / f"{name}.png", run.made_by))


def _mixing_tile(run: Run, name: str, prefix: str = "") -> Tile:
    image, alt = _mixing_file(run, name), f"{MIXING[name]} ({method(run.method).title}, {task_title(run.task)})"
    if name == "mask":
        image = np.stack([image] * 3, axis=-1)
    elif image.ndim == 2:
        alt += f": {_contents(image)}"
    return Tile(name, resized(image), prefix + MIXING[name], alt)


def _pasted_classes(run: Run) -> str:
    """How much is pasted into a mixed image, and which classes."""
    mask, label = _mixing_file(run, "mask") > 0, _mixing_file(run, "label")
    names = [NAMES[index] for index in np.unique(label[mask & (label != IGNORE)])]
    return f"{100 * mask.mean():.0f} % of the image is pasted (white)" + (f": {', '.join(names)}." if names else ".")


def _examples(data: ReportData, task: str) -> list[Example]:
    """The first images, by name, of the measured split whose predictions all these runs have kept."""
    folders = [existing(run.folder.evaluation.predictions, run.evaluated_by) for run in data.examples(task)]
    kept = set.intersection(*({path.stem for path in folder.glob("*.png")} for folder in folders))
    command = f"dacs remap --domain {target_of(task)}"
    index = existing(prepared_domain(data.prepared, target_of(task)).measured.index, command)
    rows = {Path(row["image"]).stem: row for row in pd.read_csv(index, dtype=str).to_dict("records")}
    examples = []
    for name in sorted(kept & {*rows})[: data.frames]:
        image = pixels(existing(index.parent / rows[name]["image"], command))
        label = np.full(image.shape[:2], IGNORE, np.uint8)
        if "label" in rows[name]:
            label = pixels(existing(index.parent / rows[name]["label"], command))
        examples.append(Example(name, image, label))
    return examples


def _prediction(run: Run, example: Example) -> np.ndarray:
    """Train ids that the student of a run predicts. Raises RunFailed where they are of another size than the image."""
    path = run.folder.evaluation.predictions / f"{example.name}.png"
    predicted = pixels(path)
    if predicted.shape != example.image.shape[:2]:
        raise RunFailed(
            f"{path}: size {predicted.shape}, expected {example.image.shape[:2]}.\nRun '{run.evaluated_by}' again."
        )
    return predicted


def _marked_tile(run: Run, example: Example, counts: np.ndarray) -> Tile:
    share = predicted_as(counts, "sidewalk", "road")
    caption = f"{method(run.method).title}: {share:.0f} % of the sidewalk as road"
    image = marked(example.image, example.label, _prediction(run, example))
    return Tile(run.method, resized(image), caption, f"{example.name}, {caption}")


def _image_tile(example: Example) -> Tile:
    return Tile("image", resized(example.image), "target image", f"Image {example.name} of the target")


def _accuracy(label: np.ndarray, predicted: np.ndarray) -> str:
    """How much of a prediction is correct, as the end of a caption; empty where there is no ground truth."""
    accuracy = scores(count(label, predicted))["accuracy"]
    return "" if accuracy is None else f": {accuracy:.0f} % correct"


def _contents(train_ids: np.ndarray) -> str:
    """The classes of a label, the largest first."""
    counts = np.bincount(train_ids.ravel(), minlength=256)[: len(NAMES)]
    found = [NAMES[index] for index in np.argsort(-counts, kind="stable") if counts[index]]
    return ", ".join(found[:6]) or "only ignored pixels"
