"""Laws of the page in a browser, of its pictures, and of what it says of its making."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fake_runs
import pytest

from dacs.labels import CITYSCAPES
from dacs.methods import METHODS
from dacs.reporting import figures, page
from dacs.reporting.data import read_table
from dacs.settings import Figures, FiguresJob, Report, ReportJob, Runs

LISTED = ["source", "naive", "dacs", "oracle"]
SECTION = Runs(tasks=["gta5-cityscapes", "synthia-cityscapes"], methods=LISTED, seeds=[0])
STEPS = (400, 800, 1200)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
WIDTHS = (390, 1280, 1920)


def draw(root: Path) -> None:
    job = FiguresJob(runs=SECTION, figures=Figures(frames=3))
    figures.make(job, root / "runs", root / "data/ready", root / "reports")


def write(root: Path) -> str:
    job, path = ReportJob(runs=SECTION, report=Report(title="A <title>"), scale="smoke"), root / "reports/index.html"
    page.write(job, root / "reports", root / "runs", path)
    return path.read_text()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of two tasks and four images, three of which are shown, with mixed examples of three steps."""
    root = tmp_path_factory.mktemp("page")
    fake_runs.project(root, SECTION, images=4)
    for folder in root.glob("runs/*/*/*/mixing/step001200"):
        for step in STEPS[:-1]:
            shutil.copytree(folder, folder.with_name(f"step{step:06}"))
    draw(root)
    write(root)
    return root


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        found = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def opened(root: Path, browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens the page; afterwards nothing may have been asked of the network, and no error have been reported."""
    contexts, faults = [], list[str]()

    def open_page(width: int = 1280, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        context.route(re.compile("^(?!file:|data:)"), lambda route: (faults.append(route.request.url), route.abort()))
        view = context.new_page()
        view.on("console", lambda message: faults.append(message.text))
        view.on("pageerror", lambda error: faults.append(str(error)))
        view.goto((root / "reports/index.html").as_uri())
        return view

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


def column(view: Any, table: str, number: int) -> list[str]:
    """The visible cells of a column of the first table in a section, rows of published results left out."""
    rows = view.locator(f"#{table} table").first.locator("tbody:not(.published) tr:visible")
    return [row.locator("th, td").nth(number).inner_text().split()[0] for row in rows.all()]


@in_a_browser
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_fits_its_window_and_is_accessible(opened: Callable[..., Any], width: int) -> None:
    from axe_playwright_python.sync_playwright import Axe

    view = opened(width)
    assert view.evaluate("document.documentElement.scrollWidth") <= width
    for opened_details in (True, width == 1280):  # checked at one width, since that takes seconds
        view.evaluate("open => document.querySelectorAll('details').forEach(each => each.open = open)", opened_details)
        assert view.evaluate("document.documentElement.scrollWidth") <= width
    for scheme, rules in {"light": {}, "dark": {"runOnly": ["color-contrast"]}}.items():  # others see no colours
        view.emulate_media(color_scheme=scheme)
        # What is in a plot is hidden from screen readers: it has a label.
        found = Axe().run(view, {"exclude": [["svg > *"]]}, {"resultTypes": ["violations"], **rules})
        assert found.violations_count == 0, found.generate_report()
        assert len(found.response["passes"]) >= (1 if rules else 20)


@in_a_browser
def test_a_table_is_sorted_by_mouse_and_by_keyboard(opened: Callable[..., Any]) -> None:
    view = opened()
    head = view.locator("#results table").first.locator("thead th").nth(1)
    before = column(view, "results", 1)
    head.locator("button").click()
    assert column(view, "results", 1) == sorted(before, key=float, reverse=True)
    assert head.get_attribute("aria-sort") == "descending"
    view.keyboard.press("Enter")
    assert column(view, "results", 1) == sorted(before, key=float)
    assert head.get_attribute("aria-sort") == "ascending"
    view.keyboard.press("Shift+Tab")
    view.keyboard.press("Space")
    names = view.locator("#results table").first.locator("tbody:not(.published) tr:visible th").all_inner_texts()
    assert names == sorted((METHODS[name].title for name in LISTED), key=str.lower)
    assert head.get_attribute("aria-sort") == "none"
    view.locator("#classes table").first.locator("thead button").first.click()
    assert column(view, "classes", 0)[-2:] == ["wall", "mIoU19"]  # totals stay below
    view.locator("#ablation table").first.locator("thead button").nth(2).click()
    for _ in range(2):
        empty = ["–" in cell for cell in column(view, "ablation", 2)]
        assert empty == sorted(empty)
        assert empty.count(False) == len(LISTED)
        view.keyboard.press("Enter")


@in_a_browser
def test_one_switch_changes_the_protocol_of_all_tables(root: Path, opened: Callable[..., Any]) -> None:
    view = opened()
    radios, main = view.locator("input[name=protocol]"), column(view, "results", 1)
    radios.first.focus()
    assert radios.count() == 4
    table = read_table(root / "reports/tables/summary.csv").query("task == 'gta5-cityscapes' and checkpoint == 'last'")
    for network in ("teacher", "student_adabn"):
        view.keyboard.press("ArrowDown")
        scores = table[(table["network"] == network) & (table["size"] == "prepared")].set_index("method")["miou19"]
        expected = [f"{scores[name]:.1f}" for name in LISTED]
        assert column(view, "results", 1) == expected != main
        ablation = column(view, "ablation", 2)
        assert [cell for cell in ablation if cell != "–"] == expected
        for section in ("results", "classes", "ablation"):
            title = {"teacher": "teacher, last", "student_adabn": "student with AdaBN, last"}[network]
            assert all(f"; {title}" in text for text in view.locator(f"#{section} caption").all_inner_texts())
    view.keyboard.press("ArrowUp")
    view.keyboard.press("ArrowUp")
    assert column(view, "results", 1) == main


@in_a_browser
def test_predictions_are_switched_by_keyboard_and_classes_are_chosen(opened: Callable[..., Any]) -> None:
    view = opened()
    tiles = view.locator("#predictions [data-of]:visible")
    assert {tile.get_attribute("data-of") for tile in tiles.all()} == {"dacs"}
    images = view.locator("#predictions h3:visible").count()
    assert 2 * 3 <= images <= 2 * 4  # tasks, images
    assert tiles.count() == 2 * images  # prediction and errors
    view.locator("input[name=method][value=dacs]").focus()
    view.keyboard.press("ArrowRight")
    assert {tile.get_attribute("data-of") for tile in tiles.all()} == {"oracle"}
    view.keyboard.press("ArrowRight")
    assert tiles.count() == 2 * images * len(LISTED)
    image = view.locator("#predictions [data-shows=classes] img").first
    whole = image.get_attribute("src")
    button = view.locator("#predictions .legend button", has_text="road")
    button.focus()
    view.keyboard.press("Enter")
    view.wait_for_function("image => image.src !== image.dataset.whole", arg=image.element_handle())
    assert button.get_attribute("aria-pressed") == "true"
    colors = view.evaluate(
        """async image => {
            await image.decode();
            const canvas = Object.assign(document.createElement("canvas"), {width: image.width, height: image.height});
            const context = canvas.getContext("2d");
            context.imageSmoothingEnabled = false;
            context.drawImage(image, 0, 0, image.width, image.height);
            const found = context.getImageData(0, 0, image.width, image.height).data;
            return [...new Set(Array.from({length: found.length / 4}, (_, i) => found.slice(4 * i, 4 * i + 3).join()))];
        }""",
        image.element_handle(),
    )
    road = ",".join(map(str, CITYSCAPES.classes[0].color))
    others = [max(map(int, color.split(","))) for color in colors if color != road]
    assert road in colors
    assert max(others) <= 96 + 0.12 * 255 + 1
    button.click()
    view.wait_for_function("image => image.src === image.dataset.whole", arg=image.element_handle())
    assert image.get_attribute("src") == whole


@in_a_browser
def test_the_slider_goes_through_the_steps(opened: Callable[..., Any]) -> None:
    view = opened()
    shown = view.locator("#mixing [data-step]:visible")
    blocks = 2 * 2  # tasks, methods that mix
    for key, step in (("Home", 400), ("ArrowRight", 800), ("End", 1200)):
        view.locator("#step").focus()
        view.keyboard.press(key)
        assert [group.get_attribute("data-step") for group in shown.all()] == [str(step)] * blocks
        assert view.locator("#mixing output").inner_text() == f"{step:,}"


@in_a_browser
def test_conflation_over_the_steps_is_shown_of_the_chosen_class(opened: Callable[..., Any]) -> None:
    view = opened()
    shown, choice = view.locator("#conflation [data-class]:visible"), view.locator("#conflation select")
    assert [figure.get_attribute("data-class") for figure in shown.all()] == ["sidewalk"] * 2  # tasks
    assert choice.locator("option").count() == 19
    choice.select_option("bus")
    assert [figure.get_attribute("data-class") for figure in shown.all()] == ["bus"] * 2
    assert "Percent of the bus" in str(shown.first.locator("svg").get_attribute("aria-label"))
    view.locator("#conflation summary").last.evaluate("each => each.scrollIntoView()")
    assert choice.bounding_box()["y"] < 0  # it does not cover what it does not change


@in_a_browser
def test_bars_of_equal_values_are_equally_long_in_all_columns(opened: Callable[..., Any]) -> None:
    found = "cells => cells.map(each => [+each.innerText, getComputedStyle(each).backgroundImage])"
    bars = opened().locator("#classes td.bar:visible").evaluate_all(found)
    lengths = [(value, float(re.findall(r"([\d.]+)px", image)[0])) for value, image in bars if value > 5]
    assert len(lengths) > 20
    of_one = lengths[0][1] / lengths[0][0]
    assert [length / value for value, length in lengths] == pytest.approx([of_one] * len(lengths), rel=1e-3)


@in_a_browser
def test_without_scripts_and_on_paper_everything_can_be_read(opened: Callable[..., Any]) -> None:
    view = opened(java_script_enabled=False)
    assert view.locator("img:visible").count() == view.locator("img").count() > 50
    assert view.locator("#mixing [data-step]:visible").count() == 2 * 2 * len(STEPS)
    assert view.locator(".switch:visible").count() == 0
    assert "; student, last checkpoint" in view.locator("#results caption").first.inner_text()
    view = opened()
    view.emulate_media(media="print")
    assert view.locator(".switch:visible, nav:visible").count() == 0
    assert view.locator("#settings pre").is_visible()
    assert view.locator("#settings").get_attribute("open") is None


def test_the_page_holds_all_it_needs_in_little_space(root: Path) -> None:
    text = (root / "reports/index.html").read_text()
    assert len(text) < 15e6
    assert text.count("<script>") == 1
    labels = re.findall(r'<div class="scroll" role="group" tabindex="0" aria-label="Table: ([^"]+)"', text)
    assert len(labels) == len({*labels}) == text.count("<table")
    assert not re.search(r"""(?:src|href)=["'](?!data:image/png|#)""", text)
    assert write(root) == text
