"""One example of mixing as PNG files, for the report."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from dacs.adaptation.masks import Mask
from dacs.evaluation.spread import save_labels
from dacs.files import atomic
from dacs.types import LabelledImages


class MixExample(NamedTuple):
    """What one mixed batch was made of."""

    source: LabelledImages
    target: LabelledImages
    mixed: LabelledImages
    augmented: Tensor
    mask: Mask


def save_example(folder: Path, example: MixExample) -> None:
    """Write the first image of the batch as source, target, mask, mixed, augmented and their labels."""
    source, target, mixed, augmented, mask = example
    images = {"source": source.images, "target": target.images, "mixed": mixed.images, "augmented": augmented}
    for name, batch in images.items():
        _save(_picture(batch[0]), folder / f"{name}.png")
    labels = {"source_label": source.labels, "pseudo": target.labels, "label": mixed.labels}
    for name, batch in labels.items():
        save_labels(batch[0].cpu().numpy().astype(np.uint8), folder / f"{name}.png")
    _save(Image.fromarray(mask[0].cpu().numpy().astype(np.uint8) * 255), folder / "mask.png")


def _picture(image: Tensor) -> Image.Image:
    pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0)  # height width channels
    return Image.fromarray(pixels.cpu().numpy())


def _save(image: Image.Image, path: Path) -> None:
    with atomic(path) as partial:
        image.save(partial)
