"""The weights that training starts from: only the right file is ever left."""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT
from serving import Server, serving

from tinyast.data import pretrained
from tinyast.data.download import ChecksumError
from tinyast.data.pretrained import PRETRAINED, fetch_pretrained
from tinyast.errors import DataError

WEIGHTS = bytes(range(256)) * 4000


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        server.content = WEIGHTS
        yield server


@pytest.fixture
def weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if WEIGHTS were the file that the hash is of."""
    monkeypatch.setattr(pretrained, "PRETRAINED_SHA256", hashlib.sha256(WEIGHTS).hexdigest())


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}/weights.pt"


@pytest.mark.usefixtures("weights")
def test_the_right_file_is_fetched_once_across_a_cut_connection(
    server: Server, tmp_path: Path
) -> None:
    server.cuts = 1
    assert fetch_pretrained(tmp_path, url(server), pause_s=0)
    assert (tmp_path / PRETRAINED).read_bytes() == WEIGHTS
    assert not fetch_pretrained(tmp_path, url(server))
    assert server.requests == 2


def test_another_file_is_refused_and_deleted(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ChecksumError, match="SHA-256"):
        fetch_pretrained(tmp_path, url(server))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / PRETRAINED).write_bytes(b"half of it")
    with pytest.raises(ChecksumError, match="Delete it to download it again"):
        fetch_pretrained(tmp_path, url(server))
    assert (tmp_path / PRETRAINED).read_bytes() == b"half of it"


def test_offline_the_error_says_how_to_get_it_by_hand(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        fetch_pretrained(tmp_path, "http://127.0.0.1:1/weights.pt", attempts=2, pause_s=0)
    assert "refused" in str(caught.value)
    assert pretrained.PRETRAINED_URL in str(caught.value)
    assert str(tmp_path / PRETRAINED) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("weights")
@pytest.mark.parametrize(
    ("content", "words", "code", "said"),
    [
        (WEIGHTS, [], 0, f"{PRETRAINED} is complete"),
        (b"other", [], 2, "SHA-256"),
        (WEIGHTS, ["--sha256", "0" * 64], 2, "is fixed"),
        (WEIGHTS, ["--extra"], 2, "one after the other"),
        (WEIGHTS, ["--without", "speech"], 2, "applies only to --extra"),
    ],
)
def test_the_script_leaves_the_right_file_or_none(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    content: bytes,
    words: list[str],
    code: int,
    said: str,
) -> None:
    server.content = content
    monkeypatch.syspath_prepend(ROOT)
    given = ["--pretrained", "--url", url(server), "--output", str(tmp_path / "raw"), *words]
    monkeypatch.setattr(sys, "argv", ["download", *given])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module("scripts.download").main()
    captured = capsys.readouterr()
    assert (ended.value.code or 0) == code, captured.err
    assert said in " ".join((captured.out + captured.err).split())
    left = [path.name for path in (tmp_path / "raw").glob("*")]
    assert left == ([PRETRAINED] if code == 0 else [])
