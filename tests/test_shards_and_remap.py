"""Shards and `remap` of one domain by hand, at the same time or one after the other."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trees
from test_remap import contents, markers, prepare, preparing
from test_shards import job_of, results

from dacs.cli import main
from dacs.errors import RunFailed
from dacs.jobs import job_file
from dacs.locks import working_alone


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """`dacs remap` of six frames to a folder `out`."""
    monkeypatch.chdir(tmp_path)
    trees.write_tree("gta5", tmp_path / "raw", frames=6)
    return ["remap", "--settings", job_file(job_of("gta5")), "--raw", "raw", "--out", "out"]


@pytest.mark.parametrize("shard", ["1/1", "1/2"])
def test_a_shard_leaves_a_domain_alone_that_is_prepared_as_asked(
    shard: str, command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 0
    before = contents(tmp_path / "out")
    assert "record.json" in before
    assert main([*command, "--shard", shard]) == 0
    assert "gta5: already prepared" in capsys.readouterr().out
    assert contents(tmp_path / "out") == before


def test_a_shard_with_other_settings_removes_tables_and_their_record(command: list[str], tmp_path: Path) -> None:
    assert main(command) == 0
    other = job_file(job_of("gta5").model_copy(update={"resample": "bilinear"}))
    assert main([*command[:2], other, *command[3:], "--shard", "1/2"]) == 0
    assert not markers(tmp_path / "out")
    assert not (tmp_path / "out/record.json").exists()


def test_a_shard_waits_until_remap_has_written_its_record(command: list[str], tmp_path: Path) -> None:
    assert main(command) == 0
    record = tmp_path / "out/record.json"
    whole = record.read_bytes()
    with ThreadPoolExecutor() as pool:
        with working_alone(tmp_path / "out", "a test"):
            record.unlink()
            waiting = pool.submit(main, [*command, "--shard", "1/2"])
            with pytest.raises(TimeoutError):
                waiting.result(timeout=1)
            assert markers(tmp_path / "out")
            record.write_bytes(whole)
        assert waiting.result(timeout=60) == 0
    assert record.exists()
    assert markers(tmp_path / "out")


def test_the_record_is_written_while_the_folder_is_held(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []

    def write_record(record: Path, *_: object) -> None:
        with pytest.raises(RunFailed, match="a test is at work"), working_alone(record.parent, "a test is at work"):
            pass
        written.append(record)

    monkeypatch.setattr("dacs.cli.write_record", write_record)
    assert main(command) == 0
    assert written == [Path("out/record.json")]


def test_remap_waits_for_a_shard_that_is_at_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    with preparing('remap_shard(job, raw, out, 1, Shard.of("2/3"))', raw, out, frames=2) as process:
        prepare("gta5", raw, out)
        assert process.wait(timeout=30) == 0
    assert "2-of-3: 'dacs remap --shard 2/3' is at work there; waiting for it." in capsys.readouterr().err
    prepare("gta5", raw, tmp_path / "fresh")
    assert results(out) == results(tmp_path / "fresh")


def test_shards_of_other_settings_and_of_an_earlier_run_are_not_taken_for_the_present_ones(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--shard", "1/1"]) == 0
    other = [*command[:2], job_file(job_of("gta5").model_copy(update={"resample": "bilinear"})), *command[3:]]
    for _ in range(2):
        for arguments in (other, command):
            assert main([*arguments, "--shard", "1/2"]) == 0
            assert main(arguments) == 0
            assert "of 2 shards 2 have not finished" in capsys.readouterr().out
