"""Equal settings give equal text; a digest of code changes with every line that can matter, and with no other."""

import ast
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import FrameType

import pytest
import tiny

from dacs import provenance
from dacs.layout import RunDir
from dacs.methods import METHODS
from dacs.provenance import ROOT, canonical, code_digest, reachable, short_digest
from dacs.training import run_cache

NOT_OF_RUNS = ("config.py", "training/progress.py", "training/run_cache.py", "evaluation/evaluate.py")
NOT_OF_SOURCE_ONLY = ("adaptation/mixing.py", "adaptation/masks.py", "adaptation/augment.py")

# --------------------------------------------------------------------------------------------------------------------
# Text


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


# --------------------------------------------------------------------------------------------------------------------
# Code of a small package

TOP = """
import math as m
from typing import TYPE_CHECKING

import dacs.shapes.circle
from dacs import tables
from dacs.shapes import edge, square as quad
from dacs.core import starred

if TYPE_CHECKING:
    from dacs.given import Given
try:
    from dacs.fast import area
except ImportError:
    from dacs.slow import area

LIMIT = 3

def run(x: "Given", limit=LIMIT) -> "Result":
    from dacs.lazy import late  # only here

    if x.size > limit:
        raise ValueError(f"{x} is too large: " + ", ".join(sorted(tables.NAMES)))
    total: Sum = late(dacs.shapes.circle.area(x)) + quad.area(x) + edge(x) + tables.TABLE["a"](x)
    return total + m.pi + starred() + area(x)

def spare(x):
    return tables.SPARE
"""
FILES = {
    "__init__": "",
    "top": TOP,
    "shapes/__init__": "from .line import length as edge\nfrom . import square\n",
    "shapes/line": "def length(x):\n    return x\ndef width(x):\n    return x\n",
    "shapes/circle": "def area(x):\n    return 3 * x\n",
    "shapes/square": "def area(x):\n    return side(x)\ndef side(x):\n    return [y for y in (x, x)]\n",
    "tables": "from dataclasses import dataclass\nNAMES = ['b']\nSPARE = 1\ndef one(x):\n    return 1\n"
    "TABLE = {'a': one}\n",
    "core": "@wrapped\nclass Kept:\n    size: Size = 4\nclass Size(int):\n    x = 1\nclass Unused:\n    x = 1\n"
    "def wrapped(x):\n    return x\ndef starred():\n    return Kept().size\n",
    "given": "class Given:\n    @property\n    def size(self):\n        return 6\n",
    "fast": "def area(x):\n    return 7\n",
    "slow": "def area(x):\n    return 8\n",
    "lazy": "late = lambda x: x\nnever = lambda x: x\n",
}
UNREACHED = {"top:spare", "shapes/line:width", "tables:SPARE", "core:Unused", "lazy:never"}
MATTER = [  # module, text, its replacement
    ("top", "math as m", "cmath as m"),
    ("top", "LIMIT = 3", "LIMIT = 3\nLIMIT -= 1"),
    ("top", "raise ValueError", "raise KeyError"),
    ("top", "import edge", "import square as edge"),
    ("top", "from dacs.lazy import late ", "from dacs.lazy import never as late "),
    ("shapes/__init__", "length as edge", "width as edge"),
    ("shapes/circle", "3 * x", "3.0 * x"),
    ("tables", "TABLE = {'a': one}", "TABLE = {'a': one}\nTABLE['a'] = str"),
    ("core", "Size = 4", "int = 4"),
    ("core", "@wrapped\n", ""),
]
DO_NOT_MATTER = [
    ("top", "  # only here", ""),
    ("top", "limit=LIMIT", "limit = (\n    LIMIT\n)"),
    ("top", '"{x} is too large: "', '"{x} is more than is allowed: "'),
    ("top", "def spare(x)", "def new():\n    return 1\ndef spare(x)"),
    ("tables", "SPARE = 1\ndef one(x):\n    return 1\n", "def one(x):\n    return 1\nSPARE = 1\n"),
]
ACT = [  # when a module is imported
    "TABLE['b'] = one",
    "TABLE.update(b=one)",
    "TABLE |= {'b': one}",
    "setattr(one, 'limit', 3)",
    "_ = TABLE.setdefault('b', one)",
    "for name in 'bc':\n    TABLE[name] = one",
    "if TABLE:\n    TABLE['b'] = one",
    "def register(f):\n    TABLE['b'] = f\n@register\ndef two(x):\n    return 2",
]
DO_NOT_ACT = [
    "EXTRA = {'b': one}",
    "EXTRA = Path('b')",
    "def two(x):\n    TABLE['b'] = x",
    "@dataclass\nclass Two:\n    x: int = 1",
    "class Base: ...\nclass Two(Base): ...",
    "import dacs.slow",
]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        path = tmp_path / f"dacs/{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    return tmp_path / "dacs"


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, f"{path}: {old!r}"
    path.write_text(text.replace(old, new))


