"""Debian packages by name, fetched with apt (which checks them) and unpacked, never installed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tinyast.data.extra.clips import ExtraError
from tinyast.data.extra.programs import run

SECONDS = 1800.0
"""How long a package may take."""


class UnknownPackageError(ExtraError):
    """The release that apt knows has no such package."""


def check_apt(names: Iterable[str], folder: Path) -> None:
    """Raise ExtraError with the list of packages if neither apt nor their files are there."""
    missing = [name for name in names if _file(name, folder) is None]
    if not missing or (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        return
    raise ExtraError(
        "apt-get and dpkg-deb are needed, which Debian and Ubuntu have. On other systems install"
        f" dpkg-deb and put the .deb files of these packages into {folder}"
        f" (https://packages.debian.org/bookworm/NAME/download): {', '.join(sorted(set(missing)))}"
    )


def unpacked(name: str, folder: Path) -> Path:
    """Fetch package `name` into `folder` unless its file is there; returns a folder of its files.

    Raises:
        UnknownPackageError: apt does not know it.
        ExtraError: It cannot be fetched or unpacked.
    """
    root = folder / "unpacked" / name
    if root.is_dir():
        return root
    archive = _file(name, folder) or _fetched(name, folder)
    part = root.with_name(f"{name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        run("dpkg-deb", "--extract", str(archive), str(part), seconds=SECONDS)
    except ExtraError as error:
        advice = f"delete {archive} and run the same command again"
        raise ExtraError(f"{error}: {advice}") from error
    part.rename(root)
    return root


def _file(name: str, folder: Path) -> Path | None:
    return next(iter(sorted(folder.glob(f"{name}_*.deb"))), None)


def _fetched(name: str, folder: Path) -> Path:
    """apt writes under the final name, so it works in a folder beside: a part is no package."""
    beside = folder / f"{name}.part"
    beside.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(
            ("apt-get", "download", "-q", name),
            cwd=beside,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise ExtraError(f"apt-get took longer than {SECONDS:g} s for {name}") from error
    found = _file(name, beside)
    if done.returncode or found is None:
        said = done.stderr.strip()
        if "Unable to locate" in said or "No packages found" in said or "no candidate" in said:
            raise UnknownPackageError(f"apt knows no package {name}")
        raise ExtraError(f"apt-get cannot fetch {name}: {said[-300:]}. Is this machine online?")
    target = found.rename(folder / found.name)
    shutil.rmtree(beside)
    return target
