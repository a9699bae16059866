"""Several processes of one run: what the workflow asks for, and what one that hangs does to the others."""

import os
import re
import signal
import socket
import time
from datetime import timedelta
from pathlib import Path

import pytest
import tiny
import yaml
from pipeline import Pipeline, create
from test_distributed import ADAPT, CONTEXT, SMALL, train

from dacs.errors import ProcessLost
from dacs.training import distributed
from dacs.training.run import Run

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
    assert "loop.processes is 2, but set-resources of the profile gives train gpu: 1" in refused
    assert "Traceback" not in refused
    for rule in ("train", "train_start", "adapt", "adapt_unmixed"):
        given = f"  {rule}: {{ mem_mb: 24000, gpu: "
        pipeline.edit("profiles/gpu/profile.yaml", given + "1", given.replace("24000", "40000") + "2")
    assert asked(pipeline, "profiles/gpu") == [
        ("1", "24000", "Re"),
        ("2", "40000", "Adapting"),
        ("2", "40000", "Training"),
    ]


def test_a_profile_for_several_nodes_says_all_that_they_need(pipeline: Pipeline) -> None:
    """A job on each of two nodes asks for the threads of its own process."""
    command = ("snakemake", "-n", "--printshellcmds", "--workflow-profile", "profiles/slurm", "adapt_stage")
    path = pipeline.folder / "profiles/slurm/profile.yaml"
    profile = yaml.safe_load(path.read_text().replace("executor: slurm", "executor: local"))  # without its plugin
    del profile["slurm-requeue"]
    for given, refused in (
        ({"nodes": 2}, "A training has 2 nodes in set-resources of the profile, but train is not given all that"),
        ({"nodes": 2, "tasks": 2, "tasks_per_gpu": 0}, "give .* nodes: 2, tasks: 2, tasks_per_gpu: 0, mpi: srun"),
        ({"nodes": 3, "tasks": 3, "tasks_per_gpu": 0, "mpi": "srun"}, "is 2, which 3 nodes do not share equally"),
    ):
        for rule in ("train", "train_start", "adapt", "adapt_unmixed"):
            profile["set-resources"][rule] |= {"gpu": 2, **given}
        path.write_text(yaml.safe_dump(profile))
        assert re.search(refused, pipeline.run(*command, fails=True))
    for rule in ("train", "train_start", "adapt", "adapt_unmixed"):
        profile["set-resources"][rule] |= {"nodes": 2, "tasks": 2}
    path.write_text(yaml.safe_dump(profile))
    pipeline.edit("workflow/rules/common.smk", "def one_of(", 'print("SRUN:", os.environ["SRUN"])\n\n\ndef one_of(')
    planned = pipeline.run(*command)
    assert "SRUN: srun --nodes=2 --ntasks=2 --ntasks-per-node=1 --cpus-per-task=1 --cpu-bind=none\n" in planned
    assert {verb for verb in ("train", "adapt") if f"$SRUN python -m dacs {verb}" in planned} == {"train", "adapt"}


def test_a_profile_for_gpus_is_not_refused_where_none_is_used(pipeline: Pipeline) -> None:
    pipeline.set(loop__device="cpu")
    assert {kind for _, _, kind in asked(pipeline, "profiles/gpu")} == {"Re", "Adapting", "Training"}


def member(rank: int, port: int, run: Run, folder: Path, answer: int) -> None:
    """Train as one of two processes, of which the second is stopped before its third step."""
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in {**place, "TORCHELASTIC_RESTART_COUNT": 0}.items()}
    distributed.ANSWER = timedelta(seconds=answer)

    def hang(step: int) -> None:
        if rank == 1 and step == 3:
            (folder / "stopped").touch()
            os.kill(os.getpid(), signal.SIGSTOP)

    with pytest.raises(ProcessLost, match="Another process of this run"), distributed.together(run.settings):
        train(folder / "run", run, hang)
    os._exit(7)


def test_a_process_that_hangs_ends_the_other_after_the_time_to_answer(ready: Path, tmp_path: Path) -> None:
    answer, run = 5, tiny.run(ready, "dacs", **SMALL | ADAPT)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    waits, hangs = (CONTEXT.Process(target=member, args=(rank, port, run, tmp_path, answer)) for rank in range(2))
    try:
        waits.start()
        hangs.start()
        waits.join(120)
        assert waits.exitcode == 7
        assert hangs.is_alive()
        assert answer - 1 < time.time() - (tmp_path / "stopped").stat().st_mtime < answer + 20
    finally:
        for process in (waits, hangs):
            process.kill()
            process.join()
    assert hangs.exitcode == -signal.SIGKILL
