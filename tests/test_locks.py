"""A folder is held by one process at a time, for as long as that process lives, on any file system."""

import errno
import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from dacs.errors import RunFailed
from dacs.locks import working_alone

HOLD = """
import sys
from pathlib import Path
from dacs.locks import working_alone
with working_alone(Path(sys.argv[1]), "a test"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_excludes_others_and_ends_with_its_process(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(RunFailed, match="another run is there"), working_alone(tmp_path, "another run is"):
            pass
        process.kill()
    with working_alone(tmp_path, "another run"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_file_system_without_locks_is_worked_on_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with working_alone(tmp_path / "out", "another run"):
        (tmp_path / "out/file").touch()
    assert (tmp_path / "out/file").exists()


def test_a_folder_to_which_nothing_was_written_is_removed(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="out: could not be read or written"), working_alone(tmp_path / "out", "a run"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not (tmp_path / "out").exists()
