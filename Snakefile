"""The pipeline: its configuration, its rules, and what `all` means."""

import os
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

from dacs.config import read_file
from dacs.errors import BadRequest

min_version("9.19")


# Before Snakemake reads it, whose message names no line.
try:
    read_file(Path("params.yaml"))
except BadRequest as error:
    raise WorkflowError(str(error)) from None


configfile: "params.yaml"


report: "workflow/report/workflow.rst"


# With `--software-deployment-method apptainer` jobs run in an image of the Containerfile; see docs/cluster.md.
container: os.environ.get("DACS_IMAGE", "docker://python:3.11-bookworm")


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/campaign.smk"


localrules:
    all,
    campaigns,
    figures,
    report,
    page,


# Every durable file and not just the last ones: after a job has failed, Snakemake looks only at what is named here, and
# would otherwise take older results that depend on the failed job for valid.
rule all:
    default_target: True
    input:
        expand(rules.world.output.manifest, domain=DOMAINS),
        prepared_files(),
        each(rules.train.output, TRAINED),
        each(rules.train_start.output.start, STARTED_FROM if NEEDS_SOURCE else []),
        each(rules.adapt.output, ADAPTED),
        each(rules.adabn.output, RECALIBRATED),
        each(rules.evaluate.output, METHODS),
        rules.figures.input.appearance,
        rules.figures.output,
        rules.report.output,
    message:
        "Finished: open reports/index.html"


rule campaigns:
    input:
        expand(rules.campaign.output, campaign=PARAMS.campaigns),
    message:
        "Finished: open the tables in reports/campaigns"
