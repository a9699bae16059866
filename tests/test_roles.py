"""Which part a domain may play: what is prepared of it, what is trained on, and what is evaluated on."""

from typing import Any

import pytest
import tiny

from dacs.config import load
from dacs.errors import BadRequest
from dacs.jobs import dataset_of, domains_of, job_of, requests

IMAGES, LABELS = {"images": "/fleet/*.jpg"}, {"images": "/fleet/*.jpg", "labels": "/fleet/*.png"}
CLASSES = {"0": "road"}
TABLES = {
    "unlabelled": {"train": IMAGES},
    "labelled": {"train": LABELS, "classes": CLASSES},
    "measured": {"train": IMAGES, "val": LABELS, "classes": CLASSES},
    "whole": {"train": LABELS, "val": LABELS, "classes": CLASSES},
}
ROLES = [  # domain, what is prepared of it, with labels for training, to evaluate on, whether it may be a target
    ("gta5", ["train"], "train", "train", False),
    ("synthia", ["train"], "train", "train", False),
    ("cityscapes", ["train", "val", "oracle"], "oracle", "val", True),
    ("unlabelled", ["train"], "train", "train", True),
    ("labelled", ["train", "oracle"], "oracle", "train", True),
    ("measured", ["train", "val"], "train", "val", True),
    ("whole", ["train", "val", "oracle"], "oracle", "val", True),
]


def params(tasks: list[str], **changes: Any) -> Any:
    content = tiny.changed("runs.methods", ["source", "dacs"], tiny.changed("runs.tasks", tasks))
    content["domains"] = {name: {**table, "size": [120, 200]} for name, table in TABLES.items()}
    for path, value in changes.items():
        content = tiny.changed(path.replace("__", "."), value, content)
    return load(content)


def test_splits_and_roles_follow_from_where_labels_are() -> None:
    known = params(["gta5-unlabelled"])
    for domain, splits, labelled, measured, target in ROLES:
        found = dataset_of(known, domain)
        assert found.prepared_splits == splits
        assert (found.labelled_split, found.measured_split, found.is_target) == (labelled, measured, target)


@pytest.mark.parametrize("task", ["gta5-unlabelled", "cityscapes-measured", "labelled-cityscapes", "whole-unlabelled"])
def test_every_labelled_domain_may_be_a_source(task: str) -> None:
    assert domains_of(params([task])) == sorted(task.split("-"))


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("gta5-synthia", "names target 'synthia'"),
        ("unlabelled-cityscapes", r"domains\.unlabelled\.train has no labels; a source needs them"),
        ("whole-whole", "adapts 'whole' to itself"),
    ],
)
def test_roles_that_a_domain_cannot_have_are_refused(task: str, words: str) -> None:
    assert params(["gta5-whole"], runs__methods=["source", "oracle"])
    with pytest.raises(BadRequest, match=words):
        params([task], runs__methods=["source", "oracle"])


def test_an_unlabelled_target_has_no_oracle() -> None:
    both = params(["gta5-measured", "gta5-whole"], runs__methods=["source", "oracle"])
    found = [(request.task, request.method) for request in requests(both)]
    assert found == [("gta5-measured", "source"), ("gta5-whole", "source"), ("gta5-whole", "oracle")]
    for verb in ("figures", "report"):
        assert job_of(both, verb).model_dump()["unlabelled"] == ["gta5-measured"]
    with pytest.raises(BadRequest, match=r"names oracle alone, but domains\.measured\.train has no labels"):
        params(["gta5-measured"], runs__methods=["oracle"])


def test_evaluation_depends_on_the_size_of_labels_and_on_the_classes_of_a_table_and_training_does_not() -> None:
    plain = params(["gta5-whole"])
    prepared = params(["gta5-whole"], evaluate__labels="prepared")
    more = params(["gta5-whole"], domains__whole__classes={**CLASSES, "1": "train"})
    jobs = [job_of(one, "evaluate", domain="whole") for one in (plain, prepared, more)]
    assert len(set(map(str, jobs))) == 3
    assert job_of(more, "evaluate", domain="cityscapes").absent == []
    assert ("train" in jobs[0].absent, "train" in jobs[2].absent) == (True, False)
    for verb, method in (("train", "source"), ("adapt", "dacs")):
        assert len({str(job_of(one, verb, domain="whole", method=method)) for one in (plain, prepared, more)}) == 1


def test_custom_frames_must_hold_the_crop_of_the_chosen_scale_only() -> None:
    assert params(["gta5-unlabelled"]).loop.crop <= (120, 200)  # scale paper has larger ones
    with pytest.raises(BadRequest, match=r"frames of unlabelled, domains\.unlabelled\.size = \[120, 200\]"):
        params(["gta5-unlabelled"], loop__crop=[121, 96])
