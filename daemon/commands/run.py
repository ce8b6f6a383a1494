"""Announce that the daemon is ready: its endpoints and, on a terminal, the next steps."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from daemon.errors import SettingsError, StartError
from daemon.host.trust import check_private
from daemon.monitoring import logging as logs
from daemon.monitoring.status import RunIdentity
from daemon.service.helpers import wanted
from daemon.service.table_checks import TableChecks
from daemon.settings.loading import read_file
from daemon.settings.schema import Settings

log = logging.getLogger("daemon")


def check_settings_file(config: Path | None, settings: Settings) -> None:
    """Raise StartError if others can change the file of these settings, or replace it.

    Raises SettingsError if it names a folder by a relative path that leads nowhere: no later start
    from the same place would find it.
    """
    if config is None:
        return
    check_private(config, "the settings")
    check_private(config.absolute().parent, "the folder of the settings", sticky=True)
    watched = {folder.path for folder in settings.folder}
    for folder in read_file(config).folder:
        path = os.path.expanduser(folder.path)
        missing = not os.path.isabs(path) and not os.path.lexists(path)
        if missing and os.path.realpath(path) in watched:
            raise SettingsError(
                f"the settings {config} watch {folder.path}, and there is no such folder in "
                f"{os.getcwd()}, where the daemon was started; write its absolute path"
            )


@contextmanager
def checked_tables(config: Path | None, settings: Settings) -> Iterator[Callable[[], None]]:
    """Have the helpers check their tables meanwhile. The function it gives raises their errors."""
    with TableChecks(wanted(settings, settings.publish, settings.replay)) as checks:

        def judge() -> None:
            try:
                checks.judge()
            except (SettingsError, StartError) as error:
                where = "the command line" if config is None else str(config)
                raise type(error)(f"settings from {where}: {error}") from error

        yield judge


def announce(settings: Settings, identity: RunIdentity) -> None:
    """Print or log that the daemon is ready."""
    sources = ", ".join(
        [folder.path for folder in settings.folder]
        + [f"microphone {mic.device or 'default'}" for mic in settings.microphone]
        + [f"stream {stream.device}" for stream in settings.stream]
    )
    if not logs.is_human(settings.log):
        log.info(
            "ready: watching %s, publishing at %s, replay at %s, journal in %s",
            sources,
            identity.publish,
            identity.replay,
            identity.state,
        )
        return
    custom = "" if identity.publish.endswith(":5755") else f" --publish {identity.publish}"
    custom += "" if identity.replay.endswith(":5756") else f" --replay {identity.replay}"
    print(
        f"tinyastd is ready\n"
        f"  watching    {logs.printable(sources)}\n"
        f"  publishing  {identity.publish}\n"
        f"  replay      {identity.replay}\n"
        f"  journal     {identity.state}\n"
        f"Next: run `tinyastd listen{custom}` in another terminal, and {_deed(settings)}. "
        "Ctrl-C stops.",
        file=sys.stderr,
        flush=True,
    )


def _deed(settings: Settings) -> str:
    deeds = ["make a noise"] if settings.microphone else []
    if settings.folder:
        deeds.append(f"drop a {'/'.join(settings.folder[0].looks_at())} file into the folder")
    return " or ".join(deeds)
