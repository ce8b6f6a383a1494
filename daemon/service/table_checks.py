"""Mistakes in the tables of helpers are refused like any others: by the helpers' own commands.

They run while the daemon starts, so that it need not load what only a helper uses.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from types import TracebackType

from daemon.errors import SettingsError, StartError
from daemon.host.parent import VARIABLE
from daemon.service.helper_process import Helper, readable

START_S = 40.0  # for all checks at a start; one that takes longer leaves it to its helper's status
RELOAD_S = 10.0  # at a reload, for which the heartbeats wait
ERRORS = {each.exit_code: each for each in (SettingsError, StartError)}


class TableChecks:
    """The commands of these helpers with `--check`, which begin now. Leaving ends them."""

    def __init__(self, helpers: Sequence[Helper]) -> None:
        self._running = [(helper, _begin(helper)) for helper in helpers]

    def __enter__(self) -> TableChecks:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for _, process in self._running:
            process.kill()
            process.communicate()

    def judge(self, within: float = START_S) -> None:
        """Wait for the checks, `within` s at most.

        Raises SettingsError or StartError with the table and the fault.
        What else may end a check, such as a lack of memory, says nothing about the settings.
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


def _begin(helper: Helper) -> subprocess.Popen[bytes]:
    with readable(helper.settings) as settings:
        return subprocess.Popen(
            [*helper.argv, "--check"],
            stdin=settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # its warnings come again when it runs
            env={**os.environ, **helper.environment, VARIABLE: str(os.getpid())},
        )
