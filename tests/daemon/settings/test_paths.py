"""Paths on file systems that may hang."""

from __future__ import annotations

import threading
from pathlib import Path

from daemon.settings.paths import may_be_folder, resolved, within


def test_a_question_that_is_not_answered_has_another_answer() -> None:
    never = threading.Event()
    assert within(never.wait, False, seconds=0.01) is False
    never.set()
    assert within(lambda: 7, 0) == 7


def test_links_are_resolved_and_folders_recognised(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real")
    assert not may_be_folder(str(link))
    (tmp_path / "real").mkdir()
    assert resolved(str(link)) == str(tmp_path / "real")
    assert may_be_folder(str(link))
