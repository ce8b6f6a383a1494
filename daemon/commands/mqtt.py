"""`tinyastd mqtt`: forward a daemon's messages to an MQTT broker."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from daemon.commands.options import Config, Publish, Replay, State, read_settings
from daemon.errors import SettingsError

if TYPE_CHECKING:
    from daemon.client import ClientKeys
    from daemon.settings.schema import Settings

Host = Annotated[str | None, typer.Option(help="The broker; localhost.")]
Port = Annotated[int | None, typer.Option(help="Its port.", min=1, max=65_535)]
Since = Annotated[
    int | None,
    typer.Option(help="Begin after this seq; 0 forwards everything stored once more.", min=0),
]
Clear = Annotated[
    bool, typer.Option("--clear", help="Only remove what the broker retains of this daemon.")
]
ServerKey = Annotated[Path | None, typer.Option(help="The daemon's public key: server.key.")]
OwnKey = Annotated[Path | None, typer.Option(help="Your own key: NAME.key_secret.")]


def mqtt(
    context: typer.Context,
    host: Host = None,
    port: Port = None,
    since: Since = None,
    clear: Clear = False,
    server_key: ServerKey = None,
    own_key: OwnKey = None,
    config: Config = None,
    publish: Publish = None,
    replay: Replay = None,
    state: State = None,
) -> None:
    """Forward messages to an MQTT broker, and introduce the daemon to Home Assistant.

    The table [mqtt] of the settings says where the broker is and what it gets. With that table,
    `tinyastd run` does this in a process beside the daemon.
    """
    settings = read_settings(context)
    from daemon.host.parent import report_ready
    from daemon.monitoring import logging as logs
    from daemon.mqtt.bridge import Bridge, Daemon
    from daemon.settings.subscribers import Mqtt

    logs.configure(settings.log)
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    table = msgspec.structs.replace(settings.mqtt or Mqtt(), **given)
    keys = subscriber_keys(settings, "mqtt", server_key, own_key)
    daemon = Daemon(settings.publish, settings.replay, keys)
    bridge = Bridge(table, daemon, settings.state_path, since)
    try:
        if clear:
            typer.echo(f"removed {bridge.clear()} topics from the broker at {table.place}")
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: bridge.stop())
        report_ready(f"forwarding from {settings.publish} to the broker at {table.place}")
        bridge.run()
    finally:
        bridge.close()


def subscriber_keys(
    settings: Settings, name: str, server: Path | None, own: Path | None
) -> ClientKeys | None:
    """The keys of a subscriber, by default those that `keys` holds for it. Raises SettingsError."""
    from daemon.client import ClientKeys

    if server is not None and own is not None:
        return ClientKeys.load(server, own)
    if server is not None or own is not None:
        raise SettingsError("--server-key and --own-key go together")
    folder = settings.keys_path
    if folder is None:
        return None
    secret = folder / f"{name}.key_secret"
    if not secret.exists():
        raise SettingsError(
            f"the daemon has keys, and `{name}` needs one: "
            f"`tinyastd keygen {folder} --client {name}` makes {secret}"
        )
    return ClientKeys.load(folder / "server.key", secret)
