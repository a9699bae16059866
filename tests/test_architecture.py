"""The rules of the architecture: what may import what, how the workflow is written, what is documented."""

import re
import subprocess
import sys
from pathlib import Path
from pkgutil import resolve_name

import pytest
import tiny
from pipeline import ROOT, Pipeline, create, sources

from dacs.config import load
from dacs.methods import METHODS
from dacs.networks import NETWORKS
from dacs.stale import ROOTS
from dacs.training.run_cache import NOT_DIGESTED

RULES = sorted((ROOT / "workflow/rules").glob("*.smk"))
WITHOUT_TORCH = ("cli", "config", "jobs", "training.run_cache", "demo_world.write", "download.download")
WITHOUT_TORCH += ("prepare.remap", "reporting.figures", "reporting.page", "reporting.compare")


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


def test_what_is_named_as_text_exists() -> None:
    """Functions that tables name as "module:name", and the modules whose code no result depends on."""
    names = [name for roots in ROOTS.values() for name in roots if ":" in name]
    assert len(names) >= 5
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
