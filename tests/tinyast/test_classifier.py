"""`Classifier.predict`, as a program that imports the package uses it."""

from __future__ import annotations

import json
import pickle
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray
from sounds import noise

import tinyast
from tinyast.arrays import Float
from tinyast.errors import AudioError, CheckpointError
from tinyast.features.offset import without_offset
from tinyast.inference.checkpoint import (
    GRAPH,
    INT8_GRAPH,
    REFERENCE,
    WEIGHTS,
    damaged_files,
    default_path,
    find_checkpoint,
    read_checkpoint,
    shipped,
)
from tinyast.inference.engine import load_engine, softmax
from tinyast.inference.engine_names import ENGINES


@pytest.fixture(scope="module")
def classifier() -> tinyast.Classifier:
    return tinyast.Classifier.load()


def tone(seconds: float, rate: int) -> Float:
    """A chirp with overtones: something to hear at any rate of 16 kHz and more."""
    t = np.arange(round(seconds * rate)) / rate
    sweep = 2 * np.pi * (300 * t + 200 * t**2)
    return (0.2 * np.sin(sweep) + 0.05 * np.sin(3 * sweep)).astype(np.float32)


def scores(classifier: tinyast.Classifier, samples: Float, rate: int) -> Float:
    (window,) = classifier.predict(samples, rate)
    return window.scores


# -- shapes --------------------------------------------------------------------------------------


def test_five_seconds_are_one_window_with_a_score_for_each_label(
    classifier: tinyast.Classifier,
) -> None:
    (window,) = classifier.predict(noise(5), 16_000)
    assert (window.index, window.start_s, window.end_s, window.padded_s) == (0, 0, 5, 0)
    assert window.scores.shape == (len(classifier.labels),) == (50,)
    assert window.scores.sum() == pytest.approx(1, abs=1e-5)
    assert window.labels == classifier.labels
    assert window.label == classifier.labels[int(window.scores.argmax())]
    assert window.score == float(window.scores.max())
    assert window.rms_dbfs == pytest.approx(-20, abs=0.1)


def test_the_best_labels_come_best_first(classifier: tinyast.Classifier) -> None:
    (window,) = classifier.predict(noise(5), 16_000)
    top = window.top(50)
    assert [label for label, _ in top[:1]] == [window.label]
    assert [score for _, score in top] == sorted(window.scores.tolist(), reverse=True)
    assert len(window.top()) == 5


def test_a_file_is_classified_as_its_samples_are(
    classifier: tinyast.Classifier, tmp_path: Path
) -> None:
    samples = tone(12, 44_100)
    soundfile.write(tmp_path / "a.flac", samples, 44_100, subtype="PCM_24")
    windows = classifier.predict_file(tmp_path / "a.flac")
    for one, other in zip(windows, classifier.predict(samples, 44_100), strict=True):
        assert (one.start_s, one.end_s) == (other.start_s, other.end_s)
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-3)
    assert repr(windows[1]).startswith(f"<WindowScores 5-10 s: {windows[1].label} ")
    table = windows.to_pandas(top=2)
    assert list(table["start_s"]) == [0, 5, 7]
    assert list(table["label_2"]) == [window.top(2)[1][0] for window in windows]
    heard = list(classifier.hear_file(tmp_path / "a.flac", start_s=2, end_s=9, most=1))
    assert [(h.window.start_s, h.window.end_s) for h in heard] == [(2, 7)]
    assert heard[0].embedding.shape == (64,)


def test_a_window_whose_channels_cancel_is_that_of_the_loudest(
    classifier: tinyast.Classifier, tmp_path: Path
) -> None:
    """Given as samples or as a file, and decided for each window."""
    left, right = noise(15, seed=1), noise(15, seed=2)
    right[5 * 16_000 : 10 * 16_000] = -0.9 * left[5 * 16_000 : 10 * 16_000]
    frames = np.stack([left, right], axis=1)
    soundfile.write(tmp_path / "a.wav", frames, 16_000, subtype="FLOAT")
    mixed = frames.mean(axis=1, dtype=np.float32)
    mixed[5 * 16_000 : 10 * 16_000] = left[5 * 16_000 : 10 * 16_000]
    wanted = classifier.predict(mixed, 16_000)
    for windows in (
        classifier.predict(frames, 16_000),
        classifier.predict_file(tmp_path / "a.wav"),
    ):
        for one, other in zip(windows, wanted, strict=True):
            np.testing.assert_array_equal(one.scores, other.scores)
            assert one.rms_dbfs == other.rms_dbfs
    np.testing.assert_array_equal(classifier.embed(frames, 16_000), classifier.embed(mixed, 16_000))


