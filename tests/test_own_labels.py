"""Custom label sets: prepared whatever their number of classes and the kind of labels, trained, and checked."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import trees
from PIL import Image
from safetensors.torch import load_file

from dacs.errors import BadRequest, RunFailed
from dacs.files import read_json
from dacs.layout import PreparedDomain, RunDir
from dacs.loading.classes import check_classes
from dacs.loading.split import Split
from dacs.prepare.remap import remap
from dacs.settings import CustomDomain, Labels, RemapJob, label_set
from dacs.training.cost import step_cost
from dacs.training.run import Run
from dacs.training.run_cache import make_run

FRAMES, SIZE = 2, (32, 48)
ENCODINGS = ("8 bits", "16 bits", "red of 16 bits", "colours")


def labels_of(number: int, start: int = 0) -> Labels:
    """As many classes, each with a colour of its own."""
    classes = {f"class {i}": {"color": (i % 256, 1, i % 7)} for i in range(start, start + number)}
    return Labels.model_validate({"classes": classes})


def keys_of(encoding: str, number: int) -> list[tuple[int, ...]]:
    """What pixels of labels may be: of 8 bits an id for each class, else two; the last is ignored."""
    count = number + 1 if encoding == "8 bits" else 2 * number + 1
    if encoding == "colours":
        return [(i % 256, 9, i // 256) for i in range(count)]
    ids = range(count) if encoding == "8 bits" else np.linspace(3, 40000, count).astype(int).tolist()
    return [(raw_id,) for raw_id in ids]


def write_label(path: Path, encoding: str, pixels: np.ndarray) -> None:
    """Raw ids or colours: int of shape (height, width, 1 or 3)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if encoding == "red of 16 bits":
        trees.write_red16(path, pixels[..., 0])
    else:
        Image.fromarray(pixels.astype(np.uint16 if encoding == "16 bits" else np.uint8).squeeze()).save(path)


def write(folder: Path, encoding: str, number: int, split: str = "train") -> tuple[CustomDomain, list[np.ndarray]]:
    """Frames of `number` classes; returns the table that describes them, and the class of each pixel."""
    keys, rng, written = keys_of(encoding, number), np.random.default_rng(number), []
    for frame in range(FRAMES):
        trees.write_image(folder / f"images/{frame}.png", rng, SIZE)
        drawn = rng.permutation(np.arange(SIZE[0] * SIZE[1]) % len(keys)).reshape(SIZE)  # each of them
        if frame:
            drawn[:20] = 0
        write_label(folder / f"labels/{frame}.png", encoding, np.array(keys)[drawn])
        written.append(np.where(drawn == len(keys) - 1, 255, drawn % number))
    names = [f"class {i % number}" for i in range(len(keys) - 1)] + ["ignore"]
    classes = {",".join(map(str, key)): [name] for key, name in zip(keys, names, strict=True)}
    return table(folder, classes), written


def table(folder: Path, classes: dict[str, list[str]]) -> CustomDomain:
    files = {"images": f"{folder}/images/*.png", "labels": f"{folder}/labels/*.png"}
    return CustomDomain.model_validate({"train": files, "val": files, "classes": classes, "size": SIZE})


def prepare(custom: CustomDomain, labels: Labels | None, out: Path) -> PreparedDomain:
    job = RemapJob(domain="fleet", size=SIZE, resample="bicubic", images="png", custom=custom, labels=labels)
    remap(job, Path("unused"), out, 1)
    return PreparedDomain(out)


def run_of(domain: PreparedDomain, labels: Labels | None, method: str = "dacs", init: RunDir | None = None) -> Run:
    """Two steps, on the same frames as source and as target."""
    settings = tiny.settings(method, steps=2, **({"init": "source"} if init else {}))
    settings = settings.model_copy(update={"labels": labels})
    return Run(method, 0, settings, domain.labelled, domain.train, init)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own for the run cache."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ---- prepared


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("number", [2, 7, 26, 150, 255])
def test_labels_of_any_kind_and_number_of_classes_are_counted_to_the_pixel(
    number: int, encoding: str, tmp_path: Path
) -> None:
    custom, written = write(tmp_path / "raw", encoding, number)
    labels = labels_of(number)
    domain = prepare(custom, labels, tmp_path / "out")
    header, *rows = csv.reader(domain.labelled.class_counts.open())
    assert header == ["image", *labels.classes]
    expected = [[int((drawn == i).sum()) for i in range(number)] for drawn in written]
    assert [[int(value) for value in row[1:]] for row in rows] == expected
    assert Split(domain.labelled).class_counts().tolist() == expected
    for frame, drawn in enumerate(written):
        with Image.open(domain.labelled.path / f"labels/{frame}.png") as label:
            assert np.array_equal(np.asarray(label), drawn)
            colors = [each.color for each in labels.classes.values()]
            assert np.array_equal(np.asarray(label.convert("RGB"))[drawn != 255], np.array(colors)[drawn[drawn != 255]])
    report, keys = read_json(domain.data_report), keys_of(encoding, number)
    raw_ids = [str(i if encoding == "colours" else key[0]) for i, key in enumerate(keys)]
    assert [*report["ids"]] == raw_ids
    assert sum(report["ids"].values()) == 2 * FRAMES * SIZE[0] * SIZE[1]  # of train and of val
    named = [f"{name}, colour {key}" if "," in key else name for key, (name,) in custom.classes.items()]
    assert [report["id_names"][raw_id] for raw_id in raw_ids] == named
    assert report["absent"] == []


