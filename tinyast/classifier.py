"""From samples to scores: picture, model and calibration in one object.

Every way in (a file, a microphone, `classify`, `evaluate`) goes through `Classifier.logits`, so
the same five seconds give the same scores.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from tinyast.arrays import Float
from tinyast.audio.channels import read_one_channel
from tinyast.audio.decoding import check_rate, checked, opened
from tinyast.audio.samples import whole_rate
from tinyast.audio.windows import Window, WindowPlan
from tinyast.errors import AudioError, CheckpointError
from tinyast.features.graph import FeatureGraph
from tinyast.inference.checkpoint import Checkpoint, check_sums, read_checkpoint
from tinyast.inference.engine import Engine, load_engine, softmax
from tinyast.inference.engine_names import AUDIOSET, EMBEDDING, LOGITS
from tinyast.inference.familiarity import familiarity
from tinyast.inference.results import HeardWindow, Windows, WindowScores

__all__ = ("Classifier", "HeardWindow", "WindowScores", "Windows")

MOST_CHANNELS = 64
SILENT = 1e-10  # least RMS: digital zeros count as -200 dBFS


class Classifier:
    """A loaded checkpoint. Safe to use from several threads."""

    def __init__(self, checkpoint: Checkpoint, engine: Engine) -> None:
        self.checkpoint = checkpoint
        self.engine = engine
        self._features = FeatureGraph(checkpoint.features, checkpoint.path)

    def __reduce__(self) -> tuple[object, ...]:
        """Another process loads the checkpoint again: it needs the same folder."""
        return Classifier.load, (self.checkpoint.path.absolute(), self.engine.name)

    @classmethod
    def load(cls, dir: Path | str | None = None, engine: str = "onnx") -> Classifier:
        """Load a checkpoint: a folder, the name of a shipped one, or `esc50` if None.

        `engine` is "onnx", "int8" or "torch". Raises CheckpointError.
        """
        checkpoint = read_checkpoint(dir)
        check_sums(checkpoint.path)
        return cls(checkpoint, load_engine(checkpoint, engine))

    @property
    def labels(self) -> tuple[str, ...]:
        return self.checkpoint.labels

    @cached_property
    def thresholds(self) -> dict[str, float]:
        """Least scores that come with the checkpoint, for kinds that it was taught."""
        return self.checkpoint.thresholds

    def logits(self, samples: Float, rate: int) -> tuple[Float, float]:
        """One window: mono `samples`, (n,) at `rate` Hz and at most a window long.

        Returns the calibrated logits, (labels,), and the level in dBFS of the samples given.
        Raises AudioError `not_finite` if samples or logits are not finite.
        """
        picture, level = self.hear(samples, rate)
        return self.checked(self.engine.logits(picture[None])[0]), level

    def hear(self, samples: Float, rate: int) -> tuple[Float, float]:
        """The first half of `logits`: the engine's picture of a window, and its level in dBFS.

        The level is that of the sound in the model's band, without an offset (DC).
        """
        picture, power = self._features(samples, rate)
        if not math.isfinite(power):
            raise AudioError("not_finite", "its samples are not finite")
        return picture, 20 * math.log10(max(math.sqrt(max(power, 0.0)), SILENT))

    def give_back_memory(self) -> None:
        """Return to the C library the memory that earlier windows needed; the next takes it again.

        Raises CheckpointError.
        """
        self._features.give_back_memory()

    @staticmethod
    def checked(logits: Float) -> Float:
        """The second half: the engine's logits for that picture, (labels,), if finite."""
        if not math.isfinite(float(logits.sum())):  # not finite if one of them is not
            raise AudioError("not_finite", "the model's scores for it are not finite")
        return logits

    def scores(self, samples: Float, rate: int) -> tuple[Float, float]:
        """As `logits`, with the scores, (labels,), which sum to 1."""
        logits, level = self.logits(samples, rate)
        return softmax(logits), level

    def is_unknown(self, logits: Float) -> bool:
        """Whether a window with these calibrated `logits`, (labels,), is unlike all known kinds.

        Always false if the checkpoint has no limit for the familiarity.
        """
        least = self.checkpoint.unknown_below
        return least is not None and float(familiarity(logits[None])[0]) < least

    def predict(
        self, samples: NDArray[np.generic], rate: int, hop_s: float | None = None
    ) -> Windows:
        """Classify a recording: `samples` (n,) or (n, channels) at `rate` Hz, full scale at 1.

        One result for each window; windows follow each other without overlap unless `hop_s`
        says otherwise. The mean of all channels is classified, or the loudest one in a window where
        they cancel each other. Integers of 8, 16 or 32 bits have the full scale of their type.

        Raises AudioError for an empty recording, a rate out of range or samples that are not
        finite, and ValueError for an array of another shape or type, a rate that is no whole
        number, or a hop of less than a frame.
        """
        rate = whole_rate(rate)
        return Windows(
            self._result(window, *self.logits(sound, rate))
            for window, sound in self._windows(samples, rate, hop_s)
        )

    def predict_file(self, path: Path | str, hop_s: float | None = None) -> Windows:
        """Classify a file of any length and of any format that `tinyast.audio` reads.

        Its windows are those of `predict`, cut at the file's own rate. Memory does not grow with
        its length, but for the results. Raises AudioError, OSError.
        """
        with opened(path) as recording:
            plan = self._plan(recording.frames, recording.rate, hop_s)
            read, rate = recording.read, recording.rate
            return Windows(
                self._result(window, *self.logits(read(window.start, window.end), rate))
                for window in plan
            )

    def hear_file(
        self,
        path: Path | str,
        hop_s: float | None = None,
        start_s: float = 0.0,
        end_s: float | None = None,
        most: int | None = None,
    ) -> Iterator[HeardWindow]:
        """All outputs of the engine for each window of a file, or of its part between two times.

        Of more than `most` windows, as many are heard, evenly spread. Times count from the file's
        beginning. Raises AudioError, OSError, and CheckpointError if the checkpoint gives no
        embeddings.
        """
        self.check_embeds()
        names = [name for name in (LOGITS, EMBEDDING, AUDIOSET) if name in self.engine.outputs]
        with opened(path) as recording:
            rate = recording.rate
            first = round(start_s * rate)
            last = recording.frames if end_s is None else min(recording.frames, round(end_s * rate))
            if last - first < 2:
                raise AudioError("too_short", f"it ends before {start_s:g} s")
            plan = self._plan(last - first, rate, hop_s)
            count = len(plan) if most is None else min(most, len(plan))
            for number in range(count):
                cut = plan[round(number * (len(plan) - 1) / max(1, count - 1))]
                window = replace(cut, start=first + cut.start, end=first + cut.end)
                picture, level = self.hear(recording.read(window.start, window.end), rate)
                made = [output[0] for output in self.engine.run(picture[None], names)]
                self.checked(made[0])
                audioset = made[2] if AUDIOSET in names else None
                yield HeardWindow(window, level, made[0], made[1], audioset)

    def _result(self, window: Window, logits: Float, level: float) -> WindowScores:
        return WindowScores(
            window.index,
            window.start_s,
            window.end_s,
            window.padded_s,
            level,
            self.labels,
            softmax(logits),
            self.is_unknown(logits),
        )

    def embed(self, samples: NDArray[np.generic], rate: int, hop_s: float | None = None) -> Float:
        """Describe a recording, given as to `predict`: (windows, d) float32.

        Windows that sound alike have embeddings near each other. Raises what `predict` raises, and
        CheckpointError if the checkpoint gives no embeddings.
        """
        self.check_embeds()
        rate = whole_rate(rate)
        pictures = [self.hear(sound, rate)[0] for _, sound in self._windows(samples, rate, hop_s)]
        return np.concatenate(
            [self.engine.run(picture[None], (EMBEDDING,))[0] for picture in pictures]
        )

    def check_embeds(self) -> None:
        """Raise CheckpointError if the checkpoint gives no embeddings."""
        if EMBEDDING not in self.engine.outputs:
            raise CheckpointError(
                f"{self.checkpoint.path} ({self.checkpoint.model}) gives no embeddings; use a "
                "checkpoint of version 5 or newer"
            )

    def _plan(self, frames: int, rate: int, hop_s: float | None) -> WindowPlan:
        length = self.checkpoint.features.window_s
        return WindowPlan(frames, rate, length, length if hop_s is None else hop_s)

    def _windows(
        self, samples: NDArray[np.generic], rate: int, hop_s: float | None
    ) -> Iterator[tuple[Window, Float]]:
        """Each window of a recording, with its mono samples."""
        check_rate(rate)
        frames = checked(_full_scale(np.asarray(samples)))
        if frames.ndim not in (1, 2):
            raise ValueError(f"samples have the shape (n,) or (n, channels), not {frames.shape}")
        if frames.ndim == 2 and frames.shape[1] > MOST_CHANNELS:
            raise ValueError(
                f"samples of the shape {frames.shape} have {frames.shape[1]} channels, and at most "
                f"{MOST_CHANNELS} are possible; the shape is (n, channels): give `samples.T`"
            )
        if len(frames) < 2:
            raise AudioError("too_short", f"it holds {len(frames)} frames of sound")
        for window in self._plan(len(frames), rate, hop_s):
            yield window, _mono(frames, window)


def _mono(frames: Float, window: Window) -> Float:
    """A window of (n,) or (n, channels) as one channel, as `Recording.read` gives it."""
    if frames.ndim == 1:
        return frames[window.start : window.end]
    return read_one_channel(
        lambda start, end: frames[start:end], window.start, window.end, frames.shape[1], "mix"
    )


def _full_scale(samples: NDArray[np.generic]) -> Float:
    """As float32 with full scale at 1."""
    kind = samples.dtype
    if kind == np.uint8:  # as in WAV, with silence at 128
        return (samples.astype(np.float32) - np.float32(128)) / np.float32(128)
    if kind.kind == "i" and kind.itemsize <= 4:
        return samples.astype(np.float32) / np.float32(2 ** (8 * kind.itemsize - 1))
    if kind.kind != "f":
        raise ValueError(
            f"samples are floats, or integers of up to 32 bits, not {kind}; scale them to -1 to 1"
        )
    with np.errstate(over="ignore", invalid="ignore"):  # `checked` refuses values that do not fit
        return samples.astype(np.float32, copy=False)
