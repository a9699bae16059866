"""Labels for pictures of any size, by the networks of a finished run; what an earlier run made is not made again."""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from dacs.datasets.decode import BadFrame, listing
from dacs.errors import BadRequest, RunFailed
from dacs.evaluation.evaluate import NETWORKS, load
from dacs.evaluation.pictures import Picture, any_size, find, read, write
from dacs.evaluation.tiles import LEAST, label
from dacs.files import digest, read_json, write_json

RECORD = "predictions.json"  # by what the results in a folder were made, and of which files
Item = TypeVar("Item")
Result = TypeVar("Result")


class Labelled(NamedTuple):
    """A picture and what was found in it."""

    picture: Picture
    image: np.ndarray  # RGB, uint8 of shape (height, width, 3)
    ids: np.ndarray  # train ids, uint8 of shape (height, width)


def predict_images(
    weights: Path, images: Sequence[Path], out: Path, *, network: str | None, batch: int, tile: int, again: bool
) -> None:
    """Label images, or folders of them, and write to `out` for each: train ids, colours, and an overlay.

    `weights`: a run folder, in which `network` chooses (student or teacher; None: student), or a file of weights in
    one. Images of one size go through the network together, up to `batch` of them and `tile` pixels; larger ones go in
    tiles. Writes ids/, colors/ and overlays/ as PNG under the images' names, and predictions.json. Images whose results
    are there and newer are passed over, unless `again`. Raises RunFailed at the end, listing what could not be read.
    """
    _check(batch, tile)
    pictures, others = find(images, out)
    run, file = _weights(weights, network)
    segmenter = load(run, file).to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    waiting = _begin(out, {"weights": digest(run / file), "tile": tile}, pictures, again)
    faults = list[BadFrame]()
    with any_size():
        pixels = _readable(_watched(_ahead(_read, waiting), len(pictures), len(waiting)), faults)
        deque(_ahead(partial(_write, out), _labelled(segmenter, pixels, batch, tile)), maxlen=0)  # to the end
    _tell(out, len(pictures), len(waiting), others, faults)


def _check(batch: int, tile: int) -> None:
    if batch < 1:
        raise BadRequest(f"--batch {batch}: at least one image at a time was expected.\nLeave it out for the default.")
    if tile < LEAST:
        raise BadRequest(
            f"--tile {tile / 1e6:g}: at least {LEAST / 1e6:.2f} megapixels were expected, as tiles overlap.\n"
            "Leave it out for the default."
        )


def _weights(path: Path, network: str | None) -> tuple[Path, str]:
    """The run folder and the file in it."""
    if path.is_dir():
        return path, NETWORKS[network or "student"]
    if not path.exists():
        raise BadRequest(f"{path}: not found.\nGive the folder of a finished run, or a file of weights in one.")
    if network and path.name != NETWORKS[network]:
        raise BadRequest(f"{path}: is not the {network}'s.\nGive the run folder, or leave out --network.")
    return path.parent, path.name


def _tell(out: Path, given: int, tried: int, others: int, faults: list[BadFrame]) -> None:
    said = [f"{tried - len(faults)} images labelled"]
    said += [f"{given - tried} were there already"] if given > tried else []
    said += [f"{others} other or hidden files passed over"] if others else []
    print(f"{out}: {', '.join(said)}.")
    if faults:
        raise RunFailed(
            listing(f"{len(faults)} of {given} images could not be read", map(str, faults))
            + "\nReplace them by whole copies, then run the same command again: it makes what is missing."
        )


# --------------------------------------------------------------------------------------------------------------------
# What is there already


