"""Equal settings give equal text; the digest of code sees meaning, and nothing but meaning."""

import ast
import random
from pathlib import Path

import pytest

from dacs import provenance
from dacs.provenance import canonical, code_digest, short_digest

LEAF = '''
"""What it is for."""
import math

NUMBER = 1


def double(x):
    """Twice."""
    return 2 * x


class Box:
    """A box."""
'''


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package `dacs` of its own: top imports middle inside a function, middle imports leaf; other stands alone."""
    package = tmp_path / "dacs"
    (package / "room").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "room" / "__init__.py").touch()
    (package / "top.py").write_text("def f():\n    from dacs.room.middle import g\n    return g()\n")
    (package / "room" / "middle.py").write_text("import torch\nfrom dacs.room import leaf\ng = leaf.double\n")
    (package / "room" / "leaf.py").write_text(LEAF)
    (package / "other.py").write_text("x = 1\n")
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    return package


def of_top() -> str:
    provenance._meaning.cache_clear()
    return code_digest("dacs.top")


@pytest.fixture(autouse=True)
def forget() -> None:
    provenance._meaning.cache_clear()


def test_canonical_text_does_not_depend_on_the_order_of_keys() -> None:
    items = [("loop", {"b": 1, "a": [1.5, None]}), ("adapt", {"λ": True}), ("model", "small")]
    texts = {canonical(dict(random.Random(seed).sample(items, 3))) for seed in range(9)}
    assert len(texts) == 1
    assert " " not in texts.pop()


def test_canonical_text_tells_different_settings_apart() -> None:
    values = [{"a": 1}, {"a": 1.5}, {"a": "1"}, {"a": True}, {"a": None}, {"a": [1]}, {"b": 1}, {}]
    assert len({canonical(value) for value in values}) == len(values)


def test_a_digest_of_parts_is_not_that_of_their_sum() -> None:
    assert len({short_digest("ab", "c"), short_digest("a", "bc"), short_digest("abc")}) == 3
    assert len(short_digest("a")) == 16


@pytest.mark.parametrize(
    "edited",
    [
        LEAF.replace('"""Twice."""', '"""Two times."""'),
        LEAF.replace('    """Twice."""\n', ""),
        LEAF.replace('"""What it is for."""', '"""Another purpose."""'),
        LEAF.replace('"""A box."""', '"""No box."""'),
        LEAF.replace("NUMBER = 1", "# why\nNUMBER   =   1   # reason"),
        LEAF.replace("2 * x", "(2 *\n            x)"),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(edited: str, house: Path) -> None:
    before = of_top()
    (house / "room" / "leaf.py").write_text(edited)
    assert edited != LEAF
    assert of_top() == before


@pytest.mark.parametrize(
    "edited",
    [
        LEAF.replace("2 * x", "3 * x"),
        LEAF.replace("NUMBER = 1", "NUMBER = 2"),
        LEAF.replace("double(x)", "double(x, y=1)"),
        LEAF.replace("import math", "import cmath"),
    ],
)
def test_code_counts_through_imports_of_imports_and_inside_functions(edited: str, house: Path) -> None:
    before = of_top()
    (house / "room" / "leaf.py").write_text(edited)
    assert of_top() != before


def test_fields_that_hold_nothing_do_not_count() -> None:
    """Pythons differ in which of them there are; a run made by one should be found by another."""
    tree = ast.parse("def f(x):\n    return [None, x]\n")
    before = provenance._text(tree)
    tree.body[0].decorator_list = None
    del tree.body[0].returns
    assert provenance._text(tree) == before
    assert provenance._text(ast.parse("def f(x):\n    return [x]\n")) != before


def test_modules_that_are_not_imported_do_not_count(house: Path) -> None:
    before = of_top()
    (house / "other.py").write_text("x = 2\n")
    assert of_top() == before


def test_a_circle_of_imports_has_an_end(house: Path) -> None:
    (house / "room" / "leaf.py").write_text("from dacs.top import f\n")
    assert len(of_top()) == 16


def test_several_modules_are_digested_in_any_order(house: Path) -> None:
    assert code_digest("dacs.top", "dacs.other") == code_digest("dacs.other", "dacs.top") != code_digest("dacs.top")


def test_the_loop_is_made_of_the_method_and_not_of_the_report() -> None:
    """Checked on the real house: the digest reaches what a run is made of."""
    seen, waiting = set(), ["dacs.training.loop"]
    while waiting:
        name = waiting.pop()
        if name not in seen and provenance._path(name):
            seen.add(name)
            waiting += provenance._meaning(name)[1]
    assert {
        "dacs.adaptation.masks",
        "dacs.adaptation.teacher",
        "dacs.models.small",
        "dacs.loading.stream",
    } <= seen
    assert {"dacs.labels", "dacs.training.checkpoint"} <= seen
    assert not any(name.startswith(("dacs.reporting", "dacs.demo_world", "dacs.config", "dacs.cli")) for name in seen)
