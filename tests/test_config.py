"""params.yaml as shipped is whole at every scale; what is wrong in it is named; an edit redoes what it concerns."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import tiny
import yaml

from dacs.config import load
from dacs.datasets.registry import DATASETS
from dacs.errors import BadRequest
from dacs.fields import Scale, identity
from dacs.jobs import WORLD, job_file, job_of, notes, run_settings
from dacs.methods import METHODS, adapting
from dacs.provenance import ROOT
from dacs.settings import EvaluateJob, Params, RemapJob, label_set

SCALES = get_args(Scale)


def refusal(content: dict[str, Any]) -> str:
    with pytest.raises(BadRequest) as caught:
        load(content)
    return str(caught.value)


# ---- as shipped


@pytest.mark.parametrize("scale", SCALES)
def test_params_as_shipped_load_at_every_scale(scale: str) -> None:
    assert load(tiny.changed("scale", scale)).scale == scale


def test_the_file_and_its_content_are_the_same_params() -> None:
    assert load(ROOT / "params.yaml") == load(tiny.content())


def test_the_shipped_scale_is_the_demo_with_all_that_the_report_shows() -> None:
    params = load(ROOT / "params.yaml")
    assert params.scale == "demo"
    assert {"source", "adabn", "adabn_trained", "naive", "dacs", "oracle"} == set(params.runs.methods)
    assert params.runs.tasks == ["gta5-cityscapes", "synthia-cityscapes"]


def test_a_scale_overrides_the_rest_key_by_key() -> None:
    content = tiny.changed("scales.smoke.loop.batch", 3, tiny.changed("scale", "smoke"))
    params, plain = load(content), load(tiny.content())
    assert params.loop.batch == 3
    assert list(params.loop.crop) == content["scales"]["smoke"]["loop"]["crop"]
    assert params.loop.momentum == plain.loop.momentum
    assert plain.loop.batch == tiny.content()["loop"]["batch"]


def test_a_recipe_overrides_its_base_and_a_block_of_a_scale_the_rest_of_it() -> None:
    recipes = {
        "a": {"loop": {"batch": 3, "threads": 2}, "paper": {"loop": {"batch": 5}}},
        "b": {"base": "a", "loop": {"threads": 3}},
        "c": {"base": "b", "paper": {"loop": {"threads": 4}}},
    }
    content = tiny.changed("recipes", recipes | {"none": None})
    for recipe, scale, expected in (
        ("a", "demo", (3, 2)),
        ("a", "paper", (5, 2)),
        ("b", "paper", (5, 3)),
        ("c", "smoke", (3, 3)),
        ("c", "paper", (5, 4)),
    ):
        loop = load(content | {"recipe": recipe, "scale": scale}).loop
        assert (loop.batch, loop.threads) == expected


def test_the_paper_scale_is_the_authors_schedule() -> None:
    params = load(tiny.changed("scale", "paper"))
    adapt, loop, model = params.adapt, params.loop, params.model
    assert (adapt.steps, adapt.lr, adapt.ema, adapt.threshold) == (250_000, 2.5e-4, 0.99, 0.968)
    assert (loop.batch, loop.crop, loop.flip) == (2, (512, 512), False)
    assert (loop.optimizer, loop.momentum, loop.weight_decay) == ("sgd", 0.9, 5e-4)
    assert (loop.poly_power, loop.warmup, loop.head_lr_factor) == (0.9, 0, 10)
    assert (model.network, model.bn_affine) == ("deeplab_resnet101", "frozen")
    assert (params.train.bn_statistics, adapt.bn_statistics) == ("live", "live")
    assert (params.remap.sizes["gta5"], params.remap.sizes["cityscapes"]) == ((720, 1280), (512, 1024))
    resample = {name: params.remap.resample_of(name) for name in DATASETS}
    assert resample == {"gta5": "bicubic", "synthia": "bicubic", "cityscapes": "bilinear", "camvid": "bicubic"}


def test_the_default_reading_is_the_reviews() -> None:
    adapt = load(ROOT / "params.yaml").adapt
    assert (adapt.pseudo_labels, adapt.teacher_bn) == ("teacher", "running")
    assert (adapt.lambda_scope, adapt.lambda_counts, adapt.lambda_applies_to) == ("image", "mixed", "all")
    assert (adapt.pixel_weight, adapt.draw_void) == ("threshold_uniform", False)


def test_every_value_of_params_has_a_comment() -> None:
    """On its line, or on that of a key above it within its section; the blocks of scales repeat what is explained."""
    lines = (ROOT / "params.yaml").read_text().partition("\nscales:")[0].splitlines()
    explained: dict[int, bool] = {}  # by indentation
    silent = []
    for key in filter(None, (re.match(r"( *)([\w-]+):([^#]*)(#?)", line) for line in lines)):
        depth, is_section = len(key[1]), not key[1] and not key[3].strip()
        explained[depth] = not is_section and bool(key[4] or explained.get(depth - 2))
        if not (is_section or explained[depth] or "{}" in key[3]):
            silent.append(key[2])
    assert len(lines) > 100
    assert silent == []


# ---- what is wrong


@pytest.mark.parametrize(
    ("path", "value", "nearest"),
    [
        ("lopp", {}, "loop"),
        ("loop.bacth", 2, "batch"),
        ("model.aspp_branch", 4, "aspp_branches"),
        ("world.frames.citiscapes_val", 4, "cityscapes_val"),
        ("data.sources.synthya", "world", "synthia"),
        ("remap.gta", [90, 160], "gta5"),
        ("methods.dcas", {}, "dacs"),
        ("methods.dacs.treshold", 0.9, "threshold"),
        ("scales.smok", {}, "smoke"),
        ("scales.smoke.loop.bacth", 2, "batch"),
        ("scales.paper.adpat", {"steps": 2}, "adapt"),
        ("scales.smoke.world.frames.gta", 2, "gta5"),
        ("recipes.batch-4.loop.bacth", 4, "batch"),
        ("recipes.batch-4.lopp", {}, "loop"),
        ("recipes.batch-4.papr", {}, "paper"),
        ("recipes.official-code.paper.loop.nesterof", False, "nesterov"),
        ("recipes.daformer.base", "dacs-adam", "dacs-adamw"),
        ("scale", "dmeo", "demo"),
        ("recipe", "oficial-code", "official-code"),
        ("runs.tasks", ["gta-cityscapes"], "gta5"),
        ("runs.methods", ["source", "classmix"], "cutmix"),
        ("model.network", "deeplab_resnet100", "deeplab_resnet101"),
        ("model.network", "smal", "small"),
        ("loop.optimizer", "adam", "adamw"),
        ("adapt.init", "backbones", "backbone"),
        ("adapt.pixel_weight", "treshold", "threshold"),
        ("methods.naive.lambda_scope", "images", "image"),
        ("scales.smoke.remap.resample", "bicubik", "bicubic"),
        ("scales.paper.remap.resample.gta5", "opncv", "opencv"),
        ("remap.resample", {"gta": "bicubic"}, "gta5"),
    ],
)
def test_an_unknown_key_or_value_is_named_with_the_nearest_valid_one(path: str, value: Any, nearest: str) -> None:
    message = refusal(tiny.changed(path, value))
    block, key = re.fullmatch(r"((?:scales|recipes)\.[\w-]+(?=\.))?\.?(.*)", path).groups()
    assert key.split(".")[-1] in message
    assert (block or "params.yaml") in message
    assert f"did you mean '{nearest}'?" in message


def test_a_value_like_no_valid_one_is_answered_with_all_of_them() -> None:
    assert "valid: 2, 4." in refusal(tiny.changed("model.aspp_branches", 3))


def test_a_value_that_may_be_of_two_kinds_is_named_by_its_key_alone() -> None:
    assert 'loop.backbone_lr_factor is "three"; valid: listed.' in refusal(
        tiny.changed("loop.backbone_lr_factor", "three")
    )
    found = refusal(tiny.changed("remap.resample", {"gta5": "none"}))
    assert 'remap.resample.gta5 is "none"; valid: bicubic, bicubic_torch, bilinear, bilinear_torch, opencv.' in found


KINDS = [
    ("loop.batch", (2.5, "2", True, None, [2], 0)),
    ("loop.flip", (1, "yes")),
    ("loop.crop", (96, [96], [96, 96, 3], [96, "96"])),
    ("loop.backbone_lr_factor", (0.0, "three", None)),
    ("remap.resample", (None, ["bicubic"])),
    ("train.lr", ("0.1", True, 0.0, -0.1, math.inf, math.nan)),
    ("train.steps", (0,)),
    ("runs.seeds", (0, ["0"], [-1], [], [0, 1, 0])),
    ("runs.methods", ("dacs", ["dacs", "dacs"])),
    ("report.title", (5,)),
    ("methods.dacs", (None,)),
    ("methods.dacs.ema", ("high",)),
    ("methods.cowmix.cow_sigma", ([3.0, 2.0],)),
    ("model", ("small",)),
    ("scales.paper.loop", ([1],)),
    ("adapt.ema", (1.01,)),
    ("adapt.threshold", (-0.1,)),
    ("adapt.cow_sigma", ([0.0, 6.0], [6.0, 1.5])),
    ("adapt.blur_sigma", ([0.0, 0.0],)),
    ("world.scale", (0.01,)),
]


@pytest.mark.parametrize(("path", "value"), [(path, value) for path, values in KINDS for value in values])
def test_a_value_of_the_wrong_kind_or_out_of_range_is_refused_by_its_name(path: str, value: Any) -> None:
    message = refusal(tiny.changed(path, value))
    where = "scales.paper (overriding the rest): " if path.startswith("scales.paper.") else ""
    assert message.startswith(f"params.yaml: {where}{path.removeprefix('scales.paper.')}")


def test_a_number_that_yaml_takes_for_text_is_explained() -> None:
    message = refusal(yaml.safe_load(re.sub(r"\blr: [0-9.]+", "lr: 2e-3", (ROOT / "params.yaml").read_text())))
    assert "train.lr" in message
    assert "YAML takes 1e-3 for text" in message


def test_every_missing_key_is_named() -> None:
    tasks = ["gta5-cityscapes", "synthia-camvid"]
    content = {**tiny.changed("runs.tasks", tasks), "scales": {}, "recipes": {"shipped": {}}}
    optional = ("scale", "scales", "recipe", "recipes", "labels", "methods", "domains", "campaigns")
    keys = [(section, key) for section in content if section not in optional for key in content[section]]
    assert len(keys) > 60
    for section, key in keys:
        cut = {name: value for name, value in content[section].items() if name != key}
        assert f"{section}.{key} is missing" in refusal({**content, section: cut})


def test_all_findings_are_reported_at_once() -> None:
    message = refusal(tiny.changed("loop.bacth", 1, tiny.changed("train.lr", "x", tiny.changed("adapt.ema", 2))))
    assert all(name in message for name in ("loop.bacth", "train.lr", "adapt.ema"))


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({"paper": {"loop": {"nesterov": 1}}}, "recipes.x at scale: paper .*: loop.nesterov is 1"),
        ({"smoke": [1]}, "recipes.x.smoke should hold sections"),
        ({"base": "x"}, "recipes.x.base leads in a circle: x, x"),
        ({"base": "y"}, "recipes.x.base names 'y'"),
    ],
)
def test_what_is_wrong_in_a_recipe_is_refused_by_the_name_of_its_block(recipe: dict[str, Any], words: str) -> None:
    assert re.search(words, refusal(tiny.changed("recipes", {"shipped": {}, "x": recipe})))


@pytest.mark.parametrize("scales", [5, "demo", [1], {"smoke": 5}, {"smoke": "fast"}, {"smoke": [1]}])
def test_scales_that_are_no_blocks_are_refused_by_name(scales: Any) -> None:
    assert "scales" in refusal(tiny.changed("scales", scales))


def test_a_date_is_a_title_and_no_crash() -> None:
    content = yaml.safe_load((ROOT / "params.yaml").read_text().replace("title: Domain", "title: 2026-01-01 # Domain"))
    assert load(content).report.title == "2026-01-01"


@pytest.mark.parametrize("too_much", [(1, 0), (0, 1)])
@pytest.mark.parametrize("domain", DATASETS)
def test_a_crop_larger_than_the_frames_names_both(domain: str, too_much: tuple[int, int]) -> None:
    content = tiny.changed("scales", {})
    content["loop"]["crop"] = [50 + too_much[0], 60 + too_much[1]]
    content["remap"] |= {name: [60, 70] for name in DATASETS} | {domain: [50, 60]}
    content["runs"]["tasks"] = ["gta5-cityscapes", "synthia-camvid"]
    message = refusal(content)
    assert str(content["loop"]["crop"]) in message
    assert f"remap.{domain}" in message


def test_a_crop_is_compared_with_the_domains_that_are_used() -> None:
    small = tiny.changed("remap.synthia", [10, 10], tiny.changed("scales", {}))
    assert "remap.synthia" in refusal(small)
    load(tiny.changed("runs.tasks", ["gta5-cityscapes"], small))


def test_frames_of_each_domain_are_resized_as_the_table_says_or_all_in_one_way() -> None:
    fleet = {"train": {"images": "fleet/*.png"}, "size": [512, 1024]}
    content = tiny.changed("domains", {"fleet": fleet}, tiny.changed("runs.tasks", ["gta5-fleet"]))
    for resample, expected in (
        ("opencv", {"gta5": "opencv", "fleet": "opencv"}),
        ({"fleet": "bilinear"}, {"gta5": "bicubic", "fleet": "bilinear"}),
        ({"gta5": "bilinear"}, {"gta5": "bilinear", "fleet": "bicubic"}),
    ):
        params = load(tiny.changed("remap.resample", resample, content))
        assert {name: job_of(params, "remap", domain=name).model_dump()["resample"] for name in expected} == expected


def test_settings_that_do_not_go_together_are_refused_in_the_chosen_recipe_alone() -> None:
    assert "loop.batch" in refusal(tiny.changed("loop.batch", 1, tiny.changed("runs.methods", ["naive"])))
    assert "nesterov" in refusal(tiny.changed("loop.nesterov", True, tiny.changed("loop.momentum", 0.0)))
    listed = tiny.changed("recipes.batch-4.loop.backbone_lr_factor", "listed")
    load(listed)
    assert "loop.optimizer is adamw" in refusal(tiny.changed("recipe", "batch-4", listed))


@pytest.mark.parametrize("scale", SCALES)
def test_methods_are_compared_at_equal_steps_at_every_scale(scale: str) -> None:
    params = load(tiny.changed("scale", scale))
    source, oracle, dacs = (run_settings(params, "", method) for method in ("source", "oracle", "dacs"))
    begun = source.start or 0
    assert dacs.adapt is not None
    assert begun + dacs.adapt.steps == source.schedule.steps == oracle.schedule.steps
    assert (begun > 0) == (dacs.adapt.init == "source")
    assert oracle.start is None


@pytest.mark.parametrize(
    ("init", "train", "adapt", "refused"),
    [
        ("source", 11, 10, False),
        ("source", 10, 10, True),
        ("backbone", 10, 10, False),
        ("backbone", 12, 10, False),
        ("backbone", 9, 10, True),
    ],
)
def test_source_only_with_fewer_steps_than_adaptation_ends_with_is_refused(
    init: str, train: int, adapt: int, refused: bool
) -> None:
    content = tiny.content() | {"scales": {}, "recipes": {"shipped": {}}}
    for path, value in {"adapt.init": init, "train.steps": train, "adapt.steps": adapt}.items():
        content = tiny.changed(path, value, content)
    if refused:
        message = refusal(content)
        assert f"train.steps is {train}, adapt.steps {adapt}" in message
        assert "Give train.steps " in message
    else:
        start = run_settings(load(content), "", "source").start
        assert start == (train - adapt if init == "source" else None)


@pytest.mark.parametrize(("name", "value"), [("steps", 800), ("init", "source")])
def test_no_method_has_steps_or_initial_weights_of_its_own(name: str, value: Any) -> None:
    message = refusal(tiny.changed("methods.dacs", {"threshold": 0.9, name: value}))
    assert f"methods.dacs.{name} is given" in message
    assert f"Set adapt.{name} for all of them" in message


def test_frozen_statistics_need_weights_that_bring_them() -> None:
    without = tiny.changed("model.weights", "none")
    assert "train.bn_statistics is frozen, but model.weights is none" in refusal(without)
    load(tiny.changed("train.bn_statistics", "live", without))


@pytest.mark.parametrize("backbone", ["resnet18", "timm/", "timm/a b", "torchvision/resnet18"])
def test_a_backbone_is_named_with_its_library(backbone: str) -> None:
    assert "model.backbone" in refusal(tiny.changed("model.backbone", backbone))


def test_a_data_set_that_is_not_rendered_has_no_world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATASETS, "town", replace(DATASETS["gta5"], name="town"))
    assert "data.sources.town is world, which renders gta5" in refusal(tiny.changed("data.sources.town", "world"))
    load(tiny.changed("data.sources.town", "/data/town"))


def test_weights_and_convention_must_fit() -> None:
    assert "model.convention is torchvision" in refusal(tiny.changed("model.weights", "caffe_coco"))
    paper = tiny.changed("scale", "paper", tiny.changed("scales.paper.model.weights", "caffe_coco"))
    load(tiny.changed("scales.paper.model.convention", "caffe", paper))
    load(tiny.changed("model.weights", "mine.pth"))


def test_weights_that_the_network_does_not_have_are_named_at_once() -> None:
    small = tiny.changed("model.network", "small")
    assert "not published for small; valid: none." in refusal(tiny.changed("model.weights", "coco", small))
    other = tiny.changed("model.backbone", "timm/resnet18")
    assert "not published for timm/resnet18; valid: none, imagenet." in refusal(
        tiny.changed("model.weights", "coco", other)
    )
    wide = tiny.changed("model.network", "deeplab_resnet101")
    load(tiny.changed("model.weights", "coco", wide))
    assert "did you mean 'coco'?" in refusal(tiny.changed("model.weights", "cocoo", wide))


@pytest.mark.parametrize("text", ["a: [", "just words", "- 1\n- 2\n", "", None])
def test_a_file_that_is_missing_or_holds_no_sections_is_refused(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BadRequest, match=r"params\.yaml(, line 1)?: (not found|not YAML|it should hold sections)"):
        load(path)


# ---- what an edit concerns


def jobs(params: Params) -> dict[str, str]:
    """The settings file of every job there may be, by whose name a change is noticed."""
    found = {f"{verb} {name}": job_of(params, verb, domain=name) for verb in ("download", "remap") for name in DATASETS}
    found |= {f"world {name}": job_of(params, "world", domain=name) for name in WORLD}
    found |= {f"adapt {name}": job_of(params, "adapt", method=name) for name in ("adabn", *adapting(METHODS))}
    found |= {
        "train": job_of(params, "train", method="source"),
        "train oracle": job_of(params, "train", method="oracle"),
    }
    found |= {verb: job_of(params, verb, domain="cityscapes") for verb in ("evaluate", "figures", "report")}
    return {name: job_file(job) for name, job in found.items()}


ADAPT = tuple(f"adapt {method}" for method in adapting(METHODS))
RUNS = ("train", "train oracle", "adapt adabn", *ADAPT)


@pytest.mark.parametrize(
    ("path", "value", "concerned"),
    [
        ("methods.dacs", {"threshold": 0.9}, ("adapt dacs",)),
        ("methods.naive", {"lr": 0.01, "draw_void": True}, ("adapt naive",)),
        ("adapt.threshold", 0.9, ADAPT),
        ("adapt.steps", 7, ("train", *ADAPT)),  # training keeps the weights from which adaptation starts
        ("adapt.init", "backbone", ("train", *ADAPT)),
        ("adabn.frames", 7, ("adapt adabn", "evaluate")),
        ("train.steps", 2000, ("train", "train oracle")),
        ("loop.batch", 3, RUNS),
        ("model.aspp_branches", 2, RUNS),
        ("world.seed", 1, tuple(f"world {domain}" for domain in WORLD)),
        ("world.frames.gta5", 5, ("world gta5",)),
        ("world.frames.cityscapes_val", 5, ("world cityscapes",)),
        ("remap.synthia", [150, 240], ("remap synthia",)),
        ("remap.resample", "bilinear", tuple(f"remap {domain}" for domain in DATASETS)),
        ("remap.resample", {"cityscapes": "bilinear"}, ("remap cityscapes",)),  # others: bicubic
        ("evaluate.labels", "prepared", ("evaluate",)),
        ("evaluate.criteria_frames", 7, ("evaluate",)),
        ("evaluate.choose_by", "entropy", ("evaluate",)),
        ("figures.frames", 3, ("evaluate", "figures")),
        ("report.title", "Streets", ("report",)),
        ("runs.seeds", [0, 1], ("figures", "report")),
        ("evaluate.batch", 3, ()),
        ("loop.device", "cpu", ()),
        ("loop.workers", 2, ()),
        ("loop.checkpoint_every", 7, ()),
        ("model.weights_folder", "elsewhere", ()),
        ("data.archives", "elsewhere", ()),
        ("data.keep_archives", False, ()),
        ("data.parallel", 7, ()),
        ("data.mirrors", {"https://a/": "https://b/"}, ()),
        ("data.unverified_hosts", ["example.org"], ()),
    ],
)
def test_an_edit_changes_the_settings_that_it_concerns_and_no_other(
    path: str, value: Any, concerned: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plain = tiny.changed("methods", {method: {} for method in adapting(METHODS)})
    assert load(plain) != load(tiny.changed(path, value, plain))
    before, after = jobs(load(plain)), jobs(load(tiny.changed(path, value, plain)))
    assert {name for name in before if before[name] != after[name]} == {*concerned}


def test_a_job_reads_from_its_file_the_settings_of_today(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that have no effect on the result, by which the file is not named."""
    monkeypatch.chdir(tmp_path)
    for device in ("auto", "cpu"):
        job = job_of(load(tiny.changed("loop.device", device)), "evaluate", domain="cityscapes")
        text = Path(job_file(job)).read_text()
        assert EvaluateJob.model_validate_json(text) == job
        assert json.loads(text)["device"] == device
    assert "device" not in identity(job)
    assert len(list(tmp_path.rglob("*.json"))) == 1