def test_an_id_of_16_bits_that_the_table_does_not_know_is_named(tmp_path: Path) -> None:
    custom, _ = write(tmp_path / "raw", "16 bits", 2)
    write_label(tmp_path / "raw/labels/1.png", "16 bits", np.full((*SIZE, 1), 65535))
    with pytest.raises(RunFailed, match=r"labels/1\.png: ids that are not in the table: 65535"):
        prepare(custom, labels_of(2), tmp_path / "out")


def test_labels_that_are_ignored_everywhere_are_refused(tmp_path: Path) -> None:
    custom, _ = write(tmp_path / "raw", "8 bits", 2)
    ignored = table(tmp_path / "raw", {key: ["ignore"] for key in custom.classes})
    with pytest.raises(RunFailed, match=r"(?s)split 'train'.* every pixel is ignored.*Correct domains\.fleet\.classes"):
        prepare(ignored, labels_of(2), tmp_path / "out")
    assert not [*tmp_path.glob("out/*/index.csv")]


def test_labels_of_a_published_data_set_of_which_the_run_has_no_class_are_refused(tmp_path: Path) -> None:
    trees.write_tree("gta5", tmp_path / "raw")
    job = RemapJob(domain="gta5", size=SIZE, resample="bicubic", images="png", labels=labels_of(2))
    with pytest.raises(RunFailed, match=r"(?s)every pixel is ignored.*Correct labels in params\.yaml"):
        remap(job, tmp_path / "raw", tmp_path / "out", 1)


def test_classes_that_no_frame_has_are_said_apart_from_those_that_have_no_id(tmp_path: Path) -> None:
    custom, _ = write(tmp_path / "raw", "8 bits", 2)
    more = {**custom.classes, "77": ["class 2"], "78": ["class 3", "class 4"]}
    report = read_json(prepare(table(tmp_path / "raw", more), labels_of(7), tmp_path / "out").data_report)
    assert report["summary"].endswith("no id for class 4, class 5 and 1 more, no frame has class 2, class 3")
    assert report["absent"] == ["class 4", "class 5", "class 6"]
    assert report["id_names"]["78"] == "class 3 and class 4"


# ---- trained


@pytest.mark.parametrize("number", [2, 150])
def test_a_network_has_as_many_outputs_as_there_are_classes(number: int, home: Path) -> None:
    custom, _ = write(home / "raw", "16 bits", number)
    labels = labels_of(number)
    make_run(RunDir(home / "run"), run_of(prepare(custom, labels, home / "out"), labels))
    for path in (RunDir(home / "run").weights, RunDir(home / "run").teacher):
        head = {tensor.shape[0] for name, tensor in load_file(path).items() if name.startswith("head.")}
        assert head == {number}
    assert len((home / "run/log.csv").read_text().splitlines()) == 2
    with Image.open(home / "run/mixing/step000002/source_label.png") as label:
        assert label.getpalette()[: 3 * number] == label_set(labels).palette()[:number].flatten().tolist()
        assert {*np.unique(np.asarray(label)).tolist()} <= {*range(number), 255}


def test_classes_that_no_labelled_frame_shows_are_said_before_training(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    custom, _ = write(home / "raw", "8 bits", 2)
    domain = prepare(custom, labels_of(4), home / "out")
    make_run(RunDir(home / "run"), run_of(domain, labels_of(4), "source"))
    words = f"No frame of {home}/out/oracle shows class 2, class 3: the network cannot learn them."
    printed = capsys.readouterr().err
    assert printed.splitlines()[0] == words


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (labels_of(3), "prepared for 2 classes; the run has 3 classes, among them class 2."),
        (labels_of(2, start=1), "2 classes, among them class 0; the run has 2 classes, among them class 2."),
        (
            None,
            "2 classes, among them class 0, class 1; the run has 19 classes, among them road, sidewalk and 17",
        ),
        (Labels(classes=dict(reversed(labels_of(2).classes.items()))), "the classes of the run, in another order."),
    ],
)
def test_labels_that_were_prepared_for_another_set_are_refused(labels: Any, words: str, home: Path) -> None:
    custom, _ = write(home / "raw", "8 bits", 2)
    domain = prepare(custom, labels_of(2), home / "out")
    with pytest.raises(RunFailed) as caught:
        make_run(RunDir(home / "run"), run_of(domain, labels))
    assert words in str(caught.value)
    assert str(caught.value).endswith("Run 'dacs remap' for this data set again.")
    check_classes(domain.labelled, label_set(labels_of(2)))


def test_weights_of_other_classes_are_no_start(home: Path) -> None:
    custom, _ = write(home / "raw", "8 bits", 2)
    run = run_of(prepare(custom, labels_of(2), home / "out"), labels_of(2), init=tiny.finished_run(home / "init"))
    with pytest.raises(BadRequest, match="its classes are not those of the settings"):
        make_run(RunDir(home / "run"), run)


# ---- cost


def test_the_cost_of_a_step_grows_with_the_number_of_classes() -> None:
    settings = [tiny.settings("dacs").model_copy(update={"labels": labels_of(number)}) for number in (2, 150)]
    few, many = (step_cost("dacs", each) for each in settings)
    assert few.operations < many.operations
    assert many.weights > few.weights
