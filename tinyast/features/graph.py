"""From a window's samples to its picture in one call of ONNX Runtime.

The graphs lie in the checkpoint, one for each common rate; `tinyast.export.feature_graph` made
them. Other rates are resampled first.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np

from tinyast.arrays import Float
from tinyast.audio.resampling import FITTED, resample
from tinyast.errors import CheckpointError
from tinyast.features.log_mel import FeatureSettings
from tinyast.features.offset import without_offset
from tinyast.onnx_session import Session, open_session

SETTINGS = "settings"  # key of a graph's metadata: the feature settings it was made for, as JSON


def graph_rates(settings: FeatureSettings) -> tuple[int, ...]:
    """Rates in Hz that have a graph: the model's, and higher ones that most recordings have."""
    return settings.sampling_rate, *(rate for rate in FITTED if rate > settings.sampling_rate)


def graph_name(rate: int) -> str:
    """The file of a checkpoint that holds the graph for `rate` Hz."""
    return f"features-{rate}.onnx"


class FeatureGraph:
    """Turns windows at any rate into pictures. Safe to use from several threads."""

    def __init__(self, settings: FeatureSettings, folder: Path) -> None:
        """Use the graphs in `folder`. Raises CheckpointError if it lacks one."""
        self._settings = settings
        self._folder = folder
        self._rates = graph_rates(settings)
        self._sessions: dict[int, Session] = {}  # by rate, each opened when first asked for
        self._lock = threading.Lock()
        for rate in self._rates:
            if not (folder / graph_name(rate)).is_file():
                raise self._unusable(f"has no {graph_name(rate)}")

    def __call__(self, samples: Float, rate: int) -> tuple[Float, float]:
        """One window, (n,) mono at `rate` Hz; samples beyond the window's length are ignored.

        Returns its picture, (n_mels, n_frames), and the mean square of its samples at the model's
        rate, without an offset, which is not finite where they are not. A shorter window is padded
        with zeros. Raises CheckpointError if the graph cannot be loaded or was made for other
        settings.
        """
        settings = self._settings
        target = settings.sampling_rate
        length = round(settings.window_s * rate)
        samples = without_offset(samples[:length])
        heard = round(len(samples) * target / rate)
        # Short of a window the filter would ring on into the zeros that follow.
        if rate not in self._rates or len(samples) < length:
            samples, rate = resample(samples, rate, target), target
            whole = np.zeros(settings.n_samples, np.float32)
            whole[: len(samples)] = samples[: settings.n_samples]
            samples = whole
        picture, energy = self._session(rate).run(None, {"samples": samples})
        return picture, float(energy) / heard if heard else 0.0

    def _session(self, rate: int) -> Session:
        session = self._sessions.get(rate)
        if session is None:
            with self._lock:
                session = self._sessions.get(rate) or self._open(graph_name(rate))
                self._sessions[rate] = session
        return session

    def _open(self, name: str) -> Session:
        try:
            session = open_session(str(self._folder / name))
            noted = json.loads(session.get_modelmeta().custom_metadata_map[SETTINGS])
            made_for = FeatureSettings.from_dict(noted)
        except Exception as error:  # ONNX Runtime's exceptions share no base but this one
            raise self._unusable(f"has a {name} that cannot be loaded ({error})") from error
        if made_for != self._settings:
            raise self._unusable(f"has a {name} made for other feature settings")
        return session

    def _unusable(self, fault: str) -> CheckpointError:
        return CheckpointError(
            f"{self._folder} {fault}; make it with "
            f"`python -m scripts.export --features {self._folder}`"
        )
