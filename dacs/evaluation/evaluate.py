"""A run's networks against labelled frames: confusion matrices, scores, and a few predictions to look at."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dacs.data.dataset import Split
from dacs.errors import RunFailed
from dacs.evaluation.confusion import count, scores
from dacs.evaluation.shown import save_labels, spread
from dacs.files import read_json, write_json
from dacs.labels import NAMES
from dacs.models.build import build
from dacs.models.deeplab import Segmenter

NETWORKS = {"student": "weights.safetensors", "teacher": "teacher.safetensors"}


def evaluate_run(run: Path, split: Path, out: Path, *, batch: int, frames: int) -> None:
    """Count the predictions of a run's student and teacher on a prepared labelled split.

    Writes confusion.json ([true][predicted] counts), metrics.json (percent), and the student's predictions of
    `frames` evenly spread frames as palette PNG of train ids. The networks are in evaluation mode; logits are
    enlarged to the frames' size, and the labels are those of that size (authors' code: 512x1024).
    """
    data = Split(split)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    shown = spread(frames, len(data))
    matrices, figures = {}, {}
    for role, file in NETWORKS.items():
        network = load(run, file).to(device)
        matrix = np.zeros((len(NAMES), len(NAMES)), dtype=np.int64)
        for i, predicted in _predictions(network, data, batch, device):
            truth = data.label(i)
            if truth is None:
                raise RunFailed(f"{split}: its frames have no labels to evaluate on.\nChoose a labelled split.")
            matrix += count(truth.numpy(), predicted)
            if role == "student" and i in shown:
                save_labels(predicted, out / "predictions" / f"{data.names[i]}.png")
        matrices[role], figures[role] = matrix.tolist(), scores(matrix)
    write_json(out / "confusion.json", {"classes": list(NAMES), **matrices})
    write_json(out / "metrics.json", figures)


def load(run: Path, file: str = "weights.safetensors") -> Segmenter:
    """A network of a finished run, in evaluation mode; its shape is told by the run's settings.json."""
    model = read_json(run / "settings.json")["settings"]["model"]
    network = build(model["network"], aspp_branches=model["aspp_branches"], bn_affine=model["bn_affine"])
    try:
        network.load_state_dict(load_file(run / file))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise RunFailed(
            f"{run / file}: not weights of {model['network']} ({error}).\nDelete {run} and make the run again."
        ) from error
    return network.eval()


@torch.inference_mode()
def _predictions(network: Segmenter, data: Split, batch: int, device: torch.device) -> Iterator[tuple[int, np.ndarray]]:
    """The number of each frame and its predicted train ids, uint8 of shape (height, width)."""
    for first in range(0, len(data), batch):
        numbers = range(first, min(first + batch, len(data)))
        images = torch.stack([data.image(i) for i in numbers]).to(device)
        yield from zip(numbers, _classes(network, images), strict=True)


def _classes(network: Segmenter, images: Tensor) -> np.ndarray:
    return network(images.float() / 255).argmax(1).byte().cpu().numpy()
