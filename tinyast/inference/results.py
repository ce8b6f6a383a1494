"""The results for the windows of a recording."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from tinyast.arrays import Float
from tinyast.audio.windows import Window

if TYPE_CHECKING:
    import pandas as pd


PAUSE_DB = 20.0  # under the loudest window of its clip


class HeardWindow(Struct, frozen=True, eq=False):
    """The engine's outputs for one window."""

    window: Window
    rms_dbfs: float
    logits: Float  # (kinds of the graph,)
    embedding: Float  # (d,)
    audioset: Float | None  # (527,)


def loud(windows: Sequence[HeardWindow]) -> list[HeardWindow]:
    """The windows of a clip but for its pauses, which are no sound of its kind."""
    loudest = max((window.rms_dbfs for window in windows), default=0.0)
    return [window for window in windows if window.rms_dbfs >= loudest - PAUSE_DB]


class WindowScores(Struct, frozen=True):
    """The classification of one window."""

    index: int
    start_s: float
    end_s: float
    padded_s: float  # seconds of zeros that fill up a short recording
    rms_dbfs: float  # level without the padding; a full-scale square wave has 0
    labels: tuple[str, ...]
    scores: Float  # (labels,), sums to 1
    unknown: bool  # unlike all labels, by the checkpoint's limit

    def __repr__(self) -> str:
        unlike = ", unknown" if self.unknown else ""
        span = f"{self.start_s:g}-{self.end_s:g} s"
        return f"<WindowScores {span}: {self.label} {self.score:.1%}{unlike}>"

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


class Windows(list[WindowScores]):
    """The windows of a recording, in order."""

    def to_pandas(self, top: int = 3) -> pd.DataFrame:
        """A row for each window: times, level, label, score, and the next best up to `top`.

        Needs pandas, which the extra `tables` installs. Raises ImportError without it.
        """
        import pandas as pd

        rows = []
        for window in self:
            row: dict[str, str | float | bool] = {
                "start_s": window.start_s,
                "end_s": window.end_s,
                "rms_dbfs": window.rms_dbfs,
                "label": window.label,
                "score": window.score,
                "unknown": window.unknown,
            }
            for place, (label, score) in enumerate(window.top(top)[1:], start=2):
                row |= {f"label_{place}": label, f"score_{place}": score}
            rows.append(row)
        return pd.DataFrame(rows)
