"""`tinyastd learn --fine-tune`: torch trains all of a checkpoint, in a separate process."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from daemon.errors import DaemonError, SettingsError
from daemon.monitoring.signals import raise_on_ctrl_c
from daemon.settings.schema import Settings
from tinyast.inference.checkpoint import read_checkpoint

# -P keeps the working folder off the module path: it may hold a stranger's torch.py.
COMMAND = (sys.executable, "-P", "-m", "tinyast.training.fine_tuning")
NEEDED = ("torch", "transformers", "pandas", "onnx")  # of the extra `train`


def fine_tune(settings: Settings, given: Path, output: Path, only_mine: bool) -> list[str]:
    """Write the checkpoint `output`; lines that sum up how well it does.

    Raises SettingsError without the extra `train`, CheckpointError, and DaemonError for what the
    training says.
    """
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise SettingsError(
            f"{missing[0]} is not installed; --fine-tune needs the extra `train`: "
            "pip install 'tinyast[train]', or leave --fine-tune out"
        )
    task = {
        "clips": str(given.absolute()),
        "checkpoint": str(read_checkpoint(settings.checkpoint_path).path),
        "output": str(output.absolute()),
        "only_mine": only_mine,
    }
    raise_on_ctrl_c()  # which ends the training too
    done = subprocess.run([*COMMAND, json.dumps(task)], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise DaemonError("nothing was learnt; the line above says why")
    return done.stdout.splitlines()
