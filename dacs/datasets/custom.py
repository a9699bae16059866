"""Custom data sets: patterns of file names, and the class of each raw id or colour."""

import re
from functools import partial
from glob import glob
from pathlib import Path

from dacs.datasets.base import DataSet, Frame, Raw, pair
from dacs.datasets.decode import decode_colors, decode_ids
from dacs.datasets.storage import File
from dacs.errors import BadRequest, RunFailed
from dacs.labels import IGNORE, NAMES
from dacs.settings import CustomDomain, FilePatterns

WILDCARDS = {"**/": "((?:.*/)?)", "*": "([^/]*)", "?": "([^/])"}


def describe(domain: str, table: CustomDomain) -> DataSet:
    """What the table of a custom domain says, as a row. Colours are numbered in the order of the table."""
    painted = any("," in raw for raw in table.classes)
    colors = tuple(tuple(map(int, raw.split(","))) for raw in table.classes) if painted else ()
    if any(part > 255 for color in colors for part in color):
        raise BadRequest(f"domains.{domain}.classes: a colour has parts above 255.\nGive red, green, blue, 0 to 255.")
    raw_ids = range(len(colors)) if painted else map(int, table.classes)
    id_names = dict(zip(raw_ids, table.classes.values(), strict=True))
    return DataSet(
        name=domain,
        title=domain.replace("_", " "),
        absent=tuple(table.absent),
        splits={"train": "oracle" if table.train.labels else ""} | ({"val": "val"} if table.val else {}),
        full=frozenset({"val"}),
        decode=partial(decode_colors, colors=colors) if painted else decode_ids,
        train_ids={raw: IGNORE if name == "ignore" else NAMES.index(name) for raw, name in id_names.items()},
        id_names=id_names,
    )


def find_custom(domain: str, table: CustomDomain) -> Raw:
    """The frames that the patterns of a custom domain match.

    An image and a label belong together when the wildcards of their patterns stand for the same; that is the frame's
    name. Raises RunFailed where a pattern matches nothing, or a file has no partner.
    """
    dataset = describe(domain, table)
    patterns = {"train": table.train} | ({"val": table.val} if table.val else {})
    frames = {split: _frames(f"domains.{domain}.{split}", files) for split, files in patterns.items()}
    root = re.split(r"[*?]", table.train.images)[0].rpartition("/")[0] or "."
    layout = "; ".join(f"{files.images} with {files.labels or 'no labels'}" for files in patterns.values())
    return Raw(dataset, Path(root), "custom", layout, dataset.decode, frames, {})


def _frames(where: str, files: FilePatterns) -> list[Frame]:
    images = _matches(f"{where}.images", files.images)
    if not files.labels:
        return sorted(Frame(name, file, None) for name, file in images.items())
    return pair(where, images, _matches(f"{where}.labels", files.labels))


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
