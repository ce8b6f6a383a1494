"""States that the broker retains: the newest of the daemon, of its sources and of their sounds.

The topics of one node, below `tinyast/<node>/`; all but the first are JSON as in the messages:

    availability                                  online or offline
    heartbeat                                     the newest heartbeat
    source/<kind>/<source>                        a SourceView
    last/<kind>/<source>                          the newest accepted prediction
    last_gap/mic/<source>                         the newest gap
    sounding/mic/<source>/<label>                 ON during an event, else OFF
    image/<kind>/<source>                         the newest picture (PNG)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from daemon.mqtt import topics
from daemon.mqtt.memory import LastGap, Learnt, Named
from daemon.protocol.decoding import Received, ReceivedBeat, ReceivedPicture
from daemon.protocol.messages import Event, Gap, Prediction
from daemon.protocol.states import FolderState, Heartbeat, MicrophoneState


class SourceView(Struct, frozen=True, kw_only=True):
    """The state of a source, as it is retained."""

    kind: str
    name: str
    state: str
    degraded: str | None
    waiting: int
    level_dbfs: float | None  # of the newest window, or of a microphone just now
    gaps: int | None


class States:
    """Follows messages and heartbeats; gives the states to retain."""

    def __init__(self, node: str, labels: Sequence[str], learnt: Learnt) -> None:
        self.node, self.labels, self._learnt = node, labels, learnt
        self.beat: Heartbeat | None = None
        self._heartbeat = b""
        self._last: dict[Named, bytes] = {}
        self._levels: dict[Named, float] = {}
        self._images: dict[Named, bytes] = {}

    @property
    def sources(self) -> list[FolderState | MicrophoneState]:
        """The sources that the newest heartbeat names; none before the first."""
        return [] if self.beat is None else self.beat.sources

    def pictured(self, source: FolderState | MicrophoneState) -> bool:
        """Whether there is a picture of this source."""
        return named(source) in self._learnt.pictured

    # -- input --------------------------------------------------------------------------------

    def hear(self, received: Received) -> None:
        """Take in a message. Raises msgspec.ValidationError if it breaks the contract."""
        if received.head.type not in ("prediction", "event", "gap"):
            return
        match received.content:
            case Prediction() as heard:
                place = heard.source.kind, heard.source.name
                self._levels[place] = heard.rms_dbfs
                if heard.decision == "accepted":
                    self._last[place] = received.body
            case Event() as event:
                sound = event.source.kind, event.source.name, event.label
                if event.state == "end":
                    self._learnt.sounding.discard(sound)
                else:
                    self._learnt.sounding.add(sound)
            case Gap() as gap:
                lost = LastGap(gap.began_at, gap.duration_s, gap.reason)
                self._learnt.gaps[gap.source.name] = lost

    def hear_beat(self, beat: ReceivedBeat) -> None:
        """Take in a heartbeat. Raises msgspec.ValidationError if it breaks the contract."""
        self.beat = beat.content
        self._heartbeat = msgspec.json.encode(beat.message)
        for source in self.beat.sources:
            if isinstance(source, MicrophoneState):
                self._levels[named(source)] = source.level_dbfs

    def show(self, picture: ReceivedPicture) -> None:
        """Take in a picture. Raises msgspec.ValidationError if it breaks the contract."""
        place = picture.content.source.kind, picture.content.source.name
        self._images[place] = picture.png
        self._learnt.pictured.add(place)

    # -- retained states ----------------------------------------------------------------------

    def retained(self) -> Mapping[str, bytes]:
        """Topics and their content, for all sources of the newest heartbeat."""
        node = self.node
        if self.beat is None:
            return {}
        wanted = {topics.state(node, "heartbeat"): self._heartbeat}
        for source in self.sources:
            place = named(source)
            view = msgspec.json.encode(self._view(source))
            wanted[topics.state(node, "source", *place)] = view
            if place in self._last:
                wanted[topics.state(node, "last", *place)] = self._last[place]
            if place in self._images:
                wanted[topics.state(node, "image", *place)] = self._images[place]
            if isinstance(source, MicrophoneState):
                if (gap := self._learnt.gaps.get(source.name)) is not None:
                    wanted[topics.state(node, "last_gap", *place)] = msgspec.json.encode(gap)
                for label in self.labels:
                    on = (*place, label) in self._learnt.sounding
                    wanted[topics.state(node, "sounding", *place, label)] = b"ON" if on else b"OFF"
        return wanted

    def kept(self) -> set[str]:
        """Topics whose content is not known yet and may be there from an earlier run."""
        return {
            topics.state(self.node, what, *named(source))
            for source in self.sources
            for what in ("last", "image")
        }

    def _view(self, source: FolderState | MicrophoneState) -> SourceView:
        kind, name = named(source)
        return SourceView(
            kind=kind,
            name=name,
            state=source.state,
            degraded=source.degraded,
            waiting=source.waiting,
            level_dbfs=self._levels.get((kind, name)),
            gaps=source.gaps if isinstance(source, MicrophoneState) else None,
        )


def named(source: FolderState | MicrophoneState) -> Named:
    """Kind and name of a source in a heartbeat."""
    return ("mic" if isinstance(source, MicrophoneState) else "file"), source.name
