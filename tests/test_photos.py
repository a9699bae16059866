"""What `scale: photos` runs, and how its classes are counted."""

from collections import Counter
from pathlib import Path

import numpy as np
import pipeline
import tiny

from dacs.evaluation.evaluate import evaluate_run
from dacs.files import read_json
from dacs.jobs import domains_of, job_of
from dacs.labels import CITYSCAPES
from dacs.layout import EvaluationDir, PreparedDomain
from dacs.settings import EvaluateJob

JOBS = Counter(world=1, download=1, remap=1, remap_target=1, train=1, train_start=1, adabn=1, evaluate=7)
JOBS += Counter(adapt=3, adapt_unmixed=1)
PHOTOS = ("--config", "scale=photos")


def test_predictions_of_a_merged_class_count_as_the_other(tmp_path: Path) -> None:
    ready = tiny.prepare(tmp_path / "ready")
    run, target = tiny.finished_run(tmp_path / "run"), PreparedDomain(ready / "cityscapes")
    splits = target.split("val"), target.train
    apart, merged = EvaluationDir(tmp_path / "apart"), EvaluationDir(tmp_path / "merged")
    names = CITYSCAPES.names
    rider = names.index("rider")
    evaluate_run(run, *splits, apart, tiny.evaluate_job())
    before = np.array(read_json(apart.confusion)["student"])
    most = max({*names} - {"rider"}, key=lambda name: before[:, names.index(name)].sum())  # it predicts few classes
    evaluate_run(run, *splits, merged, tiny.evaluate_job(merged={most: "rider"}))
    after = np.array(read_json(merged.confusion)["student"])
    assert before[:, names.index(most)].sum() > 0
    assert np.array_equal(after[:, rider], before[:, rider] + before[:, names.index(most)])
    assert not after[:, names.index(most)].any()
    assert after.sum() == before.sum()


def test_photos_has_one_task_of_rendered_frames_and_photographs() -> None:
    params = tiny.load(tiny.changed("scale", "photos"))
    assert domains_of(params) == ["camvid", "gta5"]
    height, width = params.remap.sizes["camvid"]
    assert height / width == 360 / 480
    asked = job_of(params, "evaluate", domain="camvid")
    assert isinstance(asked, EvaluateJob)
    assert asked.merged == {"bicycle": "rider"}
    shipped = job_of(tiny.params(), "evaluate", domain="cityscapes").model_dump(mode="json", exclude_none=True)
    assert "merged" not in shipped  # whose evaluations stay as they are
    for verb in ("train", "adapt"):
        assert job_of(params, verb, method="dacs") == job_of(tiny.params(), verb, method="dacs")


def test_photos_runs_its_seven_methods_once_the_terms_are_accepted(tmp_path: Path) -> None:
    project = pipeline.create(tmp_path / "project")
    assert project.planned(*PHOTOS) == JOBS + Counter(appearance=1, figures=1, report=1)
    refused = project.run("snakemake", "--cores", "1", "all", *PHOTOS, fails=True)
    assert "the terms of camvid are not accepted yet" in refused
    assert "accept_terms: [camvid]" in refused
    assert not (tmp_path / "project/data").exists()
