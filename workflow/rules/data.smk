"""Raw frames, then what networks see of them.

Rules meet at small files: Snakemake compares the content of those, and only the clocks of big ones. A card holds a
digest over all the frames of its split.
"""


rule world:
    output:
        receipt="data/receipts/{domain}.json",
        raw="data/raw/{domain}/manifest.json",
    log:
        "logs/world/{domain}.log",
    benchmark:
        "logs/benchmarks/world/{domain}.tsv"
    wildcard_constraints:
        domain=one_of(RENDERED),
    priority: 3
    threads: 2
    resources:
        mem_mb=1500,
        runtime=60,
    params:
        settings=settings("world"),
        code=code_digest("dacs.demo_world.write"),
    message:
        "Rendering the {wildcards.domain} frames of the built-in world"
    shell:
        "python -m dacs world --settings {params.settings:q} --domain {wildcards.domain}"
        " --out data/raw/{wildcards.domain} --receipt {output.receipt} --workers {threads} > {log} 2>&1"


# From a server, or from a folder that is only read. What has come stays in data/archives and data/raw, which are no
# outputs: an interruption costs nothing. Credentials are taken from the environment and named nowhere.
rule download:
    output:
        receipt="data/receipts/{domain}.json",
        raw="data/raw/{domain}/manifest.json",
    log:
        "logs/download/{domain}.log",
    benchmark:
        "logs/benchmarks/download/{domain}.tsv"
    wildcard_constraints:
        domain=one_of(BROUGHT),
    priority: 3
    threads: 1
    resources:
        mem_mb=1500,
        runtime=2880,
    params:
        settings=settings("download"),
        files=files_of_own,
    message:
        "Bringing the raw frames of {wildcards.domain}"
    shell:
        "python -m dacs download --settings {params.settings:q} --domain {wildcards.domain}"
        " --out data/raw/{wildcards.domain} --receipt {output.receipt} > {log} 2>&1"


rule remap:
    input:
        raw="data/raw/{domain}/manifest.json",
    output:
        prepared("{domain}", "train"),
    log:
        "logs/remap/{domain}.log",
    benchmark:
        "logs/benchmarks/remap/{domain}.tsv"
    wildcard_constraints:
        domain=prepared_as("train"),
    priority: 3
    threads: 2
    resources:
        mem_mb=1500,
        runtime=120,
    params:
        settings=settings("remap"),
        code=code_digest("dacs.prepare.remap"),
    message:
        "Bringing {wildcards.domain} to 19 classes and to training resolution"
    shell:
        "python -m dacs remap --settings {params.settings:q} --domain {wildcards.domain}"
        " --raw data/raw/{wildcards.domain} --out data/ready/{wildcards.domain} --workers {threads} > {log} 2>&1"


# A target is learnt from without labels, measured on its validation set, and lends the oracle its labels.
use rule remap as remap_target with:
    output:
        prepared("{domain}", "train", "val", "oracle"),
    wildcard_constraints:
        domain=prepared_as("train", "val", "oracle"),


# Of a data set of one's own there may be less.
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
