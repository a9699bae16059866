"""Predictions for images of any size by the networks of a finished run; finished ones are not made again."""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby, islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from tqdm import tqdm

from dacs.datasets.decode import BadFrame, listing
from dacs.errors import BadRequest, RunFailed
from dacs.evaluation.evaluate import load
from dacs.evaluation.pictures import any_size, read
from dacs.evaluation.results import Form, Found, Picture, find, frames_of, write, write_table
from dacs.evaluation.scale import NATIVE, Scale, scale_of
from dacs.evaluation.spec import labels_of
from dacs.evaluation.tiles import LEAST, predict
from dacs.fields import Device
from dacs.files import digest, read_json, write_json
from dacs.layout import RunDir
from dacs.models.device import device_for, memory_errors
from dacs.models.segmenter import Segmenter

RECORD = "predictions.json"  # what the results in a folder were made with, and of which files
Item = TypeVar("Item")
Result = TypeVar("Result")


class Image(NamedTuple):
    """A picture that was read."""

    picture: Picture
    pixels: np.ndarray  # RGB: uint8 of shape (height, width, 3)
    scaled: np.ndarray  # the same at the scale of the network


PLAIN = Form()


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
    size: str | None = None,
    form: Form = PLAIN,
) -> None:
    """Predict images, or folders of them, and write to `out` for each: ids, colours, an overlay, as `form` says.

    `weights`: a run folder, in which `network` chooses (student or teacher; None: student), or a file of weights in
    one. Images are brought to `size` ("native", HEIGHTxWIDTH, or None: that of the frames of the run), and logits back
    to that of the file. Images of one size go through the network together, up to `batch` of them and `tile` pixels;
    larger ones go in tiles. Images whose results are there and newer are skipped, unless `again`. Raises RunFailed at
    the end, listing what could not be read.
    """
    if tile < LEAST:
        raise BadRequest(
            f"--tile {tile / 1e6:g}: at least {LEAST / 1e6:.2f} megapixels were expected, as tiles overlap.\n"
            "Leave it out for the default."
        )
    found = find(images, out)
    file = _weights_file(weights, network)
    form = form.of(labels_of(run := RunDir(file.parent)))
    scale = scale_of(run, size)
    segmenter = load(file).to(device_for(device))
    at = f"{scale.size[0]}x{scale.size[1]}" if scale else NATIVE
    made_with = {"weights": digest(file), "tile": tile, "size": at, "ids": form.ids, "classes": [*form.classes] or None}
    waiting = _begin(out, made_with, found, form, again)
    faults, done = list[BadFrame](), len(found.pictures) - len(waiting)
    with any_size(), tqdm(total=len(found.pictures), initial=done, desc="predict", unit="image", disable=None) as bar:
        made = _predictions(segmenter, _readable(waiting, scale, faults, bar), batch, tile, form)
        for _, written in _ahead(lambda one: write(*one, out, form), made):
            written.result()
    _report(out, found, len(waiting), faults)


def _weights_file(path: Path, network: str | None) -> Path:
    """The file of weights: of the network in a run folder, or the one that is named."""
    run = RunDir(path if path.is_dir() else path.parent)
    files = {"student": run.weights, "teacher": run.teacher}
    if not path.exists():
        raise BadRequest(f"{path}: not found.\nGive the folder of a finished run, or a file of weights in one.")
    if not run.spec.exists():
        raise BadRequest(
            f"{path}: not of a finished run: {run.spec.name} is not there, which says what network weights are of.\n"
            "Give the folder of a finished run, or a file of weights in one."
        )
    if path.is_dir():
        return files[network or "student"]
    if network and path != files[network]:
        raise BadRequest(f"{path}: is not of the {network}.\nGive the run folder, or leave out --network.")
    return path


def _report(out: Path, found: Found, tried: int, faults: list[BadFrame]) -> None:
    given = len(found.pictures)
    parts = [f"{tried - len(faults)} images predicted"]
    parts += [f"{given - tried} have results already"] if given > tried else []
    parts += [f"{found.others} other or hidden files skipped"] if found.others else []
    parts += [f"{len(found.videos)} videos skipped"] if found.videos else []
    print(f"{out}: {', '.join(parts)}.")
    if found.videos:
        print(frames_of(found.videos[0]))
    if faults:
        raise RunFailed(
            listing(f"{len(faults)} of {given} images could not be read", map(str, faults))
            + "\nReplace them by whole copies, then run the same command again: it makes what is missing."
        )


def _begin(out: Path, made_with: dict[str, Any], found: Found, form: Form, again: bool) -> list[Picture]:
    """The pictures to predict; the record of what results are made with is written before the first of them."""
    pictures = found.pictures
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
        for path in picture.results(out, form) if picture.name not in known else ():
            path.unlink(missing_ok=True)  # of an unknown network
    write_json(out / RECORD, {**made_with, "images": {**listed, **sources}})
    write_table(out, form)
    return [picture for picture in pictures if not _is_done(picture, out, form)]


def _is_done(picture: Picture, out: Path, form: Form) -> bool:
    """Whether all results are there and newer than the image, by its content and its name."""
    try:
        image = picture.path.stat()
        made = min(path.stat().st_mtime_ns for path in picture.results(out, form))
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


def _readable(pictures: list[Picture], scale: Scale | None, faults: list[BadFrame], bar: Any) -> Iterator[Image]:
    """The pictures that can be read; the others are reported at once, and again at the end."""

    def image_of(picture: Picture) -> Image:
        pixels = read(picture.path)
        return Image(picture, pixels, scale.fit(pixels) if scale else pixels)

    for _, result in _ahead(image_of, pictures):
        bar.update()
        try:
            image = result.result()
        except BadFrame as fault:
            tqdm.write(str(fault), file=sys.stderr)
            faults.append(fault)
        else:
            yield image


def _predictions(
    network: Segmenter, images: Iterable[Image], batch: int, tile: int, form: Form
) -> Iterator[tuple[Picture, np.ndarray, np.ndarray, np.ndarray | None]]:
    """Each picture with its pixels, train ids and confidence; several of one size go together, up to `batch`."""
    advice = "Run the same command again with a smaller --batch or --tile; it makes what is missing."
    for (size, shape), group in groupby(images, key=lambda image: (image.pixels.shape[:2], image.scaled.shape)):
        most = max(1, min(batch, tile // (shape[0] * shape[1])))
        while some := list(islice(group, most)):
            with memory_errors(f"{len(some)} images like {some[0].picture.path}", advice):
                ids, likely = predict(network, [each.scaled for each in some], tile, size, confidence=form.confidence)
            for number, image in enumerate(some):
                yield image.picture, image.pixels, ids[number], None if likely is None else likely[number]
