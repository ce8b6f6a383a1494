"""The daemon moves or deletes finished files and no others, whatever happens to their folders."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from disks import mounted
from running import Daemon, of_type, stress
from sounds import write_wav

from daemon.host import beneath, taking
from daemon.journal.ledger import Identity, LedgerRow
from daemon.settings.schema import Folder
from daemon.sources.folder.disposal import Disposal, Disposed

MakeDaemon = Callable[..., Daemon]


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    """The watched folder."""
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


def disposal(root: Path, after: str) -> Disposal:
    return Disposal(Folder(path=str(root), after=after, recursive=True))  # type: ignore[arg-type]


def row_of(path: Path, state: str = "done") -> LedgerRow:
    """The ledger's row of a file as it is now."""
    identity = Identity.of(path.stat())
    return LedgerRow(os.fsencode(path), "in", identity, 1, "0" * 32, state, 1, None)


def put_away(root: Path, path: Path, after: str = "move", state: str = "done") -> Disposed:
    return disposal(root, after).put_away(row_of(path, state))


def files(root: Path) -> dict[str, bytes]:
    """Every file below `root`, hidden ones too, by its relative path."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


# -- the treatment of a file ----------------------------------------------------------------------


def test_the_tree_is_kept_below_done_and_failed(inside: Path) -> None:
    (inside / "site" / "night").mkdir(parents=True)
    for place, state in (("a.wav", "done"), ("site/night/a.wav", "done"), ("site/b.wav", "failed")):
        (inside / place).write_bytes(place.encode())
        assert put_away(inside, inside / place, state=state) == Disposed(done=True)
    assert files(inside) == {
        "done/a.wav": b"a.wav",
        "done/site/night/a.wav": b"site/night/a.wav",
        "failed/site/b.wav": b"site/b.wav",
    }


def test_a_namesake_is_never_replaced_and_thousands_are_passed_in_few_looks(
    inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (inside / "done").mkdir()
    for number in range(3_000):
        (inside / "done" / f"a{f'-{number}' if number else ''}.wav").touch()
    looks, look = [], os.stat

    def counted(path: bytes, **options: Any) -> os.stat_result:
        looks.append(path)
        return look(path, **options)

    monkeypatch.setattr(os, "stat", counted)
    (inside / "a.wav").write_bytes(b"new")
    assert put_away(inside, inside / "a.wav").done
    assert (inside / "done" / "a-3000.wav").read_bytes() == b"new"
    assert len(looks) < 60


@pytest.mark.parametrize("length", [200, 240, 255])
def test_a_name_of_any_length_is_moved_and_numbered(inside: Path, length: int) -> None:
    name = "x" * (length - 4) + ".wav"
    for content in (b"first", b"second"):
        (inside / name).write_bytes(content)
        assert put_away(inside, inside / name).done
    moved = files(inside)
    assert sorted(moved.values()) == [b"first", b"second"]
    assert all(place.startswith("done/") and place.endswith(".wav") for place in moved)


def test_a_file_that_failed_is_not_deleted(inside: Path) -> None:
    (inside / "a.wav").write_bytes(b"bad")
    assert put_away(inside, inside / "a.wav", "delete", "failed") == Disposed()
    assert put_away(inside, inside / "a.wav", "delete", "done").done
    assert files(inside) == {}


def test_a_file_that_a_writer_has_open_stays(inside: Path) -> None:
    path = inside / "a.wav"
    path.write_bytes(b"heard")
    row = row_of(path)
    with path.open("ab"):
        result = disposal(inside, "delete").put_away(row)
    assert result == Disposed(look_at=os.fsencode(path))
    assert files(inside) == {"a.wav": b"heard"}


def test_another_file_of_the_name_is_left_alone(inside: Path) -> None:
    path = inside / "a.wav"
    path.write_bytes(b"heard")
    row = row_of(path)
    path.unlink()
    path.write_bytes(b"newer")
    assert disposal(inside, "delete").put_away(row) == Disposed()
    assert files(inside) == {"a.wav": b"newer"}


# -- another disk --------------------------------------------------------------------------------


@contextmanager
def done_on_another_disk(inside: Path, size: str = "size=4m") -> Iterator[Path]:
    with mounted(inside / "done", size) as disk:
        yield disk


def test_a_file_is_copied_to_another_disk_with_its_times_mode_and_attributes(inside: Path) -> None:
    path = inside / "site" / "a.wav"
    path.parent.mkdir()
    content = os.urandom(2_500_000)
    path.write_bytes(content)
    path.chmod(0o640)
    os.utime(path, ns=(10**18, 10**18 + 7))
    with suppress(OSError):  # a file system without attributes
        os.setxattr(path, "user.site", b"A7")
    attributes = os.listxattr(path)
    with done_on_another_disk(inside) as disk:
        assert put_away(inside, path).done
        moved = disk / "site" / "a.wav"
        found = moved.stat()
        assert (found.st_mode & 0o777, found.st_mtime_ns) == (0o640, 10**18 + 7)
        assert os.listxattr(moved) == attributes
        assert files(inside) == {"done/site/a.wav": content}


def test_a_full_disk_leaves_the_file_where_it_was_and_says_so(inside: Path) -> None:
    (inside / "a.wav").write_bytes(bytes(2_000_000))
    with done_on_another_disk(inside, "size=1m"):
        problem = put_away(inside, inside / "a.wav").problem
        assert problem is not None
        assert "No space left on device" in problem
        assert list(files(inside)) == ["a.wav"]


def test_a_stop_ends_a_long_copy_and_leaves_the_file_where_it_was(inside: Path) -> None:
    (inside / "a.wav").write_bytes(bytes(3_000_000))
    blocks = 0

    def progress() -> None:
        nonlocal blocks
        blocks += 1
        if blocks == 2:
            raise OSError(errno.ECANCELED, "stopped")

    with done_on_another_disk(inside) as disk:
        folder = Folder(path=str(inside), after="move")
        assert Disposal(folder, progress).put_away(row_of(inside / "a.wav")) == Disposed()
        assert blocks == 2
        assert list(files(inside)) == ["a.wav"]
        assert not list(disk.iterdir())


def test_a_copy_that_differs_is_not_trusted(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (inside / "a.wav").write_bytes(b"right")
    digest = taking._digest

    def damaged(fd: int, progress: Callable[[], None], into: int | None = None) -> bytes:
        content = digest(fd, progress, into)
        if into is not None:
            os.pwrite(into, b"W", 0)
        return content

    with done_on_another_disk(inside):
        monkeypatch.setattr(taking, "_digest", damaged)
        assert "differs" in str(put_away(inside, inside / "a.wav").problem)
        assert files(inside) == {"a.wav": b"right"}


def test_a_system_that_cannot_rename_without_replacing_copies(
    inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(beneath._Support, "renameat2", False)
    monkeypatch.setattr(os, "link", refused)
    for content in (b"first", b"second"):
        (inside / "a.wav").write_bytes(content)
        assert put_away(inside, inside / "a.wav").done
    assert files(inside) == {"done/a.wav": b"first", "done/a-1.wav": b"second"}


# -- interruptions -------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [5, 255])
def test_a_private_name_left_by_a_crash_is_taken_back(inside: Path, length: int) -> None:
    name = "x" * (length - 4) + ".wav"
    (inside / "site").mkdir()
    (inside / "site" / name).write_bytes(b"heard")
    with beneath.opened_folder(os.fsencode(inside / "site")) as folder:
        taken = taking.Taken(folder, name.encode())
        copies = inside / "done" / "site"
        copies.mkdir(parents=True)
        (copies / os.fsdecode(taken._token)).write_bytes(b"half a copy")
    (left,) = (inside / "site").iterdir()
    assert left.name.startswith(".tinyast-")
    back = disposal(inside, "move").restore(os.fsencode(left))
    assert back == [os.fsencode(inside / "site" / name)]
    assert files(inside) == {f"site/{name}": b"heard"}


def test_a_newer_file_is_not_replaced_by_one_that_gets_its_name_back(inside: Path) -> None:
    (inside / "a.wav").write_bytes(b"newer")
    (inside / ".tinyast-0123456789abcdef.a.wav").write_bytes(b"heard")
    disposal(inside, "keep").restore(os.fsencode(inside / ".tinyast-0123456789abcdef.a.wav"))
    assert files(inside) == {"a.wav": b"newer", "a-1.wav": b"heard"}


# -- races ---------------------------------------------------------------------------------------

_REPLACER = """
import ctypes, os, sys
folder, kept, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
exchange = lambda a, b: ctypes.CDLL(None).renameat2(-100, a, -100, b, 2)
keep_both = lambda a, b: ctypes.CDLL(None).renameat2(-100, a, -100, b, 1)
new, name = os.fsencode(folder + "/.new"), os.fsencode(folder + "/a.wav")
for number in range(count):
    with open(new, "w") as file:
        file.write(str(number))
    while exchange(new, name) and keep_both(new, name):
        pass
    if os.path.exists(new):  # what it replaced is kept, so that only the daemon destroys files
        os.rename(new, os.path.join(kept, str(number) + "-old"))
