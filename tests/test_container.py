"""The Containerfile: its steps one by one, and an image built from it in a clean root and run.

The tests of the image are run by `make test-container`. They need buildah and debootstrap installed, root, and up
to 22 GB for temporary files. The base image is what debootstrap makes, under the name of the official one.
"""

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
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
# A name for each pattern of what Git ignores; one that holds in all folders is tried in one of them.
IGNORED = [
    (Path(file).parent / ("" if name[0] == "/" else "dacs") / name.strip("/").replace("*", "any")).as_posix()
    for file in (".gitignore", ".dvc/.gitignore")
    for name in (ROOT / file).read_text().splitlines()
    if name and name[0] not in "#!"
]
# What a clean root is told of this machine: where packages are, and by which certificates servers are known.
NETWORK = ("SSL_CERT_FILE", "PIP_CERT", "PIP_INDEX_URL", "UV_DEFAULT_INDEX")
Buildah = Callable[..., str]


def steps() -> list[tuple[str, str]]:
    """Name and arguments of each step, in order."""
    return STEP.findall((ROOT / "Containerfile").read_text())


def test_every_copied_file_is_there_and_system_packages_are_documented() -> None:
    found = steps()
    kinds = ["FROM", "ARG", "RUN", "WORKDIR", "COPY", "COPY", "COPY", "RUN", "COPY", "RUN", "ENV", "CMD"]
    assert [name for name, _ in found] == kinds
    copied = [name for kind, arguments in found if kind == "COPY" for name in arguments.split()[:-1]]
    assert all((ROOT / name).exists() for name in copied)
    (packages,) = re.findall(r"--no-install-recommends (.+?) &&", dict(found[:3])["RUN"])
    assert f"apt install {packages}" in (ROOT / "docs/data.md").read_text()


@pytest.mark.parametrize("name", [".git", *IGNORED])
def test_nothing_that_git_ignores_is_built_from(name: str) -> None:
    left_out = (ROOT / ".dockerignore").read_text().splitlines()
    assert any(fnmatch.fnmatch(name, pattern.replace("**/", "*")) for pattern in left_out)


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


@pytest.fixture(scope="module")
def buildah() -> Iterator[Buildah]:
    """A function that runs buildah on images and containers of this test alone, among them the base image."""
    missing = [name for name in ("buildah", "debootstrap") if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        pytest.fail(f"{', '.join(missing) or 'root'}: missing. Install buildah and debootstrap, and run this as root.")
    with tempfile.TemporaryDirectory(prefix="dacs-image-") as folder:
        storage = ("buildah", f"--root={folder}/storage", f"--runroot={folder}/run")

        def run(*command: str) -> str:
            done = subprocess.run([*storage, *command], capture_output=True, text=True)
            if done.returncode != 0:
                pytest.fail(f"{command} returned {done.returncode}:\n{done.stdout}\n{done.stderr}")
            return done.stdout.strip()

        base = dict(steps())["FROM"]
        packages = "--include=ca-certificates,git,make,python3-venv"
        try:
            root = run("from", "scratch")
            release = base.rsplit("-")[-1]
            subprocess.run(["debootstrap", "--variant=minbase", packages, release, run("mount", root)], check=True)
            run("config", *(f"--env={name}={os.environ[name]}" for name in NETWORK if name in os.environ), root)
            run("commit", "--rm", root, base)
            yield run
        finally:
            for command in (("rm", "--all"), ("rmi", "--all", "--force")):
                subprocess.run([*storage, *command])


@pytest.fixture(scope="module", params=["cuda", "cpu"])
def container(buildah: Buildah, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A container of the image at `scale: smoke`, of which all files but one are those of layers that were there."""
    context, device = tmp_path_factory.mktemp("context"), request.param
    for name in sources():
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, context / name)
    for name in IGNORED:
        (context / name).mkdir(parents=True)
        (context / name / "ignored").touch()
    files = {os.environ[name] for name in NETWORK if Path(os.environ.get(name, "")).is_file()}
    options = ("--layers", "--isolation=chroot", "--pull-never", *(f"--volume={file}:{file}:ro" for file in files))
    command = ("bud", *options, f"--build-arg=DEVICE={device}", f"--tag={device}", "--file=Containerfile", str(context))
    try:
        buildah(*command)
    except pytest.fail.Exception as failed:
        if device == "cpu" and "/whl/cpu/" in str(failed):
            pytest.skip("The index of torch for CPUs cannot be reached.")
        raise
    params = yaml.safe_load((context / "params.yaml").read_text())
    (context / "params.yaml").write_text(yaml.safe_dump({**params, "scale": "smoke"}, sort_keys=False))
    for name in sources():
        (context / name).touch()
    buildah(*command)
    return buildah("from", "--pull-never", device)


@pytest.mark.container
def test_the_image_runs_the_pipeline(buildah: Buildah, container: str) -> None:
    command = json.loads(buildah("inspect", container))["OCIv1"]["config"]["Cmd"]
    buildah("run", "--isolation=chroot", container, *command)
    assert (Path(buildah("mount", container)) / "opt/dacs/reports/index.html").exists()


@pytest.mark.container
def test_a_run_of_the_image_installs_nothing(buildah: Buildah, container: str) -> None:
    planned = buildah("run", "--isolation=chroot", container, "make", "--dry-run", "demo").splitlines()
    assert [line.split()[0] for line in planned] == ["snakemake", "echo"]


@pytest.mark.container
def test_nothing_that_git_ignores_is_in_the_image(buildah: Buildah, container: str) -> None:
    assert not [*(Path(buildah("mount", container)) / "opt/dacs").rglob("ignored")]


@pytest.mark.container
def test_the_image_has_the_packages_of_its_device_and_of_the_system(buildah: Buildah, container: str) -> None:
    freeze = ("uv", "pip", "freeze", "--python", ".venv/bin/python")
    listed = buildah("run", "--isolation=chroot", container, *freeze)
    cuda = container.startswith("cuda")
    assert {name in listed for name in ("nvidia-", "cuda-", "triton==")} == {cuda}
    assert ("+cpu" in listed) != cuda
    buildah("run", "--isolation=chroot", container, "sh", "-c", "command -v unar && command -v bsdtar")
