"""Laws of the report: its arithmetic, its bytes, what the page may not do, and how it copes with less."""

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import fake_runs
import numpy as np
import pandas as pd
import pytest

from dacs.errors import RunFailed
from dacs.labels import CLASS_SETS, IGNORE, NAMES
from dacs.reporting import embed, figures, names, page, pictures, rows, scores, similarity, tables, words

LISTED = {"tasks": fake_runs.TASKS, "methods": fake_runs.METHODS, "seeds": (0, 1)}
PARAMS = {"report": {"title": "A <title> & more"}, "adapt": {"threshold": 0.968}, "scale": "smoke"}


def report(root: Path, out: str = "reports", *, frames: int = 2, **listed: object) -> str:
    """Figures and page of a project; the page's text."""
    listed = {**LISTED, **listed}
    figures.make(root / "runs", root / "data/ready", root / out, frames=frames, dpi=50, **listed)
    target = root / out / "index.html"
    page.write(root / out, root / "runs", target, scale="smoke", params=PARAMS, **listed)
    return target.read_text()


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    fake_runs.project(folder)
    return folder


@pytest.fixture(scope="module")
def text(root: Path) -> str:
    return report(root)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """One task, one seed, one frame."""
    fake_runs.project(tmp_path, tasks=("gta5-cityscapes",), seeds=(3,), frames=1)
    return tmp_path


SMALL = {"tasks": ("gta5-cityscapes",), "seeds": (3,), "frames": 1}


# Arithmetic


def slow_iou(truth: np.ndarray, said: np.ndarray, index: int) -> float:
    both = sum(t == index and s == index for t, s in zip(truth, said, strict=True) if t != IGNORE)
    either = sum(t == index or s == index for t, s in zip(truth, said, strict=True) if t != IGNORE)
    return 100 * both / either if either else float("nan")


def test_iou_of_counts_is_iou_of_pixels():
    generator = np.random.default_rng(0)
    truth = generator.choice([0, 1, 2, 11, 13, IGNORE], 400).astype(np.uint8)
    said = np.where(generator.random(400) < 0.6, np.minimum(truth, 18), generator.integers(0, 14, 400)).astype(np.uint8)
    iou = scores.class_iou(fake_runs.confusion(truth, said))
    slow = [slow_iou(truth, said, index) for index in range(19)]
    np.testing.assert_allclose(iou, slow)
    for name, members in CLASS_SETS.items():
        assert scores.mean_iou(iou, name) == pytest.approx(np.nanmean([slow[index] for index in members]))


def test_class_that_nobody_has_is_nan_and_a_class_only_predicted_is_zero():
    counts = np.zeros((19, 19))
    counts[0, 0], counts[0, 1] = 3, 1
    iou = scores.class_iou(counts)
    assert iou[0] == 75
    assert iou[1] == 0
    assert np.isnan(iou[2:]).all()
    assert scores.mean_iou(iou) == 37.5


def test_scores_of_nothing_are_nan():
    assert all(np.isnan(value) for value in scores.score(np.zeros((19, 19))).values())


def test_called_counts_the_pixels_of_the_truth():
    counts = np.zeros((19, 19))
    counts[scores.SIDEWALK, scores.ROAD], counts[scores.SIDEWALK, scores.SIDEWALK] = 3, 1
    assert scores.called(counts, scores.SIDEWALK, scores.ROAD) == 75
    assert np.isnan(scores.called(counts, scores.ROAD, scores.SIDEWALK))


def test_mean_and_deviation_are_over_seeds():
    table = pd.DataFrame({"task": "t", "method": "m", "seed": [0, 1, 2], "miou19": [10.0, 11.0, 15.0]})
    iou = pd.DataFrame({"task": [], "method": [], "seed": [], "class": [], "iou": []})
    tree = tables.metrics(tables.summary_table(table, iou))
    assert tree == {"t": {"m": {"miou19": 12.0, "miou19_std": 2.65, "seeds": 3}}}
    alone = tables.metrics(tables.summary_table(table[:1], iou))
    assert alone == {"t": {"m": {"miou19": 10.0, "miou19_std": 0.0, "seeds": 1}}}


