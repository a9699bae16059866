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
from dacs.fields import Section
from dacs.jobs import RunRequest, job_digest, job_of, of_campaign, requests
from dacs.layout import RunDir
from dacs.provenance import ROOT
from dacs.settings import Params
from dacs.training.estimate import Counted, Device, Job, device_of, jobs_of
from dacs.training.plan import Size, archives, cost_plan, expected, ratio_of, sizes

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


def size_of(name: str, params: Params) -> Size:
    """A row of the table of disk space."""
    return next(size for size in sizes(params, {}) if size.name == name)


def row_of(name: str, params: Params, device: Device = GPU) -> list[str]:
    """The last row of a plan that begins with a word."""
    return [line for line in cost_plan(params, device, {}).splitlines() if line.startswith(f"{name} ")][-1].split()


# ---- before


def test_the_jobs_are_those_of_snakemake() -> None:
    """The oracle of both tasks is one run."""
    params = params_at("demo", seeds=[0])
    found = Counter(job.rule for job in jobs_of(params, GPU, {}))
    assert found == Counter(world=3, remap=3, train=3, adabn=2, adapt=6, evaluate=12)
    components = of_campaign(params, "components")
    found = Counter(job.rule for job in jobs_of(components, GPU, {}))
    assert found == Counter(world=2, remap=2, train=3, adapt=75, evaluate=78)


def test_downloads_are_as_large_as_published() -> None:
    """61 GB of GTA5, 12 of Cityscapes; of SYNTHIA no size is published, and about 20 are said."""
    assert archives("gta5") == pytest.approx(60_557_008_558 + 738_508_110, abs=2e5)
    assert archives("cityscapes") == 11_592_327_197 + 252_567_705
    assert archives("synthia") == 20_000_000_000
    paper = real(tiny.changed("scale", "paper"))
    found = {size.name: size.stated for size in sizes(load(paper), {})}
    assert found["downloads"] == pytest.approx(93.14e9, rel=1e-3)
    assert found["raw"] == pytest.approx(95.14e9, rel=1e-3)  # SYNTHIA takes 22; docs/data.md
    folder = tiny.changed("data.sources.synthia", "/copy", tiny.changed("data.unpack", False, paper))
    assert size_of("raw", load(folder)).stated == 0  # its archive is no zip, so it must be unpacked by hand
    # 2.8, 2.9 and 1.6 MB a frame of PPM, and its label; docs/performance.md
    assert found["prepared"] == pytest.approx(24966 * 2.8e6 + 9400 * 2.9e6 + 3475 * 1.6e6, rel=0.1)
    assert size_of("downloads", params_at("demo")).stated == 0


def test_the_run_cache_and_dvc_hold_the_oracle_of_two_tasks_once() -> None:
    """Three seeds of 2 tasks: 8 files of each run of four methods, 2 of AdaBN; 176 MB a file."""
    params = params_at("paper", methods=["source", "adabn", "naive", "dacs", "oracle"], seeds=[0, 1, 2])
    assert size_of("runs", params).stated == pytest.approx(3 * 2 * (4 * 8 + 2) * 176e6)
    cached = 3 * (2 * (3 * 8 + 2) + 8) * 176e6
    assert size_of("run cache", params).stated == pytest.approx(cached)
    prepared = size_of("prepared", params).stated
    assert size_of("DVC", params).stated == pytest.approx(cached + prepared)


def test_a_process_holds_torch_its_step_and_the_frames_that_it_keeps() -> None:
    """Of 800 labelled frames of 135x240 and 400 unlabelled ones of 96x192; 24,966 of 720x1280 are too many."""
    demo, paper = (load(content) for content in (tiny.content(), real(tiny.changed("scale", "paper"))))
    peaks = [{job.rule: job.room for job in jobs_of(each, Device(False, None, ""), {})} for each in (demo, paper)]
    frames = (800 * 142 * 240 * 4 + 400 * 96 * 192 * 3) / 2**20  # of SYNTHIA, the last task
    assert peaks[0]["adapt"] / 2**20 == pytest.approx(710 + 79 + frames, abs=2)
    assert peaks[1]["adapt"] / 2**20 == pytest.approx(710 + 4542, abs=2)


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
    assert [line.split() for line in printed.splitlines()].count(["adapt", "4,096"]) == 1


def test_a_step_of_the_demo_takes_what_was_measured() -> None:
    """194 to 205 ms on one thread; docs/performance.md."""
    params = params_at("demo", tasks=[TASK], methods=["source", "dacs"], seeds=[0])
    jobs = jobs_of(params, device_of(params, gpu=False, tflops=10.0), {})
    adapt = next(job for job in jobs if job.rule == "adapt")
    assert adapt.stated == pytest.approx(800 * 0.2, rel=0.1)


# ---- afterwards


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def record(path: Path, job: Section) -> None:
    """Leave the record of a job."""
    write(path, json.dumps({"settings": job_digest(job)}))


def timed(rule: str, name: str, seconds: float) -> None:
    """Leave the time and memory that Snakemake measured."""
    write(Path(f"logs/benchmarks/{rule}/{name}.tsv"), f"s\th:m:s\tmax_rss\n{seconds}\t0:00:01\t1000\n")


