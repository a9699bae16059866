"""Several processes compute what one does: in float64, by gloo, in processes that are forked from this one."""

import csv
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil
import pytest
import tiny
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from dacs.cli import main
from dacs.errors import BadRequest, Interrupted, ProcessLost
from dacs.fields import identity
from dacs.group import Group
from dacs.jobs import job_file
from dacs.layout import RunDir
from dacs.loading.stream import Batch
from dacs.methods import METHODS
from dacs.models.build import build
from dacs.provenance import ROOT
from dacs.training import checkpoint, loop
from dacs.training.checkpoint import State
from dacs.training.cost import add_reference
from dacs.training.launch import Nodes, launch
from dacs.training.run import Run, check_processes

CONTEXT = get_context("spawn" if torch.cuda.is_available() else "fork")  # a fork has torch imported already
SMALL: dict[str, Any] = {"batch": 4, "steps": 3, "log_every": 1, "checkpoint_every": 2, "snapshots": 1, "warmup": 0}
ADAPT: dict[str, Any] = {"jitter_probability": 0.6, "blur_probability": 0.6, "threshold": 0.065, "cow_sigma": (1.5, 3)}
ADAPT["rare_class_frame"] = 0.0
CODE = {"lambda_scope": "batch", "lambda_counts": "target", "lambda_applies_to": "target", "teacher_bn": "batch"}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name, row in METHODS.items() if row.terms},
    "code": ("dacs", CODE | {"draw_classes_of": "batch", "draw_void": True, "source_mean": "all"}),
    "target": ("dacs", {"bn_statistics": "target", "sync_bn": False, "pixel_weight": "threshold", "accumulate": 2}),
    "frozen": ("mic", {"bn_statistics": "frozen", "margins": (0.1, 0.2), "ema_update": "before"}),
    "dropout": ("mic", {"network": "daformer", "backbone": "timm/pvt_v2_b0", "head_width": 16, "drop_path": 0.4}),
    "timm": ("source", {"network": "pyramid", "backbone": "timm/tf_efficientnet_lite0", "drop_path": 0.4}),
}
SOME = ["dacs", "mic_daformer", "dropout"]
OTHERS = [name for name in CASES if name not in SOME]
Act = Callable[[int], None]


@pytest.fixture(scope="module")
def runs(ready: Path) -> dict[str, Run]:
    found = {}
    for name, (method, changes) in CASES.items():
        base = SMALL | (ADAPT if METHODS[method].adapts else {})
        found[name] = tiny.run(ready, method, **base | changes)
    return found


def train(folder: Path, run: Run, act: Act = lambda step: None) -> State:
    """Train in float64; `act` is called before each step (counted from 1). Return the state at the end."""
    initial, batches, set_rate, states = loop.initial_state, loop.step_batches, loop.set_rate, list[State]()

    def doubled(*given: Any, **options: Any) -> State:
        state = initial(*given, **options)
        for network in (state.student, state.teacher.network):
            network.double()
        if run.settings.adapt:  # features are kept close to those of other random weights
            weighted = run.settings.adapt.model_copy(update={"feature_distance": 0.5})
            settings = run.settings.model_copy(update={"adapt": weighted})
            reference = build(run.settings.model, 99).double().to(state.student.mean.device)
            add_reference(state.terms[0], settings, reference)
        states.append(state)
        return state

    def doubled_batches(*given: Any) -> Any:
        for batch in batches(*given):
            source = Batch(batch.source.images.double(), batch.source.labels)
            yield batch._replace(source=source, target=None if batch.target is None else batch.target.double())

    def watched(optimizer: Any, done: int, settings: Any) -> None:
        act(done + 1)
        set_rate(optimizer, done, settings)

    with patch.multiple(loop, initial_state=doubled, step_batches=doubled_batches, set_rate=watched):
        loop.train_run(RunDir(folder), run, "key")
    return states[0]


def member(rank: int, world: int, folder: Path, work: Callable[[Group, Path], None]) -> None:
    torch.set_num_threads(1)
    meet = f"file://{folder}/meet"
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=world, timeout=timedelta(seconds=60))
    work(Group(rank, world), folder)
    dist.destroy_process_group()


