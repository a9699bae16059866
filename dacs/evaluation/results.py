"""The images given to `predict`, the names of their results, and the files of these. No network here."""

import csv
import io
import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import numpy as np

from dacs.datasets.decode import listing
from dacs.errors import BadRequest, nearest
from dacs.evaluation.pictures import ENDINGS
from dacs.files import write_bytes, write_text
from dacs.labels import CITYSCAPES, IGNORE, LABELS, LabelSet
from dacs.prepare.pixels import png_of_image, png_of_label

RESULTS = ("ids", "colors", "overlays")  # folders of what is made of each picture
CONFIDENCE = "confidence"  # the folder of what is made of it on request
VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".wmv", ".mpg", ".mpeg", ".gif")
TABLE = "classes.csv"  # the file that says what ids and colours mean
RAW_IDS = {label.train_id: label.id for label in LABELS if label.train_id != IGNORE}  # labelIds of Cityscapes

Ids = Literal["train", "raw"]


@dataclass(frozen=True)
class Form:
    """What is written of each picture."""

    ids: Ids = "train"  # train: as a palette PNG; raw: labelIds of Cityscapes, which its test server wants
    confidence: bool = False  # the probability of the class of each pixel, 0..255
    classes: tuple[str, ...] = ()  # that are shown, in the order of the label set; (): all
    labels: LabelSet = CITYSCAPES

    def of(self, labels: LabelSet) -> "Form":
        """The same for a run with this label set. Raises BadRequest where it does not have what is asked for."""
        if self.ids == "raw" and labels.names != CITYSCAPES.names:
            raise BadRequest(
                f"--ids raw: labelIds are of the {len(CITYSCAPES.names)} classes of Cityscapes; this run has"
                f" {len(labels.names)} of its own.\nLeave it out; {TABLE} says what the train ids mean."
            )
        for wrong in (name for name in self.classes if name not in labels.names):
            raise BadRequest(f"--classes: this run has no class '{wrong}'; {nearest(wrong, labels.names)}")
        return replace(self, classes=tuple(name for name in labels.names if name in self.classes), labels=labels)

    @property
    def shown(self) -> np.ndarray:
        """What becomes of each train id, 255 for those of classes that are not shown: uint8 of shape (256,)."""
        names = self.classes or self.labels.names
        return _lookup({train_id: train_id for train_id, name in enumerate(self.labels.names) if name in names})

    @property
    def kinds(self) -> tuple[str, ...]:
        """The folders of results."""
        return (*RESULTS, *[CONFIDENCE] * self.confidence)


class Picture(NamedTuple):
    """A file, and the name of its results."""

    name: str  # its path below the folder that was given, without the ending
    path: Path

    def results(self, out: Path, form: Form) -> list[Path]:
        """The files that are made of it."""
        return [out / kind / f"{self.name}.png" for kind in form.kinds]


class Found(NamedTuple):
    """What lies in the folders that are given."""

    pictures: list[Picture]  # in the order of their names
    videos: list[Path]
    others: int  # other or hidden files


def find(given: Sequence[Path], out: Path) -> Found:
    """The pictures among files and folders.

    Hidden files are no pictures, nor are results that an earlier run wrote to `out`. Raises BadRequest when there are
    none, for a video that is named itself, and, naming both, when two would have the same results.
    """
    pictures, videos, others = list[Picture](), list[Path](), 0
    for path in given:
        if path.is_dir():
            files = sorted(_files_below(path, [(out / kind).resolve() for kind in (*RESULTS, CONFIDENCE)]))
            shown = [file for file in files if not _is_hidden(file, path)]
            found = [file for file in shown if file.suffix.lower() in ENDINGS]
            pictures += [Picture(file.relative_to(path).with_suffix("").as_posix(), file) for file in found]
            videos += (filmed := [file for file in shown if _is_video(file)])
            others += len(files) - len(found) - len(filmed)
        elif not path.exists():
            raise BadRequest(f"{path}: not found.\nGive images, or folders of images.")
        elif _is_video(path):
            raise BadRequest(f"{path}: a video or an animation, images were expected.\n{frames_of(path)}")
        else:
            pictures.append(Picture(path.stem, path))
    if not pictures:
        advice = frames_of(videos[0]) if videos else f"Known endings: {', '.join(ENDINGS)}."
        raise BadRequest(f"{', '.join(map(str, given))}: no images.\n{advice}")
    _check_names(pictures)
    return Found(pictures, videos, others)


