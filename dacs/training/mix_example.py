"""One example of mixing as PNG files, for the report."""

from pathlib import Path
from typing import NamedTuple

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
    pictures = {name: batch[0].clamp(0, 1).permute(1, 2, 0) for name, batch in images.items()}  # height width channels
    for name, picture in {**pictures, "mask": mask[0]}.items():
        with atomic(folder / f"{name}.png") as partial:
            Image.fromarray((picture * 255).round().byte().cpu().numpy()).save(partial)
    labels = {"source_label": source.labels, "pseudo": target.labels, "label": mixed.labels}
    for name, batch in labels.items():
        save_labels(batch[0].byte().cpu().numpy(), folder / f"{name}.png")
