"""Several processes of one run: what the workflow asks for."""

import re
from pathlib import Path

import pytest
from pipeline import Pipeline, create

NAMED = 'message:\n        "gpu={resources.gpu} mem_mb={resources.mem_mb} '


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """Trainings by two processes, on a machine where GPUs are listed; a dry run prints what each asks for."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/nvidia-smi").write_text("#!/bin/sh\necho 'GPU 0: stand-in'\n")
    (tmp_path / "bin/nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=":")
    made = create(
        tmp_path / "project", runs__tasks=["gta5-cityscapes"], runs__methods=["dacs", "adabn"], loop__processes=2
    )
    for begin in ("Training {", "Adapting from {", "Re-estimating"):
        made.edit("workflow/rules/train.smk", f'message:\n        "{begin}', NAMED + begin)
    return made


def asked(pipeline: Pipeline, profile: str) -> list[tuple[str, ...]]:
    """GPUs, memory and kind of each training of a dry run."""
    there = ("--workflow-profile", profile, "--resources", "gpu=2", "mem_mb=99000")
    planned = pipeline.run("snakemake", "-n", *there, "--", "adapt_stage")
    return sorted(re.findall(r"gpu=(\d+) mem_mb=(\d+) (\w+)", planned))


def test_a_training_asks_for_a_gpu_for_each_process_and_adabn_for_one(pipeline: Pipeline) -> None:
    assert asked(pipeline, "none") == [("1", "2500", "Re"), ("2", "5000", "Adapting"), ("2", "5000", "Training")]


def test_a_profile_for_fewer_processes_is_refused(pipeline: Pipeline) -> None:
    command = ("snakemake", "-n", "--workflow-profile", "profiles/gpu", "adapt_stage")
    refused = pipeline.run(*command, fails=True)
    assert "loop.processes is 2, but set-resources of the profile gives rule train gpu: 1" in refused
    assert "Traceback" not in refused
    for rule in ("train", "train_start", "adapt", "adapt_unmixed"):
        given = f"  {rule}: {{ mem_mb: 24000, gpu: "
        pipeline.edit("profiles/gpu/profile.yaml", given + "1", given.replace("24000", "40000") + "2")
    assert asked(pipeline, "profiles/gpu") == [
        ("1", "24000", "Re"),
        ("2", "40000", "Adapting"),
        ("2", "40000", "Training"),
    ]


def test_a_profile_for_gpus_is_not_refused_where_none_is_used(pipeline: Pipeline) -> None:
    pipeline.set(loop__device="cpu")
    assert {kind for _, _, kind in asked(pipeline, "profiles/gpu")} == {"Re", "Adapting", "Training"}
