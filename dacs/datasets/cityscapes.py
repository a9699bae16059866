"""Cityscapes: photographs of German cities, the usual target."""

from functools import partial

from dacs.datasets.base import Archive, DataSet, Layout, Terms
from dacs.datasets.decode import decode_ids
from dacs.labels import LABELS

SERVER = "https://www.cityscapes-dataset.com"
KNOWN = [label for label in LABELS if label.id <= 33]


def _archive(package: int, name: str, size: int, md5: str, limit: int) -> Archive:
    address = f"{SERVER}/file-handling/?packageID={package}"
    return Archive(name, address, size, f"md5:{md5}", limit, "cityscapes", "train, val and test")


DATASET = DataSet(
    name="cityscapes",
    title="Cityscapes",
    colors=("#5c6b14", "#b9c860"),
    homes=("", "cityscapes", "CityScapes", "Cityscapes", "data", "Cityscapes/data"),
    layouts=(
        Layout("leftImg8bit/{split}", "gtFine/{split}"),
        Layout("leftImg8bit_trainvaltest/leftImg8bit/{split}", "gtFine_trainvaltest/gtFine/{split}"),
    ),
    frame=r"(?:.*/)?[^/]+_\d+_\d+",
    image_end="_leftImg8bit.png",
    label_end="_gtFine_labelIds.png",
    splits={"train": "oracle", "val": "val"},  # adaptation must not see the labels of the training images
    decode=partial(decode_ids, modes=("L",)),
    classes={label.id: (label.name,) for label in KNOWN},
    published={"train": 2975, "val": 500},
    sizes=frozenset({(1024, 2048)}),
    exact=True,
    archives=(
        _archive(1, "gtFine_trainvaltest.zip", 252567705, "4237c19de34c8a376e9ba46b495d6f66", 8 * 10**9),  # of polygons
        _archive(3, "leftImg8bit_trainvaltest.zip", 11592327197, "0a6e97e94b616a514066c9e2adb0c97f", 14490408996),
    ),
    terms=Terms(
        "Cityscapes",
        f"{SERVER}/license/",
        "For purposes that are not commercial, after registering and accepting the terms with your own account; cite"
        " the paper. Neither the data set nor modified versions of it may be passed on; models trained on it may.",
    ),
)
