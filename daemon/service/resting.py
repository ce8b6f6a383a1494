"""Give memory back when a busy daemon becomes idle.

Each worker's window needs some 10 MB, which the next one would need again, so it is kept while
there is work.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from daemon.monitoring.metrics import Tally
from daemon.pipeline.job import JobContext
from tinyast.errors import CheckpointError
from tinyast.inference.allocator import give_back_freed_memory

log = logging.getLogger(__name__)


class Rest:
    """Looks now and then whether there was work since the last look."""

    def __init__(self, context: JobContext, tally: Tally, is_idle: Callable[[], bool]) -> None:
        self._context, self._tally, self._is_idle = context, tally, is_idle
        self._steps = self._rested_after = tally.steps

    def look(self) -> bool:
        """Give memory back if the work has ended; whether it did."""
        before, self._steps = self._steps, self._tally.steps
        if self._steps == self._rested_after or self._steps != before or not self._is_idle():
            return False
        self._rested_after = self._steps
        try:
            self._context.classifier.give_back_memory()
        except CheckpointError as error:
            log.warning("memory that windows needed is kept: %s", error)
        give_back_freed_memory()
        return True
