"""Tables, figures and the page."""


rule figures:
    input:
        runs=each(rules.evaluate.input.run, METHODS),
        metrics=each(rules.evaluate.output.metrics, METHODS),
        records=each(rules.evaluate.output.record, METHODS),
        appearance=[f"runs/{task}/appearance.json" for task in PARAMS.runs.tasks],
        data=prepared_files(),
    output:
        metrics="reports/metrics.json",
        tables=report(
            expand("reports/tables/{table}.csv", table=TABLES),
            caption="../report/table.rst",
            category="Tables",
        ),
        figures=report(
            directory("reports/figures"),
            patterns=[f"{{figure}}_{{subject,{SUBJECTS}}}{{part,(_class[0-9]+)?}}.svg"],
            caption="../report/figure.rst",
            category="Figures",
            labels=labels_of_figure,
        ),
    log:
        "logs/figures.log",
    benchmark:
        "logs/benchmarks/figures.tsv"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        settings=settings("figures"),
        code=code_of_job("figures"),
    message:
        "Drawing figures and tables"
    shell:
        "python -m dacs figures --settings {params.settings} --runs runs --ready data/ready"
        " --out reports > {log} 2>&1"


rule report:
    input:
        runs=each(rules.evaluate.input.run, METHODS),
        metrics=rules.figures.output.metrics,
        tables=rules.figures.output.tables,
        template="dacs/reporting/page.html.j2",
        style="dacs/reporting/page.css",
        script="dacs/reporting/page.js",
        lock="requirements.lock",
        published="dacs/reporting/published.csv",
        aims="dacs/reporting/aims.csv",
    output:
        page=report(
            "reports/index.html",
            caption="../report/page.rst",
            category="Page",
        ),
        record="reports/stages/page.record.json",
    log:
        "logs/report.log",
    benchmark:
        "logs/benchmarks/report.tsv"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=settings("report"),
        code=code_of_job("report"),
        option="",
    message:
        "Writing the page"
    shell:
        "python -m dacs report --settings {params.settings} --runs runs --reports reports"
        " --out {output.page} {params.option} > {log} 2>&1"


# To be sent to others: with commit, machine and times, which differ from run to run; not a part of `all`.
use rule report as page with:
    output:
        page="reports/page.html",
    log:
        "logs/page.log",
    benchmark:
        "logs/benchmarks/page.tsv"
    params:
        settings=settings("report"),
        code=code_of_job("report"),
        option="--provenance",
    message:
        "Writing the page with its provenance"
