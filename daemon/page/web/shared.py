"""What the handlers share."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from daemon.page.follower import Follower
from daemon.page.sound import Clip, NoSound, read_window
from daemon.page.store.pictures import Pictures
from daemon.page.store.reader import Reader
from daemon.page.store.writer import Store
from daemon.page.web.access import Gate, token_digest
from daemon.page.web.live import Hub
from tinyast.arrays import Float


class Page:
    """The store, the live stream, the daemons that are followed, and who may look."""

    def __init__(
        self,
        store: Store,
        pictures: Pictures,
        hub: Hub,
        followers: list[Follower],
        gate: Gate,
    ) -> None:
        self.pictures = pictures
        self.store, self.hub, self.followers, self.gate = store, hub, followers, gate

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """Queries over a connection of this request's own."""
        db = self.store.connect()
        try:
            yield Reader(db)
        finally:
            db.close()

    def sound(self, row: Clip) -> tuple[Float, int]:
        """The sound of a window, (n,), and its rate in Hz. Raises NoSound."""
        follower = next((each for each in self.followers if each.number == row.daemon), None)
        if follower is None:
            raise NoSound("its daemon is no longer followed")
        with self.reader() as reader:
            end_s = row.start_s + row.length_s
            if row.path and reader.is_private(row.path, row.start_s, end_s):
                raise NoSound("it contains a voice, so it is not played (setting: privacy.speech)")
        return read_window(row, follower.roots)

    def knows_token(self, token: str) -> bool:
        """Whether a program may look with this token."""
        db: sqlite3.Connection = self.store.connect()
        try:
            query = "SELECT 1 FROM tokens WHERE digest = ?"
            return db.execute(query, (token_digest(token),)).fetchone() is not None
        finally:
            db.close()
