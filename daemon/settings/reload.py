"""Separate settings that can change while the daemon runs from those that need a restart."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from daemon.settings.schema import Settings

# Workers read these again for each file or live window; a checkpoint is loaded before it takes
# over, and a helper whose table changed is started again. Keys need no reload.
LIVE = (
    "checkpoint", "decision", "events", "audio", "top", "page", "pictures", "privacy", "mqtt",
    "notify", "log",
)  # fmt: skip


@dataclass(frozen=True)
class Changes:
    """Differences between two settings."""

    applied: tuple[str, ...]
    restart: tuple[str, ...]

    def describe(self) -> str:
        """Describe the changes, for the log and for subscribers."""
        if not self.applied and not self.restart:
            return "settings read again: nothing has changed"
        parts = []
        if self.applied:
            parts.append(f"applied: {', '.join(self.applied)}")
        if self.restart:
            parts.append(f"needs a restart: {', '.join(self.restart)}")
        return f"settings read again; {'; '.join(parts)}"


def compare(old: Settings, new: Settings, new_model: bool = False) -> Changes:
    """Separate changes that can be applied from those that need a restart.

    `new_model` says that the files of the checkpoint changed, if perhaps not its name.
    """
    changed = [
        name
        for name in old.__struct_fields__
        if getattr(old, name) != getattr(new, name) or (name == "checkpoint" and new_model)
    ]
    return Changes(
        tuple(name for name in changed if name in LIVE),
        tuple(name for name in changed if name not in LIVE),
    )


def replace_live(old: Settings, new: Settings) -> Settings:
    """The old settings, with the changeable parts from the new ones."""
    return msgspec.structs.replace(old, **{name: getattr(new, name) for name in LIVE})
