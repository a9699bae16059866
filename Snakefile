"""The pipeline: its configuration, its rules, and what `all` means."""

from snakemake.utils import min_version

min_version("9.19")


configfile: "params.yaml"


report: "workflow/report/workflow.rst"


# The system that the environment (.venv, from requirements.lock) is tested on.
container: "docker://python:3.11-bookworm"


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
        rules.figures.output,
        rules.report.output,
    message:
        "Finished: open reports/index.html"


rule campaigns:
    input:
        expand(rules.campaign.output, campaign=PARAMS.campaigns),
    message:
        "Finished: open the tables in reports/campaigns"
