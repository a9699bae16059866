"""A run's networks against labelled frames: confusion matrices, scores, and a few predictions to look at."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int64
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from dacs.errors import RunFailed
from dacs.evaluation.confusion import scores
from dacs.evaluation.spread import save_labels, spread
from dacs.files import read_json, write_json
from dacs.labels import NAMES
from dacs.loading.split import Split
from dacs.models.build import from_settings
from dacs.models.deeplab import Segmenter

NETWORKS = {"student": "weights.safetensors", "teacher": "teacher.safetensors"}


def evaluate_run(
    run: Path, split: Path, out: Path, *, batch: int, frames: int, labels: str, absent: Sequence[str]
) -> None:
    """Count the predictions of a run's student and teacher on a prepared split.

    Writes confusion.json ([true][predicted] counts), metrics.json (percent, and what was measured), and the student's
    predictions of `frames` evenly spread frames as palette PNG of train ids. The networks are in evaluation mode.
    `labels` says at which size pixels are counted: "prepared", that of the frames (authors' code: 512x1024), or "full",
    that of the raw labels, to which logits are enlarged (AdaptSegNet, DAFormer: 1024x2048). Means leave out the classes
    `absent` from the data set. Where the frames have no labels all counts are 0 and all scores None, and metrics.json
    says so as `unmeasured`.
    """
    data = Split(split)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    shown = spread(frames, len(data))
    numbers = list(range(len(data))) if data.labelled else shown
    matrices, figures = {}, {}
    sizes: set[tuple[int, int]] = set()
    for role, file in NETWORKS.items():
        network = load(run, file).to(device)
        matrix = torch.zeros(len(NAMES), len(NAMES), dtype=torch.int64, device=device)
        for i, logits in _logits(network, data, numbers, batch, device):
            truth = _truth(data, i, labels)
            if truth is not None:
                size = truth.shape[0], truth.shape[1]
                matrix += counted(truth.to(device), _enlarged(logits, size).argmax(0))
                sizes.add(size)
            if role == "student" and i in shown:
                save_labels(logits.argmax(0).byte().cpu().numpy(), out / "predictions" / f"{data.names[i]}.png")
        matrices[role], figures[role] = matrix.tolist(), scores(matrix.cpu().numpy(), absent)
    write_json(out / "confusion.json", {"classes": list(NAMES), **matrices})
    write_json(out / "metrics.json", {**figures, **_measured(data, labels, sizes), "absent": list(absent)})


def load(run: Path, file: str = "weights.safetensors") -> Segmenter:
    """A network of a finished run, in evaluation mode; its shape is told by the run's settings.json."""
    model = read_json(run / "settings.json")["settings"]["model"]
    network = from_settings(model)
    try:
        network.load_state_dict(load_file(run / file))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise RunFailed(
            f"{run / file}: not weights of {model['network']} ({error}).\nDelete {run} and make the run again."
        ) from error
    return network.eval()


@torch.inference_mode()
def _logits(
    network: Segmenter, data: Split, numbers: list[int], batch: int, device: torch.device
) -> Iterator[tuple[int, Tensor]]:
    """The number of each frame and its logits, of shape (classes, height, width)."""
    for first in range(0, len(numbers), batch):
        some = numbers[first : first + batch]
        images = torch.stack([data.image(i) for i in some]).to(device)
        try:
            logits = network(images.float() / 255)
        except torch.OutOfMemoryError as error:
            raise RunFailed(
                f"{len(some)} frames at a time do not fit into the memory of the GPU ({str(error).splitlines()[0]}).\n"
                f"Set evaluate.batch to {max(1, batch // 2)} in params.yaml; it has no effect on the result."
            ) from error
        yield from zip(some, logits, strict=True)


def counted(truth: Tensor, predicted: Tensor) -> Int64[Tensor, "19 19"]:
    """Confusion counts of one frame where it lies, as confusion.count makes them: rows are the truth."""
    classes = len(NAMES)
    pairs = torch.where(truth < classes, truth.long() * classes + predicted, classes**2)
    return torch.bincount(pairs.flatten(), minlength=classes**2 + 1)[:-1].reshape(classes, classes)


def _truth(data: Split, number: int, labels: str) -> Tensor | None:
    """Train ids of a frame at the size at which it is counted; None where nobody has labelled it."""
    return data.full(number) if data.labelled and labels == "full" else data.label(number)


def _enlarged(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinearly, as networks bring their logits to the size of a frame; of one frame, for that may be 160 MB."""
    if logits.shape[-2:] == size:
        return logits
    return F.interpolate(logits[None], size=size, mode="bilinear", align_corners=True)[0]


def _measured(data: Split, labels: str, sizes: set[tuple[int, int]]) -> dict[str, Any]:
    """At which sizes pixels were counted, height x width; or why none were."""
    if not data.labelled:
        domain, split = data.folder.absolute().parts[-2:]
        why = f"No labels came with the {split} frames of {domain}, so nothing could be measured on them."
        return {"labels": None, "unmeasured": why}
    listed = [f"{height}x{width}" for height, width in sorted(sizes)]
    return {"labels": f"{labels} {listed[0]}" if len(listed) == 1 else f"{labels}, {len(listed)} sizes"}
