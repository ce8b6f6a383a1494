"""Unpack ESC-50's untrusted zip, and check that it is complete."""

from __future__ import annotations

import lzma
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from tinyast.audio.decoding import read_file
from tinyast.data.datasets import index_audio, read_table
from tinyast.data.download import Progress
from tinyast.data.layout import CSV_NAMES
from tinyast.errors import AudioError, DataError

# ESC-50 has 0.9 GB in some 2,000 files, and a malicious zip could hold much more.
MOST_BYTES = 8 << 30
MOST_FILES = 100_000
# `zipfile` raises different exceptions for corrupt bytes: a wrong flag asks for a password
# (RuntimeError), a wrong offset seeks to before the beginning (ValueError).
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    RuntimeError,
    ValueError,
)


class ArchiveError(DataError):
    """The zip is faulty; unpacking it again will not help."""


def unpack(archive: Path, folder: Path, progress: Progress | None = None) -> None:
    """Unpack ESC-50's zip as `folder`, which appears only once every clip in it has been checked.

    Raises ArchiveError for a corrupt zip, one with a path that leads out of it, or clips and CSV
    that do not match, and DataError if the disk is full.
    """
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)  # of a run that was killed
    try:
        _extract(archive, part)
        inside = [path for path in part.iterdir() if path.is_dir()]
        root = inside[0] if len(inside) == 1 else part
        verify(root, str(archive), progress)
        root.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def verify(root: Path, where: str, progress: Progress | None = None) -> int:
    """Check that each row of the CSV has a clip that can be read, and the reverse.

    Gives the number of clips. Raises ArchiveError with `where` and the first few names at fault.
    """
    audio = verify_names(root, where)
    unreadable = []
    for done, (name, path) in enumerate(audio.items(), start=1):
        try:
            read_file(path)
        except (AudioError, OSError) as error:
            unreadable.append(f"{name} ({error})")
        if progress:
            progress(done, len(audio))
    _refuse(where, unreadable, "clips cannot be read")
    return len(audio)


def verify_names(root: Path, where: str) -> dict[str, Path]:
    """Check, without reading any clip, that each row of the CSV has one and each clip a row."""
    csv = root / CSV_NAMES[0]
    if not csv.is_file():
        raise ArchiveError(f"{where} is not ESC-50: it has no {CSV_NAMES[0]}")
    try:
        listed = {Path(name).stem for name in read_table(csv)["filename"]}
    except DataError as error:
        raise ArchiveError(f"{where} is not ESC-50: {error}") from error
    audio = {name: paths[0] for name, paths in index_audio(root / "audio").items()}
    _refuse(where, listed - set(audio), "rows have no clip")
    _refuse(where, set(audio) - listed, "clips have no row")
    return audio


def _extract(archive: Path, part: Path) -> None:
    part.mkdir()
    try:
        with zipfile.ZipFile(archive) as packed:
            _check_members(archive, packed, part)
            packed.extractall(part)
    except _BROKEN as error:
        raise ArchiveError(f"{archive} is not a whole zip ({error})") from error
    except OSError as error:
        raise DataError(f"cannot unpack {archive} to {part.parent}: {error.strerror}") from error


def _check_members(archive: Path, packed: zipfile.ZipFile, beside: Path) -> None:
    members = packed.infolist()
    for member in members:
        path = PurePosixPath(member.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in member.filename:
            raise ArchiveError(
                f"{archive} holds {member.filename!r}, which leads out of the folder"
            )
        if stat.S_ISLNK(member.external_attr >> 16):
            raise ArchiveError(f"{archive} holds a symbolic link, {member.filename!r}")
    size = sum(member.file_size for member in members)
    if size > MOST_BYTES or len(members) > MOST_FILES:
        raise ArchiveError(
            f"{archive} would unpack to {size / 1e9:.1f} GB in {len(members)} files, "
            "which is not ESC-50"
        )
    free = shutil.disk_usage(beside).free
    if size > free:
        raise DataError(
            f"{archive} unpacks to {size / 1e6:.0f} MB, and {free / 1e6:.0f} MB are free: "
            "make room, and run the same again"
        )


def _refuse(where: str, names: Iterable[str], what: str) -> None:
    faults = sorted(names)
    if faults:
        more = ", …" if len(faults) > 3 else ""
        raise ArchiveError(f"{where}: {len(faults)} {what}: {', '.join(faults[:3])}{more}")
