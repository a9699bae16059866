"""torchrun starts the processes of a run again after one of them has died."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

from dacs.jobs import job_file
from dacs.layout import RunDir
from dacs.provenance import ROOT

# `dacs`, but the second process is killed before the fifth step of the first start.
PROGRAM = """
import os, signal, sys
from dacs.cli import main
from dacs.training import loop
set_rate = loop.set_rate

def watched(optimizer, done, settings):
    if done == 4 and os.environ.get("DIES") == os.environ["RANK"] and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        os.kill(os.getpid(), signal.SIGKILL)
    set_rate(optimizer, done, settings)

loop.set_rate = watched
sys.exit(main(sys.argv[1:]))
"""


def command(ready: Path, program: str, *torchrun: str) -> list[str]:
    """torchrun, which starts processes of an adaptation of six steps."""
    run = tiny.run(ready, "dacs", steps=6, batch=4, checkpoint_every=2, log_every=1, processes=2)
    given = ["adapt", "--method", "dacs", "--seed", "0", "--settings", str(Path(job_file(run.settings)).resolve())]
    given += ["--source", str(run.source.path), "--target", str(run.target.path), "--out", "run"]
    return [sys.executable, "-m", "torch.distributed.run", *torchrun, *program.split(), *given]


def start(command: list[str], folder: Path, **more: str) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)


def errors_of(process: subprocess.Popen[str]) -> str:
    """What a process that succeeds wrote to stderr."""
    said = process.communicate(timeout=300)[1]
    assert process.returncode == 0, said
    return said


@pytest.mark.slow
def test_torchrun_starts_again_from_the_checkpoint_after_a_process_was_killed(
    ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And ends with the bytes of processes that all lived."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "program.py").write_text(PROGRAM)
    started = command(ready, f"{tmp_path}/program.py", "--standalone", "--nproc-per-node", "2", "--max-restarts", "1")
    resumed = {}
    for name, dies in (("killed", "1"), ("alive", "none")):
        said = errors_of(start(started, tmp_path / name, DIES=dies))
        resumed[name] = re.findall(r"resuming from the checkpoint at step (\d+) of 6", said)
    assert resumed == {"killed": ["4"], "alive": []}
    assert RunDir(tmp_path / "killed/run").weights.exists()
    assert tiny.contents(tmp_path / "killed/run") == tiny.contents(tmp_path / "alive/run")


@pytest.mark.slow
def test_two_machines_end_with_the_bytes_of_one(ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two agents of torchrun, each with a process, as on machines that share the folder; both are on this one."""
    monkeypatch.chdir(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meet = f"127.0.0.1:{free.getsockname()[1]}"
    apart = ["--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-endpoint", meet]
    agents = [start(command(ready, "-m dacs", *apart, "--rdzv-id", "run1"), tmp_path / "two") for _ in range(2)]
    said = "".join(map(errors_of, agents))
    assert said.count("step 6/6") == 1  # one process reports
    errors_of(start(command(ready, "-m dacs", "--standalone", "--nproc-per-node", "2"), tmp_path / "one"))
    assert tiny.contents(tmp_path / "two/run") == tiny.contents(tmp_path / "one/run")
