"""The graph that features are served by: does it make the same pictures as numpy does?"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from threading import Barrier

import numpy as np
import onnx
import pytest
from sounds import noise

from tinyast.arrays import Float
from tinyast.audio.decoding import read_file
from tinyast.audio.resampling import resample
from tinyast.errors import CheckpointError
from tinyast.export.feature_graph import write_feature_graphs
from tinyast.export.onnx_writer import GraphWriter
from tinyast.features.graph import SETTINGS as SETTINGS_NOTE
from tinyast.features.graph import FeatureGraph, graph_name
from tinyast.features.log_mel import FeatureSettings, mel_power, normalise
from tinyast.features.offset import without_offset
from tinyast.features.presets import FINE, SMALL
from tinyast.inference.checkpoint import read_checkpoint, shipped

SETTINGS = FeatureSettings()
VARIED = {
    "as shipped": SETTINGS,
    "each frame a column": SETTINGS.unpooled(),
    "five frames a column": replace(SETTINGS, hop_length=250, pool=5, n_fft=512),
    "frames of no power of two": replace(SETTINGS, n_fft=960),
    "frames over three hops": replace(SETTINGS, n_fft=1_500),
    "frames of just a hop": replace(SETTINGS, n_fft=625),
    "fewer bands, another floor": replace(SETTINGS, n_mels=40, top_db=50.0),
    "windows that are no whole number of blocks": replace(SETTINGS, window_s=4.3),
    "as AudioSet was heard": FINE,
    "columns of equal shares": SMALL,
}


def swell(seconds: float, rate: int, seed: int = 0) -> Float:
    """Noise that is loud for a while."""
    samples = noise(seconds, rate, seed)
    at = np.arange(len(samples)) / rate
    return samples * (0.01 + np.exp(-((at - 3.1) ** 2))).astype(np.float32)


def by_numpy(samples: Float, rate: int, settings: FeatureSettings) -> tuple[Float, float]:
    window = samples[: round(settings.window_s * rate)]
    clear = without_offset(window)  # before resampling, which would ring at its edges
    heard = resample(clear, rate, settings.sampling_rate)[: settings.n_samples]
    return normalise(mel_power(heard, settings), settings), float(
        np.mean(heard.astype(np.float64) ** 2)
    )


Made = Callable[[FeatureSettings], FeatureGraph]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Feature graphs for any settings, written once."""

    @cache
    def make(settings: FeatureSettings) -> FeatureGraph:
        folder = tmp_path_factory.mktemp("graphs")
        write_feature_graphs(settings, folder)
        return FeatureGraph(settings, folder)

    return make


def assert_same(graph: FeatureGraph, samples: Float, rate: int, settings: FeatureSettings) -> None:
    picture, power = graph(samples, rate)
    expected, expected_power = by_numpy(samples, rate, settings)
    np.testing.assert_allclose(picture, expected, atol=2e-4)
    # A recording that is cut off while it swings rings on at the edge, and each filter ends there.
    assert power == pytest.approx(expected_power, rel=3e-4)  # 0.001 dB


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("settings", VARIED.values(), ids=VARIED.keys())
def test_makes_the_same_picture(made: Made, settings: FeatureSettings, rate: int) -> None:
    assert_same(made(settings), swell(settings.window_s, rate), rate, settings)


def test_makes_the_same_picture_of_recordings(made: Made, originals: list[Path]) -> None:
    for path in originals:
        samples, rate = read_file(path)
        assert_same(made(SETTINGS), samples[: 5 * rate], rate, SETTINGS)


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("seconds", [0.01, 0.7, 2.5, 4.9999, 5.3])
def test_takes_what_is_shorter_or_longer_than_a_window(
    made: Made, rate: int, seconds: float
) -> None:
    assert_same(made(SETTINGS), swell(seconds, rate), rate, SETTINGS)


