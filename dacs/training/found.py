"""Whether frames, runs and evaluations that are there are those that params.yaml asks for. Torch-free.

Settings are compared, not code or data: what a job takes depends on little else.
"""

from pathlib import Path

from pydantic import ValidationError

from dacs.errors import RunFailed
from dacs.fields import Section, identity
from dacs.files import read_json
from dacs.jobs import RunRequest, job_digest, job_of, origin
from dacs.layout import RunDir
from dacs.settings import Params
from dacs.verify import RECORD, record_beside

RUNS, READY, MANIFESTS = map(Path, ("runs", "data/ready", "data/manifests"))


def folder_of(request: RunRequest) -> RunDir:
    """The folder of a run."""
    return RunDir.of(RUNS, request.task, request.method, request.seed)


def value_of(path: Path, key: str) -> object:
    """A value of a JSON file; None where there is none."""
    try:
        return read_json(path).get(key)
    except RunFailed:
        return None


def _made_with(record: Path, job: Section) -> bool:
    """Whether a record names the settings that a job is given now."""
    return value_of(record, "settings") == job_digest(job)


def same_raw(params: Params, domain: str) -> bool:
    """Whether the raw frames that are there are those that are asked for."""
    verb = "world" if origin(params, domain) == "world" else "download"
    return _made_with(record_beside(MANIFESTS / f"{domain}.json"), job_of(params, verb, domain=domain))


def same_prepared(params: Params, domain: str) -> bool:
    """Whether the prepared frames that are there are those that are asked for."""
    return same_raw(params, domain) and _made_with(READY / domain / RECORD, job_of(params, "remap", domain=domain))


def same_run(request: RunRequest) -> bool:
    """Whether the run that is there has the settings that are asked for."""
    found = value_of(folder_of(request).spec, "settings")
    if not isinstance(found, dict):
        return False
    try:
        made_with = type(request.settings).model_validate(found, strict=False)
    except ValidationError:  # of an earlier version
        return False
    return identity(made_with) == identity(request.settings)


def same_evaluation(request: RunRequest) -> bool:
    """Whether the evaluation that is there is the one that is asked for, of the run that is asked for."""
    job = job_of(request.params, "evaluate", domain=request.task.split("-")[1])
    return same_run(request) and _made_with(folder_of(request).evaluation.path / RECORD, job)
