"""The work of one actor: the parts of a job, one after another, in one thread."""

from __future__ import annotations

import logging
from collections import Counter
from functools import partial

import msgspec
from msgspec import Struct

from daemon.cluster.entries import MISSING, Entry
from daemon.cluster.fetching import opened_entry
from daemon.cluster.job import Job
from daemon.cluster.plan import part_name, read_part
from daemon.cluster.storage import Place
from daemon.commands.batch.classify import GONE
from daemon.commands.batch.classify_output import SOURCE, Result
from daemon.commands.batch.classify_sinks import parquet_rows
from daemon.protocol.messages import digest
from daemon.tables.parquet import part, read_note

RANKS = 5  # labels of a window in a part


class Summary(Struct, frozen=True, kw_only=True):
    """The counts of a part."""

    number: int
    files: int  # a sliced file counts with its first slice
    windows: int
    audio_s: float
    accepted: dict[str, int]  # windows by label
    errors: dict[str, int]  # failed files by code
    made: bool = True  # by this call; False if it was there


class PartWorker:
    """Classifies parts and writes their tables."""

    def __init__(self, job: Job) -> None:
        """Raises CheckpointError, SettingsError."""
        logging.getLogger("daemon").setLevel(logging.ERROR)
        self._job, self._batch, self._output = job, job.load(), job.place
        self._cut = job.cut(self._batch)

    def run(self, number: int) -> Summary:
        """Make a part, unless it is there. Raises StorageError."""
        planned = read_part(self._output, number)
        name = part_name(number, planned)
        if (made := _made(self._output, name)) is not None:
            return made
        embeds = self._job.identity.embeddings
        rows: list[dict[str, object]] = []
        counts = _Counts()
        for entry in planned.entries:
            result = self._classify(entry)
            counts.add(entry, result)
            vectors = result.embeddings if embeds else ()
            for place, row in enumerate(parquet_rows(result, RANKS)):
                whole: dict[str, object] = {**row, "bytes": max(0, entry.size)}
                if place < len(vectors):
                    whole["embedding"] = vectors[place]
                if result.error is not None and place == len(result.predictions):
                    whole["error_code"] = result.error.code
                rows.append(whole)
        summary = counts.summary(number)
        self._output.write(name, part(rows, msgspec.json.encode(summary), embeds))
        return summary

    def _classify(self, entry: Entry) -> Result:
        if entry.size == MISSING and not entry.is_remote:
            return Result(entry.path, [], GONE, digest(SOURCE, entry.path))
        address = self._job.address(entry.path)
        opening = partial(opened_entry, entry, address, self._cut.span(entry))
        return self._batch.classify_opened(entry.path, opening, entry.first, entry.last)


def _made(output: Place, name: str) -> Summary | None:
    """The summary in a part that is there."""
    try:
        with output.files.open_input_file(output.at(name)) as file:
            summary = msgspec.json.decode(read_note(file), type=Summary)
    except FileNotFoundError:
        return None
    return msgspec.structs.replace(summary, made=False)


class _Counts:
    def __init__(self) -> None:
        self._files, self._windows, self._audio_s = 0, 0, 0.0
        self._accepted: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()

    def add(self, entry: Entry, result: Result) -> None:
        self._files += entry.first == 0
        self._windows += len(result.predictions)
        if result.predictions:
            begin, end = result.predictions[0].window, result.predictions[-1].window
            self._audio_s += end.end_s - begin.start_s
        self._accepted.update(
            each.label for each in result.predictions if each.decision == "accepted"
        )
        if result.error is not None:
            self._errors[result.error.code] += 1

    def summary(self, number: int) -> Summary:
        return Summary(
            number=number,
            files=self._files,
            windows=self._windows,
            audio_s=self._audio_s,
            accepted=dict(self._accepted),
            errors=dict(self._errors),
        )
