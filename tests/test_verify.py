"""What is damaged, edited or lost of recorded results is named, set aside and made again."""

import json
import os
import shutil
from base64 import urlsafe_b64encode
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
from pipeline import ROOT

from dacs import records
from dacs.cli import main
from dacs.errors import RunFailed
from dacs.jobs import job_file
from dacs.layout import RunDir
from dacs.settings import Figures, FiguresJob, Runs
from dacs.training.run import Run
from dacs.training.run_cache import STORE, make_run, spec_of
from dacs.verify import ASIDE, Damage, damages, damages_of, set_aside, write_record

READY, RUNS, REPORTS = Path("ready"), Path("runs"), Path("reports")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made(method: str = "dacs", **changes: Any) -> tuple[RunDir, Run]:
    """A finished run of a step."""
    if not READY.exists():
        tiny.prepare(READY)
    run, out = tiny.run(READY, method, steps=2, **changes), RunDir.of(RUNS, "gta5-cityscapes", method, 0)
    make_run(out, run)
    return out, run


def break_(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "bit":
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    elif how == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "garbage":
        path.write_bytes(b"garbage")
    elif how in ("folder", "pipe"):
        path.unlink()
        (os.mkfifo if how == "pipe" else os.mkdir)(path)
    else:
        path.unlink()


HOWS = ["bit", "cut", "empty", "garbage", "missing", "folder", "pipe"]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("name", ["weights.safetensors", "log.csv", "mixing/step000002/mask.png", "settings.json"])
def test_a_damaged_file_of_a_run_is_named_and_made_again_from_the_cache(name: str, how: str) -> None:
    if name == "settings.json" and how in ("bit", "missing"):
        return  # without it there is no run, which Snakemake notices
    out, run = made()
    whole = tiny.contents(out.path)
    assert not list(damages(RUNS, REPORTS))
    break_(out.path / name, how)
    (found,) = damages(RUNS, REPORTS)
    assert str(found).startswith(f"{out.path / name}: ")
    set_aside([found])
    assert not out.spec.exists()
    if how != "missing":
        assert (ASIDE / out.path / name).exists()
    make_run(out, run)
    assert tiny.contents(out.path) == whole


def test_a_sound_run_that_is_set_aside_is_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It came with `dvc pull`, so the cache has never held it, and is not what is asked for."""
    out, run = made()
    whole = tiny.contents(out.path)
    shutil.rmtree(STORE)
    shutil.copyfile(ROOT / "params.yaml", "params.yaml")
    other = Damage(out.spec, "made with other settings", out.spec)
    monkeypatch.setattr("dacs.stale.stale", lambda *asked: iter([other]))
    assert main(["verify", "--ready", str(READY), "--remake"]) == 0
    assert not out.spec.exists()
    monkeypatch.setattr("dacs.training.loop.train_run", lambda *given: pytest.fail("trained"))
    make_run(out, run)
    assert tiny.contents(out.path) == whole


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("name", ["weights.safetensors", "log.csv", "settings.json"])
def test_a_damaged_entry_of_the_run_cache_is_never_taken_for_a_result(
    name: str, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out, run = made()
    whole = tiny.contents(out.path)
    entry = RunDir(STORE / spec_of(run)["key"])
    break_(entry.path / name, how)
    make_run(RunDir(Path("again")), run)
    assert tiny.contents(Path("again")) == whole
    assert ("damaged, and made again" in capsys.readouterr().err) == ((name, how) != ("settings.json", "missing"))


def test_no_run_starts_from_damaged_weights() -> None:
    source, _ = made("source", start=1)
    break_(source.start, "bit")
    settings = tiny.settings("dacs", init="source")
    with pytest.raises(RunFailed, match=r"start\.safetensors: changed since it was made, so no run can start from"):
        make_run(RunDir(Path("out")), replace(tiny.run(READY, "dacs", init=source), settings=settings))


def test_an_edited_table_and_a_lost_figure_are_named() -> None:
    (REPORTS / "tables").mkdir(parents=True)
    (REPORTS / "figures").mkdir()
    table, metrics = REPORTS / "tables/summary.csv", REPORTS / "metrics.json"
    table.write_text("method,miou\ndacs,44.9\n")
    metrics.write_text("{}")
    write_record(REPORTS / "figures/record.json", [table, metrics], {"settings": "abc"})
    assert not list(damages(RUNS, REPORTS))
    table.write_text("method,miou\ndacs,99.9\n")
    metrics.unlink()
    assert sorted(map(str, damages(RUNS, REPORTS))) == [
        "reports/metrics.json: missing",
        "reports/tables/summary.csv: changed since it was made",
    ]


def test_figures_are_made_from_the_evaluations_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A target without labels has no oracle."""
    runs = Runs(tasks=["gta5-cityscapes"], methods=["source", "oracle"], seeds=[0])
    job = FiguresJob(runs=runs, unlabelled=["gta5-cityscapes"], figures=Figures(frames=1))
    monkeypatch.setattr("dacs.reporting.figures.make", lambda *given: None)
    made_from = RunDir.of(RUNS, "gta5-cityscapes", "source", 0).evaluation.path / "record.json"
    for path in (made_from, REPORTS / "metrics.json"):
        path.parent.mkdir(parents=True)
        path.write_text("{}")
    assert main(["figures", "--settings", job_file(job), "--ready", str(READY), "--out", str(REPORTS)]) == 0
    record = json.loads((REPORTS / "figures/record.json").read_text())
    assert [*record["inputs"]] == [f"../../{made_from}"]


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"sha256": 1}', "no JSON", '{"sha256": {"a": 1}}'])
def test_a_record_that_is_none_is_named_itself(content: str) -> None:
    record = Path("record.json")
    record.write_text(content)
    (found,) = damages_of(record)
    assert found.marker == record


