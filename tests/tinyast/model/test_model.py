"""One model, three ways to run it: torch, ONNX Runtime, and Transformers' own pipeline."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
import torch
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    pipeline,
)

import tinyast.export.checkpoint
from tinyast import Classifier
from tinyast.arrays import Float
from tinyast.audio.resampling import resample
from tinyast.errors import AudioError, CheckpointError
from tinyast.export.checkpoint import ExportError, export
from tinyast.features.log_mel import FeatureSettings, log_mel
from tinyast.hf import TinyASTConfig, TinyASTFeatureExtractor, TinyASTForAudioClassification
from tinyast.inference.checkpoint import damaged_files, default_path

SETTINGS = FeatureSettings()
SHIPPED = default_path()


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """More threads do not speed small matrices up, and a busy machine makes them wait."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def clips(esc50: Path) -> list[Float]:
    """Four recordings, and one of them cut to two seconds: samples at 16 kHz."""
    paths = sorted((esc50 / "audio").glob("4-*.flac"))[::100]
    samples = [soundfile.read(path, dtype="float32")[0] for path in paths]
    return [*samples, samples[0][:32_000]]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of an untrained model whose scores are far from even."""
    torch.manual_seed(0)
    labels = ("rain", "dog", "wind")
    config = TinyASTConfig(id2label=dict(enumerate(labels)), logit_temperature=0.5)
    model = TinyASTForAudioClassification(config)
    model.classifier.weight.data.mul_(20)
    folder = tmp_path_factory.mktemp("checkpoints") / "made"
    pictures = np.random.default_rng(0).standard_normal((8, 64, 64)).astype(np.float32)
    assert export(model, SETTINGS, folder, "7", pictures) < 1e-4
    return folder


@pytest.mark.parametrize("which", ["made", "shipped"])
def test_all_ways_give_the_same_scores(made: Path, which: str, clips: list[Float]) -> None:
    folder = made if which == "made" else SHIPPED
    by_onnx, by_torch = Classifier.load(folder), Classifier.load(folder, engine="torch")
    classify = pipeline("audio-classification", model=str(folder))
    for samples in clips:
        (ours,) = by_onnx.predict(samples, 16_000)
        (reference,) = by_torch.predict(samples, 16_000)
        theirs = classify({"raw": samples, "sampling_rate": 16_000}, top_k=None)
        scores = {row["label"]: row["score"] for row in theirs}
        np.testing.assert_allclose(reference.scores, ours.scores, atol=1e-4)
        np.testing.assert_allclose([scores[name] for name in ours.labels], ours.scores, atol=1e-4)


@pytest.mark.parametrize("offset", [0.0, 0.1])
@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000, 96_000])
def test_pipelines_take_any_rate_without_torchaudio(
    rate: int, offset: float, clips: list[Float]
) -> None:
    samples = resample(clips[0], 16_000, rate) if rate < 16_000 else clips[0][: 5 * rate]
    samples = samples + np.float32(offset)
    classify = pipeline("audio-classification", model=str(SHIPPED))
    for name in ("raw", "array"):
        given = {name: samples, "sampling_rate": rate}
        theirs = classify(given, top_k=None)
        assert given[name] is samples
        scores = {row["label"]: row["score"] for row in theirs}
        ours = Classifier.load(SHIPPED).predict(samples, rate)[0]
        np.testing.assert_allclose([scores[n] for n in ours.labels], ours.scores, atol=1e-3)
    assert "torchaudio" not in sys.modules
    with pytest.raises(AudioError, match="Hz"):
        classify({"raw": samples, "sampling_rate": 7})


def test_temperature_is_in_the_model_and_in_the_graph(made: Path, clips: list[Float]) -> None:
    model = AutoModelForAudioClassification.from_pretrained(made)
    picture = log_mel(clips[0], SETTINGS)[None]
    logits = Classifier.load(made).engine.logits(picture)
    model.config.logit_temperature = 1.0
    with torch.inference_mode():
        raw = model(torch.from_numpy(picture)).logits.numpy()
    np.testing.assert_allclose(logits, raw / 0.5, atol=1e-4)


def test_auto_classes_know_the_checkpoint(made: Path) -> None:
    assert isinstance(AutoConfig.from_pretrained(made), TinyASTConfig)
    extractor = AutoFeatureExtractor.from_pretrained(made)
    assert isinstance(extractor, TinyASTFeatureExtractor)
    assert extractor.settings == SETTINGS


def test_checkpoint_is_whole(made: Path) -> None:
    graphs = {"model.onnx", "model.int8.onnx"}
    graphs |= {"features-16000.onnx", "features-44100.onnx", "features-48000.onnx"}
    names = {"config.json", "preprocessor_config.json", "model.safetensors", "SHA256SUMS"}
    assert {path.name for path in made.iterdir()} == names | graphs
    assert damaged_files(made) == []
    assert json.loads((made / "config.json").read_text())["version"] == "7"
    graph = onnx.load(made / "model.onnx").graph
    (inputs,), (outputs,) = graph.input, graph.output
    assert (inputs.name, outputs.name) == ("input_values", "logits")
    assert [d.dim_value or d.dim_param for d in inputs.type.tensor_type.shape.dim][1:] == [64, 64]
    assert inputs.type.tensor_type.shape.dim[0].dim_param
    assert not any(tensor.external_data for tensor in graph.initializer)


def test_a_graph_in_int8_is_small_and_near(made: Path, clips: list[Float]) -> None:
    assert (made / "model.int8.onnx").stat().st_size < (made / "model.onnx").stat().st_size / 3
    exact, small = Classifier.load(made), Classifier.load(made, "int8")
    assert (exact.engine.name, small.engine.name) == ("onnx", "int8")
    assert exact.engine.sha256 != small.engine.sha256
    for samples in clips:
        (one,), (other,) = exact.predict(samples, 16_000), small.predict(samples, 16_000)
        assert 0 < np.abs(one.scores - other.scores).max() < 0.2


@pytest.fixture
def same_graph(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model of `made` is not traced again, which takes half a minute, to give its graph."""

    def copied(_: object, path: Path) -> None:
        shutil.copy(made / "model.onnx", path)

    monkeypatch.setattr(tinyast.export.checkpoint, "write_graph", copied)


