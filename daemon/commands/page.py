"""`tinyastd page`: serve what daemons hear as a web page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from daemon.commands.options import (
    Check,
    Config,
    OwnKey,
    Publish,
    Replay,
    State,
    read_settings,
)  # fmt: skip
from daemon.errors import SettingsError

if TYPE_CHECKING:
    from daemon.client import ClientKeys, Endpoints
    from daemon.settings.schema import Page, Settings


NO_KEYS = "none"  # instead of a key's file, for a daemon without keys

# Each stands for the setting of its name in `[page]`.
Connect = Annotated[
    list[str] | None,
    typer.Option(help="PUBLISH,REPLAY endpoints of a daemon; repeat for more daemons."),
]
ServerKeys = Annotated[
    list[Path] | None,
    typer.Option(
        "--server-key",
        help="Public key for each --connect, in the same order; `none` for a daemon without keys.",
    ),
]
StoreFolder = Annotated[
    Path | None, typer.Option(help="Folder of the page's store; the state directory by default.")
]
Host = Annotated[str | None, typer.Option(help="Address to listen on; default: 127.0.0.1.")]
Port = Annotated[
    int | None, typer.Option(help="Port to listen on; default: 5757.", min=1, max=65_535)
]
PasswordFile = Annotated[
    Path | None, typer.Option(help="File with the password; required unless on loopback.")
]
PublicUrl = Annotated[
    str | None, typer.Option(help="Address that browsers use, behind a reverse proxy.")
]
TlsCert = Annotated[Path | None, typer.Option(help="Certificate (PEM), for HTTPS.")]
TlsKey = Annotated[Path | None, typer.Option(help="Its private key (PEM).")]
KeepDays = Annotated[float | None, typer.Option(help="Days to keep data; default: 365.", min=1)]
KeepMb = Annotated[
    float | None,
    typer.Option(help="Megabytes to keep; the oldest go first; default: 1000.", min=10),
]
Token = Annotated[
    str | None, typer.Option(help="Only print a new token for a program with this name.")
]
Backup = Annotated[
    Path | None, typer.Option(help="Only copy the store, with all reviews, to this file.")
]


def page(
    context: typer.Context,
    connect: Connect = None,
    server_key: ServerKeys = None,
    own_key: OwnKey = None,
    store: StoreFolder = None,
    host: Host = None,
    port: Port = None,
    password_file: PasswordFile = None,
    public_url: PublicUrl = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    keep_days: KeepDays = None,
    keep_mb: KeepMb = None,
    token: Token = None,
    backup: Backup = None,
    check: Check = False,
    config: Config = None,
    publish: Publish = None,
    replay: Replay = None,
    state: State = None,
) -> None:
    """Serve a page that shows, plays, reviews and exports what daemons hear.

    Options override the table [page] of the settings. With that table, `tinyastd run` starts the
    page itself.
    """
    settings = read_settings(context)
    from daemon.host.parent import report_ready
    from daemon.monitoring import logging as logs

    logs.configure(settings.log)
    table = _table(settings, context.params)
    if check:
        check_table(table, settings)
        return
    from daemon.page.server import back_up, make_token, serve

    folder = Path(table.store) if table.store else settings.state_path
    if token is not None:
        typer.echo(make_token(folder, token))
    elif backup is not None:
        back_up(folder, backup)
        typer.echo(f"wrote {backup}")
    else:
        followed = daemons(table, settings)
        serve(table, folder, followed, lambda url: report_ready(f"the page is at {url}"))


def check_table(table: Page, settings: Settings) -> None:
    """Refuse mistakes, without loading the server, since a daemon that starts waits for this.

    Raises SettingsError, StartError, and DaemonError if this user may not use a daemon's sockets.
    """
    from daemon.page import checking

    daemons(table, settings)
    checking.check(table)
    checking.check_place(table, free=False)


def _table(settings: Settings, options: dict[str, object]) -> Page:
    """`[page]` of the settings, overridden by the options of the command."""
    from daemon.settings.schema import Page

    given: dict[str, object] = {}
    for name in Page.__struct_fields__:
        value = options.get("server_key" if name == "server_keys" else name)
        if isinstance(value, list | tuple):
            given[name] = tuple(map(str, value))
        elif value is not None:
            given[name] = str(value) if isinstance(value, Path) else value
    chosen = {name: value for name, value in given.items() if value != ()}
    return msgspec.structs.replace(settings.page or Page(), **chosen)


def daemons(table: Page, settings: Settings) -> list[Endpoints]:
    """The daemons that `[page]` names, or that of the settings. Raises SettingsError."""
    from daemon.client import Endpoints
    from daemon.commands.nearby import check_allowed, followed

    for place in table.connect:
        check_allowed(*place.split(","))
    servers, own = table.server_keys, table.own_key
    if not table.connect:
        keys = _load(servers[0], own) if servers and own else None
        return [followed(settings, "page", "the page", keys, Path(own) if own else None)]
    if servers and (len(servers) != len(table.connect) or not own):
        raise SettingsError(
            "give one --server-key for each --connect, and --own-key "
            "(settings: `server_keys` and `own_key` in [page])"
        )
    connections = []
    for number, place in enumerate(table.connect):
        publish, comma, replay = place.partition(",")
        if not comma or "://" not in publish or "://" not in replay:
            raise SettingsError(
                "--connect is PUBLISH,REPLAY such as tcp://a:5755,tcp://a:5756 (setting: "
                f"`connect`), not {place!r}"
            )
        keys = _load(servers[number], own) if servers and servers[number] != NO_KEYS else None
        connections.append(Endpoints(publish, replay, keys))
    return connections


def _load(server: str | Path, own: str | Path) -> ClientKeys:
    from daemon.client import ClientKeys

    return ClientKeys.load(Path(server), Path(own))
