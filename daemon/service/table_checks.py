"""Check the helpers' tables in the settings at a start, by the helpers' own commands.

They run while the daemon starts, so that it need not load what only a helper uses.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence

from daemon.errors import SettingsError, StartError
from daemon.service.helper_process import Helper, begin

START_S = 40.0  # for all checks at a start; one that takes longer leaves it to its helper's status
RELOAD_S = 10.0  # at a reload
ERRORS = {each.exit_code: each for each in (SettingsError, StartError)}


class TableChecks:
    """The commands of these helpers with `--check`, which begin now. Leaving ends them."""

    def __init__(self, helpers: Sequence[Helper]) -> None:
        # Their warnings come again when they run.
        self._running = [
            (helper, begin(helper, "--check", stderr=subprocess.DEVNULL)) for helper in helpers
        ]

    def __enter__(self) -> TableChecks:
        return self

    def __exit__(self, *error: object) -> None:
        for _, process in self._running:
            process.kill()
            process.communicate()

    def judge(self, within: float = START_S) -> None:
        """Wait for the checks, `within` s at most.

        Raises SettingsError or StartError with the table and the fault.
        Other ends of a check, such as a lack of memory, prove no mistake in the settings.
        """
        deadline = time.monotonic() + within
        for helper, process in self._running:
            try:
                said, _ = process.communicate(timeout=max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                continue
            if (fault := ERRORS.get(process.returncode)) is not None:
                lines = said.decode("utf-8", "replace").strip().splitlines() or ["it is refused"]
                table = "[[notify]]" if helper.name == "notify" else f"[{helper.name}]"
                raise fault(f"{table}: {lines[-1]}")
