"""A small record of what each stage of dvc.yaml made; the stages themselves are targets in the Snakefile."""


# What the stages of DVC made, by sha256: small files by which these stages depend on each other.
rule record:
    input:
        lambda wildcards: RECORDED[wildcards.stage],
    output:
        "reports/stages/{stage}.json",
    log:
        "logs/record/{stage}.log",
    benchmark:
        "logs/benchmarks/record/{stage}.tsv"
    wildcard_constraints:
        stage="data|train|adapt",
    threads: 1
    resources:
        mem_mb=100,
        runtime=10,
    params:
        code=code_digest("dacs.records:write"),
    message:
        "Recording the stage {wildcards.stage}"
    shell:
        "python -m dacs.records {output} {input} > {log} 2>&1"


# The small files that say what a stage made.
RECORDED = {
    "data": [*expand(rules.world.output.manifest, domain=DOMAINS), *prepared_files()],
    "train": each(rules.train.output.settings, TRAINED),
    "adapt": each(rules.adapt.output.settings, [*adapting(METHODS), *RECALIBRATED]),
}
