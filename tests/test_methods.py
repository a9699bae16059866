"""The table of methods: each is of one kind, and what the report counts gains from follows from it."""

import pytest

from dacs.errors import BadRequest
from dacs.methods import METHODS, adapting, baselines, main_method, method, recalibrating, supervised


def test_every_method_is_of_exactly_one_kind() -> None:
    kinds = supervised(METHODS), adapting(METHODS), recalibrating(METHODS)
    assert sorted(name for kind in kinds for name in kind) == sorted(METHODS)
    assert supervised(METHODS) == ["source", "oracle"]
    assert recalibrating(METHODS) == ["adabn"]


def test_baselines_use_no_label_of_the_target_and_are_not_trained_on_it() -> None:
    assert baselines(METHODS) == ["source", "adabn", "adabn_trained"]
    assert baselines(["dacs", "oracle"]) == []


@pytest.mark.parametrize(
    ("names", "main"),
    [
        (METHODS, "dacs"),
        (["source", "adabn", "naive", "cutmix"], "cutmix"),
        (["source", "adabn", "adabn_trained", "oracle"], None),
        ([], None),
    ],
)
def test_the_main_method_is_one_that_adapts(names: list[str], main: str | None) -> None:
    assert main_method(names) == main


def test_an_unknown_method_is_answered_with_the_nearest() -> None:
    with pytest.raises(BadRequest, match="'adabm' is not a method; did you mean 'adabn'"):
        method("adabm")
