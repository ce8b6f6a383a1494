"""From a window's samples to its picture in one call of ONNX Runtime.

The graphs lie in the checkpoint, one for each common rate; `tinyast.export.feature_graph` made
them. Other rates are resampled first.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tinyast.arrays import Float
from tinyast.audio.resampling import FITTED, fitted, resample
from tinyast.errors import CheckpointError
from tinyast.features.log_mel import FeatureSettings
from tinyast.features.offset import without_offset
from tinyast.onnx_session import Session, open_session, run_and_give_back

SETTINGS = "settings"  # key of a graph's metadata: the feature settings it was made for, as JSON


def graph_rates(settings: FeatureSettings) -> tuple[int, ...]:
    """Rates in Hz that have a graph: the model's, and higher ones that most recordings have."""
    return settings.sampling_rate, *(rate for rate in FITTED if rate > settings.sampling_rate)


def graph_name(rate: int) -> str:
    """The file of a checkpoint that holds the graph for `rate` Hz."""
    return f"features-{rate}.onnx"


def input_name(start: int) -> str:
    """The input of a graph with a resampler that takes the padded window from `start` on."""
    return f"samples_{start}"


class _Input(NamedTuple):
    """What an input of a graph takes of a window behind the zeros that a resampler needs."""

    name: str
    start: int
    end: int


class _Loaded(NamedTuple):
    session: Session
    inputs: tuple[_Input, ...]


class FeatureGraph:
    """Turns windows at any rate into pictures. Safe to use from several threads."""

    def __init__(self, settings: FeatureSettings, folder: Path) -> None:
        """Use the graphs in `folder`. Raises CheckpointError if it lacks one."""
        self._settings = settings
        self._folder = folder
        self._rates = graph_rates(settings)
        self._graphs: dict[int, _Loaded] = {}  # by rate, each opened when first asked for
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
        samples = samples[:length]
        heard = round(len(samples) * target / rate)
        # Short of a window the filter would ring on into the zeros that follow.
        if rate not in self._rates or len(samples) < length:
            samples = resample(without_offset(samples), rate, target)
            padded = np.zeros(settings.n_samples, np.float32)
            padded[: len(samples)] = samples[: settings.n_samples]
            rate = target
        elif rate == target:
            padded = without_offset(samples)
        else:
            how = fitted(rate, target)
            padded = how.room(how.blocks(settings.n_samples), length)
            without_offset(samples, out=padded[how.before : how.before + length])
        session, inputs = self._loaded(rate)
        # Parts of one array, which is not copied again.
        given = {name: padded[start:end] for name, start, end in inputs}
        picture, energy = session.run(None, given)
        return picture, float(energy) / heard if heard else 0.0

    def give_back_memory(self) -> None:
        """Return to the C library what runs of these and of all other graphs needed.

        Raises CheckpointError if the graph for the model's rate cannot be loaded.
        """
        session, inputs = self._loaded(self._settings.sampling_rate)
        silence = np.zeros(self._settings.n_samples, np.float32)
        run_and_give_back(session, {each.name: silence for each in inputs})

    def _loaded(self, rate: int) -> _Loaded:
        loaded = self._graphs.get(rate)
        if loaded is None:
            with self._lock:
                loaded = self._graphs.get(rate) or self._open(rate)
                self._graphs[rate] = loaded
        return loaded

    def _open(self, rate: int) -> _Loaded:
        name = graph_name(rate)
        try:
            session = open_session(str(self._folder / name))
            noted = json.loads(session.get_modelmeta().custom_metadata_map[SETTINGS])
            made_for = FeatureSettings.from_dict(noted)
            inputs = self._inputs(session, rate)
        except Exception as error:  # ONNX Runtime's exceptions share no base but this one
            raise self._unusable(f"has a {name} that cannot be loaded ({error})") from error
        if made_for != self._settings:
            raise self._unusable(f"has a {name} made for other feature settings")
        return _Loaded(session, inputs)

    def _inputs(self, session: Session, rate: int) -> tuple[_Input, ...]:
        """A graph of version 5.1 or older takes the window as it is, in one input."""
        target = self._settings.sampling_rate
        before = 0 if rate == target else fitted(rate, target).before
        found = []
        for given in session.get_inputs():
            _, _, number = given.name.partition("_")
            start = int(number) if number else before
            found.append(_Input(given.name, start, start + given.shape[0]))
        return tuple(found)

    def _unusable(self, fault: str) -> CheckpointError:
        return CheckpointError(
            f"{self._folder} {fault}; make it with "
            f"`python -m scripts.export --features {self._folder}`"
        )
