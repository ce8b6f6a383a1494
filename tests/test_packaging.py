"""What is installed: the packages, the model that comes along, and nothing heavy."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from conftest import ROOT

CHECKPOINT = ("config.json", "preprocessor_config.json", "model.onnx", "SHA256SUMS", "README.md")
HEAVY = {"torch", "transformers", "librosa", "pandas", "matplotlib", "onnx", "onnxscript"}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the files under version control, so that nothing else gets in."""
    copy = tmp_path_factory.mktemp("source")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    return copy


def build(source: Path, kind: str, into: Path) -> Path:
    code = f"from setuptools.build_meta import build_{kind}; print(build_{kind}({str(into)!r}))"
    subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, check=True)
    (made,) = into.iterdir()
    return made


def test_the_wheel_has_both_packages_and_the_checkpoint(source: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(build(source, "wheel", tmp_path)) as wheel:
        names = wheel.namelist()
        entry = next(name for name in names if name.endswith("entry_points.txt"))
        assert "tinyastd = daemon.cli:main" in wheel.read(entry).decode()
    for name in CHECKPOINT:
        assert f"tinyast/checkpoints/esc50/{name}" in names
    assert {"tinyast/py.typed", "daemon/py.typed"} <= set(names)
    assert any(name.endswith("share/tinyast/tinyastd.service") for name in names)
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not re.match(r"tinyast-", name)} == {"daemon", "tinyast"}


def test_the_sdist_has_the_checkpoint(source: Path, tmp_path: Path) -> None:
    with tarfile.open(build(source, "sdist", tmp_path)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in CHECKPOINT:
        assert f"tinyast/checkpoints/esc50/{name}" in names


def test_the_base_install_asks_for_nothing_heavy() -> None:
    asked = metadata.requires("tinyast") or []
    base = {re.split(r"[^\w-]", line)[0].lower() for line in asked if "extra ==" not in line}
    assert not base & HEAVY
    assert {"numpy", "onnxruntime", "pyzmq", "watchdog", "typer"} <= base
    train = {re.split(r"[^\w-]", line)[0].lower() for line in asked if "train" in line}
    assert train >= HEAVY
