"""People's reviews of predictions, and a data set made from them."""

from __future__ import annotations

import csv
import io
import time
import zipfile
from collections.abc import Callable, Iterator
from typing import IO, Annotated, Literal

import msgspec

from daemon.errors import DaemonError
from daemon.page.sound import NoSound, wav_bytes
from daemon.page.store.reader import Row
from daemon.page.store.reviewing import Reviewed
from daemon.page.store.writer import Store
from tinyast.arrays import Float

FOLDS = 5
PAUSE_MS = 600_000  # after which a microphone hears something else
Verdict = Literal["right", "wrong", "other", "ignore"]
Label = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=100,
        pattern=r"^[\w .,()&'-]+$",
        description="text of 1 to 100 letters, digits, spaces and _.,()&'-",
    ),
]


class Review(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A verdict on one prediction. `label` is the right one, for the verdict `other`."""

    verdict: Verdict
    label: Label | None = None


class BadReview(DaemonError):
    """A review does not make sense."""


def add(store: Store, row: Row, review: Review) -> None:
    """Store a review of a prediction, in place of an earlier one. Raises BadReview."""
    if (review.verdict == "other") != (review.label is not None):
        raise BadReview("a label goes with the verdict `other`, and only with that")
    label = row.label if review.verdict == "right" else review.label
    with store.write() as db:
        db.execute(
            "INSERT OR REPLACE INTO reviews (prediction, source, file, at, start, length, heard, "
            "score, verdict, label, reviewed) SELECT id, source, file, at, start, length, label, "
            "score, ?, ?, ? FROM predictions WHERE number = ?",
            (review.verdict, label, round(1000 * time.time()), row.number),
        )


def take_back(store: Store, row: Row) -> bool:
    """Delete the review of a prediction; whether there was one."""
    return _delete(
        store,
        "prediction = ? AND source = (SELECT source FROM predictions WHERE number = ?)",
        bytes.fromhex(row.id),
        row.number,
    )


def take_back_number(store: Store, number: int) -> bool:
    """Delete a review whose prediction may be pruned; whether there was one."""
    return _delete(store, "number = ?", number)


def _delete(store: Store, condition: str, *values: object) -> bool:
    with store.write() as db:
        return bool(db.execute(f"DELETE FROM reviews WHERE {condition}", values).rowcount)


def write_data_set(
    file: IO[bytes], found: Iterator[Reviewed], sound: Callable[[Reviewed], tuple[Float, int]]
) -> None:
    """Write a zip of `metadata.csv` and WAVs, one for each reviewed window whose label is known.

    It has the form of docs/own-sounds.md. Windows of one file, or of one microphone without a
    pause of `PAUSE_MS`, share a fold, so that no recording and no event is both learnt and tested.
    A window whose sound is gone is left out and named in `missing.txt`.
    """
    metadata, missing = io.StringIO(), []
    table = csv.writer(metadata, lineterminator="\n")
    table.writerow(["filename", "label", "fold"])
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for fold, each in folds(found):
            name = f"{each.number:06}-{each.id[:8]}.wav"
            try:
                samples, rate = sound(each)
            except NoSound as error:
                missing.append(f"{name}: {each.label} in {each.path or each.source}: {error}")
                continue
            archive.writestr(name, wav_bytes(samples, rate))
            table.writerow([name, each.label, fold])
        archive.writestr("metadata.csv", metadata.getvalue())
        if missing:
            archive.writestr("missing.txt", "\n".join(missing) + "\n")


def folds(found: Iterator[Reviewed]) -> Iterator[tuple[int, Reviewed]]:
    """The reviews whose label is known, each with its fold, from 1 to `FOLDS` and again from 1."""
    known = [each for each in found if each.label is not None]
    known.sort(
        key=lambda each: (
            (each.daemon, each.kind, each.source, each.path or "", each.at)
            if each.kind == "file"
            else (each.daemon, each.kind, each.source, "", each.at)
        )
    )
    fold, before = 0, None
    for each in known:
        if before is None or not _one_recording(before, each):
            fold = fold % FOLDS + 1
        before = each
        yield fold, each


def _one_recording(one: Reviewed, other: Reviewed) -> bool:
    if (one.daemon, one.kind, one.source) != (other.daemon, other.kind, other.source):
        return False
    return one.path == other.path if one.kind == "file" else other.at - one.at < PAUSE_MS