def ran(request: RunRequest, seconds: float, log: str, key: str = "0") -> RunDir:
    """Leave what a training leaves: its settings, its log and the time that Snakemake took."""
    rule = "adapt" if request.settings.adapt else "train"
    name = f"{request.task}-{request.method}-seed{request.seed}"
    folder = RunDir.of(Path("runs"), request.task, request.method, request.seed)
    settings = request.settings.model_dump(mode="json", exclude_none=True)
    write(folder.spec, json.dumps({"key": key, "settings": settings}))
    write(Path(f"logs/{rule}/{name}.log"), log)
    timed(rule, name, seconds)
    return folder


def test_trainings_that_took_twice_as_long_double_what_the_others_are_expected_to_take() -> None:
    params = params_at("demo", tasks=[TASK], methods=["dacs", "mic"], seeds=[0])
    device = device_of(params, gpu=False, tflops=10.0)
    before = {job.rule: job for job in jobs_of(params, device, {})}
    listed = list(requests(params))
    ran(listed[0], 400.0, "step 80/800: x\nstep 800/800: loss 1\n")
    dacs, mic = [job for job in jobs_of(params, device, {}) if job.rule == "adapt"]
    assert (dacs.measured, dacs.memory, mic.measured) == (400.0, 1000 * 2**20, None)
    ratio = ratio_of([dacs, mic])
    assert ratio == pytest.approx(400.0 / dacs.stated)
    assert expected([dacs, mic]) == pytest.approx(400.0 + mic.stated * ratio)
    assert before["adapt"].stated == mic.stated
    line = next(line for line in cost_plan(params, device, {}).splitlines() if line.startswith("adapt "))
    assert f"{ratio:.2f} (1 jobs)" in line
    stated, found, share = row_of("adapt", params, device)[1:]
    assert found == "1,000"
    assert float(share) == pytest.approx(1000 / float(stated), abs=0.01)


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


def test_an_evaluation_of_a_run_with_other_settings_says_nothing_of_its_rate() -> None:
    """The settings of the evaluation itself are the same at both scales."""
    demo, paper = (params_at(scale, tasks=[TASK], methods=["dacs"], seeds=[0]) for scale in ("demo", "paper"))
    jobs = [job_of(params, "evaluate", domain="cityscapes") for params in (demo, paper)]
    assert job_digest(jobs[0]) == job_digest(jobs[1])
    folder = ran(next(requests(demo)), 400.0, "")
    record(folder.evaluation.path / "record.json", jobs[0])
    timed("evaluate", f"{TASK}-dacs-seed0", 30.0)
    measured = [[job.measured for job in jobs_of(each, GPU, {}) if job.rule == "evaluate"] for each in (demo, paper)]
    assert measured == [[30.0], [None]]


def test_frames_that_are_there_are_compared_with_what_was_stated_of_them() -> None:
    """Of one data set of two, and only while both have the settings that are asked for."""
    params = params_at("demo", tasks=[TASK])
    record(Path("data/manifests/gta5.record.json"), job_of(params, "world", domain="gta5"))
    record(Path("data/ready/gta5/record.json"), job_of(params, "remap", domain="gta5"))
    stated = 1.8 * 800 * 1052 * 1914 * 0.1875**2
    write(Path("data/raw/gta5/1.png"), "x" * round(stated / 2))
    assert size_of("raw", params).found == round(stated / 2)
    assert row_of("raw", params)[3] == "0.50"
    assert size_of("prepared", params).found > 0
    larger = load(tiny.changed("remap.gta5", [137, 240]))
    assert (size_of("raw", larger).found > 0, size_of("prepared", larger).found) == (True, 0)
    fewer = load(tiny.changed("world.frames.gta5", 700))
    assert (size_of("raw", fewer).found, size_of("prepared", fewer).found) == (0, 0)


def test_the_cache_is_compared_where_it_holds_runs_that_are_asked_for() -> None:
    params = params_at("demo", methods=["oracle"], seeds=[0])
    for request in requests(params):
        folder = ran(request, 1.0, "", key="abc")
        write(folder.weights, "x" * 3_300_000)
    for key in ("abc", "old"):
        write(Path(f".cache/runs/{key}/weights.safetensors"), "x" * 3_300_000)
    runs, cache = size_of("runs", params), size_of("run cache", params)
    assert runs.found == pytest.approx(2 * 3.3e6, rel=0.01)
    assert cache.found == 3_300_000
    assert cache.compared == runs.compared / 2 == 8 * 3.3e6
    assert size_of("run cache", params_at("paper", methods=["oracle"], seeds=[0])).found == 0


def test_what_has_no_rate_is_left_out_of_the_sum() -> None:
    assert expected([Job("download", 5, "frames", None)]) is None
    assert expected([Job("train", 5, "steps", None), Job("train", 5, "steps", 2.0)]) == 2.0
    live = tiny.changed("train.bn_statistics", "live")  # statistics that need no weights
    params = load(tiny.changed("model.network", "small_gn", tiny.changed("model.weights", "none", live)))
    assert all(job.stated is None for job in jobs_of(params, GPU, {}) if job.rule in ("train", "adapt"))
    assert "networks without --cost" in cost_plan(params, GPU, {})


def test_a_plan_is_made_without_torch(home: Path) -> None:
    (home / "params.yaml").write_text(yaml.safe_dump(tiny.content()))
    program = "import sys; from dacs.cli import main; code = main(['plan']); sys.exit(code or 'torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "expected h" in done.stdout
