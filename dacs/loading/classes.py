"""The classes that labels were prepared for, and those that they show. Torch-free."""

import csv

from dacs.datasets.base import examples
from dacs.errors import RunFailed
from dacs.files import read_json
from dacs.labels import LabelSet
from dacs.layout import PreparedSplit

AGAIN = "Run 'dacs remap' for this data set again."


def prepared_classes(split: PreparedSplit) -> tuple[str, ...]:
    """The names of the classes that the labels of a split were prepared for, by train id."""
    path = split.class_counts
    try:
        with path.open(newline="") as stream:
            return tuple(next(csv.reader(stream), ["image"])[1:])
    except (OSError, ValueError) as error:
        raise RunFailed(f"{path}: not a table of class counts ({error}).\n{AGAIN}") from error


def check_classes(split: PreparedSplit, labels: LabelSet) -> None:
    """Raise RunFailed where labels were prepared for other classes than those of a run."""
    found, expected = prepared_classes(split), labels.names
    if found == expected:
        return
    if set(found) == set(expected):
        raise RunFailed(f"{split.path}: prepared for the classes of the run, in another order.\n{AGAIN}")
    prepared, wanted = _described(found, expected), _described(expected, found)
    raise RunFailed(f"{split.path}: prepared for {prepared}; the run has {wanted}.\n{AGAIN}")


def classes_without_pixels(split: PreparedSplit, labels: LabelSet) -> list[str]:
    """The classes that no label of a split shows."""
    try:
        pixels = dict(zip(labels.names, read_json(split.stats)["pixels"], strict=True))
    except (KeyError, TypeError, ValueError) as error:
        raise RunFailed(f"{split.stats}: has no number of pixels for each class.\n{AGAIN}") from error
    return [name for name, number in pixels.items() if not number]


def _described(names: tuple[str, ...], others: tuple[str, ...]) -> str:
    """How many classes there are, and which of them the others are not."""
    own = [name for name in names if name not in others]
    return f"{len(names)} classes" + (f", among them {examples(own)}" if own else "")