@pytest.mark.parametrize("rate", [16_000, 22_050, 44_100])
def test_silence_is_a_picture_of_zeros(made: Made, rate: int) -> None:
    for length in (0, 100, 5 * rate):
        picture, power = made(SETTINGS)(np.zeros(length, np.float32), rate)
        assert power == 0
        assert not picture.any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_what_is_not_finite_shows_in_the_power(made: Made, bad: float, rate: int) -> None:
    samples = noise(5, rate)
    samples[len(samples) // 3] = bad
    assert not np.isfinite(made(SETTINGS)(samples, rate)[1])


def test_threads_may_ask_for_a_new_rate_at_once(tmp_path: Path) -> None:
    write_feature_graphs(SETTINGS, tmp_path)
    graph, together = FeatureGraph(SETTINGS, tmp_path), Barrier(4)
    samples = swell(5, 44_100)

    def ask(_: int) -> Float:
        together.wait()
        return graph(samples, 44_100)[0]

    with ThreadPoolExecutor(4) as pool:
        pictures = list(pool.map(ask, range(4)))
    for picture in pictures:
        np.testing.assert_array_equal(picture, pictures[0])


def test_a_model_at_another_rate_has_graphs_for_higher_ones_alone(tmp_path: Path) -> None:
    settings = replace(SETTINGS, sampling_rate=44_100, hop_length=441, fmax=16_000.0)
    write_feature_graphs(settings, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "features-44100.onnx",
        "features-48000.onnx",
    ]
    for rate in (16_000, 44_100, 48_000):
        assert_same(FeatureGraph(settings, tmp_path), swell(5, rate), rate, settings)


@pytest.mark.parametrize("name", sorted(shipped()))
def test_the_shipped_graphs_make_what_those_made_today_make(tmp_path: Path, name: str) -> None:
    folder = shipped()[name]
    settings = read_checkpoint(folder).features
    write_feature_graphs(settings, tmp_path)
    of_before, of_today = FeatureGraph(settings, folder), FeatureGraph(settings, tmp_path)
    for rate in (16_000, 44_100, 48_000):
        picture, power = of_before(swell(5, rate), rate)
        expected, expected_power = of_today(swell(5, rate), rate)
        np.testing.assert_allclose(picture, expected, atol=2e-5)
        assert power == pytest.approx(expected_power, rel=1e-6)


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_graph_of_an_older_checkpoint_is_given_the_window_as_it_is(
    tmp_path: Path, rate: int
) -> None:
    """Before, one input held the samples, at the model's rate or at another."""
    write_feature_graphs(SETTINGS, tmp_path)
    graph, cells = GraphWriter(), SETTINGS.n_mels * SETTINGS.n_frames
    picture = graph.shaped(graph.cut("samples", 0, 0, cells), SETTINGS.n_mels, SETTINGS.n_frames)
    energy = graph.add("ReduceSumSquare", "samples", keepdims=0)
    older = graph.model(
        "features",
        {"samples": (5 * rate,)},
        {picture: (SETTINGS.n_mels, SETTINGS.n_frames), energy: ()},
        {SETTINGS_NOTE: json.dumps(SETTINGS.to_dict())},
    )
    onnx.save(older, tmp_path / graph_name(rate))
    samples = swell(5, rate)
    given, power = FeatureGraph(SETTINGS, tmp_path)(samples, rate)
    clear = without_offset(samples)
    np.testing.assert_array_equal(given.reshape(-1), clear[:cells])
    assert power == pytest.approx(float(clear @ clear) / SETTINGS.n_samples, rel=1e-5)


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_a_missing_graph_is_named_with_the_command_that_makes_it(tmp_path: Path, rate: int) -> None:
    write_feature_graphs(SETTINGS, tmp_path)
    (tmp_path / graph_name(rate)).unlink()
    says = f"{tmp_path} has no features-{rate}.onnx; .*scripts.export --features {tmp_path}"
    with pytest.raises(CheckpointError, match=says):
        FeatureGraph(SETTINGS, tmp_path)


def test_a_graph_that_is_none_or_is_of_other_settings_is_refused(tmp_path: Path) -> None:
    write_feature_graphs(replace(SETTINGS, top_db=60.0), tmp_path)
    samples = swell(5, 16_000)
    with pytest.raises(CheckpointError, match=r"features-16000.onnx made for other feature sett"):
        FeatureGraph(SETTINGS, tmp_path)(samples, 16_000)
    (tmp_path / graph_name(16_000)).write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match=r"features-16000.onnx that cannot be loaded"):
        FeatureGraph(SETTINGS, tmp_path)(samples, 16_000)
