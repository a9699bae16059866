"""The examples of docs/own-data.md, and files as they describe them."""

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from pipeline import ROOT, Pipeline, create

PAGE = ROOT / "docs/own-data.md"
BLOCK = re.compile(r"^```yaml (example-\d)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def example(name: str, folder: Path) -> dict[str, Any]:
    """The settings of an example, its files in `folder`."""
    blocks = {match[1]: match[2] for match in BLOCK.finditer(PAGE.read_text())}
    found = yaml.safe_load(blocks[name].replace("/data/", f"{folder}/"))
    assert isinstance(found, dict)
    return found


def project(folder: Path, *examples: dict[str, Any]) -> Pipeline:
    """The project with the settings of examples, at `scale: smoke`."""
    values: dict[str, Any] = {}
    for settings in examples:
        for section, content in settings.items():
            if section in ("labels",):
                values[section] = content
            elif section == "domains":
                values.setdefault(section, {}).update(content)
            else:
                values |= {f"{section}__{key}": value for key, value in content.items()}
    return create(folder, **values)


def write_frame(image: Path, label: Path | None, ids: np.ndarray) -> None:
    """An image whose colours follow its ids, and a label of these ids or colours."""
    image.parent.mkdir(parents=True, exist_ok=True)
    colors = np.stack([ids * 97 % 251, ids * 31 % 241, ids * 7 % 239], axis=-1).astype(np.uint8)
    cv2.imwrite(str(image), ids if ids.ndim == 3 else colors)
    if label:
        label.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(label), ids)


def scene(values: list[Any], seed: int, size: tuple[int, int]) -> np.ndarray:
    """A label that shows each of these ids, or colours (blue, green, red), in a band of its own, and some boxes."""
    generator = np.random.default_rng(seed)
    table = np.array(values, np.uint16 if np.max(values) > 255 else np.uint8)
    index = np.arange(size[0])[:, None] * len(values) // size[0] + np.zeros(size[1], int)
    for _ in range(4):
        top, left = generator.integers(0, size[0] - 12), generator.integers(0, size[1] - 20)
        index[top : top + 12, left : left + 20] = generator.integers(len(values))
    return table[index]
