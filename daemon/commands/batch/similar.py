"""`tinyastd similar`: find windows that sound like a clip, in recordings or in a table of them."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from daemon.commands.batch.classify import progress
from daemon.commands.batch.classify_output import shown
from daemon.commands.batch.classify_sinks import PARQUET
from daemon.commands.batch.finding import find_all, folder_settings
from daemon.errors import SettingsError
from daemon.monitoring.logging import printable
from daemon.monitoring.signals import raise_on_ctrl_c
from daemon.settings.schema import Settings
from tinyast.arrays import Float
from tinyast.classifier import Classifier
from tinyast.errors import AudioError
from tinyast.inference.results import loud
from tinyast.learning.background import read_background
from tinyast.learning.similar import Match, Place, nearest


def similar(
    settings: Settings, clip: Path, paths: Sequence[Path], count: int, hop_s: float
) -> list[Match]:
    """The `count` windows under `paths` most like those of `clip`, best first.

    A folder as `clip` means any of its clips. Files ending in .parquet are tables that
    `tinyastd classify --embeddings` wrote. Raises SettingsError if nothing is there to look for or
    to look in, and CheckpointError for a checkpoint without embeddings.
    """
    classifier = Classifier.load(settings.checkpoint_path)
    raise_on_ctrl_c()
    within = read_background(classifier.checkpoint).within
    folder = folder_settings(settings, None, every_format=True)
    wanted = [row for path in find_all([clip], folder) for row in _loud(classifier, path)]
    if not wanted:
        raise SettingsError(f"{clip} holds no sound to look for; name a clip or a folder of clips")
    tables = [path for path in paths if path.suffix == PARQUET]
    sounds = find_all([path for path in paths if path.suffix != PARQUET], folder)
    if not sounds and not tables:
        names = ", ".join(map(str, paths))
        raise SettingsError(f"no recordings in {names}; name folders, files or a Parquet table")

    def places() -> Iterator[Place]:
        with progress(len(sounds)) as advance:
            for path in sounds:
                yield from _heard(classifier, path, hop_s)
                advance()
        for table in tables:
            yield from _stored(table, classifier)

    spread = (
        Place(place.path, place.start_s, place.end_s, place.embedding @ within)
        for place in places()
    )
    matches = nearest(np.stack(wanted) @ within, spread, count)
    if not matches:
        raise SettingsError("none of these could be read; name other recordings")
    return matches


def _loud(classifier: Classifier, path: bytes) -> list[Float]:
    try:
        heard = list(classifier.hear_file(path.decode(errors="surrogateescape")))
    except (AudioError, OSError) as error:
        raise SettingsError(f"{shown(path)} cannot be read: {error}") from error
    return [each.embedding for each in loud(heard)]


def _heard(classifier: Classifier, path: bytes, hop_s: float) -> Iterator[Place]:
    name = shown(path)
    try:
        for heard in classifier.hear_file(path.decode(errors="surrogateescape"), hop_s):
            yield Place(name, heard.window.start_s, heard.window.end_s, heard.embedding)
    except (AudioError, OSError) as error:
        print(f"left out: {printable(name)}: {error}", file=sys.stderr)


def _stored(table: Path, classifier: Classifier) -> Iterator[Place]:
    """The rows of a table of embeddings, which must be of this model."""
    from daemon.tables.parquet import read_embeddings

    for row in read_embeddings(table):
        if row.model != classifier.checkpoint.model:
            raise SettingsError(
                f"{table} holds embeddings by {row.model}, and the checkpoint is "
                f"{classifier.checkpoint.model}: name that one with --checkpoint"
            )
        yield Place(row.path, row.start_s, row.end_s, row.embedding)


def table(matches: Sequence[Match]) -> str:
    """CSV with a row for each match."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "start_s", "end_s", "similarity"])
    for match in matches:
        place = round(match.start_s, 3), round(match.end_s, 3)
        writer.writerow([match.path, *place, round(match.similarity, 4)])
    return text.getvalue()
