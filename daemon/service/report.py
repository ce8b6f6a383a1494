"""The daemon's own state, for `tinyastd status` and for heartbeats."""

from __future__ import annotations

import os

from daemon.monitoring.status import Rate
from daemon.protocol.messages import timestamp
from daemon.protocol.states import (
    Backlog,
    DaemonStatus,
    EventRule,
    EventRules,
    Heartbeat,
    Replays,
)
from daemon.service.components import Components
from daemon.settings.schema import Events
from tinyast import __version__


class Report:
    """Asked from several threads; the rate is sampled by the main thread alone."""

    def __init__(self) -> None:
        self._rate = Rate()

    def heartbeat(self, components: Components) -> Heartbeat:
        self._rate.sample(components.tally.messages["prediction"])
        return Heartbeat(
            run_id=components.identity.run_id,
            node=components.identity.node,
            sources=[source.snapshot() for source in components.sources],
            backlog=_backlog(components),
            blocked=components.delivery.blocked,
        )

    def status(self, components: Components) -> DaemonStatus:
        """The answer to `tinyastd status`."""
        delivery, replay, identity = components.delivery, components.replay, components.identity
        return DaemonStatus(
            version=__version__,
            pid=os.getpid(),
            node=identity.node,
            run_id=identity.run_id,
            journal=identity.journal,
            started_at=timestamp(identity.started),
            uptime_s=identity.uptime_s,
            publish=identity.publish,
            replay=identity.replay,
            state=identity.state,
            model=components.running_model,
            workers=identity.workers,
            sources=[source.snapshot() for source in components.sources],
            backlog=_backlog(components),
            blocked=delivery.blocked,
            last=delivery.newest,
            published=dict(components.tally.messages),
            progress=round(components.tally.progress, 3),
            journal_bytes=delivery.journal_bytes,
            windows_per_second=self._rate.per_second,
            replays=Replays(replay.answered, replay.refused),
            connections=components.endpoints.monitor.snapshot(),
            jobs=components.jobs.depths(),
            helpers=components.helpers.states,
            events=_rules(components.event_settings),
        )


def _rules(events: Events) -> EventRules:
    usual = _rule(events)
    return EventRules(
        usual.confirm_at,
        usual.confirm_count,
        usual.confirm_of,
        usual.end_after,
        labels={label: _rule(events.of(label)) for label in events.labels},
    )


def _rule(events: Events) -> EventRule:
    return EventRule(events.confirm_at, events.confirm_count, events.confirm_of, events.end_after)


def _backlog(components: Components) -> Backlog:
    waiting = sum(source.waiting for source in components.sources)
    return Backlog(waiting, components.delivery.waiting)
