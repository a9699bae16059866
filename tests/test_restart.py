"""torchrun starts the processes of a run again after one of them has died."""

import os
import re
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


@pytest.mark.slow
def test_torchrun_starts_again_from_the_checkpoint_after_a_process_was_killed(
    ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And ends with the bytes of processes that all lived."""
    monkeypatch.chdir(tmp_path)
    run = tiny.run(ready, "dacs", steps=6, batch=4, checkpoint_every=2, log_every=1, processes=2)
    settings = Path(job_file(run.settings)).resolve()
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["--max-restarts", "1", str(tmp_path / "program.py"), "adapt", "--method", "dacs", "--seed", "0"]
    command += ["--settings", str(settings), "--source", str(run.source.path), "--target", str(run.target.path)]
    resumed = {}
    for name, dies in (("killed", "1"), ("alive", "none")):
        (tmp_path / name).mkdir()
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "DIES": dies}
        done = subprocess.run(
            [*command, "--out", "run"],
            cwd=tmp_path / name,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        resumed[name] = re.findall(r"resuming from the checkpoint at step (\d+) of 6", done.stderr)
    assert resumed == {"killed": ["4"], "alive": []}
    assert RunDir(tmp_path / "killed/run").weights.exists()
    assert tiny.contents(tmp_path / "killed/run") == tiny.contents(tmp_path / "alive/run")
