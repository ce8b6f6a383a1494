"""Running a command that must succeed."""

from __future__ import annotations

import os
import subprocess


def run(*command: object, **more: str) -> str:
    """Its output; `more` is added to the environment."""
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, env={**os.environ, **more}
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done.stdout
