"""The verbs: each calls its one function, and every end has its exit code and its message."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny
import trees
import yaml

from dacs import cli
from dacs.cli import VERBS, main
from dacs.errors import BadRequest, DacsError, Interrupted, RunFailed
from dacs.fields import Section
from dacs.files import read_json
from dacs.jobs import job_file
from dacs.prepare import remap
from dacs.provenance import ROOT
from dacs.settings import RemapJob

NAMES = ("world", "remap", "train", "adapt", "evaluate", "figures", "report", "predict", "compare", "plan", "download")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
JOB = RemapJob(domain="gta5", size=(20, 30), resample="bicubic", images="png")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def remap_arguments(job: Section = JOB) -> list[str]:
    return ["remap", "--settings", job_file(job), "--raw", "raw", "--out", "ready"]


# ---- exit codes


@pytest.mark.parametrize(("error", "code"), [(RunFailed, 1), (BadRequest, 2), (Interrupted, 75)])
def test_each_end_has_its_exit_code_and_one_line_first(
    error: type[DacsError], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: Any) -> None:
        raise error("raw: no frames.\nMake them first.")

    monkeypatch.setattr(remap, "remap", fail)
    assert main(remap_arguments()) == code
    assert capsys.readouterr() == ("", "dacs remap: raw: no frames.\nMake them first.\n")


def test_a_verb_that_is_done_returns_0_and_prints_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(remap, "remap", lambda *arguments: calls.append(arguments))
    assert main(remap_arguments()) == 0
    ((*given, record),) = calls
    assert given == [JOB, Path("raw"), Path("ready"), 1]
    assert callable(record)
    assert capsys.readouterr() == ("", "")


def test_an_error_without_a_message_is_a_bug_and_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
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
        ["remap", "--settings", "a.json", "--raw", "raw", "--out", "ready", "--wrokers", "2"],
        ["remap", "--settings", "a.json", "--raw", "raw", "--out", "ready", "--workers", "0"],
        ["adapt", "--method", "source"],
        ["train", "--method", "adabn"],
    ],
)
def test_wrong_arguments_end_with_2_and_the_usage_on_stderr(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: dacs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, "cannot be read"),
        ('{"size": [20', "Invalid JSON"),
        ('{"domain": "gta5", "size": [20, 30], "images": "png"}', "resample: Field required"),
        ('{"domain": "gta5", "size": [20, 30], "images": "png", "resample": "x"}', "resample: Input should be"),
    ],
)
def test_settings_that_are_not_those_of_the_verb_are_a_wrong_request(
    text: str | None, found: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if text is not None:
        (home / "job.json").write_text(text)
    assert main(["remap", "--settings", "job.json", "--raw", "raw", "--out", "ready"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("dacs remap: --settings job.json: ")
    assert found in error


# ---- entry points


def test_all_verbs_of_the_contract_are_there_and_say_what_they_do(capsys: pytest.CaptureFixture[str]) -> None:
    verbs = {verb.__name__: verb for verb in VERBS}
    assert {*NAMES} <= {*verbs}
    for name, verb in verbs.items():
        with pytest.raises(SystemExit) as caught:
            main([name, "--help"])
        assert caught.value.code == 0
        assert verb.__doc__ in capsys.readouterr().out
        assert getattr(cli, name) is verb


WITHOUT_TORCH = """
import sys
from dacs.cli import main
for arguments in sys.argv[1:]:
    code = main(arguments.split("|"))
    print(code, "torch" in sys.modules, file=sys.stderr)
import dacs.demo_world.write, dacs.download.download, dacs.reporting.figures, dacs.reporting.page
print(0, "torch" in sys.modules, file=sys.stderr)
"""


def test_verbs_that_need_no_network_import_no_torch(home: Path) -> None:
    trees.write_tree("gta5", home / "raw")
    (home / "one.json").write_text('{"student": {"miou19": 20.0}}')
    commands = [
        remap_arguments(),
        ["plan", "--params", str(ROOT / "params.yaml")],
        ["compare", "one.json", "one.json"],
    ]
    arguments = ["|".join(command) for command in commands]
    command = [sys.executable, "-c", WITHOUT_TORCH, *arguments]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.stderr.splitlines() == ["0 False"] * (len(commands) + 1)
    assert (home / "ready/train/index.csv").exists()


def test_a_plan_counts_what_a_step_of_each_method_costs(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    content = tiny.changed("scale", "smoke", tiny.changed("runs.methods", ["source", "adabn", "dacs"]))
    (home / "params.yaml").write_text(yaml.safe_dump(content))
    assert main(["plan", "--cost"]) == 0
    header, source, dacs, crops = capsys.readouterr().out.strip().splitlines()[-4:]
    assert header.split()[:4] == ["method", "GFLOP/step", "memory", "MiB"]
    for line, name in ((source, "source"), (dacs, "dacs")):
        method, operations, memory, *_ = line.split()
        assert method == name
        assert float(operations) > 0
        assert sum(map(int, line.partition("=")[2].split("+"))) == pytest.approx(int(memory), abs=3)  # rounded each
    assert "2 crops of 64x64" in crops


def test_python_m_dacs_is_the_same_entry_point() -> None:
    command = [sys.executable, "-m", "dacs", "plan", "--params", "nowhere.yaml"]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[0] == "dacs plan: nowhere.yaml: not found."


# ---- a run, by its verbs


def test_verbs_make_a_run_its_metrics_and_its_predictions(ready: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--seed", "0", "--source", str(ready / "gta5/train"), "--target", str(ready / "cityscapes/train")]
    assert main(["train", "--settings", job_file(tiny.settings(steps=2)), *data, "--out", "run"]) == 0
    assert main(["train", "--settings", job_file(tiny.settings("dacs")), *data, "--out", "other"]) == 2
    adabn = ["adapt", "--settings", job_file(tiny.settings("adabn")), "--method", "adabn", *data]
    assert main([*adabn, "--init", "run", "--out", "adabn"]) == 0
    assert Path("adabn/weights.safetensors").exists()
    assert main([*adabn, "--out", "other"]) == 2
    assert not Path("other").exists()
    splits = ["--index", str(ready / "cityscapes/val"), "--train", str(ready / "cityscapes/train")]
    job = ["--settings", job_file(tiny.evaluate_job()), "--run", "run", "--out", "run/evaluation"]
    assert main(["evaluate", *job, *splits]) == 0
    made = {path.relative_to("run").as_posix().split("/")[0] for path in Path("run").rglob("*") if path.is_file()}
    assert made == {"weights.safetensors", "teacher.safetensors", "settings.json", "log.csv", "evaluation", "snapshots"}
    metrics = read_json(Path("run/evaluation/metrics.json"))
    assert {*metrics} == {"student", "teacher", "labels", "absent", "without_pixels", "protocols", "choice"}
    assert {"miou19", "miou16", "miou13", "accuracy", "iou"} <= {*metrics["student"]}
    capsys.readouterr()
    assert main(["compare", "run", "run"]) == 0
    assert "student.miou19" in capsys.readouterr().out
    photo = str(next((ready / "cityscapes/val/images").iterdir()))
    assert main(["predict", "--weights", "run", "--out", "predicted", photo]) == 0
    assert len(list(Path("predicted/ids").iterdir())) == 1
