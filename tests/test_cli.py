"""The verbs: each calls its one function, and every end has its exit code and its words."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny
import trees
from dacs.data import formats, remap

from dacs import cli
from dacs.cli import VERBS, main
from dacs.errors import BadRequest, DacsError, Interrupted, RunFailed
from dacs.files import read_json
from dacs.provenance import ROOT

NAMES = ("world", "remap", "train", "adapt", "evaluate", "figures", "report", "predict", "compare", "plan", "download")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


SETTINGS = '{"size": [20, 30], "resample": "bicubic", "images": "png", "part": "all"}'


def remap_arguments(settings: str = SETTINGS) -> list[str]:
    return ["remap", "--settings", settings, "--domain", "gta5", "--raw", "raw", "--out", "ready"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let remap find whatever it is sent to."""
    monkeypatch.setattr(formats, "find", lambda domain, raw, *, part: (domain, raw, part))


# ---- exit codes


@pytest.mark.parametrize(("error", "code"), [(RunFailed, 1), (BadRequest, 2), (Interrupted, 75)])
def test_each_end_has_its_exit_code_and_one_line_first(
    error: type[DacsError],
    code: int,
    home: Path,
    found: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*arguments: Any, **kinds: Any) -> None:
        raise error("raw: no frames.\nMake them first.")

    monkeypatch.setattr(remap, "remap", fail)
    assert main(remap_arguments()) == code
    told = capsys.readouterr()
    assert told.err == "dacs remap: raw: no frames.\nMake them first.\n"
    assert told.out == ""


def test_a_verb_that_is_done_returns_0_and_says_nothing(
    home: Path, found: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(remap, "remap", lambda *arguments, **kinds: calls.append((arguments, kinds)))
    assert main(remap_arguments()) == 0
    kinds = {"size": (20, 30), "resample": "bicubic", "images": "png", "workers": 1}
    assert calls == [((("gta5", Path("raw"), "all"), Path("ready")), kinds)]
    assert capsys.readouterr() == ("", "")


def test_an_error_without_words_is_a_bug_and_is_not_hidden(
    home: Path, found: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **kinds: Any) -> None:
        raise KeyError("size")

    monkeypatch.setattr(remap, "remap", fail)
    with pytest.raises(KeyError):
        main(remap_arguments())


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["trian"],
        ["train"],
        [*remap_arguments(), "--wrokers", "2"],
        ["world", "--settings", "{}", "--domain", "gta", "--receipt", "raw.json", "--out", "raw"],
        ["adapt", "--method", "source"],
    ],
)
def test_wrong_arguments_end_with_2_and_words_on_stderr(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: dacs" in capsys.readouterr().err


def test_settings_that_are_not_json_are_a_wrong_request(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(remap_arguments('{"size": [20')) == 2
    assert capsys.readouterr().err.startswith("dacs remap: --settings: not JSON")


def test_a_missing_setting_is_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(remap_arguments('{"size": [20, 30]}')) == 2
    assert capsys.readouterr().err.startswith("dacs remap: --settings: 'part' is missing.")


def test_settings_may_be_a_file(home: Path, found: None, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(remap, "remap", lambda *arguments, **kinds: calls.append(kinds["size"]))
    (home / "settings.json").write_text(SETTINGS.replace("20, 30", "8, 9"))
    assert main(remap_arguments("settings.json")) == 0
    assert calls == [(8, 9)]
    assert main(remap_arguments("nowhere.json")) != 0


# ---- the doors


def test_all_verbs_of_the_contract_are_there_and_tell_what_they_do(capsys: pytest.CaptureFixture[str]) -> None:
    verbs = {verb.__name__: verb for verb in VERBS}
    assert set(NAMES) <= set(verbs)
    for name, verb in verbs.items():
        with pytest.raises(SystemExit) as caught:
            main([name, "--help"])
        assert caught.value.code == 0
        assert verb.__doc__ in capsys.readouterr().out
        assert getattr(cli, name) is verb


LIGHT = """
import sys
from dacs.cli import main
for arguments in sys.argv[1:]:
    code = main(arguments.split("|"))
    print(code, "torch" in sys.modules, file=sys.stderr)
import dacs.demo_world.write, dacs.reporting.figures, dacs.reporting.page
print(0, "torch" in sys.modules, file=sys.stderr)
"""


def test_light_verbs_import_no_torch(home: Path) -> None:
    trees.write_tree("gta5", home / "raw")
    (home / "one.json").write_text('{"student": {"miou19": 20.0}}')
    commands = [
        remap_arguments(),
        ["schema", "--out", "schema.json"],
        ["plan", "--params", str(ROOT / "params.yaml")],
        ["compare", "one.json", "one.json"],
    ]
    told = subprocess.run(
        [sys.executable, "-c", LIGHT, *("|".join(command) for command in commands)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert told.stderr.splitlines() == ["0 False"] * 5
    assert read_json(home / "schema.json")["title"]
    assert (home / "ready/train/index.csv").exists()


def test_python_m_dacs_is_the_same_door(home: Path) -> None:
    command = [sys.executable, "-m", "dacs", "plan", "--params", "nowhere.yaml"]
    told = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert told.returncode == 2
    assert told.stdout == ""
    assert told.stderr.splitlines()[0] == "dacs plan: nowhere.yaml: not found."


# ---- the river, by its verbs


def test_verbs_make_a_run_its_verdict_and_its_predictions(
    ready: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["--seed", "0", "--source", str(ready / "gta5/train"), "--target", str(ready / "cityscapes")]
    source, dacs = "runs/gta5-cityscapes/source/seed0", "runs/gta5-cityscapes/dacs/seed0"
    trained = json.dumps(tiny.settings("source", steps=2))
    adapted = json.dumps(tiny.settings("dacs", steps=2, init="source"))
    assert main(["train", "--settings", trained, *places, "--out", source]) == 0
    assert main(["adapt", "--method", "dacs", "--settings", adapted, *places, "--out", dacs, "--init", source]) == 0
    judged = '{"batch": 2, "frames": 1, "labels": "prepared", "absent": []}'
    for run in (source, dacs):
        index = ["--index", str(ready / "cityscapes/val"), "--out", f"{run}/evaluation"]
        assert main(["evaluate", "--settings", judged, "--run", run, *index]) == 0
    made = {path.relative_to(dacs).as_posix().split("/")[0] for path in Path(dacs).rglob("*") if path.is_file()}
    assert made == {"weights.safetensors", "teacher.safetensors", "settings.json", "log.csv", "mixing", "evaluation"}
    metrics = read_json(Path(dacs) / "evaluation/metrics.json")
    assert set(metrics) == {"student", "teacher", "labels", "absent"}
    assert {"miou19", "miou16", "miou13", "accuracy", "iou"} <= set(metrics["student"])
    capsys.readouterr()
    assert main(["compare", source, dacs]) == 0
    assert "student.miou19" in capsys.readouterr().out
    photo = str(next((ready / "cityscapes/val/images").iterdir()))
    assert main(["predict", "--weights", dacs, "--out", "predicted", photo]) == 0
    assert len(list(Path("predicted/ids").iterdir())) == 1
    assert main(["train", "--settings", adapted, *places, "--out", "out"]) == 2