def test_a_longer_recording_is_cut_and_its_last_window_ends_with_it(
    classifier: tinyast.Classifier,
) -> None:
    windows = classifier.predict(noise(12), 16_000)
    assert [(w.start_s, w.end_s) for w in windows] == [(0, 5), (5, 10), (7, 12)]
    windows = classifier.predict(noise(10), 16_000, hop_s=2.5)
    assert [w.start_s for w in windows] == [0, 2.5, 5]


def test_a_window_sounds_the_same_alone_and_in_a_recording(classifier: tinyast.Classifier) -> None:
    samples = noise(10, 44_100)
    windows = classifier.predict(samples, 44_100)
    np.testing.assert_array_equal(
        windows[1].scores, scores(classifier, samples[5 * 44_100 :], 44_100)
    )


def test_channels_are_mixed(classifier: tinyast.Classifier) -> None:
    mono = noise(5)
    stereo = np.stack([mono + noise(5, seed=1), mono - noise(5, seed=1)], axis=1)
    assert stereo.shape == (80_000, 2)
    np.testing.assert_allclose(
        scores(classifier, stereo, 16_000), scores(classifier, mono, 16_000), atol=1e-5
    )
    np.testing.assert_array_equal(
        scores(classifier, mono[:, None], 16_000), scores(classifier, mono, 16_000)
    )


@pytest.mark.parametrize("rate", [4_000, 8_000, 11_025, 22_050, 32_000, 44_100, 48_000, 384_000])
def test_any_rate_is_heard(classifier: tinyast.Classifier, rate: int) -> None:
    (window,) = classifier.predict(noise(5, rate), rate)
    assert np.isfinite(window.scores).all()
    assert (window.start_s, window.end_s) == (0, 5)


@pytest.mark.parametrize("count", [2, 3, 100, 8_000, 79_999])
def test_a_short_recording_is_padded_and_says_so(
    classifier: tinyast.Classifier, count: int
) -> None:
    (window,) = classifier.predict(noise(5)[:count], 16_000)
    assert window.end_s == count / 16_000
    assert window.padded_s == pytest.approx(5 - count / 16_000)
    assert np.isfinite(window.scores).all()


@pytest.mark.parametrize("rate", [16_000, 384_000])
def test_a_recording_too_short_to_leave_a_sample_is_silence(
    classifier: tinyast.Classifier, rate: int
) -> None:
    (window,) = classifier.predict(np.zeros(2, np.float32), rate)
    assert window.rms_dbfs == -200


# -- what scores depend on, and what not ---------------------------------------------------------


def test_the_same_sound_at_another_rate_has_close_scores(classifier: tinyast.Classifier) -> None:
    expected = scores(classifier, tone(5, 16_000), 16_000)
    for rate in (44_100, 48_000):
        np.testing.assert_allclose(
            scores(classifier, tone(5, rate), rate), expected, rtol=0.05, atol=0.01
        )


def test_real_recordings_have_close_scores_at_another_rate(
    classifier: tinyast.Classifier, originals: list[Path]
) -> None:
    for path in originals[:5]:
        samples, rate = soundfile.read(path, dtype="float32")
        at_48 = soxr.resample(samples, rate, 48_000, quality="HQ")[: 5 * 48_000]
        # 0.1 in probability: a recording with energy at 8 kHz meets two filters' edges.
        np.testing.assert_allclose(
            scores(classifier, at_48, 48_000), scores(classifier, samples, rate), atol=0.1
        )


@pytest.mark.parametrize("gain", [1e-3, 0.1, 10, 1e4])
def test_the_level_of_a_recording_changes_nothing_but_its_level(
    classifier: tinyast.Classifier, gain: float
) -> None:
    samples = tone(5, 44_100)
    (plain,) = classifier.predict(samples, 44_100)
    (louder,) = classifier.predict(samples * np.float32(gain), 44_100)
    np.testing.assert_allclose(louder.scores, plain.scores, rtol=1e-3, atol=1e-5)
    assert louder.rms_dbfs - plain.rms_dbfs == pytest.approx(20 * np.log10(gain), abs=0.01)


