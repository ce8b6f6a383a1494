"""What a watch reports of a folder, on real files."""

from __future__ import annotations

import ctypes
import os
import queue
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from watchdog.observers.inotify_move_event_grouper import InotifyMoveEventGrouper

from daemon.sources.folder.changes import Change
from daemon.sources.folder.inotify import Watch

SOON_S = 60.0


class Heard:
    """A listener that keeps its arguments."""

    def __init__(self) -> None:
        self.changes: queue.Queue[tuple[bytes, Change]] = queue.Queue()
        self.scans: list[str] = []

    def notice(self, path: bytes, change: Change) -> None:
        self.changes.put((path, change))

    def scan(self, reason: str) -> None:
        self.scans.append(reason)

    def next_of(self, path: Path, timeout: float = SOON_S) -> Change:
        """The next change of `path`; others are skipped."""
        while (found := self.changes.get(timeout=timeout))[0] != os.fsencode(path):
            pass
        return found[1]

    def hears_of(self, path: Path) -> bool:
        """Whether a file that is made at `path` now is reported: its directory may be unwatched."""
        path.write_bytes(b"x")
        try:
            return bool(self.next_of(path, 1))
        except queue.Empty:
            return False


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def watched(tmp_path: Path, heard: Heard) -> Iterator[Callable[..., Watch]]:
    """Make watches of `tmp_path`."""
    made: list[Watch] = []

    def make(folder: Path = tmp_path, recursive: bool = False) -> Watch:
        made.append(Watch(os.fsencode(folder), recursive, heard, lambda reason: None))
        return made[-1]

    yield make
    for watch in made:
        watch.close()


def test_a_handler_that_raises_leaves_the_observer_alive(tmp_path: Path) -> None:
    class Failing(Heard):
        failed = False

        def notice(self, path: bytes, change: Change) -> None:
            if not self.failed:
                self.failed = True
                raise RuntimeError("a bug in the handler")
            super().notice(path, change)

    heard = Failing()
    watch = Watch(os.fsencode(tmp_path), False, heard, lambda reason: None)
    try:
        (tmp_path / "a.wav").write_bytes(b"x")
        heard.next_of(tmp_path / "a.wav")
        assert heard.failed
        (tmp_path / "b.wav").write_bytes(b"x")
        heard.next_of(tmp_path / "b.wav")
        assert watch.is_alive()
        assert heard.scans
    finally:
        watch.close()


def test_a_file_that_is_just_made_is_told_from_one_that_is_there(
    tmp_path: Path, heard: Heard, watched: Callable[..., Watch]
) -> None:
    watched()
    with (tmp_path / "a.wav").open("wb"):
        assert heard.next_of(tmp_path / "a.wav") is Change.MADE
    assert heard.next_of(tmp_path / "a.wav") is Change.CLOSED
    os.rename(tmp_path / "a.wav", tmp_path / "b.wav")
    assert heard.next_of(tmp_path / "b.wav") is Change.CLOSED
    (tmp_path / "b.wav").chmod(0o600)
    assert heard.next_of(tmp_path / "b.wav") is Change.OTHER


def test_a_writer_is_known_until_it_closes_the_file(
    tmp_path: Path, heard: Heard, watched: Callable[..., Watch]
) -> None:
    watch, path, final = watched(), tmp_path / "a.wav.part", tmp_path / "a.wav"
    outside = tmp_path / "outside"
    outside.write_bytes(b"x")

    def written(which: Path, marker: str) -> bool:
        """Whether a writer is known once all events so far have been handled."""
        (tmp_path / marker).mkdir()
        (tmp_path / marker).rename(tmp_path / f"{marker}.wav")
        (tmp_path / f"{marker}-file").touch()
        heard.next_of(tmp_path / f"{marker}-file")
        return watch.is_written(os.fsencode(which))

    with path.open("wb") as writer:
        assert written(path, "made"), "open(2) made it"
        writer.write(b"x")
        writer.flush()
        assert written(path, "modified")
        with path.open("rb") as reader:
            reader.read()
        assert written(path, "read"), "a reader that closes it is not the writer"
        os.rename(path, final)
        assert written(final, "renamed"), "the writer goes with the file"
        assert not watch.is_written(os.fsencode(path))
    assert not written(final, "closed")
    with final.open("ab"):
        assert not written(final, "appending"), "nothing was written yet"
    with final.open("wb") as writer:
        assert written(final, "truncated")
        final.unlink()
        assert not written(final, "deleted")
    os.link(outside, final)
    with final.open("rb"):
        assert not written(final, "linked"), "a hard link has no writer"


def test_a_file_that_changed_without_being_opened_is_only_presumed_to_have_a_writer(
    tmp_path: Path, heard: Heard, watched: Callable[..., Watch]
) -> None:
    cut, touched = tmp_path / "cut.wav", tmp_path / "touched.wav"
    for path in (cut, touched):
        path.write_bytes(b"xx")
    watch = watched()
    os.truncate(cut, 1)
    libc = ctypes.CDLL(None)
    omit_and_now = (ctypes.c_long * 4)(0, (1 << 30) - 2, 0, (1 << 30) - 1)  # utimensat(2)
    assert libc.utimensat(-100, os.fsencode(touched), omit_and_now, 0) == 0
    (tmp_path / "marker").touch()
    heard.next_of(tmp_path / "marker")
    for name in map(os.fsencode, (cut, touched)):
        assert watch.is_written(name)
        assert not watch.is_written(name, presume=False)
    with cut.open("ab"):
        pass
    while heard.next_of(cut) is not Change.CLOSED:
        pass
    assert not watch.is_written(os.fsencode(cut))


