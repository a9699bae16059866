"""Shards: frames of one domain prepared by several jobs give the bytes of one job, whatever befalls the jobs."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tiny
import trees
from pipeline import Pipeline, create
from test_remap import SIZE, contents, kill_midway, markers, prepare, stop_after

from dacs.cli import main
from dacs.config import load
from dacs.errors import BadRequest, RunFailed
from dacs.jobs import job_file
from dacs.layout import SHARDS
from dacs.prepare.remap import find_raw, unfinished
from dacs.prepare.shards import Shard, remap_shard
from dacs.settings import RemapJob
from dacs.training.estimate import Device, jobs_of

NOTHING: Counter[str] = Counter()


def job_of(domain: str) -> RemapJob:
    return RemapJob(domain=domain, size=SIZE, resample="bicubic", images="png")


def prepare_shard(domain: str, raw: Path, out: Path, shard: str) -> None:
    remap_shard(job_of(domain), raw, out, 1, Shard.of(shard))


def results(out: Path) -> dict[str, bytes]:
    """All files but the notes."""
    return {name: content for name, content in contents(out).items() if not name.startswith(SHARDS)}


# ---- the verb


@pytest.mark.parametrize("domain", ["gta5", "cityscapes"])
@pytest.mark.parametrize("total", [1, 3])
def test_any_number_of_shards_writes_the_same_bytes(
    domain: str, total: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And `remap` makes no frame again that a shard has noted."""
    trees.write_tree(domain, tmp_path / "raw", frames=5)
    prepare(domain, tmp_path / "raw", tmp_path / "one")
    for number in range(total, 0, -1):
        prepare_shard(domain, tmp_path / "raw", tmp_path / "out", f"{number}/{total}")
        assert not markers(tmp_path / "out")
    encoded = stop_after(99, monkeypatch)
    prepare(domain, tmp_path / "raw", tmp_path / "out")
    assert not encoded
    assert results(tmp_path / "out") == results(tmp_path / "one")
    assert not (tmp_path / "out" / SHARDS).exists()


def test_each_frame_is_in_one_shard_and_no_file_is_written_by_two(tmp_path: Path) -> None:
    trees.write_tree("gta5", tmp_path / "raw", frames=8)
    written: list[set[str]] = []
    for number in (1, 2, 3):
        prepare_shard("gta5", tmp_path / "raw", tmp_path / str(number), f"{number}/3")
        written.append({*results(tmp_path / str(number))})
    assert sorted(map(len, written)) == [4, 6, 6]  # image and label of 2, 3 and 3 frames
    assert len(set.union(*written)) == 16


def test_a_killed_shard_resumes_at_its_next_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    kill_midway('remap_shard(job, raw, out, 1, Shard.of("2/3"))', raw, out)
    assert [*unfinished(job_of("gta5"), find_raw(job_of("gta5"), raw, out), out)] == [
        f"{out}: of 3 shards 1, 2, 3 have not finished; the frames that they lack are prepared now."
    ]
    encoded = stop_after(99, monkeypatch)
    prepare_shard("gta5", raw, out, "2/3")
    assert len(encoded) <= 6  # of 10, four were kept
    for shard in ("1/3", "3/3"):
        prepare_shard("gta5", raw, out, shard)
    assert len(encoded) <= 26
    prepare("gta5", raw, out)
    prepare("gta5", raw, tmp_path / "fresh")
    assert results(out) == results(tmp_path / "fresh")


def test_another_number_of_shards_makes_only_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    trees.write_tree("gta5", raw, frames=9)
    prepare_shard("gta5", raw, out, "1/3")
    encoded = stop_after(99, monkeypatch)
    for shard in ("1/2", "2/2"):
        prepare_shard("gta5", raw, out, shard)
    assert len(encoded) == 6
    trees.write_image(raw / "images/00002.png", np.random.default_rng(5), (32, 48))
    prepare("gta5", raw, out)
    assert len(encoded) == 7
    prepare("gta5", raw, tmp_path / "fresh")
    assert results(out) == results(tmp_path / "fresh")


