"""The graph that features are served by: does it make the same pictures as numpy does?"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from sounds import noise

from tinyast.arrays import Float
from tinyast.audio.decoding import read_file
from tinyast.audio.resampling import resample
from tinyast.features.graph import FeatureGraph, write
from tinyast.features.log_mel import FeatureSettings, log_mel
from tinyast.features.onnx_writer import Graph
from tinyast.onnx_session import open_session

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
}


def swell(seconds: float, rate: int, seed: int = 0) -> Float:
    """Noise that is loud for a while."""
    samples = noise(seconds, rate, seed)
    at = np.arange(len(samples)) / rate
    return samples * (0.01 + np.exp(-((at - 3.1) ** 2))).astype(np.float32)


def by_numpy(samples: Float, rate: int, settings: FeatureSettings) -> tuple[Float, float]:
    window = samples[: round(settings.window_s * rate)]
    heard = resample(window, rate, settings.sampling_rate)[: settings.n_samples]
    return log_mel(heard, settings), float(np.mean(heard.astype(np.float64) ** 2))


def assert_same(samples: Float, rate: int, settings: FeatureSettings) -> None:
    picture, power = FeatureGraph(settings)(samples, rate)
    expected, expected_power = by_numpy(samples, rate, settings)
    np.testing.assert_allclose(picture, expected, atol=2e-4)
    assert power == pytest.approx(expected_power, rel=1e-4)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("settings", VARIED.values(), ids=VARIED.keys())
def test_makes_the_same_picture(settings: FeatureSettings, rate: int) -> None:
    assert_same(swell(settings.window_s, rate), rate, settings)


def test_makes_the_same_picture_of_recordings(originals: list[Path]) -> None:
    for path in originals:
        samples, rate = read_file(path)
        assert_same(samples[: 5 * rate], rate, SETTINGS)


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("seconds", [0.01, 0.7, 2.5, 4.9999, 5.3])
def test_takes_what_is_shorter_or_longer_than_a_window(rate: int, seconds: float) -> None:
    assert_same(swell(seconds, rate), rate, SETTINGS)


@pytest.mark.parametrize("rate", [16_000, 22_050, 44_100])
def test_silence_is_a_picture_of_zeros(rate: int) -> None:
    for length in (0, 100, 5 * rate):
        picture, power = FeatureGraph(SETTINGS)(np.zeros(length, np.float32), rate)
        assert power == 0
        assert not picture.any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_what_is_not_finite_shows_in_the_power(bad: float, rate: int) -> None:
    samples = noise(5, rate)
    samples[len(samples) // 3] = bad
    assert not np.isfinite(FeatureGraph(SETTINGS)(samples, rate)[1])


def test_threads_may_ask_for_a_new_rate_at_once() -> None:
    graph, together = FeatureGraph(SETTINGS), Barrier(4)
    samples = swell(5, 44_100)

    def ask(_: int) -> Float:
        together.wait()
        return graph(samples, 44_100)[0]

    with ThreadPoolExecutor(4) as pool:
        pictures = list(pool.map(ask, range(4)))
    for picture in pictures:
        np.testing.assert_array_equal(picture, pictures[0])


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_the_file_is_onnx_as_its_own_package_reads_it(rate: int) -> None:
    model = onnx.load_from_string(write(SETTINGS, rate))
    onnx.checker.check_model(model, full_check=True)
    (given,) = model.graph.input
    assert given.name == "samples"
    assert [size.dim_value for size in given.type.tensor_type.shape.dim] == [5 * rate]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.arange(6).reshape(2, 3), "float32"),
        (np.pi, "float32"),
        ([-1, 0, 127, 128, 2**40], "int64"),
        (np.zeros((0, 4)), "float32"),
    ],
)
def test_constants_are_written_as_they_are(values: Sequence[float], kind: str) -> None:
    graph = Graph("constants")
    graph.constant(values, kind)
    model = onnx.load_from_string(graph.to_bytes({}, {}))
    (tensor,) = model.graph.initializer
    read = numpy_helper.to_array(tensor)
    assert read.dtype == kind
    np.testing.assert_array_equal(read, np.asarray(values, kind))


def test_attributes_are_written_as_they_are() -> None:
    graph = Graph("attributes")
    value = graph.add("Concat", "a", "b", axis=-1)
    graph.add("Transpose", value, perm=(1, 0))
    concat, transpose = onnx.load_from_string(graph.to_bytes({}, {})).graph.node
    assert (list(concat.input), concat.attribute[0].i) == (["a", "b"], -1)
    assert list(transpose.attribute[0].ints) == [1, 0]


def test_a_graph_runs_as_it_was_put_together() -> None:
    graph = Graph("sums")
    doubled = graph.add("Add", "x", "x")
    end = graph.cut(graph.shaped(doubled, -1), 0, 1, 3)
    session = open_session(graph.to_bytes({"x": (2, 2)}, {end: (2,)}))
    (result,) = session.run(None, {"x": np.array([[1, 2], [3, 4]], np.float32)})
    np.testing.assert_array_equal(result, [4, 6])
