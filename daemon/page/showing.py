"""Send new predictions to browsers as they show them, with their pictures: no request is needed."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Sequence
from contextlib import closing

import msgspec
from msgspec import Struct

from daemon.page.store.pictures import Pictures
from daemon.page.store.reader import Reader, Row
from daemon.page.store.writer import Store
from daemon.page.web.live import Hub

AT_ONCE = 64  # rows; a row with its picture has about 7 kB, for each browser
A_SECOND = 16.0  # rows, in the long run; browsers ask for more at their own pace


class Shown(Struct, frozen=True):
    """A new prediction."""

    row: Row
    picture: str | None  # a PNG in base64, if the daemon published it


class Shower:
    """Sends the rows of one daemon's new predictions; not those of a flood."""

    def __init__(self, daemon: int, store: Store, pictures: Pictures, hub: Hub) -> None:
        self._daemon, self._store, self._pictures, self._hub = daemon, store, pictures, hub
        self._left, self._at = float(AT_ONCE), time.monotonic()

    def show(self, ids: Sequence[str]) -> None:
        """Send the predictions with these `id`s as one event; none of them if they are too many."""
        now = time.monotonic()
        self._left = min(float(AT_ONCE), self._left + A_SECOND * (now - self._at))
        self._at = now
        if not ids or len(ids) > self._left or not self._hub.heard:
            return
        self._left -= len(ids)
        with closing(self._store.connect()) as db:
            rows = Reader(db).by_id(self._daemon, ids)
        self._hub.publish("rows", msgspec.json.encode([self._shown(row) for row in rows]).decode())

    def _shown(self, row: Row) -> Shown:
        png = self._pictures.get(row.id)
        return Shown(row, None if png is None else b64encode(png).decode())
