"""Predictions for images of any size by the networks of a finished run; finished ones are not made again."""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby, islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from torch import nn
from tqdm import tqdm

from dacs.datasets.decode import BadFrame, listing
from dacs.errors import BadRequest, RunFailed
from dacs.evaluation.evaluate import load
from dacs.evaluation.pictures import Picture, any_size, find, read, write
from dacs.evaluation.tiles import LEAST, predict
from dacs.files import digest, read_json, write_json
from dacs.layout import RunDir
from dacs.models.device import device_for, memory_errors
from dacs.settings import Device

RECORD = "predictions.json"  # what the results in a folder were made with, and of which files
Item = TypeVar("Item")
Result = TypeVar("Result")


def predict_images(
    weights: Path,
    images: list[Path],
    out: Path,
    *,
    network: str | None,
    batch: int,
    tile: int,
    again: bool,
    device: Device,
) -> None:
    """Predict images, or folders of them, and write to `out` for each: train ids, colours, and an overlay.

    `weights`: a run folder, in which `network` chooses (student or teacher; None: student), or a file of weights in
    one. Images of one size go through the network together, up to `batch` of them and `tile` pixels; larger ones go in
    tiles. Images whose results are there and newer are skipped, unless `again`. Raises RunFailed at the end, listing
    what could not be read.
    """
    if tile < LEAST:
        raise BadRequest(
            f"--tile {tile / 1e6:g}: at least {LEAST / 1e6:.2f} megapixels were expected, as tiles overlap.\n"
            "Leave it out for the default."
        )
    pictures, others = find(images, out)
    file = _weights_file(weights, network)
    segmenter = load(file).to(device_for(device))
    waiting = _begin(out, {"weights": digest(file), "tile": tile}, pictures, again)
    faults, done = list[BadFrame](), len(pictures) - len(waiting)
    with any_size(), tqdm(total=len(pictures), initial=done, desc="predict", unit="image", disable=None) as bar:
        found = _predictions(segmenter, _readable(waiting, faults, bar), batch, tile)
        for _, written in _ahead(lambda one: write(*one, out), found):
            written.result()
    _report(out, len(pictures), len(waiting), others, faults)


def _weights_file(path: Path, network: str | None) -> Path:
    """The file of weights: of the network in a run folder, or the one that is named."""
    run = RunDir(path if path.is_dir() else path.parent)
    files = {"student": run.weights, "teacher": run.teacher}
    if path.is_dir():
        return files[network or "student"]
    if not path.exists():
        raise BadRequest(f"{path}: not found.\nGive the folder of a finished run, or a file of weights in one.")
    if network and path != files[network]:
        raise BadRequest(f"{path}: is not of the {network}.\nGive the run folder, or leave out --network.")
    return path


def _report(out: Path, given: int, tried: int, others: int, faults: list[BadFrame]) -> None:
    parts = [f"{tried - len(faults)} images predicted"]
    parts += [f"{given - tried} have results already"] if given > tried else []
    parts += [f"{others} other or hidden files skipped"] if others else []
    print(f"{out}: {', '.join(parts)}.")
    if faults:
        raise RunFailed(
            listing(f"{len(faults)} of {given} images could not be read", map(str, faults))
            + "\nReplace them by whole copies, then run the same command again: it makes what is missing."
        )


def _begin(out: Path, made_with: dict[str, Any], pictures: list[Picture], again: bool) -> list[Picture]:
    """The pictures to predict; the record of what results are made with is written before the first of them."""
    record = read_json(out / RECORD) if (out / RECORD).exists() else {**made_with, "images": {}}
    changed = [key for key, value in made_with.items() if record.get(key) != value]
    if changed and not again:
        raise BadRequest(
            f"{out}: holds results of another network or setting ({', '.join(changed)}; see {RECORD}).\n"
            "Choose another folder with --out, or predict these images again with --again."
        )
    listed = {} if changed else record["images"]
    known = {} if again else listed
    sources = {picture.name: str(picture.path.resolve()) for picture in pictures}
    other = [name for name, source in sources.items() if known.get(name, source) != source]
    if other:
        raise BadRequest(
            f"{out}: holds results of other images under {len(other)} of these names, such as '{other[0]}' of"
            f" {known[other[0]]}.\nChoose another folder with --out, or overwrite them with --again."
        )
    for picture in pictures:
        for path in picture.results(out) if picture.name not in known else ():
            path.unlink(missing_ok=True)  # of an unknown network
    write_json(out / RECORD, {**made_with, "images": {**listed, **sources}})
    return [picture for picture in pictures if not _is_done(picture, out)]


def _is_done(picture: Picture, out: Path) -> bool:
    """Whether all results are there and newer than the image, by its content and its name."""
    try:
        image = picture.path.stat()
        made = min(path.stat().st_mtime_ns for path in picture.results(out))
    except OSError:
        return False
    return made > max(image.st_mtime_ns, image.st_ctime_ns)


def _ahead(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[Item, Future[Result]]]:
    """Each item and its result, which threads compute while a few items before it are waited for."""
    threads = min(4, os.cpu_count() or 1)
    waiting = deque[tuple[Item, Future[Result]]]()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) > threads:
                yield waiting.popleft()
        yield from waiting


def _readable(pictures: list[Picture], faults: list[BadFrame], bar: Any) -> Iterator[tuple[Picture, np.ndarray]]:
    """The pictures that can be read, and their pixels; the others are reported at once, and again at the end."""
    for picture, result in _ahead(lambda picture: read(picture.path), pictures):
        bar.update()
        try:
            pixels = result.result()
        except BadFrame as fault:
            tqdm.write(str(fault), file=sys.stderr)
            faults.append(fault)
        else:
            yield picture, pixels


def _predictions(
    network: nn.Module, images: Iterable[tuple[Picture, np.ndarray]], batch: int, tile: int
) -> Iterator[tuple[Picture, np.ndarray, np.ndarray]]:
    """Each picture with its pixels and train ids; several of one size go together, up to `batch` or `tile` pixels."""
    advice = "Run the same command again with a smaller --batch or --tile; it makes what is missing."
    for shape, group in groupby(images, key=lambda image: image[1].shape):
        most = max(1, min(batch, tile // (shape[0] * shape[1])))
        while some := list(islice(group, most)):
            with memory_errors(f"{len(some)} images like {some[0][0].path}", advice):
                found = predict(network, [pixels for _, pixels in some], tile)
            for (picture, pixels), ids in zip(some, found, strict=True):
                yield picture, pixels, ids
