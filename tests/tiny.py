"""Prepared data, settings and runs so small that a run takes a second."""

import copy
import hashlib
import json
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from dacs.config import load
from dacs.files import write_json
from dacs.labels import CITYSCAPES, IGNORE
from dacs.layout import PreparedDomain, PreparedSplit, RunDir
from dacs.methods import method as method_row
from dacs.provenance import ROOT
from dacs.settings import AdaBN, Adapt, EvaluateJob, Loop, Model, Params, RunSettings, TrainJob
from dacs.training.run import Run

STEPS, FRAMES = 6, 4  # of a run; of a split
NAMES = CITYSCAPES.names
SIZES = {"gta5": (40, 64), "cityscapes": (36, 72)}  # height, width of the prepared frames
SPLITS: dict[str, dict[str, tuple[str, ...]]] = {  # domain → split → columns of its index
    "gta5": {"train": ("image", "label")},
    "cityscapes": {"train": ("image",), "oracle": ("image", "label"), "val": ("image", "label", "full")},
}
REPORTS = {
    "gta5": {"domain": "gta5", "labelled_split": "train", "measured_split": "train"},
    "cityscapes": {"domain": "cityscapes", "labelled_split": "oracle", "measured_split": "val"},
}
LOOP: dict[str, Any] = {
    "batch": 2,
    "crop": [32, 32],
    "warmup": 1,
    "warmup_ratio": 0.5,
    "backbone_lr_factor": 1,
    "channels_last": False,
    "log_every": 2,
    "checkpoint_every": 4,
    "snapshots": 3,
    "device": "cpu",
}
MODEL = {"network": "small", "weights": "none"}
ADAPT = {"steps": STEPS, "init": "backbone", "bn_statistics": "live", "feature_distance": 0}  # no pretrained weights
TRAIN = {"steps": STEPS, "bn_statistics": "live", "start": None}  # no adaptation starts from it
LAX = {"strict": False}  # a list may stand for a pair

# --------------------------------------------------------------------------------------------------------------------
# Settings


def content() -> dict[str, Any]:
    """What params.yaml holds, as shipped."""
    return yaml.safe_load((ROOT / "params.yaml").read_text())


def changed(path: str, value: Any, of: dict[str, Any] | None = None) -> dict[str, Any]:
    """A copy of params.yaml's content with the value at a dotted path replaced, or added."""
    result = copy.deepcopy(content() if of is None else of)
    *sections, key = path.split(".")
    inner = result
    for section in sections:
        inner = inner[section]
    inner[key] = value
    return result


@cache
def params() -> Params:
    """params.yaml as shipped."""
    return load(content())


def adapt(**changes: Any) -> Adapt:
    """The section `adapt` for a few steps from random weights, with changes."""
    return Adapt.model_validate({**params().adapt.model_dump(), **ADAPT, **changes}, **LAX)


def train(**changes: Any) -> TrainJob:
    """The section `train` for a few steps, with changes."""
    return TrainJob.model_validate({**params().train.model_dump(), **TRAIN, **changes}, **LAX)


def adabn(**changes: Any) -> AdaBN:
    """The section `adabn` for a few images, with changes."""
    return AdaBN.model_validate({"frames": FRAMES, **changes}, **LAX)


def model(**changes: Any) -> Model:
    """The section `model` for a small network from random weights, with changes."""
    return Model.model_validate({**params().model.model_dump(), **MODEL, **changes}, **LAX)


def loop(**changes: Any) -> Loop:
    """The section `loop` for a few small steps on the CPU, with changes."""
    return Loop.model_validate({**params().loop.model_dump(), **LOOP, **changes}, **LAX)


def settings(method: str = "source", **changes: Any) -> RunSettings:
    """The settings of a run; each change goes to the section that has a setting of its name."""
    row = method_row(method)
    own = (
        {"adapt": partial(adapt, **dict(row.settings))}
        if row.adapts
        else {"adabn": adabn}
        if row.recalibrates
        else {"train": train}
    )
    makers = {"model": model, "loop": loop, **own}
    given = {
        section: {name: value for name, value in changes.items() if name in make().model_fields_set}
        for section, make in makers.items()
    }
    assert sum(map(len, given.values())) == len(changes), changes
    return RunSettings(**{section: make(**given[section]) for section, make in makers.items()})


def evaluate_job(**changes: Any) -> EvaluateJob:
    """What `evaluate` is given."""
    given = {"batch": 4, "labels": "prepared", "frames": 2, "absent": [], "device": "cpu"}
    given |= {"adabn_frames": FRAMES, "criteria_frames": FRAMES, "choose_by": "information"}
    return EvaluateJob.model_validate({**given, **changes})


# --------------------------------------------------------------------------------------------------------------------
# Prepared data


