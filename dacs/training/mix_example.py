"""One example of mixing as PNG files, for the report."""

from pathlib import Path
from typing import NamedTuple

from PIL import Image
from torch import Tensor

from dacs.adaptation.losses import Weights
from dacs.adaptation.masks import Mask
from dacs.files import atomic, write_bytes
from dacs.labels import LabelSet
from dacs.prepare.pixels import png_of_label
from dacs.types import Images, LabelledImages


class MixExample(NamedTuple):
    """What a mixed batch was made of, and how much its pixels weigh in the loss."""

    source: LabelledImages
    target: LabelledImages
    mixed: LabelledImages
    augmented: Images
    mask: Mask
    weights: Weights


def save_example(folder: Path, example: MixExample, labels: LabelSet) -> None:
    """Write the first image of the batch as source, target, mask, mixed, augmented, their labels and weights.

    Mask and weights are gray, from 0 (black) to 1 (white).
    """
    source, target, mixed, augmented, mask, weights = example
    images = {"source": source.images, "target": target.images, "mixed": mixed.images, "augmented": augmented}
    pictures = {name: batch[0].clamp(0, 1).permute(1, 2, 0) for name, batch in images.items()}  # height width channels
    for name, picture in {**pictures, "mask": mask[0], "weight": weights[0]}.items():
        _save(folder / f"{name}.png", picture)
    train_ids = {"source_label": source.labels, "pseudo": target.labels, "label": mixed.labels}
    for name, batch in train_ids.items():
        write_bytes(folder / f"{name}.png", png_of_label(batch[0].byte().cpu().numpy(), labels))


def _save(path: Path, picture: Tensor) -> None:
    """Write a picture of values from 0 to 1."""
    with atomic(path) as partial:
        Image.fromarray((picture * 255).round().byte().cpu().numpy()).save(partial)
