"""The steps of the Containerfile, run one by one in an empty folder: no container is needed, and no root."""

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pipeline import ROOT, sources

STEP = re.compile(r"^([A-Z]+) ((?:.*\\\n)*.*)$", re.MULTILINE)
IGNORED = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]


def steps() -> list[tuple[str, str]]:
    """Name and arguments of each step, in order."""
    return STEP.findall((ROOT / "Containerfile").read_text())


def context(folder: Path) -> None:
    """The files that an image is built from."""
    for name in sources():
        parts = [name, *(str(parent) for parent in Path(name).parents)]
        if not any(fnmatch.fnmatch(part, pattern) for part in parts for pattern in IGNORED):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def copy(arguments: str, out: Path, context: Path) -> None:
    *names, target = arguments.split()
    for name in names:
        place = out / target if (context / name).is_dir() else out / target / name
        if (context / name).is_dir():
            shutil.copytree(context / name, place, dirs_exist_ok=True)
        else:
            shutil.copy2(context / name, place)


def test_every_copied_file_is_there_and_system_packages_are_documented() -> None:
    found = steps()
    assert [name for name, _ in found] == ["FROM", "ARG", "RUN", "WORKDIR", "COPY", "COPY", "RUN", "COPY", "ENV", "CMD"]
    copied = [name for kind, arguments in found if kind == "COPY" for name in arguments.split()[:-1]]
    assert all((ROOT / name).exists() for name in copied)
    (packages,) = re.findall(r"--no-install-recommends (.+?) &&", dict(found[:3])["RUN"])
    assert f"apt install {packages}" in (ROOT / "docs/data.md").read_text()


def test_nothing_that_the_pipeline_makes_is_built_from(tmp_path: Path) -> None:
    context(tmp_path)
    kept = {path.name for path in tmp_path.iterdir()}
    assert {"Makefile", "Snakefile", "dacs", "workflow", "params.yaml", "requirements.lock"} <= kept
    assert not kept & {"data", "runs", "logs", ".git", ".venv", ".cache"}


@pytest.mark.slow
def test_each_step_works_in_an_empty_folder_and_the_image_runs_the_pipeline(tmp_path: Path) -> None:
    """All but the package manager's step, which needs root; at `scale: smoke`."""
    built, out = tmp_path / "context", tmp_path / "opt/dacs"
    context(built)
    params = yaml.safe_load((built / "params.yaml").read_text())
    (built / "params.yaml").write_text(yaml.safe_dump({**params, "scale": "smoke"}, sort_keys=False))
    out.mkdir(parents=True)
    kept = ("HOME", "LANG", "TMPDIR", "UV_", "PIP_", "SSL_", "REQUESTS_", "HTTP", "http")
    environment = {name: value for name, value in os.environ.items() if name.startswith(kept)}
    environment |= {"PATH": f"{Path(sys.base_prefix) / 'bin'}:/usr/local/bin:/usr/bin:/bin"}
    for kind, arguments in steps():
        where = arguments.replace("/opt/dacs", str(out))
        if kind == "COPY":
            copy(where, out, built)
        elif kind == "ARG":
            environment |= [where.split("=", 1)]
        elif kind == "ENV":
            name, value = where.split("=", 1)
            environment[name] = value.replace(f"${name}", environment[name])
        elif kind == "RUN" and "apt-get" not in where:
            command = where.replace("\\\n", " ").replace("rm -rf ~/.cache", "true")
            subprocess.run(command, shell=True, check=True, cwd=out, env=environment)
        elif kind == "CMD":
            subprocess.run(json.loads(where), check=True, cwd=out, env=environment)
    assert (out / "reports/index.html").exists()
