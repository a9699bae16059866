"""Finished and interrupted runs, kept by what they were made with.

A run lives in `.cache/runs/<key>/`, its key a digest of settings, seed, code, data and torch's version; the readable
folder `runs/<task>/<method>/seed<n>` is a copy. So an interrupted run is resumed, a run that an undone edit asks for
again is found, and none is taken for another. No torch is imported unless something is trained.
"""

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from dacs.datasets.decode import listing
from dacs.errors import BadRequest, Interrupted, MemoryFull, ProcessLost, RunFailed
from dacs.evaluation.scale import describe_scale
from dacs.evaluation.spec import labels_of
from dacs.fields import identity
from dacs.files import atomic, digest, read_json, write_json
from dacs.layout import RunDir
from dacs.loading.classes import check_classes, classes_without_pixels
from dacs.locks import working_alone
from dacs.machine import processor
from dacs.methods import FEATURE_LOSS, Method
from dacs.models.published import NONE
from dacs.models.weights import weights_file, weights_on_disk
from dacs.networks import NETWORKS
from dacs.provenance import canonical, code_digest, short_digest
from dacs.settings import Model, RunSettings
from dacs.training.run import Run, check_compiler, check_processes, processes_here
from dacs.verify import ASIDE, damages_of, damages_of_split, set_aside

# Experiments that DVC runs in folders of their own share the cache of their project, which it names.
STORE = Path(os.environ.get("DVC_ROOT", "")) / ".cache/runs"
# Code that no result depends on, or whose values are in the key as data.
NOT_DIGESTED = "dacs.errors", "dacs.fields", "dacs.methods", "dacs.networks", "dacs.settings", "dacs.training.progress"


def make_run(out: RunDir, run: Run) -> None:
    """Make `run`, or find it in the cache, and copy its results to `out`.

    Raises BadRequest for settings that do not fit together, RunFailed for frames that are prepared for other classes,
    RunFailed or Interrupted from the training. Of several processes the first does all that is not training.
    """
    check(run)
    if processes_here() == 1:
        _make(out, run, lambda key: None)
        return
    announce = resolve_name("dacs.training.distributed:announce")
    is_first = True
    try:
        with resolve_name("dacs.training.distributed:together")(run.settings) as group:
            is_first = group.is_first
            try:
                _make(out, run, announce) if is_first else _help(run, announce)
            except Interrupted:
                group.any(False)  # none ends before the first has saved its checkpoint
                raise
    except Interrupted as error:
        if is_first:
            raise
        raise SystemExit(error.exit_code) from None


def _help(run: Run, announce: Callable[[str | None], str | None]) -> None:
    """Train with the first process, if it does, and leave it to that one to say why the training stopped."""
    try:
        key = announce(None)
        if key is not None and run.row.terms:
            resolve_name(run.row.procedure)(RunDir(STORE / key), run, key)
    except ProcessLost as error:
        raise SystemExit(error.exit_code) from None


def _make(out: RunDir, run: Run, announce: Callable[[str | None], object]) -> None:
    """Make a run, or find it; `announce` its key once to the other processes, None where nothing is trained."""
    spec = spec_of(run)
    folder = RunDir(STORE / (key := spec["key"]))
    with working_alone(folder.path, "another process is working on this run", wait=True):
        _set_damaged_aside(folder)
        if folder.spec.exists():
            announce(None)
        else:
            _check_data(run)
            check_compiler(run)
            announce(key)
            with _loader_errors(), _memory_errors(run):
                trained_on = resolve_name(run.row.procedure)(folder, run, key)
            if trained_on.startswith("CPU"):  # processors of other makers round differently with the same instructions
                trained_on += f", {processor()}"
            digests = {name: digest(folder.path / name) for name in results_of(folder)}
            write_json(folder.spec, {**spec, "trained_on": trained_on, "sha256": digests})
            folder.checkpoint.unlink(missing_ok=True)
        copy_results(folder, out)


