"""Settings of the subscribers that forward messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct

Port = Annotated[int, Meta(ge=0, le=65_535)]


class HomeAssistant(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[mqtt.home_assistant]`: introduce the daemon and its sources to Home Assistant."""

    prefix: str = "homeassistant"  # of discovery topics, as in Home Assistant's MQTT settings
    labels: tuple[str, ...] = ()  # that have a binary sensor at each microphone


class Mqtt(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[mqtt]`: forward messages to an MQTT broker."""

    host: str = "localhost"  # the broker
    port: Port = 0  # 1883 if 0, or 8883 with `tls`
    tls: bool = False
    ca_file: str = ""  # PEM; the system's authorities if empty
    cert_file: str = ""  # PEM; a client certificate, for a broker that asks for one
    key_file: str = ""  # PEM; its private key
    user: str = ""
    password: str = ""  # better in `password_file`, or in TINYAST_MQTT__PASSWORD
    password_file: str = ""  # the first line is the password
    version: Literal["5", "3.1.1"] = "5"  # of MQTT
    client_id: str = ""  # `tinyast-NODE` if empty
    # s between signs of life; a broker that gives none for twice as long is given up
    keepalive: Annotated[int, Meta(ge=1, le=3_600)] = 30
    topics: tuple[str, ...] = ("tinyast.v1.",)  # forward only these (prefixes)
    decisions: Literal["all", "accepted"] = "all"  # forward these predictions
    home_assistant: HomeAssistant | None = None

    @property
    def broker_port(self) -> int:
        return self.port or (8883 if self.tls else 1883)

    @property
    def place(self) -> str:
        """The broker, as messages for people name it."""
        return f"{self.host}:{self.broker_port}"


Moment = Literal["start", "update", "end", "prediction"]


class Notify(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One `[[notify]]`: a rule, and the service that gets its matches."""

    name: str = ""  # in logs; `rule 1` and so on if empty
    urls: tuple[str, ...] = ()  # of services, as Apprise writes them
    urls_file: str = ""  # more of them, one a line; for those that hold a secret
    on: tuple[Moment, ...] = ("start",)  # of an event; "prediction": accepted ones
    labels: tuple[str, ...] = ()  # any if empty
    sources: tuple[str, ...] = ()  # by name; any if empty
    min_score: Annotated[float, Meta(ge=0, le=1)] = 0.0
    # HH:MM-HH:MM in which it notifies; always if empty
    hours: Annotated[str, Meta(pattern="^$|^[0-2][0-9]:[0-5][0-9]-[0-2][0-9]:[0-5][0-9]$")] = ""
    time_zone: str = ""  # of `hours` and of times in texts; the system's if empty
    cooldown: Annotated[float, Meta(ge=0)] = 300.0  # s for which a label is notified at most once
    digest: bool = True  # after the cooldown, send a summary of the matches in it
    title: str = "{label} at {source}"
    text: str = "{score:.0%} at {time}"
    attach: tuple[Literal["picture", "sound"], ...] = ("picture",)
    give_up: Annotated[float, Meta(gt=0)] = 3_600.0  # s until what cannot be delivered is dropped


def notify_labels(tables: Sequence[Notify]) -> list[tuple[str, tuple[str, ...]]]:
    """The labels that each of these settings names, by its name."""
    return [(f"notify[{number}].labels", table.labels) for number, table in enumerate(tables)]


def mqtt_labels(table: Mqtt | None) -> list[tuple[str, tuple[str, ...]]]:
    """As `notify_labels`."""
    if table is None or table.home_assistant is None:
        return []
    return [("mqtt.home_assistant.labels", table.home_assistant.labels)]
