"""The river, as a table of contents: what is configured, which rules there are, and what `all` means."""

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


localrules:
    all,
    figures,
    report,


# Every durable file and not just the last ones: after a job has failed half-way up the river, Snakemake looks only
# at what is named here, and would else take the old results below the failure for good.
rule all:
    default_target: True
    input:
        expand(rules.world.output.receipt, domain=DOMAINS),
        ready(),
        each(rules.train.output, TRAINED),
        each(rules.adapt.output, ADAPTED),
        each(rules.evaluate.output, METHODS),
        rules.figures.output,
        rules.report.output,
    message:
        "All there: open reports/index.html"
