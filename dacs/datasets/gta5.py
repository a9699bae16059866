"""GTA5, "Playing for Data": frames of a computer game, labelled with the ids of Cityscapes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dacs.datasets.base import Archive, DataSet, Defect, Layout, Part, Terms
from dacs.datasets.decode import decode_palette
from dacs.errors import RunFailed
from dacs.labels import LABELS

FRAMES = 24966
PARTS = {"train": 12403, "val": 6382, "test": 6181}  # frames in each part of the official split
SINGLE_CLASS = ((12160, 12160), (12166, 12167), (12191, 12193), (12195, 12195), (12202, 12208), (19993, 19993))
SERVER = "https://download.visinf.tu-darmstadt.de/data/from_games"


def official_split(path: Path) -> dict[str, frozenset[int]]:
    """Numbers of the frames in each part of the official split. Raises RunFailed unless the file is as published."""
    from scipy.io import loadmat  # half a second, and only this setting needs it

    try:
        content = loadmat(path)
        parts = {part: frozenset(np.ravel(content[f"{part}Ids"]).astype(int).tolist()) for part in PARTS}
        counts = {part: len(numbers) for part, numbers in parts.items()}
        if counts != PARTS or frozenset().union(*parts.values()) != frozenset(range(1, FRAMES + 1)):
            raise ValueError(f"parts of {counts} frames, {PARTS} are published")
    except (OSError, ValueError, KeyError, TypeError, NotImplementedError) as error:
        raise RunFailed(
            f"{path}: not found, or not the official split of GTA5 ({error}).\nTake it out of read_mapping.zip."
        ) from error
    return parts


def _official_frames(folders: Sequence[Path]) -> frozenset[str]:
    found = [path for folder in folders for path in (*folder.glob("split.mat"), *folder.glob("*/split.mat"))]
    numbers = official_split(found[0] if found else folders[0] / "split.mat")["train"]
    return frozenset(f"{number:05d}" for number in numbers)


# For each of ten parts: bytes and md5 of its images, bytes and md5 of its labels.
_ARCHIVES = (
    (6138548997, "df782cbb9e056cc03f8b3f5e7a3d1cd5", 72621271, "a2d03ee57f3d4d969327819a4eb9e1d1"),
    (6153637593, "233c5b06c363a91e007f533c7311cd27", 75348189, "c2533d8d56e9f7326f3c2edf41a12abc"),
    (6152094252, "1b47a5856b0b576392e6b472fe34c21d", 70710650, "79ea48f5d742f1dba019225761fa24d8"),
    (5966356292, "8aba816b859ce2e943aa12bbdee7c6ae", 72200129, "694a35f80b9b25d05242d6d51167ed06"),
    (6096152566, "d22b1357ef0d7da5b2011088426cb8a6", 79856752, "17eb01fa72b8bf9ab40393588f0c9045"),
    (5702374959, "e9a86c16a19d9725ce3471f022fcda59", 73147310, "1fc736c53e47eeffcc495f730b0d354d"),
    (6081197911, "6b7a3629b4382187b8220e8ef3717ee8", 74178236, "2e7d76fd8b7d7db9780815d08eef2ea0"),
    (6397039657, "bcbd593c69d6508e4f591bfb739b2e7a", 73621667, "2d2440015d460658caaaa3c67a4acac3"),
    (6165923713, "af228410795b55cfe50998d2e4383cd6", 74922466, "be4d12aa8332187c16dbb9e8c03fbb49"),
    (5703682618, "d0f1b7de0d89f031f7144c58550c1b71", 71901440, "7bbf29aeb473880109d28f6a7f04a48a"),
)
MAPPING = Archive("read_mapping.zip", f"{SERVER}/code/read_mapping.zip", None, "", 10**7, "", "official split")


def _archive(part: int, kind: str, size: int, md5: str) -> Archive:
    name = f"{part:02d}_{kind}.zip"
    limit = size * 5 // 4  # PNG does not compress
    return Archive(name, f"{SERVER}/data/{name}", size, f"md5:{md5}", limit, "", f"{kind}, part {part} of 10")


DATASET = DataSet(
    name="gta5",
    title="GTA5",
    colors=("#8a3d10", "#e0925f"),
    homes=("", "gta", "gta5", "GTA5", "GTAV"),
    layouts=(Layout("images", "labels"),),
    frame=r"\d{5}",
    splits={"train": "train"},
    decode=decode_palette,
    classes={label.id: (label.name,) for label in LABELS},
    published={"train": FRAMES},
    sizes=frozenset({(1052, 1914), (1046, 1914)}),  # not exact: only one source says that there are no others
    defects=(
        Defect(15188, 15188, "dropped", "image all white and half the size"),
        Defect(17705, 17705, "dropped", "image all black and half the size"),
        Defect(20801, 20860, "mended", "label of another size than its image"),
        Defect(15617, 15617, "kept", "one class over the whole label"),
        *(Defect(first, last, "kept", "label of a single class") for first, last in SINGLE_CLASS),
    ),
    parts={"official": Part((MAPPING,), _official_frames)},
    archives=tuple(
        _archive(part, kind, size, md5)
        for part, row in enumerate(_ARCHIVES, 1)
        for kind, (size, md5) in (("images", row[:2]), ("labels", row[2:]))
    ),
    terms=Terms(
        "Playing for Data (GTA5)",
        f"{SERVER}/",
        "For research and educational use only; no right to pass the data on is stated. The licence of the game itself"
        " may bind you too.",
    ),
)