def _begin(out: Path, card: dict[str, Any], pictures: list[Picture], again: bool) -> list[Picture]:
    """The pictures to label; what they and the results that stay are made by is written down before the first."""
    record = read_json(out / RECORD) if (out / RECORD).exists() else {**card, "images": {}}
    if any(record.get(key) != value for key, value in card.items()):
        _refuse_unless(again, out, card, record)
        record = {**card, "images": {}}
    known = {} if again else dict(record["images"])
    sources = {picture.name: str(picture.path.resolve()) for picture in pictures}
    _refuse_others(out, known, sources)
    for picture in pictures:
        for path in picture.results(out) if picture.name not in known else ():
            path.unlink(missing_ok=True)  # by whatever it was made
    write_json(out / RECORD, {**card, "images": {**record["images"], **sources}})
    return [picture for picture in pictures if not _is_done(picture, out)]


def _refuse_unless(again: bool, out: Path, card: dict[str, Any], record: dict[str, Any]) -> None:
    if not again:
        changed = ", ".join(key for key, value in card.items() if record.get(key) != value)
        raise BadRequest(
            f"{out}: holds results of another network or setting ({changed}; see {RECORD}).\n"
            "Choose another folder with --out, or label the images anew with --again."
        )


def _refuse_others(out: Path, known: dict[str, str], sources: dict[str, str]) -> None:
    strange = [name for name, source in sources.items() if known.get(name, source) != source]
    if strange:
        raise BadRequest(
            f"{out}: holds results of other images under {len(strange)} of these names, such as '{strange[0]}' of"
            f" {known[strange[0]]}.\nChoose another folder with --out, or write over them with --again."
        )


def _is_done(picture: Picture, out: Path) -> bool:
    """Whether all results are there and newer than the image, be it written or put into place."""
    try:
        image = picture.path.stat()
        made = min(path.stat().st_mtime_ns for path in picture.results(out))
    except OSError:
        return False
    return made > max(image.st_mtime_ns, image.st_ctime_ns)


# --------------------------------------------------------------------------------------------------------------------
# From files to files


def _ahead(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Results in the order of the items, a few of them made ahead of need by threads beside this one."""
    threads = min(4, os.cpu_count() or 1)
    waiting = deque[Future[Result]]()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _read(picture: Picture) -> tuple[Picture, np.ndarray | BadFrame]:
    try:
        return picture, read(picture.path)
    except BadFrame as fault:
        return picture, fault


def _write(out: Path, found: Labelled) -> None:
    write(found.picture, found.image, found.ids, out)


def _watched(items: Iterable[Item], given: int, waiting: int) -> Iterator[Item]:
    """With a progress bar where a person watches."""
    yield from tqdm(items, desc="predict", unit="frame", total=given, initial=given - waiting, disable=None)


def _readable(
    items: Iterable[tuple[Picture, np.ndarray | BadFrame]], faults: list[BadFrame]
) -> Iterator[tuple[Picture, np.ndarray]]:
    """What could be read; what could not is told at once, and once more at the end."""
    for picture, pixels in items:
        if isinstance(pixels, BadFrame):
            tqdm.write(str(pixels), file=sys.stderr)
            faults.append(pixels)
        else:
            yield picture, pixels


def _labelled(
    network: nn.Module, pixels: Iterable[tuple[Picture, np.ndarray]], batch: int, tile: int
) -> Iterator[Labelled]:
    for some in _alike(pixels, batch, tile):
        pictures, images = zip(*some, strict=True)
        try:
            ids = label(network, images, tile)
        except torch.OutOfMemoryError as error:
            raise RunFailed(
                f"{len(images)} images like {pictures[0].path} do not fit into the memory of the device ({error}).\n"
                "Run the same command again with a smaller --batch or --tile; it makes what is missing."
            ) from error
        yield from map(Labelled, pictures, images, ids)


def _alike(
    pixels: Iterable[tuple[Picture, np.ndarray]], batch: int, tile: int
) -> Iterator[list[tuple[Picture, np.ndarray]]]:
    """Neighbours of one size, at most `batch` of them, and `tile` pixels if there are several."""
    some: list[tuple[Picture, np.ndarray]] = []
    for picture, image in pixels:
        most = min(batch, tile // (image.shape[0] * image.shape[1]))
        if some and (len(some) >= most or some[0][1].shape != image.shape):
            yield some
            some = []
        some.append((picture, image))
    if some:
        yield some
