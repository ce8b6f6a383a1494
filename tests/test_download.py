"""Fetching ESC-50 from a server that misbehaves in every way that servers do."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tinyast.archive import unpack, verify
from tinyast.datasets import read_dataset
from tinyast.download import fetch
from tinyast.errors import DataError


class Server(ThreadingHTTPServer):
    """Serves `content`, cutting the first `cuts` replies short."""

    content = b""
    cuts = 0
    ranges = True
    requests = 0


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests += 1
        content, start = self.server.content, 0
        if self.path == "/gone":
            self.send_error(404)
            return
        wanted = self.headers.get("Range")
        tag = f'"{hashlib.sha256(content).hexdigest()}"'
        if self.server.ranges and wanted and self.headers.get("If-Range") == tag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", tag)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        rest = content[start:]
        if self.server.cuts:
            self.server.cuts -= 1
            rest = rest[: len(rest) // 2]
        self.wfile.write(rest)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def archive(esc50: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A zip laid out like the public one, with a clip of each kind and fold."""
    path = tmp_path_factory.mktemp("archive") / "esc50.zip"
    command = [sys.executable, str(esc50 / "make_archive.py"), str(path), "--per-class", "1"]
    subprocess.run(command, check=True, capture_output=True)
    return path.read_bytes()


def url(server: Server, path: str = "/esc50.zip") -> str:
    return f"http://127.0.0.1:{server.server_port}{path}"


def get(server: Server, target: Path, **options: object) -> None:
    fetch(url(server), target, pause_s=0, **options)  # type: ignore[arg-type]


def packed(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return out.getvalue()


def test_whole_archive(server: Server, archive: bytes, tmp_path: Path) -> None:
    server.content = archive
    get(server, tmp_path / "a.zip", sha256=hashlib.sha256(archive).hexdigest())
    unpack(tmp_path / "a.zip", tmp_path / "esc50")
    assert len(read_dataset(tmp_path / "esc50")) == 200
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "esc50"]


@pytest.mark.parametrize("ranges", [True, False])
def test_cut_connection_is_gone_on_from(server: Server, tmp_path: Path, ranges: bool) -> None:
    server.content, server.cuts, server.ranges = bytes(range(256)) * 4000, 3, ranges
    get(server, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == server.content
    assert server.requests == 4


def test_interrupted_run_is_gone_on_from(server: Server, tmp_path: Path) -> None:
    server.content, server.cuts = bytes(range(256)) * 4000, 1
    with pytest.raises(DataError, match="run the same again"):
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


def test_corrupt_zip(archive: bytes, tmp_path: Path) -> None:
    broken = bytearray(archive)
    broken[len(broken) // 2] ^= 0xFF
    for content in (bytes(broken), archive[: len(archive) // 2], b""):
        (tmp_path / "a.zip").write_bytes(content)
        with pytest.raises(DataError, match="not a whole zip"):
            unpack(tmp_path / "a.zip", tmp_path / "esc50")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/etc/evil", "C:\\evil", "..\\evil"])
def test_no_path_leads_out(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.zip").write_bytes(packed(**{name: b"x"}))
    with pytest.raises(DataError, match="leads out"):
        unpack(tmp_path / "a.zip", tmp_path / "esc50")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_rows_and_clips_must_match(archive: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(archive)
    unpack(tmp_path / "a.zip", tmp_path / "esc50")
    clips = sorted((tmp_path / "esc50" / "audio").iterdir())
    assert verify(tmp_path / "esc50", "here") == 200
    clips[0].rename(clips[0].with_name("stray.wav"))
    with pytest.raises(DataError, match="1 rows have no clip"):
        verify(tmp_path / "esc50", "here")
    (tmp_path / "esc50" / "audio" / "stray.wav").rename(clips[0])
    (tmp_path / "esc50" / "audio" / "stray.wav").write_bytes(clips[0].read_bytes())
    with pytest.raises(DataError, match="1 clips have no row: stray"):
        verify(tmp_path / "esc50", "here")
    (tmp_path / "esc50" / "audio" / "stray.wav").unlink()
    clips[5].write_bytes(b"not a sound")
    with pytest.raises(DataError, match="1 clips cannot be read"):
        verify(tmp_path / "esc50", "here")