def test_tables_without_a_record_are_not_called_sound(capsys: pytest.CaptureFixture[str]) -> None:
    """As in a fresh clone."""
    (REPORTS / "tables").mkdir(parents=True)
    (REPORTS / "tables/summary.csv").write_text("method,miou\ndacs,99.9\n")
    assert main(["verify"]) == 0
    assert capsys.readouterr().out.startswith("Nothing to compare: no result here has a record.")


def test_a_changed_frame_is_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    tiny.prepare(READY)
    assert main(["verify", "--ready", str(READY)]) == 0
    image = READY / "gta5/train/images/0.png"
    image.write_bytes(image.read_bytes() + b"x")
    assert main(["verify", "--ready", str(READY)]) == 1
    assert "ready/gta5/train: a frame was changed since it was prepared" in capsys.readouterr().err
    assert main(["verify", "--ready", str(READY), "--remake"]) == 0
    assert not (READY / "gta5/train/stats.json").exists()
    assert json.loads((ASIDE / READY / "gta5/train/stats.json").read_text())


def test_no_run_is_trained_on_a_changed_frame() -> None:
    """It would be kept in the cache under the key of the frames as they were."""
    tiny.prepare(READY)
    image = READY / "gta5/train/images/0.png"
    shutil.copyfile(READY / "gta5/train/images/1.png", image)
    with pytest.raises(RunFailed, match=r"gta5/train: a frame was changed since it was prepared\.\nRun 'dacs verify"):
        make_run(RunDir(Path("out")), tiny.run(READY, steps=2))
    assert not list(STORE.glob("*/settings.json"))


def test_a_record_of_snakemake_that_is_cut_counts_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk leaves such records, since Snakemake writes them in place."""
    monkeypatch.chdir(tmp_path)
    output = Path("reports/index.html")
    path = records.FOLDER / urlsafe_b64encode(str(output).encode()).decode()
    path.parent.mkdir(parents=True)
    path.write_text('{"input": ["a"]}')
    assert records.recorded(output) is not None
    path.write_text('{"input": ["a')
    assert records.recorded(output) is None
    assert not records.of_other_inputs(output)