"""


@pytest.mark.parametrize("after", ["move", "delete"])
def test_no_replacement_is_moved_or_deleted_unheard(
    inside: Path, tmp_path: Path, after: str
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    count = stress(100_000) // 2
    one, heard = disposal(inside, after), set()
    writer = subprocess.Popen([sys.executable, "-c", _REPLACER, inside, kept, str(count)])
    while writer.poll() is None:
        for path in [Path(entry) for entry in os.scandir(inside) if entry.name.endswith(".wav")]:
            try:
                with path.open("rb") as file:
                    number = file.read()
                    identity = Identity.of(os.fstat(file.fileno()))
            except FileNotFoundError:
                continue
            row = LedgerRow(os.fsencode(path), "in", identity, 1, "0" * 32, "done", 1, None)
            if one.put_away(row).done:
                heard.add(number)
    assert writer.returncode == 0
    on_disk = {*files(inside).values(), *files(kept).values()}
    moved = set(files(inside / "done").values()) if after == "move" else heard
    assert moved == heard, "a file was moved that had not been heard"
    assert on_disk | heard == {str(number).encode() for number in range(count)}
    assert heard, "nothing was raced"


_SWAPPER = """
import ctypes, os, sys
libc, count = ctypes.CDLL(None), int(sys.argv[1])
pairs = [(os.fsencode(path), os.fsencode(path + "-link")) for path in sys.argv[2:]]
for number in range(count):
    one, other = pairs[number % len(pairs)]
    libc.renameat2(-100, one, -100, other, 2)
