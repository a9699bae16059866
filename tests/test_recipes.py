"""Recipes say exactly what the codes that they are named after do: every value against what was read in those codes."""

from typing import Any, get_args

import pytest
import tiny
import torch

from dacs.adaptation.losses import pixel_weights
from dacs.adaptation.mixing import mix
from dacs.config import load
from dacs.fields import Scale
from dacs.jobs import run_settings
from dacs.methods import METHODS, adapting
from dacs.settings import Adapt, Params
from dacs.types import LabelledImages

RECIPES = list(tiny.content()["recipes"])
SCALES = get_args(Scale)


def params_of(recipe: str, scale: str = "paper") -> Params:
    return load(tiny.changed("scale", scale, tiny.changed("recipe", recipe)))


def flat(section: Any) -> dict[str, Any]:
    """Values by `section.key`, as in params.yaml."""
    values = section.model_dump(mode="json")
    return {
        f"{name}.{key}": value
        for name in values
        if isinstance(values[name], dict)
        for key, value in values[name].items()
    }


# ---- what each one changes

OFFICIAL_CODE = {
    "evaluate.labels": "prepared",
    "model.aspp_branches": 2,
    "adapt.teacher_bn": "batch",
    "adapt.lambda_scope": "batch",
    "adapt.lambda_counts": "target",
    "adapt.lambda_applies_to": "target",
    "adapt.draw_void": True,
    "methods.naive": {"lambda_counts": "mixed", "draw_half": "down"},
}
OFFICIAL_CODE_AT_PAPER = OFFICIAL_CODE | {
    "model.weights": "caffe_coco",
    "model.convention": "caffe",
    "loop.nesterov": False,
    "loop.backbone_lr_factor": "listed",
}
DACS_ADAMW = {
    "runs.methods": ["source", "dacs"],
    "model.aspp_branches": 2,
    "loop.largest_class": 0.75,
    "loop.source_mean": "all",
    "adapt.teacher_bn": "batch",
    "adapt.ema_update": "before",
    "adapt.lambda_scope": "batch",
    "adapt.lambda_counts": "target",
    "adapt.lambda_applies_to": "target",
    "adapt.draw_void": True,
    "adapt.draw_classes_of": "batch",
    "adapt.jitter_strength": 0.2,
}
DACS_ADAMW_AT_PAPER = DACS_ADAMW | {
    "remap.gta5": [704, 1280],
    "remap.resample": "opencv",
    "model.network": "deeplab_timm",
    "model.backbone": "timm/resnet101c",
    "model.weights": "imagenet",
    "model.bn_affine": "trained",
    "loop.flip": True,
    "loop.optimizer": "adamw",
    "loop.weight_decay": 0.01,
    "loop.poly_power": 1.0,
    "loop.warmup": 1500,
    "loop.warmup_ratio": 1e-6,
    "train.steps": 40_000,
    "train.lr": 6e-5,
    "adapt.steps": 40_000,
    "adapt.lr": 6e-5,
}
DAFORMER_AT_PAPER = DACS_ADAMW_AT_PAPER | {
    "runs.methods": ["source", "daformer"],
    "model.network": "daformer",
    "model.backbone": "timm/pvt_v2_b5",
    "model.drop_path": 0.1,
    "loop.norm_decay": False,
}
MIC = {"runs.methods": ["source", "dacs", "mic"]}
MIC_DAFORMER = {"runs.methods": ["source", "daformer", "mic_daformer"]}
DIFFERENCES: dict[tuple[str, str], dict[str, Any]] = {
    ("shipped", "paper"): {},
    ("review-text", "demo"): {},
    ("review-text", "paper"): {},
    ("batch-4", "demo"): {},
    ("batch-4", "paper"): {"loop.batch": 4},
    ("official-code", "demo"): OFFICIAL_CODE,
    ("official-code", "paper"): OFFICIAL_CODE_AT_PAPER,
    ("dacs-adamw", "demo"): DACS_ADAMW,
    ("dacs-adamw", "paper"): DACS_ADAMW_AT_PAPER,
    ("daformer", "demo"): DACS_ADAMW | {"runs.methods": ["source", "daformer"]},
    ("daformer", "paper"): DAFORMER_AT_PAPER,
    ("mic-dacs", "demo"): DACS_ADAMW | MIC,
    ("mic-dacs", "paper"): DACS_ADAMW_AT_PAPER | MIC,
    ("mic-daformer", "demo"): DACS_ADAMW | MIC_DAFORMER,
    ("mic-daformer", "paper"): DAFORMER_AT_PAPER | MIC_DAFORMER,
}


