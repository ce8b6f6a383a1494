"""Every way in which a file can arrive ends in exactly one end state."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from running import Daemon
from sounds import header, noise, short_wav, wav_bytes, write_wav

MakeDaemon = Callable[..., Daemon]


def hasty(base: Path) -> Daemon:
    """A daemon that gives a silent writer one second instead of ten."""
    config = base / "settings.toml"
    config.write_text(f'[[folder]]\npath = "{base}/in"\nname = "in"\nsettle = 1.0\n')
    return Daemon(base, "--config", str(config)).start()


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Daemon]:
    """One that a test may stop and start."""
    made = hasty(tmp_path)
    yield made
    made.clean_up()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    made = hasty(tmp_path_factory.mktemp("arrival"))
    yield made
    made.clean_up()


class Arrivals:
    """What a daemon of many tests says in one of them."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon, self.since = daemon, daemon.newest()
        self.folder, self.base = daemon.folder, daemon.base

    def ends(self, count: int) -> list[dict[str, Any]]:
        return self.daemon.ends(count, self.since)

    def quiet(self, marker: Path) -> list[dict[str, Any]]:
        return self.daemon.quiet(marker, self.since)


@pytest.fixture
def listening(shared: Daemon) -> Iterator[Arrivals]:
    """The shared daemon with an empty folder."""
    yield Arrivals(shared)
    for path in (*shared.folder.iterdir(), shared.base / "outside.wav"):
        path.unlink(missing_ok=True)


def ends_after_marker(listening: Daemon | Arrivals) -> list[dict[str, Any]]:
    """The end states of all files but the marker, which is dropped now and waited for."""
    marker = listening.folder / "marker.wav"
    whole = listening.base / "marker"
    whole.write_bytes(short_wav(99))
    os.rename(whole, marker)
    messages = listening.quiet(marker)
    return [
        m for m in messages if m["type"] == "file" and not m["source"]["path"].endswith(marker.name)
    ]


def write_in_steps(path: Path, steps: list[tuple[bytes, float]], keep_open: bool = True) -> None:
    """Write from another process, sleeping after each step: a slow program, not a wait of ours."""
    script = textwrap.dedent(
        """
        import sys, time
        path, keep_open = sys.argv[1], sys.argv[2] == "True"
        out = open(path, "wb")
        for line in sys.stdin:
            data, _, pause = line.partition(" ")
            out.write(bytes.fromhex(data))
            out.flush()
            if not keep_open:
                out.close()
                out = None
            time.sleep(float(pause))
            if not keep_open:
                out = open(path, "ab")
        out.close()
        """
    )
    lines = "".join(f"{data.hex()} {pause}\n" for data, pause in steps)
    subprocess.run(
        [sys.executable, "-c", script, str(path), str(keep_open)],
        input=lines.encode(),
        check=True,
    )


def done(end: dict[str, Any], windows: int = 1) -> bool:
    return bool(end["state"] == "done" and end["windows"] == windows and end["error"] is None)


def test_copied_while_it_runs(listening: Arrivals) -> None:
    write_wav(listening.folder / "a.wav")
    (end,) = listening.ends(1)
    assert done(end)
    assert end["duration_s"] == 5.0
    assert end["sample_rate"] == 16_000
    assert ends_after_marker(listening) == [end]


def test_written_slowly_over_five_seconds(listening: Arrivals) -> None:
    whole = wav_bytes(noise(5))
    step = len(whole) // 10 + 1
    parts = [(whole[i : i + step], 0.5) for i in range(0, len(whole), step)]
    write_in_steps(listening.folder / "slow.wav", parts)
    (end,) = ends_after_marker(listening)
    assert done(end)
    assert end["duration_s"] == 5.0


def test_written_in_two_bursts_with_the_file_closed_between(
    daemon: MakeDaemon, tmp_path: Path
) -> None:
    listening = daemon().start()  # settles after ten seconds: the pause is shorter
    whole = wav_bytes(noise(5))
    half = len(whole) // 2
    write_in_steps(listening.folder / "two.wav", [(whole[:half], 2), (whole[half:], 0)], False)
    (end,) = ends_after_marker(listening)
    assert done(end)
    assert end["duration_s"] == 5.0


def test_header_alone_then_the_sound(daemon: MakeDaemon) -> None:
    listening = daemon().start()
    whole = wav_bytes(noise(5))
    write_in_steps(listening.folder / "h.wav", [(whole[:44], 0.5), (whole[44:], 0)], False)
    (end,) = ends_after_marker(listening)
    assert done(end)


def test_empty_first_then_written(daemon: MakeDaemon) -> None:
    listening = daemon().start()
    write_in_steps(listening.folder / "e.wav", [(b"", 0.5), (wav_bytes(noise(5)), 0)], False)
    (end,) = ends_after_marker(listening)
    assert done(end)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_streamed_by_ffmpeg_with_a_placeholder_header(listening: Arrivals, tmp_path: Path) -> None:
    source = write_wav(tmp_path / "source.wav", 7.0)
    with (listening.folder / "stream.wav").open("wb") as out:
        subprocess.run(
            ["ffmpeg", "-v", "error", "-re", "-i", str(source), "-f", "wav", "pipe:1"],
            stdout=out,
            check=True,
            stdin=subprocess.DEVNULL,
        )
    (end,) = ends_after_marker(listening)
    assert done(end, windows=2)
    assert end["duration_s"] == 7.0


