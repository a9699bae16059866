"""The value that is passed through the method: images with labels, and the confidence in these labels."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

Images = Float[Tensor, "batch 3 height width"]  # RGB in [0, 1]
Labels = Int[Tensor, "batch height width"]  # train ids, 255 = ignore
Confidence = Float[Tensor, "batch height width"]  # probability of the label, in [0, 1]
Logits = Float[Tensor, "batch classes height width"]


@dataclass(frozen=True)
class LabelledImages:
    """Images with a label and a confidence for each pixel; 1 where the label is ground truth."""

    images: Images
    labels: Labels
    confidence: Confidence
