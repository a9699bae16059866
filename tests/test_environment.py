"""The lock files together hold what torch asks for; what the first leaves out is refused where it is needed."""

import re
import sys
from dataclasses import replace
from importlib.metadata import requires
from pathlib import Path

import pytest
import tiny
from packaging.requirements import Requirement
from pipeline import ROOT

from dacs.errors import RunFailed
from dacs.training import run as training_run
from dacs.training.run import Run, check_compiler

LINUX = {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64", "python_version": "3.11"}
LINUX |= {"python_full_version": "3.11.0", "extra": ""}
ON_GPUS_ALONE = {"triton", "cuda-bindings", "cuda-pathfinder", "nvidia-cusolver"}


def fits(requirement: Requirement, machine: dict[str, str]) -> bool:
    return requirement.marker is None or requirement.marker.evaluate(machine)


def locked(*names: str) -> dict[str, str]:
    """Name → version of the packages that the lock files install on Linux."""
    text = "".join((ROOT / name).read_text() for name in names)
    lines = re.findall(r"^([a-z0-9-]+)==(\S+)( ; .+?)? \\$", text, re.MULTILINE)
    wanted = (Requirement(f"{name}=={version}{marker}") for name, version, marker in lines)
    return {each.name: str(each.specifier).removeprefix("==") for each in wanted if fits(each, LINUX)}


def asked_by(package: str, extras: set[str]) -> list[Requirement]:
    """What an installed package asks for on Linux."""
    every = [Requirement(line) for line in requires(package) or []]
    marked = ({**LINUX, "extra": extra} for extra in ("", *extras))
    return [each for one in marked for each in every if fits(each, one)]


@pytest.mark.skipif(sys.platform != "linux", reason="torch asks for CUDA on Linux alone")
def test_torch_gets_all_that_it_asks_for_from_the_locks_for_gpus_and_what_cpus_need_from_the_first() -> None:
    asked = asked_by("torch", set())
    (cuda,) = (each for each in asked if each.name == "cuda-toolkit")
    names = {each.name: each for each in (*asked, *asked_by("cuda-toolkit", cuda.extras))}
    assert {"triton", "nvidia-cusolver", "nvidia-cublas"} <= names.keys()
    without, together = locked("requirements.lock"), locked("requirements.lock", "requirements-gpu.lock")
    for name, requirement in names.items():
        assert requirement.specifier.contains(together[name]), requirement
    assert {name for name in together if name not in without} == ON_GPUS_ALONE


@pytest.mark.parametrize("name", ["gpu", "dev", "slurm"])
def test_a_lock_that_adds_packages_changes_no_version(name: str) -> None:
    first, added = locked("requirements.lock"), locked(f"requirements-{name}.lock")
    shared = first.keys() & added.keys()
    assert shared
    assert {each: added[each] for each in shared} == {each: first[each] for each in shared}


@pytest.fixture
def compiling(ready: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run that compiles its networks, on a machine with a GPU and without triton."""
    monkeypatch.setattr(training_run, "has_gpu", lambda: True)
    monkeypatch.setattr(training_run, "find_spec", lambda name: None)
    run = tiny.run(ready, "source")
    loop = run.settings.loop.model_copy(update={"compile": True, "device": "auto"})
    return replace(run, settings=run.settings.model_copy(update={"loop": loop}))


def test_compiling_for_a_gpu_without_triton_is_refused_with_the_command_that_installs_it(compiling: Run) -> None:
    with pytest.raises(RunFailed, match=r"triton.*\n.*make \.venv/gpu"):
        check_compiler(compiling)


@pytest.mark.parametrize("change", [{"compile": False}, {"device": "cpu"}])
def test_nothing_else_needs_triton(change: dict[str, object], compiling: Run) -> None:
    loop = compiling.settings.loop.model_copy(update=change)
    check_compiler(replace(compiling, settings=compiling.settings.model_copy(update={"loop": loop})))
