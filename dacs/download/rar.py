"""What a .rar holds, and who unpacks it: stored members are read here, packed ones by the first tool that can.

Only two programs know how to unpack RAR 3 and 5 in full, and people have had damaged files from each of them: a tool
works in a folder of its own, and what it leaves counts only where size and checksum fit the listing.
"""

import os
import shutil
import stat
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import rarfile
from tqdm import tqdm

from dacs.download.members import (
    Entry,
    Member,
    Opened,
    damaged,
    in_words,
    kind_fault,
    name_fault,
    refused,
    same,
)
from dacs.errors import RunFailed

SIGNATURE = b"Rar!\x1a\x07"
GLANCE = 1.0  # seconds between two looks at how much a tool has written
SHOWN = 10  # members named in an error; the rest are counted
LAST_LINES = 5  # of what a tool said, kept for the error
UNMARKED = 20  # up to this version of RAR, archives have no mark at their end
LINKS = {
    rarfile.RAR5_XREDIR_UNIX_SYMLINK: "is a link, not a file",
    rarfile.RAR5_XREDIR_WINDOWS_SYMLINK: "is a link, not a file",
    rarfile.RAR5_XREDIR_WINDOWS_JUNCTION: "is a link, not a file",
    rarfile.RAR5_XREDIR_HARD_LINK: "is a hard link, not a file",
    rarfile.RAR5_XREDIR_FILE_COPY: "is a mere reference to another member, which no free tool follows",
}
METHODS = range(rarfile.RAR_M0, rarfile.RAR_M5 + 1)
BROKEN = (rarfile.Error, OSError, ValueError, EOFError)


TOOLS = {  # name → command line, cut at spaces before the absolute paths are filled in
    "unar": "unar -force-overwrite -no-directory -no-recursion -forks skip -output-directory {folder} {archive}",
    "bsdtar": "bsdtar -x -v --no-same-owner --no-same-permissions -C {folder} -f {archive}",
    "unrar": "unrar x -y -o+ -p- {archive} {folder}/",
}
INSTALL = (
    "Install one, 'apt install unar' or 'apt install libarchive-tools' (Debian, Ubuntu) or"
    " 'conda install -c conda-forge libarchive', then run the same command again."
)


# --------------------------------------------------------------------------------------------------------------------
# The listing


@contextmanager
def opened(archive: Path) -> Iterator[Opened]:
    """The members of a RAR 2 to 5; raises RunFailed where it is cut, locked, or one volume of several."""
    blocks: list[Any] = []
    try:
        file = rarfile.RarFile(archive, errors="strict", part_only=True, info_callback=blocks.append)
    except Exception as error:  # a hostile header can trip the parser in any way
        raise damaged(archive, f"begins as a RAR archive but cannot be read, it is cut or damaged ({error})") from error
    _check_blocks(archive, blocks, file.needs_password())
    yield Opened([_entry(info) for info in _of(blocks, "FILE")], lambda entry: file.open(entry.handle), BROKEN)


def _check_blocks(archive: Path, blocks: Sequence[Any], locked: bool) -> None:
    """The parser stops quietly at what it does not know, so the end must have been seen, and all data lie before it."""
    main, files, end = (_of(blocks, kind) for kind in ("MAIN", "FILE", "ENDARC"))
    if locked and not files:
        raise refused(archive, "its listing is encrypted")
    if any(block.flags & rarfile.RAR_MAIN_VOLUME for block in main):
        raise refused(archive, "is one volume of several, expected a single archive")
    size = archive.stat().st_size
    if any(_ends(block) > size for block in blocks):
        raise damaged(archive, f"is cut, its data go on beyond its {size} bytes")
    old = all(block.extract_version <= UNMARKED for block in files) and size in map(_ends, blocks)
    if not main or not (end or old):
        raise damaged(archive, f"is cut or damaged, no end mark within its {size} bytes")


def _ends(block: Any) -> int:
    """Where the data of a block end, in bytes from the start of the archive."""
    return block.data_offset + block.add_size


def _of(blocks: Sequence[Any], kind: str) -> list[Any]:
    """The blocks of one kind: MAIN, FILE or ENDARC."""
    return [block for block in blocks if block.type == getattr(rarfile, f"RAR_BLOCK_{kind}")]


def _entry(info: Any) -> Entry:
    name = info.filename.removesuffix("/")
    readable = info.compress_type == rarfile.RAR_M0
    fault = _fault(info, readable)
    return Entry(name, info.file_size, info.CRC, info.is_dir(), fault, readable, handle=info)


def _fault(info: Any, readable: bool) -> str:
    mode = info.mode if info.host_os == rarfile.RAR_OS_UNIX else 0
    kind = LINKS.get(info.file_redir[0], "is an unknown kind of link") if info.file_redir else kind_fault(mode)
    if kind:
        return kind
    if info.needs_password():
        return "is encrypted"
    if info.flags & (rarfile.RAR_FILE_SPLIT_BEFORE | rarfile.RAR_FILE_SPLIT_AFTER):
        return "goes on in another volume"
    if info.flags & rarfile.RAR_FILE_VERSION or getattr(info, "file_version", None):
        return "is an old version of another member"
    if info.compress_type not in METHODS:
        return f"is packed by the unknown method {info.compress_type}"
    if readable and info.compress_size != info.file_size:
        return f"is stored in {info.compress_size} bytes and declares {info.file_size}"
    # RAR 3 and 4 write a name twice, in 8 bits and in Unicode: a tool may take the one that we do not show
    return name_fault(info.orig_filename.decode(errors="replace"), info.is_dir())


