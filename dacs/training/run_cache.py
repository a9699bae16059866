"""Runs, kept by what they were made with.

A run lives in `.cache/runs/<key>/`, its key a digest of settings, seed, code, data and torch's version: checkpoints
while it goes on, results when it is done. The readable folder `runs/<task>/<method>/seed<n>` is a copy. So a run that
was interrupted goes on, a run that an edit brought back is found, and neither is ever taken for another.
No torch is imported unless something is trained.
"""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dacs.config import Params, labelled_split, load, measured_split, settings_for
from dacs.errors import BadRequest, RunFailed
from dacs.files import atomic, digest, read_json, write_json
from dacs.loading.splits import measured
from dacs.models.published import NONE
from dacs.models.weights import file_of, placed
from dacs.provenance import canonical, code_digest, short_digest

STORE = Path(".cache/runs")
CARD = "settings.json"  # written last: its presence means that the run is whole
WEIGHTS, TEACHER = "weights.safetensors", "teacher.safetensors"
NO_EFFECT = ("checkpoint_every", "workers")  # settings of the loop that change no result


def run(
    out: Path,
    *,
    method: str,
    settings: dict[str, Any],
    seed: int,
    source: Path,
    target: Path,
    init: Path | None = None,
) -> None:
    """Make the run described by the arguments, or find it, and copy its results to `out`.

    `source`: prepared labelled split; `target`: prepared target domain; `init`: folder of the source-only run to
    start from. Raises BadRequest for settings that do not fit together, RunFailed or Interrupted from the training.
    """
    if ("adapt" in settings) == (method in ("source", "oracle")):
        raise BadRequest(
            f"method '{method}' was given settings with {', '.join(settings)}.\n"
            "Give those of 'train' to source and oracle, those of 'adapt' to the others."
        )
    wants_init = settings.get("adapt", {}).get("init") == "source"
    if wants_init != (init is not None):
        raise BadRequest(
            f"adapt.init is '{'source' if wants_init else 'backbone'}', but --init was {'not ' * wants_init}given.\n"
            "Give the folder of the source-only run with --init exactly when adapt.init is 'source'."
        )
    card = describe(method=method, settings=settings, seed=seed, source=source, target=target, init=init)
    folder = STORE / card["key"]
    with _alone(folder):
        if not (folder / CARD).exists():
            from dacs.training.loop import train_run

            trained_on = train_run(folder, card, source=source, target=target, init=init)
            digests = {name: digest(folder / name) for name in (WEIGHTS, TEACHER)}
            write_json(folder / CARD, {**card, "trained_on": trained_on, "sha256": digests})
            (folder / "checkpoint.pt").unlink(missing_ok=True)
        _copy(folder, out)


def describe(
    *, method: str, settings: dict[str, Any], seed: int, source: Path, target: Path, init: Path | None
) -> dict[str, Any]:
    """The card of a run: all that decides its result, and the key made of it."""
    loop = {name: value for name, value in settings["loop"].items() if name not in NO_EFFECT}
    data = {"source": source, "validation": measured(target)}
    if "adapt" in settings:
        data["target"] = target / "train"
    card = {
        "method": method,
        "seed": seed,
        "settings": settings,
        "data": {role: _data_digest(folder) for role, folder in data.items()},
        "init": read_json(init / CARD)["sha256"][WEIGHTS] if init else _backbone(settings["model"]),
        "code": code_digest("dacs.training.loop"),
        "torch": version("torch"),
    }
    # Which weights a backbone starts from is told by their digest, wherever they lie and whatever they are called.
    model = {name: value for name, value in settings["model"].items() if name not in ("weights", "weights_folder")}
    return {"key": short_digest(canonical({**card, "settings": {**settings, "loop": loop, "model": model}})), **card}


def _backbone(model: dict[str, Any]) -> str | None:
    """The digest of the published weights that the backbone starts from; they are brought if they are not there."""
    if model["weights"] == NONE:
        return None
    return digest(file_of(model["weights"], model["network"], Path(model["weights_folder"])))


def plan(path: Path, ready: Path = Path("data/ready")) -> str:
    """The runs that a params.yaml asks for, one line each: its method, seed and key, and how far it is.

    A run whose data or source-only weights are not made yet has no key.
    """
    params = load(path)
    lines = [f"{'task':18} {'method':7} {'seed':>4}  {'key':16}  state"]
    for task, method, seed in (
        (t, m, s) for t in params.runs.tasks for m in params.runs.methods for s in params.runs.seeds
    ):
        key, state = _how_far(params, task, method, seed, ready)
        lines.append(f"{task:18} {method:7} {seed:>4}  {key:16}  {state}")
    return "\n".join(lines)


def _how_far(params: Params, task: str, method: str, seed: int, ready: Path) -> tuple[str, str]:
    """Key and state of one run of the plan."""
    source, target = task.split("-")
    trains = method in ("source", "oracle")
    teaching = target if method == "oracle" else source
    split, folder = ready / teaching / labelled_split(params, teaching), ready / target
    settings = settings_for(params, "train" if trains else "adapt", method=method)
    init = None
    if not trains and settings["adapt"]["init"] == "source":
        key, state = _how_far(params, task, "source", seed, ready)
        if state != "done":
            return "", "waits for its source-only run"
        init = STORE / key
    needed = (split, folder / "train", folder / measured_split(params, target))
    if not all(path.exists() for path in (folder / "contract.json", *(part / "card.json" for part in needed))):
        return "", "waits for its data"
    model = settings["model"]
    brought = placed(model["weights"], model["network"], Path(model["weights_folder"]))
    if init is None and model["weights"] != NONE and brought is None:
        return "", f"waits for the weights '{model['weights']}'"
    card = describe(method=method, settings=settings, seed=seed, source=split, target=folder, init=init)
    kept = STORE / card["key"]
    if (kept / CARD).exists():
        return card["key"], "done"
    return card["key"], "begun; goes on from its checkpoint" if (kept / "checkpoint.pt").exists() else "to do"


def adopt(runs: Path) -> None:
    """Take finished runs that came from elsewhere (`dvc pull`) into the store, so that they are found again."""
    for path in sorted(runs.glob(f"*/*/seed*/{CARD}")):
        card = read_json(path)
        folder = STORE / card["key"]
        if not (folder / CARD).exists() and all(
            (path.parent / name).exists() and digest(path.parent / name) == wanted
            for name, wanted in card["sha256"].items()
        ):
            _copy(path.parent, folder)


def _data_digest(split: Path) -> str:
    return str(read_json(split / "card.json")["sha256"])


def _copy(folder: Path, out: Path) -> None:
    """Copy the results of a run, its card last; other files in `out` (its evaluation) stay."""
    results = sorted(path for path in folder.rglob("*") if path.is_file() and _is_result(path.relative_to(folder)))
    for path in sorted(results, key=lambda path: path.name == CARD):
        with atomic(out / path.relative_to(folder)) as partial:
            shutil.copyfile(path, partial)


def _is_result(path: Path) -> bool:
    return path.parts[0] in (WEIGHTS, TEACHER, CARD, "log.csv", "mixing") and not path.name.startswith(".")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Only one process works on a run; the lock goes with the process, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunFailed(
                f"{folder}: another process is working on this very run.\nWait for it, then run the command again."
            ) from error
        yield
