"""Predictions: lists, sounds, pictures, reviews, exports."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Generator
from typing import IO
from weakref import WeakSet

from starlette.requests import Request
from starlette.responses import Response

from daemon.errors import DaemonError
from daemon.page import export, reviews
from daemon.page.drawing import draw
from daemon.page.sound import wav_bytes
from daemon.page.store.filter import Filter
from daemon.page.store.reader import Row
from daemon.page.web.api.answers import Streamed, answer, ranged, zipped
from daemon.page.web.api.parameters import (
    BadRequest,
    Exported,
    Limited,
    Listed,
    NotFound,
    body,
    parameters,
)
from daemon.page.web.api.sums import events_of
from daemon.page.web.shared import Page
from daemon.tables.annotations import WRITERS

NEWEST = 32  # predictions of each source that Now shows
MOST_FILES = 8  # zips at once


class TooManyFiles(DaemonError):
    """No further zip can be made now."""


class Heard:
    """Handlers. Those that are not `async` run in threads."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._files: WeakSet[IO[bytes]] = WeakSet()  # zips, while clients read them

    def new_file(self) -> IO[bytes]:
        """A temporary file, which the answer closes. Raises TooManyFiles.

        A data set may have a gigabyte, and its client may take hours to read it.
        """
        if sum(not file.closed for file in self._files) >= MOST_FILES:
            raise TooManyFiles(f"{MOST_FILES} zips are being downloaded; wait until one is done")
        file = tempfile.TemporaryFile()  # noqa: SIM115
        self._files.add(file)
        return file

    def daemons(self, request: Request) -> Response:
        """The daemons that the page follows, with their newest heartbeat."""
        return answer([each.describe() for each in self._page.followers])

    def now(self, request: Request) -> Response:
        """For each source: its newest predictions; and the current events."""
        with self._page.reader() as reader:
            sources = reader.table(
                "SELECT number, daemon, kind, name FROM sources ORDER BY daemon, number"
            )
            for source in sources:
                chosen = Filter(source=str(source["name"]), daemon=int(str(source["daemon"])))
                source["predictions"] = reader.predictions(chosen, NEWEST)
            return answer({"sources": sources, "events": events_of(reader, "e.ended IS NULL", [])})

    def predictions(self, request: Request) -> Response:
        """Predictions, the newest first."""
        query = parameters(request, Listed)
        before = None
        if query.before is not None and query.before_at is not None:
            before = query.before_at, query.before
        with self._page.reader() as reader:
            return answer(reader.predictions(query.filter(), query.limit, before))

    def prediction(self, request: Request) -> Response:
        """One prediction."""
        return answer(self._row(request))

    def _row(self, request: Request) -> Row:
        number = int(request.path_params["number"])
        with self._page.reader() as reader:
            row = reader.prediction(number) if number < 2**52 else None
        if row is None:
            raise NotFound(f"there is no prediction {number}; it may have been pruned")
        return row

    # -- sound and pictures --------------------------------------------------------------------

    def sound(self, request: Request) -> Response:
        """The sound of one window as a WAV file. Byte ranges are answered."""
        row = self._row(request)
        samples, rate = self._page.sound(row)
        word = re.sub(r"[^A-Za-z0-9_.-]+", "_", row.label)
        return ranged(request, wav_bytes(samples, rate), f"{word}-{row.number}.wav")

    def picture(self, request: Request) -> Response:
        """What the model saw of one window, as a PNG: as published, or drawn from its sound."""
        row = self._row(request)
        png = self._page.pictures.get(row.id) or draw(*self._page.sound(row))
        headers = {"Cache-Control": "private, max-age=86400"}
        return Response(png, media_type="image/png", headers=headers)

    # -- reviews -------------------------------------------------------------------------------

    def to_review(self, request: Request) -> Response:
        """Predictions without a review: alternately the least certain and the most surprising."""
        query = parameters(request, Listed)
        with self._page.reader() as reader:
            return answer(reader.to_review(query.filter(), query.limit))

    def reviewed(self, request: Request) -> Response:
        """Reviews, the newest first."""
        query = parameters(request, Limited)
        with self._page.reader() as reader:
            return answer(list(reader.reviews(query.limit)))

    def take_back_number(self, request: Request) -> Response:
        """Take a review back by its own number, even if its prediction is pruned."""
        number = int(request.path_params["number"])
        if number > 2**52 or not reviews.take_back_number(self._page.store, number):
            raise NotFound(f"there is no review {number}")
        return answer({"number": number})

    async def review(self, request: Request) -> Response:
        """Say whether a prediction was right."""
        review = body(await request.body(), reviews.Review)
        row = self._row(request)
        try:
            reviews.add(self._page.store, row, review)
        except reviews.BadReview as error:
            raise BadRequest(str(error)) from error
        return answer(self._row(request))

    def take_back(self, request: Request) -> Response:
        """Take a review back."""
        row = self._row(request)
        if not reviews.take_back(self._page.store, row):
            raise NotFound(f"prediction {row.number} has no review")
        return answer(self._row(request))

    def data_set(self, request: Request) -> Response:
        """The reviewed sounds with their labels, as a data set in a zip."""
        file = self.new_file()
        with self._page.reader() as reader:
            reviews.write_data_set(file, reader.reviews(), self._page.sound)
        return zipped(file, "my-sounds.zip")

    # -- exports --------------------------------------------------------------------------------

    def export(self, request: Request) -> Response:
        """All chosen predictions as a file."""
        query = parameters(request, Exported)
        if query.format not in WRITERS:
            if query.join or query.separate:
                raise BadRequest(f"join and separate are for {', '.join(WRITERS)}")
            return self._all_rows(query)
        chosen = query.filter()
        if query.separate:
            return self._tables(query, chosen)
        with self._page.reader() as reader:
            if query.format == "audacity" and reader.count_recordings(chosen, 2) > 1:
                raise BadRequest(
                    "a label track of Audacity belongs to one recording: choose one with `text`, "
                    "or ask for a zip of tracks with separate=true"
                )

        def lines() -> Generator[bytes, None, None]:
            with self._page.reader() as reader:
                recordings = reader.recordings(chosen, query.join)
                yield from export.annotated(query.format, recordings)

        return _attached(lines(), query.format)

    def _all_rows(self, query: Exported) -> Response:
        if query.format == "parquet":
            export.check_parquet()

        def lines() -> Generator[bytes, None, None]:
            with self._page.reader() as reader:
                yield from export.FORMATS[query.format](reader.export(query.filter()))

        return _attached(lines(), query.format)

    def _tables(self, query: Exported, chosen: Filter) -> Response:
        file = self.new_file()
        with self._page.reader() as reader:
            recordings = reader.recordings(chosen, query.join)
            export.separate_annotations(file, query.format, recordings)
        return zipped(file, export.file_name(query.format, separate=True))


def _attached(lines: Generator[bytes, None, None], kind: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{export.file_name(kind)}"'}
    return Streamed(lines, lines.close, export.TYPES[kind], headers)
