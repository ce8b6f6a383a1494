"""`tinyastd mqtt`: forward a daemon's messages to an MQTT broker."""

from __future__ import annotations

import signal
from contextlib import closing
from typing import Annotated

import msgspec
import typer

from daemon.commands.options import (
    Check,
    Config,
    OwnKey,
    Publish,
    Replay,
    ServerKey,
    State,
    client_keys,
    read_settings,
    warn_of_labels,
)  # fmt: skip

Host = Annotated[str | None, typer.Option(help="Host of the broker; default: localhost.")]
Port = Annotated[int | None, typer.Option(help="Port of the broker.", min=1, max=65_535)]
Since = Annotated[
    int | None,
    typer.Option(help="Begin after this seq; 0 forwards everything stored again.", min=0),
]
Clear = Annotated[
    bool,
    typer.Option("--clear", help="Only delete this daemon's retained messages from the broker."),
]


def mqtt(
    context: typer.Context,
    host: Host = None,
    port: Port = None,
    since: Since = None,
    clear: Clear = False,
    check: Check = False,
    server_key: ServerKey = None,
    own_key: OwnKey = None,
    config: Config = None,
    publish: Publish = None,
    replay: Replay = None,
    state: State = None,
) -> None:
    """Forward messages to an MQTT broker, and introduce the daemon to Home Assistant.

    The table [mqtt] of the settings names the broker and what to forward. With that table,
    `tinyastd run` does this in a process beside the daemon.
    """
    settings = read_settings(context)
    from daemon.commands.nearby import followed
    from daemon.host.parent import report_ready
    from daemon.monitoring import logging as logs
    from daemon.monitoring.signals import on_signals
    from daemon.mqtt import broker
    from daemon.mqtt.bridge import Bridge
    from daemon.mqtt.topics import check_names
    from daemon.settings.subscribers import Mqtt, mqtt_labels

    logs.configure(settings.log)
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    table = msgspec.structs.replace(settings.mqtt or Mqtt(), **given)
    daemon = followed(settings, "mqtt", "`mqtt`", client_keys(server_key, own_key))
    check_names(settings)
    if check:
        broker.check(table)
        warn_of_labels(settings, mqtt_labels(table))
        return
    with closing(Bridge(table, daemon, settings.state_path, since)) as bridge:
        if clear:
            if removed := bridge.clear():
                typer.echo(f"removed {removed} topics from the broker at {table.place}")
            else:
                typer.echo(f"nothing was sent to a broker from the state {settings.state_path}")
            return
        on_signals(dict.fromkeys((signal.SIGTERM, signal.SIGINT), bridge.stop))
        report_ready(f"forwarding from {daemon.publish} to the broker at {table.place}")
        bridge.run()
