"""The verbs. Each reads its arguments, calls one function and turns errors into words and exit codes.

Imports stand inside the verbs, so that a command that needs no torch does not pay for it.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dacs.errors import BadRequest, DacsError
from dacs.files import read_json, write_json, write_text


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; the return value is the exit code (0 done, 1 failed, 2 wrong request, 75 interrupted)."""
    parsed = _parser().parse_args(arguments)
    try:
        parsed.run(parsed)
    except DacsError as error:
        print(f"dacs {parsed.verb}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"dacs {parsed.verb}: stopped.", file=sys.stderr)
        return 130
    return 0


def world(args: argparse.Namespace) -> None:
    """Render the raw frames of one domain of the built-in world."""
    from dacs.demo_world.write import write_world

    settings = _settings(args)
    manifest = write_world(
        args.domain,
        args.out,
        seed=settings["seed"],
        scale=settings["scale"],
        frames=settings["frames"],
        workers=args.workers,
    )
    write_json(args.receipt, manifest)


def download(args: argparse.Namespace) -> None:
    """Bring the raw frames of a domain, from its server or from a folder."""
    from dacs.download.acquire import Wishes, adopt, survey
    from dacs.download.acquire import download as bring

    settings = _settings(args)
    if settings["source"] == "download":
        wishes = Wishes(
            archives=Path(settings["archives"]),
            keep_archives=settings["keep_archives"],
            unpack=settings["unpack"],
            official_split=settings["gta5_frames"] == "official",
            parallel=settings["parallel"],
            mirrors=settings["mirrors"],
            unverified_hosts=settings["unverified_hosts"],
        )
        trusted = args.receipt.with_name("first-use.json")
        manifest = bring(args.domain, args.out, wishes, accepted=settings["accepted"], trusted=trusted)
    elif settings["source"] == "own":
        manifest = survey(args.domain, args.out, settings["own"])
    else:
        manifest = adopt(args.domain, args.out, Path(settings["source"]).expanduser())
    write_json(args.receipt, manifest)


def remap(args: argparse.Namespace) -> None:
    """Turn raw labels into the 19 train ids and resize the frames, once."""
    from dacs.datasets.custom import find_own
    from dacs.datasets.formats import find
    from dacs.prepare.remap import remap

    settings = _settings(args)
    remap(
        find_own(args.domain, settings["own"])
        if "own" in settings
        else find(args.domain, args.raw, part=settings["part"]),
        args.out,
        size=tuple(settings["size"]),
        resample=settings["resample"],
        images=settings["images"],
        workers=args.workers,
    )


def train(args: argparse.Namespace) -> None:
    """Train on labelled frames of one domain."""
    from dacs.training.run_cache import run

    run(args.out, method=args.method, settings=_settings(args), seed=args.seed, source=args.source, target=args.target)


def adapt(args: argparse.Namespace) -> None:
    """Adapt to unlabelled frames of the target."""
    from dacs.training.run_cache import run

    run(
        args.out,
        method=args.method,
        settings=_settings(args),
        seed=args.seed,
        source=args.source,
        target=args.target,
        init=args.init,
    )


def evaluate(args: argparse.Namespace) -> None:
    """Count a run's predictions on labelled frames into confusion matrices."""
    from dacs.evaluation.evaluate import evaluate_run

    evaluate_run(args.run_folder, args.index, args.out, **_settings(args))


def figures(args: argparse.Namespace) -> None:
    """Draw the figures and write the tables and the metrics."""
    from dacs.reporting.figures import make

    settings = _settings(args)
    make(args.runs, args.ready, args.out, **settings["runs"], **settings["figures"])


def report(args: argparse.Namespace) -> None:
    """Write the page."""
    from dacs.reporting.page import write

    settings = _settings(args)
    params = settings["params"]
    write(args.reports, args.runs, args.out, **settings["runs"], scale=params["scale"], params=params)


def predict(args: argparse.Namespace) -> None:
    """Label images of any size with trained weights."""
    from dacs.evaluation.predict import predict_images

    predict_images(
        args.weights,
        args.images,
        args.out,
        network=args.network,
        batch=args.batch,
        tile=round(1e6 * args.tile),
        again=args.again,
    )


def compare(args: argparse.Namespace) -> None:
    """Set two runs, or two reports' metrics, side by side."""
    from dacs.reporting.compare import compare

    print(compare(args.first, args.second))


def plan(args: argparse.Namespace) -> None:
    """List the runs that params.yaml asks for, and how far each one is."""
    from dacs.training.run_cache import plan

    print(plan(args.params))


def schema(args: argparse.Namespace) -> None:
    """Write the JSON schema of params.yaml, which editors complete from."""
    from dacs.config import schema

    write_text(args.out, json.dumps(schema(), indent=2) + "\n")


class Settings(dict[str, Any]):
    """What a verb was told; what it was not told is asked for in words."""

    def __missing__(self, key: str) -> Any:
        raise BadRequest(f"--settings: '{key}' is missing.\nGive all that this verb takes from params.yaml.")


def _settings(args: argparse.Namespace) -> Any:
    """What `--settings` says: JSON text, or the path of a JSON file."""
    text: str = args.settings
    if not text.lstrip().startswith("{"):
        return Settings(read_json(Path(text)))
    try:
        return Settings(json.loads(text))
    except ValueError as error:
        raise BadRequest(f"--settings: not JSON ({error}).\nGive JSON text or the path of a JSON file.") from error


_PATH = {"type": Path, "required": True}
_COUNT = {"type": int, "default": 1}
_SETTINGS = ("--settings", {"required": True, "help": "JSON text, or the path of a JSON file"})
_DOMAIN = ("--domain", {"required": True, "choices": ("gta5", "synthia", "cityscapes")})
_ANY_DOMAIN = ("--domain", {"required": True, "help": "gta5, synthia, cityscapes, or one of your own"})
_WORKERS = ("--workers", {**_COUNT, "help": "processes side by side; no effect on the result"})
_OUT = ("--out", {**_PATH, "help": "where the result goes"})
_RUNS = ("--runs", {"type": Path, "default": Path("runs"), "help": "the folder of runs"})
_TRAINING = (
    _SETTINGS,
    ("--seed", {"type": int, "required": True, "help": "everything random follows from it"}),
    ("--source", {**_PATH, "help": "prepared labelled split, such as data/ready/gta5/train"}),
    ("--target", {**_PATH, "help": "prepared target domain, such as data/ready/cityscapes"}),
    _OUT,
)

VERBS: dict[Any, tuple[tuple[str, dict[str, Any]], ...]] = {
    world: (_SETTINGS, _DOMAIN, _OUT, ("--receipt", {**_PATH, "help": "a copy of the manifest"}), _WORKERS),
    download: (_SETTINGS, _ANY_DOMAIN, _OUT, ("--receipt", {**_PATH, "help": "a copy of the manifest"})),
    remap: (
        _SETTINGS,
        _ANY_DOMAIN,
        ("--raw", {"type": Path, "help": "raw frames; your own domain's table tells where they are"}),
        _OUT,
        _WORKERS,
    ),
    train: (*_TRAINING, ("--method", {"default": "source", "choices": ("source", "oracle")})),
    adapt: (
        *_TRAINING,
        ("--method", {"required": True, "choices": ("pseudo", "naive", "cutmix", "cowmix", "dacs")}),
        ("--init", {"type": Path, "help": "run folder to start from, when settings say `init: source`"}),
    ),
    evaluate: (
        _SETTINGS,
        ("--run", {**_PATH, "dest": "run_folder", "help": "run folder with the weights"}),
        ("--index", {**_PATH, "help": "prepared labelled split, such as data/ready/cityscapes/val"}),
        _OUT,
    ),
    figures: (_SETTINGS, _RUNS, ("--ready", {**_PATH, "help": "prepared data"}), _OUT),
    report: (_SETTINGS, _RUNS, ("--reports", {**_PATH, "help": "what `figures` wrote"}), _OUT),
    predict: (
        ("--weights", {**_PATH, "help": "run folder, or weights.safetensors in one"}),
        ("--network", {"choices": ("student", "teacher"), "help": "of a run folder; left out: the student"}),
        ("--batch", {**_COUNT, "default": 4, "help": "images of one size at a time"}),
        ("--tile", {"type": float, "default": 4, "help": "megapixels at a time; larger images go in tiles"}),
        ("--again", {"action": "store_true", "help": "label anew what is there, or write over results of others"}),
        _OUT,
        ("images", {"type": Path, "nargs": "+", "help": "images, or folders of images"}),
    ),
    compare: (
        ("first", {"type": Path, "help": "run folder, or a metrics.json"}),
        ("second", {"type": Path, "help": "run folder, or a metrics.json"}),
    ),
    plan: (("--params", {"type": Path, "default": Path("params.yaml"), "help": "which params.yaml"}),),
    schema: (_OUT,),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dacs",
        description="Unsupervised domain adaptation for semantic segmentation, one verb a step.",
        epilog="Exit codes: 0 done, 1 the run failed, 2 the request is wrong, 75 interrupted with a checkpoint.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for run, arguments in VERBS.items():
        sub = verbs.add_parser(run.__name__, help=run.__doc__, description=run.__doc__)
        for name, options in arguments:
            sub.add_argument(name, **options)
        sub.set_defaults(run=run)
    return parser
