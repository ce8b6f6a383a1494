"""From one window of a file to what is said about it: the daemon's and `classify`'s alike."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from daemon.monitoring.metrics import Stage, untimed
from daemon.pipeline.decision import decide
from daemon.pipeline.recording_time import began
from daemon.protocol.messages import timestamp
from daemon.settings.schema import Decision, Folder
from tinyast.arrays import Float
from tinyast.audio.content import Content
from tinyast.audio.decoding import open_recording
from tinyast.audio.windows import Window, WindowPlan
from tinyast.classifier import Classifier
from tinyast.errors import AudioError
from tinyast.inference.engine import softmax


@dataclass(frozen=True)
class Rules:
    """What shapes predictions, apart from the model."""

    decision: Decision
    hop_s: float
    max_duration_s: float
    top: int  # labels listed


class Listening:
    """An open recording being classified, window by window.

    The descriptor stays the caller's. Raises AudioError where it cannot be read as audio.
    """

    def __init__(
        self,
        file: Content,
        path: bytes,
        folder: Folder,
        classifier: Classifier,
        rules: Rules,
        stage: Stage = untimed,
    ) -> None:
        self._recording = open_recording(file, folder.formats)
        self._classifier, self._rules, self._stage = classifier, rules, stage
        self.rate = self._recording.rate
        self.duration_s = self._recording.frames / self.rate
        if self.duration_s > rules.max_duration_s:
            raise AudioError(
                "too_long",
                f"it holds {self.duration_s:.0f} s of sound; at most {rules.max_duration_s:.0f} s "
                "is read (setting: audio.max_duration)",
            )
        self.plan = WindowPlan(
            self._recording.frames,
            self.rate,
            classifier.checkpoint.features.window_s,
            rules.hop_s,
        )
        self._began, self._clock = began(
            path, os.fstat(file.fd).st_mtime_ns, self.duration_s, self._recording.bext, folder
        )

    def predict(self, window: Window) -> dict[str, Any]:
        """The body of a prediction for one window of `plan`, by itself. Raises AudioError."""
        picture, level = self.hear(window)
        return self.tell(window, self._classifier.engine.logits(picture[None])[0], level)

    def hear(self, window: Window) -> tuple[Float, float]:
        """What the model is shown of one window of `plan`, and its level in dBFS.

        Raises AudioError.
        """
        with self._stage("read"):
            samples = self._recording.read(window.start, window.end)
        with self._stage("features"):
            return self._classifier.hear(samples, self.rate)

    def tell(self, window: Window, logits: Float, level: float) -> dict[str, Any]:
        """The body of a prediction for that window, given the engine's logits, (labels,).

        Raises AudioError.
        """
        return {
            "window": {
                "index": window.index,
                "start_s": round(window.start_s, 6),
                "end_s": round(window.end_s, 6),
                "padded_s": round(window.padded_s, 6),
                "started_at": timestamp(self._began + window.start_s),
                "clock": self._clock,
            },
            **judge(self._classifier, self._rules, logits, level),
        }


def judge(classifier: Classifier, rules: Rules, logits: Float, rms_dbfs: float) -> dict[str, Any]:
    """What one window sounds like and whether that is accepted, wherever it came from.

    `logits`, (labels,), are the engine's. Raises AudioError where they are not finite.
    """
    scores = softmax(classifier.checked(logits))
    order = scores.argsort()[::-1][: rules.top].tolist()
    labels, each = classifier.labels, scores.tolist()
    label, score = labels[order[0]], each[order[0]]
    verdict = decide(label, score, rms_dbfs, classifier.is_unknown(logits), rules.decision)
    return {
        "label": label,
        "score": round(score, 6),
        "threshold": verdict.threshold,
        "decision": "accepted" if verdict.accepted else "rejected",
        "reason": verdict.reason,
        "top": [{"label": labels[i], "score": round(each[i], 6)} for i in order],
        "rms_dbfs": round(rms_dbfs, 2),
        "model": {
            "name": classifier.checkpoint.name,
            "version": classifier.checkpoint.version,
            "sha256": classifier.engine.sha256,
        },
    }
