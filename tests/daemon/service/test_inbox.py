"""`tinyastd reprocess` leaves a request; whoever asks, the daemon can take it away again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from daemon.service.inbox import Inbox, Request, ask_reprocess

NOBODY = 65_534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def test_requests_are_taken_once_and_in_order(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path)
    assert inbox.take() == []
    ask_reprocess(tmp_path, [b"/a/\xff.wav", b"/a/b.wav"])
    ask_reprocess(tmp_path, [b"/c.wav"])
    first, second = inbox.take()
    assert (first.paths, second.paths) == ([b"/a/\xff.wav", b"/a/b.wav"], [b"/c.wav"])
    assert inbox.take() == []
    first.done()
    assert [each.paths for each in Inbox(tmp_path).take()] == [[b"/c.wav"]]


@needs_root
def test_what_root_asks_is_the_services_to_remove(tmp_path: Path) -> None:
    os.chown(tmp_path, NOBODY, NOBODY)
    ask_reprocess(tmp_path, [b"/a.wav"])
    made = list((tmp_path / "requests").iterdir())
    assert len(made) == 1
    for each in (tmp_path / "requests", *made):
        assert (each.stat().st_uid, each.stat().st_mode & 0o077) == (NOBODY, 0)


def test_root_writes_nowhere_but_in_the_state_directory(tmp_path: Path) -> None:
    """A service that was taken over could lay a link for root to follow."""
    (tmp_path / "state").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "state" / "requests").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="requests"):
        ask_reprocess(tmp_path / "state", [b"/a.wav"])
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_request_that_cannot_be_removed_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "x.json").mkdir()  # cannot be unlinked
    Request(tmp_path / "x.json", []).done()
    assert "cannot be removed" in caplog.text
    (tmp_path / "requests").mkdir()
    (tmp_path / "requests" / "y.json").write_text("no request")
    assert Inbox(tmp_path).take() == []
    assert not list((tmp_path / "requests").iterdir())