def test_a_file_moved_out_holds_no_event_back(
    tmp_path: Path, heard: Heard, watched: Callable[..., Watch], monkeypatch: pytest.MonkeyPatch
) -> None:
    # watchdog pairs moves for half a second, and delivers no event until then; here for longer.
    monkeypatch.setattr(InotifyMoveEventGrouper, "delay", 2 * SOON_S)
    folder = tmp_path / "in"
    folder.mkdir()
    watched(folder)
    (folder / "old.wav").write_bytes(b"x")
    while heard.next_of(folder / "old.wav") is not Change.CLOSED:
        pass
    os.rename(folder / "old.wav", tmp_path / "old.wav")
    (folder / "new.wav").write_bytes(b"x")
    assert heard.changes.get(timeout=SOON_S) == (os.fsencode(folder / "new.wav"), Change.MADE)


def test_a_directory_that_is_moved_takes_its_files_along(
    tmp_path: Path, heard: Heard, watched: Callable[..., Watch]
) -> None:
    (tmp_path / "before").mkdir()
    watch = watched(recursive=True)

    for directory in (tmp_path / "before", tmp_path / "behind", tmp_path / "beyond"):
        if not directory.exists():
            (tmp_path / "before").rename(directory)
            (tmp_path / "before").mkdir()
        assert any(heard.hears_of(directory / f"{number}.wav") for number in range(100))
    shutil.rmtree(tmp_path / "behind")
    beyond = tmp_path / "beyond"
    assert any(heard.hears_of(beyond / f"{number}.wav") for number in range(100, 200))
    assert watch.is_alive()


def test_a_directory_that_is_moved_out_is_watched_no_more(
    tmp_path: Path, heard: Heard, watched: Callable[..., Watch]
) -> None:
    folder, night = tmp_path / "in", tmp_path / "in" / "night"
    folder.mkdir()
    watch = watched(folder, recursive=True)
    before = watches()
    for number in range(3):
        (night / "deep").mkdir(parents=True)
        assert any(heard.hears_of(night / "deep" / f"{n}.wav") for n in range(100))
        assert watches() == before + 2
        recorded = os.fsencode(night / "deep" / "recorded.wav")
        with open(recorded, "wb"):
            heard.next_of(night / "deep" / "recorded.wav")
            assert watch.is_written(recorded)
            night.rename(tmp_path / f"out{number}")
            assert heard.hears_of(folder / f"{number}.wav")
        assert watches() == before
        assert not watch.is_written(recorded)
    assert watch.is_alive()


def watches() -> int:
    """How many watches this process has."""
    infos = [path.read_text() for path in Path("/proc/self/fdinfo").iterdir() if path.exists()]
    return sum(info.count("inotify wd:") for info in infos)


def test_directories_that_are_exchanged_stay_watched(
    tmp_path: Path, heard: Heard, watched: Callable[..., Watch]
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one / "deep", other):
        folder.mkdir(parents=True)
    watched(recursive=True)
    libc = ctypes.CDLL(None, use_errno=True)
    at_cwd, exchange = -100, 2
    paths = (at_cwd, bytes(one), at_cwd, bytes(other))
    if libc.renameat2(*paths, exchange):
        pytest.skip(f"cannot exchange directories: {os.strerror(ctypes.get_errno())}")
    for folder in (one, other, other / "deep"):
        assert any(heard.hears_of(folder / f"{number}.wav") for number in range(100))


def test_directories_that_take_each_others_places(
    tmp_path: Path, heard: Heard, watched: Callable[..., Watch]
) -> None:
    folder, one, other = tmp_path / "in" / "sub", tmp_path / "one", tmp_path / "other"
    folder.mkdir(parents=True)
    (other / "deep").mkdir(parents=True)
    watch = watched(tmp_path / "in", recursive=True)

    for number in range(4):  # the first one is back at the end, and so is the other
        folder.rename(one)
        other.rename(folder)
        one.rename(other)
        names = [f"{100 * number + n}.wav" for n in range(100)]
        assert any(heard.hears_of(folder / name) for name in names)
    (other / "outside.wav").write_bytes(b"x")
    (folder / "last.wav").write_bytes(b"x")
    reported: list[bytes] = []
    while not reported or not reported[-1].endswith(b"last.wav"):
        reported.append(heard.changes.get(timeout=SOON_S)[0])
    assert os.fsencode(folder / "outside.wav") not in reported
    assert not [reason for reason in heard.scans if "could not be handled" in reason]
    closing = threading.Thread(target=watch.close, daemon=True)
    closing.start()
    closing.join(SOON_S)
    assert not closing.is_alive()


def test_no_thread_of_a_watch_is_left(tmp_path: Path, heard: Heard) -> None:
    before = set(threading.enumerate())
    Watch(os.fsencode(tmp_path), True, heard, lambda reason: None).close()
    assert set(threading.enumerate()) <= before