def test_classes_that_collapsed_are_told_with_their_seeds():
    """Not those that the source cannot teach, nor those that are merely bad."""
    rows = [
        (seed, name, value)
        for seed in (0, 1, 2)
        for name, value in (
            ("train", 0.001),
            ("bus", 0.0 if seed == 1 else 7.0),
            ("road", 80.0),
            ("pole", 0.02),
            ("rider", 0.0),
        )
    ]
    iou = pd.DataFrame(rows, columns=["seed", "class", "iou"]).assign(method="dacs")
    assert tables.collapsed(iou.assign(task="gta5-cityscapes"), "gta5-cityscapes", "dacs") == (
        "rider, train (seeds 0, 1, 2); bus (seed 1)"
    )
    assert tables.collapsed(iou.assign(task="synthia-cityscapes"), "synthia-cityscapes", "dacs") == (
        "rider (seeds 0, 1, 2); bus (seed 1)"
    )
    assert tables.collapsed(iou.assign(task="gta5-cityscapes"), "gta5-cityscapes", "source") == ""


def test_equal_domains_have_no_distance_and_disjoint_ones_have_one():
    share = np.array([0.5, 0.3, 0.2, 0.0])
    assert similarity.jensen_shannon(share, 7 * share) == pytest.approx(0, abs=1e-7)
    assert similarity.jensen_shannon(share, np.array([0, 0, 0, 1.0])) == pytest.approx(1)


def test_card_is_at_no_distance_from_itself(root: Path):
    card = json.loads((root / "data/ready/gta5/train/card.json").read_text())
    assert similarity.distances(card, card) == pytest.approx(dict.fromkeys(similarity.MEASURES, 0), abs=1e-7)


# Published numbers


@pytest.mark.parametrize(
    ("task", "method", "stated", "mean"),
    [
        ("gta5-cityscapes", "source", "19", 32.85),
        ("gta5-cityscapes", "dacs", "19", 52.14),
        ("synthia-cityscapes", "source", "16", 29.45),
        ("synthia-cityscapes", "source", "13", 33.65),
        ("synthia-cityscapes", "dacs", "13", 54.81),
    ],
)
def test_published_rows_have_the_stated_means(task: str, method: str, stated: str, mean: float):
    rows = tables.published().query("task == @task and method == @method").set_index("class")["iou"]
    assert rows[f"mIoU{stated}"] == mean
    assert rows[[NAMES[index] for index in CLASS_SETS[stated]]].mean() == pytest.approx(mean, abs=0.01)


def test_published_table_says_how_each_number_is_known():
    table = tables.published()
    assert set(table["evidence"]) == {"secondary", "recalled"}
    assert table["where_read"].str.len().min() > 10
    assert not table.duplicated(["task", "method", "class"]).any()
    assert set(table["class"]) <= {*NAMES, "mIoU19", "mIoU16", "mIoU13"}


# Tables and metrics


def test_metrics_follow_from_the_confusions(root: Path, text: str):
    tree = json.loads((root / "reports/metrics.json").read_text())
    seen = []
    for seed in (0, 1):
        file = root / f"runs/gta5-cityscapes/naive/seed{seed}/evaluation/confusion.json"
        seen.append(scores.score(np.array(json.loads(file.read_text())["student"])))
    leaf = tree["gta5-cityscapes"]["naive"]
    for name in ("miou19", "miou16", "miou13", "accuracy"):
        assert leaf[name] == round(np.mean([row[name] for row in seen]), 2)
        assert leaf[f"{name}_std"] == round(np.std([row[name] for row in seen], ddof=1), 2)
    assert leaf["seeds"] == 2
    assert "teacher_miou19" in leaf
    assert {task: list(tree[task]) for task in tree} == {task: list(fake_runs.METHODS) for task in fake_runs.TASKS}


def test_iou_table_has_the_columns_of_the_contract(root: Path, text: str):
    table = pd.read_csv(root / "reports/tables/iou.csv")
    assert list(table) == ["task", "method", "seed", "class", "iou"]
    assert len(table) == 2 * 4 * 2 * 19


def test_naive_mixing_is_seen_to_take_sidewalk_for_road(root: Path, text: str):
    table = pd.read_csv(root / "reports/tables/conflation.csv").groupby("method")["sidewalk_called_road"].mean()
    assert table["naive"] > 50 > table["dacs"]


# Bytes


def test_same_inputs_give_the_same_bytes(small: Path):
    report(small, "first", **SMALL)
    (small / "second/figures").mkdir(parents=True)
    (small / "second/figures/old.svg").write_text("of an earlier report")
    report(small, "second", **SMALL)
    assert content(small / "first") == content(small / "second")


