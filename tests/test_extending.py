"""docs/extending.md, done for real: one thing of each kind is added from outside the package's files, and is used."""

from pathlib import Path

import extension
import pandas as pd
import pytest
import tiny
from safetensors.torch import load_file

from dacs.cli import main
from dacs.config import load
from dacs.datasets.registry import DATASETS
from dacs.jobs import dataset_of, job_file, job_of, requests
from dacs.layout import PreparedDomain, RunDir
from dacs.methods import METHODS
from dacs.models.build import build
from dacs.networks import NETWORKS
from dacs.reporting.figures import FIGURES
from dacs.settings import Params
from dacs.training.run_cache import code_of

READY, RAW, REPORTS = Path("data/ready"), Path("data/raw"), Path("reports")


def dacs(params: Params, verb: str, *arguments: object, domain: str = "", method: str = "") -> None:
    settings = job_file(job_of(params, verb, domain=domain, method=method))
    assert main([verb, "--settings", settings, *map(str, arguments)]) == 0


def pipeline(params: Params) -> None:
    """The verbs that Snakemake would call."""
    for domain, verb in (("town", "download"), ("cityscapes", "world")):
        out = ("--out", RAW / domain, "--manifest", f"data/manifests/{domain}.json")
        dacs(params, verb, *out, domain=domain)
        dacs(params, "remap", "--raw", RAW / domain, "--out", READY / domain, domain=domain)
    for request in requests(params):
        run = RunDir.of(Path("runs"), request.task, request.method, request.seed)
        source, target = request.prepared(READY)
        verb = "adapt" if METHODS[request.method].adapts else "train"
        data = ("--source", source.path, "--target", target.path, "--out", run.path)
        dacs(params, verb, "--method", request.method, "--seed", request.seed, *data, method=request.method)
        measured = ("--index", READY / "cityscapes/val", "--train", target.path, "--out", run.evaluation.path)
        dacs(params, "evaluate", "--run", run.path, *measured, domain="cityscapes")
    dacs(params, "figures", "--ready", READY, "--out", REPORTS)
    dacs(params, "report", "--reports", REPORTS, "--out", REPORTS / "index.html")


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """Two steps at smoke scale of all that extension.py adds, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(METHODS, "stripes", extension.STRIPES)
    monkeypatch.setitem(NETWORKS, "one_layer", "extension:one_layer")
    monkeypatch.setitem(DATASETS, "town", extension.TOWN)
    monkeypatch.setitem(FIGURES, "road_iou", extension.ROAD_IOU)
    extension.write_town(tmp_path / "copy of town")
    content = tiny.content() | {"scale": "smoke"}
    content["runs"] |= {"tasks": ["town-cityscapes"], "methods": ["source", "stripes"]}
    content["data"]["sources"]["town"] = str(tmp_path / "copy of town")
    content["scales"]["smoke"]["remap"]["town"] = [90, 160]
    for scale in ("demo", "paper"):
        content["scales"][scale].setdefault("remap", {})["town"] = [600, 1000]
    content["model"] |= tiny.MODEL | {"network": "one_layer"}
    content["train"]["bn_statistics"] = "live"
    content["adapt"]["init"] = "backbone"
    for verb in ("train", "adapt"):
        content["scales"]["smoke"][verb] = {"steps": 2}
    return load(content)


def test_what_is_added_from_outside_runs_to_the_table_of_results_and_the_page(params: Params) -> None:
    pipeline(params)
    summary = pd.read_csv(REPORTS / "tables/summary.csv")
    assert list(summary.loc[summary["headline"], "method"]) == ["source", "stripes"]
    log = pd.read_csv("runs/town-cityscapes/stripes/seed0/log.csv")
    assert log["loss_entropy"].gt(0).all()
    assert log["step"].iloc[-1] == 2
    assert "IoU of road by method" in (REPORTS / "index.html").read_text()
    weights = load_file("runs/town-cityscapes/stripes/seed0/weights.safetensors")
    initial = build(params.model).state_dict()
    assert weights.keys() == initial.keys()
    assert weights["head.weight"].shape == (19, 8, 1, 1)


def test_a_data_set_from_outside_is_known_by_its_module_alone(params: Params) -> None:
    assert dataset_of(params, "town").title == "Town"
    assert PreparedDomain(READY / "town").split(dataset_of(params, "town").labelled_split).path == READY / "town/train"


@pytest.mark.parametrize(
    ("old", "new", "matters"),
    [
        ("// 8", "// 16", True),
        ("Paste every", "Mask every", False),
        ("ids[:20] = 2", "ids[:10] = 2", False),
    ],
)
def test_an_edit_of_an_extension_redoes_its_runs_exactly_if_it_matters(
    old: str, new: str, matters: bool, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    module, row = tmp_path / "edited_extension.py", extension.STRIPES._replace(mask="edited_extension:stripes")
    module.write_text(Path(extension.__file__).read_text())
    before = code_of(row, params.model)
    assert old in module.read_text()
    module.write_text(module.read_text().replace(old, new))
    assert (code_of(row, params.model) != before) == matters