@pytest.mark.skipif(shutil.which("arecord") is None, reason="arecord is not installed")
def test_recorded_by_arecord(listening: Arrivals) -> None:
    wav = str(listening.folder / "mic.wav")
    command = ["arecord", "-q", "-D", "null", "-d", "5", "-f", "S16_LE", "-r", "16000", "-t", "wav"]
    subprocess.run([*command, wav], check=True)
    with (listening.folder / "pipe.wav").open("wb") as out:
        subprocess.run(command, stdout=out, check=True)
    ends = ends_after_marker(listening)
    assert sorted(Path(end["source"]["path"]).name for end in ends) == ["mic.wav", "pipe.wav"]
    assert all(done(end, windows=end["windows"]) and end["windows"] >= 1 for end in ends)


def test_streamed_header_of_zero(listening: Arrivals) -> None:
    samples = wav_bytes(noise(5))[44:]
    write_in_steps(
        listening.folder / "zero.wav",
        [(header(0), 0.3), (samples[:80_000], 0.3), (samples[80_000:], 0)],
    )
    (end,) = ends_after_marker(listening)
    assert done(end)
    assert end["duration_s"] == 5.0


def test_preallocated_and_filled(listening: Arrivals) -> None:
    whole = wav_bytes(noise(5))
    path = listening.folder / "pre.wav"
    script = textwrap.dedent(
        """
        import os, sys, time
        whole = sys.stdin.buffer.read()
        fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
        os.posix_fallocate(fd, 0, len(whole))
        os.pwrite(fd, whole[:44], 0)
        time.sleep(0.5)
        os.pwrite(fd, whole[44:], 44)
        time.sleep(0.3)
        os.close(fd)
        """
    )
    subprocess.run([sys.executable, "-c", script, str(path)], input=whole, check=True)
    (end,) = ends_after_marker(listening)
    assert done(end)
    (level,) = {
        m["rms_dbfs"]
        for m in listening.quiet(listening.folder / "marker.wav")
        if m["type"] == "prediction" and m["source"]["path"] == str(path)
    }
    assert level > -60, "the zeros of the preallocation were read instead of the sound"


def test_renamed_in(listening: Arrivals) -> None:
    part = write_wav(listening.folder / "a.wav.part")
    os.rename(part, listening.folder / "a.wav")
    (end,) = ends_after_marker(listening)
    assert done(end)


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A directory on another file system than the tests' own."""
    shm = Path("/dev/shm")
    if not os.access(shm, os.W_OK) or shm.stat().st_dev == Path("/tmp").stat().st_dev:
        pytest.skip("there is no second file system at /dev/shm")
    with tempfile.TemporaryDirectory(dir=shm) as folder:
        yield Path(folder)


def test_moved_in_from_another_file_system(listening: Arrivals, elsewhere: Path) -> None:
    shutil.move(write_wav(elsewhere / "far.wav"), listening.folder / "far.wav")
    (end,) = ends_after_marker(listening)
    assert done(end)


def test_let_go_of_after_the_close_was_told(daemon: MakeDaemon, tmp_path: Path) -> None:
    """As when the system pauses within a close: a second writer, by an unwatched name."""
    config = tmp_path / "settings.toml"
    config.write_text(f'[[folder]]\npath = "{tmp_path}/in"\nname = "in"\nsettle = 300.0\n')
    listening = daemon("--config", str(config)).start()
    outside, path = listening.base / "outside.wav", listening.folder / "a.wav"
    outside.touch()
    os.link(outside, path)
    with outside.open("ab"):
        with path.open("wb") as writer:
            writer.write(short_wav(1))
        write_wav(listening.folder / "after.wav")
        (after,) = listening.ends(1)  # so it was looked at before, when somebody had it open
    ends = listening.ends(2)
    assert [Path(end["source"]["path"]).name for end in ends] == ["after.wav", "a.wav"]
    assert ends[0] == after
    assert done(ends[1])


def test_hard_linked_in(listening: Arrivals) -> None:
    outside = write_wav(listening.base / "outside.wav")
    os.link(outside, listening.folder / "linked.wav")
    (end,) = ends_after_marker(listening)
    assert done(end)


def test_copied_while_the_daemon_is_stopped(alone: Daemon) -> None:
    assert alone.stop() == 0
    write_wav(alone.folder / "meanwhile.wav")
    alone.start()
    (end,) = alone.ends(1)
    assert done(end)
    assert ends_after_marker(alone) == [end]


def test_replaced_under_the_same_name(listening: Arrivals) -> None:
    path = write_wav(listening.folder / "same.wav", seed=1)
    (first,) = listening.ends(1)
    new = write_wav(listening.base / "new", seed=2)
    os.rename(new, path)
    _, second = listening.ends(2)
    assert done(first)
    assert done(second)
    assert first["file_id"] != second["file_id"]
    assert len(ends_after_marker(listening)) == 2


