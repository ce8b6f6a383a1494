"""The model's picture of a window, as a message. Like a heartbeat, it is not journalled."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import replace

from daemon.protocol.fields import Hash, Text, Time, Uuid, const
from daemon.protocol.messages import PREFIX, SCHEMA, Envelope, Source, topic

PICTURE_TOPICS = PREFIX + "picture."

Base64 = Annotated[str, Meta(extra_json_schema={"contentEncoding": "base64"})]


class Picture(Struct, frozen=True, kw_only=True):
    """The picture of one window. `completed` sets the fields that are UNSET here."""

    schema: Annotated[str, const(SCHEMA)] = SCHEMA
    type: Annotated[str, const("picture")] = "picture"
    published_at: Time | UnsetType = UNSET
    journal: Uuid | UnsetType = UNSET
    run_id: Uuid | UnsetType = UNSET
    node: Text | UnsetType = UNSET
    id: Hash  # of the window's prediction
    source: Source
    png: Base64  # greyscale, 8 bits, at most 64 by 64; low bands at the bottom
    picture_db: tuple[float, float] | None  # of black and of white; None if the model has none

    @property
    def topic(self) -> str:
        return topic("picture", self.source.kind, self.source.name)

    def completed(self, envelope: Envelope) -> Picture:
        """The picture with the daemon's names and the time."""
        return replace(
            self,
            published_at=envelope.published_at,
            journal=envelope.journal,
            run_id=envelope.run_id,
            node=envelope.node,
        )