@pytest.mark.usefixtures("same_graph")
def test_a_graph_in_int8_of_another_model_does_not_stay(tmp_path: Path, made: Path) -> None:
    folder = tmp_path / "made"
    shutil.copytree(made, folder)
    export(TinyASTForAudioClassification.from_pretrained(made), SETTINGS, folder)
    assert not (folder / "model.int8.onnx").exists()
    assert damaged_files(folder) == []
    with pytest.raises(CheckpointError, match=r"has no model\.int8\.onnx"):
        Classifier.load(folder, "int8")


def test_shipped_checkpoint_fits_its_promises() -> None:
    model = AutoModelForAudioClassification.from_pretrained(SHIPPED)
    assert sum(weights.numel() for weights in model.parameters()) <= 3_000_000
    assert len(model.config.id2label) == 50
    assert damaged_files(SHIPPED) == []


@pytest.mark.usefixtures("same_graph")
def test_a_graph_that_strays_is_not_written(
    tmp_path: Path, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tinyast.export.checkpoint, "PARITY", 0.0)
    model = TinyASTForAudioClassification.from_pretrained(made)
    with pytest.raises(ExportError, match="differ"):
        export(model, SETTINGS, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_extractor_takes_what_pipelines_give(clips: list[Float]) -> None:
    extractor = TinyASTFeatureExtractor()
    one = extractor(clips[0], sampling_rate=16_000, return_tensors="pt")["input_values"]
    assert one.shape == (1, 64, 64)
    assert one.dtype == torch.float32
    several = extractor([clips[0], clips[-1]], sampling_rate=16_000)["input_values"]
    np.testing.assert_array_equal(several[0], one[0].numpy())
    np.testing.assert_array_equal(several[1], log_mel(clips[-1], SETTINGS))
    as_list = extractor(clips[-1].tolist(), sampling_rate=16_000)["input_values"]
    np.testing.assert_array_equal(as_list[0], several[1])


def test_of_a_long_clip_the_first_window_is_heard(clips: list[Float]) -> None:
    long = np.concatenate([clips[0], clips[1]])
    heard = TinyASTFeatureExtractor()(long, sampling_rate=16_000)["input_values"][0]
    np.testing.assert_array_equal(heard, log_mel(clips[0], SETTINGS))


def test_extractor_refuses_what_it_cannot_hear() -> None:
    extractor = TinyASTFeatureExtractor()
    with pytest.raises(ValueError, match="44100 Hz"):
        extractor(np.zeros(100, np.float32), sampling_rate=44_100)
    with pytest.raises(ValueError, match="one channel"):
        extractor(np.zeros(0, np.float32), sampling_rate=16_000)
    with pytest.raises(ValueError, match="one channel"):
        extractor(np.zeros((1, 2, 100), np.float32), sampling_rate=16_000)


def test_model_learns_from_hard_and_soft_labels() -> None:
    model = TinyASTForAudioClassification(TinyASTConfig(num_labels=3))
    pictures = torch.randn(4, 64, 64)
    hard = model(pictures, labels=torch.tensor([0, 1, 2, 0])).loss
    soft = model(pictures, labels=torch.full((4, 3), 1 / 3)).loss
    assert torch.isfinite(hard + soft)
    (hard + soft).backward()
    assert all(weights.grad is not None for weights in model.parameters())
