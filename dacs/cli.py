"""The command line: each verb is a function whose parameters are its arguments; errors become messages and exit codes.

Imports are inside the verbs, so that a command that needs no torch does not import it.
"""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from dacs.arguments import parser_of
from dacs.errors import BadRequest, DacsError, Interrupted, RunFailed
from dacs.fields import Device, Section
from dacs.files import write_json, write_text
from dacs.layout import EvaluationDir, PreparedDomain, PreparedSplit, RunDir
from dacs.methods import METHODS, supervised
from dacs.settings import (
    AppearanceJob,
    CampaignJob,
    DownloadJob,
    EvaluateJob,
    FiguresJob,
    RemapJob,
    ReportJob,
    RunSettings,
    WorldJob,
)
from dacs.verify import (
    ASIDE,
    FIGURES_RECORD,
    PAGE_RECORD,
    RECORD,
    any_record,
    damages,
    damages_of_tables,
    first_damage,
    record_beside,
    set_aside,
    write_record,
)

Job = TypeVar("Job", bound=Section)
NOT_SERVED = "dacs: Windows is not served; Linux and macOS are.\nRun it in the Windows Subsystem for Linux (WSL 2)."

NOTHING_RECORDED = (
    "Nothing to compare: no result here has a record. Tables and metrics of Git alone have none;"
    " 'dvc pull' brings results with their records."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; the return value is the exit code (0 done, 1 failed, 2 wrong request, 75 interrupted)."""
    if sys.platform == "win32":
        print(NOT_SERVED, file=sys.stderr)
        return BadRequest.exit_code
    parsed = vars(parser_of(VERBS).parse_args(arguments))
    verb = parsed.pop("verb")
    try:
        verb(**parsed)
    except DacsError as error:
        print(f"dacs {verb.__name__}: {error}", file=sys.stderr)
        return error.exit_code
    except PermissionError as error:
        print(f"dacs {verb.__name__}: {error.filename}: {error.strerror}.\nChange its permissions.", file=sys.stderr)
        return RunFailed.exit_code
    except BrokenPipeError:  # whoever read the output wanted no more of it, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception:
        if not (damaged := first_damage(path for path in parsed.values() if isinstance(path, Path))):
            raise
        print(f"dacs {verb.__name__}: {damaged}.\nRun 'dacs verify' for all that is damaged.", file=sys.stderr)
        return RunFailed.exit_code
    except KeyboardInterrupt:
        print(f"dacs {verb.__name__}: stopped.", file=sys.stderr)
        return 130
    return 0


def world(settings: Path, out: Path, manifest: Path, workers: int = 1) -> None:
    """Render the raw frames of one domain of the built-in world."""
    from dacs.demo_world.write import write_world
    from dacs.stale import made_with

    job = _job(settings, WorldJob)
    recorded = made_with("world", job)
    record_beside(manifest).unlink(missing_ok=True)
    made = write_world(job.domain, out, seed=job.seed, scale=job.scale, frames=job.frames, workers=workers)
    write_json(manifest, made)
    write_record(record_beside(manifest), [manifest], recorded)


def download(settings: Path, out: Path, manifest: Path) -> None:
    """Provide the raw frames of a domain, from its server or from a folder."""
    from dacs.download.download import bring
    from dacs.stale import made_with

    job = _job(settings, DownloadJob)
    record_beside(manifest).unlink(missing_ok=True)
    write_json(manifest, bring(job, out, trusted=manifest.with_name("first-use.json")))
    write_record(record_beside(manifest), [manifest], made_with("download", job))


def remap(settings: Path, raw: Path, out: Path, workers: int = 1, shard: str | None = None) -> None:
    """Map raw labels to train ids and resize the frames, once."""
    from dacs.prepare.remap import remap
    from dacs.prepare.shards import Shard, remap_shard
    from dacs.stale import Asked, is_made, made_with

    job, part = _job(settings, RemapJob), None if shard is None else Shard.of(shard)
    recorded = made_with("remap", job, domain=job.domain)
    if part:
        asked = Asked(PreparedDomain(out).data_report, out / RECORD, recorded)
        remap_shard(job, raw, out, workers, part, lambda: is_made(asked))
        return
    names = ("data_report.json", "*/index.csv", "*/stats.json", "*/class_counts.csv")
    tables = (path for name in names for path in out.glob(name))  # once they are written
    inputs = raw.glob("manifest.json")
    remap(job, raw, out, workers, lambda: write_record(out / RECORD, tables, recorded, inputs))


def train(settings: Path, seed: int, source: Path, target: Path, out: Path, method: str = "source") -> None:
    """Train on labelled frames of one domain."""
    adapt(settings, seed, source, target, out, method)


def adapt(
    settings: Path, seed: int, source: Path, target: Path, out: Path, method: str, init: Path | None = None
) -> None:
    """Adapt to unlabelled frames of the target."""
    given = {"settings": settings, "seed": seed, "source": source, "target": target, "out": out, "method": method}
    with _stopped_in_words():
        from dacs.training.run import Run, check_processes, processes_here
        from dacs.training.run_cache import make_run

        job = _job(settings, RunSettings)
        if job.adabn is None and job.loop.processes > 1 and processes_here() == 1:
            check_processes(job, job.loop.processes)
            _launch(job.loop.processes, **given, init=init)
            return
        data, start = (PreparedSplit(source), PreparedSplit(target)), RunDir(init) if init else None
        make_run(RunDir(out), Run(method, seed, job, *data, start))


def _launch(processes: int, **arguments: Any) -> None:
    """Run this verb in several processes, and end as they do."""
    from dacs.training.launch import launch

    verb = "train" if arguments["method"] in supervised(METHODS) else "adapt"
    given = {name: value for name, value in arguments.items() if value is not None}
    if code := launch(
        processes, [verb, *(text for name, value in given.items() for text in (f"--{name}", str(value)))]
    ):
        raise SystemExit(code)


@contextmanager
def _stopped_in_words() -> Iterator[None]:
    """Let SIGTERM and SIGUSR1 stop a run as SIGINT does, also before its first step; the loop has handlers of its own.

    Raises Interrupted.
    """
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(
            "stopped.\nRun the same command again: it resumes from its last checkpoint, if it has one."
        ) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def evaluate(settings: Path, run: Path, index: Path, train: Path, out: Path) -> None:
    """Measure the networks of a run on frames of the target."""
    from dacs.evaluation.evaluate import evaluate_run
    from dacs.evaluation.spec import model_of
    from dacs.stale import made_with

    job, splits = _job(settings, EvaluateJob), (PreparedSplit(index), PreparedSplit(train))
    recorded = made_with("evaluate", job, network=model_of(RunDir(run)).network)
    evaluate_run(RunDir(run), *splits, EvaluationDir(out), job)
    made = (path for path in out.rglob("*") if path.is_file() and path.name != RECORD)
    write_record(out / RECORD, made, recorded, [RunDir(run).spec, *(split.stats for split in splits)])


def appearance(settings: Path, source: Path, target: Path, out: Path) -> None:
    """Compare the images of two domains by the features of the pretrained backbone."""
    from dacs.evaluation.appearance import appearance
    from dacs.stale import made_with

    job = _job(settings, AppearanceJob)
    recorded = made_with("appearance", job, network=job.model.network)
    splits = PreparedSplit(source), PreparedSplit(target)
    record_beside(out).unlink(missing_ok=True)
    write_json(out, appearance(*splits, job))
    write_record(record_beside(out), [out], recorded, [split.stats for split in splits])


def figures(settings: Path, ready: Path, out: Path, runs: Path = Path("runs")) -> None:
    """Draw the figures and write the tables and the metrics."""
    from dacs.reporting.data import list_runs
    from dacs.reporting.figures import make
    from dacs.stale import made_with

    job = _job(settings, FiguresJob)
    recorded = made_with("figures", job)
    make(job, runs, ready, out)
    files = (path for folder in ("tables", "figures") for path in (out / folder).rglob("*") if path.is_file())
    made = (path for path in files if not path.name.endswith(RECORD))
    inputs = [run.folder.evaluation.path / RECORD for run in list_runs(runs, job.runs, job.unlabelled)]
    write_record(out / FIGURES_RECORD, [out / "metrics.json", *made], recorded, inputs)


def report(settings: Path, reports: Path, out: Path, runs: Path = Path("runs"), provenance: bool = False) -> None:
    """Write the page."""
    from dacs.reporting import page
    from dacs.reporting.provenance import provenance as of_project
    from dacs.stale import made_with

    job = _job(settings, ReportJob)
    if provenance:
        page.write(job, reports, runs, out, of_project(Path()))
        return
    recorded = made_with("report", job)
    page.write(job, reports, runs, out)
    write_record(reports / PAGE_RECORD, [out], recorded, [reports / FIGURES_RECORD])


def campaign(settings: Path, out: Path, runs: Path = Path("runs")) -> None:
    """Write the table of a campaign, as CSV and as Markdown beside it."""
    from dacs.reporting.campaign import write
    from dacs.stale import made_with

    job = _job(settings, CampaignJob)
    recorded = made_with("campaign", job)
    write_record(record_beside(out), write(job, runs, out), recorded)


def predict(
    weights: Path,
    images: list[Path],
    out: Path,
    network: str | None = None,
    batch: int = 4,
    tile: float = 4,
    device: Device = "auto",
    again: bool = False,
    size: str | None = None,
    ids: Literal["train", "raw"] = "train",
    classes: str | None = None,
    confidence: bool = False,
) -> None:
    """Predict the classes of images of any size with trained weights."""
    from dacs.evaluation.predict import predict_images
    from dacs.evaluation.results import Form

    predict_images(
        weights,
        images,
        out,
        network=network,
        batch=batch,
        tile=round(1e6 * tile),
        again=again,
        device=device,
        size=size,
        form=Form(ids, confidence, tuple(map(str.strip, classes.split(","))) if classes is not None else ()),
    )


def compare(first: str, second: str, html: Path | None = None) -> None:
    """Show the parameters and scores of two results side by side."""
    from dacs.reporting.compare import compare

    found = compare(first, second)
    print(found.text)
    if html:
        write_text(html, found.page)


def plan(
    params: Path = Path("params.yaml"), campaign: str | None = None, cost: bool = False, tflops: float | None = None
) -> None:
    """List the runs that params.yaml asks for, their states, and what they take."""
    from dacs.config import load
    from dacs.jobs import of_campaign
    from dacs.machine import has_gpu
    from dacs.training.estimate import device_of
    from dacs.training.plan import cost_plan
    from dacs.training.status import runs_table

    asked = of_campaign(load(params), campaign) if campaign else load(params)
    if tflops is not None and not tflops > 0:
        raise BadRequest(f"--tflops is {tflops:g}; it should be above 0.")
    gpu = asked.loop.device == "cuda" or (asked.loop.device == "auto" and (has_gpu() or asked.scale == "paper"))
    device = device_of(asked, gpu=gpu, tflops=tflops)
    print(runs_table(asked), end="\n\n")
    if cost:
        from dacs.training.cost import cost_table, counted

        print(cost_plan(asked, device, counted(asked)), cost_table(asked), sep="\n\n")
    else:
        print(cost_plan(asked, device, {}))


def verify(
    runs: Path = Path("runs"),
    reports: Path = Path("reports"),
    ready: Path = Path("data/ready"),
    manifests: Path = Path("data/manifests"),
    params: Path = Path("params.yaml"),
    remake: bool = False,
) -> None:
    """Compare results and prepared frames with their records and with params.yaml."""
    from dacs.datasets.decode import listing
    from dacs.training.run_cache import adopt

    found = [*damages(runs, reports, ready), *damages_of_tables(ready, manifests)]
    if params.exists():
        from dacs.config import load
        from dacs.stale import stale

        found += stale(load(params), runs, reports, ready, manifests)
    if not found:
        recorded = any(any_record(folder) for folder in (runs, reports, manifests, ready))
        print("All results are as they were recorded." if recorded else NOTHING_RECORDED)
        return
    listed = listing(f"{len(found)} results are not as they were recorded", map(str, found))
    if not remake:
        raise RunFailed(f"{listed}\nRun 'dacs verify --remake', then 'snakemake --cores all all' makes them again.")
    adopt(runs)  # an undone edit finds them again
    set_aside(found)
    print(f"{listed}\nThey are kept in {ASIDE}; 'snakemake --cores all all' makes them again.")


def _job(settings: Path, kind: type[Job]) -> Job:
    """The settings of the job, as the workflow wrote them to a file."""
    try:
        return kind.model_validate_json(settings.read_bytes())
    except OSError as error:
        raise BadRequest(f"--settings {settings}: cannot be read ({error.strerror}).") from error
    except ValidationError as error:
        found = error.errors()[0]
        where = "".join(f"{part}: " for part in found["loc"])
        raise BadRequest(
            f"--settings {settings}: {where}{found['msg']}.\n"
            "Give the file that the workflow writes for this verb; `snakemake -n --printshellcmds` shows its path."
        ) from error


VERBS = (
    *(world, download, remap, train, adapt, evaluate, appearance),
    *(figures, report, campaign, predict, compare, plan, verify),
)
