"""A data set of one's own: patterns of file names, and which class each raw id or colour is."""

import re
from functools import partial
from glob import glob
from pathlib import Path
from typing import Any

from dacs.datasets.decode import Decode, decode_ids, decode_painted
from dacs.datasets.formats import Format, Frame, Raw, pair
from dacs.datasets.storage import File
from dacs.errors import BadRequest, RunFailed
from dacs.labels import IGNORE, NAMES
from dacs.provenance import canonical

WILD = {"**/": "((?:.*/)?)", "*": "([^/]*)", "?": "([^/])"}


def find_own(domain: str, own: dict[str, Any]) -> Raw:
    """What the table of a data set finds: {"train": {"images", "labels"}, "val": the same or None, "classes": {…}}.

    An image and a label belong together when their patterns' wildcards stand for the same; that is the frame's name.
    Raises RunFailed where a pattern finds nothing, or a file has no partner.
    """
    splits = {split: own[split] for split in ("train", "val") if own.get(split)}
    decode, table = _classes(own["classes"])
    frames = {split: _frames(f"domains.{domain}.{split}", files) for split, files in splits.items()}
    form = Format(
        layouts=(),
        homes=(),
        name="",
        image_end="",
        label_end="",
        splits={
            split: ("oracle" if split == "train" else split) if splits[split]["labels"] else "" for split in splits
        },
        decode=decode,
        train_ids=table,
        published={},
        sizes=frozenset(),
        exact=False,
        full=frozenset({"val"}),
        stamp=canonical(own["classes"]),
    )
    root = Path(_steady(splits["train"]["images"]))
    layout = "; ".join(f"{files['images']} with {files['labels'] or 'no labels'}" for files in splits.values())
    return Raw(domain, root, "own", layout, form, decode, frames, {})


def _classes(classes: dict[str, str]) -> tuple[Decode, dict[int, int]]:
    """How labels are read, and the train id of each raw id; colours are numbered in the order of the table."""
    train = [IGNORE if name == "ignore" else NAMES.index(name) for name in classes.values()]
    if not any("," in raw for raw in classes):
        return decode_ids, dict(zip(map(int, classes), train, strict=True))
    colors = tuple(tuple(int(part) for part in raw.split(",")) for raw in classes)
    if max(max(color) for color in colors) > 255:
        raise BadRequest("classes: a colour has parts above 255.\nGive red, green and blue, 0 to 255.")
    return partial(decode_painted, colors=colors), dict(enumerate(train))


def _frames(where: str, files: dict[str, str]) -> list[Frame]:
    images = _matches(f"{where}.images", files["images"])
    if not files["labels"]:
        return sorted(Frame(name, file, None) for name, file in images.items())
    return pair(f"{where}", images, _matches(f"{where}.labels", files["labels"]))


def _matches(where: str, pattern: str) -> dict[str, File]:
    """The files that a pattern finds, by what its wildcards stand for."""
    if not re.search(r"[*?]", pattern):
        raise BadRequest(f"{where}: '{pattern}' has no wildcard.\nWrite a pattern, such as /data/fleet/images/*.png.")
    parts = [WILD.get(part, re.escape(part)) for part in re.split(r"(\*\*/|\*|\?)", pattern)]
    found: dict[str, File] = {}
    for path in sorted(glob(pattern, recursive=True)):
        match = re.fullmatch("".join(parts), path)
        if match and Path(path).is_file():
            name = "_".join(part.strip("/").replace("/", "_") for part in match.groups() if part)
            if name in found:
                raise RunFailed(f"{path}: would be called {name}, as {found[name]} is.\nRename one of them.")
            found[name] = File(Path(path))
    if not found:
        raise RunFailed(f"{where}: no file fits '{pattern}'.\nMend the pattern, or bring the files.")
    return found


def _steady(pattern: str) -> str:
    """The folder of a pattern that stands before its first wildcard."""
    return re.split(r"[*?]", pattern)[0].rpartition("/")[0] or "."
