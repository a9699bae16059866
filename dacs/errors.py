"""Errors with a message for the person and an exit code for the shell.

Each message says what was found, what was expected, and what to do next; the first line can stand alone.
"""

import difflib
from collections.abc import Iterable


class DacsError(Exception):
    """An error with a message for the person; anything else that escapes is a bug."""

    exit_code = 1


class RunFailed(DacsError):
    """A fault of the run, the machine or the data."""

    exit_code = 1


class MemoryFull(RunFailed):
    """The memory of the GPU does not hold what was asked for."""


class ProcessLost(RunFailed):
    """Another process of a run ended; its own message says more than that of one which waited for it."""


class BadRequest(DacsError):
    """The request itself is wrong: params or arguments."""

    exit_code = 2


class Interrupted(DacsError):
    """Stopped from outside with a checkpoint on disk: the same command resumes from there."""

    exit_code = 75


def nearest(word: object, valid: Iterable[object]) -> str:
    """The valid name nearest to `word`, or all of them, as the end of a message."""
    names = [str(name) for name in valid]
    close = difflib.get_close_matches(str(word), names, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else f"valid: {', '.join(names)}."
