"""DVC's data in S3: pushed, pulled by a fresh clone whole or in part, with nothing left to make.

Run by `make test-s3`, whose environment has DVC's part for S3 and a server of it.
"""

import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from pipeline import ROOT, SNAKEMAKE, Pipeline, create

pytestmark = pytest.mark.s3
BIN = Path(os.environ.get("DACS_S3_BIN", ROOT / ".venv-s3/bin"))
MADE = "runs/gta5-cityscapes/source/seed0"
CREATE_BUCKET = "import boto3, sys; boto3.client('s3', endpoint_url=sys.argv[1]).create_bucket(Bucket='store')"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of S3 on this machine, which has the bucket `store`."""
    if not (BIN / "moto_server").exists():
        pytest.fail(f"{BIN}/moto_server: missing. Run 'make test-s3', which installs it.")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in zip(names, ("testing", "testing", "us-east-1"), strict=True):
            patch.setenv(name, value)
        (empty := tmp_path_factory.mktemp("aws") / "config").touch()
        patch.setenv("AWS_CONFIG_FILE", str(empty))
        command = [str(BIN / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                _wait_for(address)
                subprocess.run([str(BIN / "python"), "-c", CREATE_BUCKET, address], check=True)
                yield address
            finally:
                process.terminate()


def _wait_for(address: str) -> None:
    for _ in range(300):
        try:
            with urllib.request.urlopen(address):
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"{address}: no answer in 30 seconds.")


@pytest.fixture(scope="module")
def pushed(server: str, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """One run, recorded, committed and pushed."""
    only = {"runs__tasks": ["gta5-cityscapes"], "runs__methods": ["source"]}
    pipeline = create(tmp_path_factory.mktemp("s3") / "project", **only)
    pipeline.run("dvc", "repro", "--quiet")
    pipeline.run("dvc", "remote", "add", "--default", "store", "s3://store/dacs")
    pipeline.run("dvc", "remote", "modify", "store", "endpointurl", server)
    pipeline.commit("Record")
    pipeline.run(str(BIN / "dvc"), "push", "--quiet")
    return pipeline


def test_a_clone_that_pulls_from_s3_has_nothing_to_make(pushed: Pipeline, tmp_path: Path) -> None:
    clone = pushed.clone(tmp_path / "clone")
    clone.run(str(BIN / "dvc"), "pull", "--quiet")
    assert clone.bytes_of("runs/**/*.*") == pushed.bytes_of("runs/**/*.*") != {}
    assert clone.jobs(*SNAKEMAKE) == clone.jobs("dvc", "repro") == {}
    assert "in sync" in clone.run(str(BIN / "dvc"), "status", "--cloud")


def test_metrics_and_the_report_are_pulled_alone(pushed: Pipeline, tmp_path: Path) -> None:
    clone = pushed.clone(tmp_path / "clone")
    assert (clone.folder / "reports/metrics.json").exists()
    clone.run(str(BIN / "dvc"), "pull", "--quiet", "reports/index.html")
    assert clone.bytes_of("reports/index.html") == pushed.bytes_of("reports/index.html") != {}
    assert not (clone.folder / "runs").exists()
    clone.run(str(BIN / "dvc"), "pull", "--quiet", f"{MADE}/weights.safetensors")
    assert [*clone.bytes_of("runs/**/*.*")] == [f"{MADE}/weights.safetensors"]