def test_the_table_below_has_every_recipe() -> None:
    assert {recipe for recipe, _ in DIFFERENCES} == {*RECIPES}


@pytest.mark.parametrize(("recipe", "scale"), DIFFERENCES)
def test_a_recipe_changes_what_the_reference_lists_and_nothing_else(recipe: str, scale: str) -> None:
    plain, found = flat(params_of("shipped", scale)), flat(params_of(recipe, scale))
    assert {name: value for name, value in found.items() if plain[name] != value} == DIFFERENCES[recipe, scale]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_gives_the_settings_of_its_runs_at_every_scale(recipe: str, scale: str) -> None:
    params = params_of(recipe, scale)
    settings = {name: run_settings(params, "", name) for name in (*params.runs.methods, *adapting(METHODS))}
    assert all((found.adapt is not None) == METHODS[name].adapts for name, found in settings.items())


# ---- DAFormer's code: sections 1.3 to 1.7 and 5 of the reference

UNCHANGED = {  # of the paper scale
    "loop.batch": 2,
    "loop.accumulate": 1,
    "loop.crop": [512, 512],
    "loop.backbone_lr_factor": 1.0,  # 6e-5
    "loop.head_lr_factor": 10.0,  # 6e-4
    "adapt.init": "backbone",
    "adapt.bn_statistics": "live",
    "adapt.pseudo_labels": "teacher",
    "adapt.threshold": 0.968,
    "adapt.pixel_weight": "threshold_uniform",
    "adapt.consistency_weight": 1.0,
    "adapt.draw_half": "up",
    "adapt.jitter_probability": 0.8,
    "adapt.blur_probability": 0.5,
    "adapt.blur_sigma": [0.15, 1.15],
}
DEEPLAB = {"adapt.ema": 0.99, "adapt.margins": [0.0, 0.0], "model.aspp_branches": 2, "loop.norm_decay": True}
TRANSFORMER = {
    "adapt.ema": 0.999,
    "adapt.margins": [15 / 512, 120 / 512],
    "model.head_width": 256,
    "model.drop_path": 0.1,
    "loop.norm_decay": False,
    "adapt.rare_class_sampling": True,
    "adapt.rare_class_temperature": 0.01,
    "adapt.rare_class_crop": 1500 / 512**2,
    "adapt.feature_distance": 0.005,
}
MASKS = {"adapt.masked_weight": 1.0, "adapt.mask_block": 32, "adapt.mask_ratio": 0.7}


@pytest.mark.parametrize(
    ("recipe", "method", "expected"),
    [
        ("dacs-adamw", "dacs", DEEPLAB),
        ("daformer", "daformer", TRANSFORMER),
        ("mic-dacs", "mic", DEEPLAB | MASKS),
        ("mic-daformer", "mic_daformer", TRANSFORMER | MASKS),
    ],
)
def test_the_recipes_of_daformer_and_mic_have_the_values_of_their_codes(
    recipe: str, method: str, expected: dict[str, Any]
) -> None:
    params = params_of(recipe)
    found = flat(run_settings(params, "", method))
    assert {name: found[name] for name in (UNCHANGED | expected)} == UNCHANGED | expected
    assert (params.train.bn_statistics, params.runs.seeds) == ("live", [0, 1, 2])
    assert params.adapt.rare_class_frame == pytest.approx(3000 / (1914 * 1052), abs=1e-6)


