"""The commands about results that the daemon has stored."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from daemon.commands.options import (
    Config,
    OwnKey,
    Publish,
    Replay,
    ServerKey,
    State,
    Watch,
    client_keys,
    read_settings,
)
from daemon.monitoring.signals import raise_on_ctrl_c


def reprocess(
    context: typer.Context,
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH...", help="Files and folders in a watched folder."),
    ],
    server_key: ServerKey = None,
    own_key: OwnKey = None,
    config: Config = None,
    watch: Watch = None,
    state: State = None,
    publish: Publish = None,
    replay: Replay = None,
) -> None:
    """Classify files again, as if they were new; earlier messages about them stay.

    The folders are those that the running daemon watches, unless --config, --watch or --state names
    others.
    """
    settings = read_settings(context)
    from daemon.commands.batch.reprocess import reprocess
    from daemon.monitoring.logging import counted

    named = any((config, watch, state))
    asked = reprocess(settings, paths, client_keys(server_key, own_key), named)
    when = "now" if asked.running else "now, or at its next start"
    typer.echo(f"{counted(asked.files, 'file')}: the daemon classifies them again {when}")


def backup(
    context: typer.Context,
    copy: Annotated[Path, typer.Argument(metavar="COPY", help="New file to write it to.")],
    config: Config = None,
    state: State = None,
) -> None:
    """Copy the journal of messages and files; the daemon may be running."""
    from daemon.journal.backup import backup

    state_path = read_settings(context).state_path
    raise_on_ctrl_c()
    newest = backup(state_path, copy)
    typer.echo(f"wrote {copy}: everything up to seq {newest}")


def restore(
    context: typer.Context,
    copy: Annotated[Path, typer.Argument(metavar="COPY", help="File made by `backup`.")],
    config: Config = None,
    state: State = None,
) -> None:
    """Restore a copy of the journal; stop the daemon first.

    The daemon then classifies files again that it classified after the backup.
    """
    from daemon.journal.backup import restore

    state_path = read_settings(context).state_path
    raise_on_ctrl_c()
    newest, aside = restore(copy, state_path)
    typer.echo(
        f"restored up to seq {newest}, as a new journal: subscribers read it from its start"
        + (f"\nThe earlier journal is now {aside}" if aside else "")
    )
