"""What a plan says before a run: jobs, hours, disk and downloads; and after it, how far this was off."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import tiny
import yaml

from dacs.config import load
from dacs.jobs import of_campaign, requests
from dacs.layout import RunDir
from dacs.provenance import ROOT
from dacs.settings import Params
from dacs.training.estimate import Counted, Device, Job, device_of, jobs_of
from dacs.training.plan import archives, cost_plan, expected, ratio_of, sizes

TASK = "gta5-cityscapes"
GPU = Device(True, 1e13, "a GPU")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder in which nothing was made."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def params_at(scale: str, **runs: Any) -> Params:
    content = tiny.changed("scale", scale)
    content["scales"][scale] = {**(content["scales"][scale] or {}), "runs": runs}
    return load(content)


def real(content: dict[str, Any]) -> dict[str, Any]:
    """With the published data sets, downloaded."""
    return tiny.changed("data.sources", dict.fromkeys(("gta5", "synthia", "cityscapes", "camvid"), "download"), content)


# ---- before


def test_the_jobs_are_those_of_snakemake() -> None:
    """The oracle of both tasks is one run."""
    params = params_at("demo", seeds=[0])
    found = Counter(job.rule for job in jobs_of(params, GPU, {}))
    assert found == Counter(world=3, remap=3, train=3, adabn=2, adapt=6, evaluate=12)
    components = of_campaign(params, "components")
    found = Counter(job.rule for job in jobs_of(components, GPU, {}))
    assert found == Counter(world=2, remap=2, train=3, adapt=66, evaluate=69)


def test_downloads_are_as_large_as_published() -> None:
    """61 GB of GTA5, 12 of Cityscapes; of SYNTHIA no size is published, and about 20 are said."""
    assert archives("gta5") == pytest.approx(60_557_008_558 + 738_508_110, abs=2e5)
    assert archives("cityscapes") == 11_592_327_197 + 252_567_705
    assert archives("synthia") == 20_000_000_000
    found = {size.name: size.stated for size in sizes(load(real(tiny.changed("scale", "paper"))), {})}
    assert found["downloads"] == pytest.approx(93.14e9, rel=1e-3)
    assert found["raw"] == found["downloads"]
    # 2.8, 2.9 and 1.6 MB a frame of PPM, and its label; docs/performance.md
    assert found["prepared"] == pytest.approx(24966 * 2.8e6 + 9400 * 2.9e6 + 3475 * 1.6e6, rel=0.1)
    assert {size.name: size.stated for size in sizes(params_at("demo"), {})}["downloads"] == 0


def test_the_hours_of_a_gpu_are_operations_by_its_rate() -> None:
    """250,000 steps of 5.285 TFLOP; with operations that were counted those are taken."""
    params = params_at("paper", tasks=[TASK], methods=["source", "dacs"], seeds=[0])
    adapt = next(job for job in jobs_of(params, GPU, {}) if job.rule == "adapt")
    assert adapt.stated == pytest.approx(250_000 * 5.285e12 / 1e13, rel=0.02)
    counted = {"dacs": Counted(10**12, 178 * 10**6, 2**32)}
    adapt = next(job for job in jobs_of(params, GPU, counted) if job.rule == "adapt")
    assert adapt.stated == pytest.approx(250_000 / 10, rel=1e-3)
    printed = cost_plan(params, device_of(params, gpu=True, tflops=20.0), counted)
    assert "GPU hours: 5.0 of" in printed  # 3.47 of DACS, 3/7 of it of source-only, and two evaluations
    assert "a GPU that sustains 20 TFLOP/s" in printed
    assert "4,096 MiB (dacs)" in printed


def test_a_step_of_the_demo_takes_what_was_measured() -> None:
    """194 to 205 ms on one thread; docs/performance.md."""
    params = params_at("demo", tasks=[TASK], methods=["source", "dacs"], seeds=[0])
    jobs = jobs_of(params, device_of(params, gpu=False, tflops=10.0), {})
    adapt = next(job for job in jobs if job.rule == "adapt")
    assert adapt.stated == pytest.approx(800 * 0.2, rel=0.1)


# ---- afterwards


def ran(request: Any, seconds: float, log: str) -> None:
    """Leave what a training leaves: its settings, its log and the time that Snakemake took."""
    rule = "adapt" if request.settings.adapt else "train"
    name = f"{request.task}-{request.method}-seed{request.seed}"
    spec = RunDir.of(Path("runs"), request.task, request.method, request.seed).spec
    settings = {"settings": request.settings.model_dump(mode="json", exclude_none=True)}
    files = {spec: json.dumps(settings), Path(f"logs/{rule}/{name}.log"): log}
    files[Path(f"logs/benchmarks/{rule}/{name}.tsv")] = f"s\th:m:s\tmax_rss\n{seconds}\t0:00:01\t712.5\n"
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_trainings_that_took_twice_as_long_double_what_the_others_are_expected_to_take() -> None:
    params = params_at("demo", tasks=[TASK], methods=["dacs", "mic"], seeds=[0])
    device = device_of(params, gpu=False, tflops=10.0)
    before = {job.rule: job for job in jobs_of(params, device, {})}
    listed = list(requests(params))
    ran(listed[0], 400.0, "step 80/800: x\nstep 800/800: loss 1\n")
    dacs, mic = [job for job in jobs_of(params, device, {}) if job.rule == "adapt"]
    assert (dacs.measured, dacs.memory, mic.measured) == (400.0, 712.5, None)
    ratio = ratio_of([dacs, mic])
    assert ratio == pytest.approx(400.0 / dacs.stated)
    assert expected([dacs, mic]) == pytest.approx(400.0 + mic.stated * ratio)
    assert before["adapt"].stated == mic.stated
    line = next(line for line in cost_plan(params, device, {}).splitlines() if line.startswith("adapt "))
    assert f"{ratio:.2f} (1 jobs)" in line
    assert "adapt 712" in cost_plan(params, device, {})


@pytest.mark.parametrize(
    "log", ["", "resuming from the checkpoint at step 700 of 800\nstep 800/800: x\n", "step 640/800: x\n"]
)
def test_a_run_that_was_copied_resumed_or_stopped_says_nothing_of_its_rate(log: str) -> None:
    params = params_at("demo", tasks=[TASK], methods=["dacs"], seeds=[0])
    ran(next(requests(params)), 1.5, log)
    assert [job.measured for job in jobs_of(params, GPU, {})] == [None] * 7


def test_a_run_with_other_settings_says_nothing_of_its_rate() -> None:
    params = params_at("demo", tasks=[TASK], methods=["dacs"], seeds=[0])
    ran(next(requests(params)), 400.0, "step 800/800: x\n")
    assert [job.measured for job in jobs_of(params, GPU, {}) if job.rule == "adapt"] == [400.0]
    other = load(tiny.changed("loop.batch", 8))
    assert all(job.measured is None for job in jobs_of(other, GPU, {}))


def test_files_that_are_there_are_compared_with_what_was_stated(home: Path) -> None:
    params = params_at("demo", tasks=[TASK])
    stated = next(size for size in sizes(params, {}) if size.name == "raw").stated
    assert stated is not None
    (home / "data/raw/gta5").mkdir(parents=True)
    (home / "data/raw/gta5/1.png").write_bytes(bytes(round(stated / 2)))
    assert next(size for size in sizes(params, {}) if size.name == "raw").found == round(stated / 2)
    line = next(line for line in cost_plan(params, GPU, {}).splitlines() if line.startswith("raw "))
    assert line.split()[3] == "0.50"


def test_what_has_no_rate_is_left_out_of_the_sum() -> None:
    assert expected([Job("download", 5, "frames", None)]) is None
    assert expected([Job("train", 5, "steps", None), Job("train", 5, "steps", 2.0)]) == 2.0
    params = load(tiny.changed("model.network", "small_gn", tiny.changed("model.weights", "none", frozen())))
    assert all(job.stated is None for job in jobs_of(params, GPU, {}) if job.rule in ("train", "adapt"))
    assert "networks without --cost" in cost_plan(params, GPU, {})


def frozen() -> dict[str, Any]:
    """With statistics that need no weights."""
    return tiny.changed("train.bn_statistics", "live")


def test_a_plan_is_made_without_torch(home: Path) -> None:
    (home / "params.yaml").write_text(yaml.safe_dump(tiny.content()))
    program = "import sys; from dacs.cli import main; code = main(['plan']); sys.exit(code or 'torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "expected h" in done.stdout
