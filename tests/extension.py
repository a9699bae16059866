"""What docs/extending.md describes, from outside of the package: one row and one function of each kind."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Generator, nn

from dacs.adaptation.masks import Mask
from dacs.adaptation.sampling import Frames, Order, Pick
from dacs.datasets.base import DataSet, Layout
from dacs.datasets.decode import decode_ids
from dacs.methods import MIXED_LOSS, SOURCE_LOSS, Method
from dacs.models.segmenter import NORMALISATION, Segmenter
from dacs.reporting.data import ReportData
from dacs.reporting.figures import FigureSpec
from dacs.reporting.style import Plot
from dacs.settings import Adapt, Model, RunSettings
from dacs.training.objectives import Losses, Networks, StepBatch, Term
from dacs.types import Labels

# A mixing method, with a loss term and a sampler of its own


def stripes(labels: Labels, generator: Generator, adapt: Adapt) -> Mask:
    """Paste every other column of eight pixels."""
    columns = torch.arange(labels.shape[-1], device=labels.device) // 8 % 2 == 0
    return columns.expand(labels.shape)


class TargetEntropy(Term):
    """The entropy of the predictions on target images (ADVENT's direct minimisation), a hundredth of it."""

    def __call__(self, networks: Networks, batch: StepBatch) -> Losses:
        assert batch.target is not None
        log_probability = networks.student(batch.target).log_softmax(1)
        loss = -0.01 * batch.share * (log_probability.exp() * log_probability).sum(1).mean()
        loss.backward()
        return {"loss_entropy": loss.detach()}


def most_classes_first(frames: Frames, seed: int, settings: RunSettings) -> Order:
    """Show the frames with the most classes first, over and over."""
    ranking = (frames.class_counts() > 0).sum(1).argsort(descending=True, stable=True).tolist()
    return lambda sample: Pick(ranking[sample % len(ranking)])


STRIPES = Method(
    "stripes",
    "#7a4a00",
    "#d8a860",
    "source images, and stripes of a source image pasted on a target image",
    terms=(SOURCE_LOSS, MIXED_LOSS, "extension:TargetEntropy"),
    foreground="source",
    mask="extension:stripes",
    order="extension:most_classes_first",
)

# A network


def one_layer(classes: int, model: Model) -> Segmenter:
    """A 3x3 convolution as backbone, a 1x1 convolution as head."""
    return Segmenter(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, classes, 1), NORMALISATION[model.convention])


# A data set


TOWN = DataSet(
    name="town",
    title="Town",
    layouts=(Layout("photos", "classes"),),
    frame=r"\d{3}",
    splits={"train": "train"},
    decode=decode_ids,
    classes={0: ("void",), 1: ("road",), 2: ("sky",), 3: ("car",)},
    published={"train": 4},
)


def write_town(folder: Path) -> None:
    """Four frames: sky above a road, with a car on it in every other frame."""
    for number in range(4):
        ids = np.full((60, 100), 1, np.uint8)
        ids[:20] = 2
        ids[30:40, 10 : 10 + 40 * (number % 2)] = 3
        for kind, pixels in (("photos", np.repeat(60 * ids[..., None], 3, 2)), ("classes", ids)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / kind / f"{number:03d}.png"), pixels)


# A figure


def road_iou(report: ReportData) -> Iterator[Plot]:
    """A bar of the IoU of road for each run."""
    table = report.tables["iou"]
    road = table[table["class"] == "road"]
    figure = Figure(figsize=(6, 2))
    figure.add_subplot().barh(road["method"], road["iou"])
    yield Plot("all", figure, alt="IoU of road by method", caption="IoU of road")


ROAD_IOU = FigureSpec("results", road_iou)