def test_silence_has_finite_scores_and_the_lowest_level(classifier: tinyast.Classifier) -> None:
    (window,) = classifier.predict(np.zeros(5 * 44_100, np.float32), 44_100)
    assert np.isfinite(window.scores).all()
    assert window.rms_dbfs == -200


@pytest.mark.parametrize("rate", [16_000, 48_000])
@pytest.mark.parametrize("offset", [0.0, 0.0005, -0.03, 0.5])
def test_an_offset_is_no_sound(classifier: tinyast.Classifier, rate: int, offset: float) -> None:
    sound = noise(5, rate, level=0.0002)
    plain = classifier.predict(sound, rate)[0].rms_dbfs
    shifted = classifier.predict(sound + np.float32(offset), rate)[0].rms_dbfs
    assert shifted == pytest.approx(plain, abs=0.2)


@pytest.mark.parametrize("rate", [16_000, 22_050, 44_100])
@pytest.mark.parametrize("seconds", [0.7, 5.0])
def test_an_offset_changes_no_score(
    classifier: tinyast.Classifier, rate: int, seconds: float
) -> None:
    """At the edges of a window it is a step, which would be heard as a click."""
    sound = noise(seconds, rate, level=0.02)
    expected = scores(classifier, sound, rate)
    for offset in (3e-5, 0.0003, 0.02, -0.4):
        shifted = scores(classifier, sound + np.float32(offset), rate)
        np.testing.assert_allclose(shifted, expected, atol=2e-3)


def test_a_sound_that_swings_unevenly_keeps_its_rest() -> None:
    """The mean of a short cry between pauses is no offset: taking it off would make two steps."""
    rest = np.zeros(4_000, np.float32)
    cry = np.abs(np.sin(np.linspace(0, 60, 8_000, dtype=np.float32))) * 0.5
    sound = np.concatenate([rest, cry, rest])
    assert sound.mean() > 0.1
    for offset in (0.0, 0.02, -0.4):
        clear = without_offset(sound + np.float32(offset))
        assert np.abs(clear[[0, -1]]).max() < 1e-3


def test_a_full_scale_square_wave_has_0_dbfs(classifier: tinyast.Classifier) -> None:
    square = np.sign(np.sin(2 * np.pi * 100 * (np.arange(80_000) + 0.5) / 16_000))
    (window,) = classifier.predict(square.astype(np.float32), 16_000)
    assert window.rms_dbfs == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("rate", [44_100.0, np.int64(44_100), np.float64(44_100)])
def test_a_whole_rate_of_any_type_is_taken(classifier: tinyast.Classifier, rate: int) -> None:
    sound = noise(5, 44_100)
    assert (scores(classifier, sound, rate) == scores(classifier, sound, 44_100)).all()


@pytest.mark.parametrize("rate", [44_100.5, "44100", None, float("nan"), float("inf")])
def test_another_rate_is_refused_by_name(classifier: tinyast.Classifier, rate: Any) -> None:
    with pytest.raises(ValueError, match="whole number of Hz"):
        classifier.predict(noise(1), rate)


@pytest.mark.parametrize("hop_s", [0, -1, 1e-9, float("nan"), float("inf")])
def test_a_hop_of_less_than_a_frame_is_refused(
    classifier: tinyast.Classifier, hop_s: float
) -> None:
    with pytest.raises(ValueError, match="hop_s is"):
        classifier.predict(noise(6), 16_000, hop_s)


def test_another_process_gets_the_same_classifier(classifier: tinyast.Classifier) -> None:
    """As pools of processes send it."""
    other = pickle.loads(pickle.dumps(classifier))
    assert (other.engine.name, other.checkpoint) == (classifier.engine.name, classifier.checkpoint)
    sound = np.sin(np.arange(80_000, dtype=np.float32))
    assert other.predict(sound, 16_000)[0].top() == classifier.predict(sound, 16_000)[0].top()


