"""`tinyastd notify`: send notifications about sounds."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from daemon.errors import SettingsError

if TYPE_CHECKING:
    from daemon.settings.subscribers import Notify

Test = Annotated[
    bool, typer.Option("--test", help="Only send a test message to each service, and exit.")
]
Url = Annotated[
    list[str] | None,
    typer.Option(
        help="An Apprise URL to notify of each event, in addition to those in the settings."
    ),
]


def notify(
    context: typer.Context,
    url: Url = None,
    test: Test = False,
    check: Check = False,
    server_key: ServerKey = None,
    own_key: OwnKey = None,
    config: Config = None,
    publish: Publish = None,
    replay: Replay = None,
    state: State = None,
) -> None:
    """Send notifications to a phone, by mail, or to any service that Apprise knows.

    Each table [[notify]] of the settings is a rule with its services. With one, `tinyastd run`
    does this in a process beside the daemon.
    """
    settings = read_settings(context)
    from daemon.commands.nearby import followed
    from daemon.host.parent import report_ready, report_trouble
    from daemon.monitoring import logging as logs
    from daemon.monitoring.signals import on_signals
    from daemon.notify.notifier import Notifier, read_rules
    from daemon.settings.subscribers import Notify, notify_labels

    logs.configure(settings.log)
    tables = (*settings.notify, *([Notify(name="--url", urls=tuple(url))] if url else ()))
    if not tables:
        raise SettingsError("there is no [[notify]] in the settings; add one, or pass --url")
    if test:
        raise typer.Exit(_test(tables))
    daemon = followed(settings, "notify", "`notify`", client_keys(server_key, own_key))
    if check:
        read_rules(tables)
        warn_of_labels(settings, notify_labels(settings.notify))
        return
    notifier = Notifier(tables, daemon, Path(settings.state_path), report_trouble)
    try:
        on_signals(dict.fromkeys((signal.SIGTERM, signal.SIGINT), notifier.stop))
        count = len(notifier.rules)
        report_ready(f"notifying by {count} rule{'s' if count > 1 else ''}")
        notifier.run()
    finally:
        notifier.close()


def _test(tables: tuple[Notify, ...]) -> int:
    """Send a test message to each service; the exit code."""
    from daemon.notify.rules import Rule
    from daemon.notify.service import services

    failed = False
    for number, table in enumerate(tables, 1):
        rule = Rule(table, number)
        for service in services(table, rule.name):
            text = f"This is a test by tinyastd of `{rule.name}`. Notifications work."
            problem = service.send("tinyast: test", text)
            failed |= problem is not None
            typer.echo(f"{'failed' if problem else 'sent':<6} {service.name}"
                       + (f": {problem}" if problem else ""))  # fmt: skip
    return 1 if failed else 0
