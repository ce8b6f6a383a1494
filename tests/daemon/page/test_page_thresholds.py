"""Events that a threshold would have given: as many as the daemon's own rule gives."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile
from pages import PageProcess
from running import Daemon, counting, of_type
from stations import raw_over_tcp

from daemon.page.store.reader import Reader
from daemon.page.store.writer import Store
from daemon.protocol.decoding import Head, Received
from daemon.protocol.events import Heard, Tracker
from daemon.protocol.messages import (
    Envelope,
    Judgement,
    Model,
    Ranked,
    Source,
    Window,
    live_prediction,
    seal,
    status,
    timestamp,
)
from daemon.settings.schema import EventRule, Events

HOP, LENGTH = 2.5, 5.0
LABELS = ("dog", "cat", "wind")
ENVELOPE = Envelope("b5a1e7c2-0000-4000-8000-000000000001", "run", "node", timestamp(0.0))
BEGAN = datetime(2026, 5, 1, 12, tzinfo=UTC).timestamp()


@dataclass(frozen=True)
class Made:
    """A window as a microphone might hear it; `lost`: the source is lost before it."""

    number: int  # of hops since the start
    label: str
    score: float
    reason: str | None  # silence, or as the score and events decide
    lost: bool

    @property
    def starts(self) -> float:
        return BEGAN + HOP * self.number


def make(seed: int) -> tuple[Events, list[Made]]:
    chance = random.Random(seed)
    rules = Events(
        confirm_at=chance.choice([0.6, 0.85, 1.0]),
        confirm_count=chance.randint(1, 3),
        confirm_of=chance.randint(1, 5),
        end_after=chance.choice([2.5, 6.0, 10.0, 30.0]),
        labels={"cat": EventRule(confirm_of=chance.randint(1, 8))},
    )
    windows, number = [], 0
    for _ in range(300):
        lost = chance.random() < 0.02
        number += 8 if lost else 1
        label = chance.choices(LABELS, (6, 3, 1))[0]
        reason = "silence" if chance.random() < 0.1 else None
        windows.append(Made(number, label, round(chance.random(), 3), reason, lost))
    return rules, windows


def started(rules: Events, windows: list[Made], threshold: float) -> Counter[str]:
    """Events that a daemon with this threshold begins, by label."""
    tracker, begun = Tracker(rules), Counter[str]()
    for each in windows:
        if each.lost:
            tracker.end_all("source_lost")
        passed = each.reason is None and each.score >= threshold
        window = Heard(
            each.label, each.score, passed, each.reason is None, each.starts, each.starts + LENGTH
        )
        begun.update(one.label for one in tracker.hear(window)[1] if one.state == "start")
    return begun


def stored(windows: list[Made], name: str, first: int) -> list[Received]:
    """What a daemon with the threshold 0.75 publishes of them."""
    source, found = Source("mic", name), list[Received]()
    for each in windows:
        if each.lost:
            gone = status("run", len(found) + first, "source_lost", "lost", source)
            found.append(received(gone, first + len(found), each.starts - HOP))
        reason = each.reason or (None if each.score >= 0.75 else "below_threshold")
        judgement = Judgement(
            label=each.label,
            score=each.score,
            threshold=0.75,
            decision="rejected" if reason else "accepted",
            reason=reason,
            top=(Ranked(each.label, each.score),),
            rms_dbfs=-20.0,
            model=Model("esc50", "5", "0" * 64),
        )
        place = Window(
            each.number, each.number * HOP, each.number * HOP + LENGTH, 0.0,
            timestamp(each.starts), "capture",
        )  # fmt: skip
        message = live_prediction(source, name, each.number * 40_000, place, judgement, None)
        found.append(received(message, first + len(found), each.starts + LENGTH + 0.1))
    return found


def received(message: object, seq: int, published: float) -> Received:
    body = seal(message, ENVELOPE, seq, seq - 1, 0.0)  # type: ignore[arg-type]
    fields = msgspec.json.decode(body) | {"published_at": timestamp(published)}
    head = Head(fields["type"], ENVELOPE.journal, seq, seq - 1, fields["id"])
    return Received("", head, fields, msgspec.json.encode(fields))


def test_events_are_those_of_the_daemons_rule(tmp_path: Path) -> None:
    store = Store(tmp_path)
    number, *_ = store.daemon("ipc://a")
    cases = {f"mic-{seed}": make(seed) for seed in range(12)}
    seq = 1
    for name, (_, windows) in cases.items():
        messages = stored(windows, name, seq)
        seq += len(messages)
        store.add(number, messages)
    db = store.connect()
    reader, some = Reader(db), 0
    for name, (rules, windows) in cases.items():
        for threshold in (0.0, 0.3, 0.62, 0.9):
            expected = started(rules, windows, threshold)
            for label in LABELS:
                found = reader.scores(label, 0, name, threshold=threshold, rules={number: rules})
                assert found.events == expected[label], (name, threshold, label)
                some += found.events
    assert some > 500
    db.close()
    store.close()


SETTINGS = """
folder = []
[decision]
threshold = {threshold}
[[stream]]
name = "yard"
url = "tcp://127.0.0.1:{port}"
rate = 44100
"""
WINDOWS = 7


def newest_in(stopped: Daemon) -> int:
    """The `seq` of the last message in the journal of a daemon that has stopped."""
    with closing(sqlite3.connect(stopped.state / "journal.sqlite3")) as db:
        (seq,) = db.execute("SELECT max(seq) FROM messages").fetchone()
    return int(seq)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_a_daemon_with_that_threshold_gives_as_many(originals: list[Path], tmp_path: Path) -> None:
    """Two daemons hear the same sound; the page knows one, and shows the results of the other."""
    sounds = [soundfile.read(path, dtype="int16") for path in originals[:6]]
    assert {rate for _, rate in sounds} == {44_100}
    content = np.concatenate([samples for samples, _ in sounds]).tobytes()
    daemons = []
    with raw_over_tcp(content, 88_200) as port:
        for threshold in (0.95, 0.3):
            base = tmp_path / str(threshold)
            base.mkdir()
            config = base / "tinyast.toml"
            config.write_text(SETTINGS.format(threshold=threshold, port=port))
            daemons.append(Daemon(base, "--config", str(config)).start())
        strict, loose = daemons
        page = PageProcess(tmp_path, strict).start()
        try:
            predictions = counting(lambda m: m["type"] == "prediction")
            strict.hear(lambda r: predictions(r) >= WINDOWS)
            asked = page.get("daemons")[0]
            strict.stop()
            last_of_strict = newest_in(strict)
            page.wait_for(lambda: page.get("daemons")[0]["state"] == "stopped", "stopped")
            page.catch_up(strict, newest=last_of_strict)
            rows = page.predictions(WINDOWS)
            count = len(rows)
            enough = counting(lambda m: m["type"] == "prediction")
            heard = loose.hear(lambda r: enough(r) > count)
            last = of_type(heard, "prediction")[count]["seq"]
            events = [m for m in of_type(heard, "event") if m["seq"] < last]
            begun = Counter(m["label"] for m in events if m["state"] == "start")
            labels = {row["label"] for row in rows}
            assert asked["state"] == "running"
            assert begun
            assert begun.keys() <= labels
            for label in labels:
                found = page.get("scores", label=label, days=1, threshold=0.3)
                assert found["events"] == begun[label], label
        finally:
            page.clean_up()
            for each in daemons:
                each.clean_up()
