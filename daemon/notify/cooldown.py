"""At most one notification for each label in a while; the rest becomes a summary."""

from __future__ import annotations

from msgspec import Struct, field

from daemon.notify.rules import Found


class Digest(Struct):
    """Sounds of one label during its cooldown."""

    count: int
    first: str  # local times
    last: str
    best: float  # score
    sources: list[str]

    def words(self, label: str) -> tuple[str, str]:
        """Title and text of the summary."""
        span = f"at {self.first}" if self.count == 1 else f"from {self.first} to {self.last}"
        return f"{label}: {self.count} more", f"{span}, up to {self.best:.0%}, at " + ", ".join(
            self.sources
        )


class Cooling(Struct):
    """A label that was notified."""

    until: float  # s since 1970
    digest: Digest | None = None


class Cooldowns(Struct):
    """The labels of one rule that were notified lately."""

    labels: dict[str, Cooling] = field(default_factory=dict)

    def lets(self, found: Found, now: float, seconds: float) -> bool:
        """Whether to notify now; if not, it counts for the summary."""
        cooling = self.labels.get(found.label)
        if cooling is None:
            if seconds > 0:
                self.labels[found.label] = Cooling(now + seconds)
            return True
        digest = cooling.digest
        if digest is None:
            cooling.digest = Digest(1, found.at, found.at, found.score, [found.source])
            return False
        digest.count += 1
        digest.last, digest.best = found.at, max(digest.best, found.score)
        if found.source not in digest.sources:
            digest.sources.append(found.source)
        return False

    def due(self, now: float, seconds: float) -> list[tuple[str, Digest]]:
        """Summaries of cooldowns that have ended; each begins another."""
        ended = []
        for label, cooling in list(self.labels.items()):
            # The clock may have been set back, or the cooldown been longer.
            cooling.until = min(cooling.until, now + seconds)
            if now < cooling.until:
                continue
            if cooling.digest is None:
                del self.labels[label]
            else:
                ended.append((label, cooling.digest))
                self.labels[label] = Cooling(now + seconds)
        return ended
