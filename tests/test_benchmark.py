"""The benchmark runs, and what it measures are figures. How large they are is nobody's test."""

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

from tinyast.audio import read_file

ROOT = Path(__file__).parent.parent


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT)  # scripts are run from a checkout, and not installed
    return importlib.import_module("scripts.benchmark")


def test_every_measurement_gives_finite_figures(tmp_path: Path) -> None:
    report = tmp_path / "figures.json"
    few = ("--files", "3", "--starts", "1", "--idle", "0.3", "--stages", "3", "--pause", "0")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "scripts.benchmark", *few, "--json", str(report),
         "--dir", str(tmp_path)],
        capture_output=True, text=True, cwd=ROOT, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    read = json.loads(report.read_text())
    assert read["machine"]["cores"] >= 1
    names = [figure["name"] for figure in read["figures"]]
    assert len(names) == len(set(names)) >= 14
    for figure in read["figures"]:
        assert figure["name"] in done.stdout
        assert figure["n"] >= 1
        numbers = [figure[key] for key in ("min", "p5", "median", "p95", "p99", "max")]
        assert all(math.isfinite(number) and number >= 0 for number in numbers)
        assert numbers == sorted(numbers)
    assert [path.name for path in tmp_path.iterdir()] == [report.name]  # it cleans up


def test_a_figure_says_how_far_its_values_lie_apart(benchmark: Any) -> None:
    summary = benchmark.Figure("a", "ms", tuple(map(float, range(101)))).summary()
    assert (summary["n"], summary["median"], summary["p95"], summary["p99"]) == (101, 50, 95, 99)
    assert (summary["min"], summary["p5"], summary["max"]) == (0, 5, 100)


def test_its_recordings_are_five_seconds_and_no_two_alike(tmp_path: Path, benchmark: Any) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(benchmark.recording(0))
    samples, rate = read_file(path)
    assert (len(samples), rate) == (5 * benchmark.RATE, benchmark.RATE)
    assert 0.5 < np.abs(samples).max() <= 1
    assert benchmark.recording(0) == benchmark.recording(0) != benchmark.recording(1)
