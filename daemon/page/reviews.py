"""What people say of predictions, and a data set made of it."""

from __future__ import annotations

import csv
import io
import time
import zipfile
from collections.abc import Callable, Iterator
from typing import Annotated, Literal

import msgspec

from daemon.errors import DaemonError
from daemon.page.store.reader import Row
from daemon.page.store.writer import Store
from daemon.page.web.sound import NoSound, wav_bytes
from tinyast.arrays import Float

FOLDS = 5
Verdict = Literal["right", "wrong", "other", "ignore"]
Label = Annotated[str, msgspec.Meta(min_length=1, max_length=100, pattern=r"^[\w .,()&'-]+$")]


class Review(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A verdict on one prediction. `label` is the right one, for the verdict `other`."""

    verdict: Verdict
    label: Label | None = None


class BadReview(DaemonError):
    """A review does not make sense."""


def add(store: Store, row: Row, review: Review) -> None:
    """Store a review of a prediction, in place of an earlier one. Raises BadReview."""
    if (review.verdict == "other") != (review.label is not None):
        raise BadReview("a label goes with the verdict `other`, and with no other one")
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
    with store.write() as db:
        done = db.execute(
            "DELETE FROM reviews WHERE prediction = ? AND source = "
            "(SELECT source FROM predictions WHERE number = ?)",
            (bytes.fromhex(row.id), row.number),
        )
    return bool(done.rowcount)


def as_data_set(rows: Iterator[Row], sound: Callable[[Row], tuple[Float, int]]) -> bytes:
    """A zip of `metadata.csv` and WAVs, one for each reviewed window whose label is known.

    It has the form of docs/own-sounds.md. Windows of one file, or of one microphone on one day,
    share a fold, so that no recording is both learnt and tested. A window whose sound is gone is
    left out and named in `missing.txt`.
    """
    file, metadata, missing = io.BytesIO(), io.StringIO(), []
    table = csv.writer(metadata, lineterminator="\n")
    table.writerow(["filename", "label", "fold"])
    folds: dict[str, int] = {}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for row in rows:
            if row.corrected is None:
                continue
            recording = row.path if row.kind == "file" else f"{row.source}-{row.at // 86_400_000}"
            fold = folds.setdefault(str(recording), len(folds) % FOLDS + 1)
            try:
                samples, rate = sound(row)
            except NoSound as error:
                missing.append(f"{row.id}: {error}")
                continue
            name = f"{row.id}.wav"
            archive.writestr(name, wav_bytes(samples, rate))
            table.writerow([name, row.corrected, fold])
        archive.writestr("metadata.csv", metadata.getvalue())
        if missing:
            archive.writestr("missing.txt", "\n".join(missing) + "\n")
    return file.getvalue()
