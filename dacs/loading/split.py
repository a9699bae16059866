"""Prepared frames as tensors, as the index of their split lists them."""

import csv
import re
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from dacs.datasets.decode import BadFrame, decode_file, decode_image, decode_palette, listing, read_whole
from dacs.datasets.storage import File
from dacs.errors import BadRequest, RunFailed
from dacs.layout import PreparedSplit
from dacs.loading.classes import AGAIN, prepared_classes

MEMORY = 2**30  # bytes of decoded frames that a split may keep
KINDS = ("image", "label", "full")  # columns of an index
MAPPED = ".ppm"  # ending of images that are not decoded but mapped
HEADER = re.compile(rb"P6\n(\d+) (\d+)\n255\n")  # of such a file, as `dacs remap` writes it: width, height


class Split:
    """The frames that the index of a folder lists, in its order.

    Decoded frames are kept when all of them fit into `memory` bytes. Of mapped images (.ppm) only those pages are read
    that a crop touches. Raises RunFailed when the index is missing, lists nothing, or lists files that are not there.
    """

    def __init__(self, split: PreparedSplit, memory: int = MEMORY) -> None:
        self.prepared = split
        rows = _read_index(split.index)
        self.paths = {kind: [split.path / row[kind] for row in rows] for kind in KINDS if kind in rows[0]}
        self._memory = memory
        self._kept: dict[tuple[str, int], Tensor] = {}

    def __len__(self) -> int:
        return len(self.paths["image"])

    @property
    def labelled(self) -> bool:
        """Whether the frames have labels: those of the target's training split have none."""
        return "label" in self.paths

    @property
    def names(self) -> list[str]:
        """The name of each frame: its file's, without the ending."""
        return [path.stem for path in self.paths["image"]]

    @cached_property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels of the first frame; `dacs remap` brings all frames to one size."""
        _, height, width = self._read("image", 0).shape
        return height, width

    @cached_property
    def keeps(self) -> bool:
        """Whether decoded frames stay in memory."""
        return len(self) * self.size[0] * self.size[1] * (3 * (not self.mapped) + self.labelled) <= self._memory

    @property
    def mapped(self) -> bool:
        """Whether images lie in files that are mapped, not decoded."""
        return self.paths["image"][0].suffix == MAPPED

    def spread(self, wanted: int) -> list[int]:
        """The numbers of `wanted` frames, or of all there are, evenly spread from the first on."""
        number = min(wanted, len(self))
        return [i * len(self) // number for i in range(number)]

    def spread_images(self, wanted: int) -> UInt8[Tensor, "number 3 height width"]:
        """The images of these frames."""
        return torch.stack([self.image(i) for i in self.spread(wanted)])

    def image(self, index: int) -> UInt8[Tensor, "3 height width"]:
        """RGB of a frame, 0..255. Kept tensors are shared, mapped ones are views of a file: do not write to them."""
        return self._get("image", index)

    def label(self, index: int) -> UInt8[Tensor, "height width"] | None:
        """Train ids of a frame, 255 = ignore; None where the split has no labels."""
        return self._get("label", index) if self.labelled else None

    def full(self, index: int) -> UInt8[Tensor, "height width"]:
        """Train ids of a frame at the size that its raw label had."""
        if "full" not in self.paths:
            raise RunFailed(f"{self.prepared.index}: has no labels at full size.\n{AGAIN}")
        return self._read("full", index)

    def class_counts(self) -> Int64[Tensor, "frames classes"]:
        """Pixels of each class in each frame, as `dacs remap` counted them."""
        path = self.prepared.class_counts
        columns = range(1, 1 + len(prepared_classes(self.prepared)))
        try:
            counts = np.loadtxt(path, np.int64, delimiter=",", comments=None, skiprows=1, usecols=columns, ndmin=2)
        except (OSError, ValueError) as error:
            raise RunFailed(f"{path}: not a table of class counts ({error}).\n{AGAIN}") from error
        if len(counts) != len(self):
            raise RunFailed(f"{path}: has {len(counts)} rows, the index lists {len(self)} frames.\n{AGAIN}")
        return torch.from_numpy(counts)

    def load(self) -> None:
        """Decode all frames now, if they are to be kept at all."""
        for index in range(len(self)) if self.keeps else ():
            self.image(index)
            self.label(index)

    def check_crop(self, crop: tuple[int, int]) -> None:
        """Raise BadRequest when a crop (height, width) is larger than the frames."""
        height, width = self.size
        if crop[0] > height or crop[1] > width or min(crop) < 1:
            raise BadRequest(
                f"loop.crop: {crop[0]}x{crop[1]} (height x width) does not fit into the frames of "
                f"{self.prepared.path}, which are {height}x{width}.\n"
                "Lower loop.crop in params.yaml, or raise the domain's size in remap."
            )

    def _get(self, kind: str, index: int) -> Tensor:
        if (kind, index) in self._kept:
            return self._kept[kind, index]
        found = self._read(kind, index)
        size = tuple(found.shape[-2:])
        if size != self.size:
            path = self.paths[kind][index]
            raise RunFailed(f"{path}: {kind} of size {size}, the first frame has {self.size}.\n{AGAIN}")
        if self.keeps and not (kind == "image" and self.mapped):
            self._kept[kind, index] = found
        return found

    def _read(self, kind: str, index: int) -> Tensor:
        path = self.paths[kind][index]
        try:
            if kind != "image":
                return torch.from_numpy(decode_file(path, read_whole(File(path)), decode_palette).copy())
            if path.suffix == MAPPED:
                return torch.from_numpy(map_image(path)).permute(2, 0, 1)
            pixels = decode_file(path, read_whole(File(path)), decode_image)
            return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
        except BadFrame as error:
            raise RunFailed(f"{error}\n{AGAIN}") from error


def map_image(path: Path) -> np.ndarray:
    """RGB of a PPM, of shape (height, width, 3): a view of the file, whose rows are read where they are looked at."""
    try:
        with path.open("rb") as stream:
            header, found = HEADER.match(stream.read(64)), path.stat().st_size
    except OSError as error:
        raise BadFrame(f"{path}: cannot be read ({error.strerror})") from error
    if header is None:
        raise BadFrame(f"{path}: not a PPM as 'dacs remap' writes it ({found} bytes)")
    width, height = map(int, header.groups())
    expected = header.end() + 3 * width * height
    if found != expected or not width * height:
        raise BadFrame(f"{path}: {found} bytes, a PPM of {width}x{height} has {expected}")
    # Copy-on-write, which torch takes for writable; nothing is written, so no page is copied.
    return np.memmap(path, np.uint8, "c", header.end(), (height, width, 3))


def _read_index(path: Path) -> list[dict[str, str]]:
    """The rows of an index, all of whose files are there."""
    if not path.exists():
        raise RunFailed(f"{path}: not found.\n{AGAIN}")
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    if not rows:
        raise RunFailed(f"{path}: lists no frames.\n{AGAIN}")
    if "image" not in rows[0]:
        raise RunFailed(f"{path}: has no column 'image'.\n{AGAIN}")
    kinds = [kind for kind in KINDS if kind in rows[0]]
    listed = [row[kind] or f"row {line}: no {kind}" for line, row in enumerate(rows, 2) for kind in kinds]
    missing = [file for file in listed if not (path.parent / file).is_file()]
    if missing:
        raise RunFailed(listing(f"{path}: {len(missing)} files it lists are not there", missing) + f"\n{AGAIN}")
    return rows
