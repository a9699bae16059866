"""Laws of the pictures of the page, and of what it says of its making."""

import re
import shutil
import subprocess
from base64 import b64decode
from pathlib import Path
from typing import Any

import fake_runs
import numpy as np
import pytest
from jinja2 import Template
from PIL import Image

from dacs.files import read_json, write_json
from dacs.labels import CITYSCAPES, IGNORE
from dacs.layout import RunDir
from dacs.provenance import ROOT
from dacs.reporting import examples, figures, page, pictures, style, tables
from dacs.reporting.data import list_runs
from dacs.reporting.provenance import provenance
from dacs.settings import Figures, FiguresJob, Report, ReportJob, Runs

SECTION = Runs(tasks=["gta5-cityscapes"], methods=["source", "naive", "dacs", "oracle"], seeds=[0])


def write(root: Path, made: dict[str, Any] | None = None) -> str:
    job, path = ReportJob(runs=SECTION, report=Report(title="A title"), scale="smoke"), root / "reports/index.html"
    page.write(job, root / "reports", root / "runs", path, made)
    return path.read_text()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Figures of four images, three of which are shown."""
    root = tmp_path_factory.mktemp("parts")
    fake_runs.project(root, SECTION, images=4)
    job = FiguresJob(runs=SECTION, figures=Figures(frames=3))
    figures.make(job, root / "runs", root / "data/ready", root / "reports")
    return root


def test_errors_are_red_over_gray_and_ignored_pixels_dark() -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 300, 3)).astype(np.uint8)
    label = np.full((9, 300), 3, np.uint8)
    predicted = label.copy()
    predicted[2], label[5] = 7, IGNORE
    found = pictures.errors(image, label, predicted)
    assert (found[2] == pictures.ERROR).all()
    assert (found[5] == pictures.IGNORED).all()
    gray = np.delete(found, (2, 5), axis=0)
    assert (gray == gray[..., :1]).all()
    assert len(np.unique(found.reshape(-1, 3), axis=0)) < 64
    assert np.corrcoef(gray[..., 0].ravel(), np.delete(image, (2, 5), axis=0).mean(-1).ravel())[0, 1] > 0.99


def test_drawings_become_palette_images_of_the_same_colours(tmp_path: Path) -> None:
    drawing = np.random.default_rng(0).choice([0, 90, 255], (48, 480, 3)).astype(np.uint8)
    (tmp_path / "drawing.png").write_bytes(style.png(drawing, CITYSCAPES.palette()))
    with Image.open(tmp_path / "drawing.png") as found:
        assert found.mode == "P"
        assert (np.asarray(found.convert("RGB")) == drawing).all()
    photo = np.random.default_rng(0).integers(0, 256, (48, 480, 3)).astype(np.uint8)
    (tmp_path / "photo.png").write_bytes(style.png(photo, CITYSCAPES.palette()))
    with Image.open(tmp_path / "photo.png") as found:
        assert (np.asarray(found) == photo).all()


def test_only_large_photographs_lose_detail_on_the_page(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 480, 3)).astype(np.uint8)
    drawing = np.random.default_rng(0).choice([0, 90, 255], (1400, 480, 3)).astype(np.uint8)
    for name, pixels, kind in (("photo", noise, "jpeg"), ("small", noise[:40], "png"), ("drawing", drawing, "png")):
        (tmp_path / name).write_bytes(content := style.png(pixels, CITYSCAPES.palette()))
        assert (len(content) > page.LARGE) == (name != "small")
        head, data = page._png(tmp_path, name).split(",")
        assert head == f"data:image/{kind};base64"
        assert (b64decode(data) == content) == (kind == "png")


def test_images_are_shown_from_the_worst_to_the_best(root: Path) -> None:
    index = read_json(root / "reports/figures/index.json")["predictions"]
    headings = [group["heading"] for group in index if group["heading"].startswith("GTA5")]
    assert [text.partition(": ")[2].partition(";")[0] for text in headings] == [
        f"number {place} of 4 images by mIoU of DACS"
        for place in (4, 3, 2, 1)  # number 3 is the best of another method
    ]
    captions = [tile["caption"] for group in index[:4] for tile in group["tiles"] if tile.get("of") == "dacs"]
    values = [int(re.findall(r"mIoU (\d+) %", caption)[0]) for caption in captions if "mIoU" in caption]
    assert values == sorted(values)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, None),
        ({"pixel_weight": "none"}, "It is 1 for all pixels."),
        ({"pixel_weight": "threshold"}, "It is 1 for pasted and for confident pixels, 0 for others."),
        (
            {"pixel_weight": "threshold_uniform", "lambda_applies_to": "all", "lambda_counts": "mixed"},
            "It is λ, the share of confident pixels in the mixed image.",
        ),
        (
            {"pixel_weight": "threshold_uniform", "lambda_applies_to": "target", "lambda_counts": "target"},
            "It is 1 for pasted pixels; for others λ, the share of confident pixels in the target image.",
        ),
        ({"pixel_weight": "none", "margins": [0.1, 0.2]}, "for all pixels; 0 in the rows at its top and bottom."),
    ],
)
def test_the_weight_of_pixels_is_that_of_the_settings(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    section = Runs(tasks=["gta5-cityscapes"], methods=["dacs"], seeds=[0])
    fake_runs.project(tmp_path, section)
    folder = RunDir.of(tmp_path / "runs", "gta5-cityscapes", "dacs", 0)
    spec = read_json(folder.spec)
    spec["settings"]["adapt"] |= settings
    write_json(folder.spec, spec)
    (run,) = list_runs(tmp_path / "runs", section)
    found = pictures._weights(run)
    assert (said in found[0]) if said else found == []


@pytest.mark.parametrize(
    ("dacs", "said"),
    [
        ({}, "Source only takes as many optimizer steps as any other method; those that adapt start from its weights"),
        ({"init": "backbone", "steps": 1500}, "takes as many optimizer steps as any other method"),
        ({"init": "backbone"}, "Optimizer steps differ: source only 1,500, naive mixing 1,500, DACS 1,200, oracle"),
    ],
)
def test_the_page_says_whether_steps_are_equal(root: Path, tmp_path: Path, dacs: dict[str, Any], said: str) -> None:
    copy = shutil.copytree(root, tmp_path / "copy")
    for path in copy.glob("runs/*/dacs/*/settings.json"):
        spec = read_json(path)
        spec["settings"]["adapt"] |= dacs
        write_json(path, spec)
    assert said in write(copy)


def test_the_making_of_a_page_is_recorded_and_shown(root: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(root, tmp_path / "copy")
    before = write(copy)
    assert "Wall and CPU time" not in before
    assert "no <code>requirements.lock</code>" in before
    assert "the page that <code>make page</code> writes" in before
    (copy / "requirements.lock").write_text("torch==2.13.0\n")
    (copy / "params.yaml").write_text("a: {b: 1, c: [1, 2]}\nd: <x>\n")
    git = ("git", "-C", str(copy), "-c", "user.name=a", "-c", "user.email=a@b.c")
    for command in (["init", "-q"], ["add", "params.yaml"], ["commit", "-qm", "A commit"]):
        subprocess.run([*git, *command], check=True)
    (copy / "params.yaml").write_text("a: {b: 2, c: [1, 2]}\ne: <y>\n")
    path = copy / "logs/benchmarks/train/gta5-source.tsv"
    path.parent.mkdir(parents=True)
    path.write_text("s\th:m:s\tmax_rss\tcpu_time\n12.5\t0:00:12\t-\t11.25\n")
    found = provenance(copy)
    assert found["parameters"] == {"a.b": ("1", "2"), "d": ("<x>", "left out"), "e": ("left out", "<y>")}
    assert found["jobs"] == [{"name": "train/gta5-source", "wall": 12.5, "cpu": 11.25, "memory": None}]
    assert found["dirty"]
    after = write(copy, found)
    for shown in (found["commit"], "with uncommitted changes", "<code>a.b</code>", "&lt;x&gt;", "<td>12.5</td>"):
        assert shown in after
    assert "<x>" not in after
    assert "make page" not in after
    shutil.rmtree(copy / ".git")
    assert "not in a Git repository" in write(copy, provenance(copy))


def test_the_picture_of_the_weights_has_their_colours_and_says_their_values(tmp_path: Path) -> None:
    section = Runs(tasks=["gta5-cityscapes"], methods=["dacs"], seeds=[0])
    fake_runs.project(tmp_path, section)
    (run,) = list_runs(tmp_path / "runs", section)
    folder = run.folder.mixed(1200)
    for levels, said in (([0, 255], "0.00 to 1.00, mean 0.50."), ([51, 51], "Weight of each pixel in the loss: 0.20.")):
        fake_runs.save(folder / "weight.png", np.array([levels], np.uint8))
        tile = pictures._mixing_tile(run, folder, "weight")
        assert tile.caption.endswith(said)
        viridis = {0: (68, 1, 84), 51: (65, 68, 135), 255: (253, 231, 37)}  # as others print it, rounded
        assert tile.pixels[0].tolist() == [pytest.approx(viridis[level], abs=1) for level in levels]


def test_the_worst_and_the_best_image_of_each_method_are_shown_for_it(tmp_path: Path) -> None:
    """All runs have kept the first image; of the others each has kept its worst and its best one."""
    fake_runs.project(tmp_path, SECTION, images=6)
    read = tables.read(list_runs(tmp_path / "runs", SECTION), tmp_path / "data/ready", 3, CITYSCAPES)
    ranks = {run: examples._frame_miou(run) for run in read.runs}
    kept = {run: {min(miou, key=miou.__getitem__), max(miou, key=miou.__getitem__)} for run, miou in ranks.items()}
    first = min(ranks[read.runs[0]])
    for run in read.runs:
        for path in run.folder.evaluation.predictions.iterdir():
            if path.stem not in {first, *kept[run]}:
                path.unlink()
    shown = {each.heading: each for each in pictures.predictions(read)}
    assert {each.name for each in shown.values()} == {first}.union(*kept.values())
    for heading, each in shown.items():
        methods = {tile.facts["of"] for tile in each.items if isinstance(tile, style.Tile) and "of" in tile.facts}
        every = each.name == first
        assert methods == {run.method for run in read.runs if every or each.name in kept[run]}
        for run, miou in ranks.items():
            if run.method != "dacs" and each.name == min(miou, key=miou.__getitem__):
                assert run.title in heading.partition("; worst of ")[2]
    places = [int(heading.split("number ")[1].split()[0]) for heading in shown]
    assert places == sorted(places, reverse=True)


def test_every_plot_has_a_caption_of_its_own_in_the_report_of_snakemake(root: Path) -> None:
    """The names of files are read as the workflow reads them; a figure that is added has the general caption."""
    template = Template((ROOT / "workflow/report/figure.rst").read_text())

    def caption(figure: str) -> str:
        return template.render(snakemake={"wildcards": {"figure": figure}}).strip()

    names = {path.name.rpartition("_gta5-cityscapes")[0] for path in (root / "reports/figures").glob("*_gta5-*.svg")}
    names |= {"similarity"}
    assert names <= {*figures.FIGURES}
    assert len(names) == 10
    general = caption("another")
    assert len({caption(name) for name in names} - {general}) == len(names)