# The page


class Tags(HTMLParser):
    """The start tags of a page, and which of them are never closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_fetches_nothing(text: str):
    for _, attributes in Tags(text).found:
        for name in ("src", "href", "xlink:href", "srcset", "action", "data"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/png;base64,")), attributes
    assert all(target.startswith("#") for target in re.findall(r"url\(['\"]?([^)]*)", text))
    assert "@import" not in text
    assert "<script" not in text


def test_tags_of_the_page_are_closed_and_ids_are_its_own(text: str):
    tags = Tags(text)
    assert tags.open == []
    ids = [attributes["id"] for _, attributes in tags.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [str(attributes["href"])[1:] for tag, attributes in tags.found if tag in ("a", "use")]
    assert set(links) <= set(ids)


def test_every_picture_says_what_it_shows(text: str):
    tags = Tags(text).found
    assert sum(tag == "img" for tag, _ in tags) > 40
    assert sum(tag == "svg" for tag, _ in tags) == 9
    for tag, attributes in tags:
        if tag == "img":
            assert len(attributes["alt"] or "") > 10
        if tag == "svg":
            assert len(attributes["aria-label"] or "") > 40
            assert attributes["role"] == "img"


def test_page_has_a_row_for_each_method_and_class(text: str):
    for method in fake_runs.METHODS:
        assert text.count(f'<tr data-method="{method}">') == len(fake_runs.TASKS)
    for name in NAMES:
        assert f"</span>{name}</th>" in text


def test_page_says_on_what_each_run_was_trained(text: str):
    rows = len(fake_runs.TASKS) * len(fake_runs.METHODS) * 2
    assert text.count('<td class="words">CPU, AVX512</td><td>2.13.0</td>') == rows


def test_page_shows_the_numbers_of_metrics_json(root: Path, text: str):
    tree = json.loads((root / "reports/metrics.json").read_text())
    for task, column in (("gta5-cityscapes", "miou19"), ("synthia-cityscapes", "miou16")):
        for row in tree[task].values():
            assert f"<b>{row[column]:.1f}</b>" in text


def test_words_of_a_person_are_escaped(text: str):
    assert "A &lt;title&gt; &amp; more" in text
    assert "<title>A <title>" not in text


def test_page_warns_of_the_built_in_world_only_where_it_was_used(root: Path, text: str):
    assert "cannot be compared" in text
    real = shutil.copytree(root / "reports", root / "real")
    contract = real / "tables/contract.csv"
    contract.write_text(contract.read_text().replace("origin,world", "origin,download"))
    page.write(real, root / "runs", real / "real.html", scale="paper", params=PARAMS, **LISTED)
    assert "cannot be compared" not in (real / "real.html").read_text()


# With less


@pytest.mark.parametrize("methods", [("source",), ("naive",), ("oracle", "source"), ("pseudo", "source")])
def test_report_copes_with_fewer_methods(tmp_path: Path, methods: tuple[str, ...]):
    fake_runs.project(tmp_path, tasks=("synthia-cityscapes",), methods=methods, seeds=(0,), frames=1)
    text = report(tmp_path, tasks=("synthia-cityscapes",), methods=methods, seeds=(0,), frames=1)
    assert text.count("<tr data-method=") == len(methods)


def test_report_copes_with_a_log_of_steps_only(small: Path):
    for log in small.rglob("log.csv"):
        log.write_text("step\n20\n40\n")
    assert 'id="training"' in report(small, **SMALL)


def test_a_class_that_nobody_has_is_a_dash_in_the_page_and_null_nowhere_breaks(small: Path):
    for file in small.rglob("confusion.json"):
        counts = np.zeros((19, 19), int)
        counts[0, 0] = 5
        file.write_text(json.dumps({"student": counts.tolist(), "teacher": counts.tolist()}))
    text = report(small, **SMALL)
    assert "–</td>" in text
    assert "nan" not in re.sub(r"base64,[^\"]*", "", text).lower()
    assert "NaN" not in (small / "reports/metrics.json").read_text()


def test_a_target_without_labels_has_words_for_numbers_and_all_its_pictures(small: Path):
    with_labels = Tags(report(small, "before", **SMALL)).found
    fake_runs.forget_labels(small, "cityscapes")
    text = report(small, **SMALL)
    assert "GTA5 → Cityscapes: nothing was measured" in text
    assert "<tr data-method=" not in text
    assert "mIoU over 19 classes, %" not in text
    alts = [str(attributes["alt"]) for tag, attributes in Tags(text).found if tag == "img"]
    shown = [str(attributes["alt"]) for tag, attributes in with_labels if tag == "img"]
    lost = ("True label of", "Sidewalk of", "Frame zurich")
    assert {alt for alt in shown if not alt.startswith(lost) and "right" not in alt} <= {*alts}
    assert sum("on zurich" in alt for alt in alts) == len(fake_runs.METHODS)
    assert "pixels of which the teacher is confident" in text
    assert "nan" not in re.sub(r"base64,[^\"]*", "", text).lower()
    leaves = json.loads((small / "reports/metrics.json").read_text())["gta5-cityscapes"]
    assert all(leaf["miou19"] is leaf["miou19_std"] is leaf["teacher_accuracy"] is None for leaf in leaves.values())
    distances = pd.read_csv(small / "reports/tables/similarity.csv").set_index("measure")["distance"]
    assert distances.notna().to_dict() == dict.fromkeys(similarity.MEASURES, False) | {"color": True}


def test_a_task_without_labels_leaves_the_numbers_of_the_others_alone(tmp_path: Path):
    fake_runs.project(tmp_path, seeds=(0,), frames=1)
    whole = report(tmp_path, "whole", seeds=(0,), frames=1)
    assert "nothing was measured" not in whole
    for old in tmp_path.glob("*/gta5-cityscapes"):
        old.rename(old.with_name("gta5-dashcam"))
    shutil.copytree(tmp_path / "data/ready/cityscapes", tmp_path / "data/ready/dashcam")
    fake_runs.forget_labels(tmp_path, "dashcam")
    tasks = ("gta5-dashcam", "synthia-cityscapes")
    assert report(tmp_path, tasks=tasks, seeds=(0,), frames=1).count("<tr data-method=") == len(fake_runs.METHODS)
    found = [json.loads((tmp_path / out / "metrics.json").read_text()) for out in ("whole", "reports")]
    assert found[0]["synthia-cityscapes"] == found[1]["synthia-cityscapes"]


def test_absent_classes_are_left_out_of_every_mean_and_told_of(small: Path):
    for file in small.rglob("metrics.json"):
        fake_runs.write_json(file, {"labels": "full 1024x2048", "absent": ["sky", "train"]})
    own = {"cityscapes": {"absent": ["sky", "train"]}, "gta5": {"absent": ["rider"]}}
    figures.make(small / "runs", small / "data/ready", small / "reports", dpi=50, methods=fake_runs.METHODS, **SMALL)
    listed = {"tasks": SMALL["tasks"], "seeds": SMALL["seeds"], "methods": fake_runs.METHODS}
    page.write(
        small / "reports", small / "runs", small / "x.html", scale="smoke", params=PARAMS | {"domains": own}, **listed
    )
    text = (small / "x.html").read_text()
    assert "Cityscapes has no sky, train: means leave them out" in text
    assert "GTA5 has no rider: what nobody taught counts as 0" in text
    assert "pixels counted at full size (2048 × 1024)" in text
    table = pd.read_csv(small / "reports/tables/iou.csv").set_index("class")["iou"]
    assert table[["sky", "train"]].isna().all()
    counts = json.loads((small / "runs/gta5-cityscapes/dacs/seed3/evaluation/confusion.json").read_text())["student"]
    kept = [index for index, name in enumerate(NAMES) if name not in ("sky", "train")]
    expected = np.nanmean(scores.class_iou(np.array(counts))[kept])
    metrics = json.loads((small / "reports/metrics.json").read_text())
    assert metrics["gta5-cityscapes"]["dacs"]["miou19"] == round(expected, 2)


def test_what_was_found_is_told_beside_what_is_published(small: Path):
    defects = {"dropped": ["15188", "17705"], "mended": ["20801"], "kept": [f"{number:05}" for number in range(40)]}
    fake_runs.contract(
        small / "data/ready/gta5/contract.json",
        "gta5",
        24964,
        origin="folder",
        published={"train": 24966},
        verdict="as published, 2 frames dropped",
        **defects,
    )
    text = report(small, **SMALL)
    row = re.search(r'<tr data-domain="GTA5">.*?</tr>', text, re.S)
    assert row
    for said in ("a copy", "24,964", "24,966", "as published, 2 frames dropped", "2 dropped; 1 mended; 40 kept"):
        assert said in row.group()
    assert "Dropped, known to be defective: 15188, 17705." in text
    assert '44.4 %</span> road <span class="std">id 7</span>' in text
    table = pd.read_csv(small / "reports/tables/contract.csv", dtype=str, keep_default_na=False)
    assert ["gta5", "kept", "00007", ""] in table.to_numpy().tolist()
    assert ["gta5", "published", "train", "24966"] in table.to_numpy().tolist()


@pytest.mark.parametrize(
    ("domain", "classes", "raw", "name"),
    [
        ("gta5", {}, "34", "license plate"),
        ("cityscapes", {}, "0", "unlabeled"),
        ("synthia", {}, "3", "road"),
        ("synthia", {}, "22", "lane marking"),
        ("fleet", {"7": "car"}, "7", "car"),
        ("fleet", {"0,0,0": "ignore", "9,9,9": "car"}, "1", "car"),
    ],
)
def test_raw_ids_have_names(domain: str, classes: dict[str, str], raw: str, name: str):
    assert rows.id_names(domain, classes)[raw] == name


def test_ones_own_domains_keep_their_names_and_get_colours_of_their_own():
    assert names.task_title("gta5-my_fleet") == "GTA5 → my fleet"
    colors = names.domain_colors(["gta5", "fleet", "cityscapes", "taxi"])
    assert len({*colors.values()}) == 4
    assert {*colors.values()} <= {*embed.VARIABLES}


def test_sentences_say_a_loss_as_a_loss():
    row = {"miou19": 30.0}
    assert "4.0 points fewer" in words.result("gta5-cityscapes", {"source": row, "dacs": {"miou19": 26.0}})
    assert "The best here is naive mixing (31.0)" in words.result(
        "gta5-cityscapes", {"source": row, "naive": {"miou19": 31.0}, "dacs": {"miou19": 30.5}}
    )


@pytest.mark.parametrize(
    ("missing", "step"),
    [
        ("runs/gta5-cityscapes/naive/seed3/evaluation/confusion.json", "dacs evaluate"),
        ("runs/gta5-cityscapes/dacs/seed3/log.csv", "dacs adapt"),
        ("runs/gta5-cityscapes/source/seed3/log.csv", "dacs train"),
        ("runs/gta5-cityscapes/dacs/seed3/mixing/mask.png", "dacs adapt"),
        ("data/ready/gta5/train/card.json", "dacs remap"),
        ("data/ready/cityscapes/val/index.csv", "dacs remap"),
    ],
)
def test_missing_file_is_named_with_the_step_that_makes_it(small: Path, missing: str, step: str):
    (small / missing).unlink()
    with pytest.raises(RunFailed, match=re.escape(missing)) as caught:
        report(small, **SMALL)
    assert step in str(caught.value)


def test_page_without_figures_names_their_step(small: Path):
    with pytest.raises(RunFailed, match="dacs figures"):
        page.write(
            small / "reports",
            small / "runs",
            small / "x.html",
            tasks=("gta5-cityscapes",),
            methods=("source",),
            seeds=(3,),
            scale="smoke",
            params={},
        )


def test_prediction_of_another_size_is_refused(small: Path):
    for file in small.rglob("predictions/*.png"):
        fake_runs.save(file, np.zeros((4, 4), np.uint8))
    with pytest.raises(RunFailed, match="expected"):
        report(small, **SMALL)


# Pictures


def test_marks_lie_where_road_and_sidewalk_are_swapped():
    truth = np.array([[1, 1, 0, 0, 8]], np.uint8)
    said = np.array([[1, 0, 1, 0, 8]], np.uint8)
    image = np.full((1, 5, 3), 100, np.uint8)
    painted = pictures.marked(image, said, truth)
    assert len({tuple(pixel) for pixel in painted[0]}) == 4
    assert (painted[0, 3] == painted[0, 4]).all()


def test_small_pictures_grow_by_whole_pixels_and_large_ones_shrink():
    small = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert (pictures.fitted(small)[::160, ::160] == small).all()
    assert pictures.fitted(np.zeros((512, 1024, 3), np.uint8)).shape == (240, 480, 3)


def test_report_needs_no_torch():
    code = "import sys, dacs.reporting.figures, dacs.reporting.page; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