def changed(source: str, name: str) -> str:
    """A module in which the definition of a name does more, or has a value with one part more."""
    tree = ast.parse(source)
    for node in tree.body:
        targets = [*getattr(node, "targets", []), *filter(None, [getattr(node, "target", None)])]
        if getattr(node, "name", "") == name:
            node.body.append(ast.Pass())
        elif name in {getattr(part, "id", "") for target in targets for part in ast.walk(target)}:
            node.value = ast.Tuple([node.value, ast.Constant(0)])
    assert ast.unparse(tree) != ast.unparse(ast.parse(source)), name
    return ast.unparse(tree)


def test_a_definition_counts_exactly_when_it_is_reached(package: Path) -> None:
    before, unnoticed = code_digest("dacs.top:run"), set()
    for module, text in FILES.items():
        for name in re.findall(r"^(?:def |class )?(\w+)(?: = |\(|:\n)", text.replace("\ntry:", "\n"), re.MULTILINE):
            if name != "print":
                (package / f"{module}.py").write_text(changed(text, name))
                unnoticed |= {f"{module}:{name}"} if code_digest("dacs.top:run") == before else set()
        (package / f"{module}.py").write_text(text)
    assert unnoticed == UNREACHED


@pytest.mark.parametrize(("module", "old", "new"), MATTER + DO_NOT_MATTER)
def test_a_line_that_can_matter_is_noticed_and_no_other(module: str, old: str, new: str, package: Path) -> None:
    before = code_digest("dacs.top:run")
    edit(package / f"{module}.py", old, new)
    assert (code_digest("dacs.top:run") != before) == ((module, old, new) in MATTER)


@pytest.mark.parametrize("statement", ACT + DO_NOT_ACT)
def test_what_acts_when_a_module_is_imported_is_noticed(statement: str, package: Path) -> None:
    before = code_digest("dacs.top:run")
    (package / "tables.py").write_text(FILES["tables"] + statement + "\n")
    assert (code_digest("dacs.top:run") != before) == (statement in ACT)


@pytest.mark.parametrize("argument", ["x", "3", "'key'", "f'{x}'", "message(x) + ' is wrong'", "f'at {(y := x)}'"])
def test_data_in_an_error_counts(argument: str, package: Path) -> None:
    edit(package / "top.py", "raise ValueError(", f"raise ValueError({argument}, ")
    before = code_digest("dacs.top:run")
    edit(package / "top.py", f"ValueError({argument}, ", "ValueError(0, ")
    assert code_digest("dacs.top:run") != before


def test_the_order_of_statements_counts(package: Path) -> None:
    def digest(*statements: str) -> str:
        (package / "ordered.py").write_text("\n".join(statements))
        return code_digest("dacs.ordered")

    assert digest("A = 1", "B = A", "A = 2") != digest("A = 1", "A = 2", "B = A")


def test_roots_may_come_in_any_order_and_must_exist(package: Path) -> None:
    roots = "dacs.top:run", "dacs.shapes.line:width"
    assert code_digest(*roots) == code_digest(*reversed(roots)) != code_digest(roots[0])
    for root in ("dacs.none", "dacs.top:none", "none_such:f"):
        with pytest.raises(ValueError, match=re.escape(repr(root))):
            code_digest(root)


@pytest.mark.parametrize("ignore", ["dacs.shapes", "dacs.shapes.circle", "dacs.shapes.circle:area"])
def test_what_is_ignored_is_not_entered(ignore: str, package: Path) -> None:
    before = code_digest("dacs.top"), code_digest("dacs.top", ignore=[ignore])
    edit(package / "shapes/circle.py", "3 * x", "4 * x")
    assert code_digest("dacs.top") != before[0]
    assert code_digest("dacs.top", ignore=[ignore]) == before[1]


