"""A journal that is copied while it is written, and put back after more was said."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from running import SOON_S, Daemon, of_type, tinyastd
from sounds import write_wav
from test_survival import check_stream, damage_messages, drop

from daemon.client import Client
from daemon.journal.files import damage_mark
from daemon.journal.migrations import VERSION

MakeDaemon = Callable[..., Daemon]


def said(*words: object, code: int = 0) -> str:
    """What a command says on either stream."""
    done = tinyastd(*words)
    assert done.returncode == code, done
    return done.stdout + done.stderr


def ended(messages: list[dict[str, Any]]) -> set[str]:
    return {m["source"]["path"] for m in messages if m["type"] == "file"}


def until_ended(client: Client, files: int | Path, besides: str = "") -> list[dict[str, Any]]:
    """The messages to a client until a number of files, or one file, have ended; one journal."""
    heard: list[dict[str, Any]] = []
    while str(files) not in ended(heard) if isinstance(files, Path) else len(ended(heard)) < files:
        received = client.receive(SOON_S)
        assert received is not None
        if received.message["journal"] != besides:
            heard.append(received.message)
    return heard


def put_aside(listening: Daemon) -> list[Path]:
    found = listening.state.glob("journal.sqlite3.replaced-*")
    return [path for path in found if not path.name.endswith(("-wal", "-shm"))]


def test_what_a_restored_journal_lacks_is_classified_again(
    daemon: MakeDaemon, tmp_path: Path
) -> None:
    listening = daemon().start()
    state, copy = ("--state", listening.state), tmp_path / "copy.sqlite3"
    drop(listening.folder, 30)
    listening.ends(30)
    assert "everything up to seq" in said("backup", *state, copy)
    assert f"{copy} exists" in said("backup", *state, copy, code=2)
    drop(listening.folder, 20, 30)
    first = listening.status()["journal"]
    with listening.client() as client:
        # It is further than the copy when that is put back, and stays connected meanwhile.
        heard = until_ended(client, 50)
        assert f"process {listening.process.pid}" in said("restore", *state, copy, code=3)
        assert listening.stop() == 0
        told = said("restore", *state, copy)
        assert "The earlier journal is now" in told
        listening.start()
        marker = write_wav(listening.folder / "marker.wav")
        messages = listening.quiet(marker)
        # What the copy held, it has already; of the rest it is given all that is new to it.
        again = until_ended(client, marker, besides=first)
    assert ended(again) | ended(heard) == ended(messages)
    assert len({(m["journal"], m["id"]) for m in again}) == len(again)
    check_stream(messages)
    assert messages[0]["journal"] == listening.status()["journal"] != first
    assert len(of_type(listening.hear(lambda r: len(r) >= len(messages)), "file")) == 51
    (aside,) = put_aside(listening)
    assert listening.stop() == 0
    said("restore", *state, aside)  # and the way back
    assert len(put_aside(listening)) == 2
    assert [p.name for p in tmp_path.glob("*.part*")] == []


def test_what_is_no_whole_journal_is_not_restored(daemon: MakeDaemon, tmp_path: Path) -> None:
    listening = daemon().start()
    state, copy = ("--state", listening.state), tmp_path / "copy.sqlite3"
    drop(listening.folder, 100)
    listening.ends(100)
    assert listening.stop() == 0
    said("backup", *state, copy)
    before = (listening.state / "journal.sqlite3").read_bytes()
    nothing, other, newer, damaged = (tmp_path / name for name in ("none", "other", "new", "bad"))
    sqlite3.connect(other).execute("CREATE TABLE t (x)").close()
    for path in (newer, damaged):
        path.write_bytes(copy.read_bytes())
    with closing(sqlite3.connect(newer)) as journal, journal:
        journal.execute(f"PRAGMA user_version = {VERSION + 1}")
    damage_messages(damaged)
    for path, says in (
        (nothing, "name a file that `tinyastd backup` wrote"),
        (other, "no journal of tinyastd"),
        (newer, "of a newer version"),
        (damaged, "is damaged|malformed|cannot be copied"),
    ):
        told = said("restore", *state, path, code=3)
        assert any(word in told for word in says.split("|")), told
    assert (listening.state / "journal.sqlite3").read_bytes() == before
    assert [*listening.state.glob("journal*re*")] == []


def test_what_a_journal_that_is_gone_has_left_harms_no_restored_one(
    daemon: MakeDaemon, tmp_path: Path
) -> None:
    listening = daemon().start()
    state, copy = ("--state", listening.state), tmp_path / "copy.sqlite3"
    listening.kill()
    journal = listening.state / "journal.sqlite3"
    said("backup", *state, copy)
    journal.unlink()
    assert journal.with_name("journal.sqlite3-wal").exists()
    damage_mark(journal).touch()
    assert "The earlier journal" not in said("restore", *state, copy)
    assert not journal.with_name("journal.sqlite3-wal").exists()
    listening.start()
    assert [*listening.state.glob("journal.sqlite3.damaged*")] == []


def test_no_journal_to_copy_is_a_sentence(tmp_path: Path) -> None:
    told = said("backup", "--state", tmp_path / "none", tmp_path / "copy", code=3)
    assert f"there is no journal in {tmp_path / 'none'}; name the daemon's --state" in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("word", ["backup", "restore"])
def test_help_says_what_is_copied(word: str) -> None:
    assert "journal" in said(word, "--help")
