"""Environmental sound classification with a compact Vision Transformer, on CPU.

import tinyast
classifier = tinyast.Classifier.load()
for window in classifier.predict(samples, rate):
    print(window.start_s, window.label, window.score)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinyast.errors import AudioError, CheckpointError, DataError, TinyASTError

if TYPE_CHECKING:
    from tinyast.classifier import Classifier, WindowScores

__version__ = "0.1.0"
__all__ = [
    "AudioError",
    "CheckpointError",
    "Classifier",
    "DataError",
    "TinyASTError",
    "WindowScores",
]


def __getattr__(name: str) -> object:
    # Load numpy only to classify: a command's --help starts without it.
    if name in ("Classifier", "WindowScores"):
        from tinyast import classifier

        return getattr(classifier, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