# --------------------------------------------------------------------------------------------------------------------
# Tools


def tools(archive: Path) -> list[str]:
    """The tools of this machine. Raises RunFailed saying what to install where there is none."""
    found = [tool for tool in TOOLS if shutil.which(tool)]
    if not found:
        raise RunFailed(
            f"{archive}: is packed, and none of {', '.join(TOOLS)} is here; nothing was unpacked.\n{INSTALL}"
        )
    return found


def by_tools(
    archive: Path, staging: Path, members: Sequence[Member], take: Callable[[Path, Member], bool], total: int, lock: int
) -> None:
    """Let one tool after another unpack the whole archive below `staging` until `take` has accepted every member.

    `total` bytes are what the archive declares: a tool that writes more is stopped. `lock` stays held while a tool
    lives. Raises RunFailed naming what no tool gave.
    """
    said, missing = {}, list(members)
    for tool in tools(archive):
        with _fresh(staging):
            said[tool] = _run(tool, archive, staging, total, lock)
            found = _regular_files(staging)
            missing = [m for m in missing if not (same(m.name) in found and take(found[same(m.name)], m))]
        if not missing:
            return
    raise RunFailed("\n".join(_complaint(archive, len(members), missing, said)))


@contextmanager
def _fresh(staging: Path) -> Iterator[None]:
    """An empty folder for the block; it does not outlive it."""
    sweep(staging)
    staging.mkdir()
    try:
        yield
    finally:
        sweep(staging)


def sweep(staging: Path) -> None:
    """Remove what a killed run may have left of the folder that tools work in; links in it are not followed."""
    if staging.is_dir():
        _open_up(staging)
        shutil.rmtree(staging)


def _run(tool: str, archive: Path, staging: Path, total: int, lock: int) -> str:
    """Run a tool to its end, whatever that is; returns the last lines it wrote."""
    places = {"archive": str(archive.resolve()), "folder": str(staging)}
    command = [part.format(**places) for part in TOOLS[tool].split()]
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}  # in the C locale bsdtar gives up at names beyond ASCII
    bar = tqdm(total=total, desc=f"{archive.name} ({tool})", unit="B", unit_scale=True, disable=None)
    try:
        process = subprocess.Popen(
            command,
            cwd=staging,
            env=environment,
            pass_fds=(lock,),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,  # not a file: a tool whose parent was killed dies of its next line
            stderr=subprocess.STDOUT,
            errors="replace",
        )
    except OSError as error:
        return f"could not be started ({error.strerror})"
    with bar, process, _last_lines(process) as said:
        try:
            _watch(process, archive, staging, total, bar)
        finally:
            process.kill()
    return _printable([*said, f"(exit status {process.returncode})"])


@contextmanager
def _last_lines(process: subprocess.Popen[str]) -> Iterator[deque[str]]:
    """The last lines that a process writes, complete when the block has ended."""
    said: deque[str] = deque(maxlen=LAST_LINES)
    reader = threading.Thread(target=lambda: said.extend(process.stdout or ()), daemon=True)
    reader.start()
    try:
        yield said
    finally:
        reader.join()


def _watch(process: subprocess.Popen[str], archive: Path, staging: Path, total: int, bar: Any) -> None:
    """Wait for the end; raises RunFailed where more is written than the archive declares."""
    running = True
    while running:
        with suppress(subprocess.TimeoutExpired):
            process.wait(GLANCE)
            running = False
        written = sum(size for _, size in _sizes(staging))
        bar.update(written - bar.n)
        if written > total:
            raise damaged(archive, f"yields more than the {in_words(total)} it declares, unpacking was stopped")


def _sizes(folder: Path) -> Iterator[tuple[Path, int]]:
    """The regular files below a folder that others may be writing to, with their bytes."""
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names):
            with suppress(FileNotFoundError):
                status = path.lstat()
                if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:  # a second name may lie elsewhere
                    yield path, status.st_size


def _regular_files(staging: Path) -> dict[str, Path]:
    """What a tool has left: some leave `RGB\\0000000.png` as one flat name, some take accents apart."""
    _open_up(staging)
    return {same(path.relative_to(staging).as_posix()): path for path, _ in _sizes(staging)}


def _open_up(staging: Path) -> None:
    """Let us into every folder that a tool has made with the rights that the archive asks for."""
    for parent, folders, _ in os.walk(staging):
        for path in (Path(parent, name) for name in folders):
            if not path.is_symlink():
                path.chmod(0o755)


def _complaint(archive: Path, asked: int, missing: Sequence[Member], said: dict[str, str]) -> Iterator[str]:
    """Lines: how many members no tool gave, the first ten, what each tool said, and what to do."""
    yield f"{archive}: {len(missing)} of {asked} members came missing or damaged out of {' and '.join(said)}:"
    yield from (f"  {member.name}" for member in missing[:SHOWN])
    if len(missing) > SHOWN:
        yield f"  … and {len(missing) - SHOWN} more, {len(missing)} in all"
    yield from (f"{name} said: {words}" for name, words in said.items())
    others = [tool for tool in TOOLS if tool not in said]
    also = f", or install another tool ({', '.join(others)})" if others else ""
    yield f"What came well is kept. Download the archive again if its checksum is in doubt{also}; then run it again."


def _printable(lines: Sequence[str]) -> str:
    """Lines as one, without what could drive a terminal."""
    text = " | ".join(line.strip() for line in lines if line.strip())
    return "".join(char if char.isprintable() else "?" for char in text)
