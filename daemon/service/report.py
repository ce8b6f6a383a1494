"""The daemon's own state, for `tinyastd status` and for heartbeats."""

from __future__ import annotations

from typing import Any

from daemon.monitoring.status import Rate
from daemon.service.components import Components


class Report:
    """Asked from several threads; the rate is sampled by the main thread alone."""

    def __init__(self) -> None:
        self._rate = Rate()

    def heartbeat(self, components: Components) -> dict[str, Any]:
        """The fields of a heartbeat that this module knows."""
        self._rate.sample(components.tally.messages["prediction"])
        return {
            "run_id": components.identity.run_id,
            "node": components.identity.node,
            "sources": [source.snapshot() for source in components.sources],
            "backlog": _backlog(components),
            "blocked": components.delivery.blocked,
        }

    def status(self, components: Components) -> dict[str, Any]:
        """The answer to `tinyastd status`."""
        delivery, replay = components.delivery, components.replay
        return {
            **components.identity.fields(),
            "sources": [source.snapshot() for source in components.sources],
            "backlog": _backlog(components),
            "blocked": delivery.blocked,
            "last": delivery.newest,
            "published": dict(components.tally.messages),
            "progress": round(components.tally.progress, 3),
            "journal_bytes": delivery.journal_bytes,
            "windows_per_second": self._rate.per_second,
            "replays": {"answered": replay.answered, "refused": replay.refused},
            "connections": components.endpoints.monitor.snapshot(),
            "jobs": components.jobs.depths(),
        }


def _backlog(components: Components) -> dict[str, int]:
    waiting = sum(source.waiting for source in components.sources)
    return {"files": waiting, "messages": components.delivery.waiting}
