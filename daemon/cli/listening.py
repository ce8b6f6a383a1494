"""The commands that ask a running daemon: `listen`, `status`."""

from __future__ import annotations

from typing import Annotated

import typer

from daemon.commands.options import (
    Config,
    OwnKey,
    Publish,
    Replay,
    ServerKey,
    client_keys,
    read_settings,
    warn_of_labels,
)
from daemon.errors import DaemonError, SettingsError

ANSWER_S = 2.0  # for a daemon on this machine to answer


def listen(
    context: typer.Context,
    since: Annotated[
        int | None, typer.Option(help="Begin after this seq; 0 replays everything stored.", min=0)
    ] = None,
    since_time: Annotated[
        str | None,
        typer.Option(help="Begin at this time: 14:30, '2026-11-29 14:30', or how long ago: 2h."),
    ] = None,
    topic: Annotated[str, typer.Option(help="Only topics with this prefix.")] = "tinyast.v1.",
    label: Annotated[
        list[str] | None,
        typer.Option(help="Only predictions and events with this label; may be repeated."),
    ] = None,
    accepted: Annotated[
        bool, typer.Option("--accepted", help="Leave out rejected predictions.")
    ] = False,
    by_file: Annotated[
        bool, typer.Option("--by-file", help="One line for each file, with its accepted labels.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print raw JSON messages.")] = False,
    server_key: ServerKey = None,
    own_key: OwnKey = None,
    config: Config = None,
    publish: Publish = None,
    replay: Replay = None,
) -> None:
    """Print messages as they arrive, without a gap; times are local, with their offset from UTC."""
    from daemon.commands.listen import Beginning, listen
    from daemon.commands.listen_filter import Wanted, check_topic
    from daemon.commands.nearby import with_endpoints

    settings = with_endpoints(read_settings(context))
    check_topic(topic)
    if json and by_file:
        raise SettingsError("--json prints messages as they are; leave out --by-file")
    warn_of_labels(settings, [("--label", label or ())])
    beginning = Beginning.read(since, since_time)
    keys = client_keys(server_key, own_key)
    listen(
        settings, keys, topic, beginning, Wanted(frozenset(label or ()), accepted), json, by_file
    )


def status(
    context: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    server_key: ServerKey = None,
    own_key: OwnKey = None,
    config: Config = None,
    publish: Publish = None,
    replay: Replay = None,
) -> None:
    """Show the running daemon's status. Exit code 1 if no daemon answers."""
    import msgspec

    from daemon.client import NoAnswer, ask_status
    from daemon.commands.nearby import how_to_start, with_endpoints
    from daemon.commands.status import describe
    from daemon.protocol.states import DaemonStatus

    settings = with_endpoints(read_settings(context))
    try:
        answer = ask_status(settings.replay, client_keys(server_key, own_key), ANSWER_S)
    except NoAnswer as error:
        raise DaemonError(f"{error}; {how_to_start()}") from error
    if json:
        typer.echo(msgspec.json.encode(answer).decode())
        return
    try:
        typer.echo(describe(msgspec.convert(answer, DaemonStatus)))
    except msgspec.ValidationError as error:
        raise DaemonError(
            f"the daemon is of another version, and its status is not understood ({error}); "
            "use --json"
        ) from error
