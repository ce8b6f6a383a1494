"""What is installed: the packages, the model that comes along, and nothing heavy."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from conftest import ROOT

CHECKPOINT = (
    "config.json",
    "preprocessor_config.json",
    "features-16000.onnx",
    "model.onnx",
    "SHA256SUMS",
    "README.md",
)
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


def imported(*folders: str) -> set[str]:
    """Top-level packages that the code in these folders imports, at the top or in a function."""
    found: set[str] = set()
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - {"daemon", "tinyast", "scripts"}


def test_every_import_is_of_a_declared_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]

    def names(listed: list[str]) -> set[str]:
        return {re.split(r"[\[<>=]", text)[0].lower().replace("-", "_") for text in listed}

    providers = metadata.packages_distributions()

    def undeclared(packages: set[str], declared: set[str]) -> set[str]:
        return {
            name
            for name in packages
            if not {one.lower().replace("-", "_") for one in providers.get(name, [name])} & declared
        }

    base = names(project["dependencies"])
    optional = {name: names(extra) for name, extra in extras.items()}
    offline = optional["train"] | optional["peers"]
    drawing = {"pillow", "playwright"}  # of scripts.screenshots
    assert drawing <= optional["dev"]
    assert undeclared(imported("tinyast", "scripts"), base | offline | drawing) == set()
    subscribers = set().union(*optional.values()) - offline - optional["dev"]
    assert undeclared(imported("daemon"), base | subscribers) == set()
