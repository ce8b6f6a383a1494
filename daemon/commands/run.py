"""Announce that the daemon is ready: its endpoints and, on a terminal, the next steps."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from daemon.host.trust import check_private
from daemon.monitoring import logging as logs
from daemon.monitoring.status import Identity
from daemon.settings.schema import Settings

log = logging.getLogger("daemon")


def check_settings_file(config: Path | None) -> None:
    """Raise StartError if others can change the settings, or replace them."""
    if config is not None:
        check_private(config, "the settings")
        check_private(config.absolute().parent, "the folder of the settings", sticky=True)


def announce(settings: Settings, identity: Identity) -> None:
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
