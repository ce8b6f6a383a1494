"""The benchmark runs, and gives figures. No test judges their size."""

from __future__ import annotations

import importlib
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT

from tinyast.audio.decoding import read_file
from tinyast.inference.checkpoint import read_checkpoint

PARTS = ("stages", "floor", "start", "idle", "latency", "workers", "growth", "page")


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a module of the benchmark: scripts are run from a checkout, and not installed."""
    monkeypatch.syspath_prepend(ROOT)
    return lambda name: importlib.import_module(f"scripts.benchmark.{name}")


def benchmark(folder: Path, *options: str) -> tuple[dict[str, Any], str]:
    """What a quick run writes as JSON, and prints."""
    report = folder / "figures.json"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "scripts.benchmark", "--quick", *options,
         "--json", str(report), "--dir", str(folder)],
        capture_output=True, text=True, cwd=ROOT, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    read: dict[str, Any] = json.loads(report.read_text())
    return read, done.stdout


def check(figures: list[dict[str, Any]], printed: str) -> None:
    names = [figure["name"] for figure in figures]
    assert len(names) == len(set(names))
    for figure in figures:
        assert figure["name"] in printed
        assert figure["n"] >= 1
        numbers = [figure[key] for key in ("min", "p5", "median", "p95", "p99", "max")]
        assert all(math.isfinite(number) and number >= 0 for number in numbers)
        assert numbers == sorted(numbers)


def test_every_part_gives_finite_figures_and_a_picture(tmp_path: Path) -> None:
    options = [word for part in PARTS for word in ("--part", part)]
    read, printed = benchmark(tmp_path, *options, "--png", str(tmp_path / "figures.png"))
    assert read["machine"]["cores"] >= 1
    assert [*dict.fromkeys(figure["part"] for figure in read["figures"])] == [*PARTS]
    for part in PARTS:
        check([figure for figure in read["figures"] if figure["part"] == part], printed)
    assert (tmp_path / "figures.png").read_bytes().startswith(b"\x89PNG")
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["figures.json", "figures.png"]  # it cleans up


def test_a_peer_that_is_missing_is_a_line_that_says_what_to_do(tmp_path: Path) -> None:
    read, printed = benchmark(tmp_path, "--part", "peers", "--yamnet", str(tmp_path / "no.tflite"))
    missing = [figure for figure in read["figures"] if figure["n"] == 0]
    assert [each["name"] for each in missing] == ["YAMNet on LiteRT", "YAMNet on LiteRT, overlap"]
    for each in missing:
        assert "--yamnet" in each["note"]
        assert each["note"] in printed
    measured = [figure for figure in read["figures"] if figure["n"]]
    check(measured, printed)
    by_name = {figure["name"]: figure for figure in measured}
    ratio = by_name["throughput over Hugging Face AST pipeline"]
    assert ratio["unit"] == "x"
    assert ratio["min"] > 1  # 86 M parameters against 1.7 M


def test_it_fails_in_a_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.benchmark", "--quick", "--part", "stages",
         "--checkpoint", str(tmp_path)],
        capture_output=True, text=True, cwd=ROOT, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2
    assert "is not a checkpoint" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_tables_go_between_the_marks_of_a_document(tmp_path: Path, module: Any) -> None:
    report, figures = module("report"), module("figures")
    document = tmp_path / "a.md"
    where = {"cpu": "a processor", "cores": 2, "python": "3", "system": "s", "busy_before": 1.0}
    parts = {
        "peers": [
            figures.Figure("one", "ms", (1.0, 2.0, 3.0), "in turn"),
            figures.Figure("another", "ms", note="not installed"),
            figures.Figure("a third", "MB", (12_345.6,)),
        ]
    }
    document.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    for _ in range(2):  # it can be done again
        report.write_into(document, where, parts)
        text = document.read_text()
        assert text.startswith("before\n")
        assert text.endswith("\nafter\n")
        assert "old" not in text
        assert "| one | ms | 3 | 2.00 | 1.10 | 2.90 | 2.98 | 3.00 | in turn |" in text
        assert "| another | ms | 0 |  |  |  |  |  | not installed |" in text
        assert "| a third | MB | 1 | 12346 |  |  |  |  |  |" in text
    document.write_text("no place")
    with pytest.raises(report.NoPlace, match="no lines"):
        report.write_into(document, where, parts)


def test_a_figure_says_how_far_its_values_lie_apart(module: Any) -> None:
    summary = module("figures").Figure("a", "ms", tuple(map(float, range(101)))).summary()
    assert (summary["n"], summary["median"], summary["p95"], summary["p99"]) == (101, 50, 95, 99)
    assert (summary["min"], summary["p5"], summary["max"]) == (0, 5, 100)


def test_its_recordings_are_five_seconds_and_no_two_alike(tmp_path: Path, module: Any) -> None:
    sound = module("sound")
    path = tmp_path / "a.wav"
    path.write_bytes(sound.recording(0))
    samples, rate = read_file(path)
    assert (len(samples), rate) == (5 * sound.RATE, sound.RATE)
    assert 0.5 < np.abs(samples).max() <= 1
    assert sound.recording(0) == sound.recording(0) != sound.recording(1)


@pytest.mark.parametrize(
    ("name", "parameters"), [("Cnn14", 80_753_615), ("MobileNetV2", 4_075_343)]
)
def test_panns_have_as_many_parameters_as_published(
    module: Any, name: str, parameters: int
) -> None:
    torch = pytest.importorskip("torch")
    network = getattr(module("peers.panns"), name)().eval()
    assert sum(weights.numel() for weights in network.parameters()) == parameters
    with torch.inference_mode():
        assert network(module("peers.panns").log_mel(torch.zeros(32_000))).shape == (1, 527)


def test_multiply_adds_are_counted_as_by_hand(module: Any, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weights = [
        helper.make_tensor("k", kind, [4, 2, 3, 3], [0.0] * 72),  # two channels in, four out
        helper.make_tensor("w", kind, [4 * 64, 10], [0.0] * 2560),
    ]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "k"], ["y"], pads=[1, 1, 1, 1]),
            helper.make_node("Flatten", ["y"], ["z"]),
            helper.make_node("MatMul", ["z", "w"], ["out"]),
        ],
        "by-hand",
        [helper.make_tensor_value_info("x", kind, ["batch", 2, 8, 8])],
        [helper.make_tensor_value_info("out", kind, ["batch", 10])],
        weights,
    )
    onnx.save(helper.make_model(graph), tmp_path / "a.onnx")
    assert (
        module("parts.floor").multiply_adds(str(tmp_path / "a.onnx")) == 64 * 4 * 2 * 9 + 256 * 10
    )


def test_the_floor_of_features_counts_every_frame(module: Any) -> None:
    settings = read_checkpoint().features
    assert settings.n_hops > settings.n_frames  # columns of a picture are means of several
    fft = 2.5 * settings.n_fft * math.log2(settings.n_fft)
    operations = module("parts.floor").transforming(settings)
    assert 1 < operations / (settings.n_hops * settings.pool * fft) < 1.5
