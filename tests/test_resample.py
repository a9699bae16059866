"""Resizing by Pillow and torch together: at most 1 level off Pillow, for any image and size."""

import numpy as np
import pytest
import torch
from PIL import Image

from dacs.prepare.pixels import resize
from dacs.prepare.resample import Kernel, columns_first, exact_rows, resized, rounded_edge, weights

SIZES = (
    ((1052, 1914), (720, 1280)),
    ((256, 512), (128, 256)),
    ((190, 320), (142, 240)),
    ((90, 120), (180, 240)),
    ((100, 101), (99, 99)),
    ((60, 80), (60, 40)),
    ((60, 80), (30, 80)),
    ((300, 40), (7, 5)),
    ((1920, 1080), (512, 1024)),  # these and the one above: columns first
    ((1052, 600), (720, 700)),
    ((138, 46), (131, 82)),
    ((91, 51), (41, 69)),
)


def by_pillow(image: np.ndarray, size: tuple[int, int], kernel: Kernel) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling[kernel.upper()]), np.int16)


def by_torch(image: np.ndarray, size: tuple[int, int], kernel: Kernel) -> np.ndarray:
    batch = torch.from_numpy(image.copy())[None].permute(0, 3, 1, 2)
    return torch.nn.functional.interpolate(batch, size, mode=kernel, antialias=True)[0].permute(1, 2, 0).numpy()


def images(size: tuple[int, int], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A smooth image with the noise of a sensor, noise, black and white pixels, stripes."""
    blocks = Image.fromarray(rng.integers(0, 256, (9, 16, 3), np.uint8)).resize(size[::-1], Image.Resampling.BICUBIC)
    smooth = (np.asarray(blocks) + rng.normal(0, 1.6, (*size, 3))).round().clip(0, 255).astype(np.uint8)
    binary = rng.integers(0, 2, (*size, 3), np.uint8) * 255
    stripes = np.broadcast_to(rng.integers(0, 256, (size[0], 1, 1), np.uint8), (*size, 3))
    return {"smooth": smooth, "noise": rng.integers(0, 256, (*size, 3), np.uint8), "binary": binary, "stripes": stripes}


@pytest.mark.parametrize("kernel", ["bicubic", "bilinear"])
@pytest.mark.parametrize(("size", "smaller"), SIZES)
def test_no_value_is_more_than_a_level_off_pillow(
    kernel: Kernel, size: tuple[int, int], smaller: tuple[int, int]
) -> None:
    for name, image in images(size, np.random.default_rng(0)).items():
        image.flags.writeable = False  # as frames are that Pillow has decoded
        made = np.asarray(resize(image, smaller, f"{kernel}_torch"), np.int16)  # type: ignore[arg-type]
        off = np.abs(made - by_pillow(image, smaller, kernel))
        assert made.shape == (*smaller, 3)
        assert off.max() <= 1, name
        assert (off > 0).mean() < (0.01 if name == "smooth" and size[0] < 10 * smaller[0] else 0.3), name


@pytest.mark.parametrize(
    ("kernel", "size", "smaller", "edge"),
    [
        ("bicubic", (1024, 2048), (512, 1024), 2),
        ("bilinear", (1024, 2048), (512, 1024), 1),
        ("bicubic", (96, 64), (48, 64), 2),
        ("bilinear", (64, 160), (32, 40), 1),
        ("bicubic", (64, 160), (32, 40), 2),
        ("bicubic", (40, 40), (10, 20), 2),
    ],
)
def test_a_half_or_a_quarter_of_a_size_equals_pillow(
    kernel: Kernel, size: tuple[int, int], smaller: tuple[int, int], edge: int
) -> None:
    assert rounded_edge(size[0], smaller[0], kernel) == edge
    for name, image in images(size, np.random.default_rng(0)).items():
        image.flags.writeable = False
        assert np.array_equal(resized(image, smaller, kernel), by_pillow(image, smaller, kernel)), name


def test_torch_has_other_weights_than_pillow_at_most_ratios() -> None:
    assert [rounded_edge(have, want, "bicubic") for have, want in ((1914, 1280), (90, 30), (8, 4))] == [None] * 3


@pytest.mark.parametrize("kernel", ["bicubic", "bilinear"])
def test_the_order_of_rows_and_columns_is_known(kernel: Kernel) -> None:
    """Resizing one way and then the other shows which of them Pillow begins with."""
    rng, found = np.random.default_rng(0), {True: 0, False: 0}
    for _ in range(400):
        height, width, rows, columns = map(int, np.exp(rng.uniform(2, 5.2, 4)))
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        ways = ((rows, width), (height, columns))
        made = [by_pillow(by_pillow(image, way, kernel).astype(np.uint8), (rows, columns), kernel) for way in ways]
        by_columns, by_rows = (np.array_equal(each, by_pillow(image, (rows, columns), kernel)) for each in made)
        assert by_columns or by_rows
        if by_columns != by_rows:
            assert columns_first((height, width), (rows, columns)) == by_columns, (height, width, rows, columns)
            found[by_columns] += 1
    assert min(found.values()) > 50


def test_rows_that_torch_rounds_the_other_way_add_up_where_it_resizes_all_of_them() -> None:
    """Torch alone has some of these columns 2 levels off; with rows by Pillow none is."""
    rng = np.random.default_rng(0)
    pool = rng.integers(0, 256, (20_000, 48, 3), np.uint8)  # rows to choose from
    off = by_torch(pool, (len(pool), 32), "bicubic") - by_pillow(pool, (len(pool), 32), "bicubic")
    above, below = (np.argsort(~(off == sign), axis=0, kind="stable") for sign in (1, -1))
    signs = np.sign(weights(48, 32, "bicubic"))[16]  # of each row, in the row of the result that is looked at
    worst = {"torch": 0, "both": 0}
    for column in range(1, 31):
        for turn in range(4):
            chosen = [(below if sign < 0 else above)[rng.integers(4) + turn, column, 0] for sign in signs]
            image = pool[chosen]
            expected = by_pillow(image, (32, 32), "bicubic")[16]
            for name, made in (("torch", by_torch), ("both", resized)):
                worst[name] = max(worst[name], int(np.abs(made(image, (32, 32), "bicubic")[16] - expected).max()))
    assert worst == {"torch": 2, "both": 1}


@pytest.mark.parametrize("kernel", ["bicubic", "bilinear"])
@pytest.mark.parametrize(("have", "want"), [(1052, 720), (1024, 512), (360, 720), (100, 99), (760, 142), (50, 50)])
def test_rows_by_torch_weigh_less_than_a_level_in_each_row(kernel: Kernel, have: int, want: int) -> None:
    rows, shares = exact_rows(have, want, kernel), np.abs(weights(have, want, kernel))
    assert shares[:, ~rows].sum(axis=1).max(initial=0) < 1
    assert rows.sum() < have or have == want


@pytest.mark.parametrize("kernel", ["bicubic", "bilinear"])
@pytest.mark.parametrize(("have", "want"), [(96, 64), (64, 32), (30, 45), (50, 49)])
def test_the_weights_are_those_of_pillow(kernel: Kernel, have: int, want: int) -> None:
    """A gray column with one pixel of 255 shows its weight in each pixel, where that is not negative."""
    found = weights(have, want, kernel)
    for pixel in range(have):
        column = np.zeros((have, 1), np.float32)
        column[pixel] = 255
        shown = Image.fromarray(column).resize((1, want), Image.Resampling[kernel.upper()])
        assert np.allclose(np.asarray(shown)[:, 0] / 255, found[:, pixel], atol=1e-6)
