"""`tinyastd learn --fine-tune`: all of a checkpoint learns a few clips of each kind.

python -P -m tinyast.training.fine_tuning '{"clips": …, "checkpoint": …, "output": …}'

The daemon's package loads no torch, so the command runs this in a process of its own.
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import soundfile
from msgspec import structs
from numpy.typing import NDArray
from transformers.utils.logging import disable_progress_bar

from tinyast.audio.decoding import opened
from tinyast.classifier import Classifier
from tinyast.data.spectrograms import Spectra, spectra_of
from tinyast.errors import AudioError, DataError, TinyASTError
from tinyast.export.checkpoint import export
from tinyast.inference.checkpoint import Checkpoint
from tinyast.inference.engine import softmax
from tinyast.inference.results import HeardWindow, loud
from tinyast.learning.checkpoint import CARD, check_base, check_output, replacing
from tinyast.learning.clips import Clip, check_read, read_clips
from tinyast.learning.examples import NONE, share_out
from tinyast.model.modeling import TinyASTForAudioClassification
from tinyast.shipped import find_shipped
from tinyast.training.extending import Extension, extend, find_model
from tinyast.training.loop import Clips, Metrics, predict, train
from tinyast.training.recipe import Recipe, load_recipe

FOLDS = 5  # of which one judges, and then the model learns all
MOST_WINDOWS = 12  # heard of one clip
HELD = 0
LEAST_STEPS = 40
RECIPE = "recipe-mine.toml"


class Task(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to learn from, and where to; each is a path."""

    clips: str
    checkpoint: str
    output: str
    only_mine: bool = False


def fine_tune(task: Task) -> list[str]:
    """Write the checkpoint `task.output`; lines that sum up how well it does.

    Raises DataError, CheckpointError, RecipeError.
    """
    check_output(Path(task.output))
    clips = read_clips(Path(task.clips))
    classifier = Classifier.load(task.checkpoint)
    check_base(classifier.checkpoint)
    kinds = tuple(sorted({clip.label for clip in clips} - {NONE}))
    if len(kinds) < (2 if task.only_mine else 1):
        raise DataError(f"{task.clips} has clips of {', '.join(kinds) or 'no kind'}; add another")
    extension = extend(find_model(str(classifier.checkpoint.path)), kinds, task.only_mine)
    recipe = extension.recipe(load_recipe(usual_recipe()))
    with tempfile.TemporaryDirectory(prefix="tinyast-") as name:
        place = Path(name)
        heard = _hear(classifier, clips, extension, recipe, place)
        recipe = long_enough(recipe, len(heard.targets))
        lines = _judgement(place / "judge", extension, recipe, heard)
        whole = Clips(heard.spectra, heard.targets)
        model = _trained(place / "all", extension, recipe, whole)
    _write(task, extension, model, classifier.checkpoint, lines)
    return lines


