"""Campaigns: variants of methods, each a run like any other, and one table of them. No part of `all`."""


rule campaign:
    input:
        runs=lambda wildcards: [str(run.spec) for run in campaign_runs(wildcards)],
        records=lambda wildcards: [str(run.evaluation.path / RECORD) for run in campaign_runs(wildcards)],
    output:
        table="reports/campaigns/{campaign}.csv",
        page="reports/campaigns/{campaign}.md",
        record="reports/campaigns/{campaign}.record.json",
    log:
        "logs/campaign/{campaign}.log",
    benchmark:
        "logs/benchmarks/campaign/{campaign}.tsv"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        settings=lambda wildcards: job_file(campaign_job(PARAMS, wildcards.campaign)),
        code=code_of_job("campaign"),
    message:
        "Writing the table of the campaign {wildcards.campaign}"
    shell:
        "python -m dacs campaign --settings {params.settings} --runs runs --out {output.table} > {log} 2>&1"