def test_a_method_is_adapt_overridden_by_its_own_block() -> None:
    params = load(tiny.changed("methods", {"dacs": {"threshold": 0.5, "ema": 1}}))
    assert run_settings(params, "", "dacs").adapt == params.adapt.model_copy(update={"threshold": 0.5, "ema": 1.0})
    assert run_settings(params, "", "naive").adapt == params.adapt


# ---- label sets


TWO = {"drivable": {"color": [128, 64, 128], "of": ["road"]}, "other": {"color": [70, 70, 70], "of": ["building"]}}


def labelled(**changes: Any) -> dict[str, Any]:
    return tiny.changed("labels", {"classes": TWO | changes})


def test_a_label_set_reaches_the_jobs_that_it_concerns_and_the_default_reaches_none() -> None:
    own, default = load(labelled()), load(tiny.content())
    for verb in ("remap", "train", "adapt", "figures", "report"):
        names = {"domain": "cityscapes", "method": "dacs" if verb == "adapt" else "source"}
        assert job_of(own, verb, **names).labels == own.labels  # type: ignore[attr-defined]
        assert "labels" not in identity(job_of(default, verb, **names))
    assert job_of(own, "world", domain="gta5") == job_of(default, "world", domain="gta5")


def test_the_order_of_classes_reaches_the_jobs_and_matters_to_them() -> None:
    there, back = (load(tiny.changed("labels", {"classes": dict(table)})) for table in (TWO, reversed(TWO.items())))
    names = {"domain": "cityscapes"}
    files = [job_file(job_of(params, "remap", **names)) for params in (there, back)]
    read = [RemapJob.model_validate_json(Path(file).read_bytes()) for file in files]
    assert [label_set(job.labels).names for job in read] == [("drivable", "other"), ("other", "drivable")]
    assert files[0] != files[1]


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ("citiscapes", "labels names 'citiscapes'; did you mean 'cityscapes'?"),
        ({"classes": {"road": {"color": [1, 1, 1]}}}, "1 classes were given, 2 to 255 were expected"),
        ({"classes": TWO, "clases": {}}, "labels.clases is not known; did you mean 'classes'?"),
        ({"classes": TWO, "groups": {"all": ["othr"]}}, "groups.all names 'othr'; did you mean 'other'?"),
        ({"classes": TWO | {"ignore": {"color": [1, 1, 1]}}}, "classes.ignore: this name is taken"),
        ({"base": "cityscapes", "classes": {"car": {"color": [1, 1, 1]}}}, "classes.car: this name is taken"),
        ({"classes": TWO | {"x": {"color": [70, 70, 70]}}}, "color [70, 70, 70] is that of another class too"),
        ({"classes": TWO | {"x": {"color": [0, 0, 0]}}}, "is that of ignored pixels"),
        ({"classes": TWO | {"x": {"color": [1, 1, 256]}}}, "labels.classes.x.color.2 is 256"),
        (
            {"classes": TWO | {"x": {"color": [1, 1, 1], "of": ["road"]}}},
            "covers 'road', which drivable covers",
        ),
        (
            {"classes": TWO | {"x": {"color": [1, 1, 1], "of": ["raod"]}}},
            "'raod', which is in no data set; did you",
        ),
        (
            {"classes": {"coin": {"color": [1, 1, 1]}, "x": {"color": [2, 2, 2]}}},
            "none of the classes is in city",
        ),
    ],
)
def test_a_label_set_that_cannot_be_meant_is_refused(labels: Any, said: str) -> None:
    assert said in refusal(tiny.changed("labels", labels))