def in_processes(world: int, folder: Path, work: Callable[[Group, Path], None]) -> list[int | None]:
    """Let so many processes do some work together; return their exit codes."""
    members = [CONTEXT.Process(target=member, args=(rank, world, folder, work)) for rank in range(world)]
    for each in members:
        each.start()
    for each in members:
        each.join(120)
    return [each.exitcode for each in members]


def check_same_results(found: Path, expected: Path, name: str) -> None:
    """Weights to 1e-9; the log, which is rounded, and the pictures to the byte."""
    mine, theirs = (tiny.contents(folder) for folder in (found, expected))
    assert {*mine} - {"checkpoint.pt"} == {*theirs} - {"checkpoint.pt"}, name
    for file in theirs:
        if file.endswith(".safetensors"):
            tensors, truth = load_file(found / file), load_file(expected / file)
            assert tensors.keys() == truth.keys()
            for key, value in truth.items():
                assert (tensors[key].double() - value.double()).abs().max() < 1e-9, (name, file, key)
        elif file != "checkpoint.pt":
            assert mine[file] == theirs[file], (name, file)


@pytest.fixture(scope="module")
def one(runs: dict[str, Run], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The results of a single process, made when they are asked for."""
    folder = tmp_path_factory.mktemp("one")

    def results(name: str) -> Path:
        if not (folder / name).exists():
            train(folder / name, runs[name])
        return folder / name

    return results


# ---- what is computed


@pytest.mark.parametrize(
    ("world", "names"),
    [(2, SOME + OTHERS), (4, SOME), pytest.param(4, OTHERS, marks=pytest.mark.slow)],
    ids=["2", "4", "4-others"],
)
def test_several_processes_compute_what_one_does(
    world: int, names: list[str], runs: dict[str, Run], one: Callable[[str], Path], tmp_path: Path
) -> None:
    """Of every method, with random numbers, counts and statistics of the whole batch."""

    def work(group: Group, folder: Path) -> None:
        for name in names:
            train(folder / name, runs[name])

    assert in_processes(world, tmp_path, work) == [0] * world
    for name in names:
        check_same_results(tmp_path / name, one(name), name)
    rows = list(csv.DictReader(io.StringIO((one("mic_daformer") / "log.csv").read_text())))
    assert all(float(row["feature_distance"]) > 0 for row in rows)


@pytest.mark.parametrize("changes", [{"sync_bn": False, "teacher_bn": "batch"}, {"lambda_scope": "process"}], ids=str)
def test_processes_that_average_apart_still_hold_the_same_networks(
    changes: dict[str, Any], ready: Path, tmp_path: Path
) -> None:
    run = tiny.run(ready, "dacs", **SMALL | ADAPT | changes, processes=2)
    assert run.settings.processes == 2

    def work(group: Group, folder: Path) -> None:
        state = train(folder / "run", run)
        torch.save([state.student.state_dict(), state.teacher.network.state_dict()], folder / f"{group.rank}.pt")

    assert in_processes(2, tmp_path, work) == [0, 0]
    pairs = zip(*(torch.load(tmp_path / f"{rank}.pt") for rank in range(2)), strict=True)
    for mine, theirs in pairs:
        assert all(torch.equal(mine[name], value) for name, value in theirs.items())
    train(tmp_path / "one", run)
    saved = (load_file(RunDir(tmp_path / name).weights) for name in ("run", "one"))
    first, second = (each["head.branches.0.weight"] for each in saved)
    assert not torch.allclose(first, second, atol=1e-9)


def test_a_draw_is_a_part_of_that_of_the_whole_batch() -> None:
    whole = torch.rand(6, 4, generator=torch.Generator().manual_seed(3))
    for rank in range(3):
        part = Group(rank, 3).rand(torch.Generator().manual_seed(3), 2, 4)
        assert torch.equal(part, whole[[rank, rank + 3]])


# ---- how it ends


def test_a_signal_to_one_process_stops_all_after_the_same_step_and_one_process_resumes(
    runs: dict[str, Run], one: Callable[[str], Path], tmp_path: Path
) -> None:
    def work(group: Group, folder: Path) -> None:
        def stop(step: int) -> None:
            if group.rank == 1 and step == 2:
                os.kill(os.getpid(), signal.SIGUSR1)

        with pytest.raises(Interrupted, match="stopped at step 2 of 3"):
            train(folder / "run", runs["mic"], stop)

    assert in_processes(2, tmp_path, work) == [0, 0]
    assert checkpoint.read(tmp_path / "run" / "checkpoint.pt")["step"] == 2
    train(tmp_path / "run", runs["mic"])
    check_same_results(tmp_path / "run", one("mic"), "resumed")


def test_a_process_that_is_killed_ends_the_others_and_two_resume(
    runs: dict[str, Run], one: Callable[[str], Path], tmp_path: Path
) -> None:
    def work(group: Group, folder: Path) -> None:
        def die(step: int) -> None:
            if group.rank == 1 and step == 3:
                os.kill(os.getpid(), signal.SIGKILL)

        with pytest.raises(ProcessLost, match="Another process of this run ended"):
            train(folder / "run", runs["dacs"], die)
        os._exit(7)

    begin = time.monotonic()
    assert in_processes(2, tmp_path, work) == [7, -signal.SIGKILL]
    assert time.monotonic() - begin < 60
    (tmp_path / "meet").unlink()
    assert in_processes(2, tmp_path, lambda group, folder: train(folder / "run", runs["dacs"]) and None) == [0, 0]
    check_same_results(tmp_path / "run", one("dacs"), "resumed")


def test_processes_that_cannot_share_a_batch_are_refused(ready: Path) -> None:
    settings = tiny.run(ready, batch=4).settings
    with pytest.raises(BadRequest, match=r"^3 processes cannot share loop\.batch 4 equally"):
        check_processes(settings, 3)
    for started in (1, 2, 4):
        check_processes(settings, started)
    assert identity(tiny.run(ready, batch=4, processes=2).settings) == identity(settings)
    apart, other = (tiny.run(ready, batch=4, processes=number, sync_bn=False).settings for number in (2, 4))
    assert identity(apart) != identity(other)
    with pytest.raises(BadRequest, match="4 processes were started, but the result depends on their number"):
        check_processes(apart, 4)
    recorded = tiny.run(ready, batch=4, cuda_graphs=True).settings
    check_processes(recorded, 1)
    with pytest.raises(BadRequest, match=r"^2 processes were started, and loop\.cuda_graphs records"):
        check_processes(recorded, 2)


def adaptation(run: Run) -> list[str]:
    """The command of an adaptation, without the program, by its files."""
    given = {
        "method": "dacs",
        "seed": "0",
        "out": "run",
        "source": str(run.source.path),
        "target": str(run.target.path),
    }
    return ["adapt", *(text for name, value in given.items() for text in (f"--{name}", value)), "--settings"]


def started(command: list[str], **more: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}
    return subprocess.Popen(
        [sys.executable, "-m", "dacs", *command], env=environment, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize(
    "signals",
    [(signal.SIGTERM,), (signal.SIGUSR1, signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)],
    ids=["SIGTERM", "four"],
)
def test_the_command_starts_its_processes_and_resumes_with_another_number(
    signals: tuple[signal.Signals, ...],
    ready: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A cluster signals a job more than once; further signals keep no process from its checkpoint."""
    monkeypatch.chdir(tmp_path)
    files = {}
    for number in (2, 1):
        run = tiny.run(ready, "dacs", steps=80, processes=number, checkpoint_every=1000)
        files[number] = Path(f"{number}.json")
        files[number].write_bytes(Path(job_file(run.settings)).read_bytes())
    process = started([*adaptation(run), "2.json"])
    while process.poll() is None and not [*Path(".cache/runs").glob("*/log.csv")]:
        time.sleep(0.05)
    for number in signals:
        process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 75, said
    assert said.count("stopped at step") == 1
    assert "Traceback" not in said
    assert "death signal" not in said  # of torch
    assert main([*adaptation(run), "1.json"]) == 0
    assert "resuming from the checkpoint at step" in capsys.readouterr().err
    assert RunDir(Path("run")).weights.exists()


def on_nodes(command: list[str], **more: str) -> list[subprocess.Popen[str]]:
    """The command as srun starts it, once on each of two nodes, both of which are this machine."""
    step = {"JOB_ID": str(time.monotonic_ns()), "STEP_ID": "0", "LAUNCH_NODE_IPADDR": "127.0.0.1"}
    step |= {"STEP_NUM_NODES": "2", "STEP_NUM_TASKS": "2"}
    variables = {f"SLURM_{name}": value for name, value in step.items()}
    return [started(command, **variables, SLURM_NODEID=str(node)) for node in range(2)]


def test_the_nodes_of_a_step_of_slurm_share_the_processes(
    ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And end with the bytes of two processes on one machine; one process reports."""
    run = tiny.run(ready, "dacs", processes=2)
    said = {}
    for name, start in (("nodes", on_nodes), ("one", lambda command: [started(command)])):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        agents = start([*adaptation(run), job_file(run.settings)])
        said[name] = "".join(agent.communicate(timeout=120)[1] for agent in agents)
        assert {agent.returncode for agent in agents} == {0}, said[name]
    assert said["nodes"].count("step 6/6") == said["one"].count("step 6/6") == 1
    assert tiny.contents(tmp_path / "nodes/run") == tiny.contents(tmp_path / "one/run")


@pytest.mark.parametrize(("number", "codes"), [(signal.SIGTERM, {75}), (signal.SIGKILL, {137, 1})])
def test_what_ends_a_process_of_one_node_ends_all(
    number: signal.Signals, codes: set[int], ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a checkpoint and the exit code for it on both nodes, or with an error on both."""
    monkeypatch.chdir(tmp_path)
    run = tiny.run(ready, "dacs", steps=10_000, processes=2, checkpoint_every=20)
    agents = on_nodes([*adaptation(run), job_file(run.settings)])
    while not [*Path(".cache/runs").glob("*/checkpoint.pt")]:
        assert all(agent.poll() is None for agent in agents)
        time.sleep(0.05)
    (process,) = psutil.Process(agents[1].pid).children()
    process.send_signal(number)
    said = [agent.communicate(timeout=60)[1] for agent in agents]
    assert {agent.returncode for agent in agents} == codes, said
    assert said[0].count("stopped at step" if number == signal.SIGTERM else "Another process of this run") == 1
    assert "Traceback" not in "".join(said)


def test_nodes_that_do_not_share_the_processes_equally_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    step = {"JOB_ID": "7", "STEP_ID": "1", "STEP_NUM_NODES": "2", "STEP_NUM_TASKS": "2", "NODEID": "1"}
    for name, value in {**step, "LAUNCH_NODE_IPADDR": "10.0.0.3"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert Nodes.of_slurm() == Nodes(2, 1, "10.0.0.3:20449", "7.1")
    with pytest.raises(BadRequest, match=r"^loop\.processes is 3, which 2 nodes of Slurm do not share equally"):
        launch(3, [])
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")  # it runs several times on a node: not one for each
    assert Nodes.of_slurm() == Nodes()


@pytest.mark.slow
def test_compiled_networks_give_the_same_in_several_processes(
    ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the rounding of float32, in which kernels that are made by the compiler add in another order."""
    weights = []
    for compiled in (False, True):
        folder = tmp_path / str(compiled)
        folder.mkdir()
        monkeypatch.chdir(folder)
        run = tiny.run(ready, "dacs", processes=2, compile=compiled)
        process = started([*adaptation(run), job_file(run.settings)])
        said = process.communicate(timeout=900)[1]
        assert process.returncode == 0, said
        weights.append(load_file(RunDir(folder / "run").weights))
    plain, compiled_ones = weights
    assert any(not torch.equal(plain[name], compiled_ones[name]) for name in plain)
    for name in plain:
        torch.testing.assert_close(plain[name], compiled_ones[name], rtol=0, atol=1e-3)
