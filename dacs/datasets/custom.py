"""Custom data sets: patterns of file names, and the class of each raw id or colour."""

import os
from functools import partial
from pathlib import Path

from dacs.datasets.base import DataSet, Files, Frame, Raw, pair
from dacs.datasets.decode import decode_colors, decode_label
from dacs.datasets.patterns import Match, filled, is_list, listed, matches, start_of
from dacs.datasets.storage import File
from dacs.errors import RunFailed
from dacs.fields import raw_key
from dacs.settings import CustomDomain, FilePatterns


def describe(domain: str, table: CustomDomain) -> DataSet:
    """What the table of a custom domain says, as a row. Colours are numbered in the order of the table."""
    keys = [raw_key(key) for key in table.classes]
    painted = any(len(key) > 1 for key in keys)
    raw_ids = range(len(keys)) if painted else [key[0] for key in keys]
    named = zip(raw_ids, table.classes.items(), strict=True)
    colors = {raw: f"{' and '.join(names)}, colour {text}" for raw, (text, names) in named} if painted else {}
    return DataSet(
        name=domain,
        title=domain.replace("_", " "),
        absent=tuple(table.absent),
        splits={"train": "oracle" if table.train.labels else ""} | ({"val": "val"} if table.val else {}),
        decode=partial(decode_colors, colors=keys) if painted else partial(decode_label, channel=table.channel),
        meanings=colors,
        classes={raw: tuple(names) for raw, names in zip(raw_ids, table.classes.values(), strict=True)},
    )


def find_custom(domain: str, table: CustomDomain) -> Raw:
    """The frames that the patterns of a custom domain match; an image that several paths lead to counts once.

    What the wildcards of an image and of its label stand for is the same: the frame's name. Raises RunFailed where a
    pattern matches nothing, or a file has no partner.
    """
    dataset = describe(domain, table)
    patterns = {"train": table.train} | ({"val": table.val} if table.val else {})
    frames = {split: _frames(f"domains.{domain}.{split}", files) for split, files in patterns.items()}
    first = table.train.images[0]
    root = frames["train"][0].image.path.parent if is_list(first) else Path(start_of(first))
    layout = "; ".join(
        f"{', '.join(files.images)} with {', '.join(files.labels) or 'no labels'}" for files in patterns.values()
    )
    return Raw(dataset, root, "custom", layout, frames, {})


def _frames(where: str, files: FilePatterns) -> list[Frame]:
    found = _found(f"{where}.images", files.images, 0)
    images, labels = _by_name(where, found), dict[str, Match]()
    if files.labels:
        found_labels = _found(f"{where}.labels", files.labels, 1)
        by_line = all(map(is_list, [*files.images, *files.labels]))
        labels = _by_line(where, found, found_labels) if by_line else _by_name(where, found_labels)
        if any(map(is_list, files.images)):  # it chooses among the labels
            labels = {name: label for name, label in labels.items() if name in images}
    parts = {name: match.parts for named in (labels, images) for name, match in named.items()}

    def as_files(patterns: list[str], named: dict[str, Match]) -> Files:
        paths = {name: File(Path(match.path)) for name, match in named.items()}
        return Files(paths, lambda name: filled(patterns[0], parts[name]))

    paired = pair(where, as_files(files.images, images), as_files(files.labels, labels) if files.labels else None)
    for frame in paired:
        if frame.label == frame.image:
            raise RunFailed(f"{where}: {frame.image} is named as image and as label.\nCorrect one of the patterns.")
    once = {os.path.realpath(frame.image.path): frame for frame in reversed(paired)}  # the first name of each
    return sorted(once.values())


def _found(where: str, patterns: list[str], column: int) -> list[Match]:
    """The files that patterns match or files list."""
    groups = (listed(where, each, column) if is_list(each) else matches(where, each) for each in patterns)
    return [match for group in groups for match in group]


def _by_name(where: str, found: list[Match]) -> dict[str, Match]:
    """Files by the names of their frames."""
    named: dict[str, Match] = {}
    for match in found:
        other = named.setdefault(match.name, match)
        if os.path.realpath(other.path) != os.path.realpath(match.path):
            raise RunFailed(
                f"{where}: {match.path} would be called {match.name}, as {other.path} is.\n"
                "Rename one of them, or use a wildcard for what differs, such as {left,right}/*.png."
            )
    return named


def _by_line(where: str, images: list[Match], labels: list[Match]) -> dict[str, Match]:
    """Labels by the names of the images in the same lines."""
    if len(labels) != len(images):
        raise RunFailed(f"{where}: {len(images)} images and {len(labels)} labels are listed.\nList as many.")
    named: dict[str, Match] = {}
    for image, label in zip(images, labels, strict=True):
        if named.setdefault(image.name, label).path != label.path:
            raise RunFailed(f"{where}: {image.path} is listed with two labels.\nKeep one of the lines.")
    return named