def test_daformer_needs_things() -> None:
    content = tiny.changed("runs.methods", ["source", "daformer"], labelled())
    assert "no class is a thing" in refusal(content)
    load(tiny.changed("runs.methods", ["source", "daformer"], labelled(car={"color": [1, 1, 1], "thing": True})))


def test_the_classes_of_a_custom_domain_are_those_of_the_label_set() -> None:
    files = {"images": "/x/*.png", "labels": "/y/*.png"}
    table = {"train": files, "val": files, "size": [96, 192]}

    def with_classes(classes: dict[Any, Any], **more: Any) -> dict[str, Any]:
        content = tiny.changed("domains", {"drone": {**table, "classes": classes, **more}}, labelled())
        return tiny.changed("runs.tasks", ["gta5-drone"], content)

    load(with_classes({0: "drivable", 40000: "other", 255: "ignore"}))
    load(with_classes({0: ["drivable", "other"]}))
    for classes, said in (
        ({0: "road"}, "domains.drone.classes.0 names 'road'; "),
        ({0: ["drivable", "other"], 1: "other"}, "counts 'other' as 'drivable', but another id counts it as 'other'"),
        ({0: ["drivable", "ignore"]}, "names ignore beside a class"),
        ({0: []}, "domains.drone.classes.0 is []; the name of a class, or a list of names, was expected"),
        ({70000: "other"}, "'70000' is too high; ids are 0 to 65535"),
    ):
        assert said in refusal(with_classes(classes))
    assert "absent names 'othr'; did you mean 'other'?" in refusal(with_classes({0: "drivable"}, absent=["othr"]))
    lacking = job_of(load(with_classes({0: "drivable"})), "evaluate", domain="drone")
    assert isinstance(lacking, EvaluateJob)
    assert lacking.absent == ["other"]
    assert list(notes(load(with_classes({0: "drivable"})))) == [
        "gta5-drone: drone has no other; means are over 1 of 2 classes."
    ]
    unlabelled = tiny.changed("domains", {"drone": {"train": {"images": "/x/*.png"}, "size": [96, 192]}}, labelled())
    assert not list(notes(load(tiny.changed("runs.tasks", ["gta5-drone"], unlabelled))))
    assert not list(notes(load(tiny.content())))


def test_what_a_source_cannot_teach_is_said_before_anything_runs() -> None:
    content = tiny.changed("labels", {"base": "cityscapes", "classes": {"lane marking": {"color": [255, 255, 0]}}})
    assert list(notes(load(tiny.changed("runs.tasks", ["gta5-cityscapes"], content)))) == [
        "gta5-cityscapes: cityscapes has no lane marking; means are over 19 of 20 classes."
    ]


@pytest.mark.parametrize(
    ("key", "said"), [("no", "YAML takes no for False"), ("on", "YAML takes on for True"), ("null", "null for None")]
)
def test_words_that_yaml_takes_for_something_else_are_refused(key: str, said: str, tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text().replace("labels: cityscapes", f"labels: {{classes: {{{key}: {{}}}}}}")
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(BadRequest, match=said):
        load(tmp_path / "params.yaml")