def long_enough(recipe: Recipe, windows: int) -> Recipe:
    """`recipe` with more epochs if so few windows would make too few steps of it."""
    steps = max(1, windows // recipe.batch_size)  # of an epoch
    return structs.replace(recipe, epochs=max(recipe.epochs, math.ceil(LEAST_STEPS / steps)))


def _write(
    task: Task,
    extension: Extension,
    model: TinyASTForAudioClassification,
    base: Checkpoint,
    lines: Sequence[str],
) -> None:
    """Export the model beside the output, then put it there."""
    count = 0 if extension.kept is None else extension.kept.count
    kept = f", whose {count} kinds it keeps" if count else ""
    output = Path(task.output)
    card = [f"# {output.name}", f"Fine-tuned from {base.model}{kept}.", *lines]
    model.config.learnt_from = base.model
    with replacing(output) as made:
        export(model, extension.begin.settings, made, f"{base.version}+fine")
        (made / CARD).write_text("\n\n".join(card) + "\n", encoding="utf-8")


def usual_recipe() -> Path:
    """The recipe `mine`, in the package or checkout. Raises DataError."""
    if (found := find_shipped(RECIPE)) is None:
        raise DataError(f"this installation came without {RECIPE}")
    return found


@dataclass(frozen=True, eq=False)
class Heard:
    """The windows of all clips, n of them."""

    spectra: Spectra
    targets: NDArray[np.int64]  # (n,) -1: of no kind
    owners: NDArray[np.int64]  # (n,) numbers of their clips
    folds: NDArray[np.int64]  # (n,)


def _hear(
    classifier: Classifier,
    clips: Sequence[Clip],
    extension: Extension,
    recipe: Recipe,
    place: Path,
) -> Heard:
    owners, files = _cut(classifier, clips, place)
    numbers = {label: number for number, label in enumerate(extension.labels)}
    labels = [clips[at].label for at in owners]
    return Heard(
        _spectra(files, extension, recipe, place),
        np.array([numbers.get(label, -1) for label in labels], np.int64),
        np.array(owners, np.int64),
        share_out(labels, [clips[at].recording for at in owners], FOLDS),
    )


def _cut(
    classifier: Classifier, clips: Sequence[Clip], place: Path
) -> tuple[list[int], list[Path]]:
    """The windows of all clips as files, and the number of the clip of each."""
    owners: list[int] = []
    files: list[Path] = []
    for number, clip in enumerate(clips):
        try:
            found = _cut_one(classifier, clip, place / f"{number:05d}")
        except (AudioError, OSError) as error:
            print(f"left out: {clip.path}: {error}", file=sys.stderr)
            continue
        owners += [number] * len(found)
        files += found
    check_read(clips, set(owners))
    return owners, files


def _cut_one(classifier: Classifier, clip: Clip, stem: Path) -> list[Path]:
    files = []
    for window in _windows(classifier, clip):
        with opened(clip.path) as recording:
            sound = recording.read(window.window.start, window.window.end)
            path = stem.with_name(f"{stem.name}-{window.window.index:05d}.wav")
            soundfile.write(path, sound, recording.rate, subtype="FLOAT")
        files.append(path)
    return files


def _windows(classifier: Classifier, clip: Clip) -> list[HeardWindow]:
    heard = classifier.hear_file(
        clip.path, start_s=clip.start_s, end_s=clip.end_s, most=MOST_WINDOWS
    )
    return loud(list(heard))


def _spectra(files: Sequence[Path], extension: Extension, recipe: Recipe, place: Path) -> Spectra:
    return spectra_of(
        files, extension.begin.settings.unpooled(), recipe.variation(), place / "spectra"
    )


def _trained(
    folder: Path, extension: Extension, recipe: Recipe, clips: Clips
) -> TinyASTForAudioClassification:
    def report(row: Metrics) -> None:
        print(f"epoch {row.epoch}/{recipe.epochs}: loss {row.loss:.3f}", file=sys.stderr)

    return train(
        folder, recipe, extension.begin.settings, extension.labels, clips, None, [extension.begin],
        report=report, begin=extension.begin, kept=extension.kept,
    )  # fmt: skip


def _judgement(folder: Path, extension: Extension, recipe: Recipe, heard: Heard) -> list[str]:
    """Lines for the clips of a fold, asked of a model that has not heard their recordings.

    Empty if the other folds lack a kind.
    """
    targets, held = heard.targets, (heard.folds == HELD) & (heard.targets >= 0)
    rest = heard.folds != HELD
    if not held.any() or not set(targets[held]) <= set(targets[rest]):
        return []
    judge = _trained(folder, extension, recipe, Clips(heard.spectra.take(rest), targets[rest]))
    logits = predict(judge, heard.spectra.take(held), extension.begin.settings)
    scores, owners = softmax(logits), heard.owners[held]
    counts: dict[str, list[bool]] = {}
    for clip in np.unique(owners):
        label = extension.labels[int(targets[held][owners == clip][0])]
        given = extension.labels[int(scores[owners == clip].mean(axis=0).argmax())]
        counts.setdefault(label, []).append(given == label)
    right, total = (sum(f(each) for each in counts.values()) for f in (sum, len))
    return [
        *(f"{kind}: {sum(each)} of {len(each)} clips right" for kind, each in counts.items()),
        f"{right} of {total} clips right, judged by a model that had not heard their recordings",
    ]


def main() -> None:
    """Do the task in the only argument; errors are one line and exit code 1."""
    disable_progress_bar()
    try:
        for line in fine_tune(msgspec.json.decode(sys.argv[1], type=Task)):
            print(line)
    except (TinyASTError, OSError) as error:
        print(f"tinyastd: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
