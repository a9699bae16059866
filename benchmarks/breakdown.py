"""The CPU time of a run of the pipeline by rule: `python benchmarks/breakdown.py` after `make demo`.

Reads the benchmark files that Snakemake keeps for each job. The start of a training job (importing torch and the
package) is measured here and subtracted, so that steps, reading frames and checkpoints remain.
"""

import resource
import subprocess
import sys
from pathlib import Path

import pandas as pd

BENCHMARKS = Path("logs/benchmarks")
WORK = ("world", "train", "adapt")  # rendering and training steps
START = "import dacs.training.loop"


def cpu_seconds(code: str) -> float:
    """CPU seconds of a Python process that runs `code` for the second time, when its files are in memory."""
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    paths = sorted(BENCHMARKS.rglob("*.tsv"))
    if not paths:
        sys.exit(f"{BENCHMARKS}: no benchmark files.\nRun the workflow first: make demo")
    jobs = pd.concat([pd.read_csv(path, sep="\t").assign(rule=rule_of(path)) for path in paths])
    table = jobs.groupby("rule").agg(
        jobs=("s", "size"), wall=("s", "sum"), cpu=("cpu_time", "sum"), memory=("max_rss", "max")
    )
    start = cpu_seconds(START)
    table["start"] = [
        start * table.jobs[rule] if rule in ("train", "adapt", "evaluate") else 0.0 for rule in table.index
    ]
    table = table.sort_values("cpu", ascending=False)
    print("| rule | jobs | CPU s | of it start of torch | largest memory, MB |")
    print("|---|---|---|---|---|")
    for rule, row in table.iterrows():
        print(f"| {rule} | {row.jobs:.0f} | {row.cpu:.0f} | {row.start:.0f} | {row.memory:.0f} |")
    work = sum(table.cpu[rule] - table.start[rule] for rule in WORK if rule in table.index)
    print(
        f"\n{work:.0f} of {table.cpu.sum():.0f} CPU s are inside training and rendering:"
        f" {100 * work / table.cpu.sum():.0f} %"
    )


def rule_of(path: Path) -> str:
    """The rule that a benchmark file is of: its folder, or its name where the rule has one job."""
    inner = path.relative_to(BENCHMARKS)
    return inner.parts[0] if len(inner.parts) > 1 else inner.stem


if __name__ == "__main__":
    main()