def _check_data(run: Run) -> None:
    """Raise RunFailed where labels were prepared for other classes; print those that training does not see."""
    labels = run.settings.label_set
    check_classes(run.source, labels)
    read = [run.source, run.target] if run.row.adapts or run.row.recalibrates else [run.source]
    for split in read:
        if damaged := next(damages_of_split(split), None):
            raise RunFailed(
                f"{damaged}.\nRun 'dacs verify --remake', then the same command: the frames are prepared again."
            )
    if run.row.terms and (unseen := classes_without_pixels(run.source, labels)):
        shown = f"No frame of {run.source.path} shows {', '.join(unseen)}: the network cannot learn them."
        print(shown, file=sys.stderr, flush=True)


def _set_damaged_aside(folder: RunDir) -> None:
    """Move what is damaged of a finished run in the cache away, so that it is made again."""
    found = list(damages_of(folder.spec)) if folder.spec.exists() else []
    if found:
        listed = listing(f"{folder.path}: damaged, and made again; what is damaged is kept in {ASIDE}", map(str, found))
        print(listed, file=sys.stderr, flush=True)
        set_aside(found)


@contextmanager
def _loader_errors() -> Iterator[None]:
    """Raise RunFailed where a process that loads frames was ended from outside; torch then raises in any line."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        if not reason.startswith("DataLoader worker (pid"):
            raise
        raise RunFailed(
            f"A process that loads frames was ended, often for want of memory: {reason.strip()}\n"
            "Lower loop.workers in params.yaml (0: none), or give the job more memory (a container: docker run"
            " --shm-size=1g), then run the same command again: it resumes."
        ) from error


@contextmanager
def _memory_errors(run: Run) -> Iterator[None]:
    """Add to the error of a GPU whose memory is full what would fit."""
    try:
        yield
    except MemoryFull as error:
        raise RunFailed(f"{error}\n{resolve_name('dacs.training.fit:what_fits')(run)}") from error


def check(run: Run) -> None:
    """Raise BadRequest where settings or initial weights do not fit the method."""
    settings, row = run.settings, run.row
    section = "adapt" if row.adapts else "adabn" if row.recalibrates else "train"
    given = [name for name in ("train", "adapt", "adabn") if getattr(settings, name) is not None]
    if given != [section]:
        raise BadRequest(
            f"method '{run.method}' needs the settings of '{section}', and was given those of {', '.join(given)}."
        )
    check_processes(settings, processes_here())
    wants_init = row.recalibrates or (settings.adapt is not None and settings.adapt.init == "source")
    if wants_init != (run.init is not None):
        raise BadRequest(
            f"method '{run.method}' starts from {'the source-only run' if wants_init else 'the backbone'}, but --init"
            f" was {'not ' * wants_init}given.\n"
            "Give the folder of the source-only run with --init for AdaBN, and when adapt.init is 'source'."
        )
    if run.init is not None and labels_of(run.init).names != settings.label_set.names:
        raise BadRequest(
            f"{run.init.path}: its classes are not those of the settings, so no run can start from its weights.\n"
            "Give the source-only run that was trained with these labels."
        )
    if run.init is not None and (damaged := next(damages_of(run.init.spec), None)):
        raise RunFailed(
            f"{damaged}, so no run can start from {run.init.path}.\n"
            "Run 'dacs verify --remake', then make the source-only run again."
        )


def _digest_of_init(run: Run) -> Any:
    """What the initial weights are known by. Raises BadRequest where a source-only run has none to start from."""
    model = run.settings.model
    if run.init is None:
        return None if model.weights == NONE else digest(weights_file(model))
    made = read_json(run.init.spec)["sha256"]
    if run.row.recalibrates:
        return {path.name: made.get(path.name) for path in (run.init.weights, run.init.teacher)}
    if run.init.start.name not in made:
        raise BadRequest(
            f"{run.init.path}: it kept no weights of an earlier step to start from.\n"
            "Make this source-only run again with adapt.init: source."
        )
    return made[run.init.start.name]


def spec_of(run: Run) -> dict[str, Any]:
    """Everything that decides the result of a run, and the key made of it."""
    model = run.settings.model
    reference = digest(weights_file(model)) if _compares_with_backbone(run.row, run.settings) else None
    return _spec_with(run, _digest_of_init(run), reference)


def made_as(folder: RunDir, run: Run) -> bool:
    """Whether a finished run has the key of `run`. Weights that are not on this disk are compared by name alone."""
    recorded = read_json(folder.spec)
    if weights := missing_weights(run):
        wanted = _spec_with(run, recorded["init"], recorded["reference"])
        return bool(recorded["key"] == wanted["key"] and recorded["settings"]["model"]["weights"] == weights)
    return bool(recorded["key"] == spec_of(run)["key"])


def missing_weights(run: Run) -> str:
    """The name of the pretrained weights that a run needs and that are not on this disk; empty where it has all."""
    model = run.settings.model
    needed = run.init is None or _compares_with_backbone(run.row, run.settings)
    return model.weights if needed and model.weights != NONE and weights_on_disk(model) is None else ""


def _spec_with(run: Run, init: Any, reference: str | None) -> dict[str, Any]:
    """The same with these digests of initial weights and of those that features are compared with."""
    data = {"source": run.source} | ({"target": run.target} if run.row.adapts or run.row.recalibrates else {})
    model = run.settings.model
    spec = {
        "method": run.method,
        "seed": run.seed,
        "data": {role: read_json(split.stats)["sha256"] for role, split in data.items()},
        "init": init,
        "reference": reference,
        "code": code_of(run.row, model),
        "torch": version("torch"),
        "frames": describe_scale(run.target),  # for predictions
    }
    # The initial weights are known by their digest, whatever their file is called.
    settings = identity(run.settings.model_copy(update={"model": model.model_copy(update={"weights": NONE})}))
    parts = {"terms": run.row.terms, "foreground": run.row.foreground, "mask": run.row.mask, "order": run.row.order}
    key = short_digest(canonical({**spec, "settings": settings, "parts": parts}))
    return {"key": key, **spec, "settings": run.settings.model_dump(mode="json", exclude_none=True)}


def _compares_with_backbone(row: Method, settings: RunSettings) -> bool:
    """Whether the features of a run are kept close to those of the pretrained backbone."""
    return FEATURE_LOSS in row.terms and settings.adapt is not None and settings.adapt.feature_distance > 0


def code_of(row: Method, model: Model) -> str:
    """A digest of the code that a run of this method and network reaches."""
    mask = [row.mask] if row.adapts else []
    roots = [row.procedure, NETWORKS[model.network], *row.terms, *mask, row.order]
    return code_digest(*roots, ignore=NOT_DIGESTED)


def adopt(runs: Path) -> None:
    """Take finished runs that came from elsewhere (`dvc pull`) into the cache, so that they are found again."""
    for path in sorted(runs.glob("*/*/seed*")):
        _adopt(RunDir(path))


def _adopt(run: RunDir) -> bool:
    """Whether a run is in the cache, into which it is taken if it is finished and sound."""
    if not run.spec.exists() or any(damages_of(run.spec)):
        return False
    folder = RunDir(STORE / read_json(run.spec)["key"])
    if not folder.spec.exists():
        copy_results(run, folder)
    return not any(damages_of(folder.spec))


def drop(runs: Path, asked_for: Set[Path]) -> list[Path]:
    """Remove the folders of runs that are not asked for, which the cache keeps; what it cannot take is set aside."""
    dropped = [path for path in sorted(runs.glob("*/*/seed*")) if path not in asked_for]
    for path in dropped:
        if _adopt(RunDir(path)):
            shutil.rmtree(path)
        else:
            shutil.rmtree(ASIDE / path, ignore_errors=True)
            (ASIDE / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, ASIDE / path)
        for folder in (path.parent, path.parent.parent):
            if not any(folder.iterdir()):
                folder.rmdir()
    return dropped


def results_of(folder: RunDir) -> list[str]:
    """The files of weights, the log and the pictures that a run has, relative to its folder."""
    pictures = (path for path in folder.mixing.rglob("*.png") if not path.name.startswith("."))
    files = folder.start, folder.weights, folder.teacher, *folder.snapshots.glob("step*"), folder.log, *pictures
    return sorted(path.relative_to(folder.path).as_posix() for path in files if path.exists())


def copy_results(folder: RunDir, out: RunDir) -> None:
    """Copy the results of a run, the marker last; other files in `out` (its evaluation) stay."""
    names = results_of(folder)
    for name in {*results_of(out)} - {*names}:
        (out.path / name).unlink()  # of an earlier run with other settings
    for name in (*names, folder.spec.name):
        with atomic(out.path / name) as partial:
            shutil.copyfile(folder.path / name, partial)
