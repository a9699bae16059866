"""Whatever is damaged of a small finished project, each verb that reads it ends with a line that names the file."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_runs
import pytest
import tiny

from dacs.cli import main
from dacs.files import digest, write_json
from dacs.jobs import job_file
from dacs.layout import RunDir
from dacs.settings import Figures, FiguresJob, Report, ReportJob
from dacs.verify import RECORD, write_record

RUN = Path("runs/gta5-cityscapes/source/seed0")
READY = Path("data/ready")


def nulled(content: Any, generator: random.Random) -> Any:
    """JSON content in which one value, at any depth, is null."""
    if not isinstance(content, dict | list) or not content:
        return None
    key = generator.choice([*content] if isinstance(content, dict) else range(len(content)))
    inner = content[key]
    content[key] = nulled(inner, generator) if generator.random() < 0.7 else None
    return content


def damage(path: Path, how: str, generator: random.Random) -> None:
    content = path.read_bytes()
    made: dict[str, Callable[[], bytes]] = {
        "object": lambda: b"{}",
        "list": lambda: b"[]",
        "number": lambda: b"5",
        "empty": lambda: b"",
        "noise": lambda: generator.randbytes(200),
        "cut": lambda: content[: generator.randrange(len(content))],
        "lines": lambda: b"\n" * 5,
        "flip": lambda: bytes([content[0] ^ 255]) + content[1:],
        "deep": lambda: b"[" * 100_000,
        "null": lambda: json.dumps(nulled(json.loads(content), generator)).encode(),
    }
    if how == "folder":
        path.unlink()
        path.mkdir()
    elif how == "missing":
        path.unlink()
    else:
        path.write_bytes(made[how]())


HOWS = ["object", "list", "number", "empty", "noise", "cut", "lines", "flip", "deep", "null", "folder", "missing"]


def record(folder: Path) -> None:
    """Records as remap writes them of prepared domains."""
    tables = [path for name in ("data_report.json", "*/*.csv", "*/stats.json") for path in folder.glob(name)]
    write_record(folder / RECORD, tables, {})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two steps, its evaluation, and the prepared frames."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        tiny.prepare(READY)
        for domain in tiny.SPLITS:
            record(READY / domain)
        assert main(train()) == 0
        assert main(evaluate()) == 0
    return folder


def train() -> list[str]:
    data = ["--seed", "0", "--source", str(READY / "gta5/train"), "--target", str(READY / "cityscapes/train")]
    return ["train", "--settings", job_file(tiny.settings(steps=2)), *data, "--out", str(RUN)]


def evaluate() -> list[str]:
    splits = ["--index", str(READY / "cityscapes/val"), "--train", str(READY / "cityscapes/train")]
    job = ["--settings", job_file(tiny.evaluate_job()), "--run", str(RUN), "--out", str(RUN / "evaluation")]
    return ["evaluate", *job, *splits]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the report reads, with the records that the verbs write."""
    folder = tmp_path_factory.mktemp("drawn")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        fake_runs.project(folder, fake_runs.SMALL)
        for domain in READY.iterdir():
            record(domain)
        for run in map(RunDir, Path("runs").glob("*/*/*")):
            made = [path for path in run.evaluation.path.rglob("*") if path.is_file()]
            write_record(run.evaluation.path / RECORD, made, {})
            others = [run.log, *run.mixing.rglob("*.png")]
            listed = {path.relative_to(run.path).as_posix(): digest(path) for path in others}
            write_json(run.spec, {**json.loads(run.spec.read_text()), "sha256": listed})
        for arguments in (figures(), report()):
            assert main(arguments) == 0
    return folder


def figures() -> list[str]:
    job = FiguresJob(runs=fake_runs.SMALL, figures=Figures(frames=1))
    return ["figures", "--settings", job_file(job), "--ready", str(READY), "--out", "reports"]


def report() -> list[str]:
    job = ReportJob(runs=fake_runs.SMALL, report=Report(title="Streets"), scale="demo")
    return ["report", "--settings", job_file(job), "--reports", "reports", "--out", "reports/index.html"]


def check(arguments: list[str], damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A verb ends, and where it fails its first line names the file, its folder, or what is missing of it."""
    capsys.readouterr()
    code = main(arguments)
    printed = capsys.readouterr().err
    assert code in (0, 1, 2)
    assert "Traceback" not in printed
    if code and "verify" not in arguments[0]:
        first = next(line for line in printed.splitlines() if line.startswith("dacs "))
        near = {damaged.name, str(damaged), str(damaged.parent), damaged.stem}
        assert any(name in printed for name in near), f"{damaged}: {first}"


def pick(root: Path, generator: random.Random, patterns: list[str]) -> Path:
    found = sorted(path for pattern in patterns for path in root.glob(pattern) if path.is_file())
    assert found
    return generator.choice(found).relative_to(root)


TRAINED = ["runs/**/*.json", "runs/**/*.csv", "runs/**/*.safetensors", "data/ready/**/*.json", "data/ready/**/*.csv"]
TRAINED += ["data/ready/**/*.png", "runs/**/*.png", "runs/**/*.npz"]
DRAWN = ["runs/**/*.json", "runs/**/*.csv", "runs/**/*.png", "runs/**/*.npz", "data/ready/**/*.*", "reports/**/*.*"]


@pytest.mark.parametrize("seed", range(24))
def test_a_damaged_file_of_a_run_or_of_frames_is_named(
    seed: int, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    generator = random.Random(seed)
    path, how = pick(Path.cwd(), generator, TRAINED), HOWS[seed % len(HOWS)]
    if how == "null" and path.suffix != ".json":
        how = "empty"
    damage(path, how, generator)
    shutil.rmtree(".cache/runs")
    for arguments in (
        evaluate(),
        ["compare", str(RUN), str(RUN)],
        ["plan", "--params", str(tiny.ROOT / "params.yaml")],
    ):
        check(arguments, path, capsys)
    check(["verify", "--params", "none"], path, capsys)


@pytest.mark.parametrize("seed", range(24))
def test_a_damaged_file_that_the_report_reads_is_named(
    seed: int, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(drawn, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    generator = random.Random(seed)
    path, how = pick(Path.cwd(), generator, DRAWN), HOWS[seed % len(HOWS)]
    if how == "null" and path.suffix != ".json":
        how = "empty"
    damage(path, how, generator)
    check(["verify", "--params", "none"], path, capsys)
    check(["compare", "reports", "reports"], path, capsys)
    check(report() if path.parts[0] == "reports" else figures(), path, capsys)
