"""Evaluation of a run: confusion matrices on the target's validation set; where it has none, predictions alone."""


rule evaluate:
    input:
        run="runs/{source}-{target}/{method}/seed{seed}/settings.json",
        measured=measured_stats,
    output:
        confusion="runs/{source}-{target}/{method}/seed{seed}/evaluation/confusion.json",
        metrics="runs/{source}-{target}/{method}/seed{seed}/evaluation/metrics.json",
        predictions=directory("runs/{source}-{target}/{method}/seed{seed}/evaluation/predictions"),
    log:
        "logs/evaluate/{source}-{target}-{method}-seed{seed}.log",
    benchmark:
        "logs/benchmarks/evaluate/{source}-{target}-{method}-seed{seed}.tsv"
    threads: 1
    resources:
        mem_mb=2500,
        runtime=60,
        gpu=GPUS,
    params:
        settings=settings("evaluate"),
        code=code_digest("dacs.evaluation.evaluate:evaluate_run", NETWORKS[PARAMS.model.network], ignore=NOT_DIGESTED),
        torch=TORCH,
    message:
        "Evaluating {wildcards.method} on {wildcards.target} after {wildcards.source}, seed {wildcards.seed}"
    shell:
        "python -m dacs evaluate --settings {params.settings} --run $(dirname {input.run})"
        " --index $(dirname {input.measured}) --out $(dirname {output.metrics}) > {log} 2>&1"
