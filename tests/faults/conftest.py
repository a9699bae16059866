"""The undisturbed pipeline that every fault is made in a copy of; a line for each fault, and the table at the end."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pipeline import Pipeline

from faults.harness import Fault, Outcome, finished, table, try_all

OUTCOMES: list[Outcome] = []  # of this session
LINES: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--table", metavar="FILE", type=Path, help="where lines and table of tests/faults are written too")


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """A finished pipeline, which nothing changes."""
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # else processes begun in the background ignore it
    yield finished(tmp_path_factory.mktemp("faults") / "base")
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def record(pytestconfig: pytest.Config) -> Callable[[str, list[Outcome]], None]:
    """Takes outcomes to the table, which is also written to a file, and prints a line."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    given = pytestconfig.getoption("table", None)  # known only where tests/faults is an argument
    file = given and given.absolute()  # a test may change the folder

    def add(line: str, outcomes: list[Outcome]) -> None:
        OUTCOMES.extend(outcomes)
        LINES.append(line)
        with capture.global_and_fixture_disabled():
            print(f"\n{line}", end="", flush=True)
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("\n".join([*LINES, "", table(OUTCOMES), ""]))

    return add


@pytest.fixture
def survive(record: Callable[[str, list[Outcome]], None], tmp_path: Path) -> Callable[[list[Fault]], list[Outcome]]:
    """Tries faults, two at a time, prints a line for each, and asserts that all are survived."""

    def all_of(faults: list[Fault]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for outcome in try_all(faults, tmp_path):
            outcomes.append(outcome)
            record(f"{len(outcomes)} of {len(faults)}  {outcome}", [outcome])
        assert [str(each) for each in outcomes if not each.survived] == []
        return outcomes

    return all_of


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if OUTCOMES:
        terminalreporter.section("faults")
        terminalreporter.write_line(table(OUTCOMES))
