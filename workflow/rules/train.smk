"""Supervised training, then adaptation.

Both keep their resumable state and their finished runs in .cache/, which is no output: Snakemake deletes the outputs
of a job that failed. The same command then resumes from the last checkpoint, and finds a finished run again.
"""


rule train:
    input:
        source=labelled_stats,
        target="data/ready/{target}/train/stats.json",
        same=same_run,
    output:
        weights="runs/{source}-{target}/{method}/seed{seed}/weights.safetensors",
        teacher="runs/{source}-{target}/{method}/seed{seed}/teacher.safetensors",
        settings="runs/{source}-{target}/{method}/seed{seed}/settings.json",
        log="runs/{source}-{target}/{method}/seed{seed}/log.csv",
        snapshots=snapshots(PARAMS.train.steps),
    log:
        "logs/train/{source}-{target}-{method}-seed{seed}.log",
    benchmark:
        "logs/benchmarks/train/{source}-{target}-{method}-seed{seed}.tsv"
    wildcard_constraints:
        method=one_of([name for name in supervised(TABLE) if name not in STARTED_FROM]),
    # Before other trainings: adaptations wait for it.
    priority: 2
    threads: TRAINING_THREADS
    resources:
        mem_mb=2500 * PROCESSES // NODES,
        runtime=120,
        gpu=GPUS * PROCESSES,
    params:
        settings=settings("train"),
        code=code_of_run,
        torch=TORCH,
    message:
        "Training {wildcards.method} for {wildcards.source}-{wildcards.target}, seed {wildcards.seed}"
    shell:
        "$SRUN python -m dacs train --settings {params.settings} --method {wildcards.method} --seed {wildcards.seed}"
        " --source $(dirname {input.source}) --target data/ready/{wildcards.target}/train"
        " --out $(dirname {output.weights}) > {log} 2>&1"


# Of the run that adaptation starts from, the weights of an earlier step are kept too.
use rule train as train_start with:
    output:
        start="runs/{source}-{target}/{method}/seed{seed}/start.safetensors",
        weights="runs/{source}-{target}/{method}/seed{seed}/weights.safetensors",
        teacher="runs/{source}-{target}/{method}/seed{seed}/teacher.safetensors",
        settings="runs/{source}-{target}/{method}/seed{seed}/settings.json",
        log="runs/{source}-{target}/{method}/seed{seed}/log.csv",
        snapshots=snapshots(PARAMS.train.steps),
    wildcard_constraints:
        method=one_of(STARTED_FROM),


rule adapt:
    input:
        source=labelled_stats,
        target="data/ready/{target}/train/stats.json",
        init=initial_run,
    output:
        weights="runs/{source}-{target}/{method}/seed{seed}/weights.safetensors",
        teacher="runs/{source}-{target}/{method}/seed{seed}/teacher.safetensors",
        settings="runs/{source}-{target}/{method}/seed{seed}/settings.json",
        log="runs/{source}-{target}/{method}/seed{seed}/log.csv",
        snapshots=snapshots(PARAMS.adapt.steps),
        mixing=directory("runs/{source}-{target}/{method}/seed{seed}/mixing"),
    log:
        "logs/adapt/{source}-{target}-{method}-seed{seed}.log",
    benchmark:
        "logs/benchmarks/adapt/{source}-{target}-{method}-seed{seed}.tsv"
    wildcard_constraints:
        method=one_of(mixing([*TABLE, *VARIANTS])),
    priority: 1
    threads: TRAINING_THREADS
    resources:
        mem_mb=2500 * PROCESSES // NODES,
        runtime=120,
        gpu=GPUS * PROCESSES,
    params:
        settings=settings("adapt"),
        method=base_method,
        code=code_of_run,
        torch=TORCH,
        init=init_option,
    message:
        "Adapting from {wildcards.source} to {wildcards.target} by {wildcards.method}, seed {wildcards.seed}"
    shell:
        "$SRUN python -m dacs adapt --settings {params.settings} --method {params.method} --seed {wildcards.seed}"
        " --source $(dirname {input.source}) --target data/ready/{wildcards.target}/train {params.init}"
        " --out $(dirname {output.weights}) > {log} 2>&1"


# Without pictures of mixed images.
use rule adapt as adapt_unmixed with:
    output:
        weights="runs/{source}-{target}/{method}/seed{seed}/weights.safetensors",
        teacher="runs/{source}-{target}/{method}/seed{seed}/teacher.safetensors",
        settings="runs/{source}-{target}/{method}/seed{seed}/settings.json",
        log="runs/{source}-{target}/{method}/seed{seed}/log.csv",
        snapshots=snapshots(PARAMS.adapt.steps),
    wildcard_constraints:
        method=one_of(mixing([*TABLE, *VARIANTS], mixed=False)),


rule adabn:
    input:
        target="data/ready/{target}/train/stats.json",
        source=labelled_stats,
        init=initial_run,
    output:
        weights="runs/{source}-{target}/{method}/seed{seed}/weights.safetensors",
        teacher="runs/{source}-{target}/{method}/seed{seed}/teacher.safetensors",
        settings="runs/{source}-{target}/{method}/seed{seed}/settings.json",
        log="runs/{source}-{target}/{method}/seed{seed}/log.csv",
    log:
        "logs/adabn/{source}-{target}-{method}-seed{seed}.log",
    benchmark:
        "logs/benchmarks/adabn/{source}-{target}-{method}-seed{seed}.tsv"
    wildcard_constraints:
        method=one_of(recalibrating(TABLE)),
    threads: 1
    resources:
        mem_mb=2500,
        runtime=60,
        gpu=GPUS,
    params:
        settings=settings("adapt"),
        code=code_of_run,
        torch=TORCH,
        init=init_option,
    message:
        "Re-estimating BatchNorm statistics on {wildcards.target} after {wildcards.source}, seed {wildcards.seed}"
    shell:
        "python -m dacs adapt --settings {params.settings} --method {wildcards.method} --seed {wildcards.seed}"
        " --source $(dirname {input.source}) --target data/ready/{wildcards.target}/train {params.init}"
        " --out $(dirname {output.weights}) > {log} 2>&1"