def frames_of(video: Path) -> str:
    """What makes images of a video."""
    return f"Make images of it: mkdir -p frames && ffmpeg -i {shlex.quote(str(video))} frames/%06d.png"


def _check_names(pictures: list[Picture]) -> None:
    by_name = dict[str, list[Path]]()
    for picture in pictures:
        by_name.setdefault(picture.name, []).append(picture.path)
    twice = [" and ".join(map(str, paths)) for paths in by_name.values() if len(paths) > 1]
    if twice:
        raise BadRequest(
            listing(f"{len(twice)} names occur more than once, and results would overwrite each other", twice)
            + "\nGive the folder above them, whose tree is kept, or give these images in runs of their own."
        )


def _files_below(folder: Path, without: list[Path]) -> Iterator[Path]:
    """All files below a folder but those below others; links are followed, but not in circles."""
    for where, folders, names in os.walk(folder, followlinks=True, onerror=_refuse):
        here = Path(where).resolve()
        below = {name: Path(where, name).resolve() for name in folders}
        folders[:] = [name for name, path in below.items() if path not in without and not here.is_relative_to(path)]
        yield from (path for name in names if (path := Path(where, name)).is_file() or path.is_symlink())


def _refuse(error: OSError) -> None:
    raise BadRequest(f"{error.filename}: cannot be read ({error.strerror}).\nMake it readable, or give other folders.")


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEOS


def write(
    picture: Picture, image: np.ndarray, ids: np.ndarray, confidence: np.ndarray | None, out: Path, form: Form
) -> None:
    """Write the results of a picture as PNG, each of them whole or not at all.

    Ids, their colours, the colours over the picture and, if it is given, the confidence: uint8 of the picture's size.
    Pixels of classes that are not shown are 255, black, and as in the picture.
    """
    shown = form.shown[ids]
    colors = form.labels.palette()[shown]
    overlay = cv2.addWeighted(image, 0.5, colors, 0.5, 0)
    np.copyto(overlay, image, where=(shown == IGNORE)[..., None])
    contents = [png_of_label(shown, form.labels) if form.ids == "train" else _png_of_gray(_lookup(RAW_IDS)[shown])]
    contents += [png_of_image(pixels) for pixels in (colors, overlay)]
    contents += [] if confidence is None else [_png_of_gray(confidence)]
    for path, content in zip(picture.results(out, form), contents, strict=True):
        write_bytes(path, content)


def write_table(out: Path, form: Form) -> None:
    """Write the names and colours of all classes of the run by their train ids, with raw ids where they are written."""
    rows = [["train_id", "name", "red", "green", "blue"]]
    rows += [[str(train_id), each.name, *map(str, each.color)] for train_id, each in enumerate(form.labels.classes)]
    if form.ids == "raw":
        rows = [[*row, id_] for row, id_ in zip(rows, ["id", *map(str, RAW_IDS.values())], strict=True)]
    csv.writer(text := io.StringIO(newline=""), lineterminator="\n").writerows(rows)
    write_text(out / TABLE, text.getvalue())


def _lookup(table: dict[int, int]) -> np.ndarray:
    """A table of train ids, 255 where it has none: uint8 of shape (256,)."""
    lookup = np.full(256, IGNORE, np.uint8)
    lookup[list(table)] = list(table.values())
    return lookup


def _png_of_gray(values: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".png", values)[1])
