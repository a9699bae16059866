"""One example of mixing as PNG files, for the report."""

from pathlib import Path

from PIL import Image

from dacs.adaptation.masks import Mask
from dacs.files import atomic, write_bytes
from dacs.labels import LabelSet
from dacs.prepare.pixels import png_of_label
from dacs.types import Images, LabelledImages

MixExample = tuple[LabelledImages, LabelledImages, LabelledImages, Images, Mask]  # what a mixed batch was made of


def save_example(folder: Path, example: MixExample, labels: LabelSet) -> None:
    """Write the first image of the batch as source, target, mask, mixed, augmented and their labels."""
    source, target, mixed, augmented, mask = example
    images = {"source": source.images, "target": target.images, "mixed": mixed.images, "augmented": augmented}
    pictures = {name: batch[0].clamp(0, 1).permute(1, 2, 0) for name, batch in images.items()}  # height width channels
    for name, picture in {**pictures, "mask": mask[0]}.items():
        with atomic(folder / f"{name}.png") as partial:
            Image.fromarray((picture * 255).round().byte().cpu().numpy()).save(partial)
    train_ids = {"source_label": source.labels, "pseudo": target.labels, "label": mixed.labels}
    for name, batch in train_ids.items():
        write_bytes(folder / f"{name}.png", png_of_label(batch[0].byte().cpu().numpy(), labels))
