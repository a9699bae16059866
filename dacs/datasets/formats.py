"""How GTA5, SYNTHIA-RAND-CITYSCAPES and Cityscapes lie on a disk: a table of three rows, and the frames it finds.

Nothing here writes, resizes or knows of train steps. Published facts and known defects are those that the data sets'
pages and their users report; sizes are height, width.
"""

import csv
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dacs.datasets.decode import Decode, decode_gray, decode_palette, decode_red16, decode_single, listing
from dacs.datasets.storage import File, Tree
from dacs.errors import BadRequest, RunFailed
from dacs.labels import cityscapes_to_train, gta5_to_train, synthia_to_train

DEFECTS = Path(__file__).with_name("defects.csv")
GTA5_PARTS = {"train": 12403, "val": 6382, "test": 6181}  # frames in each part of the official split


class Frame(NamedTuple):
    """An image and its label, under the name that both keep from here on."""

    name: str
    image: File
    label: File | None  # None: nobody has labelled it


class Layout(NamedTuple):
    """Folders that hold images and labels; {split} stands for the split."""

    images: str
    labels: str
    decode: Decode | None = None  # where a third party has re-encoded the labels


class Known(NamedTuple):
    """A known defect: frames first..last, and what is done about them."""

    domain: str
    first: int
    last: int
    remedy: str  # drop: left out; mend: the label is brought to the size of its image; keep: told and used
    what: str


class Format(NamedTuple):
    """One data set."""

    layouts: tuple[Layout, ...]  # below any of `homes`
    homes: tuple[str, ...]  # where people keep it, from the folder that they name
    name: str  # pattern of a frame's name
    image_end: str  # what follows the name of a frame in the names of its files
    label_end: str
    splits: dict[str, str]  # raw split → prepared split that gets its labels; "" for none
    decode: Decode
    train_ids: dict[int, int]  # raw id → train id; any other id is a fault
    published: dict[str, int]  # frames of each split; empty: nobody has published it
    sizes: frozenset[tuple[int, int]]  # of images, as published; empty: any
    exact: bool  # whether an image of another size is a fault, or only told
    full: frozenset[str]  # splits whose labels are kept at full size too
    stamp: str = ""  # what makes this format differ from another of its name


FORMATS = {
    "gta5": Format(
        layouts=(Layout("images", "labels"),),
        homes=("", "gta", "gta5", "GTA5", "GTAV"),
        name=r"\d{5}",
        image_end=".png",
        label_end=".png",
        splits={"train": "train"},
        decode=decode_palette,
        train_ids=gta5_to_train(),
        published={"train": 24966},
        sizes=frozenset({(1052, 1914), (1046, 1914)}),
        exact=False,  # that there are no others is told by one source only
        full=frozenset(),
    ),
    "synthia": Format(
        layouts=(
            Layout("RGB", "GT/LABELS"),
            Layout("RGB", "synthia_mapped_to_cityscapes", decode_single),
            Layout("RGB", "parsed_LABELS", decode_single),
        ),
        homes=("RAND_CITYSCAPES", "", "synthia", "SYNTHIA", "synthia/RAND_CITYSCAPES", "SYNTHIA/RAND_CITYSCAPES"),
        name=r"\d{7}",
        image_end=".png",
        label_end=".png",
        splits={"train": "train"},
        decode=decode_red16,
        train_ids=synthia_to_train(),
        published={"train": 9400},
        sizes=frozenset({(760, 1280)}),
        exact=True,
        full=frozenset(),
    ),
    "cityscapes": Format(
        layouts=(
            Layout("leftImg8bit/{split}", "gtFine/{split}"),
            Layout("leftImg8bit_trainvaltest/leftImg8bit/{split}", "gtFine_trainvaltest/gtFine/{split}"),
        ),
        homes=("", "cityscapes", "CityScapes", "Cityscapes", "data", "Cityscapes/data"),
        name=r"(?:.*/)?[^/]+_\d+_\d+",
        image_end="_leftImg8bit.png",
        label_end="_gtFine_labelIds.png",
        splits={"train": "oracle", "val": "val"},  # adaptation must not see the target's training labels
        decode=decode_gray,
        train_ids=cityscapes_to_train(),
        published={"train": 2975, "val": 500},
        sizes=frozenset({(1024, 2048)}),
        exact=True,
        full=frozenset({"val"}),
    ),
}


class Raw(NamedTuple):
    """A data set that was found: where, what it is like, and its usable frames by split in the order of their names."""

    domain: str
    root: Path
    origin: str  # world, download, folder, or "" where no manifest tells
    layout: str  # for people
    form: Format
    decode: Decode  # of the labels as they lie here
    frames: dict[str, list[Frame]]
    known: dict[str, tuple[str, str]]  # frames with a known defect that are here: name → remedy and what it is


