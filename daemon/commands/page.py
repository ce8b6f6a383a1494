"""`tinyastd page`: serve what daemons hear as a web page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.commands.options import Config, Publish, Replay, State, read_settings
from daemon.errors import SettingsError

if TYPE_CHECKING:
    from daemon.client import ClientKeys
    from daemon.page.follower import Connection

PORT = 5757


Connect = Annotated[
    list[str] | None,
    typer.Option(help="PUBLISH,REPLAY endpoints of a daemon; repeat for more daemons."),
]
ServerKeys = Annotated[
    list[Path] | None,
    typer.Option(
        "--server-key", help="Public key of each --connect in turn, if the daemons have keys."
    ),
]
OwnKey = Annotated[Path | None, typer.Option(help="Your own key: NAME.key_secret.")]
StoreFolder = Annotated[
    Path | None, typer.Option(help="Folder of the page's store; the state directory if none.")
]
Host = Annotated[str, typer.Option(help="Address to listen at.")]
Port = Annotated[int, typer.Option(help="Port to listen at.", min=1, max=65_535)]
PasswordFile = Annotated[
    Path | None, typer.Option(help="File with the password; needed unless on loopback.")
]
PublicUrl = Annotated[str, typer.Option(help="Address in browsers, behind a reverse proxy.")]
TlsCert = Annotated[Path | None, typer.Option(help="Certificate (PEM), for HTTPS.")]
TlsKey = Annotated[Path | None, typer.Option(help="Its private key (PEM).")]
KeepDays = Annotated[float, typer.Option(help="Delete what is older.", min=1)]
KeepMb = Annotated[float, typer.Option(help="Delete the oldest beyond this.", min=10)]
Token = Annotated[
    str | None, typer.Option(help="Only print a new token for a program of this name.")
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
    host: Host = "127.0.0.1",
    port: Port = PORT,
    password_file: PasswordFile = None,
    public_url: PublicUrl = "",
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    keep_days: KeepDays = 365.0,
    keep_mb: KeepMb = 1000.0,
    token: Token = None,
    backup: Backup = None,
    config: Config = None,
    publish: Publish = None,
    replay: Replay = None,
    state: State = None,
) -> None:
    """Serve a page that shows, plays, reviews and exports what daemons hear."""
    settings = read_settings(context)
    from daemon.monitoring import logging as logs
    from daemon.page.server import Options, back_up, make_token, serve

    logs.configure(settings.log)
    folder = store or settings.state_path
    if token is not None:
        typer.echo(make_token(folder, token))
    elif backup is not None:
        back_up(folder, backup)
        typer.echo(f"wrote {backup}")
    else:
        places = connect or [f"{settings.publish},{settings.replay}"]
        connections = _connections(places, server_key or [], own_key)
        options = Options(folder, connections, host, port, password_file, public_url, tls_cert,
                          tls_key, keep_days, keep_mb)  # fmt: skip
        serve(options, lambda url: typer.echo(f"the page is at {url}"))


def _connections(places: list[str], servers: list[Path], own: Path | None) -> list[Connection]:
    """Raises SettingsError."""
    from daemon.page.follower import Connection

    if servers and (len(servers) != len(places) or own is None):
        raise SettingsError("give one --server-key for each --connect, and --own-key")
    connections = []
    for number, place in enumerate(places):
        publish, comma, replay = place.partition(",")
        if not comma or "://" not in publish or "://" not in replay:
            raise SettingsError(
                f"--connect is PUBLISH,REPLAY such as tcp://a:5755,tcp://a:5756, not {place!r}"
            )
        keys = _keys(servers[number], own) if servers and own else None
        connections.append(Connection(publish, replay, keys))
    return connections


def _keys(server: Path, own: Path) -> ClientKeys:
    from daemon.client import ClientKeys

    return ClientKeys.load(server, own)
