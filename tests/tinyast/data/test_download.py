"""Fetching a file from a server that misbehaves in every way that servers do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import Server, serving

from tinyast.data.download import alone_in, fetch
from tinyast.errors import DataError


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


def url(server: Server, path: str = "/esc50.zip") -> str:
    return f"http://127.0.0.1:{server.server_port}{path}"


def get(server: Server, target: Path, **options: object) -> None:
    fetch(url(server), target, pause_s=0, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("ranges", [True, False])
def test_cut_connection_is_gone_on_from(server: Server, tmp_path: Path, ranges: bool) -> None:
    server.content, server.cuts, server.ranges = bytes(range(256)) * 4000, 3, ranges
    get(server, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == server.content
    assert server.requests == 4


def test_interrupted_run_is_gone_on_from(server: Server, tmp_path: Path) -> None:
    server.content, server.cuts = bytes(range(256)) * 4000, 1
    with pytest.raises(DataError, match="run the same command"):
        get(server, tmp_path / "a.zip", attempts=1)
    assert not (tmp_path / "a.zip").exists()
    seen: list[int] = []
    get(server, tmp_path / "a.zip", progress=lambda done, total: seen.append(done))
    assert min(seen) > len(server.content) // 2
    assert (tmp_path / "a.zip").read_bytes() == server.content


def test_file_that_changed_meanwhile_is_not_glued_together(server: Server, tmp_path: Path) -> None:
    server.content, server.cuts = b"old" * 100_000, 1
    with pytest.raises(DataError):
        get(server, tmp_path / "a.zip", attempts=1)
    server.content = b"new" * 120_000
    get(server, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == server.content


def test_wrong_checksum_is_thrown_away(server: Server, tmp_path: Path) -> None:
    server.content = b"something else"
    with pytest.raises(DataError, match="SHA-256"):
        get(server, tmp_path / "a.zip", sha256="0" * 64)
    assert not [path for path in tmp_path.iterdir() if path.suffix in (".zip", ".part")]


def test_server_that_refuses_or_is_not_there(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="404"):
        fetch(url(server, "/gone"), tmp_path / "a.zip")
    with pytest.raises(DataError, match="refused"):
        fetch("http://127.0.0.1:1/a.zip", tmp_path / "a.zip", attempts=2, pause_s=0)


@pytest.mark.parametrize(
    "url",
    ["nonsense", "/etc/passwd", "file:///etc/passwd", "http://a:x/", "http://a b/"],
)
def test_what_is_no_web_address_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(DataError, match="is no web address"):
        fetch(url, tmp_path / "a.zip", pause_s=0)
    assert list(tmp_path.iterdir()) == []


def test_a_busy_server_is_asked_again_and_says_why(server: Server, tmp_path: Path) -> None:
    server.content, server.refusals = b"content", 2
    said: list[str] = []
    get(server, tmp_path / "a.zip", trouble=said.append)
    assert (tmp_path / "a.zip").read_bytes() == b"content"
    assert said == ["Service Unavailable: trying again"] * 2


def test_a_line_that_is_cut_often_but_goes_on_is_not_given_up(
    server: Server, tmp_path: Path
) -> None:
    server.content, server.cuts = bytes(range(256)) * 4000, 9
    get(server, tmp_path / "a.zip", attempts=2)
    assert (tmp_path / "a.zip").read_bytes() == server.content


def test_a_full_disk_is_told_before_anything_is_written(server: Server, small_disk: Path) -> None:
    server.content = bytes(3 << 20)
    with pytest.raises(DataError, match="has room for 1 MB, and 3 MB are to come"):
        get(server, small_disk / "a.zip")
    assert list(small_disk.iterdir()) == []


def test_a_broken_note_of_the_version_is_not_trusted(server: Server, tmp_path: Path) -> None:
    server.content, server.cuts = b"all of it" * 100_000, 1
    with pytest.raises(DataError):
        get(server, tmp_path / "a.zip", attempts=1)
    (tmp_path / "a.zip.part.tag").write_bytes(b"")  # as a full disk leaves it
    get(server, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == server.content


def test_one_download_at_a_time(tmp_path: Path) -> None:
    with alone_in(tmp_path / "new"):
        with pytest.raises(DataError, match="another download"), alone_in(tmp_path / "new"):
            pass
        assert os.listdir(tmp_path / "new") == []
    with alone_in(tmp_path / "new"):
        pass
