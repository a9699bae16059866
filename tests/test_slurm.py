"""The pipeline on a cluster: a real Slurm, started here with separate keys, ports and folders.

Its two nodes are both this machine; all jobs but those of partition `two` are on the first.

Run by `make test-slurm`. It needs Slurm and MUNGE installed (Debian: slurm-wlm, munge), and root, as slurmd does.
"""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from pipeline import EVERY, REPRO, SNAKEMAKE, TOOLS, Pipeline, create, environment

pytestmark = pytest.mark.slurm

DAEMONS = ("munged", "slurmctld", "slurmd")
NODES = ("first", "second")
CONFIGURATION = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
KillWait=60
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
NodeName=DEFAULT CPUs={cores} RealMemory=64000 Gres=gpu:2 State=UNKNOWN
NodeName=first NodeHostName={host} NodeAddr=127.0.0.1 Port={ports[1]}
NodeName=second NodeHostName={host} NodeAddr=127.0.0.1 Port={ports[2]}
PartitionName=all Nodes=first Default=YES MaxTime=INFINITE PriorityTier=1 GraceTime=60 State=UP
PartitionName=two Nodes=first,second MaxTime=INFINITE PriorityTier=1 GraceTime=60 State=UP
PartitionName=urgent Nodes=first MaxTime=INFINITE PriorityTier=2 PreemptMode=OFF State=UP
"""
# This Slurm keeps no accounts, so it is asked what runs now; it is near, so it is asked often.
SUBMIT = (
    *("snakemake", "--workflow-profile", "profiles/slurm", "--slurm-no-account", "--slurm-status-command", "squeue"),
    *("--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "1"),
)
TASK = "gta5-cityscapes"
CAMPAIGN = {"tasks": [TASK], "seeds": [0], "base": "dacs", "methods": [], "variants": {"all": {"threshold": 0.0}}}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A controller and a node, found through the environment until the tests are over."""
    missing = [name for name in DAEMONS if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        pytest.fail(f"{', '.join(missing) or 'root'}: missing. Install slurm-wlm and munge, and run this as root.")
    folder = tmp_path_factory.mktemp("slurm")
    for name in ("state", *NODES, "bin"):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o400)
    for node, place in product(NODES, range(2)):  # GPUs that jobs ask for, and nothing here uses
        (folder / f"{node}{place}").touch()
    (folder / "gres.conf").write_text(
        "".join(f"NodeName={node} Name=gpu File={folder}/{node}[0-1]\n" for node in NODES)
    )
    configuration = folder / "slurm.conf"
    ports = [_free_port() for _ in range(3)]
    configuration.write_text(
        CONFIGURATION.format(
            host=socket.gethostname().split(".")[0], ports=ports, folder=folder, cores=os.cpu_count() or 1
        )
    )
    # Inside a job Snakemake removes all of Slurm's variables, that of the configuration too.
    wrapper = folder / "bin/srun"
    wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={configuration} exec {shutil.which("srun")} "$@"\n')
    wrapper.chmod(0o755)
    files = [f"--{kind}-file={folder}/munge.{kind}" for kind in ("key", "pid", "log", "seed")]
    munged = ["munged", "--force", "--foreground", f"--socket={folder}/munge.socket", *files]
    commands = (munged, ["slurmctld", "-D"], *(["slurmd", "-D", "-N", node] for node in NODES))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(configuration))
        patch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
        running = []
        for number, command in enumerate(commands):
            with (folder / f"{number}-{command[0]}.out").open("w") as out:
                running.append(subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT))
            time.sleep(1)
        try:
            _wait(
                lambda: _output("sinfo", "-N", "-p", "two", "-h", "-o", "%T").split() == ["idle"] * 2, "no idle nodes"
            )
            yield
        finally:
            for process in reversed(running):
                process.terminate()
                process.wait(30)


@pytest.fixture
def pipeline(tmp_path: Path, cluster: None) -> Pipeline:
    made = create(tmp_path, runs__tasks=[TASK], runs__methods=["source", "dacs"])
    made.edit("profiles/slurm/profile.yaml", "remap: 8, remap_target: 8", "remap: 2, remap_target: 2")
    return made


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout


def _wait(until: Callable[[], bool], complaint: str, seconds: int = 120) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.2)


def _submitted(pipeline: Pipeline, job: str) -> list[tuple[str, ...]]:
    """Time, memory and GPUs that each submission of a rule or group of rules asked for, in order."""
    jobs = _output("scontrol", "--oneliner", "show", "jobs").splitlines()
    mine = [line for line in jobs if str(pipeline.folder) in line and f"Comment=rule_{job}" in line]
    return [re.findall(r"TimeLimit=(\S+) .*MinMemoryNode=(\S+) .*TresPerJob=gres.gpu:(\d+)", line)[0] for line in mine]


