"""The pipeline: its configuration, its rules, and what `all` means."""

import os
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

from dacs.config import read_file
from dacs.errors import BadRequest

min_version("9.19")


# Before Snakemake reads them, whose message names no line, and which keeps the last of two equal keys.
try:
    for file in ("params.yaml", *workflow.configfiles):
        read_file(Path(file))
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
include: "workflow/rules/stages.smk"
include: "workflow/rules/stop.smk"
include: "workflow/rules/start.smk"


localrules:
    all,
    campaigns,
    figures,
    report,
    page,
    record,
    data_stage,
    train_stage,
    adapt_stage,
    evaluate_stage,


# A target for each stage of dvc.yaml.
rule data_stage:
    input:
        RECORDED["data"],
        "reports/stages/data.json",


rule train_stage:
    input:
        rules.data_stage.input,
        each(rules.train.output, TRAINED),
        each(rules.train_start.output.start, STARTED_FROM if NEEDS_SOURCE else []),
        "reports/stages/train.json",


rule adapt_stage:
    input:
        rules.train_stage.input,
        each(rules.adapt.output, mixing(METHODS)),
        each(rules.adapt_unmixed.output, mixing(METHODS, mixed=False)),
        each(rules.adabn.output, RECALIBRATED),
        "reports/stages/adapt.json",


rule evaluate_stage:
    input:
        rules.adapt_stage.input,
        each(rules.evaluate.output, METHODS),
        rules.figures.input.appearance,


# Every durable file and not just the last ones: after a job has failed, Snakemake looks only at what is named here, and
# would otherwise take older results that depend on the failed job for valid.
rule all:
    default_target: True
    input:
        rules.evaluate_stage.input,
        rules.figures.output,
        rules.report.output,
    message:
        "Finished: open reports/index.html"


rule campaigns:
    input:
        expand(rules.campaign.output, campaign=PARAMS.campaigns),
    message:
        "Finished: open the tables in reports/campaigns"
