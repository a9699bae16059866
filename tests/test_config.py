"""params.yaml as shipped is whole at every scale; what is wrong in it is named; an edit redoes what it concerns."""

import json
import math
import re
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
import tiny
import yaml

from dacs import config
from dacs.config import Params, adapt_of, load, settings_for
from dacs.errors import BadRequest
from dacs.provenance import ROOT, canonical

SCALES = get_args(config.Scale)
METHODS = get_args(config.Method)
DOMAINS = get_args(config.Domain)


def refusal(content: dict[str, Any]) -> str:
    with pytest.raises(BadRequest) as caught:
        load(content)
    return str(caught.value)


# ---- as shipped


@pytest.mark.parametrize("scale", SCALES)
def test_params_as_shipped_load_at_every_scale(scale: str) -> None:
    params = load(tiny.changed("scale", scale))
    assert params.scale == scale


def test_the_file_and_its_content_are_the_same_params() -> None:
    assert load(ROOT / "params.yaml") == load(tiny.content())


def test_the_shipped_scale_is_the_demo_with_all_that_the_report_shows() -> None:
    params = load(ROOT / "params.yaml")
    assert params.scale == "demo"
    assert {"source", "pseudo", "naive", "dacs"} <= set(params.runs.methods)
    assert params.runs.tasks == ["gta5-cityscapes", "synthia-cityscapes"]


def test_a_scale_is_laid_over_the_rest_key_by_key() -> None:
    content = tiny.changed("scales.smoke.loop.batch", 3, tiny.changed("scale", "smoke"))
    params, plain = load(content), load(tiny.content())
    assert params.loop.batch == 3
    assert list(params.loop.crop) == content["scales"]["smoke"]["loop"]["crop"]
    assert params.loop.momentum == plain.loop.momentum
    assert plain.loop.batch == tiny.content()["loop"]["batch"]


def test_the_paper_scale_is_the_authors_schedule() -> None:
    params = load(tiny.changed("scale", "paper"))
    assert (params.adapt.steps, params.adapt.lr, params.loop.batch, params.loop.crop) == (
        250_000,
        2.5e-4,
        2,
        (512, 512),
    )
    assert (params.loop.optimizer, params.loop.momentum, params.loop.weight_decay) == ("sgd", 0.9, 5e-4)
    assert (params.loop.poly_power, params.loop.warmup, params.loop.head_lr_factor) == (0.9, 0, 10)
    assert (params.model.network, params.model.bn_affine) == ("deeplab_resnet101", "frozen")
    assert (params.adapt.ema, params.adapt.threshold) == (0.99, 0.968)
    assert (params.remap.gta5, params.remap.cityscapes) == ((720, 1280), (512, 1024))


def test_the_default_reading_is_the_seeds() -> None:
    adapt = load(ROOT / "params.yaml").adapt
    assert (adapt.pseudo_labels, adapt.teacher_bn) == ("teacher", "running")
    assert (adapt.lambda_scope, adapt.lambda_counts, adapt.lambda_applies_to) == ("image", "mixed", "all")
    assert (adapt.pixel_weight, adapt.draw_void) == ("threshold_uniform", False)


def commented(text: str) -> dict[str, bool]:
    """Whether each value's line, or that of a key above it within its section, has a comment; by dotted name."""
    lines = text.splitlines()
    found: dict[str, bool] = {}

    def walk(node: yaml.Node, name: str, told: bool) -> None:
        if isinstance(node, yaml.MappingNode) and node.value:
            for key, value in node.value:
                here = "#" in lines[key.start_mark.line]
                empty = isinstance(value, yaml.MappingNode) and not value.value
                walk(value, f"{name}.{key.value}".lstrip("."), here or (told and ("." in name or empty)))
        else:
            found[name] = told

    walk(yaml.compose(text), "", False)
    return found


def test_every_value_of_params_has_a_comment() -> None:
    found = commented((ROOT / "params.yaml").read_text())
    # Blocks of scales repeat keys that are told of above; a method's empty block is told of by its section.
    silent = [name for name, told in found.items() if not told and not name.startswith("scales.")]
    assert silent == []


def test_every_key_has_words_in_the_schema_and_the_schema_on_disk_is_fresh() -> None:
    schema = config.schema()
    for name, section in {"Params": schema, **schema["$defs"]}.items():
        for key, value in section.get("properties", {}).items():
            assert value.get("description"), f"{name}.{key}"
    on_disk = json.loads((ROOT / "workflow/schemas/params.schema.json").read_text())
    assert on_disk == json.loads(json.dumps(schema)), "run: dacs schema --out workflow/schemas/params.schema.json"


