"""Shares of a domain's frames, each prepared by a job of its own, on any machine that sees the same folder.

A shard notes its frames in `.shards/<number>-of-<total>/`, and renames the notes to `.shards/<number>-of-<total>.jsonl`
when all are done. `remap` then makes only what no shard has noted, checks every frame, writes the tables, and removes
the notes.
"""

import os
import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from dacs.errors import BadRequest
from dacs.layout import SHARDS, PreparedDomain
from dacs.locks import working_alone
from dacs.prepare.remap import JOURNAL, find_raw, open_journal, prepare_frames, remove_tables, shard_journals
from dacs.settings import RemapJob


class Shard(NamedTuple):
    """Every `total`-th frame of each split, from the `number`-th on."""

    number: int  # 1 .. total
    total: int

    @classmethod
    def of(cls, text: str) -> "Shard":
        """The shard that is written so, such as 2/8. Raises BadRequest."""
        found = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", text)
        if not found or int(found[1]) > int(found[2]):
            raise BadRequest(f"--shard {text}: I/N was expected, I from 1 to N, such as 2/8.")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"

    def folder(self, out: Path) -> Path:
        """Where it notes frames while it works."""
        return out / SHARDS / f"{self.number}-of-{self.total}"

    def frames(self, count: int) -> range:
        """Which of `count` frames are its own."""
        return range(self.number - 1, count, self.total)


def remap_shard(
    job: RemapJob,
    raw_folder: Path,
    out: Path,
    workers: int,
    shard: Shard,
    is_prepared: Callable[[], bool] = lambda: False,
) -> None:
    """Prepare the frames of one shard below `out`, and note what each was made from.

    Frames that any shard, or an interrupted run, has noted are not made again, whatever their number was. No shard
    writes a file of another. Nothing is done where `is_prepared`, called while no `remap` is at work, says so.

    Raises RunFailed for frames that break the contract of the data; finished frames stay.
    """
    raw, folder = find_raw(job, raw_folder, out), shard.folder(out)
    own = {split: [frames[index] for index in shard.frames(len(frames))] for split, frames in raw.frames.items()}
    with ExitStack() as held:
        with working_alone(out, "another 'dacs remap' is at work", wait=True):
            if is_prepared():
                print(f"{job.domain}: already prepared, so shard {shard} has nothing to do.")
                return
            held.enter_context(working_alone(folder, f"another 'dacs remap --shard {shard}' is at work", wait=True))
            remove_tables(raw, PreparedDomain(out))
        earlier = open_journal(folder / JOURNAL, job, raw, [out / JOURNAL, *shard_journals(out)])
        tallies = prepare_frames(job, raw._replace(frames=own), out, workers, folder / JOURNAL, earlier)
        os.replace(folder / JOURNAL, folder.with_suffix(".jsonl"))
        print(f"{job.domain}: shard {shard}, {sum(len(each.notes) for each in tallies.values())} frames; {raw.layout}")
