"""Campaigns: variants are runs of their methods with other settings, share their ancestors, and end in a table."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import fake_runs
import numpy as np
import pandas as pd
import pytest
import tiny
from pipeline import EVERY, SNAKEMAKE, Pipeline, create

from dacs.config import load
from dacs.errors import BadRequest
from dacs.files import read_json
from dacs.jobs import campaign_job, of_campaign, requests, run_settings
from dacs.layout import RunDir
from dacs.methods import METHODS, method
from dacs.reporting.campaign import campaign_table, write
from dacs.reporting.data import Run
from dacs.settings import CampaignJob, Runs

TASK = "gta5-cityscapes"
FIVE = {
    "tasks": [TASK],
    "seeds": [0, 1],
    "base": "dacs",
    "variants": {
        "threshold_0": {"threshold": 0.0},
        "ema_0_9": {"ema": 0.9},
        "cut": {"method": "cutmix", "threshold": 0.5},
        "no_blur": {"blur_probability": 0.0},
        "rare": {"method": "daformer", "feature_distance": 0.0},
    },
}


def content(campaign: dict[str, Any]) -> dict[str, Any]:
    """params.yaml with one campaign."""
    return tiny.changed("campaigns", {"five": campaign})


# ---- settings


def test_a_variant_has_the_settings_of_its_method_but_those_that_it_names() -> None:
    params = load(tiny.changed("methods", {"daformer": {"ema": 0.5}}, content(FIVE)))
    plain, found = (run_settings(params, "", name) for name in ("daformer", "daformer@rare"))
    assert plain.adapt is not None
    assert found.adapt == plain.adapt.model_copy(update={"feature_distance": 0.0})
    assert (found.adapt.ema, found.loop, found.model) == (0.5, plain.loop, plain.model)
    assert method("daformer@rare") is METHODS["daformer"]


def test_a_campaign_is_every_variant_and_method_by_task_and_seed() -> None:
    params = load(content({**FIVE, "methods": ["source"], "tasks": [TASK, "synthia-cityscapes"]}))
    found = [(each.task, each.method, each.seed) for each in requests(of_campaign(params, "five"))]
    names = ["source", "dacs", "dacs@threshold_0", "dacs@ema_0_9", "cutmix@cut", "dacs@no_blur", "daformer@rare"]
    assert found == [(task, name, seed) for task in (TASK, "synthia-cityscapes") for name in names for seed in (0, 1)]
    assert campaign_job(params, "five").runs == found


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ({"thresold": 0.5}, "campaigns.five.variants.bad.thresold is not known; did you mean 'threshold'"),
        ({"threshold": 2.0}, "campaigns.five.variants.bad.threshold is 2.0"),
        ({"steps": 5}, "campaigns.five.variants.bad.steps is given, but methods are compared at equal steps"),
        ({"method": "dax"}, "campaigns.five.variants.bad.method is \"dax\"; did you mean 'dacs'"),
        ({"method": "oracle"}, "campaigns.five.variants.bad is of oracle, which does not adapt"),
        ({"method": "source", "ema": 0.5}, "campaigns.five.variants.bad is of source, which does not adapt"),
    ],
)
def test_a_wrong_variant_is_refused_by_its_name(variant: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest) as refused:
        load(content({**FIVE, "variants": {"bad": variant}}))
    assert message in str(refused.value)


def test_one_name_for_two_variants_is_refused() -> None:
    campaigns = {"one": FIVE, "other": {**FIVE, "variants": {"ema_0_9": {"ema": 0.8}}}}
    with pytest.raises(BadRequest, match=r"other.variants.ema_0_9 and campaigns.one.variants.ema_0_9 are two variants"):
        load(tiny.changed("campaigns", campaigns))
    campaigns["other"]["variants"]["ema_0_9"] = {"ema": 0.9}
    load(tiny.changed("campaigns", campaigns))


@pytest.mark.parametrize("scale", ["demo", "smoke", "photos", "paper"])
def test_the_shipped_components_change_dacs_one_part_at_a_time(scale: str) -> None:
    """Each variant differs from DACS in the settings that it is named after; parts of DAFormer share their order."""
    params = load(tiny.changed("scale", scale))
    dacs = run_settings(params, "", "dacs").adapt
    assert dacs is not None
    changes = params.campaigns["components"].changes
    assert len(changes) + len(params.campaigns["components"].methods) >= 12
    for name, over in changes.items():
        adapt = run_settings(params, "", name).adapt
        assert adapt is not None
        other = {key for key, value in adapt.model_dump().items() if value != dacs.model_dump()[key]}
        parts = {"feature_distance", "rare_class_sampling"} if name.startswith("daformer@") else set()
        assert other <= {*over} | parts, name
        assert {key: getattr(adapt, key) for key in ("margins", "ema")} == {
            key: tuple(over[key]) if key == "margins" and key in over else over.get(key, getattr(dacs, key))
            for key in ("margins", "ema")
        }


# ---- the table


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Three seeds of DACS, of a copy of it, and of a variant that is source-only, which is 20 points worse."""
    root = tmp_path_factory.mktemp("project")
    fake_runs.project(root, Runs(tasks=[TASK], methods=["source", "dacs"], seeds=[0, 1, 2]), images=6)
    shutil.copytree(root / "runs" / TASK / "dacs", root / "runs" / TASK / "dacs@same")
    shutil.copytree(root / "runs" / TASK / "source", root / "runs" / TASK / "dacs@worse")
    names = [(name, seed) for name in ("source", "dacs", "dacs@same", "dacs@worse") for seed in (0, 1, 2)]
    return [Run(TASK, name, seed, RunDir.of(root / "runs", TASK, name, seed)) for name, seed in names]


