"""Whether the services that messages are forwarded to can be reached, and accept these settings."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing

from daemon.commands.checks.check import FAIL, OK, WARN, Check
from daemon.errors import DaemonError, SettingsError, StartError
from daemon.settings.schema import Page, Settings
from daemon.settings.secret_files import SecretFile
from daemon.settings.subscribers import Mqtt, Notify

REACH_S = 5.0  # for a service to accept a connection


def check_page(settings: Page, everything: Settings) -> Iterator[Check]:
    """Read the files that the page needs, and try its address."""
    fix = "correct [page] in the settings"
    try:
        from daemon.commands.page import check_table

        check_table(settings, everything)
    except (DaemonError, ImportError) as error:
        yield Check("page", FAIL, str(error), fix)
    else:
        yield Check("page", OK, f"it can be served at {settings.host}:{settings.port}")


def check_mqtt(settings: Mqtt, everything: Settings) -> Iterator[Check]:
    """Connect to the broker as the bridge does, with another client ID."""
    try:
        from daemon.mqtt.broker import Broker, BrokerAway, BrokerRefuses, check, password_file
        from daemon.mqtt.topics import availability, check_names

        if settings.password_file:
            yield from _check_secret("mqtt", password_file(settings))
        check(settings)
        check_names(everything)
        own = f"tinyast-doctor-{os.getpid()}"
        with closing(Broker(settings, own, availability(own))) as broker:
            try:
                broker.open()
            except BrokerAway as error:
                fix = f"start the broker, or correct `host` ({settings.host}) and `port` in [mqtt]"
                yield Check("mqtt", FAIL, str(error), fix)
            except BrokerRefuses as error:
                yield Check("mqtt", FAIL, str(error), "correct that, then run `doctor` again")
            else:
                yield Check("mqtt", OK, f"the broker at {settings.place} accepts these settings")
    except (SettingsError, StartError) as error:
        yield Check("mqtt", FAIL, str(error), "correct [mqtt] in the settings")


def check_notify(settings: Notify, number: int) -> Iterator[Check]:
    """Read a rule, and connect to those services whose URLs name a host."""
    name = f"notify {settings.name or number}"
    try:
        from daemon.notify.rules import Rule
        from daemon.notify.service import services, urls_file

        rule = Rule(settings, number)
        if settings.urls_file:
            yield from _check_secret(name, urls_file(settings, rule.name))
        found = services(settings, rule.name)
    except (SettingsError, StartError) as error:
        yield Check(name, FAIL, str(error), "correct this [[notify]] in the settings")
        return
    for service in found:
        if service.address is None:
            text = f"{service.name} is a service that Apprise knows; it was not contacted"
            yield Check(name, OK, text)
            continue
        try:
            socket.create_connection(service.address, REACH_S).close()
        except OSError as error:
            text = f"{service.name} cannot be reached: {error.strerror or error}"
            yield Check(name, FAIL, text, "start that server, or correct its URL")
        else:
            text = f"{service.name} can be reached; `tinyastd notify --test` sends it a message"
            yield Check(name, OK, text)


def _check_secret(name: str, file: SecretFile) -> Iterator[Check]:
    """Warn about a file of secrets that other users can read."""
    if (words := file.warning()) is not None:
        yield Check(name, WARN, words, f"chmod 600 {file.path}")
