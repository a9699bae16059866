"""Custom data sets: patterns of file names, and the class of each raw id or colour."""

import re
from functools import partial
from glob import glob
from pathlib import Path

from dacs.datasets.base import DataSet, Raw, pair
from dacs.datasets.decode import decode_colors, decode_ids
from dacs.datasets.storage import File
from dacs.errors import BadRequest, RunFailed
from dacs.labels import IGNORE, NAMES
from dacs.settings import CustomDomain

WILDCARDS = {"**/": "((?:.*/)?)", "*": "([^/]*)", "?": "([^/])"}


def describe(domain: str, table: CustomDomain) -> DataSet:
    """What the table of a custom domain says, as a row. Colours are numbered in the order of the table."""
    keys = [tuple(map(int, key.split(","))) for key in table.classes]
    if any(number > 255 for key in keys for number in key):
        raise BadRequest(f"domains.{domain}.classes: an id or a part of a colour is above 255.\nGive 0 to 255.")
    painted = any(len(key) > 1 for key in keys)
    raw_ids = range(len(keys)) if painted else [key[0] for key in keys]
    id_names = dict(zip(raw_ids, table.classes.values(), strict=True))
    return DataSet(
        name=domain,
        title=domain.replace("_", " "),
        absent=tuple(table.absent),
        splits={"train": "oracle" if table.train.labels else ""} | ({"val": "val"} if table.val else {}),
        decode=partial(decode_colors, colors=keys) if painted else decode_ids,
        train_ids={raw: IGNORE if name == "ignore" else NAMES.index(name) for raw, name in id_names.items()},
        id_names=id_names,
    )


def find_custom(domain: str, table: CustomDomain) -> Raw:
    """The frames that the patterns of a custom domain match.

    What the wildcards of an image and of its label stand for is the same: the frame's name. Raises RunFailed where a
    pattern matches nothing, or a file has no partner.
    """
    dataset = describe(domain, table)
    patterns = {"train": table.train} | ({"val": table.val} if table.val else {})
    frames = {}
    for split, files in patterns.items():
        where = f"domains.{domain}.{split}"
        images = _matches(f"{where}.images", files.images)
        labels = _matches(f"{where}.labels", files.labels) if files.labels else None
        frames[split] = pair(where, images, labels)
    root = re.split(r"[*?]", table.train.images)[0].rpartition("/")[0] or "."
    layout = "; ".join(f"{files.images} with {files.labels or 'no labels'}" for files in patterns.values())
    return Raw(dataset, Path(root), "custom", layout, frames, {})


def _matches(where: str, pattern: str) -> dict[str, File]:
    """The files that a pattern matches, by what its wildcards stand for."""
    if not re.search(r"[*?]", pattern):
        raise BadRequest(f"{where}: '{pattern}' has no wildcard.\nWrite a pattern, such as /data/fleet/images/*.png.")
    parts = [WILDCARDS.get(part, re.escape(part)) for part in re.split(r"(\*\*/|\*|\?)", pattern)]
    found: dict[str, File] = {}
    for path in sorted(glob(pattern, recursive=True)):
        match = re.fullmatch("".join(parts), path)
        if match and Path(path).is_file():
            name = "_".join(part.strip("/").replace("/", "_") for part in match.groups() if part)
            if name in found:
                raise RunFailed(f"{path}: would be called {name}, as {found[name]} is.\nRename one of them.")
            found[name] = File(Path(path))
    if not found:
        raise RunFailed(f"{where}: no file matches '{pattern}'.\nCorrect the pattern, or add the files.")
    return found
