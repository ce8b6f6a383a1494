"""What goes wrong in watched folders, caused for real."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from disks import mounted
from running import Daemon, of_type
from sounds import short_wav, write_wav

from daemon.host.mounts import MountsBeneath, is_remote
from daemon.sources.folder.readiness import Evidence, Faulty, look

MakeDaemon = Callable[..., Daemon]


def config(base: Path, **values: object) -> str:
    """A settings file for the folder `in`, with these values."""
    file = base / "settings.toml"
    settings = {"path": f"{base}/in", "name": "in", "settle": 1.0, **values}
    lines = [
        f"{key} = {str(value).lower() if isinstance(value, bool) else repr(value)}"
        for key, value in settings.items()
    ]
    file.write_text("\n".join(["[[folder]]", *lines]) + "\n")
    return str(file)


def statuses(listening: Daemon, what: str, count: int = 1) -> list[str]:
    """Texts of the first `count` statuses of a kind."""
    heard = listening.hear(
        lambda r: [m["status"] for m in of_type(r, "status")].count(what) >= count
    )
    return [m["text"] for m in of_type(heard, "status") if m["status"] == what]


def test_links_pipes_devices_sockets_and_temporary_names_are_ignored_and_counted(
    daemon: MakeDaemon, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    real = write_wav(tmp_path / "real.wav")
    (folder / "link.wav").symlink_to(real)
    os.mkfifo(folder / "pipe.wav")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "socket.wav"))
        (folder / "directory.wav").mkdir()
        for name in (".hidden.wav", "a.wav.part", "b.wav~", "c.tmp", "notes.txt"):
            shutil.copy(real, folder / name)
        listening = daemon().start()
        write_wav(folder / "marker.wav")
        messages = listening.quiet(folder / "marker.wav")
    files = [m["source"]["path"] for m in messages if m["type"] == "file"]
    assert files == [str(folder / "marker.wav")]
    (source,) = listening.status()["sources"]
    assert source["ignored"] == {
        "symbolic link": 1,
        "FIFO": 1,
        "socket": 1,
        "directory": 1,
        "hidden": 1,
        "temporary": 3,
        "suffix": 1,
    }


def test_a_folder_named_by_a_link_is_watched(daemon: MakeDaemon, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "in").symlink_to(tmp_path / "real")
    listening = daemon().start()
    write_wav(tmp_path / "in" / "a.wav")
    assert listening.ends(1)[0]["source"]["path"] == str(tmp_path / "real" / "a.wav")


def test_a_device_is_ignored(daemon: MakeDaemon, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    try:
        os.mknod(tmp_path / "in" / "zero.wav", 0o020644, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("making a device node needs root")
    listening = daemon().start()
    listening.quiet(write_wav(listening.folder / "marker.wav"))
    assert listening.status()["sources"][0]["ignored"] == {"device": 1}


def test_a_directory_moved_in_is_scanned(daemon: MakeDaemon, tmp_path: Path) -> None:
    listening = daemon("--config", config(tmp_path, recursive=True)).start()
    outside = tmp_path / "outside" / "deep"
    outside.mkdir(parents=True)
    for number in range(5):
        write_wav(outside / f"{number}.wav", seed=number)
    os.rename(tmp_path / "outside", listening.folder / "moved")
    ends = listening.ends(5)
    assert {end["state"] for end in ends} == {"done"}
    # And it is watched from then on.
    write_wav(listening.folder / "moved" / "deep" / "later.wav")
    assert len(listening.ends(6)) == 6


def test_a_path_too_long_for_the_system_is_left_out(daemon: MakeDaemon, tmp_path: Path) -> None:
    top = tmp_path / "in" / "deep"
    top.mkdir(parents=True)
    folder = os.open(top, os.O_RDONLY)
    for _ in range(20):  # of 250 bytes, in a path of at most 4,096
        os.mkdir("d" * 250, dir_fd=folder)
        above, folder = folder, os.open("d" * 250, os.O_RDONLY, dir_fd=folder)
        os.close(above)
    os.close(folder)
    listening = daemon("--config", config(tmp_path, recursive=True)).start()
    write_wav(listening.folder / "deep" / "a.wav")
    assert listening.ends(1)[0]["state"] == "done"
    (source,) = listening.status()["sources"]
    assert source["degraded"] is None
    assert source["fault"] is None
    assert source["ignored"] == {"unreadable directory": 1}
    assert max(len(line["text"]) for line in listening.logged()) < 1_000
    shutil.rmtree(top)


def test_subdirectories_are_left_alone_unless_recursive(daemon: MakeDaemon, tmp_path: Path) -> None:
    listening = daemon("--config", config(tmp_path)).start()
    (listening.folder / "sub").mkdir()
    write_wav(listening.folder / "sub" / "a.wav")
    marker = write_wav(listening.folder / "marker.wav")
    assert [m["source"]["path"] for m in listening.quiet(marker) if m["type"] == "file"] == [
        str(marker)
    ]


def test_root_deleted_and_made_again(daemon: MakeDaemon, tmp_path: Path) -> None:
    listening = daemon("--config", config(tmp_path)).start()
    write_wav(listening.folder / "before.wav")
    listening.ends(1)
    shutil.rmtree(listening.folder)
    assert str(listening.folder) in statuses(listening, "source_lost")[0]
    assert listening.status()["sources"][0]["state"] == "lost"
    listening.folder.mkdir()
    write_wav(listening.folder / "after.wav")
    statuses(listening, "source_back")
    assert len(listening.ends(2)) == 2
    write_wav(listening.folder / "later.wav")
    assert len(listening.ends(3)) == 3


def test_root_renamed_away_and_another_put_in_its_place(daemon: MakeDaemon, tmp_path: Path) -> None:
    listening = daemon("--config", config(tmp_path)).start()
    away = tmp_path / "away"
    os.rename(listening.folder, away)
    statuses(listening, "source_lost")
    write_wav(away / "not-ours.wav")
    listening.folder.mkdir()
    statuses(listening, "source_back")
    marker = write_wav(listening.folder / "ours.wav")
    paths = [m["source"]["path"] for m in listening.quiet(marker) if m["type"] == "file"]
    assert paths == [str(marker)]


def test_what_takes_the_place_of_a_root_and_is_no_folder_is_said(
    daemon: MakeDaemon, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write_wav(elsewhere / "not-ours.wav")
    listening = daemon("--config", config(tmp_path)).start()
    away = tmp_path / "away"
    os.rename(listening.folder, away)
    listening.folder.symlink_to(elsewhere)
    assert "symbolic link" in statuses(listening, "source_lost")[0]
    listening.folder.unlink()
    listening.folder.write_bytes(b"a file")
    (said,) = listening.status()["sources"]
    assert said["state"] == "lost"
    listening.folder.unlink()
    os.rename(away, listening.folder)
    statuses(listening, "source_back")
    marker = write_wav(listening.folder / "ours.wav")
    paths = [m["source"]["path"] for m in listening.quiet(marker) if m["type"] == "file"]
    assert paths == [str(marker)]


def limited(listening: Daemon, limit: str, count: int) -> None:
    """Start the daemon in a user namespace in which an inotify limit is `count`."""
    inner = listening.command
    script = f'echo {count} > /proc/sys/user/{limit} && exec "$@"'

    def command() -> list[str]:
        return ["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh", *inner()]

    probe = subprocess.run(["unshare", "--user", "--map-root-user", "true"], capture_output=True)
    if probe.returncode:
        pytest.skip(f"no user namespaces here: {probe.stderr.decode().strip()}")
    listening.command = command  # type: ignore[method-assign]
    listening.start()


def test_too_few_inotify_watches_degrade_to_scans(daemon: MakeDaemon, tmp_path: Path) -> None:
    listening = daemon("--config", config(tmp_path, recursive=True, poll=0.2))
    for number in range(10):
        (listening.folder / str(number)).mkdir()
    limited(listening, "max_inotify_watches", 4)
    assert "watch limit" in statuses(listening, "source_degraded")[0]
    for number in range(10):
        write_wav(listening.folder / str(number) / "a.wav", seed=number)
    assert {end["state"] for end in listening.ends(10)} == {"done"}


def test_no_inotify_instance_degrades_to_scans(daemon: MakeDaemon, tmp_path: Path) -> None:
    listening = daemon("--config", config(tmp_path, poll=0.2))
    limited(listening, "max_inotify_instances", 0)
    assert "instance limit" in statuses(listening, "source_degraded")[0]
    assert listening.status()["sources"][0]["state"] == "polling"
    write_wav(listening.folder / "a.wav")
    assert listening.ends(1)[0]["state"] == "done"


def test_polling_finds_files_without_any_event(daemon: MakeDaemon, tmp_path: Path) -> None:
    listening = daemon("--config", config(tmp_path, watch="poll", poll=0.2)).start()
    assert listening.status()["sources"][0]["state"] == "polling"
    path = write_wav(listening.folder / "a.wav", seed=1)
    listening.ends(1)
    write_wav(path, seconds=6)
    assert len(listening.ends(2)) == 2


def test_file_systems_that_send_no_events_are_told_by_their_mount() -> None:
    mounts = b"".join(
        b"%d 1 0:1 / %s rw,relatime shared:1 - %s source rw\n" % (number, point, kind)
        for number, (point, kind) in enumerate(
            [
                (b"/", b"ext4"),
                (b"/mnt/nas", b"nfs4"),
                (b"/mnt/a\\040b", b"fuse.sshfs"),
                (b"/mnt/dav", b"fuse"),
                (b"/media/card", b"fuseblk"),
                (b"/media/sf_host", b"vboxsf"),
            ]
        )
    )
    assert is_remote(b"/mnt/nas/in", mounts)
    assert is_remote(b"/mnt/nas", mounts)
    assert is_remote(b"/mnt/a b/in", mounts)
    assert not is_remote(b"/mnt/nasty", mounts)
    assert not is_remote(b"/home/in", mounts)
    assert is_remote(b"/mnt/dav/in", mounts)
    assert is_remote(b"/media/sf_host", mounts)
    assert not is_remote(b"/media/card", mounts)


def test_a_file_system_mounted_beneath_the_folder_is_watched(
    daemon: MakeDaemon, tmp_path: Path
) -> None:
    """As a memory card is, in a folder that its directory was made in before."""
    listening = daemon("--config", config(tmp_path, recursive=True, rescan=3600.0))
    listening.start()
    card = listening.folder / "my card"
    for number in (1, 2):
        with mounted(card, "size=1m"):
            (card / "day").mkdir()
            write_wav(card / "day" / "a.wav", seed=number)
            listening.ends(2 * number - 1)
            write_wav(card / "day" / "b.wav", seed=number + 10)
            assert {end["state"] for end in listening.ends(2 * number)} == {"done"}
        card.rmdir()
    assert listening.status()["sources"][0]["degraded"] is None
    assert not [line["text"] for line in listening.logged() if line["level"] == "error"]


def test_mounts_that_come_and_go_are_noticed(tmp_path: Path) -> None:
    mounts = MountsBeneath(os.fsencode(tmp_path))
    assert mounts.changed() == []
    with mounted(tmp_path / "a\nb", "size=1m") as disk:
        places = [os.fsencode(disk)]
        assert mounts.changed() == places
        with mounted(tmp_path.parent / f"{tmp_path.name}-beside", "size=1m"):
            assert mounts.changed() == []
        assert mounts.changed(unmounted=True) == places
    assert mounts.changed() == places
    assert mounts.changed() == []
    assert mounts.remote is None
    mounts.close()
    mounts.close()


def test_names_that_are_not_text(daemon: MakeDaemon) -> None:
    listening = daemon().start()
    whole = short_wav()
    names = [b"caf\xe9.wav", b"new\nline.wav", b"esc\x1b[31m.wav", "käfer 🐞.wav".encode()]
    for name in names:
        with open(os.fsencode(listening.folder) + b"/" + name, "wb") as out:
            out.write(whole)
    broken = b"bro\nken\xff.wav"
    with open(os.fsencode(listening.folder) + b"/" + broken, "wb") as out:
        out.write(b"this is not audio")
    ends = listening.ends(5)

    def path(end: dict[str, dict[str, str]]) -> bytes:
        source = end["source"]
        if source.get("path_encoding") == "percent":
            return unquote_to_bytes(source["path"])
        return source["path"].encode()

    base = os.fsencode(listening.folder) + b"/"
    assert {path(end).removeprefix(base) for end in ends} == {*names, broken}
    assert listening.stop() == 0
    for line in listening.log.read_bytes().splitlines():
        assert line.startswith(b"{"), "a file name broke out of its log line"
        assert b"\x1b" not in line


def test_an_unreadable_file_is_retried_when_the_machine_was_at_fault(
    daemon: MakeDaemon, tmp_path: Path
) -> None:
    """EMFILE is no fault of the file: with descriptors exhausted no file may end as failed."""
    listening = daemon("--config", config(tmp_path)).start()
    limit = len(os.listdir(f"/proc/{listening.process.pid}/fd"))
    _limit_descriptors(listening.process.pid, limit)
    write_wav(listening.folder / "a.wav")
    listening.wait_for(lambda: b"cannot" in listening.log.read_bytes(), "in want of descriptors")
    _limit_descriptors(listening.process.pid, 1024)
    assert listening.ends(1)[0]["state"] == "done"


def _limit_descriptors(pid: int, soft: int) -> None:
    import resource

    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def test_a_file_that_may_not_even_be_asked_about_is_tried_again(tmp_path: Path) -> None:
    name = b"n" * 300  # longer than file systems take
    found = look(os.fsencode(tmp_path) + b"/" + name, Evidence(closed=True))
    assert isinstance(found, Faulty)
    assert found.text == "File name too long"