def test_written_again_in_place(listening: Arrivals) -> None:
    path = write_wav(listening.folder / "same.wav", seed=1)
    listening.ends(1)
    write_wav(path, seconds=6, seed=2)
    first, second = listening.ends(2)
    assert first["file_id"] != second["file_id"]
    assert second["windows"] == 2
    assert len(ends_after_marker(listening)) == 2


def test_deleted_before_it_is_read(listening: Arrivals) -> None:
    whole = short_wav()
    path = listening.folder / "brief.wav"
    for _ in range(20):
        with path.open("wb") as out:  # held open, so that it cannot be taken yet
            out.write(whole)
            path.unlink()
    assert ends_after_marker(listening) == []


def test_linked_or_chmodded_after_it_was_done(alone: Daemon) -> None:
    path = write_wav(alone.folder / "a.wav")
    (end,) = alone.ends(1)
    os.link(path, alone.base / "outside.wav")
    path.chmod(0o640)
    # A restart scans, and sees the changed ctime whether or not an event told of it.
    assert alone.stop() == 0
    alone.start()
    assert ends_after_marker(alone) == [end]


def test_another_file_with_the_same_inode_size_and_time(alone: Daemon) -> None:
    path = write_wav(alone.folder / "a.wav", seed=1)
    (first,) = alone.ends(1)
    before = path.stat()
    alone.stop()
    with path.open("r+b") as out:
        out.seek(1000)
        out.write(b"\x11\x22\x33\x44")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (
        before.st_ino,
        before.st_size,
        before.st_mtime_ns,
    )
    alone.start()
    _, second = alone.ends(2)
    assert second["file_id"] != first["file_id"]


def test_cut_short_and_left(listening: Arrivals) -> None:
    whole = wav_bytes(noise(12))
    (listening.folder / "cut.wav").write_bytes(whole[: len(whole) // 2])
    (end,) = listening.ends(1)
    assert end["state"] == "incomplete"
    assert end["windows"] == 2
    assert end["error"]["code"] == "cut_short"
    assert ends_after_marker(listening) == [end]


def test_cut_short_and_completed_later(listening: Arrivals) -> None:
    whole = wav_bytes(noise(5))
    path = listening.folder / "late.wav"
    path.write_bytes(whole[:50_000])
    (first,) = listening.ends(1)
    assert first["state"] == "incomplete"
    with path.open("ab") as out:
        out.write(whole[50_000:])
    _, second = listening.ends(2)
    assert done(second)


def test_left_alone_by_default_and_moved_or_deleted_when_told(
    daemon: MakeDaemon, tmp_path: Path
) -> None:
    def settings(after: str) -> str:
        file = tmp_path / f"{after}.toml"
        file.write_text(
            f'[[folder]]\npath = "{tmp_path}/in"\nname = "in"\nsettle = 0.3\nafter = "{after}"\n'
        )
        return str(file)

    listening = daemon("--config", settings("keep")).start()
    good = write_wav(listening.folder / "good.wav")
    bad = listening.folder / "bad.wav"
    bad.write_bytes(b"no audio at all")
    listening.ends(2)
    assert listening.stop() == 0
    assert good.exists()
    assert bad.exists()

    listening.options = ["--config", settings("move")]
    listening.start()
    # A file has a private name for a moment, before it is put into its place.
    done, failed = listening.folder / "done", listening.folder / "failed"
    listening.wait_for(lambda: (done / "good.wav").exists(), "good.wav moved")
    listening.wait_for(lambda: (failed / "bad.wav").exists(), "bad.wav moved")
    assert not good.exists()
    assert not bad.exists()
    write_wav(good, seed=3)
    listening.wait_for(lambda: (done / "good-1.wav").exists(), "moved beside its namesake")
    assert not good.exists()
    assert listening.stop() == 0

    listening.options = ["--config", settings("delete")]
    listening.start()
    write_wav(good, seed=4)
    bad.write_bytes(b"still no audio")
    listening.wait_for(lambda: not good.exists(), "deleted")
    ends = listening.ends(5)
    assert [end["state"] for end in ends].count("failed") == 2
    assert bad.exists(), "a file that failed is kept for a person to look at"


def test_reprocess_forgets_and_classifies_again(alone: Daemon) -> None:
    path = write_wav(alone.folder / "a.wav")
    (first,) = alone.ends(1)
    command = [sys.executable, "-m", "daemon", "reprocess", str(path)]
    where = ["--watch", str(alone.folder), "--state", str(alone.state)]
    subprocess.run([*command, *where], check=True)
    _, second = alone.ends(2)
    assert second["file_id"] != first["file_id"]

    assert alone.stop() == 0
    subprocess.run([*command, *where], check=True)
    alone.start()
    assert len({end["file_id"] for end in alone.ends(3)}) == 3

    outside = subprocess.run(
        [*command[:-1], str(alone.base / "daemon.log"), *where], capture_output=True, text=True
    )
    assert outside.returncode == 2
    assert str(alone.folder) in outside.stderr
