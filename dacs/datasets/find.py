"""The frames of a published data set on a disk: below a folder in any known layout, or in its zip archives."""

import re
from dataclasses import replace
from itertools import product
from pathlib import Path

from dacs.datasets.base import Files, Raw, examples, pair
from dacs.datasets.registry import dataset
from dacs.datasets.storage import File, Tree
from dacs.errors import RunFailed
from dacs.files import read_json


def find(domain: str, raw: Path, part: str = "all") -> Raw:
    """What a raw folder holds: the copy that its manifest describes, or the folder's own files.

    Raises RunFailed where files are missing or a split is empty, or the manifest, which `world` and `download` write
    last, describes something else.
    """
    path = raw / "manifest.json"
    manifest = read_json(path) if path.exists() else {}
    tree = Tree(raw / manifest.get("root", ""), tuple(manifest.get("archives", ())))
    found = look(domain, tree)
    row, frames = found.dataset, found.frames
    counts = {"domain": domain, "frames": {split: len(listed) for split, listed in frames.items()}}
    described = {key: manifest.get(key) for key in counts}
    if manifest and described != counts:
        raise RunFailed(f"{path}: describes {described}, found {counts}.\nMake or unpack the data again.")
    if part != "all":
        chosen = row.parts[part].names([raw, tree.root])
        frames["train"] = [frame for frame in frames["train"] if frame.name in chosen]
    names = [frame.name for listed in frames.values() for frame in listed]
    defects = {name: each for each in row.defects for name in names if each.first <= int(name) <= each.last}
    dropped = {name for name, defect in defects.items() if defect.remedy == "dropped"}
    usable = {split: [frame for frame in listed if frame.name not in dropped] for split, listed in frames.items()}
    for split in (split for split, listed in usable.items() if not listed):
        raise RunFailed(f"{tree.root}: split '{split}' is empty, no usable frame.\nMake or unpack the data again.")
    sizes = row.sizes if row.exact and manifest.get("origin") in ("download", "folder") else frozenset()
    return found._replace(origin=manifest.get("origin", "folder"), frames=usable, defects=defects, sizes=sizes)


def look(domain: str, tree: Tree) -> Raw:
    """All frames, defective ones too, in the first layout that is whole. Raises RunFailed naming what is missing."""
    row, incomplete = dataset(domain), list[str]()
    for home, layout in product(row.homes, row.layouts):
        images, labels = (f"{home}/{folder}".lstrip("/") for folder in layout[:2])
        places = {
            split: [each.format(split=row.folders.get(split, split)) for each in (images, labels)]
            for split in row.splits
        }
        ends = (row.image_end, row.label_end)
        kinds = {
            folder: (row.frames.get(split, row.frame), end)
            for split, folders in places.items()
            for folder, end in zip(folders, ends, strict=True)
        }
        files = {folder: tree.files(folder) for folder in sorted(kinds)}
        named = {folder: _by_name(*kinds[folder], found) for folder, found in files.items()}
        missing = [folder for folder in files if not files[folder]]
        if others := [folder for folder in files if files[folder] and not named[folder]]:
            incomplete += [_other_names(folder, *kinds[folder], [*files[folder]]) for folder in others]
        elif not missing:
            frames = {}
            for split in row.splits:
                found = (_files(tree.root / folder, kinds[folder][1], named[folder]) for folder in places[split])
                frames[split] = pair(f"{tree.root}: split '{split}'", *found)
            row = replace(row, decode=layout.decode or row.decode)
            return Raw(row, tree.root, "folder", f"{images} and {labels}", frames, {})
        elif len(missing) < len(files):
            incomplete.append(f"{', '.join(sorted(files.keys() - missing))} without {', '.join(missing)}")
    where = " + ".join([f"{tree.root}", *tree.archives])
    problem = f"no whole copy of {row.name} there" if tree.root.is_dir() else "no such folder"
    layouts = " or ".join(f"{layout.images} with {layout.labels}" for layout in row.layouts)
    advice = f"Expected {layouts}, in {', '.join(home or '.' for home in row.homes)}; unpack what is missing."
    raise RunFailed("\n  ".join([f"{where}: {problem}.", *incomplete]) + f"\n{advice}")


def check_counts(domain: str, root: Path, counts: dict[str, int]) -> None:
    """Raise RunFailed where a copy has other counts of frames than the published data set."""
    for split, number in dataset(domain).published.items():
        if counts.get(split) != number:
            raise RunFailed(
                f"{root}: {counts.get(split, 0):,} frames of {domain} in split '{split}', {number:,} are published.\n"
                f"Take a whole copy; to use this part on purpose, add to `data:` in params.yaml:  subset: [{domain}]"
            )


def _files(folder: Path, end: str, found: dict[str, File]) -> Files:
    return Files(found, lambda key: f"{folder / key}{end}")


def _other_names(folder: str, frame: str, end: str, names: list[str]) -> str:
    """What is said of a folder none of whose files has a name of the data set."""
    kind = end.removesuffix(".png")
    sought = f"*{end}" if kind else f"names like {frame}{end}"
    like = [name for name in names if kind.rpartition("_")[0] in name]
    return f"{folder}: {sought} sought, found {examples(like or names)}"


def _by_name(frame: str, end: str, files: dict[str, File]) -> dict[str, File]:
    """Files by the names of their frames; what others have written beside them is left alone."""
    matches = [(re.fullmatch(f"({frame}){re.escape(end)}", name), file) for name, file in files.items()]
    return {match[1]: file for match, file in matches if match}