def prepare(folder: Path, images: str = "png") -> Path:
    """Write prepared data of both domains below `folder`, without the package's own writers; return `folder`."""
    for domain, splits in SPLITS.items():
        prepared = PreparedDomain(folder / domain)
        for split, columns in splits.items():
            write_split(prepared.split(split), columns, SIZES[domain], images, seed=len(domain) + (split == "val"))
        write_json(prepared.data_report, REPORTS[domain])
    return folder


def write_split(split: PreparedSplit, columns: tuple[str, ...], size: tuple[int, int], images: str, seed: int) -> None:
    """Write one split; the images of the oracle are those of train."""
    rng = np.random.default_rng(seed)
    rows, counts = [",".join(columns)], [",".join(["image", *NAMES])]
    pixels_of = np.zeros(len(NAMES), int)
    folder = "../train/images" if split.path.name == "oracle" else "images"
    for number in range(FRAMES):
        full = label(rng, (2 * size[0], 2 * size[1]))
        pixels = {"image": photo(rng, size), "label": full[::2, ::2], "full": full}
        files = {"image": f"{folder}/{number}.{images}", "label": f"labels/{number}.png", "full": f"full/{number}.png"}
        for column in columns:
            save(pixels[column], split.path / files[column])
        rows.append(",".join(files[column] for column in columns))
        found = np.bincount(pixels["label"].flatten(), minlength=IGNORE + 1)[: len(NAMES)]
        counts.append(",".join([files["image"], *map(str, found)]))
        pixels_of += found
    split.index.write_text("\n".join(rows) + "\n")
    if "label" in columns:
        split.class_counts.write_text("\n".join(counts) + "\n")
    files = [row.split(",") for row in rows[1:]]
    parts = {"sha256": slice(2), "sha256_full": slice(2, 3)}  # columns of an index
    digests = {key: digest_of(split.path, [row[part] for row in files]) for key, part in parts.items()}
    stats = {"frames": FRAMES, "size": list(size), **digests}
    write_json(split.stats, stats | ({"pixels": pixels_of.tolist()} if "label" in columns else {}))


def digest_of(folder: Path, rows: list[list[str]]) -> str:
    """The digest that `remap` records of a split: over the names and sha256 of its images and labels."""
    pairs = sorted([name, hashlib.sha256((folder / name).read_bytes()).hexdigest()] for row in rows for name in row)
    return hashlib.sha256(json.dumps(pairs, separators=(",", ":")).encode()).hexdigest()


def label(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Train ids in blocks, some of them ignored: uint8 of shape (height, width)."""
    blocks = rng.integers(0, len(NAMES) + 4, (size[0] // 8 + 1, size[1] // 8 + 1), dtype=np.uint8)
    blocks[blocks >= len(NAMES)] = IGNORE
    return blocks.repeat(8, axis=0).repeat(8, axis=1)[: size[0], : size[1]]


def photo(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """A smooth random image: uint8 of shape (height, width, 3)."""
    small = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    return np.asarray(small.resize(size[::-1], Image.Resampling.BICUBIC))


def save(pixels: np.ndarray, path: Path) -> None:
    """Write an image, or train ids with their palette."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    if pixels.ndim == 2:
        image.putpalette(CITYSCAPES.palette().tobytes())
    image.save(path)


# --------------------------------------------------------------------------------------------------------------------
# Runs


NO_DATA = Path("no data")


def run(
    ready: Path = NO_DATA, method: str = "source", seed: int = 0, init: RunDir | None = None, **changes: Any
) -> Run:
    """A run of gta5 → cityscapes on prepared data; changes are those of `settings`."""
    labelled = "cityscapes/oracle" if method_row(method).labels == "target" else "gta5/train"
    source, target = PreparedSplit(ready / labelled), PreparedDomain(ready / "cityscapes").train
    return Run(method, seed, settings(method, **changes), source, target, init)


def finished_run(folder: Path, network: str = "small", seed: int = 0) -> RunDir:
    """A run folder with untrained weights: of both networks, and those from which adaptation starts."""
    from safetensors.torch import save_file

    from dacs.models.build import build

    folder.mkdir(parents=True)
    found, section = RunDir(folder), model(network=network)
    for offset, path in enumerate((found.weights, found.teacher, found.start)):
        save_file(build(section, seed + offset).state_dict(), path)
    write_json(found.spec, {"settings": {"model": section.model_dump(mode="json")}})
    return found


def run_with_snapshots(folder: Path, network: str = "small", **changes: Any) -> RunDir:
    """An adaptation with untrained weights, others at steps 2 and 4, which it kept; changes are those of `adapt`."""
    from safetensors.torch import save_file

    from dacs.models.build import build

    found = finished_run(folder, network)
    found.snapshots.mkdir()
    for step in (2, 4):
        for offset, name in enumerate(("student", "teacher")):
            save_file(build(model(network=network), 10 * step + offset).state_dict(), found.snapshot(step, name))
    sections = {"model": model(network=network), "loop": loop(), "adapt": adapt(**changes)}
    write_json(found.spec, {"settings": {name: each.model_dump(mode="json") for name, each in sections.items()}})
    return found


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of all files under a folder, by name."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
