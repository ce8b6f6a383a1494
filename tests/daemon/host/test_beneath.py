"""Paths beneath a folder are resolved without links, by the kernel and by the fallback alike."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.host import beneath
from daemon.host.beneath import make_folder, open_beneath, open_file, opened_folder, rename_new


@pytest.fixture(params=["openat2", "by component"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test runs with the kernel's help and without it."""
    if request.param == "by component":
        monkeypatch.setattr(beneath._Support, "openat2", False)
        monkeypatch.setattr(beneath._Support, "renameat2", False)
    return str(request.param)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """in/sub/deep/a.wav, in/link -> outside, in/sub/file -> a.wav; outside/a.wav."""
    inside, outside = tmp_path / "in", tmp_path / "outside"
    (inside / "sub" / "deep").mkdir(parents=True)
    outside.mkdir()
    (inside / "sub" / "deep" / "a.wav").write_bytes(b"inside")
    (outside / "a.wav").write_bytes(b"outside")
    (inside / "link").symlink_to(outside)
    (inside / "near").symlink_to("sub")
    (inside / "sub" / "file").symlink_to("deep/a.wav")
    return inside


def refused(*codes: int) -> pytest.RaisesExc[OSError]:
    """An OSError with one of these numbers."""
    return pytest.raises(OSError, check=lambda error: error.errno in codes)


@pytest.fixture
def folder(tree: Path) -> Iterator[int]:
    with opened_folder(os.fsencode(tree)) as fd:
        yield fd


def test_a_file_below_is_opened(tree: Path) -> None:
    fd = open_file(os.fsencode(tree), os.fsencode(tree / "sub" / "deep" / "a.wav"))
    assert os.read(fd, 10) == b"inside"
    os.close(fd)


@pytest.mark.parametrize("path", ["link/a.wav", "near/deep/a.wav", "sub/file", "link"])
def test_a_link_anywhere_in_the_path_is_refused(folder: int, path: str) -> None:
    with refused(errno.ELOOP):
        open_beneath(folder, path.encode(), os.O_RDONLY)


@pytest.mark.parametrize(
    "path", ["..", "../outside/a.wav", "sub/../../outside/a.wav", "/etc/passwd"]
)
def test_a_path_that_leaves_the_folder_is_refused(folder: int, path: str) -> None:
    with refused(errno.EXDEV):
        open_beneath(folder, path.encode(), os.O_RDONLY)


def test_a_path_that_does_not_begin_with_the_folder_is_refused(tree: Path) -> None:
    with refused(errno.EXDEV):
        open_file(os.fsencode(tree), os.fsencode(tree) + b"-other/a.wav")


def test_a_folder_that_became_a_link_is_refused(tree: Path) -> None:
    with refused(errno.ELOOP, errno.ENOTDIR), opened_folder(os.fsencode(tree / "link")):
        pass


def test_a_name_with_a_null_byte_is_not_cut_short(folder: int) -> None:
    with refused(errno.EINVAL):
        open_beneath(folder, b"sub/deep/a.wav\0x", os.O_RDONLY)


def test_what_is_not_there_is_not_found(folder: int) -> None:
    with pytest.raises(FileNotFoundError):
        open_beneath(folder, b"sub/none/a.wav", os.O_RDONLY)


def test_a_fifo_does_not_block(tree: Path) -> None:
    os.mkfifo(tree / "pipe.wav")
    os.close(open_file(os.fsencode(tree), os.fsencode(tree / "pipe.wav")))


def test_folders_are_made_beneath_and_twice_is_no_error(tree: Path, folder: int) -> None:
    for _ in range(2):
        make_folder(folder, b"done/site/night")
    assert (tree / "done" / "site" / "night").is_dir()


@pytest.mark.parametrize("path", ["link/made", "near/made"])
def test_no_folder_is_made_through_a_link(tree: Path, folder: int, path: str) -> None:
    with refused(errno.ELOOP, errno.ENOTDIR):
        make_folder(folder, path.encode())
    assert [entry.name for entry in (tree.parent / "outside").iterdir()] == ["a.wav"]


def test_a_rename_never_replaces(tree: Path, folder: int) -> None:
    (tree / "a.wav").write_bytes(b"old")
    (tree / "b.wav").write_bytes(b"new")
    with pytest.raises(FileExistsError):
        rename_new(folder, b"b.wav", folder, b"a.wav")
    assert (tree / "a.wav").read_bytes() == b"old"
    rename_new(folder, b"b.wav", folder, b"c.wav")
    assert (tree / "c.wav").read_bytes() == b"new"
    assert not (tree / "b.wav").exists()


def test_a_rename_to_another_file_system_says_so(tree: Path, folder: int) -> None:
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == tree.stat().st_dev:
        pytest.skip("needs /dev/shm on another file system")
    (tree / "a.wav").write_bytes(b"here")
    with opened_folder(b"/dev/shm") as other, refused(errno.EXDEV):
        rename_new(folder, b"a.wav", other, b"a-%d.wav" % os.getpid())
