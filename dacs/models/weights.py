"""Initial weights of a backbone: published ones by name, or those of a file.

A file is read as plain data, never unpickled into objects, and checked against the beginning of its sha256 in its name
(torch hub's convention).
"""

import os
import pickle
import re
import sys
import urllib.error
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten
from typing import Any

from dacs.errors import BadRequest, RunFailed
from dacs.fields import TIMM
from dacs.files import digest
from dacs.models.published import IMAGENET, Published, published
from dacs.networks import WITH_BACKBONE
from dacs.settings import Model

PACKAGE = "package:"  # before the package of a file and its path in there, in place of an address
HUB_FILE = "model.safetensors"
LAYOUTS = ("torchvision", "torchvision_deeplab", "caffe")
TABLES = (  # under which checkpoints keep the tensors of a network, averages over steps (EMA) after those of a step
    *("state_dict", "model_state_dict", "model_state", "model", "network", "net", "student", "weights", "params"),
    *("state_dict_ema", "model_ema", "ema_model", "ema_state_dict", "ema", "params_ema", "teacher"),
)
WRAPPERS = ("module", "_orig_mod", "model", "network", "net", "ema", "student", "backbone", "encoder")
PARTS = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}  # of deeplab.py's ResNet
STAGE = re.compile(r"(layer[1-4]|\d+)\.")  # how names of tensors of a backbone begin
COUNTER = "num_batches_tracked"  # which older files have none of


def weights_file(model: Model) -> Path:
    """The file that `model.weights` names, downloaded if it is a published one that is missing.

    Raises BadRequest where there is no such file, RunFailed where it cannot be had or has another hash.
    """
    path = weights_on_disk(model)
    if path is None:
        rows = _published_rows(model)
        if rows:
            path = _download(rows, Path(model.weights_folder))
        elif _is_on_hub(model):
            path = _download_from_hub(model)
        else:
            raise BadRequest(
                f"model.weights: {model.weights} was not found.\nName a .pth or .safetensors file, or none."
            )
    prefix, found = _prefix(path), digest(path)
    if not found.startswith(prefix):
        raise RunFailed(
            f"{path}: its sha256 begins with {found[: len(prefix)]}, its name says {prefix}.\n"
            "The file is damaged or another one: delete it, or take the hash out of its name if you know it."
        )
    return path


def weights_on_disk(model: Model) -> Path | None:
    """The file that `model.weights` names, if it is there.

    A published one is looked for in its package, in `model.weights_folder` and in torch hub's folder.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    hub = Path(os.environ.get("TORCH_HOME") or cache / "torch") / "hub/checkpoints"  # torch.hub's rule, without torch
    folder, rows = Path(model.weights_folder), _published_rows(model)
    if rows:
        candidates = [*_in_package(rows[0]), folder / rows[0].file, hub / rows[0].file]
    elif _is_on_hub(model):
        candidates = [folder / model.backbone / HUB_FILE]
    else:
        candidates = [Path(model.weights)]
    return next((path for path in candidates if path.is_file()), None)


def _published_rows(model: Model) -> list[Published]:
    return [row for row in published() if (row.name, row.network) == (model.weights, model.pretrained_part)]


def _is_on_hub(model: Model) -> bool:
    return model.weights == IMAGENET and model.network in WITH_BACKBONE


def _in_package(row: Published) -> list[Path]:
    """The file in the installed package that brings it, if one does."""
    if not row.address.startswith(PACKAGE):
        return []
    package, _, inside = row.address.removeprefix(PACKAGE).partition("/")
    found = find_spec(package)
    return [Path(folder) / inside for folder in (found.submodule_search_locations or [] if found else [])]


def _download_from_hub(model: Model) -> Path:
    """Download timm's own weights of a backbone from the Hugging Face hub."""
    import timm
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # of its HTTP library, whichever it is

    folder = Path(model.weights_folder) / model.backbone
    described = timm.get_pretrained_cfg(model.backbone.removeprefix(TIMM))
    try:
        if described is None or not described.hf_hub_id:
            raise ValueError("timm names none")
        return Path(hf_hub_download(described.hf_hub_id, HUB_FILE, local_dir=folder))
    except (HTTPError, OSError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RunFailed(
            f"model.weights: the {IMAGENET} weights of {model.backbone} could not be downloaded ({reason}).\n"
            f"Put timm's {HUB_FILE} of this network into {folder}, or name a file in model.weights."
        ) from error


def _download(rows: list[Published], folder: Path) -> Path:
    """Download with torch hub, which names a file only when its hash is right."""
    import torch.hub

    folder.mkdir(parents=True, exist_ok=True)
    path, failures = folder / rows[0].file, []
    for row in rows:
        try:
            torch.hub.download_url_to_file(row.address, str(path), hash_prefix=_prefix(path), progress=False)
            return path
        except (urllib.error.URLError, OSError, RuntimeError) as error:
            failures.append(f"{row.address} ({error})")
    raise RunFailed(
        f"model.weights: {path.name} is not in {folder}, and could not be downloaded from {' or '.join(failures)}.\n"
        f"Put the file there; its sha256 begins with {_prefix(path)}."
        + (f" A browser finds it at {rows[0].by_hand}" if rows[0].by_hand else "")
    )


def _prefix(path: Path) -> str:
    """The hex digits at the end of the name of a file, as torch hub reads them; empty where there are none."""
    match = re.search(r"-([0-9a-f]{8,64})\.", path.name)
    return match[1] if match else ""


def read(path: Path) -> dict[str, Any]:
    """The tensors of a .pth or .safetensors file by name. Raises RunFailed for anything but plain tensors."""
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or hostile file can break its reader in any way
        raise RunFailed(
            f"{path}: not a file of plain tensors ({_reason(error, path)}).\nUse the published file."
        ) from error
    tensors = _table(content, path)
    if tensors is None:
        held = f" but of {', '.join(map(str, content))}" if isinstance(content, dict) and content else ""
        raise RunFailed(f"{path}: not a table of tensors by name{shorten(held, 200)}.\nUse the published file.")
    return tensors


def _reason(error: Exception, path: Path) -> str:
    """Why a file cannot be read, in one line."""
    with suppress(OSError), path.open("rb") as stream:
        if stream.read(100).lstrip().startswith(b"<"):
            return "a web page, which servers send in place of a file"
    if isinstance(error, pickle.UnpicklingError):
        return "Python objects, which are never run: save the state_dict of a model instead; or a damaged file"
    return shorten(str(error), 200) or type(error).__name__


def _table(content: Any, path: Path) -> dict[str, Any] | None:
    """The tensors of one network in a checkpoint, which may keep several tables, and tables of tables."""
    import torch

    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        return None
    if content and all(isinstance(value, torch.Tensor) for value in content.values()):
        return content
    tables = {name: table for name, value in content.items() if (table := _table(value, path))}
    known = [name for name in TABLES if name in tables]
    if len(known) > 1:
        print(f"{path}: holds {', '.join(known)}; read {known[0]}", file=sys.stderr)
    return tables[known[0]] if known else None


def unwrapped(tensors: dict[str, Any], wanted: Collection[str], path: Path) -> tuple[dict[str, Any], str]:
    """The tensors of the part of a network that has the `wanted` names, under these, and the prefix that they had.

    Where fewer than a quarter of them are found, it is what names of wrappers, such as `module.`, leave over.
    """
    parts = ((name.split("."), name) for name in tensors)
    tails = ((name, ".".join(words[first:])) for words, name in parts for first in range(len(words)))
    found = Counter(name.removesuffix(tail) for name, tail in tails if tail in wanted)
    most = max(found.values(), default=0)
    best = sorted((prefix for prefix, number in found.items() if number == most), key=len)
    if 4 * most < len(wanted):
        best = [_wrapper(tensors)]
    if len(best) > 1:
        print(f"{path}: holds the network as {', '.join(best)}; read {best[0]}", file=sys.stderr)
    prefix = best[0]
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}, prefix


