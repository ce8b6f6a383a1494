"""Nothing that runs here reports to anyone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tinyast.inference.checkpoint import default_path


def test_loading_the_model_leaves_no_device_id_and_starts_no_reporter(tmp_path: Path) -> None:
    """ONNX Runtime's own telemetry writes an id below the home directory when it is on."""
    quiet = {"CI", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "XDG_CACHE_HOME"}
    env = {name: value for name, value in os.environ.items() if name not in quiet}
    env |= {"HOME": str(tmp_path), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    code = "import os, tinyast; tinyast.Classifier.load(); print(os.listdir('/proc/self/task'))"
    ended = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_the_checkpoint_does_not_tell_where_it_was_made() -> None:
    for file in default_path().iterdir():
        content = file.read_bytes()
        for trace in (b"site-packages", b"/root/", b"/home/", b'.py"'):
            assert trace not in content, f"{file.name} holds {trace!r}"
