"""The rules of the house: what may import what, how the workflow is written, what is documented."""

import json
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from river import ROOT, River, spring

from dacs.config import load, schema

LIGHT = {  # commands that need no network, and what they import
    "the workflow": ("dacs.config", "dacs.provenance", "dacs.training.run_cache"),
    "world": ("dacs.cli", "dacs.demo_world.write"),
    "remap": ("dacs.cli", "dacs.prepare.remap"),
    "figures": ("dacs.cli", "dacs.reporting.figures"),
    "report": ("dacs.cli", "dacs.reporting.page"),
    "compare": ("dacs.cli", "dacs.reporting.compare"),
}
RULES = sorted((ROOT / "workflow/rules").glob("*.smk"))


@pytest.fixture(scope="module")
def here() -> River:
    return River(ROOT)


def test_imports_only_go_down(here: River) -> None:
    assert "0 broken" in here.run("lint-imports", "--no-cache")


def test_snakemake_finds_nothing_to_say_about_the_workflow(here: River) -> None:
    assert "Congratulations" in here.run("snakemake", "--lint")


def test_the_workflow_is_formatted(here: River) -> None:
    here.run("snakefmt", "--check", "Snakefile", "workflow")


@pytest.mark.parametrize("modules", LIGHT.values(), ids=LIGHT.keys())
def test_what_needs_no_network_imports_no_torch(modules: tuple[str, ...]) -> None:
    program = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_the_schema_for_editors_is_that_of_the_params() -> None:
    kept = json.loads((ROOT / "workflow/schemas/params.schema.json").read_text())
    assert kept == json.loads(json.dumps(schema())), (
        "write it anew: dacs schema --out workflow/schemas/params.schema.json"
    )


def test_every_param_says_what_it_is() -> None:
    lines = (ROOT / "params.yaml").read_text().splitlines()
    lines = lines[: lines.index("scales:")]  # whose blocks repeat what is explained above
    explained: dict[int, bool] = {}  # by indentation: whether the enclosing key has a comment
    silent = []
    for above, line in pairwise(["", *lines]):
        if key := re.match(r"( *)(\w+):(.*)", line):
            depth, said = len(key[1]), "#" in key[3] or above.strip().startswith("#")
            section = depth == 0 and not key[3].strip()
            if not (said or section or explained.get(depth - 2, False)):
                silent.append(line.strip())
            explained[depth] = said
    assert not silent


def test_every_rule_has_what_rules_have_here() -> None:
    wanted = ("log", "benchmark", "message", "threads", "resources", "params", "shell")
    for path in RULES:
        for name, body in re.findall(r"^rule (\w+):\n((?:    .*\n|\n)+)", path.read_text(), re.MULTILINE):
            for directive in wanted:
                assert f"\n    {directive}:" in f"\n{body}", f"{path.name}: rule {name} has no {directive}"


def test_code_digests_are_of_modules_that_exist() -> None:
    for path in RULES:
        for module in re.findall(r'"(dacs(?:\.\w+)+)"', path.read_text()):
            assert ROOT.joinpath(*module.split(".")).with_suffix(".py").exists(), f"{path.name}: {module}"


def test_a_scale_can_be_chosen_on_the_command_line(tmp_path: Path) -> None:
    river = spring(tmp_path)
    params = load(ROOT / "params.yaml")
    runs = len(params.runs.tasks) * len(params.runs.methods) * len(params.runs.seeds)
    for scale in ("smoke", "demo"):
        said = river.run("snakemake", "--dry-run", "--config", f"scale={scale}")
        assert re.search(rf"^evaluate +{runs}$", said, re.MULTILINE)


def test_nothing_names_a_registry_or_a_folder_of_one_machine() -> None:
    listed = subprocess.run(("git", "ls-files"), cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    strange = re.compile(r"\b[p]ypi\.org|[p]ythonhosted|/[h]ome/\w|/[r]oot/|/[w]ork/(?!flow)")  # does not match itself
    for name in listed:
        path = ROOT / name
        if path.suffix in (".py", ".smk", ".toml", ".lock", ".yaml", ".md", ".txt", "") and path.is_file():
            found = strange.search(path.read_text(errors="replace"))
            assert not found, f"{name} names {found.group()}"
