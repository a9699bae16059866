"""The arguments of the command line, by the names of the parameters of its verbs."""

import argparse
import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from dacs.methods import METHODS, adapting, recalibrating, supervised


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
    "shard": {"metavar": "I/N", "help": "every N-th frame from the I-th on; after all of them, run it without --shard"},
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


def parser_of(verbs: Iterable[Callable[..., None]]) -> argparse.ArgumentParser:
    """The parser of the command whose verbs are these functions."""
    parser = argparse.ArgumentParser(
        prog="dacs",
        description="Unsupervised domain adaptation for semantic segmentation, one verb a step.",
        epilog="Exit codes: 0 done, 1 the run failed, 2 the request is wrong, 75 interrupted with a checkpoint.",
    )
    choices = supervised(METHODS), [*recalibrating(METHODS), *adapting(METHODS)]
    subparsers = parser.add_subparsers(required=True, metavar="VERB")
    for verb in verbs:
        sub = subparsers.add_parser(verb.__name__, help=verb.__doc__, description=verb.__doc__)
        for name, parameter in inspect.signature(verb).parameters.items():
            options = ARGUMENTS[name] | ({"choices": choices[verb.__name__ == "adapt"]} if name == "method" else {})
            if name in POSITIONAL:
                sub.add_argument(name, **options)
            elif parameter.default is parameter.empty:
                sub.add_argument(f"--{name}", required=True, **options)
            else:
                sub.add_argument(f"--{name}", default=parameter.default, **options)
        sub.set_defaults(verb=verb)
    return parser
