"""Suspended, killed, stopped and started again: no message is lost or repeated."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from disks import fill_disk
from running import SOON_S, Daemon, free_port, of_type, stress
from sounds import long_wav, short_wav, write_wav

from daemon.client import Received
from daemon.journal.migrations import MIGRATIONS, VERSION

MakeDaemon = Callable[..., Daemon]


def drop(folder: Path, count: int, start: int = 0) -> None:
    """Many short files, each with its own content."""
    whole = bytearray(short_wav(seconds=0.25))
    for number in range(start, start + count):
        whole[100:108] = number.to_bytes(8, "little")
        (folder / f"{number:06d}.wav").write_bytes(whole)


def check_stream(messages: list[dict[str, Any]], from_seq: int = 1) -> None:
    """Numbers without hole or reuse, a true chain of `prev`, and ids that occur once."""
    assert [m["seq"] for m in messages] == list(range(from_seq, from_seq + len(messages)))
    assert len({m["journal"] for m in messages}) == 1
    assert [m for m, n in Counter(m["id"] for m in messages).items() if n > 1] == []
    newest: dict[str, int] = {}
    for message in messages:
        assert message["prev"] == newest.get(message["type"], 0)
        newest[message["type"]] = message["seq"]


def test_a_burst_while_suspended(daemon: MakeDaemon) -> None:
    count = stress(20_000)
    listening = daemon().start()
    write_wav(listening.folder / "first.wav")
    listening.ends(1)
    before = listening.memory()
    listening.send(signal.SIGSTOP)
    drop(listening.folder, count)
    listening.send(signal.SIGCONT)
    # One more at the end of the queue: noticed without waiting for the next scan by the clock.
    write_wav(listening.folder / "last.wav")
    ends = listening.ends(count + 2, timeout=60 + count / 20)
    paths = Counter(end["source"]["path"] for end in ends)
    assert set(paths.values()) == {1}
    assert str(listening.folder / "last.wav") in paths
    assert {end["state"] for end in ends} == {"done"}
    grown = listening.peak_memory() - before
    print(f"{count} files while suspended: peak memory grew by {grown / 1e6:.1f} MB")
    assert grown < 60e6


def test_killed_at_random_moments(daemon: MakeDaemon) -> None:
    kills, files = stress(50, 4), stress(2_000, 200)
    rng = random.Random(50)
    listening = daemon(env={"TINYAST_AUDIO__HOP": "0.05"})
    for number in range(files // 20):  # some of many windows, to be killed in the middle of
        write_wav(listening.folder / f"long-{number}.wav", seconds=6, seed=number)
    each = (files - files // 20) // kills
    for number in range(kills):
        # From the first instant of a start to the middle of the work, which never runs out.
        drop(listening.folder, each, number * each)
        listening.spawn()
        time.sleep(rng.uniform(0, 2.5))
        listening.kill()
    listening.start()
    files = files // 20 + each * kills
    ends = listening.ends(files, timeout=120 + files / 10)
    assert len({end["source"]["path"] for end in ends}) == files
    assert {end["state"] for end in ends} == {"done"}
    messages = listening.quiet(write_wav(listening.folder / "marker.wav"))
    check_stream(messages)
    windows = Counter(m["file_id"] for m in messages if m["type"] == "prediction")
    assert all(windows[end["file_id"]] == end["windows"] for end in ends)
    runs = len({m["run_id"] for m in messages})
    print(f"{kills} kills, {runs} runs that said something, {len(messages)} messages")


def test_a_long_file_goes_on_where_it_was_killed(daemon: MakeDaemon) -> None:
    listening = daemon()
    long = long_wav(listening.folder / "long.wav", stress(100) / 100)
    listening.start()
    listening.hear(lambda r: len(of_type(r, "prediction")) >= 20)
    listening.kill()
    listening.start()
    (end,) = listening.ends(1, timeout=300)
    messages = listening.quiet(write_wav(listening.folder / "marker.wav"))
    check_stream(messages)
    indices = [
        m["window"]["index"]
        for m in messages
        if m["type"] == "prediction" and m["source"]["path"] == str(long)
    ]
    assert indices == list(range(end["windows"]))
    assert len({m["run_id"] for m in messages if m["type"] == "prediction"}) == 2


def test_a_begun_file_that_vanished_while_the_daemon_was_down(daemon: MakeDaemon) -> None:
    listening = daemon()
    long = long_wav(listening.folder / "long.wav", 1)
    listening.start()
    listening.hear(lambda r: len(of_type(r, "prediction")) >= 3)
    listening.kill()
    long.unlink()
    listening.start()
    (end,) = listening.ends(1)
    assert (end["state"], end["error"]["code"]) == ("incomplete", "vanished")
    assert end["windows"] >= 3


def test_a_file_deleted_after_its_first_window(daemon: MakeDaemon) -> None:
    listening = daemon().start()
    long = long_wav(listening.folder / "long.wav", 2)
    listening.hear(lambda r: len(of_type(r, "prediction")) >= 3)
    long.unlink()
    (end,) = listening.ends(1)
    assert (end["state"], end["error"]["code"]) == ("incomplete", "vanished")
    predictions = of_type(listening.hear(lambda r: of_type(r, "file")), "prediction")
    assert end["windows"] == len(predictions)


def test_a_file_changed_after_its_first_window(daemon: MakeDaemon) -> None:
    listening = daemon().start()
    long = long_wav(listening.folder / "long.wav", 2)
    listening.hear(lambda r: len(of_type(r, "prediction")) >= 3)
    write_wav(long, seconds=5)
    first, second = listening.ends(2)
    assert (first["state"], first["error"]["code"]) == ("incomplete", "changed")
    assert (second["state"], second["windows"]) == ("done", 1)
    assert first["file_id"] != second["file_id"]


def test_sigterm_under_load(daemon: MakeDaemon) -> None:
    listening = daemon()
    long_wav(listening.folder / "long.wav", 10)
    drop(listening.folder, 300)
    listening.start()
    with listening.client() as client:
        heard: list[Received] = []
        while len(of_type(heard, "prediction")) < 50:
            if (received := client.receive(5)) is not None:
                heard.append(received)
        began = time.monotonic()
        assert listening.stop() == 0
        print(f"SIGTERM to exit: {time.monotonic() - began:.2f} s")
        while heard[-1].message.get("status") != "stopping":
            received = client.receive(SOON_S)
            assert received is not None, "it did not say that it stops"
            heard.append(received)
        assert client.receive(0.2) is None, "more came after that"
    last = heard[-1].message
    check_stream(sorted((r.message for r in heard), key=lambda m: m["seq"]))
    # The published messages are the committed ones, to the last.
    with closing(sqlite3.connect(listening.state / "journal.sqlite3")) as journal, journal:
        assert journal.execute("SELECT max(seq) FROM messages").fetchone()[0] == last["seq"]
    listening.start()
    assert len(listening.ends(300, timeout=120)) >= 300


def test_sigint_stops_it_too(daemon: MakeDaemon) -> None:
    listening = daemon().start()
    listening.send(signal.SIGINT)
    assert listening.process.wait(SOON_S) == 0


def refused(other: Daemon) -> str:
    """Start a daemon that must not start; its error."""
    ended = subprocess.run(other.command(), capture_output=True, text=True, timeout=120)
    assert ended.returncode == 3, ended.stderr
    return ended.stderr


def test_a_second_daemon_on_the_same_state_directory(daemon: MakeDaemon, tmp_path: Path) -> None:
    first = daemon().start()
    second = daemon()
    second.publish, second.replay = f"ipc://{tmp_path}/p2", f"ipc://{tmp_path}/r2"
    said = refused(second)
    assert str(first.state) in said
    assert f"process {first.process.pid}" in said
    write_wav(first.folder / "a.wav")
    assert first.ends(1)[0]["state"] == "done"


@pytest.mark.parametrize("scheme", ["tcp", "ipc"])
def test_a_second_daemon_on_the_same_endpoint(
    daemon: MakeDaemon, tmp_path: Path, scheme: str
) -> None:
    first = daemon()
    if scheme == "tcp":
        first.publish = f"tcp://127.0.0.1:{free_port()}"
        first.replay = f"tcp://127.0.0.1:{free_port()}"
    first.start()
    (tmp_path / "other").mkdir()
    second = daemon(base=tmp_path / "other")
    second.publish = first.publish
    said = refused(second)
    assert first.publish in said
    assert f"process {first.process.pid}" in said
    write_wav(first.folder / "a.wav")
    assert first.ends(1)[0]["state"] == "done"


def test_an_ipc_endpoint_never_destroys_a_file(daemon: MakeDaemon, tmp_path: Path) -> None:
    precious = tmp_path / "p"
    precious.write_text("precious")
    assert "not a socket" in refused(daemon())
    assert precious.read_text() == "precious"


def test_a_stale_ipc_socket_is_no_obstacle(daemon: MakeDaemon, tmp_path: Path) -> None:
    listening = daemon().start()
    listening.kill()
    assert (tmp_path / "p").exists()
    listening.start()


def test_a_newer_state_is_refused_and_left_alone(daemon: MakeDaemon) -> None:
    listening = daemon().start()
    assert listening.stop() == 0
    file = listening.state / "journal.sqlite3"
    journal = sqlite3.connect(file)
    journal.execute(f"PRAGMA user_version = {VERSION + 1}")
    journal.close()
    said = refused(listening)
    assert str(VERSION + 1) in said
    journal = sqlite3.connect(file)
    assert journal.execute("SELECT count(*) FROM messages").fetchone()[0] >= 2
    journal.close()


def test_an_empty_state_of_version_zero_is_migrated(daemon: MakeDaemon) -> None:
    listening = daemon()
    listening.state.mkdir()
    sqlite3.connect(listening.state / "journal.sqlite3").close()
    listening.start()
    journal = sqlite3.connect(listening.state / "journal.sqlite3")
    assert journal.execute("PRAGMA user_version").fetchone()[0] == VERSION
    journal.close()


def test_a_damaged_journal_is_put_aside_and_its_ledger_kept(daemon: MakeDaemon) -> None:
    listening = daemon().start()
    drop(listening.folder, 100)
    listening.ends(100)
    first = listening.status()["journal"]
    assert listening.stop() == 0
    file = listening.state / "journal.sqlite3"
    damage_messages(file)
    size = file.stat().st_size
    write_wav(listening.folder / "new.wav")
    listening.start()
    assert "damaged" in listening.tail()
    heard = listening.hear(lambda r: of_type(r, "file"))
    assert [m["source"]["path"] for m in of_type(heard, "file")] == [
        str(listening.folder / "new.wav")
    ], "files were classified again although the ledger could be read"
    (replaced,) = [m for m in of_type(heard, "status") if m["status"] == "journal_replaced"]
    aside = Path(replaced["file"])
    assert len(aside.read_bytes()) >= size
    assert replaced["journal"] != first
    check_stream([r.message for r in heard])


def damage_messages(file: Path) -> None:
    """Overwrite the pages of the table and index of messages, as a failing disk might."""
    journal = sqlite3.connect(file)
    size = journal.execute("PRAGMA page_size").fetchone()[0]
    roots = journal.execute(
        "SELECT rootpage FROM sqlite_master WHERE tbl_name = 'messages'"
    ).fetchall()
    journal.close()
    with file.open("r+b") as out:
        for (page,) in roots:
            out.seek((page - 1) * size)
            out.write(b"\xff" * size)


def test_a_journal_that_is_none_is_put_aside(daemon: MakeDaemon) -> None:
    listening = daemon()
    listening.state.mkdir()
    (listening.state / "journal.sqlite3").write_bytes(b"something else entirely" * 100)
    listening.start()
    write_wav(listening.folder / "a.wav")
    assert listening.ends(1)[0]["state"] == "done"
    (aside,) = listening.state.glob("journal.sqlite3.damaged-*")
    assert aside.read_bytes().startswith(b"something else")


def test_a_state_of_the_first_version_is_migrated(daemon: MakeDaemon) -> None:
    listening = daemon()
    listening.state.mkdir()
    journal = sqlite3.connect(listening.state / "journal.sqlite3")
    journal.executescript(MIGRATIONS[0] + "PRAGMA user_version = 1;")
    journal.execute("INSERT INTO meta VALUES ('journal', 'that-of-old')")
    journal.execute("INSERT INTO newest VALUES ('file', 41)")
    journal.commit()
    journal.close()
    listening.start()
    write_wav(listening.folder / "a.wav")
    (end,) = listening.ends(1)
    assert end["journal"] == "that-of-old"
    assert end["seq"] > 41
    assert end["prev"] == 41


def test_old_messages_are_pruned_by_size_and_numbers_go_on(daemon: MakeDaemon) -> None:
    listening = daemon(env={"TINYAST_JOURNAL__KEEP_MB": "1", "TINYAST_AUDIO__HOP": "0.05"}).start()
    write_wav(listening.folder / "first.wav")
    listening.ends(1)
    write_wav(listening.folder / "many.wav", seconds=120)  # 2,300 windows of about 1 kB
    listening.hear(
        lambda r: any(m["source"]["path"].endswith("many.wav") for m in of_type(r, "file")),
        since=3,
        timeout=240,
    )
    write_wav(listening.folder / "last.wav")
    with listening.client(since=0) as client:
        first = client.receive(SOON_S)
        assert first is not None
        assert client.lost == first.message["seq"] - 1 > 0
    size = (listening.state / "journal.sqlite3").stat().st_size
    assert size < 3e6
    assert listening.stop() == 0
    listening.start()
    write_wav(listening.folder / "again.wav")
    newest = max(listening.status()["last"].values())
    assert newest > 2_300


def grow(disk: Path, ballast: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
    ballast.unlink()


def test_the_disk_fills_and_has_room_again(daemon: MakeDaemon, small_disk: Path) -> None:
    files = stress(1_000, 100)
    listening = daemon()
    listening.state = small_disk / "state"
    listening.start()
    ballast = fill_disk(small_disk, leave=60_000)
    drop(listening.folder, files)
    listening.wait_for(lambda: listening.status()["blocked"], "blocked by a full disk")
    assert listening.process.poll() is None
    grow(small_disk, ballast)
    ends = listening.ends(files, timeout=120 + files / 10)
    assert {end["state"] for end in ends} == {"done"}
    assert len({end["source"]["path"] for end in ends}) == files
    messages = listening.quiet(write_wav(listening.folder / "marker.wav"))
    check_stream(messages)
    assert len({m["run_id"] for m in messages}) == 1, "it was restarted"
    assert listening.stop() == 0


def test_a_full_disk_does_not_keep_it_from_stopping(daemon: MakeDaemon, small_disk: Path) -> None:
    listening = daemon()
    listening.state = small_disk / "state"
    listening.start()
    ballast = fill_disk(small_disk)
    drop(listening.folder, 200)
    listening.wait_for(lambda: listening.status()["blocked"], "blocked by a full disk")
    assert listening.stop() == 0
    grow(small_disk, ballast)
    listening.start()
    assert {end["state"] for end in listening.ends(200)} == {"done"}
    listening.kill()


def test_numbers_go_on_across_restarts(daemon: MakeDaemon) -> None:
    listening = daemon()
    for number in itertools.count():
        listening.start()
        write_wav(listening.folder / f"{number}.wav", seed=number)
        listening.ends(number + 1)
        assert listening.stop() == 0
        if number == 2:
            break
    listening.start()
    messages = listening.quiet(write_wav(listening.folder / "marker.wav"))
    check_stream(messages)
    assert len({m["run_id"] for m in messages}) == 4


def test_live_files_come_through_beside_a_long_one(daemon: MakeDaemon) -> None:
    listening = daemon("--workers", "1")
    long_wav(listening.folder / "long.wav", 10)
    listening.start()
    listening.hear(lambda r: len(of_type(r, "prediction")) >= 20)
    write_wav(listening.folder / "live.wav")
    (end,) = listening.ends(1)
    assert end["source"]["path"].endswith("live.wav")
    between = [
        m["window"]["index"]
        for m in of_type(listening.hear(lambda r: of_type(r, "file")), "prediction")
        if m["source"]["path"].endswith("long.wav")
    ]
    assert len(between) < 7200, "the long file was finished first"


def test_the_log_is_json_where_no_person_reads_it(daemon: MakeDaemon) -> None:
    listening = daemon().start()
    assert listening.stop() == 0
    lines = [json.loads(line) for line in listening.log.read_text().splitlines()]
    assert [line["level"] for line in lines] == ["info", "info"]
    assert "ready" in lines[0]["text"]
    assert "SIGTERM" in lines[1]["text"]


def test_a_folder_that_is_not_there_is_said_so(daemon: MakeDaemon) -> None:
    listening = daemon()
    os.rmdir(listening.folder)
    said = refused(listening)
    assert str(listening.folder) in said
    assert "--watch" in said