"""


@pytest.mark.parametrize("way", ["openat2", "by component"])
@pytest.mark.parametrize("after", ["move", "delete"])
def test_nothing_outside_is_touched_when_parents_are_swapped_for_links(
    inside: Path, tmp_path: Path, after: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beneath._Support, "openat2", way == "openat2")
    monkeypatch.setattr("daemon.sources.folder.disposal.log.error", lambda *_: None)
    outside = tmp_path / "outside"
    for folder in (inside / "sub", inside / "done", outside):
        folder.mkdir(exist_ok=True)
    for name in ("sub", "done"):
        (inside / f"{name}-link").symlink_to(outside)
    sub, victims = (os.open(path, os.O_RDONLY) for path in (inside / "sub", outside))
    one, acted, refused = disposal(inside, after), 0, 0
    paths = [str(inside / name) for name in ("sub", "done")]
    count = stress(1_000_000) // 4
    swapper = subprocess.Popen([sys.executable, "-c", _SWAPPER, str(count), *paths])
    while swapper.poll() is None:
        # Another name of the same file, so that not even its identity tells the two apart.
        os.close(os.open("a.wav", os.O_CREAT | os.O_WRONLY, dir_fd=sub))
        os.link("a.wav", "a.wav", src_dir_fd=sub, dst_dir_fd=victims)
        found = Identity.of(os.stat("a.wav", dir_fd=sub))
        path = os.fsencode(inside / "sub" / "a.wav")
        row = LedgerRow(path, "in", found, 1, "0" * 32, "done", 1, None)
        done = one.put_away(row).done
        assert os.listdir(victims) == ["a.wav"], "the daemon reached outside its folder"
        os.unlink("a.wav", dir_fd=victims)
        acted, refused = acted + done, refused + (not done)
        for name in os.listdir(sub) if not done else ():
            os.unlink(name, dir_fd=sub)
    for fd in (sub, victims):
        os.close(fd)
    assert swapper.returncode == 0
    assert acted
    assert refused, "nothing was raced"


# -- the daemon ----------------------------------------------------------------------------------


def settings(base: Path, after: str, recursive: bool = True) -> str:
    file = base / "settings.toml"
    file.write_text(
        f'[[folder]]\npath = "{base}/in"\nname = "in"\nsettle = 0.3\nafter = "{after}"\n'
        f"recursive = {str(recursive).lower()}\n"
    )
    return str(file)


def test_a_recursive_folder_moves_each_file_once_and_keeps_the_tree(
    daemon: MakeDaemon, tmp_path: Path
) -> None:
    listening = daemon("--config", settings(tmp_path, "move")).start()
    for place in ("a.wav", "site/b.wav", "site/night/c.wav"):
        path = listening.folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        write_wav(path, seed=len(place))
        # Not only gone: it has a private name for a moment.
        listening.wait_for((listening.folder / "done" / place).exists, "moved")
    # Its own folder stays known under another name, by events and by scans.
    (listening.folder / "done").rename(listening.folder / "old")
    write_wav(listening.folder / "old" / "site" / "again.wav", seed=9)
    last = write_wav(listening.folder / "last.wav", seed=8)
    messages = listening.quiet(last)
    ends = [m["source"]["path"] for m in messages if m["type"] == "file"]
    assert sorted(ends) == sorted(
        str(listening.folder / place)
        for place in ("a.wav", "site/b.wav", "site/night/c.wav", "last.wav")
    )
    listening.wait_for((listening.folder / "done" / "last.wav").exists, "moved")
    assert set(files(listening.folder)) == {
        "old/a.wav", "old/site/b.wav", "old/site/night/c.wav", "old/site/again.wav",
        "done/last.wav",
    }  # fmt: skip


def test_what_has_the_inode_of_a_deleted_done_is_classified(
    daemon: MakeDaemon, tmp_path: Path
) -> None:
    """As the next folder that is made has on ext4, and the next file may have."""
    listening = daemon("--config", settings(tmp_path, "move")).start()
    done = listening.folder / "done"
    for number, place in enumerate(("first.wav", "night/second.wav", "third.wav")):
        if number:
            listening.wait_for(lambda: not listening.status()["backlog"]["files"], "idle")
            shutil.rmtree(done)
        path = listening.folder / place
        path.parent.mkdir(exist_ok=True)
        write_wav(path, seed=number)
        listening.wait_for((done / place).exists, "moved")


def test_a_link_in_place_of_done_is_refused_and_said(daemon: MakeDaemon, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    listening = daemon("--config", settings(tmp_path, "move"))
    (listening.folder / "done").symlink_to(elsewhere)
    listening.start()
    path = write_wav(listening.folder / "a.wav")
    heard = listening.hear(
        lambda r: [m for m in of_type(r, "status") if m["status"] == "source_degraded"]
    )
    texts = [m["text"] for m in of_type(heard, "status") if m["status"] == "source_degraded"]
    assert len(texts) == 1
    assert f"{listening.folder}/done is, or contains, a symbolic link" in texts[0]
    (source,) = listening.status()["sources"]
    assert source["degraded"] == texts[0]
    assert path.exists()
    other = write_wav(listening.folder / "b.wav", seed=2)
    listening.ends(2)
    assert other.exists()
    assert list(elsewhere.iterdir()) == []
    # When it is a folder, the files move at the next look, and the daemon says no more of it.
    (listening.folder / "done").unlink()
    with suppress(FileNotFoundError):  # it has moved already
        os.utime(path)
    listening.wait_for(lambda: not path.exists(), "moved")
    listening.wait_for(lambda: not other.exists(), "moved, although it did not change")
    listening.wait_for(lambda: listening.status()["sources"][0]["degraded"] is None, "well")


def test_a_folder_above_a_file_that_became_a_link_is_not_followed(
    daemon: MakeDaemon, tmp_path: Path
) -> None:
    listening = daemon("--config", settings(tmp_path, "delete")).start()
    outside, sub = tmp_path / "outside", listening.folder / "sub"
    outside.mkdir()
    sub.mkdir()
    first = write_wav(sub / "first.wav", seed=1)
    listening.wait_for(lambda: not first.exists(), "deleted")
    victim = write_wav(outside / "secret.wav", seed=2)
    sub.rename(tmp_path / "away")
    sub.symlink_to(outside)
    write_wav(tmp_path / "away" / "secret.wav", seed=3)  # its folder is still watched
    messages = listening.quiet(write_wav(listening.folder / "last.wav", seed=4))
    assert victim.exists()
    assert not [m for m in messages if "secret" in str(m["source"])]


def test_a_file_hidden_at_the_moment_of_a_crash_is_found_at_the_next_start(
    daemon: MakeDaemon, tmp_path: Path
) -> None:
    listening = daemon("--config", settings(tmp_path, "move"))
    write_wav(listening.folder / ".tinyast-0123456789abcdef.a.wav")
    listening.start()
    (end,) = listening.ends(1)
    assert end["source"]["path"] == str(listening.folder / "a.wav")
    done = listening.folder / "done" / "a.wav"
    listening.wait_for(done.exists, "moved")
    assert list(files(listening.folder)) == ["done/a.wav"]