def test_frames_are_resized_as_in_daformers_code_each_fitted_into_a_box() -> None:
    remap = params_of("daformer").remap
    for name, (height, width), box in (
        ("gta5", (1052, 1914), (720, 1280)),
        ("synthia", (760, 1280), (760, 1280)),
        ("cityscapes", (1024, 2048), (512, 1024)),
    ):
        factor = min(box[0] / height, box[1] / width)
        assert remap.sizes[name] == (round(height * factor), round(width * factor))
        assert remap.resample_of(name) == "opencv"


# ---- the code of DACS


def test_the_official_code_is_as_the_authors_have_released_it() -> None:
    """configUDA.json and what trainUDA.py does, where settings can say it."""
    params = params_of("official-code")
    loop, adapt, model = params.loop, params.adapt, params.model
    assert (loop.optimizer, loop.momentum, loop.nesterov, loop.weight_decay) == ("sgd", 0.9, False, 5e-4)
    assert (loop.batch, loop.crop, loop.flip, loop.poly_power, loop.warmup) == (2, (512, 512), False, 0.9, 0)
    assert (loop.backbone_lr_factor, loop.head_lr_factor) == ("listed", 10)
    assert (loop.source_mean, loop.largest_class) == ("labelled", 1)
    assert (adapt.steps, adapt.lr, adapt.init, adapt.ema, adapt.threshold) == (250000, 2.5e-4, "backbone", 0.99, 0.968)
    assert (adapt.bn_statistics, adapt.ema_update, adapt.margins) == ("live", "after", (0, 0))
    assert (adapt.pseudo_labels, adapt.teacher_bn, adapt.pixel_weight) == ("teacher", "batch", "threshold_uniform")
    assert (adapt.lambda_scope, adapt.lambda_counts, adapt.lambda_applies_to) == ("batch", "target", "target")
    assert (adapt.draw_void, adapt.draw_classes_of, adapt.draw_half) == (True, "image", "up")
    assert (adapt.consistency_weight, adapt.cow_sigma, adapt.cow_share) == (1, (8, 32), 1 - 0.5)
    assert (adapt.jitter_probability, adapt.jitter_strength) == (0.8, 0.25)
    assert (adapt.blur_probability, adapt.blur_sigma) == (0.5, (0.15, 1.15))
    assert (model.network, model.aspp_branches, model.bn_affine) == ("deeplab_resnet101", 2, "frozen")


def test_naive_mixing_of_the_official_code_is_that_of_classmix() -> None:
    """Of five classes two are pasted; λ, the confident share of the mixed images of the batch, weighs all pixels."""
    adapt = run_settings(params_of("official-code"), "", "naive").adapt
    assert isinstance(adapt, Adapt)
    labels = torch.arange(5).repeat_interleave(torch.arange(1, 6)).repeat(2, 4, 1)  # one to five columns of each
    confidence = torch.tensor([0.97, 0.5])[:, None, None].expand(labels.shape)
    target = LabelledImages(torch.rand(2, 3, 4, 15), labels, confidence)
    source = LabelledImages(target.images, labels.flip(-1), torch.ones_like(confidence))
    mixed, mask, ground_truth = mix(METHODS["naive"], source, target, torch.Generator().manual_seed(3), adapt)
    assert [len(label[pasted].unique()) for label, pasted in zip(labels, mask, strict=True)] == [2, 2]
    weights, share = pixel_weights(mixed, target, ground_truth, adapt)
    confident = float((mixed.confidence > 0.9).float().mean())
    assert confident != 0.5  # that of the images before
    assert share.tolist() == pytest.approx([confident] * 2)
    assert torch.equal(weights, share[0].expand_as(weights))
