"""Disks and mounts that fail or hang: no passing error ends a file, no folder holds up another."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from failing_disk import FailingDisk
from running import SOON_S, Daemon, of_type, stress
from sounds import noise, short_wav, wav_bytes, write_wav

MakeDaemon = Callable[..., Daemon]

MOST_THREADS = 25
PASSING = ("ESTALE", "ETIMEDOUT", "ENOTCONN", "EREMOTEIO", "EHOSTDOWN", "ENOSPC", "EAGAIN", "EBADF")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[FailingDisk]:
    with FailingDisk(tmp_path) as disk:
        yield disk


def config(base: Path, more: str = "", watch: str = "poll") -> str:
    file = base / "settings.toml"
    folder = f'[[folder]]\npath = "{base}/in"\nname = "in"\nsettle = 0.5\npoll = 0.2\n'
    file.write_text(f'workers = 1\n{folder}watch = "{watch}"\n{more}')
    return str(file)


def source(listening: Daemon, name: str = "in") -> dict[str, Any]:
    (found,) = [s for s in listening.status()["sources"] if s["name"] == name]
    return dict(found)


def threads(listening: Daemon) -> int:
    return len(os.listdir(f"/proc/{listening.process.pid}/task"))


def test_a_daemon_starts_beside_a_mount_that_hangs(
    daemon: MakeDaemon, disk: FailingDisk, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    disk.fail("stat", "hang")
    more = f'[[folder]]\npath = "{other}"\nname = "other"\nsettle = 0.5\n'
    listening = daemon("--config", config(tmp_path, more)).start()
    drop(listening, other, range(1), ends=1)
    listening.wait_for(lambda: source(listening)["state"] == "blocked", "blocked")
    disk.works()
    write_wav(disk.source / "late.wav")
    assert {end["state"] for end in listening.ends(2)} == {"done"}


def test_a_daemon_starts_beside_a_mount_that_has_lost_its_server(
    daemon: MakeDaemon, disk: FailingDisk, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    disk.fail("stat", "ENOTCONN")
    more = f'[[folder]]\npath = "{other}"\nname = "other"\nsettle = 0.5\n'
    listening = daemon("--config", config(tmp_path, more)).start()
    listening.wait_for(lambda: source(listening)["state"] == "lost", "lost")
    drop(listening, other, range(1), ends=1)
    write_wav(disk.source / "late.wav")
    disk.works()
    assert {end["state"] for end in listening.ends(2)} == {"done"}
    said = of_type(listening.hear(lambda r: of_type(r, "status")[2:]), "status")
    assert {m["status"] for m in said} == {"started", "source_lost", "source_back"}
    assert "Transport endpoint is not connected" in str([m["text"] for m in said])


def heartbeat(listening: Daemon) -> dict[str, Any]:
    """The next heartbeat."""
    with zmq.Context() as context, context.socket(zmq.SUB) as subscriber:
        subscriber.connect(listening.publish)
        subscriber.subscribe("tinyast.v1.heartbeat")
        assert subscriber.poll(int(SOON_S * 1_000))
        return dict(json.loads(subscriber.recv_multipart()[1]))


def by_name(ends: list[dict[str, Any]]) -> dict[str, tuple[str, int, str | None]]:
    """State, windows and error code of each file."""
    return {
        Path(end["source"]["path"]).name: (
            end["state"],
            end["windows"],
            end["error"] and end["error"]["code"],
        )
        for end in ends
    }


def test_errors_of_the_disk_are_retried_and_only_damage_that_stays_ends_a_file(
    daemon: MakeDaemon, disk: FailingDisk, tmp_path: Path
) -> None:
    count, sound = stress(3_000), short_wav()
    for number in range(count):
        (disk.source / f"f{number}.wav").write_bytes(sound)
    for number, error in enumerate(PASSING):
        (disk.source / f"passing-{number}.wav").write_bytes(sound)
        disk.fail("read" if number % 2 else "open", error, names=f"passing-{number}")
    (disk.source / "bad-header.wav").write_bytes(sound)
    long = wav_bytes(noise(60))
    (disk.source / "bad-sector.wav").write_bytes(long)
    sector = len(long) // 2
    disk.fail("read", "EIO", names="/bad-header")
    disk.fail("read", "EIO", names="/bad-sector", start=sector, stop=sector + 512)
    disk.fail("read", "EIO", names="/f")
    listening = daemon("--config", config(tmp_path)).start()

    total = count + len(PASSING) + 2
    listening.wait_for(lambda: listening.status()["backlog"]["files"] == total, "all found")
    assert source(listening)["files"]["retry"] > 0
    assert source(listening)["fault"]
    assert threads(listening) <= MOST_THREADS
    disk.works()
    disk.fail("read", "EIO", names="/bad-header")
    disk.fail("read", "EIO", names="/bad-sector", start=sector, stop=sector + 512)
    disk.fail("stat", "EIO", names="/entry")
    disk.fail("readdir", "EIO")
    (disk.source / "entry.wav").write_bytes(sound)
    listening.wait_for(lambda: "cannot list" in str(source(listening)["fault"]), "not listed")

    ends = by_name(listening.ends(total, timeout=60 + total / 5))
    assert ends.pop("bad-header.wav") == ("failed", 0, "unreadable")
    state, windows, code = ends.pop("bad-sector.wav")
    assert (state, code) == ("incomplete", "unreadable")
    assert 1 <= windows <= 6
    assert set(ends.values()) == {("done", 1, None)}
    assert threads(listening) <= MOST_THREADS

    disk.works()
    fixed = disk.source / "bad-header.wav"
    os.utime(fixed)  # it changed, so it is tried again
    more = by_name(listening.ends(total + 2, timeout=60 + total / 5)[-2:])
    assert more == {"bad-header.wav": ("done", 1, None), "entry.wav": ("done", 1, None)}
    listening.wait_for(lambda: source(listening)["fault"] is None, "without a fault")
    assert listening.stop() == 0


def test_other_inodes_make_no_new_version_and_other_content_does(
    daemon: MakeDaemon, disk: FailingDisk, tmp_path: Path
) -> None:
    paths = [write_wav(disk.source / f"{number}.wav", seed=number) for number in range(3)]
    listening = daemon("--config", config(tmp_path)).start()
    first = listening.ends(3)
    inodes = {path.name: path.stat().st_ino for path in disk.mount.iterdir()}
    assert listening.stop() == 0
    disk.detach()

    changed, before = paths[0], paths[0].stat()
    with changed.open("r+b") as out:
        out.seek(1_000)
        out.write(b"\x11\x22\x33\x44")
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))
    disk.attach("reversed")
    assert {path.name: path.stat().st_ino for path in disk.mount.iterdir()} != inodes
    listening.start()
    write_wav(disk.source / "marker.wav", seed=9)
    ends = listening.quiet(disk.mount / "marker.wav")
    again = [m for m in ends if m["type"] == "file"][len(first) :]
    assert sorted(by_name(again)) == [changed.name, "marker.wav"]


def test_what_is_written_behind_a_mount_is_found(
    daemon: MakeDaemon, disk: FailingDisk, tmp_path: Path
) -> None:
    listening = daemon("--config", config(tmp_path, watch="auto")).start()
    assert source(listening)["state"] == "polling"
    write_wav(disk.source / "a.wav")
    (end,) = listening.ends(1)
    assert end["state"] == "done"


def test_a_hung_mount_is_reported_and_holds_up_nothing_else(
    daemon: MakeDaemon, disk: FailingDisk, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    more = f'[[folder]]\npath = "{other}"\nname = "other"\nsettle = 0.5\n'
    for number in range(3):
        (disk.source / f"{number}.wav").write_bytes(wav_bytes(noise(40)))
    disk.fail("read", "hang", start=1_000_000)  # the only worker hangs, and the folder does not
    listening = daemon("--config", config(tmp_path, more)).start()
    listening.wait_for(lambda: source(listening)["state"] == "blocked", "blocked")
    drop(listening, other, range(3), ends=3)
    blocked = {"in": "blocked", "other": "watching"}
    listening.wait_for(lambda: states(heartbeat(listening)) == blocked, "said to be blocked")

    disk.works()
    listening.wait_for(lambda: source(listening)["state"] == "polling", "back")
    assert {end["state"] for end in listening.ends(6)} == {"done"}
    disk.fail("stat", "hang")  # now the folder's own thread hangs
    write_wav(disk.source / "late.wav")
    listening.wait_for(lambda: source(listening)["state"] == "blocked", "blocked")
    drop(listening, other, range(3, 6), ends=9)
    assert threads(listening) <= MOST_THREADS
    assert b"no progress" not in listening.log.read_bytes()
    told = listening.hear(lambda r: of_type(r, "status")[2:])
    said = [m["status"] for m in of_type(told, "status")]
    assert said[:3] == ["started", "source_lost", "source_back"]
    listening.send(signal.SIGTERM)
    listening.wait_for(lambda: b"does not stop" in listening.log.read_bytes(), "given up")
    # The kernel ends no process while FUSE owes it an answer; but no file is held any more.
    listening.wait_for(lambda: is_zombie(listening), "ended but for a thread")
    alone = tmp_path / "alone.toml"
    alone.write_text(more)
    first, listening.options = listening.process, ["--config", str(alone)]
    listening.start()
    drop(listening, other, range(6, 7), ends=10)
    assert listening.stop() == 0
    disk.works()
    assert first.wait(SOON_S) == 0


def is_zombie(listening: Daemon) -> bool:
    stat = Path(f"/proc/{listening.process.pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "Z"


def states(message: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["state"] for each in message["sources"]}


def drop(listening: Daemon, folder: Path, numbers: range, ends: int) -> None:
    """Drop a file for each number into a healthy folder; all of them end."""
    paths = [write_wav(folder / f"{number}.wav", seed=number) for number in numbers]
    found = [end["source"]["path"] for end in listening.ends(ends)]
    assert {str(path) for path in paths} <= set(found)