def test_threads_share_a_classifier(classifier: tinyast.Classifier) -> None:
    sounds = [noise(5, seed=seed) for seed in range(4)]
    expected = [scores(classifier, samples, 16_000) for samples in sounds]
    wrong: list[int] = []

    def hear(number: int) -> None:
        for _ in range(5):
            if not np.array_equal(scores(classifier, sounds[number], 16_000), expected[number]):
                wrong.append(number)

    threads = [threading.Thread(target=hear, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# -- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros(1), np.zeros((0, 2)), np.zeros((1, 2))])
def test_a_recording_of_nothing_is_refused(classifier: tinyast.Classifier, samples: Float) -> None:
    with pytest.raises(AudioError) as caught:
        classifier.predict(samples, 16_000)
    assert caught.value.code == "too_short"


@pytest.mark.parametrize(
    ("value", "code"),
    [(np.nan, "not_finite"), (np.inf, "not_finite"), (1e300, "not_finite"), (1e7, "out_of_range")],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_samples_that_nobody_records_are_refused(
    classifier: tinyast.Classifier, value: float, code: str, channels: int
) -> None:
    samples = np.zeros((80_000, channels))
    samples[1_000] = value
    samples[1_000, 1:] *= -1  # the mean of the channels would hide it
    with pytest.raises(AudioError) as caught:
        classifier.predict(samples[:, 0] if channels == 1 else samples, 16_000)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((2, 80_000), r"80000 channels, .* the shape is \(n, channels\): give `samples\.T`"),
        ((80_000, 65), "65 channels, and at most 64"),
        ((10, 2, 2), r"not \(10, 2, 2\)"),
        ((), r"not \(\)"),
    ],
)
def test_an_array_of_another_shape_is_refused(
    classifier: tinyast.Classifier, shape: tuple[int, ...], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        classifier.predict(np.zeros(shape, np.float32), 16_000)


@pytest.mark.parametrize("kind", [np.int8, np.int16, np.int32, np.uint8])
def test_integers_have_the_full_scale_of_their_type(
    classifier: tinyast.Classifier, kind: type
) -> None:
    limits = np.iinfo(kind)
    samples: NDArray[np.integer] = np.where(
        np.arange(80_000) // 40 % 2, limits.max, limits.min
    ).astype(kind)
    (window,) = classifier.predict(samples, 16_000)
    assert window.rms_dbfs == pytest.approx(0, abs=0.1)
    zero = 128.0 if kind is np.uint8 else 0.0
    exact = ((samples - zero) / 2.0 ** (limits.bits - 1)).astype(np.float32)
    np.testing.assert_allclose(window.scores, scores(classifier, exact, 16_000), atol=1e-5)


@pytest.mark.parametrize("kind", [np.int64, np.uint16, np.bool_, np.complex64])
def test_numbers_without_a_known_full_scale_are_refused(
    classifier: tinyast.Classifier, kind: type
) -> None:
    with pytest.raises(ValueError, match=f"not {np.dtype(kind)}; scale them to -1 to 1"):
        classifier.predict(np.zeros(80_000, kind), 16_000)


@pytest.mark.parametrize("rate", [0, 1, 3_999, 384_001])
def test_a_rate_that_nobody_records_at_is_refused(
    classifier: tinyast.Classifier, rate: int
) -> None:
    with pytest.raises(AudioError) as caught:
        classifier.predict(noise(5), rate)
    assert caught.value.code == "bad_rate"


# -- checkpoints ---------------------------------------------------------------------------------


def test_softmax_is_sure_without_overflow() -> None:
    with np.errstate(all="raise", under="ignore"):
        found = softmax(np.array([[1_000, 0, -1_000]], np.float32))
    np.testing.assert_array_equal(found, [[1, 0, 0]])


@pytest.mark.parametrize("name", sorted(shipped()))
def test_a_shipped_checkpoint_is_what_was_exported(name: str) -> None:
    checkpoint = read_checkpoint(name)
    assert damaged_files(checkpoint.path) == []
    assert len(checkpoint.labels) == 50
    assert checkpoint.model == f"{name} {checkpoint.version}"


def test_a_folder_that_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=str(tmp_path)):
        tinyast.Classifier.load(tmp_path)


def test_a_shipped_checkpoint_is_found_by_name_and_a_folder_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_checkpoint() == find_checkpoint("esc50") == find_checkpoint(Path("esc50"))
    assert find_checkpoint() == default_path()
    with pytest.raises(CheckpointError, match=r"abc is neither .* \(esc50.*\)"):
        find_checkpoint("abc")
    shutil.copytree(default_path(), tmp_path / "esc50")
    assert read_checkpoint("esc50").path == Path("esc50")
    config = json.loads((tmp_path / "esc50/config.json").read_text())
    named = f"{config['name']} {config['version']}"
    assert tinyast.Classifier.load(tmp_path / "esc50").checkpoint.model == named


def test_a_checkpoint_may_say_what_int8_loses(broken: Path) -> None:
    path = broken / "config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"int8_points_lost": None}))
    assert read_checkpoint(broken).int8_points_lost is None
    path.write_text(json.dumps(values | {"int8_points_lost": 0.25}))
    assert read_checkpoint(broken).int8_points_lost == 0.25
    path.write_text(json.dumps(values | {"int8_points_lost": "few"}))
    with pytest.raises(CheckpointError, match="`int8_points_lost` is 'few', not a number"):
        read_checkpoint(broken)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    return Path(shutil.copytree(default_path(), tmp_path / "broken"))


@pytest.mark.parametrize(
    "name", ["config.json", "preprocessor_config.json", "model.onnx", "features-44100.onnx"]
)
def test_a_file_that_a_checkpoint_lacks_is_named(broken: Path, name: str) -> None:
    (broken / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        tinyast.Classifier.load(broken)


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "model.onnx"])
@pytest.mark.parametrize("data", [b"", b"nonsense", b"[1]", b'{"n_fft": {}}'])
def test_a_file_that_a_checkpoint_cannot_have_is_named(
    broken: Path, name: str, data: bytes
) -> None:
    (broken / name).write_bytes(data)
    with pytest.raises(CheckpointError, match=name):
        tinyast.Classifier.load(broken)