def _preempted(pipeline: Pipeline, command: tuple[str, ...], until: Callable[[], bool]) -> None:
    """Run a command, and preempt all jobs of Slurm at some moment of it."""
    kinds: dict[str, Any] = {"cwd": pipeline.folder, "env": environment(), "stderr": subprocess.STDOUT}
    with (pipeline.folder / "out").open("w") as out:
        running = subprocess.Popen([TOOLS / command[0], *command[1:]], stdout=out, **kinds)
        try:
            _wait(lambda: until() or running.poll() is not None, "training never began", 300)
            urgent = ("sbatch", "--partition=urgent", f"--ntasks={os.cpu_count()}", "--time=1", "--output=/dev/null")
            _output(*urgent, "--wrap=sleep 3")
            assert running.wait(600) == 0, (pipeline.folder / "out").read_text()
        finally:
            running.kill()


def test_the_pipeline_runs_on_slurm_and_then_nothing_is_left_to_do(pipeline: Pipeline) -> None:
    """Figures and report are made here; a run and its evaluation are one job. DVC records what is there."""
    printed = pipeline.run(*SUBMIT, "--", "all")
    assert printed.count("has been submitted with SLURM jobid") == EVERY.total() - 2 - EVERY["adapt"]
    assert (pipeline.folder / "reports/index.html").exists()
    assert not pipeline.jobs(*SNAKEMAKE)
    assert set(pipeline.jobs(*REPRO)) <= {"record"}
    assert "up to date" in pipeline.run("dvc", "status")


def test_a_job_that_fails_is_given_more_memory_and_time(pipeline: Pipeline) -> None:
    pipeline.edit("dacs/training/loop.py", "    save_results(state, folder)\n", "    raise SystemExit(1)\n")
    pipeline.edit("profiles/slurm/profile.yaml", "retries: 3", "retries: 1")
    pipeline.run(*SUBMIT, "--", "all", fails=True)
    assert _submitted(pipeline, "train_start") == [("12:00:00", "24000M", "1"), ("1-00:00:00", "32000M", "1")]


def test_a_job_that_is_preempted_saves_a_checkpoint_and_resumes_by_itself(pipeline: Pipeline) -> None:
    """Slurm signals all processes of the job; no regular checkpoint is due before the end of the training."""
    pipeline.set(scales__smoke__train__steps=1200, scales__smoke__loop__checkpoint_every=10000)
    log = pipeline.folder / f"logs/train/{TASK}-source-seed0.log"
    _preempted(pipeline, (*SUBMIT, "--", "all"), lambda: log.exists() and "/1200:" in log.read_text())
    assert "resuming from the checkpoint at step" in log.read_text()


def test_runs_that_share_a_job_follow_each_other_and_resume_when_it_is_preempted(pipeline: Pipeline) -> None:
    """The job's time is the sum of theirs, its memory and GPUs those of one; a finished run is not trained again."""
    pipeline.set(campaigns={"two": CAMPAIGN})
    pipeline.set(
        scales__smoke__train__steps=401, scales__smoke__adapt__steps=400, scales__smoke__loop__checkpoint_every=10000
    )
    logs = [pipeline.folder / f"logs/adapt/{TASK}-{method}-seed0.log" for method in ("dacs", "dacs@all")]

    def second_trains() -> bool:
        texts = [log.read_text() if log.exists() else "" for log in logs]
        begun = all("/400:" in text for text in texts)
        assert not begun or any("step 400/400" in text for text in texts), "both train at a time"
        return begun

    command = (*SUBMIT, "--group-components", "run=2", "--", "reports/campaigns/two.csv")
    _preempted(pipeline, command, second_trains)
    asked = _submitted(pipeline, "run_adapt_evaluate")
    assert asked == [("2-02:00:00", "24000M", "1"), ("4-04:00:00", "32000M", "1")]
    texts = [log.read_text() for log in logs]
    assert sorted("resuming from the checkpoint at step" in text for text in texts) == [False, True]
    assert sorted("step 400/400" in text for text in texts) == [False, True]


def test_a_campaign_of_200_runs_is_50_jobs(pipeline: Pipeline) -> None:
    variants = {f"ema_{number}": {"ema": number / 1000} for number in range(950, 999)}
    pipeline.set(campaigns={"many": {**CAMPAIGN, "seeds": [0, 1, 2, 3], "variants": variants}})
    planned = pipeline.run(*SUBMIT, "--group-components", "run=4", "-n", "--", "reports/campaigns/many.csv")
    assert re.search(r"^adapt +200$", planned, re.MULTILINE)
    assert planned.count("Group job run") == 50


