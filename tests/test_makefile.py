"""`make` announces long steps."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_a_first_run_names_each_slow_step(tmp_path: Path) -> None:
    command = ["make", "--dry-run", "run", "test", f"VENV={tmp_path}/new"]
    steps = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    lines = steps.splitlines()
    for slow in ("-m venv", "base.txt", "dev.txt", "tinyastd run"):
        at = next(n for n, each in enumerate(lines) if slow in each and "echo" not in each)
        assert lines[at - 1].startswith("echo "), lines[at]
    assert "takes about a minute" in steps
