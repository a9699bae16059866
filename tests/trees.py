"""Tiny raw trees in the true layouts of the four data sets, written without the package's writers."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

RAW_IDS = {  # that labels may hold
    "gta5": range(35),
    "synthia": range(23),
    "cityscapes": range(34),
    "camvid": range(12),
}


def ids(rng: np.random.Generator, size: tuple[int, int], highest: int) -> np.ndarray:
    """A label in blocks, so that classes have areas: raw ids 0..highest, uint8 of shape `size`."""
    blocks = rng.integers(0, highest + 1, (size[0] // 4 + 1, size[1] // 4 + 1), dtype=np.uint8)
    blocks[0, 0] = highest
    return blocks.repeat(4, axis=0).repeat(4, axis=1)[: size[0], : size[1]]


def write_image(path: Path, rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """A smooth random photograph; returns its pixels."""
    small = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    pixels = np.array(Image.fromarray(small).resize((size[1], size[0]), Image.Resampling.BICUBIC))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def write_palette(path: Path, label: np.ndarray) -> None:
    """GTA5: a palette of 35 colours, several of them equal, as in the real files."""
    image = Image.fromarray(label)
    image.putpalette([0, 0, 0] * 4 + [channel for index in range(31) for channel in (index * 8, 90, 255 - index)])
    image.save(path)


def write_red16(path: Path, label: np.ndarray) -> None:
    """SYNTHIA: 16 bits, class in red, instance in green; put together by hand, so that no library's habits enter."""
    wide = label.astype(">u2")
    rows = np.dstack([wide, (wide * 37) % 977, np.zeros_like(wide)]).astype(">u2")
    filtered = b"".join(b"\0" + row.tobytes() for row in rows)  # filter 0: as it is
    header = struct.pack(">IIBBBBB", label.shape[1], label.shape[0], 16, 2, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(filtered)), (b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, content) for kind, content in chunks))


def chunk(kind: bytes, content: bytes) -> bytes:
    """One chunk of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def write_gray(path: Path, label: np.ndarray) -> None:
    """Cityscapes' labelIds, with the instance ids and colours that are beside them."""
    Image.fromarray(label).save(path)
    Image.fromarray(label.astype(np.uint16) * 1000).save(str(path).replace("labelIds", "instanceIds"))


def write_ids(path: Path, label: np.ndarray) -> None:
    """CamVid: gray ids, and nothing beside them."""
    Image.fromarray(label).save(path)


WRITE_LABEL = {"gta5": write_palette, "synthia": write_red16, "cityscapes": write_gray, "camvid": write_ids}


def paths(domain: str, raw: Path, split: str, number: int) -> tuple[Path, Path]:
    """Where the image and the label of a frame belong."""
    if domain == "gta5":
        return raw / f"images/{number:05d}.png", raw / f"labels/{number:05d}.png"
    if domain == "synthia":
        base = raw / "RAND_CITYSCAPES"
        return base / f"RGB/{number:07d}.png", base / f"GT/LABELS/{number:07d}.png"
    if domain == "camvid":
        folder, name = ("train", f"0001TP_{number:06d}") if split == "train" else ("test", f"Seq05VD_f{number:05d}")
        return raw / f"CamVid/{folder}/{name}.png", raw / f"CamVid/{folder}annot/{name}.png"
    city = ("aachen", "bochum")[number % 2] if split == "train" else "lindau"
    name = f"{city}_{number:06d}_000019"
    return (
        raw / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png",
        raw / "gtFine" / split / city / f"{name}_gtFine_labelIds.png",
    )


def write_tree(
    domain: str, raw: Path, frames: int = 3, size: tuple[int, int] = (32, 48), seed: int = 0
) -> dict[str, np.ndarray]:
    """A raw folder with frames 1..frames in each split; returns the raw ids of each frame by the name of its label."""
    rng = np.random.default_rng(seed)
    written = {}
    for split in ("train", "val") if domain in ("cityscapes", "camvid") else ("train",):
        for number in range(1, frames + 1):
            image, label = paths(domain, raw, split, number)
            write_image(image, rng, size)
            label.parent.mkdir(parents=True, exist_ok=True)
            written[label.name] = ids(rng, size, max(RAW_IDS[domain]))
            WRITE_LABEL[domain](label, written[label.name])
    return written
