"""No link into DVC's cache is written through, whatever `cache.type` asks for."""

import hashlib
from pathlib import Path

import pytest
from pipeline import REPRO, SNAKEMAKE, Pipeline, create

from dacs.files import break_links


def test_links_become_copies_and_what_they_led_to_stays(tmp_path: Path) -> None:
    cached, folder = tmp_path / "cached", tmp_path / "records/@inner"
    folder.mkdir(parents=True)
    cached.write_text("before")
    cached.chmod(0o444)
    (folder / ("n" * 255)).hardlink_to(cached)
    (folder / "symbolic").symlink_to(cached)
    own = folder / "own"
    own.write_text("own")
    number = own.stat().st_ino
    break_links(tmp_path / "records")
    assert {path.read_text() for path in folder.iterdir() if path != own} == {"before"}
    for path in folder.iterdir():
        assert not path.is_symlink()
        assert path.stat().st_nlink == 1
        path.write_text("after")
    assert cached.read_text() == "before"
    assert own.stat().st_ino == number
    assert len([*folder.iterdir()]) == 3


def damaged(pipeline: Pipeline) -> list[str]:
    """The objects of DVC's cache whose content is not what their name says; asserts that there are some objects."""
    objects = [path for path in (pipeline.folder / ".dvc/cache/files/md5").glob("??/*") if path.is_file()]
    assert len(objects) > 50
    named = {path: path.parent.name + path.name.removesuffix(".dir") for path in objects}
    return [name for path, name in named.items() if hashlib.md5(path.read_bytes()).hexdigest() != name]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["hardlink", "symlink"])
def test_snakemake_changes_nothing_in_the_cache_of_dvc(kind: str, tmp_path: Path) -> None:
    pipeline = create(tmp_path, runs__tasks=["gta5-cityscapes"], runs__methods=["source", "dacs"])
    pipeline.run("dvc", "config", "--local", "cache.type", kind)
    pipeline.run(*REPRO)
    records = [path for path in (pipeline.folder / ".snakemake/metadata").rglob("*") if path.is_file()]
    linked = [path for path in records if path.is_symlink() or path.stat().st_nlink > 1]
    assert linked  # else nothing is tried
    pipeline.set(adapt__threshold=0.9, world__seed=1)
    assert pipeline.jobs(*SNAKEMAKE)["adapt"] == 1
    assert damaged(pipeline) == []
    pipeline.run(*REPRO)
    assert damaged(pipeline) == []