def format_of(domain: str) -> Format:
    """The row of a domain."""
    if domain not in FORMATS:
        raise BadRequest(f"'{domain}' is no domain.\nChoose one of {', '.join(FORMATS)}.")
    return FORMATS[domain]


def known_defects(domain: str) -> list[Known]:
    """The rows of defects.csv for a domain."""
    with DEFECTS.open(newline="") as stream:
        rows = [
            Known(row["domain"], int(row["first"]), int(row["last"]), row["remedy"], row["what"])
            for row in csv.DictReader(stream)
        ]
    return [row for row in rows if row.domain == domain]


# --------------------------------------------------------------------------------------------------------------------
# Finding


def find(domain: str, raw: Path, *, part: str = "all") -> Raw:
    """What a raw folder holds: the copy that its manifest tells of, or the folder's own files.

    `part` of GTA5: all its frames, or those of `train` in the official split (split.mat beside the frames). Raises
    RunFailed where folders are missing, an image has no label or a label no image, a split is empty, the manifest
    promises something else, or a manifest that stands for the published data set has other counts than that.
    """
    form, manifest = format_of(domain), _manifest(raw)
    stands_for_it = manifest.get("origin") in ("download", "folder")
    tree = Tree(raw / manifest.get("root", ""), tuple(manifest.get("archives", ())))
    words, layout, found = look(domain, tree)
    counts = {split: len(listed) for split, listed in found.items()}
    _keep_the_promise(domain, raw, manifest, counts)
    if stands_for_it:
        check_counts(domain, tree.root, counts)
    if part != "all":
        found["train"] = _official([raw, tree.root], found["train"], part)
    known = _known_here(domain, found)
    usable = {
        split: [frame for frame in listed if known.get(frame.name, ("", ""))[0] != "drop"]
        for split, listed in found.items()
    }
    _not_empty(usable, tree.root)
    return Raw(
        domain,
        tree.root,
        str(manifest.get("origin", "")),
        words,
        form._replace(exact=form.exact and stands_for_it),
        layout.decode or form.decode,
        usable,
        known,
    )


def look(domain: str, tree: Tree) -> tuple[str, Layout, dict[str, list[Frame]]]:
    """The layout of a data set, in words and as it is, and all its frames by split. Raises RunFailed as `find` does."""
    home, layout = recognise(domain, tree)
    within = layout._replace(images=f"{home}/{layout.images}".lstrip("/"), labels=f"{home}/{layout.labels}".lstrip("/"))
    found = {split: _pairs(format_of(domain), tree, within, split) for split in format_of(domain).splits}
    return f"{within.images} and {within.labels}", layout, found


def recognise(domain: str, tree: Tree) -> tuple[str, Layout]:
    """Where below a folder the data set lies, and in which layout. Raises RunFailed naming what is missing."""
    form = format_of(domain)
    half: list[str] = []
    for home in form.homes:
        for layout in form.layouts:
            images, labels = (
                [f"{home}/{folder.format(split=split)}".lstrip("/") for split in form.splits]
                for folder in (layout.images, layout.labels)
            )
            missing = [folder for folder in [*images, *labels] if not tree.has(folder)]
            if not missing:
                return home, layout
            if len(missing) < len([*images, *labels]):
                half.append(f"{', '.join(sorted({*images, *labels} - {*missing}))} without {', '.join(missing)}")
    raise RunFailed(_unrecognised(domain, tree, half))


def _unrecognised(domain: str, tree: Tree, half: list[str]) -> str:
    where = f"{tree.root}: {' + '.join(tree.archives)}" if tree.archives else str(tree.root)
    if not tree.archives and not tree.root.is_dir():
        return f"{where}: no such folder.\nName the folder that holds the copy of {domain}."
    form = format_of(domain)
    looked = " or ".join(f"{layout.images} with {layout.labels}" for layout in form.layouts)
    if half:
        return (
            listing(f"{where}: a part of {domain} is missing", half) + f"\nExpected {looked}; unpack what is missing."
        )
    return (
        f"{where}: no {domain} there.\nExpected {looked}, in the folder itself or in "
        f"{', '.join(home for home in form.homes if home)}."
    )


def _pairs(form: Format, tree: Tree, layout: Layout, split: str) -> list[Frame]:
    images = _named(form, tree, layout.images.format(split=split), form.image_end)
    labels = _named(form, tree, layout.labels.format(split=split), form.label_end)
    return pair(f"{tree.root}: split '{split}'", images, labels)


