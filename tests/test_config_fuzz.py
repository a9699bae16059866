"""Whatever stands in params.yaml is valid or refused in words, and never an error of Python."""

import math
import random
import re
from pathlib import Path
from typing import Any

import pytest
import tiny

from dacs.config import load
from dacs.errors import BadRequest
from dacs.provenance import ROOT

DEEP: Any = 1
for _ in range(200):
    DEEP = [DEEP]
VALUES = [
    *(None, True, -1, 0, 1, 2**31, 10**12, 10**400, -(10**30), 0.5, -0.5, 1e308, math.nan, math.inf, -math.inf),
    *("", " ", "x", "world", "wrold", "None", "\u2603", "\ud800", "\x00", "a" * 10_000, "../..", "1e-3", "[", "no"),
    *([], [[]], [None], [0, 0], [1, 2, 3], ["gta5-cityscapes"] * 2, {}, {"": {}}, {"x": None}, {"\ud800": 1}),
    *({"a": {"b": {"c": [1, {"d": None}]}}}, DEEP),
]


def paths(content: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where the values of nested mappings and lists are."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [path for key, value in items for path in ((*above, key), *paths(value, (*above, key)))]


def replaced(content: Any, path: tuple[Any, ...], value: Any) -> Any:
    """The content with another value there."""
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return content


def check(source: Any) -> None:
    """Load it; what is refused is named."""
    message = "params.yaml"
    try:
        load(source)
    except BadRequest as error:
        message = str(error)
    assert "params.yaml" in message.partition("\n")[0]


PATHS = paths(tiny.content())


@pytest.mark.parametrize("seed", range(40))
def test_any_value_anywhere_is_valid_or_refused(seed: int) -> None:
    generator = random.Random(seed)
    content = tiny.content()
    for path in generator.sample(PATHS, 1):
        for value in generator.sample(VALUES, 6):
            check(replaced(content, path, value))


@pytest.mark.parametrize("seed", range(60))
def test_any_damage_of_the_file_is_valid_or_refused(seed: int, tmp_path: Path) -> None:
    generator, path = random.Random(seed), tmp_path / "params.yaml"
    content = bytearray((ROOT / "params.yaml").read_bytes())
    first, number = generator.randrange(len(content)), generator.randrange(1, 9)
    kind = seed % 4
    if kind == 0:
        content[first : first + number] = generator.randbytes(number)
    elif kind == 1:
        del content[first:]
    elif kind == 2:
        content[first:first] = generator.choice([b"\t", b"&a ", b"*a", b"{", b"- ", b"\xff", b"\x00", b": ", b"!!x "])
    else:
        del content[first : first + number]
    path.write_bytes(content)
    check(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "a: 1\nb: [1,\nc: 2\n",
            "not YAML (expected ',' or ']', but got '<stream end>' while parsing a flow sequence, begun in line 2)",
        ),
        ("a: 1\n\tb: 2\n", "line 2: not YAML"),
        ("a: &x [1, *x]\n", "line 1: holds itself by an alias"),
        ("a: &x {b: *x}\n", "line 1: holds itself by an alias"),
        ("a: !!python/object:os.system {}\n", "line 1: not YAML"),
        ("? [a]\n: 1\n", "line 1: not YAML"),
        ("a: 2026-13-45\n", "not YAML"),
        ("a: " + "1" * 5000, "not YAML"),
        ("a: \x00", "not YAML"),
        ("2026-01-01: 1\n", "not sections with values"),
        ("a: " + "[" * 5000 + "]" * 5000, "nested too deeply"),
        ("a: *b\n", "line 1: not YAML"),
        ("a: 1\nb: {c: 1}\na: 2\n", "params.yaml, line 3: 'a' is given twice in one section, first in line 1."),
        ("b:\n  1: x\n  '1': y\n", "params.yaml, line 3: '1' is given twice in one section, first in line 2."),
        ("a: 1\nno: 2\n", "params.yaml, line 2: YAML takes no for False."),
    ],
)
def test_what_is_no_yaml_is_refused_with_its_line(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(BadRequest, match=re.escape(said)) as caught:
        load(path)
    assert "params.yaml" in str(caught.value).splitlines()[0]


def test_aliases_that_stand_for_more_than_memory_holds_are_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [0, 0, 0, 0, 0, 0, 0, 0, 0]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    (tmp_path / "params.yaml").write_text("\n".join(lines))
    with pytest.raises(BadRequest, match="more than 100000 values"):
        load(tmp_path / "params.yaml")


def test_bytes_that_are_no_utf8_and_a_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(BadRequest, match=r"params\.yaml, line 2: not UTF-8 text \(byte 0xff\)"):
        load(tmp_path / "params.yaml")
    with pytest.raises(BadRequest, match=r"cannot be read \(not a regular file\)"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("loop.batch", 10**12),
        ("loop.threads", 10_000),
        ("loop.workers", 10_000),
        ("loop.crop", [10**6, 96]),
        ("loop.snapshots", 10**6),
        ("train.lr", 1e30),
        ("train.steps", 10**12),
        ("runs.seeds", [2**64]),
        ("campaigns.components.seeds", [2**64]),
        ("world.frames.gta5", 10**12),
        ("world.seed", 10**20),
        ("evaluate.batch", 10**9),
        ("figures.frames", 10**9),
        ("remap.gta5", [10**9, 10**9]),
        ("model.head_width", 10**9),
        ("data.parallel", 10**6),
    ],
)
def test_numbers_beyond_reason_are_refused_by_name(path: str, value: Any) -> None:
    with pytest.raises(BadRequest, match="less than or equal to") as caught:
        load(tiny.changed(path, value))
    assert str(caught.value).startswith(f"params.yaml: {path}")


def test_a_source_of_frames_that_is_nearly_a_word_is_asked_about() -> None:
    for word, nearest in (("wrold", "world"), ("downlaod", "download"), ("World", "world")):
        with pytest.raises(BadRequest, match=f"data.sources.gta5 is '{word}', .* did you mean '{nearest}'"):
            load(tiny.changed("data.sources.gta5", word))
    load(tiny.changed("data.sources.gta5", "/data/world"))
