"""Messages that the broker retains and Home Assistant finds, as the settings choose."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from brokers import PASSWORD, USER, BridgeProcess, Mosquitto, Subscriber, running, table, until
from running import Daemon, tinyastd
from saying import Station, predictions
from sounds import write_wav

from daemon.mqtt.topics import slug
from daemon.protocol.messages import Event, Gap, Loss, Message, Source, digest, gap, status
from daemon.protocol.states import FolderState, MicrophoneState

MIC = Source("mic", "Back porch")
FOLDER = FolderState(
    name="in", path="/sounds/in", state="watching", degraded=None, scanning=False, waiting=3,
    ignored={},
)  # fmt: skip
LISTENING = MicrophoneState(
    name=MIC.name, device="USB", state="hearing", degraded=None, silent=False, level_dbfs=-41.5,
    gaps=0,
)  # fmt: skip
# The keys of https://www.home-assistant.io/integrations/mqtt/ and its pages for each component.
COMMON = {
    "unique_id", "object_id", "name", "device", "origin", "qos", "availability_topic", "icon",
    "entity_category", "device_class", "json_attributes_topic", "json_attributes_template",
}  # fmt: skip
KEYS = {
    "sensor": {"state_topic", "value_template", "unit_of_measurement", "state_class",
               "suggested_display_precision"},
    "binary_sensor": {"state_topic", "value_template", "payload_on", "payload_off"},
    "event": {"state_topic", "value_template", "event_types"},
    "image": {"image_topic", "content_type"},
}  # fmt: skip


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with running(tmp_path_factory.mktemp("broker"), certificates=True) as made:
        yield made


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    with Station(tmp_path) as made:
        made.sources = [FOLDER, LISTENING]
        yield made


@pytest.fixture
def bridged(
    broker: Mosquitto, station: Station, subscriber: Subscriber, tmp_path: Path
) -> Iterator[Callable[..., BridgeProcess]]:
    """Make bridges from the station, with more settings, not started."""
    made: list[BridgeProcess] = []

    def make(**more: Any) -> BridgeProcess:
        settings = {
            **broker.settings,
            "cert_file": f"{broker.base}/client.pem",
            "key_file": f"{broker.base}/client.key",
            **more,
        }
        made.append(BridgeProcess(tmp_path / "b", settings, station.publish, station.replay))
        return made[-1]

    yield make
    for each in made:
        each.clean_up()


@pytest.fixture
def subscriber(broker: Mosquitto) -> Iterator[Subscriber]:
    made = Subscriber(broker, "tinyast/#", "homeassistant/#")
    yield made
    made.clear()
    made.close()


def event(state: str, label: str, number: int = 0) -> Event:
    return Event(
        id=digest(state, label, number), source=MIC, event_id=f"{number:08}-0000-4000-8000-{0:012}",
        state=state, label=label, started_at="2026-01-01T00:00:00.000Z",
        heard_until="2026-01-01T00:00:05.000Z", duration_s=5.0, peak_score=0.9, windows=1,
        reason="quiet" if state == "end" else None,
    )  # fmt: skip


def beat_until(station: Station, true: Callable[[], Any], what: str) -> Any:
    def check() -> Any:
        station.beat()
        time.sleep(0.1)
        return true()

    return until(check, what)


def described(subscriber: Subscriber) -> dict[tuple[str, str], dict[str, Any]]:
    """The entities that exist now, by device and name."""
    found = {}
    for topic, payload in subscriber.newest().items():
        if topic.startswith("homeassistant/") and payload:
            config = json.loads(payload)
            found[config["device"]["name"], config["name"]] = {
                **config, "component": topic.split("/")[1],
            }  # fmt: skip
    return found


def test_home_assistant_finds_each_source_until_it_is_removed(
    station: Station, subscriber: Subscriber, bridged: Callable[..., BridgeProcess]
) -> None:
    labels = {"labels": ["dog", "door_wood_knock"]}
    bridge = bridged(home_assistant=labels).start()
    found = beat_until(station, lambda: len(f := described(subscriber)) >= 13 and f, "all there")
    assert {device for device, _ in found} == {"tinyast test", "in", "Back porch"}
    of_mic = {
        name: each["component"] for (device, name), each in found.items() if device == MIC.name
    }
    assert of_mic == {
        "Last sound": "sensor", "Level": "sensor", "Connected": "binary_sensor",
        "Last gap": "sensor", "Sound": "event", "Dog": "binary_sensor",
        "Door wood knock": "binary_sensor",
    }  # fmt: skip
    for config in found.values():
        component = config.pop("component")
        assert set(config) <= COMMON | KEYS[component]
        via = config["device"].get("via_device", slug("tinyast", "test"))
        assert via == slug("tinyast", "test")
    assert len({config["unique_id"] for config in found.values()}) == len(found)
    # A source that leaves the settings while no bridge runs is removed by the next one.
    bridge.stop()
    station.sources = [FOLDER]
    bridge.start()
    gone = f"tinyast/test/source/mic/{MIC.name.replace(' ', '_')}"
    beat_until(station, lambda: subscriber.newest()[gone] == b"", "removed")
    beat_until(
        station, lambda: {d for d, _ in described(subscriber)} == {"tinyast test", "in"}, "removed"
    )
    assert bridge.stop() == 0
    until(lambda: subscriber.newest()["tinyast/test/availability"] == b"offline", "offline")


def test_a_label_is_on_while_its_event_goes_on(
    station: Station, subscriber: Subscriber, bridged: Callable[..., BridgeProcess]
) -> None:
    bridge = bridged(home_assistant={"labels": ["dog", "siren"]}).start()
    dog, siren = (f"tinyast/test/sounding/mic/Back_porch/{each}" for each in ("dog", "siren"))
    beat_until(station, lambda: subscriber.payloads(siren), "listening")
    assert subscriber.payloads(dog) == [b"OFF"]
    lost = Gap(
        id=digest("gap"), source=MIC, began_at="2026-01-01T00:00:00.000Z", duration_s=2.5,
        frames=40_000, reason="overload",
    )  # fmt: skip
    station.say([event("start", "dog"), *predictions(1), lost])
    beat_until(station, lambda: subscriber.payloads(dog)[-1] == b"ON", "on")
    bridge.kill()  # the will says that it is away, and the next one knows the open events
    beat_until(
        station, lambda: subscriber.payloads("tinyast/test/availability")[-1] == b"offline", "away"
    )
    bridge.start()
    beat_until(
        station, lambda: subscriber.payloads("tinyast/test/availability")[-1] == b"online", "back"
    )
    assert subscriber.payloads(dog)[-1] == b"ON"
    station.say([event("update", "dog", 1), event("end", "dog", 2)])
    beat_until(station, lambda: subscriber.payloads(dog)[-1] == b"OFF", "off")
    assert set(subscriber.payloads(siren)) == {b"OFF"}
    (view,) = {subscriber.newest()["tinyast/test/source/mic/Back_porch"]}
    gap = json.loads(subscriber.newest()["tinyast/test/last_gap/mic/Back_porch"])
    assert gap["duration_s"] == 2.5
    assert json.loads(view)["level_dbfs"] == -41.5
    last = json.loads(subscriber.newest()["tinyast/test/last/file/in"])
    assert last == subscriber.messages("prediction")[-1]
    late = Subscriber(subscriber.broker, "tinyast/test/#")
    kinds = {"availability", "heartbeat", "source", "last", "last_gap", "sounding"}
    try:
        until(lambda: retained(late) == kinds, "retained, and nothing else")
    finally:
        late.close()


def retained(late: Subscriber) -> set[str]:
    """The kinds of states that the broker has retained so far."""
    with late.lock:
        return {topic.split("/")[2] for topic, _, kept in late.heard if kept}


def test_settings_choose_messages(
    station: Station, subscriber: Subscriber, bridged: Callable[..., BridgeProcess]
) -> None:
    bridge = bridged(topics=["tinyast.v1.prediction.", "tinyast.v1.gap."], decisions="accepted")
    bridge.start("--since", "0")
    beat_until(
        station, lambda: subscriber.newest().get("tinyast/test/availability") == b"online", "there"
    )
    heard = predictions(3)
    rejected = predictions(2, first=3, label="rain")
    said: Sequence[Message] = [
        *heard[:1], event("start", "dog"), *rejected, status("run", 1, "started", "ready"),
    ]  # fmt: skip
    said = [
        msgspec.structs.replace(each, decision="rejected", reason="denied") if each in rejected
        else each for each in said
    ]  # fmt: skip
    station.say([*said, *heard[1:]])
    until(lambda: len(subscriber.messages()) >= 3, "forwarded")
    station.beat()
    assert bridge.stop() == 0
    assert [m["id"] for m in subscriber.messages()] == [each.id for each in heard]
    assert not [topic for topic in subscriber.newest() if topic.startswith("homeassistant/")]
    # The rest counts as done: the next bridge repeats no message.
    bridge.start()
    station.say(predictions(1, first=9))
    until(lambda: len(subscriber.messages()) >= 4, "forwarded")
    assert bridge.stop() == 0
    assert len(subscriber.messages()) == 4


def test_clear_removes_what_is_retained(
    station: Station, subscriber: Subscriber, bridged: Callable[..., BridgeProcess]
) -> None:
    bridge = bridged(home_assistant={}).start()
    beat_until(station, lambda: described(subscriber), "described")
    assert bridge.stop() == 0
    assert bridge.start("--clear").process.wait(60) == 0
    until(lambda: not any(subscriber.newest()[t] for t in set(subscriber.newest())), "removed")


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        ({"password_file": "WRONG"}, 3, "Not authorized"),
        ({"ca_file": "/nowhere.pem"}, 2, "`ca_file` /nowhere.pem"),
        ({"ca_file": "PASSWORD"}, 2, "PEM"),
        ({"ca_file": ""}, 3, "name the file of its authority in `ca_file`"),
        ({"key_file": ""}, 2, "`cert_file`"),
        ({"tls": False}, 2, "need `tls = true`"),
        ({"password_file": "/nowhere"}, 2, "password_file"),
        ({"user": ""}, 2, "no `user`"),
        ({"hots": "x"}, 2, "did you mean `host`?"),
    ],
)
def test_errors_say_what_to_change(
    settings: dict[str, Any], code: int, words: str, broker: Mosquitto, station: Station,
    bridged: Callable[..., BridgeProcess], tmp_path: Path,
) -> None:  # fmt: skip
    wrong = tmp_path / "wrong"
    wrong.write_text("wr0ng secret\n")
    wrong.chmod(0o600)
    files = {"WRONG": str(wrong), "PASSWORD": f"{broker.base}/password"}
    bridge = bridged(**{name: files.get(value, value) for name, value in settings.items()})
    bridge.start("--since", "0")
    assert bridge.process.wait(60) == code, bridge.log.read_text()
    log = bridge.log.read_text()
    assert words in log
    assert "Traceback" not in log
    assert "wr0ng" not in log
    assert PASSWORD not in log


def test_a_missing_client_certificate_is_named(bridged: Callable[..., BridgeProcess]) -> None:
    bridge = bridged(cert_file="", key_file="").start("--since", "0")
    until(lambda: "does it ask for a client certificate" in bridge.log.read_text(), "explained")


def test_a_broker_that_is_away_is_awaited(
    broker: Mosquitto, station: Station, subscriber: Subscriber,
    bridged: Callable[..., BridgeProcess],
) -> None:  # fmt: skip
    broker.stop()
    bridge = bridged().start("--since", "0")
    station.say(predictions(2))
    until(lambda: "cannot be reached" in bridge.log.read_text(), "noticed")
    broker.start()
    until(lambda: len(subscriber.messages("prediction")) == 2, "forwarded")
    assert bridge.stop() == 0
    assert PASSWORD not in bridge.log.read_text()


def test_a_message_that_the_broker_does_not_take_holds_up_no_other(
    station: Station, tmp_path: Path
) -> None:
    """One that is too large is left out; one that may not be published is named."""
    rules = tmp_path / "rules"
    rules.write_text(f"user {USER}\ntopic readwrite tinyast/#\ntopic deny tinyast/+/gap/#\n")
    rules.chmod(0o600)
    limits = f"max_packet_size 1000\nacl_file {rules}\n"
    with running(tmp_path / "broker", more=limits) as broker:
        subscriber = Subscriber(broker)
        bridge = BridgeProcess(tmp_path / "b", broker.settings, station.publish, station.replay)
        try:
            bridge.start("--since", "0")
            lost = gap(MIC, "run", 0, Loss(time.time(), 1.0, 16_000, "overflow"))
            station.say(
                [*predictions(1, label="dog" * 300), status("run", 1, "started", "ready"), lost]
            )
            until(lambda: subscriber.messages("status"), "forwarded")
            assert subscriber.messages("prediction") == []
            until(lambda: "Not authorized" in bridge.text, "explained")
            assert "is left out" in bridge.text
            assert "refused a message to tinyast/test/gap/mic:" in bridge.text
        finally:
            bridge.clean_up()
            subscriber.close()


def test_bridges_that_disconnect_each_other_are_explained(
    broker: Mosquitto, station: Station, bridged: Callable[..., BridgeProcess], tmp_path: Path
) -> None:
    one = bridged().start("--since", "0")
    own = {**broker.settings, "cert_file": f"{broker.base}/client.pem"}
    own["key_file"] = f"{broker.base}/client.key"
    other = BridgeProcess(tmp_path / "c", own, station.publish, station.replay)
    try:
        other.start("--since", "0")
        beat_until(station, lambda: "give each bridge a `client_id`" in one.text, "explained")
    finally:
        other.clean_up()


def test_the_daemon_runs_the_bridge_that_its_settings_ask_for(
    broker: Mosquitto, subscriber: Subscriber, tmp_path: Path
) -> None:
    settings = {
        **broker.settings,
        "cert_file": f"{broker.base}/client.pem",
        "key_file": f"{broker.base}/client.key",
    }
    config = tmp_path / "tinyast.toml"
    (tmp_path / "in").mkdir()
    lines = f'node = "child"\n[[folder]]\npath = "{tmp_path}/in"\n'
    config.write_text(lines + table("mqtt", settings))
    daemon = Daemon(tmp_path, "--config", str(config)).start()
    try:
        until(
            lambda: subscriber.newest().get("tinyast/child/availability") == b"online", "forwarding"
        )
        write_wav(daemon.folder / "a.wav", seconds=0.5)
        until(lambda: "tinyast/child/file/done" in subscriber.newest(), "forwarded")
        assert daemon.stop() == 0
        until(lambda: subscriber.newest()["tinyast/child/availability"] == b"offline", "offline")
    finally:
        daemon.clean_up()


def test_sources_that_would_share_their_states_are_named(
    station: Station, bridged: Callable[..., BridgeProcess], tmp_path: Path
) -> None:
    words = "the sources `front yard` and `front.yard` are both `front_yard` in MQTT topics"
    names = ("front yard", "front.yard", "front_yard")
    # Of a daemon elsewhere, the bridge hears the names.
    station.sources = [msgspec.structs.replace(FOLDER, name=name) for name in names[:2]]
    bridge = bridged().start()
    beat_until(station, lambda: words in bridge.text, "named")
    station.beat()
    assert bridge.stop() == 0
    assert bridge.text.count(words) == 1
    # Settings that hold them are refused; a folder and a microphone have topics of their own.
    config = tmp_path / "tinyast.toml"
    lines = [f"[[folder]]\npath = '{tmp_path}/{name}'" for name in names[:2]]
    lines += [f"[[microphone]]\nname = '{name}'" for name in names[2:]]
    config.write_text("\n".join([*lines, "[mqtt]"]))
    for name in names[:2]:
        (tmp_path / name).mkdir()
    ends = ("--publish", f"ipc://{tmp_path}/one", "--replay", f"ipc://{tmp_path}/two")
    done = tinyastd("run", "--config", config, "--state", tmp_path / "state", *ends)
    assert (done.returncode, words in done.stderr) == (2, True), done.stderr
    assert done.stderr.count("[mqtt]") == 1
    config.write_text("\n".join([*lines[1:], "[mqtt]"]))
    assert tinyastd("mqtt", "--check", "--config", config).returncode == 0


def test_without_its_package_the_command_names_the_extra(tmp_path: Path) -> None:
    (tmp_path / "paho").mkdir()
    (tmp_path / "paho" / "__init__.py").write_text("raise ImportError('none')")
    done = tinyastd("mqtt", env={"PYTHONPATH": f"{tmp_path}:{Path.cwd()}"})
    assert done.returncode == 2
    assert "pip install 'tinyast[mqtt]'" in done.stderr


def test_ids_differ_when_names_do() -> None:
    names = ["porch", "Porch", "por ch", "por_ch", "pörch", "por", "ch"]
    assert len({slug("tinyast", name) for name in names}) == len(names)
    assert slug("a", "b_c") != slug("a_b", "c")
