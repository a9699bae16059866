"""SYNTHIA-RAND-CITYSCAPES: rendered frames with a table of classes of their own."""

import io

import numpy as np
from PIL import Image

from dacs.datasets.base import Archive, DataSet, Layout, Terms
from dacs.datasets.decode import BadFrame, decode_unchanged
from dacs.labels import IGNORE, LABELS

RAR = "SYNTHIA_RAND_CITYSCAPES.rar"
LANE_MARKING = 22  # 1.4 % of its pixels, ignored by all but CRST
KNOWN = {label.synthia_id: label for label in LABELS if label.synthia_id is not None}
TRAIN_IDS = {raw: label.train_id for raw, label in KNOWN.items()} | {LANE_MARKING: IGNORE}


def decode_red16(content: bytes) -> np.ndarray:
    """Raw ids of a 16-bit colour PNG, whose red channel is the class.

    Pillow keeps only the high byte of each sample, which is class 0 everywhere and raises nothing; OpenCV keeps all 16
    bits, blue first.
    """
    pixels = decode_unchanged(content)
    if pixels.dtype != np.uint16 or pixels.ndim != 3 or pixels.shape[2] != 3:
        channels = 1 if pixels.ndim == 2 else pixels.shape[2]
        raise BadFrame(
            f"16 bits and 3 channels were expected, found {pixels.dtype} and {channels}: "
            f"take GT/LABELS of SYNTHIA-RAND-CITYSCAPES, not GT/COLOR and not a converted copy"
        )
    return _checked(pixels[..., 2])


def decode_single(content: bytes) -> np.ndarray:
    """Raw ids as third parties re-encode them: one channel, 8 or 16 bits (synthia_mapped_to_cityscapes)."""
    with Image.open(io.BytesIO(content)) as image:
        if image.mode not in ("L", "P", "I;16", "I"):
            raise BadFrame(f"one channel of ids was expected, found mode {image.mode}: take the original GT/LABELS")
        return _checked(np.asarray(image))


def _checked(ids: np.ndarray) -> np.ndarray:
    highest, allowed = int(ids.max()), max(TRAIN_IDS)
    if highest > allowed:
        raise BadFrame(f"id {highest} is outside the table (0..{allowed})")
    if highest == 0:
        raise BadFrame("every pixel is class 0 (void), as an 8-bit reader leaves it: take the original GT/LABELS")
    return ids.astype(np.uint8)


def _needed(member: str) -> bool:
    return not member.startswith(("RAND_CITYSCAPES/Depth/", "RAND_CITYSCAPES/GT/COLOR/"))


DATASET = DataSet(
    name="synthia",
    title="SYNTHIA",
    colors=("#12868b", "#5fd0d3"),
    headline="16",
    homes=("RAND_CITYSCAPES", "", "synthia", "SYNTHIA", "synthia/RAND_CITYSCAPES", "SYNTHIA/RAND_CITYSCAPES"),
    layouts=(
        Layout("RGB", "GT/LABELS"),
        Layout("RGB", "synthia_mapped_to_cityscapes", decode_single),
        Layout("RGB", "parsed_LABELS", decode_single),
    ),
    frame=r"\d{7}",
    splits={"train": "train"},
    decode=decode_red16,
    train_ids=TRAIN_IDS,
    id_names={raw: label.name for raw, label in KNOWN.items()} | {LANE_MARKING: "lane marking"},
    published={"train": 9400},
    sizes=frozenset({(760, 1280)}),
    exact=True,
    archives=(Archive(RAR, f"http://synthia-dataset.cvc.uab.cat/{RAR}", None, "", 60 * 10**9, "", "about 20 GB"),),
    terms=Terms(
        "SYNTHIA-RAND-CITYSCAPES",
        "http://synthia-dataset.net/downloads/",
        "Said to be under CC BY-NC-SA 3.0: name the authors, nothing commercial, share changes alike. This was read at"
        " second hand, so read the README in the archive.",
    ),
    unpack_member=_needed,
)
