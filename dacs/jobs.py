"""What each job is given of params.yaml, and which runs it asks for.

A job depends on its own settings and on nothing else, so an edit redoes the jobs that it concerns and no other.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from dacs.datasets.base import DataSet
from dacs.datasets.registry import dataset
from dacs.errors import BadRequest, nearest
from dacs.fields import Section, identity
from dacs.files import write_text
from dacs.labels import CITYSCAPES
from dacs.layout import PreparedDomain, PreparedSplit
from dacs.methods import START, base_of, possible
from dacs.methods import method as method_row
from dacs.provenance import canonical, short_digest
from dacs.settings import (
    Adapt,
    AppearanceJob,
    CampaignJob,
    DownloadJob,
    EvaluateJob,
    FiguresJob,
    Labels,
    Params,
    RemapJob,
    ReportJob,
    RunSettings,
    TrainJob,
    WorldJob,
)

WORLD = {  # domain → split → its key in world.frames
    "gta5": {"train": "gta5"},
    "synthia": {"train": "synthia"},
    "cityscapes": {"train": "cityscapes_train", "val": "cityscapes_val"},
}
JOB_FILES = Path(".cache/settings")


def job_of(params: Params, verb: str, *, domain: str = "", method: str = "") -> Section:
    """The settings that one job of `verb` depends on, and nothing else."""
    return JOBS[verb](params, domain, method)


def job_file(job: Section) -> str:
    """Write the settings of a job to a file named by a digest of those that have an effect; return its path.

    Snakemake compares the path with that of the last run, so a setting without effect redoes nothing.
    """
    path = JOB_FILES / f"{job_digest(job)}.json"
    text = canonical(job.model_dump(mode="json", exclude_none=True)) + "\n"
    if not path.exists() or path.read_text() != text:
        write_text(path, text)
    return str(path)


def job_digest(job: Section) -> str:
    """A digest of the settings of a job that have an effect."""
    return short_digest(type(job).__name__, canonical(identity(job)))


def _world_job(params: Params, domain: str, method: str) -> WorldJob:
    frames = params.world.frames.model_dump()
    counts = {split: frames[key] for split, key in WORLD[domain].items()}
    return WorldJob(domain=domain, seed=params.world.seed, scale=params.world.scale, frames=counts)


def _download_job(params: Params, domain: str, method: str) -> DownloadJob:
    options = params.data.model_dump(exclude={"sources", "accept_terms"})
    options |= {"custom": params.domains.get(domain), "accepted": domain in params.data.accept_terms}
    return DownloadJob(domain=domain, source=origin(params, domain), **options)


def _remap_job(params: Params, domain: str, method: str) -> RemapJob:
    custom = params.domains.get(domain)
    part = params.data.gta5_frames if params.data.gta5_frames in dataset_of(params, domain).parts else "all"
    size = custom.size if custom else params.remap.sizes[domain]
    resample, images = params.remap.resample_of(domain), params.remap.images
    return RemapJob(
        domain=domain, size=size, resample=resample, images=images, custom=custom, part=part, labels=own_labels(params)
    )


def run_settings(params: Params, domain: str, method: str) -> RunSettings:
    """The settings of one run of a method."""
    row, labels = method_row(method), own_labels(params)
    if row.recalibrates:
        return RunSettings(model=params.model, loop=params.loop, labels=labels, adabn=params.adabn)
    if not row.adapts:
        is_start = method == START and params.adapt.init == "source"
        start = params.train.steps - params.adapt.steps if is_start else None
        train = TrainJob(**params.train.model_dump(), start=start)
        return RunSettings(model=params.model, loop=params.loop, labels=labels, train=train)
    adapt = Adapt.model_validate({**params.adapt.model_dump(), **overrides(params, method)}, strict=False)
    return RunSettings(model=params.model, loop=params.loop, labels=labels, adapt=adapt)


def overrides(params: Params, method: str) -> dict[str, Any]:
    """What a method, or a variant of one, overrides of `adapt`: by its row, then by params.yaml."""
    changed = (each.changes[method] for each in params.campaigns.values() if method in each.changes)
    return {**dict(method_row(method).settings), **params.methods.get(base_of(method), {}), **next(changed, {})}


def _evaluate_job(params: Params, domain: str, method: str) -> EvaluateJob:
    row, evaluate, labels = dataset_of(params, domain), params.evaluate.model_dump(), params.labels.label_set
    absent, merged = list(row.lacks(labels)), row.merged(labels) or None
    return EvaluateJob(
        **evaluate,
        frames=params.figures.frames,
        adabn_frames=params.adabn.frames,
        absent=absent,
        merged=merged,
        device=params.loop.device,
    )


JOBS: dict[str, Callable[[Params, str, str], Section]] = {
    "world": _world_job,
    "download": _download_job,
    "remap": _remap_job,
    "train": run_settings,
    "adapt": run_settings,
    "evaluate": _evaluate_job,
    "appearance": lambda params, domain, method: AppearanceJob(
        model=params.model, frames=params.adabn.frames, batch=params.evaluate.batch, device=params.loop.device
    ),
    "figures": lambda params, domain, method: FiguresJob(
        runs=params.runs, unlabelled=unlabelled_tasks(params), figures=params.figures, labels=own_labels(params)
    ),
    "report": lambda params, domain, method: ReportJob(
        runs=params.runs,
        unlabelled=unlabelled_tasks(params),
        labels=own_labels(params),
        report=params.report,
        scale=params.scale,
    ),
}


# --------------------------------------------------------------------------------------------------------------------
# Which runs and domains there are


class RunRequest(NamedTuple):
    """One run that params.yaml asks for."""

    params: Params
    task: str
    method: str
    seed: int

    @property
    def settings(self) -> RunSettings:
        """Its settings."""
        return run_settings(self.params, "", self.method)

    @property
    def init(self) -> "RunRequest | None":
        """The source-only run whose weights it starts from, if it starts from any."""
        return self._replace(method=START) if starts_from_source(self.params, self.method) else None

    def prepared(self, ready: Path) -> tuple[PreparedSplit, PreparedSplit]:
        """The labelled split that it learns from, and the training images of its target."""
        source, target = self.task.split("-")
        domain = labelled_domain(source, target, self.method)
        split = dataset_of(self.params, domain).labelled_split
        return PreparedDomain(ready / domain).split(split), PreparedDomain(ready / target).train


def requests(params: Params) -> Iterator[RunRequest]:
    """Every run that params.yaml asks for."""
    for task in params.runs.tasks:
        for method in possible(params.runs.methods, unlabelled=task in unlabelled_tasks(params)):
            yield from (RunRequest(params, task, method, seed) for seed in params.runs.seeds)


def with_starts(params: Params) -> list[RunRequest]:
    """Every run that params.yaml asks for, after those that they start from."""
    asked = list(requests(params))
    starts = [each.init for each in asked if each.init]
    return list({(each.task, each.method, each.seed): each for each in (*starts, *asked)}.values())


def of_campaign(params: Params, name: str) -> Params:
    """The parameters with the runs of a campaign in place of those of `runs`. Raises BadRequest for an unknown name."""
    if name not in params.campaigns:
        raise BadRequest(f"'{name}' is not a campaign of params.yaml; {nearest(name, params.campaigns)}")
    return params.model_copy(update={"runs": params.campaigns[name].runs})


def campaign_job(params: Params, name: str) -> CampaignJob:
    """The settings of the job that writes the table of a campaign."""
    campaign, listed = params.campaigns[name], requests(of_campaign(params, name))
    runs = [(each.task, each.method, each.seed) for each in listed]
    return CampaignJob(base=campaign.base, runs=runs, changes=campaign.changes, labels=own_labels(params))


def own_labels(params: Params) -> Labels | None:
    """The label set that a job is given; None for that of Cityscapes."""
    return None if params.labels.label_set is CITYSCAPES else params.labels


def unlabelled_tasks(params: Params) -> list[str]:
    """The tasks whose target gives no labels to train on, so that they have no oracle."""
    without = [name for name, custom in params.domains.items() if not custom.train.labels]
    return [task for task in params.runs.tasks if task.split("-")[1] in without]


def notes(params: Params) -> Iterator[str]:
    """What a person should know of classes that data sets cannot have, before anything runs."""
    labels = params.labels.label_set
    for task in params.runs.tasks:
        source, target = task.split("-")
        lacking = {name: dataset_of(params, name).lacks(labels) for name in (source, target)}
        if lacking[target]:
            number = len(labels.names)
            left = f"means are over {number - len(lacking[target])} of {number} classes"
            merged = dataset_of(params, target).merged(labels)
            if absent := [name for name in lacking[target] if name not in merged]:
                yield f"{task}: {target} has no {', '.join(absent)}; {left}."
            for name, other in merged.items():
                both = f"the labels of {target} do not distinguish {name} from {other}: both count as {other}"
                yield f"{task}: {both}; {left}."
        if untaught := [name for name in lacking[source] if name not in lacking[target]]:
            yield f"{task}: {source} has no {', '.join(untaught)}, which no method can learn from it."


def starts_from_source(params: Params, method: str) -> bool:
    """Whether a method starts from weights of the source-only run."""
    row = method_row(method)
    return row.recalibrates or (row.adapts and params.adapt.init == "source")


def labelled_domain(source: str, target: str, method: str) -> str:
    """The domain whose labels a method is given."""
    return target if method_row(method).labels == "target" else source


def origin(params: Params, domain: str) -> str:
    """Where the raw frames of a domain come from: world, download, custom, or a folder."""
    return "custom" if domain in params.domains else params.data.sources[domain]


def domains_of(params: Params) -> list[str]:
    """Every domain that the tasks name, in order of their names."""
    return sorted({domain for task in params.runs.tasks for domain in task.split("-")})


def dataset_of(params: Params, domain: str) -> DataSet:
    """The row of a published data set, or the description of a custom domain."""
    return dataset(domain, params.domains.get(domain))
