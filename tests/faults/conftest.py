"""The undisturbed pipeline that every fault is made in a copy of, and the table at the end."""

import signal
from collections.abc import Iterator

import pytest
from pipeline import Pipeline

from faults.harness import OUTCOMES, finished, table


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """A finished pipeline, which nothing changes."""
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # else processes begun in the background ignore it
    yield finished(tmp_path_factory.mktemp("faults") / "base")
    signal.signal(signal.SIGINT, before)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if OUTCOMES:
        terminalreporter.section("faults")
        terminalreporter.write_line(table(OUTCOMES))
