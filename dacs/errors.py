"""What a person is told when something is wrong, and the exit code the shell sees.

Each message says what was found, what was expected, and what to do next; the first line can stand alone.
"""


class DacsError(Exception):
    """An error with words for the person; anything else that escapes is a bug."""

    exit_code = 1


class RunFailed(DacsError):
    """A fault of the run, the machine or the data."""

    exit_code = 1


class BadRequest(DacsError):
    """The request itself is wrong: params or arguments."""

    exit_code = 2


class Interrupted(DacsError):
    """Stopped from outside with a checkpoint on disk: the same command goes on from there."""

    exit_code = 75
