"""The steps of the Containerfile, run one by one in folders of this machine: no container is needed, and no root."""

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from pipeline import ROOT, sources

STEP = re.compile(r"^([A-Z]+) ((?:.*\\\n)*.*)$", re.MULTILINE)
UV = Path(sys.executable).parent / "uv"
GIVEN = {"numpy": "1.0", "torch": "1.0", "torchvision": "1.0", "nvidia-cudnn-cu13": "1.0", "cuda-toolkit": "1.0"}
FOR_CPUS = {"torch": "1.0+cpu", "torchvision": "1.0+cpu"}
# Stand-ins that fail where $FAILS names what they do; that of uv is uv otherwise.
STAND_INS = {
    "make": '#!/bin/sh\necho "$1" >> made\ntest "$1" != "$FAILS"\n',
    ".venv/bin/uv": f'#!/bin/sh\ntest "$2" != "$FAILS" && exec {UV} "$@"\n',
}
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


def wheel(folder: Path, name: str, version: str) -> None:
    """Write a package that has nothing in it."""
    module, kind = name.replace("-", "_"), "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    with zipfile.ZipFile(folder / f"{module}-{version}-py3-none-any.whl", "w") as out:
        for file, text in {"METADATA": about, "WHEEL": kind, "RECORD": ""}.items():
            out.writestr(f"{module}-{version}.dist-info/{file}", text)


def install(folder: Path, device: str, fails: str = "") -> int:
    """Run the step that installs packages, with uv itself on small packages of a folder; return how it ended."""
    packages, index = folder / "packages", folder / "index"
    for place, versions in ((packages, GIVEN), (index, FOR_CPUS)):
        place.mkdir()
        for name, version in versions.items():
            wheel(place, name, version)
    python, local = folder / ".venv/bin/python", ("--quiet", "--offline", "--no-index", "--find-links", packages)
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, folder / ".venv"], check=True)
    subprocess.run([UV, "pip", "install", "--python", python, *local, *GIVEN], check=True)
    for name, text in STAND_INS.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    (folder / "home/.cache").mkdir(parents=True)
    (step,) = (arguments for name, arguments in steps() if name == "RUN" and "make" in arguments)
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "HOME": str(folder / "home"), "DEVICE": device, "FAILS": fails}
    environment |= {"UV_OFFLINE": "1", "UV_FIND_LINKS": str(index)}  # the index of torch for CPUs is not asked
    return subprocess.run(step.replace("\\\n", " "), shell=True, cwd=folder, env=environment).returncode


def installed(folder: Path) -> dict[str, str]:
    command = [UV, "pip", "freeze", "--quiet", "--python", folder / ".venv/bin/python"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return dict(line.split("==") for line in listed.split())


def test_an_image_for_cpus_has_torch_for_cpus_and_no_packages_of_cuda(tmp_path: Path) -> None:
    assert install(tmp_path, "cpu") == 0
    assert installed(tmp_path) == {"numpy": "1.0", **FOR_CPUS}
    assert (tmp_path / "made").read_text().split() == [".venv/ready"]
    assert not (tmp_path / "home/.cache").exists()


def test_an_image_for_gpus_has_the_packages_of_the_lock_files(tmp_path: Path) -> None:
    assert install(tmp_path, "cuda") == 0
    assert installed(tmp_path) == GIVEN
    assert (tmp_path / "made").read_text().split() == [".venv/ready", ".venv/gpu"]
    assert not (tmp_path / "home/.cache").exists()


@pytest.mark.parametrize(
    ("device", "fails"),
    [
        *(("cuda", name) for name in (".venv/ready", ".venv/gpu")),
        *(("cpu", name) for name in (".venv/ready", "freeze", "install", "uninstall")),
    ],
)
def test_no_image_is_made_where_an_installation_fails(device: str, fails: str, tmp_path: Path) -> None:
    assert install(tmp_path, device, fails) != 0


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
