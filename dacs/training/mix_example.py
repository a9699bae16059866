"""The mixing picture: one example of a step as PNG files, for the report."""

from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from dacs.adaptation.masks import Mask
from dacs.evaluation.spread import save_labels
from dacs.files import atomic
from dacs.types import Scene


def save_mixing(folder: Path, source: Scene, target: Scene, mixed: Scene, augmented: Tensor, mask: Mask) -> None:
    """Write the first frame of a batch as source, target, mask, mixed, augmented and their labels."""
    for name, image in (
        ("source", source.image),
        ("target", target.image),
        ("mixed", mixed.image),
        ("augmented", augmented),
    ):
        _save(_picture(image[0]), folder / f"{name}.png")
    for name, labels in (("source_label", source.label), ("pseudo", target.label), ("label", mixed.label)):
        save_labels(labels[0].cpu().numpy().astype(np.uint8), folder / f"{name}.png")
    _save(Image.fromarray(mask[0].cpu().numpy().astype(np.uint8) * 255), folder / "mask.png")


def _picture(image: Tensor) -> Image.Image:
    pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0)  # height width channels
    return Image.fromarray(pixels.cpu().numpy())


def _save(image: Image.Image, path: Path) -> None:
    with atomic(path) as partial:
        image.save(partial)
