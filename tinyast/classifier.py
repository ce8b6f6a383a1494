"""From samples to scores: picture, model and calibration in one object.

Every way in (a file, a microphone, `classify`, `evaluate`) goes through `Classifier.logits`, so
the same five seconds give the same scores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyast.arrays import Float
from tinyast.audio.decoding import check_rate, checked, downmix
from tinyast.audio.windows import WindowPlan
from tinyast.errors import AudioError
from tinyast.features.graph import FeatureGraph
from tinyast.inference.checkpoint import Checkpoint, read_checkpoint
from tinyast.inference.engine import Engine, load_engine, softmax
from tinyast.inference.familiarity import familiarity

SILENT = 1e-10  # least RMS: digital zeros count as -200 dBFS


@dataclass(frozen=True)
class WindowScores:
    """The classification of one window."""

    index: int
    start_s: float
    end_s: float
    padded_s: float  # seconds of zeros that fill up a short recording
    rms_dbfs: float  # level without the padding; a full-scale square wave has 0
    labels: tuple[str, ...]
    scores: Float  # (labels,), sums to 1
    unknown: bool  # unlike all labels, by the checkpoint's limit

    @property
    def label(self) -> str:
        """The best label."""
        return self.labels[int(self.scores.argmax())]

    @property
    def score(self) -> float:
        """The best label's score, 0 to 1."""
        return float(self.scores.max())

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The `k` best labels with their scores, best first."""
        return [(self.labels[i], float(self.scores[i])) for i in np.argsort(-self.scores)[:k]]


class Classifier:
    """A loaded checkpoint. Safe to use from several threads."""

    def __init__(self, checkpoint: Checkpoint, engine: Engine) -> None:
        self.checkpoint = checkpoint
        self.engine = engine
        self._features = FeatureGraph(checkpoint.features, checkpoint.path)

    @classmethod
    def load(cls, dir: Path | str | None = None, engine: str = "onnx") -> Classifier:
        """Load the checkpoint in folder `dir`, the shipped one if None.

        `engine` is "onnx", "int8" or "torch". Raises CheckpointError.
        """
        checkpoint = read_checkpoint(dir)
        return cls(checkpoint, load_engine(checkpoint, engine))

    @property
    def labels(self) -> tuple[str, ...]:
        return self.checkpoint.labels

    def logits(self, samples: Float, rate: int) -> tuple[Float, float]:
        """One window: mono `samples`, (n,) at `rate` Hz and at most a window long.

        Returns the calibrated logits, (labels,), and the level in dBFS of the samples given.
        Raises AudioError `not_finite` if samples or logits are not finite.
        """
        picture, level = self.hear(samples, rate)
        return self.checked(self.engine.logits(picture[None])[0]), level

    def hear(self, samples: Float, rate: int) -> tuple[Float, float]:
        """The first half of `logits`: the engine's picture of a window, and its level in dBFS."""
        picture, power = self._features(samples, rate)
        if not math.isfinite(power):
            raise AudioError("not_finite", "its samples are not finite")
        return picture, 20 * math.log10(max(math.sqrt(power), SILENT))

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
        self, samples: NDArray[np.floating[Any]], rate: int, hop_s: float | None = None
    ) -> list[WindowScores]:
        """Classify a recording: `samples` (n,) or (n, channels) at `rate` Hz, full scale at 1.

        One result for each window; windows follow each other without overlap unless `hop_s`
        says otherwise. Raises AudioError for an empty recording, a rate out of range or
        samples that are not finite.
        """
        check_rate(rate)
        with np.errstate(
            over="ignore", invalid="ignore"
        ):  # values that do not fit are refused below
            frames = checked(np.asarray(samples, dtype=np.float32))
        mono = downmix(frames) if frames.ndim == 2 else frames
        if len(mono) < 2:
            raise AudioError("too_short", f"it holds {len(mono)} frames of sound")
        length = self.checkpoint.features.window_s
        plan = WindowPlan(len(mono), rate, length, length if hop_s is None else hop_s)
        results = []
        for window in plan:
            logits, level = self.logits(mono[window.start : window.end], rate)
            results.append(
                WindowScores(
                    window.index,
                    window.start_s,
                    window.end_s,
                    window.padded_s,
                    level,
                    self.labels,
                    softmax(logits),
                    self.is_unknown(logits),
                )
            )
        return results
