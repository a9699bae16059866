"""SYNTHIA-RAND-CITYSCAPES: rendered frames with a table of classes of their own."""

import numpy as np

from dacs.datasets.base import Archive, DataSet, Layout, Terms
from dacs.datasets.decode import BadFrame, decode_ids, decode_unchanged
from dacs.labels import LABELS

RAR = "SYNTHIA_RAND_CITYSCAPES.rar"
LANE_MARKING = 22  # 1.4 % of its pixels, ignored by all but CRST
KNOWN = {label.synthia_id: label for label in LABELS if label.synthia_id is not None}


def decode_red16(content: bytes) -> np.ndarray:
    """Raw ids of a 16-bit colour PNG, whose red channel is the class.

    Pillow keeps only the high byte of each sample, which is class 0 everywhere and raises nothing; OpenCV keeps all 16
    bits, blue first.
    """
    pixels = decode_unchanged(content)
    if pixels.dtype != np.uint16 or pixels.shape[2:] != (3,):
        raise BadFrame(
            f"16 bits and 3 channels were expected, found {pixels.dtype} of shape {pixels.shape}: "
            "take GT/LABELS of SYNTHIA-RAND-CITYSCAPES, not GT/COLOR and not a converted copy"
        )
    return _raw_ids(pixels[..., 2])


def decode_single(content: bytes) -> np.ndarray:
    """Raw ids as third parties re-encode them: one channel, 8 or 16 bits (synthia_mapped_to_cityscapes)."""
    return _raw_ids(decode_ids(content, ("L", "P", "I;16", "I")))


def _raw_ids(ids: np.ndarray) -> np.ndarray:
    if not ids.any():
        raise BadFrame("every pixel is class 0 (void), as an 8-bit reader leaves it: take the original GT/LABELS")
    return ids.clip(max=255).astype(np.uint8)  # what is above 255 is outside the table in any case


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
    classes={raw: (label.name,) for raw, label in KNOWN.items()} | {LANE_MARKING: ("lane marking",)},
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
    unneeded=("RAND_CITYSCAPES/Depth/", "RAND_CITYSCAPES/GT/COLOR/"),
)