def test_pictures_that_the_model_does_not_take_are_told(broken: Path) -> None:
    path = broken / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"n_mels": 32}))
    with pytest.raises(CheckpointError, match=r"pictures of 64 x 64, .* makes them 32 x 64"):
        tinyast.Classifier.load(broken)


def test_a_changed_file_is_found_by_its_sum(broken: Path) -> None:
    with (broken / GRAPH).open("ab") as graph:
        graph.write(b"\0")
    assert damaged_files(broken) == [GRAPH]


@pytest.mark.parametrize(
    ("name", "engine"),
    [("config.json", "onnx"), ("features-48000.onnx", "int8"), (GRAPH, "onnx"),
     (INT8_GRAPH, "int8"), (WEIGHTS, "torch")],
)  # fmt: skip
def test_a_file_that_an_engine_needs_and_that_was_changed_is_refused(
    broken: Path, name: str, engine: str
) -> None:
    data = (broken / name).read_bytes()
    (broken / name).write_bytes(data.replace(b"0", b"1", 1))
    with pytest.raises(CheckpointError, match=f"{name} differs from SHA256SUMS"):
        tinyast.Classifier.load(broken, engine)


@pytest.mark.parametrize("name", [INT8_GRAPH, WEIGHTS, REFERENCE])
def test_a_large_file_that_an_engine_does_not_need_is_not_read(broken: Path, name: str) -> None:
    (broken / name).write_bytes(b"another")
    assert tinyast.Classifier.load(broken).engine.name == "onnx"


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_that_can_be_named_is_there(name: str) -> None:
    assert load_engine(read_checkpoint(), name).name == name


def test_an_engine_that_nobody_knows_is_an_error() -> None:
    with pytest.raises(ValueError, match="onnx, int8, torch"):
        load_engine(read_checkpoint(), "abacus")


class Embedding:
    """An engine whose model gives the mean of each picture's bands as embeddings."""

    name, sha256 = "onnx", ""
    outputs: tuple[str, ...] = ("logits", "embedding")

    def logits(self, batch: Float) -> Float:
        return self.run(batch, ("logits",))[0]

    def run(self, batch: Float, outputs: Sequence[str]) -> list[Float]:
        made = {"logits": np.zeros((len(batch), 50), np.float32), "embedding": batch.mean(axis=2)}
        return [made[name] for name in outputs]


def test_each_window_has_an_embedding(classifier: tinyast.Classifier) -> None:
    embedding = tinyast.Classifier(classifier.checkpoint, Embedding())
    samples = noise(12, 44_100)
    found = embedding.embed(samples, 44_100)
    assert found.shape == (3, 64)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(embedding.embed(samples[: 5 * 44_100], 44_100)[0], found[0])
    assert len(embedding.embed(samples, 44_100, hop_s=2.5)) == 4


def test_a_model_without_embeddings_says_so(classifier: tinyast.Classifier) -> None:
    engine = Embedding()
    engine.outputs = ("logits",)
    with pytest.raises(CheckpointError, match="gives no embeddings"):
        tinyast.Classifier(classifier.checkpoint, engine).embed(noise(5), 16_000)
