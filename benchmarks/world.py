"""How fast the world is drawn: frames a second on one core, beside what encoding the same files alone would allow.

    python benchmarks/world.py [frames]

The limit is the time to encode the frame's image and label as PNG, nothing drawn: no renderer that writes these files
can be faster. Processor time is measured, so that a busy machine does not blur it.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from dacs.demo_world.frame import Frame, render
from dacs.demo_world.rates import DOMAINS
from dacs.demo_world.write import FORMATS, ids_on_disk, write_frame, write_png

SEED, SCALE = 0, 0.1875  # the default world


def seconds(work: Callable[..., object], frames: int) -> float:
    """Processor seconds a frame."""
    work(0)  # models and tiles are built once
    start = time.process_time()
    for number in range(frames):
        work(number)
    return (time.process_time() - start) / frames


def encode(number: int, *, drawn: list[Frame], domain: str, out: Path) -> None:
    frame = drawn[number]
    write_png(out / "image.png", frame.image[..., ::-1])
    FORMATS[domain].write_label(out / "label.png", ids_on_disk(domain, frame.label), frame)


def main(frames: int = 60) -> None:
    print(f"{'domain':12}{'size':>10}{'frames/s/core':>15}{'drawing ms':>12}{'limit/s':>9}{'of limit':>10}")
    with tempfile.TemporaryDirectory() as folder:
        for domain in DOMAINS:
            draw = partial(render, domain, "train", seed=SEED, scale=SCALE)
            write = partial(write_frame, domain=domain, out=Path(folder), seed=SEED, scale=SCALE)
            drawn = [draw(number) for number in range(frames)]
            whole = seconds(lambda number, write=write: write(("train", number)), frames)
            limit = seconds(partial(encode, drawn=drawn, domain=domain, out=Path(folder)), frames)
            height, width = drawn[0].label.shape
            row = f"{1 / whole:15.1f}{1e3 * seconds(draw, frames):12.1f}{1 / limit:9.1f}{limit / whole:10.2f}"
            print(f"{domain:12}{f'{width}x{height}':>10}{row}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
