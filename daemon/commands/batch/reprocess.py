"""`tinyastd reprocess`: ask the daemon to classify files again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from daemon.client import ClientKeys, NoAnswer, ask_status
from daemon.commands.batch.finding import find_all
from daemon.commands.nearby import with_endpoints
from daemon.errors import DaemonError, SettingsError
from daemon.protocol.states import DaemonStatus, FolderState
from daemon.service.inbox import ask_reprocess
from daemon.settings.schema import Folder, Settings

ANSWER_S = 2.0


@dataclass(frozen=True)
class Asked:
    """What was asked: the number of files, and whether a daemon runs that does it now."""

    files: int
    running: bool


def reprocess(
    settings: Settings, paths: Sequence[Path], keys: ClientKeys | None, named: bool
) -> Asked:
    """Ask the daemon to classify the files under `paths` again.

    A running daemon says which folders it watches and where its state is; the settings say so if
    none runs, or if they were `named`. Raises SettingsError if a path lies in no watched folder or
    the state directory cannot be written, and DaemonError if this user may not ask the daemon.
    """
    running = None if named else _running(with_endpoints(settings), keys)
    if running is None:
        folders, state = settings.folder, settings.state_path
    else:
        folders, state = _watched(running), Path(running.state)
    found = find_watched(folders, paths)
    try:
        ask_reprocess(state, found)
    except PermissionError as error:
        raise SettingsError(
            f"permission denied: this user may not write to the state directory {state}; try again "
            "with sudo, or as the daemon's user"
        ) from error
    except OSError as error:
        raise SettingsError(
            f"cannot write to the state directory {state}: {error.strerror}"
        ) from error
    return Asked(len(found), running is not None)


def _running(settings: Settings, keys: ClientKeys | None) -> DaemonStatus | None:
    """The status of the daemon that runs, if any."""
    try:
        answer = ask_status(settings.replay, keys, ANSWER_S)
    except NoAnswer:
        return None
    try:
        return msgspec.convert(answer, DaemonStatus)
    except msgspec.ValidationError as error:
        raise DaemonError(
            f"the daemon is of another version, and its status is not understood ({error}); name "
            "its settings with --config"
        ) from error


def _watched(status: DaemonStatus) -> tuple[Folder, ...]:
    return tuple(
        Folder(
            path=source.path,
            name=source.name,
            recursive=source.recursive or False,
            suffixes=tuple(source.suffixes or (".wav",)),
        )
        for source in status.sources
        if isinstance(source, FolderState)
    )


def find_watched(folders: Sequence[Folder], paths: Sequence[Path]) -> list[bytes]:
    """Files under `paths`, which must all lie in watched folders. Raises SettingsError."""
    found: list[bytes] = []
    for path in paths:
        whole = os.path.realpath(path)
        for folder in folders:
            if whole == folder.path or Path(whole).is_relative_to(folder.path):
                found += find_all([Path(whole)], folder)
                break
        else:
            watched = ", ".join(folder.path for folder in folders)
            raise SettingsError(
                f"{path} is in no watched folder; watched are {watched}"
                if folders
                else f"{path} is in no watched folder: the daemon watches no folder"
            )
    return found
