"""Simulated power cuts: no message that a subscriber may have heard is missing afterwards."""

from __future__ import annotations

import os
import random
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from power_cut import Disk, Recorder
from running import Daemon, stress
from saying import predictions
from sounds import short_wav, write_wav

from daemon.journal.crashes import WorkMarks
from daemon.journal.files import journal_path
from daemon.journal.reader import JournalReader
from daemon.journal.records import Record
from daemon.journal.writer import Journal
from daemon.service.inbox import ask_reprocess

MakeDaemon = Callable[..., Daemon]
_SEQ = re.compile(rb'"seq":(\d+)')


def lives(listening: Daemon, cuts: int) -> None:
    """A daemon that writes much, is asked, stopped, killed and started again."""
    for life in range(3):
        for number in range(20):
            (listening.folder / f"{life}-{number}.wav").write_bytes(short_wav(number + 100 * life))
        write_wav(listening.folder / f"{life}-long.wav", seconds=10 + cuts / 5, seed=life)
        listening.start()
        listening.ends((life + 1) * 21 + life, timeout=120 + cuts)
        ask_reprocess(listening.state, [bytes(listening.folder / f"{life}-1.wav")])
        listening.ends((life + 1) * 22, timeout=120 + cuts)
        if life == 1:
            listening.kill()
        else:
            assert listening.stop() == 0


def check(state: Path, heard: int, bodies: dict[int, bytes]) -> None:
    """The journal is whole, holds all that was heard, and takes new messages."""
    journal = Journal(state, "node", "run")
    try:
        assert journal.set_aside is None, "it was damaged"
        assert not journal.put_back, "it lost messages that it had counted"
        assert journal.seq >= heard, f"it ends at {journal.seq}, and {heard} was heard"
        reader = JournalReader(state)
        since = 0
        while since < journal.seq:
            page = reader.page(since, 1_000, 1 << 24)
            for message in page.messages:
                since += 1
                assert message.seq == since
                assert message.seq > heard or message.body == bodies[message.seq]
            assert page.next == since
        reader.close()
        before = journal.seq
        (said,) = journal.commit([Record(predictions(1))])
        assert said.seq == before + 1
    finally:
        journal.close()
    with closing(sqlite3.connect(journal_path(state))) as db, db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    WorkMarks(state, 2).close()


@pytest.mark.timeout(3600)
def test_nothing_heard_is_missing_after_a_power_cut(daemon: MakeDaemon, tmp_path: Path) -> None:
    seed = int(os.environ.get("TINYAST_POWER_CUT_SEED") or random.randrange(1 << 32))
    print(f"TINYAST_POWER_CUT_SEED={seed}")
    rng, count = random.Random(seed), stress(500)
    recorder = Recorder(tmp_path / "disk")
    listening = daemon(env={**recorder.env, "TINYAST_AUDIO__HOP": "0.1"})
    listening.state = recorder.folder / "state"
    listening.state.mkdir(mode=0o700)
    lives(listening, count)
    records = recorder.records()
    with closing(sqlite3.connect(journal_path(listening.state))) as db, db:
        bodies = dict(db.execute("SELECT seq, body FROM messages"))
    syncs = [at for at, record in enumerate(records) if record.kind == "S"]
    # Half of them near a sync, where most goes wrong.
    near = [rng.choice(syncs) + rng.randint(-3, 3) for _ in range(count // 2)]
    places = sorted([*near, *(rng.randrange(len(records)) for _ in range(count - len(near)))])
    disk, heard, at = Disk(recorder.folder), 0, 0
    target = tmp_path / "after"
    for place in places:
        for record in records[at:place]:
            disk.play(record)
            if record.kind == "E":
                found = _SEQ.findall(disk.sent[record.inode][-len(record.data) - 30 :])
                heard = max([heard, *(int(one) for one in found if int(one) in bodies)])
        at = max(at, place)
        shutil.rmtree(target, ignore_errors=True)
        (target / "state").mkdir(mode=0o700, parents=True)
        disk.cut(rng, target)
        try:
            check(target / "state", heard, bodies)
        except (AssertionError, sqlite3.Error) as error:
            raise AssertionError(f"cut at {place} of {len(records)}: {error}") from error
    for record in records[at:]:
        disk.play(record)
    sent = {int(seq) for each in disk.sent.values() for seq in _SEQ.findall(each)}
    listened = {seq for seq, body in bodies.items() if b'"type":"status"' not in body}
    assert sent >= listened, "the record lacks what was sent"
    print(f"{count} cuts of {len(records)} records, {len(syncs)} syncs, {len(bodies)} messages")
