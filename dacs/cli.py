"""The command line: each verb is a function whose parameters are its arguments; errors become messages and exit codes.

Imports are inside the verbs, so that a command that needs no torch does not import it.
"""

import argparse
import inspect
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from dacs.errors import BadRequest, DacsError, Interrupted, RunFailed
from dacs.fields import Device, Section
from dacs.files import write_json, write_text
from dacs.layout import EvaluationDir, PreparedSplit, RunDir
from dacs.methods import METHODS, adapting, recalibrating, supervised
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
    damages,
    damages_of_tables,
    first_damage,
    record_beside,
    set_aside,
    write_record,
)

Job = TypeVar("Job", bound=Section)
NOT_SERVED = "dacs: Windows is not served; Linux and macOS are.\nRun it in the Windows Subsystem for Linux (WSL 2)."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; the return value is the exit code (0 done, 1 failed, 2 wrong request, 75 interrupted)."""
    if sys.platform == "win32":
        print(NOT_SERVED, file=sys.stderr)
        return BadRequest.exit_code
    parsed = vars(_parser().parse_args(arguments))
    verb = parsed.pop("verb")
    try:
        verb(**parsed)
    except DacsError as error:
        print(f"dacs {verb.__name__}: {error}", file=sys.stderr)
        return error.exit_code
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


def remap(settings: Path, raw: Path, out: Path, workers: int = 1) -> None:
    """Map raw labels to train ids and resize the frames, once."""
    from dacs.prepare.remap import remap
    from dacs.stale import made_with

    job = _job(settings, RemapJob)
    recorded = made_with("remap", job, domain=job.domain)
    (out / RECORD).unlink(missing_ok=True)
    remap(job, raw, out, workers)
    tables = ("data_report.json", "*/index.csv", "*/stats.json", "*/class_counts.csv")
    write_record(out / RECORD, (path for name in tables for path in out.glob(name)), recorded)


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
    write_record(out / RECORD, made, recorded)


def appearance(settings: Path, source: Path, target: Path, out: Path) -> None:
    """Compare the images of two domains by the features of the pretrained backbone."""
    from dacs.evaluation.appearance import appearance
    from dacs.stale import made_with

    job = _job(settings, AppearanceJob)
    recorded = made_with("appearance", job, network=job.model.network)
    record_beside(out).unlink(missing_ok=True)
    write_json(out, appearance(PreparedSplit(source), PreparedSplit(target), job))
    write_record(record_beside(out), [out], recorded)


def figures(settings: Path, ready: Path, out: Path, runs: Path = Path("runs")) -> None:
    """Draw the figures and write the tables and the metrics."""
    from dacs.reporting.figures import make
    from dacs.stale import made_with

    job = _job(settings, FiguresJob)
    recorded = made_with("figures", job)
    make(job, runs, ready, out)
    files = (path for folder in ("tables", "figures") for path in (out / folder).rglob("*") if path.is_file())
    made = (path for path in files if not path.name.endswith(RECORD))
    write_record(out / FIGURES_RECORD, [out / "metrics.json", *made], recorded)


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
    write_record(reports / PAGE_RECORD, [out], recorded)


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
    """List the runs that params.yaml asks for, how far each one is, what all take, and how far that was off."""
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
    print(runs_table(asked), end="\n\n")
    if not cost:
        print(cost_plan(asked, device_of(asked, gpu=gpu, tflops=tflops), {}))
        return
    from dacs.training.cost import cost_table, counted

    print(cost_plan(asked, device_of(asked, gpu=gpu, tflops=tflops), counted(asked)))
    print(f"\n{cost_table(asked)}")


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

    found = [*damages(runs, reports, ready), *damages_of_tables(ready, manifests)]
    if params.exists():
        from dacs.config import load
        from dacs.stale import stale

        found += stale(load(params), runs, reports, ready, manifests)
    if not found:
        print("All results are as they were recorded.")
        return
    listed = listing(f"{len(found)} results are not as they were recorded", map(str, found))
    if not remake:
        raise RunFailed(f"{listed}\nRun 'dacs verify --remake', then 'snakemake --cores all all' makes them again.")
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


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 1 on")
    return value


ARGUMENTS: dict[str, dict[str, Any]] = {  # by the name of the parameter, whose default is that of the argument
    "settings": {"type": Path, "help": "JSON file with the settings of this job"},
    "out": {"type": Path, "help": "where the result is written"},
    "manifests": {"type": Path, "help": "manifests of raw frames"},
    "manifest": {"type": Path, "help": "where a copy of the manifest is written"},
    "workers": {"type": _count, "help": "processes; no effect on the result"},
    "raw": {"type": Path, "help": "raw frames, such as data/raw/gta5"},
    "seed": {"type": int, "help": "everything random follows from it"},
    "source": {"type": Path, "help": "prepared labelled split, such as data/ready/gta5/train"},
    "target": {
        "type": Path,
        "help": "prepared images of the target, such as data/ready/cityscapes/train",
    },
    "method": {"help": "a method of the table"},
    "init": {"type": Path, "help": "run folder to start from, when settings say `init: source`"},
    "run": {"type": Path, "help": "run folder with the weights"},
    "index": {"type": Path, "help": "prepared split, such as data/ready/cityscapes/val"},
    "train": {"type": Path, "help": "training images of the target, such as data/ready/cityscapes/train"},
    "runs": {"type": Path, "help": "folder of runs"},
    "ready": {"type": Path, "help": "prepared data"},
    "reports": {"type": Path, "help": "what `figures` wrote"},
    "weights": {"type": Path, "help": "run folder, or a file of weights in one"},
    "images": {"type": Path, "nargs": "+", "help": "images, or folders of images"},
    "network": {"choices": ("student", "teacher"), "help": "of a run folder; left out: the student"},
    "batch": {"type": _count, "help": "images of one size at a time"},
    "tile": {"type": float, "help": "megapixels at a time; larger images are split into tiles"},
    "device": {"choices": ("auto", "cpu", "cuda"), "help": "auto: the GPU if there is one"},
    "size": {"metavar": "HxW", "help": "height x width that images are brought to, or native; left out: as in the run"},
    "ids": {"choices": ("train", "raw"), "help": "raw: labelIds of Cityscapes, for its test server"},
    "classes": {"metavar": "NAMES", "help": "of the run, such as road,sidewalk; others become 255; left out: all"},
    "confidence": {"action": "store_true", "help": "also write the probability of each pixel's class, 0..255"},
    "again": {"action": "store_true", "help": "make results again, or overwrite those of other images"},
    "provenance": {"action": "store_true", "help": "with commit, changed parameters, machine and time of each job"},
    "remake": {"action": "store_true", "help": "set aside what is damaged, so that the pipeline makes it again"},
    "first": {"help": "run folder, metrics.json, reports folder, or Git revision"},
    "second": {"help": "the same"},
    "html": {"type": Path, "metavar": "FILE", "help": "also write a page"},
    "params": {"type": Path, "help": "which params.yaml"},
    "campaign": {"metavar": "NAME", "help": "the runs of this campaign instead"},
    "tflops": {
        "type": float,
        "metavar": "N",
        "help": "10^12 operations a second of a GPU; left out: as an H200 did",
    },
    "cost": {"action": "store_true", "help": "also count operations and memory of a step of each method"},
}
POSITIONAL = ("images", "first", "second")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dacs",
        description="Unsupervised domain adaptation for semantic segmentation, one verb a step.",
        epilog="Exit codes: 0 done, 1 the run failed, 2 the request is wrong, 75 interrupted with a checkpoint.",
    )
    choices = supervised(METHODS), [*recalibrating(METHODS), *adapting(METHODS)]
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for verb in VERBS:
        sub = verbs.add_parser(verb.__name__, help=verb.__doc__, description=verb.__doc__)
        for name, parameter in inspect.signature(verb).parameters.items():
            options = ARGUMENTS[name] | ({"choices": choices[verb is adapt]} if name == "method" else {})
            if name in POSITIONAL:
                sub.add_argument(name, **options)
            elif parameter.default is parameter.empty:
                sub.add_argument(f"--{name}", required=True, **options)
            else:
                sub.add_argument(f"--{name}", default=parameter.default, **options)
        sub.set_defaults(verb=verb)
    return parser
