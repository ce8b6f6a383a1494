"""Recordings as published, at 44.1 kHz, and at the 16 kHz that the models were trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

import tinyast
from tinyast.inference.checkpoint import shipped


@pytest.mark.parametrize("name", shipped())
def test_both_forms_of_a_recording_get_one_label(
    name: str, originals: list[Path], esc50: Path
) -> None:
    classifier = tinyast.Classifier.load(name)
    for path in originals:
        found = []
        for form in (path, esc50 / "audio" / f"{path.stem}.flac"):
            samples, rate = soundfile.read(form, dtype="float32")
            found.append(classifier.predict(samples, rate)[0])
        whole, limited = found
        assert whole.label == limited.label, path.name
        assert np.abs(whole.scores - limited.scores).max() < 0.2, path.name
    assert len(originals) == 25
