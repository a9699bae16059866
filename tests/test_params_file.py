"""A params.yaml that cannot be read: each command says so at once, in a line that names the file and where in it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pipeline import Pipeline, create

# A pipe would be waited for, and a test of that should end.
COMMANDS = [("timeout", "60", "snakemake", "-n"), ("timeout", "60", "python", "-m", "dacs", "plan")]
DVC = ("timeout", "60", "dvc", "repro")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    return create(tmp_path_factory.mktemp("project"))


@pytest.fixture
def edited(project: Pipeline) -> Iterator[Pipeline]:
    yield project
    (project.folder / "params.yaml").unlink()
    project.undo()


def refused(pipeline: Pipeline, words: str) -> None:
    """Each command of ours prints a line with these words, and no traceback."""
    for command in COMMANDS:
        printed = pipeline.run(*command, fails=True)
        assert [line for line in printed.splitlines() if words in line], printed
        assert "Traceback" not in printed


def test_a_key_that_is_given_twice_is_refused_with_its_line(edited: Pipeline) -> None:
    """The reader of YAML that Snakemake has keeps the last of two equal keys."""
    edited.edit("params.yaml", "seed: 0", "seed: 0\n  seed: 1")
    line = 1 + (edited.folder / "params.yaml").read_text().splitlines().index("  seed: 1")
    refused(edited, f"params.yaml, line {line}: 'seed' is given twice in one section, first in line {line - 1}.")
    printed = edited.run(*DVC, fails=True)
    assert "'params.yaml'" in printed
    assert 'found duplicate key "seed"' in printed
    assert f"(line: {line})" in printed


def test_an_alias_within_itself_is_refused_with_its_line(edited: Pipeline) -> None:
    """DVC fails too, in its own words, which name no file."""
    path = edited.folder / "params.yaml"
    line = 1 + len(path.read_text().splitlines())
    path.write_text(f"{path.read_text()}extra: &all [1, *all]\n")
    refused(edited, f"params.yaml, line {line}: holds itself by an alias.")
    assert "recursion" in edited.run(*DVC, fails=True)


def test_a_pipe_is_refused_and_not_waited_for(edited: Pipeline) -> None:
    """DVC waits, before any of our code runs."""
    path: Path = edited.folder / "params.yaml"
    path.unlink()
    os.mkfifo(path)
    refused(edited, "params.yaml: cannot be read (not a regular file).")
