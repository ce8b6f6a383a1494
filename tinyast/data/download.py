"""Fetch a large file so that a partial file is never mistaken for the whole."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tinyast.errors import DataError

ESC50_URL = "https://github.com/karoldvl/ESC-50/archive/master.zip"
CHUNK = 1 << 18  # bytes
Progress = Callable[[int, int | None], None]  # bytes or clips done, and the total if known


def fetch(
    url: str,
    target: Path,
    sha256: str | None = None,
    attempts: int = 5,
    pause_s: float = 1.0,
    progress: Progress | None = None,
    trouble: Callable[[str], None] | None = None,
) -> None:
    """Download `url` to the file `target`, resuming an earlier attempt.

    `trouble` receives the reason for each further attempt. Raises DataError if the server refuses,
    if it cannot be reached or sends no new bytes `attempts` times in a row, or if the disk is full;
    ChecksumError if the file has another SHA-256.
    """
    if not url.startswith(("http://", "https://")):
        raise DataError(f"{url!r} is no web address: it begins with http:// or https://")
    part = target.with_name(target.name + ".part")
    failed = most = 0
    while True:
        try:
            _fetch_rest(url, part, progress)
            break
        except (OSError, http.client.HTTPException, ValueError) as error:
            _refuse_what_stays(url, part, error)
            had, most = most, max(most, _size(part))
            failed = failed + 1 if most == had else 1
            if failed >= attempts:
                kept = (
                    "The downloaded part is kept; run the same command to resume"
                    if most
                    else "Is it right?"
                )
                raise DataError(f"{url}: {_why(error)}. {kept}") from error
            if trouble:
                trouble(f"{_why(error)}: trying again")
            time.sleep(pause_s * failed)
    _tag_file(part).unlink(missing_ok=True)
    try:
        check_sum(part, sha256)
    except ChecksumError as error:
        part.unlink()
        raise ChecksumError(f"{url}: {error}. It was deleted") from error
    os.replace(part, target)


def check_sum(path: Path, sha256: str | None) -> None:
    """Raise ChecksumError if a SHA-256 is given and the file has another."""
    if sha256 is None:
        return
    with path.open("rb") as handle:
        found = hashlib.file_digest(handle, "sha256").hexdigest()
    if found != sha256.lower():
        raise ChecksumError(f"{path.name} has the SHA-256 {found}, not {sha256}")


class ChecksumError(DataError):
    """A file that is not the one it should be."""


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Create and lock `folder`, so that two downloads cannot write one file.

    Raises DataError if another download has the lock. It ends with the process and leaves no file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fd = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise DataError(f"another download is at work in {folder}: wait for it") from None
    finally:
        os.close(fd)


def _fetch_rest(url: str, part: Path, progress: Progress | None) -> None:
    """Append the missing bytes to `part`, or start over if the server cannot resume."""
    have, tag = _size(part), _tag(part)
    request = urllib.request.Request(url, headers={"User-Agent": "tinyast"})
    if have and tag:
        request.add_header("Range", f"bytes={have}-")
        request.add_header(
            "If-Range", tag
        )  # otherwise a changed file would be appended to the old one
    try:
        reply = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416:  # asked to begin at its end: it is whole
                return
            raise
    with reply:
        going_on = reply.status == 206
        if going_on and not reply.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            part.unlink()
            raise ConnectionError("the server sent another part than was asked for")
        length = reply.headers.get("Content-Length")
        total = None if length is None else int(length) + (have if going_on else 0)
        _refuse_what_has_no_room(part, (total or 0) - have)
        with part.open("ab" if going_on else "wb") as out:
            _remember(part, reply.headers.get("ETag") or reply.headers.get("Last-Modified"))
            while chunk := reply.read(CHUNK):
                out.write(chunk)
                if progress:
                    progress(out.tell(), total)
            if total is not None and out.tell() < total:
                raise ConnectionError(f"the connection ended after {out.tell()} of {total} bytes")


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _tag_file(part: Path) -> Path:
    return part.with_name(part.name + ".tag")


def _tag(part: Path) -> str:
    """The server's tag for this version of its file; empty without one."""
    path = _tag_file(part)
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _remember(part: Path, tag: str | None) -> None:
    # A weak tag promises equivalent content, not equal bytes, so it does not allow resuming.
    if tag and not tag.startswith("W/"):
        _tag_file(part).write_text(tag, encoding="utf-8")
    else:
        _tag_file(part).unlink(missing_ok=True)


def _refuse_what_has_no_room(part: Path, size: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if size > free:
        raise DataError(
            f"{part.parent} has room for {free / 1e6:.0f} MB, and {size / 1e6:.0f} MB are to come: "
            "make room, and run the same again"
        )


def _refuse_what_stays(url: str, part: Path, error: Exception) -> None:
    """Raise DataError if another attempt would not help: this disk, or a final answer."""
    if isinstance(error, urllib.error.HTTPError):
        if error.code < 500:
            raise DataError(f"{url}: the server says {error.code} {error.reason}") from error
    elif isinstance(error, http.client.InvalidURL | ValueError):
        raise DataError(f"{url!r} is no web address: {error}") from error
    disk = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EISDIR)
    if isinstance(error, OSError) and error.errno in disk:
        raise DataError(
            f"cannot write {part}: {error.strerror}. What has come is kept; "
            "make room, and run the same again"
        ) from error


def _why(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return getattr(reason, "strerror", None) or str(reason) or type(error).__name__
