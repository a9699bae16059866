"""The table of published weights that a backbone can be initialised with; read without torch."""

import csv
from pathlib import Path
from typing import NamedTuple

TABLE = Path(__file__).with_name("weights.csv")
NONE = "none"
IMAGENET = "imagenet"  # timm's own weights of a backbone, or those that this table names
IN_ORDER = "in order"  # the layout of a file whose tensors follow in the order of timm's, under other names
FILES = (".pth", ".safetensors")  # endings of files that are named by their path


class Published(NamedTuple):
    """A row of weights.csv: one address of a file."""

    name: str
    network: str  # or backbone
    file: str
    layout: str
    address: str  # from which it is downloaded
    accuracy: str
    by_hand: str = ""  # where a person finds it with a browser, should no address answer


def published() -> list[Published]:
    """The table of published weights."""
    with TABLE.open(newline="") as stream:
        return [Published(**row) for row in csv.DictReader(stream)]
