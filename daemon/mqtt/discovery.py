"""Introduce a daemon and its sources to Home Assistant.

Each entity has a retained message that describes it, below a prefix that Home Assistant watches
(https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery). An empty one removes the entity.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec

from daemon.mqtt import topics
from daemon.mqtt.states import States, named
from daemon.protocol.states import FolderState, MicrophoneState
from daemon.settings.subscribers import HomeAssistant
from tinyast import __version__

ORIGIN = {"name": "tinyast", "sw_version": __version__}

Config = Mapping[str, object]  # a description, as Home Assistant has them
Source = FolderState | MicrophoneState


@dataclass(frozen=True)
class Entity:
    """A sensor or the like, of the daemon or of one of its sources."""

    component: str  # as Home Assistant calls it
    key: str  # unique in its device
    name: str
    config: Config


def descriptions(settings: HomeAssistant, states: States, events: bool) -> dict[str, bytes]:
    """Topics and content that describe all entities; empty before the first heartbeat.

    `events`: whether event messages are forwarded.
    """
    if states.beat is None:
        return {}
    node = states.node
    found = {}
    for entity in _of_daemon(node):
        topic, content = _describe(settings.prefix, node, (), _daemon_device(node), entity)
        found[topic] = content
    for source in states.sources:
        place = named(source)
        device = {
            "identifiers": [topics.slug("tinyast", node, *place)],
            "name": source.name,
            "manufacturer": "tinyast",
            "model": "Microphone" if isinstance(source, MicrophoneState) else "Folder",
            "via_device": topics.slug("tinyast", node),
        }
        for entity in _of_source(node, source, place, states.pictured(source)):
            topic, content = _describe(settings.prefix, node, place, device, entity)
            found[topic] = content
        if isinstance(source, MicrophoneState):
            for entity in _of_sounds(node, place, settings.labels if events else (), events):
                topic, content = _describe(settings.prefix, node, place, device, entity)
                found[topic] = content
    return found


def _describe(
    prefix: str, node: str, place: tuple[str, ...], device: Config, entity: Entity
) -> tuple[str, bytes]:
    unique = topics.slug("tinyast", node, *place, entity.key)
    config = {
        "unique_id": unique,
        "object_id": topics.plain("tinyast", node, *place, entity.key).lower(),
        "name": entity.name,
        "device": device,
        "origin": ORIGIN,
        "qos": 1,
        **entity.config,
    }
    if place or entity.key != "connected":  # that one says whether the daemon is available
        config["availability_topic"] = topics.availability(node)
    topic = f"{prefix}/{entity.component}/{topics.slug('tinyast', node)}/{unique}/config"
    return topic, msgspec.json.encode(config)


def _daemon_device(node: str) -> Config:
    return {
        "identifiers": [topics.slug("tinyast", node)],
        "name": f"tinyast {node}",
        "manufacturer": "tinyast",
        "model": "tinyastd",
        "sw_version": __version__,
    }


def _of_daemon(node: str) -> Iterator[Entity]:
    yield Entity(
        "binary_sensor",
        "connected",
        "Connected",
        {
            "state_topic": topics.availability(node),
            "payload_on": "online",
            "payload_off": "offline",
            "device_class": "connectivity",
            "entity_category": "diagnostic",
        },
    )
    yield _backlog(topics.state(node, "heartbeat"), "value_json.backlog.files")


def _backlog(topic: str, value: str) -> Entity:
    return Entity(
        "sensor",
        "backlog",
        "Backlog",
        {
            "state_topic": topic,
            "value_template": f"{{{{ {value} }}}}",
            "unit_of_measurement": "files",
            "state_class": "measurement",
            "icon": "mdi:tray-full",
            "entity_category": "diagnostic",
        },
    )


def _of_source(
    node: str, source: Source, place: tuple[str, str], pictured: bool
) -> Iterator[Entity]:
    last, state = topics.state(node, "last", *place), topics.state(node, "source", *place)
    yield Entity(
        "sensor",
        "last_sound",
        "Last sound",
        {
            "state_topic": last,
            "value_template": "{{ value_json.label }}",
            "json_attributes_topic": last,
            "json_attributes_template": _attributes(
                score="score",
                started_at="window.started_at",
                path="source.path",
                top="top",
                id="id",
            ),
            "icon": "mdi:ear-hearing",
        },
    )
    yield Entity(
        "sensor",
        "level",
        "Level",
        {
            "state_topic": state,
            "value_template": "{{ value_json.level_dbfs }}",
            "unit_of_measurement": "dBFS",
            "state_class": "measurement",
            "suggested_display_precision": 1,
            "icon": "mdi:volume-high",
        },
    )
    yield _reachable(state)
    if isinstance(source, FolderState):
        yield _backlog(state, "value_json.waiting")
    if pictured:
        image = {
            "image_topic": topics.state(node, "image", *place),
            "content_type": "image/png",
        }
        yield Entity("image", "last_picture", "Last picture", image)


def _reachable(state: str) -> Entity:
    return Entity(
        "binary_sensor",
        "connected",
        "Connected",
        {
            "state_topic": state,
            "value_template": "{{ 'OFF' if value_json.state in ('lost', 'blocked') else 'ON' }}",
            "json_attributes_topic": state,
            "json_attributes_template": _attributes(state="state", problem="degraded"),
            "device_class": "connectivity",
            "entity_category": "diagnostic",
        },
    )


def _of_sounds(
    node: str, place: tuple[str, str], labels: tuple[str, ...], events: bool
) -> Iterator[Entity]:
    """Entities of a microphone alone: events and gaps."""
    yield Entity(
        "sensor",
        "last_gap",
        "Last gap",
        {
            "state_topic": topics.state(node, "last_gap", *place),
            "value_template": "{{ value_json.began_at }}",
            "json_attributes_topic": topics.state(node, "last_gap", *place),
            "device_class": "timestamp",
            "entity_category": "diagnostic",
        },
    )
    if events:
        yield Entity(
            "event",
            "sound",
            "Sound",
            {
                "state_topic": f"{topics.state(node, 'event', *place)}/+",
                "event_types": ["start", "update", "end"],
                "value_template": _attributes(
                    event_type="state", label="label", peak_score="peak_score",
                    started_at="started_at", duration_s="duration_s", event_id="event_id",
                ),
                "icon": "mdi:waveform",
            },
        )  # fmt: skip
    for label in labels:
        yield Entity(
            "binary_sensor",
            f"sounding_{label}",
            label.replace("_", " ").capitalize(),
            {
                "state_topic": topics.state(node, "sounding", *place, label),
                "payload_on": "ON",
                "payload_off": "OFF",
                "device_class": "sound",
            },
        )


def _attributes(**fields: str) -> str:
    """A template that makes a JSON object of fields of a message, by the names they get."""
    pairs = ", ".join(f"{json.dumps(name)}: value_json.{field}" for name, field in fields.items())
    return f"{{{{ {{{pairs}}} | tojson }}}}"