def test_a_missing_shard_is_named_and_its_frames_are_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    trees.write_tree("gta5", tmp_path / "raw", frames=6)
    arguments = ["remap", "--settings", job_file(job_of("gta5")), "--raw", "raw", "--out", "out"]
    assert main([*arguments, "--shard", "1/3"]) == main([*arguments, "--shard", "3/3"]) == 0
    encoded = stop_after(99, monkeypatch)
    assert main(arguments) == 0
    assert (
        "out: of 3 shards 2 have not finished; the frames that they lack are prepared now." in capsys.readouterr().out
    )
    assert len(encoded) == 2
    prepare("gta5", tmp_path / "raw", tmp_path / "fresh")
    assert results(tmp_path / "out").keys() - {"record.json"} == results(tmp_path / "fresh").keys()


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/3/5"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match=r"--shard .*: I/N was expected"):
        Shard.of(text)


def test_a_bad_frame_fails_its_shard_alone(tmp_path: Path) -> None:
    trees.write_tree("gta5", tmp_path / "raw", frames=4)
    bad = trees.paths("gta5", tmp_path / "raw", "train", 2)[0]
    bad.write_bytes(bad.read_bytes()[:-20])
    prepare_shard("gta5", tmp_path / "raw", tmp_path / "out", "1/2")
    with pytest.raises(RunFailed, match="1 of 2 frames"):
        prepare_shard("gta5", tmp_path / "raw", tmp_path / "out", "2/2")


# ---- the plan


def test_the_plan_counts_a_job_for_each_shard_and_one_that_checks_them() -> None:
    params = load(tiny.changed("remap.shards", 3))
    jobs = [*jobs_of(params, Device(False, None, ""), {})]
    assert Counter(job.rule for job in jobs if "remap" in job.rule) == Counter(remap_shard=9, remap=3)
    frames = params.world.frames
    total = frames.gta5 + frames.synthia + frames.cityscapes_train + frames.cityscapes_val
    assert sum(job.amount for job in jobs if job.rule == "remap_shard") == total
    stated = {rule: sum(job.stated or 0 for job in jobs if job.rule == rule) for rule in ("remap", "remap_shard")}
    whole = sum(
        job.stated or 0 for job in jobs_of(load(tiny.content()), Device(False, None, ""), {}) if job.rule == "remap"
    )
    assert stated["remap_shard"] == pytest.approx(whole)
    assert 0 < stated["remap"] < whole / 4


def test_one_job_prepares_a_data_set_unless_shards_are_asked_for() -> None:
    """A workstation, on which more jobs would only read all frames a second time."""
    jobs = Counter(job.rule for job in jobs_of(load(tiny.changed("scale", "paper")), Device(False, None, ""), {}))
    assert (jobs["remap"], jobs["remap_shard"]) == (3, 0)


# ---- the workflow


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """The prepared data of one task, by one job a domain."""
    pipeline = create(tmp_path_factory.mktemp("whole"), runs__tasks=["gta5-cityscapes"])
    pipeline.run("snakemake", "--cores", "2", "data_stage")
    return pipeline


def test_the_workflow_scatters_and_gathers_the_same_bytes_and_records(whole: Pipeline, tmp_path: Path) -> None:
    scattered = create(tmp_path / "project", runs__tasks=["gta5-cityscapes"], remap__shards=3)
    command = ("snakemake", "--cores", "2", "data_stage")
    assert scattered.jobs(*command) == Counter(world=2, remap_shard=6, remap=1, remap_target=1)
    for pattern in ("data/ready/**/*.*", "data/manifests/*", "reports/stages/*"):
        assert scattered.bytes_of(pattern) == whole.bytes_of(pattern) != {}
    names = [path.relative_to(whole.folder) for path in whole.folder.glob(".snakemake/metadata/**/*") if path.is_file()]
    assert names
    for name in names:
        one, other = (json.loads((each.folder / name).read_text()) for each in (whole, scattered))
        assert one == other
    assert scattered.jobs(*command) == NOTHING


def test_another_number_of_shards_redoes_nothing_and_new_settings_are_scattered(whole: Pipeline) -> None:
    whole.set(remap__shards=4)
    assert whole.planned("data_stage") == NOTHING
    whole.set(remap__resample="bilinear")
    assert whole.planned("data_stage") == Counter(remap_shard=8, remap=1, remap_target=1)
    whole.undo()
    assert whole.planned("data_stage") == NOTHING
