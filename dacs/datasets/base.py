"""What is known of a data set, and what is found of it on a disk."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from os.path import isdir, isfile, lexists
from pathlib import Path
from typing import Literal, NamedTuple

from dacs.datasets.decode import LISTED, Decode, listing
from dacs.datasets.storage import File, names_in
from dacs.errors import RunFailed
from dacs.labels import IGNORE, LabelSet


class Frame(NamedTuple):
    """An image and its label, under the name that both keep when they are prepared."""

    name: str
    image: File
    label: File | None  # None: unlabelled


class Layout(NamedTuple):
    """Folders of images and of labels; {split} stands for the split."""

    images: str
    labels: str
    decode: Decode | None = None  # where a third party has re-encoded the labels


class Defect(NamedTuple):
    """A known defect of the frames with the numbers first..last."""

    first: int
    last: int
    remedy: Literal["dropped", "mended", "kept"]  # left out; label resized to its image; used as it is and reported
    description: str


class Archive(NamedTuple):
    """One file on a server."""

    name: str  # under which it is kept
    address: str
    bytes: int | None  # None: not published
    checksum: str  # "md5:…" or "sha256:…", lower case; "": not published, the first download is trusted and noted;
    # "files:…", where servers pack it anew: the sha256 of what sha256sum prints of its files, in order of their names
    unpacked_limit: int  # bytes beyond which unpacking is refused: a guard of ours, not a published fact
    login: str  # whose account it needs: "" or "cityscapes"
    description: str
    files: str = ""  # pattern of the members that are unpacked, empty: all; group 1: the name by which sha256sum has it


class Terms(NamedTuple):
    """On what terms a data set may be used."""

    title: str
    address: str  # where its owners state them
    summary: str


class Part(NamedTuple):
    """A named part of the training frames."""

    archives: tuple[Archive, ...]  # needed besides those of the data set, and always unpacked
    names: Callable[[Sequence[Path]], frozenset[str]]  # folders that may hold its list → names of its frames


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """One data set. Sizes are height, width in pixels."""

    name: str
    title: str
    colors: tuple[str, str] | None = None  # in figures on a white page, on a dark one; None: the report chooses
    headline: str = ""  # group of classes of the headline number of runs that have it as source; "": all
    absent: tuple[str, ...] = ()  # classes that it does not have, though an id would be one

    homes: tuple[str, ...] = ("",)  # folders that may hold a layout, below the one that a person names
    layouts: tuple[Layout, ...] = ()
    frame: str = r"[^/]+"  # pattern of a frame's name: the path of its files below the folders of a layout, without
    image_end: str = ".png"  # this end of images
    label_end: str = ".png"  # or this one of labels
    frames: dict[str, str] = field(default_factory=dict)  # the pattern for a split that is a part of its folder
    folders: dict[str, str] = field(default_factory=dict)  # what {split} stands for, where it is not the raw split
    splits: dict[str, str]  # raw split → prepared split that is given its labels; "": it has none

    decode: Decode
    classes: Mapping[int, tuple[str, ...]]  # raw id → its class, or those that it covers together; any other is a fault
    meanings: dict[int, str] = field(default_factory=dict)  # raw id → what it means, where that is not its class

    published: dict[str, int] = field(default_factory=dict)  # frames by split; empty: not published
    sizes: frozenset[tuple[int, int]] = frozenset()  # of images, as published; empty: any
    exact: bool = False  # whether an image of another size is a fault, or only reported
    defects: tuple[Defect, ...] = ()
    parts: dict[str, Part] = field(default_factory=dict)

    archives: tuple[Archive, ...] = ()
    terms: Terms | None = None
    unneeded: tuple[str, ...] = ()  # how members of archives start that are not unpacked

    def unpack_member(self, archive: Archive, name: str) -> bool:
        """Whether a member of an archive is needed."""
        return not name.startswith(self.unneeded) and bool(re.match(archive.files, name))

    @property
    def id_names(self) -> dict[int, str]:
        """What each raw id means."""
        return {raw: self.meanings.get(raw, " and ".join(names)) for raw, names in self.classes.items()}

    def train_ids(self, labels: LabelSet) -> dict[int, int]:
        """The train id of each raw id; of several classes that it covers together the first of the set counts."""
        return {raw: ids[0] if ids else IGNORE for raw, ids in self._members(labels).items()}

    def merged(self, labels: LabelSet) -> dict[str, str]:
        """Classes that the labels do not tell from another, and this other."""
        covered = self._members(labels).values()
        return {labels.names[each]: labels.names[ids[0]] for ids in covered for each in ids[1:] if each != ids[0]}

    def _members(self, labels: LabelSet) -> dict[int, list[int]]:
        """The train ids of all classes that each raw id covers."""
        return {
            raw: [labels.members[name] for name in names if name in labels.members]
            for raw, names in self.classes.items()
        }

    def lacks(self, labels: LabelSet) -> tuple[str, ...]:
        """The classes that are in no frame, as far as `absent` and the table of raw ids tell, if it has any."""
        known = {labels.names[train_id] for train_id in self.train_ids(labels).values() if train_id != IGNORE}
        unmapped = {*labels.names} - known if self.classes else set()
        return tuple(name for name in labels.names if name in unmapped or name in self.absent)

    @property
    def is_target(self) -> bool:
        """Whether it can be adapted to: its training images are prepared without labels."""
        return "train" not in self.splits.values()

    @property
    def prepared_splits(self) -> list[str]:
        """The splits that are prepared, such as train, val to evaluate on, and oracle with the labels of train."""
        return list(dict.fromkeys([*self.splits, *filter(None, self.splits.values())]))

    @property
    def labelled_split(self) -> str:
        """The prepared split that holds the training images with their labels, if there are any."""
        return self.splits["train"] or "train"

    @property
    def measured_split(self) -> str:
        """The prepared split that is evaluated on: val, or the training images where there is none, without scores."""
        return "val" if "val" in self.splits else "train"


class Raw(NamedTuple):
    """A data set as it was found."""

    dataset: DataSet  # with the decoder of the labels that are here
    root: Path
    origin: str  # world, download, folder or custom
    layout: str  # for people
    frames: dict[str, list[Frame]]  # usable ones by split, in the order of their names
    defects: dict[str, Defect]  # known defects of frames that are here, by name
    sizes: frozenset[tuple[int, int]] = frozenset()  # that images must have: height, width in pixels; empty: any


class Files(NamedTuple):
    """The images or the labels that were found."""

    found: dict[str, File]  # by the name that an image and its label share
    path_of: Callable[[str], str]  # where the file of such a name is sought


def pair(where: str, images: Files, labels: Files | None) -> list[Frame]:
    """Frames in the order of their names; labels None: unlabelled. Raises RunFailed listing files without partner."""
    partners = images if labels is None else labels
    alone = [(str(file), "image without label", partners, key) for key, file in images.found.items()]
    alone += [(str(file), "label without image", images, key) for key, file in partners.found.items()]
    alone = sorted((each for each in alone if each[3] not in each[2].found), key=lambda each: each[0])
    if alone:
        faults = [f"{file}: {kind}; {_sought(others, key)}" for file, kind, others, key in alone[:LISTED]]
        raise RunFailed(
            listing(f"{where}: {len(alone)} files have no partner", faults + [""] * len(alone[LISTED:]))
            + "\nAdd or rename the missing files, or remove these; an interrupted unpacking leaves such pairs."
        )
    found = images.found.items()
    return sorted(Frame(Path(key).name, file, labels.found[key] if labels else None) for key, file in found)


def _sought(files: Files, key: str) -> str:
    """Where the file of a name was sought, and what of a like name lies there instead."""
    path = Path(files.path_of(key))
    if lexists(path) and not isfile(path):
        return f"{path} is a link to nothing, or no regular file"
    there = names_in(str(path.parent)) if isdir(path.parent) else []
    stem = path.name.removesuffix(path.suffix)
    like = [name for name in there if name.startswith((Path(key).name, stem))] or there
    return f"sought: {path}" + (f", found: {examples(like)}" if like else "")


def examples(names: Sequence[str]) -> str:
    """The first names, and how many others there are."""
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")
