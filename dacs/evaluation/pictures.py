"""The images given to `predict`: finding, reading and writing them, and the names of their results. No network here."""

import io
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from dacs.datasets.decode import BadFrame
from dacs.errors import BadRequest
from dacs.files import write_bytes
from dacs.labels import palette
from dacs.prepare.pixels import png_of_image, png_of_label

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
RESULTS = ("ids", "colors", "overlays")  # folders of what is made of each picture
LARGEST = 2**30  # pixels of a picture: a guard against files that lie about their size


class Picture(NamedTuple):
    """A file, and the name of its results."""

    name: str  # its path below the folder that was given, without the ending
    path: Path

    def results(self, out: Path) -> list[Path]:
        """The files that are made of it."""
        return [out / kind / f"{self.name}.png" for kind in RESULTS]


def find(given: Sequence[Path], out: Path) -> tuple[list[Picture], int]:
    """The pictures among files and folders, in the order of their names, and how many other files lie in the folders.

    Hidden files are no pictures, nor are results that an earlier run wrote to `out`. Raises BadRequest when there are
    none, and when two would have the same name.
    """
    pictures, others = list[Picture](), 0
    for path in given:
        if path.is_dir():
            files = sorted(_files_below(path, [(out / kind).resolve() for kind in RESULTS]))
            found = [file for file in files if _is_picture(file, path)]
            pictures += [Picture(file.relative_to(path).with_suffix("").as_posix(), file) for file in found]
            others += len(files) - len(found)
        elif path.exists():
            pictures.append(Picture(path.stem, path))
        else:
            raise BadRequest(f"{path}: not found.\nGive images, or folders of images.")
    if not pictures:
        raise BadRequest(f"{', '.join(map(str, given))}: no images.\nKnown endings: {', '.join(ENDINGS)}.")
    twice = [name for name, times in Counter(picture.name for picture in pictures).items() if times > 1]
    if twice:
        raise BadRequest(
            f"{len(twice)} names occur more than once, such as '{twice[0]}'; results would overwrite each other.\n"
            "Give the folder above them, whose tree is kept, or give these images in runs of their own."
        )
    return pictures, others


def _files_below(folder: Path, without: list[Path]) -> Iterator[Path]:
    """All files below a folder but those below others; links are followed, but not in circles."""
    for where, folders, names in os.walk(folder, followlinks=True, onerror=_refuse):
        here = Path(where).resolve()
        below = {name: Path(where, name).resolve() for name in folders}
        folders[:] = [name for name, path in below.items() if path not in without and not here.is_relative_to(path)]
        yield from (Path(where, name) for name in names)


def _refuse(error: OSError) -> None:
    raise BadRequest(f"{error.filename}: cannot be read ({error.strerror}).\nMake it readable, or give other folders.")


def _is_picture(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.suffix.lower() in ENDINGS and not hidden and (path.is_file() or path.is_symlink())


@contextmanager
def any_size() -> Iterator[None]:
    """Let large pictures be read, which Pillow takes for an attack, and keep its remarks on odd files to itself."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def read(path: Path) -> np.ndarray:
    """A picture as viewers show it, as RGB: uint8 of shape (height, width, 3). Raises BadFrame saying what is wrong.

    Of 16 bits the high byte is taken, gray is tripled, transparency is dropped, a palette is looked up, and the EXIF
    orientation is applied. Of several pages it is the first.
    """
    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            return _rgb(image)
    except BadFrame as error:
        raise BadFrame(f"{path}: {error}") from error
    except UnidentifiedImageError as error:
        raise BadFrame(f"{path}: not an image, or damaged from its start ({len(content)} bytes)") from error
    except Exception as error:  # a decoder stumbles over damage in as many ways as there are bytes
        raise BadFrame(f"{path}: not a readable image ({error or type(error).__name__})") from error


def _rgb(image: Image.Image) -> np.ndarray:
    if image.width * image.height > LARGEST:
        raise BadFrame(f"{image.width}x{image.height} pixels are too many ({LARGEST} at most)")
    image.load()
    with suppress(Exception):  # damaged EXIF data do not spoil the picture
        image = ImageOps.exif_transpose(image)
    if not image.mode.startswith(("I", "F")):
        return np.asarray(image.convert("RGB"))
    samples = np.asarray(image)
    if samples.dtype.kind != "u" or samples.dtype.itemsize != 2:
        raise BadFrame(f"samples of type {samples.dtype} ({image.mode}), 8 or 16 bits without a sign were expected")
    return np.repeat((samples >> 8).astype(np.uint8)[..., None], 3, axis=2)


def write(picture: Picture, image: np.ndarray, ids: np.ndarray, out: Path) -> None:
    """Write train ids, their colours, and the colours over the picture, as PNG, each of them whole or not at all."""
    colors = palette()[ids]
    overlay = cv2.addWeighted(image, 0.5, colors, 0.5, 0)
    contents = (png_of_label(ids), *(png_of_image(Image.fromarray(pixels)) for pixels in (colors, overlay)))
    for path, content in zip(picture.results(out), contents, strict=True):
        write_bytes(path, content)
