"""The frames of a published data set on a disk: below a folder in any known layout, or in its zip archives.

Nothing here writes, resizes or decodes.
"""

import re
from pathlib import Path
from typing import Any

from dacs.datasets import registry
from dacs.datasets.base import PUBLISHED, DataSet, Defect, Frame, Layout, Raw, pair
from dacs.datasets.decode import listing
from dacs.datasets.storage import File, Tree
from dacs.errors import BadRequest, RunFailed, nearest
from dacs.files import read_json


def find(domain: str, raw: Path, part: str = "all") -> Raw:
    """What a raw folder holds: the copy that its manifest describes, or the folder's own files.

    Raises RunFailed where folders are missing, an image has no label or a label no image, a split is empty, the
    manifest describes something else, or a manifest that stands for the published data set has other counts than that.
    """
    dataset, manifest = registry.dataset(domain), _read_manifest(raw)
    tree = Tree(raw / manifest.get("root", ""), tuple(manifest.get("archives", ())))
    found = look(domain, tree)
    frames, counts = found.frames, {split: len(listed) for split, listed in found.frames.items()}
    if manifest and (manifest["domain"], manifest["frames"]) != (domain, counts):
        raise RunFailed(
            f"{raw / 'manifest.json'}: describes {manifest['domain']} with frames {manifest['frames']}, found {domain} "
            f"with frames {counts}.\nThe folder is not whole, or is another one: make or unpack the data again."
        )
    if manifest.get("origin") in PUBLISHED:
        check_counts(domain, tree.root, counts)
    if part != "all":
        names = _part(dataset, part, [raw, tree.root])
        frames["train"] = [frame for frame in frames["train"] if frame.name in names]
    defects = _defects(dataset, frames)
    dropped = {name for name, defect in defects.items() if defect.remedy == "drop"}
    usable = {split: [frame for frame in listed if frame.name not in dropped] for split, listed in frames.items()}
    for split in (split for split, listed in usable.items() if not listed):
        raise RunFailed(f"{tree.root}: split '{split}' is empty, no usable frame.\nMake or unpack the data again.")
    return found._replace(origin=str(manifest.get("origin", "")), frames=usable, defects=defects)


def look(domain: str, tree: Tree) -> Raw:
    """All frames of a data set, defective ones too, in the first layout that is whole.

    Raises RunFailed naming what is missing.
    """
    dataset, incomplete = registry.dataset(domain), list[str]()
    for home in dataset.homes:
        for row in dataset.layouts:
            layout = row._replace(images=f"{home}/{row.images}".lstrip("/"), labels=f"{home}/{row.labels}".lstrip("/"))
            folders = {folder.format(split=split) for folder in layout[:2] for split in dataset.splits}
            missing = {folder for folder in folders if not tree.has(folder)}
            if not missing:
                frames = {split: _pairs(dataset, tree, layout, split) for split in dataset.splits}
                words, decode = f"{layout.images} and {layout.labels}", layout.decode or dataset.decode
                return Raw(dataset, tree.root, "", words, decode, frames, {})
            if missing != folders:
                incomplete.append(f"{', '.join(sorted(folders - missing))} without {', '.join(sorted(missing))}")
    raise RunFailed(_not_found(dataset, tree, incomplete))


def check_counts(domain: str, root: Path, counts: dict[str, int]) -> None:
    """Raise RunFailed where a copy has other counts of frames than the published data set."""
    for split, number in registry.dataset(domain).published.items():
        if counts.get(split) != number:
            raise RunFailed(
                f"{root}: {counts.get(split, 0):,} frames of {domain} in split '{split}', {number:,} are published.\n"
                "The copy is not whole, or is another data set; to use a part of it, make it a custom domain"
                " (docs/data.md)."
            )


def _read_manifest(raw: Path) -> dict[str, Any]:
    """manifest.json, which `world` and `download` write last; a folder that a person made has none."""
    path = raw / "manifest.json"
    if not path.exists():
        return {}
    manifest = read_json(path)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("frames"), dict) or "domain" not in manifest:
        raise RunFailed(f"{path}: not a manifest, which has a domain and counts of frames.\nMake the raw data again.")
    return manifest


def _not_found(dataset: DataSet, tree: Tree, incomplete: list[str]) -> str:
    where = f"{tree.root}: {' + '.join(tree.archives)}" if tree.archives else str(tree.root)
    if not tree.archives and not tree.root.is_dir():
        return f"{where}: no such folder.\nName the folder that holds the copy of {dataset.name}."
    expected = " or ".join(f"{layout.images} with {layout.labels}" for layout in dataset.layouts)
    if incomplete:
        heading = f"{where}: a part of {dataset.name} is missing"
        return f"{listing(heading, incomplete)}\nExpected {expected}; unpack what is missing."
    homes = [f"'{home}'" if home else "the folder itself" for home in dataset.homes]
    return f"{where}: no {dataset.name} there.\nExpected {expected}, in {' or '.join(homes)}."


def _pairs(dataset: DataSet, tree: Tree, layout: Layout, split: str) -> list[Frame]:
    images, labels = (
        _files(dataset.frame, end, tree.files(folder.format(split=split)))
        for folder, end in ((layout.images, dataset.image_end), (layout.labels, dataset.label_end))
    )
    return pair(f"{tree.root}: split '{split}'", images, labels)


def _files(frame: str, end: str, files: dict[str, File]) -> dict[str, File]:
    """Files by the names of their frames; what others have written beside them is left alone."""
    matches = {file: re.fullmatch(f"({frame}){re.escape(end)}", name) for name, file in files.items()}
    return {match[1]: file for file, match in matches.items() if match}


def _part(dataset: DataSet, part: str, folders: list[Path]) -> frozenset[str]:
    if part not in dataset.parts:
        raise BadRequest(f"'{part}' is not a part of {dataset.name}; {nearest(part, ['all', *dataset.parts])}")
    return dataset.parts[part].names(folders)


def _defects(dataset: DataSet, frames: dict[str, list[Frame]]) -> dict[str, Defect]:
    """Known defects of the frames that are there, by name."""
    names = {frame.name for listed in frames.values() for frame in listed}
    width = max(map(len, names), default=0)
    rows = {str(n).zfill(width): defect for defect in dataset.defects for n in range(defect.first, defect.last + 1)}
    return {name: defect for name, defect in rows.items() if name in names}
