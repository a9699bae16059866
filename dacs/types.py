"""The one value that travels through the method: labelled frames, and how sure we are of their labels."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

Images = Float[Tensor, "batch 3 height width"]  # RGB in [0, 1]
Labels = Int[Tensor, "batch height width"]  # train ids, 255 = ignore
Confidence = Float[Tensor, "batch height width"]  # probability of the label, in [0, 1]
Logits = Float[Tensor, "batch classes height width"]


@dataclass(frozen=True)
class Scene:
    """Frames with a label and a confidence for each pixel; 1 where the label is the truth."""

    image: Images
    label: Labels
    confidence: Confidence
