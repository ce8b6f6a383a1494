"""Fetching the ESC-50 archive, so that nothing half-done is ever taken for whole."""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import os
import shutil
import stat
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from tinyast.audio import read_file
from tinyast.datasets import CSV_NAMES, index_audio, read_table
from tinyast.errors import AudioError, DataError

ESC50_URL = "https://github.com/karoldvl/ESC-50/archive/master.zip"
CHUNK = 1 << 18  # bytes
MOST_BYTES = 8 << 30  # unpacked; ESC-50 is 0.9 GB, and a zip can be made to hold much more
Progress = Callable[[int, int | None], None]  # bytes or clips done, of how many if known


def fetch(
    url: str,
    target: Path,
    sha256: str | None = None,
    attempts: int = 5,
    pause_s: float = 1.0,
    progress: Progress | None = None,
) -> None:
    """Download `url` to the file `target`, going on where an earlier attempt broke off.

    Raises DataError where the server cannot be reached or refuses, the connection breaks
    `attempts` times, or the file's SHA-256 is not the one given.
    """
    part = target.with_name(target.name + ".part")
    target.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, attempts + 1):
        try:
            _fetch_rest(url, part, progress)
            break
        except urllib.error.HTTPError as error:
            raise DataError(f"{url}: the server says {error.code} {error.reason}") from error
        except (OSError, http.client.HTTPException) as error:
            if _is_local(error):
                raise DataError(f"cannot write {part}: {error}") from error
            if attempt == attempts:
                raise DataError(
                    f"{url}: {_why(error)}. What has come is kept; run the same again to go on"
                ) from error
            time.sleep(pause_s * attempt)
    if sha256 is not None:
        with part.open("rb") as handle:
            found = hashlib.file_digest(handle, "sha256").hexdigest()
        if found != sha256.lower():
            part.unlink()
            raise DataError(f"{url}: its SHA-256 is {found}, not {sha256}; it was thrown away")
    os.replace(part, target)
    _tag_file(part).unlink(missing_ok=True)


def unpack(archive: Path, folder: Path, progress: Progress | None = None) -> None:
    """Unpack ESC-50's zip as `folder`, which appears only once every clip in it has been checked.

    Raises DataError for a corrupt zip, one with a path that leads out of it, or clips and CSV that
    do not match.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unpack-") as name:
        try:
            with zipfile.ZipFile(archive) as packed:
                _check_members(archive, packed, Path(name))
                packed.extractall(name)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise DataError(
                f"{archive} is not a whole zip ({error}); delete it, and run again"
            ) from error
        except OSError as error:
            raise DataError(f"cannot unpack {archive}: {error}") from error
        inside = [path for path in Path(name).iterdir() if path.is_dir()]
        root = inside[0] if len(inside) == 1 else Path(name)
        verify(root, progress)
        root.rename(folder)


def verify(root: Path, progress: Progress | None = None) -> int:
    """Check that each row of the CSV has a clip that can be read, and the reverse.

    Gives the number of clips. Raises DataError with the first few names at fault.
    """
    csv = next((root / name for name in CSV_NAMES if (root / name).is_file()), None)
    if csv is None:
        raise DataError(f"no {CSV_NAMES[0]} in the archive: is it ESC-50's?")
    listed = {Path(name).stem for name in read_table(csv)["filename"]}
    audio = index_audio(root / "audio")
    _refuse(sorted(listed - set(audio)), "rows have no clip")
    _refuse(sorted(set(audio) - listed), "clips have no row")
    unreadable = []
    for done, (name, path) in enumerate(audio.items(), start=1):
        try:
            read_file(path)
        except (AudioError, OSError) as error:
            unreadable.append(f"{name} ({error})")
        if progress:
            progress(done, len(audio))
    _refuse(unreadable, "clips cannot be read")
    return len(audio)


def _fetch_rest(url: str, part: Path, progress: Progress | None) -> None:
    """Append to `part` what is missing of it, or begin anew if the server cannot go on."""
    have = part.stat().st_size if part.exists() else 0
    tag = json.loads(_tag_file(part).read_text()) if have and _tag_file(part).exists() else None
    request = urllib.request.Request(url, headers={"User-Agent": "tinyast"})
    if have and tag:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", tag)  # else a changed file would be glued to the old one
    try:
        reply = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # asked to begin at its end: it is whole
            raise
        return
    with reply:
        going_on = reply.status == 206
        length = reply.headers.get("Content-Length")
        total = None if length is None else int(length) + (have if going_on else 0)
        _remember(part, reply.headers.get("ETag") or reply.headers.get("Last-Modified"))
        with part.open("ab" if going_on else "wb") as out:
            while chunk := reply.read(CHUNK):
                out.write(chunk)
                if progress:
                    progress(out.tell(), total)
            if total is not None and out.tell() < total:
                raise ConnectionError(f"the connection ended after {out.tell()} of {total} bytes")


def _tag_file(part: Path) -> Path:
    return part.with_name(part.name + ".tag")


def _remember(part: Path, tag: str | None) -> None:
    # A weak tag promises like content, not like bytes, and cannot be gone on from.
    if tag and not tag.startswith("W/"):
        _tag_file(part).write_text(json.dumps(tag))
    else:
        _tag_file(part).unlink(missing_ok=True)


def _is_local(error: BaseException) -> bool:
    """Whether the disk is at fault, not the network: trying again would not help."""
    full = (errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES, errno.EPERM)
    return isinstance(error, OSError) and error.errno in full


def _why(error: BaseException) -> str:
    return str(getattr(error, "reason", None) or error or type(error).__name__)


def _check_members(archive: Path, packed: zipfile.ZipFile, beside: Path) -> None:
    for member in packed.infolist():
        path = PurePosixPath(member.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in member.filename:
            raise DataError(f"{archive} holds {member.filename!r}, which leads out of the folder")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise DataError(f"{archive} holds a symbolic link, {member.filename!r}")
    size = sum(member.file_size for member in packed.infolist())
    if size > MOST_BYTES:
        raise DataError(f"{archive} would unpack to {size / 1e9:.1f} GB, which is not ESC-50")
    free = shutil.disk_usage(beside).free
    if size > free:
        raise DataError(f"{archive} needs {size / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free")


def _refuse(names: list[str], what: str) -> None:
    if names:
        more = ", …" if len(names) > 3 else ""
        raise DataError(f"{len(names)} {what}: {', '.join(names[:3])}{more}")