def _named(form: Format, tree: Tree, folder: str, end: str) -> dict[str, File]:
    """Files of a folder by the names of their frames; what others have written beside them is left alone."""
    pattern = re.compile(f"({form.name}){re.escape(end)}")
    matches = {file: pattern.fullmatch(name) for name, file in tree.below(folder).items()}
    return {match[1]: file for file, match in matches.items() if match}


def pair(where: str, images: dict[str, File], labels: dict[str, File]) -> list[Frame]:
    """Frames in the order of their names. Raises RunFailed listing the files that have no partner."""
    alone = [f"{file}: image without label" for key, file in images.items() if key not in labels]
    alone += [f"{file}: label without image" for key, file in labels.items() if key not in images]
    if alone:
        raise RunFailed(
            listing(f"{where}: {len(alone)} files have no partner", alone)
            + "\nBring the missing files, or remove these; an interrupted unpacking leaves such pairs."
        )
    return sorted(Frame(Path(key).name, file, labels[key]) for key, file in images.items())


def _known_here(domain: str, found: dict[str, list[Frame]]) -> dict[str, tuple[str, str]]:
    names = {frame.name for listed in found.values() for frame in listed}
    width = max(map(len, names), default=0)
    rows = {
        str(number).zfill(width): (row.remedy, row.what)
        for row in known_defects(domain)
        for number in range(row.first, row.last + 1)
    }
    return {name: row for name, row in rows.items() if name in names}


def _not_empty(frames: dict[str, list[Frame]], root: Path) -> None:
    for split in (split for split, listed in frames.items() if not listed):
        raise RunFailed(f"{root}: split '{split}' is empty, no usable frame there.\nMake or unpack the data again.")


# --------------------------------------------------------------------------------------------------------------------
# What was promised


def _manifest(raw: Path) -> dict[str, Any]:
    """manifest.json, which the world and the download write last; a folder of one's own has none."""
    path = raw / "manifest.json"
    if not path.exists():
        return {}
    try:
        manifest = json.loads(path.read_text())
        if not isinstance(manifest["domain"], str) or not isinstance(manifest["frames"], dict):
            raise ValueError("a domain and counts of frames were expected")
    except (ValueError, TypeError, KeyError) as error:
        raise RunFailed(f"{path}: not a manifest ({error!r}).\nMake the raw data again.") from error
    return dict(manifest)


def _keep_the_promise(domain: str, raw: Path, manifest: dict[str, Any], found: dict[str, int]) -> None:
    if manifest and (manifest["domain"], manifest["frames"]) != (domain, found):
        raise RunFailed(
            f"{raw / 'manifest.json'}: promises {manifest['domain']} with frames {manifest['frames']}, found {domain} "
            f"with frames {found}.\nThe folder is not whole, or is another one: make or unpack the data again."
        )


def check_counts(domain: str, root: Path, found: dict[str, int]) -> None:
    """Raise RunFailed where a copy has other counts than the published data set."""
    wrong = {split: number for split, number in format_of(domain).published.items() if found.get(split) != number}
    for split, number in wrong.items():
        raise RunFailed(
            f"{root}: {found.get(split, 0):,} frames of {domain} in split '{split}', {number:,} are published.\n"
            "The copy is not whole, or is another data set; to use a part on purpose, make it a domain of your own"
            " (docs/data.md)."
        )


def _official(folders: list[Path], frames: list[Frame], part: str) -> list[Frame]:
    there = [path for folder in folders for path in (*folder.glob("split.mat"), *folder.glob("*/split.mat"))]
    wanted = official_parts(there[0] if there else folders[0] / "split.mat")[part]
    return [frame for frame in frames if int(frame.name) in wanted]


def official_parts(path: Path) -> dict[str, frozenset[int]]:
    """Frame numbers of each part of GTA5's official split, from split.mat (trainIds, valIds, testIds).

    Raises RunFailed where the file is missing, or does not part the 24,966 frames as published.
    """
    from scipy.io import loadmat  # half a second, and only this setting needs it

    if not path.exists():
        raise RunFailed(
            f"{path}: not found; it tells GTA5's official split.\nPut it there; it comes in read_mapping.zip."
        )
    try:
        content = loadmat(path)
        parts = {part: frozenset(np.ravel(content[f"{part}Ids"]).astype(int).tolist()) for part in GTA5_PARTS}
    except (OSError, ValueError, KeyError, TypeError, NotImplementedError) as error:
        raise RunFailed(f"{path}: not GTA5's split ({error}).\nTake it out of read_mapping.zip again.") from error
    together = frozenset().union(*parts.values())
    counts = {part: len(ids) for part, ids in parts.items()}
    if counts != GTA5_PARTS or together != frozenset(range(1, 24967)):
        raise RunFailed(
            f"{path}: parts of {counts} frames, {GTA5_PARTS} are published.\nTake it out of read_mapping.zip again."
        )
    return parts
