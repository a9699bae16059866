"""What the rules share: the checked parameters, what is to be run, and the form in which a job depends on them."""

import os
import sys
from importlib.metadata import version
from pathlib import Path

from snakemake.exceptions import WorkflowError

from dacs.config import domains_of, labelled_split, load, measured_split, origin, settings_for, splits_of
from dacs.errors import BadRequest
from dacs.provenance import canonical, code_digest
from dacs.training.run_cache import adopt

# Jobs use the Python that runs Snakemake, whether or not its environment is activated.
os.environ.update(PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))

try:
    PARAMS = load(config)
except BadRequest as error:
    raise WorkflowError(str(error)) from None

DOMAINS = domains_of(PARAMS)
TASKS = [task.split("-") for task in PARAMS.runs.tasks]
KNOWN = ["gta5", "synthia", "cityscapes", *PARAMS.domains]
RENDERED = [domain for domain in KNOWN if origin(PARAMS, domain) == "world"]
BROUGHT = [domain for domain in KNOWN if domain not in RENDERED]
METHODS = PARAMS.runs.methods
SEEDS = PARAMS.runs.seeds


def starts_from_source(method):
    """Whether a method adapts the weights of the source-only run."""
    return settings_for(PARAMS, "adapt", method=method)["adapt"]["init"] == "source"


SUPERVISED = ["source", "oracle"]
ADAPTED = [method for method in METHODS if method not in SUPERVISED]
TRAINED = [
    method
    for method in SUPERVISED
    if method in METHODS or (method == "source" and any(map(starts_from_source, ADAPTED)))
]

TABLES = ["iou", "scores", "summary", "curves", "conflation", "similarity", "data", "contract"]

# What one training asks of a machine, by scale: memory in MB, time in minutes, GPUs.
TRAINING = {
    "smoke": {"mem_mb": 2000, "runtime": 20, "gpu": 0},
    "demo": {"mem_mb": 2500, "runtime": 120, "gpu": 0},
    "paper": {"mem_mb": 24000, "runtime": 10080, "gpu": 1},
}[PARAMS.scale]

# A step of training is a few wide operations: two runs of one thread each are faster than one run of two.
TRAINING_THREADS = max(PARAMS.loop.threads, 1) + PARAMS.loop.workers

# Another torch rounds otherwise.
TORCH = version("torch")

# One training a GPU, also without a profile: `--resources gpu=N` or a profile says how many GPUs there are.
workflow.global_resources.setdefault("gpu", 1)


def one_of(domains):
    """A pattern that matches these names and, where there are none, nothing."""
    return "|".join(domains) or "(?!)"


wildcard_constraints:
    domain=one_of(KNOWN),
    source=one_of(KNOWN),
    target=one_of(["cityscapes", *PARAMS.domains]),
    method="source|oracle|pseudo|naive|cutmix|cowmix|dacs",
    seed=r"\d+",


def each(paths, methods):
    """The paths of all runs of these methods."""
    return [
        path
        for source, target in TASKS
        for path in expand(paths, source=source, target=target, method=methods, seed=SEEDS)
    ]


def card(domain, split):
    """The card of a prepared split."""
    return f"data/ready/{domain}/{split}/card.json"


def prepared(domain, *splits):
    """What `remap` leaves of a domain that is prepared as these splits."""
    files = [f"{split}/{name}" for split in splits for name in ("index.csv", "card.json")]
    return [f"data/ready/{domain}/{name}" for name in ["contract.json", *files]]


def prepared_as(*splits):
    """A pattern of the domains that are prepared as exactly these splits."""
    return one_of([domain for domain in KNOWN if splits_of(PARAMS, domain) == [*splits]])


def ready():
    """All that is prepared of the domains that the tasks name."""
    return [path for domain in DOMAINS for path in prepared(domain, *splits_of(PARAMS, domain))]


def settings(verb):
    """What a job of `verb` depends on, as sorted JSON: Snakemake compares the text with that of the last run."""

    def of_job(wildcards):
        names = {"domain": "domain", "target": "domain", "method": "method"}
        known = {names[name]: value for name, value in wildcards.items() if name in names}
        return canonical(settings_for(PARAMS, verb, **known))

    return of_job


def files_of_own(wildcards):
    """A digest of the files that one's own domain has now, so that a change of them is noticed; none for others."""
    if wildcards.domain not in PARAMS.domains:
        return ""
    from dacs.download.acquire import files_now

    return files_now(wildcards.domain, settings_for(PARAMS, "download", domain=wildcards.domain)["own"])


def lessons(wildcards):
    """The card of the labelled frames that a run learns from."""
    domain = wildcards.target if wildcards.method == "oracle" else wildcards.source
    return card(domain, labelled_split(PARAMS, domain))


def measured(wildcards):
    """The card of the target's frames that a run is measured on."""
    return card(wildcards.target, measured_split(PARAMS, wildcards.target))


def start(wildcards):
    """The settings file of the run whose weights an adaptation starts from, if it starts from any."""
    card = "runs/{source}-{target}/source/seed{seed}/settings.json".format(**wildcards)
    return card if starts_from_source(wildcards.method) else []


def start_option(wildcards, input):
    """The same as an option of the command."""
    return f"--init {Path(input.init).parent}" if input.init else ""


def forget_foreign_frames(domain):
    """Drop the marker of raw frames that are not those its receipt tells of.

    Raw frames are in neither Git nor DVC, so after a change of branch the receipt can be of one version and the
    frames of another. Without their marker they are made again, but not before a job needs them.
    """
    marker, receipt = Path(f"data/raw/{domain}/manifest.json"), Path(f"data/receipts/{domain}.json")
    if marker.exists() and receipt.exists() and marker.read_bytes() != receipt.read_bytes():
        marker.unlink()


for domain in DOMAINS:
    forget_foreign_frames(domain)


# Runs that came with `dvc pull` join those made here, before an edit replaces them: an undone edit finds them again.
onstart:
    adopt(Path("runs"))
