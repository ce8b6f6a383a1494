"""From one window of sound to its prediction: the same for the daemon and for `classify`."""

from __future__ import annotations

import os
from collections.abc import Sequence

from msgspec import UNSET, Struct, UnsetType

from daemon.errors import FORBIDDEN
from daemon.monitoring.metrics import Stage, untimed
from daemon.pipeline.decision import decide
from daemon.pipeline.recorder import recorder
from daemon.pipeline.recording_time import began
from daemon.protocol.messages import (
    ClockDoubt,
    Error,
    Judgement,
    Model,
    Prediction,
    Ranked,
    Source,
    prediction,
    timestamp,
)
from daemon.protocol.messages import Window as MessageWindow
from daemon.settings.schema import Decision, Folder, Privacy, Settings
from tinyast.arrays import Float
from tinyast.audio.content import Content
from tinyast.audio.decoding import open_recording
from tinyast.audio.windows import Window, WindowPlan
from tinyast.classifier import Classifier
from tinyast.errors import AudioError
from tinyast.inference.engine import softmax
from tinyast.inference.engine_names import AUDIOSET, LOGITS, SPEECH

ALL_KEPT = Privacy(speech="keep")


class Rules(Struct, frozen=True):
    """The settings that shape predictions."""

    decision: Decision
    hop_s: float
    max_duration_s: float
    top: int  # labels listed
    privacy: Privacy = ALL_KEPT
    heeds_speech: bool = False  # whether scores of speech are needed

    @classmethod
    def of(cls, settings: Settings) -> Rules:
        audio = settings.audio
        return cls(
            settings.decision,
            audio.hop,
            audio.max_duration,
            settings.top,
            settings.privacy,
            settings.heeds_speech,
        )


class Features(Struct, frozen=True, eq=False):
    """What a model needs of one window."""

    picture: Float  # (mel bands, frames)
    rms_dbfs: float


class RecordingReader:
    """Reads an open recording and predicts window by window.

    The descriptor stays the caller's. Raises AudioError if the file cannot be read as audio.
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
        self._recording = open_recording(file, folder.formats, folder.channel)
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
        mtime_ns = os.fstat(file.fd).st_mtime_ns
        metadata = self._recording.metadata
        self._began = began(path, mtime_ns, self.duration_s, metadata, folder)
        self._recorder = recorder(metadata)
        self.defect = self._recording.defect  # to be said once all windows are read

    def predict(self, window: Window, source: Source, file_id: str) -> Prediction:
        """The prediction for one window of `plan`, in one call. Raises AudioError."""
        features = self.features(window)
        [(logits, speech)] = ask(self._classifier, features.picture[None], self._rules)
        return self.result(window, features, logits, source, file_id, speech)

    def features(self, window: Window) -> Features:
        """Read one window of `plan` and compute its features. Raises AudioError."""
        with self._stage("read"):
            samples = self._recording.read(window.start, window.end)
        with self._stage("features"):
            return Features(*self._classifier.hear(samples, self.rate))

    def result(
        self,
        window: Window,
        features: Features,
        logits: Float,
        source: Source,
        file_id: str,
        speech: float = 0.0,
    ) -> Prediction:
        """The prediction for that window, given the engine's logits, (labels,), and speech.

        Raises AudioError if they are not finite.
        """
        begun, doubt = self._began, self._began.doubt
        place = describe_window(
            window.index,
            window.start_s,
            window.end_s,
            window.padded_s,
            begun.at + window.start_s,
            begun.clock,
            UNSET if doubt is None else (doubt.clock, doubt.at + window.start_s),
        )
        judgement = judge(
            self._classifier, self._rules, logits, features.rms_dbfs, speech, source.kind
        )
        return prediction(source, file_id, place, judgement, self._recorder)


def describe_window(
    index: int,
    start_s: float,
    end_s: float,
    padded_s: float,
    started: float,
    clock: str,
    doubt: tuple[str, float] | UnsetType = UNSET,
) -> MessageWindow:
    """The `window` of a prediction; `started` in seconds since 1970, according to `clock`.

    `doubt` is another clock and the time that it gives, if that differs by over a minute.
    """
    return MessageWindow(
        index,
        round(start_s, 6),
        round(end_s, 6),
        round(padded_s, 6),
        timestamp(started),
        clock,
        UNSET if doubt is UNSET else ClockDoubt(doubt[0], timestamp(doubt[1])),
    )


def ask(classifier: Classifier, pictures: Float, rules: Rules) -> list[tuple[Float, float]]:
    """Run the model on pictures, (n, mel bands, frames): logits, (labels,), and speech of each.

    Speech is AudioSet's score, 0 to 1; 0 if no rule heeds it or the model does not give it.
    """
    return ask_more(classifier, pictures, rules, ())[0]


def ask_more(
    classifier: Classifier, pictures: Float, rules: Rules, more: Sequence[str]
) -> tuple[list[tuple[Float, float]], list[Float]]:
    """As `ask`, and the engine's outputs `more`, (n, ...) each, of the same run."""
    engine = classifier.engine
    heeded = (AUDIOSET,) if rules.heeds_speech and AUDIOSET in engine.outputs else ()
    each, *others = engine.run(pictures, (LOGITS, *heeded, *more))
    speech = others.pop(0)[:, SPEECH].tolist() if heeded else [0.0] * len(each)
    return list(zip(each, speech, strict=True)), others


def judge(
    classifier: Classifier,
    rules: Rules,
    logits: Float,
    rms_dbfs: float,
    speech: float = 0.0,
    kind: str = "file",
) -> Judgement:
    """Score one window from a source of that kind, and decide whether to accept it.

    `logits`, (labels,), and `speech` are the engine's. Raises AudioError if they are not finite.
    """
    privacy = rules.privacy
    marked = speech >= privacy.speech_score and privacy.of(kind) != "keep"
    model = Model(
        classifier.checkpoint.name, classifier.checkpoint.version, classifier.engine.sha256
    )
    if marked and privacy.of(kind) == "drop":
        return _dropped(speech, privacy.speech_score, rms_dbfs, model)
    scores = softmax(classifier.checked(logits))
    order = scores.argsort()[::-1][: rules.top].tolist()
    labels, each = classifier.labels, scores.tolist()
    label, score = labels[order[0]], each[order[0]]
    unknown, learnt = classifier.is_unknown(logits), classifier.thresholds
    verdict = decide(label, score, rms_dbfs, unknown, rules.decision, learnt)
    return Judgement(
        label=label,
        score=round(score, 6),
        threshold=verdict.threshold,
        decision="accepted" if verdict.accepted else "rejected",
        reason=verdict.reason,
        top=tuple([Ranked(labels[i], round(each[i], 6)) for i in order]),
        rms_dbfs=round(rms_dbfs, 2),
        model=model,
        private=True if marked else UNSET,
    )


def _dropped(speech: float, threshold: float, rms_dbfs: float, model: Model) -> Judgement:
    """A window with a voice, without its labels and picture."""
    score = round(speech, 6)
    return Judgement(
        label="speech",
        score=score,
        threshold=threshold,
        decision="rejected",
        reason="speech",
        top=(Ranked("speech", score),),
        rms_dbfs=round(rms_dbfs, 2),
        model=model,
        private=True,
    )


def unreadable(error: OSError) -> Error:
    """The error of a file that the system does not let tinyastd read."""
    words = error.strerror or str(error)
    if error.errno in FORBIDDEN:
        text = f"{words}; the user that runs tinyastd needs permission to read it"
        return Error("permission_denied", text)
    return Error("unreadable", words)
