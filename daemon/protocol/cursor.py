"""The position of a subscriber in the stream: it has every message up to one number.

A message counts as seen only when all before it are. So the cursor passes a live message if that is
the next one, and asks replay for everything after its position otherwise. It remembers the `id` of
the newest messages: if replay holds another message at one of these places, the journal was put
back (a restored snapshot, a disk that lost writes), and the cursor goes back to the point where
they differ.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from daemon.protocol.decoding import Page, Received
from daemon.protocol.replay import MAX_SEQ

log = logging.getLogger(__name__)

REMEMBERED = 10_000  # messages; a journal put back by more is read again from its start


class Cursor:
    """`since`: begin after this seq; None for the newest. `journal`: the one that it counts in.

    `last_id`: the `id` of the message `since`, if known. `prefix`: what all topics of interest
    begin with; messages with other topics only move the position.
    """

    def __init__(
        self, since: int | None, journal: str | None, last_id: str | None, prefix: str
    ) -> None:
        self.journal = journal
        self.position = since  # every message up to this seq was passed on; None: not known yet
        self.behind = True  # whether replay has to be asked
        self.lost = 0  # messages that the daemon no longer keeps
        self._prefix = prefix
        self._ids: dict[int, str] = {}  # seq: id of messages passed on, newest last
        if since and last_id is not None:
            self._ids[since] = last_id
        self._anchor = since if self._ids else None  # the remembered message to compare with replay
        self._checked = False  # whether replay has it, since the cursor fell behind
        self._went_back = False  # and has not caught up since

    # -- live ----------------------------------------------------------------------------------

    def passes(self, live: Received) -> bool:
        """Whether a published message is the next one; if one is missing, fall behind."""
        seq, position = live.head.seq, self.position
        if live.head.journal != self.journal or position is None or seq > position + 1:
            self._fall_behind()
        elif seq == position + 1:
            self._remember(live)
            self.position = seq
            return True
        elif self._ids.get(seq, live.head.id) != live.head.id:
            self._fall_behind()  # another message at a place that is taken: was it put back?
        return False

    def hear_beat(self, journal: str, last: Mapping[str, int]) -> None:
        """A heartbeat names the newest messages: fall behind if we are somewhere else."""
        if journal != self.journal or max(last.values(), default=0) != self.position:
            self._fall_behind()

    def _fall_behind(self) -> None:
        if not self.behind:
            self.behind, self._checked = True, False

    def _remember(self, message: Received) -> None:
        if not message.topic.startswith(self._prefix):
            return
        seq = message.head.seq
        self._ids.pop(seq, None)
        self._ids[seq] = message.head.id
        self._anchor = seq
        if len(self._ids) > REMEMBERED:
            del self._ids[next(iter(self._ids))]

    # -- replay --------------------------------------------------------------------------------

    @property
    def since(self) -> int:
        """What to ask replay for next. The newest message is asked for again, to compare it."""
        if self.position is None:
            return MAX_SEQ
        if self._anchor is not None and not self._checked:
            return self._anchor - 1
        return self.position

    def take(self, page: Page) -> list[Received]:
        """Take in the page after `since`: the messages in it that are new."""
        head = page.head
        if self.journal not in (None, head.journal):
            log.warning("the daemon's journal is another one: %s", head.journal)
            self.journal = head.journal
            self._go_back(to_oldest=True)  # a restored one holds messages that we have had
            return []
        self.journal = head.journal
        if self.position is None:
            self.position = head.newest
        elif self._was_put_back(page):
            if head.newest < self.position:
                log.warning(
                    "messages after %d were asked for, and the newest is %d: the journal was put "
                    "back, or it never had that many; reading all of it",
                    self.position,
                    head.newest,
                )
            else:
                log.warning("the daemon's journal was put back, or restored from a copy")
            self._go_back(to_oldest=False)
            return []
        self._checked = True
        if head.oldest > self.position + 1:
            self.lost += head.oldest - self.position - 1
            log.warning("messages before %d are no longer kept", head.oldest)
        if page.head.damaged:
            self.lost += page.head.damaged
            log.warning("%d messages are damaged on the daemon's disk", page.head.damaged)
        new = [message for message in page.messages if self._is_new(message)]
        for message in page.messages:
            self._remember(message)
        self.position = head.next
        self.behind = head.next < head.newest
        if self._went_back and not self.behind:
            self._went_back = False  # what lay beyond belongs to the journal before
            self._ids = {seq: id for seq, id in self._ids.items() if seq <= head.next}
        return new

    def _is_new(self, message: Received) -> bool:
        seq = message.head.seq
        assert self.position is not None
        return seq > self.position and self._ids.get(seq) != message.head.id

    def _was_put_back(self, page: Page) -> bool:
        """Whether the journal ends before our position, or the message there is another one."""
        assert self.position is not None
        if page.head.newest < self.position:
            return True
        if self._anchor is None or self._checked or page.head.oldest > self._anchor:
            return False
        first = page.messages[0].head if page.messages else None
        if page.head.damaged and (first is None or first.seq != self._anchor):
            return False  # the disk damaged it, which says nothing
        return first is None or first.seq != self._anchor or first.id != self._ids.get(self._anchor)

    def _go_back(self, to_oldest: bool) -> None:
        """Compare with the oldest message remembered; read from the start if it is not there.

        `to_oldest`: even if that one is the message just compared.
        """
        oldest = next(iter(self._ids), None)
        if oldest is None or self._anchor is None or not (to_oldest or oldest < self._anchor):
            log.warning("reading the daemon's journal from its start")
            self._ids.clear()
            self._anchor, self.position = None, 0
            return
        self._anchor = self.position = oldest
        self._checked, self._went_back = False, True
