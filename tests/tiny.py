"""Prepared data and settings so small that a run takes a second."""

import copy
from pathlib import Path
from typing import Any

import trees
import yaml

from dacs.config import load, settings_for
from dacs.datasets.formats import find
from dacs.files import write_json
from dacs.prepare.remap import remap
from dacs.provenance import ROOT

SIZES = {"gta5": (40, 64), "cityscapes": (36, 72)}  # height, width of the prepared frames
LOOP = {
    "batch": 2,
    "crop": [32, 32],
    "warmup": 1,
    "log_every": 2,
    "checkpoint_every": 4,
    "monitor_every": 4,
    "monitor_frames": 2,
    "device": "cpu",
}
STEPS = 6


def prepare(folder: Path) -> Path:
    """Raw trees, remapped; returns the folder of prepared data."""
    for domain, size in SIZES.items():
        trees.write_tree(domain, folder / "raw" / domain, frames=4, size=(2 * size[0], 2 * size[1]))
        raw = find(domain, folder / "raw" / domain)
        remap(raw, folder / "ready" / domain, size=size, resample="bicubic", images="png", workers=1)
    return folder / "ready"


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


def settings(method: str = "source", loop: dict[str, Any] | None = None, **part: Any) -> dict[str, Any]:
    """The settings of a run of a few steps: those of params.yaml but for what is given and for its size."""
    kind = "train" if method in ("source", "oracle") else "adapt"
    found = settings_for(load(content()), kind, method=method)
    found["loop"] |= LOOP | (loop or {})
    found[kind] |= {"steps": STEPS, **({} if kind == "train" else {"init": "backbone"}), **part}
    return found


def card(method: str = "source", seed: int = 0, loop: dict[str, Any] | None = None, **part: Any) -> dict[str, Any]:
    """What the loop is told of a run."""
    return {"key": "key", "method": method, "seed": seed, "settings": settings(method, loop, **part)}


def finished_run(folder: Path, network: str = "small", seed: int = 0) -> Path:
    """A run folder with untrained weights of both networks."""
    from safetensors.torch import save_file

    from dacs.models.build import build

    folder.mkdir(parents=True)
    for offset, name in enumerate(("weights.safetensors", "teacher.safetensors")):
        save_file(build(network, aspp_branches=4, seed=seed + offset).state_dict(), folder / name)
    model = {"network": network, "aspp_branches": 4, "bn_affine": "trained", "convention": "torchvision"}
    write_json(folder / "settings.json", {"settings": {"model": model}})
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of all files under a folder, by name."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
