"""The sounds of examples/sounds: made by the script beside them, and accepted by the model."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import numpy as np
import pytest
import soundfile
from conftest import ROOT
from typer.testing import CliRunner

from daemon.cli.app import command_line

SOUNDS = ROOT / "examples" / "sounds"


@pytest.fixture(scope="module")
def make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_sounds", SOUNDS / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_they_are_what_the_script_makes(make: ModuleType) -> None:
    there = {path.stem: path for path in SOUNDS.glob("*.wav")}
    assert there.keys() == make.SOUNDS.keys()
    assert sum(path.stat().st_size for path in there.values()) < 200_000
    for name, path in there.items():
        samples, rate = soundfile.read(path, dtype="float64")
        assert rate == make.RATE
        # Another processor may round the last bit of a sine differently.
        np.testing.assert_allclose(samples, make.make(name), atol=2 / 2**15)


@pytest.mark.parametrize("engine", ["onnx", "int8"])
def test_the_model_that_ships_accepts_them(engine: str) -> None:
    words = ["classify", str(SOUNDS), "--format", "csv", "--engine", engine]
    out = CliRunner().invoke(command_line(), words)
    assert out.exit_code == 0, out.output
    header, *rows = [line.split(",") for line in out.output.splitlines()]
    label, decision = header.index("label"), header.index("decision")
    assert [(row[0].rsplit("/")[-1], row[label], row[decision]) for row in rows] == [
        ("birds.wav", "chirping_birds", "accepted"),
        ("knock.wav", "door_wood_knock", "accepted"),
        ("siren.wav", "siren", "accepted"),
    ]
