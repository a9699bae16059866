"""A training that is told to stop, at whatever time, ends within seconds with exit code 75 and words."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny
from pipeline import ROOT, environment

from dacs.jobs import job_file
from dacs.layout import RunDir
from dacs.training.run_cache import STORE
from faults.kills import wait_for

pytestmark = pytest.mark.faults
GRACE = 10  # seconds
NUMBERS = signal.SIGINT, signal.SIGTERM, signal.SIGUSR1


@pytest.mark.parametrize(
    ("number", "began"),
    [
        *((number, False) for number in NUMBERS),
        (signal.SIGTERM, True),
        *(pytest.param(number, True, marks=pytest.mark.slow) for number in NUMBERS if number != signal.SIGTERM),
    ],
)
def test_a_training_stops_with_its_exit_code(
    number: signal.Signals, began: bool, ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = tiny.run(ready, "dacs", steps=100_000)
    command = [sys.executable, "-m", "dacs", "adapt", "--method", "dacs", "--settings", job_file(run.settings)]
    command += ["--source", str(run.source.path), "--target", str(run.target.path), "--seed", "0", "--out", "run"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    kinds = {"env": {**environment(), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **kinds) as training:
        signal.signal(signal.SIGINT, before)
        assert wait_for(lambda: any(STORE.glob("*/checkpoint.pt" if began else "*")), training)
        training.send_signal(number)
        begin = time.monotonic()
        _, printed = training.communicate(timeout=60)
    assert training.returncode == 75, printed
    assert time.monotonic() - begin < GRACE
    assert b"un the same command again" in printed
    assert b"Traceback" not in printed
    assert began == any(RunDir(path).checkpoint.exists() for path in STORE.iterdir() if path.is_dir())
