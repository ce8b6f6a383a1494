"""Name the paths that strangers could change, for `tinyastd doctor`; `run` refuses them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from daemon.host.trust import Exposure, User, exposure, tree_exposures
from daemon.protocol.keys import CLIENTS
from daemon.settings.schema import Settings


def exposures(settings: Settings, config: Path | None, user: User) -> Iterator[Exposure]:
    """Everything that `run` would refuse as `user`, because others can change it."""
    alone: list[tuple[Path, str, bool]] = []  # path, its name, whether it may be like /tmp
    if config is not None:
        alone.append((config, "the settings", False))
        alone.append((config.absolute().parent, "the folder of the settings", True))
    for name, endpoint in (("publish", settings.publish), ("replay", settings.replay)):
        if endpoint.startswith("ipc://"):
            socket = Path(endpoint.removeprefix("ipc://"))
            alone.append((socket.parent, f"the directory of `{name}`", True))
            alone.append((socket.with_name(socket.name + ".lock"), "the lock", False))
    for path, what, sticky in alone:
        if found := exposure(path, what, sticky, user):
            yield found
    trees = [(settings.state_path, "the state")]
    if settings.keys_path is not None:
        trees += [(settings.keys_path, "the key"), (settings.keys_path / CLIENTS, "the key")]
    if settings.checkpoint_path is not None:
        trees.append((settings.checkpoint_path, "the model"))
    for folder, what in trees:
        yield from tree_exposures(folder, what, user)


def daemon_user(state: Path) -> User:
    """The user that runs the daemon: this one, or for root the owner of an existing state.

    As a service, the daemon often runs as a separate user, and root asks the doctor about it.
    """
    if os.geteuid() == 0:
        try:
            found = state.stat()
            return User(found.st_uid, found.st_gid)
        except OSError:
            pass
    return User.this()
