"""A file that stays while others are moved is said once; when all can be moved, that is over."""

from __future__ import annotations

from daemon.sources.folder.staying import RETRY_S, Staying


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_a_file_that_stays_is_said_once_however_many_others_are_moved() -> None:
    said: list[str] = []
    clock = Clock()
    staying = Staying(said.append, clock)
    staying.refused(b"fixed", "not permitted")
    tries = 0
    for number in range(100):
        clock.now += RETRY_S / 10
        assert not staying.put_away(b"%d" % number)
        if staying.to_try() is not None:
            tries += 1
            staying.refused(b"fixed", "not permitted")
    assert tries == 10, "one in each `RETRY_S`"
    staying.put_away(b"last")
    assert staying.to_try() is None
    clock.now += RETRY_S
    assert staying.to_try() == b"fixed", "although no other follows"
    clock.now += RETRY_S
    assert staying.to_try() is None, "no other was moved since"
    assert (said, staying.reason) == (["not permitted"], "not permitted")


def test_when_the_refused_file_is_moved_the_others_are_looked_for() -> None:
    staying = Staying(lambda reason: None)
    staying.refused(b"a", "disk full")
    assert staying.put_away(b"a")
    assert staying.reason is None
    assert not staying.put_away(b"b")


def test_a_scan_in_which_no_file_was_refused_ends_it() -> None:
    said: list[str] = []
    staying = Staying(said.append)
    staying.scan_begins("done/ is a link")
    assert not staying.put_away(b"a"), "a file of failed/ proves nothing about done/"
    assert staying.to_try() is None
    staying.scan_ended()
    assert staying.reason == "done/ is a link"
    staying.scan_begins(None)
    staying.refused(b"fixed", "not permitted")
    staying.scan_ended()
    assert staying.reason == "not permitted"
    staying.scan_begins(None)
    staying.scan_ended()
    assert staying.reason is None
    assert said == ["done/ is a link"]
