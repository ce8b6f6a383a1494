"""`tinyastd learn`: teach a checkpoint new kinds of sound from a folder of clips."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from daemon.commands.batch.classify import progress
from daemon.errors import SettingsError
from daemon.monitoring.logging import printable
from daemon.monitoring.signals import raise_on_ctrl_c
from daemon.settings.schema import Settings
from tinyast.classifier import Classifier, HeardWindow
from tinyast.errors import AudioError, DataError
from tinyast.inference.results import loud
from tinyast.learning.background import read_background
from tinyast.learning.checkpoint import CARD, check_base, check_output, write_checkpoint
from tinyast.learning.clips import Clip, check_read, read_clips
from tinyast.learning.examples import NONE, Examples, Known
from tinyast.learning.page import page, summary
from tinyast.learning.results import results
from tinyast.learning.teaching import teach

MOST_WINDOWS = 60  # heard of one clip


def learn(
    settings: Settings, given: Path, output: Path, only_mine: bool, precision: float
) -> list[str]:
    """Write the checkpoint `output`; lines that sum up how well it does.

    Raises SettingsError, DataError, CheckpointError.
    """
    if not 0.5 <= precision < 1:
        raise SettingsError(f"--precision is a share from 0.5 to 1, such as 0.9, not {precision}")
    clips = read_clips(given)
    check_output(output)
    classifier = Classifier.load(settings.checkpoint_path)
    raise_on_ctrl_c()
    check_base(classifier.checkpoint)
    known = Known(
        classifier.labels,
        classifier.checkpoint.unknown_below,
        read_background(classifier.checkpoint),
    )
    examples, unread = _hear(classifier, clips)
    for name, why in unread:
        print(f"left out: {printable(name)}: {why}", file=sys.stderr)
    check_read(clips, set(examples.clips.tolist()))
    _check(given, examples, only_mine)
    lesson = teach(examples, known, only_mine, precision)
    found = results(lesson, examples, clips, known, settings.decision.threshold)
    base = classifier.checkpoint.model
    text = page(output.name, base, found, unread, () if only_mine else known.labels)
    write_checkpoint(classifier.checkpoint, lesson.head, output, {CARD: text})
    return summary(found)


def _check(given: Path, examples: Examples, only_mine: bool) -> None:
    """Raise DataError if the clips that could be read do not suffice."""
    kinds = set(examples.labels) - {NONE}
    if not kinds:
        raise DataError(
            f"{given} has no readable clip of any kind; `{NONE}` alone does not count as one"
        )
    if only_mine and len(set(examples.labels)) < 2:
        raise DataError(
            f"{given} has only one kind; with --only-mine add another, or a folder `{NONE}` of "
            "other sounds"
        )


def _hear(classifier: Classifier, clips: Sequence[Clip]) -> tuple[Examples, list[tuple[str, str]]]:
    """The graph's outputs for the clips, and the clips that cannot be read, with the reason."""
    heard: list[HeardWindow] = []
    numbers: list[int] = []
    unread: list[tuple[str, str]] = []
    with progress(len(clips)) as advance:
        for number, clip in enumerate(clips):
            try:
                windows = classifier.hear_file(
                    clip.path, start_s=clip.start_s, end_s=clip.end_s, most=MOST_WINDOWS
                )
                some = list(windows)
            except (AudioError, OSError) as error:
                unread.append((str(clip.path), str(error)))
                some = []
            kept = loud(some)
            heard += kept
            numbers += [number] * len(kept)
            advance()
    if not heard:
        raise DataError(f"no clip can be read; the first: {unread[0][0]}: {unread[0][1]}")
    audioset = [window.audioset for window in heard if window.audioset is not None]
    return Examples(
        np.stack([window.logits for window in heard]),
        np.stack([window.embedding for window in heard]),
        np.stack(audioset) if len(audioset) == len(heard) else None,
        tuple(clips[number].label for number in numbers),
        np.array(numbers, np.int64),
        tuple(clips[number].recording for number in numbers),
    ), unread