def test_other_packages_are_read_without_being_imported(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = package.parent / "extension_of_dacs" / "masks.py"
    plugin.parent.mkdir()
    plugin.write_text("from dacs.tables import one\nraise SystemExit\ndef stripes(x):\n    return one(x)\n")
    monkeypatch.syspath_prepend(package.parent)
    digests = [code_digest("extension_of_dacs.masks:stripes")]
    for path, old, new in ((plugin, "one(x)", "-one(x)"), (package / "tables.py", "return 1", "return 2")):
        edit(path, old, new)
        digests.append(code_digest("extension_of_dacs.masks:stripes"))
    assert len(set(digests)) == 3
    assert not any(name.startswith("extension_of_dacs") for name in sys.modules)


# --------------------------------------------------------------------------------------------------------------------
# Code of this package


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(ROOT / "dacs", tmp_path / "dacs", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    return tmp_path / "dacs"


def lines_of(method: str) -> list[str]:
    """What the digest of a run's code is made of."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_cache, "code_digest", lambda *roots, ignore: "\n".join(reachable(*roots, ignore=ignore)))
        return run_cache.code_of(METHODS[method], tiny.model()).splitlines()


def names_in(lines: list[str]) -> set[tuple[str, str]]:
    """Module and name of each definition."""
    found = (re.match(r"([\w.]+):([\w,]+) \w+\(", line) for line in lines)
    return {(match[1], name) for match in found if match for name in match[2].split(",")}


def test_a_change_of_any_definition_that_a_run_reaches_is_noticed(copy: Path) -> None:
    before = lines_of("dacs")
    assert len(names_in(before)) > 100
    for module, name in sorted(names_in(before)):
        path = copy.parent.joinpath(*module.split(".")).with_suffix(".py")
        source = path.read_text()
        path.write_text(changed(source, name))
        assert lines_of("dacs") != before, f"{module}:{name}"
        path.write_text(source)


@pytest.mark.parametrize("method", ["source", "dacs"])
def test_every_function_that_a_run_executes_is_in_its_digest(method: str, tmp_path: Path) -> None:
    from dacs.training.loop import train_run

    called = set()

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(f"{ROOT}/dacs/"):
            called.add((frame.f_code.co_filename, frame.f_code.co_qualname.partition(".")[0]))

    run = tiny.run(tiny.prepare(tmp_path), method)
    sys.setprofile(note)
    try:
        train_run(RunDir(tmp_path / "run"), run, key="")
    finally:
        sys.setprofile(None)
    executed = {(".".join(Path(file).relative_to(ROOT).with_suffix("").parts), name) for file, name in called}
    executed = {(module, name) for module, name in executed if module not in run_cache.NOT_DIGESTED and name[0] != "<"}
    assert len(executed) > 50
    assert executed <= names_in(lines_of(method))


def test_an_edit_retrains_only_the_methods_that_it_concerns(copy: Path) -> None:
    source, dacs = lines_of("source"), lines_of("dacs")
    with (copy / "adaptation/mixing.py").open("a") as file:
        file.write("\n\ndef unused() -> int:\n    return 1\n")
    for name in NOT_OF_RUNS:
        (copy / name).write_text("")
        assert lines_of("dacs") == dacs, name
    for name in NOT_OF_SOURCE_ONLY:
        (copy / name).write_text("")
        assert lines_of("source") == source, name
        assert name.split("/")[1].removesuffix(".py") in {module.split(".")[-1] for module, _ in names_in(dacs)}


def test_layout_comments_and_docstrings_count_nowhere(copy: Path) -> None:
    modules = {path: ".".join(path.relative_to(copy.parent).with_suffix("").parts) for path in copy.rglob("*.py")}
    before = code_digest(*modules.values())
    for path in modules:
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module) and ast.get_docstring(node):
                node.body[0].value.value = "Other words."
        path.write_text(ast.unparse(tree))
    assert code_digest(*modules.values()) == before


@pytest.mark.parametrize("python", ["python3.12", "python3.13"])
def test_other_pythons_give_the_same_digest(python: str) -> None:
    if shutil.which(python) is None or subprocess.run((python, "-c", ""), capture_output=True).returncode:
        pytest.skip(f"no {python} here")
    code = "from dacs.provenance import code_digest; print(code_digest('dacs.cli', 'dacs.training.loop'))"
    printed = subprocess.run((python, "-c", code), cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert printed.strip() == code_digest("dacs.cli", "dacs.training.loop")