def test_the_schema_takes_the_shipped_params_and_refuses_typos() -> None:
    validator = jsonschema.Draft202012Validator(config.schema())
    validator.check_schema(config.schema())
    validator.validate(tiny.content())
    for path in (
        "loop.bacth",
        "scales.smoke.loop.bacth",
        "methods.dacs.treshold",
        "scales.paper.lopp",
        "reprot",
    ):
        assert list(validator.iter_errors(tiny.changed(path, 1))), path


# ---- what is wrong


@pytest.mark.parametrize(
    ("path", "value", "nearest"),
    [
        ("lopp", {}, "loop"),
        ("loop.bacth", 2, "batch"),
        ("model.aspp_branch", 4, "aspp_branches"),
        ("world.frames.citiscapes_val", 4, "cityscapes_val"),
        ("data.sources.synthya", "world", "synthia"),
        ("methods.dcas", {}, "dacs"),
        ("methods.dacs.treshold", 0.9, "threshold"),
        ("scales.smoke.loop.bacth", 2, "batch"),
        ("scales.paper.adpat", {"steps": 2}, "adapt"),
        ("scales.smoke.world.frames.gta", 2, "gta5"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_valid_one(path: str, value: Any, nearest: str) -> None:
    message = refusal(tiny.changed(path, value))
    named = path.removeprefix("scales.smoke.").removeprefix("scales.paper.")
    assert named in message
    assert f"did you mean '{nearest}'?" in message
    assert ("scales." in message) == path.startswith("scales.")


@pytest.mark.parametrize(
    ("path", "value", "nearest"),
    [
        ("scale", "dmeo", "demo"),
        ("runs.tasks", ["gta-cityscapes"], "gta5"),
        ("runs.methods", ["source", "classmix"], "cutmix"),
        ("model.network", "deeplab_resnet100", "deeplab_resnet101"),
        ("model.network", "smal", "small"),
        ("loop.optimizer", "adam", "adamw"),
        ("adapt.init", "backbones", "backbone"),
        ("adapt.pixel_weight", "treshold", "threshold"),
        ("methods.naive.lambda_scope", "images", "image"),
        ("scales.smok", {}, "smoke"),
        ("scales.smoke.remap.resample", "bicubik", "bicubic"),
    ],
)
def test_an_unknown_value_is_named_with_the_nearest_valid_one(path: str, value: Any, nearest: str) -> None:
    content = tiny.changed("methods.naive", {}, tiny.content())
    message = refusal(tiny.changed(path, value, content))
    assert path.split(".")[-1] in message
    assert f"did you mean '{nearest}'?" in message


def test_a_value_like_no_valid_one_is_answered_with_all_of_them() -> None:
    assert "valid: 2, 4." in refusal(tiny.changed("model.aspp_branches", 3))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("loop.batch", 2.5),
        ("loop.batch", "2"),
        ("loop.batch", True),
        ("loop.batch", None),
        ("loop.batch", [2]),
        ("loop.flip", 1),
        ("loop.flip", "yes"),
        ("loop.crop", 96),
        ("loop.crop", [96]),
        ("loop.crop", [96, 96, 3]),
        ("loop.crop", [96, "96"]),
        ("train.lr", "0.1"),
        ("train.lr", True),
        ("runs.seeds", 0),
        ("runs.seeds", ["0"]),
        ("runs.methods", "dacs"),
        ("report.title", 5),
        ("methods.dacs", None),
        ("methods.dacs.ema", "high"),
        ("model", "small"),
        ("scales.paper.loop", [1]),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_by_its_name(path: str, value: Any) -> None:
    content = tiny.changed(path, value)
    named = path.removeprefix("scales.paper.")
    message = refusal(content)
    assert named in message.splitlines()[0]
    assert message.startswith("params.yaml: ")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("loop.batch", 0),
        ("train.steps", 0),
        ("train.lr", 0.0),
        ("train.lr", -0.1),
        ("train.lr", math.inf),
        ("train.lr", math.nan),
        ("adapt.ema", 1.01),
        ("adapt.threshold", -0.1),
        ("adapt.cow_sigma", [0.0, 6.0]),
        ("adapt.cow_sigma", [6.0, 1.5]),
        ("adapt.blur_sigma", [0.0, 0.0]),
        ("methods.cowmix.cow_sigma", [3.0, 2.0]),
        ("world.scale", 0.01),
        ("runs.seeds", [-1]),
        ("runs.seeds", []),
        ("runs.seeds", [0, 1, 0]),
        ("runs.methods", ["dacs", "dacs"]),
    ],
)
def test_a_value_out_of_range_is_refused_by_its_name(path: str, value: Any) -> None:
    assert path in refusal(tiny.changed(path, value)).splitlines()[0]


def test_a_number_that_yaml_takes_for_text_is_explained() -> None:
    message = refusal(yaml.safe_load(re.sub(r"\blr: [0-9.]+", "lr: 2e-3", (ROOT / "params.yaml").read_text())))
    assert "train.lr" in message
    assert "YAML takes 1e-3 for text" in message


def test_every_missing_key_is_named() -> None:
    content = tiny.content()
    for section, inner in content.items():
        if section in ("scale", "scales", "recipe", "recipes", "methods"):
            continue
        for key in inner:
            cut = {
                **content,
                section: {name: value for name, value in inner.items() if name != key},
                "scales": {},
            }
            assert f"{section}.{key} is missing" in refusal(cut)


def test_all_findings_are_told_at_once() -> None:
    message = refusal(tiny.changed("loop.bacth", 1, tiny.changed("train.lr", "x", tiny.changed("adapt.ema", 2))))
    assert all(name in message for name in ("loop.bacth", "train.lr", "adapt.ema"))


@pytest.mark.parametrize("scales", [5, "demo", [1], {"smoke": 5}, {"smoke": "fast"}, {"smoke": [1]}])
def test_scales_that_are_no_blocks_are_refused_by_name(scales: Any) -> None:
    assert "scales" in refusal(tiny.changed("scales", scales))


def test_a_scale_that_is_not_chosen_is_checked_too() -> None:
    assert "scales.paper" in refusal(tiny.changed("scales.paper.train.steps", "many"))


def test_a_date_is_a_title_and_no_crash() -> None:
    content = yaml.safe_load((ROOT / "params.yaml").read_text().replace("title: Domain", "title: 2026-01-01 # Domain"))
    assert load(content).report.title == "2026-01-01"


@pytest.mark.parametrize("too_much", [(1, 0), (0, 1)])
@pytest.mark.parametrize("domain", DOMAINS)
def test_a_crop_larger_than_the_frames_names_both(domain: str, too_much: tuple[int, int]) -> None:
    content = tiny.changed("scales", {})
    content["loop"]["crop"] = [50 + too_much[0], 60 + too_much[1]]
    content["remap"] |= {name: [60, 70] for name in DOMAINS} | {domain: [50, 60]}
    message = refusal(content)
    assert str(content["loop"]["crop"]) in message
    assert f"remap.{domain}" in message


def test_a_crop_is_compared_with_the_domains_that_are_used() -> None:
    small = tiny.changed("remap.synthia", [10, 10], tiny.changed("scales", {}))
    assert "remap.synthia" in refusal(small)
    load(tiny.changed("runs.tasks", ["gta5-cityscapes"], small))


def test_settings_that_do_not_go_together_are_refused() -> None:
    assert "loop.batch" in refusal(tiny.changed("loop.batch", 1, tiny.changed("runs.methods", ["naive"])))
    assert "nesterov" in refusal(tiny.changed("loop.nesterov", True, tiny.changed("loop.momentum", 0.0)))


@pytest.mark.parametrize("text", ["a: [", "just words", "- 1\n- 2\n", ""])
def test_a_file_that_holds_no_sections_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(BadRequest):
        load(path)


def test_a_missing_file_is_told_in_words(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="not found"):
        load(tmp_path / "params.yaml")


# ---- what an edit concerns


def jobs(params: Params) -> dict[str, str]:
    """The settings of every job there may be, as the text by which their change is seen."""
    found = {
        f"{verb} {domain}": settings_for(params, verb, domain=domain)
        for verb in ("world", "remap")
        for domain in DOMAINS
    }
    found |= {f"adapt {method}": settings_for(params, "adapt", method=method) for method in METHODS}
    found |= {verb: settings_for(params, verb) for verb in ("train", "evaluate", "figures", "report")}
    return {name: canonical(value) for name, value in found.items()}


ADAPT = tuple(f"adapt {method}" for method in METHODS)


@pytest.mark.parametrize(
    ("path", "value", "concerned"),
    [
        ("methods.dacs", {"threshold": 0.9}, ("adapt dacs",)),
        ("methods.naive", {"steps": 10, "draw_void": True}, ("adapt naive",)),
        ("adapt.threshold", 0.9, ADAPT),
        ("train.steps", 7, ("train",)),
        ("loop.batch", 3, ("train", *ADAPT)),
        ("model.aspp_branches", 2, ("train", *ADAPT)),
        ("world.seed", 1, tuple(f"world {domain}" for domain in DOMAINS)),
        ("world.frames.gta5", 5, ("world gta5",)),
        ("world.frames.cityscapes_val", 5, ("world cityscapes",)),
        ("remap.synthia", [150, 240], ("remap synthia",)),
        ("remap.resample", "bilinear", tuple(f"remap {domain}" for domain in DOMAINS)),
        ("evaluate.batch", 3, ("evaluate",)),
        ("figures.frames", 3, ("evaluate",)),
        ("report.title", "Streets", ()),
        ("runs.seeds", [0, 1], ()),
    ],
)
def test_an_edit_changes_the_settings_that_it_concerns_and_no_other(
    path: str, value: Any, concerned: tuple[str, ...]
) -> None:
    plain = tiny.changed("methods", {method: {} for method in METHODS})
    before, after = jobs(load(plain)), jobs(load(tiny.changed(path, value, plain)))
    changed = {name for name in before if before[name] != after[name]}
    assert changed - {"figures", "report"} == set(concerned)  # the report shows all params
    assert "report" in changed


def test_a_method_is_adapt_with_its_own_block_laid_over() -> None:
    params = load(tiny.changed("methods", {"dacs": {"threshold": 0.5, "ema": 1}}))
    assert adapt_of(params, "dacs") == {**params.adapt.model_dump(mode="json"), "threshold": 0.5, "ema": 1}
    assert adapt_of(params, "naive") == params.adapt.model_dump(mode="json")


def test_settings_are_plain_values() -> None:
    for method in METHODS:
        text = canonical(settings_for(load(tiny.content()), "adapt", method=method))
        assert canonical(json.loads(text)) == text


def test_an_unknown_verb_is_answered_with_the_nearest() -> None:
    with pytest.raises(BadRequest, match="did you mean 'train'"):
        settings_for(load(tiny.content()), "trian")


RECIPES = list(tiny.content()["recipes"])


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_laid_over_the_scale_and_nothing_else_changes(recipe: str) -> None:
    content = tiny.changed("scale", "paper")
    plain = config.load(content).model_dump(mode="json")
    found = config.load(tiny.changed("recipe", recipe, content)).model_dump(mode="json")
    block = content["recipes"][recipe]
    for section, value in found.items():
        expected = recipe if section == "recipe" else plain[section]
        if section in block:
            expected = {**expected, **block[section]}
        assert value == expected


def test_an_unknown_recipe_is_named_with_the_nearest_one() -> None:
    assert "did you mean 'official-code'?" in refusal(tiny.changed("recipe", "oficial-code"))


def test_a_typo_in_a_recipe_that_is_not_chosen_is_found() -> None:
    message = refusal(tiny.changed("recipes.batch-4.loop.bacth", 4))
    assert "recipes.batch-4" in message
    assert "did you mean 'batch'?" in message


def test_the_official_code_is_as_the_authors_have_released_it() -> None:
    """configUDA.json and what trainUDA.py does, where settings can say it."""
    content = tiny.changed("recipe", "official-code", tiny.changed("scale", "paper"))
    params = config.load(content)
    loop, adapt, model = params.loop, params.adapt, params.model
    assert (loop.optimizer, loop.momentum, loop.nesterov, loop.weight_decay) == ("sgd", 0.9, False, 5e-4)
    assert (loop.batch, loop.crop, loop.flip, loop.poly_power, loop.warmup) == (2, (512, 512), False, 0.9, 0)
    assert (loop.backbone_lr_factor, loop.head_lr_factor) == (3, 10)
    assert (adapt.steps, adapt.lr, adapt.init, adapt.ema, adapt.threshold) == (250000, 2.5e-4, "backbone", 0.99, 0.968)
    assert (adapt.pseudo_labels, adapt.teacher_bn, adapt.pixel_weight) == ("teacher", "batch", "threshold_uniform")
    assert (adapt.lambda_scope, adapt.lambda_counts, adapt.lambda_applies_to) == ("batch", "target", "target")
    assert (adapt.draw_void, adapt.consistency_weight) == (True, 1)
    assert (adapt.jitter_probability, adapt.jitter_strength) == (0.8, 0.25)
    assert (adapt.blur_probability, adapt.blur_sigma) == (0.5, (0.15, 1.15))
    assert (model.network, model.aspp_branches, model.bn_affine) == ("deeplab_resnet101", 2, "frozen")


def test_weights_and_convention_must_fit() -> None:
    caffe = tiny.changed("model.weights", "caffe_coco")
    assert "model.convention is torchvision" in refusal(caffe)
    paper = tiny.changed("scale", "paper", tiny.changed("scales.paper.model.weights", "caffe_coco"))
    config.load(tiny.changed("scales.paper.model.convention", "caffe", paper))
    config.load(tiny.changed("model.weights", "mine.pth"))


def test_weights_that_the_network_does_not_have_are_named_at_once() -> None:
    assert "small has not; valid: none." in refusal(tiny.changed("model.weights", "coco"))
    wide = tiny.changed("model.network", "deeplab_resnet101")
    config.load(tiny.changed("model.weights", "coco", wide))
    assert "did you mean 'coco'?" in refusal(tiny.changed("model.weights", "cocoo", wide))
