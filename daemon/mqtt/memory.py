"""State of the bridge on disk: its cursor, and the topics that the broker retains."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct, field

from daemon.host.keeping import Keeping
from daemon.host.locks import Lock
from daemon.protocol.decoding import Head, Position

Named = tuple[str, str]  # kind and name of a source


class LastGap(Struct, frozen=True):
    """The newest gap of a microphone, as its message gives it."""

    began_at: str
    duration_s: float
    reason: str


class Learnt(Struct, kw_only=True):
    """Learnt from messages that do not come again."""

    sounding: set[tuple[str, str, str]] = field(default_factory=set)  # kind, name, label
    gaps: dict[str, LastGap] = field(default_factory=dict)  # by name of the microphone
    pictured: set[Named] = field(default_factory=set)  # sources with a picture


class Memory:
    """The bridge's file in the folder `state`, for one process at a time.

    Raises StartError if another one has it, or it cannot be opened.
    """

    def __init__(self, state: Path) -> None:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = Lock(state / "mqtt.lock", f"the state of MQTT in {state}")
        self._kept = Keeping(state / "mqtt.db")
        self.node = self._kept.get("node", str)
        self.position = self._kept.get("position", Position)
        self.learnt = self._kept.get("learnt", Learnt) or Learnt()
        # Topics that may hold something retained by now.
        self.retained: set[str] = self._kept.get("retained", set[str]) or set()

    def advance(self, head: Head) -> None:
        """Everything up to this message is acknowledged. Raises CannotKeep."""
        self.position = Position.after(head)
        self._kept.put({"position": self.position, "learnt": self.learnt})

    def begin(self, node: str, position: Position) -> None:
        """The daemon is called `node`; continue after `position`. Raises CannotKeep."""
        self.node, self.position = node, position
        self._kept.put({"node": node, "position": position})

    def keep_retained(self, retained: set[str]) -> None:
        """Raises CannotKeep."""
        self._kept.put({"retained": retained})
        self.retained = retained

    def close(self) -> None:
        self._kept.close()
        self._lock.release()
