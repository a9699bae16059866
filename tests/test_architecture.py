"""The rules of the architecture: what may import what, how the workflow is written, what is documented."""

import re
import subprocess
import sys
from pathlib import Path
from pkgutil import resolve_name

import pytest
import tiny
import yaml
from pipeline import ROOT, Pipeline, create, sources

from dacs.config import load
from dacs.methods import METHODS
from dacs.networks import NETWORKS
from dacs.stale import ROOTS
from dacs.training.run_cache import NOT_DIGESTED

RULES = sorted((ROOT / "workflow/rules").glob("*.smk"))
WITHOUT_TORCH = ("cli", "config", "jobs", "training.run_cache", "training.plan", "training.status", "demo_world.write")
WITHOUT_TORCH += ("download.download", "prepare.remap")
WITHOUT_TORCH += ("reporting.figures", "reporting.page", "reporting.compare", "reporting.campaign")


def test_imports_only_go_down() -> None:
    assert "0 broken" in Pipeline(ROOT).run("lint-imports", "--no-cache")


def test_what_needs_no_network_imports_no_torch() -> None:
    program = f"import sys, {', '.join(f'dacs.{name}' for name in WITHOUT_TORCH)}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_every_rule_has_what_rules_have_here() -> None:
    wanted = ("log", "benchmark", "message", "threads", "resources", "params", "shell")
    rules = [rule for path in RULES for rule in re.findall(r"^rule (\w+):\n((?:    .*\n|\n)+)", path.read_text(), re.M)]
    assert len(rules) >= 8
    for name, body in rules:
        assert [directive for directive in wanted if f"\n    {directive}:" not in f"\n{body}"] == [], name


@pytest.mark.parametrize("profile", ["gpu", "slurm", "kubernetes"])
def test_a_profile_for_gpus_gives_one_to_every_rule_that_uses_one(profile: str) -> None:
    """A rule made from another one has no resources of a profile but those under its own name."""
    text = "".join(path.read_text() for path in RULES)
    used = [name for name, body in re.findall(r"^rule (\w+):\n((?:    .*\n|\n)+)", text, re.M) if "gpu=GPUS" in body]
    used += [other for name, other in re.findall(r"^use rule (\w+) as (\w+)", text, re.M) if name in used]
    assert len(used) >= 5
    given = yaml.safe_load((ROOT / f"profiles/{profile}/profile.yaml").read_text())["set-resources"]
    assert {name for name, resources in given.items() if "gpu" in resources} == {*used}


def test_what_is_named_as_text_exists() -> None:
    """Functions that tables and rules name as "module:name", and the modules whose code no result depends on."""
    names = [name for path in RULES for name in re.findall(r'"(dacs(?:\.\w+)+:\w+)"', path.read_text())]
    names += [name for called in ROOTS.values() for name in called]
    assert len(names) >= 8
    names += [name for row in METHODS.values() for name in (row.procedure, *row.terms, row.mask, row.order)]
    for name in (*names, *NETWORKS.values(), *NOT_DIGESTED):
        resolve_name(name)


@pytest.mark.parametrize(("profile", "scale"), [("profiles/default", "demo"), ("profiles/gpu", "paper")])
def test_a_scale_and_a_profile_can_be_chosen_on_the_command_line(profile: str, scale: str, tmp_path: Path) -> None:
    pipeline, runs = create(tmp_path), load(tiny.changed("scale", scale)).runs
    planned = pipeline.planned("--workflow-profile", profile, "--config", f"scale={scale}")
    assert planned["evaluate"] == len(runs.tasks) * len(runs.methods) * len(runs.seeds)


def test_nothing_names_a_registry_or_a_folder_of_one_machine() -> None:
    strange = re.compile(r"\b[p]ypi\.org|[p]ythonhosted|/[h]ome/\w|/[r]oot/|/[w]ork/(?!flow)")  # does not match itself
    suffixes = (".py", ".smk", ".toml", ".lock", ".yaml", ".md", ".txt", "")
    paths = [ROOT / name for name in sources() if Path(name).suffix in suffixes]
    assert len(paths) > 100
    for path in paths:
        found = strange.search(path.read_text(errors="replace"))
        assert not found, f"{path} names {found}"