def test_partition_and_account_of_the_profile_are_asked_for_and_a_rule_may_have_its_own(pipeline: Pipeline) -> None:
    """Slurm takes `all` where none is named. Python knows that name, so the profile has it in quotes."""
    profile = "profiles/slurm/profile.yaml"
    pipeline.edit(
        profile, "runtime=120 * attempt,", "runtime=120 * attempt, slurm_partition=urgent, slurm_account=vision,"
    )
    pipeline.edit(profile, "remap_target: { mem_mb:", "remap_target: { slurm_partition: \"'all'\", mem_mb:")
    pipeline.run(
        *(each for each in SUBMIT if each != "--slurm-no-account"), "--", "data/ready/cityscapes/val/stats.json"
    )
    jobs = [
        line for line in _output("scontrol", "--oneliner", "show", "jobs").splitlines() if str(pipeline.folder) in line
    ]
    found = [
        re.findall(r"Account=(\S+).* Partition=(\S+).* Comment=rule_(world|remap_target)", line)[0] for line in jobs
    ]
    assert found == [("vision", "urgent", "world"), ("vision", "all", "remap_target")]


def test_a_job_that_is_out_of_time_saves_a_checkpoint_and_the_next_attempt_resumes(pipeline: Pipeline) -> None:
    """Slurm looks at its jobs every 30 seconds, and signals this one when it has run for 30 to 60 seconds."""
    pipeline.set(scales__smoke__train__steps=10**6, scales__smoke__loop__checkpoint_every=10**6)
    pipeline.edit("profiles/slurm/profile.yaml", "USR1@120", "USR1@60")
    pipeline.edit("profiles/slurm/profile.yaml", "runtime: 720 * attempt", "runtime: 2 * attempt")
    log = pipeline.folder / f"logs/train/{TASK}-source-seed0.log"

    def resumes() -> bool:
        return log.exists() and "resuming from the checkpoint at step" in log.read_text()

    with (pipeline.folder / "out").open("w") as out:
        command = [TOOLS / "snakemake", *SUBMIT[1:], "--", "train_stage"]
        running = subprocess.Popen(command, cwd=pipeline.folder, env=environment(), stdout=out, stderr=out)
        try:
            _wait(resumes, "training never resumed", 300)
        finally:
            running.kill()
            _output("scancel", "--me")
            _wait(lambda: not _output("squeue", "--noheader"), "the training never ended")
    assert _submitted(pipeline, "train_start") == [("00:02:00", "24000M", "1"), ("00:04:00", "32000M", "1")]


def test_a_training_on_two_nodes_ends_with_the_bytes_of_one_and_resumes_when_it_is_preempted(
    pipeline: Pipeline,
) -> None:
    """srun starts it once on each; GPUs of both are asked for. Each has one of the two processes, which need both."""
    smoke = {"train__steps": 201, "adapt__steps": 200, "loop__checkpoint_every": 10000}
    pipeline.set(loop__processes=2, **{f"scales__smoke__{name}": value for name, value in smoke.items()})
    pipeline.run("snakemake", "--cores", "2", "--", "adapt_stage")
    alone = pipeline.bytes_of("runs/*/*/*/*.safetensors")
    for folder in ("runs", "logs", ".cache/runs"):
        shutil.rmtree(pipeline.folder / folder)
    path = pipeline.folder / "profiles/slurm/profile.yaml"
    profile = yaml.safe_load(path.read_text())
    for rule in ("train", "train_start", "adapt", "adapt_unmixed"):
        spread = {"nodes": 2, "tasks": 2, "tasks_per_gpu": 0, "mpi": "srun"}
        profile["set-resources"][rule] |= {"slurm_partition": "two", "gpu": 2, **spread}
    profile["set-resources"]["evaluate"]["slurm_partition"] = "two"  # which is of the job of an adaptation
    path.write_text(yaml.safe_dump(profile))
    log = pipeline.folder / f"logs/train/{TASK}-source-seed0.log"
    _preempted(pipeline, (*SUBMIT, "--", "evaluate_stage"), lambda: log.exists() and "/201:" in log.read_text())
    assert "resuming from the checkpoint at step" in log.read_text()
    assert pipeline.bytes_of("runs/*/*/*/*.safetensors") == alone
    jobs = _output("scontrol", "--oneliner", "show", "jobs").splitlines()
    mine = [line for line in jobs if str(pipeline.folder) in line and "Partition=two" in line]
    found = [re.findall(r"NodeList=(first\S+) .*TresPerJob=gres.gpu:(\d+)", line) for line in mine]
    # Source-only, preempted once, and DACS with its evaluation; that of source-only is on one node.
    assert found.count([("first,second", "2")]) == 3
