"""The raw frames of a domain, from nothing to a manifest: downloaded, or found on a disk and left where they are.

The manifest is written last, so that its presence means that the data set is whole. What has been downloaded and
unpacked is noted beside it, so that no archive is asked for twice.
"""

import hashlib
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from dacs.datasets.base import Archive, Raw
from dacs.datasets.custom import find_custom
from dacs.datasets.find import check_counts, look
from dacs.datasets.registry import dataset
from dacs.datasets.storage import Tree
from dacs.demo_world.write import MARKER
from dacs.download.fetch import PATIENT, RetryPolicy, fetch
from dacs.download.login import SITE, Login, credentials
from dacs.download.unpack import check_archive, unpack
from dacs.download.verify import expected_file
from dacs.errors import BadRequest, RunFailed
from dacs.files import read_json, write_json
from dacs.provenance import canonical
from dacs.settings import CustomDomain, DownloadJob

NOTE = ".archives.json"  # in the raw folder: checksum of each archive that has been unpacked there


def bring(
    job: DownloadJob, raw: Path, trusted: Path, *, site: str = SITE, retry: RetryPolicy = PATIENT
) -> dict[str, Any]:
    """Provide the raw frames of a domain, from where the job says; returns the manifest, which is written to `raw`.

    `trusted` is the file of the checksums of first downloads, `site` where Cityscapes logs in. Raises BadRequest where
    terms are not accepted or credentials are missing, RunFailed where frames are missing at the end, and what `fetch`
    and `unpack` raise. Whatever was finished stays, and the same command resumes.
    """
    if job.custom:
        manifest = _survey(job.domain, job.custom)
    elif job.source == "download":
        manifest = _download(job, raw, trusted, site, retry)
    else:
        manifest = _adopt(job.domain, raw, Path(job.source).expanduser().absolute(), job.domain in job.subset)
    write_json(raw / "manifest.json", manifest)
    return manifest


def files_now(domain: str, custom: CustomDomain) -> str:
    """A digest of names, sizes and times of the files of a custom domain."""
    return _sha256(canonical(list(_files(find_custom(domain, custom)))))


def _survey(domain: str, custom: CustomDomain) -> dict[str, Any]:
    """The manifest of a custom domain, with the digest of its files, so that a change of them is noticed."""
    frames = _counts(find_custom(domain, custom))
    return {"domain": domain, "origin": "custom", "frames": frames, "sha256": files_now(domain, custom)}


def _adopt(domain: str, raw: Path, folder: Path, is_part: bool) -> dict[str, Any]:
    """The manifest of a copy, or of a part on purpose, that is in `folder`, which is only read."""
    _clear(raw)
    found = look(domain, Tree(folder))
    if not is_part:
        check_counts(domain, found.root, _counts(found))
    content = canonical([[name, size] for name, size, _ in _files(found)])
    return _manifest(domain, found, "folder", str(folder), (), content)


def _download(job: DownloadJob, raw: Path, trusted: Path, site: str, retry: RetryPolicy) -> dict[str, Any]:
    """The manifest of a data set that is downloaded, and unpacked or read from its archives where they are."""
    row, folder, note = dataset(job.domain), Path(job.archives) / job.domain, raw / NOTE

    def checksum(archive: Archive) -> str:
        return expected_file(archive, trusted).checksum

    check_terms(job)
    frames = [_mirrored(archive, job.mirrors) for archive in row.archives]
    part = row.parts.get(job.gta5_frames)
    lists = [_mirrored(archive, job.mirrors) for archive in part.archives] if part else []
    packed = () if job.unpack else tuple(archive.name for archive in frames)
    if not all(name.endswith(".zip") for name in packed):
        raise BadRequest(f"{job.domain}: its archive is not a zip and must be unpacked.\nSet data.unpack to true.")
    _clear(raw)
    done = read_json(note) if note.exists() else {}  # a loss of their files is noticed when frames are counted
    missing = [each for each in frames + lists if each.name in packed or done.get(each.name) != checksum(each)]
    asks = any(archive.login and not (folder / archive.name).exists() for archive in missing)
    login = Login(credentials(os.environ), site) if asks else None
    # all at once; or a few at a time where each is deleted before the disk must hold the next
    step = job.parallel if job.unpack and not job.keep_archives else max(1, len(missing))
    for batch in (missing[first : first + step] for first in range(0, len(missing), step)):
        hosts = job.unverified_hosts
        paths = fetch(batch, folder, trusted=trusted, parallel=job.parallel, unverified=hosts, login=login, retry=retry)
        for archive, path in zip(batch, paths, strict=True):
            if archive.name in packed:
                check_archive(path, archive.unpacked_limit)
                continue
            unpack(path, raw, limit=archive.unpacked_limit, wanted=partial(row.unpack_member, archive))
            done[archive.name] = checksum(archive)
            write_json(note, done)
            if not job.keep_archives:
                path.unlink()
    checksums = {archive.name: checksum(archive) for archive in frames + lists}
    try:
        found = look(job.domain, Tree(folder if packed else raw, packed))
        check_counts(job.domain, found.root, _counts(found))
        root = os.path.relpath(folder, raw) if packed else ""
        return _manifest(job.domain, found, "download", root, packed, canonical(checksums)) | {"checksums": checksums}
    except RunFailed:
        note.unlink(missing_ok=True)  # files have been lost: the same command unpacks them again
        raise


def check_terms(job: DownloadJob) -> None:
    """Print the terms. Raises BadRequest where there are none, for nothing to download, or they are not accepted."""
    row = dataset(job.domain)
    if row.terms is None or not row.archives:
        raise BadRequest(f"{job.domain} cannot be downloaded.\nName a folder that holds a copy in data.sources.")
    words = f"{row.terms.title}: {row.terms.summary}\nIn full: {row.terms.address}"
    if not job.accepted:
        raise BadRequest(
            f"the terms of {job.domain} are not accepted yet.\n{words}\n"
            f"Read them; if you accept them, set data.accept_terms in params.yaml:  accept_terms: [{job.domain}]"
        )
    print(f"{words}\nAccepted in data.accept_terms.", file=sys.stderr)


def _mirrored(archive: Archive, mirrors: Mapping[str, str]) -> Archive:
    """The archive at the address that the longest matching mirror gives it; what needs a login has no mirror."""
    for start in sorted(mirrors, key=len, reverse=True):
        if archive.address.startswith(start) and not archive.login:
            return archive._replace(address=mirrors[start] + archive.address.removeprefix(start))
    return archive


def _clear(raw: Path) -> None:
    """Remove the manifest, and all that the built-in world has rendered: it can render it again."""
    (raw / "manifest.json").unlink(missing_ok=True)
    if (raw / MARKER).exists():
        shutil.rmtree(raw)


def _manifest(
    domain: str, found: Raw, origin: str, root: str, archives: tuple[str, ...], content: str
) -> dict[str, Any]:
    """The manifest of a published data set."""
    return {
        "domain": domain,
        "origin": origin,
        "root": root,
        "archives": list(archives),
        "layout": found.layout,
        "frames": _counts(found),
        "sha256": _sha256(content),
    }


def _counts(found: Raw) -> dict[str, int]:
    return {split: len(frames) for split, frames in found.frames.items()}


def _files(found: Raw) -> Iterator[tuple[str, int, int]]:
    """The name of each frame with bytes and time of writing (ns), once for each of its files."""
    for frame in (frame for frames in found.frames.values() for frame in frames):
        for file in filter(None, (frame.image, frame.label)):
            status = file.path.stat()
            yield frame.name, status.st_size, status.st_mtime_ns


def _sha256(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()
