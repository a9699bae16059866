"""Single files, where a part of the results or of the records of Snakemake is there: none is trusted unseen."""

import os
import time
from base64 import urlsafe_b64encode
from collections import Counter
from pathlib import Path

import pytest
from pipeline import EVERY, Pipeline, create

PREPARED = "data/ready/gta5/train/stats.json"
RUN = "runs/gta5-cityscapes/dacs/seed0"
DATA = Counter(world=2, remap=1, remap_target=1)
RUNS = DATA + Counter(train_start=1, adapt=1)


def project(folder: Path) -> Pipeline:
    return create(folder, runs__tasks=["gta5-cityscapes"], runs__methods=["source", "dacs"])


def same_times(pipeline: Pipeline, seconds: float = 1e9) -> None:
    """As after `cp -r`: no file is newer than another."""
    for path in pipeline.folder.rglob("*"):
        os.utime(path, (seconds, seconds), follow_symlinks=False)


def forget(pipeline: Pipeline, folder: str) -> None:
    """Lose a folder, and all times."""
    pipeline.run("rm", "-r", folder)
    same_times(pipeline)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """Nothing is made."""
    return project(tmp_path_factory.mktemp("clone"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """One domain is prepared."""
    pipeline = project(tmp_path_factory.mktemp("made") / "project")
    pipeline.run("snakemake", "--cores", "2", PREPARED)
    return pipeline


@pytest.fixture
def pipeline(made: Pipeline, tmp_path: Path) -> Pipeline:
    return made.copy(tmp_path / "project")


@pytest.mark.parametrize(
    ("name", "jobs"),
    [
        (f"{RUN}/weights.safetensors", RUNS),
        (f"{RUN}/evaluation/metrics.json", RUNS + Counter(evaluate=1)),
        ("reports/index.html", EVERY),
    ],
)
def test_a_file_pulled_alone_is_not_taken_for_what_params_ask_for(
    clone: Pipeline, name: str, jobs: Counter[str]
) -> None:
    path = clone.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("of another commit")
    assert clone.planned(name) == jobs
    path.unlink()


@pytest.mark.parametrize("forgotten", ["logs", ".snakemake"])
def test_frames_of_another_manifest_are_prepared_again_whatever_their_times(pipeline: Pipeline, forgotten: str) -> None:
    same_times(pipeline)
    assert pipeline.planned(PREPARED) == Counter()
    pipeline.set(world__seed=77)
    pipeline.run("snakemake", "--cores", "2", "data/manifests/gta5.json")
    forget(pipeline, forgotten)
    assert pipeline.planned(PREPARED) == Counter(remap=1)


@pytest.mark.slow
def test_an_evaluation_of_another_run_is_made_again_whatever_its_time(pipeline: Pipeline) -> None:
    run = "runs/gta5-cityscapes/source/seed0"
    metrics = f"{run}/evaluation/metrics.json"
    pipeline.run("snakemake", "--cores", "2", metrics)
    forget(pipeline, ".snakemake")
    assert pipeline.planned(metrics) == Counter()
    pipeline.set(train__lr=0.003)
    pipeline.run("snakemake", "--cores", "2", f"{run}/settings.json")
    forget(pipeline, ".snakemake")
    assert f"{metrics}: made from another {run}/settings.json" in pipeline.run("dacs", "verify", fails=True)
    assert pipeline.jobs("snakemake", "--cores", "2", metrics) == Counter(evaluate=1)
    forget(pipeline, ".snakemake")
    assert pipeline.planned(metrics) == Counter()


def test_an_edit_is_noticed_where_one_output_of_a_job_has_no_record(pipeline: Pipeline) -> None:
    """As one that the rule did not have before; Snakemake then compares none of them."""
    record = urlsafe_b64encode(b"data/ready/gta5/train/index.csv").decode()
    (pipeline.folder / ".snakemake/metadata" / record).unlink()
    pipeline.set(remap__resample="bilinear")
    assert pipeline.planned(PREPARED) == Counter(remap=1)


def test_records_that_cannot_be_read_stop_nothing(pipeline: Pipeline) -> None:
    """Of Snakemake, which fails by some of them, and waits for a pipe."""
    contents = ["[1]", "5", '{"rule"', '{"input_checksums": []}', "\ud800", None]
    records = sorted((pipeline.folder / ".snakemake/metadata").glob("*"))
    for record, content in zip(records, contents, strict=False):
        record.unlink()
        if content is None:
            os.mkfifo(record)
        else:
            record.write_text(content, errors="surrogatepass")
    printed = pipeline.run("snakemake", "--cores", "2", PREPARED)
    assert all(str(record.relative_to(pipeline.folder)) in printed for record in records[: len(contents)])
    assert "Traceback" not in printed
    assert pipeline.planned(PREPARED) == Counter()


@pytest.mark.parametrize("name", ["runs", "reports", "data/ready", "logs", ".cache/runs", ".cache"])
def test_a_folder_that_cannot_be_read_is_named_in_a_line(pipeline: Pipeline, name: str) -> None:
    folder = pipeline.folder / name
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0)
    bound = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
    try:
        for command in (("snakemake", "-n", PREPARED), ("dacs", "plan"), ("dacs", "verify")):
            done = pipeline.result(*bound, *command)
            assert "Traceback" not in done.stdout, done.stdout
            if command[0] == "snakemake":
                assert f"{name}: cannot be read and written to (Permission denied)" in done.stdout
    finally:
        folder.chmod(0o755)


def test_frames_without_their_manifest_are_not_taken_for_those_of_params(pipeline: Pipeline) -> None:
    """As after `dvc pull data/ready`; their own record has the settings of their preparation alone."""
    for name in (".snakemake", "data/manifests", "data/raw"):
        pipeline.run("rm", "-r", name)
    pipeline.set(world__seed=77)
    assert pipeline.planned(PREPARED) == Counter(world=1, remap=1)


def test_files_from_the_future_stop_no_job(pipeline: Pipeline) -> None:
    """As after the clock was set back; Snakemake takes no output that is older than an input."""
    same_times(pipeline, time.time() + 1e5)
    pipeline.set(remap__resample="bilinear")
    assert pipeline.jobs("snakemake", "--cores", "2", PREPARED) == Counter(remap=1)
    assert pipeline.planned(PREPARED) == Counter()


def test_what_only_lists_sets_nothing_aside(pipeline: Pipeline) -> None:
    manifest = pipeline.folder / "data/manifests/gta5.json"
    manifest.write_text("{}")
    for option in ("--list-rules", "--lt", "--summary"):
        pipeline.run("snakemake", option)
        assert manifest.read_text() == "{}"


def test_numbers_that_snakemake_takes_for_text_are_explained(clone: Pipeline) -> None:
    printed = clone.run("snakemake", "-n", "all", "--config", "adapt={threshold: 0.5}", fails=True)
    assert 'adapt.threshold is "0.5"' in printed
    assert "for --configfile FILE." in printed
    (clone.folder / "logs").mkdir(exist_ok=True)
    (clone.folder / "logs/other.yaml").write_text("adapt: {threshold: 0.5}")
    assert clone.planned("all", "--configfile", "logs/other.yaml") == EVERY