def test_the_table_has_means_deviations_and_paired_differences(listed: list[Run]) -> None:
    table = campaign_table(listed, "dacs", {"dacs@worse": {"threshold": 0.0}}, fake_runs.CITYSCAPES).set_index(
        "variant"
    )
    assert [*table.index] == ["source", "dacs", "same", "worse"]
    for name, folder in (("source", "source"), ("dacs", "dacs"), ("worse", "source")):
        runs = [run for run in listed if run.method == folder]
        scores = [read_json(run.folder.evaluation.metrics)["student"]["miou19"] for run in runs]
        assert table["miou"][name] == pytest.approx(np.mean(scores), abs=0.01)
        assert table["std"][name] == pytest.approx(np.std(scores, ddof=1), abs=0.01)
    assert [*table["method"]] == ["source", "dacs", "dacs", "dacs"]
    assert table["settings"]["worse"] == "threshold 0.0"
    same, worse = (table.loc[name] for name in ("same", "worse"))
    assert [same[f"difference{end}"] for end in ("", "_low", "_high")] == [0, 0, 0]
    assert worse["difference"] == pytest.approx(table["miou"]["source"] - table["miou"]["dacs"])
    assert worse["difference_low"] <= worse["difference"] <= worse["difference_high"] < 0
    assert [*table["distinct"]] == [True, None, False, True]
    assert pd.isna(table["difference"]["dacs"])
    assert {*table["seeds"]} == {3}
    assert {*table["images"]} == {6}


def test_the_page_says_which_variants_are_not_distinguishable(listed: list[Run], tmp_path: Path) -> None:
    job = CampaignJob(base="dacs", runs=[run[:3] for run in listed], changes={"dacs@same": {"ema": 0.99}})
    _, page = write(job, listed[0].folder.path.parents[2], tmp_path / "parts.csv")
    rows = [line for line in page.read_text().splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + 4
    assert ["not distinguishable" in row for row in rows] == [False, False, False, True, False]
    assert "| same | DACS | ema 0.99 |" in page.read_text()


def test_a_campaign_without_ground_truth_has_no_scores(tmp_path: Path) -> None:
    fake_runs.project(tmp_path, Runs(tasks=[TASK], methods=["source", "dacs"], seeds=[0]))
    fake_runs.remove_labels(tmp_path, "cityscapes")
    job = CampaignJob(base="dacs", runs=[(TASK, "source", 0), (TASK, "dacs", 0)], changes={})
    csv, page = write(job, tmp_path / "runs", tmp_path / "parts.csv")
    assert pd.read_csv(csv).empty
    assert "nothing was measured" in page.read_text()


# ---- the workflow


def test_five_variants_share_one_source_only_run_for_each_seed(tmp_path: Path) -> None:
    """And the base; no other method of `runs` is made, nor figures or the page."""
    pipeline = create(tmp_path, campaigns={"five": FIVE})
    expected = Counter(world=2, remap=1, remap_target=1, train_start=2, adapt=6 * 2, evaluate=6 * 2, campaign=1)
    assert pipeline.planned("--", "reports/campaigns/five.csv") == expected


def test_a_campaign_that_cannot_run_is_refused_when_it_is_asked_for(tmp_path: Path) -> None:
    campaign = {**FIVE, "variants": {"far": {"method": "daformer", "ema": 0.5}}}
    pipeline = create(tmp_path, campaigns={"five": campaign}, model__weights="none", train__bn_statistics="live")
    printed = pipeline.run("snakemake", "-n", "--", "reports/campaigns/five.csv", fails=True)
    assert "campaigns.five: daformer@far keeps features close to those of pretrained weights" in printed
    assert pipeline.planned()["evaluate"] > 0


@pytest.mark.slow
def test_a_campaign_trains_its_variants_alone_and_changes_nothing_of_the_report(tmp_path: Path) -> None:
    """A variant that is the method as it is, is found in the run cache."""
    variants = {"threshold_0": {"threshold": 0.0}, "shipped": {"threshold": 0.968}}
    campaign = {"tasks": [TASK], "seeds": [0], "base": "dacs", "methods": ["source"], "variants": variants}
    pipeline = create(tmp_path, runs__tasks=[TASK], runs__methods=["source", "dacs"], campaigns={"two": campaign})
    assert pipeline.jobs(*SNAKEMAKE) == EVERY
    before, trained = report_of(pipeline), pipeline.trained()
    assert pipeline.jobs("snakemake", "--cores", "2", "campaigns") == Counter(
        adapt=2, evaluate=2, campaign=1, campaigns=1
    )
    assert len(pipeline.trained() - trained) == 1
    assert report_of(pipeline) == before != {}
    assert pipeline.jobs(*SNAKEMAKE) == Counter()
    assert pipeline.jobs("snakemake", "--cores", "2", "campaigns") == Counter()
    table = pd.read_csv(pipeline.folder / "reports/campaigns/two.csv").set_index("variant")
    assert [*table.index] == ["source", "dacs", "threshold_0", "shipped"]
    assert table["difference"]["shipped"] == 0
    pipeline.run("python", "-m", "dacs", "verify")
    (pipeline.folder / "reports/campaigns/two.csv").write_text("changed")
    assert "campaigns/two.csv: changed" in pipeline.run("python", "-m", "dacs", "verify", fails=True)


def report_of(pipeline: Pipeline) -> dict[str, bytes]:
    """The metrics, tables, figures and the page."""
    patterns = ("reports/metrics.json", "reports/tables/*", "reports/figures/*.svg", "reports/index.html")
    return {name: data for pattern in patterns for name, data in pipeline.bytes_of(pattern).items()}
