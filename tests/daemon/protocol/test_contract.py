"""The message contract: a real daemon keeps the promises of docs/messages.md and the schema."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
import pytest
import zmq
from conftest import ROOT
from contract import SCHEMA, check, problem
from jsonschema import Draft202012Validator
from running import Daemon
from sounds import header, noise, wav_bytes, write_wav

from daemon.pipeline.live_job import event
from daemon.protocol import schema
from daemon.protocol.events import Detection
from daemon.protocol.messages import (
    Envelope,
    Judgement,
    Loss,
    Source,
    Window,
    gap,
    live_prediction,
    seal,
)

Frames = tuple[str, bytes]
Body = dict[str, Any]

# Frozen: a field here is never renamed or removed. New ones may be added, here and in the schema.
ENVELOPE = {
    "schema", "type", "seq", "prev", "journal", "run_id", "node", "id", "published_at", "source"
}  # fmt: skip
JUDGEMENT = {
    "window", "label", "score", "threshold", "decision", "reason", "top", "rms_dbfs", "model"
}  # fmt: skip
FROZEN = {
    "prediction": ENVELOPE | JUDGEMENT | {"file_id", "latency_ms"},
    "file": ENVELOPE | {"file_id", "state", "windows", "duration_s", "sample_rate", "error"},
    "event": ENVELOPE
    | {"event_id", "state", "label", "started_at", "heard_until", "duration_s"}
    | {"peak_score", "windows", "reason"},
    "gap": ENVELOPE | {"began_at", "duration_s", "frames", "reason"},
    "status": ENVELOPE | {"status", "text"},
    "heartbeat": {"schema", "type", "journal", "run_id", "node", "published_at", "last"}
    | {"sources", "backlog", "blocked"},
    "picture": {"schema", "type", "published_at", "journal", "run_id", "node"}
    | {"id", "source", "png", "picture_db"},
    "source": {"kind", "name", "path"},
    "window": {"index", "start_s", "end_s", "padded_s", "started_at", "clock"},
    "clock_doubt": {"clock", "started_at"},
    "model": {"name", "version", "sha256"},
    "error": {"code", "text"},
    "last": {"prediction", "file", "event", "gap", "status"},
    "backlog": {"files", "messages"},
    "source_state": {"kind", "name", "path", "state", "degraded", "waiting"},
    "replay_request": {"since"},
    "replay_header": {"journal", "next", "oldest", "newest"},
    "replay_error": {"error"},
    "helper_state": {"name", "state", "pid", "restarts"},
    "status_request": {"status"},
    "status_reply": {"version", "pid", "node", "run_id", "journal", "started_at", "uptime_s"}
    | {"publish", "replay", "state", "model", "workers", "sources", "backlog", "blocked", "last"}
    | {"published", "windows_per_second", "replays", "connections", "jobs"}
    | {"progress", "journal_bytes"},
    "classify_line": JUDGEMENT
    | {"schema", "type", "node", "id", "published_at", "source", "file_id"},
}

_GUANO_TEXT = (
    b"GUANO|Version: 1.0\nMake: Test\nModel: X1\nTimestamp: 2024-05-01T05:30:00+02:00\n"
    b"Loc Position: 59.3 18.1\nTemperature Ext: 7.5\n "
)
GUANO = b"guan" + len(_GUANO_TEXT).to_bytes(4, "little") + _GUANO_TEXT

CONFIG = """
publish = "{publish}"
replay = "{replay}"
[decision]
threshold = 0.0
unknown = false
[[folder]]
name = "Söders gård/1.a"
path = "{folder}"
settle = 0.3
[[folder]]
name = "other"
path = "{other}"
settle = 0.3
"""


@dataclass(frozen=True)
class Heard:
    """What two runs of one daemon said, live and again by replay, and how it answered."""

    live: list[Frames]
    beats: list[Frames]
    replayed: list[Frames]
    headers: list[Body]
    status: Body
    error: Body
    folder: Path

    @property
    def bodies(self) -> list[Body]:
        return [json.loads(body) for _, body in self.replayed]


class Ears:
    """A subscriber to everything and an asker, in plain pyzmq."""

    def __init__(self, daemon: Daemon) -> None:
        self._context = zmq.Context()
        self.sub, self.req = self._context.socket(zmq.SUB), self._context.socket(zmq.REQ)
        self.sub.subscribe("")
        self.sub.connect(daemon.publish)
        self.req.connect(daemon.replay)

    def next(self) -> Frames:
        assert self.sub.poll(60_000), "nothing is published"
        topic, body = self.sub.recv_multipart()
        return topic.decode(), body

    def ask(self, request: Any) -> list[bytes]:
        self.req.send(json.dumps(request).encode())
        assert self.req.poll(60_000), "no answer"
        return self.req.recv_multipart()

    def close(self) -> None:
        self._context.destroy(linger=0)


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Heard]:
    """One eventful life of a daemon."""
    base = tmp_path_factory.mktemp("contract")
    config, other = base / "tinyast.toml", base / "other"
    other.mkdir()
    daemon = Daemon(base, "--config", str(config))
    config.write_text(
        CONFIG.format(
            publish=daemon.publish,
            replay=daemon.replay,
            folder=daemon.folder,
            other=other,
        )
    )
    ears = Ears(daemon)
    try:
        yield _live(daemon, ears, other)
    finally:
        ears.close()
        daemon.clean_up()


def _live(daemon: Daemon, ears: Ears, other: Path) -> Heard:
    said: list[Frames] = []

    def until(topic: str, times: int = 1) -> None:
        while times:
            said.append(ears.next())
            times -= said[-1][0].startswith(topic)

    daemon.start()
    until("tinyast.v1.heartbeat")  # the subscription has arrived
    files = _drop_files(daemon.folder)
    until("tinyast.v1.file.", files)
    other.rmdir()
    until("tinyast.v1.status.source_lost")
    other.mkdir()
    until("tinyast.v1.status.source_back")
    write_wav(other / "late.wav")
    until("tinyast.v1.file.done")
    until("tinyast.v1.heartbeat")
    daemon.stop()
    until("tinyast.v1.status.stopping")
    daemon.start()
    until("tinyast.v1.heartbeat")
    write_wav(daemon.folder / "after.wav")
    until("tinyast.v1.file.done")

    replayed: list[Frames] = []
    headers: list[Body] = []
    since = 0
    while not headers or headers[-1]["next"] != headers[-1]["newest"]:
        header, *frames = ears.ask({"since": since, "limit": 7})
        headers.append(json.loads(header))
        since = headers[-1]["next"]
        replayed += [(t.decode(), b) for t, b in zip(frames[::2], frames[1::2], strict=True)]
    status, error = ears.ask({"status": True}), ears.ask({"since": -1})
    beats = [frames for frames in said if frames[0] == "tinyast.v1.heartbeat"]
    live = [frames for frames in said if frames[0] != "tinyast.v1.heartbeat"]
    answers = json.loads(status[0]), json.loads(error[0])
    return Heard(live, beats, replayed, headers, *answers, daemon.folder)


def _drop_files(folder: Path) -> int:
    """Sound in many states; how many files that are."""
    whole = wav_bytes(noise(12), 16_000)
    recorded = header(8_000) + whole[44:8_044] + GUANO
    inputs = {
        b"three windows.wav": whole,
        b"short_20260101_120000.wav": wav_bytes(noise(1)),
        b"silent.wav": wav_bytes(noise(5, level=0.0)),
        b"44k.wav": wav_bytes(noise(6, 44_100), 44_100, "FLOAT"),
        b"cut.wav": whole[: len(whole) // 2],
        b"cut before its samples.wav": whole[:40],
        b"not sound.wav": b"this is text, whatever its name says",
        b"one frame.wav": header(2) + b"\0\0",
        b"1 Hz.wav": header(4, rate=1) + b"\0" * 4,
        b"not finite.wav": wav_bytes(noise(5) * float("nan"), subtype="FLOAT"),
        b"20240501_053000.wav": recorded,
        b"stale header.wav": wav_bytes(noise(1))[:44] + wav_bytes(noise(2))[44:],
        b'\xff\xfe% \n".wav': whole,
        "é\t\x1b[31m.wav".encode(): whole,
    }
    for name, content in inputs.items():
        (folder / os.fsdecode(name)).write_bytes(content)
    return len(inputs)


def test_a_file_says_when_where_and_with_what_it_was_recorded(heard: Heard) -> None:
    (body,) = [b for b in heard.bodies if b["type"] == "prediction" and "recorder" in b]
    assert body["recorder"] == {
        "device": "Test X1", "latitude": 59.3, "longitude": 18.1, "temperature_c": 7.5
    }  # fmt: skip
    window = body["window"]
    assert (window["clock"], window["started_at"]) == ("guano", "2024-05-01T03:30:00.000Z")
    # The name, in the folder's time zone, which is UTC.
    doubt = {"clock": "name", "started_at": "2024-05-01T05:30:00.000Z"}
    assert window["clock_doubt"] == doubt
    in_doubt = [
        b for b in heard.bodies if b["type"] == "prediction" and "clock_doubt" in b["window"]
    ]
    assert in_doubt == [body]


def test_sound_behind_a_stale_size_is_said_in_the_end_state(heard: Heard) -> None:
    (end,) = [b for b in heard.bodies if (b.get("error") or {}).get("code") == "unread_data"]
    assert (end["state"], end["windows"], end["duration_s"]) == ("incomplete", 1, 1.0)
    assert end["error"]["text"].startswith("32000 bytes follow")


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_the_schema_is_the_one_that_the_types_give() -> None:
    """If not: `python -m daemon.protocol.schema > docs/messages.schema.json`."""
    assert schema.make() == SCHEMA


def test_all_that_is_said_is_as_the_schema_says(heard: Heard) -> None:
    for _, body in [*heard.live, *heard.beats, *heard.replayed]:
        message = json.loads(body)
        check(message)
        check(message, message["type"])
    for header_ in heard.headers:
        check(header_, "replay_header")
    check(heard.status, "status_reply")
    check(heard.error, "replay_error")


def test_the_run_was_eventful(heard: Heard) -> None:
    """So that these checks see more than the easy messages."""
    bodies = heard.bodies
    codes = {m["error"] and m["error"]["code"] for m in bodies if m["type"] == "file"}
    assert codes == {
        None, "cut_short", "not_audio", "too_short", "bad_rate", "not_finite", "unread_data"
    }  # fmt: skip
    reasons = {m["reason"] for m in bodies if m["type"] == "prediction"}
    assert reasons == {None, "silence"}
    clocks = {m["window"]["clock"] for m in bodies if m["type"] == "prediction"}
    assert clocks == {"name", "mtime", "guano"}
    statuses = [m["status"] for m in bodies if m["type"] == "status"]
    assert statuses == ["started", "source_lost", "source_back", "stopping", "started"]


def test_replayed_bytes_are_the_published_ones(heard: Heard) -> None:
    replayed = {json.loads(body)["seq"]: (topic, body) for topic, body in heard.replayed}
    assert len(heard.live) > 20
    for topic, body in heard.live:
        assert replayed[json.loads(body)["seq"]] == (topic, body)
    # All but the first message of each run, which comes before a subscriber's subscription can.
    unheard = set(replayed) - {json.loads(body)["seq"] for _, body in heard.live}
    assert {replayed[seq][0] for seq in unheard} <= {"tinyast.v1.status.started"}


def test_the_chain_has_no_hole(heard: Heard) -> None:
    bodies = heard.bodies
    assert [m["seq"] for m in bodies] == list(range(1, len(bodies) + 1))
    last: dict[str, int] = {}
    for message in bodies:
        assert message["prev"] == last.get(message["type"], 0)
        last[message["type"]] = message["seq"]
    assert len({m["id"] for m in bodies}) == len(bodies)
    assert len({m["journal"] for m in bodies}) == 1
    assert len({m["run_id"] for m in bodies}) == 2
    assert heard.headers[-1]["newest"] == len(bodies)
    assert {h["journal"] for h in heard.headers} == {bodies[0]["journal"]}
    assert heard.status["last"] == {"event": 0, "gap": 0, **last}


def test_heartbeats_name_the_newest(heard: Heard) -> None:
    bodies = heard.bodies
    for _, body in heard.beats:
        beat = json.loads(body)
        newest = max(beat["last"].values())
        for kind, seq in beat["last"].items():
            before = [m["seq"] for m in bodies if m["type"] == kind and m["seq"] <= newest]
            assert seq == max(before, default=0)


def test_a_file_ends_after_its_predictions(heard: Heard) -> None:
    counted: dict[str, int] = {}
    for message in heard.bodies:
        if message["type"] == "prediction":
            assert message["window"]["index"] == counted.get(message["file_id"], 0)
            counted[message["file_id"]] = message["window"]["index"] + 1
        elif message["type"] == "file":
            assert message["windows"] == counted.pop(message["file_id"], 0)
    assert counted == {}


def test_topics(heard: Heard) -> None:
    name = "Söders_gård_1_a"  # letters stay, what could be taken for structure does not
    for topic, body in heard.replayed:
        message = json.loads(body)
        match message["type"]:
            case "prediction":
                where = name if message["source"]["name"] != "other" else "other"
                assert topic == f"tinyast.v1.prediction.file.{where}.{message['label']}"
            case "file":
                assert topic == f"tinyast.v1.file.{message['state']}"
            case "status":
                assert topic == f"tinyast.v1.status.{message['status']}"
    assert any(m["source"] and m["source"]["name"] == "Söders gård/1.a" for m in heard.bodies)


def test_paths_that_are_not_utf8_are_percent_encoded(heard: Heard) -> None:
    paths = {}
    for message in heard.bodies:
        if message["type"] in ("file", "prediction"):
            source = message["source"]
            encoded = source.get("path_encoding") == "percent"
            path = unquote_to_bytes(source["path"]) if encoded else source["path"].encode()
            assert Path(os.fsdecode(path)).exists()
            paths[path] = encoded
    assert [path for path, encoded in paths.items() if encoded] == [
        os.fsencode(heard.folder) + b'/\xff\xfe% \n".wav'
    ]
    assert len(paths) == len(os.listdir(heard.folder)) + 1


# -- what only a microphone says -----------------------------------------------------------------

MIC = Source("mic", "desk")
PLACE = (
    Envelope(
        "c8899e9f-4848-46fd-b92c-af31c7acc658",
        "b994f826-76cb-42c7-b7f3-4ef3f7500925",
        "n",
        "2026-01-01T00:00:00.000Z",
    ),
    7,
    3,
)


def test_live_messages_are_as_the_schema_says(heard: Heard) -> None:
    body = next(m for m in heard.bodies if m["type"] == "prediction")
    judged = msgspec.convert(body, Judgement)
    window = msgspec.convert({**body["window"], "clock": "capture"}, Window)
    live = live_prediction(MIC, "run", 0, window, judged)
    check(json.loads(seal(live, *PLACE, noticed=0.0)), "prediction")
    for state, reason in (("start", None), ("update", None), ("end", "quiet"), ("end", "restart")):
        one = Detection(PLACE[0].run_id, "dog", state, 0.0, 5.0, 0.9, 2, reason)
        check(json.loads(seal(event(MIC, one, 1), *PLACE)), "event")
    for reason in ("source_lost", "lost_frames", "capture_overflow", "overload", "unusable"):
        lost = Loss(0.0, 1.5, 24_000, reason)
        check(json.loads(seal(gap(MIC, "run", 1, lost), *PLACE)), "gap")


# -- frozen --------------------------------------------------------------------------------------


def required(name: str) -> set[str]:
    """The fields that a definition requires, with those of the definitions it builds on."""
    definition = SCHEMA["$defs"][name]
    own = set(definition.get("required", []))
    for base in definition.get("allOf", []):
        own |= required(base["$ref"].rpartition("/")[2])
    return own


@pytest.mark.parametrize("name", FROZEN)
def test_no_field_is_renamed_or_removed(name: str) -> None:
    assert required(name) == FROZEN[name]


def test_every_type_is_frozen() -> None:
    types = SCHEMA["properties"]["type"]["enum"]
    assert set(types) <= set(FROZEN)


def test_the_schema_notices_what_is_missing_or_mistyped(heard: Heard) -> None:
    samples = {m["type"]: m for m in map(json.loads, (b for _, b in heard.replayed + heard.beats))}
    assert set(samples) == {"prediction", "file", "status", "heartbeat"}
    for kind, message in samples.items():
        for field in FROZEN[kind]:
            lacking = {key: value for key, value in message.items() if key != field}
            assert problem(lacking) is not None, f"{kind} without {field}"
            assert problem({**message, field: {"odd": []}}) is not None, f"{kind}.{field}"
        for field in ("source", "window", "model", "last", "backlog"):
            for inner in message.get(field) or {}:
                lacking = deepcopy(message)
                del lacking[field][inner]
                assert problem(lacking) is not None, f"{kind} without {field}.{inner}"
        check({**message, "added_later": 1})


@pytest.fixture(scope="module")
def ears(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ears]:
    """An asker of an idle daemon."""
    daemon = Daemon(tmp_path_factory.mktemp("idle")).start()
    made = Ears(daemon)
    yield made
    made.close()
    daemon.clean_up()


@pytest.mark.parametrize(
    ("request_", "good"),
    [
        ({"since": 0}, True),
        ({"since": 41, "limit": 1000, "topic": "tinyast.v1.prediction."}, True),
        ({"since": -1}, False),
        ({"since": "0"}, False),
        ({"limit": 5}, False),
        ({"since": 2**63}, False),
        ({"since": 0, "before": 9}, False),
    ],
)
def test_the_daemon_takes_the_requests_that_the_schema_takes(
    ears: Ears, request_: Body, good: bool
) -> None:
    assert (problem(request_, "replay_request") is None) == good
    answer = json.loads(ears.ask(request_)[0])
    check(answer, "replay_header" if good else "replay_error")


def test_classify_prints_predictions_without_a_place_in_a_stream(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", seconds=12)
    command = [sys.executable, "-m", "daemon", "classify", str(tmp_path), "--format", "jsonl"]
    done = subprocess.run(command, capture_output=True, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 3
    for line in lines:
        check(line, "classify_line")
        assert not {"seq", "prev", "journal", "run_id"} & set(line)


# -- the reference -------------------------------------------------------------------------------


def test_the_reference_has_every_field_and_word() -> None:
    text = (ROOT / "docs" / "messages.md").read_text()
    words = set().union(*FROZEN.values())

    def enums(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            yield from (word for word in node.get("enum", []) if isinstance(word, str))
            node = list(node.values())
        if isinstance(node, list):
            for inner in node:
                yield from enums(inner)

    words |= set(enums(SCHEMA))
    assert {word for word in words if f"`{word}`" not in text} == set()


def test_the_reference_has_every_code() -> None:
    text = (ROOT / "docs" / "messages.md").read_text()
    patterns = (
        r'(?:AudioError|CaptureFailed|BadRequest|Error)\(\s*"(\w+)"',
        r'(?:_end|_end_unfinished)\(\s*(?:row, )?(?:"\w+",\s*)?"(\w+)"',
        r'"(permission_denied)"|"(unreadable)"',
        r'(?:say|post)\(\s*"(\w+)"|notices\.put\(\(\s*"(\w+)"',
    )
    sources = [
        path.read_text()
        for folder in ("tinyast", "daemon")
        for path in (ROOT / folder).rglob("*.py")
    ]
    codes = {
        code
        for pattern in patterns
        for source in sources
        for found in re.finditer(pattern, source)
        for code in found.groups()
        if code
    }
    assert {"not_audio", "cut_short", "vanished", "unreadable", "started", "stalled"} <= codes
    assert {code for code in codes if f"`{code}`" not in text} == set()


def test_the_reference_shows_messages_as_they_are() -> None:
    text = (ROOT / "docs" / "messages.md").read_text()
    shown = [json.loads(block.split("```")[0]) for block in text.split("```json\n")[1:]]
    kinds = [message.get("type") for message in shown]
    assert {"prediction", "file", "event", "gap", "status", "heartbeat"} <= set(kinds)
    for message in shown:
        if "type" in message:
            check(message)
