"""The pipeline on Kubernetes, with a `kubectl` that runs the command of each pod here."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pipeline import EVERY, ROOT, SNAKEMAKE, create

PROFILE = ROOT / "profiles/kubernetes"
SUBMIT = "--image i --claim c --mount /m --rule train_start --cpu 5 --memory 24000"
KUBECTL = """#!{python}
import json, os, subprocess, sys
from pathlib import Path
folder, verb, name = Path({folder!r}), sys.argv[1], sys.argv[-1].replace("/", "-")
if verb == "create":
    job = json.load(sys.stdin)
    made = f"{{job['metadata']['generateName']}}{{len([*folder.glob('*.json')])}}"
    (folder / f"job.batch-{{made}}.json").write_text(json.dumps(job))
    pod = job["spec"]["template"]["spec"]["containers"][0]
    run = 'code=0; "$@" || code=$?; echo $code > "$0.part"; mv "$0.part" "$0"'
    command = ["sh", "-c", run, str(folder / f"job.batch-{{made}}.code"), *pod["command"]]
    quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    subprocess.Popen(command, cwd=pod["workingDir"], start_new_session=True, **quiet)
    print(f"job.batch/{{made}}")
elif verb == "get" and (folder / f"{{name}}.json").exists():
    code = folder / f"{{name}}.code"
    print((",1" if int(code.read_text()) else "1,") if code.exists() else ",", end="")
"""


@pytest.fixture
def pods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds the manifest of each job, and its exit code once it has ended."""
    folder = tmp_path / "pods"
    folder.mkdir()
    program = tmp_path / "bin/kubectl"
    program.parent.mkdir()
    program.write_text(KUBECTL.format(python=sys.executable, folder=str(folder)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return folder


def output(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("gpus", [0, 1])
def test_a_pod_is_given_what_the_job_asks_for_and_the_volume(gpus: int, pods: Path, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("exit 0")
    name = output(PROFILE / "submit", *SUBMIT.split(), "--gpu", str(gpus), script)
    assert name == "job.batch/dacs-train-start-0"
    job = json.loads((pods / "job.batch-dacs-train-start-0.json").read_text())
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"] == container["resources"]["requests"]
    wanted = {"cpu": "5", "memory": "24000M"} | ({"nvidia.com/gpu": "1"} if gpus else {})
    assert container["resources"]["limits"] == wanted
    assert container["volumeMounts"][0] == {"name": "shared", "mountPath": "/m"}
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == "c"
    assert container["workingDir"] == str(Path.cwd())


@pytest.mark.parametrize(("script", "state"), [("exit 0", "success"), ("exit 75", "failed"), ("sleep 5", "running")])
def test_the_state_of_a_job_is_that_of_its_pod(script: str, state: str, pods: Path, tmp_path: Path) -> None:
    (tmp_path / "script").write_text(script)
    name = output(PROFILE / "submit", *SUBMIT.split(), "--gpu", "0", tmp_path / "script")
    deadline = time.monotonic() + (1 if state == "running" else 20)
    while output(PROFILE / "status", name) == "running" and time.monotonic() < deadline:
        time.sleep(0.1)
    assert output(PROFILE / "status", name) == state


def test_a_job_that_was_deleted_has_failed_and_one_that_nobody_knows_of_may_run(pods: Path, tmp_path: Path) -> None:
    assert output(PROFILE / "status", "job.batch/never") == "failed"
    (tmp_path / "bin/kubectl").write_text("#!/bin/sh\nexit 1\n")
    assert output(PROFILE / "status", "job.batch/never") == "running"


def test_an_evicted_pod_tells_its_training_to_save_a_checkpoint(tmp_path: Path) -> None:
    """SIGTERM to the first process of the pod becomes SIGUSR1 for the training, and its exit code that of the pod."""
    script, said = tmp_path / "script", tmp_path / "said"
    training = "import signal, sys, time; signal.signal(signal.SIGUSR1, lambda *_: (print('saved'), sys.exit(75)));"
    script.write_text(f"""{sys.executable} -uc "{training} print('begun'); time.sleep(30)" > {said}; exit $?\n""")
    program = f"import runpy; print(runpy.run_path({str(PROFILE / 'submit')!r})['COMMAND'])"
    command = output(sys.executable, "-c", program)
    pod = subprocess.Popen(["/bin/sh", "-c", command, script], start_new_session=True)
    while not said.exists() or "begun" not in said.read_text():
        time.sleep(0.1)
    pod.terminate()
    assert pod.wait(20) == 75
    assert said.read_text().split() == ["begun", "saved"]


@pytest.mark.slurm
def test_the_pipeline_runs_on_kubernetes_and_then_nothing_is_left_to_do(pods: Path, tmp_path: Path) -> None:
    """Needs the plugins of requirements-slurm.lock."""
    pipeline = create(tmp_path / "project", runs__tasks=["gta5-cityscapes"], runs__methods=["source", "dacs"])
    command = ("snakemake", "--workflow-profile", "profiles/kubernetes")
    assert pipeline.planned(*command[1:], "--", "all") == EVERY
    pipeline.edit("profiles/kubernetes/profile.yaml", "jobs: 50", "jobs: 2\nseconds-between-status-checks: 1")
    pipeline.run(*command, "--", "all")
    manifests = [json.loads(path.read_text()) for path in pods.glob("*.json")]
    assert len(manifests) == EVERY.total() - 2  # figures and report are made here
    limits = [job["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"] for job in manifests]
    on_gpu = sum(EVERY[rule] for rule in ("train_start", "adapt", "evaluate", "appearance"))
    assert sum("nvidia.com/gpu" in limit for limit in limits) == on_gpu
    assert not pipeline.jobs(*SNAKEMAKE)