def _wrapper(tensors: Collection[str]) -> str:
    """The names of wrappers before most of the names."""
    for word in WRAPPERS:
        inside = [name.removeprefix(f"{word}.") for name in tensors if name.startswith(f"{word}.")]
        if 2 * len(inside) > len(tensors):
            return f"{word}.{_wrapper(inside)}"
    return ""


def layout_of(tensors: dict[str, Any]) -> str:
    """The layout that names of tensors show: torchvision, torchvision_deeplab or caffe."""
    names = " ".join(tensors)
    if "layer5.conv2d_list" in names:
        return "caffe"
    return "torchvision_deeplab" if "backbone." in names else "torchvision"


def load_backbone(backbone: Any, path: Path, *, convention: str) -> None:
    """Copy the backbone of a file into that of a ResNet or MobileNet.

    Raises BadRequest where the file was made for the other `convention`, RunFailed listing tensors that are missing, of
    another shape, or of a backbone that has more.
    """
    tensors = read(path)
    layout = layout_of(tensors)
    if (layout == "caffe") != (convention == "caffe"):
        raise BadRequest(
            f"{path}: holds weights in the layout of {layout}, but model.convention is {convention}.\n"
            f"Set model.convention to {layout.removesuffix('_deeplab')}."
        )
    sha256 = "" if _prefix(path) else digest(path)
    if sha256 and not any(sha256.startswith(_prefix(Path(row.file))) for row in published()):
        print(f"{path}: not a published file (sha256 {sha256[:8]}…); read in the layout of {layout}", file=sys.stderr)
    wanted = backbone.state_dict()
    theirs = {own: _their_name(own, wanted) for own in wanted}
    part, prefix = unwrapped(tensors, {*theirs.values(), *wanted}, path)
    names = {own: each for own, name in theirs.items() for each in (own, name) if each in part}  # that the part has
    missing = [f"{prefix}{theirs[own]}: missing" for own in wanted if own not in names and not own.endswith(COUNTER)]
    if faults := missing + _faults(part, names, wanted, prefix):
        listed = "\n  ".join(faults[:10])
        raise RunFailed(
            f"{path}: {len(faults)} tensors of the backbone do not fit:\n  {listed}\n"
            f"Name the weights' own network; the file holds {', '.join(list(tensors)[:3])} and so on."
        )
    found = {own: part[name] for own, name in names.items()}
    if layout == "caffe":
        found["0.weight"] = found["0.weight"].flip(1)  # blue, green, red → red, green, blue
    backbone.load_state_dict({name: found.get(name, value) for name, value in wanted.items()})


def _faults(part: dict[str, Any], names: dict[str, str], wanted: dict[str, Any], prefix: str) -> list[str]:
    """What is there in a file and does not fit our backbone, a line each.

    A deeper ResNet has all tensors of a shallower one, and more: those more are what tells them apart.
    """
    faults = [
        f"{prefix}{name}: {tuple(part[name].shape)}, expected {tuple(wanted[own].shape)}"
        for own, name in names.items()
        if part[name].shape != wanted[own].shape
    ]
    known = set(names.values())
    return faults + [f"{prefix}{name}: not expected" for name in part if name not in known and STAGE.match(name)]


def _their_name(name: str, names: Collection[str]) -> str:
    """The name in torchvision's network of a tensor of our backbone, one of `names`: ours numbers a ResNet's parts."""
    position, _, rest = name.partition(".")
    return f"{PARTS[position]}.{rest}" if "4.0.conv1.weight" in names else name
