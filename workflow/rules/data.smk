"""Raw frames, then what networks see of them.

Rules meet at small files: Snakemake compares the content of those, and only the modification times of big ones.
stats.json holds a digest over all frames of its split. Jobs have the priority of more than two trainings, which would
otherwise take the two threads that one of them needs.
"""


rule world:
    output:
        manifest="data/manifests/{domain}.json",
        raw="data/raw/{domain}/manifest.json",
    log:
        "logs/world/{domain}.log",
    benchmark:
        "logs/benchmarks/world/{domain}.tsv"
    wildcard_constraints:
        domain=one_of(RENDERED),
    priority: 5
    threads: 2
    resources:
        mem_mb=1500,
        runtime=60,
    params:
        settings=settings("world"),
        code=code_of_job("world"),
    message:
        "Rendering the {wildcards.domain} frames of the built-in world"
    shell:
        "python -m dacs world --settings {params.settings}"
        " --out data/raw/{wildcards.domain} --manifest {output.manifest} --workers {threads} > {log} 2>&1"


# From a server, or from a folder that is only read. What was downloaded stays in data/archives and data/raw, which are
# no outputs: an interruption costs nothing. Credentials are read from the environment and named nowhere.
rule download:
    output:
        manifest="data/manifests/{domain}.json",
        raw="data/raw/{domain}/manifest.json",
    log:
        "logs/download/{domain}.log",
    benchmark:
        "logs/benchmarks/download/{domain}.tsv"
    wildcard_constraints:
        domain=one_of(PROVIDED),
    priority: 5
    threads: 1
    resources:
        mem_mb=1500,
        runtime=2880,
    params:
        settings=settings("download"),
        files=files_of_custom,
    message:
        "Providing the raw frames of {wildcards.domain}"
    shell:
        "python -m dacs download --settings {params.settings}"
        " --out data/raw/{wildcards.domain} --manifest {output.manifest} > {log} 2>&1"


# Shares of a domain's frames on several nodes, where `remap.shards` is above 1; `remap` then puts them together.
rule remap_shard:
    input:
        raw="data/raw/{domain}/manifest.json",
    output:
        notes=temp("data/ready/{domain}/.shards/{shard}-of-{shards}.jsonl"),
    log:
        "logs/remap_shard/{domain}-{shard}-of-{shards}.log",
    benchmark:
        "logs/benchmarks/remap_shard/{domain}-{shard}-of-{shards}.tsv"
    wildcard_constraints:
        shard=r"\d+",
        shards=r"\d+",
    priority: 5
    threads: 2
    resources:
        mem_mb=1500,
        runtime=120,
    params:
        settings=settings("remap"),
        code=code_of_shard,
    message:
        "Mapping share {wildcards.shard} of {wildcards.shards} of {wildcards.domain} to train ids"
    shell:
        "python -m dacs remap --settings {params.settings} --shard {wildcards.shard}/{wildcards.shards}"
        " --raw data/raw/{wildcards.domain} --out data/ready/{wildcards.domain} --workers {threads} > {log} 2>&1"


rule remap:
    input:
        raw="data/raw/{domain}/manifest.json",
        shards=shards,
    output:
        prepared("{domain}", "train"),
    log:
        "logs/remap/{domain}.log",
    benchmark:
        "logs/benchmarks/remap/{domain}.tsv"
    wildcard_constraints:
        domain=prepared_as("train"),
    priority: 5
    threads: 2
    resources:
        mem_mb=1500,
        runtime=120,
    params:
        settings=settings("remap"),
        code=code_of_remap,
    message:
        "Mapping {wildcards.domain} to train ids at training resolution"
    shell:
        "python -m dacs remap --settings {params.settings}"
        " --raw data/raw/{wildcards.domain} --out data/ready/{wildcards.domain} --workers {threads} > {log} 2>&1"


# A target is trained on without labels, evaluated on its validation set, and gives the oracle its labels.
use rule remap as remap_target with:
    output:
        prepared("{domain}", "train", "val", "oracle"),
    wildcard_constraints:
        domain=prepared_as("train", "val", "oracle"),


# A custom domain may have less.
use rule remap as remap_measured with:
    output:
        prepared("{domain}", "train", "val"),
    wildcard_constraints:
        domain=prepared_as("train", "val"),


use rule remap as remap_labelled with:
    output:
        prepared("{domain}", "train", "oracle"),
    wildcard_constraints:
        domain=prepared_as("train", "oracle"),
