"""How far the runs of params.yaml are, from the files that they leave. Torch-free."""

import pickletools
import re
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

from dacs.jobs import RunRequest, requests
from dacs.layout import RunDir
from dacs.methods import base_of
from dacs.methods import method as method_row
from dacs.settings import Params
from dacs.training.run import Run
from dacs.training.run_cache import STORE, missing_weights, spec_of
from dacs.watch import last_line

RATE = re.compile(r"images/s (\S+), (\d+) s left")  # at the end of what a training prints


def runs_table(params: Params, ready: Path = Path("data/ready")) -> str:
    """The runs that are asked for, a line each; without a key while data or initial weights are missing."""
    wide = max(12, *map(len, params.runs.methods))
    lines = [f"{'task':18} {'method':{wide}} {'seed':>4}  {'key':16}  state"]
    for request in requests(params):
        key, state = _state_of(request, ready)
        lines.append(f"{request.task:18} {request.method:{wide}} {request.seed:>4}  {key:16}  {state}")
    return "\n".join(lines)


def kept(params: Params, ready: Path = Path("data/ready")) -> Iterator[str]:
    """A line for each run that resumes from a checkpoint."""
    for request in requests(params):
        key, _ = _state_of(request, ready)
        checkpoint = RunDir(STORE / key).checkpoint
        if key and checkpoint.exists():
            done = f"step {checkpoint_step(checkpoint)} of {request.settings.schedule.steps}"
            yield f"{request.task}, {request.method}, seed {request.seed}: checkpoint of {done}"


def _state_of(request: RunRequest, ready: Path) -> tuple[str, str]:
    """Key and state of one run of the plan."""
    init = None
    if request.init is not None:
        key, state = _state_of(request.init, ready)
        if state != "finished":
            return "", "waits for its source-only run"
        init = RunDir(STORE / key)
    source, target = request.prepared(ready)
    if not (source.stats.exists() and target.stats.exists()):
        return "", "waits for its data"
    run = Run(base_of(request.method), request.seed, request.settings, source, target, init)
    if weights := missing_weights(run):
        return "", f"waits for the weights '{weights}'"
    folder = RunDir(STORE / spec_of(run)["key"])
    if folder.spec.exists():
        return folder.path.name, "finished"
    steps = request.settings.schedule.steps if method_row(request.method).terms else 0
    return folder.path.name, _progress(folder, request, steps) or "to do"


def _progress(folder: RunDir, request: RunRequest, steps: int) -> str:
    """How far a run is that was begun: the step in its log, the rate and time left that it printed, its checkpoint."""
    parts = []
    logged = folder.log.read_text(errors="replace").splitlines()[-1:] if folder.log.is_file() else []
    if logged and logged[0][:1].isdigit():
        ago = time.time() - folder.log.stat().st_mtime
        parts = [f"at step {logged[0].partition(',')[0]} of {steps}, {ago:.0f} s ago"]
        verb = "adapt" if method_row(request.method).adapts else "train"
        job = Path("logs") / verb / f"{request.task}-{request.method}-seed{request.seed}.log"
        if job.exists() and (said := RATE.search(last_line(job))):
            parts.append(f"{said[1]} images/s, {said[2]} s left")
    if folder.checkpoint.exists():
        step = checkpoint_step(folder.checkpoint)
        parts.append("begun; resumes from its checkpoint" if step is None else f"checkpoint of step {step}")
    return ", ".join(parts)


def checkpoint_step(checkpoint: Path) -> int | None:
    """The step of a checkpoint, without torch: the first `step` of its pickle; None where the file is not readable."""
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
            opcodes = pickletools.genops(archive.read(name))
            next(value for _, value, _ in opcodes if value == "step")
            return next(value for opcode, value, _ in opcodes if opcode.name.startswith("BININT"))
    except (OSError, ValueError, zipfile.BadZipFile, StopIteration):
        return None
