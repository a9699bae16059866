"""Evaluation of a run: counts and scores on the target's validation set; where it has no labels, predictions alone.

And how much the images of source and target differ.
"""


rule evaluate:
    input:
        run="runs/{source}-{target}/{method}/seed{seed}/settings.json",
        measured=measured_stats,
        train="data/ready/{target}/train/stats.json",
    output:
        confusion="runs/{source}-{target}/{method}/seed{seed}/evaluation/confusion.json",
        metrics="runs/{source}-{target}/{method}/seed{seed}/evaluation/metrics.json",
        counts="runs/{source}-{target}/{method}/seed{seed}/evaluation/counts.npz",
        checkpoints="runs/{source}-{target}/{method}/seed{seed}/evaluation/checkpoints.csv",
        calibration="runs/{source}-{target}/{method}/seed{seed}/evaluation/calibration.csv",
        confident="runs/{source}-{target}/{method}/seed{seed}/evaluation/confident.csv",
        conflation="runs/{source}-{target}/{method}/seed{seed}/evaluation/conflation.csv",
        record="runs/{source}-{target}/{method}/seed{seed}/evaluation/record.json",
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
        code=code_of_job("evaluate", network=PARAMS.model.network),
        torch=TORCH,
    message:
        "Evaluating {wildcards.method} on {wildcards.target} after {wildcards.source}, seed {wildcards.seed}"
    shell:
        "python -m dacs evaluate --settings {params.settings} --run $(dirname {input.run})"
        " --index $(dirname {input.measured}) --train $(dirname {input.train}) --out $(dirname {output.metrics})"
        " > {log} 2>&1"


rule appearance:
    input:
        source=lambda wildcards: str(
            ready(wildcards.source).split(dataset_of(PARAMS, wildcards.source).labelled_split).stats
        ),
        target="data/ready/{target}/train/stats.json",
    output:
        distance="runs/{source}-{target}/appearance.json",
    log:
        "logs/appearance/{source}-{target}.log",
    benchmark:
        "logs/benchmarks/appearance/{source}-{target}.tsv"
    threads: 1
    resources:
        mem_mb=2500,
        runtime=30,
        gpu=GPUS,
    params:
        settings=settings("appearance"),
        code=code_of_job("appearance", network=PARAMS.model.network),
        torch=TORCH,
    message:
        "Comparing the images of {wildcards.source} and {wildcards.target}"
    shell:
        "python -m dacs appearance --settings {params.settings} --source $(dirname {input.source})"
        " --target $(dirname {input.target}) --out {output.distance} > {log} 2>&1"
