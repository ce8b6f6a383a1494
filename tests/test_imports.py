"""What is loaded when: a daemon starts fast and small because most of it stays on disk."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest
from conftest import ROOT

HEAVY = ("torch", "transformers", "librosa", "pandas", "matplotlib", "onnx", "scipy")
CLUSTER = ("ray", "pyarrow")
SUBSCRIBERS = ("paho", "apprise")  # libraries of subscribers, which run in separate processes
LATE = ("sounddevice", "soundfile")  # loaded for a microphone or a compressed file


def loaded_by(code: str) -> set[str]:
    """Top-level modules in a fresh interpreter after `code`."""
    script = (
        f"{code}\nimport sys\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True, text=True, cwd=ROOT, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module", ["daemon.service.lifecycle", "daemon.cli.app", "daemon.client", "tinyast"]
)
def test_what_runs_all_day_loads_nothing_that_only_training_needs(module: str) -> None:
    loaded = loaded_by(f"import {module}")
    assert not loaded & {*HEAVY, *LATE, *SUBSCRIBERS, *CLUSTER}


def test_the_cluster_engine_is_imported_where_it_is_used_alone() -> None:
    assert not loaded_by("import daemon.cluster.command") & {*HEAVY, *CLUSTER}
    for path in (*(ROOT / "daemon").rglob("*.py"), *(ROOT / "tinyast").rglob("*.py")):
        text = path.read_text()
        if "import ray" in text or "from ray" in text:
            assert path.relative_to(ROOT).parts[:2] == ("daemon", "cluster"), path


def test_help_and_the_client_load_neither_numpy_nor_the_model() -> None:
    for module in ("daemon.cli.app", "daemon.client"):
        assert not loaded_by(f"import {module}") & {"numpy", "onnxruntime", "soxr", "watchdog"}


def test_classifying_loads_the_runtime_and_nothing_that_only_training_needs() -> None:
    code = "import numpy, tinyast\ntinyast.Classifier.load().predict(numpy.zeros(80000), 16000)"
    loaded = loaded_by(code)
    assert "onnxruntime" in loaded
    assert not loaded & {*HEAVY, *LATE}


def test_the_command_limits_math_libraries_to_one_thread_and_the_client_changes_nothing() -> None:
    code = """
import os, sys
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.pop(name, None)
before = dict(os.environ)
from daemon.client import Client
import tinyast
assert dict(os.environ) == before
from daemon.cli.app import main
sys.argv[1:] = ["labels", "--help"]
sys.stdout = open(os.devnull, "w")
try:
    main()
except SystemExit:
    sys.stdout = sys.__stdout__
assert os.environ["OPENBLAS_NUM_THREADS"] == "1"
"""
    assert "numpy" not in loaded_by(code)


@pytest.mark.parametrize(
    ("importer", "imported"),
    [("tinyast", "daemon"), ("tinyast", "scripts"), ("daemon", "scripts"), ("scripts", "daemon")],
)
def test_packages_import_each_other_in_one_direction(importer: str, imported: str) -> None:
    for path in (ROOT / importer).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            found = [name for name in names if name.partition(".")[0] == imported]
            assert not found, f"{path}, line {getattr(node, 'lineno', 0)}"
