"""Whatever is in params.yaml or in a file that a command reads: it is refused in words, or the result is the same."""

import random
import shutil
import string
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
import yaml

from dacs.cli import main
from dacs.config import load, read_file
from dacs.errors import DacsError
from dacs.jobs import JOBS, job_file, job_of, notes, requests
from dacs.layout import RunDir
from dacs.provenance import ROOT
from dacs.training.run_cache import make_run
from faults.harness import Outcome

pytestmark = pytest.mark.faults
Record = Callable[[str, list[Outcome]], None]
FEW, LINE = 20, 100
VALUES = [None, True, -1, 0, 0.5, 1e308, float("nan"), 10**30, "", "x" * 999, "../..", "ä\0", [], [[]], {}, {"a": {}}]
NOISE = string.printable + "\0ä€\U0001f600"


def fuzz(group: str, numbers: range, attempt: Callable[[int], str], record: Record) -> bool:
    """Record what went wrong in each attempt, in lines of a hundred; return whether nothing did."""
    wrong = False
    for first in numbers[::LINE]:
        begin, outcomes = time.monotonic(), []
        for number in range(first, min(first + LINE, numbers.stop)):
            reason = attempt(number)
            outcomes.append(Outcome(not reason, reason=reason, group=group, case=str(number)))
        outcomes[-1] = outcomes[-1]._replace(seconds=time.monotonic() - begin)
        lost = [str(each) for each in outcomes if not each.survived]
        record("\n".join([f"{group}: {len(outcomes)} tried, {len(lost)} lost", *lost]), outcomes)
        wrong = wrong or bool(lost)
    return not wrong


# --------------------------------------------------------------------------------------------------------------------
# params.yaml


def changed_text(draw: random.Random) -> str:
    """The text of params.yaml with characters or lines that were changed, lost or doubled."""
    text = (ROOT / "params.yaml").read_text()
    for _ in range(draw.randint(1, 4)):
        begin = draw.randrange(len(text))
        end = begin + draw.choice([0, 1, 1, 5, 60])
        text = text[:begin] + draw.choice(["", draw.choice(NOISE), text[begin:end] * 2, "\n"]) + text[end:]
    return text[: draw.randrange(len(text))] if draw.random() < 0.1 else text


def changed_value(draw: random.Random) -> str:
    """params.yaml with values or keys of any section that were replaced or removed."""
    content = tiny.content()
    for _ in range(draw.randint(1, 3)):
        section, key = draw.choice([*places(content)])
        if draw.random() < 0.15:
            del section[key]
        elif draw.random() < 0.15 and isinstance(section, dict):
            section[draw.choice(["typo", "1", ""])] = section.pop(key)
        else:
            section[key] = draw.choice(VALUES)
    return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def places(section: Any) -> Iterator[tuple[Any, Any]]:
    """Every mapping and list below a section, with every key of it."""
    for key, value in section.items() if isinstance(section, dict) else enumerate(section):
        yield section, key
        if isinstance(value, dict | list):
            yield from places(value)


def read_params(path: Path) -> str:
    """What is wrong with how a params.yaml is read: it raised something else than a message; empty otherwise."""
    try:
        params = load(read_file(path))
        for request in requests(params):
            request.settings  # noqa: B018
        for verb in JOBS:
            job_of(params, verb, domain="gta5", method="dacs" if verb == "adapt" else "source")
        list(notes(params))
    except DacsError as error:
        return "" if str(error).strip() else "no message"
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:300]
    return ""


def fuzz_params(number: int, path: Path) -> str:
    """What went wrong with a variant of params.yaml, if anything."""
    draw = random.Random(number)
    text = draw.choice([changed_text, changed_value])(draw)
    path.write_text(text, errors="surrogatepass")
    return read_params(path)


@pytest.mark.slow
def test_any_variant_of_params_is_read_or_refused_in_words(tmp_path: Path, record: Record) -> None:
    assert fuzz("fuzz: params.yaml", range(600), lambda number: fuzz_params(number, tmp_path / "params.yaml"), record)


# --------------------------------------------------------------------------------------------------------------------
# Files


def damage(content: bytes, draw: random.Random) -> bytes:
    """Another content."""
    place, end = draw.randrange(len(content)), draw.randrange(len(content))
    kinds = [
        lambda: content[:place],
        lambda: content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :],
        lambda: content[: min(place, end)] + content[max(place, end) :],
        lambda: draw.randbytes(len(content)),
        lambda: bytes(len(content)),
        lambda: draw.choice([b"", b"{}", b"[]", b"null", b'{"sha256": 1}', content * 2]),
    ]
    return draw.choice(kinds)()


def train_on_damaged(number: int, ready: Path, expected: dict[str, bytes], out: Path) -> str:
    """Train on prepared data of which one file is damaged; what went wrong, if anything."""
    draw, run = random.Random(number), tiny.run(ready, "dacs", steps=1)
    settings = Path(job_file(run.settings))
    path = draw.choice([settings, *sorted(each for each in ready.rglob("*") if each.is_file())])
    whole = path.read_bytes()
    path.write_bytes(damage(whole, draw))
    arguments = ["adapt", "--method", "dacs", "--settings", str(settings), "--seed", "0", "--out", str(out)]
    try:
        code = main([*arguments, "--source", str(run.source.path), "--target", str(run.target.path)])
    except Exception as error:
        return f"{path}: {type(error).__name__}: {error}"[:300]
    finally:
        path.write_bytes(whole)
    if code:
        return "" if code in (1, 2) else f"{path}: returned {code}"
    found = tiny.contents(out)
    other = [name for name in expected if name.endswith("safetensors") and found[name] != expected[name]]
    return f"{path}: done, with other weights" if other else ""


def fuzz_files(numbers: range, folder: Path, monkeypatch: pytest.MonkeyPatch, record: Record) -> bool:
    """Whether nothing went wrong with damaged files; each is recorded."""
    monkeypatch.chdir(folder)
    ready = tiny.prepare(Path("ready"))
    expected = weights_of(ready)

    def attempt(number: int) -> str:
        shutil.rmtree(".cache/runs", ignore_errors=True)
        return train_on_damaged(number, ready, expected, Path(f"out{number}"))

    return fuzz("fuzz: files", numbers, attempt, record)


def weights_of(ready: Path) -> dict[str, bytes]:
    make_run(RunDir(Path("whole")), tiny.run(ready, "dacs", steps=1))
    return tiny.contents(Path("whole"))


def test_a_few_damaged_files_are_refused_in_words_or_change_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, record: Record
) -> None:
    assert fuzz_files(range(FEW), tmp_path, monkeypatch, record)


@pytest.mark.slow
def test_any_damaged_file_is_refused_in_words_or_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, record: Record
) -> None:
    assert fuzz_files(range(FEW, 300), tmp_path, monkeypatch, record)
