"""What the report reads: the listed runs and the prepared data. Only here are their files opened."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from dacs.errors import RunFailed
from dacs.files import read_json
from dacs.labels import CLASSES
from dacs.loading import splits

MIXING = {  # the files of one mixed example, and whether each is a picture, a label or a mask
    "source": "image",
    "source_label": "label",
    "target": "image",
    "pseudo": "label",
    "mask": "mask",
    "mixed": "image",
    "label": "label",
    "augmented": "image",
}
NETWORKS = ("student", "teacher")  # of confusion.json
LOG_COLUMNS = ("loss_source", "loss_mixed", "lambda", "pseudo_accuracy", "confident_accuracy", "confident_share")


class Run(NamedTuple):
    """One run: where it is and what it is."""

    task: str
    method: str
    seed: int
    folder: Path


class Frame(NamedTuple):
    """Files of a prepared frame."""

    image: Path
    label: Path | None  # None: nobody has labelled it


def listed(runs: Path, tasks: Sequence[str], methods: Sequence[str], seeds: Sequence[int]) -> list[Run]:
    """The runs of these tasks, methods and seeds; what else lies in the folder is left alone."""
    return [
        Run(task, method, seed, runs / task / method / f"seed{seed}")
        for task, method, seed in product(tasks, methods, seeds)
    ]


def made(path: Path, step: str) -> Path:
    """The path, if something is there; else the step that makes it is named."""
    if not path.exists():
        raise RunFailed(f"{path}: not found.\nIt is made by '{step}'; run that, or 'snakemake --cores all all'.")
    return path


def confusion(run: Run) -> dict[str, np.ndarray]:
    """Counts by network ("student", "teacher"): each 19 x 19, [truth][prediction]."""
    path = made(run.folder / "evaluation/confusion.json", f"dacs evaluate --run {run.folder}")
    found = read_json(path)
    counts = {network: np.asarray(found[network], dtype=float) for network in NETWORKS if network in found}
    for network, matrix in counts.items():
        if matrix.shape != (len(CLASSES), len(CLASSES)):
            raise RunFailed(
                f"{path}: {network} has counts of shape {matrix.shape}, expected 19 x 19.\n"
                f"Delete it and run 'dacs evaluate --run {run.folder}' again."
            )
    return counts


def verdict(run: Run) -> dict[str, Any]:
    """What was measured: at which size of `labels` (None: nothing was), and which classes are `absent` there."""
    return dict(read_json(made(run.folder / "evaluation/metrics.json", f"dacs evaluate --run {run.folder}")))


def log(run: Run) -> pd.DataFrame:
    """The rows of log.csv: step and whatever was logged, as numbers; NaN where a cell is empty."""
    verb = "train" if run.method in ("source", "oracle") else "adapt"
    frame = pd.read_csv(made(run.folder / "log.csv", f"dacs {verb} --out {run.folder}"))
    return frame.apply(pd.to_numeric, errors="coerce")


def settings(run: Run) -> dict[str, Any]:
    """The card that a run leaves behind."""
    return dict(read_json(made(run.folder / "settings.json", f"dacs train or adapt --out {run.folder}")))


def mixing(run: Run) -> dict[str, np.ndarray]:
    """One example of what an adapting run learned from, by the names of `MIXING`."""
    folder = run.folder / "mixing"
    return {name: pixels(made(folder / f"{name}.png", f"dacs adapt --out {run.folder}")) for name in MIXING}


def stems(runs: Sequence[Run]) -> list[str]:
    """Names of the frames whose prediction every one of these runs has kept, sorted."""
    folders = [made(run.folder / "evaluation/predictions", f"dacs evaluate --run {run.folder}") for run in runs]
    kept = [{path.stem for path in folder.glob("*.png")} for folder in folders]
    return sorted(set.intersection(*kept)) if kept else []


def prediction(run: Run, stem: str) -> np.ndarray:
    """Train ids that the student of a run gives to a frame: height x width."""
    return pixels(run.folder / "evaluation/predictions" / f"{stem}.png")


def card(ready: Path, domain: str, split: str) -> dict[str, Any]:
    """The statistics of one prepared split."""
    return dict(read_json(made(ready / domain / split / "card.json", f"dacs remap --domain {domain}")))


def contract(ready: Path, domain: str) -> dict[str, Any]:
    """What was found of a domain, against what is published."""
    return dict(read_json(made(ready / domain / "contract.json", f"dacs remap --domain {domain}")))


def labelled(ready: Path, domain: str) -> str:
    """The split of a source that is learnt from with its labels."""
    return "train" if "pixels" in card(ready, domain, "train") else "oracle"


def measured(ready: Path, domain: str) -> str:
    """The split of a target that is measured on; its training frames, without a verdict, where it has no val."""
    made(ready / domain / "contract.json", f"dacs remap --domain {domain}")
    return splits.measured(ready / domain).name


def frames(ready: Path, target: str) -> dict[str, Frame]:
    """Image and label file of each frame that a target is measured on, by the stem of the image."""
    index = made(ready / target / measured(ready, target) / "index.csv", f"dacs remap --domain {target}")
    rows = pd.read_csv(index, dtype=str).to_dict("records")
    return {
        Path(row["image"]).stem: Frame(
            index.parent / row["image"], index.parent / row["label"] if "label" in row else None
        )
        for row in rows
    }


def pixels(path: Path) -> np.ndarray:
    """uint8 of a PNG, or of a PPM: colours for a picture, indices for a palette, levels for a mask."""
    try:
        with Image.open(path) as image:
            return np.asarray(image)
    except (OSError, SyntaxError) as error:
        raise RunFailed(
            f"{path}: not a whole PNG ({error}).\nDelete it and run the step that makes it again."
        ) from error
